"""Threat T22: what a caller with a valid certificate can do to a connection, in frames by hand."""

from __future__ import annotations

import asyncio
import resource
import time
import zlib
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import grpc
import grpc.aio
import pytest

from tests.rpc.surface import LIMIT_S, Pki, Surface
from tests.support import http2
from tests.support.house import APP, OTHER, TENANT, House
from tokenvault.v1 import (
    grant_service_pb2,
    grant_service_pb2_grpc,
    token_service_pb2,
    token_service_pb2_grpc,
)
from vault_service.domain import limits
from vault_service.rpc import server as server_module

_LIST = (grant_service_pb2_grpc.GrantServiceStub, "ListGrants")
_LIST_PATH = "/tokenvault.v1.GrantService/ListGrants"
_LISTING = grant_service_pb2.ListGrantsRequest(parent=f"tenants/{TENANT}")
_GET_TOKEN = (token_service_pb2_grpc.TokenServiceStub, "GetAccessToken")
_PUT_SECRET_PATH = "/tokenvault.v1.SecretService/PutSecret"
_OPEN = http2.END_HEADERS
_GROWTH_MAX_BYTES = 16 * 1_048_576
R = TypeVar("R")


async def by_hand(surface: Surface, work: Callable[[http2.Connection], R], caller: str = APP) -> R:
    """``work`` on a connection of its own, in a thread."""

    def run() -> R:
        issued = surface.pki.caller(caller)
        with http2.Connection(surface.port, str(surface.pki.ca.root_file), issued) as connection:
            return work(connection)

    return await asyncio.to_thread(run)


def call_frames(stream: int, path: str, message: bytes) -> bytes:
    """A whole unary call."""
    return http2.frame(http2.HEADERS, _OPEN, stream, http2.header_block(path)) + http2.frame(
        http2.DATA, http2.END_STREAM, stream, http2.grpc_message(message)
    )


def until_goaway(connection: http2.Connection) -> http2.Frame:
    """The last GOAWAY before the server hangs up: it may announce its end in two."""
    found = [frame for frame in connection.frames() if frame.kind == http2.GOAWAY]
    assert found, "the server hung up without a word"
    return found[-1]


async def check_alive(surface: Surface, within_s: float = 2.0) -> None:
    """Another caller is answered, and soon."""
    started = time.monotonic()
    await surface.call(*_LIST, _LISTING, OTHER)
    assert time.monotonic() - started < within_s


async def no_more_tasks_than(count: int) -> None:
    """Nothing is left over of what was."""
    async with asyncio.timeout(LIMIT_S):
        while len(asyncio.all_tasks()) > count:
            await asyncio.sleep(0.05)


def test_bounds_are_the_servers_options() -> None:
    """Each bound of the transport is given to gRPC, with the number of the limits."""
    assert dict(server_module.OPTIONS) == {
        "grpc.max_receive_message_length": limits.TRANSPORT_MAX_BYTES,
        "grpc.max_metadata_size": limits.METADATA_MAX_BYTES,
        "grpc.absolute_max_metadata_size": limits.METADATA_MAX_BYTES,
        "grpc.max_concurrent_streams": limits.STREAMS_MAX,
        "grpc.max_connection_age_ms": limits.CONNECTION_AGE_S * 1_000,
        "grpc.max_connection_age_grace_ms": limits.CONNECTION_AGE_GRACE_S * 1_000,
        "grpc.http2.min_recv_ping_interval_without_data_ms": limits.PING_INTERVAL_MIN_S * 1_000,
        "grpc.http2.max_ping_strikes": 2,
    }
    assert limits.MESSAGE_MAX_BYTES < limits.TRANSPORT_MAX_BYTES


async def test_streams_are_bounded(surface: Surface) -> None:
    """A connection is told 256 streams, and a client that opens more is refused those."""
    grant = (await surface.house.consent()).grant
    surface.house.clock.advance(3_600)
    held = surface.house.endpoint.hold()
    message = token_service_pb2.GetAccessTokenRequest(grant=str(grant.name)).SerializeToString()
    path, count = "/tokenvault.v1.TokenService/GetAccessToken", limits.STREAMS_MAX + 50

    def flood(connection: http2.Connection) -> tuple[int, set[int], set[int]]:
        told, refused = 0, set()
        frames = connection.frames()
        for came in frames:
            if came.kind == http2.SETTINGS and not came.flags:
                pairs = [came.payload[at : at + 6] for at in range(0, len(came.payload), 6)]
                numbers = {int.from_bytes(p[:2]): int.from_bytes(p[2:]) for p in pairs}
                told = numbers[http2.MAX_CONCURRENT_STREAMS]
                break
        for number in range(count):
            connection.send(call_frames(2 * number + 1, path, message))
        for came in frames:
            if came.kind == http2.RST_STREAM:
                assert came.error_code in (http2.REFUSED_STREAM, http2.ENHANCE_YOUR_CALM)
                refused.add(came.stream)
            if len(refused) == count - limits.STREAMS_MAX:
                break
        held.set()
        ended = set()
        for came in frames:
            if came.kind == http2.HEADERS and came.flags & http2.END_STREAM:
                ended.add(came.stream)
            if len(ended) == limits.STREAMS_MAX:
                break
        return told, refused, ended

    told, refused, ended = await by_hand(surface, flood)
    assert told == limits.STREAMS_MAX
    assert len(ended) == limits.STREAMS_MAX
    assert not ended & refused
    assert len(surface.house.endpoint.posted("refresh")) == 1
    await check_alive(surface)


