"""A provider that is down or wants fewer requests, at two processes and a real database.

What happens at ten thousand grants in every way of being down stands in
tests/unit/test_outage_simulated.py; here nothing is simulated.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

import tokenvault_client as sdk
from tests.support.authserver import Answer, AuthServer, Behaviour, RefreshClass, VaultSide
from tests.support.vault import RealVault
from vault_service.domain import limits
from vault_service.domain.rates import Bucket

PROCESSES = 2
AT_ONCE = 16  # consents and callers of one process
BACK_WITHIN_S = 30.0
N = Behaviour(refresh_class=RefreshClass.N)
_realms = (f"outage-{number}" for number in itertools.count(1))


@pytest.fixture(scope="module")
def server(real_vault: RealVault) -> Iterator[AuthServer]:
    with AuthServer(real_vault.ca) as running:
        yield running


@pytest.fixture(scope="module")
def ports(real_vault: RealVault, server: AuthServer) -> Iterator[list[int]]:
    names = [f"outage-{number}" for number in range(PROCESSES)]
    yield [real_vault.serve(name, [server.host_port]) for name in names]
    for name in names:
        real_vault.stop_process(name)


@pytest.fixture
async def apps(
    real_vault: RealVault, ports: list[int]
) -> AsyncIterator[list[sdk.TokenVaultClient]]:
    clients = [real_vault.client("calendar-app", port, 60) for port in ports]
    yield clients
    for client in clients:
        await client.close()


@dataclass
class Place:
    """A realm of the server, registered; its grants."""

    vault: RealVault
    server: AuthServer
    side: VaultSide
    apps: Sequence[sdk.TokenVaultClient]

    @classmethod
    async def make(
        cls,
        vault: RealVault,
        server: AuthServer,
        apps: Sequence[sdk.TokenVaultClient],
        port: int,
        **profile: object,
    ) -> Place:
        side = server.realm(next(_realms), N)
        async with vault.client("operator", port) as operator:
            await side.register(operator, **profile)
        return cls(vault, server, side, apps)

    async def consents(self, prefix: str, count: int, life_s: int) -> list[str]:
        """The names of so many new grants."""
        turns = asyncio.Semaphore(AT_ONCE * len(self.apps))

        async def one(number: int) -> str:
            async with turns:
                app = self.apps[number % len(self.apps)]
                done = await self.side.consent(app, f"{prefix}-{number}", life_s=life_s)
                return done.grant.name

        return list(await asyncio.gather(*(one(number) for number in range(count))))

    def posts(self, since: float = -math.inf) -> list[float]:
        """When refreshes arrived, on the monotonic clock of this host."""
        entries = self.server.entries(kind="refresh_token")
        mine = (entry for entry in entries if entry.realm == self.side.realm_name)
        return [entry.arrived_s for entry in mine if entry.arrived_s >= since]


def _sql_of(vault: RealVault) -> Callable[[str], Awaitable[tuple[Any, ...]]]:
    return lambda statement: asyncio.to_thread(vault.sql, statement)


async def _token_when_it_is_there(app: sdk.TokenVaultClient, grant: str) -> float:
    """When a caller that comes again as it is told has its token."""
    while True:
        try:
            await app.get_access_token(grant=grant, timeout_s=20)
        except (sdk.TryLater, sdk.DeadlineExceeded) as error:
            await asyncio.sleep(error.retry_after_s or 1.0)
        else:
            return time.monotonic()


@pytest.mark.parametrize(
    ("down_s", "due_count"),
    [
        pytest.param(30.0, 500, marks=pytest.mark.timeout(400)),
        pytest.param(600.0, 10_000, marks=[pytest.mark.long, pytest.mark.timeout(3_600)]),
    ],
)
async def test_outage(
    real_vault: RealVault,
    server: AuthServer,
    ports: list[int],
    apps: list[sdk.TokenVaultClient],
    down_s: float,
    due_count: int,
) -> None:
    """Callers of ended tokens are told to come again and the provider is hardly asked; callers of
    tokens that live get them and are told; half a minute after it is back, callers are served; no
    grant is changed."""
    sql = _sql_of(real_vault)
    place = await Place.make(real_vault, server, apps, ports[0])
    due = await place.consents("due", due_count, life_s=0)
    living = await place.consents("living", 8, life_s=3_000)
    ids = ",".join(f"'{name.rpartition('/')[2]}'" for name in living)
    # Behind the service's back: their life was long, and most of it is over.
    await sql(
        f"UPDATE tokenvault.grants SET access_life_s = 86400 WHERE grant_id IN ({ids}) RETURNING 1"
    )
    with server.outage("503", kind="refresh_token"):
        start = time.monotonic()
        waiting = [
            asyncio.create_task(_token_when_it_is_there(apps[number % PROCESSES], grant))
            for number, grant in enumerate(due[: AT_ONCE * 6])
        ]
        served: list[sdk.AccessToken] = []
        while time.monotonic() < start + down_s:
            served += await asyncio.gather(
                *(apps[number % PROCESSES].get_access_token(grant=grant, min_ttl_s=60)
                  for number, grant in enumerate(living))
            )  # fmt: skip
            await asyncio.sleep(1.0)
        assert not any(task.done() for task in waiting)
        posts = len(place.posts())
    back = time.monotonic()
    await asyncio.wait_for(asyncio.gather(*waiting[:4]), BACK_WITHIN_S)
    await asyncio.gather(*waiting)
    rest = due[len(waiting) :]
    for batch in (rest[n : n + 64] for n in range(0, len(rest), 64)):
        await asyncio.gather(*(_token_when_it_is_there(apps[0], grant) for grant in batch))
    recovered_s = [task.result() - back for task in waiting]
    assert min(recovered_s) <= limits.BREAKER_OPEN_MAX_S + limits.BREAKER_PROBE_S
    probes = down_s / (0.75 * limits.BREAKER_OPEN_MAX_S) + 5
    in_flight = limits.HTTP_CONNECTIONS_PER_HOST_MAX
    assert 0 < posts <= PROCESSES * (in_flight + limits.BREAKER_RUN + probes)
    stale = [token.served for token in served[2 * len(living) :]]
    assert set(stale) == {sdk.Served.STALE_PROVIDER_DOWN}
    states = await sql(
        "SELECT count(*) FILTER (WHERE state <> 1), count(*) FROM tokenvault.grants"
        f" WHERE oauth_client = '{place.side.oauth_client.rpartition('/')[2]}'"
    )
    assert states == (0, due_count + len(living))


async def test_two_processes_share_a_budget(
    real_vault: RealVault, server: AuthServer, ports: list[int], apps: list[sdk.TokenVaultClient]
) -> None:
    """Two processes that refresh as fast as they may take as long as one budget takes, and one
    statement serves many requests."""
    rate = 20
    sql = _sql_of(real_vault)
    place = await Place.make(real_vault, server, apps, ports[0], rate_per_s=rate)
    grants = await place.consents("rate", 100, life_s=0)
    await asyncio.sleep(1.5)  # the consents counted as well
    before = time.monotonic()
    await asyncio.gather(
        *(_token_when_it_is_there(apps[n % PROCESSES], grant) for n, grant in enumerate(grants))
    )
    posts = place.posts(before)
    bucket = Bucket.of(rate, 1.0)
    assert len(posts) == len(grants)
    assert max(posts) - before >= (len(grants) - bucket.size - 1) / bucket.per_s
    client = place.side.oauth_client.rpartition("/")[2]
    (row,) = await sql(
        f"SELECT second_level FROM tokenvault.provider_budgets WHERE oauth_client = '{client}'"
    )
    assert 0 <= row <= bucket.size


async def test_a_pause_holds_in_both_processes(
    real_vault: RealVault, server: AuthServer, ports: list[int], apps: list[sdk.TokenVaultClient]
) -> None:
    """Retry-After that one process was given for two grants stops the other for other grants."""
    place = await Place.make(real_vault, server, apps, ports[0])
    *limited_ones, second, third = await place.consents("pause", 4, life_s=0)
    pause_s = 8
    for grant in limited_ones:
        server.script(
            Answer.json({"error": "slow_down"}, 429, Retry_After=str(pause_s)), kind="refresh_token"
        )
        with pytest.raises(sdk.TryLater) as limited:
            await apps[0].get_access_token(grant=grant, timeout_s=5)
        assert limited.value.reason == "PROVIDER_RATE_LIMITED"
    _, refused_at = place.posts()
    for app, grant in ((apps[0], second), (apps[1], third)):
        with pytest.raises(sdk.TryLater) as held:
            await app.get_access_token(grant=grant, timeout_s=2)
        assert held.value.reason == "PROVIDER_RATE_LIMITED"
        assert held.value.retry_after_s is not None
        assert 0 < held.value.retry_after_s <= pause_s * 1.1
    await asyncio.gather(
        *(_token_when_it_is_there(apps[n], grant) for n, grant in enumerate((second, third)))
    )
    assert all(moment >= refused_at + pause_s - 0.1 for moment in place.posts()[2:])
