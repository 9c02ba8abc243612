"""Crisis signals in English text: a first rule set, to be measured and grown, not a finished detector.

It prefers a false alarm to a miss, but leaves figures of speech alone ("this job is killing me"). It does not
know who speaks of whom: "my brother died by suicide" is a signal too.
"""

from __future__ import annotations

import re

from data.cleaning import clean_text

# All patterns meet text in lower case without apostrophes: "dont", "im", and "hell" for "he'll".
_NOT_NEGATED = r"(?<!dont )(?<!never )(?<!not )(?<!didnt )(?<!doesnt )"
_INTEND = r"(?:want to|wanna|going to|gonna|plan to|urge to|about to|thoughts? of|thinking of|thinking about)"
_DO_TO_MYSELF = r"(?:want to|wanna|going to|gonna|urges? to|need to|might|keep|ways? to|how to|thinking about|to)"
_WISH = r"(?:wish|hope|pray|want|like|rather)(?: that)?"
_ANY_MORE = r"(?: (?:any ?more|any longer|like this|in this world|on this earth)|(?=$|[.,!?;]))"
_NO_FIGURE = r"(?! (?:of|from) (?:\w+ )?(?:shame|embarrassment|laughter|laughing|boredom|cringe)| laughing| for\b)"
_SOMEONE = r"(?:him|her|them|people|some(?:one|body)|every(?:one|body)|(?:my|our) (?!time|feelings)\w+)"
_KIN = r"(?:dad|father|mum|mom|mother|parents?|husband|wife|(?:boy|girl)friend|ex|partner|brother|sister)"
_PERSON = rf"(?:he|she|they|(?:my|our) (?:step)?(?:\w+ )?{_KIN})"
_PILLS = r"(?:pills?|tablets?|meds|medication|painkillers|paracetamol|tylenol|ibuprofen|antidepressants|xanax)"
_FEW = r"(?:\w+ )?(?:\w+ )?(?:\w+ )?"
_HEIGHT = r"(?:bridge|building|roof|balcony|cliff|ledge|overpass)"
_VEHICLE = r"(?:train|bus|car|truck|lorry|traffic)"

