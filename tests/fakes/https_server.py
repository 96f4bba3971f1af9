"""A TLS server that does to a client what a test wants, on a socket of this host.

Its certificate comes from a throw-away CA that only the client under test trusts.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAMES = ("localhost", "pinned.test")
Behaviour = Callable[["Request", asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Request:
    """One request as its bytes came."""

    head: str
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of one header, None when absent."""
        for line in self.head.split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name.lower():
                return value.strip()
        return None


@dataclass
class Server:
    """What the test looks at. ``behaviour`` may be replaced between requests."""

    behaviour: Behaviour
    port: int = 0
    connections: int = 0
    requests: list[Request] = field(default_factory=list)

    @property
    def authority(self) -> str:
        """host:port"""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Its token endpoint."""
        return f"https://{self.authority}/token"


@dataclass(frozen=True)
class DevCertificates:
    """Files of one throw-away CA and of a server certificate under it."""

    ca_file: Path
    server_file: Path  # certificate and key


def make_certificates(folder: Path) -> DevCertificates:
    """A new CA and a certificate for 127.0.0.1 and NAMES, valid for a day."""
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "throw-away test CA")])
    ca = _certificate(ca_name, ca_name, ca_key, ca_key, True)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test server")])
    server = _certificate(name, ca_name, key, ca_key, False)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    made = DevCertificates(folder / "ca.pem", folder / "server.pem")
    made.ca_file.write_bytes(ca.public_bytes(pem))
    made.server_file.write_bytes(server.public_bytes(pem) + private)
    return made


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    is_ca: bool,
) -> x509.Certificate:
    now = datetime.now(UTC)
    hosts: list[x509.GeneralName] = [x509.DNSName(name) for name in NAMES]
    hosts.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .sign(signer, hashes.SHA256())
    )


@contextlib.asynccontextmanager
async def serve(
    behaviour: Behaviour,
    certificates: DevCertificates,
    *,
    tls_max: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
) -> AsyncIterator[Server]:
    """Serve until the block ends; then every connection is cut."""
    state = Server(behaviour)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server_file)
    if tls_max < ssl.TLSVersion.TLSv1_2:
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = tls_max
    context.maximum_version = tls_max
    writers: set[asyncio.StreamWriter] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state.connections += 1
        writers.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while not writer.is_closing():
                request = await _read_request(reader)
                state.requests.append(request)
                await state.behaviour(request, writer)
                await writer.drain()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)  # lets the handlers end


async def _read_request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    bare = Request(head, b"")
    return Request(head, await reader.readexactly(int(bare.header("Content-Length") or 0)))


def reply(
    body: bytes, status: str = "200 OK", content_type: str = "application/json", extra: str = ""
) -> Behaviour:
    """Answers every request with this; ``extra`` holds further header lines, each with CRLF."""

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n{extra}"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )

    return behave


def reset(writer: asyncio.StreamWriter) -> None:
    """Cut the connection with a TCP reset."""
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class CountingSocket:
    """Listens on every address of this host, counts who connects, and answers nobody."""

    def __init__(self) -> None:
        self.connections = 0
        self.port = 0
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> CountingSocket:
        if socket.has_dualstack_ipv6():
            listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        else:
            listener = socket.create_server(("0.0.0.0", 0))
        self._server = await asyncio.start_server(self._count, sock=listener)
        self.port = listener.getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _count(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.close()
