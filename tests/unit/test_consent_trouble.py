"""Consents in trouble keep neither each other nor refreshes from their outcomes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.fakes.spool import FakeSpool
from tests.support.house import CLIENT, House, refused
from tests.unit.test_recover_consents import crashed, entries, successor
from vault_service.domain import limits
from vault_service.domain.access import Call
from vault_service.domain.answers import AnswerClass, TokenEndpointError
from vault_service.domain.attempt import SpoolKind, SpoolMark
from vault_service.domain.audit import AuditAction
from vault_service.domain.consent import ending_of
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.sensitive import Sensitive
from vault_service.usecases.start_authorization import StartedAuthorization
from vault_service.worker.attempts import AttemptSweep


@pytest.fixture
async def house() -> House:
    house = House()
    await house.register(subject_from="response:user")
    return house


def answered(body: bytes) -> HttpAnswer:
    return HttpAnswer(200, "application/json", Sensitive(body))


async def dies(house: House, started: StartedAuthorization) -> None:
    """The answer is on disk when the process dies, and nothing of it in the database."""

    async def never(*_: Any, **__: Any) -> None:
        await asyncio.Event().wait()

    with pytest.MonkeyPatch.context() as patch:
        for step in ("end", "give_back"):
            patch.setattr(house.stores.authorizations, step, never)
        await crashed(house, started, SpoolMark.RECEIVED)
    assert [entry.mark for entry in entries(house)] == [SpoolMark.RECEIVED]


@pytest.mark.parametrize("answer_class", AnswerClass)
def test_each_class_of_answer_has_an_ending(answer_class: AnswerClass) -> None:
    """No answer leaves recovery without a refusal to end with."""
    assert not ending_of(TokenEndpointError(answer_class)).retryable


@pytest.mark.parametrize(
    "body", [b'{"ok": false, "error": "ratelimited"}', b'{"error":"slow_down"}']
)
async def test_kept_answer_that_leaves_the_code_gives_it_back(house: House, body: bytes) -> None:
    """A rate limiter's answer that recovery finds gives the code back, on record."""
    started = await house.started()
    house.endpoint.answers.append(answered(body))
    await dies(house, started)
    after = successor(house)
    assert await after.consents.recover(after.call()) == 1
    assert entries(house) == []
    (record,) = house.records(AuditAction.CODE_EXCHANGE_GIVEN_BACK)
    assert record.detail["provider_answer"] == "RATE_LIMITED"
    assert (await after.complete(after.call(), after.callback(started))).grant.generation == 1


async def stale(house: House, count: int) -> None:
    """Entries of a process that is gone, of claims that never reached the database."""
    spool = FakeSpool(house.spool.folder)
    for _ in range(count):
        ids = house.entropy.uuid7(), house.entropy.uuid7()
        await spool.reserve(ids[0], "acme", ids[1], SpoolKind.CONSENT)
    spool.crash()


def failing(
    house: House, monkeypatch: pytest.MonkeyPatch, count: int, error: Exception
) -> list[object]:
    """Recovery fails for the first ``count`` authorizations that it asks for, whenever it does."""
    bad: list[object] = []
    find = house.stores.authorizations.find_by_id

    async def found(tenant: str, authorization_id: Any) -> Any:
        if len(bad) < count and authorization_id not in bad:
            bad.append(authorization_id)
        if authorization_id in bad:
            raise error
        return await find(tenant, authorization_id)

    monkeypatch.setattr(house.stores.authorizations, "find_by_id", found)
    return bad


