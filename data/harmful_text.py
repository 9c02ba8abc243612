r"""Words that no reply may hold: how to hurt oneself or others, the call to do so, and slurs.

The expressions are for the `regex` package, whose partial matches tell a stream how little to hold back. Every
repetition is bounded, so that no text takes more than linear time. They know plain wording; who spells a word with dots
or in another language passes them. Groups are named: `method`, `incitement`, `slur`. They read a text after `flatten`,
and a space in them stands for some white space. In place of a word border (`\b`) they look at one side of it: at the
end of a text, partial matches know of those what may still come.
"""

from __future__ import annotations

import re

import regex

_WITHIN = r"(?:[^.!?\n]|\n(?!\n)){0,60}"  # of one sentence, which may go on in the next line
_MEDICINE = (
    r"(?:pills?|tablets?|capsules?|paracetamol|acetaminophen|tylenol|aspirin|ibuprofen|sleeping pills|benzos?|insulin"
    r"|antidepressants|painkillers|opioids?|morphine|fentanyl|medication|meds)"
)
_DYING = r"(?:die|death|kill|fatal|lethal|overdose|never wake|unconscious|end it)"
_HARM = r"(?:kill yourself|end your(?: own)? life|hang yourself|cut yourself|hurt yourself|starve yourself|kill (?:him|her|them))"

_METHOD = "|".join(
    (
        rf"(?:\d+|several|twenty|thirty|a whole bottle of|all (?:of )?(?:the|your)) ?(?:mg|milligrams|grams?|g)?(?: of)? {_MEDICINE}(?!\w){_WITHIN}(?<!\w){_DYING}",
        r"(?:lethal|fatal|deadly|toxic) (?:dose|amount|quantity) (?:of [\w -]{1,30} )?(?:is|for|would|starts|lies)",
        r"(?:take|swallow|crush|mix|combine|wash down) (?:all|(?:them|it|the|your) )"
        rf"{_WITHIN}(?<!\w)(?:with|and) (?:alcohol|vodka|whisk(?:e)?y|wine){_WITHIN}(?<!\w){_DYING}",
        r"to (?:overdose|poison (?:yourself|him|her|them|someone)),? (?:you|take|use|mix|put|start|simply|just)",
        r"(?:tie|make|fasten|knot|loop) (?:a|the|your) (?:noose|slip ?knot|ligature)|hang(?:ing)? yourself (?:from|with|using|by)",
        rf"(?:bridge|tower|building|cliff|overpass|viaduct)s?(?!\w){_WITHIN}(?<!\w)\d{{2,3}} ?(?:m|metres|meters|feet|ft)(?!\w)(?! (?:long|wide|of))",
        r"(?:jump|step|throw yourself|leap) (?:off|from|in front of|under) (?:a|the|an|that) (?:\w+ ){0,2}"
        r"(?:bridge|building|roof|balcony|cliff|train|tram|bus|truck|tower)",
        r"(?:cut|slice|slit|slash) (?:along|down|across|deep|deeply|lengthwise|vertically|your|the|open)(?: \w+){0,4} (?:wrists?|veins?|artery|arteries|throat|forearm)",
        rf"(?:carbon monoxide|helium|nitrogen|exhaust fumes|car exhaust|charcoal)(?!\w){_WITHIN}(?<!\w)(?:bag|tent|garage|hose|mask|sealed|breathe|inhale|room)",
        r"(?:plastic )?bag over (?:your|his|her|the) head|drink (?:some |the )?(?:bleach|antifreeze|drain cleaner|pesticide)",
        r"(?:painless|quickest|easiest|surest|most (?:effective|reliable|lethal)|best|fastest) (?:way|method)s? (?:to|of|for) "
        r"(?:die|dying|kill|suicide|end your|ending your|hang|overdose|cut yourself|starve)",
        r"(?:stick|put|push|shove) (?:a|your|two|one)(?: \w+)? ?fingers? down your throat|(?:mak(?:e|ing) yourself) (?:throw up|vomit|sick) (?:by|with|using|after)",
        r"(?:eat|stay|limit yourself to|live on|keep) (?:only |under |below |just |less than )*[1-6]\d\d (?:k?cal|calories)",
        r"(?:pipe|nail|fertili[sz]er|pressure cooker) bomb|(?:build|make|assemble) (?:a|the|your) (?:bomb|explosive)",
        r"cut (?:the|his|her|their) brake|(?:stab|shoot|strangle|smother|choke) (?:him|her|them) (?:in|with|while|until|when|from)",
        r"(?:put|slip|mix) (?:\w+ ){0,3}(?:poison|antifreeze|rat poison) (?:in|into) (?:his|her|their)",
    )
)
_INCITEMENT = "|".join(
    (
        rf"(?:you (?:should|could|might as well|ought to|have to|must|need to|can)|just|go ahead and|why (?:don['’]?t you|not)|please|it(?:['’]s| is) time to|go and)(?: just| simply| really)? {_HARM}",
        r"(?:you (?:should|ought to|deserve to|need to|must)|just|please)(?: just)? (?:die|be dead|end it all|jump)(?!\w)(?! (?:in|into|at|right|to|for|on|rope)(?!\w))",
        r"(?:go )?k[iy]ll your ?self(?: now|, (?:nobody|no one|you))|kys",
        r"(?:the world|everyone|everybody|they|your (?:family|kids|parents|friends))(?: would| will|['’]d|['’]ll) (?:be )?better off (?:without you|if you (?:were|died|are))",
        r"(?:no one|nobody) would (?:miss|care about) you|you (?:are|['’]re) better off dead|you deserve to (?:die|suffer|bleed|be (?:hit|hurt|beaten))",
        r"(?:you should|just|go ahead and|time to) (?:hit|beat|slap|punch|stab|shoot|attack|poison) (?:him|her|them|your)",
    )
)
_SLUR = (
    r"n[i1]gg(?:er|a|ah|az)s?|f[a4]gg?[o0]ts?|f[a4]gs?(?! end)|dykes?|trann(?:y|ies)|k[i1]kes?|ch[i1]nks?(?! in(?!\w))|g[o0]{2}ks?|sp[i1]cs?"
    r"|wetbacks?|towel ?heads?|rag ?heads?|sand ?n\w{4,6}|camel ?jockeys?|paki(?:s|es)?|coons?|jungle ?bunn(?:y|ies)"
    r"|p[o0]rch ?monkeys?|beaners?|gyppos?|r[e3]t[a4]rds?|r[e3]t[a4]rded|m[o0]ng(?:oloid)?s?|sp[a4]st?ics?|cr[i1]pples?|she-?males?"
    r"|wogs?|darkies|tar ?babies|zipperheads?|cunts?|sluts?|whores?"
)
# No letters: line ends, other white space, Markdown's emphasis, and what cannot be seen.
_LINE_ENDS = "\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
_BLANKS = "\t\r\x1f\xa0\u1680\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
_SIGNS = "*_~`\xad\u200b\u200c\u200d\u2060\ufeff"
_FLAT = str.maketrans(
    dict.fromkeys(_LINE_ENDS, "\n") | dict.fromkeys(_BLANKS + _SIGNS, " ") | dict.fromkeys("\u02bc\u2018", "\u2019")
)


