"""What operators do with refresh attempts: list, show, resolve; on record, fenced, no secret."""

from __future__ import annotations

import uuid

import pytest

from tests.support.house import APP, PROVIDER, ROGUE, TENANT, House, refused
from tests.support.refreshing import expired
from vault_service.domain.answers import AnswerClass
from vault_service.domain.attempt import AttemptAction, AttemptFilter, AttemptState, WaitsFor
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import Grant, GrantState, ReauthorizationCause
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.names import AttemptName
from vault_service.domain.provider import Recovery
from vault_service.domain.sensitive import Sensitive
from vault_service.ports.attempts import ListedAttempt

NESTED = b'{"data": {"access_token": "at-canary", "refresh_token": "rt-canary"}}'
PATHS = {name: f"data.{name}" for name in ("access_token", "refresh_token")}


@pytest.fixture
def house() -> House:
    return House()


def _name(house: House) -> AttemptName:
    (attempt_id,) = house.stores.tables.attempts
    return AttemptName(TENANT, attempt_id)


async def _unread(house: House) -> Grant:
    grant = await expired(house)
    house.endpoint.answers.append(HttpAnswer(200, "application/json", Sensitive(NESTED)))
    await refused(Reason.REFRESH_IN_DOUBT, house.token(grant.name))
    return grant


async def _manual(house: House) -> Grant:
    grant = await expired(house, recovery=Recovery.MANUAL)
    house.endpoint.fail(AnswerClass.IN_DOUBT)
    await refused(Reason.REFRESH_IN_DOUBT, house.token(grant.name))
    house.clock.advance(30)
    await house.engine.recover(house.call())
    return grant


async def _resolve(
    house: House, action: AttemptAction, etag: str = "", reason: str = "ticket 7"
) -> ListedAttempt:
    listed, _ = await house.operated.resolve(house.call(), _name(house), action, etag, reason)
    return listed


async def test_shown_without_its_content(house: House) -> None:
    """Status, length, media type and our own words of why are shown, and nothing of the body."""
    await _unread(house)
    listed, received = await house.operated.get(house.call(), _name(house))
    assert listed.attempt.waits_for is WaitsFor.PROFILE
    assert received is not None
    assert (received.status, received.length) == (200, len(NESTED))
    assert received.media_type == "application/json"
    assert received.why
    assert "canary" not in repr(received)
    assert not listed.is_tried_again


async def test_listed_by_what_they_wait_for(house: House) -> None:
    """In doubt, waiting, of a provider, and all; one that is under way is in nobody's doubt."""
    await _unread(house)
    for which in AttemptFilter:
        page = await house.operated.list(house.call(), TENANT, which, PROVIDER.provider, 10, "")
        assert [one.attempt.attempt_id for one in page.items] == [_name(house).attempt_id]
    elsewhere = await house.operated.list(house.call(), TENANT, AttemptFilter.ALL, "other", 10, "")
    assert elsewhere.items == []


async def test_reread(house: House) -> None:
    """An order to read the kept answer reads it now; in vain it waits on, with a mended profile
    the grant has its tokens. Nothing is presented."""
    grant = await _unread(house)
    assert (await _resolve(house, AttemptAction.REREAD)).attempt.waits_for is WaitsFor.PROFILE
    await house.register(token_paths=PATHS)
    listed = await _resolve(house, AttemptAction.REREAD)
    assert listed.attempt.state is AttemptState.RESOLVED_REFRESHED
    assert (await house.row(grant.name)).generation == 2
    assert len(house.endpoint.ledger) == 1


@pytest.mark.parametrize("waiting", [_unread, _manual])
async def test_accept_as_unchanged(house: House, waiting: object) -> None:
    """An operator who knows that the provider did not carry it out gives the grant back: the next
    caller presents the same token."""
    assert callable(waiting)
    grant: Grant = await waiting(house)
    listed = await _resolve(house, AttemptAction.ACCEPT_AS_UNCHANGED)
    assert listed.attempt.state is AttemptState.RESOLVED_UNCHANGED
    assert (await house.token(grant.name)).refreshed
    assert [post.refresh_token for post in house.endpoint.ledger] == ["rt-1", "rt-1"]