# One pattern a line. The order of the categories is that of the answers.
_PHRASES = {
    "overdose": rf"""
        overdos(?:e|ed|ing)(?! on (?:the )?(?:chocolate|sugar|coffee|caffeine|cake|netflix|tv))
        (?:took|take|taking|swallow(?:ed)?) (?:all|too many|(?:a|the) {_FEW}(?:handful|bottle)) {_FEW}{_PILLS}
        how (?:many|much) {_FEW}{_PILLS} (?:would|will|does|do|can|could|it) {_FEW}(?:kill|die|end|od)
    """,
    "self_harm": rf"""
        self[ -]?(?:harm(?:ed|ing|s)?|injur(?:y|ing)|mutilat(?:e|ion|ing))
        (?:harm|mutilat|scratch|starv|punish|slic)(?:e|ed|ing)? myself(?! (?:a|an|some)\b)
        (?:cut|cutting) myself(?! (?:off|shaving|some|while|when|on|a|loose|out)\b)
        (?:cut|cutting|slit|slitting|slash|slashing) (?:my|your) (?:wrists?|arms?|thighs?|skin)
        {_DO_TO_MYSELF} (?:\w+ )?(?:hurt|hurting|burn|burning|hit|hitting|stab) myself
        (?:urge|urges|want|wanna|need|wish) (?:to )?cut(?: again)?(?=$|[.,!?;]| for the)
        burn(?:ed|t|ing)? my (?:skin|arms?|thighs?)(?= (?:a|so|to|with|until|again|just)\b)
    """,
    "suicide": rf"""
        (?<!political )(?<!career )(?<!social )(?<!commercial )suicid(?:e|es|al|ality)(?! (?:squad|doors?)\b)
        kms|kys|unalive|unaliving
        kill(?:ed|ing)? (?:my|your)self(?! (?:laughing|at (?:work|the)|to (?:meet|finish|make|get))\b)
        (?:hang|hanging|drown|drowning|shoot|shooting|poison|poisoning|gas) myself(?! in (?:the foot|work)\b)
        (?:end|ending|take|taking|took) my (?:own )?life(?! (?:back|in|into|seriously)\b)
        end(?:ing)? it all|tie a noose|off myself|wish for (?:my (?:own )?)?death
        (?:want|wanna|wanted|ready|need|deserve|rather|better)(?: to)?(?: (?:just|really))? die\b{_NO_FIGURE}
        {_WISH} i (?:could|would|can)(?: (?:just|really))? die\b{_NO_FIGURE}
        {_WISH} (?:i|id) (?:was|were|wasnt|werent|had|hadnt)(?: (?:not|never|been|just))* (?:dead|born|alive)
        {_WISH}(?: i)?(?: to)? (?:not|never|dont|wont|didnt|wouldnt)(?: to)? wake up(?! at\b)
        (?:sleep|asleep) (?:and|to) (?:just )?(?:never|not) wake up|sleep forever
        dont (?:want to|wanna)(?: ever)? wake up(?: again| tomorrow)?{_ANY_MORE}
        better off (?:without me|dead)
        better if i (?:was|were|wasnt|werent) (?:dead|gone|not here|here|around)
        (?:dont|do not|no longer) (?:\w+ )?(?:want to|wanna) (?:live|be alive|exist|be here|go on){_ANY_MORE}
        (?:no|any|what|whats the) (?:reason|point) (?:in|of|to) {_FEW}(?:live|living|being alive)(?! with\b)
        nothing (?:left )?to live for|worth (?:me )?being alive
        tired of (?:living|being alive)(?! (?:with|in|at|out)\b)
        (?:life|living) (?:isnt|is not|wasnt) (?:\w+ )?worth (?:living|it)
        life (?:is|feels) (?:\w+ )?(?:pointless|worthless|meaningless)
        (?:cant|cannot) (?:go on|live) (?:living|any ?more|any longer|like this)
        (?:jump|jumping|throw myself) (?:off|from)(?: of)? (?:a|the) (?:\w+ )?{_HEIGHT}
        (?:jump|jumping|step|stepping|throw myself) (?:in front of|under) (?:a|the) (?:\w+ )?{_VEHICLE}
        bridges? {_FEW}(?:taller|higher) than
        wont be (?:here|around|alive) (?:(?:for )?much longer|tomorrow|any ?more)
        (?:said|saying|written|writing) my (?:final |last )?goodbyes?|goodbye (?:letters?|notes?)
        giv(?:en|ing) away (?:all )?my (?:things|stuff|belongings)
    """,
    "harm_to_others": rf"""
        {_NOT_NEGATED}{_INTEND} (?:kill|murder|stab|shoot|strangle|poison)(?:ing)? {_SOMEONE}
        {_NOT_NEGATED}{_INTEND} (?:hurt|hurting|attack|attacking) {_SOMEONE}
        (?:bring|bringing|take|taking) a (?:gun|knife) to (?:school|work|class)
        shoot(?:ing)? up (?:the|my|a) (?:school|office)
    """,
    "abuse": rf"""
        {_PERSON} (?:\w+ )?(?:hits?|beats?|punch(?:es|ed)|slap(?:s|ped)) (?:me|us)(?! (?:to|at|in|up|by)\b)
        {_PERSON} (?:\w+ )?(?:chok(?:es|ed)|strangl(?:es|ed)) (?:me|us)
        {_PERSON} (?:\w+ )?(?:rap(?:es|ed)|molest(?:s|ed)|abus(?:es|ed)|kick(?:s|ed)) (?:me|us)(?! out\b)
        {_PERSON} (?:\w+ )?(?:threaten(?:s|ed)|tried|swore) to (?:kill|hurt|stab|shoot|choke) (?:me|us|my)
        (?:i|im|ive|was|got|being) {_FEW}(?:raped|molested|trafficked|sexually (?:abused|assaulted))
        touch(?:es|ed|ing)? me (?:inappropriately|down there|sexually|where)|locks? me in|wont let me leave
        (?:dont feel|not|never feel) safe (?:at|in my(?: own)?) home
        (?:afraid|scared|terrified) to (?:go|be) (?:at )?home
        (?:afraid|scared|terrified) (?:that )?{_PERSON}(?:ll| will| might) (?:kill|hurt|beat) (?:me|us)
        (?:im|i am|(?:kids|children) are) in danger(?! of\b)|(?:he|she) (?:has|pulled) a (?:gun|knife)
    """,
}
_PATTERNS = {
    category: re.compile(rf"\b(?:{'|'.join(line.strip() for line in lines.strip().splitlines())})(?!\w)")
    for category, lines in _PHRASES.items()
}


def find_crisis(text: str) -> str | None:
    """The category of the first signal: overdose, self_harm, suicide, harm_to_others or abuse, in this order.

    None means that no rule matched, not that all is well.
    """
    words = re.sub(r"\s+", " ", re.sub("['\u2018\u2019\u02bc]", "", clean_text(text).casefold()))
    return next((category for category, pattern in _PATTERNS.items() if pattern.search(words)), None)
