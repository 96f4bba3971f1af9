"""SIGTERM: told first, then no new calls, and nothing under way is lost."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import tokenvault_client as sdk
from tests.support.authserver import AuthServer
from tests.support.scraping import get, scrape, until_ready
from tests.support.serving import NOT_SERVING, SERVING, Serving, wait_health
from tests.support.vault import RealVault
from vault_service.embedded.settings_files import TENANT

_LIMIT_S = 40.0
_NOTICE_S = 30.0  # longer than any step of a test: what ends it sooner is the second signal


@pytest.fixture
def provider(real_vault: RealVault) -> Iterator[AuthServer]:
    """Answers when it is told to."""
    with AuthServer(real_vault.ca) as server:
        yield server


async def test_end_is_announced_and_a_second_signal_only_hurries(
    real_vault: RealVault, provider: AuthServer, tmp_path: Path
) -> None:
    """After SIGTERM health says NOT_SERVING while calls are still taken; a second one ends that
    notice, and the refresh under way, asked before and held by its provider, still ends well: its
    caller has the token, the database the new generation, and the exit status is 0."""
    serving = Serving(real_vault, provider, "announced", tmp_path, server__drain_notice_s=_NOTICE_S)
    try:
        port, metrics = await serving.ports()
        await wait_health(real_vault, port, SERVING)
        async with (
            real_vault.client("operator", port) as operator,
            real_vault.client("calendar-app", port) as app,
        ):
            await provider.register(operator)
            stale = await provider.consent(app, "announced", life_s=0)
            with provider.held() as answer:
                waiting = asyncio.create_task(app.get_access_token(alias=stale.alias))
                async with asyncio.timeout(_LIMIT_S):
                    while not provider.sent("refresh_token"):
                        await asyncio.sleep(0.01)
                serving.process.send_signal(signal.SIGTERM)
                await _assert_announced(real_vault, port, metrics)
                await operator.list_providers(sdk.tenant_name(TENANT), timeout_s=5)
                began = time.monotonic()
                serving.process.send_signal(signal.SIGTERM)
                await _until_refused(real_vault, port)
                serving.process.send_signal(signal.SIGINT)
                await asyncio.sleep(0.3)
                assert serving.process.poll() is None, "it waits for what is under way"
                answer.set()
                assert (await waiting).refreshed
        assert await asyncio.to_thread(serving.process.wait, _LIMIT_S) == 0
        assert time.monotonic() - began < _NOTICE_S / 2
    finally:
        serving.kill()
    assert '"unfinished":0' in serving.log_file.read_text()
    generation = await asyncio.to_thread(
        real_vault.sql, "SELECT generation FROM tokenvault.grants WHERE owner = 'announced'"
    )
    assert generation == (2,)


async def _assert_announced(vault: RealVault, port: int, metrics: int) -> None:
    detail = await until_ready(metrics, 503)
    assert detail["status"] == "draining"
    assert detail["dependencies"]["database"] == {"up": True}
    await wait_health(vault, port, NOT_SERVING)
    assert (await asyncio.to_thread(scrape, metrics)).value("tokenvault_draining") == 1
    assert await asyncio.to_thread(get, metrics, "/livez") == (200, "ok\n")
    await asyncio.sleep(2.5)  # a probe of the dependencies later it still says so
    await wait_health(vault, port, NOT_SERVING)


async def _until_refused(vault: RealVault, port: int) -> None:
    async with asyncio.timeout(_LIMIT_S), vault.client("operator", port) as late:
        while True:
            try:
                await late.list_providers(sdk.tenant_name(TENANT), timeout_s=0.5)
            except sdk.TokenVaultError:
                return
            await asyncio.sleep(0.05)


async def test_notice_runs_out_by_itself(
    real_vault: RealVault, provider: AuthServer, tmp_path: Path
) -> None:
    """Without a second signal the process ends when its notice is over, not before."""
    serving = Serving(real_vault, provider, "noticed", tmp_path, server__drain_notice_s=1.5)
    try:
        await serving.ports()
        began = time.monotonic()
        assert await serving.end() == 0
        assert 1.5 <= time.monotonic() - began < _NOTICE_S
    finally:
        serving.kill()


async def test_caller_that_hung_up_loses_nothing(
    real_vault: RealVault, provider: AuthServer, tmp_path: Path
) -> None:
    """Of two refreshes under way at SIGTERM the one whose caller left is stored all the same; the
    other caller gets its token, and the exit status is 0."""
    serving = Serving(real_vault, provider, "drained", tmp_path)
    try:
        port, _ = await serving.ports()
        async with (
            real_vault.client("operator", port) as operator,
            real_vault.client("calendar-app", port) as app,
        ):
            await provider.register(operator)
            stays = await provider.consent(app, "drain-stays", life_s=0)
            leaves = await provider.consent(app, "drain-leaves", life_s=0)
            with provider.held() as first, provider.held() as second:
                waiting = asyncio.create_task(app.get_access_token(alias=stays.alias))
                gone = asyncio.create_task(app.get_access_token(alias=leaves.alias))
                async with asyncio.timeout(_LIMIT_S):
                    while len(provider.sent("refresh_token")) < 2:
                        await asyncio.sleep(0.01)
                gone.cancel()
                serving.process.send_signal(signal.SIGTERM)
                await asyncio.sleep(0.5)
                assert serving.process.poll() is None, "it waits for what is under way"
                first.set()
                second.set()
                assert (await waiting).refreshed
        assert await asyncio.to_thread(serving.process.wait, _LIMIT_S) == 0
    finally:
        serving.kill()
    assert '"unfinished":0' in serving.log_file.read_text()
    generation = await asyncio.to_thread(
        real_vault.sql, "SELECT generation FROM tokenvault.grants WHERE owner = 'drain-leaves'"
    )
    assert generation == (2,)
