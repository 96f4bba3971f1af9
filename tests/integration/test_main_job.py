"""The main job against real servers: consent, tokens, rotation, reuse, revocation."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
from collections.abc import AsyncIterator, Iterator

import pytest

import tokenvault_client as sdk
from tests.support.oidc import CLIENT_SECRET, REDIRECT_URI, OidcProvider
from tests.support.vault import RealVault, consent, oauth_client_of, register
from vault_service.embedded.settings_files import TENANT

_LIFE_S = 4
_owners = (f"owner-{number}" for number in itertools.count(1))


@pytest.fixture(scope="module")
def port(real_vault: RealVault, oidc: OidcProvider) -> Iterator[int]:
    """A process that may reach the certified server."""
    yield real_vault.serve("main-job", [oidc.host_port])
    real_vault.stop_process("main-job")


@pytest.fixture
async def operator(
    real_vault: RealVault, oidc: OidcProvider, port: int
) -> AsyncIterator[sdk.TokenVaultClient]:
    """The operator, who has registered the provider."""
    async with real_vault.client("operator", port) as client:
        await register(client, oidc)
        yield client


@pytest.fixture
async def app(real_vault: RealVault, port: int) -> AsyncIterator[sdk.TokenVaultClient]:
    """The application."""
    async with real_vault.client("calendar-app", port) as client:
        yield client


@pytest.fixture
def owner() -> str:
    """A new one for each test; also the user at the provider."""
    return next(_owners)


async def test_consent_becomes_grant_and_token(
    operator: sdk.TokenVaultClient, app: sdk.TokenVaultClient, oidc: OidcProvider, owner: str
) -> None:
    """A real server's consent becomes an ACTIVE grant whose alias gives a fresh token."""
    completed = await consent(app, oidc, owner=owner, user=owner, label="calendar")
    assert completed.grant.state is sdk.GrantState.ACTIVE
    assert (completed.grant.subject, completed.grant.generation) == (owner, 1)
    token = await app.get_access_token(alias=completed.alias, min_ttl_s=1)
    assert not token.refreshed
    assert token.token_type == "Bearer"
    assert token.grant == completed.grant.name
    assert set(token.scopes) == {"openid", "offline_access", "calendar"}


async def test_expired_token_is_refreshed_with_rotation(
    operator: sdk.TokenVaultClient, app: sdk.TokenVaultClient, oidc: OidcProvider, owner: str
) -> None:
    """Each expiry gives another token by one refresh with the newest refresh token."""
    completed = await consent(app, oidc, owner=owner, user=owner)
    before = len(oidc.ledger("refresh_token"))
    seen = {(await app.get_access_token(alias=completed.alias, min_ttl_s=1)).value}
    for _ in range(2):
        await asyncio.sleep(_LIFE_S)
        token = await app.get_access_token(alias=completed.alias, min_ttl_s=1)
        assert token.refreshed
        seen.add(token.value)
    assert len(seen) == 3
    refreshes = oidc.ledger("refresh_token")[before:]
    assert [entry.status for entry in refreshes] == [200, 200]
    assert (await app.get_grant(completed.grant.name)).generation == 3


async def test_min_ttl_forces_a_refresh(
    operator: sdk.TokenVaultClient, app: sdk.TokenVaultClient, oidc: OidcProvider, owner: str
) -> None:
    """A token that is good but too short for min_ttl is refreshed before it is given out."""
    completed = await consent(app, oidc, owner=owner, user=owner)
    await asyncio.sleep(1)
    token = await app.get_access_token(alias=completed.alias, min_ttl_s=3.5)
    assert token.refreshed


async def test_refused_refresh_token_asks_for_consent_and_consent_reconnects(
    real_vault: RealVault,
    operator: sdk.TokenVaultClient,
    app: sdk.TokenVaultClient,
    oidc: OidcProvider,
    owner: str,
) -> None:
    """When the provider ends the consent, and says so twice, so does the grant; a new consent
    brings it back."""
    completed = await consent(app, oidc, owner=owner, user=owner)
    await asyncio.to_thread(oidc.forget_consents, owner)
    await asyncio.sleep(_LIFE_S)
    await _refused_once(real_vault, app, completed.alias)
    with pytest.raises(sdk.ReauthorizationRequired) as refused:
        await app.get_access_token(alias=completed.alias, min_ttl_s=1)
    assert refused.value.cause is sdk.ReauthorizationCause.REVOKED_BY_OWNER
    posts = len(oidc.ledger("refresh_token"))
    with pytest.raises(sdk.ReauthorizationRequired):
        await app.get_access_token(alias=completed.alias, min_ttl_s=1)
    assert len(oidc.ledger("refresh_token")) == posts, "a condemned grant is not tried again"
    again = await consent(app, oidc, owner=owner, user=owner)
    assert again.grant.name == completed.grant.name
    assert again.grant.state is sdk.GrantState.ACTIVE
    assert (await app.get_access_token(alias=completed.alias, min_ttl_s=1)).value


