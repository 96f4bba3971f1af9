"""Spans that stay in memory."""

from __future__ import annotations

from vault_service.telemetry.traces import Attribute, Span, SpanKind, TraceParent, Traces


class FakeRecording:
    """Remembers what the exporting side would send."""

    def __init__(self, name: str, log: list[str] | None = None) -> None:
        self.name = name
        self.log: list[str] = [] if log is None else log
        self.children: list[FakeRecording] = []
        self.attributes: dict[str, Attribute] = {}
        self.failure: str | None = None  # None: it has not ended

    def begin(self, name: str, kind: SpanKind) -> FakeRecording:
        made = FakeRecording(name, self.log)
        self.children.append(made)
        return made

    def set(self, name: str, value: Attribute) -> None:
        self.attributes[name] = value

    def end(self, failure: str) -> None:
        self.failure = failure
        self.log.append(self.name)


class FakeTraces(Traces):
    """Records every call."""

    def __init__(self) -> None:
        self.calls: list[FakeRecording] = []
        self.parents: list[TraceParent | None] = []

    def call(self, rpc: str, parent: TraceParent | None) -> tuple[Span, str]:
        recording = FakeRecording(rpc)
        self.calls.append(recording)
        self.parents.append(parent)
        return Span(recording), parent.trace_id if parent else f"{len(self.calls):032x}"
