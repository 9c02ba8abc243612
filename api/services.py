"""What the endpoints work with, opened and closed with the app."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from celery import Celery
from fastapi import Depends, Request

from api.keyring import KeyRing
from api.limits import Limits
from api.metrics import Metrics
from api.watch import ProductionWatch
from db.session import Database
from serving.artifact_store import open_store
from serving.chat import ChatService
from serving.handle import load_handle
from serving.remote import EngineClient
from serving.remote_models import RemoteModels
from serving.safety import SafetyLayer
from serving.scheduler import Scheduler
from serving.slot import LoadHandle, ModelSlot
from settings import Settings
from worker.queue import build_celery

_STATEMENT_S = 30.0  # a request whose statement takes longer gets 503, for its client has long gone
_MAX_DECODE_THREADS = 2  # a loaded version decodes at most so many batches side by side


@dataclass(frozen=True)
class Services:
    """Everything that lives as long as the app."""

    settings: Settings
    database: Database
    keys: KeyRing
    slot: ModelSlot
    scheduler: Scheduler
    chat: ChatService
    watch: ProductionWatch
    metrics: Metrics
    limits: Limits
    celery: Celery


@contextmanager
def open_services(settings: Settings, metrics: Metrics, load: LoadHandle | None = None) -> Iterator[Services]:
    """Open everything and begin to watch production; at the end, let running replies end and close it all.

    `load` makes of an artifact what answers; None: what the settings say.
    """
    with ExitStack() as stack:
        database = Database(settings.database, _STATEMENT_S)
        stack.callback(database.dispose)
        decode_threads = min(settings.threads, _MAX_DECODE_THREADS)
        if settings.engine_url:
            client = EngineClient(settings.engine_url, settings.engine_key, settings.engine_timeout_s)
            load = stack.enter_context(RemoteModels(client, settings.engine_artifacts)).load
            decode_threads = settings.engine_streams  # they only wait: it is the server that batches
        kept_bytes = settings.prefix_cache_mb * 10**6
        load = load or partial(load_handle, engine=settings.engine, prefix_cache_bytes=kept_bytes)
        slot = ModelSlot(settings.compute_type, settings.threads, load)
        stack.callback(slot.close)
        scheduler = Scheduler(settings.queue_limit, threads=decode_threads, streams=settings.engine_streams)
        stack.callback(scheduler.close)
        store = open_store(settings.artifacts, settings.remote_artifacts, settings.artifacts_kept)
        watch = ProductionWatch(database, slot, settings.artifacts, settings.poll_s, metrics, store)
        stack.callback(watch.stop)
        limits = Limits(settings, metrics)
        stack.callback(limits.close)
        celery = build_celery(settings)
        stack.callback(celery.close)
        metrics.observe(scheduler, slot)
        watch.start()
        yield Services(
            settings=settings,
            database=database,
            keys=KeyRing(database),
            slot=slot,
            scheduler=scheduler,
            chat=ChatService(
                slot,
                scheduler,
                settings.max_reply_tokens,
                settings.max_prompt_tokens,
                SafetyLayer(settings.crisis_region, settings.crisis_resources),
            ),
            watch=watch,
            metrics=metrics,
            limits=limits,
            celery=celery,
        )


async def get_services(request: Request) -> Services:  # async, for else it would take a thread each time
    """The services of the app that answers the request."""
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(get_services)]
