"""StartAuthorization and CompleteAuthorization: what a state is bound to, one code one exchange."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.fakes.token_endpoint import an_answer
from tests.support.house import (
    APP,
    CLIENT,
    OTHER,
    REDIRECT_URI,
    ROGUE,
    TENANT,
    House,
    refused,
)
from vault_service.domain import limits
from vault_service.domain.access import Permission
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import GrantState
from vault_service.domain.names import OAuthClientName
from vault_service.domain.sensitive import Sensitive
from vault_service.usecases.start_authorization import AuthorizationRequest


@pytest.fixture
async def house() -> House:
    house = House()
    await house.register()
    return house


def asked(url: str) -> dict[str, str]:
    """The parameters of an authorization URL."""
    return dict(parse_qsl(urlsplit(url).query, strict_parsing=True))


async def test_authorization_url(house: House) -> None:
    """The URL asks for a code with PKCE S256, our exact redirect URI, the scopes and a nonce."""
    started = await house.started()
    parameters = asked(started.url)
    assert started.url.startswith("https://op.example/auth?")
    assert parameters.pop("state") == started.state
    assert len(parameters.pop("code_challenge")) == 43
    assert len(parameters.pop("nonce")) == 43
    assert parameters == {
        "response_type": "code",
        "client_id": "crm-at-op",
        "redirect_uri": REDIRECT_URI,
        "code_challenge_method": "S256",
        "scope": "openid mail",
    }
    assert (started.expire_time - house.clock.now()).total_seconds() == limits.AUTHORIZATION_LIFE_S


async def test_profile_shapes_the_url() -> None:
    """The endpoint's own query, the profile's parameters and its scope separator are kept."""
    house = House()
    await house.register(
        authorization_endpoint="https://op.example/auth?realm=eu&state=fixed",
        authorization_params={"access_type": "offline"},
        scope_separator=",",
    )
    started = await house.started(scopes=("mail", "files"))
    parameters = asked(started.url)
    assert (parameters["realm"], parameters["access_type"]) == ("eu", "offline")
    assert parameters["scope"] == "mail,files"
    assert parameters["state"] == started.state
    assert "nonce" not in parameters


async def test_verifier_stays_here(house: House) -> None:
    """The exchange brings the verifier of the challenge; neither it nor the state is stored."""
    started = await house.started()
    rows = repr(house.stores.tables.authorizations) + repr(house.stores.records)
    await house.complete(house.call(), house.callback(started))
    (posted,) = house.endpoint.posted("exchange_code")
    digest = hashlib.sha256(posted.verifier.encode()).digest()
    parameters = asked(started.url)
    assert parameters["code_challenge"] == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    assert (posted.code, posted.redirect_uri) == ("code-1", REDIRECT_URI)
    assert posted.verifier not in rows + started.url
    assert started.state not in rows


async def test_no_two_states(house: House) -> None:
    """Every start has a state, a nonce and a challenge of its own."""
    urls = [asked((await house.started()).url) for _ in range(20)]
    for name in ("state", "nonce", "code_challenge"):
        assert len({url[name] for url in urls}) == 20


async def test_start_refusals(house: House) -> None:
    """Another redirect URI and an OAuthClient that is not there are refused before anything."""
    for uri in (REDIRECT_URI + "/", REDIRECT_URI.upper(), "https://evil.example/cb"):
        request = AuthorizationRequest(CLIENT, "u-1", uri, (), "")
        await refused(Reason.REDIRECT_URI_NOT_REGISTERED, house.start(house.call(), request))
    request = AuthorizationRequest(OAuthClientName(TENANT, "nope"), "u-1", REDIRECT_URI, (), "")
    await refused(Reason.OAUTH_CLIENT_NOT_FOUND, house.start(house.call(), request))
    assert house.stores.tables.authorizations == {}


async def test_policy_sees_what_is_asked(house: House) -> None:
    """Start and completion are judged by owner, label, provider, OAuthClient and scopes."""
    started = await house.started(label="work", scopes=("mail",))
    await house.complete(house.call(), house.callback(started))
    for permission in (Permission.START_AUTHORIZATION, Permission.COMPLETE_AUTHORIZATION):
        (resource,) = [r for _, p, r in house.policy.asked if p is permission]
        assert resource.id == f"tenants/{TENANT}/owners/u-1/grantAliases/work"
        assert (resource.owner, resource.label) == ("u-1", "work")
        assert (resource.provider, resource.oauth_client) == ("op", "crm")
        assert resource.scopes == {"mail"}


async def test_policy_sees_the_default_scopes(house: House) -> None:
    """Asking for no scopes is judged as asking for the OAuthClient's."""
    await house.started()
    assert house.policy.asked[-1][2].scopes == {"openid", "mail"}


