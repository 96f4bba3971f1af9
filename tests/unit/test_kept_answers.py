"""An answer that came and cannot be read: kept, waited for, read again; its token not presented."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.crashes import Crash, restarted
from tests.support.house import House, refused
from tests.support.modelled import INTROSPECTION
from tests.support.refreshing import expired, of_class
from vault_service.domain import limits
from vault_service.domain.answers import AnswerClass
from vault_service.domain.attempt import AttemptState, RefreshAttempt, WaitsFor
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason
from vault_service.domain.grant import Grant, GrantState
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.oauth import Liveness
from vault_service.domain.provider import ErrorIn200, Recovery, RefreshClass
from vault_service.domain.sensitive import Sensitive

NESTED = b'{"data": {"access_token": "at-9", "refresh_token": "rt-9", "expires_in": 3600}}'
PATHS = {name: f"data.{name}" for name in ("access_token", "refresh_token", "expires_in")}
USED_UP = [RefreshClass.G, RefreshClass.S]


@pytest.fixture
def house() -> House:
    return House()


def _answers(house: House, body: bytes = NESTED, status: int = 200, refusal: str = "") -> None:
    answer = HttpAnswer(status, "application/json", Sensitive(body), refusal=refusal)
    house.endpoint.answers.append(answer)


def _attempt(house: House) -> RefreshAttempt:
    (attempt,) = house.stores.tables.attempts.values()
    return attempt


async def _unread(house: House, **profile: Any) -> Grant:
    """A grant whose refresh was answered as its profile cannot read."""
    grant = await expired(house, **profile)
    _answers(house)
    await refused(Reason.REFRESH_IN_DOUBT, house.token(grant.name))
    return grant


async def _sweeps(house: House, *, hours: int = 1) -> None:
    for _ in range(hours * 12):
        house.clock.advance(300)
        await house.engine.recover(house.call())


@pytest.mark.parametrize("refresh_class", USED_UP)
@pytest.mark.parametrize("body", [NESTED, b"", b"<html>", b"[1]"])
async def test_a_used_token_is_not_presented_again(
    house: House, refresh_class: RefreshClass, body: bytes
) -> None:
    """After a 2xx that nobody can read the refresh token is not presented again by itself, by no
    process and for no caller, inside the grace or after it, and the grant is not given up."""
    grant = await expired(house, **of_class(refresh_class))
    _answers(house, body)
    error = await refused(Reason.REFRESH_IN_DOUBT, house.token(grant.name))
    assert error.metadata["waits_for"] == "PROFILE"
    house.clock.advance(2)
    await house.engine.recover(house.call())
    await _sweeps(House.beside(house), hours=24)
    error = await refused(Reason.REFRESH_IN_DOUBT, House.beside(house).token(grant.name))
    assert error.metadata["waits_for"] == "PROFILE"
    assert error.retry_after_s == limits.WAIT_RETRY_AFTER_S
    assert len(house.endpoint.ledger) == 1
    attempt = _attempt(house)
    assert (attempt.state, attempt.waits_for) == (AttemptState.IN_DOUBT, WaitsFor.PROFILE)
    assert attempt.orphan_envelope is not None
    assert (await house.row(grant.name)).state is GrantState.ACTIVE
    assert len(house.records(AuditAction.GRANT_REFRESH_FAILED)) == 1
    assert not any(house.spool.folder.entries.values())


@pytest.mark.parametrize("refresh_class", list(RefreshClass))
async def test_a_mended_profile_reads_what_was_kept(
    house: House, refresh_class: RefreshClass
) -> None:
    """Once the profile is mended any replica reads the kept answer at its next look, of any
    class; the grant has its tokens, and the refresh token was presented once."""
    grant = await _unread(house, **of_class(refresh_class))
    await _sweeps(house)
    await house.register(**of_class(refresh_class), token_paths=PATHS)
    sibling = House.beside(house)
    await sibling.engine.recover(sibling.call())
    assert _attempt(house).state is AttemptState.RESOLVED_REFRESHED
    assert (await house.row(grant.name)).generation == 2
    assert len(house.endpoint.ledger) == 1


@pytest.mark.parametrize("refresh_class", USED_UP)
async def test_a_caller_after_the_mending_waits_for_no_sweep(
    house: House, refresh_class: RefreshClass
) -> None:
    """The first caller after the profile was mended gets the kept token."""
    grant = await _unread(house, **of_class(refresh_class))
    await house.register(**of_class(refresh_class), token_paths=PATHS)
    assert (await House.beside(house).token(grant.name)).value.reveal() == b"at-9"
    assert len(house.endpoint.ledger) == 1


async def test_read_once_for_each_profile(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kept answer is opened once for each revision of the profile, not at each look, and once
    more by a reader of another release."""
    grant = await _unread(house)
    opened = []
    real = house.envelopes.open

    async def counting(*values: Any) -> Any:
        opened.append(values)
        return await real(*values)

    monkeypatch.setattr(house.envelopes, "open", counting)
    await _sweeps(house)
    assert opened == []
    await house.register(default_life_s=77)
    await _sweeps(house)
    assert len(opened) == 1
    house.stores.tables.attempt_reads[_attempt(house).attempt_id] = (2, 0)
    await _sweeps(house)
    assert len(opened) == 2
    assert (await house.row(grant.name)).generation == 1


