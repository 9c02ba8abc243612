"""Scrubbing: each kind in the forms people write it, and what only looks like one. All of it is invented."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.scrubbing import PersonalKind, PersonalSpan, find_personal_spans, scrub_text

PERSONAL = [
    ("email", "ann.o'neil+x@mail.example.co.uk"),
    ("url", "https://ann:secret@files.example.com/a?b=c"),
    ("iban", "GB82 WEST 1234 5698 7654 32"),
    ("iban", "de89370400440532013000"),
    ("card", "4111 1111 1111 1111"),
    ("card", "3782-822463-10005"),
    ("ssn", "460-89-9847"),
    ("ip", "192.168.17.4"),
    ("ip", "2001:db8::8a2e:370:7334"),
    ("phone", "+41 71 526 99 04"),
    ("phone", "(201) 948-1927"),
    ("phone", "07700 900 963"),
    ("phone", "467 3395"),
    ("address", "12 Old Mill Road"),
    ("address", "12b N. Main St., Apt 4B, Springfield, IL 62704"),
    ("address", "Lindenstraße 7, 10115 Berlin"),
    ("address", "Rua Diadema 1903"),
    ("address", "12 rue de la Paix"),
    ("address", "P.O. Box 417"),
]
NAMED = [
    ("My name is Ann van der Berg and I am tired.", "Ann van der Berg"),
    ("I told Mrs. O’Neil about it.", "O’Neil"),
    ("Dr. J. Marsh said so.", "J. Marsh"),
    ("Best regards,\nÉloïse P. Martin", "Éloïse P. Martin"),
    ("name: Kim", "Kim"),
]
INNOCENT = [
    "",
    "I have slept 3-4 hours a night since 2019, 100 % tired at 10:30, for $1,200.50.",
    "Born on 1980-07-28, 2 kids, 50/50 custody, room 12, order 4673395.",
    "Call the helpline: 1-800-273-8255.",  # toll-free, so nobody's own
    "4111 1111 1111 1112 fails the check of its digits, as does GB82 WEST 1234 5698 7654 33.",
    "The area of 000-12-3456 does not exist, and 999.1.1.1 is nowhere.",
    "std::vector, :: and 12:30:45 are no addresses.",
    "See https://example.com/a@b and @ann, or a@b.",
    "My name is not important. Call me back. I asked my Dr. I think so.",
    "2 Close friends went the wrong way.",
    "[EMAIL] [PHONE] [ADDRESS] [NAME]",
]


class TestScrubText:
    @pytest.mark.parametrize(("kind", "personal"), PERSONAL)
    def test_masks_in_a_sentence_and_alone(self, kind: str, personal: str) -> None:
        mask = PersonalKind(kind).mask
        for before, after in (("", ""), ("It is ", ", really."), ("(", ")"), ("Line\n", "\nline")):
            scrubbed = scrub_text(f"{before}{personal}{after}")
            assert (scrubbed.text, scrubbed.counts) == (f"{before}{mask}{after}", {kind: 1})

    @pytest.mark.parametrize(("text", "name"), NAMED)
    def test_masks_an_announced_name_and_leaves_the_cue(self, text: str, name: str) -> None:
        assert scrub_text(text).text == text.replace(name, "[NAME]")

    @pytest.mark.parametrize("text", INNOCENT)
    def test_leaves_the_rest_alone(self, text: str) -> None:
        scrubbed = scrub_text(text)
        assert (scrubbed.text, scrubbed.counts) == (text, {})

    def test_counts_each_kind(self) -> None:
        scrubbed = scrub_text("a@x.org, b@x.org; call 201-948-1927")
        assert scrubbed.text == "[EMAIL], [EMAIL]; call [PHONE]"
        assert scrubbed.counts == {"email": 2, "phone": 1}

    def test_takes_no_more_than_the_number(self) -> None:
        assert scrub_text("4111 1111 1111 1111 12/29").text == "[CARD] 12/29"
        assert scrub_text("25 4111 1111 1111 1111").text == "25 [CARD]"
        assert scrub_text("GB82WEST12345698765432 CALL ME").text == "[IBAN] CALL ME"

    @given(
        st.lists(st.sampled_from([text for _, text in PERSONAL]), min_size=1),
        st.lists(st.sampled_from(["yes", "I", "am sad;", "so\n", "…", "ünd", "?!"]), min_size=1),
    )
    def test_leaves_nothing_among_many(self, personal: list[str], words: list[str]) -> None:
        between = f" | {' '.join(words)} | "
        scrubbed = scrub_text(between.join(personal))
        assert not [text for text in personal if text in scrubbed.text]
        assert sum(scrubbed.counts.values()) == len(personal)
        assert scrub_text(scrubbed.text).text == scrubbed.text


class TestFindPersonalSpans:
    def test_gives_places_in_order(self) -> None:
        text = "Mr. Marsh, a@x.org"
        spans = find_personal_spans(text)
        assert spans == [PersonalSpan(4, 9, PersonalKind.NAME), PersonalSpan(11, 18, PersonalKind.EMAIL)]

    @given(st.text() | st.text("01 +-.:@/GB[]aA\n", max_size=60))
    def test_never_overlaps(self, text: str) -> None:
        spans = find_personal_spans(text)
        ends = [0, *(span.end for span in spans)]
        assert all(end <= span.start < span.end for end, span in zip(ends, spans, strict=False))
        assert ends[-1] <= len(text)
