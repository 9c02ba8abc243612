"""Replies to 1, 4, 8, 16 and 32 streams at once by each engine, in turns, and a swap under 32 streams.

    python -m benchmarks.serve [--base NAME] [--rounds 2] [--streams 1 8 32]

Every cell is a process of its own (`benchmarks.serve_once`); within a round all engines are asked in turn, so that a
machine that is slow for a while is slow for all. Shown is the median over the rounds. Float32, greedy.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.provenance import describe_origin, save_json

RESULTS = Path(__file__).parent / "results" / "serve.json"
ENGINES = ("ctranslate2", "openvino", "generate")
STREAMS = (1, 4, 8, 16, 32)
SHOWN = ("tokens_per_s", "first_ms_p50", "first_ms_p95", "each_ms_p50", "peak_mb")
Cells = dict[str, list[dict[str, Any]]]  # by engine and streams, one for each round


def measure_bandwidth() -> float:
    """Bytes that two threads read from memory in a second."""
    arrays = [np.ones(64 * 2**20, np.float32) for _ in range(2)]
    best = 0.0
    for _ in range(5):
        threads = [threading.Thread(target=array.sum) for array in arrays]
        started_s = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        best = max(best, sum(array.nbytes for array in arrays) / (time.perf_counter() - started_s))
    return best


def measure(artifact: Path, engine: str, streams: int, *options: str) -> dict[str, Any]:
    """The figures of one cell."""
    command = [sys.executable, "-m", "benchmarks.serve_once", str(artifact), engine, str(streams), *options]
    finished = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    return dict(json.loads(finished.stdout.splitlines()[-1]))


def take_median(rounds: list[dict[str, Any]], figure: str) -> float:
    """The median of one figure over the rounds."""
    return statistics.median(cell[figure] for cell in rounds)


def main() -> None:
    """Measure, print the table, and write benchmarks/results/serve.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=__doc__)
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--artifact", type=Path, help="an artifact that is there already, instead of --base")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--streams", type=int, nargs="+", default=STREAMS)
    parser.add_argument("--engines", nargs="+", default=ENGINES, choices=ENGINES)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        artifact = asked.artifact or Path(folder, "artifact")
        if not artifact.exists():
            subprocess.run([sys.executable, "-m", "trainer.base", asked.base, str(artifact)], check=True)
        weight_bytes = (artifact / "model.safetensors").stat().st_size
        bandwidth, cells = measure_bandwidth(), Cells()
        for _ in range(asked.rounds):
            for streams in asked.streams:
                for engine in asked.engines:
                    cells.setdefault(f"{engine} {streams}", []).append(measure(artifact, engine, streams))
        swaps = {name: measure(artifact, name, 32, "--swap") for name in asked.engines if name != "generate"}
    print(f"{'engine':12} {'streams':>7}" + "".join(f" {figure:>13}" for figure in SHOWN) + "  of bandwidth")
    for cell, rounds in cells.items():
        name, streams = cell.split()
        figures = [take_median(rounds, figure) for figure in SHOWN]
        share = f"{figures[0] * weight_bytes / bandwidth:.0%}" if streams == "1" else ""
        print(f"{name:12} {streams:>7}" + "".join(f" {figure:13.1f}" for figure in figures) + f"  {share:>12}")
    for name, swap in swaps.items():
        print(f"{name}: swap under 32 streams, {swap['swap_s']:.1f} s; pieces each second {swap['pieces_each_second']}")
    origin = describe_origin("python -m benchmarks.serve " + " ".join(sys.argv[1:]))
    save_json(RESULTS, {**origin, "bandwidth_bytes_per_s": bandwidth, "cells": cells, "swaps": swaps})


if __name__ == "__main__":
    main()
