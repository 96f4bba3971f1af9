"""The server itself: who gets in, bounds, deadlines, health, reflection, new certificates."""

from __future__ import annotations

import asyncio
import socket
import ssl
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.rpc.surface import LIMIT_S, Pki, Refused, Surface, refused_from
from tests.support.house import APP, OTHER, TENANT, House
from tokenvault.v1 import (
    grant_service_pb2,
    grant_service_pb2_grpc,
    secret_service_pb2,
    secret_service_pb2_grpc,
    token_service_pb2,
    token_service_pb2_grpc,
)
from vault_service.domain import limits
from vault_service.domain.audit import AuditAction, AuditRecord, Outcome
from vault_service.embedded.devca import SERVER_AUTH, IssuedCertificate
from vault_service.rpc.server import TlsFiles

GET_TOKEN = (token_service_pb2_grpc.TokenServiceStub, "GetAccessToken")
LIST = (grant_service_pb2_grpc.GrantServiceStub, "ListGrants")
PUT_SECRET = (secret_service_pb2_grpc.SecretServiceStub, "PutSecret")
GET_SECRET = (secret_service_pb2_grpc.SecretServiceStub, "GetSecretValue")
LISTING = grant_service_pb2.ListGrantsRequest(parent=f"tenants/{TENANT}")
SECRET = f"tenants/{TENANT}/secrets/smtp"


async def odd(
    surface: Surface, issued: IssuedCertificate | None, root: Path | None = None
) -> Refused:
    """How a call with this certificate is refused."""
    channel = surface.keep(str(uuid.uuid4()), surface.pki.channel(surface.port, issued, root))
    return await surface.refused(*LIST, LISTING, channel, limit_s=5.0)


async def test_callers_that_tls_lets_through(surface: Surface) -> None:
    """Without one SPIFFE id of ours a caller is unknown, on record without a name."""
    ca, asked = surface.pki.ca, len(surface.house.policy.asked)
    domain = "spiffe://example.org/a"
    for name, issued in {
        "no URI": ca.build_odd("no-uri"),
        "two URIs": ca.build_odd("two-uris", uris=[domain, "spiffe://example.org/b"]),
        "foreign": ca.build_odd("foreign", uris=["spiffe://evil.example/app"]),
        "no path": ca.build_odd("no-path", uris=["spiffe://example.org"]),
        "a CA": ca.build_odd("a-ca", uris=[domain], is_ca=True),
    }.items():
        refused = await odd(surface, issued)
        assert (refused.reason, refused.code) == (
            "CALLER_UNKNOWN",
            grpc.StatusCode.UNAUTHENTICATED,
        ), name
        record = surface.refusals()[-1]
        assert (record.caller, record.outcome) == ("", Outcome.DENY)
        assert (record.request_id, record.tenant) == (refused.request_id, TENANT)
        assert record.detail["why"]
    assert len(surface.house.policy.asked) == asked


async def test_callers_that_tls_refuses(surface: Surface, tmp_path: Path) -> None:
    """No certificate, one of another CA, and one that is no client's reach no handler."""
    stranger = Pki(tmp_path)
    ca = surface.pki.ca
    long_ago = ca.build_odd(
        "expired",
        uris=[APP],
        not_before=ca._clock() - timedelta(days=2),
        not_after=ca._clock() - timedelta(days=1),
    )
    server_only = ca.build_odd("server-only", uris=[APP], ekus=[SERVER_AUTH])
    root = ca.root_file
    for issued in (None, stranger.caller(APP), long_ago, server_only):
        refused = await odd(surface, issued, root)
        assert (refused.reason, refused.code) == ("", grpc.StatusCode.UNAVAILABLE)
    assert surface.refusals() == []


async def test_certificate_that_runs_out(surface: Surface) -> None:
    """On a connection that lives on, an expired certificate is refused from its end."""
    await surface.call(*LIST, LISTING, APP)
    surface.house.clock.advance(3 * 366 * 86_400)
    refused = await surface.refused(*LIST, LISTING, APP)
    assert refused.reason == "CALLER_UNKNOWN"
    assert "expired" in refused.message