async def test_more_calls_than_streams(surface: Surface) -> None:
    """A client with more calls than streams is answered them all: most wait at its side, and what
    gRPC refuses in between, unseen by any handler, is answered when it asks again."""
    await surface.call(*_LIST, _LISTING, APP)  # the server's settings have come with it
    left = 2 * limits.STREAMS_MAX
    async with asyncio.timeout(LIMIT_S):
        while left:
            calls = (surface.call(*_LIST, _LISTING, APP) for _ in range(left))
            answers = await asyncio.gather(*calls, return_exceptions=True)
            refused = [error for error in answers if isinstance(error, grpc.aio.AioRpcError)]
            assert len(refused) < left
            assert {error.code() for error in refused} <= {grpc.StatusCode.UNAVAILABLE}
            left = len(refused)
    assert surface.refusals() == []


async def test_ping_flood(surface: Surface) -> None:
    """A connection that pings and pings is told to calm down, and closed; others are served."""

    def flood(connection: http2.Connection) -> http2.Frame:
        connection.send(http2.frame(http2.PING, 0, 0, b"01234567") * 50)
        return until_goaway(connection)

    goaway = await by_hand(surface, flood)
    assert goaway.error_code == http2.ENHANCE_YOUR_CALM
    assert b"too_many_pings" in goaway.payload
    await check_alive(surface)


async def test_settings_flood(surface: Surface) -> None:
    """Ten thousand SETTINGS, each of which wants an acknowledgement, hold nobody else up."""

    def flood(connection: http2.Connection) -> None:
        try:
            for _ in range(10_000):
                connection.send(http2.frame(http2.SETTINGS, 0, 0))
        except OSError:
            return  # hung up on: as good

    before = _peak_bytes()
    await by_hand(surface, flood)
    await check_alive(surface)
    assert _peak_bytes() - before < _GROWTH_MAX_BYTES


async def test_continuation_flood(surface: Surface) -> None:
    """Headers that hardly end reach no handler, and cost no more than gRPC lets a connection hold,
    some 100 MB, however many they are."""
    filler = b"".join(b"\0" + b"\x04x-aa" + b"\x40" + b"y" * 64 for _ in range(200))

    def flood(connection: http2.Connection) -> None:
        block = http2.header_block(_LIST_PATH)
        connection.send(http2.frame(http2.HEADERS, http2.END_STREAM, 1, block))
        try:
            for _ in range(30_000):  # 420 MB
                connection.send(http2.frame(http2.CONTINUATION, 0, 1, filler))
        except OSError:
            pass  # hung up on: as good

    before = _peak_bytes()
    await by_hand(surface, flood)
    await check_alive(surface)
    assert _peak_bytes() - before < 200_000_000
    assert surface.refusals() == []


async def test_rapid_reset(surface: Surface) -> None:
    """Streams opened and reset at once, twenty thousand of them: other callers are served while it
    lasts, memory stays, and no call is left over."""
    await check_alive(surface)
    tasks, before = len(asyncio.all_tasks()), _peak_bytes()
    message = _LISTING.SerializeToString()

    def flood(connection: http2.Connection) -> int:
        sent = 0
        try:
            for number in range(20_000):
                stream = 2 * number + 1
                reset = http2.frame(http2.RST_STREAM, 0, stream, http2.CANCEL.to_bytes(4))
                connection.send(call_frames(stream, _LIST_PATH, message) + reset)
                sent += 1
        except OSError:
            pass  # hung up on: as good
        return sent

    flooding = asyncio.ensure_future(by_hand(surface, flood))
    slowest = 0.0
    while not flooding.done():
        started = time.monotonic()
        await surface.call(*_LIST, _LISTING, OTHER)
        slowest = max(slowest, time.monotonic() - started)
        await asyncio.sleep(0.02)
    assert await flooding > 100
    assert slowest < 5.0
    assert _peak_bytes() - before < 4 * _GROWTH_MAX_BYTES
    await no_more_tasks_than(tasks)
    await check_alive(surface)


