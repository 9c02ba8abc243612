"""Which of the processes of one run this is, by the variables that `accelerate launch` sets; alone, the main one."""

from __future__ import annotations

import os


def get_rank() -> int:
    """Number of this process, from 0; process 0 writes the files and tells the progress."""
    return int(os.environ.get("RANK", "0"))


def count_processes() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))
