"""What people write and who they are appear in no log, metric, error or queue, and after erasure nowhere on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from redis import Redis

from data.vocabulary import KeyRole
from db.keys import create_key
from db.session import Database
from settings import Settings
from tests.processes import run_api
from tests.unit.api.live import Artifacts, add_base_version
from worker.erasure import continue_erasures

CANARY = "canary-4711"
USER = f"{CANARY}@example.org"
CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": f"I am {CANARY}, call +31 20 {CANARY}."}]
pytestmark = pytest.mark.slow


@pytest.fixture
def database(settings: Settings, artifacts: Artifacts) -> Iterator[Database]:
    """The database that the API process opens, too."""
    database = Database(settings.database)
    add_base_version(database, artifacts)
    yield database
    database.dispose()


def add_clients(database: Database, address: str) -> dict[KeyRole, tuple[httpx.Client, str]]:
    """For each role a caller, and the secret of its key."""
    clients = {}
    for role in KeyRole:
        with database.transaction() as session:
            _, secret = create_key(session, role, f"a {role}")
        headers = {"Authorization": f"Bearer {secret}"}
        clients[role] = httpx.Client(base_url=address, headers=headers, timeout=60), secret
    return clients


def talk(client: httpx.Client, reviewer: httpx.Client) -> None:
    """A user talks, whole and streamed, rates the reply twice, and an expert rewrites it."""
    asked = {"messages": MESSAGES, "user": USER, "metadata": {"conversation_id": CANARY}, "max_tokens": 8}
    assert client.post(CHAT, json=asked | {"stream": True}).text.endswith("[DONE]\n\n")
    completion_id = client.post(CHAT, json=asked).raise_for_status().json()["id"]
    texts = {"comment": CANARY, "correction": CANARY, "reasons": [CANARY], "user": USER}
    for rating in ("down", "up"):
        client.post("/v1/feedback", json={"completion_id": completion_id, "rating": rating, **texts}).raise_for_status()
    review = {"verdict": "bad", "rewrite": CANARY, "comment": CANARY}
    reviewer.post(f"/v1/reviews/{completion_id}", json=review).raise_for_status()


def list_refusals(client: httpx.Client, admin: httpx.Client) -> list[httpx.Response]:
    """The answers to requests that are wrong in every way, and hold the canary."""
    bodies: list[dict[str, Any]] = [
        {"messages": CANARY},
        {"messages": [{"role": CANARY, "content": CANARY}]},
        {"messages": [{"role": "assistant", "content": CANARY}]},
        {"messages": MESSAGES, "temperature": CANARY},
        {"messages": MESSAGES, "user": USER * 20},
        {"messages": MESSAGES, "tools": [CANARY]},
        {"messages": [{"role": "user", "content": f"{CANARY}\0"}]},
    ]
    table = f"Context,Response\n{CANARY},{CANARY},{CANARY}\n{CANARY},\0\n".encode()
    return [
        *(client.post(CHAT, json=body) for body in bodies),
        client.post(CHAT, content=f'{{"messages": "{CANARY}'.encode()),
        client.post(CHAT, json={}, headers={"Authorization": f"Bearer {CANARY}"}),
        client.post("/v1/feedback", json={"completion_id": "unknown", "rating": "up", "comment": CANARY}),
        client.get("/v1/feedback/unknown", params={"user": USER}),
        client.get(f"/{CANARY}"),
        client.delete(f"/v1/admin/end-users/{USER}"),
        admin.delete(f"/v1/admin/end-users/unknown-{USER}"),
        admin.post("/v1/admin/runs", json={"recipe": {"seed": CANARY}}),
        admin.post("/v1/admin/examples", files={"file": ("pairs.csv", table)}),
        admin.post("/v1/admin/examples", files={"file": ("pairs.jsonl", f"{{{CANARY}".encode())}),
    ]


def dump(store: Redis) -> str:
    """Every key of the store with its value."""
    readers = {
        b"string": store.get,
        b"list": lambda key: store.lrange(key, 0, -1),
        b"set": store.smembers,
        b"hash": store.hgetall,
        b"zset": lambda key: store.zrange(key, 0, -1),
    }
    return repr([(key, readers[store.type(key)](key)) for key in store.scan_iter()])


def list_holders(folder: Path) -> list[Path]:
    """The files that hold the canary."""
    return [path for path in folder.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]


def test_canaries(settings: Settings, database: Database, tmp_path_factory: pytest.TempPathFactory) -> None:
    log = tmp_path_factory.mktemp("log") / "api.log"
    store: Redis = Redis.from_url(settings.broker_url)
    with run_api(settings, log) as (address, _):
        callers = add_clients(database, address)
        admin, client, reviewer = (callers[role][0] for role in (KeyRole.ADMIN, KeyRole.CLIENT, KeyRole.REVIEWER))
        talk(client, reviewer)
        admin.post("/v1/admin/runs").raise_for_status()
        refusals = list_refusals(client, admin)
        seen = {"metrics": client.get("/metrics").text, "broker": dump(store)}
        assert list_holders(settings.var)
        admin.delete(f"/v1/admin/end-users/{quote(USER, safe='')}").raise_for_status()
        for caller, _ in callers.values():
            caller.close()
    seen |= {f"{answer.request.method} {answer.request.url}": answer.text for answer in refusals}
    seen["log"] = log.read_text()
    assert all(400 <= answer.status_code < 500 for answer in refusals), [answer.status_code for answer in refusals]
    assert "ratchet:limit:" in seen["broker"]
    assert '"action": "request"' in seen["log"]
    for secret in (CANARY, *(secret for _, secret in callers.values())):
        assert [place for place, text in seen.items() if secret in text] == []
    for _ in range(2):  # the second sweep finds the erasure done
        continue_erasures(database, settings)
    assert list_holders(settings.var) == []
