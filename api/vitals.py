"""Whether the parts of the system answer: workers, broker, engine. Asking takes up to a few seconds: in a thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kombu.exceptions import OperationalError

from api.errors import WatchEnded
from api.services import Services

State = Literal["well", "down", "unknown"]
_ANSWER_S = 1.0  # how long a worker may take to answer


@dataclass(frozen=True)
class Vital:
    """One part, how it is, and a sentence with the remedy if it is not well."""

    name: str
    state: State
    detail: str


def check_vitals(services: Services) -> list[Vital]:
    """All parts."""
    broker = _check_broker(services)
    return [_check_engine(services), broker, _check_workers(services, broker)]


def _check_engine(services: Services) -> Vital:
    current = services.slot.current
    if current is None:
        return Vital("Engine", "down", "No version is loaded; see the log of the API.")
    if services.watch.has_ended:
        return Vital("Engine", "down", WatchEnded().message)
    waiting, running = services.scheduler.waiting, services.scheduler.running
    return Vital("Engine", "well", f"Serves version {current.version}: {running} replies running, {waiting} waiting.")


def _check_broker(services: Services) -> Vital:
    if not services.settings.broker:
        return Vital("Broker", "down", "None is configured; start everything with `ratchet up`.")
    try:
        with services.celery.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=_ANSWER_S)
    except (OperationalError, OSError):
        return Vital("Broker", "down", "It does not answer; runs begin late, when the sweep finds them.")
    return Vital("Broker", "well", "Answers.")


def _check_workers(services: Services, broker: Vital) -> Vital:
    if broker.state != "well":
        return Vital("Worker", "unknown", "Cannot be asked without the broker.")
    answers = services.celery.control.ping(timeout=_ANSWER_S)
    if not answers:
        return Vital("Worker", "down", "No worker answers; start `ratchet worker`, or see its log.")
    return Vital("Worker", "well", f"{len(answers)} {'worker answers' if len(answers) == 1 else 'workers answer'}.")