async def test_denied_start_tells_nothing(house: House) -> None:
    """Who may not start here gets one answer, whether or not the OAuthClient exists."""
    house.policy.allowed.add((ROGUE, Permission.USE_TENANT))
    told = set()
    for name in ("crm", "nope"):
        request = AuthorizationRequest(OAuthClientName(TENANT, name), "u-1", REDIRECT_URI, (), "")
        error = await refused(Reason.CALLER_NOT_ALLOWED, house.start(house.call(ROGUE), request))
        told.add((error.message, tuple(error.metadata)))
    assert len(told) == 1


async def test_consent_becomes_a_grant(house: House) -> None:
    """A completion makes the grant with its pins, its alias and a record."""
    completed = await house.consent(label="work")
    grant = await house.row(completed.grant.name)
    assert str(completed.alias) == f"tenants/{TENANT}/owners/u-1/grantAliases/work"
    assert (grant.owner, grant.provider, grant.oauth_client) == ("u-1", "op", "crm")
    assert (grant.issuer, grant.token_endpoint) == (
        "https://op.example",
        "https://op.example/token",
    )
    assert (grant.subject, grant.state, grant.generation) == ("sub-1", GrantState.ACTIVE, 1)
    assert grant.scopes == ("openid", "mail")
    (record,) = house.records(AuditAction.AUTHORIZATION_COMPLETED)
    assert (record.resource, record.detail["owner"]) == (str(grant.name), "u-1")
    assert record.detail["reconnected"] == "false"
    assert (await house.token(completed.alias)).value.reveal() == b"at-1"


async def test_granted_scopes_are_the_truth(house: House) -> None:
    """Where the provider says what it granted, that counts and not what was asked."""
    house.endpoint.answers.append(an_answer(scopes=("mail",)))
    assert (await house.consent()).grant.scopes == ("mail",)


@pytest.mark.parametrize("wrong", ["caller", "owner", "tenant", "state"])
async def test_state_is_bound(house: House, wrong: str) -> None:
    """A state of another caller, owner or tenant is as unknown as one that never was."""
    started = await house.started()
    changes: dict[str, Any] = {
        "caller": {},
        "owner": {"owner": "u-2"},
        "tenant": {"tenant": "beta"},
        "state": {"state": started.state[:-1] + "_"},
    }[wrong]
    call = house.call(OTHER if wrong == "caller" else APP)
    error = await refused(
        Reason.STATE_UNKNOWN, house.complete(call, house.callback(started, **changes))
    )
    assert error.metadata == {}
    assert house.endpoint.ledger == []
    assert (await house.complete(house.call(), house.callback(started))).grant.generation == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"redirect_uri": "https://app.example/other"}, Reason.REDIRECT_URI_MISMATCH),
        ({"iss": "https://evil.example"}, Reason.ISSUER_MISMATCH),
        ({"iss": "https://op.example/"}, Reason.ISSUER_MISMATCH),
        ({"error": "temporarily_unavailable"}, Reason.AUTHORIZATION_DENIED),
        ({"error": "server_error", "code": Sensitive(b"")}, Reason.AUTHORIZATION_DENIED),
        ({"error": "x", "iss": "https://evil.example"}, Reason.ISSUER_MISMATCH),
    ],
)
async def test_refused_before_the_exchange(
    house: House, changes: dict[str, Any], reason: Reason
) -> None:
    """What does not fit is refused without a request, and uses nothing up."""
    started = await house.started()
    await refused(reason, house.complete(house.call(), house.callback(started, **changes)))
    assert house.endpoint.ledger == []
    good = house.callback(started, iss="https://op.example", redirect_uri="")
    assert (await house.complete(house.call(), good)).grant.state is GrantState.ACTIVE


