"""A provider that is down or answers nonsense: a reason, a record, and nothing lost."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

import tokenvault_client as sdk
from tests.fakes.token_endpoint import an_id_token
from tests.support.authserver import CLIENT_ID, CLIENT_SECRET, Answer, AuthServer, Cut
from tests.support.authserver import Fault as ServerFault
from tests.support.refusals import ONCE_S, record_of, recorded_refusal, refusal
from tests.support.vault import RealVault
from vault_service.embedded.settings_files import TENANT

_PARENT = sdk.tenant_name(TENANT)
_owners = (f"answer-{number}" for number in itertools.count(1))


@pytest.fixture(scope="module")
def provider(real_vault: RealVault) -> Iterator[AuthServer]:
    """A server that answers as the test says."""
    with AuthServer(real_vault.ca) as server:
        yield server


@pytest.fixture(scope="module")
def port(real_vault: RealVault, provider: AuthServer) -> Iterator[int]:
    """One process."""
    yield real_vault.serve("bad-provider", [provider.host_port])
    real_vault.stop_process("bad-provider")


@pytest.fixture
async def app(
    real_vault: RealVault, provider: AuthServer, port: int
) -> AsyncIterator[sdk.TokenVaultClient]:
    """The application, once the operator has registered the provider."""
    async with real_vault.client("operator", port) as operator:
        await provider.register(operator)
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


@dataclass(frozen=True)
class Fault:
    """A bad answer, what callers are told, and what the record knows."""

    answer: Answer | ServerFault
    reason: str
    says: str
    answer_class: str
    status: str


_SECRETS = (CLIENT_SECRET, "rt-", "at-")
_FAULTS = {
    "HTML in a 200": Fault(Answer.html(), "REFRESH_IN_DOUBT", "kept", "UNREADABLE_SUCCESS", "200"),
    "HTML in a 502": Fault(Answer.html(502), "REFRESH_IN_DOUBT", "try again", "IN_DOUBT", "502"),
    "500": Fault(
        Answer.json({"error": "invalid_grant"}, 500),
        "REFRESH_IN_DOUBT",
        "try again",
        "IN_DOUBT",
        "500",
    ),
    "error in a 200": Fault(
        Answer.json({"error": "temporarily_unavailable"}),
        "PROVIDER_UNAVAILABLE",
        "nothing is lost",
        "PROVIDER_FAULT",
        "200",
    ),
    "ok false in a 200": Fault(
        Answer.json({"ok": False, "error": "ratelimited"}),
        "PROVIDER_RATE_LIMITED",
        "after the delay",
        "RATE_LIMITED",
        "200",
    ),
    "429": Fault(
        Answer.json({"error": "slow_down"}, 429, Retry_After="7"),
        "PROVIDER_RATE_LIMITED",
        "after the delay",
        "RATE_LIMITED",
        "429",
    ),
    "no access token": Fault(
        Answer.json({"token_type": "Bearer"}),
        "REFRESH_IN_DOUBT",
        "kept",
        "UNREADABLE_SUCCESS",
        "200",
    ),
    "empty": Fault(Answer(), "REFRESH_IN_DOUBT", "kept", "UNREADABLE_SUCCESS", "200"),
    "longer than the bound": Fault(
        Answer.oversized(),
        "REFRESH_IN_DOUBT",
        "kept",
        "UNREADABLE_SUCCESS",
        "200",
    ),
    "a redirect": Fault(
        Answer(status=307, headers={"Location": "https://169.254.169.254/"}),
        "PROVIDER_UNAVAILABLE",
        "nothing is lost",
        "PROVIDER_FAULT",
        "307",
    ),
    "invalid_client": Fault(
        Answer.json({"error": "invalid_client"}, 401),
        "CLIENT_MISCONFIGURED",
        "platform team checks the OAuthClient",
        "CLIENT_REFUSED",
        "401",
    ),
    "another error": Fault(
        Answer.json({"error": "invalid_scope"}, 400),
        "CLIENT_MISCONFIGURED",
        "platform team",
        "REQUEST_REFUSED",
        "400",
    ),
    "reset": Fault(
        ServerFault(cut=Cut.BEFORE_COMMIT), "REFRESH_IN_DOUBT", "try again", "IN_DOUBT", ""
    ),
}


@pytest.mark.parametrize("fault", _FAULTS.values(), ids=_FAULTS.keys())
async def test_bad_answer_to_a_refresh(
    real_vault: RealVault,
    app: sdk.TokenVaultClient,
    auditor: sdk.TokenVaultClient,
    provider: AuthServer,
    owner: str,
    fault: Fault,
) -> None:
    """The caller gets the reason, the record has the provider's status and no secret, and the next
    good answer serves the same grant by the same refresh token; after a 2xx nobody presents it."""
    completed = await provider.consent(app, owner, life_s=0)
    provider.script(fault.answer)
    before = len(provider.sent("refresh_token"))
    call = app.get_access_token(alias=completed.alias, timeout_s=ONCE_S)
    error, refused = await recorded_refusal(auditor, call, fault.reason, fault.says)
    records = (await auditor.list_audit_records(_PARENT, page_size=20)).items
    (failed,) = [
        record
        for record in records
        if record.action == "GRANT_REFRESH_FAILED" and record.request_id == error.request_id
    ]
    assert failed.resource == completed.grant.name
    assert failed.detail["provider_answer"] == fault.answer_class
    assert failed.detail.get("provider_status", "") == fault.status
    said = f"{error} {error.metadata} {failed.detail} {refused.detail}"
    assert not any(secret in said for secret in _SECRETS)
    assert (await app.get_grant(completed.grant.name)).state is sdk.GrantState.ACTIVE

    await asyncio.to_thread(real_vault.let_pass, 60)
    if fault.answer_class == "UNREADABLE_SUCCESS":
        call = app.get_access_token(alias=completed.alias, timeout_s=ONCE_S)
        waiting = await refusal(call, "REFRESH_IN_DOUBT", "kept")
        assert waiting.metadata["waits_for"] == "PROFILE"
        assert len(provider.sent("refresh_token")) == before + 1
        return
    token = await app.get_access_token(alias=completed.alias)
    assert token.grant == completed.grant.name
    posts = provider.sent("refresh_token")[before:]
    assert len(posts) == 2
    assert posts[0].fields["refresh_token"] == posts[1].fields["refresh_token"]


async def test_retry_after_of_the_provider_reaches_the_caller(
    app: sdk.TokenVaultClient, provider: AuthServer, owner: str
) -> None:
    """What a 429 says of its delay is the RetryInfo of the refusal."""
    completed = await provider.consent(app, owner, life_s=0)
    provider.script(Answer.json({}, 429, Retry_After="7"))
    error = await refusal(
        app.get_access_token(alias=completed.alias, timeout_s=5), "PROVIDER_RATE_LIMITED", "delay"
    )
    assert error.retry_after_s == 7


async def test_client_retries_what_may_be_retried(
    app: sdk.TokenVaultClient, provider: AuthServer, owner: str
) -> None:
    """A caller with time left does not notice one bad answer that used nothing up."""
    completed = await provider.consent(app, owner, life_s=0)
    provider.script(Answer.html(404))
    assert (await app.get_access_token(alias=completed.alias)).refreshed


async def test_invalid_grant_in_a_200_asks_for_consent(
    real_vault: RealVault,
    port: int,
    app: sdk.TokenVaultClient,
    auditor: sdk.TokenVaultClient,
    provider: AuthServer,
    owner: str,
) -> None:
    """GitHub's bad_refresh_token comes in a 200; repeated a minute later it asks for consent, and a
    new consent brings the same grant back."""
    in_200 = sdk.ErrorIn200(codes={"bad_refresh_token": sdk.AnswerClass.INVALID_GRANT})
    async with real_vault.client("operator", port) as operator:
        await provider.register(operator, error_in_200=in_200)
    completed = await provider.consent(app, owner, life_s=0)
    provider.script(*[Answer.json({"error": "bad_refresh_token"})] * 2)
    call = app.get_access_token(alias=completed.alias, timeout_s=ONCE_S)
    await recorded_refusal(auditor, call, "REFRESH_IN_DOUBT", "asked once more")
    await asyncio.to_thread(real_vault.let_pass, 61)
    call = app.get_access_token(alias=completed.alias)
    error, _ = await recorded_refusal(auditor, call, "REAUTHORIZATION_REQUIRED", "consent again")
    assert isinstance(error, sdk.ReauthorizationRequired)
    assert error.cause is sdk.ReauthorizationCause.REVOKED_BY_OWNER
    again = await provider.consent(app, owner)
    assert again.grant.name == completed.grant.name
    assert (await app.get_access_token(alias=completed.alias)).value


async def test_provider_down(
    app: sdk.TokenVaultClient,
    auditor: sdk.TokenVaultClient,
    provider: AuthServer,
    owner: str,
) -> None:
    """Nothing listens: fresh tokens are served on, a refresh and a consent say so and work when
    the provider is back."""
    fresh = await provider.consent(app, f"{owner}-fresh")
    stale = await provider.consent(app, owner, life_s=0)
    started = await provider.start(app, f"{owner}-new")
    complete = provider.completion(started, f"{owner}-new")
    provider.down()
    try:
        assert not (await app.get_access_token(alias=fresh.alias)).refreshed
        for call in (
            app.get_access_token(alias=stale.alias, timeout_s=ONCE_S),
            app.complete_authorization(_PARENT, **complete, timeout_s=ONCE_S),
        ):
            _, record = await recorded_refusal(auditor, call, "PROVIDER_UNAVAILABLE", "try again")
            assert record.detail["provider_answer"] == "NOT_SENT"
    finally:
        provider.up()
    assert (await app.get_access_token(alias=stale.alias)).grant == stale.grant.name
    assert (await app.complete_authorization(_PARENT, **complete)).grant.owner == f"{owner}-new"


@pytest.mark.parametrize("fault", ["429", "invalid_client"])
async def test_bad_answer_that_leaves_the_code(
    app: sdk.TokenVaultClient,
    auditor: sdk.TokenVaultClient,
    provider: AuthServer,
    owner: str,
    fault: str,
) -> None:
    """What surely did not look at the code uses it not up: the same completion works at the next
    good answer."""
    started = await provider.start(app, owner)
    complete = provider.completion(started, owner)
    provider.script(_FAULTS[fault].answer)
    call = app.complete_authorization(_PARENT, **complete, timeout_s=ONCE_S)
    await recorded_refusal(auditor, call, _FAULTS[fault].reason, "platform team|after the delay")
    completed = await app.complete_authorization(_PARENT, **complete)
    assert (await app.get_access_token(alias=completed.alias)).value


@pytest.mark.parametrize("fault", ["HTML in a 200", "500", "a redirect", "empty", "reset"])
async def test_bad_answer_spends_the_code(
    app: sdk.TokenVaultClient,
    auditor: sdk.TokenVaultClient,
    provider: AuthServer,
    owner: str,
    fault: str,
) -> None:
    """What may have taken the code ends the state: neither the client by itself nor a second
    completion presents it again."""
    started = await provider.start(app, owner)
    complete = provider.completion(started, owner)
    before = len(provider.sent("authorization_code"))
    provider.script(_FAULTS[fault].answer)
    for _ in range(2):
        call = app.complete_authorization(_PARENT, **complete)
        error, _record = await recorded_refusal(
            auditor, call, "AUTHORIZATION_CODE_USED", "start a new authorization"
        )
        assert isinstance(error, sdk.AuthorizationFailed)
        assert error.retry_after_s is None
    assert len(provider.sent("authorization_code")) == before + 1


async def test_id_token_of_another_issuer(
    real_vault: RealVault,
    port: int,
    app: sdk.TokenVaultClient,
    auditor: sdk.TokenVaultClient,
    provider: AuthServer,
    owner: str,
) -> None:
    """An id_token whose issuer has a slash too many: one POST by a client that retries, a refusal
    that names both issuers, and the tokens revoked at the provider, on record."""
    async with real_vault.client("operator", port) as operator:
        await provider.register(
            operator,
            subject_from="id_token:sub",
            revocation_endpoint=f"{provider.issuer}/revoke",
        )
    claims = {"iss": f"{provider.issuer}/", "aud": CLIENT_ID, "sub": "s", "exp": 4_102_444_800}
    tokens = {"access_token": "at-foreign", "refresh_token": "rt-foreign", "expires_in": 60}
    started = await provider.start(app, owner)
    complete = provider.completion(started, owner)
    before = len(provider.sent("authorization_code"))
    provider.script(Answer.json(tokens | {"id_token": an_id_token(claims)}))
    call = app.complete_authorization(_PARENT, **complete)
    error, record = await recorded_refusal(auditor, call, "ID_TOKEN_REFUSED", "another issuer")
    assert isinstance(error, sdk.AuthorizationFailed)
    assert error.metadata == {
        "what": "ISSUER",
        "expected": provider.issuer,
        "came": f"{provider.issuer}/",
    }
    assert len(provider.sent("authorization_code")) == before + 1
    assert [entry.fields["token"] for entry in provider.sent("revoke")] == ["rt-foreign"]
    records = (await auditor.list_audit_records(_PARENT, page_size=20)).items
    assert {"AUTHORIZATION_ENDED", "PROVIDER_REVOCATION_DONE"} <= {each.action for each in records}
    said = f"{error} {error.metadata} {[each.detail for each in records]}"
    assert not any(secret in said for secret in _SECRETS)
    assert record.reason == "ID_TOKEN_REFUSED"


async def test_refused_refresh_token_is_not_revived(
    real_vault: RealVault, port: int, app: sdk.TokenVaultClient, provider: AuthServer, owner: str
) -> None:
    """A consent that brings no refresh token does not take up the one that was refused: the reply
    says so, and the end of its access token is NO_REFRESH_TOKEN."""
    async with real_vault.client("operator", port) as operator:
        await provider.register(operator, refresh_class=sdk.RefreshClass.N)
    first = await provider.consent(app, owner, life_s=0)
    assert not first.not_refreshable
    before = len(provider.sent("refresh_token"))
    provider.script(Answer.json({"error": "invalid_grant"}, 400))
    await refusal(
        app.get_access_token(alias=first.alias), "REAUTHORIZATION_REQUIRED", "consent again"
    )
    provider.script(Answer.json({"access_token": "at-9", "expires_in": 1, "user": owner}))
    again = await provider.consent(app, owner)
    assert (again.grant.name, again.not_refreshable) == (first.grant.name, True)
    await asyncio.sleep(1.1)  # the life of its access token
    await refusal(app.get_access_token(alias=first.alias), "NO_REFRESH_TOKEN", "offline")
    assert len(provider.sent("refresh_token")) == before + 1


async def test_answer_slower_than_the_caller(
    app: sdk.TokenVaultClient,
    auditor: sdk.TokenVaultClient,
    provider: AuthServer,
    owner: str,
) -> None:
    """A caller whose time is up, or who hangs up, ends no refresh: its token is there later."""
    completed = await provider.consent(app, owner, life_s=0)
    before = len(provider.sent("refresh_token"))
    with provider.held():
        hung_up = asyncio.create_task(app.get_access_token(alias=completed.alias))
        while len(provider.sent("refresh_token")) == before:
            await asyncio.sleep(0.01)
        hung_up.cancel()
        # The service answers just before the deadline; without its answer gRPC's own comes.
        with pytest.raises((sdk.TryLater, sdk.DeadlineExceeded)) as late:
            await app.get_access_token(alias=completed.alias, timeout_s=0.4)
        if late.value.reason:
            assert late.value.reason == "REFRESH_IN_PROGRESS"
            assert (await record_of(auditor, late.value)).resource == completed.alias
    token = await app.get_access_token(alias=completed.alias)
    assert token.grant == completed.grant.name
    assert len(provider.sent("refresh_token")) == before + 1
