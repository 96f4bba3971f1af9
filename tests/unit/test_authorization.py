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
from vault_service.domain.access import Caller, Permission, Resource
from vault_service.domain.answers import AnswerClass
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason
from vault_service.domain.grant import GrantState, ReauthorizationCause
from vault_service.domain.names import OAuthClientName
from vault_service.domain.sensitive import Sensitive
from vault_service.usecases.complete_authorization import Completed
from vault_service.usecases.start_authorization import AuthorizationRequest


@pytest.fixture
async def house() -> House:
    house = House()
    await house.register()
    return house


def asked(url: str) -> dict[str, str]:
    """The parameters of an authorization URL."""
    return dict(parse_qsl(urlsplit(url).query, strict_parsing=True))


def completing(house: House, started: Any, **changes: Any) -> asyncio.Task[Completed]:
    """A completion under way."""
    call = house.call(budget_s=30)
    return asyncio.create_task(house.complete(call, house.callback(started, **changes)))


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
    assert posted.nonce == parameters["nonce"]
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
        error = await refused(
            Reason.CALLER_NOT_ALLOWED, house.start(house.call(ROGUE), request)
        )
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
        ({"error": "access_denied", "code": Sensitive(b"")}, Reason.AUTHORIZATION_DENIED),
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
    await refused(
        Reason.CALLER_NOT_ALLOWED, house.complete(house.call(), house.callback(started))
    )
    assert house.endpoint.ledger == []


async def test_unknown_tenant_after_policy(house: House) -> None:
    """A tenant that is not there is told only to those whom the policy lets in."""
    started = await house.started()
    callback = house.callback(started, tenant="ghost")
    await refused(Reason.CALLER_NOT_ALLOWED, house.complete(house.call(ROGUE), callback))
    await refused(Reason.TENANT_NOT_PROVISIONED, house.complete(house.call(), callback))


async def test_replay(house: House) -> None:
    """The same completion gives the same answer for ten minutes, from any process, by one POST."""
    started = await house.started()
    first = await house.complete(house.call(), house.callback(started))
    house.clock.advance(limits.COMPLETION_REPLAY_S - 1)
    for process in (house, House.beside(house)):
        again = await process.complete(house.call(), house.callback(started))
        assert (again.grant.name, again.alias) == (first.grant.name, first.alias)
    house.clock.advance(2)
    await refused(
        Reason.AUTHORIZATION_CODE_USED, house.complete(house.call(), house.callback(started))
    )
    assert len(house.endpoint.ledger) == 1


async def test_another_code_for_a_used_state(house: House) -> None:
    """A completed state takes no second code."""
    started = await house.started()
    await house.complete(house.call(), house.callback(started))
    other = house.callback(started, code=Sensitive(b"code-2"))
    await refused(Reason.AUTHORIZATION_CODE_USED, house.complete(house.call(), other))
    assert len(house.endpoint.ledger) == 1


@pytest.mark.parametrize("processes", [1, 2])
async def test_concurrent_completions_join(house: House, processes: int) -> None:
    """However often and wherever a completion is tried at once, the code is exchanged once."""
    started = await house.started()
    houses = [house, House.beside(house)][:processes]
    held = house.endpoint.hold()
    tasks = [completing(h, started) for h in houses for _ in range(5)]
    await house.endpoint.arrived.wait()
    await asyncio.sleep(0.01)
    held.set()
    completed = await asyncio.gather(*tasks)
    assert len({each.grant.name for each in completed}) == 1
    assert len(house.endpoint.ledger) == 1
    assert len(house.records(AuditAction.AUTHORIZATION_COMPLETED)) == 1


async def test_concurrent_completion_with_another_code(house: House) -> None:
    """Of two codes brought for one state at once, one is exchanged and the other is refused."""
    started = await house.started()
    held = house.endpoint.hold()
    first = completing(house, started)
    await house.endpoint.arrived.wait()
    second = completing(house, started, code=Sensitive(b"code-2"))
    await asyncio.sleep(0)
    held.set()
    assert (await first).grant.generation == 1
    await refused(Reason.AUTHORIZATION_CODE_USED, second)
    assert [post.code for post in house.endpoint.ledger] == ["code-1"]


async def test_caller_hangs_up(house: House) -> None:
    """An exchange belongs to the service: a caller that left gets the grant by asking again."""
    started = await house.started()
    held = house.endpoint.hold()
    task = completing(house, started)
    await house.endpoint.arrived.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    held.set()
    completed = await house.complete(house.call(), house.callback(started))
    assert completed.grant.generation == 1
    assert len(house.endpoint.ledger) == 1


