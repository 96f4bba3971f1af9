"""A refresh that fails: whose fault it is, who is told, and that nobody is condemned wrongly."""

from __future__ import annotations

import asyncio
import uuid
from typing import NoReturn

import pytest

from tests.fakes.spool import SpoolFault
from tests.support.house import TENANT, House, refused
from tests.support.refreshing import expired, of_class, until
from vault_service.domain import limits
from vault_service.domain.answers import AnswerClass
from vault_service.domain.attempt import AttemptState, SpoolEntry
from vault_service.domain.audit import AuditAction, Outcome
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import GrantState, ReauthorizationCause
from vault_service.domain.provider import RefreshClass
from vault_service.domain.refresh_times import RefreshTimes


@pytest.fixture
def house() -> House:
    return House()


@pytest.mark.parametrize("fault", ["unreachable", "denied"])
async def test_keys_away_before_the_post(house: House, fault: str) -> None:
    """Without the DEK nothing is sent: a refresh token is not spent where none could be stored."""
    grant = await expired(house)
    other = House.beside(house)
    setattr(other.wrapper, fault, True)
    await refused(Reason.KEK_UNREACHABLE, other.token(grant.name))
    assert house.endpoint.ledger == []
    assert house.stores.tables.leases == {}


@pytest.mark.parametrize("refresh_class", [RefreshClass.N, RefreshClass.M])
async def test_invalid_grant_condemns(house: House, refresh_class: RefreshClass) -> None:
    """Where refresh tokens do not die of use, invalid_grant at the generation that was asked for
    moves the grant, on record, once."""
    grant = await expired(house, refresh_class=refresh_class)
    house.endpoint.fail(AnswerClass.INVALID_GRANT, status=400, error="invalid_grant")
    ended = await asyncio.gather(
        *(refused(Reason.REAUTHORIZATION_REQUIRED, house.token(grant.name)) for _ in range(5))
    )
    assert {error.metadata["cause"] for error in ended} == {"REVOKED_BY_OWNER"}
    row = await house.row(grant.name)
    assert row.state is GrantState.REAUTHORIZATION_REQUIRED
    assert row.cause is ReauthorizationCause.REVOKED_BY_OWNER
    (record,) = house.records(AuditAction.GRANT_REFRESH_FAILED)
    assert record.detail["provider_error"] == "invalid_grant"
    await refused(Reason.REAUTHORIZATION_REQUIRED, house.token(grant.name))
    assert len(house.endpoint.ledger) == 1


@pytest.mark.parametrize("refresh_class", [RefreshClass.G, RefreshClass.S])
async def test_invalid_grant_is_confirmed_before_it_condemns(
    house: House, refresh_class: RefreshClass
) -> None:
    """Where they do, one refusal only holds the next request back; the same refusal a minute later
    condemns the grant."""
    grant = await expired(house, **of_class(refresh_class))
    for _ in range(2):
        house.endpoint.fail(AnswerClass.INVALID_GRANT, status=400, error="invalid_grant")
    for _ in range(3):
        error = await refused(Reason.REFRESH_IN_DOUBT, house.token(grant.name))
        assert error.retry_after_s is not None
        house.clock.advance(10)
    assert (await house.row(grant.name)).state is GrantState.ACTIVE
    assert len(house.endpoint.ledger) == 1
    house.clock.advance(31)
    error = await refused(Reason.REAUTHORIZATION_REQUIRED, house.token(grant.name))
    assert error.metadata["cause"] == "REVOKED_BY_OWNER"
    assert len(house.endpoint.ledger) == 2
    assert len(house.records(AuditAction.GRANT_REFRESH_FAILED)) == 2


async def test_a_refusal_that_is_not_repeated_condemns_nobody(house: House) -> None:
    """A provider that refuses once and then answers again has lost nobody the grant; a refusal of
    the next generation is a first one again."""
    grant = await expired(house)
    house.endpoint.fail(AnswerClass.INVALID_GRANT, status=400, error="invalid_grant")
    await refused(Reason.REFRESH_IN_DOUBT, house.token(grant.name))
    house.clock.advance(61)
    assert (await house.token(grant.name)).refreshed
    house.clock.advance(3_600)
    house.endpoint.fail(AnswerClass.INVALID_GRANT, status=400, error="invalid_grant")
    await refused(Reason.REFRESH_IN_DOUBT, house.token(grant.name))