@pytest.mark.parametrize("refresh_class", USED_UP)
@pytest.mark.parametrize("refusal", ["", "the transfer broke"])
async def test_killed_before_it_was_read(
    house: House, refresh_class: RefreshClass, refusal: str
) -> None:
    """What the spool of a dead process has and nobody can read waits in the same way, a transfer
    that broke included."""
    grant = await expired(house, **of_class(refresh_class))
    _answers(house, refusal=refusal)
    await Crash(house, "stored").refresh(grant)
    house.clock.advance(26)
    again = restarted(house)
    await again.engine.recover(again.call())
    await _sweeps(again)
    assert len(house.endpoint.ledger) == 1
    assert _attempt(house).waits_for is WaitsFor.PROFILE
    assert not any(house.spool.folder.entries.values())


async def test_an_old_token_told_alive_ends_the_wait(house: House) -> None:
    """Introspection that calls the old refresh token active shows that it was not used up; that it
    is not condemns nobody while an answer is kept."""
    grant = await _unread(house, introspection_endpoint=INTROSPECTION)
    house.endpoint.introspections.extend([Liveness.INACTIVE] * 2 + [Liveness.ACTIVE])
    for _ in range(3):
        assert _attempt(house).state is AttemptState.IN_DOUBT
        house.clock.advance(limits.IN_DOUBT_RETRY_MAX_S + 1)
        await house.engine.recover(house.call())
    assert _attempt(house).state is AttemptState.RESOLVED_UNCHANGED
    assert len(house.endpoint.posted("refresh")) == 1
    assert (await house.token(grant.name)).refreshed
    assert _attempt_states(house) == {AttemptState.RESOLVED_UNCHANGED, AttemptState.COMMITTED}
    assert all(each.orphan_envelope is None for each in house.stores.tables.attempts.values())


def _attempt_states(house: House) -> set[AttemptState]:
    return {attempt.state for attempt in house.stores.tables.attempts.values()}


@pytest.mark.parametrize("refresh_class", [RefreshClass.N, RefreshClass.M])
async def test_a_token_that_is_not_used_up_goes_on(
    house: House, refresh_class: RefreshClass
) -> None:
    """Where a refresh uses nothing up the next caller asks again, with back-off; the newest answer
    stays kept until tokens came."""
    grant = await _unread(house, **of_class(refresh_class))
    _answers(house)
    house.clock.advance(30)
    await refused(Reason.REFRESH_IN_DOUBT, house.token(grant.name))
    kept = [each for each in house.stores.tables.attempts.values() if each.orphan_envelope]
    assert len(kept) == 1
    house.clock.advance(30)
    assert (await house.token(grant.name)).refreshed
    assert not any(each.orphan_envelope for each in house.stores.tables.attempts.values())
    assert len(house.endpoint.ledger) == 3


async def test_a_consent_ends_the_wait(house: House) -> None:
    """A grant that was consented to anew is refreshed again: what its old attempt waited for is
    nobody's affair any more."""
    grant = await _unread(house)
    await house.consent()
    house.clock.advance(3_600)
    assert (await house.token(grant.name)).refreshed
    assert AttemptState.RESOLVED_SUPERSEDED in _attempt_states(house)


