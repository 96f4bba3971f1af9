"""What the client tries again, and what it never does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc
import pytest
from google.protobuf.message import Message

import tokenvault_client as tv
from tests.rpc.client_cable import Cable
from tests.rpc.client_cases import CASES, GET_GRANT, GRANT_NAME, PUT_SECRET, SECRET, Case
from tests.rpc.client_forms import Form
from tests.rpc.client_pki import Authority
from tests.rpc.client_server import Refusal, ScriptedServer, serve
from tokenvault.v1 import grant_service_pb2 as grants

READS = [case for case in CASES if case.rpc.split("/")[1].startswith(("Get", "List"))]
WRITES = [case for case in CASES if case not in READS]
BARE = Refusal(grpc.StatusCode.UNAVAILABLE, "upstream is away")
BUSY = Refusal(
    grpc.StatusCode.UNAVAILABLE, "wait", "REFRESH_IN_PROGRESS", retry_after_s=0.1, request_id="q7"
)


def by_rpc(case: Case) -> str:
    return case.rpc


@pytest.fixture(params=list(Form), ids=lambda form: form.value)
async def server(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[ScriptedServer]:
    async with serve(Authority(tmp_path, "ca"), form=request.param) as running:
        yield running


@pytest.mark.parametrize("case", CASES, ids=by_rpc)
async def test_retry_info_is_obeyed(case: Case, server: ScriptedServer) -> None:
    """A refusal with RetryInfo is tried again after its delay, on the same connection."""
    server.script.on(case.rpc, BUSY, case.answer)
    began = time.monotonic()
    async with server.client() as vault:
        assert await case.call(vault) == case.result
    assert time.monotonic() - began >= 0.1
    assert len(server.script.seen) == 2
    assert len({seen.peer for seen in server.script.seen}) == 1


async def test_at_most_five_attempts(server: ScriptedServer) -> None:
    """The fifth refusal with RetryInfo is raised, with the delay and the request id in it."""
    server.script.on(GET_GRANT.rpc, BUSY)
    async with server.client() as vault:
        with pytest.raises(tv.TryLater) as caught:
            await vault.get_grant(GRANT_NAME)
    assert len(server.script.seen) == 5
    assert (caught.value.retry_after_s, caught.value.request_id) == (0.1, "q7")


async def test_retries_stay_inside_the_deadline(server: ScriptedServer) -> None:
    """Every attempt carries only what is left of the call's deadline."""
    server.script.on(GET_GRANT.rpc, BUSY, BUSY, GET_GRANT.answer)
    async with server.client() as vault:
        await vault.get_grant(GRANT_NAME, timeout_s=2)
    left = [seen.time_remaining_s for seen in server.script.seen]
    assert 2.0 >= left[0] > left[1] + 0.09
    assert left[1] > left[2] + 0.09


async def test_a_delay_beyond_the_deadline_is_not_waited_for(server: ScriptedServer) -> None:
    """Where RetryInfo asks for more time than is left, its refusal is raised at once."""
    patient = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", "OVERLOADED", retry_after_s=30)
    server.script.on(GET_GRANT.rpc, patient)
    began = time.monotonic()
    async with server.client() as vault:
        with pytest.raises(tv.TryLater) as caught:
            await vault.get_grant(GRANT_NAME)
    assert time.monotonic() - began < 2
    assert (caught.value.reason, len(server.script.seen)) == ("OVERLOADED", 1)


@pytest.mark.parametrize("case", READS, ids=by_rpc)
async def test_a_read_reconnects_once(case: Case, server: ScriptedServer) -> None:
    """A bare UNAVAILABLE on a read is tried once more, from another source port."""
    server.script.on(case.rpc, BARE, case.answer)
    async with server.client() as vault:
        assert await case.call(vault) == case.result
    first, second = (seen.peer for seen in server.script.seen)
    assert first != second


@pytest.mark.parametrize("case", READS, ids=by_rpc)
async def test_a_read_reconnects_no_more_than_once(case: Case, server: ScriptedServer) -> None:
    """A second bare UNAVAILABLE of one read is raised."""
    server.script.on(case.rpc, BARE)
    async with server.client() as vault:
        with pytest.raises(tv.ConnectionLost, match="upstream is away"):
            await case.call(vault)
    assert len(server.script.seen) == 2


