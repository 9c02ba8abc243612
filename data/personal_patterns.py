"""Regular expressions of what has a form but no check digits: street addresses, and names that a cue announces.

Every repetition is bounded, so that no text takes more than linear time.
"""

from __future__ import annotations

# A capitalised word; any letter beyond ASCII counts as a capital, \b\w would take "and" for one.
_WORD = r"[^\W\da-z_][\w'’-]{0,30}"
_WORDS = rf"{_WORD}(?: {_WORD}){{0,3}}"
_NUMBER = r"\d{1,5}(?:[ -]?[A-Za-z])?(?![\w'’-])"
_STREET_AFTER = (  # the kinds of street that follow the name, by language
    r"(?:Street|St|Avenue|Ave|Road|Rd|Lane|Ln|Drive|Dr|Boulevard|Blvd|Court|Ct|Place|Pl|Square|Sq|Terrace|Parkway|Pkwy"
    r"|Highway|Hwy|Close|Crescent|Gardens|Grove|Trail|Way|Circle|Mews|Row)\b\.?"
)
_STREET_END = (
    r"(?:stra(?:ß|ss)e|str\.|gasse|weg|platz|allee|ufer|vej|gade|vägen|gatan|veien|gata|straat|laan|plein|katu|tie)"
)
_STREET_BEFORE = (
    r"(?:Rua|Rue|Via|Viale|Corso|Piazza|Calle|Avenida|Avda\.|Av\.|Avenue|Boulevard|Place|Chemin|Praça|Plaza|Paseo"
    r"|Strada|Ulica|ul\.)"
)
_STREET = "|".join(
    (
        rf"{_NUMBER},? (?:[NSEW]\.? )?{_WORD}(?: {_WORD}){{0,3}}? {_STREET_AFTER}",  # 12 Old Mill Road
        rf"{_WORD}[ -]?(?i:{_STREET_END}) {_NUMBER}",  # Lindenstraße 7
        rf"{_STREET_BEFORE} (?:(?:de|do|da|dos|das|del|della|des|du|la|le) )?{_WORDS},? {_NUMBER}",  # Rua Diadema 3
        rf"{_NUMBER},? (?i:rue|avenue|boulevard|place|chemin|allée) (?:(?:de|des|du) )?(?:la |l['’])?{_WORDS}",
        r"(?i:P\.? ?O\.? ?Box|Postfach) \d{1,6}",
    )
)
_UNIT = r"(?:Apartment|Apt|Suite|Unit|Flat|Floor|#)\b\.? ?\w{1,5}"
_TOWN = rf"(?:{_WORDS},?\s{{1,2}}(?:[A-Z]{{2}}\s)?\d{{4,6}}(?:-\d{{4}})?|\d{{4,6}}\s{_WORDS})(?!\w)"
ADDRESS = rf"(?<!\w)(?:{_STREET})(?:,?\s{{1,2}}{_UNIT})?(?:,?\s{{1,2}}{_TOWN})?"

_CUE = (
    r"(?i:\bmy (?:full |first |last )?name(?: is|'s|’s|:) |\bcall me |\bnamed |\bname: ?"
    r"|\b(?:regards|sincerely|yours),?\n{1,2})|\b(?:Mr|Mrs|Ms|Mx|Dr|Prof)\b\.? "
)
_FULL_NAME = (
    rf"(?:[A-Z]\. ?)?{_WORD}(?<=\w\w)(?: (?:(?:van|von|de|der|den|la|di|el|bin|al) ){{0,2}}"
    rf"(?:[A-Z]\.|{_WORD})){{0,3}}"
)
NAME = rf"(?:{_CUE})(?P<found>{_FULL_NAME})"
