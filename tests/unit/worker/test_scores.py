"""Score tables as the trainer writes them, whole and damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from worker.paired_scores import InvalidScores
from worker.scores import load_scores


def build_line(metric: str, row_id: str, **changes: Any) -> dict[str, Any]:
    line = {
        "metric": metric,
        "row_id": row_id,
        "cluster": f"conversation-{row_id}",
        "weight": 1.0,
        "is_up": None,
        "candidate": 0.3,
        "production": 0.2,
    }
    return line | changes


def save(folder: Path, lines: list[dict[str, Any]]) -> Path:
    path = folder / "scores.parquet"
    pd.DataFrame(lines).to_parquet(path)
    return path


class TestLoadScores:
    def test_reads_every_metric_once(self, tmp_path: Path) -> None:
        lines = [
            build_line("log_perplexity", "1", weight=17.0, candidate=3.0, production=3.5),
            build_line("rouge_l", "1"),
            build_line("log_perplexity", "2", weight=4.0),
            build_line("reply_words", "1", candidate=40.0, reference=38.0),
        ]
        paired, rated = load_scores(save(tmp_path, lines))
        assert rated is None
        assert [scores.name for scores in paired] == ["log_perplexity", "rouge_l", "reply_words"]
        assert [scores.higher_is_better for scores in paired] == [False, True, True]
        perplexity = paired[0]
        assert perplexity.candidate.tolist() == [3.0, 0.3]
        assert perplexity.production.tolist() == [3.5, 0.2]
        assert perplexity.weight.tolist() == [17.0, 4.0]
        assert perplexity.cluster.tolist() == ["conversation-1", "conversation-2"]
        assert perplexity.reference is None
        assert paired[2].reference is not None and paired[2].reference.tolist() == [38.0]

    def test_keeps_rating_scores_apart(self, tmp_path: Path) -> None:
        lines = [
            build_line("rouge_l", "1"),
            build_line("rating_score", "2", is_up=True, candidate=0.5),
            build_line("rating_score", "3", is_up=False),
        ]
        paired, rated = load_scores(save(tmp_path, lines))
        assert [scores.name for scores in paired] == ["rouge_l"]
        assert rated is not None
        assert rated.is_up.tolist() == [True, False]
        assert rated.candidate.tolist() == [0.5, 0.3]
        assert rated.cluster.tolist() == ["conversation-2", "conversation-3"]

    def test_reads_what_newer_tables_have(self, tmp_path: Path) -> None:
        lines = [
            build_line("repetition", "1", anchor=0.1, previous=None, created_at_s=7.0),
            build_line("repetition", "2", anchor=0.2, previous=None, created_at_s=8.0),
            build_line("rating_score", "3", is_up=True, rater="ann", anchor=None, created_at_s=9.0),
            build_line("rating_score", "4", is_up=False, rater=None, anchor=None, created_at_s=9.0),
        ]
        paired, rated = load_scores(save(tmp_path, lines))
        assert paired[0].anchor is not None and paired[0].anchor.tolist() == [0.1, 0.2]
        assert paired[0].created_at_s is not None and paired[0].created_at_s.tolist() == [7.0, 8.0]
        assert paired[0].row_id is not None and paired[0].row_id.tolist() == ["1", "2"]
        assert (paired[0].previous, paired[0].higher_is_better) == (None, False)
        assert rated is not None and rated.rater is not None and rated.anchor is None
        assert rated.rater.tolist() == ["ann", ""]

    def test_reads_tables_from_before(self, tmp_path: Path) -> None:
        paired, rated = load_scores(
            save(tmp_path, [build_line("rouge_l", "1"), build_line("rating_score", "2", is_up=True)])
        )
        assert paired[0].anchor is paired[0].previous is paired[0].created_at_s is None
        assert rated is not None and rated.rater is None and rated.anchor is None

    def test_reads_an_empty_table(self, tmp_path: Path) -> None:
        path = tmp_path / "scores.parquet"
        pd.DataFrame([build_line("rouge_l", "1")]).iloc[:0].to_parquet(path)
        assert load_scores(path) == ([], None)

    def test_leaves_a_missing_score_to_the_gate(self, tmp_path: Path) -> None:
        lines = [build_line("rouge_l", "1", candidate=None), build_line("rouge_l", "2")]
        paired, _ = load_scores(save(tmp_path, lines))
        assert np.isnan(paired[0].candidate).tolist() == [True, False]

    def test_refuses_a_rated_reply_without_its_rating(self, tmp_path: Path) -> None:
        lines = [build_line("rating_score", "1", is_up=True), build_line("rating_score", "2")]
        with pytest.raises(InvalidScores, match="lacks its rating"):
            load_scores(save(tmp_path, lines))

    def test_names_a_missing_column(self, tmp_path: Path) -> None:
        line = build_line("rouge_l", "1")
        del line["cluster"]
        with pytest.raises(InvalidScores, match=r"scores\.parquet lacks the column cluster"):
            load_scores(save(tmp_path, [line]))

    def test_refuses_a_file_that_is_no_table(self, tmp_path: Path) -> None:
        path = tmp_path / "scores.parquet"
        path.write_bytes(b"PAR1 torn")
        with pytest.raises(InvalidScores, match="cannot be read as a score table"):
            load_scores(path)

    def test_refuses_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidScores, match="cannot be read as a score table"):
            load_scores(tmp_path / "scores.parquet")
