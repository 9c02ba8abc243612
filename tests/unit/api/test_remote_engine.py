"""The interface over a remote engine that comes, breaks and goes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from db.promotions import promote
from db.swaps import list_swaps
from serving.artifact import load_artifact, seal_artifact
from serving.engine import CTranslate2Engine
from serving.remote_models import ADAPTER_FOLDER, name_model
from settings import Settings
from tests.openai_server import OpenAIServer, run_openai_server
from tests.processes import await_value
from tests.unit.api.live import QUESTION, Artifacts, Live, add_first_version, start_app

CRISIS = {"messages": [{"role": "user", "content": "I want to kill myself."}]}


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory, artifacts: Artifacts) -> Artifacts:
    """The same artifacts, the second with an adapter as `lora:R` leaves it."""
    root = shutil.copytree(artifacts.root, tmp_path_factory.mktemp("tuned") / "artifacts")
    (root / artifacts.folders[1] / ADAPTER_FOLDER).mkdir()
    (root / artifacts.folders[1] / ADAPTER_FOLDER / "adapter_config.json").write_text("{}")
    digest = seal_artifact(root / artifacts.folders[1], base_digest=artifacts.digests[0], base_model="tiny")
    return Artifacts(root, (artifacts.digests[0], digest), artifacts.folders)


@pytest.fixture
def server(tuned: Artifacts) -> Iterator[OpenAIServer]:
    """Serves the base."""
    base = load_artifact(tuned.root / tuned.folders[0])
    with run_openai_server(base) as server:
        server.models[name_model(base.digest)] = CTranslate2Engine(base.engine_folder)
        yield server


@pytest.fixture
def settings(settings: Settings, tuned: Artifacts, server: OpenAIServer) -> Settings:
    return settings.model_copy(
        update={"artifacts_url": str(tuned.root), "engine_url": server.url, "engine_timeout_s": 5.0}
    )


@pytest.fixture
def live(settings: Settings, tuned: Artifacts) -> Iterator[Live]:
    with start_app(settings, tuned) as live:
        yield live


def test_a_promotion_reaches_the_engine_and_the_headers(live: Live, tuned: Artifacts, server: OpenAIServer) -> None:
    add_first_version(live.services.database, tuned)
    before = live.http.post("/v1/chat/completions", json=QUESTION, headers=live.callers.client)
    written_by = [server.requests[-1]["model"]]
    with live.services.database.transaction() as session:
        promote(session, 1, "manual", "Better.", "ann")
    live.services.watch.look()
    after = live.http.post("/v1/chat/completions", json=QUESTION, headers=live.callers.client)
    written_by.append(server.requests[-1]["model"])
    for response, version, name in ((before, 0, written_by[0]), (after, 1, written_by[1])):
        assert response.headers["x-ratchet-version"] == str(version)
        assert response.headers["x-ratchet-digest"] == tuned.digests[version]
        assert name == name_model(tuned.digests[version])
    texts = [response.json()["choices"][0]["message"]["content"] for response in (before, after)]
    assert texts[0] != texts[1]


@pytest.mark.parametrize("fault", ["other", "short"])
def test_a_broken_engine_is_503_and_a_crisis_is_answered(live: Live, server: OpenAIServer, fault: str) -> None:
    server.fault = fault
    refused = live.http.post("/v1/chat/completions", json=QUESTION, headers=live.callers.client)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert refused.json()["error"]["code"] == "engine_unavailable"
    assert server.url not in refused.text
    streamed = live.http.post("/v1/chat/completions", json=QUESTION | {"stream": True}, headers=live.callers.client)
    assert "engine_unavailable" in streamed.text
    assert "[DONE]" not in streamed.text
    assert live.chat(**CRISIS)["choices"][0]["message"]["content"]
    server.fault = ""
    assert live.chat()["choices"][0]["message"]["content"]


def test_starts_without_the_engine_and_takes_it_when_it_comes(
    settings: Settings, tuned: Artifacts, server: OpenAIServer, tmp_path: Path
) -> None:
    models, server.models = server.models, {}
    with start_app(settings.model_copy(update={"poll_s": 0.05}), tuned) as live:
        refused = live.http.post("/v1/chat/completions", json=QUESTION, headers=live.callers.client)
        assert refused.status_code == 503
        assert live.chat(**CRISIS)["choices"][0]["message"]["content"]
        server.models = models
        await_value(lambda: live.services.slot.current, lambda current: current is not None, 30)
        assert live.chat()["system_fingerprint"] == tuned.digests[0]
        with live.services.database.reading() as session:
            outcomes = [(swap.version_number, swap.succeeded) for swap in list_swaps(session)]
        assert outcomes == [(0, True), (0, False)]  # however often it was tried
