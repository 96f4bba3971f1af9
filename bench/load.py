"""A load generator: unary gRPC calls over HTTP/2 and mTLS, by hand, so that it costs little.

A client of grpc.aio needs as much CPU for a call as the server does, and would measure itself.
This one writes the frames of RFC 9113 itself: it forbids the server a header table, so that
trailers can be compared as bytes, and counts every answer whose grpc-status is not 0. A measuring
device: it trusts the server it measures. Reads one JSON ``Load`` from standard input and prints
one JSON result.
"""

from __future__ import annotations

import asyncio
import base64
import json
import resource
import ssl
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_WINDOW_MAX = 2**31 - 1
_STATUS_OK = b"\x0bgrpc-status\x010"
_PATH = "/tokenvault.v1.TokenService/GetAccessToken"


@dataclass(frozen=True, slots=True)
class Load:
    """What to send. ``rate`` 0 keeps ``streams`` calls under way on each connection; else calls
    leave evenly spaced, so many per second over all connections."""

    port: int
    connections: int
    streams: int
    warm_up_s: float
    measure_s: float
    rate: float
    requests: list[str]  # serialized messages, base64
    certificate_file: str
    key_file: str
    ca_file: str


class _Connection(asyncio.Protocol):
    """One HTTP/2 connection; ``done`` is called with (connection, latency_s, ok)."""

    def __init__(self, done: Callable[[_Connection, float, bool], None]) -> None:
        self._done = done
        self._buffer = bytearray()
        self._transport: Any = None
        self._next = 1
        self._sent: dict[int, float] = {}
        self._status: dict[int, bool] = {}
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        settings = struct.pack("!HIHIHI", 1, 0, 2, 0, 4, _WINDOW_MAX)
        grant = struct.pack("!I", _WINDOW_MAX - 65_535)
        self._transport.write(
            _PREFACE + _frame(_SETTINGS, 0, 0, settings) + _frame(_WINDOW, 0, 0, grant)
        )

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        for started in list(self._sent.values()):
            self._done(self, time.perf_counter() - started, False)
        self._sent.clear()

    def close(self) -> None:
        self._done = lambda *_: None
        self._transport.close()

    def send(self, headers: bytes, message: bytes) -> None:
        stream, self._next = self._next, self._next + 2
        self._sent[stream] = time.perf_counter()
        self._transport.write(
            _frame(_HEADERS, _END_HEADERS, stream, headers)
            + _frame(_DATA, _END_STREAM, stream, message)
        )

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        at, size = 0, len(buffer)
        while size - at >= 9:
            length = int.from_bytes(buffer[at : at + 3], "big")
            if size - at < 9 + length:
                break
            kind, flags = buffer[at + 3], buffer[at + 4]
            stream = int.from_bytes(buffer[at + 5 : at + 9], "big")
            self._frame(kind, flags, stream, buffer[at + 9 : at + 9 + length])
            at += 9 + length
        del buffer[:at]

    def _frame(self, kind: int, flags: int, stream: int, payload: bytearray) -> None:
        if kind == _HEADERS and _STATUS_OK in payload:
            self._status[stream] = True
        if kind in (_HEADERS, _DATA):
            if flags & _END_STREAM:
                self._end(stream, self._status.pop(stream, False))
        elif kind == _RST:
            self._end(stream, False)
        elif kind == _SETTINGS and not flags & _ACK:
            self._transport.write(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            self._transport.write(_frame(_PING, _ACK, 0, bytes(payload)))
        elif kind == _GOAWAY:
            self._transport.close()

    def _end(self, stream: int, ok: bool) -> None:
        started = self._sent.pop(stream, None)
        if started is not None:
            self._done(self, time.perf_counter() - started, ok)


class Generator:
    """Runs one ``Load``."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._messages = [_message(base64.b64decode(text)) for text in load.requests]
        self._headers = _request_headers(load.port)
        self._turn = 0
        self._measuring = False
        self._closed_loop = load.rate == 0
        self._over = False
        self.latencies: list[float] = []
        self.failures = 0
        self.answers = 0  # warm-up included

    async def run(self) -> dict[str, object]:
        load = self._load
        loop = asyncio.get_running_loop()
        context = _tls(load)
        links = [
            (
                await loop.create_connection(
                    lambda: _Connection(self._done), "127.0.0.1", load.port, ssl=context,
                    server_hostname="localhost",
                )
            )[1]
            for _ in range(load.connections)
        ]  # fmt: skip
        pacer = None
        if self._closed_loop:
            for _ in range(load.streams):
                for link in links:
                    self._send(link)
        else:
            pacer = asyncio.create_task(self._pace(links))
        await asyncio.sleep(load.warm_up_s)
        self._measuring, started, cpu = True, time.perf_counter(), _cpu_s()
        await asyncio.sleep(load.measure_s)
        self._measuring = False
        took_s, cpu_s = time.perf_counter() - started, _cpu_s() - cpu
        self._over = True
        if pacer is not None:
            pacer.cancel()
        for link in links:
            link.close()
        return self._result(took_s, cpu_s)

    async def _pace(self, links: list[_Connection]) -> None:
        loop = asyncio.get_running_loop()
        start, sent = loop.time(), 0
        while True:
            due = int((loop.time() - start) * self._load.rate)
            while sent < due:
                self._send(links[sent % len(links)])
                sent += 1
            await asyncio.sleep(0.001)

    def _send(self, link: _Connection) -> None:
        self._turn += 1
        link.send(self._headers, self._messages[self._turn % len(self._messages)])

    def _done(self, link: _Connection, latency_s: float, ok: bool) -> None:
        self.answers += 1
        if self._measuring:
            if ok:
                self.latencies.append(latency_s)
            else:
                self.failures += 1
        if self._closed_loop and not self._over and not link.lost:
            self._send(link)

    def _result(self, took_s: float, cpu_s: float) -> dict[str, object]:
        ordered = sorted(self.latencies)
        count = len(ordered)

        def at(share: float) -> float:
            return round(ordered[min(count - 1, int(count * share))] * 1000, 3) if count else 0.0

        return {
            "calls": count,
            "answers": self.answers,
            "failures": self.failures,
            "per_second": round(count / took_s, 1),
            "p50_ms": at(0.50),
            "p90_ms": at(0.90),
            "p99_ms": at(0.99),
            "load_cpu_share": round(cpu_s / took_s, 2),
        }


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big")
    return head + payload


def _message(serialized: bytes) -> bytes:
    return b"\0" + len(serialized).to_bytes(4, "big") + serialized


def _request_headers(port: int) -> bytes:
    fields = (
        (":method", "POST"),
        (":scheme", "https"),
        (":path", _PATH),
        (":authority", f"localhost:{port}"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("grpc-timeout", "20S"),
        ("user-agent", "tokenvault-bench"),
    )
    # Literal without indexing, new name (RFC 7541 §6.2.2): no state on either side.
    parts = (b"\0" + _literal(name) + _literal(value) for name, value in fields)
    return b"".join(parts)


def _literal(text: str) -> bytes:
    encoded = text.encode()
    assert len(encoded) < 127, "one length byte is enough for these"
    return bytes((len(encoded),)) + encoded


def _tls(load: Load) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=load.ca_file)
    context.load_cert_chain(load.certificate_file, load.key_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    return context


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    print(json.dumps(asyncio.run(Generator(Load(**json.load(sys.stdin))).run())))
