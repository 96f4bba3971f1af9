"""Transit sealed, stopped or hanging, and the database gone: a reason, and nothing lost."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

import tokenvault_client as sdk
from tests.support.authserver import AuthServer
from tests.support.refusals import recorded_refusal, refusal
from tests.support.vault import RealVault
from vault_service.embedded.settings_files import TENANT

Away = Callable[[RealVault], AbstractContextManager[None]]

_CACHE_S = 1.2
_owners = (f"away-{number}" for number in itertools.count(1))
# One process forgets its DEKs at once and waits half a second for the database.
_FORGETFUL = {
    "TOKENVAULT_DEK_CACHE__SOFT_LIFE_S": "1",
    "TOKENVAULT_DEK_CACHE__HARD_LIFE_S": str(_CACHE_S),
    "TOKENVAULT_DATABASE__STATEMENT_LIMIT_S": "0.5",
}


@pytest.fixture(autouse=True)
def _one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's retries would hide what each attempt is told."""
    monkeypatch.setattr("tokenvault_client._retry.ATTEMPTS_MAX", 1)


@pytest.fixture(scope="module")
def provider(breakable_vault: RealVault) -> Iterator[AuthServer]:
    """A server that answers as it should."""
    with AuthServer(breakable_vault.ca) as server:
        yield server


@pytest.fixture(scope="module")
def ports(breakable_vault: RealVault, provider: AuthServer) -> Iterator[tuple[int, int]]:
    """A process that remembers DEKs for minutes, and one that forgets them in a second."""
    yield (
        breakable_vault.serve("steady", [provider.host_port]),
        breakable_vault.serve("forgetful", [provider.host_port], dict(os.environ) | _FORGETFUL),
    )
    for name in ("steady", "forgetful"):
        breakable_vault.stop_process(name)


@pytest.fixture
async def steady(
    breakable_vault: RealVault, provider: AuthServer, ports: tuple[int, int]
) -> AsyncIterator[sdk.TokenVaultClient]:
    """The application at the process that remembers."""
    async with breakable_vault.client("operator", ports[0]) as operator:
        await provider.register(operator)
    async with breakable_vault.client("calendar-app", ports[0]) as client:
        yield client


@pytest.fixture
async def forgetful(
    breakable_vault: RealVault, ports: tuple[int, int], steady: sdk.TokenVaultClient
) -> AsyncIterator[sdk.TokenVaultClient]:
    """The application at the process that forgets."""
    async with breakable_vault.client("calendar-app", ports[1]) as client:
        yield client


@pytest.fixture
async def auditor(
    breakable_vault: RealVault, ports: tuple[int, int]
) -> AsyncIterator[sdk.TokenVaultClient]:
    """Who reads the record."""
    async with breakable_vault.client("auditor", ports[0]) as client:
        yield client


@pytest.fixture
def owner() -> str:
    """A new one for each test; also the user at the provider."""
    return next(_owners)


# None of these runs in a thread: a child lives as long as the thread that started it.
@contextmanager
def _sealed(vault: RealVault) -> Iterator[None]:
    vault.openbao.seal()
    try:
        yield
    finally:
        vault.openbao.stop()
        vault.openbao.start()


@contextmanager
def _transit_stopped(vault: RealVault) -> Iterator[None]:
    vault.openbao.stop()
    try:
        yield
    finally:
        vault.openbao.start()


@contextmanager
def _transit_hanging(vault: RealVault) -> Iterator[None]:
    vault.openbao.pause()
    try:
        yield
    finally:
        vault.openbao.resume()


@contextmanager
def _database_stopped(vault: RealVault) -> Iterator[None]:
    vault.postgres.stop()
    try:
        yield
    finally:
        vault.postgres.start()


@contextmanager
def _database_hanging(vault: RealVault) -> Iterator[None]:
    vault.postgres.pause()
    try:
        yield
    finally:
        vault.postgres.resume()


@pytest.mark.parametrize(
    ("away", "says"),
    [
        (_sealed, "unseal the key store"),
        (_transit_stopped, "check its address"),
        (_transit_hanging, "check that the key store is up"),
    ],
    ids=["sealed", "stopped", "hanging"],
)
async def test_transit_away(
    breakable_vault: RealVault,
    steady: sdk.TokenVaultClient,
    forgetful: sdk.TokenVaultClient,
    auditor: sdk.TokenVaultClient,
    provider: AuthServer,
    owner: str,
    away: Away,
    says: str,
) -> None:
    """What is cached is served on; what needs a DEK is KEK_UNREACHABLE, on record, and no refresh
    token is spent; when transit is back the same grants work."""
    fresh = await provider.consent(steady, f"{owner}-fresh")
    stale = await provider.consent(forgetful, owner, life_s=0)
    secret = sdk.secret_name(TENANT, "key", owner=owner)
    await forgetful.put_secret(secret, b"value")
    await asyncio.sleep(_CACHE_S + 0.1)
    posts = len(provider.posts)
    with away(breakable_vault):
        assert (await steady.get_access_token(alias=fresh.alias)).value
        calls = [
            forgetful.get_access_token(alias=stale.alias),
            forgetful.get_secret_value(secret),
            forgetful.put_secret(secret, b"newer"),
            provider.start(forgetful, f"{owner}-new"),
        ]
        await asyncio.gather(
            *(recorded_refusal(auditor, call, "KEK_UNREACHABLE", says) for call in calls)
        )
        assert len(provider.posts) == posts, "a refresh token was spent that nobody could seal"
    token = await forgetful.get_access_token(alias=stale.alias)
    assert (token.grant, token.refreshed) == (stale.grant.name, True)
    found = await forgetful.get_secret_value(secret)
    assert (found.value, found.secret_version.version) == (b"value", 1)


