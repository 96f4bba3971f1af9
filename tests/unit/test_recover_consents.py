"""Exchanges of codes whose process died: what its spool has is the outcome."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.fakes.spool import FakeSpool, SpoolFault
from tests.fakes.token_endpoint import an_id_token
from tests.support.house import House, refused
from vault_service.domain import limits
from vault_service.domain.attempt import SpoolEntry, SpoolKind, SpoolMark
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.sensitive import Sensitive
from vault_service.usecases.start_authorization import StartedAuthorization


async def crashed(house: House, started: StartedAuthorization, at: SpoolMark) -> None:
    """The process dies in the middle of this exchange, its spool entry at this mark."""
    task = house.completing(started)
    if at is SpoolMark.SENT:
        house.endpoint.hold()
        await house.endpoint.arrived.wait()
    else:
        while not any(entry.mark is at for entry in entries(house)):
            await asyncio.sleep(0)
    house.spool.crash()
    await house.flights.drain(0)
    await asyncio.gather(task, return_exceptions=True)
    house.endpoint.gate = None


def entries(house: House) -> list[SpoolEntry]:
    return [entry for held in house.spool.folder.entries.values() for entry in held.values()]


@pytest.fixture
async def house() -> House:
    house = House()
    await house.register()
    return house


def successor(house: House) -> House:
    """The process that comes after, on the same disk."""
    after = House(house, "i-2", house.spool.folder)
    return after


async def test_received_answer_becomes_the_grant(house: House) -> None:
    """An answer that was on disk when the process died is the grant of the caller's retry, and its
    token's life counts from before the request."""
    started = await house.started()
    await crashed(house, started, SpoolMark.RECEIVED)
    assert house.stores.tables.grants == {}
    after = successor(house)
    house.clock.advance(10)
    assert await after.consents.recover(after.call()) == 1
    completed = await after.complete(after.call(), after.callback(started))
    assert (completed.grant.generation, completed.grant.subject) == (1, "sub-1")
    assert (await after.token(completed.alias)).value.reveal() == b"at-1"
    assert completed.grant.access_expire_time is not None
    left = completed.grant.access_expire_time - house.clock.now()
    assert left.total_seconds() == 3_590
    assert len(house.endpoint.ledger) == 1
    assert len(house.records(AuditAction.AUTHORIZATION_COMPLETED)) == 1
    assert entries(house) == []


async def test_retry_waits_for_recovery(house: House) -> None:
    """A completion that comes before recovery waits for it inside its deadline."""
    started = await house.started()
    await crashed(house, started, SpoolMark.RECEIVED)
    after = successor(house)
    retry = after.completing(started)
    await asyncio.sleep(0.01)
    assert not retry.done()
    await after.consents.recover(after.call())
    assert (await retry).grant.generation == 1
    assert len(house.endpoint.ledger) == 1


async def test_nothing_sent_gives_the_code_back(house: House) -> None:
    """A process that died before the request left the code as good as before."""
    started = await house.started()
    await crashed(house, started, SpoolMark.RESERVED)
    after = successor(house)
    await after.consents.recover(after.call())
    assert (await after.complete(after.call(), after.callback(started))).grant.generation == 1
    assert len(house.endpoint.ledger) == 1
    assert entries(house) == []


async def test_sent_without_an_answer_is_spent(house: House) -> None:
    """A process that died with the code on its way leaves a state that is spent, and says so."""
    started = await house.started()
    await crashed(house, started, SpoolMark.SENT)
    after = successor(house)
    await after.consents.recover(after.call())
    error = await refused(
        Reason.AUTHORIZATION_CODE_USED, after.complete(after.call(), after.callback(started))
    )
    assert "the answer was lost" in error.message
    assert len(house.endpoint.ledger) == 1
    (record,) = house.records(AuditAction.AUTHORIZATION_ENDED)
    assert record.detail["why"] == "no answer was kept"
    assert entries(house) == []


