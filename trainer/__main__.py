"""Train and evaluate one candidate over plain files.

    python -m trainer RUN_DIR [--exit-with-parent]

RUN_DIR holds run.json and snapshot/; the candidate, report.json, report.html, scores.parquet and metrics.jsonl are
written beside them. Progress goes to stdout as JSON lines. Exit code 0 when done, 1 with an `error` event otherwise,
which says `retry` when memory or disk was short.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import sys
import threading
from pathlib import Path

from safetensors import SafetensorError

from data.errors import RatchetError
from trainer.progress import emit
from trainer.shortage import describe_shortage


def main() -> int:
    """Run the trainer; every error on purpose ends in one sentence, any other keeps its traceback on stderr."""
    parser = argparse.ArgumentParser(prog="python -m trainer", description=__doc__)
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR")
    parser.add_argument(
        "--exit-with-parent",
        action="store_true",
        help="end as soon as stdin closes, as it does when the parent dies",
    )
    arguments = parser.parse_args()
    if arguments.exit_with_parent:
        threading.Thread(target=_exit_on_end_of_input, daemon=True).start()
    gc.disable()  # a million objects come to stay; to look through them again and again takes a sixth of the time
    from trainer.run import run  # torch and TRL take seconds to import; the watch must be on before

    gc.freeze()
    gc.enable()
    try:
        # libraries print to stdout; only events may stand there
        with contextlib.redirect_stdout(sys.stderr):
            run(arguments.run_dir)
    except RatchetError as error:
        emit("error", message=error.message)
        return 1
    except (OSError, RuntimeError, MemoryError, SafetensorError) as error:
        shortage = describe_shortage(error)
        if shortage:
            emit("error", message=shortage, retry=True)
        raise
    emit("done")
    return 0


def _exit_on_end_of_input() -> None:
    while os.read(0, 4096):  # not through sys.stdin, whose lock would be held when the program ends
        pass
    os._exit(2)


if __name__ == "__main__":
    sys.exit(main())
