"""GetAccessToken: the fresh way, and when the stale way is taken."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta

import pytest

from tests.fakes.token_endpoint import an_answer
from tests.support.house import APP, OTHER, ROGUE, TENANT, House, refused
from tests.support.refreshing import until
from vault_service.domain import limits
from vault_service.domain.access import Caller, Permission, Resource
from vault_service.domain.audit import AuditAction, Outcome
from vault_service.domain.envelope import Field
from vault_service.domain.errors import Reason
from vault_service.domain.grant import Grant, GrantState, ReauthorizationCause
from vault_service.domain.names import GrantAliasName, GrantName

ALIAS = GrantAliasName(TENANT, "u-1", "crm")


@pytest.fixture
def house() -> House:
    return House()


async def test_fresh_token(house: House) -> None:
    """A fresh token comes with its facts, without a POST and without opening the refresh token."""
    grant = await house.grant()
    house.endpoint.ledger.clear()
    house.envelopes.opened.clear()
    token = await house.token(grant.name)
    assert token.value.reveal() == b"at-1"
    assert (token.grant, token.token_type, token.scopes) == (
        grant.name,
        "Bearer",
        ("openid", "mail"),
    )
    assert token.expire_time == house.clock.now() + timedelta(seconds=3_600)
    assert not token.refreshed
    assert token.grant_state is GrantState.ACTIVE
    assert house.endpoint.ledger == []
    assert house.envelopes.opened == [Field.ACCESS_TOKEN]


async def test_disclosure_is_on_record(house: House) -> None:
    """The record names caller, grant, policy rule and the fingerprint that the caller was given."""
    grant = await house.grant()
    token = await house.token(grant.name)
    (record,) = house.records(AuditAction.ACCESS_TOKEN_DISCLOSED)
    assert (record.outcome, record.caller, record.resource) == (
        Outcome.ALLOW,
        APP,
        str(grant.name),
    )
    assert record.token_fingerprint == token.fingerprint
    assert record.detail["policy_rule"] == "allow-GetAccessToken"
    assert record.detail["generation"] == "1"
    assert "at-1" not in repr(record)


@pytest.mark.parametrize(("age_s", "posts"), [(3_539, 0), (3_540, 0), (3_541, 1), (4_000, 1)])
async def test_default_min_ttl(house: House, age_s: int, posts: int) -> None:
    """Unasked, a token with 60 s left is served and one with less is refreshed first."""
    grant = await house.grant()
    house.clock.advance(age_s)
    token = await house.token(grant.name)
    assert len(house.endpoint.posted("refresh")) == posts
    assert token.refreshed == bool(posts)


@pytest.mark.parametrize(("age_s", "posts"), [(2, 0), (3, 1)])
async def test_default_min_ttl_of_short_lives(house: House, age_s: int, posts: int) -> None:
    """Where the provider's tokens live 5 s, half of that must be left, not 60 s."""
    await house.register()
    house.endpoint.answers.extend([an_answer(life_s=5), an_answer("next", life_s=5)])
    grant = (await house.consent()).grant
    house.clock.advance(age_s)
    token = await house.token(grant.name)
    assert len(house.endpoint.posted("refresh")) == posts
    assert token.expire_time - house.clock.now() >= timedelta(seconds=2.5)


async def test_min_ttl_zero(house: House) -> None:
    """min_ttl 0 takes any token that still lives, and none that does not."""
    grant = await house.grant()
    house.clock.advance(3_599)
    assert not (await house.token(grant.name, 0)).refreshed
    house.clock.advance(1)
    assert (await house.token(grant.name, 0)).refreshed


async def test_min_ttl_out_of_range(house: House) -> None:
    """More than the life last issued less 10 % is refused without a POST, whatever is left."""
    grant = await house.grant()
    house.endpoint.ledger.clear()
    assert (await house.token(grant.name, 3_240)).value.reveal() == b"at-1"
    error = await refused(Reason.MIN_TTL_OUT_OF_RANGE, house.token(grant.name, 3_240.5))
    assert error.metadata == {"access_life_s": "3600"}
    house.clock.advance(7_200)
    await refused(Reason.MIN_TTL_OUT_OF_RANGE, house.token(grant.name, 3_601))
    assert house.endpoint.ledger == []


async def test_no_short_token_is_served_silently(house: House) -> None:
    """A provider that starts to issue shorter lives than asked for is MIN_TTL_OUT_OF_RANGE."""
    grant = await house.grant()
    house.clock.advance(3_600)
    house.endpoint.answers.append(an_answer("short", life_s=30))
    error = await refused(Reason.MIN_TTL_OUT_OF_RANGE, house.token(grant.name, 300))
    assert error.metadata == {"access_life_s": "30"}
    assert len(house.endpoint.posted("refresh")) == 1
    assert house.records(AuditAction.ACCESS_TOKEN_DISCLOSED) == []