async def test_lost_spool_is_told_truthfully(house: House) -> None:
    """Where the disk is gone too, the state is spent; the record has the exchange's beginning."""
    started = await house.started()
    await crashed(house, started, SpoolMark.RECEIVED)
    beside = House.beside(house)
    house.clock.advance(limits.POST_LIMIT_S + limits.LEASE_MARGIN_S + 1)
    error = await refused(
        Reason.AUTHORIZATION_CODE_USED, beside.complete(beside.call(), beside.callback(started))
    )
    assert "outcome is not known" in error.message
    assert len(house.records(AuditAction.CODE_EXCHANGE_STARTED)) == 1
    after = successor(house)
    await after.consents.recover(after.call())
    assert (await beside.complete(beside.call(), beside.callback(started))).grant.generation == 1


async def test_late_answer_is_revoked(house: House) -> None:
    """Tokens that are found after the time for replays are revoked: nobody waits for them."""
    started = await house.started()
    await crashed(house, started, SpoolMark.RECEIVED)
    house.clock.advance(limits.COMPLETION_REPLAY_S + 1)
    after = successor(house)
    await after.consents.recover(after.call())
    assert house.stores.tables.grants == {}
    assert [post.refresh_token for post in house.endpoint.posted("revoke")] == ["rt-1"]
    assert entries(house) == []


async def test_spool_that_comes_back_after_days(house: House) -> None:
    """Tokens in a spool that was away for a month are revoked: the row of a claim without an
    outcome is not swept, and nothing is kept of them afterwards."""
    started = await house.started()
    await crashed(house, started, SpoolMark.RECEIVED)
    house.clock.advance(30 * 86_400)
    after = successor(house)
    await after.consents.recover(after.call())
    assert [post.refresh_token for post in house.endpoint.posted("revoke")] == ["rt-1"]
    assert house.stores.tables.discarded == {}
    assert entries(house) == []


async def test_newer_consent_stays(house: House) -> None:
    """An answer of before does not replace what the owner consented to since, nor revoke it."""
    started = await house.started()
    await crashed(house, started, SpoolMark.RECEIVED)
    after = successor(house)
    house.clock.advance(30)
    newer = await after.consent()
    await after.consents.recover(after.call())
    row = await after.row(newer.grant.name)
    assert (row.generation, row.revision) == (newer.grant.generation, newer.grant.revision)
    assert house.endpoint.posted("revoke") == []
    assert entries(house) == []


async def test_newer_consent_stays_however_late(house: House) -> None:
    """Late tokens of an owner who has consented again are not revoked: many providers end the
    newer ones with them."""
    started = await house.started()
    await crashed(house, started, SpoolMark.RECEIVED)
    after = successor(house)
    house.clock.advance(60)
    newer = await after.consent()
    house.clock.advance(limits.COMPLETION_REPLAY_S)
    await after.consents.recover(after.call())
    assert house.endpoint.posted("revoke") == []
    assert (await after.row(newer.grant.name)).generation == newer.grant.generation
    (record,) = house.records(AuditAction.AUTHORIZATION_ENDED)
    assert "consented again" in record.detail["why"]
    assert entries(house) == []


async def test_unreadable_answer_goes_to_the_row(house: House) -> None:
    """An answer that recovery cannot read ends the state and is kept in its row."""
    started = await house.started()
    raw = HttpAnswer(200, "text/html", Sensitive(b"<html>"))
    house.endpoint.answers.append(raw)
    await crashed(house, started, SpoolMark.RECEIVED)
    after = successor(house)
    await after.consents.recover(after.call())
    await refused(
        Reason.AUTHORIZATION_CODE_USED, after.complete(after.call(), after.callback(started))
    )
    (row,) = house.stores.tables.authorizations.values()
    assert row.answer_envelope is not None
    assert entries(house) == []


async def test_store_away_keeps_the_entry(house: House) -> None:
    """While the database is away recovery frees nothing, and goes on when it is back."""
    started = await house.started()
    await crashed(house, started, SpoolMark.RECEIVED)
    after = successor(house)
    house.stores.unreachable = True
    await after.consents.recover(after.call())
    assert len(entries(house)) == 1
    house.stores.unreachable = False
    await after.consents.recover(after.call())
    assert len(house.stores.tables.grants) == 1


