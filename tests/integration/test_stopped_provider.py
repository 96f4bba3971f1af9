"""A provider whose process is stopped after it has got a refresh, and continued when its caller has
given up: class S over the real HTTP client, on a connection that stands."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.https_server import DevCertificates, make_certificates
from tests.fakes.token_endpoint import FakeTokenEndpoint
from tests.support import house as houses
from tests.support.house import House, refused
from vault_service.adapters.clock import SystemClock
from vault_service.adapters.oauth import OAuthTokenEndpoint
from vault_service.domain import limits
from vault_service.domain.errors import Reason
from vault_service.domain.grant import Grant
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.oauth import ClientCredential
from vault_service.domain.provider import ProviderProfile
from vault_service.domain.refresh_times import RefreshTimes
from vault_service.domain.sensitive import Sensitive
from vault_service.egress.client import HttpClient
from vault_service.egress.guard import EgressGuard


class _RealRefreshes(FakeTokenEndpoint):
    """The fake for consents; refreshes go to a real provider at ``url``."""

    def __init__(self, http: HttpClient, url: str) -> None:
        super().__init__()
        self._real, self._url = OAuthTokenEndpoint(http, SystemClock()), url

    async def refresh(
        self,
        profile: ProviderProfile,
        client: ClientCredential,
        *,
        token_endpoint: str,
        refresh_token: Sensitive,
        scopes: Collection[str] = (),
        post_limit_s: float,
        answer_limit_s: float,
    ) -> HttpAnswer:
        """Of the real one."""
        return await self._real.refresh(
            profile,
            client,
            token_endpoint=self._url,
            refresh_token=refresh_token,
            scopes=scopes,
            post_limit_s=post_limit_s,
            answer_limit_s=answer_limit_s,
        )


@contextlib.asynccontextmanager
async def _provider(certificates: DevCertificates) -> AsyncIterator[Process]:
    module = "tests.support.stopped_provider"
    arguments = (sys.executable, "-m", module, str(certificates.server_file))
    process = await asyncio.create_subprocess_exec(*arguments, stdin=PIPE, stdout=PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()  # reaches a stopped one too
            await process.wait()


async def _said(process: Process) -> Any:
    assert process.stdout is not None
    return json.loads(await process.stdout.readline())


async def _refresh_token(house: House, grant: Grant) -> str:
    row = await house.row(grant.name)
    assert row.refresh_envelope is not None
    return (await house.envelopes.open(row.refresh_binding(), row.refresh_envelope)).reveal_text()


async def test_the_answer_of_a_stopped_provider(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its caller is told at the limit that the refresh is in doubt, nobody presents the token again
    meanwhile, and the answer that comes when it is continued is the grant's."""
    monkeypatch.setattr(limits, "HTTP_KEEP_ALIVE_S", 600.0)
    certificates = make_certificates(tmp_path)
    async with _provider(certificates) as process:
        authority = f"127.0.0.1:{await _said(process)}"
        http = HttpClient(EgressGuard([authority]), certificates.ca_file)
        house = House(endpoint=_RealRefreshes(http, f"https://{authority}/token"))
        monkeypatch.setattr(houses, "RefreshTimes", lambda: RefreshTimes(post_limit_s=0.5))
        hasty = House.beside(house)
        grant = await house.grant()
        house.clock.advance(3_600)
        await house.token(grant.name)
        assert await _said(process) == {"refresh_token": "rt-1", "connections": 1}

        house.clock.advance(3_600)
        await refused(Reason.REFRESH_IN_DOUBT, hasty.token(grant.name))
        assert await _said(process) == {"refresh_token": "late-rt-1", "connections": 1}
        await asyncio.to_thread(os.waitid, os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        for each in (hasty, house):
            await refused(Reason.REFRESH_IN_DOUBT, each.token(grant.name))
        assert len(hasty.flights) == 1

        process.send_signal(signal.SIGCONT)
        assert await hasty.flights.drain(limits.ANSWER_LIMIT_S) == 0
        assert await _refresh_token(house, grant) == "late-rt-2"
        token = await house.token(grant.name)
        assert (token.value.reveal_text(), token.refreshed) == ("late-at-2", False)
        assert (hasty.engine.late.came, hasty.engine.late.missed) == (1, 0)
        await http.close()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        assert await process.stdout.read() == b"", "no third request"