@pytest.mark.parametrize("case", WRITES, ids=by_rpc)
async def test_a_write_never_reconnects(case: Case, server: ScriptedServer) -> None:
    """A bare UNAVAILABLE on a write is raised after one attempt: it may have been done."""
    server.script.on(case.rpc, BARE)
    async with server.client() as vault:
        with pytest.raises(tv.ConnectionLost):
            await case.call(vault)
    assert len(server.script.seen) == 1


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal(grpc.StatusCode.UNAVAILABLE, "no", "STORE_UNREACHABLE"),
        Refusal(grpc.StatusCode.UNAVAILABLE, "no", "UPSTREAM", domain="mesh.example"),
        Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED),
        Refusal(grpc.StatusCode.ABORTED, "no", "ETAG_MISMATCH"),
        Refusal(grpc.StatusCode.INTERNAL, "no", "INTERNAL"),
        Refusal(grpc.StatusCode.DEADLINE_EXCEEDED, "no", "BUDGET_TOO_SHORT"),
        Refusal(grpc.StatusCode.UNKNOWN),
        Refusal(grpc.StatusCode.CANCELLED),
    ],
    ids=lambda refusal: f"{refusal.code.name}-{refusal.reason}",
)
async def test_nothing_else_is_retried(refusal: Refusal, server: ScriptedServer) -> None:
    """Without RetryInfo only an UNAVAILABLE that has no ErrorInfo is tried again."""
    server.script.on(GET_GRANT.rpc, refusal)
    async with server.client() as vault:
        with pytest.raises(tv.TokenVaultError):
            await vault.get_grant(GRANT_NAME)
    assert len(server.script.seen) == 1


async def test_reconnecting_leaves_other_calls_alone(server: ScriptedServer) -> None:
    """A slow call on the old connection ends well although another call has left it."""
    gate = asyncio.Event()

    async def slowly() -> Message:
        await gate.wait()
        return PUT_SECRET.answer

    server.script.on(PUT_SECRET.rpc, slowly)
    server.script.on(GET_GRANT.rpc, BARE, GET_GRANT.answer)
    async with server.client() as vault:
        slow = asyncio.create_task(vault.put_secret(SECRET, b"hush"))
        while not server.script.seen:
            await asyncio.sleep(0.01)
        await vault.get_grant(GRANT_NAME)
        gate.set()
        assert await slow == PUT_SECRET.result
    assert len({seen.peer for seen in server.script.seen}) == 2


async def test_calls_that_fail_together_share_the_new_connection(server: ScriptedServer) -> None:
    """Fifty reads that a connection fails at once make one new connection, not fifty."""
    seen = server.script.seen

    async def by_connection() -> Message | Refusal:
        return BARE if seen[-1].peer == seen[0].peer else GET_GRANT.answer

    server.script.on(GET_GRANT.rpc, by_connection)
    async with server.client() as vault:
        await asyncio.gather(*(vault.get_grant(GRANT_NAME) for _ in range(50)))
    assert len(seen) == 100
    assert len({each.peer for each in seen}) == 2


async def through_a_cable(
    server: ScriptedServer, use: Callable[[tv.TokenVaultClient, Cable], Awaitable[None]]
) -> None:
    cable = Cable(server.port)
    relay = await asyncio.start_server(cable.carry, "127.0.0.1", 0)
    port = relay.sockets[0].getsockname()[1]
    async with server.client(port=port) as vault:
        await use(vault, cable)
    cable.cut()
    relay.close()


async def test_a_cut_connection_heals_for_a_read(server: ScriptedServer) -> None:
    """A read whose connection is reset while the service works on it succeeds on the next."""

    async def use(vault: tv.TokenVaultClient, cable: Cable) -> None:
        async def cut() -> Message:
            cable.cut()
            return GET_GRANT.answer

        server.script.on(GET_GRANT.rpc, cut, GET_GRANT.answer)
        assert await vault.get_grant(GRANT_NAME) == GET_GRANT.result
        assert (cable.connections, len(server.script.seen)) == (2, 2)

    await through_a_cable(server, use)


async def test_a_cut_connection_is_reported_for_a_write(server: ScriptedServer) -> None:
    """A write whose connection is reset reaches the service once, and ends in ConnectionLost."""

    async def use(vault: tv.TokenVaultClient, cable: Cable) -> None:
        async def cut() -> Message:
            cable.cut()
            return grants.RevokeGrantResponse()

        server.script.on("GrantService/RevokeGrant", cut)
        with pytest.raises(tv.ConnectionLost):
            await vault.revoke_grant(GRANT_NAME)
        assert len(server.script.seen) == 1
        server.script.on(GET_GRANT.rpc, GET_GRANT.answer)
        assert await vault.get_grant(GRANT_NAME) == GET_GRANT.result

    await through_a_cable(server, use)
