"""A running interface for tests: the app, what it works with, and headers of each kind of caller."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.types import ASGIApp

from api.app import create_app
from api.services import Services
from data.vocabulary import KeyRole
from db.keys import create_key, revoke_key
from db.session import Database
from db.versions import ensure_base_version, register_version
from settings import Settings
from tests.rows import add_finished_run

Headers = dict[str, str]
QUESTION = {"messages": [{"role": "user", "content": "I cannot sleep."}], "temperature": 0, "max_tokens": 8}


@dataclass(frozen=True)
class Artifacts:
    """Two tiny artifacts below one root: of the base model and of the first version."""

    root: Path
    digests: tuple[str, str]
    folders: tuple[str, str]  # names below the root


@dataclass(frozen=True)
class Callers:
    """Headers of callers; `revoked` belonged to an admin."""

    client: Headers
    other_client: Headers
    reviewer: Headers
    admin: Headers
    revoked: Headers


@dataclass(frozen=True)
class Live:
    """An app that was started, with a client that calls it."""

    app: FastAPI
    http: TestClient
    callers: Callers

    @property
    def services(self) -> Services:
        """What the app works with."""
        services: Services = self.app.state.services
        return services

    def chat(self, headers: Headers | None = None, **members: Any) -> dict[str, Any]:
        """The answer to a question, which must succeed."""
        response = self.http.post(
            "/v1/chat/completions", json=QUESTION | members, headers=headers or self.callers.client
        )
        assert response.status_code == 200, response.text
        return dict(response.json())


def build_settings(folder: Path, sqlite_template: Path, artifacts: Artifacts, broker_url: str) -> Settings:
    """Settings of an app with its own database; it looks at the pointer once, then only when a test makes it."""
    shutil.copy(sqlite_template, folder / "ratchet.db")
    return Settings(
        var=folder,
        artifacts_url=str(artifacts.root),
        broker_url=broker_url,
        max_reply_tokens=100,
        poll_s=3600,
        rate_burst=10_000,
        pages=False,
    )


def add_base_version(database: Database, artifacts: Artifacts) -> None:
    """Register the base model and put it into production."""
    with database.transaction() as session:
        ensure_base_version(session, artifacts.digests[0], artifacts.folders[0], "tiny")


def add_first_version(database: Database, artifacts: Artifacts, *, folder: str | None = None) -> None:
    """Register version 1."""
    with database.transaction() as session:
        register_version(
            session,
            add_finished_run(session),
            artifacts.digests[1],
            folder or artifacts.folders[1],
            "tiny",
            {"rows": 3},
        )


def add_callers(database: Database) -> Callers:
    """Keys of each role, and one that was revoked."""
    roles = (KeyRole.CLIENT, KeyRole.CLIENT, KeyRole.REVIEWER, KeyRole.ADMIN, KeyRole.ADMIN)
    with database.transaction() as session:
        keys = [create_key(session, role, f"a {role}") for role in roles]
        revoke_key(session, keys[-1][0].id)
    return Callers(*({"Authorization": f"Bearer {secret}"} for _, secret in keys))


@contextmanager
def start_app(settings: Settings, artifacts: Artifacts) -> Iterator[Live]:
    """An app that answers with the base model."""
    database = Database(settings.database)
    add_base_version(database, artifacts)
    callers = add_callers(database)
    database.dispose()
    app = create_app(settings)
    with TestClient(app, raise_server_exceptions=False) as http:
        live = Live(app, http, callers)
        assert live.services.watch.settled.wait(60)
        yield live


def read_pages(live: Live, url: str, limit: int) -> Iterator[list[dict[str, Any]]]:
    """The items of each page of a list that an admin reads."""
    params: dict[str, Any] = {"limit": limit}
    while True:
        page = live.http.get(url, params=params, headers=live.callers.admin).json()
        yield page["data"]
        if page["next_cursor"] is None:
            return
        params["cursor"] = page["next_cursor"]


@contextmanager
def serve(app: ASGIApp) -> Iterator[str]:
    """The address of a real server for an app that was started; at the end, its requests have ended too."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="warning", access_log=False))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
