"""ReportRejectedToken: once per generation, only of the newest token, and not in a loop."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.support.house import APP, ROGUE, TENANT, House, refused
from vault_service.domain import limits
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason
from vault_service.domain.grant import GrantState, ReauthorizationCause
from vault_service.domain.names import GrantAliasName

ALIAS = GrantAliasName(TENANT, "u-1", "crm")


async def report(house: House, fingerprint: str) -> bool:
    """Whether a newer token was there already."""
    _, already = await house.report(house.call(), ALIAS, fingerprint)
    return already


async def test_the_next_token_is_refreshed() -> None:
    """After a report the next call refreshes, though the token had life left; in every process."""
    house = House()
    await house.grant()
    other = House.beside(house)
    first = await house.token(ALIAS)
    assert (await other.token(ALIAS)).value.same_as(first.value)
    assert not await report(house, first.fingerprint)
    second = await other.token(ALIAS)
    assert second.refreshed
    assert not second.value.same_as(first.value)
    assert (await house.token(ALIAS)).value.same_as(second.value)
    (record,) = house.records(AuditAction.ACCESS_TOKEN_REJECTED)
    assert (record.token_fingerprint, record.caller) == (first.fingerprint, APP)
    assert record.detail["generation"] == "1"


async def test_a_report_counts_once() -> None:
    """The same report again, before and after the refresh, costs no second refresh or record."""
    house = House()
    await house.grant()
    first = await house.token(ALIAS)
    assert not await report(house, first.fingerprint)
    assert not await report(house, first.fingerprint)
    await house.token(ALIAS)
    assert await report(house, first.fingerprint)
    token = await house.token(ALIAS)
    assert not token.refreshed
    assert len(house.records(AuditAction.ACCESS_TOKEN_REJECTED)) == 1
    assert len(house.records(AuditAction.GRANT_REFRESHED)) == 1


async def test_an_unknown_fingerprint_changes_nothing() -> None:
    """A fingerprint that is not the newest token's says so and marks nothing."""
    house = House()
    grant = await house.grant()
    assert await report(house, "v1.made-up")
    assert (await house.row(grant.name)).revision == grant.revision
    assert house.records(AuditAction.ACCESS_TOKEN_REJECTED) == []


async def test_a_successor_that_is_refused_too_is_no_loop() -> None:
    """Reports of one grant count a minute apart, whoever asks; a minute later one counts again."""
    house = House()
    await house.grant()
    assert not await report(house, (await house.token(ALIAS)).fingerprint)
    second = await house.token(ALIAS)
    house.clock.advance(limits.REJECTION_INTERVAL_S / 2)
    limited = await refused(
        Reason.CALLER_RATE_LIMITED, report(House.beside(house), second.fingerprint)
    )
    assert limited.retry_after_s == pytest.approx(limits.REJECTION_INTERVAL_S / 2)
    assert not (await house.token(ALIAS)).refreshed
    house.clock.advance(limits.REJECTION_INTERVAL_S)
    assert not await report(house, second.fingerprint)
    assert (await house.token(ALIAS)).refreshed


async def test_who_may_report() -> None:
    """Without the permission the grant is not there, as for every call."""
    house = House()
    grant = await house.grant()
    await refused(Reason.CALLER_NOT_ALLOWED, house.report(house.call(ROGUE), grant.name, "v1.x"))


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (GrantState.REVOKED, Reason.GRANT_REVOKED),
        (GrantState.REAUTHORIZATION_REQUIRED, Reason.REAUTHORIZATION_REQUIRED),
    ],
)
async def test_a_grant_without_tokens_to_give(state: GrantState, reason: Reason) -> None:
    """A report of a grant that gives no tokens is answered as GetAccessToken would."""
    house = House()
    grant = await house.grant()
    cause = ReauthorizationCause.EXPIRED_UNUSED
    house.change_row(grant, state=state, cause=cause if state is not GrantState.REVOKED else None)
    await refused(reason, house.report(house.call(), grant.name, "v1.x"))


async def test_a_report_outlives_nothing() -> None:
    """A refresh that happens anyway takes the mark with it: the new generation is not marked."""
    house = House()
    grant = await house.grant()
    await report(house, (await house.token(ALIAS)).fingerprint)
    await house.token(ALIAS)
    row = await house.row(grant.name)
    assert row.rejected_generation == row.generation - 1
    assert row.access_expire_time is not None
    assert row.access_expire_time - house.clock.now() > timedelta(minutes=50)
