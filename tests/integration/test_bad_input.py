"""Bad input of callers: each has its reason, its advice and its record, and loses nothing."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator

import pytest

import tokenvault_client as sdk
from tests.support.authserver import Answer, AuthServer
from tests.support.oidc import REDIRECT_URI
from tests.support.refusals import recorded_refusal, refusal
from tests.support.vault import RealVault
from vault_service.domain import limits
from vault_service.embedded.settings_files import TENANT

_PARENT = sdk.tenant_name(TENANT)
_owners = (f"input-{number}" for number in itertools.count(1))


@pytest.fixture(scope="module")
def provider(real_vault: RealVault) -> Iterator[AuthServer]:
    """A server that answers as it should."""
    with AuthServer(real_vault.ca) as server:
        yield server


@pytest.fixture(scope="module")
def port(real_vault: RealVault, provider: AuthServer) -> Iterator[int]:
    """One process."""
    yield real_vault.serve("bad-input", [provider.host_port])
    real_vault.stop_process("bad-input")


@pytest.fixture
async def operator(
    real_vault: RealVault, provider: AuthServer, port: int
) -> AsyncIterator[sdk.TokenVaultClient]:
    """The operator, who has registered the provider."""
    async with real_vault.client("operator", port) as client:
        await provider.register(client)
        yield client


@pytest.fixture
async def app(
    real_vault: RealVault, operator: sdk.TokenVaultClient, port: int
) -> AsyncIterator[sdk.TokenVaultClient]:
    """The application."""
    async with real_vault.client("calendar-app", port) as client:
        yield client


@pytest.fixture
async def auditor(real_vault: RealVault, port: int) -> AsyncIterator[sdk.TokenVaultClient]:
    """Who reads the record."""
    async with real_vault.client("auditor", port) as client:
        yield client


@pytest.fixture
def owner() -> str:
    """A new one for each test; also the user at the provider."""
    return next(_owners)


@pytest.mark.parametrize(
    ("name", "tenant"),
    [
        (f"tenants/{TENANT}/grants/not-a-uuid", TENANT),
        (f"tenants/{TENANT}/grants/018F0000-0000-7000-8000-00000000000A", TENANT),
        (f"tenants/{TENANT}/grants/018f0000-0000-7000-8000-000000000000/", TENANT),
        ("tenants/Demo/grants/018f0000-0000-7000-8000-000000000000", "-"),
        ("grants/1", "-"),
        ("", "-"),
        (f"tenants/{TENANT}/grants/\x1b[31m\n\u202e{'x' * 500}", TENANT),
        ("x" * 100_000, "-"),
    ],
    ids=[
        "no uuid", "second spelling", "trailing slash", "bad tenant", "no tenant", "empty",
        "control characters", "very long",
    ],
)  # fmt: skip
async def test_malformed_grant_name(
    app: sdk.TokenVaultClient, auditor: sdk.TokenVaultClient, name: str, tenant: str
) -> None:
    """A malformed name is NAME_MALFORMED with the shape that is wanted, on record escaped."""
    call = app.get_access_token(grant=name)
    error, record = await recorded_refusal(auditor, call, "NAME_MALFORMED", "expected", tenant)
    assert isinstance(error, sdk.InvalidArgument)
    assert len(error.message) < 300
    assert len(record.resource) <= limits.TEXT_MAX_CHARS
    assert (error.message + record.resource).isprintable()


async def test_malformed_names_of_other_resources(
    app: sdk.TokenVaultClient,
    operator: sdk.TokenVaultClient,
    auditor: sdk.TokenVaultClient,
    provider: AuthServer,
) -> None:
    """Aliases, secrets, OAuthClients, owners and providers are judged by the same strict rules."""
    calls = [
        app.get_access_token(alias=f"{_PARENT}/owners/a b/grantAliases/calendar"),
        app.get_secret_value(f"{_PARENT}/secrets/UPPER"),
        app.put_secret(f"{_PARENT}/owners/../secrets/key", b"x"),
        app.start_authorization(f"{_PARENT}/oauthClients/", owner="a", redirect_uri=REDIRECT_URI),
        provider.start(app, "slash/owner"),
        operator.revoke_grant(f"{_PARENT}/grants/1"),
    ]
    for call in calls:
        await recorded_refusal(auditor, call, "NAME_MALFORMED", "expected .*, got ")


async def test_unknown_tenant(app: sdk.TokenVaultClient, auditor: sdk.TokenVaultClient) -> None:
    """A tenant that a caller has no business in looks the same whether it exists or not; one that
    the policy allows and nobody made says how it is made. Both are on record."""
    name = "tenants/nowhere/grants/018f0000-0000-7000-8000-000000000000"
    call = app.get_access_token(grant=name)
    error, record = await recorded_refusal(
        auditor, call, "CALLER_NOT_ALLOWED", "security team", "nowhere"
    )
    assert (record.resource, record.outcome) == (name, sdk.AuditOutcome.DENY)
    assert record.caller == "spiffe://dev.tokenvault/calendar-app"
    assert error.metadata == {}, "the rule is in the record only"
    await recorded_refusal(
        auditor,
        auditor.list_grants("tenants/nowhere"),
        "TENANT_NOT_PROVISIONED",
        "tokenvault tenant create nowhere",
        "nowhere",
    )


async def test_payload_over_64_kib(
    app: sdk.TokenVaultClient, auditor: sdk.TokenVaultClient, owner: str
) -> None:
    """One byte too many, none at all, and more than a message holds: the value before stays."""
    name = sdk.secret_name(TENANT, "large", owner=owner)
    value = b"v" * limits.PAYLOAD_MAX_BYTES
    await app.put_secret(name, value)
    await recorded_refusal(
        auditor, app.put_secret(name, value + b"v"), "PAYLOAD_TOO_LARGE", "1 to 65536 bytes"
    )
    await recorded_refusal(auditor, app.put_secret(name, b""), "FIELD_MALFORMED", "1 to 65536")
    with pytest.raises(sdk.InvalidArgument, match="262144"):
        await app.put_secret(name, b"v" * limits.MESSAGE_MAX_BYTES)
    found = await app.get_secret_value(name)
    assert (found.value, found.secret_version.version) == (value, 1)


async def test_min_ttl_over_the_tokens_life(
    app: sdk.TokenVaultClient,
    auditor: sdk.TokenVaultClient,
    provider: AuthServer,
    owner: str,
) -> None:
    """What no refresh could reach is refused without asking the provider, and says the life."""
    alias = (await provider.consent(app, owner)).alias
    posts = len(provider.posts)
    error, _ = await recorded_refusal(
        auditor,
        app.get_access_token(alias=alias, min_ttl_s=541),
        "MIN_TTL_OUT_OF_RANGE",
        "at most 90 %",
    )
    assert error.metadata == {"access_life_s": "600"}
    for asked in (-1, limits.MIN_TTL_MAX_S + 1):
        await recorded_refusal(
            auditor,
            app.get_access_token(alias=alias, min_ttl_s=asked),
            "MIN_TTL_OUT_OF_RANGE",
            "0 to 86400 seconds",
        )
    assert (await app.get_access_token(alias=alias, min_ttl_s=540)).value
    assert len(provider.posts) == posts


async def test_malformed_scopes_and_scopes_that_were_not_given(
    app: sdk.TokenVaultClient,
    auditor: sdk.TokenVaultClient,
    provider: AuthServer,
    owner: str,
) -> None:
    """A scope with a blank is malformed; one that the grant lacks asks for consent."""
    alias = (await provider.consent(app, owner)).alias
    call = app.get_access_token(alias=alias, scopes=["calendar mail"])
    await recorded_refusal(auditor, call, "SCOPE_MALFORMED", "one an entry")
    call = app.get_access_token(alias=alias, scopes=["mail"])
    error, _ = await recorded_refusal(auditor, call, "REAUTHORIZATION_REQUIRED", "consent")
    assert isinstance(error, sdk.ReauthorizationRequired)
    assert error.cause is sdk.ReauthorizationCause.SCOPES_MISSING
    assert (await app.get_access_token(alias=alias, scopes=["calendar"])).value


async def test_wrong_state(
    app: sdk.TokenVaultClient,
    operator: sdk.TokenVaultClient,
    auditor: sdk.TokenVaultClient,
    provider: AuthServer,
    owner: str,
) -> None:
    """A state that is unknown, another caller's or another owner's is one and the same refusal,
    which uses nothing up."""
    started = await provider.start(app, owner)
    posts = len(provider.posts)
    complete = provider.completion(started, owner)
    wrong = [
        app.complete_authorization(_PARENT, **(complete | {"state": "never-given"})),
        operator.complete_authorization(_PARENT, **complete),
        app.complete_authorization(_PARENT, **(complete | {"owner": "somebody-else"})),
    ]
    messages = set()
    for call in wrong:
        error, _ = await recorded_refusal(auditor, call, "STATE_UNKNOWN", "started no auth")
        messages.add(error.message)
    assert len(messages) == 1
    assert len(provider.posts) == posts, "no code was spent"
    assert (await app.complete_authorization(_PARENT, **complete)).grant.owner == owner


async def test_replayed_code(
    real_vault: RealVault,
    app: sdk.TokenVaultClient,
    auditor: sdk.TokenVaultClient,
    provider: AuthServer,
    owner: str,
) -> None:
    """The same completion has the same answer for ten minutes, side by side too; another code for
    the state is refused; the provider is asked once."""
    started = await provider.start(app, owner)
    complete = provider.completion(started, owner)
    posts = len(provider.posts)
    answers = await asyncio.gather(
        *(app.complete_authorization(_PARENT, **complete) for _ in range(8))
    )
    assert len({(answer.grant.name, answer.alias) for answer in answers}) == 1
    other = app.complete_authorization(_PARENT, **(complete | {"code": f"{owner}.2"}))
    await recorded_refusal(auditor, other, "AUTHORIZATION_CODE_USED", "consent again")
    await asyncio.to_thread(
        real_vault.sql,
        "UPDATE tokenvault.authorizations SET claim_time = claim_time - interval '601 s'"
        f" WHERE owner = '{owner}'",
    )
    late = app.complete_authorization(_PARENT, **complete)
    await recorded_refusal(auditor, late, "AUTHORIZATION_CODE_USED", "consent again")
    assert len(provider.posts) == posts + 1
    assert (await app.get_access_token(alias=answers[0].alias)).value


async def test_code_that_the_provider_refuses(
    app: sdk.TokenVaultClient,
    auditor: sdk.TokenVaultClient,
    provider: AuthServer,
    owner: str,
) -> None:
    """An expired or used code asks for consent again; a grant that was there before is unharmed."""
    completed = await provider.consent(app, owner)
    started = await provider.start(app, owner)
    provider.script(Answer.json({"error": "invalid_grant"}, 400))
    call = app.complete_authorization(
        _PARENT, state=started.state, code=f"{owner}.old", owner=owner
    )
    _, record = await recorded_refusal(
        auditor, call, "AUTHORIZATION_CODE_EXPIRED", "ask for consent again"
    )
    assert record.detail["provider_error"] == "invalid_grant"
    assert (await app.get_access_token(alias=completed.alias)).value
    again = await provider.consent(app, owner)
    assert again.grant.name == completed.grant.name


async def test_state_that_is_too_old(
    real_vault: RealVault,
    app: sdk.TokenVaultClient,
    auditor: sdk.TokenVaultClient,
    provider: AuthServer,
    owner: str,
) -> None:
    """A callback after ten minutes is STATE_EXPIRED, and its code goes nowhere."""
    started = await provider.start(app, owner)
    await asyncio.to_thread(
        real_vault.sql,
        "UPDATE tokenvault.authorizations SET expire_time = clock_timestamp()"
        f" WHERE owner = '{owner}'",
    )
    posts = len(provider.posts)
    call = app.complete_authorization(_PARENT, state=started.state, code=f"{owner}.1", owner=owner)
    await recorded_refusal(auditor, call, "STATE_EXPIRED", "start a new authorization")
    assert len(provider.posts) == posts


async def test_other_redirect_uri(
    app: sdk.TokenVaultClient,
    auditor: sdk.TokenVaultClient,
    provider: AuthServer,
    owner: str,
) -> None:
    """It must be registered at the start and be the same at the end, character by character."""
    unregistered = provider.start(app, owner, redirect_uri=f"{REDIRECT_URI}/")
    await recorded_refusal(auditor, unregistered, "REDIRECT_URI_NOT_REGISTERED", "by character")
    started = await provider.start(app, owner)
    complete = provider.completion(started, owner)
    posts = len(provider.posts)
    call = app.complete_authorization(
        _PARENT, **complete, redirect_uri="https://evil.example/callback"
    )
    await recorded_refusal(auditor, call, "REDIRECT_URI_MISMATCH", "arrived elsewhere")
    assert len(provider.posts) == posts
    await app.complete_authorization(_PARENT, **complete, redirect_uri=REDIRECT_URI)


async def test_callback_of_another_issuer_or_with_an_error(
    app: sdk.TokenVaultClient,
    auditor: sdk.TokenVaultClient,
    provider: AuthServer,
    owner: str,
) -> None:
    """A foreign iss spends no code (RFC 9207) and ends nothing; an error callback says what the
    provider said, however often it comes, and so does a code that comes with its state later."""
    started, denied = [await provider.start(app, owner) for _ in range(2)]
    complete = provider.completion(started, owner)
    posts = len(provider.posts)
    for error in ("", "access_denied"):
        iss = "https://evil.example"
        call = app.complete_authorization(_PARENT, **complete, error=error, iss=iss)
        await recorded_refusal(auditor, call, "ISSUER_MISMATCH", "do not use the code")
    for error in ("access_denied", "access_denied", ""):
        callback = provider.completion(denied, owner)
        call = app.complete_authorization(_PARENT, **callback, error=error)
        refused, _ = await recorded_refusal(auditor, call, "AUTHORIZATION_DENIED", "see metadata")
        assert refused.metadata == {"error": "access_denied"}
    assert len(provider.posts) == posts
    await app.complete_authorization(_PARENT, **complete, iss=provider.issuer)


async def test_what_does_not_exist(
    app: sdk.TokenVaultClient, operator: sdk.TokenVaultClient, auditor: sdk.TokenVaultClient
) -> None:
    """Grants, aliases, secrets, OAuthClients and providers that are not there are NOT_FOUND."""
    nobody = f"{_PARENT}/grants/018f0000-0000-7000-8000-000000000000"
    client = sdk.OAuthClient(
        name=sdk.oauth_client_name(TENANT, "orphan"),
        provider=sdk.provider_name(TENANT, "nobody"),
        client_id="x",
        redirect_uris=(REDIRECT_URI,),
    )
    calls = {
        "GRANT_NOT_FOUND": app.get_access_token(grant=nobody),
        "SECRET_NOT_FOUND": app.get_secret_value(sdk.secret_name(TENANT, "nothing")),
        "OAUTH_CLIENT_NOT_FOUND": app.start_authorization(
            sdk.oauth_client_name(TENANT, "nobody"), owner="a", redirect_uri=REDIRECT_URI
        ),
        "PROVIDER_NOT_FOUND": operator.put_oauth_client(client, client_secret="x"),
    }
    for reason, call in calls.items():
        error, _ = await recorded_refusal(auditor, call, reason, "no such")
        assert isinstance(error, sdk.NotFound)


async def test_deadline_that_is_too_short(
    app: sdk.TokenVaultClient, provider: AuthServer, owner: str
) -> None:
    """Less than 100 ms of budget is refused before anything is done."""
    alias = (await provider.consent(app, owner)).alias
    with pytest.raises(sdk.DeadlineExceeded):
        await app.get_access_token(alias=alias, timeout_s=0.05)
    assert (await app.get_access_token(alias=alias)).value


async def test_denied_caller(
    real_vault: RealVault,
    app: sdk.TokenVaultClient,
    auditor: sdk.TokenVaultClient,
    provider: AuthServer,
    port: int,
    owner: str,
) -> None:
    """Who has no rule learns nothing about what exists."""
    grant = (await provider.consent(app, owner)).grant.name
    async with real_vault.client("thief", port) as thief:
        answers = [
            await refusal(thief.get_access_token(grant=name), "CALLER_NOT_ALLOWED", "rule")
            for name in (grant, f"{_PARENT}/grants/018f0000-0000-7000-8000-000000000000")
        ]
        _, record = await recorded_refusal(
            auditor, thief.get_access_token(grant=grant), "CALLER_NOT_ALLOWED", "rule"
        )
    assert len({(answer.message, str(answer.metadata)) for answer in answers}) == 1
    assert record.detail["policy_rule"] == "default-deny"
    assert record.outcome is sdk.AuditOutcome.DENY
