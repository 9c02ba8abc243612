"""Traces reach a real OTLP collector, name the route, and hold no text."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from settings import Settings
from tests.unit.api.live import QUESTION, Artifacts, start_app


class Collector(ThreadingHTTPServer):
    """An OTLP/HTTP endpoint that keeps what it gets."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        super().__init__(("127.0.0.1", 0), CollectorHandler)


class CollectorHandler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert isinstance(self.server, Collector)
        self.server.bodies.append(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = Collector()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_each_request_is_a_span_with_its_route_and_no_text(
    settings: Settings, artifacts: Artifacts, collector: Collector
) -> None:
    endpoint = f"http://127.0.0.1:{collector.server_address[1]}"
    traced = settings.model_copy(update={"otlp_endpoint": endpoint})
    with start_app(traced, artifacts) as live:
        answer = live.http.post("/v1/chat/completions", json=QUESTION, headers=live.callers.client)
        live.http.get(f"/v1/feedback/{answer.json()['id']}", headers=live.callers.client)
    # leaving the app flushes
    spans = [
        span
        for body in collector.bodies
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert {"POST /v1/chat/completions", "GET /v1/feedback/{completion_id}"} <= {span.name for span in spans}
    assert all(b"sleep" not in body and answer.json()["id"].encode() not in body for body in collector.bodies)
