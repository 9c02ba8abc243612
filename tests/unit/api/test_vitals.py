"""How the parts of the system are."""

from __future__ import annotations

from dataclasses import replace

from api.vitals import check_vitals
from tests.processes import find_free_port
from tests.unit.api.live import Live
from worker.queue import build_celery


class TestCheckVitals:
    def test_a_broker_without_workers(self, live: Live) -> None:
        engine, broker, worker = check_vitals(live.services)
        assert (engine.state, broker.state, worker.state) == ("well", "well", "down")
        assert engine.detail == "Serves version 0: 0 replies running, 0 waiting."
        assert "ratchet worker" in worker.detail

    def test_a_broker_that_does_not_answer(self, live: Live) -> None:
        settings = live.services.settings.model_copy(update={"broker_url": f"redis://127.0.0.1:{find_free_port()}/0"})
        celery = build_celery(settings)
        _, broker, worker = check_vitals(replace(live.services, settings=settings, celery=celery))
        assert (broker.state, worker.state) == ("down", "unknown")
        celery.close()

    def test_no_broker_and_no_model(self, live: Live) -> None:
        settings = live.services.settings.model_copy(update={"broker_url": ""})
        live.services.slot.close()
        engine, broker, _ = check_vitals(replace(live.services, settings=settings))
        assert (engine.state, broker.state) == ("down", "down")
        assert "ratchet up" in broker.detail
