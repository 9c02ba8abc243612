"""Waiting at a terminal: a bar for each stage with speed and time left; plain lines where there is no terminal."""

from __future__ import annotations

import io

from rich.console import Console

from data.vocabulary import RunStatus
from waiting import StageBars, describe

EVENT = {"stage": "supervised", "step": 40, "of": 120, "loss": 2.1034, "tokens_per_s": 1234.5, "eta_s": 95.2}


def draw(*states: tuple[RunStatus, dict[str, object]], is_terminal: bool) -> str:
    """What stands on the screen after these states, with the last bar as it was."""
    file = io.StringIO()
    with StageBars(Console(file=file, force_terminal=is_terminal, width=120, color_system=None)) as bars:
        for status, progress in states:
            bars.show(status, progress)
    return file.getvalue()


def test_shows_speed_loss_and_time_left() -> None:
    assert describe(EVENT) == "loss 2.103, 1,234 tokens/s, 1:35 left"
    assert describe({"step": 1, "loss": None, "tokens_per_s": None, "eta_s": None}) == ""
    assert describe({"eta_s": 59.7}) == "1:00 left"


def test_has_a_bar_for_each_stage_and_fills_those_that_are_over() -> None:
    later = EVENT | {"stage": "preference", "step": 3, "of": 20}
    screen = draw((RunStatus.QUEUED, {}), (RunStatus.TRAINING, EVENT), (RunStatus.TRAINING, later), is_terminal=True)
    lines = [line for line in screen.splitlines() if "━" in line][-3:]
    assert [line.split()[1] for line in lines] == ["queued", "supervised", "preference"]
    assert "120/120" in lines[1]
    assert "1,234 tokens/s" in lines[1]
    assert "left" not in lines[1]
    assert " 3/20" in lines[2]
    assert "1:35 left" in lines[2]


def test_an_old_event_does_not_outlive_its_status() -> None:
    """Between the last event of training and the first of evaluation the status says more."""
    screen = draw(
        (RunStatus.EVALUATING, EVENT | {"stage": "evaluating"}), (RunStatus.PROMOTING, EVENT), is_terminal=False
    )
    assert screen.split() == ["evaluating", "promoting"]
