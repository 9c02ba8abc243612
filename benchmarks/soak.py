"""Chat, rate and train without a pause, and see whether the memory of any process grows.

    python -m benchmarks.soak --minutes 240

The embedded stack on the tiny model: two clients chat and rate, an admin queues a run as soon as one has ended. The
warm-up is the first sixth of the time; growth is the last sixth's median over that after the warm-up. Exit code 1 when
a request failed, something acknowledged was lost, or a process grew by more than 5 %.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from db.session import Database
from tests.faults.clients import Caller, keep_chatting
from tests.faults.dose import SEED
from tests.faults.history import History, list_faults
from tests.faults.test_kills import await_quiet, keep_training
from tests.stacks import Running, run_stack

PROCESSES = ("api", "worker", "beat")
MOST_MINUTES = 240.0
LOOK_S = 5.0
MOST_GROWTH = 0.05
Samples = dict[str, list[tuple[float, int]]]  # seconds from the start and bytes, by process


def sample(running: Running, samples: Samples, at_s: float) -> None:
    """Add the resident memory of each process as it is now."""
    for name in PROCESSES:
        process = running.find_process("cli", name)
        if process is not None:
            samples[name].append((at_s, process.memory_info().rss))


def measure_growth(points: list[tuple[float, int]], lasted_s: float) -> float:
    """Growth as a share, from the sixth after the warm-up to the last sixth of the time."""
    sixth_s = lasted_s / 6
    early = [size for at_s, size in points if sixth_s <= at_s < 2 * sixth_s]
    late = [size for at_s, size in points if at_s >= lasted_s - sixth_s]
    return statistics.median(late) / statistics.median(early) - 1


def soak(root: Path, minutes: float) -> bool:
    """Whether all held."""
    samples: Samples = {name: [] for name in PROCESSES}
    history = History()
    limits = {"rate_per_minute": 100_000, "rate_burst": 10_000}
    with run_stack(root, pages=False, **limits) as running:
        caller = Caller(str(running.client.base_url), {"Authorization": running.client.headers["Authorization"]})
        database = Database(f"sqlite:///{running.folder / 'ratchet.db'}")
        started_s = time.monotonic()
        with keep_training(running, history), keep_chatting(caller, history, clients=2, seed=SEED):
            while (at_s := time.monotonic() - started_s) < minutes * 60:
                sample(running, samples, at_s)
                time.sleep(LOOK_S)
        await_quiet(database)
        faults = list_faults(history, database) + [f"refused: {what}" for what in history.refusals]
        database.dispose()
    growth = {name: measure_growth(points, minutes * 60) for name, points in samples.items()}
    print(f"{minutes:g} minutes: {len(history.replies)} replies, {len(history.ratings)} ratings, ", end="")
    print(f"{len(history.run_ids)} runs, {len(faults)} faults")
    for name, share in growth.items():
        print(f"{name:8} {samples[name][-1][1] / 1e6:8.1f} MB at the end, {share:+.1%} after the warm-up")
    for fault in faults[:20]:
        print(fault)
    return not faults and all(share <= MOST_GROWTH for share in growth.values())


def main() -> int:
    """0 when all held."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=MOST_MINUTES, help="at most 240")
    minutes = min(parser.parse_args().minutes, MOST_MINUTES)
    with tempfile.TemporaryDirectory() as folder:
        return 0 if soak(Path(folder), minutes) else 1


if __name__ == "__main__":
    sys.exit(main())