async def test_reuse_by_a_thief_kills_the_family_and_the_vault_says_so(
    real_vault: RealVault,
    operator: sdk.TokenVaultClient,
    app: sdk.TokenVaultClient,
    oidc: OidcProvider,
    owner: str,
) -> None:
    """A stolen, used refresh token is detected by the provider; the grant asks for consent."""
    completed = await consent(app, oidc, owner=owner, user=owner)
    await app.get_access_token(alias=completed.alias, min_ttl_s=1)
    await asyncio.sleep(_LIFE_S)
    await app.get_access_token(alias=completed.alias, min_ttl_s=1)
    used, live = oidc.refresh_tokens(owner)
    assert used != live
    assert await asyncio.to_thread(oidc.refresh, used) == 400
    await asyncio.sleep(_LIFE_S)
    await _refused_once(real_vault, app, completed.alias)
    with pytest.raises(sdk.ReauthorizationRequired):
        await app.get_access_token(alias=completed.alias, min_ttl_s=1)


async def _refused_once(vault: RealVault, app: sdk.TokenVaultClient, alias: str) -> None:
    """The first refusal condemns nobody; after it a minute passes."""
    with pytest.raises(sdk.TryLater) as doubt:
        await app.get_access_token(alias=alias, min_ttl_s=1)
    assert doubt.value.reason == "REFRESH_IN_DOUBT"
    await asyncio.to_thread(vault.let_pass, 61)


async def test_two_owners_with_one_account_share_one_grant(
    operator: sdk.TokenVaultClient, app: sdk.TokenVaultClient, oidc: OidcProvider, owner: str
) -> None:
    """One account, one grant, one refresh token: the second owner gets an alias of their own."""
    first = await consent(app, oidc, owner=owner, user=owner)
    second = await consent(app, oidc, owner=f"{owner}-two", user=owner)
    assert second.grant.name == first.grant.name
    assert second.alias != first.alias
    tokens = [
        await app.get_access_token(alias=alias, min_ttl_s=1)
        for alias in (first.alias, second.alias)
    ]
    assert tokens[0].value == tokens[1].value
    listed = [
        grant async for grant in operator.iter_grants(f"tenants/{TENANT}", owner=f"{owner}-two")
    ]
    assert [grant.name for grant in listed] == [first.grant.name]


async def test_revocation_ends_it_here_and_at_the_provider(
    operator: sdk.TokenVaultClient, app: sdk.TokenVaultClient, oidc: OidcProvider, owner: str
) -> None:
    """RevokeGrant leaves a tombstone, tells the provider, and a new consent makes a new grant."""
    completed = await consent(app, oidc, owner=owner, user=owner)
    ended = await operator.revoke_grant(completed.grant.name)
    assert ended.state is sdk.GrantState.REVOKED
    assert ended.provider_revocation is sdk.ProviderRevocation.DONE
    assert oidc.ledger()[-1].path == "/token/revocation"
    with pytest.raises(sdk.GrantRevoked):
        await app.get_access_token(grant=completed.grant.name, min_ttl_s=1)
    assert (await operator.revoke_grant(completed.grant.name)).etag == ended.etag
    again = await consent(app, oidc, owner=owner, user=owner)
    assert again.grant.name != completed.grant.name


async def test_both_levels_of_secrets_are_kept_apart(
    operator: sdk.TokenVaultClient, app: sdk.TokenVaultClient, owner: str
) -> None:
    """A secret of the application and one of an owner may share an id and nothing else."""
    ours = sdk.secret_name(TENANT, f"key-{owner}")
    theirs = sdk.secret_name(TENANT, f"key-{owner}", owner=owner)
    await app.put_secret(ours, b"application")
    await app.put_secret(theirs, b"old")
    await app.put_secret(theirs, b"user")
    found = {name: await app.get_secret_value(name) for name in (ours, theirs)}
    assert (found[ours].value, found[theirs].value) == (b"application", b"user")
    assert found[theirs].secret_version.version == 2
    assert found[theirs].secret_version.level is sdk.Level.USER


async def test_nothing_secret_lies_in_the_database(
    real_vault: RealVault,
    operator: sdk.TokenVaultClient,
    app: sdk.TokenVaultClient,
    oidc: OidcProvider,
    owner: str,
) -> None:
    """A dump and the files of the database hold no token, client secret, code or secret value."""
    started = await app.start_authorization(
        oauth_client_of(oidc), owner=owner, redirect_uri=REDIRECT_URI
    )
    returned = await asyncio.to_thread(oidc.consent, started.url, owner)
    completed = await app.complete_authorization(
        f"tenants/{TENANT}",
        state=returned.state,
        code=returned.code,
        iss=returned.iss,
        owner=owner,
    )
    token = await app.get_access_token(alias=completed.alias, min_ttl_s=1)
    (refresh_token,) = oidc.refresh_tokens(owner)
    await app.put_secret(sdk.secret_name(TENANT, "canary"), b"canary-4f9d1c27-value")
    needles = [
        token.value,
        refresh_token,
        CLIENT_SECRET,
        returned.code,
        returned.state,
        "canary-4f9d1c27-value",
    ]
    await asyncio.to_thread(real_vault.sql, "CHECKPOINT")
    for needle in needles:
        hit = await asyncio.to_thread(_search, real_vault, needle)
        assert not hit, f"{hit} holds a secret"


def _search(vault: RealVault, needle: str) -> str:
    """The files that hold the text, in the database's folder and the service's log."""
    places = [vault.data_directory, *map(str, vault.directory.glob("*.log"))]
    done = subprocess.run(
        ["grep", "-r", "-l", "-a", "-F", "--", needle, *places],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip()
