"""The kill matrix in memory: a process dies at each step of a refresh, for each class."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.crashes import DURABLE, STEPS, Crash, restarted
from tests.support.house import House
from tests.support.modelled import INTROSPECTION, ModelledProvider
from vault_service.domain import limits
from vault_service.domain.attempt import UNRESOLVED, AttemptState
from vault_service.domain.grant import Grant, GrantState, ReauthorizationCause

ORDER = list(STEPS)
SENT = ORDER.index("answered")
_KILLS = {"family_kill_on_reuse": True}
PROVIDERS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "N": ("N", {}, {}),
    "M": ("M", {}, {}),
    "G": ("G", {"grace_s": 30, **_KILLS}, {}),
    "S retries": ("S", _KILLS, {}),
    "S introspects": ("S", _KILLS, {"introspection_endpoint": INTROSPECTION}),
}


async def _recover(house: House, grant: Grant) -> None:
    """As the sweeper does, until no attempt of the grant is open; a refusal is confirmed later."""
    for _ in range(4):
        await house.engine.recover(house.call())
        attempts = house.stores.tables.attempts.values()
        if not any(each.state in UNRESOLVED for each in attempts):
            await house.engine.recover(house.call())  # what the spool still has is known by now
            return
        house.clock.advance(limits.CONFIRM_AFTER_S + 30)
    raise AssertionError("the attempt is open still")


def _check_history(house: House, grant: Grant) -> None:
    made = [r.detail for r in house.stores.records if r.action.name == "GRANT_REFRESHED"]
    generations = [int(each["generation"]) for each in made]
    assert generations == list(range(2, 2 + len(generations)))
    fences = [int(each["fence"]) for each in made]
    assert fences == sorted(set(fences))


@pytest.mark.parametrize("who", ["restarted", "sibling of the spool", "without the spool"])
@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("step", STEPS)
async def test_killed_at_each_step(step: str, kind: str, who: str) -> None:
    """Nothing is lost but a class S answer that was never durable; what is kept works, and the
    history of the grant has each generation once, by a later lease than the one before."""
    house = House()
    refresh_class, behaviour, profile = PROVIDERS[kind]
    provider = ModelledProvider(house, refresh_class, **behaviour)
    grant = await provider.grant(**profile)
    await Crash(house, step).refresh(grant)
    successor = {
        "restarted": lambda: restarted(house),
        "sibling of the spool": lambda: House(house, "i-2", house.spool.folder),
        "without the spool": lambda: House(house, "i-1"),
    }[who]()
    house.clock.advance(26)
    if who == "without the spool" and refresh_class == "S":
        await successor.engine.recover(successor.call())
        house.clock.advance(limits.SPOOL_WAIT_S)
    await _recover(successor, grant)
    at = ORDER.index(step)
    kept = at >= ORDER.index("committed") or (at >= DURABLE and who != "without the spool")
    row = await successor.row(grant.name)
    if refresh_class == "S" and at >= SENT and not kept:
        assert row.state is GrantState.REAUTHORIZATION_REQUIRED
        assert row.cause is ReauthorizationCause.SUCCESSOR_LOST
    else:
        assert row.state is GrantState.ACTIVE
        assert await provider.works(successor, grant)
        before = row.generation
        await successor.refresh(successor.call(), row)
        assert (await successor.row(grant.name)).generation == before + 1
        assert await provider.works(successor, grant)
    assert not any(house.stores.tables.leases)
    assert who == "without the spool" or not any(house.spool.folder.entries.values())
    assert provider.refreshes <= 4
    _check_history(house, grant)


@pytest.mark.parametrize("kind", PROVIDERS)
async def test_a_kept_answer_is_used_and_nobody_is_asked_again(kind: str) -> None:
    """An answer in the spool resolves the attempt of any class without another request."""
    house = House()
    refresh_class, behaviour, profile = PROVIDERS[kind]
    provider = ModelledProvider(house, refresh_class, **behaviour)
    grant = await provider.grant(**profile)
    await Crash(house, "stored").refresh(grant)
    house.clock.advance(26)
    successor = restarted(house)
    await _recover(successor, grant)
    assert provider.refreshes == 1
    assert (await successor.row(grant.name)).generation == 2
    (attempt,) = house.stores.tables.attempts.values()
    assert attempt.state is AttemptState.RESOLVED_REFRESHED