async def test_each_call_by_its_own_certificate(surface: Surface) -> None:
    """Two callers of one host, at the same time: each is judged and recorded as itself."""
    grant = (await surface.house.consent()).grant
    request = token_service_pb2.GetAccessTokenRequest(grant=str(grant.name))
    both = [surface.call(*GET_TOKEN, request, caller) for caller in (APP, OTHER) * 10]
    answers = await asyncio.gather(*both)
    by_id = {
        record.request_id: record.caller
        for record in surface.house.records(AuditAction.ACCESS_TOKEN_DISCLOSED)
    }
    assert [by_id[request_id] for _, request_id in answers] == [APP, OTHER] * 10


async def test_secret_sizes(surface: Surface) -> None:
    """64 KiB fits, one byte more is PAYLOAD_TOO_LARGE, and an outsized message is not read."""

    def putting(size: int) -> secret_service_pb2.PutSecretRequest:
        return secret_service_pb2.PutSecretRequest(name=SECRET, payload=b"x" * size)

    answer, _ = await surface.call(*PUT_SECRET, putting(limits.PAYLOAD_MAX_BYTES), APP)
    assert answer.secret_version.version == 1
    read = secret_service_pb2.GetSecretValueRequest(name=SECRET)
    value, _ = await surface.call(*GET_SECRET, read, APP)
    assert value.payload == b"x" * limits.PAYLOAD_MAX_BYTES
    refused = await surface.refused(*PUT_SECRET, putting(limits.PAYLOAD_MAX_BYTES + 1), APP)
    assert refused.reason == "PAYLOAD_TOO_LARGE"
    refused = await surface.refused(*PUT_SECRET, putting(limits.MESSAGE_MAX_BYTES), APP)
    assert (refused.reason, surface.refusals()[-1].resource) == ("PAYLOAD_TOO_LARGE", "")
    refused = await surface.refused(*PUT_SECRET, putting(limits.TRANSPORT_MAX_BYTES), APP)
    assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "")


async def test_metadata_size(surface: Surface) -> None:
    """More metadata than the bound is refused before any handler."""
    huge = [("x-filler", "x" * limits.METADATA_MAX_BYTES)]
    refused = await surface.refused(*LIST, LISTING, APP, metadata=huge)
    assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert surface.refusals() == []


async def test_deadline_too_short(surface: Surface) -> None:
    """Less than 100 ms is not begun, and on record."""
    await surface.call(*LIST, LISTING, APP)
    refused = await surface.refused(*LIST, LISTING, APP, limit_s=0.095)
    assert (refused.code, refused.reason) == (
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "BUDGET_TOO_SHORT",
    )
    assert surface.refusals()[-1].reason == "BUDGET_TOO_SHORT"


async def test_deadline_that_passes(surface: Surface) -> None:
    """A refresh that takes longer than the caller's time is answered before that time is over."""
    grant = (await surface.house.consent()).grant
    surface.house.clock.advance(3_600)
    held = surface.house.endpoint.hold()
    request = token_service_pb2.GetAccessTokenRequest(grant=str(grant.name))
    refused = await surface.refused(*GET_TOKEN, request, APP, limit_s=0.4)
    assert refused.reason == "REFRESH_IN_PROGRESS"
    held.set()
    answer, _ = await surface.call(*GET_TOKEN, request, APP)
    assert len(surface.house.endpoint.posted("refresh")) == 1
    assert answer.access_token == "at-2"


