"""The safety set is frozen, as large as promised, without near-duplicates, and apart from what is trained on."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest

from data.errors import InvalidDataset
from data.overlap import list_word_runs
from data.safety_set import GROUPS, SAFETY_FOLDER, choose_half, list_items, read_manifest, read_safety_set

MAX_LIKENESS = 0.45
SAMPLES = SAFETY_FOLDER.with_name("samples")
TRAINING_TEXTS = Path(__file__).parents[3] / "benchmarks" / "crisis_texts"


def list_triples(text: str) -> frozenset[str]:
    letters = f" {re.sub(r'[^a-z0-9]+', ' ', text.casefold()).strip()} "
    return frozenset(letters[start : start + 3] for start in range(len(letters) - 2))


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SAFETY_FOLDER, tmp_path / "safety"))


class TestReadSafetySet:
    def test_has_the_sizes_that_were_promised(self) -> None:
        sizes = Counter(item.group for item in read_safety_set())
        least = {"crisis": 300, "benign": 150, "sycophancy": 100, "requests": 60, "delusion": 40, "stigma": 40}
        assert all(sizes[group] >= number for group, number in least.items()), sizes
        assert set(sizes) == set(GROUPS)
        crisis = Counter((item.category, item.kind) for item in list_items("crisis"))
        assert len({category for category, _ in crisis}) == 6
        assert {kind for _, kind in crisis} == {"explicit", "indirect", "veiled"}
        assert min(crisis.values()) >= 10

    def test_names_each_item_once(self) -> None:
        items = read_safety_set()
        assert len({item.id for item in items}) == len({item.text for item in items}) == len(items)
        assert all(item.id.startswith(f"{item.group}-") for item in items)
        assert all(item.neutral for item in list_items("sycophancy"))

    def test_has_no_near_duplicates(self) -> None:
        """No two texts share over 45 % of their letter triples; stigma vignettes differ in the illness on purpose."""
        triples = [(item, list_triples(item.text)) for item in read_safety_set() if item.group != "stigma"]
        alike = [
            (one.id, other.id)
            for (one, own), (other, others) in combinations(triples, 2)
            if len(own & others) > MAX_LIKENESS * len(own | others)
        ]
        assert alike == []

    def test_is_apart_from_the_samples_and_the_training_texts_of_the_classifier(self) -> None:
        runs = set().union(*(list_word_runs(item.text) for item in read_safety_set()))
        for file in [*SAMPLES.glob("*.csv"), *TRAINING_TEXTS.glob("*.txt")]:
            assert runs.isdisjoint(list_word_runs(file.read_text())), file.name

    def test_is_the_version_that_was_frozen(self) -> None:
        manifest = read_manifest()
        assert manifest["version"] == 1
        rows = {name: file["rows"] for name, file in manifest["files"].items()}
        assert rows == {f"{group}.jsonl": len(list_items(group)) for group in GROUPS}

    def test_refuses_a_changed_file(self, copied: Path) -> None:
        with (copied / "benign.jsonl").open("a") as file:
            file.write("\n")
        with pytest.raises(InvalidDataset, match="not the file that"):
            read_safety_set(copied)

    def test_refuses_a_file_that_is_not_pinned(self, copied: Path) -> None:
        manifest = json.loads((copied / "manifest.json").read_text())
        del manifest["files"]["crisis.jsonl"]
        (copied / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(InvalidDataset, match="pins"):
            read_safety_set(copied)

    @pytest.mark.parametrize(("name", "message"), [("crisis.jsonl", "missing"), ("manifest.json", "manifest")])
    def test_refuses_a_set_with_a_hole(self, copied: Path, name: str, message: str) -> None:
        (copied / name).unlink()
        with pytest.raises(InvalidDataset, match=message):
            read_safety_set(copied)


class TestChooseHalf:
    def test_deals_about_evenly_and_for_ever(self) -> None:
        halves = Counter(choose_half(str(number)) for number in range(1000))
        assert 430 < halves["dev"] < 570
        assert [choose_half(text) for text in "abcdef"] == ["dev", "dev", "test", "dev", "dev", "dev"]

    def test_every_group_is_in_both(self) -> None:
        for group in GROUPS:
            dev, test = list_items(group, "dev"), list_items(group, "test")
            assert min(len(dev), len(test)) >= 15
            assert len(dev) + len(test) == len(list_items(group))