async def test_a_grant_that_idled_too_long_says_so(house: House) -> None:
    """invalid_grant for a refresh token that lay unused for longer than the provider keeps them has
    a cause of its own."""
    grant = await expired(house, refresh_class=RefreshClass.N, max_idle_s=3_000)
    house.endpoint.fail(AnswerClass.INVALID_GRANT, status=400, error="invalid_grant")
    error = await refused(Reason.REAUTHORIZATION_REQUIRED, house.token(grant.name))
    assert error.metadata["cause"] == "EXPIRED_UNUSED"


async def test_invalid_grant_after_a_sibling_won(house: House) -> None:
    """invalid_grant condemns nothing when the generation has moved: the newer token is served."""
    grant = await expired(house, refresh_class=RefreshClass.M)
    held = house.endpoint.hold()
    house.endpoint.fail(AnswerClass.INVALID_GRANT, status=400, error="invalid_grant")
    waiting = asyncio.create_task(house.token(grant.name, budget_s=60))
    await until(house, 1)
    house.clock.advance(26)  # its lease ran out
    house.endpoint.gate = None
    other = House.beside(house)
    assert (await other.token(grant.name)).refreshed
    held.set()
    assert (await waiting).value.reveal() == b"at-3"
    row = await house.row(grant.name)
    assert (row.state, row.generation) == (GrantState.ACTIVE, 2)


@pytest.mark.parametrize("refresh_class", list(RefreshClass))
async def test_invalid_grant_after_a_revocation(house: House, refresh_class: RefreshClass) -> None:
    """A refusal that came because the grant was revoked meanwhile is told as what it is."""
    grant = await expired(house, **of_class(refresh_class))
    held = house.endpoint.hold()
    house.endpoint.fail(AnswerClass.INVALID_GRANT, status=400, error="invalid_grant")
    waiting = asyncio.create_task(house.token(grant.name, budget_s=60))
    await until(house, 1)
    house.endpoint.gate = None
    await House.beside(house).revoke(house.call(), grant.name)
    held.set()
    await refused(Reason.GRANT_REVOKED, waiting)
    (record,) = house.records(AuditAction.GRANT_REFRESH_FAILED)
    assert record.reason == Reason.REAUTHORIZATION_REQUIRED.name
    assert (await house.row(grant.name)).state is GrantState.REVOKED
    assert not any(house.spool.folder.entries.values())


FAILURES = [
    (AnswerClass.NOT_SENT, Reason.PROVIDER_UNAVAILABLE, None),
    (AnswerClass.PROVIDER_FAULT, Reason.PROVIDER_UNAVAILABLE, None),
    (AnswerClass.RATE_LIMITED, Reason.PROVIDER_RATE_LIMITED, 77.0),
    (AnswerClass.IN_DOUBT, Reason.REFRESH_IN_DOUBT, None),
    (AnswerClass.UNREADABLE_SUCCESS, Reason.REFRESH_IN_DOUBT, None),
    (AnswerClass.CLIENT_REFUSED, Reason.CLIENT_MISCONFIGURED, None),
    (AnswerClass.REQUEST_REFUSED, Reason.CLIENT_MISCONFIGURED, None),
]


# After an unreadable 2xx, classes whose tokens are used up wait: tests/unit/test_kept_answers.py.
TRIED_AGAIN = [
    (refresh_class, *failure)
    for refresh_class in RefreshClass
    for failure in FAILURES
    if failure[0] is not AnswerClass.UNREADABLE_SUCCESS
    or refresh_class in (RefreshClass.N, RefreshClass.M)
]


@pytest.mark.parametrize(("refresh_class", "answer", "reason", "retry_after_s"), TRIED_AGAIN)
async def test_failures_leave_the_grant(
    house: House,
    refresh_class: RefreshClass,
    answer: AnswerClass,
    reason: Reason,
    retry_after_s: float | None,
) -> None:
    """What is not the grant's fault changes nothing of it, is on record, and is tried again after a
    pause."""
    grant = await expired(house, **of_class(refresh_class))
    before = await house.row(grant.name)
    house.endpoint.fail(answer, retry_after_s=retry_after_s)
    error = await refused(reason, house.token(grant.name))
    in_doubt = reason is Reason.REFRESH_IN_DOUBT and refresh_class is RefreshClass.S
    lease_s = RefreshTimes().lease_s
    told_s = lease_s if in_doubt else retry_after_s or limits.RETRY_AFTER_S
    assert error.retry_after_s == told_s
    assert error.recorded["provider_answer"] == answer.name
    after = await house.row(grant.name)
    assert (after.revision, after.state) == (before.revision, GrantState.ACTIVE)
    (record,) = house.records(AuditAction.GRANT_REFRESH_FAILED)
    assert (record.outcome, record.reason) == (Outcome.ERROR, reason.name)
    assert not any(house.spool.folder.entries.values())
    house.clock.advance(80)
    assert (await house.token(grant.name)).refreshed


