"""Phrases that signal a crisis in English: expressions that prefer a false alarm to a miss.

They leave common figures of speech alone ("this job is killing me") and do not know who speaks of whom: "my brother
died by suicide" is a signal too. What is said without such words is left to the classifier of `data/crisis.py`.
"""

from __future__ import annotations

import re

# All patterns meet text in lower case without apostrophes: "dont", "im", and "hell" for "he'll".
_NOT_NEGATED = r"(?<!dont )(?<!never )(?<!not )(?<!didnt )(?<!doesnt )"
_INTEND = (
    r"(?:want(?:ed|ing)? to|wanna|going to|gonna|ima|imma|plan(?:ning)? to|decided to|urge to|about to|need to|have to"
    r"|thoughts? of|thoughts about|thinking of|thinking about|fantasi[sz](?:e|ing) about|dream of|tells? me to)"
)
_DO_TO_MYSELF = r"(?:want to|wanna|going to|gonna|urges? to|need to|might|keep|ways? to|how to|thinking about|to)"
_WISH = r"(?:wish|hope|pray|want|like|rather)(?: that)?"
_ANY_MORE = r"(?: (?:any ?more|any longer|like this|in this world|on this earth)|(?=$|[.,!?;]))"
_NO_FIGURE = (
    r"(?! (?:of|from) (?:\w+ )?(?:shame|embarrassment|laughter|laughing|boredom|cringe)| laughing| for\b| than (?:wear|go)"
    r"| when (?:he|she|they|i)\b)"
)
_SOMEONE = r"(?:him|her|them|people|some(?:one|body)|every(?:one|body)|(?:those|these|the) \w+|(?:my|our) (?!time|feelings)\w+)"
_KIN = (
    r"(?:dad|father|mum|mom|mother|parents?|husband|wife|(?:boy|girl)friend|ex|partner|brother|sister|uncle|aunt|cousin"
    r"|grandpa|grandfather|grandma|teacher|coach|boss|carer|pimp|family|in-laws|son|daughter|bf|gf|flatmate|roommate)"
)
_PERSON = rf"(?:he|she|they|(?:(?:my|our|her|his) )?(?:step)?(?:\w+ )?{_KIN})"
_PILLS = (
    r"(?:pills?|tablets?|meds|medications?|medicines?|painkillers|paracetamol|tylenol|ibuprofen|antidepressants|xanax"
    r"|aspirin|benzos|valium|sleeping aids|antihistamines|capsules|prescriptions?|oxy|tramadol|codeine)"
)
_TAKE = r"(?:take|taking|took|taken|swallow(?:ed|ing)?|down(?:ed|ing)|popped|drank|inject(?:ed|ing)|snorted|ate)"
_LOTS = (
    r"(?:all|every|whole|entire|too many|too much|handfuls?|bottles?|box(?:es)?|lots|loads|dozens?|lot|packs?|strips?)"
)
_FEW = r"(?:\w+ )?(?:\w+ )?(?:\w+ )?"
_SOON = r"[^.!?\n]{0,60}?"
_HEIGHT = r"(?:bridge|building|roof|balcony|cliff|ledge|overpass|window)s?"
_VEHICLE = r"(?:train|tram|bus|car|truck|lorry|traffic|metro|subway)"
_BODY = r"(?:wrists?|arms?|thighs?|legs?|skin|stomach|hips?|belly)"
_CHILD = r"(?:baby|newborn|kids?|child|children|toddler|twins|son|daughter|(?:little )?(?:brother|sister))"

