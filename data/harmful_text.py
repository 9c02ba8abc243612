"""Words that no reply may hold: how to hurt oneself or others, the call to do so, and slurs.

The expressions are for the `regex` package, whose partial matches tell a stream how little to hold back. Every
repetition is bounded, so that no text takes more than linear time. They know plain wording; who spells a word with dots
or in another language passes them. Groups are named: `method`, `incitement`, `slur`.
"""

from __future__ import annotations

import regex

_WITHIN = r"[^.!?\n]{0,60}"
_MEDICINE = (
    r"(?:pills?|tablets?|capsules?|paracetamol|acetaminophen|tylenol|aspirin|ibuprofen|sleeping pills|benzos?|insulin"
    r"|antidepressants|painkillers|opioids?|morphine|fentanyl|medication|meds)"
)
_DYING = r"(?:die|death|kill|fatal|lethal|overdose|never wake|unconscious|end it)"
_HARM = r"(?:kill yourself|end your(?: own)? life|hang yourself|cut yourself|hurt yourself|starve yourself|kill (?:him|her|them))"

_METHOD = "|".join(
    (
        rf"(?:\d+|several|twenty|thirty|a whole bottle of|all (?:of )?(?:the|your)) ?(?:mg|milligrams|grams?|g)?(?: of)? {_MEDICINE}\b{_WITHIN}\b{_DYING}",
        r"(?:lethal|fatal|deadly|toxic) (?:dose|amount|quantity) (?:of [\w -]{1,30} )?(?:is|for|would|starts|lies)",
        r"(?:take|swallow|crush|mix|combine|wash down) (?:all|(?:them|it|the|your) )"
        rf"{_WITHIN}\b(?:with|and) (?:alcohol|vodka|whisk(?:e)?y|wine){_WITHIN}\b{_DYING}",
        r"to (?:overdose|poison (?:yourself|him|her|them|someone)),? (?:you|take|use|mix|put|start|simply|just)",
        r"(?:tie|make|fasten|knot|loop) (?:a|the|your) (?:noose|slip ?knot|ligature)|hang(?:ing)? yourself (?:from|with|using|by)",
        r"(?:bridge|tower|building|cliff|overpass|viaduct)s?\b[^.!?\n]{0,60}\b\d{2,3} ?(?:m|metres|meters|feet|ft)\b(?! (?:long|wide|of))",
        r"(?:jump|step|throw yourself|leap) (?:off|from|in front of|under) (?:a|the|an|that) (?:\w+ ){0,2}"
        r"(?:bridge|building|roof|balcony|cliff|train|tram|bus|truck|tower)",
        r"(?:cut|slice|slit|slash) (?:along|down|across|deep|deeply|lengthwise|vertically|your|the|open)(?: \w+){0,4} (?:wrists?|veins?|artery|arteries|throat|forearm)",
        r"(?:carbon monoxide|helium|nitrogen|exhaust fumes|car exhaust|charcoal)\b[^.!?\n]{0,60}\b(?:bag|tent|garage|hose|mask|sealed|breathe|inhale|room)",
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
        r"(?:you (?:should|ought to|deserve to|need to|must)|just|please)(?: just)? (?:die|be dead|end it all|jump)\b(?! (?:in|into|at|right|to|for|on|rope)\b)",
        r"(?:go )?k[iy]ll your ?self(?: now|, (?:nobody|no one|you))|\bkys\b",
        r"(?:the world|everyone|everybody|they|your (?:family|kids|parents|friends))(?: would| will|['’]d|['’]ll) (?:be )?better off (?:without you|if you (?:were|died|are))",
        r"(?:no one|nobody) would (?:miss|care about) you|you (?:are|['’]re) better off dead|you deserve to (?:die|suffer|bleed|be (?:hit|hurt|beaten))",
        r"(?:you should|just|go ahead and|time to) (?:hit|beat|slap|punch|stab|shoot|attack|poison) (?:him|her|them|your)",
    )
)
_SLUR = (
    r"n[i1]gg(?:er|a|ah|az)s?|f[a4]gg?[o0]ts?|f[a4]gs?(?! end)|dykes?|trann(?:y|ies)|k[i1]kes?|ch[i1]nks?(?! in\b)|g[o0]{2}ks?|sp[i1]cs?"
    r"|wetbacks?|towel ?heads?|rag ?heads?|sand ?n\w{4,6}|camel ?jockeys?|paki(?:s|es)?|coons?|jungle ?bunn(?:y|ies)"
    r"|p[o0]rch ?monkeys?|beaners?|gyppos?|r[e3]t[a4]rds?|r[e3]t[a4]rded|m[o0]ng(?:oloid)?s?|sp[a4]st?ics?|cr[i1]pples?|she-?males?"
    r"|wogs?|darkies|tar ?babies|zipperheads?|cunts?|sluts?|whores?"
)
HARMFUL = regex.compile(
    rf"(?i)\b(?:(?P<incitement>{_INCITEMENT})|(?P<method>{_METHOD})|(?P<slur>{_SLUR}))(?!\w)", regex.V0
)
HARMFUL_RULES = ("incitement", "method", "slur")


def find_harmful(text: str) -> str | None:
    """The rule of the first words that no reply may hold: incitement, method or slur."""
    match = HARMFUL.search(text)
    return str(match.lastgroup) if match else None