async def test_a_pause_is_kept_by_every_process(house: House) -> None:
    """Until the time that the provider named is over, no process asks it; another one learns of it
    from the database and adds a little chance."""
    grant = await expired(house)
    house.endpoint.fail(AnswerClass.RATE_LIMITED, retry_after_s=77.0)
    await refused(Reason.PROVIDER_RATE_LIMITED, house.token(grant.name))
    house.clock.advance(70)
    error = await refused(Reason.PROVIDER_RATE_LIMITED, House.beside(house).token(grant.name))
    assert error.retry_after_s is not None
    assert 7.0 <= error.retry_after_s <= 7.7
    assert len(house.endpoint.ledger) == 1


async def test_one_failure_for_all_who_wait(house: House) -> None:
    """Callers that wait for one POST share its failure, each as an error of its own."""
    grant = await expired(house)
    house.endpoint.fail(AnswerClass.PROVIDER_FAULT)
    ended = await asyncio.gather(
        *(refused(Reason.PROVIDER_UNAVAILABLE, house.token(grant.name)) for _ in range(20))
    )
    assert len({id(error) for error in ended}) == 20
    assert len(house.endpoint.ledger) == 1
    assert len(house.records(AuditAction.GRANT_REFRESH_FAILED)) == 1


@pytest.mark.parametrize("fault", [SpoolFault.DISK_FULL, SpoolFault.IO_ERROR])
async def test_a_disk_that_takes_nothing_sends_nothing(house: House, fault: SpoolFault) -> None:
    """Where an answer could not be kept, no refresh token is spent; once the disk is back the next
    caller is served."""
    grant = await expired(house)
    house.spool.fault = fault
    await refused(Reason.STORE_UNREACHABLE, house.token(grant.name))
    assert house.endpoint.ledger == []
    assert house.stores.tables.attempts == {}
    house.spool.fault = None
    assert (await house.token(grant.name)).refreshed


async def test_a_disk_that_fails_before_the_request(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mark that cannot be written ends the attempt as not sent, and its lease with it."""
    grant = await expired(house)

    async def fail(entry: SpoolEntry) -> NoReturn:
        raise VaultError(Reason.STORE_UNREACHABLE, "the disk is gone", retry_after_s=1.0)

    with monkeypatch.context() as patch:
        patch.setattr(house.spool, "mark_sent", fail)
        await refused(Reason.STORE_UNREACHABLE, house.token(grant.name))
    (attempt,) = house.stores.tables.attempts.values()
    assert attempt.state is AttemptState.NOT_SENT
    assert house.endpoint.ledger == []
    assert (await house.token(grant.name)).refreshed


async def test_a_full_spool_says_so(house: House) -> None:
    """With every slot taken a refresh is refused before anything is sent."""
    grant = await expired(house)
    for number in range(256):
        await house.spool.reserve(uuid.UUID(int=number), TENANT, grant.grant_id)
    await refused(Reason.OVERLOADED, house.token(grant.name))
    assert house.endpoint.ledger == []


async def test_a_success_that_cannot_be_read_stays_with_the_attempt(house: House) -> None:
    """The sealed bytes of a 2xx without readable tokens are kept; an error in a 200 is none."""
    grant = await expired(house)
    house.endpoint.fail(AnswerClass.UNREADABLE_SUCCESS)
    await refused(Reason.REFRESH_IN_DOUBT, house.token(grant.name))
    (attempt,) = house.stores.tables.attempts.values()
    assert attempt.state is AttemptState.IN_DOUBT
    assert attempt.orphan_envelope is not None
    assert len(house.records(AuditAction.REFRESH_ORPHAN_KEPT)) == 1
