"""Connections that do not come about, deadlines that run out, clients that are closed."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from google.protobuf.message import Message

import tokenvault_client as tv
from tests.rpc.client_cable import Cable
from tests.rpc.client_cases import GET_GRANT, GRANT_NAME
from tests.rpc.client_forms import Form
from tests.rpc.client_pki import Authority, Files
from tests.rpc.client_server import ScriptedServer, serve

PROBLEM = tv.TransportProblem


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ca")


@pytest.fixture(params=list(Form), ids=lambda form: form.value)
def form(request: pytest.FixtureRequest) -> Form:
    found: Form = request.param
    return found


@pytest.fixture
async def server(authority: Authority, form: Form) -> AsyncIterator[ScriptedServer]:
    async with serve(authority, form=form) as running:
        running.script.on(GET_GRANT.rpc, GET_GRANT.answer)
        yield running


async def refusal(
    form: Form, port: int, ca_file: Path, caller: Files, server_name: str | None = None
) -> tv.TransportRefused:
    vault = form.client(
        f"127.0.0.1:{port}",
        ca_file=ca_file,
        certificate_file=caller.certificate,
        key_file=caller.key,
        timeout_s=5,
        server_name=server_name,
    )
    async with vault:
        with pytest.raises(tv.TransportRefused) as caught:
            await vault.get_grant(GRANT_NAME)
        with pytest.raises(tv.TransportRefused) as caught_by_write:
            await vault.revoke_grant(GRANT_NAME)
    assert caught.value.problem == caught_by_write.value.problem
    assert f"127.0.0.1:{port}" in str(caught.value) or "ca_file" in str(caught.value)
    return caught.value


async def test_the_service_does_not_know_our_ca(server: ScriptedServer, tmp_path: Path) -> None:
    """A certificate of a foreign CA is refused in the handshake, and the error names it."""
    foreign = Authority(tmp_path, "foreign").caller()
    error = await refusal(server.form, server.port, server.authority.ca_file, foreign)
    assert error.problem is PROBLEM.CLIENT_CERTIFICATE_REFUSED
    assert "issued by a CA the service trusts" in error.message
    assert server.script.seen == []


async def test_our_certificate_has_expired(server: ScriptedServer) -> None:
    """An expired client certificate is refused in the handshake, and the error names it."""
    expired = server.authority.caller(expired=True)
    error = await refusal(server.form, server.port, server.authority.ca_file, expired)
    assert error.problem is PROBLEM.CLIENT_CERTIFICATE_REFUSED
    assert "has not expired" in error.message


async def test_we_do_not_know_the_services_ca(server: ScriptedServer, tmp_path: Path) -> None:
    """A server of another CA than ours is not spoken to."""
    other = Authority(tmp_path, "other")
    error = await refusal(server.form, server.port, other.ca_file, server.caller)
    assert error.problem is PROBLEM.SERVER_NOT_TRUSTED
    assert "ca_file" in error.message


async def test_the_services_certificate_has_expired(authority: Authority, form: Form) -> None:
    """A server with an expired certificate is not spoken to, and the error says so."""
    async with serve(authority, authority.server(expired=True), form=form) as server:
        error = await refusal(server.form, server.port, authority.ca_file, server.caller)
    assert error.problem is PROBLEM.SERVER_CERTIFICATE_EXPIRED


async def test_the_service_has_another_name(server: ScriptedServer) -> None:
    """A server whose certificate names another host is not spoken to."""
    error = await refusal(
        server.form, server.port, server.authority.ca_file, server.caller, "vault.example.org"
    )
    assert error.problem is PROBLEM.SERVER_NAME_WRONG
    assert "server_name" in error.message


async def test_nothing_listens(authority: Authority, form: Form) -> None:
    """A port without a listener is named as such."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        error = await refusal(form, bound.getsockname()[1], authority.ca_file, authority.caller())
    assert error.problem is PROBLEM.NOTHING_LISTENING


