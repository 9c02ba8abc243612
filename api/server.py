"""The process that serves HTTP."""

from __future__ import annotations

import gc
import signal
import sys

import uvicorn
from fastapi import FastAPI

from settings import Settings

_GRACE_S = 10  # for requests that are on their way when the process is to end


def serve(app: FastAPI, settings: Settings) -> None:
    """Serve until the process is told to end."""
    gc.collect()
    gc.freeze()  # what was imported stays; looking through it for garbage would stop every reply for 0.1 s
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises it again once it has shut down
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_GRACE_S,
    )
