"""One synchronous client in many threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message

import tokenvault_client as tv
from tests.rpc.client_cases import GET_GRANT, GRANT_NAME, PUT_SECRET, SECRET
from tests.rpc.client_pki import Authority, Files
from tests.rpc.client_server import Refusal, ScriptedServer, serve
from tests.rpc.test_client_renewal import put
from tests.rpc.test_client_retries import BARE
from tokenvault.v1 import grant_service_pb2 as grants
from tokenvault.v1 import resources_pb2 as resources
from tokenvault_client import _certificates

THREADS = 32
CALLS = 20


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ScriptedServer]:
    authority = Authority(tmp_path, "ca")
    mine = Files(tmp_path / "mine.pem", tmp_path / "mine.key")
    put(authority.caller(), mine)
    async with serve(authority, caller=mine) as running:
        yield running


def sync_client(server: ScriptedServer, timeout_s: float = 20) -> tv.SyncTokenVaultClient:
    return tv.SyncTokenVaultClient(
        f"127.0.0.1:{server.port}",
        ca_file=server.authority.ca_file,
        certificate_file=server.caller.certificate,
        key_file=server.caller.key,
        timeout_s=timeout_s,
    )


async def in_threads(work: Callable[[int], Any]) -> list[Any]:
    """What ``work`` returned or raised in each of 32 threads that began together."""
    together = threading.Barrier(THREADS)

    def one(number: int) -> Any:
        together.wait(20)
        try:
            return work(number)
        except Exception as error:
            return error

    def all_of_them() -> list[Any]:
        with ThreadPoolExecutor(THREADS) as pool:
            return list(pool.map(one, range(THREADS)))

    return await asyncio.to_thread(all_of_them)


async def test_each_thread_gets_its_own_answers(server: ScriptedServer) -> None:
    """32 threads share one client and one connection, and no answer goes to another's call."""
    seen = server.script.seen

    async def echo() -> Message:
        request = seen[-1].request
        assert isinstance(request, grants.GetGrantRequest)
        return grants.GetGrantResponse(grant=resources.Grant(name=request.name))

    server.script.on(GET_GRANT.rpc, echo)
    with sync_client(server) as vault:

        def work(number: int) -> list[str]:
            return [vault.get_grant(f"g-{number}-{each}").name for each in range(CALLS)]

        found = await in_threads(work)
    assert found == [[f"g-{number}-{each}" for each in range(CALLS)] for number in range(THREADS)]
    assert len({each.peer for each in seen}) == 1


async def test_a_broken_connection_is_replaced_once_for_all_threads(
    server: ScriptedServer,
) -> None:
    """Reads of 32 threads that a connection fails at once share one new connection."""
    seen = server.script.seen
    arrived = asyncio.Event()

    async def by_connection() -> Message | Refusal:
        if seen[-1].peer != seen[0].peer:
            return GET_GRANT.answer
        if len(seen) == THREADS:
            arrived.set()
        await arrived.wait()
        return BARE

    server.script.on(GET_GRANT.rpc, by_connection)
    with sync_client(server) as vault:
        found = await in_threads(lambda _: vault.get_grant(GRANT_NAME))
    assert found == [GET_GRANT.result] * THREADS
    assert len({each.peer for each in seen}) == 2


async def test_renewals_under_load_fail_no_call(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the certificate is renewed ten times, every write of 32 threads succeeds once."""
    monkeypatch.setattr(_certificates, "LOOK_PAUSE_S", 0.02)
    server.script.on(PUT_SECRET.rpc, PUT_SECRET.answer)
    with sync_client(server) as vault:

        def work(_: int) -> int:
            calls = 0
            while not renewed.is_set() or calls < CALLS:
                vault.put_secret(SECRET, b"hush")
                calls += 1
            return calls

        renewed = threading.Event()
        load = asyncio.create_task(in_threads(work))
        for _ in range(10):
            await asyncio.sleep(0.1)
            put(server.authority.caller(), server.caller)
        renewed.set()
        found = await load
        assert all(isinstance(calls, int) for calls in found), found
        assert len(server.script.seen) == sum(found)
        assert len({each.caller for each in server.script.seen}) > 5
        assert len(vault._runner._open) == 1, "connections that were left are closed"


async def test_closing_in_one_thread_ends_the_calls_of_all(server: ScriptedServer) -> None:
    """Calls open in 32 threads, and the waits between attempts, end with ClientClosed at once."""
    gate = asyncio.Event()

    async def slowly() -> Message:
        await gate.wait()
        return PUT_SECRET.answer

    server.script.on(PUT_SECRET.rpc, slowly)
    patient = Refusal(BARE.code, "wait", "OVERLOADED", retry_after_s=15)
    server.script.on(GET_GRANT.rpc, patient)
    vault = sync_client(server)

    def work(number: int) -> object:
        return vault.put_secret(SECRET, b"x") if number % 2 else vault.get_grant(GRANT_NAME)

    calls = asyncio.create_task(in_threads(work))
    while len(server.script.seen) < THREADS:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    await asyncio.to_thread(vault.close)
    found = await asyncio.wait_for(calls, 5)
    assert {type(each) for each in found} == {tv.ClientClosed}
    with pytest.raises(tv.ClientClosed):
        vault.get_grant(GRANT_NAME)
    gate.set()


async def test_closing_and_calling_at_once_ends_cleanly(server: ScriptedServer) -> None:
    """Whatever the order of a close and calls, a call has its answer or raises ClientClosed."""
    server.script.on(GET_GRANT.rpc, GET_GRANT.answer)

    def race(_: int) -> set[object]:
        vault = sync_client(server)
        with ThreadPoolExecutor(4) as pool:
            calls = [pool.submit(vault.get_grant, GRANT_NAME) for _ in range(8)]
            wait(calls[:2], return_when="FIRST_COMPLETED")
            vault.close()
            ended = [each.exception() for each in calls]
        return {type(each) for each in ended}

    found = await asyncio.to_thread(lambda: [race(each) for each in range(20)])
    assert set().union(*found) <= {type(None), tv.ClientClosed}