# One pattern a line. The order of the categories is that of the answers.
_PHRASES = {
    "overdose": rf"""
        overdos(?:e|ed|ing)(?! on (?:the )?(?:chocolate|sugar|coffee|caffeine|cake|netflix|tv))|(?:i|he|she|been) od(?:ed|d)?
        {_TAKE} (?:\w+ ){{0,3}}{_LOTS} (?:\w+ ){{0,5}}{_PILLS}
        {_TAKE} (?:\w+ ){{0,4}}{_PILLS}{_SOON}(?:lots of them|all of them|too many|at once|on purpose)
        {_TAKE} {_FEW}(?:too much|way more than|[2-9] much)(?= (?:coke|heroin|meth|speed|mdma|of something|of my)|[, ]+get)
        (?:two|three|four|five|six|ten|double|triple|2|3|4|5|10)(?: times)? my (?:dose|dosage)
        (?:swallow(?:ed)?|drank|drunk|drink|drinking) (?:\w+ ){{0,4}}(?:bleach|antifreeze|cleaner|poison|detergent)
        (?:sav|hoard|collect|stockpil)(?:ed|ing) (?:up )?(?:\w+ ){{0,2}}{_PILLS}
        mix(?:ed|ing) (?:\w+ ){{0,3}}{_PILLS}{_SOON}(?:alcohol|vodka|wine|whisky|whiskey|booze|gin|rum|drink)
        {_PILLS}{_SOON}(?:with|and) (?:\w+ ){{0,3}}(?:vodka|whisky|whiskey)
        (?:he|she|they|mate|friend|{_KIN}){_SOON}(?:(?:wont|not|cant) wak(?:e|ing)|(?:not|isnt|barely|hardly) breathing)
        (?:turn(?:ed|ing)|gone|went|is|hes|shes) blue(?= and)|(?:pills|tablets) lined up|needle in (?:his|her|my) arm
        (?:cold turkey|stopped drinking|withdrawals?|off (?:my )?benzos){_SOON}(?:shak|seiz|hallucinat|see(?:ing)? )\w*
        how (?:many|much) {_FEW}{_PILLS} (?:would|will|does|do|can|could|it|is|are) {_FEW}(?:kill|die|end|od|too)
        (?:lethal|fatal|deadly|toxic) (?:dose|amount|quantity|number)|(?:die|kill\w*) (?:\w+ )?(?:from|by|with|on) {_PILLS}
        used again{_SOON}(?:more than i (?:should|meant)|breathing|passing out|cant stay awake)
        (?:injected|shot up|snorted|swallowed|took) {_FEW}(?:second|third|again|twice|more){_SOON}(?:sleepy|numb|cant move|hardly|barely|passing out)
    """,
    "self_harm": rf"""
        self[ -]?(?:harm(?:ed|ing|s)?|injur(?:y|ing)|mutilat(?:e|ion|ing))
        (?:harm|mutilat|scratch|punish|slic|injur|bruis)(?:e|ed|ing)? myself(?! (?:a|an|some)\b)
        (?:cut|cutting) myself(?! (?:off|shaving|some|while|when|on|a|loose|out)\b)
        (?:cut|cutting|slit|slitting|slash|slashing|slic(?:e|ed|ing)) (?:my|your|her|his) (?:\w+ )?(?:wrists?|arms?|thighs?|skin)
        (?:cutting|slicing|carving|burning|bruising) (?:\w+ )?(?:my|her|his) (?:\w+ )?{_BODY}
        (?:been|keep|kept|stop|started|quit|addicted to|crave) cutting(?=$|[.,!?;]| (?:again|and|every|since|when|for|because))
        (?:gonna|going to|and|upstairs|i) cut(?=$|[.,!?;]| (?:again|tonight)\b)
        {_DO_TO_MYSELF} (?:\w+ )?(?:hurt|hurting|burn|burning|hit|hitting|stab|punch|bite) myself
        (?:stop|been|keep|about|love|like) hurting myself|i (?:punch|burn|stab|bite|whip|choke|hurt) myself(?! at\b)
        (?:urge|urges|want|wanna|need|wish) (?:to )?cut(?: again)?(?=$|[.,!?;]| for the)
        burn(?:ed|t|ing)? my (?:skin|arms?|thighs?)(?= (?:a|so|to|with|until|again|just)\b)
        (?:cut|burn|hurt|scratch|bleed|bruis|pour|slam|broke|bit|did it)\w*{_SOON}(?:on purpose|deliberately|i deserve)
        (?:hit|bang|smash|slam|bash)(?:ing|ed)? my (?:own )?(?:head|hand|fist|arm) (?:against|into)
        until (?:i|it|they|she|he) bleeds?|(?:razor|blade|knife){_SOON}(?:wrists?|my arm|my thigh|use it on me)
        (?:scars|cuts|slices|marks) (?:\w+ )?on my (?:\w+ )?{_BODY}(?! from\b)
        (?:carv|scratch|etch|cut|burn)\w* (?:\w+ ){{0,3}}in(?:to)? my (?:own )?{_BODY}
        my (?:blades?|razors?) (?:is|are|back|again|under|next to|hidden)|hid(?:e|ing|den)? (?:\w+ ){{0,2}}(?:blades?|cuts)\b
    """,
    "suicide": rf"""
        (?<!political )(?<!career )(?<!social )(?<!commercial )su(?:i|y|is)?[cs]id(?:e|es|al|le|ality)?(?! (?:squad|doors?|prevention|awareness)\b)
        (?:kms|kys|unalive|unaliving|sewerslide)|k[i1!]l+(?:ed|ing)? (?:my|your|him|her|them)[ -]?sel(?:f|ves)(?! (?:laughing|at (?:work|the)|to (?:meet|finish|make|get))\b)
        (?:hang|hanging|drown|drowning|shoot|shooting|poison|poisoning|gas) (?:my|your)self(?! in (?:the foot|work)\b)
        (?:end|ending|ended|ends|take|taking|took|takes) (?:my|her|his|your|their) (?:own )?life(?! (?:back|in|into|seriously)\b)
        end(?:ing)? it all|tie a noose|off myself|wish for (?:my (?:own )?)?death|(?:die|dead) by christmas
        (?:want(?:ing|s)?|wanna|wanted|ready|need|deserve|rather|better|decided|let me|sooner)(?: to)?(?: (?:just|really))? die\b{_NO_FIGURE}
        (?:want|wanna|wanting|wish|need|prefer|rather|like)(?: to)? be dead|(?:im|i am) not dead\b|want it over with
        {_WISH} i (?:could|would|can)(?: (?:just|really))? die\b{_NO_FIGURE}
        {_WISH} (?:i|id) (?:was|were|wasnt|werent|had|hadnt)(?: (?:not|never|been|just))* (?:dead|born|alive)
        {_WISH}(?: i)?(?: to)? (?:not|never|dont|wont|didnt|wouldnt)(?: to)? wake up(?! at\b)
        if i (?:didnt|dont|never|wouldnt) wake up|(?:sleep|asleep) (?:and|to) (?:just )?(?:never|not) wake up|sleep for ?ever
        dont (?:want to|wanna)(?: ever)? wake up(?: again| tomorrow)?{_ANY_MORE}
        (?:better|easier|happier|smoother|lighter|simpler) (?:off )?(?:without me|with me (?:out|gone|dead))|better off dead
        better if i (?:was|were|wasnt|werent) (?:dead|gone|not here|here|around)
        (?:dont|do not|no longer) (?:\w+ )?(?:want to|wanna) (?:live|be alive|exist|be here|go on){_ANY_MORE}
        no longer want to (?:live|be alive|exist)|(?:want|going|ready) to (?:leave|quit) this (?:world|life)
        (?:no|any|what|whats the) (?:reason|point) (?:in|of|to) {_FEW}(?:live|living|being alive)(?! with\b)
        nothing (?:left )?to live for|worth (?:me )?being alive|vanish(?:ed)? for good
        tired of (?:living|being alive)(?! (?:with|in|at|out)\b)
        (?:life|living) (?:isnt|is not|wasnt) (?:\w+ )?worth (?:living|it)
        life (?:is|feels) (?:\w+ )?(?:pointless|worthless|meaningless)
        (?:cant|cannot) (?:go on|live) (?:living|any ?more|any longer|like this)(?! with\b)
        (?:to|and|just|could|id|ill|should i|nearly|almost) (?:just )?(?:jump(?:ed)?|jumping|throw myself) (?:off|from)(?: of)? (?:a|the) (?:\w+ )?{_HEIGHT}
        {_HEIGHT}{_SOON}(?:want|going|ready|gonna|about) to (?:jump|let go|step off|fall)|to jump, (?:then|but)
        (?:jump|jumping|step|stepped|stepping|throw myself) (?:in front of|under) (?:a|the) (?:\w+ )?{_VEHICLE}
        bridges? {_FEW}(?:taller|higher|over \d+) (?:than|metres|meters|feet)
        wont be (?:here|around|alive) (?:(?:for )?much longer|tomorrow|any ?more)
        (?:said|saying|written|writing) my (?:final |last )?goodbyes?|goodbye (?:letters?|notes?)
        giv(?:en|ing) away (?:all )?my (?:things|stuff|belongings)|plan and a date
        (?:when|once|after) im gone(?! (?:to|on|for|from|away|home)\b)|by the time (?:you|they|anyone) (?:reads?|finds?|sees?) this
        burden (?:to|on) (?:everyone|everybody|all of (?:them|you)|my family|my (?:kids|children|parents))
        (?:painless|quick|peaceful|easy|gentle|sure|quiet)(?:est|iest)? (?:ways?|methods?) (?:to (?:go|die|leave)\b(?! (?:the|to|for|from|home|a)\b)|of dying|out of (?:life|this life))
        (?:want|wish|like|wanna)(?: i could)?(?: to)?(?: just)? (?:not exist|stop existing|stop being alive|cease to exist)|way of dying
    """,
    "harm_to_others": rf"""
        {_NOT_NEGATED}{_INTEND} (?:kill|murder|stab|shoot|strangl|poison|drown|chok|smother|behead|execut)(?:e|ing)? {_SOMEONE}
        {_NOT_NEGATED}{_INTEND} (?:hurt|hurting|attack|attacking|harm|harming) {_SOMEONE}
        (?:ill|i will|id) (?:kill|murder|stab|shoot|strangle|poison|drown) (?:him|her|them|my (?:wife|husband|boss|ex|father|mother))
        (?:bring|bringing|brought|take|taking) (?:\w+ ){{0,3}}(?:gun|knife|rifle|machete|bomb) to (?:school|work|class|the)
        shoot(?:ing)? (?:up )?(?:the|my|a) (?:school|office|class|church|mosque)|shoot them
        (?:burn|set fire to) (?:\w+ ){{0,2}}(?:house|office|school|home|church|mosque|shop)(?: down)?(?! (?:alarm|sale))
        (?:beat|kick|stomp|stab) (?:him|her|them) to death|smash (?:his|her|their) (?:skull|head|face)|run over my
        (?:voices?|god) (?:\w+ ){{0,2}}(?:tells?|wants?|orders?) me to (?:kill|hurt|stab|burn)
        (?:i|ive) (?:\w+ )?(?:chok|strangl|smother|beat|shook)(?:e|ed|led|en)? (?:my|the) (?:wife|girlfriend|partner|mum|mother|{_CHILD})
        i (?:\w+ )?hurt my (?:little |baby |own )?{_CHILD}|hurting (?:my|the) {_CHILD}
        (?:pillow|cushion|hands) (?:over|around) (?:\w+ )?(?:face|neck|throat)|pushed (?:an?|the) {_FEW}(?:in front of|under) the
        list of (?:people|ppl|names){_SOON}(?:die|kill|pay)|make (?:him|her|them) pay with
        (?:afraid|scared|worried|terrified) (?:that )?(?:ill|i will|i might|i could|im going to) (?:hurt|harm|shake|kill|smother) (?:the|my|him|her|them|someone|somebody)(?! feelings)
        (?:get rid|dispose) of (?:a|the|his|her) body|(?:poison|toxin)\w*{_SOON}(?:untraceable|cant be traced|no trace)
    """,
    "abuse": rf"""
        (?:rap(?:e|ed|es|ing|ist)|molest(?:s|ed|ing)?|sexual(?:ly)? (?:abus|assault)\w*|traffick(?:ed|ing|ers?)|incest)
        {_PERSON} (?:\w+ ){{0,3}}(?:hits?|beats?|punch(?:es|ed)|slap(?:s|ped)) (?:me|us)(?! (?:to|at|in|up by|by)\b)
        {_PERSON} (?:\w+ ){{0,3}}(?:chok(?:es|ed)|strangl(?:es|ed)|burn(?:s|ed|t)|threw|throws|pushed) (?:me|us)(?! (?:a|an|under|out|to the point|away)\b)
        {_PERSON} (?:\w+ ){{0,3}}(?:abus(?:es|ed)|kick(?:s|ed)) (?:me|us|her|him)(?! out\b)
        {_PERSON} (?:\w+ ){{0,2}}(?:threaten(?:s|ed|ing)|tried|swore) to (?:kill|hurt|stab|shoot|choke|post|leak) (?:me|us|my|them)
        (?:say|says|said|swore|told me|threatens)(?: that)? (?:he|she|they)(?:d|ll| would| will) (?:kill|hurt|find|come for) (?:me|us)
        (?:he|she|they)(?:s|re| is| are) going to (?:hurt|beat|rape) (?:me|us)|(?:attacked|assaulted|beaten|beats|beat) me up
        (?:get|got|getting|gets|being|was|am) (?:beaten|hit|whipped|thrashed)(?: up)? (?:with|by|every|when|if)(?! (?:a|the) (?:car|bus|train|ball|bike|cannonball|truck)\b)
        touch(?:es|ed|ing)? me (?:inappropriately|down there|sexually|where|when)|(?:lock(?:s|ed)?|keeps) me (?:in|up)\b
        wont let me leave|(?<!it )(?<!that )(?:hits|kicks|slaps|punches|beats) me\b(?! (?:at|to|in|hard|harder|that|like)\b)|(?:comes|came) into my room at night
        (?:force[sd]?|forcing|makes) me (?:to )?(?:have sex|marry|sleep with|strip|send)|sex when i say no|force me to marry
        broke (?:in and attacked me|my (?:arm|nose|jaw|ribs?|wrist|teeth) and)|(?:slaps|hits|beats) my (?:mother|mum|mom|kids?|sister)
        (?:dont feel|not|never feel) safe (?:at|in my(?: own)?) home|hiding in (?:the|a) (?:bathroom|closet|wardrobe|cupboard)
        (?:afraid|scared|terrified) to (?:go|be) (?:at )?home
        (?:afraid|scared|terrified) (?:that )?{_PERSON}(?:ll| will| might) (?:kill|hurt|beat) (?:me|us)
        (?:im|i am|(?:kids|children) are) in danger(?! of\b)|(?:he|she|hes|shes)(?: has| pulled| got)(?: got)? a (?:gun|knife)
        {_KIN} burns me|(?:post|leak|send|share|publish) (?:my nudes|them|my (?:pictures|photos|video)) (?:if|unless|to)
        (?:hide|hiding|cover|covering)(?: up)? (?:my|the|her|his) (?:\w+ )?(?:bruises?|black eye)|said no\b{_SOON}(?:didnt stop|kept going|did it anyway|carried on)
        (?:he|she|they|boss|employer|{_KIN}) (?:\w+ )?(?:took|takes|keeps?|holds?|hid|has) my (?:passport|papers)\b|not allowed to (?:leave the (?:house|flat)|have my own money)
    """,
    "eating_disorder": rf"""
        (?:anorexi[ac]|bulimi[ac]|pro[ -]?ana|thinspo|purg(?:e|ed|ing)(?! the\b))|(?:my|her|his|this) eating disorder
        (?:make|making|made|makes|force|forcing) (?:my|your|her|him)self (?:throw up|throwing up|vomit|sick|puke|be sick)|use{_SOON}to vomit
        (?:gonna |going to |want to |rather )?starv(?:e|ed|es|ing) (?:my|your|her|him)self|(?:rather|gonna|going to) starve
        (?:throw|throwing|threw|puke|puking) (?:it |them |everything )?up (?:after (?:every|each|all|i|eating|meals)|in the shower)
        bing(?:e|ed|ing) and (?:then )?(?:throw|puke|purg|vomit|starv)\w*|chew and spit
        (?:havent|have not|hasnt|didnt|not) (?:eaten|eat|had (?:any )?(?:solid )?food)(?: \w+){{0,2}} (?:for|in|since) {_FEW}(?:days?|weeks?)
        (?:stopped|quit|refus\w+ to|gave up) eat(?:ing)?(?=$|[.,!?;]| (?:because|altogether|since|so|and)\b)
        (?:(?:take|takes|taking|took|abus\w+|use|using) (?:\w+ ){{0,3}}|\d+ )laxatives|skip(?:s|ped|ping)? (?:my|her|his) insulin
        (?:to|on|only|under|eat|eating|restricting to) [1-5]\d\d calories|bmi (?:is|of) 1[0-5]\b
        (?:cant|couldnt) keep (?:anything|food|it) down{_SOON}(?:purg|sick|throw)
        (?:eat|eating|eaten|had|living on|live on) nothing but (?:\w+ )?(?:ice|gum|water|air|coffee|lettuce|celery|tea)
        still (?:feel|look|see myself as)(?: so| too)? (?:huge|fat|enormous)\b|(?:fool|cheat|trick)\w* (?:on )?the scales?
    """,
}
CRISIS_PATTERNS = {
    category: re.compile(rf"\b(?:{'|'.join(line.strip() for line in lines.strip().splitlines())})(?!\w)")
    for category, lines in _PHRASES.items()
}