async def test_fault_of_one_does_not_stop_the_others(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours in one exchange surfaces when all the others have their outcome."""
    await stale(house, 5)
    failing(house, monkeypatch, 1, KeyError("fault"))
    with pytest.raises(KeyError):
        await house.consents.recover(house.call())
    assert len(entries(house)) == 1


async def test_entries_without_an_outcome_let_others_pass(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch of exchanges that cannot be resolved does not block those behind it."""
    await stale(house, limits.ATTEMPT_BATCH_MAX + 5)
    unreachable = VaultError(Reason.KEK_UNREACHABLE, "away")
    failing(house, monkeypatch, limits.ATTEMPT_BATCH_MAX, unreachable)
    await house.consents.recover(house.call())
    assert len(entries(house)) == limits.ATTEMPT_BATCH_MAX + 5
    await house.consents.recover(house.call())
    assert len(entries(house)) == limits.ATTEMPT_BATCH_MAX


async def test_refreshes_are_recovered_all_the_same(house: House) -> None:
    """Where the recovery of consents fails, that of refreshes goes on, and the fault surfaces."""
    recovered: list[str] = []

    def recovery(name: str, error: Exception | None) -> Callable[[Call], Awaitable[int]]:
        async def recover(_: Call) -> int:
            recovered.append(name)
            if error is not None:
                raise error
            return 0

        return recover

    refreshes: Any = recovery("refreshes", None)
    consents: Any = recovery("consents", KeyError("fault"))
    with pytest.raises(KeyError):
        await AttemptSweep(refreshes, consents, house.clock, house.entropy).step()
    assert recovered == ["consents", "refreshes"]


async def test_waiting_consents_hold_no_slots(house: House) -> None:
    """Only an exchange with a place has a slot of the spool; the others have used up nothing."""
    started = [await house.started(owner=f"u-{n}") for n in range(30)]
    held = house.endpoint.hold()
    tasks = [house.completing(one, owner=f"u-{n}") for n, one in enumerate(started)]
    for _ in range(2_000):
        await asyncio.sleep(0)
    assert len(entries(house)) == limits.CONSENT_PARALLEL_MAX
    held.set()
    await asyncio.gather(*tasks)
    assert entries(house) == []


async def test_place_is_held_as_long_as_the_slot(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exchange whose answer waits for the database counts among those under way."""
    started = await house.started()
    storing, held = asyncio.Event(), asyncio.Event()
    end = house.stores.authorizations.end

    async def ends(*args: Any, **named: Any) -> Any:
        storing.set()
        await held.wait()
        return await end(*args, **named)

    monkeypatch.setattr(house.stores.authorizations, "end", ends)
    house.endpoint.answers.append(answered(b"<html>"))
    task = house.completing(started)
    await storing.wait()
    assert (len(entries(house)), house.outages.consents.inside) == (1, 1)
    held.set()
    await refused(Reason.AUTHORIZATION_CODE_USED, task)
    assert (len(entries(house)), house.outages.consents.inside) == (0, 0)


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        ("bad secret {secret}", "(left out: not a known code, and it may repeat a secret)"),
        ("fatal_error", "fatal_error"),
        ("InvalidRequest", "InvalidRequest"),
    ],
)
async def test_found_answer_that_echoes_a_secret(house: House, error: str, shown: str) -> None:
    """Recovery has no secrets to compare with, so it records known codes only."""
    secret = (await house.credentials.open(CLIENT)).credential.client_secret.reveal_text()
    started = await house.started()
    body = '{"error": "' + error.format(secret=secret) + '"}'
    house.endpoint.answers.append(answered(body.encode()))
    await dies(house, started)
    after = successor(house)
    await after.consents.recover(after.call())
    (record,) = house.records(AuditAction.AUTHORIZATION_ENDED)
    assert record.detail["provider_error"] == shown
    assert secret not in repr(house.stores.records)


async def test_profile_lists_a_code_that_is_shown() -> None:
    """A code of the profile's own tables is a known one."""
    house = House()
    await house.register(error_codes={"odd_state: gone": AnswerClass.REQUEST_REFUSED})
    started = await house.started()
    house.endpoint.answers.append(answered(b'{"error": "odd_state"}'))
    await dies(house, started)
    after = successor(house)
    await after.consents.recover(after.call())
    (record,) = house.records(AuditAction.AUTHORIZATION_ENDED)
    assert record.detail["provider_error"] == "odd_state"


async def test_answer_without_its_authorization_is_on_record(house: House) -> None:
    """An answer found after its row has gone is forgotten, and not in silence."""
    started = await house.started()
    await dies(house, started)
    house.stores.tables.authorizations.clear()
    after = successor(house)
    await after.consents.recover(after.call())
    (record,) = house.records(AuditAction.AUTHORIZATION_ENDED)
    assert "not revoked" in record.detail["why"]
    assert entries(house) == []


async def test_answer_to_the_older_secret_is_on_disk(house: House) -> None:
    """A 2xx that refuses the newer secret leaves the slot to the answer of the older one: what a
    dead process had got with that is its caller's grant."""
    await house.client_credentials.add(house.call(), CLIENT, Sensitive(b"canary-second"))
    started = await house.started()
    house.endpoint.answers.append(answered(b'{"error": "invalid_client"}'))
    await dies(house, started)
    assert len(house.endpoint.posted("exchange_code")) == 2
    after = successor(house)
    await after.consents.recover(after.call())
    assert (await after.complete(after.call(), after.callback(started))).grant.generation == 1
    assert len(house.endpoint.posted("exchange_code")) == 2
