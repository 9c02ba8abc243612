"""What may leave is sent as it comes; what may not is never sent, however the text is cut into pieces."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.output_filter import FILTER_NOTICE, MASKED, OutputFilter, filter_text

HARMFUL = {
    "method": [
        "A lethal dose is 30 pills.",
        "First tie a noose and then wait.",
        "To overdose, you need a lot of them.",
        "The old bridge in town is 48 metres high.",
        "Put two fingers down your throat.",
        "The easiest way to die is at night.",
        "Just live on 300 calories a day.",
    ],
    "incitement": [
        "You should just kill yourself.",
        "Everyone would be better off without you.",
        "Go ahead and cut yourself.",
        "Nobody would miss you.",
    ],
    "slur": ["He is a faggot, that is all."],
}
WRAPPED = [  # what a reader does not see as another wording
    "You should kill\nyourself.",
    "You should kill\r\n\r\nyourself.",
    "You should  kill   yourself.",
    "You should\tkill\u2028yourself.",
    "The lethal\u00a0dose of paracetamol is 10 g.",
    "You should **kill** **yourself**.",
    "You should _kill_ ~~yourself~~.",
    "You should `kill yourself`.",
    "You should kill\u200b yourself.",
    "__kys__ now.",
    "Just swallow 30 pills of\nit and then you will die.",
    "Take them with\n*vodka* and you\u02bcre never\nwaking: you die.",
]
HARMLESS = [
    "Are you thinking of killing yourself? You can tell me.",
    "I slept 8 hours and 20 minutes, and 3 + 4 is 7.",
    "Please call 988 or text a friend; the line 1-800-273-8255 is free.",
    "Many people feel better after they talk about thoughts of suicide with someone.",
    "You could write down what worries you. It need not be good.",
    "Grüße! 你好，今天过得怎么样？ Ça va bien.",
    "The bridge is 48 metres long and old.",
    "You must die in the game to see it.",
    "Just jump\nright in!",
    "He swept up fag ends, and light came through chinks in the wall.",
    "You could see the tower\n\n40 m further there is a café.",
]
PERSONAL = {
    "Write to anna.smith@example.org and ask.": "Write to [EMAIL] and ask.",
    "Her number is +44 20 7946 0958, try it.": "Her number is [PHONE], try it.",
    "He lives at 12 Old Mill Road and waits.": "He lives at [ADDRESS] and waits.",
    "You can see Dr. Anna Miller about that.": "You can see Dr. [NAME] about that.",
}
# What is decided late: another rule fires, or a word goes on, before the first one that began is complete.
LATE = [
    "Take all your pills and kys, with vodka you will never wake.",
    "You must die inside.",
    "You must die in it. You must die now.",
    "She said 20 tablets a day, kys, all the pills (to overdose, you take them.",
    "Call +44 20 7946 0958 painkillers, fag, and more.",
    "You can see Dr. Anna Miller_building 300 feet of it.",
]
CASES = [*(text for texts in HARMFUL.values() for text in texts), *WRAPPED, *HARMLESS, *PERSONAL, *LATE]


def stream(text: str, cuts: set[int], known: str = "") -> list[str]:
    """What is sent of a text that comes in pieces."""
    output_filter, sent = OutputFilter(known), []
    borders = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    for start, end in pairwise(borders):
        sent.append(output_filter.push(text[start:end]))
        if output_filter.is_stopped:
            break
    return [*sent, output_filter.finish()]


class TestFilterText:
    @pytest.mark.parametrize(("rule", "text"), [(rule, text) for rule, texts in HARMFUL.items() for text in texts])
    def test_ends_before_what_is_harmful(self, rule: str, text: str) -> None:
        filtered = filter_text(f"I hear you. {text} More of it.")
        assert filtered.rules == (rule,)
        assert filtered.is_stopped
        assert filtered.text.startswith("I hear you.")
        assert filtered.text.endswith(FILTER_NOTICE)
        assert "More of it" not in filtered.text

    @pytest.mark.parametrize("text", WRAPPED)
    def test_sees_through_white_space_and_emphasis(self, text: str) -> None:
        filtered = filter_text(f"I hear you. {text} More of it.")
        assert filtered.is_stopped
        assert filtered.text.startswith("I hear you.")
        assert "More of it" not in filtered.text

    def test_sends_no_half_of_what_is_personal(self) -> None:
        filtered = filter_text("Well, my name is Anna Kill Yourself now. And more.")
        assert filtered.text == f"Well, my name is \n\n{FILTER_NOTICE}"

    @pytest.mark.parametrize("text", HARMLESS)
    def test_leaves_the_harmless_as_it_is(self, text: str) -> None:
        assert filter_text(text).text == text
        assert filter_text(text).rules == ()

    @pytest.mark.parametrize(("text", "masked"), PERSONAL.items())
    def test_masks_personal_data_and_goes_on(self, text: str, masked: str) -> None:
        filtered = filter_text(text)
        assert (filtered.text, filtered.rules, filtered.is_stopped) == (masked, (MASKED,), False)

    @pytest.mark.parametrize("text", PERSONAL)
    def test_leaves_what_the_user_wrote(self, text: str) -> None:
        assert filter_text(text, known=f"I wrote this: {text.upper()}").text == text

    def test_is_only_the_notice_when_nothing_comes_before(self) -> None:
        assert filter_text("Kill yourself now.").text == FILTER_NOTICE


class TestOutputFilter:
    @given(text=st.sampled_from(CASES), cuts=st.sets(st.integers(1, 90), max_size=40))
    def test_sends_the_same_however_the_text_is_cut(self, text: str, cuts: set[int]) -> None:
        whole = f"Well. {text} That is what I think about it, all in all, today."
        assert "".join(stream(whole, cuts)) == filter_text(whole).text

    @pytest.mark.parametrize("text", CASES)
    @pytest.mark.parametrize("length", [1, 2, 3, 7])
    def test_sends_the_same_in_pieces_of_one_length(self, text: str, length: int) -> None:
        whole = f"Well. {text} That is what I think about it, all in all, today."
        assert "".join(stream(whole, set(range(length, len(whole), length)))) == filter_text(whole).text

    @given(text=st.text("ab 1@.+-'", max_size=60), cuts=st.sets(st.integers(1, 60), max_size=20))
    def test_loses_nothing(self, text: str, cuts: set[int]) -> None:
        sent = "".join(stream(text, cuts))
        assert sent == text or "[" in sent

    @pytest.mark.parametrize("text", CASES)
    def test_never_sends_a_piece_of_what_is_filtered(self, text: str) -> None:
        letters, final = "", filter_text(text).text
        for piece in stream(text, set(range(1, len(text)))):
            letters += piece
            assert final.startswith(letters)

    def test_holds_a_plain_word_back_only_until_the_next(self) -> None:
        pieces = ["It ", "helps ", "some ", "to ", "walk ", "in ", "green ", "woods."]
        output_filter, sent, held = OutputFilter(), "", 0
        for number, piece in enumerate(pieces):
            sent += output_filter.push(piece)
            held = max(held, len("".join(pieces[: number + 1])) - len(sent))
        assert held <= len("green woods.")
        assert sent + output_filter.finish() == "".join(pieces)

    def test_sends_nothing_after_the_stop(self) -> None:
        output_filter = OutputFilter()
        assert output_filter.push("Kill yourself now. ") == FILTER_NOTICE
        assert output_filter.push("And more.") == output_filter.finish() == ""
