"""The encoder: how it cuts words, that it reads order and context, and that a file that is not right is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.crisis_encoder import (
    BATCH,
    CRISIS_CATEGORIES,
    ENCODER_FILE,
    LARGE_ENCODER_FILE,
    LONGEST_WORD,
    MAX_PIECES,
    CrisisModelInvalid,
    list_pieces,
    load_crisis_encoder,
    normalise,
)

NAMES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "##happy", "happy", "'", "t", "don", "cafe", "x", "##x", "!")
PIECES = {name: number for number, name in enumerate(NAMES)}
HINT = "I have written all the letters and given the cat away, nobody has to deal with me after tonight."
WORDS = [piece for piece in load_crisis_encoder().pieces if piece.isalpha() and len(piece) > 3]
CALM = "We had soup for lunch and then we walked to the lake with the children."


class TestListPieces:
    @pytest.mark.parametrize(
        ("text", "numbers"),
        [
            ("", [2, 3]),
            ("Unhappy!", [2, 4, 5, 13, 3]),
            ("don\u2019t", [2, 9, 7, 8, 3]),
            ("Caf\u00e9", [2, 10, 3]),
            ("unknown happy", [2, 1, 6, 3]),
            ("hap\u200bpy", [2, 6, 3]),
        ],
    )
    def test_cuts_words_into_the_longest_known_pieces(self, text: str, numbers: list[int]) -> None:
        assert list_pieces(text, PIECES) == numbers

    def test_ends_where_the_encoder_does(self) -> None:
        assert list_pieces("happy " * 100, PIECES) == [2, *[6] * (MAX_PIECES - 2), 3]
        assert len(list_pieces("x" * 100_000, PIECES)) == LONGEST_WORD + 2

    @given(st.text(max_size=80))
    def test_can_cut_every_text(self, text: str) -> None:
        numbers = list_pieces(text, load_crisis_encoder().pieces)
        assert 2 <= len(numbers) <= MAX_PIECES


class TestCut:
    @pytest.mark.parametrize("text", ["", HINT, "?! " * 31, "a" * LONGEST_WORD, "1 " * (MAX_PIECES - 2)])
    def test_leaves_what_is_read_whole(self, text: str) -> None:
        assert load_crisis_encoder().cut(text) == []

    @given(st.lists(st.sampled_from(WORDS), min_size=70, max_size=120, unique=True), st.sampled_from([" ", ". ", "."]))
    def test_leaves_no_piece_unread(self, words: list[str], sign: str) -> None:
        encoder = load_crisis_encoder()
        parts = encoder.cut(sign.join(words))
        lists = [list_pieces(part, encoder.pieces) for part in parts]
        assert all(len(numbers) <= MAX_PIECES for numbers in lists)
        assert {number for numbers in lists for number in numbers} >= {encoder.pieces[word] for word in words}

    def test_begins_each_part_in_the_middle_of_the_one_before(self) -> None:
        encoder, words = load_crisis_encoder(), WORDS[:100]
        parts = [part.split() for part in encoder.cut(" ".join(words))]
        assert parts == [words[:62], words[31:93], words[62:]]

    def test_reads_by_itself_what_has_no_spaces(self) -> None:
        word = ".".join("abcdefghijklmnopqrstuvwxyz")
        parts = load_crisis_encoder().cut(f"I am {word} done {word}{word} today")
        assert parts[0] == "i am done today"
        assert parts[1] == word
        assert (parts[2][:5], parts[-1][-5:]) == ("a.b.c", "x.y.z")

    def test_shortens_what_says_little(self) -> None:
        address = "https://example.com/one/two?three=four" + "-five" * 30
        text = " ".join((address, "-" * 70, "HAHA" * 30, "\U0001f62d" * 70, "I am done"))
        short = "https://example.com --- hahaha \U0001f62d\U0001f62d\U0001f62d i am done"
        assert load_crisis_encoder().cut(text) == [short]

    def test_reads_on_in_a_word_without_end(self) -> None:
        word = "".join(f"x{number}" for number in range(100))
        parts = load_crisis_encoder().cut(word)
        assert "".join(dict.fromkeys("".join(parts).split())).startswith(word[:LONGEST_WORD])
        assert parts[-1].endswith("x98x99")


class TestNormalise:
    def test_gives_mean_and_spread(self) -> None:
        states = np.array([[1, 2, 3, 6], [5, 5, 5, 5]], dtype=np.float32)
        found = normalise(states, np.array([[2] * 4, [1] * 4], dtype=np.float32))
        assert found.mean(axis=1) == pytest.approx([1, 1])
        assert found.std(axis=1) == pytest.approx([2, 0], abs=1e-5)


class TestJudge:
    @pytest.mark.parametrize("file", [ENCODER_FILE, LARGE_ENCODER_FILE])
    def test_tells_a_hint_from_the_everyday(self, file: Path) -> None:
        [(log_odds, category), (calm, _)] = load_crisis_encoder(file).judge([HINT, CALM])
        assert category == "suicide"
        assert log_odds > calm + 2

    def test_knows_how_far_apart_two_words_are(self) -> None:
        encoder = load_crisis_encoder(LARGE_ENCODER_FILE)
        deaf = replace(encoder, distance_bias=encoder.distance_bias * 0)
        assert abs(encoder.judge([HINT])[0][0] - deaf.judge([HINT])[0][0]) > 0.1

    def test_reads_the_order_of_words(self) -> None:
        encoder = load_crisis_encoder()
        one, other = encoder.judge(["he hurt me and I left", "I hurt me and he left"])
        assert one[0] != other[0]

    def test_reads_many_windows_as_it_reads_one(self) -> None:
        encoder = load_crisis_encoder()
        windows = [HINT, CALM, "", *(f"I have been awake for {hours} hours" for hours in range(2 * BATCH)), HINT]
        together = encoder.judge(windows)
        for window, (log_odds, category) in zip(windows, together, strict=True):
            [alone] = encoder.judge([window])
            assert (log_odds, category) == (pytest.approx(alone[0], abs=1e-4), alone[1])

    def test_says_the_same_again(self) -> None:
        assert load_crisis_encoder().judge([HINT]) == load_crisis_encoder.__wrapped__(ENCODER_FILE).judge([HINT])

    @given(st.text(max_size=80))
    def test_has_a_number_and_a_category_for_every_text(self, text: str) -> None:
        [(log_odds, category)] = load_crisis_encoder().judge([text])
        assert np.isfinite(log_odds)
        assert category in CRISIS_CATEGORIES


class TestLoadCrisisEncoder:
    def test_refuses_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(CrisisModelInvalid, match="restore"):
            load_crisis_encoder(tmp_path / "nothing.npz")

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", ENCODER_FILE.read_bytes()[:5000]])
    def test_refuses_a_damaged_file(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "encoder.npz").write_bytes(content)
        with pytest.raises(CrisisModelInvalid):
            load_crisis_encoder(tmp_path / "encoder.npz")

    def test_refuses_a_file_of_which_one_byte_has_changed(self, tmp_path: Path) -> None:
        content = bytearray(ENCODER_FILE.read_bytes())
        content[len(content) // 2] ^= 255
        (tmp_path / "encoder.npz").write_bytes(content)
        with pytest.raises(CrisisModelInvalid):
            load_crisis_encoder(tmp_path / "encoder.npz")

    @pytest.mark.parametrize(
        "name", ["pieces", "embeddings", "positions", "widen_0", "narrow_scale_1", "attend_bias_0", "norms_1", "head"]
    )
    def test_refuses_another_shape(self, tmp_path: Path, name: str) -> None:
        arrays = read_arrays()
        save(tmp_path, {**arrays, name: arrays[name][: len(arrays[name]) // 2]})
        with pytest.raises(CrisisModelInvalid):
            load_crisis_encoder(tmp_path / "encoder.npz")

    def test_refuses_a_missing_layer(self, tmp_path: Path) -> None:
        arrays = read_arrays()
        save(tmp_path, {**arrays, "layers": arrays["layers"] + 1})
        with pytest.raises(CrisisModelInvalid):
            load_crisis_encoder(tmp_path / "encoder.npz")

    def test_refuses_weights_that_are_no_numbers(self, tmp_path: Path) -> None:
        arrays = read_arrays()
        save(tmp_path, {**arrays, "head_bias": arrays["head_bias"] * np.nan})
        with pytest.raises(CrisisModelInvalid):
            load_crisis_encoder(tmp_path / "encoder.npz")


def read_arrays() -> dict[str, np.ndarray]:
    with np.load(ENCODER_FILE) as arrays:
        return {name: arrays[name] for name in arrays.files}


def save(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(folder / "encoder.npz", **arrays)
