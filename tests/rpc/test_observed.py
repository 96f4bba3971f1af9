"""What is told of a call: counted by how it ended, with ids in the log, the record and the span."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator

import grpc
import grpc.aio
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.rpc.surface import LIMIT_S, Surface
from tests.support.house import APP, ROGUE, TENANT
from tokenvault.v1 import (
    grant_service_pb2,
    grant_service_pb2_grpc,
    token_service_pb2,
    token_service_pb2_grpc,
)
from vault_service import telemetry
from vault_service.domain.audit import AuditAction

GET_TOKEN = (token_service_pb2_grpc.TokenServiceStub, "GetAccessToken")
LIST = (grant_service_pb2_grpc.GrantServiceStub, "ListGrants")
LISTING = grant_service_pb2.ListGrantsRequest(parent=f"tenants/{TENANT}")
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What is logged, whatever other tests left behind."""
    stream = io.StringIO()
    telemetry.configure_logging("info", json=True, stream=stream)
    yield stream
    telemetry.configure_logging("info", json=True)


def calls(surface: Surface, rpc: str) -> dict[tuple[str, str], float]:
    """(code, reason) → how many calls of the RPC ended so."""
    return {
        (sample.labels["code"], sample.labels["reason"]): sample.value
        for family in text_string_to_metric_families(surface.metrics.render().decode())
        for sample in family.samples
        if sample.name == "tokenvault_rpc_calls_total" and sample.labels["rpc"] == rpc
    }


async def test_calls_are_counted_by_their_end(surface: Surface) -> None:
    """Answers, refusals by reason, and faults of ours each have a series."""
    await surface.call(*LIST, LISTING, APP)
    await surface.call(*LIST, LISTING, APP)
    await surface.refused(*LIST, LISTING, ROGUE)
    await surface.refused(*LIST, grant_service_pb2.ListGrantsRequest(parent="nonsense"), APP)
    assert calls(surface, "GrantService/ListGrants") == {
        ("OK", ""): 2,
        ("PERMISSION_DENIED", "CALLER_NOT_ALLOWED"): 1,
        ("INVALID_ARGUMENT", "NAME_MALFORMED"): 1,
    }


async def test_faults_are_counted(surface: Surface, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours is INTERNAL, and its span says so without its text."""

    async def fault(*_: object) -> None:
        raise RuntimeError("canary-fault")

    monkeypatch.setattr(surface.house.stores.grants, "list", fault)
    await surface.refused(*LIST, LISTING, APP)
    assert calls(surface, "GrantService/ListGrants") == {("INTERNAL", "INTERNAL"): 1}
    (span,) = surface.traces.calls
    assert span.failure == "INTERNAL"
    assert "canary" not in str(span.attributes)


async def test_caller_that_hangs_up_is_counted_and_logged(
    surface: Surface, log: io.StringIO
) -> None:
    """A call that its caller gave up counts as CANCELLED, leaves none in flight, and has a line."""
    grant = (await surface.house.consent()).grant
    surface.house.clock.advance(3_600)
    held = surface.house.endpoint.hold()
    request = token_service_pb2.GetAccessTokenRequest(grant=str(grant.name))
    stub = token_service_pb2_grpc.TokenServiceStub(surface.channel(APP))
    under_way = stub.GetAccessToken(request, timeout=LIMIT_S)
    async with asyncio.timeout(LIMIT_S):
        waiting = asyncio.ensure_future(under_way.code())
        await surface.house.endpoint.arrived.wait()
        in_flight = b'tokenvault_rpc_calls_in_flight{rpc="TokenService/GetAccessToken"} '
        assert in_flight + b"1.0" in surface.metrics.render()
        under_way.cancel()
        assert await waiting is grpc.StatusCode.CANCELLED
        while not calls(surface, "TokenService/GetAccessToken"):
            await asyncio.sleep(0.01)
        held.set()
        await surface.house.flights.drain(1)
    assert calls(surface, "TokenService/GetAccessToken") == {("CANCELLED", ""): 1}
    assert in_flight + b"0.0" in surface.metrics.render()
    assert '"outcome":"CANCELLED"' in log.getvalue()


async def test_trace_of_the_caller(surface: Surface, log: io.StringIO) -> None:
    """A call goes on in its caller's trace, in the log, the record and the span; its request id is
    ours, whatever the caller would like it to be."""
    refused = await surface.refused(
        *LIST,
        LISTING,
        ROGUE,
        metadata=(("traceparent", TRACEPARENT), ("x-request-id", "chosen-by-the-caller")),
    )
    (parent,) = surface.traces.parents
    assert parent is not None
    assert (parent.trace_id, parent.sampled) == (TRACE_ID, True)
    (record,) = surface.refusals()
    assert record.detail["trace_id"] == TRACE_ID
    assert record.request_id == refused.request_id
    (span,) = surface.traces.calls
    assert span.attributes == {"rpc": "GrantService/ListGrants", "request_id": refused.request_id}
    assert span.failure == "CALLER_NOT_ALLOWED"
    out = log.getvalue()
    (line,) = [json.loads(line) for line in out.splitlines() if '"event":"call"' in line]
    assert (line["trace_id"], line["request_id"]) == (TRACE_ID, refused.request_id)
    assert "chosen-by-the-caller" not in out


async def test_malformed_trace_of_the_caller(surface: Surface) -> None:
    """A traceparent that is none costs the caller nothing: a trace of ours begins."""
    await surface.call(*LIST, LISTING, APP, metadata=(("traceparent", "00-nonsense"),))
    assert surface.traces.parents == [None]


async def test_records_of_a_call_have_its_trace(surface: Surface) -> None:
    """The record of a disclosure names the trace beside the request."""
    grant = (await surface.house.consent()).grant
    request = token_service_pb2.GetAccessTokenRequest(grant=str(grant.name))
    _, request_id = await surface.call(
        *GET_TOKEN, request, APP, metadata=(("traceparent", TRACEPARENT),)
    )
    (record,) = surface.house.records(AuditAction.ACCESS_TOKEN_DISCLOSED)
    assert (record.request_id, record.detail["trace_id"]) == (request_id, TRACE_ID)