@pytest.mark.parametrize("error", ["access_denied", "invalid_scope", "consent_required", "x"])
async def test_denial_ends_the_state(house: House, error: str) -> None:
    """After a final error of the callback no code is taken for its state: each later callback gets
    the answer of the first, and the end is on record once."""
    started = await house.started()
    denied = house.callback(started, error=error, code=Sensitive(b""))
    later = (denied, house.callback(started), house.callback(started, error="other"))
    for callback in (denied, *later):
        for process in (house, House.beside(house)):
            refusal = await refused(
                Reason.AUTHORIZATION_DENIED, process.complete(house.call(), callback)
            )
            assert refusal.metadata == {"error": error}
            assert not refusal.retryable
    assert house.endpoint.ledger == []
    (record,) = house.records(AuditAction.AUTHORIZATION_ENDED)
    assert (record.reason, record.detail["error"]) == ("AUTHORIZATION_DENIED", error)


async def test_denials_at_once(house: House) -> None:
    """One error callback delivered many times at once has one answer and one record."""
    started = await house.started()
    denied = house.callback(started, error="access_denied")
    houses = (house, House.beside(house))
    tasks = [each.complete(house.call(), denied) for each in houses for _ in range(3)]
    for refusal in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(refusal, VaultError)
        assert refusal.reason is Reason.AUTHORIZATION_DENIED
    assert len(house.records(AuditAction.AUTHORIZATION_ENDED)) == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"owner": "u-2"}, Reason.STATE_UNKNOWN),
        ({"iss": "https://evil.example"}, Reason.ISSUER_MISMATCH),
        ({"redirect_uri": "https://app.example/other"}, Reason.REDIRECT_URI_MISMATCH),
    ],
)
async def test_foreign_denial_ends_nothing(
    house: House, changes: dict[str, Any], reason: Reason
) -> None:
    """An error callback of another owner, issuer or place does not end the state."""
    started = await house.started()
    thief = house.callback(started, error="access_denied", **changes)
    await refused(reason, house.complete(house.call(), thief))
    other = house.callback(started, error="access_denied")
    await refused(Reason.STATE_UNKNOWN, house.complete(house.call(OTHER), other))
    assert (await house.complete(house.call(), house.callback(started))).grant.generation == 1


async def test_denial_after_a_code_ends_nothing(house: House) -> None:
    """An error callback for a state whose code made a grant is refused, and the grant stays."""
    started = await house.started()
    first = await house.complete(house.call(), house.callback(started))
    denied = house.callback(started, error="access_denied")
    await refused(Reason.AUTHORIZATION_CODE_USED, house.complete(house.call(), denied))
    again = await house.complete(house.call(), house.callback(started))
    assert again.grant.name == first.grant.name


async def test_denial_while_suspended_ends_the_state(house: House) -> None:
    """A final error of the callback ends the state of a suspended OAuthClient too: a code that
    comes after it was resumed is not the user's."""
    started = await house.started()
    await house.suspend.suspend(house.call(), CLIENT)
    denied = house.callback(started, error="access_denied")
    await refused(Reason.AUTHORIZATION_DENIED, house.complete(house.call(), denied))
    await house.suspend.resume(house.call(), CLIENT)
    await refused(
        Reason.AUTHORIZATION_DENIED, house.complete(house.call(), house.callback(started))
    )
    assert house.endpoint.ledger == []


