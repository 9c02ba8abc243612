"""Metrics for Prometheus. Labels are routes, statuses and outcomes: never an id or a text."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from serving.scheduler import Scheduler
from serving.slot import ModelSlot

_LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
NOTHING_SERVED = -1


class Metrics:
    """The metrics of one app; each app has its own registry."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter("ratchet_requests", "Answered requests.", ("route", "status"), registry=self._registry)
        self.latency = Histogram(
            "ratchet_request_seconds",
            "Time until the response was sent whole.",
            ("route",),
            buckets=_LATENCY_BUCKETS_S,
            registry=self._registry,
        )
        self.tokens = Counter("ratchet_tokens", "Tokens of completions.", ("kind",), registry=self._registry)
        self.limited = Counter(
            "ratchet_limited", "Requests refused by a limit of their key.", ("limit",), registry=self._registry
        )
        self.unlimited = Counter(
            "ratchet_unlimited", "Times that a limit could not be asked and let through.", registry=self._registry
        )
        self.crises = Counter(
            "ratchet_crises",
            "Requests answered with the crisis resources, by what saw the crisis.",
            ("source", "category"),
            registry=self._registry,
        )
        self.unrecorded_crises = Counter(
            "ratchet_crises_unrecorded",
            "Crisis replies that went out though the database could not record them.",
            registry=self._registry,
        )
        self.filtered = Counter(
            "ratchet_filtered", "Times that the output filter left something out.", ("rule",), registry=self._registry
        )
        self.swaps = Counter("ratchet_swaps", "Attempts to change the version.", ("outcome",), registry=self._registry)
        self.fallback = Gauge(
            "ratchet_fallback", "1 while production does not load and another version answers.", registry=self._registry
        )
        self._waiting = Gauge("ratchet_chat_waiting", "Chat requests in the queue.", registry=self._registry)
        self._running = Gauge("ratchet_chat_running", "Replies being generated.", registry=self._registry)
        self._version = Gauge(
            "ratchet_served_version", "The version that answers; -1 for none.", registry=self._registry
        )

    def observe(self, scheduler: Scheduler, slot: ModelSlot) -> None:
        """Read the gauges from these from now on."""
        self._waiting.set_function(lambda: scheduler.waiting)
        self._running.set_function(lambda: scheduler.running)
        self._version.set_function(lambda: slot.current.version if slot.current else NOTHING_SERVED)

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)
