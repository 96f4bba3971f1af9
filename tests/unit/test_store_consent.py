"""What a consent becomes: a new grant, or the account's own again."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.token_endpoint import an_answer
from tests.support.house import TENANT, House, refused
from tests.support.refreshing import expired, of_class
from vault_service.domain.access import Caller, Permission, Resource
from vault_service.domain.answers import AnswerClass
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason
from vault_service.domain.grant import GrantState, ReauthorizationCause
from vault_service.domain.provider import RefreshClass


@pytest.fixture
async def house() -> House:
    house = House()
    await house.register()
    return house


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
    tasks = [house.completing(first), house.completing(second, owner="u-2")]
    while len(house.endpoint.ledger) < 2:
        await asyncio.sleep(0)
    held.set()
    completed = await asyncio.gather(*tasks)
    assert len({each.grant.name for each in completed}) == 1
    assert completed[0].alias != completed[1].alias
    row = await house.row(completed[0].grant.name)
    assert row.generation == 2
    assert (await house.token(row.name)).value.reveal() in (b"at-1", b"at-2")


@pytest.mark.parametrize(
    "cause",
    [
        ReauthorizationCause.REVOKED_BY_OWNER,
        ReauthorizationCause.EXPIRED_UNUSED,
        ReauthorizationCause.SUCCESSOR_LOST,
    ],
)
async def test_refused_refresh_token_is_not_taken_up_again(
    house: House, cause: ReauthorizationCause
) -> None:
    """A consent without a refresh token does not revive one that was refused or lost: the grant
    has only its new access token, and says so at once."""
    grant = (await house.consent()).grant
    house.change_row(grant, state=GrantState.REAUTHORIZATION_REQUIRED, cause=cause)
    house.endpoint.answers.append(an_answer("again", None))
    again = await house.consent()
    assert again.grant.refresh_envelope is None
    (*_, record) = house.records(AuditAction.AUTHORIZATION_COMPLETED)
    assert record.detail["refresh_token"] == "none"
    assert (await house.token(grant.name)).value.reveal() == b"again"
    house.clock.advance(3_600)
    error = await refused(Reason.NO_REFRESH_TOKEN, house.token(grant.name))
    assert "access_type=offline" in error.message
    assert house.endpoint.posted("refresh") == []


@pytest.mark.parametrize("refresh_class", [RefreshClass.G, RefreshClass.S])
async def test_a_refusal_that_is_not_confirmed_yet(refresh_class: RefreshClass) -> None:
    """A consent without a refresh token does not take up one that the provider has refused, though
    the grant is not given up yet: it is not presented again."""
    house = House()
    grant = await expired(house, **of_class(refresh_class))
    house.endpoint.fail(AnswerClass.INVALID_GRANT)
    await refused(Reason.REFRESH_IN_DOUBT, house.token(grant.name))
    house.endpoint.answers.append(an_answer("again", None))
    assert (await house.consent()).grant.refresh_envelope is None
    house.clock.advance(3_600)
    await refused(Reason.NO_REFRESH_TOKEN, house.token(grant.name))
    assert len(house.endpoint.posted("refresh")) == 1


@pytest.mark.parametrize("refresh_class", list(RefreshClass))
async def test_an_answer_that_waits_for_a_reader(refresh_class: RefreshClass) -> None:
    """While a success that nobody can read is kept, a consent without a refresh token does not
    bring the used one back, where it is used up; where it works on, it is kept."""
    house = House()
    grant = await expired(house, **of_class(refresh_class))
    house.endpoint.fail(AnswerClass.UNREADABLE_SUCCESS)
    await refused(Reason.REFRESH_IN_DOUBT, house.token(grant.name))
    house.endpoint.answers.append(an_answer("again", None))
    again = (await house.consent()).grant
    used_up = refresh_class in (RefreshClass.G, RefreshClass.S)
    assert (again.refresh_envelope is None) is used_up
    house.clock.advance(3_600)
    if used_up:
        await refused(Reason.NO_REFRESH_TOKEN, house.token(grant.name))
    else:
        await house.token(grant.name)
    assert len(house.endpoint.posted("refresh")) == (1 if used_up else 2)


async def test_record_says_where_the_refresh_token_is_from(house: House) -> None:
    """A consent's record says whether its refresh token is new, kept from before, or none."""
    await house.consent()
    house.endpoint.answers.append(an_answer("again", None))
    await house.consent()
    records = house.records(AuditAction.AUTHORIZATION_COMPLETED)
    assert [record.detail["refresh_token"] for record in records] == ["new", "kept"]


async def test_other_causes_keep_the_refresh_token(house: House) -> None:
    """A grant that waits for consent although its refresh token is good keeps that token."""
    grant = (await house.consent()).grant
    cause = ReauthorizationCause.SCOPES_MISSING
    house.change_row(grant, state=GrantState.REAUTHORIZATION_REQUIRED, cause=cause)
    house.endpoint.answers.append(an_answer("again", None))
    await house.consent()
    house.clock.advance(3_600)
    await house.token(grant.name)
    assert [post.refresh_token for post in house.endpoint.posted("refresh")] == ["rt-1"]