async def test_work_that_hangs(surface: Surface, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever hangs, the caller is answered before its deadline, and the refusal is on record."""

    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(surface.house.stores.grants, "list", hang)
    refused = await surface.refused(*LIST, LISTING, APP, limit_s=0.3)
    assert refused.code is grpc.StatusCode.DEADLINE_EXCEEDED
    async with asyncio.timeout(LIMIT_S):
        while not surface.refusals():
            await asyncio.sleep(0.01)
    assert surface.refusals()[-1].reason == "BUDGET_TOO_SHORT"


async def test_fault_while_recording(
    surface: Surface, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A fault in writing the record of a refusal tells nothing either, and fails closed."""

    async def fault(_: AuditRecord) -> None:
        raise RuntimeError("canary-fault")

    monkeypatch.setattr(surface.house.audit, "append", fault)
    malformed = grant_service_pb2.ListGrantsRequest(parent="nonsense")
    refused = await surface.refused(*LIST, malformed, APP)
    assert refused.reason == "AUDIT_UNAVAILABLE"
    assert refused.request_id
    shown = capsys.readouterr()
    assert "canary-fault" not in str(refused) + shown.err + shown.out


async def test_caller_that_hangs_up(surface: Surface) -> None:
    """A caller that cancels does not stop the refresh it began."""
    grant = (await surface.house.consent()).grant
    surface.house.clock.advance(3_600)
    held = surface.house.endpoint.hold()
    request = token_service_pb2.GetAccessTokenRequest(grant=str(grant.name))
    stub = token_service_pb2_grpc.TokenServiceStub(surface.channel(APP))
    under_way = stub.GetAccessToken(request, timeout=LIMIT_S)
    async with asyncio.timeout(LIMIT_S):
        waiting = asyncio.ensure_future(_code(under_way))
        await surface.house.endpoint.arrived.wait()
        under_way.cancel()
        assert await waiting is grpc.StatusCode.CANCELLED
        held.set()
        assert await surface.house.flights.drain(1) == 0
    assert (await surface.house.row(grant.name)).generation == 2


async def _code(under_way: object) -> grpc.StatusCode:
    code: grpc.StatusCode = await under_way.code()  # type: ignore[attr-defined]
    return code


async def health(surface: Surface, service: str = "") -> str:
    """What the health service says; NOT_FOUND where it does not know the name."""
    stub: Any = health_pb2_grpc.HealthStub(surface.channel(APP))
    try:
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=LIMIT_S)
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


async def test_health(surface: Surface) -> None:
    """NOT_SERVING until everything was found up, then by dependency, and as a whole."""
    whole = "tokenvault.v1.TokenService"
    assert await health(surface) == "NOT_SERVING"
    await surface.server.set_health({"database": True, "transit": True})
    assert [await health(surface, name) for name in ("", whole)] == ["SERVING"] * 2
    await surface.server.set_health({"database": True, "transit": False})
    assert [await health(surface, name) for name in ("", whole)] == ["NOT_SERVING"] * 2
    assert await health(surface, "dependency.database") == "SERVING"
    assert await health(surface, "dependency.transit") == "NOT_SERVING"
    assert await health(surface, "dependency.moon") == "NOT_FOUND"


async def reflected(surface: Surface) -> list[str]:
    """The services that reflection lists."""
    made: Any = reflection_pb2_grpc.ServerReflectionStub  # its types know no asyncio
    stub = made(surface.channel(APP))

    request: Any = reflection_pb2.ServerReflectionRequest

    async def asked() -> AsyncIterator[Any]:
        yield request(list_services="")

    found = []
    async for answer in stub.ServerReflectionInfo(asked(), timeout=LIMIT_S):
        found += [service.name for service in answer.list_services_response.service]
    return found


