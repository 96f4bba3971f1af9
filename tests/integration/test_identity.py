"""Who is calling, as the certificate says: on every call, and never by the address."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio
import pytest

import tokenvault_client as sdk
from tests.support.forwarder import FixedPortForwarder
from tests.support.refusals import ONCE_S, record_of, recorded_refusal
from tests.support.serving import check_health
from tests.support.vault import RealVault
from tokenvault.v1 import secret_service_pb2
from vault_service.embedded.devca import CLIENT_AUTH, SERVER_AUTH, DevCA, IssuedCertificate
from vault_service.embedded.settings_files import TENANT, TRUST_DOMAIN

_APP = f"spiffe://{TRUST_DOMAIN}/calendar-app"
_DATA, _HEADERS, _SETTINGS = 0, 1, 4  # frame types of RFC 9113 §6
_SECRET = sdk.secret_name(TENANT, "identity")
_ODD: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "no URI": ({"dns": ("calendar-app",)}, "has 0 URI names"),
    "two URIs": ({"uris": (_APP, f"spiffe://{TRUST_DOMAIN}/operator")}, "has 2 URI names"),
    "twice the same URI": ({"uris": (_APP, _APP)}, "has 2 URI names"),
    "foreign trust domain": ({"uris": ("spiffe://prod.other/calendar-app",)}, "trust domain"),
    "no SPIFFE URI": ({"uris": ("https://dev.tokenvault/calendar-app",)}, "not a SPIFFE id"),
    "dots in the path": ({"uris": (f"spiffe://{TRUST_DOMAIN}/x/../calendar-app",)}, "SPIFFE id"),
    "CA as a leaf": ({"uris": (_APP,), "is_ca": True}, "is a CA's"),
    "no usage": ({"uris": (_APP,), "ekus": ()}, "no extended key usage"),
}


@pytest.fixture(scope="module")
def port(real_vault: RealVault) -> Iterator[int]:
    """One process."""
    yield real_vault.serve("identity")
    real_vault.stop_process("identity")


@pytest.fixture
async def auditor(real_vault: RealVault, port: int) -> AsyncIterator[sdk.TokenVaultClient]:
    """Who reads the record."""
    async with real_vault.client("auditor", port) as client:
        yield client


def _client(vault: RealVault, port: int, issued: IssuedCertificate) -> sdk.TokenVaultClient:
    return sdk.TokenVaultClient(
        f"127.0.0.1:{port}",
        ca_file=vault.ca.root_file,
        certificate_file=issued.certificate_file,
        key_file=issued.key_file,
    )


@pytest.mark.parametrize("odd", _ODD)
async def test_odd_certificate(
    real_vault: RealVault, port: int, auditor: sdk.TokenVaultClient, odd: str
) -> None:
    """What TLS lets through is CALLER_UNKNOWN, says what is wrong, and is on record under the
    tenant that was asked for, without a caller."""
    says, why = _ODD[odd]
    issued = real_vault.ca.build_odd("odd", **says)
    async with _client(real_vault, port, issued) as client:
        call = client.get_secret_value(_SECRET)
        error, record = await recorded_refusal(auditor, call, "CALLER_UNKNOWN", why)
        assert isinstance(error, sdk.CallerUnknown)
        assert "one SPIFFE id of an allowed trust domain" in error.message
        assert (record.caller, record.outcome) == ("", sdk.AuditOutcome.DENY)
        assert why in record.detail["why"]
        assert record.source.startswith("ipv4:127.0.0.1:")
        nameless = client.get_secret_value("nonsense")
        await recorded_refusal(auditor, nameless, "CALLER_UNKNOWN", why, tenant="-")


def _refused_in_the_handshake(vault: RealVault, folder: Path) -> dict[str, IssuedCertificate]:
    now = datetime.now(UTC)
    uris = (_APP,)
    other = DevCA(folder)
    return {
        "expired": vault.ca.build_odd(
            "expired", uris=uris, not_before=now - timedelta(2), not_after=now - timedelta(1)
        ),
        "not yet valid": vault.ca.build_odd(
            "early", uris=uris, not_before=now + timedelta(1), not_after=now + timedelta(2)
        ),
        "wrong usage": vault.ca.build_odd("wrong-usage", uris=uris, ekus=(SERVER_AUTH,)),
        "unknown CA": other.build_odd("foreign", uris=uris, ekus=(CLIENT_AUTH,)),
    }


async def test_certificates_that_the_handshake_refuses(
    real_vault: RealVault, port: int, auditor: sdk.TokenVaultClient, tmp_path: Path
) -> None:
    """Expired, not yet valid, for servers, of an unknown CA: the client raises TransportRefused
    naming the likely causes, and no handler and no record ever sees the call."""
    before = (await auditor.list_audit_records(f"tenants/{TENANT}")).items[0]
    for what, issued in _refused_in_the_handshake(real_vault, tmp_path).items():
        async with _client(real_vault, port, issued) as client:
            with pytest.raises(sdk.TransportRefused) as refused:
                await client.get_secret_value(_SECRET, timeout_s=ONCE_S)
        assert refused.value.problem is sdk.TransportProblem.CLIENT_CERTIFICATE_REFUSED, what
        assert "has not expired" in refused.value.message
    after = (await auditor.list_audit_records(f"tenants/{TENANT}")).items
    assert after[1] == before, "only our own reading came between"


async def test_a_client_without_a_certificate(real_vault: RealVault, port: int) -> None:
    """The handshake fails where none is shown."""
    credentials = grpc.ssl_channel_credentials(real_vault.ca.root_file.read_bytes())
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await check_health(channel)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_tls_1_2(real_vault: RealVault, port: int, auditor: sdk.TokenVaultClient) -> None:
    """A caller that negotiates TLS 1.2 is CALLER_UNKNOWN, however good its certificate is."""
    issued = real_vault.ca.issue("calendar-app", spiffe_id=_APP, server=False, client=True)
    context = ssl.create_default_context(cafile=real_vault.ca.root_file)
    context.load_cert_chain(issued.certificate_file, issued.key_file)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    message = secret_service_pb2.GetSecretValueRequest(name=_SECRET).SerializeToString()
    await asyncio.to_thread(
        _call_by_hand, context, port, "/tokenvault.v1.SecretService/GetSecretValue", message
    )
    (record,) = [
        record
        for record in (await auditor.list_audit_records(f"tenants/{TENANT}")).items
        if record.detail.get("why") == "the connection is not TLS 1.3"
    ]
    assert (record.reason, record.caller, record.resource) == ("CALLER_UNKNOWN", "", _SECRET)


def _call_by_hand(context: ssl.SSLContext, port: int, path: str, message: bytes) -> None:
    """One gRPC call in frames of our own (RFC 9113): grpcio's client knows TLS 1.3 only here."""
    headers = b"".join(
        # Literal header fields without indexing (RFC 7541 §6.2.2); all lengths are below 127.
        b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in (
            (":method", "POST"), (":scheme", "https"), (":path", path), (":authority", "localhost"),
            ("te", "trailers"), ("content-type", "application/grpc"),
        )
    )  # fmt: skip
    body = b"\0" + len(message).to_bytes(4, "big") + message
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as channel,
    ):
        assert channel.version() == "TLSv1.2"
        channel.sendall(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + _frame(_SETTINGS, 0, 0, b"")
            + _frame(_HEADERS, 0x4, 1, headers)  # END_HEADERS
            + _frame(_DATA, 0x1, 1, body)  # END_STREAM
        )
        answer = channel.makefile("rb")
        while True:
            head = answer.read(9)
            answer.read(int.from_bytes(head[:3], "big"))
            if head[3] == _HEADERS and head[4] & 0x1:
                return  # the trailers: the call has ended, and its record is durable


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return (
        len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
    )


