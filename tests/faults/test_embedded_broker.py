"""The stack's own Valkey is killed: it comes back where it was, for the other processes know no other place."""

from __future__ import annotations

import threading
from pathlib import Path

import psutil
from redis import Redis
from redis.exceptions import ConnectionError as NoConnection

from settings import Settings
from stack import Stack
from tests.faults.conftest import Tell
from tests.processes import await_value


def answers(url: str) -> bool:
    try:
        with Redis.from_url(url) as redis:
            return bool(redis.ping())
    except NoConnection:
        return False


def test_a_killed_valkey_comes_back(tmp_path: Path, tell: Tell) -> None:
    settings = Settings(_env_file=None, var=tmp_path, broker_url="")
    stack = Stack(settings)
    with stack.broker():
        url = settings.broker
        supervisor = threading.Thread(target=stack.supervise)
        supervisor.start()
        try:
            with Redis.from_url(url) as redis:  # by its own word: other tests of this process have theirs
                server = psutil.Process(int(redis.info("server")["process_id"]))
            server.kill()
            await_value(lambda: answers(url), lambda does: not does)
            await_value(lambda: answers(url), bool)
        finally:
            stack.stop()
            supervisor.join()
        assert settings.broker == url
    assert not answers(url)
    tell("embedded Valkey killed: answers again on the same port")