@pytest.mark.parametrize("away", [_database_stopped, _database_hanging], ids=["stopped", "hanging"])
async def test_database_away(
    breakable_vault: RealVault,
    forgetful: sdk.TokenVaultClient,
    provider: AuthServer,
    owner: str,
    away: Away,
) -> None:
    """Nothing is given out without its record: STORE_UNREACHABLE, then all as before."""
    fresh = await provider.consent(forgetful, f"{owner}-fresh")
    stale = await provider.consent(forgetful, owner, life_s=0)
    started = await provider.start(forgetful, f"{owner}-new")
    posts = len(provider.posts)
    complete = provider.completion(started, f"{owner}-new")
    parent = sdk.tenant_name(TENANT)
    with away(breakable_vault):
        calls = [
            forgetful.get_access_token(alias=fresh.alias),
            forgetful.get_access_token(alias=stale.alias),
            forgetful.complete_authorization(parent, **complete),
        ]
        await asyncio.gather(*(refusal(call, "STORE_UNREACHABLE", "try again") for call in calls))
        assert len(provider.posts) == posts
    assert (await forgetful.get_access_token(alias=fresh.alias)).value
    assert (await forgetful.get_access_token(alias=stale.alias)).refreshed
    await forgetful.complete_authorization(parent, **complete)


async def test_database_stops_while_the_provider_answers(
    breakable_vault: RealVault,
    forgetful: sdk.TokenVaultClient,
    provider: AuthServer,
    owner: str,
) -> None:
    """A reissued refresh token waits in memory for the database, and is the one used next."""
    completed = await provider.consent(forgetful, owner, life_s=0)
    before = len(provider.sent("refresh_token"))
    with provider.held() as answer:
        call = asyncio.create_task(forgetful.get_access_token(alias=completed.alias))
        while len(provider.sent("refresh_token")) == before:
            await asyncio.sleep(0.01)
        with _database_stopped(breakable_vault):
            answer.set()
            await asyncio.sleep(0.5)
    assert (await call).refreshed
    await asyncio.to_thread(
        breakable_vault.sql,
        # With its revision, as every change of a row: replicas hold rows in memory by it.
        "UPDATE tokenvault.grants SET revision = revision + 1,"
        " access_expire_time = clock_timestamp()"
        f" WHERE owner = '{owner}'",
    )
    assert (await forgetful.get_access_token(alias=completed.alias)).refreshed
    posts = provider.sent("refresh_token")[before:]
    assert len({post.fields["refresh_token"] for post in posts}) == len(posts) == 2


async def test_a_watch_outlives_the_database(
    breakable_vault: RealVault,
    provider: AuthServer,
    ports: tuple[int, int],
    steady: sdk.TokenVaultClient,
    owner: str,
) -> None:
    """A watcher whose database goes away and comes back goes on by itself, with the event that
    was committed just before and the one after."""
    seen: list[sdk.GrantEvent] = []
    began, arrived = asyncio.Event(), asyncio.Event()

    async def walk(vault: sdk.TokenVaultClient) -> None:
        async for step in vault.watch_grants(sdk.tenant_name(TENANT), owner=owner):
            began.set()
            if step.event:
                seen.append(step.event)
                arrived.set()

    async def until(count: int) -> None:
        async with asyncio.timeout(60):
            while len(seen) < count:
                arrived.clear()
                await arrived.wait()

    async with (
        breakable_vault.client("operator", ports[0]) as operator,
        breakable_vault.client("calendar-app", ports[1]) as watcher,
    ):
        walking = asyncio.create_task(walk(watcher))
        await began.wait()
        done = await provider.consent(steady, owner)
        with _database_stopped(breakable_vault):
            await asyncio.sleep(1.0)
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(sdk.TryLater, sdk.DeadlineExceeded):
                    await operator.revoke_grant(done.grant.name)
                    break
                await asyncio.sleep(0.2)
        await until(2)
        assert not walking.done()
        walking.cancel()
        await asyncio.gather(walking, return_exceptions=True)
    kinds = [event.kind for event in seen]
    assert kinds == [sdk.GrantEventKind.CREATED, sdk.GrantEventKind.REVOKED]
