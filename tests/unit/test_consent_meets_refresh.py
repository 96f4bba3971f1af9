"""A consent that brings no refresh token, while a refresh has presented the one that is there."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.token_endpoint import an_answer
from tests.support.house import House, refused
from tests.support.refreshing import expired, of_class, until
from vault_service.domain import limits
from vault_service.domain.answers import AnswerClass
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import Grant
from vault_service.domain.provider import RefreshClass

USED_UP = pytest.mark.parametrize("refresh_class", [RefreshClass.G, RefreshClass.S])


def presented(house: House) -> list[str | None]:
    return [post.refresh_token for post in house.endpoint.posted("refresh")]


async def hanging(
    house: House, refresh_class: RefreshClass
) -> tuple[Grant, asyncio.Event, asyncio.Task[object]]:
    """A refresh at the provider, which answers with rt-new once the event is set."""
    grant = await expired(house, **of_class(refresh_class))
    gate = house.endpoint.hold()
    house.endpoint.answers.append(an_answer("at-new", "rt-new"))
    task: asyncio.Task[object] = asyncio.create_task(house.token(grant.name))
    await until(house, 1)
    house.endpoint.gate = None
    return grant, gate, task


async def outcome_of(task: asyncio.Task[object]) -> None:
    await asyncio.gather(task, return_exceptions=True)
    assert task.exception() is None or isinstance(task.exception(), VaultError)


@USED_UP
async def test_a_refresh_under_way_is_waited_for(refresh_class: RefreshClass) -> None:
    """The consent keeps the token that the refresh brings, and nobody presents the old one."""
    house = House()
    grant, gate, refresh = await hanging(house, refresh_class)
    started = await house.started()
    house.endpoint.answers.append(an_answer("again", None))
    consent = asyncio.create_task(house.complete(house.call(), house.callback(started)))
    await until(house, 2)
    for _ in range(50):
        await asyncio.sleep(0)
    assert not consent.done()
    gate.set()
    await outcome_of(refresh)
    again = (await consent).grant
    assert (again.name, again.generation) == (grant.name, 3)
    house.clock.advance(3_600)
    await house.token(grant.name)
    assert presented(house) == ["rt-1", "rt-new"]
    assert house.records(AuditAction.REFRESH_RESULT_DISCARDED) == []


@USED_UP
async def test_a_refresh_in_doubt_keeps_its_token_from_going_on(
    refresh_class: RefreshClass,
) -> None:
    """A token that was presented, and of which nobody knows what became, is not presented as if
    for the first time after a consent."""
    house = House()
    grant = await expired(house, **of_class(refresh_class))
    house.endpoint.fail(AnswerClass.IN_DOUBT)
    await refused(Reason.REFRESH_IN_DOUBT, house.token(grant.name))
    house.endpoint.answers.append(an_answer("again", None))
    assert (await house.consent()).grant.refresh_envelope is None
    house.clock.advance(3_600)
    await refused(Reason.NO_REFRESH_TOKEN, house.token(grant.name))
    assert presented(house) == ["rt-1"]


@USED_UP
async def test_a_late_successor_is_taken_up(refresh_class: RefreshClass) -> None:
    """While the first request hangs past its lease a sibling presents nothing beside it; what it
    brings at last is the grant's refresh token, though a consent has moved the grant on."""
    house = House()
    grant, gate, refresh = await hanging(house, refresh_class)
    started = await house.started()
    house.clock.advance(limits.COMMIT_RETRY_S)
    house.endpoint.answers.append(an_answer("again", None))
    beside = House.beside(house)
    again = (await beside.complete(beside.call(), beside.callback(started))).grant
    assert again.refresh_envelope is None
    house.clock.advance(3_600)
    await refused(Reason.NO_REFRESH_TOKEN, beside.token(grant.name))
    assert presented(house) == ["rt-1"]
    gate.set()
    await outcome_of(refresh)
    await _until_it_has_one(house, grant)
    await beside.token(grant.name)
    assert presented(house) == ["rt-1", "rt-new"]
    assert house.records(AuditAction.REFRESH_RESULT_DISCARDED) == []


@pytest.mark.parametrize("refresh_class", [RefreshClass.N, RefreshClass.M])
async def test_where_the_token_works_on_nobody_waits(refresh_class: RefreshClass) -> None:
    """A consent does not wait for a refresh that uses nothing up, and keeps the token."""
    house = House()
    grant, gate, refresh = await hanging(house, refresh_class)
    started = await house.started()
    house.endpoint.answers.append(an_answer("again", None))
    again = (await house.complete(house.call(), house.callback(started))).grant
    assert (again.name, again.refresh_generation) == (grant.name, 1)
    gate.set()
    await outcome_of(refresh)


async def test_a_newer_refresh_token_stays() -> None:
    """What a consent brought is not replaced by the successor of a token from before."""
    house = House()
    grant, gate, refresh = await hanging(house, RefreshClass.S)
    started = await house.started()
    house.endpoint.answers.append(an_answer("again", "rt-2"))
    again = (await house.complete(house.call(), house.callback(started))).grant
    gate.set()
    await outcome_of(refresh)
    assert (await house.row(grant.name)).refresh_envelope == again.refresh_envelope
    assert len(house.records(AuditAction.REFRESH_RESULT_DISCARDED)) == 1


async def _until_it_has_one(house: House, grant: Grant) -> None:
    while (await house.row(grant.name)).refresh_envelope is None:
        await asyncio.sleep(0)
