"""PutOAuthClient and ListOAuthClients: credentials go in and never out."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.house import (
    APP,
    CLIENT,
    CLIENT_SECRET,
    PROVIDER,
    REDIRECT_URI,
    TENANT,
    House,
    refused,
)
from tests.support.samples import a_profile
from vault_service.domain import limits
from vault_service.domain.access import Permission
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason
from vault_service.domain.names import OAuthClientName, ProviderName
from vault_service.domain.oauth import ClientAuthMethod, OAuthClient
from vault_service.domain.sensitive import Sensitive


@pytest.fixture
async def house() -> House:
    house = House()
    await house.register()
    return house


async def put(
    house: House,
    name: OAuthClientName = CLIENT,
    provider: ProviderName = PROVIDER,
    secret: str | None = "another secret",
    **changes: Any,
) -> OAuthClient:
    """PutOAuthClient with usual values."""
    values: dict[str, Any] = {
        "client_id": "crm-at-op",
        "auth_method": ClientAuthMethod.CLIENT_SECRET_POST,
        "redirect_uris": (REDIRECT_URI,),
        "scopes": ("mail",),
    }
    sensitive = None if secret is None else Sensitive.from_text(secret)
    return await house.clients.put(
        house.call(), name, provider, client_secret=sensitive, **(values | changes)
    )


async def credential(house: House) -> str:
    """The credential that a request to the provider would carry."""
    return (await house.credentials.open(CLIENT)).credential.client_secret.reveal_text()


async def test_method_of_the_provider(house: House) -> None:
    """Where a provider names its authentication methods, a registration uses one of them."""
    profile = a_profile(auth_methods=(ClientAuthMethod.CLIENT_SECRET_BASIC,))
    await house.providers.put(house.call(), PROVIDER, profile)
    error = await refused(Reason.FIELD_MALFORMED, put(house))
    assert error.metadata == {"field": "auth_method"}
    assert "CLIENT_SECRET_BASIC" in error.message
    assert await put(house, auth_method=ClientAuthMethod.CLIENT_SECRET_BASIC)


async def test_put(house: House) -> None:
    """A registration is stored with its credential sealed, and on record without it."""
    stored = house.stores.tables.oauth_clients[CLIENT]
    assert (stored.client_id, stored.issuer, stored.revision) == (
        "crm-at-op",
        "https://op.example",
        1,
    )
    assert await credential(house) == CLIENT_SECRET
    (record,) = house.records(AuditAction.OAUTH_CLIENT_PUT)
    assert record.detail["credential_version"] == "1"
    rows = repr(house.stores.tables.oauth_clients) + repr(house.stores.records)
    assert CLIENT_SECRET not in rows


async def test_replace(house: House) -> None:
    """Another credential is the next version; without one the stored one stays."""
    changed = await put(house)
    assert (changed.revision, changed.credential_version) == (2, 2)
    assert changed.auth_method is ClientAuthMethod.CLIENT_SECRET_POST
    assert await credential(house) == "another secret"
    kept = await put(house, secret=None, scopes=("files",))
    assert (kept.revision, kept.credential_version, kept.scopes) == (3, 2, ("files",))
    assert await credential(house) == "another secret"


async def test_registration_cannot_change(house: House) -> None:
    """Provider and client_id of an existing OAuthClient stay: grants hang on them."""
    other = ProviderName(TENANT, "other")
    await house.providers.put(house.call(), other, a_profile(issuer="https://other.example"))
    await refused(Reason.FIELD_MALFORMED, put(house, client_id="else"))
    await refused(Reason.FIELD_MALFORMED, put(house, provider=other))


NEW = OAuthClientName(TENANT, "new")


async def test_new_one_without_a_secret_is_public(house: House) -> None:
    """A new OAuthClient without a secret is a public client, whatever method was asked, and the
    record says so."""
    stored = await put(house, NEW, secret=None, client_id="new")
    assert stored.auth_method is ClientAuthMethod.NONE
    opened = (await house.credentials.open(NEW)).credential
    assert (opened.auth_method, len(opened.client_secret)) == (ClientAuthMethod.NONE, 0)
    record = house.records(AuditAction.OAUTH_CLIENT_PUT)[-1]
    assert record.detail["auth_method"] == "NONE"


async def test_public_client_stays_public(house: House) -> None:
    """An update of a public client without a secret changes neither its method nor its version."""
    await put(house, NEW, secret=None, client_id="new", auth_method=ClientAuthMethod.NONE)
    for method in ClientAuthMethod:
        stored = await put(house, NEW, secret=None, client_id="new", auth_method=method)
        assert (stored.auth_method, stored.credential_version) == (ClientAuthMethod.NONE, 1)


async def test_public_client_gets_a_secret(house: House) -> None:
    """A secret with a method that takes one makes a public client a confidential one."""
    await put(house, NEW, secret=None, client_id="new")
    stored = await put(house, NEW, secret="s", client_id="new")
    assert stored.auth_method is ClientAuthMethod.CLIENT_SECRET_POST
    assert (await house.credentials.open(NEW)).credential.client_secret.reveal() == b"s"


async def test_nothing_becomes_public_silently(house: House) -> None:
    """An OAuthClient with a secret loses it only where NONE is asked by name."""
    for method in (ClientAuthMethod.CLIENT_SECRET_BASIC, ClientAuthMethod.CLIENT_SECRET_POST):
        kept = await put(house, secret=None, auth_method=method)
        assert (kept.auth_method, kept.is_public) == (method, False)
        assert await credential(house) == CLIENT_SECRET
    public = await put(house, secret=None, auth_method=ClientAuthMethod.NONE)
    assert (public.is_public, await credential(house)) == (True, "")


async def test_becoming_public_retires_every_secret(house: House) -> None:
    """No overlapping secret survives that an OAuthClient becomes public."""
    await house.client_credentials.add(house.call(), CLIENT, Sensitive.from_text("second"))
    await put(house, secret=None, auth_method=ClientAuthMethod.NONE)
    stored = await house.stores.oauth_clients.get(CLIENT)
    assert stored is not None
    assert await house.stores.oauth_clients.older_credential(stored) is None


async def test_public_client_takes_no_secret(house: House) -> None:
    """NONE with a secret is refused: one of the two is a mistake."""
    error = await refused(
        Reason.FIELD_MALFORMED, put(house, secret="s", auth_method=ClientAuthMethod.NONE)
    )
    assert error.metadata == {"field": "client_secret"}


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (ClientAuthMethod.CLIENT_SECRET_POST, "client_secret"),
        (ClientAuthMethod.NONE, "auth_method"),
    ],
)
async def test_public_where_the_provider_wants_secrets(
    house: House, asked: ClientAuthMethod, field: str
) -> None:
    """Where a provider's methods are named without NONE, no public client can be made."""
    methods = (ClientAuthMethod.CLIENT_SECRET_BASIC, ClientAuthMethod.CLIENT_SECRET_POST)
    await house.providers.put(house.call(), PROVIDER, a_profile(auth_methods=methods))
    error = await refused(
        Reason.FIELD_MALFORMED, put(house, NEW, secret=None, client_id="new", auth_method=asked)
    )
    assert error.metadata == {"field": field}