async def test_entry_of_a_claim_that_never_was(house: House) -> None:
    """An entry whose claim did not reach the database does not give back another one's."""
    started = await house.started()
    spool = FakeSpool(house.spool.folder)
    (row,) = house.stores.tables.authorizations.values()
    stale = await spool.reserve(
        house.entropy.uuid7(), row.tenant, row.authorization_id, SpoolKind.CONSENT
    )
    spool.crash()
    held = house.endpoint.hold()
    task = house.completing(started)
    await house.endpoint.arrived.wait()
    after = successor(house)
    await after.consents.recover(after.call())
    held.set()
    assert (await task).grant.generation == 1
    assert len(house.endpoint.ledger) == 1
    assert stale not in entries(house)


async def test_refresh_recovery_leaves_consents_alone(house: House) -> None:
    """The sweep of refreshes neither frees nor touches an entry of a consent."""
    started = await house.started()
    await crashed(house, started, SpoolMark.RECEIVED)
    after = successor(house)
    await after.engine.recover(after.call())
    assert len(entries(house)) == 1
    await after.consents.recover(after.call())
    assert (await after.complete(after.call(), after.callback(started))).grant.generation == 1


async def test_foreign_issuer_is_found_in_the_spool(house: House) -> None:
    """A recovered answer is judged like a fresh one: unwanted tokens are revoked."""
    started = await house.started()
    claims = {"iss": "https://op.example/", "aud": "crm-at-op", "exp": 4_102_444_800, "sub": "s"}
    members = {"access_token": "at-9", "refresh_token": "rt-9", "id_token": an_id_token(claims)}
    body = Sensitive(json.dumps(members).encode())
    house.endpoint.answers.append(HttpAnswer(200, "application/json", body))
    await crashed(house, started, SpoolMark.RECEIVED)
    after = successor(house)
    await after.consents.recover(after.call())
    await refused(Reason.ID_TOKEN_REFUSED, after.complete(after.call(), after.callback(started)))
    assert [post.refresh_token for post in house.endpoint.posted("revoke")] == ["rt-9"]


async def test_claimed_and_not_sent_gives_the_code_back(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that died between its claim and its mark sent nothing: the claim is given back, on
    record, and the same completion presents the code."""
    started = await house.started()
    at_mark = asyncio.Event()

    async def dies(entry: SpoolEntry) -> SpoolEntry:
        at_mark.set()
        await asyncio.Event().wait()
        return entry

    monkeypatch.setattr(house.spool, "mark_sent", dies)
    task = house.completing(started)
    await at_mark.wait()
    house.spool.crash()
    await house.flights.drain(0)
    await asyncio.gather(task, return_exceptions=True)
    (row,) = house.stores.tables.authorizations.values()
    assert row.claim_id is not None
    after = successor(house)
    await after.consents.recover(after.call())
    assert len(house.records(AuditAction.CODE_EXCHANGE_GIVEN_BACK)) == 1
    assert (await after.complete(after.call(), after.callback(started))).grant.generation == 1
    assert len(house.endpoint.ledger) == 1


async def test_committed_and_not_freed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry whose consent is a grant already is freed and changes nothing."""

    async def dies(_: SpoolEntry) -> None:
        return None

    monkeypatch.setattr(house.spool, "free", dies)
    completed = await house.consent()
    house.spool.crash()
    after = successor(house)
    assert [entry.mark for entry in entries(house)] == [SpoolMark.RECEIVED]
    await after.consents.recover(after.call())
    assert entries(house) == []
    assert (await after.row(completed.grant.name)).generation == 1
    assert len(house.records(AuditAction.AUTHORIZATION_COMPLETED)) == 1


@pytest.mark.parametrize("fault", [SpoolFault.IO_ERROR, SpoolFault.LATE])
async def test_disk_that_fails_after_the_answer(house: House, fault: SpoolFault) -> None:
    """An answer that the disk does not take is stored all the same."""
    started = await house.started()
    held = house.endpoint.hold()
    task = house.completing(started)
    await house.endpoint.arrived.wait()
    house.spool.fault = fault
    held.set()
    assert (await task).grant.generation == 1
    assert len(house.endpoint.ledger) == 1
