"""Pauses that providers want: listed, ended by an operator, on record."""

from __future__ import annotations

import pytest

from tests.support.house import CLIENT, OTHER, ROGUE, TENANT, House, refused
from tests.support.refreshing import N, grants
from vault_service.domain import limits
from vault_service.domain.answers import AnswerClass
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import Grant, Served
from vault_service.domain.names import OAuthClientName
from vault_service.domain.rate_holds import RateHolds


@pytest.fixture
def house() -> House:
    return House()


async def held(house: House) -> Grant:
    """A third grant of an OAuthClient that is held because of two others."""
    first, second, third = await grants(house, 3, **N)
    house.endpoint.fail(AnswerClass.RATE_LIMITED, times=2, retry_after_s=86_400.0)
    for grant in (first, second):
        await refused(Reason.PROVIDER_RATE_LIMITED, house.token(grant.name))
    return third


async def test_a_hold_that_is_lifted(house: House) -> None:
    """It ends on every replica within a second; the record has who and why."""
    grant, other = await held(house), House.beside(house)
    (hold,) = await house.holds.list(house.call(), TENANT)
    assert (hold.client, hold.left_s) == (CLIENT, limits.RATE_HOLD_FIRST_S)
    await refused(Reason.PROVIDER_RATE_LIMITED, other.token(grant.name))
    assert await house.holds.clear(house.call(OTHER), CLIENT, "mended; ticket 7")
    house.clock.advance(limits.BUDGET_LOOK_S)
    for process in (other, house):
        house.change_row(grant, access_expire_time=house.clock.now())
        assert (await process.token(grant.name)).served is Served.REFRESHED
    (record,) = house.records(AuditAction.CLIENT_HOLD_CLEARED)
    assert (record.caller, record.resource) == (OTHER, str(CLIENT))
    assert record.detail["why"] == "mended; ticket 7"
    assert record.detail["policy_rule"] == "allow-ClearClientHold"
    assert await house.holds.list(house.call(), TENANT) == []


async def test_a_hold_begins_on_record(house: House) -> None:
    """Once for all replicas, with how long it is and what the provider asked for; one grant's own
    pause is none."""
    grant, other = await held(house), House.beside(house)
    (record,) = house.records(AuditAction.CLIENT_HOLD_BEGUN)
    assert (record.caller, record.resource, record.tenant) == ("", str(CLIENT), TENANT)
    assert record.detail == {"hold_s": "60", "retry_after_s": "86400"}
    await refused(Reason.PROVIDER_RATE_LIMITED, other.token(grant.name))
    assert house.records(AuditAction.CLIENT_HOLD_BEGUN) == [record]


async def test_a_consent_ends_no_hold(house: House) -> None:
    """A code that is exchanged during a pause says nothing of the limits of refreshes."""
    grant = await held(house)
    house.endpoint.subject = "sub-new"
    await house.consent("u-new")
    error = await refused(Reason.PROVIDER_RATE_LIMITED, house.token(grant.name))
    assert error.retry_after_s == pytest.approx(limits.RATE_HOLD_FIRST_S, rel=0.11)
    assert len(house.endpoint.posted("refresh")) == 2


async def test_one_grants_pause_is_no_hold(house: House) -> None:
    """It is on record with its refresh, and nothing of the OAuthClient's."""
    first, _ = await grants(house, 2, **N)
    house.endpoint.fail(AnswerClass.RATE_LIMITED, retry_after_s=86_400.0)
    await refused(Reason.PROVIDER_RATE_LIMITED, house.token(first.name))
    assert house.records(AuditAction.CLIENT_HOLD_BEGUN) == []


async def test_a_hold_of_a_database_that_is_away(house: House) -> None:
    """The pause holds here at once, and is on record when the database is back."""
    first, second, third = await grants(house, 3, **N)
    house.endpoint.fail(AnswerClass.RATE_LIMITED, times=2, retry_after_s=600.0)
    await refused(Reason.PROVIDER_RATE_LIMITED, house.token(first.name))
    house.stores.audit_unavailable = True
    with pytest.raises(VaultError):
        await house.token(second.name)
    house.stores.audit_unavailable = False
    assert house.records(AuditAction.CLIENT_HOLD_BEGUN) == []
    house.clock.advance(limits.BUDGET_LOOK_S)
    await refused(Reason.PROVIDER_RATE_LIMITED, house.token(third.name))
    assert len(house.records(AuditAction.CLIENT_HOLD_BEGUN)) == 1


async def test_nothing_to_lift(house: House) -> None:
    """Where there is no pause, nothing is done and nothing recorded."""
    await house.register()
    assert not await house.holds.clear(house.call(), CLIENT, "to be sure")
    assert house.records(AuditAction.CLIENT_HOLD_CLEARED) == []


