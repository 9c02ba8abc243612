"""The safety layer over HTTP: resources first whatever the checkpoint is, and nothing harmful leaves, stream or not."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text as sql
from tokenizers import Tokenizer

from data.crisis import find_crisis
from data.safety_set import list_items
from data.vocabulary import Message
from db.models import Completion
from serving.chat import ChatService
from serving.engine import CTranslate2Engine, Sampling
from serving.handle import load_handle
from serving.safety import CRISIS_RESOURCES, SafetyLayer
from serving.slot import ModelSlot
from settings import Settings
from tests.engines import ScriptedEngine
from tests.unit.api.live import QUESTION, Artifacts, Live, start_app
from tests.unit.api.test_replies import GatedSlot

URL = "/v1/chat/completions"
HOSTILE = "Yes, of course. You should kill yourself now. First tie a noose."
CRISIS: list[Message] = [{"role": "user", "content": "I want to die."}]
MakeHostile = Callable[..., ScriptedEngine]


@pytest.fixture
def hostile(live: Live, artifacts: Artifacts) -> MakeHostile:
    """Lets the app answer with a checkpoint that says a given text."""

    def replace_model(text: str, **layer: Any) -> ScriptedEngine:
        handle = load_handle(artifacts.root / artifacts.folders[0], version=0, engine="ctranslate2")
        assert isinstance(handle.engine, CTranslate2Engine)
        [file] = Path(handle.folder).rglob("tokenizer.json")
        engine = ScriptedEngine(handle.engine, Tokenizer.from_file(str(file)).encode(text).ids)
        slot = GatedSlot(dataclasses.replace(handle, engine=engine))
        use_slot(live, slot, **layer)
        return engine

    return replace_model


def use_slot(live: Live, slot: ModelSlot, **layer: Any) -> None:
    """Let the app answer from another slot, with a safety layer of its own."""
    services = live.services
    chat = ChatService(slot, services.scheduler, max_reply_tokens=100, safety=SafetyLayer(**{"region": "US"} | layer))
    live.app.state.services = dataclasses.replace(services, slot=slot, chat=chat)


def ask(live: Live, text: str, *, stream: bool) -> tuple[str, str, str]:
    """The reply, its finish reason and its id."""
    body = {"messages": [{"role": "user", "content": text}], "temperature": 0, "stream": stream}
    response = live.http.post(URL, json=body, headers=live.callers.client)
    assert response.status_code == 200, response.text
    if not stream:
        [choice] = response.json()["choices"]
        return choice["message"]["content"], choice["finish_reason"], response.json()["id"]
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: {")]
    events = [json.loads(line) for line in lines]
    text = "".join(event["choices"][0]["delta"]["content"] or "" for event in events)
    return text, events[-1]["choices"][0]["finish_reason"], events[0]["id"]


def list_detected() -> list[str]:
    """Every message of the safety set in which a crisis is seen."""
    return [item.text for item in list_items("crisis") if find_crisis(item.text)]


def read_metric(live: Live, line: str) -> float:
    found = [row.split()[-1] for row in live.http.get("/metrics").text.splitlines() if row.startswith(line)]
    return float(found[0]) if found else 0.0


@pytest.mark.parametrize("stream", [False, True])
class TestCrisis:
    def test_every_detected_case_gets_the_resources_first_from_a_hostile_checkpoint(
        self, live: Live, hostile: MakeHostile, stream: bool
    ) -> None:
        engine, detected = hostile(HOSTILE), list_detected()
        assert len(detected) > 200
        for text in detected[:: 3 if stream else 1]:
            reply, finish_reason, _ = ask(live, text, stream=stream)
            assert reply.startswith(CRISIS_RESOURCES["US"]), text
            assert finish_reason == "stop"
        assert engine.prompts == 0
        assert sum(read_metric(live, f'ratchet_crises_total{{category="{c}"') for c in ("suicide", "abuse")) > 0

    def test_every_detected_case_gets_the_resources_first_with_the_model_down(self, live: Live, stream: bool) -> None:
        use_slot(live, ModelSlot())
        for text in list_detected()[::6]:
            reply, _, _ = ask(live, text, stream=stream)
            assert reply.startswith(CRISIS_RESOURCES["US"]), text

    def test_any_message_gets_them_when_the_detector_breaks(
        self, live: Live, hostile: MakeHostile, stream: bool
    ) -> None:
        def detect(turns: Sequence[str]) -> None:
            raise ValueError(turns)

        engine = hostile(HOSTILE, detect=detect)
        reply, _, completion_id = ask(live, "Hello.", stream=stream)
        assert reply.startswith(CRISIS_RESOURCES["US"])
        assert engine.prompts == 0
        assert read_metric(live, 'ratchet_crises_total{category="detector_failed",source="failure"}') == 1
        with live.services.database.reading() as session:
            assert session.get_one(Completion, completion_id).is_crisis

    def test_the_resources_come_whole_when_the_database_cannot_record_them(self, live: Live, stream: bool) -> None:
        with live.services.database.transaction() as session:
            session.execute(sql("ALTER TABLE completions RENAME TO away"))
        reply, finish_reason, _ = ask(live, "I want to die.", stream=stream)
        assert reply == live.services.chat.answer(CRISIS, Sampling(max_tokens=1)).result.text
        assert finish_reason == "stop"
        assert read_metric(live, "ratchet_crises_unrecorded_total") == 1
        assert read_metric(live, 'ratchet_crises_total{category="suicide"') == 1
        response = live.http.post(URL, json=QUESTION | {"stream": stream}, headers=live.callers.client)
        assert "database_unavailable" in response.text  # what the model writes is not given without a record


@pytest.mark.parametrize("stream", [False, True])
class TestOutputFilter:
    def test_ends_a_harmful_reply_before_the_harm(self, live: Live, hostile: MakeHostile, stream: bool) -> None:
        hostile(HOSTILE)
        reply, finish_reason, completion_id = ask(live, "What should I cook?", stream=stream)
        assert reply.startswith("Yes, of course. ")
        assert reply.endswith(CRISIS_RESOURCES["US"])
        assert "kill" not in reply
        assert "noose" not in reply
        assert finish_reason == "content_filter"
        with live.services.database.reading() as session:
            row = session.get_one(Completion, completion_id)
        assert (row.reply, row.finish_reason) == (reply, "content_filter")
        assert read_metric(live, 'ratchet_filtered_total{rule="incitement"}') == 1

    def test_masks_the_data_of_others_only(self, live: Live, hostile: MakeHostile, stream: bool) -> None:
        hostile("Write to bob@example.org or to ann@example.org today.")
        reply, finish_reason, _ = ask(live, "I am ann@example.org, hello.", stream=stream)
        assert reply == "Write to [EMAIL] or to ann@example.org today."
        assert finish_reason == "content_filter"
        assert read_metric(live, 'ratchet_filtered_total{rule="personal_data"}') == 1

    def test_leaves_a_good_reply_alone(self, live: Live, hostile: MakeHostile, stream: bool) -> None:
        hostile("That sounds hard. What helped you before?")
        reply, finish_reason, _ = ask(live, "I am sad.", stream=stream)
        assert (reply, finish_reason) == ("That sounds hard. What helped you before?", "stop")


class TestSettings:
    def test_name_the_region_and_its_own_resources(self, settings: Settings, artifacts: Artifacts) -> None:
        for update, first in (
            ({"crisis_region": "GB"}, CRISIS_RESOURCES["GB"]),
            ({"crisis_region": "GB", "crisis_resources": {"GB": "Call the ward."}}, "Call the ward."),
        ):
            with start_app(settings.model_copy(update=update), artifacts) as live:
                assert ask(live, "I want to die.", stream=False)[0].startswith(first)
