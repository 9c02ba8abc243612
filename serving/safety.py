"""The safety layer around the model: a message that signals a crisis gets help, whatever the weights say.

It is code before the model and fails closed. Every user turn that is not yet answered is screened before a
handle or an engine is touched; no switch turns it off; an error while screening ends the request, so that
nothing is generated from a message that was not screened; a region that is not in the table gets the
international resources. It needs no model: the reply is a fixed text.

What `find_crisis` misses goes to the model.
"""

from __future__ import annotations

from data.crisis import find_crisis

# fmt: off
_EU = (
    "EU", "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IT", "LT",
    "LU", "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK",
)
# fmt: on

# By ISO 3166 country code, with the usual "UK" and "EU" beside them.
CRISIS_RESOURCES: dict[str, str] = {
    "US": "Call or text 988 (Suicide & Crisis Lifeline, free, day and night). In an emergency call 911.",
    "CA": "Call or text 988 (Suicide Crisis Helpline, free, day and night). In an emergency call 911.",
    **dict.fromkeys(("GB", "UK"), "Call Samaritans on 116 123 (free, day and night). In an emergency call 999 or 112."),
    "IE": "Call Samaritans on 116 123 (free, day and night). In an emergency call 112 or 999.",
    "AU": "Call Lifeline on 13 11 14 (day and night). In an emergency call 000.",
    "NZ": "Call or text 1737 (free, day and night). In an emergency call 111.",
    **dict.fromkeys(_EU, "In an emergency call 112 (free). Helplines of your country: https://findahelpline.com."),
}
_INTERNATIONAL = (
    "Call your local emergency number (112 in most of Europe and on many mobile networks, 911 in North "
    "America). In the USA and Canada you can call or text 988, in the UK and Ireland call 116 123. "
    "Helplines of every country: https://findahelpline.com."
)


def screen_message(text: str) -> str | None:
    """The category of the crisis that the message signals, None when no rule sees one."""
    return find_crisis(text)


def build_crisis_reply(region: str = "") -> str:
    """The whole reply to a crisis message; `region` is a country code in either case, or unknown."""
    resources = CRISIS_RESOURCES.get(region.strip().upper(), _INTERNATIONAL)
    return (
        f"What you wrote matters, and you deserve help from a person now.\n\n{resources}\n\n"
        "I am a computer program and cannot keep you or anyone else safe; the people there can help, and "
        "they listen without judging. If you can, tell somebody near you how you feel and stay with them. "
        "Are you somewhere safe right now?"
    )
