"""Structured logs: JSON lines with a stable `action` and the request's id. Ids only: never a text, body or key."""

from __future__ import annotations

import logging

import structlog

_logger = logging.getLogger("ratchet.api")
log = structlog.stdlib.get_logger("ratchet.api")


def configure_logs() -> None:
    """Write what the interface logs to standard error, one JSON object a line."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    _logger.setLevel(logging.INFO)
    if not _logger.handlers:
        _logger.addHandler(logging.StreamHandler())
