"""Recovery ends: nothing is looked at for ever, and nobody takes the looks of others."""

from __future__ import annotations

import pytest

from tests.support.crashes import Crash, restarted
from tests.support.house import CLIENT, TENANT, House, refused
from tests.support.refreshing import expired
from vault_service.domain import limits
from vault_service.domain.answers import AnswerClass
from vault_service.domain.attempt import AttemptAction, AttemptState
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason
from vault_service.domain.grant import GrantState
from vault_service.domain.names import AttemptName


@pytest.fixture
def house() -> House:
    return House()


async def sweep(house: House) -> int:
    return await house.engine.recover(house.call())


@pytest.mark.parametrize("how", ["consent", "revoke"])
async def test_an_answer_found_after_its_grant_moved_on(house: House, how: str) -> None:
    """An answer that turns up when the user has consented anew, or revoked, is discarded once: the
    attempt ends, and no lease of the grant is taken for it again."""
    grant = await expired(house, revocation_endpoint="https://op.example/revoke")
    await Crash(house, "stored").refresh(grant)
    sibling = House.beside(house)
    house.endpoint.fail(AnswerClass.INVALID_GRANT, 2, status=400, error="invalid_grant")
    for _ in range(2):
        house.clock.advance(limits.SPOOL_WAIT_S + 30)
        await sweep(sibling)
    assert (await house.row(grant.name)).state is GrantState.REAUTHORIZATION_REQUIRED
    if how == "consent":
        await sibling.consent()
    else:
        await sibling.revoke(sibling.call(), grant.name)
    returned = restarted(house)
    for _ in range(5):
        await sweep(returned)
        house.clock.advance(30)
    await sweep(returned)
    assert house.stores.tables.leases == {}
    assert len(house.records(AuditAction.REFRESH_RESULT_DISCARDED)) <= 1
    (attempt,) = (a for a in house.stores.tables.attempts.values() if a.base_generation == 1)
    assert attempt.state is AttemptState.RESOLVED_SUPERSEDED


async def test_a_late_answer_of_an_ended_attempt_is_not_kept(house: House) -> None:
    """An answer that comes when a sibling has won is on record as discarded, and due to nobody."""
    grant = await expired(house)
    await house.token(grant.name)
    (attempt,) = house.stores.tables.attempts.values()
    assert attempt.state is AttemptState.COMMITTED
    record = house.recorder.done(house.call(), AuditAction.REFRESH_ORPHAN_KEPT, TENANT, "")
    assert not await house.attempts.keep_orphan(attempt, b"late", record, 1)
    assert record not in house.records(AuditAction.REFRESH_ORPHAN_KEPT)
    assert await sweep(house) == 0


async def test_a_suspended_client_is_not_looked_at_in_a_loop(house: House) -> None:
    """Where recovery lacks something of ours, it looks again after a pause."""
    grant = await expired(house)
    house.endpoint.fail(AnswerClass.IN_DOUBT)
    await refused(Reason.REFRESH_IN_DOUBT, house.token(grant.name))
    await house.suspend.suspend(house.call(), CLIENT)
    house.clock.advance(60)
    tried = 0
    for _ in range(20):
        tried += await sweep(house)
        house.clock.advance(0.25)
    assert tried <= 2


async def test_no_order_presents_a_token_whose_answer_may_be_there(house: House) -> None:
    """An operator's order to present the token again, or to take it as unchanged, is refused while
    the answer may lie in a spool that is away."""
    grant = await expired(house)
    await Crash(house, "stored").refresh(grant)
    sibling = House.beside(house)
    house.clock.advance(60)
    (attempt,) = house.stores.tables.attempts.values()
    name = AttemptName(TENANT, attempt.attempt_id)
    posted = len(house.endpoint.posted("refresh"))
    for action in (AttemptAction.PRESENT_AGAIN, AttemptAction.ACCEPT_AS_UNCHANGED):
        order = sibling.operated.resolve(sibling.call(), name, action, "", "because")
        await refused(Reason.ATTEMPT_ACTION_NOT_POSSIBLE, order)
    assert len(house.endpoint.posted("refresh")) == posted
    assert house.stores.tables.leases == {}
