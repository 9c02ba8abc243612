"""OpenTelemetry traces of requests, sent over OTLP/HTTP when an endpoint is configured; never a text, only names."""

from __future__ import annotations

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SERVER_ERROR = 500


def build_provider(endpoint: str) -> TracerProvider:
    """A provider that sends spans to `endpoint` (such as http://localhost:4318) in the background.

    A collector that does not answer costs spans, never requests. Call `shutdown` at the end, which flushes.
    """
    provider = TracerProvider(resource=Resource.create({"service.name": "ratchet-api"}))
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


class TraceRequests:
    """One span for each request, from its first byte to the last of the answer, streams included."""

    def __init__(self, app: ASGIApp, provider: TracerProvider) -> None:
        self._app = app
        self._tracer = provider.get_tracer("ratchet.api")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        status = 0

        async def send_noted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        with self._tracer.start_as_current_span(scope["method"], kind=SpanKind.SERVER) as span:
            await self._app(scope, receive, send_noted)
            route = getattr(scope.get("route"), "path", "unknown")  # the pattern: a path may hold a name
            span.update_name(f"{scope['method']} {route}")
            span.set_attributes(
                {"http.request.method": scope["method"], "http.route": route, "http.response.status_code": status}
            )
            if status >= _SERVER_ERROR:
                span.set_status(Status(StatusCode.ERROR))
