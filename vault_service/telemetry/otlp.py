"""Traces sent to an OpenTelemetry collector: OTLP over HTTP, in a thread of the SDK's own.

A call only puts its ended spans into a bounded queue; what the collector does, or does not, never
reaches it. Nothing here is global: no default provider is set, and the SDK's variables of the
environment decide nothing that stands in the configuration (headers for the collector do not, so
OTEL_EXPORTER_OTLP_HEADERS is how it is given them).
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import requests
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from vault_service.domain import limits
from vault_service.telemetry.traces import (
    Attribute,
    Recording,
    Span,
    SpanKind,
    TraceParent,
    Traces,
)

_PREFIX: Final = "tokenvault."
_KINDS: Final = {
    SpanKind.SERVER: trace.SpanKind.SERVER,
    SpanKind.CLIENT: trace.SpanKind.CLIENT,
    SpanKind.INTERNAL: trace.SpanKind.INTERNAL,
}


@dataclass(frozen=True, slots=True)
class Collector:
    """Where spans go: the full URL of its traces, and PEM CAs that verify an https one."""

    endpoint: str
    ca_file: str | None
    sampling_ratio: float


class OtlpTraces(Traces):
    """Records the share ``sampling_ratio`` of the traces that begin here, and every call whose
    caller records its own."""

    def __init__(self, collector: Collector, facts: dict[str, str]) -> None:
        """``facts`` describe this process: version, deployment, instance."""
        self._exporter = _Counting(_otlp(collector))
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(collector.sampling_ratio)),
            resource=Resource({"service.name": "tokenvault", **facts}),
            span_limits=SpanLimits(max_span_attribute_length=limits.TEXT_MAX_CHARS),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                self._exporter,
                max_queue_size=limits.SPAN_QUEUE_MAX,
                schedule_delay_millis=limits.SPAN_DELAY_S * 1000,
                max_export_batch_size=limits.SPAN_BATCH_MAX,
            )
        )
        self._tracer = self._provider.get_tracer("tokenvault")

    def call(self, rpc: str, parent: TraceParent | None) -> tuple[Span, str]:
        """See ``Traces``. A caller's trace goes on; without one a trace begins here."""
        span = self._tracer.start_span(
            rpc, _remote(parent), trace.SpanKind.SERVER, record_exception=False
        )
        trace_id = trace.format_trace_id(span.get_span_context().trace_id)
        return Span(_Recording(self._tracer, span) if span.is_recording() else None), trace_id

    def counts(self) -> dict[tuple[str, ...], float]:
        """See ``Traces``."""
        return {("EXPORTED",): self._exporter.exported, ("FAILED",): self._exporter.failed}

    async def close(self, limit_s: float) -> None:
        """See ``Traces``."""
        # A daemon, since no limit can be given to the SDK: a collector that hangs must not hold
        # up the end of the process.
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def send() -> None:
            self._provider.shutdown()
            with contextlib.suppress(RuntimeError):  # the loop did not wait any longer
                loop.call_soon_threadsafe(ended.set)

        threading.Thread(target=send, name="last-spans", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), limit_s)


class _Recording:
    """Implements ``Recording`` on a span of the SDK."""

    __slots__ = ("_span", "_tracer")

    def __init__(self, tracer: trace.Tracer, span: trace.Span) -> None:
        self._tracer = tracer
        self._span = span

    def begin(self, name: str, kind: SpanKind) -> Recording:
        """A child that begins now."""
        context = trace.set_span_in_context(self._span)
        made = self._tracer.start_span(name, context, _KINDS[kind], record_exception=False)
        return _Recording(self._tracer, made)

    def set(self, name: str, value: Attribute) -> None:
        """An attribute."""
        self._span.set_attribute(_PREFIX + name, value)

    def end(self, failure: str) -> None:
        """It ends now."""
        if failure:
            self._span.set_attribute("error.type", failure)
            self._span.set_status(trace.StatusCode.ERROR)
        self._span.end()


class _Counting(SpanExporter):
    """Counts what became of the spans; the numbers are read by metrics."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.exported = 0
        self.failed = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """In the SDK's thread."""
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self.exported += len(spans)
        else:
            self.failed += len(spans)
        return result

    def shutdown(self) -> None:
        """Close the connection."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing waits here."""
        return self._exporter.force_flush(timeout_millis)


def _otlp(collector: Collector) -> OTLPSpanExporter:
    session = requests.Session()
    session.trust_env = False  # no proxy, .netrc or CA bundle from the environment
    return OTLPSpanExporter(
        endpoint=collector.endpoint,
        certificate_file=collector.ca_file,
        timeout=limits.SPAN_EXPORT_LIMIT_S,
        compression=Compression.Gzip,
        session=session,
    )


def _remote(parent: TraceParent | None) -> Context | None:
    if parent is None:
        # Not the library's current context: what began here before is no parent.
        return Context()
    flags = trace.TraceFlags.SAMPLED if parent.sampled else trace.TraceFlags.DEFAULT
    remote = trace.SpanContext(
        int(parent.trace_id, 16),
        int(parent.span_id, 16),
        is_remote=True,
        trace_flags=trace.TraceFlags(flags),
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(remote), Context())