async def test_compressed_bomb(surface: Surface) -> None:
    """A message of 200 KB that would unpack to 200 MB is refused without being unpacked."""
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(b"\0" * 1_048_576) for _ in range(200)) + packer.flush()
    assert len(bomb) < limits.TRANSPORT_MAX_BYTES
    framed = http2.grpc_message(bomb, compressed=True)

    def send(connection: http2.Connection) -> bytes:
        block = http2.header_block(_PUT_SECRET_PATH, [("grpc-encoding", "gzip")])
        connection.send(http2.frame(http2.HEADERS, _OPEN, 1, block))
        window, frames = 65_535, connection.frames()
        for at in range(0, len(framed), 16_384):
            piece = framed[at : at + 16_384]
            while window < len(piece):
                came = next(frames)
                if came.kind == http2.WINDOW_UPDATE and came.stream == 0:
                    window += int.from_bytes(came.payload)
            window -= len(piece)
            flags = http2.END_STREAM if at + 16_384 >= len(framed) else 0
            connection.send(http2.frame(http2.DATA, flags, 1, piece))
        for came in frames:
            if came.kind in (http2.HEADERS, http2.RST_STREAM) and came.stream == 1:
                return came.payload
        return b""

    before = _peak_bytes()
    assert await by_hand(surface, send)
    assert _peak_bytes() - before < _GROWTH_MAX_BYTES
    assert surface.refusals() == []
    await check_alive(surface)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"\0", b"\0\0\0\0\x05ab", b"\0\xff\xff\xff\xff", b"\x02\0\0\0\0", b"\xff" * 40,
        http2.grpc_message(b"") * 3, http2.grpc_message(b"not gzip", compressed=True),
    ],
    ids=["none", "half a prefix", "half a message", "4 GiB announced", "unknown flag", "noise",
         "three messages", "compressed without encoding"],
)  # fmt: skip
async def test_malformed_frames(surface: Surface, body: bytes) -> None:
    """A call that is no gRPC message ends, at its deadline at the latest, and disturbs nobody."""
    await check_alive(surface)
    tasks = len(asyncio.all_tasks())

    def send(connection: http2.Connection) -> bool:
        block = http2.header_block(_LIST_PATH, [("grpc-timeout", "500m")])
        connection.send(
            http2.frame(http2.HEADERS, _OPEN, 1, block)
            + http2.frame(http2.DATA, http2.END_STREAM, 1, body)
        )
        for came in connection.frames():
            if came.stream == 1 and (came.kind == http2.RST_STREAM or came.flags & 1):
                return True
        return False

    assert await by_hand(surface, send)
    await check_alive(surface)
    await no_more_tasks_than(tasks)


@pytest.fixture
async def short_lived(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Surface]:
    """A server whose connections live for half a second."""
    changed = dict(server_module.OPTIONS) | {
        "grpc.max_connection_age_ms": 500, "grpc.max_connection_age_grace_ms": 5_000,
    }  # fmt: skip
    monkeypatch.setattr(server_module, "OPTIONS", tuple(changed.items()))
    house = House()
    await house.register()
    async with Surface(house, pki).running() as running:
        yield running


async def test_connections_have_an_age(short_lived: Surface) -> None:
    """An old connection is ended in peace; what was under way on it is answered, and a client goes
    on with a new one without a failed call."""
    goaway = await by_hand(short_lived, until_goaway)
    assert goaway.error_code == http2.NO_ERROR
    assert b"max_age" in goaway.payload

    grant = (await short_lived.house.consent()).grant
    short_lived.house.clock.advance(3_600)
    held = short_lived.house.endpoint.hold()
    request = token_service_pb2.GetAccessTokenRequest(grant=str(grant.name))
    under_way = asyncio.create_task(short_lived.call(*_GET_TOKEN, request, APP))
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        await short_lived.call(*_LIST, _LISTING, APP)
        await asyncio.sleep(0.01)
    held.set()
    answer, _ = await under_way
    assert answer.access_token == "at-2"


async def test_metadata_is_bounded_in_every_shape(surface: Surface) -> None:
    """Many small fields and one large one count alike; a little below the bound is let through."""
    fits = [("x-filler", "x" * (limits.METADATA_MAX_BYTES // 2))]
    await surface.call(*_LIST, _LISTING, APP, metadata=fits)
    for metadata in (
        [("x-filler", "x" * limits.METADATA_MAX_BYTES)],
        [(f"x-{number}", "x" * 16) for number in range(400)],
    ):
        refused = await surface.refused(*_LIST, _LISTING, APP, metadata=metadata)
        assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert surface.refusals() == []


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024