async def test_secrets_of_a_public_client(house: House) -> None:
    """Adding and retiring say that a public client has no secret."""
    await put(house, secret=None, auth_method=ClientAuthMethod.NONE)
    secret = Sensitive.from_text("s")
    added = await refused(
        Reason.FIELD_MALFORMED, house.client_credentials.add(house.call(), CLIENT, secret)
    )
    retired = await refused(
        Reason.CREDENTIAL_NOT_FOUND, house.client_credentials.retire(house.call(), CLIENT, 2)
    )
    assert "public client" in added.message
    assert "public client" in retired.message


async def test_token_parameters(house: House) -> None:
    """Token parameters are kept, replaced as a whole, and go with the opened credential."""
    params = {"audience": "https://api.example"}
    await put(house, token_params=params)
    assert (await house.credentials.open(CLIENT)).credential.token_params == params
    assert (await put(house)).token_params == {}


@pytest.mark.parametrize(
    "params",
    [{"client_secret": "x"}, {"CODE": "x"}, {"a b": "x"}, {"x": "y" * 257}, {"x": "a\0"}],
)
async def test_token_parameters_are_judged(house: House, params: dict[str, str]) -> None:
    """Parameters that the service sets, and names and values beyond their bounds, are refused."""
    error = await refused(Reason.FIELD_MALFORMED, put(house, token_params=params))
    assert error.metadata == {"field": "token_params"}
    assert error.message.startswith("oauth_client.token_params")


