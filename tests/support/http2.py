"""HTTP/2 in frames of our own (RFC 9113), for what no library's client would send."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from vault_service.embedded.devca import IssuedCertificate

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0x0, 0x1, 0x3, 0x4, 0x6, 0x7, 0x8, 0x9,
)  # fmt: skip
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
NO_ERROR, REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 0x0, 0x7, 0x8, 0xB
MAX_CONCURRENT_STREAMS: Final = 0x3
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_LIMIT_S: Final = 10.0


@dataclass(frozen=True)
class Frame:
    """One frame as it came."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def error_code(self) -> int:
        """Of RST_STREAM and GOAWAY."""
        return int.from_bytes(self.payload[4:8] if self.kind == GOAWAY else self.payload[:4])


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Its bytes."""
    head = len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4)
    return head + payload


def header_block(path: str, more: Sequence[tuple[str, str]] = ()) -> bytes:
    """Literal fields without indexing (RFC 7541 §6.2.2)."""
    fields = (
        (":method", "POST"), (":scheme", "https"), (":path", path), (":authority", "localhost"),
        ("te", "trailers"), ("content-type", "application/grpc"), *more,
    )  # fmt: skip
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in fields)


def _text(text: str) -> bytes:
    return _integer(len(text)) + text.encode()


def _integer(value: int) -> bytes:
    """RFC 7541 §5.1, seven bits of prefix."""
    if value < 0x7F:
        return bytes([value])
    rest, out = value - 0x7F, bytearray([0x7F])
    while rest >= 0x80:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*out, rest])


def grpc_message(data: bytes, *, compressed: bool = False) -> bytes:
    """Length-prefixed, as gRPC frames it."""
    return struct.pack(">BI", compressed, len(data)) + data


class Connection:
    """One TLS connection to 127.0.0.1; blocking, so for a thread."""

    def __init__(self, port: int, ca_file: str, issued: IssuedCertificate) -> None:
        context = ssl.create_default_context(cafile=ca_file)
        context.set_alpn_protocols(["h2"])
        context.load_cert_chain(issued.certificate_file, issued.key_file)
        plain = socket.create_connection(("127.0.0.1", port), _LIMIT_S)
        self._tls = context.wrap_socket(plain, server_hostname="127.0.0.1")
        self._read = self._tls.makefile("rb")
        self.send(_PREFACE + frame(SETTINGS, 0, 0))

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *exc: object) -> None:
        self._read.close()
        self._tls.close()

    def send(self, data: bytes) -> None:
        """OSError once the server has hung up."""
        self._tls.sendall(data)

    def frames(self, limit_s: float = _LIMIT_S) -> Iterator[Frame]:
        """What comes, until the server hangs up; settings and pings are acknowledged. TimeoutError
        when nothing comes for so long."""
        self._tls.settimeout(limit_s)
        while True:
            try:
                head = self._read.read(9)
                if len(head) < 9:
                    return
                payload = self._read.read(int.from_bytes(head[:3]))
            except (ConnectionError, ssl.SSLError):
                return
            came = Frame(head[3], head[4], int.from_bytes(head[5:9]) & 0x7FFFFFFF, payload)
            if came.kind in (SETTINGS, PING) and not came.flags & ACK:
                echo = came.payload if came.kind == PING else b""
                self.send(frame(came.kind, ACK, 0, echo))
            yield came
