"""Answers that are kept: the same again, and never what is torn, foreign or of another question."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from trainer.holdout_cache import LIMIT_FILES, HoldoutCache, Kept

KEY: dict[str, str | int] = {"part": "replies", "artifact": "a" * 64, "reply_tokens": 8}
KEPT = Kept(texts=["Hello, ünïcode.", ""], arrays=[np.array([0.5, -1.25]), np.empty(0), np.array([3.0])])


@pytest.fixture
def cache(tmp_path: Path) -> HoldoutCache:
    cache = HoldoutCache(tmp_path / "cache")
    cache.keep(KEY, KEPT)
    return cache


def find_file(tmp_path: Path) -> Path:
    (path,) = (tmp_path / "cache").iterdir()
    return path


class TestHoldoutCache:
    def test_gives_back_what_was_kept_and_nothing_for_another_key(self, cache: HoldoutCache) -> None:
        found = cache.find(KEY)
        assert found is not None
        assert list(found.texts) == list(KEPT.texts)
        assert [array.tolist() for array in found.arrays] == [[0.5, -1.25], [], [3.0]]
        assert cache.find(KEY | {"reply_tokens": 9}) is None

    def test_keeps_empty_answers_and_float32(self, cache: HoldoutCache) -> None:
        cache.keep(KEY | {"part": "none"}, Kept())
        cache.keep(KEY | {"part": "features"}, Kept(arrays=[np.array([1.5], dtype=np.float32)]))
        empty, features = cache.find(KEY | {"part": "none"}), cache.find(KEY | {"part": "features"})
        assert empty is not None and (list(empty.texts), list(empty.arrays)) == ([], [])
        assert features is not None and features.arrays[0].dtype == np.float32

    @pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
    def test_ignores_a_torn_file(self, cache: HoldoutCache, tmp_path: Path, share: float) -> None:
        path = find_file(tmp_path)
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
        assert cache.find(KEY) is None
        cache.keep(KEY, KEPT)
        assert cache.find(KEY) is not None

    def test_ignores_a_changed_byte_and_a_file_under_a_foreign_name(self, cache: HoldoutCache, tmp_path: Path) -> None:
        path = find_file(tmp_path)
        cache.keep(KEY | {"reply_tokens": 9}, Kept(texts=["other"]))
        (other,) = (each for each in path.parent.iterdir() if each != path)
        content = bytearray(path.read_bytes())
        other.write_bytes(content)
        assert cache.find(KEY | {"reply_tokens": 9}) is None
        content[-40] ^= 1
        path.write_bytes(content)
        assert cache.find(KEY) is None

    def test_keeps_nothing_without_a_folder_or_where_the_disk_refuses(self, tmp_path: Path) -> None:
        nowhere = HoldoutCache(None)
        nowhere.keep(KEY, KEPT)
        assert nowhere.find(KEY) is None
        (tmp_path / "file").write_text("")
        refused = HoldoutCache(tmp_path / "file" / "cache")
        refused.keep(KEY, KEPT)
        assert refused.find(KEY) is None

    def test_lets_the_least_recently_used_go(self, cache: HoldoutCache, tmp_path: Path) -> None:
        first = find_file(tmp_path)
        for number in range(LIMIT_FILES):
            os.utime(first, ns=(number, number))
            cache.keep(KEY | {"reply_tokens": 100 + number}, KEPT)
        assert len(list((tmp_path / "cache").iterdir())) == LIMIT_FILES
        assert cache.find(KEY) is None