async def test_give_up(house: House) -> None:
    """A grant that is given up needs consent for a true cause; what is kept stays kept, and gives
    the grant back when a profile reads it after all."""
    grant = await _unread(house)
    listed = await _resolve(house, AttemptAction.GIVE_UP)
    assert listed.attempt.state is AttemptState.RESOLVED_LOST
    row = await house.row(grant.name)
    assert row.state is GrantState.REAUTHORIZATION_REQUIRED
    assert row.cause is ReauthorizationCause.BY_OPERATOR
    await house.register(token_paths=PATHS)
    await house.engine.recover(house.call())
    row = await house.row(grant.name)
    assert (row.state, row.generation) == (GrantState.ACTIVE, 2)


async def test_present_again(house: House) -> None:
    """One presentation is ordered, whatever the profile forbids, and its answer is the grant's."""
    grant = await _manual(house)
    listed = await _resolve(house, AttemptAction.PRESENT_AGAIN)
    assert listed.attempt.state is AttemptState.RESOLVED_REFRESHED
    assert len(house.endpoint.ledger) == 2
    assert (await house.row(grant.name)).generation == 2


async def test_no_token_is_presented_beside_its_answer(house: House) -> None:
    """While an answer is kept the token is not presented again, whoever orders it."""
    await _unread(house)
    with pytest.raises(VaultError) as impossible:
        await _resolve(house, AttemptAction.PRESENT_AGAIN)
    assert impossible.value.reason is Reason.ATTEMPT_ACTION_NOT_POSSIBLE
    assert len(house.endpoint.ledger) == 1
    assert house.stores.tables.leases == {}


async def test_presented_again_and_refused(house: House) -> None:
    """A refusal of an ordered presentation is no condemnation: it waits on, for the next order."""
    grant = await _manual(house)
    house.endpoint.fail(AnswerClass.INVALID_GRANT, status=400, error="invalid_grant")
    listed = await _resolve(house, AttemptAction.PRESENT_AGAIN)
    assert listed.attempt.state is AttemptState.IN_DOUBT
    house.clock.advance(120)
    await house.engine.recover(house.call())
    assert len(house.endpoint.ledger) == 2
    error = await refused(Reason.REFRESH_IN_DOUBT, house.token(grant.name))
    assert error.metadata["waits_for"] == "OPERATOR"


async def test_on_record(house: House) -> None:
    """Each order is on record with its caller, action and words before it is carried out; without
    the record nothing happens."""
    await _unread(house)
    house.stores.tables.audit_unavailable = True
    with pytest.raises(Exception, match="AUDIT_UNAVAILABLE"):
        await _resolve(house, AttemptAction.GIVE_UP)
    house.stores.tables.audit_unavailable = False
    assert house.stores.tables.attempts[_name(house).attempt_id].state is AttemptState.IN_DOUBT
    await _resolve(house, AttemptAction.GIVE_UP)
    (record,) = house.records(AuditAction.ATTEMPT_RESOLUTION_ORDERED)
    assert record.caller == APP
    assert record.resource == str(_name(house))
    assert (record.detail["action"], record.detail["why"]) == ("GIVE_UP", "ticket 7")


async def test_refused_orders(house: House) -> None:
    """An attempt that is unknown, has another etag, is another's at the moment, has ended or has
    nothing to read takes no order; nor does a caller without the permission give one."""
    await _manual(house)
    name = _name(house)
    give_up = AttemptAction.GIVE_UP
    unknown = AttemptName(TENANT, uuid.uuid4())
    order = house.operated.resolve
    await refused(Reason.ATTEMPT_NOT_FOUND, order(house.call(), unknown, give_up, "", ""))
    await refused(Reason.ETAG_MISMATCH, order(house.call(), name, give_up, "1.0.0", ""))
    await refused(Reason.CALLER_NOT_ALLOWED, order(house.call(ROGUE), name, give_up, "", ""))
    reread = AttemptAction.REREAD
    await refused(Reason.ATTEMPT_ACTION_NOT_POSSIBLE, order(house.call(), name, reread, "", ""))
    attempt = house.stores.tables.attempts[name.attempt_id]
    taken = await House.beside(house).attempts.take_ordered(attempt, 25.0)
    assert taken is not None
    await refused(Reason.ATTEMPT_MOVED_ON, order(house.call(), name, give_up, "", ""))
    await house.attempts.release(taken[0], TENANT)
    etag = (await house.operated.get(house.call(), name))[0].etag
    assert (await _resolve(house, give_up, etag)).attempt.state is AttemptState.RESOLVED_LOST
    await refused(Reason.ATTEMPT_ACTION_NOT_POSSIBLE, order(house.call(), name, give_up, "", ""))
