"""Limits of each key, in a real store."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis

from api.errors import RateLimited, TooManyReplies
from api.limits import PREFIX, Limits
from api.metrics import Metrics
from data.vocabulary import KeyRole
from db.base import new_id
from db.models import ApiKey
from settings import Settings
from tests.faults.proxy import Proxy
from tests.processes import await_value
from tests.unit.api.live import QUESTION, Artifacts, Live, start_app

NOWHERE = "redis://127.0.0.1:1/0"
STRICT = {"rate_per_minute": 1.0, "rate_burst": 3, "streams_per_key": 2}


def build_key(role: KeyRole = KeyRole.CLIENT) -> ApiKey:
    return ApiKey(id=new_id("key"), role=role)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def limits(broker_url: str, metrics: Metrics) -> Iterator[Limits]:
    """Three requests at once and one a minute; two replies."""
    limits = Limits(Settings(broker_url=broker_url, **STRICT), metrics)  # type: ignore[arg-type]
    yield limits
    limits.close()


def is_let_in(limits: Limits, key: ApiKey) -> bool:
    try:
        limits.take_request(key)
    except RateLimited:
        return False
    return True


def take_until_refused(limits: Limits, key: ApiKey) -> int:
    """How many requests are let in."""
    for count in range(100):
        if not is_let_in(limits, key):
            return count
    raise AssertionError("Nothing was refused.")


class TestTakeRequest:
    def test_lets_a_burst_in_and_says_when_to_come_back(self, limits: Limits, metrics: Metrics) -> None:
        key = build_key()
        assert take_until_refused(limits, key) == 3
        with pytest.raises(RateLimited) as caught:
            limits.take_request(key)
        assert 50 <= caught.value.retry_after_s <= 60
        assert 'ratchet_limited_total{limit="rate"} 2.0' in metrics.render().decode()

    def test_lets_in_what_has_come_again(self, broker_url: str, metrics: Metrics) -> None:
        settings = Settings(broker_url=broker_url, rate_per_minute=60_000, rate_burst=1)
        limits, key = Limits(settings, metrics), build_key()
        let_in = 0
        while let_in < 5:  # a token comes each millisecond
            try:
                limits.take_request(key)
                let_in += 1
            except RateLimited:
                continue
        limits.close()

    def test_counts_keys_apart_and_admins_not_at_all(self, limits: Limits) -> None:
        admin = build_key(KeyRole.ADMIN)
        assert [take_until_refused(limits, build_key()) for _ in range(2)] == [3, 3]
        for _ in range(10):
            limits.take_request(admin)

    def test_lets_no_more_in_when_all_come_at_once(self, limits: Limits) -> None:
        key = build_key()
        with ThreadPoolExecutor(20) as threads:
            assert sum(threads.map(lambda _: is_let_in(limits, key), range(100))) == 3

    def test_a_store_that_falls_silent_ends_no_pause(self, broker_url: str, metrics: Metrics) -> None:
        address = urlsplit(broker_url)
        assert address.hostname and address.port
        with Proxy((address.hostname, address.port)) as proxy, ThreadPoolExecutor(1) as thread:
            limits = Limits(Settings(broker_url=f"redis://127.0.0.1:{proxy.port}/0", **STRICT), metrics)  # type: ignore[arg-type]
            key = build_key()
            proxy.silence()
            waiting = thread.submit(is_let_in, limits, key)
            time.sleep(0.05)
            proxy.restore()
            let_in = take_until_refused(limits, key)
            proxy.silence()  # the one that waits is not answered at its second try either
            assert let_in + waiting.result() == 3
            limits.close()

    def test_two_servers_count_together(self, limits: Limits, broker_url: str, metrics: Metrics) -> None:
        other, key = Limits(Settings(broker_url=broker_url, **STRICT), metrics), build_key()  # type: ignore[arg-type]
        limits.take_request(key)
        assert take_until_refused(other, key) == 2
        other.close()

    def test_does_not_ask_the_store_again_in_a_pause(self, limits: Limits, broker_url: str, metrics: Metrics) -> None:
        key = build_key()
        assert take_until_refused(limits, key) == 3
        with redis.Redis.from_url(broker_url) as store:
            store.delete(f"{PREFIX}rate:{key.id}")
        for refuse in (limits.take_request, limits.check_pause):
            with pytest.raises(RateLimited) as caught:
                refuse(key)
            assert 50 <= caught.value.retry_after_s <= 60
        limits.check_pause(build_key())
        other = Limits(Settings(broker_url=broker_url, **STRICT), metrics)  # type: ignore[arg-type]
        other.take_request(key)  # the store has forgotten it, and this process never knew
        other.close()

    def test_stores_ids_only_and_not_for_ever(self, limits: Limits, broker_url: str) -> None:
        key = build_key()
        limits.take_request(key)
        limits.open_replies(key, ["chatcmpl-1"])
        with redis.Redis.from_url(broker_url, decode_responses=True) as store:
            names = list(store.scan_iter(f"*{key.id}*"))
            assert sorted(names) == [f"{PREFIX}rate:{key.id}", f"{PREFIX}replies:{key.id}"]
            assert all(store.ttl(name) > 0 for name in names)


class TestOpenReplies:
    def test_counts_replies_until_they_are_closed(self, limits: Limits, metrics: Metrics) -> None:
        key = build_key()
        first = limits.open_replies(key, ["a"])
        limits.open_replies(key, ["b"])
        with pytest.raises(TooManyReplies):
            limits.open_replies(key, ["c"])
        assert first.is_open
        first.close()
        first.close()
        assert not first.is_open
        limits.open_replies(key, ["c"])
        assert 'ratchet_limited_total{limit="replies"} 1.0' in metrics.render().decode()

    def test_lets_all_in_or_none(self, limits: Limits) -> None:
        key = build_key()
        limits.open_replies(key, ["a"])
        with pytest.raises(TooManyReplies):
            limits.open_replies(key, ["b", "c"])
        limits.open_replies(key, ["d"])

    def test_forgets_replies_that_nobody_closed(self, limits: Limits, broker_url: str) -> None:
        key = build_key()
        limits.open_replies(key, ["a", "b"])
        with redis.Redis.from_url(broker_url) as store:
            store.zadd(f"{PREFIX}replies:{key.id}", {"a": 1.0, "b": 1.0})  # long ago
        assert limits.open_replies(key, ["c", "d"]).is_open

    def test_a_store_that_was_silent_learns_of_the_replies_that_ended(self, broker_url: str, metrics: Metrics) -> None:
        address = urlsplit(broker_url)
        assert address.hostname and address.port
        key = build_key()
        with Proxy((address.hostname, address.port)) as proxy, redis.Redis.from_url(broker_url) as store:

            def ask_and_count() -> int:
                limits.take_request(build_key())
                return int(store.zcard(f"{PREFIX}replies:{key.id}"))

            limits = Limits(Settings(broker_url=f"redis://127.0.0.1:{proxy.port}/0", **STRICT), metrics)  # type: ignore[arg-type]
            open_replies = [limits.open_replies(key, [name]) for name in ("a", "b")]
            proxy.silence()
            for reply in open_replies:  # the first is not answered, and the second not asked
                reply.close()
            proxy.restore()
            assert ask_and_count() == 2  # it is left alone for a while
            await_value(ask_and_count, lambda left: left == 0, timeout_s=15)
            limits.close()

    def test_does_not_limit_admins(self, limits: Limits) -> None:
        admin = build_key(KeyRole.ADMIN)
        for number in range(10):
            limits.open_replies(admin, [str(number)])


class TestFailOpen:
    @pytest.mark.parametrize("broker_url", [NOWHERE, ""])
    def test_limits_nobody_while_the_store_does_not_answer(
        self, metrics: Metrics, tmp_path: Path, broker_url: str
    ) -> None:
        settings = Settings(var=tmp_path, broker_url=broker_url, **STRICT)  # type: ignore[arg-type]
        limits, key = Limits(settings, metrics), build_key()
        for _ in range(5):
            limits.take_request(key)
            limits.open_replies(key, ["a", "b"]).close()
        limits.close()
        assert "ratchet_unlimited_total 15.0" in metrics.render().decode()

    def test_waits_only_once_for_a_store_that_is_silent(self, metrics: Metrics, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:  # it connects and never answers
            broker_url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
            limits, key = Limits(Settings(var=tmp_path, broker_url=broker_url), metrics), build_key()
            for _ in range(50):
                limits.take_request(key)
            limits.close()
            silent.settimeout(0)
            connections = 0
            with contextlib.suppress(BlockingIOError):
                while True:
                    silent.accept()[0].close()
                    connections += 1
        assert 0 < connections <= 2

    def test_chat_goes_on(self, settings: Settings, artifacts: Artifacts) -> None:
        settings = settings.model_copy(update={**STRICT, "broker_url": NOWHERE})
        with start_app(settings, artifacts) as live:
            for _ in range(5):
                live.chat()
            assert live.http.get("/v1/models", headers=live.callers.client).status_code == 200


class TestRoleGuard:
    def test_refuses_a_key_that_asks_too_often(self, settings: Settings, artifacts: Artifacts) -> None:
        with start_app(settings.model_copy(update=STRICT), artifacts) as live:
            assert self.call(live, live.callers.client, 4) == [200, 200, 200, 429]
            response = live.http.post("/v1/chat/completions", json=QUESTION, headers=live.callers.client)
            assert response.json()["error"]["code"] == "rate_limited"
            assert response.json()["error"]["type"] == "rate_limit_error"
            assert 0 < int(response.headers["Retry-After"]) <= 60
            assert self.call(live, live.callers.other_client, 1) == [200]
            assert self.call(live, live.callers.admin, 5) == [200] * 5
            assert live.http.get("/readyz").status_code == 200

    @staticmethod
    def call(live: Live, headers: dict[str, str], times: int) -> list[int]:
        return [live.http.get("/v1/models", headers=headers).status_code for _ in range(times)]