async def test_completion_deadline(house: House) -> None:
    """A caller whose time is up is asked to come again; the exchange goes on."""
    started = await house.started()
    held = house.endpoint.hold()
    call = house.call(budget_s=0.05)
    error = await refused(
        Reason.PROVIDER_UNAVAILABLE, house.complete(call, house.callback(started))
    )
    assert error.retryable
    held.set()
    assert (await house.complete(house.call(), house.callback(started))).grant.generation == 1
    assert len(house.endpoint.ledger) == 1


async def test_crash_after_the_claim(house: House) -> None:
    """A claim whose process died keeps callers waiting while it may end, then is CODE_USED."""
    started = await house.started()
    state_hash = hashlib.sha256(started.state.encode()).digest()
    code_hash = hashlib.sha256(b"code-1").digest()
    assert await house.stores.authorizations.claim(TENANT, state_hash, code_hash)
    short = house.call(budget_s=0)
    house.clock.advance(1)
    await refused(
        Reason.PROVIDER_UNAVAILABLE, house.complete(short, house.callback(started))
    )
    waiting = completing(house, started)
    await asyncio.sleep(0.01)
    house.clock.advance(limits.POST_LIMIT_S + limits.LEASE_MARGIN_S)
    error = await refused(Reason.AUTHORIZATION_CODE_USED, waiting)
    assert "consent again" in error.message
    assert house.endpoint.ledger == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (AnswerClass.NOT_SENT, Reason.PROVIDER_UNAVAILABLE),
        (AnswerClass.PROVIDER_FAULT, Reason.PROVIDER_UNAVAILABLE),
        (AnswerClass.IN_DOUBT, Reason.PROVIDER_UNAVAILABLE),
        (AnswerClass.RATE_LIMITED, Reason.PROVIDER_RATE_LIMITED),
        (AnswerClass.CLIENT_REFUSED, Reason.CLIENT_MISCONFIGURED),
        (AnswerClass.REQUEST_REFUSED, Reason.CLIENT_MISCONFIGURED),
    ],
)
async def test_failures_give_the_claim_back(
    house: House, answer: AnswerClass, reason: Reason
) -> None:
    """A try that reached no outcome uses nothing up: the same completion may be tried again."""
    started = await house.started()
    house.endpoint.fail(answer, status=502, error="oops")
    error = await refused(reason, house.complete(house.call(), house.callback(started)))
    assert error.recorded["provider_answer"] == answer.name
    assert (await house.complete(house.call(), house.callback(started))).grant.generation == 1


async def test_refused_code(house: House) -> None:
    """A code that the provider refuses is AUTHORIZATION_CODE_EXPIRED, and never sent again."""
    started = await house.started()
    house.endpoint.fail(AnswerClass.INVALID_GRANT, status=400, error="invalid_grant")
    error = await refused(
        Reason.AUTHORIZATION_CODE_EXPIRED, house.complete(house.call(), house.callback(started))
    )
    assert error.recorded["provider_error"] == "invalid_grant"
    house.clock.advance(26)
    await refused(
        Reason.AUTHORIZATION_CODE_USED, house.complete(house.call(), house.callback(started))
    )
    assert len(house.endpoint.ledger) == 1


async def test_keys_away_before_the_exchange(house: House) -> None:
    """Without keys the code is not spent."""
    started = await house.started()
    other = House.beside(house)
    other.wrapper.unreachable = True
    await refused(
        Reason.KEK_UNREACHABLE, other.complete(house.call(), house.callback(started))
    )
    assert house.endpoint.ledger == []
    other.wrapper.unreachable = False
    assert (await other.complete(house.call(), house.callback(started))).grant.generation == 1


@pytest.mark.parametrize("fault", ["unreachable", "audit_unavailable"])
async def test_store_away_after_the_exchange(house: House, fault: str) -> None:
    """A database that is away after the exchange is offered the grant until it takes it."""
    started = await house.started()
    held = house.endpoint.hold()
    task = completing(house, started)
    await house.endpoint.arrived.wait()
    setattr(house.stores, fault, True)
    held.set()
    await asyncio.sleep(0.08)
    assert not task.done()
    setattr(house.stores, fault, False)
    assert (await task).grant.generation == 1
    assert len(house.endpoint.ledger) == 1


