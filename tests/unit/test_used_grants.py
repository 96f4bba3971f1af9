"""Uses are noted in memory and written in batches."""

from __future__ import annotations

import pytest

from tests.support.house import House, refused
from tests.support.samples import a_grant
from vault_service.domain import limits
from vault_service.domain.errors import Reason
from vault_service.usecases.used_grants import UsedGrants


@pytest.fixture
def house() -> House:
    return House()


async def test_a_disclosure_is_noted(house: House) -> None:
    """Each disclosure is noted when it happened, and written once for the last of them."""
    grant = await house.grant()
    await house.token(grant.name)
    house.clock.advance(10)
    await house.token(grant.name)
    house.clock.advance(7)
    assert len(house.used_grants) == 1
    assert await house.used_grants.write() == 1
    used = house.stores.tables.upkeep[grant.grant_id].last_used_time
    assert (house.clock.now() - used).total_seconds() == 7
    assert len(house.used_grants) == 0
    assert await house.used_grants.write() == 0


async def test_a_refusal_is_no_use(house: House) -> None:
    """A call that gets no token notes nothing."""
    grant = await house.grant()
    await refused(Reason.CALLER_NOT_ALLOWED, house.token(grant.name, caller="spiffe://x.org/y"))
    assert len(house.used_grants) == 0


async def test_notes_outlive_an_outage(house: House) -> None:
    """What the database did not take is written when it is back."""
    grant = await house.grant()
    await house.token(grant.name)
    house.stores.unreachable = True
    await refused(Reason.STORE_UNREACHABLE, house.used_grants.write())
    house.stores.unreachable = False
    assert await house.used_grants.write() == 1


async def test_notes_are_bounded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """More grants than the bound are counted and not noted; known ones still are."""
    monkeypatch.setattr(limits, "USED_GRANTS_MAX", 2)
    first = a_grant()
    for grant in (first, a_grant(), a_grant(), first):
        house.used_grants.note(grant)
    assert (len(house.used_grants), house.used_grants.missed) == (2, 1)


async def test_written_in_batches(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a large number is written, batch by batch."""
    monkeypatch.setattr(limits, "USED_BATCH_MAX", 2)
    await house.register()
    for number in range(5):
        house.endpoint.subject = f"sub-{number}"
        await house.token((await house.consent(f"u-{number}")).grant.name)
    assert await house.used_grants.write() == 5
    assert len(house.used_grants) == 0


async def test_turned_off(house: House) -> None:
    """Where no grant counts as in use, nothing is noted."""
    used = UsedGrants(house.stores.schedule, house.clock, 0.0)
    used.note(await house.grant())
    assert len(used) == 0
