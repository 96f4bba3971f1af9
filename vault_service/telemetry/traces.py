"""Spans: one for each call, and children for what it asks of others.

``child`` finds its parent in a context variable, so nobody hands a tracer around, and where no
call is recorded it costs one look-up. A span's attributes stand on the allow-list of the logs and
are cleaned as they are there; a failure shows as its reason, never as its text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextvars import Context, ContextVar, Token
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Final, Protocol

from vault_service.domain.errors import VaultError
from vault_service.telemetry.fields import ALLOWED_FIELDS, clean

_HEADER: Final = "traceparent"
# W3C Trace Context §3.2: version, trace id, parent id, flags. What a later version appends is
# left alone (§3.2.4).
_TRACEPARENT: Final = re.compile(
    r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.{0,200})?"
)
_SAMPLED: Final = 1

Attribute = str | int | float | bool


class SpanKind(Enum):
    """Whose work a span is."""

    SERVER = 1  # a call that came in
    CLIENT = 2  # a request that went out
    INTERNAL = 3


@dataclass(frozen=True, slots=True)
class TraceParent:
    """What a caller says of the trace that its call is part of; hexadecimal ids."""

    trace_id: str
    span_id: str
    sampled: bool


def read_traceparent(metadata: Iterable[tuple[str, str | bytes]] | None) -> TraceParent | None:
    """The one well-formed traceparent of a call's metadata; None where it is not that."""
    found = [value for key, value in metadata or () if key == _HEADER]
    if len(found) != 1 or not isinstance(found[0], str):
        return None
    match = _TRACEPARENT.fullmatch(found[0])
    if match is None or (match[1] == "00" and match[5]):
        return None
    trace_id, span_id = match[2], match[3]
    if not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return TraceParent(trace_id, span_id, bool(int(match[4], 16) & _SAMPLED))


class Recording(Protocol):
    """A span that is being recorded, as the exporting side makes it."""

    def begin(self, name: str, kind: SpanKind) -> Recording:
        """A child that begins now."""

    def set(self, name: str, value: Attribute) -> None:
        """An attribute."""

    def end(self, failure: str) -> None:
        """It ends now; ``failure`` is "" or a reason."""


class Span:
    """A span as the code sees it; a context manager that is the parent of what begins inside."""

    __slots__ = ("_failure", "_recording", "_token")

    def __init__(self, recording: Recording | None) -> None:
        self._recording = recording
        self._failure = ""
        self._token: Token[Recording | None] | None = None

    def note(self, **fields: object) -> None:
        """Attributes, by names of the allow-list; others and empty values are left out."""
        if self._recording is None:
            return
        for name, value in fields.items():
            shown = clean(value)
            if name in ALLOWED_FIELDS and shown is not None:
                self._recording.set(name, shown)

    def failed(self, reason: str) -> None:
        """It did not do what was asked: ``reason`` is a code, never a text from outside."""
        self._failure = reason

    def __enter__(self) -> Span:
        if self._recording is not None:
            self._token = _current.set(self._recording)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._recording is None or self._token is None:
            return
        if error is not None and not self._failure:
            self._failure = _reason(error)
        self._recording.end(self._failure)
        _current.reset(self._token)
        self._token = None


class Traces:
    """Begins the spans of calls; this one, the default, records nothing."""

    def call(self, rpc: str, parent: TraceParent | None) -> tuple[Span, str]:
        """The span of a call and its trace id, which is "" where no trace begins here."""
        return _NOTHING, parent.trace_id if parent else ""

    def counts(self) -> dict[tuple[str, ...], float]:
        """Spans by what became of them: ("EXPORTED",) and ("FAILED",)."""
        return {}

    async def close(self, limit_s: float) -> None:
        """Send what waits, at most ``limit_s``; never raises."""


def child(name: str, kind: SpanKind = SpanKind.CLIENT, **fields: object) -> Span:
    """A span inside the current one. Without one, or where it is not recorded, nothing."""
    parent = _current.get()
    if parent is None:
        return _NOTHING
    span = Span(parent.begin(name, kind))
    span.note(**fields)
    return span


def recorded() -> bool:
    """Whether there is a span that a child would hang on."""
    return _current.get() is not None


def span_alone() -> Context:
    """An empty context but for the current span: for work that one caller begins and many wait
    for. It shows in the trace of the first, and on the log lines of none."""
    made = Context()
    made.run(_current.set, _current.get())
    return made


def _reason(error: BaseException) -> str:
    return error.reason.name if isinstance(error, VaultError) else type(error).__name__


_current: Final[ContextVar[Recording | None]] = ContextVar("tokenvault_span", default=None)
_NOTHING: Final = Span(None)
