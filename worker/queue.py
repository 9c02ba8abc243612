"""The Celery app and the nudge: a message that only names a run. The run row is the truth, the message may be lost."""

from __future__ import annotations

from functools import lru_cache

from celery import Celery
from kombu.exceptions import OperationalError

from settings import Settings, get_settings

EXECUTE = "runs.execute"
TICK = "runs.tick"
TRAIN_QUEUE, DEFAULT_QUEUE = "train", "default"  # a run may take hours, so what is short does not wait behind it
# A broker may fall silent without closing its connections, as behind a firewall that forgot them. Kombu's own values
# (30 to 51 s) leave the worker deaf for over a minute then.
_CONNECT_TIMEOUT_S = 2.0
_ANSWER_S = 5.0  # of one command
_HEALTH_CHECK_S = 5  # a connection that waits for messages is given up after twice as long


def build_celery(settings: Settings) -> Celery:
    """A Celery app on the settings' broker; results are not kept, for the database has them."""
    app = Celery("ratchet", broker=settings.broker, include=["worker.tasks"])
    app.conf.update(
        task_ignore_result=True,
        task_default_queue=DEFAULT_QUEUE,
        task_routes={EXECUTE: {"queue": TRAIN_QUEUE}},
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "socket_connect_timeout": _CONNECT_TIMEOUT_S,
            "socket_timeout": _ANSWER_S,
            "socket_keepalive": True,
            "health_check_interval": _HEALTH_CHECK_S,
        },
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        beat_scheduler="celery.beat:Scheduler",  # no file: a tick lost or doubled does no harm
        beat_schedule={"tick": {"task": TICK, "schedule": settings.tick_s, "options": {"expires": settings.tick_s}}},
        beat_max_loop_interval=max(1.0, settings.tick_s),
    )
    return app


@lru_cache
def get_celery() -> Celery:
    """The Celery app of this process."""
    return build_celery(get_settings())


def send_nudge(run_id: str, app: Celery | None = None) -> bool:
    """Tell the workers that a run waits; False when the broker does not answer, and the sweep will send it again.

    Call it after the commit of the row, never before.
    """
    try:
        (app or get_celery()).send_task(EXECUTE, args=[run_id], retry=False)
    except OperationalError:
        return False
    return True
