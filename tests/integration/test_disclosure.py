"""No secret leaves without a durable record (threat T19)."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

import tokenvault_client as sdk
from tests.support.authserver import AuthServer
from tests.support.refusals import ONCE_S, refusal
from tests.support.vault import RealVault
from vault_service.embedded.settings_files import TENANT

Unavailable = Callable[[RealVault], AbstractContextManager[None]]

_GRANTS = 8
_BEFORE_THE_KILL = 400
_ROUNDS = 3
_owners = (f"record-{number}" for number in itertools.count(1))


@pytest.fixture(scope="module")
def provider(breakable_vault: RealVault) -> Iterator[AuthServer]:
    """A server that answers as it should."""
    with AuthServer(breakable_vault.ca) as server:
        yield server


@pytest.fixture(scope="module")
def port(breakable_vault: RealVault, provider: AuthServer) -> Iterator[int]:
    """One process."""
    yield breakable_vault.serve("disclosure", [provider.host_port])
    breakable_vault.stop_process("disclosure")


@pytest.fixture
async def app(
    breakable_vault: RealVault, provider: AuthServer, port: int
) -> AsyncIterator[sdk.TokenVaultClient]:
    """The application, once the operator has registered the provider."""
    async with breakable_vault.client("operator", port) as operator:
        await provider.register(operator)
    async with breakable_vault.client("calendar-app", port) as client:
        yield client


@pytest.fixture
def owner() -> str:
    """A new one for each test; also the user at the provider."""
    return next(_owners)


@contextmanager
def _no_right_to_insert(vault: RealVault) -> Iterator[None]:
    roles = "tokenvault_app, tokenvault_disclosure"
    vault.sql(f"REVOKE INSERT ON tokenvault.audit_records FROM {roles}")
    try:
        yield
    finally:
        vault.sql(f"GRANT INSERT ON tokenvault.audit_records TO {roles}")


@contextmanager
def _table_gone(vault: RealVault) -> Iterator[None]:
    vault.sql("ALTER TABLE tokenvault.audit_records RENAME TO elsewhere")
    try:
        yield
    finally:
        vault.sql("ALTER TABLE tokenvault.elsewhere RENAME TO audit_records")


@contextmanager
def _records_refused(vault: RealVault) -> Iterator[None]:
    """As a full disk or a broken partition would: reads work, each insert fails."""
    vault.sql(
        "CREATE FUNCTION tokenvault.refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION USING ERRCODE = '53100', MESSAGE = 'no space left'; END $$"
    )
    vault.sql(
        "CREATE TRIGGER refuse BEFORE INSERT ON tokenvault.audit_records"
        " FOR EACH ROW EXECUTE FUNCTION tokenvault.refuse()"
    )
    try:
        yield
    finally:
        vault.sql("DROP FUNCTION tokenvault.refuse CASCADE")


# The superuser's handle runs a loop of its own, so these enter and leave in a thread.
@pytest.mark.parametrize(
    "unavailable",
    [_no_right_to_insert, _table_gone, _records_refused],
    ids=["no right", "no table", "disk full"],
)
async def test_record_that_cannot_be_written(
    breakable_vault: RealVault,
    app: sdk.TokenVaultClient,
    provider: AuthServer,
    port: int,
    owner: str,
    unavailable: Unavailable,
) -> None:
    """Tokens, secrets, changes and refusals alike are AUDIT_UNAVAILABLE, and nothing changed."""
    completed = await provider.consent(app, owner)
    started = await provider.start(app, f"{owner}-new")
    secret = sdk.secret_name(TENANT, "key", owner=owner)
    await app.put_secret(secret, b"first")
    broken = unavailable(breakable_vault)
    async with (
        breakable_vault.client("operator", port) as operator,
        breakable_vault.client("thief", port) as thief,
    ):
        await asyncio.to_thread(broken.__enter__)
        try:
            calls = [
                app.get_access_token(alias=completed.alias, timeout_s=ONCE_S),
                app.get_secret_value(secret, timeout_s=ONCE_S),
                app.put_secret(secret, b"second", timeout_s=ONCE_S),
                provider.start(app, owner, timeout_s=ONCE_S),
                operator.revoke_grant(completed.grant.name, timeout_s=ONCE_S),
                thief.get_access_token(alias=completed.alias, timeout_s=ONCE_S),
                app.get_secret_value("malformed", timeout_s=ONCE_S),
            ]
            for error in await asyncio.gather(
                *(refusal(call, "AUDIT_UNAVAILABLE", "could not be made durable") for call in calls)
            ):
                assert isinstance(error, sdk.TryLater)
        finally:
            await asyncio.to_thread(broken.__exit__, None, None, None)
    assert (await app.get_access_token(alias=completed.alias)).value
    found = await app.get_secret_value(secret)
    assert (found.value, found.secret_version.version) == (b"first", 1)
    await app.complete_authorization(
        sdk.tenant_name(TENANT),
        state=started.state,
        code=f"{owner}-new.1",
        owner=f"{owner}-new",
    )


async def test_record_unavailable_while_the_provider_answers(
    breakable_vault: RealVault, app: sdk.TokenVaultClient, provider: AuthServer, owner: str
) -> None:
    """A refresh is stored with its record or not at all: it waits, the caller gets no token, and
    later callers get the one that was made."""
    completed = await provider.consent(app, owner, life_s=0)
    before = len(provider.sent("refresh_token"))
    broken = _no_right_to_insert(breakable_vault)
    with provider.held() as answer:
        call = asyncio.create_task(app.get_access_token(alias=completed.alias, timeout_s=2))
        while len(provider.sent("refresh_token")) == before:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(broken.__enter__)
        try:
            answer.set()
            with pytest.raises((sdk.TryLater, sdk.DeadlineExceeded)):
                await call
        finally:
            await asyncio.to_thread(broken.__exit__, None, None, None)
    token = await app.get_access_token(alias=completed.alias)
    assert token.grant == completed.grant.name
    assert len(provider.sent("refresh_token")) == before + 1


async def test_records_are_durable_before_the_reply(
    breakable_vault: RealVault, app: sdk.TokenVaultClient, provider: AuthServer
) -> None:
    """PostgreSQL is killed in the middle of disclosures, three times: after each restart every
    token that was answered has its record."""
    owners = [next(_owners) for _ in range(_GRANTS)]
    aliases = [(await provider.consent(app, owner)).alias for owner in owners]
    answered: Counter[str] = Counter()

    async def ask(alias: str) -> None:
        while True:
            try:
                token = await app.get_access_token(alias=alias, timeout_s=ONCE_S)
            except sdk.TokenVaultError:
                return
            answered[token.fingerprint] += 1

    for number in range(1, _ROUNDS + 1):
        asking = [asyncio.create_task(ask(alias)) for alias in aliases for _ in range(2)]
        async with asyncio.timeout(30):
            while answered.total() < number * _BEFORE_THE_KILL:
                await asyncio.sleep(0.005)
        breakable_vault.postgres.kill_immediately()
        await asyncio.gather(*asking)
        breakable_vault.postgres.start()
    recorded = await asyncio.to_thread(_recorded, breakable_vault, list(answered))
    assert len(answered) == _GRANTS
    assert all(recorded[fingerprint] >= count for fingerprint, count in answered.items())


def _recorded(vault: RealVault, fingerprints: list[str]) -> dict[str, int]:
    """How many records each token has."""
    return {
        fingerprint: vault.sql(
            "SELECT count(*) FROM tokenvault.audit_records WHERE action = 1"
            f" AND token_fingerprint = '{fingerprint}'"
        )[0]
        for fingerprint in fingerprints
    }