async def test_no_reflection(surface: Surface) -> None:
    """Reflection is off unless it was asked for."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await reflected(surface)
    assert refused_from(caught.value).code is grpc.StatusCode.UNIMPLEMENTED


async def test_reflection(pki: Pki) -> None:
    """Where it was asked for it lists our services."""
    async with Surface(House(), pki, reflect=True).running() as surface:
        assert {f"tokenvault.v1.{name}Service" for name in ("Token", "Grant", "Secret")} <= set(
            await reflected(surface)
        )


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody else listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


async def test_port_taken(pki: Pki, taken: int) -> None:
    """A port that is taken is said to be, with its address."""
    surface = Surface(House(), pki)
    with pytest.raises(OSError, match=f"127.0.0.1:{taken}"):
        await surface.server.start("127.0.0.1", taken)
    await surface.server.stop(0)


def served_serial(port: int, pki: Pki) -> int:
    """The serial number of the certificate that a new connection is shown."""
    context = ssl.create_default_context(cafile=str(pki.ca.root_file))
    context.set_alpn_protocols(["h2"])
    issued = pki.caller(APP)
    context.load_cert_chain(issued.certificate_file, issued.key_file)
    with (
        socket.create_connection(("127.0.0.1", port), LIMIT_S) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        assert secure.version() == "TLSv1.3"
        certificate = secure.getpeercert()
        assert certificate is not None
        return int(str(certificate["serialNumber"]), 16)


@pytest.fixture
async def replaceable(tmp_path: Path) -> AsyncIterator[Surface]:
    """A server whose files no other test uses."""
    house = House()
    await house.register()
    async with Surface(house, Pki(tmp_path)).running() as surface:
        yield surface


async def test_certificates_are_replaced(replaceable: Surface) -> None:
    """Files replaced on disk are shown to new connections; the old ones go on."""
    pki, port = replaceable.pki, replaceable.port
    await replaceable.call(*LIST, LISTING, APP)
    before = await asyncio.to_thread(served_serial, port, pki)
    assert await asyncio.to_thread(served_serial, port, pki) == before
    pki.ca.build_odd("server", ips=["127.0.0.1"], ekus=[SERVER_AUTH])
    after = await asyncio.to_thread(served_serial, port, pki)
    assert after != before
    await replaceable.call(*LIST, LISTING, APP)
    fresh = replaceable.keep("fresh", pki.channel(port, pki.caller(APP)))
    await replaceable.call(*LIST, LISTING, fresh)


async def test_half_a_replacement(replaceable: Surface) -> None:
    """While only one of certificate and key is new, or one is gone, the old pair serves on."""
    pki, port = replaceable.pki, replaceable.port
    before = await asyncio.to_thread(served_serial, port, pki)
    old = pki.tls.certificate_file.read_bytes()
    pki.ca.build_odd("server", ips=["127.0.0.1"], ekus=[SERVER_AUTH])
    new = pki.tls.certificate_file.read_bytes()
    pki.tls.certificate_file.write_bytes(old)  # the key is the new one by now
    assert await asyncio.to_thread(served_serial, port, pki) == before
    pki.tls.certificate_file.unlink()
    assert await asyncio.to_thread(served_serial, port, pki) == before
    pki.tls.certificate_file.write_bytes(new)
    assert await asyncio.to_thread(served_serial, port, pki) != before


async def test_trust_bundle_is_replaced(tmp_path: Path) -> None:
    """A CA that is added to the bundle lets its callers in without a restart."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    ours, theirs = Pki(tmp_path / "a"), Pki(tmp_path / "b")
    bundle = tmp_path / "callers.pem"
    bundle.write_bytes(ours.ca.root_file.read_bytes())
    ours.tls = TlsFiles(ours.tls.certificate_file, ours.tls.key_file, bundle)
    house = House()
    async with Surface(house, ours).running() as surface:
        root = ours.ca.root_file
        assert (await odd(surface, theirs.caller(APP), root)).code is grpc.StatusCode.UNAVAILABLE
        bundle.write_bytes(root.read_bytes() + theirs.ca.root_file.read_bytes())
        channel = ours.channel(surface.port, theirs.caller(APP), root)
        surface.keep("theirs", channel)
        await surface.call(*LIST, LISTING, channel)


async def test_stop(pki: Pki) -> None:
    """A server that stops gives what is under way its time, and takes nothing new."""
    house = House()
    await house.register()
    grant = (await house.consent()).grant
    house.clock.advance(3_600)
    held = house.endpoint.hold()
    async with Surface(house, pki).running() as surface:
        request = token_service_pb2.GetAccessTokenRequest(grant=str(grant.name))
        under_way = asyncio.create_task(surface.call(*GET_TOKEN, request, APP))
        await house.endpoint.arrived.wait()
        stopping = asyncio.create_task(surface.server.stop(5))
        await asyncio.sleep(0.05)
        late = await surface.refused(*LIST, LISTING, OTHER, limit_s=1.0)
        assert late.code in (
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.DEADLINE_EXCEEDED,
        )
        held.set()
        answer, _ = await under_way
        assert answer.access_token == "at-2"
        await stopping