async def test_two_certificates_from_one_address_and_port(
    real_vault: RealVault, port: int, auditor: sdk.TokenVaultClient
) -> None:
    """Each call is judged by its own certificate, whoever called from there before."""
    odd = real_vault.ca.build_odd("odd", uris=("spiffe://prod.other/calendar-app",))
    callers = ["calendar-app", "thief", "calendar-app", "", "operator", "calendar-app"]
    seen = []
    with FixedPortForwarder(port).running() as forwarder:
        for caller in callers:
            client = (
                real_vault.client(caller, forwarder.port)
                if caller
                else _client(real_vault, forwarder.port, odd)
            )
            async with client:
                try:
                    await client.put_secret(_SECRET, b"value")
                    seen.append("")
                except sdk.TokenVaultError as error:
                    record = await record_of(auditor, error)
                    assert record.source == f"ipv4:{forwarder.source}"
                    seen.append(error.reason)
        assert forwarder.forwarded == len(callers), "a connection for each certificate"
    assert seen == ["", "CALLER_NOT_ALLOWED", "", "CALLER_UNKNOWN", "", ""]
    page = await auditor.list_audit_records(f"tenants/{TENANT}", page_size=50)
    from_there = [
        (record.caller.rpartition("/")[2], record.action)
        for record in page.items
        if record.source == f"ipv4:{forwarder.source}"
    ]
    assert list(reversed(from_there)) == [
        (caller, "CALL_REFUSED" if reason else "SECRET_PUT")
        for caller, reason in zip(callers, seen, strict=True)
    ]