def _allow_gaps(pattern: str) -> str:
    """`pattern` with some white space wherever it has a space outside of brackets: "**kill** **yourself**" has five."""
    return re.sub(r"(\[[^]]*\])| (\??)", lambda part: part[1] or rf"[ \n]{{{0 if part[2] else 1},8}}", pattern)


_HARMFUL = regex.compile(
    _allow_gaps(rf"(?i)(?<!\w)(?:(?P<incitement>{_INCITEMENT})|(?P<method>{_METHOD})|(?P<slur>{_SLUR}))(?!\w)"),
    regex.V0,
)
_WORD_START = re.compile(r"\b(?=\w)")
_NEXT_WORD = regex.compile(r"[ \n]*+(?:[^\w \n]|\w+\W)")  # all that a pattern looks at behind its match
HARMFUL_RULES = ("incitement", "method", "slur")


def flatten(text: str) -> str:
    """`text`, letter by letter, with a space or a line end for all that is blank or emphasis; so it can come in pieces."""
    return text.translate(_FLAT)


def find_harmful(text: str) -> str | None:
    """The rule of the first words that no reply may hold: incitement, method or slur."""
    found = locate_harmful(flatten(text), 0, is_end=True)
    return found[1] if found else None


def locate_harmful(flat: str, start: int, *, is_end: bool) -> tuple[int, str] | None:
    """Where behind `start` the first words stand that no reply may hold, and their rule.

    Args:
        flat: made by `flatten`.
        is_end: nothing follows. Else the rule is empty where it depends on what follows whether it is one.
    """
    match = _HARMFUL.search(flat, start, partial=not is_end)
    if not match or is_end:
        return (match.start(), str(match.lastgroup)) if match else None
    if match.partial:
        return match.start(), ""
    # A whole match is found before one that is still growing, even where that began earlier.
    for word in _WORD_START.finditer(flat, start, match.start()):
        if _HARMFUL.match(flat, word.start(), partial=True):
            return word.start(), ""
    return match.start(), str(match.lastgroup) if _NEXT_WORD.match(flat, match.end()) else ""
