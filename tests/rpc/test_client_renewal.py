"""Certificates that are renewed on disk while a client is in use."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from google.protobuf.message import Message

import tokenvault_client as tv
from tests.rpc.client_cases import GET_GRANT, GRANT_NAME, PUT_SECRET, SECRET
from tests.rpc.client_forms import Form
from tests.rpc.client_pki import Authority, Files
from tests.rpc.client_server import ScriptedServer, serve
from tests.rpc.test_client_retries import BARE
from tokenvault_client import _certificates

LOOK_S = 0.05


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are looked at every 50 ms, to save the tests their seconds."""
    monkeypatch.setattr(_certificates, "LOOK_PAUSE_S", LOOK_S)


@pytest.fixture(params=list(Form), ids=lambda form: form.value)
async def server(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[ScriptedServer]:
    authority = Authority(tmp_path, "ca")
    mine = Files(tmp_path / "mine.pem", tmp_path / "mine.key")
    put(authority.caller(), mine)
    async with serve(authority, caller=mine, form=request.param) as running:
        running.script.on(GET_GRANT.rpc, GET_GRANT.answer)
        yield running


def put(new: Files, where: Files) -> None:
    """As a renewal does it: each file complete, one after the other, renamed into place."""
    for source, target in ((new.certificate, where.certificate), (new.key, where.key)):
        shutil.copyfile(source, target.with_suffix(".new"))
        target.with_suffix(".new").replace(target)


def peers(server: ScriptedServer) -> list[str]:
    return [seen.peer for seen in server.script.seen]


def certificates(server: ScriptedServer) -> list[bytes]:
    return [seen.caller for seen in server.script.seen]


async def test_a_renewed_certificate_is_shown_to_the_service(server: ScriptedServer) -> None:
    """After a renewal the next call shows the new certificate, on one new connection."""
    async with server.client() as vault:
        await vault.get_grant(GRANT_NAME)
        put(server.authority.caller(), server.caller)
        await asyncio.sleep(2 * LOOK_S)
        await vault.get_grant(GRANT_NAME)
        await vault.get_grant(GRANT_NAME)
    first, second, third = certificates(server)
    assert first != second == third
    assert len(set(peers(server))) == 2


async def test_files_that_stay_keep_their_connection(server: ScriptedServer) -> None:
    """Looks that find nothing new change nothing."""
    async with server.client() as vault:
        for _ in range(3):
            await vault.get_grant(GRANT_NAME)
            await asyncio.sleep(2 * LOOK_S)
    assert len(set(peers(server))) == 1


async def test_open_calls_outlive_a_renewal(server: ScriptedServer) -> None:
    """A write that is open while the certificate changes ends well, on its own connection."""
    gate = asyncio.Event()

    async def slowly() -> Message:
        await gate.wait()
        return PUT_SECRET.answer

    server.script.on(PUT_SECRET.rpc, slowly)
    async with server.client() as vault:
        slow = asyncio.create_task(vault.put_secret(SECRET, b"hush"))
        while not server.script.seen:
            await asyncio.sleep(0.01)
        put(server.authority.caller(), server.caller)
        await asyncio.sleep(2 * LOOK_S)
        await vault.get_grant(GRANT_NAME)
        gate.set()
        assert await slow == PUT_SECRET.result
    first, second = certificates(server)
    assert first != second


async def test_closing_ends_calls_of_an_earlier_certificate_too(server: ScriptedServer) -> None:
    """A call still open on the connection before the renewal ends with ClientClosed."""
    gate = asyncio.Event()

    async def slowly() -> Message:
        await gate.wait()
        return PUT_SECRET.answer

    server.script.on(PUT_SECRET.rpc, slowly)
    vault = server.client()
    slow = asyncio.create_task(vault.put_secret(SECRET, b"hush"))
    while not server.script.seen:
        await asyncio.sleep(0.01)
    put(server.authority.caller(), server.caller)
    await asyncio.sleep(2 * LOOK_S)
    await vault.get_grant(GRANT_NAME)
    await vault.close()
    with pytest.raises(tv.ClientClosed):
        await slow
    gate.set()


async def test_half_a_renewal_keeps_the_last_good_files(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A new certificate beside the old key is logged once and not used; with its key it is."""
    new = server.authority.caller()
    async with server.client() as vault:
        await vault.get_grant(GRANT_NAME)
        old_key = server.caller.key.read_bytes()
        put(new, server.caller)
        new_key = server.caller.key.read_bytes()
        server.caller.key.write_bytes(old_key)
        with caplog.at_level(logging.WARNING, "tokenvault_client"):
            for _ in range(3):
                await asyncio.sleep(2 * LOOK_S)
                await vault.get_grant(GRANT_NAME)
        assert len(set(certificates(server))) == 1
        (record,) = (each for each in caplog.records if each.name == "tokenvault_client")
        assert "belongs to another certificate" in record.getMessage()
        server.caller.key.write_bytes(new_key)
        await asyncio.sleep(2 * LOOK_S)
        await vault.get_grant(GRANT_NAME)
    assert certificates(server)[-1] != certificates(server)[0]


async def test_missing_files_do_not_stop_a_reconnect(server: ScriptedServer) -> None:
    """While a file is away a read still gets its new connection, with what was read before."""
    server.script.on(GET_GRANT.rpc, GET_GRANT.answer, BARE, GET_GRANT.answer)
    async with server.client() as vault:
        await vault.get_grant(GRANT_NAME)
        server.caller.key.unlink()
        await asyncio.sleep(2 * LOOK_S)
        assert await vault.get_grant(GRANT_NAME) == GET_GRANT.result
    assert len(set(peers(server))) == 2
    assert len(set(certificates(server))) == 1


async def test_a_new_trust_bundle_is_followed(server: ScriptedServer, tmp_path: Path) -> None:
    """Where ca_file no longer trusts the service, the next call is refused without asking."""
    bundle = tmp_path / "bundle.pem"
    shutil.copyfile(server.authority.ca_file, bundle)
    vault = server.form.client(
        f"127.0.0.1:{server.port}",
        ca_file=bundle,
        certificate_file=server.caller.certificate,
        key_file=server.caller.key,
        timeout_s=5,
    )
    async with vault:
        await vault.get_grant(GRANT_NAME)
        shutil.copyfile(Authority(tmp_path, "other").ca_file, bundle)
        await asyncio.sleep(2 * LOOK_S)
        with pytest.raises(tv.TransportRefused) as caught:
            await vault.get_grant(GRANT_NAME)
    assert caught.value.problem is tv.TransportProblem.SERVER_NOT_TRUSTED


async def test_a_mounted_volume_is_followed(server: ScriptedServer, tmp_path: Path) -> None:
    """Where a link to the folder of the files is renamed, as Kubernetes does, they are new."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        put(
            server.authority.caller(),
            Files(tmp_path / name / "tls.crt", tmp_path / name / "tls.key"),
        )
    (tmp_path / "data").symlink_to("one")
    vault = server.form.client(
        f"127.0.0.1:{server.port}",
        ca_file=server.authority.ca_file,
        certificate_file=tmp_path / "data" / "tls.crt",
        key_file=tmp_path / "data" / "tls.key",
        timeout_s=5,
    )
    async with vault:
        await vault.get_grant(GRANT_NAME)
        (tmp_path / "next").symlink_to("two")
        os.replace(tmp_path / "next", tmp_path / "data")
        await asyncio.sleep(2 * LOOK_S)
        await vault.get_grant(GRANT_NAME)
    first, second = certificates(server)
    assert first != second


async def test_the_files_are_looked_at_once_a_second(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred calls within the pause between two looks read nothing from the disk."""
    monkeypatch.setattr(_certificates, "LOOK_PAUSE_S", 60.0)
    async with server.client() as vault:
        await vault.get_grant(GRANT_NAME)
        stats = 0
        stat = _certificates._stamp

        def counted(settings: object) -> object:
            nonlocal stats
            stats += 1
            return stat(settings)  # type: ignore[arg-type]  # passed on as it came

        monkeypatch.setattr(_certificates, "_stamp", counted)
        await asyncio.gather(*(vault.get_grant(GRANT_NAME) for _ in range(100)))
    assert stats == 0