async def test_an_answer_that_turns_out_a_refusal(house: House) -> None:
    """A kept 200 that the mended profile reads as a refusal of the request holds no successor: it
    keeps nobody from presenting again."""
    grant = await expired(house)
    _answers(house, b'{"ok": false, "why": "busy"}')
    await refused(Reason.REFRESH_IN_DOUBT, house.token(grant.name))
    codes = {"busy": AnswerClass.RATE_LIMITED}
    await house.register(error_in_200=ErrorIn200("why", codes))
    house.clock.advance(limits.SPOOL_WAIT_S)
    await house.engine.recover(house.call())
    assert len(house.endpoint.ledger) == 2
    assert (await house.row(grant.name)).generation == 2
    assert len(house.records(AuditAction.REFRESH_RESULT_DISCARDED)) == 1


async def test_what_waits_for_an_operator_is_left_alone(house: House) -> None:
    """Where the profile forbids a retry the attempt waits for an operator, without a record for
    every look, and its callers are told so; a profile that allows it ends the wait."""
    grant = await expired(house, recovery=Recovery.MANUAL)
    house.endpoint.fail(AnswerClass.IN_DOUBT)
    await refused(Reason.REFRESH_IN_DOUBT, house.token(grant.name))
    await _sweeps(house)
    assert len(house.endpoint.ledger) == 1
    error = await refused(Reason.REFRESH_IN_DOUBT, house.token(grant.name))
    assert error.metadata["waits_for"] == "OPERATOR"
    assert error.retry_after_s == limits.WAIT_RETRY_AFTER_S
    assert len(house.records(AuditAction.GRANT_REFRESH_FAILED)) == 2
    await house.register(recovery=Recovery.RETRY)
    await house.engine.recover(house.call())
    assert len(house.endpoint.ledger) == 2
    assert (await house.row(grant.name)).generation == 2


async def test_where_only_probes_are_allowed(house: House) -> None:
    """Where no probe tells an operator is waited for, while the provider goes on being asked."""
    grant = await expired(house, recovery=Recovery.PROBE_ONLY, introspection_endpoint=INTROSPECTION)
    house.endpoint.fail(AnswerClass.IN_DOUBT)
    await refused(Reason.REFRESH_IN_DOUBT, house.token(grant.name))
    house.clock.advance(30)
    await house.engine.recover(house.call())
    error = await refused(Reason.REFRESH_IN_DOUBT, house.token(grant.name))
    assert error.metadata["waits_for"] == "OPERATOR"
    house.endpoint.introspections.append(Liveness.ACTIVE)
    await _sweeps(house)
    assert len(house.endpoint.posted("refresh")) == 1
    assert _attempt(house).state is AttemptState.RESOLVED_UNCHANGED


async def test_a_late_answer_keeps_the_grant(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that comes into the attempt while a retry is refused for the second time keeps the
    grant from being given up."""
    grant = await expired(house)
    house.endpoint.fail(AnswerClass.IN_DOUBT)
    await refused(Reason.REFRESH_IN_DOUBT, house.token(grant.name))
    house.endpoint.fail(AnswerClass.INVALID_GRANT, 2, status=400, error="invalid_grant")
    house.clock.advance(limits.SPOOL_WAIT_S)
    await house.engine.recover(house.call())
    condemn = house.attempts.condemn
    kept = house.recorder.done(house.call(), AuditAction.REFRESH_ORPHAN_KEPT, "acme", "")

    async def late(*values: Any) -> bool:
        await house.attempts.keep_orphan(_attempt(house), b"no envelope", kept)
        return await condemn(*values)

    monkeypatch.setattr(house.attempts, "condemn", late)
    house.clock.advance(limits.SPOOL_WAIT_S)
    await house.engine.recover(house.call())
    assert len(house.endpoint.ledger) == 3
    assert (await house.row(grant.name)).state is GrantState.ACTIVE
    await _sweeps(house)
    assert _attempt(house).waits_for is WaitsFor.OPERATOR
    assert (await house.row(grant.name)).state is GrantState.ACTIVE


async def test_kept_while_the_database_is_away(house: House) -> None:
    """An answer that cannot be read is offered to the database until it is back, as tokens are."""
    grant = await expired(house)
    _answers(house)
    keep = house.attempts.keep_orphan
    missed: list[Any] = []

    async def away(*values: Any) -> None:
        if len(missed) < 2:
            missed.append(values)
            house.stores.tables.unreachable = True
        try:
            await keep(*values)
        finally:
            house.stores.tables.unreachable = False

    patched: Any = house.attempts
    patched.keep_orphan = away
    await refused(Reason.REFRESH_IN_DOUBT, house.token(grant.name))
    assert len(missed) == 2
    assert _attempt(house).orphan_envelope is not None
