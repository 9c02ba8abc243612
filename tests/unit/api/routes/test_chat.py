"""Chat over HTTP: the shape of answers, what is refused, and what is recorded."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import select

from data.preferences import build_pairs
from data.sentences import cut_unfinished
from data.vocabulary import SnapshotRow, Split
from db.models import Completion, Conversation
from db.pool import list_pool_rows
from settings import Settings
from tests.unit.api.live import QUESTION, Artifacts, Live, start_app

URL = "/v1/chat/completions"
CRISIS = {"messages": [{"role": "user", "content": "I want to kill myself."}]}


def read_events(text: str) -> list[Any]:
    """The data of a stream's events, parsed but for the mark of the end."""
    return [
        data if data == "[DONE]" else json.loads(data)
        for data in text.removeprefix("data: ").strip().split("\n\ndata: ")
    ]


def get_completion(live: Live, completion_id: str) -> Completion:
    with live.services.database.reading() as session:
        return session.get_one(Completion, completion_id)


class TestCreateChatCompletion:
    def test_answers_as_openai_does_and_names_the_weights(self, live: Live) -> None:
        response = live.http.post(URL, json=QUESTION, headers=live.callers.client)
        body = response.json()
        current = live.services.slot.current
        assert current is not None
        assert response.status_code == 200
        assert body["object"] == "chat.completion"
        assert body["model"] == "ratchet-v0"
        assert body["system_fingerprint"] == response.headers["X-Ratchet-Digest"] == current.digest
        assert response.headers["X-Ratchet-Version"] == "0"
        assert body["choices"][0]["message"]["role"] == "assistant"
        assert body["choices"][0]["message"]["content"]
        assert body["choices"][0]["finish_reason"] == "length"
        assert body["usage"]["completion_tokens"] == 8
        assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + 8

    def test_records_the_exchange(self, live: Live) -> None:
        body = live.chat(user="ann", metadata={"conversation_id": "chat-1", "other": 1}, top_p=0.9, stop=["§"])
        row = get_completion(live, body["id"])
        assert row.messages == QUESTION["messages"]
        assert row.reply == body["choices"][0]["message"]["content"]
        assert (row.version_number, row.digest) == (0, body["system_fingerprint"])
        assert row.sampling == {"max_tokens": 8, "temperature": 0, "top_p": 0.9, "top_k": 0, "stop": ["§"]}
        assert (row.finish_reason, row.reply_tokens, row.is_crisis) == ("length", 8, False)
        assert row.prompt_tokens == body["usage"]["prompt_tokens"]
        assert row.latency_s > 0
        with live.services.database.reading() as session:
            assert session.get_one(Conversation, (row.key_id, "chat-1")).end_user == "ann"

    def test_streams_the_same_reply_in_chunks(self, live: Live) -> None:
        whole = live.chat()["choices"][0]["message"]["content"]
        members = {"stream": True, "stream_options": {"include_usage": True}}
        response = live.http.post(URL, json=QUESTION | members, headers=live.callers.client)
        *chunks, usage, end = read_events(response.text)
        assert response.headers["Content-Type"].startswith("text/event-stream")
        assert response.headers["X-Ratchet-Version"] == "0"
        assert end == "[DONE]"
        assert usage["choices"] == []
        assert usage["usage"]["completion_tokens"] == 8
        assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
        assert chunks[-1]["choices"][0]["finish_reason"] == "length"
        assert "".join(chunk["choices"][0]["delta"]["content"] or "" for chunk in chunks) == whole
        assert {chunk["id"] for chunk in chunks} == {usage["id"]}
        assert get_completion(live, usage["id"]).reply == whole

    def test_sends_no_usage_unasked(self, live: Live) -> None:
        response = live.http.post(URL, json=QUESTION | {"stream": True}, headers=live.callers.client)
        assert all(event["usage"] is None for event in read_events(response.text)[:-1])

    def test_takes_text_parts_and_a_developer_as_system(self, live: Live) -> None:
        parts = [{"type": "text", "text": "I cannot"}, {"type": "text", "text": "sleep."}]
        body = live.chat(messages=[{"role": "developer", "content": "Be kind."}, {"role": "user", "content": parts}])
        assert get_completion(live, body["id"]).messages == [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "I cannot\nsleep."},
        ]

    def test_ignores_unknown_parameters(self, live: Live) -> None:
        live.chat(presence_penalty=1, reasoning_effort="low")

    @pytest.mark.parametrize("model", [None, "production", "ratchet-v0"])
    def test_answers_for_the_model_that_is_served(self, live: Live, model: str | None) -> None:
        assert live.chat(model=model)["model"] == "ratchet-v0"

    def test_refuses_another_model_and_generates_nothing(self, live: Live) -> None:
        response = live.http.post(URL, json=QUESTION | {"model": "gpt-4"}, headers=live.callers.client)
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "model_not_found"
        assert response.json()["error"]["param"] == "model"
        with live.services.database.reading() as session:
            assert session.query(Completion).count() == 0

    @pytest.mark.parametrize(
        ("members", "param"),
        [
            ({"tools": [{"type": "function"}]}, "tools"),
            ({"functions": [{"name": "f"}]}, "functions"),
            ({"logit_bias": {"1": 5}}, "logit_bias"),
            ({"logprobs": True}, "logprobs"),
            ({"messages": [{"role": "assistant", "content": "Hello."}]}, "messages"),
        ],
    )
    def test_refuses_what_it_does_not_do(self, live: Live, members: dict[str, Any], param: str) -> None:
        response = live.http.post(URL, json=QUESTION | members, headers=live.callers.client)
        assert response.status_code == 400
        assert response.json()["error"]["param"] == param

    @pytest.mark.parametrize(
        "members",
        [
            {"messages": []},
            {"messages": [{"role": "tool", "content": "x"}]},
            {"messages": [{"role": "user", "content": None}]},
            {"messages": [{"role": "user", "content": "a\x00b"}]},
            {"messages": [{"role": "user", "content": "a\ud800b"}]},
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
            {"user": "\x00"},
            {"stop": ["\ud800"]},
            {"temperature": -1},
            {"temperature": float("nan")},
            {"top_p": 0},
            {"max_tokens": 0},
            {"stop": list("abcde")},
            {"n": 0},
            {"n": 5},
        ],
    )
    def test_refuses_another_shape(self, live: Live, members: dict[str, Any]) -> None:
        headers = live.callers.client | {"Content-Type": "application/json"}
        response = live.http.post(URL, content=json.dumps(QUESTION | members), headers=headers)
        assert response.status_code == 422

    @pytest.mark.parametrize(
        "content",
        [
            "a" * 50_001,
            [{"type": "text", "text": "a" * 50_001}],
            [{"type": "text", "text": "a" * 25_001}, {"type": "text", "text": "a" * 25_000}],
        ],
    )
    def test_refuses_a_message_that_would_take_long_to_read(self, live: Live, content: Any) -> None:
        body = {"messages": [{"role": "user", "content": "Hello."}, {"role": "user", "content": content}]}
        response = live.http.post(URL, json=body, headers=live.callers.client)
        assert response.status_code == 422
        assert "should have at most 50000 characters" in response.json()["detail"]
        assert "messages.1.content" in response.json()["detail"]

    def test_refuses_a_message_longer_than_the_window(self, live: Live) -> None:
        messages = [{"role": "user", "content": "word " * 2000}]
        response = live.http.post(URL, json={"messages": messages}, headers=live.callers.client)
        assert response.status_code == 400
        assert response.json()["error"]["code"] == "context_length_exceeded"

    def test_gives_choices_that_are_rated_one_by_one(self, live: Live) -> None:
        # A sampled reply may end at once by chance: ask again until both have been said in full.
        asked = (live.chat(n=2, temperature=1.5) for _ in range(20))
        body = next(body for body in asked if {each["finish_reason"] for each in body["choices"]} == {"length"})
        rows = [get_completion(live, completion_id) for completion_id in (body["id"], f"{body['id']}-1")]
        assert [row.reply for row in rows] == [choice["message"]["content"] for choice in body["choices"]]
        assert rows[0].reply != rows[1].reply
        assert rows[0].conversation_id == rows[1].conversation_id
        assert body["usage"]["completion_tokens"] == rows[0].reply_tokens + rows[1].reply_tokens == 16
        for choice, rating in enumerate(("up", "down")):
            said = {"completion_id": body["id"], "choice": choice, "rating": rating}
            response = live.http.post("/v1/feedback", json=said, headers=live.callers.client)
            assert (response.status_code, response.json()["completion_id"]) == (201, rows[choice].id)
        with live.services.database.reading() as session:
            snapshot = [SnapshotRow(row=row, split=Split.TRAIN) for row in list_pool_rows(session)]
        [pair] = build_pairs(snapshot)
        assert [pair.chosen, pair.rejected] == [cut_unfinished(row.reply) for row in rows]

    def test_counts_all_choices_against_the_limit_of_the_key(self, settings: Settings, artifacts: Artifacts) -> None:
        settings = settings.model_copy(update={"streams_per_key": 2})
        with start_app(settings, artifacts) as live:
            refused = live.http.post(URL, json=QUESTION | {"n": 3}, headers=live.callers.client)
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_replies")
            assert refused.headers["Retry-After"]
            for stream in (False, True, False):  # each has ended when the next begins
                members = QUESTION | {"n": 2, "stream": stream}
                assert live.http.post(URL, json=members, headers=live.callers.client).status_code == 200
            assert live.http.post(URL, json=CRISIS | {"n": 3}, headers=live.callers.client).status_code == 200
            assert live.http.post(URL, json=QUESTION | {"n": 3}, headers=live.callers.admin).status_code == 200

    def test_leaves_out_old_turns_above_the_limit_of_prompts(self, settings: Settings, artifacts: Artifacts) -> None:
        with start_app(settings.model_copy(update={"max_prompt_tokens": 30}), artifacts) as live:
            turns = [{"role": role, "content": "word word word"} for role in ("user", "assistant") * 3]
            usage = live.chat(messages=[*turns, {"role": "user", "content": "And now?"}])["usage"]
        assert usage["prompt_tokens"] <= 30
        assert usage["dropped_turns"] > 0

    def test_says_how_many_turns_were_dropped(self, live: Live) -> None:
        turns = [{"role": role, "content": "word " * 60} for role in ("user", "assistant")]
        body = live.chat(messages=[*turns, *turns, {"role": "user", "content": "And now?"}])
        assert body["usage"]["dropped_turns"] > 0

    @pytest.mark.parametrize("stream", [False, True])
    def test_answers_a_crisis_for_any_model_and_even_without_one(self, live: Live, stream: bool) -> None:
        live.services.slot.close()
        members = CRISIS | {"model": "gpt-4", "stream": stream}
        response = live.http.post(URL, json=members, headers=live.callers.client)
        assert response.status_code == 200
        assert "988" in response.text
        assert "X-Ratchet-Version" not in response.headers
        first = read_events(response.text)[0] if stream else response.json()
        row = get_completion(live, first["id"])
        assert (row.is_crisis, row.version_number, row.digest) == (True, None, None)

    @pytest.mark.parametrize("stream", [False, True])
    def test_refuses_another_end_user_in_a_conversation_unless_in_a_crisis(self, live: Live, stream: bool) -> None:
        metadata = {"conversation_id": "talk"}
        first = live.chat(user="ann", metadata=metadata)
        members = {"user": "bob", "metadata": metadata, "stream": stream}
        response = live.http.post(URL, json=QUESTION | members, headers=live.callers.client)
        assert response.status_code == 409
        assert response.json()["detail"].startswith("The conversation 'talk' is another end user's; ")
        response = live.http.post(URL, json=CRISIS | members, headers=live.callers.client)
        assert response.status_code == 200
        with live.services.database.reading() as session:
            owners = dict(session.execute(select(Conversation.id, Conversation.end_user)).all())
            said = session.execute(select(Completion.id, Completion.conversation_id)).all()
        assert sorted(owners.values()) == ["ann", "bob"]
        assert {owners[name] for completion_id, name in said if completion_id != first["id"]} == {"bob"}

    def test_is_not_ready_without_a_model(self, live: Live) -> None:
        live.services.slot.close()
        response = live.http.post(URL, json=QUESTION, headers=live.callers.client)
        assert response.status_code == 503
        assert int(response.headers["Retry-After"]) > 0
        assert response.json()["error"]["code"] == "model_not_ready"

    def test_counts_tokens(self, live: Live) -> None:
        usage = live.chat()["usage"]
        metrics = live.http.get("/metrics").text
        assert f'ratchet_tokens_total{{kind="prompt"}} {usage["prompt_tokens"]}.0' in metrics
        assert 'ratchet_tokens_total{kind="reply"} 8.0' in metrics