async def test_token_expired_on_arrival(house: House) -> None:
    """A provider whose tokens arrive expired is asked once a call, and nothing is served."""
    grant = await house.grant()
    house.clock.advance(3_600)
    house.endpoint.answers.extend(an_answer("dead", life_s=0) for _ in range(10))
    await refused(Reason.MIN_TTL_OUT_OF_RANGE, house.token(grant.name))
    assert len(house.endpoint.posted("refresh")) == 1
    assert house.records(AuditAction.ACCESS_TOKEN_DISCLOSED) == []


async def test_life_that_went_by(house: House) -> None:
    """A token whose life went by while the provider was slow is not served, and is nobody's wrong
    argument: the caller may try again, and then gets one."""
    grant = await house.grant()
    house.clock.advance(3_600)
    held = house.endpoint.hold()
    house.endpoint.answers.append(an_answer("slow", life_s=20))
    waiting = asyncio.create_task(house.token(grant.name, 5))
    await until(house, 2)
    house.clock.advance(16)
    held.set()
    error = await refused(Reason.OVERLOADED, waiting)
    assert (error.retryable, error.metadata) == (True, {"access_life_s": "20"})
    assert house.records(AuditAction.ACCESS_TOKEN_DISCLOSED) == []
    assert (await house.token(grant.name, 5)).value.reveal() == b"at-3"


async def test_scopes(house: House) -> None:
    """Scopes the grant has are no obstacle; others need consent, and nothing is asked or shown."""
    grant = await house.grant()
    house.endpoint.ledger.clear()
    assert (await house.token(grant.name, scopes=frozenset({"mail"}))).scopes == ("openid", "mail")
    error = await refused(
        Reason.REAUTHORIZATION_REQUIRED, house.token(grant.name, scopes=frozenset({"calendar"}))
    )
    assert error.metadata == {"cause": "SCOPES_MISSING"}
    assert house.endpoint.ledger == []


async def test_alias(house: House) -> None:
    """Through an alias the policy sees the alias's owner and label, and the grant's own facts."""
    grant = await house.grant()
    house.policy.asked.clear()
    token = await house.token(ALIAS)
    assert token.grant == grant.name
    resource = house.policy.asked[-1][2]
    assert (resource.id, resource.owner, resource.label) == (str(grant.name), "u-1", "crm")
    assert (resource.provider, resource.oauth_client) == ("op", "crm")
    assert resource.scopes == {"openid", "mail"}


async def test_states(house: House) -> None:
    """A revoked grant is GRANT_REVOKED; one that waits for consent says the cause."""
    grant = await house.grant()
    cause = ReauthorizationCause.EXPIRED_UNUSED
    house.change_row(grant, state=GrantState.REAUTHORIZATION_REQUIRED, cause=cause)
    error = await refused(Reason.REAUTHORIZATION_REQUIRED, house.token(grant.name))
    assert error.metadata == {"cause": "EXPIRED_UNUSED"}
    await house.revoke(house.call(), grant.name)
    await refused(Reason.GRANT_REVOKED, house.token(grant.name))


async def test_denial_looks_like_absence(house: House) -> None:
    """A denial on the row and a missing row differ in the record only."""
    grant = await house.grant()
    missing = GrantName(TENANT, house.entropy.uuid7())

    def not_on_grants(_: Caller, __: Permission, resource: Resource) -> bool:
        return not resource.owner

    house.policy.only = not_on_grants
    denied = await refused(Reason.GRANT_NOT_FOUND, house.token(grant.name))
    absent = await refused(Reason.GRANT_NOT_FOUND, house.token(missing))
    assert (denied.message, denied.metadata) == (absent.message, absent.metadata)
    assert denied.recorded["policy_rule"] == "default-deny"
    assert absent.recorded == {}


async def test_policy_comes_first(house: House) -> None:
    """A caller without the tenant learns nothing and costs no look-up, not even of the tenant."""
    await house.grant()
    house.stores.unreachable = True
    for tenant in (TENANT, "ghost"):
        target = GrantName(tenant, house.entropy.uuid7())
        error = await refused(Reason.CALLER_NOT_ALLOWED, house.token(target, caller=ROGUE))
        assert error.recorded["permission"] == "UseTenant"


async def test_unknown_tenant(house: House) -> None:
    """A caller whom the policy lets in is told that the tenant was never made."""
    target = GrantName("ghost", house.entropy.uuid7())
    await refused(Reason.TENANT_NOT_PROVISIONED, house.token(target))


async def test_other_tenant(house: House) -> None:
    """A grant's id under another tenant's name is not found."""
    grant = await house.grant()
    await refused(Reason.GRANT_NOT_FOUND, house.token(GrantName("beta", grant.grant_id)))


async def test_no_record_no_token(house: House) -> None:
    """Where the record cannot be written, the answer is AUDIT_UNAVAILABLE and no token."""
    grant = await house.grant()
    house.stores.audit_unavailable = True
    error = await refused(Reason.AUDIT_UNAVAILABLE, house.token(grant.name))
    assert error.retryable


