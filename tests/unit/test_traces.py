"""Spans: parents by context, attributes of the list only, failures as reasons."""

from __future__ import annotations

import asyncio
from contextvars import Context

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.traces import FakeRecording
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.sensitive import Sensitive
from vault_service.telemetry import traces
from vault_service.telemetry.traces import (
    Span,
    TraceParent,
    Traces,
    child,
    read_traceparent,
    recorded,
    span_alone,
)

CANARY = "canary-77ab01"
TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE_ID}-{SPAN_ID}-01"


def test_children_hang_on_the_span_around_them() -> None:
    """Inside a span a child is its child, beside it its sibling; each ends once, inner first."""
    root = FakeRecording("rpc")
    with Span(root):
        with child("a"), child("b"):
            pass
        with child("c"):
            pass
    assert [each.name for each in root.children] == ["a", "c"]
    assert [each.name for each in root.children[0].children] == ["b"]
    assert root.log == ["b", "a", "c", "rpc"]
    assert not recorded()


def test_nothing_is_recorded_outside_a_span() -> None:
    """Without a recorded call a child is one shared nothing that takes everything."""
    with child("a", host="x") as span:
        assert not recorded()
        span.note(reason="y")
        span.failed("z")
    assert child("b") is span
    nothing, trace_id = Traces().call("A/B", None)
    assert nothing is span
    assert trace_id == ""


def test_attributes_of_the_list_only() -> None:
    """A name that is not on the logs' list, and what cannot be shown, stay out of a span."""
    root = FakeRecording("rpc")
    with Span(root), child("x", host=f"h\n{'x' * 300}", refresh_token=CANARY) as span:
        span.note(body=CANARY, error=Sensitive(CANARY.encode()), status=None, count=3)
    attributes = root.children[0].attributes
    assert set(attributes) == {"host", "error", "count"}
    assert attributes["error"] == "<withheld>"
    assert "\n" not in str(attributes["host"])
    assert len(str(attributes["host"])) <= 259
    assert CANARY not in str(attributes)


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (VaultError(Reason.KEK_UNREACHABLE, CANARY), "KEK_UNREACHABLE"),
        (RuntimeError(CANARY), "RuntimeError"),
        (asyncio.CancelledError(CANARY), "CancelledError"),
    ],
)
def test_failures_are_reasons(error: BaseException, shown: str) -> None:
    """A span that an error leaves says the reason or the type, never the text."""
    root = FakeRecording("rpc")
    with pytest.raises(type(error)), Span(root):
        raise error
    assert root.failure == shown


def test_told_failure_stands() -> None:
    """What was told of a failure says more than the type of the exception that carries it."""
    root = FakeRecording("rpc")
    span = Span(root)
    span.failed("IN_DOUBT")
    with pytest.raises(ValueError, match="x"), span:
        raise ValueError("x")
    assert root.failure == "IN_DOUBT"


async def test_tasks_go_on_in_the_trace_and_batches_do_not() -> None:
    """What a call starts is in its trace; an empty context is in none; span_alone has the span and
    nothing else of its caller."""
    root = FakeRecording("rpc")

    async def work(name: str) -> None:
        with child(name):
            await asyncio.sleep(0)

    loop = asyncio.get_running_loop()
    with Span(root):
        await asyncio.create_task(work("flight"))
        await loop.create_task(work("batch"), context=Context())
        await loop.create_task(work("load"), context=span_alone())
        assert len(span_alone()) == 1
    assert [each.name for each in root.children] == ["flight", "load"]


def test_traceparent() -> None:
    """The caller's trace id, span id and choice to record, of this version and of later ones."""
    assert read_traceparent([("traceparent", GOOD)]) == TraceParent(TRACE_ID, SPAN_ID, True)
    unsampled = read_traceparent([("x", "y"), ("traceparent", GOOD[:-1] + "0")])
    assert unsampled == TraceParent(TRACE_ID, SPAN_ID, False)
    later = read_traceparent([("traceparent", "cc" + GOOD[2:] + "-what-the-future-brings")])
    assert later == TraceParent(TRACE_ID, SPAN_ID, True)


@pytest.mark.parametrize(
    "value",
    [
        "", "00", GOOD.upper(), GOOD + "-x", GOOD + " ", f" {GOOD}", f"ff{GOOD[2:]}",
        f"00-{'0' * 32}-{SPAN_ID}-01", f"00-{TRACE_ID}-{'0' * 16}-01", GOOD.replace("-", "_"),
        GOOD + "\n", "cc" + GOOD[2:] + "-" + "x" * 300, b"00-bytes",
    ],
)  # fmt: skip
def test_malformed_traceparent_is_ignored(value: str | bytes) -> None:
    """What is not exactly W3C's form is no trace, and never an error."""
    assert read_traceparent([("traceparent", value)]) is None


def test_two_traceparents_are_none() -> None:
    """Who sends two has no trace; no metadata at all is none either."""
    assert read_traceparent([("traceparent", GOOD)] * 2) is None
    assert read_traceparent(None) is None


@given(st.text(max_size=80))
def test_any_text_is_read_or_ignored(text: str) -> None:
    """Whatever a caller sends, what is taken from it is hexadecimal of one length."""
    parent = read_traceparent([("traceparent", text)])
    if parent is not None:
        assert len(bytes.fromhex(parent.trace_id)) == 16


def test_callers_trace_id_without_a_collector() -> None:
    """Where nothing is recorded the caller's trace id still goes into logs and records."""
    span, trace_id = Traces().call("A/B", TraceParent(TRACE_ID, SPAN_ID, True))
    assert trace_id == TRACE_ID
    assert span is traces.child("x")