async def test_credential_size(house: House) -> None:
    """A credential of 4 KiB fits, one byte more is PAYLOAD_TOO_LARGE."""
    await put(house, secret="x" * limits.CLIENT_SECRET_MAX_BYTES)
    await refused(
        Reason.PAYLOAD_TOO_LARGE, put(house, secret="x" * (limits.CLIENT_SECRET_MAX_BYTES + 1))
    )


async def test_one_client_id_once(house: House) -> None:
    """The same client_id at the same issuer is refused, in this tenant and in another."""
    await refused(Reason.CLIENT_ID_IN_USE, put(house, OAuthClientName(TENANT, "twin")))
    provider = ProviderName("beta", "op")
    await house.providers.put(house.call(), provider, a_profile())
    await refused(Reason.CLIENT_ID_IN_USE, put(house, OAuthClientName("beta", "twin"), provider))


async def test_providers_of_others(house: House) -> None:
    """The provider must exist, in the same tenant."""
    await refused(Reason.FIELD_MALFORMED, put(house, provider=ProviderName("beta", "op")))
    missing = ProviderName(TENANT, "missing")
    await refused(Reason.PROVIDER_NOT_FOUND, put(house, provider=missing))


@pytest.mark.parametrize(
    "uri",
    [
        "http://app.example/cb",
        "https://app.example/cb#",
        "https://app.example/cb#part",
        "https://user@app.example/cb",
        "https:///cb",
        "https://[::1/cb",
        "https://app.example/a b",
        "https://app.example/ä",
        "https://app.example/\n",
        "javascript:alert(1)",
        "app.example/cb",
        "",
        "https://app.example/" + "x" * limits.URI_MAX_CHARS,
    ],
)
async def test_bad_redirects(house: House, uri: str) -> None:
    """Redirect URIs are https (http on loopback only), without user, fragment or odd characters."""
    error = await refused(Reason.FIELD_MALFORMED, put(house, redirect_uris=(uri,)))
    assert error.metadata == {"field": "redirect_uris"}


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:8080/cb",
        "http://[::1]/cb",
        "http://localhost/cb",
        "https://app.example/cb?x=1",
    ],
)
async def test_good_redirects(house: House, uri: str) -> None:
    """Loopback may be plain http (RFC 8252); a query is part of the URI."""
    assert (await put(house, redirect_uris=(uri,))).redirect_uris == (uri,)


@pytest.mark.parametrize("count", [0, limits.REDIRECT_URIS_MAX_COUNT + 1])
async def test_redirect_count(house: House, count: int) -> None:
    """An OAuthClient has one to twenty redirect URIs."""
    uris = tuple(f"https://app.example/{n}" for n in range(count))
    await refused(Reason.FIELD_MALFORMED, put(house, redirect_uris=uris))


async def test_concurrent_changes(house: House) -> None:
    """Of two changes that read the same revision one wins and the other is ETAG_MISMATCH."""
    ended = await asyncio.gather(*(put(house) for _ in range(2)), return_exceptions=True)
    lost = [end for end in ended if isinstance(end, Exception)]
    assert [getattr(end, "reason", None) for end in lost] == [Reason.ETAG_MISMATCH]
    assert house.stores.tables.oauth_clients[CLIENT].revision == 2


async def test_keys_away(house: House) -> None:
    """Without keys nothing is stored."""
    other = House.beside(house)
    other.wrapper.unreachable = True
    await refused(Reason.KEK_UNREACHABLE, put(other))
    assert house.stores.tables.oauth_clients[CLIENT].revision == 1


async def test_list(house: House) -> None:
    """OAuthClients come by id, to those who may list them."""
    await put(house, OAuthClientName(TENANT, "abc"), client_id="abc")
    page = await house.clients.list(house.call(), TENANT, 50, "")
    assert [client.name.oauth_client for client in page.items] == ["abc", "crm"]
    house.policy.allowed.discard((APP, Permission.LIST_OAUTH_CLIENTS))
    await refused(Reason.CALLER_NOT_ALLOWED, house.clients.list(house.call(), TENANT, 50, ""))


async def test_permission(house: House) -> None:
    """The policy sees OAuthClient and provider, and is asked before the provider is looked up."""
    house.policy.allowed.discard((APP, Permission.PUT_OAUTH_CLIENT))
    await refused(Reason.CALLER_NOT_ALLOWED, put(house, provider=ProviderName(TENANT, "missing")))
    resource = house.policy.asked[-1][2]
    assert (resource.id, resource.provider, resource.oauth_client) == (
        str(CLIENT),
        "missing",
        "crm",
    )