async def test_who_may(house: House) -> None:
    """Both are permissions of their own; an OAuthClient that is not there is said to be so."""
    await house.register()
    await refused(Reason.CALLER_NOT_ALLOWED, house.holds.list(house.call(ROGUE), TENANT))
    await refused(Reason.CALLER_NOT_ALLOWED, house.holds.clear(house.call(ROGUE), CLIENT, "x"))
    ghost = OAuthClientName(TENANT, "ghost")
    await refused(Reason.OAUTH_CLIENT_NOT_FOUND, house.holds.clear(house.call(), ghost, "x"))


def test_holds_grow_while_they_are_repeated() -> None:
    """A minute at first, twice as long each time the provider asks again, an hour at most; after
    ten quiet minutes it begins anew."""
    holds, now, seen = RateHolds(), 0.0, []
    assert holds.limited("a", 86_400.0, now, first_after_hold=False) is None
    for number in range(8):
        hold_s = holds.limited(f"g-{number}", 86_400.0, now, first_after_hold=number > 0)
        assert hold_s is not None
        seen.append(hold_s)
        now += hold_s
    assert seen == [60, 120, 240, 480, 960, 1_920, 3_600, 3_600]
    now += limits.RATE_HOLD_FORGET_S + 1
    assert holds.limited("a", 600.0, now, first_after_hold=False) is None
    assert holds.limited("b", None, now, first_after_hold=False) == limits.RATE_LIMITED_PAUSE_S


def test_limits_of_their_own() -> None:
    """Those that led to a hold after which another succeeded first do not lead to the next one; a
    grant that was answered, and one that is new to it, count again, and so do all once an operator
    has lifted the hold."""
    holds = RateHolds()
    assert holds.limited("a", 5.0, 0.0, first_after_hold=False) is None
    assert holds.limited("b", 5.0, 0.0, first_after_hold=False) == 5.0
    holds.answered("well", 5.0, first_after_hold=True)
    for now in (6.0, 12.0):
        assert holds.limited("a", 5.0, now, first_after_hold=False) is None
        assert holds.limited("b", 5.0, now, first_after_hold=True) is None
    holds.answered("a", 12.0, first_after_hold=False)
    assert holds.limited("a", 5.0, 13.0, first_after_hold=False) is None
    assert holds.limited("c", 5.0, 14.0, first_after_hold=False) == 5.0
    holds.lifted()
    assert holds.limited("b", 5.0, 20.0, first_after_hold=False) is None
    assert holds.limited("a", 5.0, 20.0, first_after_hold=False) == 5.0


def _both_held() -> RateHolds:
    holds = RateHolds()
    assert holds.limited("a", 5.0, 0.0, first_after_hold=False) is None
    assert holds.limited("b", 5.0, 0.0, first_after_hold=False) == 5.0
    return holds


def test_one_that_led_to_a_hold_proves_nothing_of_the_other() -> None:
    """Where a grant that was limited itself succeeds first after the hold, the next two 429s hold
    the OAuthClient again: its limit may have been met, and may be free again."""
    holds = _both_held()
    holds.answered("a", 6.0, first_after_hold=True)
    assert holds.limited("b", 5.0, 7.0, first_after_hold=False) is None
    assert holds.limited("c", 5.0, 8.0, first_after_hold=False) == 5.0


def test_limits_of_their_own_are_forgotten() -> None:
    """What showed that a limit was a grant's own counts for ten minutes: later its 429 speaks of
    the OAuthClient as any other does, however often it was limited meanwhile."""
    holds, shown = _both_held(), 6.0
    holds.answered("well", shown, first_after_hold=True)
    last = shown + limits.RATE_HOLD_FORGET_S
    for now in (shown + 1, last):
        assert holds.limited("a", 5.0, now, first_after_hold=False) is None
        assert holds.limited("b", 5.0, now, first_after_hold=False) is None
    assert holds.limited("a", 5.0, last + 1, first_after_hold=False) is None
    assert holds.limited("b", 5.0, last + 1, first_after_hold=False) == 5.0


def test_one_grant_again_and_again() -> None:
    """However often one grant is limited, its OAuthClient is not held; memory is bounded."""
    holds = RateHolds()
    for second in range(1_000):
        assert holds.limited("a", 5.0, float(second), first_after_hold=False) is None
    assert holds.of_grants == 1_000
    for number in range(1_000):
        holds.limited(number, 5.0, 2_000.0 + 61 * number, first_after_hold=False)
    assert holds.of_grants == 2_000
