"""Limits of each key: how often it may call, and how many replies may be on their way to it at once.

They are kept in the broker's store, so that all server processes count together, and hold nothing but ids. When the
store does not answer, nobody is limited and a metric tells: a client must not be cut off from help by a cache.
"""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from api.errors import RateLimited, TooManyReplies
from api.logs import log
from api.metrics import Metrics
from data.vocabulary import KeyRole
from db.models import ApiKey
from settings import Settings

PREFIX = "ratchet:limit:"
_ANSWER_S = 0.25  # a store that takes longer counts as down
_REST_S = 5.0  # how long a store that is down is left alone
_REPLY_S = 600  # after so long a reply no longer counts: its server died
_MOST_OWED = (
    10_000  # replies that have ended and that the store was not told of; beyond, the oldest are left to _REPLY_S
)

# A token bucket as one number: when it will be full again.
# ARGV: seconds for one token to come, tokens in a full bucket. Returns the seconds to wait, "0" for none.
_TAKE_TOKEN = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now) + ARGV[1]
local wait = full_at - now - ARGV[1] * ARGV[2]
if wait > 0 then return tostring(wait) end
redis.call('SET', KEYS[1], string.format('%.6f', full_at), 'PX', math.ceil((full_at - now) * 1000))
return '0'
"""

# The replies on their way, each with the time after which it no longer counts.
# ARGV: most replies, seconds that one counts, ids. Returns whether they were let in.
_ADD_REPLIES = """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) + #ARGV - 2 > tonumber(ARGV[1]) then return 0 end
for i = 3, #ARGV do redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[i]) end
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
"""


class OpenReplies:
    """Replies that count against the limit of their key until they are closed."""

    def __init__(self, limits: Limits, key_id: str, reply_ids: Sequence[str]) -> None:
        self._limits = limits
        self._key_id = key_id
        self._reply_ids = reply_ids

    @property
    def is_open(self) -> bool:
        """Whether they still count."""
        return bool(self._reply_ids)

    def close(self) -> None:
        """Count them no longer; idempotent."""
        reply_ids, self._reply_ids = self._reply_ids, ()
        if reply_ids:
            self._limits.drop_replies(self._key_id, reply_ids)


class Limits:
    """Asks the store; admins are not limited. May be used from many threads."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        """Connect lazily; without a broker nobody is limited."""
        self._settings = settings
        self._metrics = metrics
        self._store = _open_store(settings.broker) if settings.broker else None
        self._store_rests_until_s = 0.0
        # Of a key a reply: what could not be dropped while the store was silent, or its place would be taken for long.
        self._owed: deque[tuple[str, str]] = deque(maxlen=_MOST_OWED)
        self._owed_lock = threading.Lock()
        # Until when a key is refused, by the monotonic clock and the key's id; over, they stay until the next one.
        self._pauses: dict[str, float] = {}

    def take_request(self, key: ApiKey) -> None:
        """Count one request; one that is refused begins a pause, in which the store is not asked again.

        A store that does not answer ends no pause: others of this process may have been refused while it was silent.

        Raises:
            RateLimited: the key has used up its requests.
        """
        if key.role is KeyRole.ADMIN:
            return
        self.check_pause(key)
        token_s, burst = 60 / self._settings.rate_per_minute, self._settings.rate_burst
        answer = self._ask(_TAKE_TOKEN, f"rate:{key.id}", token_s, burst)
        if answer is None:
            self.check_pause(key)
        elif (wait_s := float(answer)) > 0:
            self._pauses[key.id] = time.monotonic() + wait_s
            log.warning("key paused", action="key_paused", key_id=key.id, seconds=wait_s)
            self.check_pause(key)

    def check_pause(self, key: ApiKey) -> None:
        """Ask the memory of this process only, which takes microseconds.

        Raises:
            RateLimited: the key was refused, and the time that it was told to wait is not over.
        """
        wait_s = self._pauses.get(key.id, 0.0) - time.monotonic()
        if wait_s > 0:
            self._metrics.limited.labels("rate").inc()
            raise RateLimited(retry_after_s=math.ceil(wait_s))

    def open_replies(self, key: ApiKey, reply_ids: Sequence[str]) -> OpenReplies:
        """Count replies that begin.

        Raises:
            TooManyReplies: with these it would be too many at once.
        """
        if key.role is KeyRole.ADMIN or not reply_ids:
            return OpenReplies(self, key.id, ())
        if self._ask(_ADD_REPLIES, f"replies:{key.id}", self._settings.streams_per_key, _REPLY_S, *reply_ids) == 0:
            self._metrics.limited.labels("replies").inc()
            raise TooManyReplies
        return OpenReplies(self, key.id, reply_ids)

    def drop_replies(self, key_id: str, reply_ids: Sequence[str]) -> None:
        """Count these replies no longer; a store that does not answer is told with the next call that it answers."""
        dropped = self._ask("return redis.call('ZREM', KEYS[1], unpack(ARGV))", f"replies:{key_id}", *reply_ids)
        if dropped is None and self._store:
            self._owe([(key_id, reply_id) for reply_id in reply_ids])

    def close(self) -> None:
        """Close the connections."""
        if self._store:
            self._store.close()

    def _ask(self, script: str, name: str, *arguments: str | float) -> Any:
        """What the script returns, or None when the store does not answer."""
        if self._store and time.monotonic() >= self._store_rests_until_s:
            try:
                if self._owed:
                    self._drop_owed(self._store)
                return self._store.eval(script, 1, PREFIX + name, *arguments)
            except RedisError:
                self._store_rests_until_s = time.monotonic() + _REST_S
        self._metrics.unlimited.inc()
        return None

    def _owe(self, replies: Sequence[tuple[str, str]]) -> None:
        with self._owed_lock:
            self._owed.extend(replies)

    def _drop_owed(self, store: Redis) -> None:
        """Drop all that is owed, in one round trip.

        Raises:
            RedisError: the store still does not answer; all of it stays owed.
        """
        with self._owed_lock:
            owed = list(self._owed)
            self._owed.clear()
        by_key: defaultdict[str, list[str]] = defaultdict(list)
        for key_id, reply_id in owed:
            by_key[key_id].append(reply_id)
        drops = store.pipeline(transaction=False)
        for key_id, reply_ids in by_key.items():
            drops.zrem(f"{PREFIX}replies:{key_id}", *reply_ids)
        try:
            drops.execute()
        except RedisError:
            self._owe(owed)
            raise


def _open_store(url: str) -> Redis:
    retry_once = Retry(NoBackoff(), 1)  # a connection may have died while it was idle
    return Redis.from_url(url, socket_timeout=_ANSWER_S, socket_connect_timeout=_ANSWER_S, retry=retry_once)
