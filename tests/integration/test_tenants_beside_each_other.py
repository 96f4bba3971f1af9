"""Attacks of one tenant on what all share, through the real HTTP client and a real TLS server.

Nothing here is timed: what hangs does so until the test lets it go, and what must go through does
so meanwhile, or the test never ends.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any

import pytest

from tests.fakes.https_server import DevCertificates, Server, make_certificates, serve
from tests.support.house import House
from tests.support.two_tenants import (
    ATTACK,
    THEIRS,
    OverEgress,
    Provider,
    both_registered,
    exchanges,
    expired_grant,
    refreshes,
)
from vault_service.adapters.oauth.token_endpoint import OAuthTokenEndpoint
from vault_service.domain import limits
from vault_service.domain.grant import Served
from vault_service.egress.client import HttpClient
from vault_service.egress.guard import EgressGuard
from vault_service.egress.lookups import Lookups

Begin = Callable[[House], Awaitable[list[Coroutine[Any, Any, object]]]]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> DevCertificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
async def server(provider: Provider, certificates: DevCertificates) -> AsyncIterator[Server]:
    async with serve(provider, certificates) as state:
        yield state


@pytest.mark.parametrize(
    ("begin", "at_once"),
    [(exchanges, limits.CONSENT_PLACES_MAX // 2), (refreshes, limits.REFRESH_PLACES_MAX // 2)],
)
async def test_289_hanging_requests_of_one_tenant(
    server: Server,
    provider: Provider,
    certificates: DevCertificates,
    monkeypatch: pytest.MonkeyPatch,
    begin: Begin,
    at_once: int,
) -> None:
    """While 289 exchanges of codes, or refreshes, of one tenant hang, half of the places at the
    provider and the others in their queue, another tenant's refresh goes through."""
    for name in ("CONSENT_WAIT_S", "PERMIT_WAIT_S"):
        monkeypatch.setattr(limits, name, 600.0)
    endpoint = OverEgress()
    house = House(endpoint=endpoint)
    await both_registered(house, server.authority)
    theirs = await expired_grant(house, THEIRS)
    attack = await begin(house)
    http = HttpClient(EgressGuard([server.authority]), certificates.ca_file)
    endpoint.real = OAuthTokenEndpoint(http, house.clock, post_limit_s=600.0)
    tasks = [asyncio.create_task(one) for one in attack]
    await provider.hang(at_once)
    assert (await house.token(theirs.name)).served is Served.REFRESHED
    assert not any(task.done() for task in tasks)
    assert (len(tasks), provider.hanging) == (ATTACK, at_once)
    provider.let.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    await http.close()


class Names:
    """A resolver of which names that begin with "silent" are not answered until ``answer`` is set;
    every other name is this host's."""

    def __init__(self) -> None:
        self.answer = threading.Event()

    def __call__(self, host: str, port: int) -> Sequence[str]:
        if host.startswith("silent"):
            self.answer.wait()
        return ["127.0.0.1"]


async def test_8_names_that_are_never_resolved(
    server: Server, certificates: DevCertificates
) -> None:
    """While the look-ups of eight names hang, a request to an unrelated name gets its answer, and
    the eight still hang then."""
    names, theirs = Names(), f"pinned.test:{server.port}"
    silent = [f"silent-{number}.test:{server.port}" for number in range(8)]
    lookups = Lookups(names)
    http = HttpClient(EgressGuard([theirs, *silent]), certificates.ca_file, lookup=lookups)
    tasks = [asyncio.create_task(http.post_form(f"https://{one}/token", {})) for one in silent]
    await asyncio.sleep(0)
    answer = await http.post_form(f"https://{theirs}/token", {})
    assert (answer.status, lookups.running) == (200, 8)
    assert not any(task.done() for task in tasks)
    names.answer.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    await http.close()
