"""A collector of traces: OTLP over HTTP as the specification says, spans kept in memory."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Status

_BODY_MAX_BYTES = 4_194_304


@dataclass(frozen=True, slots=True)
class ReceivedSpan:
    """One span as it came."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    failed: bool
    attributes: dict[str, str]


@dataclass(slots=True)
class Collector:
    """What came in, and how it answers."""

    port: int = 0
    spans: list[ReceivedSpan] = field(default_factory=list)
    resources: list[dict[str, str]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)  # each request whole, as JSON
    status: int = 200
    hold: threading.Event | None = None  # answer when it is set

    @property
    def endpoint(self) -> str:
        """For ``traces.otlp_endpoint``."""
        return f"http://127.0.0.1:{self.port}/v1/traces"

    def tree(self, trace_id: str) -> dict[str, list[str]]:
        """Name of a span → sorted names of its children, within one trace; "" for the root."""
        of_trace = [span for span in self.spans if span.trace_id == trace_id]
        names = {span.span_id: span.name for span in of_trace}
        children: dict[str, list[str]] = {}
        for span in of_trace:
            children.setdefault(names.get(span.parent_id, ""), []).append(span.name)
        return {name: sorted(found) for name, found in children.items()}

    def take(self, request: ExportTraceServiceRequest) -> None:
        """Keep all of it."""
        self.texts.append(MessageToJson(request))
        for resource in request.resource_spans:
            self.resources.append(_texts(resource.resource.attributes))
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans.append(
                        ReceivedSpan(
                            name=span.name,
                            trace_id=span.trace_id.hex(),
                            span_id=span.span_id.hex(),
                            parent_id=span.parent_span_id.hex(),
                            kind=span.kind,
                            failed=span.status.code == Status.STATUS_CODE_ERROR,
                            attributes=_texts(span.attributes),
                        )
                    )


@contextmanager
def running_collector() -> Iterator[Collector]:
    """Listens until the block ends."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(min(int(self.headers["Content-Length"]), _BODY_MAX_BYTES))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if collector.hold is not None:
                collector.hold.wait(30)
            if collector.status == 200:
                collector.take(ExportTraceServiceRequest.FromString(body))
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(collector.status)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            """What came is kept."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector.port = server.server_port
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()


def _texts(attributes: object) -> dict[str, str]:
    found: dict[str, str] = {}
    for attribute in attributes:  # type: ignore[attr-defined]
        value = attribute.value
        kind = value.WhichOneof("value")
        found[attribute.key] = str(getattr(value, kind)) if kind else ""
    return found