async def test_what_listens_does_not_speak_tls(authority: Authority, form: Form) -> None:
    """A plain HTTP server is recognised."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    plain = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = plain.sockets[0].getsockname()[1]
    error = await refusal(form, port, authority.ca_file, authority.caller())
    plain.close()
    assert error.problem is PROBLEM.NOT_TLS


async def test_a_read_finds_a_service_that_came_up_meanwhile(
    server: ScriptedServer,
) -> None:
    """After a refused connection the next call on the same client connects anew."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        vault = server.client(port=port)
        with pytest.raises(tv.TransportRefused):
            await vault.get_grant(GRANT_NAME)
    cable = Cable(server.port)
    relay = await asyncio.start_server(cable.carry, "127.0.0.1", port)
    async with vault:
        assert await vault.get_grant(GRANT_NAME) == GET_GRANT.result
    cable.cut()
    relay.close()


async def test_a_silent_listener_uses_up_the_deadline(authority: Authority, form: Form) -> None:
    """Where the handshake is never answered, DeadlineExceeded says that nothing connected."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        caller = authority.caller()
        vault = form.client(
            f"127.0.0.1:{silent.getsockname()[1]}",
            ca_file=authority.ca_file,
            certificate_file=caller.certificate,
            key_file=caller.key,
            timeout_s=0.5,
        )
        async with vault:
            with pytest.raises(tv.DeadlineExceeded, match="no connection to"):
                await vault.get_grant(GRANT_NAME)


@pytest.mark.parametrize(("own_s", "call_s", "wanted_s"), [(0.4, None, 0.4), (30.0, 0.4, 0.4)])
async def test_every_call_has_a_deadline(
    own_s: float, call_s: float | None, wanted_s: float, server: ScriptedServer
) -> None:
    """The client's deadline holds for every call, a call's own comes first; the server sees it."""

    async def never() -> Message:
        await asyncio.sleep(20)
        return GET_GRANT.answer

    server.script.on(GET_GRANT.rpc, never)
    began = time.monotonic()
    async with server.client(timeout_s=own_s) as vault:
        with pytest.raises(tv.DeadlineExceeded) as caught:
            await vault.get_grant(GRANT_NAME, timeout_s=call_s)
    assert wanted_s <= time.monotonic() - began < wanted_s + 2
    assert "no connection" not in caught.value.message
    (seen,) = server.script.seen
    assert seen.time_remaining_s <= wanted_s


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf"), 3_601, True])
async def test_a_deadline_without_sense_is_refused(
    timeout_s: float, server: ScriptedServer
) -> None:
    """A deadline that is not above 0 and at most an hour is a ConfigurationError."""
    async with server.client() as vault:
        with pytest.raises(tv.ConfigurationError):
            await vault.get_grant(GRANT_NAME, timeout_s=timeout_s)
    assert server.script.seen == []


async def test_closing_ends_open_calls(server: ScriptedServer) -> None:
    """A call that is open when the client closes ends with ClientClosed, and so do later ones."""
    gate = asyncio.Event()

    async def slowly() -> Message:
        await gate.wait()
        return GET_GRANT.answer

    server.script.on(GET_GRANT.rpc, slowly)
    vault = server.client()
    call = asyncio.create_task(vault.get_grant(GRANT_NAME))
    while not server.script.seen:
        await asyncio.sleep(0.01)
    await vault.close()
    with pytest.raises(tv.ClientClosed):
        await call
    with pytest.raises(tv.ClientClosed):
        await vault.get_grant(GRANT_NAME)
    await vault.close()
    gate.set()


async def test_a_cancelled_caller_cancels_its_call(authority: Authority) -> None:
    """Cancelling the task that waits ends the call at the service too; threads have no such end."""
    cancelled = asyncio.Event()

    async def slowly() -> Message:
        try:
            await asyncio.sleep(20)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return GET_GRANT.answer

    async with serve(authority) as server, server.client() as vault:
        server.script.on(GET_GRANT.rpc, slowly)
        call = asyncio.create_task(vault.get_grant(GRANT_NAME))
        while not server.script.seen:
            await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(cancelled.wait(), 5)
