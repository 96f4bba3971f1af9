"""WatchGrants over the wire: its ends with their reasons, slow readers, certificates."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509

from tests.rpc.surface import Refused, Surface, refused_from
from tests.support.house import APP, TENANT
from tokenvault.v1 import grant_service_pb2 as grants
from tokenvault.v1 import grant_service_pb2_grpc
from tokenvault.v1 import resources_pb2 as resources
from vault_service.domain import limits
from vault_service.domain.audit import AuditAction
from vault_service.domain.event import EventKind

_LIMIT_S = 10.0


def watch(surface: Surface, **asked: Any) -> Any:
    """A stream under way."""
    stub = grant_service_pb2_grpc.GrantServiceStub(surface.channel(APP))
    request = grants.WatchGrantsRequest(parent=f"tenants/{TENANT}", **asked)
    return stub.WatchGrants(request)


async def next_of(stream: Any) -> grants.WatchGrantsResponse:
    """The next message."""
    async with asyncio.timeout(_LIMIT_S):
        message = await stream.read()
    assert isinstance(message, grants.WatchGrantsResponse)
    return message


async def end_of(stream: Any) -> Refused:
    """How the stream ends."""
    try:
        async with asyncio.timeout(_LIMIT_S):
            while await stream.read() is not grpc.aio.EOF:
                pass
    except grpc.aio.AioRpcError as error:
        return refused_from(error)
    raise AssertionError("it ended without a status")


async def test_an_event_on_the_wire(surface: Surface) -> None:
    """An event has the grant's name, owner, registration, provider and state, and a cursor."""
    stream = watch(surface)
    first = await next_of(stream)
    assert not first.HasField("event")
    grant = (await surface.house.consent()).grant
    message = await next_of(stream)
    event = message.event
    assert event.kind == resources.GRANT_EVENT_KIND_CREATED
    assert (event.grant, event.owner) == (str(grant.name), "u-1")
    assert event.oauth_client == f"tenants/{TENANT}/oauthClients/crm"
    assert event.provider == f"tenants/{TENANT}/providers/op"
    assert (event.state, event.revision) == (resources.GRANT_STATE_ACTIVE, 1)
    assert message.cursor not in ("", first.cursor)
    completed = surface.house.records(AuditAction.AUTHORIZATION_COMPLETED)[0]
    assert event.id == str(completed.record_id)
    stream.cancel()


async def test_a_process_that_stops_ends_its_streams_with_a_reason(surface: Surface) -> None:
    """At a drain every stream ends at once with STREAM_ENDED and a time to come again, which is no
    refusal on record; a new one is told the same."""
    stream = watch(surface)
    await next_of(stream)
    surface.house.watches.close()
    for each in (stream, watch(surface)):
        ended = await end_of(each)
        assert (ended.code, ended.reason) == (grpc.StatusCode.UNAVAILABLE, "STREAM_ENDED")
        assert ended.retry_after_s == limits.WATCH_RESUME_S
        assert ended.request_id
    assert surface.refusals() == []


async def test_a_stream_ends_with_its_callers_certificate(surface: Surface) -> None:
    """A stream does not outlive the certificate it was opened with."""
    issued = surface.pki.caller(APP)
    certificate = x509.load_pem_x509_certificate(issued.certificate_file.read_bytes())
    left = certificate.not_valid_after_utc - surface.house.clock.now()
    surface.house.clock.advance((left - timedelta(seconds=20)).total_seconds())
    stream = watch(surface)
    await next_of(stream)
    surface.house.clock.advance(19.7)
    surface.house.stores.bell.ring_all()
    assert (await end_of(stream)).reason == "STREAM_ENDED"
    surface.house.clock.advance(1.0)
    assert (await end_of(watch(surface))).reason == "CALLER_UNKNOWN"


async def test_a_callers_deadline_is_kept(surface: Surface) -> None:
    """A stream opened with a deadline of its own ends by it."""
    stub = grant_service_pb2_grpc.GrantServiceStub(surface.channel(APP))
    request = grants.WatchGrantsRequest(parent=f"tenants/{TENANT}")
    ended = await end_of(stub.WatchGrants(request, timeout=0.3))
    assert ended.reason == "STREAM_ENDED" or ended.code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_who_takes_nothing_loses_the_place(
    surface: Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that takes no messages stops the stream's reading when what the transport holds is
    full, and after a while its place is free; what it missed is there for its cursor."""
    monkeypatch.setattr(limits, "WATCH_SEND_LIMIT_S", 0.3)
    house = surface.house
    cursor = await house.stores.events.begin(TENANT, "")
    grant = (await house.consent()).grant
    record = house.records(AuditAction.AUTHORIZATION_COMPLETED)[0]
    for _ in range(3_000):
        house.stores.tables.tell(record, grant, EventKind.EXPIRING_SOON)
    # A window of 64 KB that does not grow: else the reader's side takes megabytes unasked.
    narrow = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536))
    channel = surface.pki.channel(surface.port, surface.pki.caller(APP), more=narrow)
    stub = grant_service_pb2_grpc.GrantServiceStub(surface.keep("narrow", channel))
    request = grants.WatchGrantsRequest(parent=f"tenants/{TENANT}", cursor=cursor)
    stream = stub.WatchGrants(request)
    await next_of(stream)
    async with asyncio.timeout(_LIMIT_S):
        while len(house.watches):
            await asyncio.sleep(0.05)
    (ended,) = house.records(AuditAction.GRANT_WATCH_ENDED)
    assert int(ended.detail["events"]) < 1_500
    assert (await end_of(stream)).reason == "STREAM_ENDED"


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"kinds": [99]}, "FIELD_MALFORMED"),
        ({"kinds": [1] * 17}, "FIELD_MALFORMED"),
        ({"owner": "u 1"}, "NAME_MALFORMED"),
        ({"oauth_client": "tenants/beta/oauthClients/crm"}, "FIELD_MALFORMED"),
        ({"provider": "op"}, "NAME_MALFORMED"),
        ({"cursor": "made up"}, "FIELD_MALFORMED"),
    ],
)
async def test_what_is_asked_is_judged(
    surface: Surface, asked: dict[str, Any], reason: str
) -> None:
    """Kinds that are none, names of another tenant and cursors that are not ours are refused."""
    assert (await end_of(watch(surface, **asked))).reason == reason
