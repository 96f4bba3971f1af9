"""watch_grants of both clients: it goes on by itself from the last cursor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

import tokenvault_client as tv
from tests.rpc.client_cable import Cable
from tests.rpc.client_event_cases import EVENT_MESSAGE
from tests.rpc.client_forms import Form
from tests.rpc.client_pki import Authority
from tests.rpc.client_server import Refusal, ScriptedServer, serve
from tokenvault.v1 import grant_service_pb2 as grants

RPC = "GrantService/WatchGrants"
ENDED = Refusal(
    grpc.StatusCode.UNAVAILABLE, "stopping", "STREAM_ENDED", retry_after_s=0.05, request_id="q1"
)
BARE = Refusal(grpc.StatusCode.UNAVAILABLE, "upstream is away")
EXPIRED = Refusal(grpc.StatusCode.FAILED_PRECONDITION, "too old", "CURSOR_EXPIRED")


@pytest.fixture(params=list(Form), ids=lambda form: form.value)
async def server(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[ScriptedServer]:
    async with serve(Authority(tmp_path, "ca"), form=request.param) as running:
        yield running


def told(cursor: str) -> grants.WatchGrantsResponse:
    """An event and the cursor after it."""
    return grants.WatchGrantsResponse(event=EVENT_MESSAGE, cursor=cursor)


async def steps(vault: tv.TokenVaultClient, count: int, cursor: str = "") -> list[str]:
    """The cursors of so many steps."""
    found: list[str] = []
    async for step in vault.watch_grants("tenants/acme", cursor=cursor):
        found.append(step.cursor)
        if len(found) == count:
            break
    return found


def asked(server: ScriptedServer) -> list[str]:
    """The cursor of each stream, in turn, without repetitions of one stream."""
    cursors: list[str] = []
    for seen in server.script.seen:
        assert isinstance(seen.request, grants.WatchGrantsRequest)
        if not cursors or cursors[-1] != seen.request.cursor:
            cursors.append(seen.request.cursor)
    return cursors


async def test_it_goes_on_after_an_end_and_a_break(server: ScriptedServer) -> None:
    """A stream that ends with STREAM_ENDED, or breaks, is opened again after the last cursor; what
    comes is each step once."""
    server.script.on(RPC, told("c1"), ENDED, told("c2"), told("c3"), BARE, told("c4"))
    async with server.client() as vault:
        assert await steps(vault, 4, "c0") == ["c1", "c2", "c3", "c4"]
    assert asked(server) == ["c0", "c1", "c3"]


async def test_a_cut_connection_heals(server: ScriptedServer) -> None:
    """A connection that is reset under way costs no step."""
    cable = Cable(server.port)
    relay = await asyncio.start_server(cable.carry, "127.0.0.1", 0)
    port = relay.sockets[0].getsockname()[1]
    server.script.on(RPC, told("c1"), told("c2"))
    found = []
    async with server.client(port=port) as vault:
        async for step in vault.watch_grants("tenants/acme"):
            found.append(step.cursor)
            if len(found) == 2:
                server.script.on(RPC, told("c3"))
                cable.cut()
            if len(found) == 3:
                break
    assert found == ["c1", "c2", "c3"]
    assert asked(server)[-1] == "c2"
    cable.cut()
    relay.close()


async def test_what_time_does_not_mend_is_raised(server: ScriptedServer) -> None:
    """A cursor that is too old is raised at once, also after messages came."""
    server.script.on(RPC, told("c1"), EXPIRED)
    async with server.client() as vault:
        with pytest.raises(tv.CursorExpired):
            await steps(vault, 2)
    assert len(server.script.seen) == 2


async def test_a_wrong_start_is_raised(server: ScriptedServer) -> None:
    """Before the first message a bare UNAVAILABLE is raised: a wrong address is no pause."""
    server.script.on(RPC, BARE)
    async with server.client() as vault:
        with pytest.raises(tv.ConnectionLost):
            await steps(vault, 1)
    assert len(server.script.seen) == 1


async def test_a_busy_start_is_tried_five_times(server: ScriptedServer) -> None:
    """Before the first message, what carries RetryInfo is tried like a call."""
    server.script.on(RPC, ENDED)
    async with server.client() as vault:
        with pytest.raises(tv.TryLater):
            await steps(vault, 1)
    assert len(server.script.seen) == 5


async def test_closing_ends_it(server: ScriptedServer) -> None:
    """A client that is closed ends its watches with ClientClosed."""
    server.script.on(RPC, told("c1"))
    arrived = asyncio.Event()

    async def walk(vault: tv.TokenVaultClient) -> None:
        async for _ in vault.watch_grants("tenants/acme"):
            arrived.set()

    async with server.client() as vault:
        walking = asyncio.create_task(walk(vault))
        await arrived.wait()
    with pytest.raises(tv.ClientClosed):
        async with asyncio.timeout(5):
            await walking