async def test_store_away(house: House) -> None:
    """Where the database is away, the answer is STORE_UNREACHABLE."""
    grant = await house.grant()
    house.stores.unreachable = True
    await refused(Reason.STORE_UNREACHABLE, house.token(grant.name))


async def test_tampered_row(house: House) -> None:
    """A token sealed for another generation does not open, and nothing is recorded as given."""
    grant = await house.grant()
    house.change_row(grant, access_generation=2)
    await refused(Reason.ENVELOPE_CORRUPT, house.token(grant.name))
    house.change_row(grant, access_envelope=None)
    await refused(Reason.ENVELOPE_CORRUPT, house.token(grant.name))
    assert house.records(AuditAction.ACCESS_TOKEN_DISCLOSED) == []


async def test_disclosure_again_when_the_row_moved(house: House) -> None:
    """A grant that changes between reading and recording is read again: the newer is given."""
    grant = await house.grant()
    house.clock.advance(1)

    async def refreshed_elsewhere(_: Grant) -> None:
        house.audit.before_disclose = None
        house.clock.advance(4_000)
        await House.beside(house).token(grant.name)

    house.audit.before_disclose = refreshed_elsewhere
    assert (await house.token(grant.name)).value.reveal() == b"at-2"


async def test_revocation_beats_a_disclosure(house: House) -> None:
    """A revocation that commits before the record is durable keeps the token back."""
    grant = await house.grant()

    async def revoked(_: Grant) -> None:
        house.audit.before_disclose = None
        await house.revoke(house.call(), grant.name)

    house.audit.before_disclose = revoked
    await refused(Reason.GRANT_REVOKED, house.token(grant.name))
    assert house.records(AuditAction.ACCESS_TOKEN_DISCLOSED) == []


async def test_row_that_never_stands_still(house: House) -> None:
    """After five tries at a grant that keeps changing the caller is asked to come again."""
    grant = await house.grant()
    tries = []

    async def changed(_: Grant) -> None:
        tries.append(1)
        house.change_row(grant)

    house.audit.before_disclose = changed
    error = await refused(Reason.REFRESH_IN_PROGRESS, house.token(grant.name))
    assert error.retryable
    assert len(tries) == limits.DISCLOSURE_ATTEMPTS


async def test_many_callers_one_post(house: House) -> None:
    """256 callers of an expired grant cost one POST; each has a record of its own."""
    grant = await house.grant()
    house.clock.advance(3_600)
    callers = [APP, OTHER] * 128
    tokens = await asyncio.gather(*(house.token(grant.name, caller=c) for c in callers))
    assert {token.value.reveal() for token in tokens} == {b"at-2"}
    assert all(token.refreshed for token in tokens)
    assert len(house.endpoint.posted("refresh")) == 1
    given = house.records(AuditAction.ACCESS_TOKEN_DISCLOSED)
    assert [sum(r.caller == c for r in given) for c in (APP, OTHER)] == [128, 128]


@pytest.mark.parametrize("seed", range(8))
async def test_callers_that_hang_up(house: House, seed: int) -> None:
    """Callers cancelled at any moment change nothing for the others, and leave no task behind."""
    grant = await house.grant()
    house.clock.advance(3_600)
    moments = random.Random(seed)
    held = house.endpoint.hold()
    waiting = [asyncio.create_task(house.token(grant.name)) for _ in range(256)]
    leaving = moments.sample(waiting, 128)
    if seed == 0:
        leaving = [waiting[0], *(task for task in leaving if task is not waiting[0])]
    for number, task in enumerate(leaving):
        for _ in range(moments.randrange(3)):
            await asyncio.sleep(0)
        if number == 64:
            held.set()
        task.cancel()
    ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert len(house.endpoint.posted("refresh")) == 1
    stayed = [end for task, end in zip(waiting, ended, strict=True) if task not in leaving]
    assert all(not isinstance(end, BaseException) for end in stayed)
    assert await house.flights.drain(1) == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_all_callers_hang_up(house: House) -> None:
    """The refresh belongs to the service: it ends and is stored when nobody waits any more."""
    grant = await house.grant()
    house.clock.advance(3_600)
    held = house.endpoint.hold()
    waiting = [asyncio.create_task(house.token(grant.name)) for _ in range(3)]
    await house.endpoint.arrived.wait()
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    held.set()
    assert await house.flights.drain(1) == 0
    assert (await house.row(grant.name)).generation == 2
    assert not (await house.token(grant.name)).refreshed


@pytest.mark.parametrize("remembered", [False, True])
async def test_token_that_ends_while_it_is_recorded(house: House, remembered: bool) -> None:
    """When writing the record took so long that the token has ended by then, its caller gets a
    newer one instead."""
    grant = await house.grant()
    if remembered:
        await house.token(grant.name)

    async def slowly(_: Grant) -> None:
        house.audit.before_disclose = None
        house.clock.advance(3_600)

    house.audit.before_disclose = slowly
    token = await house.token(grant.name, budget_s=4_000)
    assert token.value.reveal() == b"at-2"
    assert token.expire_time > house.clock.now()
