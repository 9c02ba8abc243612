"""The safety layer around the model: a message that signals a crisis gets help, whatever the weights say.

It is code before the model and fails closed. Every user turn that is not yet answered is screened before a handle or
an engine is touched; no switch turns it off; when the detector itself breaks, the resources are shown, for nothing may
be generated from a message that was not screened; a region that is not in the table gets the international resources.
It needs no model: the reply is a fixed text, and begins with the resources.

What `detect_first` misses goes to the model. What the model then says goes through `OutputFilter`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from data.crisis import CrisisSignal, detect_first
from serving.errors import FAILURES
from serving.output_filter import FILTER_NOTICE, OutputFilter

_DETECTOR_FAILED = "detector_failed"  # the category, and the source, of a message that could not be screened
# fmt: off
_EU = (
    "EU", "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IT", "LT",
    "LU", "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK",
)
# fmt: on
_112 = "In an emergency call 112 (free)."

# By ISO 3166 country code, with the usual "UK" and "EU" beside them.
CRISIS_RESOURCES: dict[str, str] = {
    "US": "Call or text 988 (Suicide & Crisis Lifeline, free, day and night). In an emergency call 911.",
    "CA": "Call or text 988 (Suicide Crisis Helpline, free, day and night). In an emergency call 911.",
    **dict.fromkeys(("GB", "UK"), "Call Samaritans on 116 123 (free, day and night). In an emergency call 999 or 112."),
    "IE": "Call Samaritans on 116 123 (free, day and night). In an emergency call 112 or 999.",
    "AU": "Call Lifeline on 13 11 14 (day and night). In an emergency call 000.",
    "NZ": "Call or text 1737 (free, day and night). In an emergency call 111.",
    "IN": "Call Tele-MANAS on 14416 (free, day and night). In an emergency call 112.",
    "ZA": "Call SADAG on 0800 567 567 (free, day and night). In an emergency call 112 or 10177.",
    "BR": "Call CVV on 188 (free, day and night). In an emergency call 192.",
    "CH": "Call 143 (Die Dargebotene Hand / La Main Tendue, day and night). In an emergency call 144 or 112.",
    "NO": "Call Mental Helse on 116 123 (day and night). In an emergency call 113 or 112.",
    **dict.fromkeys(_EU, f"{_112} Helplines of your country: https://findahelpline.com."),
    "AT": f"Call TelefonSeelsorge on 142 (free, day and night). {_112}",
    "DE": f"Call TelefonSeelsorge on 116 123 or 0800 111 0 111 (free, day and night). {_112}",
    "ES": f"Call 024 (free, day and night). {_112}",
    "FR": f"Call 3114 (free, day and night). {_112}",
    "NL": f"Call 113 or 0800-0113 (113 Zelfmoordpreventie, free, day and night). {_112}",
}
_INTERNATIONAL = (
    "Call your local emergency number (112 in most of Europe and on many mobile networks, 911 in North "
    "America). In the USA and Canada you can call or text 988, in the UK and Ireland call 116 123. "
    "Helplines of every country: https://findahelpline.com."
)
_FIRST_STEPS = {
    "overdose": "If you or somebody has taken something, call the emergency number now, even if it feels fine so far.",
    "self_harm": "If a wound bleeds strongly or is deep, call the emergency number now.",
    "harm_to_others": "If somebody could get hurt, go away from them and from anything dangerous, and call now.",
    "abuse": "If you are in danger, call the emergency number as soon as you can do so safely. It is not your fault.",
    "eating_disorder": "If you faint, your heart stumbles or no water stays down, call the emergency number now.",
}


@dataclass(frozen=True)
class SafetyLayer:
    """What stands before and behind the model.

    Attributes:
        region: country code of requests that name none.
        resources: texts by country code, which go before CRISIS_RESOURCES.
        detect: finds the signal in some turns, newest first; replaced in tests.
    """

    region: str = ""
    resources: Mapping[str, str] = field(default_factory=dict)
    detect: Callable[[Sequence[str]], CrisisSignal | None] = detect_first

    def screen(self, turns: Sequence[str]) -> CrisisSignal | None:
        """The crisis that a user's turns, newest first, signal; a detector that breaks counts as one."""
        try:
            return self.detect(turns)
        except FAILURES:
            return CrisisSignal(_DETECTOR_FAILED, "failure")

    def get_resources(self, region: str = "") -> str:
        """Whom to call; `region` is a country code in either case, the layer's own when empty."""
        code = (region.strip() or self.region.strip()).upper()
        own = {name.strip().upper(): text for name, text in self.resources.items()}
        return own.get(code) or CRISIS_RESOURCES.get(code, _INTERNATIONAL)

    def build_crisis_reply(self, region: str = "", category: str = "") -> str:
        """The whole reply to a crisis message, the resources first."""
        first_step = _FIRST_STEPS.get(category)
        return "\n\n".join(
            [
                self.get_resources(region),
                *([first_step] if first_step else []),
                "What you wrote matters, and you deserve help from a person now. I am a computer program and cannot "
                "keep you or anyone else safe; the people there can help, and they listen without judging. If you can, "
                "tell somebody near you how you feel and stay with them. Are you somewhere safe right now?",
            ]
        )

    def build_filter(self, conversation: str, region: str = "") -> OutputFilter:
        """The filter of one reply; what stands in the conversation or the resources is not masked."""
        resources = self.get_resources(region)
        known = "\n".join([conversation, resources, _INTERNATIONAL])
        return OutputFilter(known, f"{FILTER_NOTICE} If you are in danger or may hurt yourself: {resources}")
