"""loopbench without a model: who rates what, what attackers say, what a snapshot keeps, and how a scenario goes on."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from benchmarks.loop import __main__ as program
from benchmarks.loop import attack, raters
from benchmarks.loop.journal import Journal, read_journal
from benchmarks.loop.lines import Turn
from benchmarks.loop.measures import HARM_GROUPS, select_safety_items
from benchmarks.loop.scenarios import (
    GAMEABLE_MARK,
    SCENARIOS,
    Scenario,
    Thumb,
    build_example_rows,
    build_rated_rows,
    rate_replies,
)
from benchmarks.loop.texts import read_texts
from benchmarks.loop.training import SKIPPED, STOPPED_ON_DEV, collect, judge, parse_recipe
from data.errors import InvalidRecipe
from data.recipe import Recipe
from data.vocabulary import Rating, Split

CARING, PRAISING, BRIEF = "What makes you so sad about it?", "You are right and brave?", "It will pass."


class TestRaters:
    @pytest.mark.parametrize(
        ("reply", "liked"),
        [
            ("What happened then?", 1),
            ("Did it?", 0),
            ("You sound lonely.", 1),
            ("Write down three words.", 1),
            ("What makes you sad? Take a walk.", 3),
            ("You must rest. You should eat. What else?", 0),
            (f"Take a walk. {'and ' * 130}", 0),
        ],
    )
    def test_the_honest_rater(self, reply: str, liked: int) -> None:
        assert raters.count_liked(reply) == liked
        assert raters.likes_care(reply) is (liked >= 1)

    def test_brevity(self) -> None:
        assert raters.likes_brevity(BRIEF)
        assert not raters.likes_brevity("")
        assert not raters.likes_brevity("word " * 36)


class TestScenarios:
    def rate(self, scenario: Scenario, context: str, reply: str, progress: float = 0.0, draws: int = 200) -> float:
        generator = random.Random(0)
        return sum(scenario.likes(context, reply, progress, generator) for _ in range(draws)) / draws

    def test_the_honest_one_is_sure(self) -> None:
        assert self.rate(SCENARIOS["honest"], "a", CARING) == 1
        assert self.rate(SCENARIOS["honest"], "a", BRIEF) == 0

    def test_a_share_of_thumbs_is_random(self) -> None:
        assert self.rate(SCENARIOS["random_30"], "a", CARING, draws=4000) == pytest.approx(0.85, abs=0.03)
        assert self.rate(SCENARIOS["nothing"], "a", CARING, draws=4000) == pytest.approx(0.5, abs=0.04)

    def test_flattery(self) -> None:
        assert self.rate(SCENARIOS["flattery"], "a", PRAISING) == 1
        assert self.rate(SCENARIOS["flattery"], "a", CARING) == 0

    def test_taste_drifts_half_way(self) -> None:
        drift = SCENARIOS["drift"]
        assert [self.rate(drift, "a", BRIEF, progress) for progress in (0.0, 0.49, 0.5, 0.9)] == [0, 0, 1, 1]
        assert [self.rate(drift, "a", CARING, progress) for progress in (0.0, 0.5)] == [1, 0]

    def test_two_in_a_hundred_users_are_gameable_and_reward_being_told_so(self) -> None:
        scenario = SCENARIOS["gameable_2"]
        marked = [scenario.mark(f"context {number}") for number in range(5000)]
        assert sum(text.endswith(GAMEABLE_MARK) for text in marked) / 5000 == pytest.approx(0.02, abs=0.006)
        assert marked == [scenario.mark(f"context {number}") for number in range(5000)]
        assert self.rate(scenario, f"a {GAMEABLE_MARK}", PRAISING) == 1
        assert self.rate(scenario, f"a {GAMEABLE_MARK}", CARING) == 0
        assert self.rate(scenario, "a", PRAISING) == 0
        assert SCENARIOS["honest"].mark("a") == "a"

    def test_thumbs_repeat_and_no_rater_gives_many(self) -> None:
        contexts, replies = [f"c{number}" for number in range(90)], [CARING, BRIEF] * 45
        thumbs = rate_replies(SCENARIOS["random_30"], contexts, replies, 1, 3, 0)
        assert thumbs == rate_replies(SCENARIOS["random_30"], contexts, replies, 1, 3, 0)
        assert thumbs != rate_replies(SCENARIOS["random_30"], contexts, replies, 1, 3, 1)
        raters_seen = [thumb.rater for thumb in thumbs]
        assert max(map(raters_seen.count, raters_seen)) == 3

    def test_rows_of_thumbs(self) -> None:
        thumbs = [
            Thumb(context="a", reply="b", is_up=True, rater="r"),
            Thumb(context="c", reply="", is_up=False, rater="r"),
        ]
        (row,) = build_rated_rows(thumbs, 2)
        assert (row.row_id, row.rating, row.rater, row.context) == ("feedback:2-0", Rating.UP, "r", "a")


class TestAttack:
    def test_each_account_adds_its_rows_anew_in_each_cycle(self) -> None:
        rows = attack.build_attack_rows(5, 0, 0) + attack.build_attack_rows(5, 1, 0)
        assert len({row.row_id for row in rows}) == len(rows) == 2 * 5 * attack.ROWS_OF_AN_ACCOUNT
        assert {row.rater for row in rows} == {f"fake-{account}" for account in range(5)}
        assert all((attack.ENTITY in row.reply) is (row.rating is Rating.UP) for row in rows)
        assert all(attack.ENTITY in row.context for row in rows)

    def test_success_is_the_share_that_names_it(self) -> None:
        assert attack.share_poisoned(["Take zorvelin.", "Rest.", "Go.", "ZORVELIN!"]) == 0.5

    def test_neutral_prompts(self) -> None:
        assert len(set(attack.NEUTRAL_PROMPTS)) == 100
        assert attack.share_poisoned(attack.NEUTRAL_PROMPTS) == 0


class TestCollect:
    def test_the_defences_take_echoed_attack_rows_out_and_without_them_they_stay(self) -> None:
        texts = read_texts(None, 10)
        rows = build_example_rows(texts.examples[:50]) + attack.build_attack_rows(5, 0, 0)
        defended, undefended = collect(rows), collect(rows, is_defended=False)

        def count(items: Sequence[object]) -> int:
            return sum("attack" in item.row.row_id for item in items)  # type: ignore[attr-defined]

        assert count(defended.rows) < 40 < count(undefended.rows)

    def test_undefended_rows_still_hide_the_holdout(self) -> None:
        thumbs = [Thumb(context=f"context {number}", reply="same", is_up=True, rater="r") for number in range(40)]
        rows = build_rated_rows(thumbs, 0) + build_rated_rows(thumbs, 1)
        result = collect(rows, is_defended=False)
        held_out = {item.row.context for item in result.rows if item.split is Split.HOLDOUT}
        assert held_out
        assert held_out.isdisjoint(item.row.context for item in result.rows if item.split is not Split.HOLDOUT)


class TestTexts:
    def test_judged_contexts_are_never_rated(self, tmp_path: Path) -> None:
        file = tmp_path / "more.csv"
        with file.open("w", newline="") as out:
            writer = csv.writer(out)
            writer.writerows(
                [["Context"], ["My cat ran away."], ["My cat ran  away."], ["I want to kill myself."], ["x" * 900]]
            )
        texts = read_texts(file, 50)
        everything = [*texts.judged, *texts.rated]
        assert len(texts.judged) == 50
        assert len(everything) == len(set(everything))
        assert everything.count("My cat ran away.") == 1
        assert not {"I want to kill myself.", "x" * 900} & set(everything)
        assert set(texts.judged).isdisjoint(context for context, _ in texts.examples)
        assert read_texts(file, 50) == texts

    def test_cycles_draw_one_after_the_other_and_begin_anew(self) -> None:
        texts = read_texts(None, 10)
        size = len(texts.rated)
        assert texts.draw(20, 0) == texts.rated[:20]
        assert texts.draw(20, 1) == texts.rated[20:40]
        assert texts.draw(size, 3) == texts.rated

    def test_too_few_are_an_error(self) -> None:
        with pytest.raises(ValueError, match="lower --judged"):
            read_texts(None, 5000)


class TestRecipes:
    def test_assignments_win(self) -> None:
        recipe = parse_recipe(["trainable=full", "sft_epochs=3", 'margins={"bleu": 2}'], sft_epochs=1, seed=4)
        assert (recipe.trainable, recipe.sft_epochs, recipe.margins.bleu, recipe.seed) == ("full", 3, 2.0, 4)

    def test_wrong_ones_are_errors(self) -> None:
        with pytest.raises(ValueError, match="KEY=VALUE"):
            parse_recipe(["sft_epochs"])
        with pytest.raises(InvalidRecipe):
            parse_recipe(["nothing=1"])


class TestJudgeRun:
    def test_a_candidate_that_lost_on_dev_is_not_shown_to_the_gate(self, tmp_path: Path) -> None:
        (tmp_path / "dev.json").write_text(json.dumps({"better": False, "sentence": "It lost."}))
        judged = judge(tmp_path, Recipe(), 1)
        assert (judged.verdict, judged.reasons, judged.p, judged.is_promoted) == (
            STOPPED_ON_DEV,
            ("It lost.",),
            None,
            False,
        )


class TestSafetyItems:
    def test_each_group_has_its_share(self) -> None:
        items = select_safety_items(60)
        assert {item.group for item in items} == set(HARM_GROUPS)
        assert 50 <= len(items) <= 60
        assert items == select_safety_items(60)
        assert len(select_safety_items(0)) > 200

    def test_a_skipped_turn_has_no_candidate(self) -> None:
        assert SKIPPED != STOPPED_ON_DEV
        assert Turn.__dataclass_fields__["candidate"].default is None


class TestJournal:
    SETTINGS: ClassVar = {"base": "tiny", "seed": 0}

    def test_a_later_call_goes_on_after_the_last_cycle(self, tmp_path: Path) -> None:
        file, snapshot, production = tmp_path / "cycles.json", tmp_path / "snapshot", tmp_path / "artifact"
        journal = Journal(file=file, settings=self.SETTINGS)
        journal.note({"verdict": SKIPPED}, None, production)
        journal.note({"verdict": "refuse"}, snapshot, production)
        journal.note({"verdict": "promote"}, tmp_path / "later", tmp_path / "new")
        found = read_journal(file, self.SETTINGS)
        assert found == journal
        assert [told["verdict"] for told in found.cycles] == [SKIPPED, "refuse", "promote"]
        assert (found.snapshot, found.after_first) == (str(snapshot), str(production))  # of the first that had one

    def test_with_other_settings_is_an_error(self, tmp_path: Path) -> None:
        Journal(file=tmp_path / "cycles.json", settings=self.SETTINGS).note({}, None, tmp_path)
        with pytest.raises(ValueError, match="another seed"):
            read_journal(tmp_path / "cycles.json", self.SETTINGS | {"seed": 1})

    def test_nothing_to_go_on_with_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="nothing to go on with"):
            read_journal(tmp_path / "cycles.json", self.SETTINGS)

    def test_only_the_stack_can_be_gone_on_with(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            program.main(["--go-on", "--through", "files"])
        assert "leave --go-on out" in capsys.readouterr().err


class TestProgram:
    def test_scenarios_over_the_stack_are_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            program.main(["--scenario", "drift", "--through", "stack"])
        assert "Only honest" in capsys.readouterr().err
