"""Outages of ten seconds to four minutes, at the settings that ship."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import pytest

from tests.campaigns import outage
from tests.campaigns.results import keep
from tests.support.authserver import AuthServer
from tests.support.vault import RealVault

_PROCESSES = 2
_WHAT = """\
Two `serve` processes with the settings that ship; fifteen providers answer 503 for 10 to 240 s at
the same time, each with 20 grants whose tokens are over and a caller for each that comes again when
it is told to. carried: the first request of each grant was carried out and answered 503 all the
same, so that the refresh token that is held is over with its grace. Times are since the provider
was back."""


@pytest.fixture(scope="module")
def server(vault: RealVault) -> Iterator[AuthServer]:
    """One for all realms."""
    with AuthServer(vault.ca) as running:
        yield running


@pytest.fixture(scope="module")
def ports(vault: RealVault, server: AuthServer) -> Iterator[list[int]]:
    """Of two processes."""
    names = [f"outage-{number}" for number in range(_PROCESSES)]
    yield [vault.serve(name, [server.host_port]) for name in names]
    for name in names:
        vault.stop_process(name)


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_providers_that_are_away(
    vault: RealVault, server: AuthServer, ports: list[int]
) -> None:
    """No grant is lost, not those either whose grace began at a request that was answered 503; half
    a minute after a provider is back the first caller has its token, and soon all have."""
    found = await outage.play(vault, server, ports, outage.WHOLE)
    command = "make test-long PYTEST_ARGS=tests/campaigns/test_outage.py"
    results = {name: asdict(each) for name, each in found.items()}
    keep(
        "outage",
        " ".join(_WHAT.split()),
        command,
        results,
        clean=all(each.clean for each in found.values()),
    )
    for name, each in found.items():
        assert each.clean, (name, each)
