"""The classifier: what it sees, and what it does when its file is not what it should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.crisis_encoder import (
    CRISIS_CATEGORIES,
    ENCODER_FILE,
    LARGE_ENCODER_FILE,
    CrisisEncoder,
    CrisisModelInvalid,
    load_crisis_encoder,
)
from data.crisis_features import BUCKET_BITS, MOST_WINDOWS, WINDOW_WORDS, list_buckets, simplify, split_windows
from data.crisis_model import MOST_PARTS, MOST_READ, WEIGHTS_FILE, load_crisis_model

HINT = "I have written all the letters and given the cat away, nobody has to deal with me after tonight."
FILLER = "We had soup for lunch and then we walked to the lake with the children. "


class TestSimplify:
    def test_has_one_form_for_many(self) -> None:
        assert simplify("I\u2019M  sooooo\nTIRED") == "im soo tired"
        assert simplify("call 1000") == "call 1000"


class TestSplitWindows:
    @given(st.text("ab .!\n", max_size=400))
    def test_loses_no_word(self, text: str) -> None:
        windows = split_windows(text)
        words = [word for window in windows for word in window.split()]
        assert set(words) >= {word for word in text.split() if word.strip(".!\n")}
        assert all(len(window.split()) <= WINDOW_WORDS for window in windows)

    def test_leaves_a_short_text_whole(self) -> None:
        assert split_windows("One. Two! Three?") == ["One. Two! Three?"]
        assert split_windows(" \n") == []

    def test_reads_short_sentences_as_one_where_there_are_very_many(self) -> None:
        words = [f"w{number}." for number in range(3000)]
        windows = split_windows(" ".join(words))
        assert len(windows) <= MOST_WINDOWS
        assert {word for window in windows for word in window.split()} == set(words)
        assert all(len(window.split()) <= WINDOW_WORDS for window in windows)
        for one, other in pairwise(windows):
            assert len(set(one.split()) & set(other.split())) == WINDOW_WORDS // 2

    def test_cuts_a_sentence_that_is_too_long(self) -> None:
        assert [len(window.split()) for window in split_windows("word " * 100)] == [30, 30, 30, 10]


class TestListBuckets:
    @given(st.text(max_size=60))
    def test_stays_in_range_sorted_and_once(self, text: str) -> None:
        buckets = list_buckets(text)
        assert np.array_equal(buckets, np.unique(buckets))
        assert len(buckets) == 0 or (buckets[0] >= 0 and buckets[-1] < 1 << BUCKET_BITS)

    def test_depends_on_the_order_of_words(self) -> None:
        assert not np.array_equal(list_buckets("you help me"), list_buckets("me help you"))

    def test_is_empty_without_words(self) -> None:
        assert len(list_buckets("?!")) == 0


class TestCrisisModel:
    def test_sees_a_hint_that_no_rule_names(self) -> None:
        assert load_crisis_model().find_categories([HINT]) == ["suicide"]

    def test_sees_it_in_a_long_message(self) -> None:
        [category] = load_crisis_model().find_categories([FILLER * 20 + HINT + FILLER * 20])
        assert category in CRISIS_CATEGORIES

    @pytest.mark.parametrize(
        "noise",
        [
            "Sent from my phone\n" + "-" * 70,
            "https://www.example.com/some/path/abc-def-ghi/jkl_mno?x=1&y=2&z=3#frag-one-two-three-four-five-six",
            f"{'HAHA' * 15} {'HAHA' * 15}",
            "\U0001f62d" * 62,
            "\U0001f62d\U0001f494\U0001f622\U0001f61e\U0001f97a" * 15,
            "!" * 62,
            "data:image/png;base64," + "".join(sha256(bytes([number])).hexdigest() + "/" for number in range(100)),
        ],
    )
    def test_sees_a_hint_behind_what_takes_all_pieces(self, noise: str) -> None:
        hint = "By this time tomorrow my family will finally be free of me"
        assert (
            load_crisis_model().find_categories([hint, f"{noise}\n{hint}", f"{noise} {hint} {noise}"])
            == ["suicide"] * 3
        )

    def test_reads_a_text_that_never_ends_in_bounded_time(self) -> None:
        read: list[str] = []

        class Listening(CrisisEncoder):
            def judge(self, windows: Sequence[str]) -> list[tuple[float, str]]:
                read.extend(windows)
                return [(-100.0, "abuse")] * len(windows)

        known = load_crisis_model()
        encoder = Listening(**{field.name: getattr(known.encoder, field.name) for field in fields(known.encoder)})
        file, words = ".".join(f"a{number}" for number in range(10_000)), "we have had soup and " * 5
        replace(known, encoder=encoder).score([f"{file} {words} {file}"])
        assert len(read) == MOST_PARTS + 1
        assert any(words.strip() in window for window in read[1:])

    def test_keeps_the_texts_apart(self) -> None:
        found = load_crisis_model().find_categories([FILLER * 30, "", HINT, FILLER, FILLER * 5 + HINT])
        assert [category is not None for category in found] == [False, False, True, False, True]

    @pytest.mark.parametrize("text", ["", "?!", FILLER, FILLER * 30])
    def test_leaves_the_everyday_alone(self, text: str) -> None:
        assert load_crisis_model().find_categories([text]) == [None]

    @pytest.mark.parametrize("text", ["...", "gone for good"])
    def test_leaves_a_few_words_to_the_rules(self, text: str) -> None:
        assert load_crisis_model().score([text]) == [(float("-inf"), "")]

    def test_reads_nothing_twice_and_says_the_same(self) -> None:
        asked: list[str] = []

        class Listening(CrisisEncoder):
            def judge(self, windows: Sequence[str]) -> list[tuple[float, str]]:
                asked.extend(windows)
                return super().judge(windows)

        known = load_crisis_model()
        encoder = Listening(**{field.name: getattr(known.encoder, field.name) for field in fields(known.encoder)})
        model = replace(known, encoder=encoder)
        first = model.score([HINT, "one two three", FILLER])
        assert model.score([FILLER, "one two three", HINT]) == first[::-1]
        assert asked == [HINT, FILLER]

    def test_reads_half_a_character(self) -> None:
        assert load_crisis_model().find_categories(["we had soup \ud83d for lunch again"]) == [None]

    def test_adds_the_log_odds_of_features_and_large_encoder(self) -> None:
        model = load_crisis_model()
        [(log_odds, category)] = load_crisis_encoder(LARGE_ENCODER_FILE).judge([HINT])
        assert model.score([HINT]) == [(pytest.approx(score_features(HINT) + log_odds), category)]

    def test_leaves_what_is_plainly_harmless_to_the_small_encoder(self, tmp_path: Path) -> None:
        model = replace(load_crisis_model(), large_file=tmp_path / "nothing.npz")
        [(log_odds, category)] = model.encoder.judge([FILLER])
        assert model.score([FILLER]) == [(pytest.approx(score_features(FILLER) + log_odds), category)]
        assert log_odds + score_features(FILLER) < model.screening < model.threshold

    def test_the_large_encoder_reads_only_the_most_alarming_windows_of_a_long_message(self) -> None:
        class Alarmed(CrisisEncoder):
            def judge(self, windows: Sequence[str]) -> list[tuple[float, str]]:
                return [(100.0 * int(window.split()[0]), "abuse") for window in windows]

        known = load_crisis_model()
        encoder = Alarmed(**{field.name: getattr(known.encoder, field.name) for field in fields(known.encoder)})
        model = replace(known, encoder=encoder)
        windows = [f"{number} {'word ' * (WINDOW_WORDS - 2)}end." for number in (3, 9, 4, 8, 7, 1, 2)]
        model.score([" ".join(windows)])
        read = [window for window in windows if model.memory.find([window], "large") != [None]]
        assert [int(window.split()[0]) for window in read] == [9, 4, 8, 7]
        assert len(read) == MOST_READ

    def test_takes_no_message_for_harmless_that_the_large_encoder_should_have_read(self, tmp_path: Path) -> None:
        (tmp_path / "large.npz").write_bytes(LARGE_ENCODER_FILE.read_bytes()[:5000])
        model = replace(load_crisis_model(), large_file=tmp_path / "large.npz")
        with pytest.raises(CrisisModelInvalid):
            model.find_categories([FILLER, HINT])


def score_features(window: str) -> float:
    model, buckets = load_crisis_model(), list_buckets(window)
    features = model.detector[buckets].sum(dtype=np.int64) * model.detector_scale / len(buckets) ** 0.5
    return float(features) + model.detector_bias


class TestLoadCrisisModel:
    def test_says_the_same_when_it_is_loaded_again(self) -> None:
        again = load_crisis_model.__wrapped__()
        assert again.fingerprint == load_crisis_model().fingerprint
        assert again.score([HINT, FILLER]) == load_crisis_model().score([HINT, FILLER])

    def test_refuses_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(CrisisModelInvalid, match="restore"):
            load_crisis_model(tmp_path / "nothing.npz")

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", WEIGHTS_FILE.read_bytes()[:5000]])
    def test_refuses_a_damaged_file(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "weights.npz").write_bytes(content)
        with pytest.raises(CrisisModelInvalid):
            load_crisis_model(tmp_path / "weights.npz")

    def test_refuses_a_missing_encoder(self, tmp_path: Path) -> None:
        with pytest.raises(CrisisModelInvalid):
            load_crisis_model(WEIGHTS_FILE, tmp_path / "nothing.npz")
        with pytest.raises(CrisisModelInvalid):
            load_crisis_model(WEIGHTS_FILE, ENCODER_FILE, tmp_path / "nothing.npz")

    @pytest.mark.parametrize("name", ["detector", "threshold", "screening"])
    def test_refuses_a_file_without_an_array(self, tmp_path: Path, name: str) -> None:
        with np.load(WEIGHTS_FILE) as arrays:
            np.savez(tmp_path / "weights.npz", **{key: arrays[key] for key in arrays.files if key != name})
        with pytest.raises(CrisisModelInvalid):
            load_crisis_model(tmp_path / "weights.npz")

    def test_refuses_another_shape(self, tmp_path: Path) -> None:
        with np.load(WEIGHTS_FILE) as arrays:
            changed = {key: arrays[key] for key in arrays.files}
        changed["detector"] = changed["detector"][:10]
        np.savez(tmp_path / "weights.npz", **changed)
        with pytest.raises(CrisisModelInvalid):
            load_crisis_model(tmp_path / "weights.npz")

    def test_refuses_a_screening_that_would_hide_signals(self, tmp_path: Path) -> None:
        with np.load(WEIGHTS_FILE) as arrays:
            np.savez(tmp_path / "weights.npz", **{**arrays, "screening": arrays["threshold"] + 1})
        with pytest.raises(CrisisModelInvalid):
            load_crisis_model(tmp_path / "weights.npz")