@pytest.mark.parametrize("error", ["server_error", "temporarily_unavailable"])
async def test_passing_error_says_what_to_do(house: House, error: str) -> None:
    """An error that may pass ends nothing, however often it comes, and a code may still come."""
    started = await house.started()
    for _ in range(2):
        passing = house.callback(started, error=error)
        refusal = await refused(Reason.AUTHORIZATION_DENIED, house.complete(house.call(), passing))
        assert "go back" in refusal.message
    assert (await house.complete(house.call(), house.callback(started))).grant.generation == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"state": "s" * 43}, Reason.STATE_UNKNOWN),
        ({"iss": "https://evil.example"}, Reason.ISSUER_MISMATCH),
        ({"redirect_uri": "https://app.example/other"}, Reason.REDIRECT_URI_MISMATCH),
        ({"error": "access_denied"}, Reason.AUTHORIZATION_DENIED),
    ],
)
async def test_mismatch_says_what_to_do(
    house: House, changes: dict[str, Any], reason: Reason
) -> None:
    """What is wrong for good is not to be retried, and its words say what to do instead."""
    started = await house.started()
    refusal = await refused(
        reason, house.complete(house.call(), house.callback(started, **changes))
    )
    assert "start a new authorization" in refusal.message
    assert (refusal.retryable, refusal.retry_after_s) == (False, None)


async def test_expired_state_says_what_to_do(house: House) -> None:
    """A state that is too old is refused for good, with the way on in its words."""
    started = await house.started()
    house.clock.advance(limits.AUTHORIZATION_LIFE_S)
    refusal = await refused(
        Reason.STATE_EXPIRED, house.complete(house.call(), house.callback(started))
    )
    assert "start a new authorization" in refusal.message
    assert not refusal.retryable


async def test_iss_is_needed_where_promised() -> None:
    """A provider that promised iss is not believed without it (mix-up)."""
    house = House()
    await house.register(requires_iss=True)
    started = await house.started()
    await refused(Reason.ISSUER_MISMATCH, house.complete(house.call(), house.callback(started)))
    good = house.callback(started, iss="https://op.example")
    assert (await house.complete(house.call(), good)).grant.generation == 1


async def test_error_text_is_escaped(house: House) -> None:
    """The provider's error goes back cut and escaped."""
    started = await house.started()
    callback = house.callback(started, error="bad\n" + "x" * 300)
    error = await refused(Reason.AUTHORIZATION_DENIED, house.complete(house.call(), callback))
    assert error.metadata["error"].startswith("bad\\nxxx")
    assert len(error.metadata["error"]) == limits.TEXT_MAX_CHARS


async def test_state_expires(house: House) -> None:
    """An authorization that was begun ten minutes ago is refused without a request."""
    started = await house.started()
    house.clock.advance(limits.AUTHORIZATION_LIFE_S)
    await refused(Reason.STATE_EXPIRED, house.complete(house.call(), house.callback(started)))
    assert house.endpoint.ledger == []


async def test_denied_completion(house: House) -> None:
    """A policy that changed since the start keeps the code from being exchanged."""
    started = await house.started()
    house.policy.allowed.discard((APP, Permission.COMPLETE_AUTHORIZATION))
    await refused(Reason.CALLER_NOT_ALLOWED, house.complete(house.call(), house.callback(started)))
    assert house.endpoint.ledger == []


async def test_unknown_tenant_after_policy(house: House) -> None:
    """A tenant that is not there is told only to those whom the policy lets in."""
    started = await house.started()
    callback = house.callback(started, tenant="ghost")
    await refused(Reason.CALLER_NOT_ALLOWED, house.complete(house.call(ROGUE), callback))
    await refused(Reason.TENANT_NOT_PROVISIONED, house.complete(house.call(), callback))
