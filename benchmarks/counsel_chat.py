"""One run on real counselling data: import counsel-chat with upvotes as ratings, improve, print the verdict.

    python benchmarks/counsel_chat.py [options of `ratchet improve`]

An answer with at least one upvote counts as up; one with none although its page was seen as often as the median
page counts as down; one with none and few views says nothing and is left out. Needs a running stack (`ratchet up`).
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from db.evaluations import find_evaluation
from db.runs import list_runs
from db.session import Database
from settings import get_settings

SOURCE = Path(__file__).parents[2] / "shared" / "data" / "counsel_chat" / "counsel_chat_2020_scrape.csv.gz"
RESULT = Path(__file__).with_name("results") / "counsel_chat.json"


def rate_answers(table: pd.DataFrame) -> pd.DataFrame:
    """Context, Response and rating of the answers whose upvotes say something."""
    is_up = table["upvotes"] >= 1
    is_down = ~is_up & (table["views"] >= table["views"].median())
    rated = table[is_up | is_down][["Context", "Response"]].copy()
    rated["rating"] = is_up[is_up | is_down].map({True: "up", False: "down"})
    return rated.dropna()


def main() -> int:
    """Run the benchmark; 0 also when the data set is not there, with the reason."""
    if not SOURCE.exists():
        print(f"Skipped: {SOURCE.name} is not on this machine.")
        return 0
    rated = rate_answers(pd.read_csv(SOURCE))
    print(rated["rating"].value_counts().to_string())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "counsel_chat.csv"
        rated.to_csv(file, index=False)
        subprocess.run([sys.executable, "-m", "cli", "import", str(file)], check=True)
    started_s = time.monotonic()
    code = subprocess.run([sys.executable, "-m", "cli", "improve", "--wait", *sys.argv[1:]], check=False).returncode
    _save(time.monotonic() - started_s)
    return code


def _save(seconds: float) -> None:
    database = Database(get_settings().database)
    with database.reading() as session:
        run = list_runs(session, limit=1)[0]
        evaluation = find_evaluation(session, run.id)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    RESULT.parent.mkdir(exist_ok=True)
    result = {
        "machine": f"{os.cpu_count()} processors, {platform.machine()}, {_name_processor()}",
        "commit": commit.stdout.strip(),
        "command": " ".join(["python benchmarks/counsel_chat.py", *sys.argv[1:]]),
        "status": run.status,
        "reason": run.reason,
        "seconds": round(seconds, 1),
        "decision": evaluation.decision if evaluation else None,
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")


def _name_processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    sys.exit(main())