async def test_same_account_again(house: House) -> None:
    """The same account consenting again keeps its grant, with the new tokens and scopes."""
    first = (await house.consent()).grant
    house.endpoint.answers.append(an_answer("again", "next", scopes=("files",)))
    second = (await house.consent()).grant
    assert second.name == first.name
    assert (second.generation, second.scopes) == (2, ("files",))
    assert (await house.token(first.name)).value.reveal() == b"again"
    assert house.records(AuditAction.AUTHORIZATION_COMPLETED)[1].detail["reconnected"] == "true"


async def test_second_owner_gets_an_alias(house: House) -> None:
    """Another owner with the same account gets an alias of its own to the one grant."""
    first = await house.consent()
    second = await house.consent("u-2", "shared")
    assert second.grant.name == first.grant.name
    assert second.grant.owner == "u-1"
    assert str(second.alias) == f"tenants/{TENANT}/owners/u-2/grantAliases/shared"
    for alias in (first.alias, second.alias):
        assert (await house.token(alias)).value.reveal() == b"at-2"
    house.clock.advance(3_600)
    await asyncio.gather(house.token(first.alias), house.token(second.alias))
    assert [post.refresh_token for post in house.endpoint.posted("refresh")] == ["rt-2"]


async def test_policy_by_alias_owner(house: House) -> None:
    """Through its alias the second owner's grant is judged as that owner's."""
    await house.consent()
    second = await house.consent("u-2", "shared")

    def only_the_second(_: Caller, __: Permission, resource: Resource) -> bool:
        return resource.owner in ("", "u-2")

    house.policy.only = only_the_second
    assert (await house.token(second.alias)).grant == second.grant.name
    await refused(Reason.GRANT_NOT_FOUND, house.token(second.grant.name))


async def test_alias_moves_to_another_account(house: House) -> None:
    """A consent with another account under the same label moves the alias; the old grant stays."""
    first = await house.consent()
    house.endpoint.subject = "sub-2"
    second = await house.consent()
    assert second.alias == first.alias
    assert second.grant.name != first.grant.name
    assert (await house.token(second.alias)).grant == second.grant.name
    assert (await house.token(first.grant.name)).value.reveal() == b"at-1"


async def test_unknown_subjects_share_nothing(house: House) -> None:
    """Without a known subject each consent is a grant of its own."""
    house.endpoint.subject = None
    first, second = await house.consent(), await house.consent()
    assert first.grant.name != second.grant.name


async def test_consent_heals(house: House) -> None:
    """A grant that waits for consent is ACTIVE again, under the same name."""
    grant = (await house.consent()).grant
    cause = ReauthorizationCause.REVOKED_BY_OWNER
    house.change_row(grant, state=GrantState.REAUTHORIZATION_REQUIRED, cause=cause)
    healed = (await house.consent()).grant
    assert (healed.name, healed.state, healed.cause) == (grant.name, GrantState.ACTIVE, None)
    assert (await house.token(grant.name)).value.reveal() == b"at-2"


async def test_consent_after_revocation(house: House) -> None:
    """A revoked grant stays a tombstone: the next consent makes a new grant."""
    grant = (await house.consent()).grant
    await house.revoke(house.call(), grant.name)
    second = await house.consent()
    assert second.grant.name != grant.name
    assert (await house.row(grant.name)).state is GrantState.REVOKED
    assert (await house.token(second.alias)).value.reveal() == b"at-2"


async def test_second_consent_without_refresh_token(house: House) -> None:
    """A consent that brings no refresh token keeps the one that is there."""
    grant = (await house.consent()).grant
    house.endpoint.answers.append(an_answer("again", None))
    await house.consent()
    house.clock.advance(3_600)
    await house.token(grant.name)
    assert [post.refresh_token for post in house.endpoint.posted("refresh")] == ["rt-1"]


async def test_two_consents_of_one_account_at_once(house: House) -> None:
    """Two first consents of one account that end together make one grant."""
    first, second = await house.started(), await house.started("u-2")
    held = house.endpoint.hold()
    tasks = [completing(house, first), completing(house, second, owner="u-2")]
    while len(house.endpoint.ledger) < 2:
        await asyncio.sleep(0)
    held.set()
    completed = await asyncio.gather(*tasks)
    assert len({each.grant.name for each in completed}) == 1
    assert completed[0].alias != completed[1].alias
    row = await house.row(completed[0].grant.name)
    assert row.generation == 2
    assert (await house.token(row.name)).value.reveal() in (b"at-1", b"at-2")
