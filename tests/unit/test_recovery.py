"""What recovery makes of an attempt whose process died: each branch, by a provider that scripts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes.token_endpoint import an_answer, as_http
from tests.support.crashes import Crash, restarted
from tests.support.house import House
from tests.support.modelled import INTROSPECTION
from tests.support.refreshing import expired, of_class
from vault_service.domain import limits
from vault_service.domain.answers import AnswerClass
from vault_service.domain.attempt import AttemptState, RefreshAttempt
from vault_service.domain.audit import AuditAction
from vault_service.domain.grant import Grant, GrantState, ReauthorizationCause
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.oauth import Liveness
from vault_service.domain.provider import Recovery, RefreshClass
from vault_service.domain.sensitive import Sensitive

LEASE_S = 26


@pytest.fixture
def house() -> House:
    return House()


async def _dead(house: House, step: str, **profile: Any) -> tuple[Grant, House]:
    """A grant whose refresh ended at this step, and the process started again after its lease;
    what the provider is asked from then on is alone in its ledger."""
    grant = await expired(house, **profile)
    await Crash(house, step).refresh(grant)
    house.clock.advance(LEASE_S)
    house.endpoint.ledger.clear()
    return grant, restarted(house)


def _attempt(house: House) -> RefreshAttempt:
    (attempt,) = house.stores.tables.attempts.values()
    return attempt


async def _sweep(house: House) -> None:
    await house.engine.recover(house.call())


async def _holds(house: House, grant: Grant) -> str:
    row = await house.row(grant.name)
    assert row.refresh_envelope is not None
    return (await house.envelopes.open(row.refresh_binding(), row.refresh_envelope)).reveal_text()


@pytest.mark.parametrize("refresh_class", list(RefreshClass))
async def test_nothing_was_sent(house: House, refresh_class: RefreshClass) -> None:
    """A spool that has only RESERVED says that nothing was sent: the grant is as it was, of every
    class, and the provider hears nothing of it."""
    grant, again = await _dead(house, "begun", **of_class(refresh_class))
    await _sweep(again)
    assert _attempt(house).state is AttemptState.RESOLVED_UNCHANGED
    assert house.endpoint.ledger == []
    (record,) = house.records(AuditAction.REFRESH_ATTEMPT_RESOLVED)
    assert record.detail["how"] == "nothing was sent"
    assert (await again.token(grant.name)).refreshed


@pytest.mark.parametrize("refresh_class", [RefreshClass.N, RefreshClass.M])
async def test_a_token_that_works_on(house: House, refresh_class: RefreshClass) -> None:
    """Where the old refresh token works on any process resolves it, and the next one who needs a
    token asks again."""
    grant, _ = await _dead(house, "answered", **of_class(refresh_class))
    sibling = House.beside(house)
    await _sweep(sibling)
    assert _attempt(house).state is AttemptState.RESOLVED_UNCHANGED
    assert house.endpoint.ledger == []
    assert (await sibling.token(grant.name)).refreshed
    assert [post.refresh_token for post in house.endpoint.ledger] == ["rt-1"]


async def test_a_predecessor_in_its_grace(house: House) -> None:
    """Class G presents the predecessor again while its grace lasts, by any process, at once."""
    grant, _ = await _dead(house, "answered", **of_class(RefreshClass.G))
    await _sweep(House.beside(house))
    assert [post.refresh_token for post in house.endpoint.ledger] == ["rt-1"]
    attempt = _attempt(house)
    assert (attempt.state, attempt.retries) == (AttemptState.RESOLVED_REFRESHED, 1)
    assert await _holds(house, grant) == "rt-3"


async def test_a_predecessor_after_its_grace(house: House) -> None:
    """When the grace is over class G is treated as class S: asked about first."""
    profile = {"refresh_class": RefreshClass.G, "grace_s": 10}
    grant, again = await _dead(house, "answered", introspection_endpoint=INTROSPECTION, **profile)
    house.endpoint.introspections.append(Liveness.ACTIVE)
    await _sweep(again)
    assert [post.kind for post in house.endpoint.ledger] == ["introspect"]
    assert _attempt(house).state is AttemptState.RESOLVED_UNCHANGED
    assert await _holds(again, grant) == "rt-1"


async def test_introspection_says_alive(house: House) -> None:
    """An active refresh token was not used: nothing is presented, and the grant goes on."""
    grant, again = await _dead(house, "answered", introspection_endpoint=INTROSPECTION)
    house.endpoint.introspections.append(Liveness.ACTIVE)
    await _sweep(again)
    assert [post.kind for post in house.endpoint.ledger] == ["introspect"]
    assert _attempt(house).state is AttemptState.RESOLVED_UNCHANGED
    assert (await again.token(grant.name)).refreshed


async def test_introspection_says_dead(house: House) -> None:
    """A refresh token that is not active is not presented; said twice, a minute apart, the grant
    needs consent with the cause SUCCESSOR_LOST."""
    grant, again = await _dead(house, "answered", introspection_endpoint=INTROSPECTION)
    house.endpoint.introspections.extend([Liveness.INACTIVE] * 2)
    await _sweep(again)
    assert _attempt(house).state is AttemptState.IN_DOUBT
    assert (await house.row(grant.name)).state is GrantState.ACTIVE
    house.clock.advance(limits.CONFIRM_AFTER_S + 1)
    await _sweep(again)
    assert {post.kind for post in house.endpoint.ledger} == {"introspect"}
    row = await house.row(grant.name)
    assert row.state is GrantState.REAUTHORIZATION_REQUIRED
    assert row.cause is ReauthorizationCause.SUCCESSOR_LOST
    assert _attempt(house).state is AttemptState.RESOLVED_LOST


PROBED = {"probe_endpoint": "https://op.example/me", "refresh_kills_old_access_token": True}


async def _dead_early(house: House, **profile: Any) -> tuple[Grant, House]:
    """As ``_dead``, while the old access token still lives."""
    grant = await house.grant(**profile)
    await Crash(house, "answered").refresh(grant)
    house.clock.advance(LEASE_S)
    house.endpoint.ledger.clear()
    return grant, restarted(house)


async def test_the_old_access_token_tells(house: House) -> None:
    """Where a refresh ends the old access token, one that works on shows that none happened."""
    grant, again = await _dead_early(house, **PROBED)
    house.endpoint.probes.append(Liveness.ACTIVE)
    await _sweep(again)
    assert [post.access_token for post in house.endpoint.ledger] == ["at-1"]
    assert _attempt(house).state is AttemptState.RESOLVED_UNCHANGED
    assert await _holds(again, grant) == "rt-1"


@pytest.mark.parametrize("answer", [Liveness.INACTIVE, Liveness.UNKNOWN])
async def test_a_probe_that_does_not_tell(house: House, answer: Liveness) -> None:
    """A dead access token may be dead for other reasons: the one retry decides."""
    _, again = await _dead_early(house, **PROBED)
    house.endpoint.probes.append(answer)
    await _sweep(again)
    assert [post.kind for post in house.endpoint.ledger] == ["probe", "refresh"]
    assert _attempt(house).state is AttemptState.RESOLVED_REFRESHED


async def test_an_expired_access_token_tells_nothing(house: House) -> None:
    """One that is past its end anyway is not asked about."""
    _, again = await _dead(house, "answered", **PROBED)
    await _sweep(again)
    assert [post.kind for post in house.endpoint.ledger] == ["refresh"]


@pytest.mark.parametrize("recovery", [Recovery.PROBE_ONLY, Recovery.MANUAL])
async def test_a_retry_that_is_not_allowed(house: House, recovery: Recovery) -> None:
    """Where the profile forbids the retry nothing is ever presented: the attempt stays in doubt,
    and is looked at again."""
    grant, again = await _dead(
        house, "answered", recovery=recovery, introspection_endpoint=INTROSPECTION
    )
    for _ in range(3):
        await _sweep(again)
        house.clock.advance(limits.IN_DOUBT_RETRY_MAX_S + LEASE_S)
    assert house.endpoint.posted("refresh") == []
    assert _attempt(house).state is AttemptState.IN_DOUBT
    assert (await house.row(grant.name)).state is GrantState.ACTIVE


async def test_a_retry_that_is_refused(house: House) -> None:
    """Class S without any way to ask presents it once more under its fence; refused, and refused
    again a minute later, the successor is lost."""
    grant, again = await _dead(house, "answered")
    house.endpoint.fail(AnswerClass.INVALID_GRANT, 2, status=400, error="invalid_grant")
    await _sweep(again)
    assert _attempt(house).state is AttemptState.IN_DOUBT
    house.clock.advance(limits.CONFIRM_AFTER_S + 1)
    await _sweep(again)
    assert len(house.endpoint.posted("refresh")) == 2
    assert (await house.row(grant.name)).cause is ReauthorizationCause.SUCCESSOR_LOST


async def test_a_retry_that_is_in_doubt_waits(house: House) -> None:
    """A retry without an answer leaves the attempt in doubt; who asks meanwhile is told so, and the
    provider is left alone until the pause is over."""
    _, again = await _dead(house, "answered")
    house.endpoint.fail(AnswerClass.IN_DOUBT)
    await _sweep(again)
    house.clock.advance(limits.IN_DOUBT_RETRY_S - 1)
    await _sweep(again)
    await _sweep(House.beside(house))
    assert len(house.endpoint.ledger) == 1
    house.clock.advance(LEASE_S)
    await _sweep(House.beside(house))  # its spool has said all that it could
    attempt = _attempt(house)
    assert (attempt.state, attempt.retries) == (AttemptState.RESOLVED_REFRESHED, 2)


async def test_a_retry_that_was_not_sent(house: House) -> None:
    """A provider that cannot be reached is tried again as soon as for any other request: it is no
    new doubt, and it is used again within half a minute of its return."""
    _, again = await _dead(house, "answered")
    house.endpoint.fail(AnswerClass.NOT_SENT, 7)
    for pause_s in (1, 2, 4, 8, 16, 20, 20):
        before = len(house.endpoint.ledger)
        await _sweep(again)
        house.clock.advance(pause_s - 0.5)
        await _sweep(again)
        assert len(house.endpoint.ledger) == before + 1, pause_s
        house.stores.tables.leases.clear()  # it runs out by itself, which says nothing here
        house.clock.advance(1)
    await _sweep(again)
    assert _attempt(house).state is AttemptState.RESOLVED_REFRESHED


async def test_class_s_waits_for_its_spool(house: House) -> None:
    """A process without the spool of a class S attempt leaves it alone until the spool has been
    away for as long as anybody waits."""
    await _dead(house, "stored")
    sibling = House.beside(house)
    await _sweep(sibling)
    assert _attempt(house).state is AttemptState.INTENT
    house.clock.advance(limits.SPOOL_WAIT_S)
    await _sweep(sibling)
    assert _attempt(house).state is AttemptState.RESOLVED_REFRESHED
    assert len(house.endpoint.ledger) == 1


async def test_what_was_lost_is_found_again(house: House) -> None:
    """A spool that comes back after its attempt was given up brings the grant back to life."""
    grant, away = await _dead(house, "stored")
    away.spool.crash()
    house.clock.advance(limits.SPOOL_WAIT_S)
    house.endpoint.fail(AnswerClass.INVALID_GRANT, 2, status=400, error="invalid_grant")
    sibling = House.beside(house)
    await _sweep(sibling)
    house.clock.advance(limits.CONFIRM_AFTER_S + 1)
    await _sweep(sibling)
    assert (await house.row(grant.name)).state is GrantState.REAUTHORIZATION_REQUIRED
    returned = restarted(house)
    await _sweep(returned)
    row = await house.row(grant.name)
    assert (row.state, row.cause, row.generation) == (GrantState.ACTIVE, None, 2)
    assert await _holds(returned, grant) == "rt-2"
    assert not any(house.spool.folder.entries.values())


async def test_what_is_found_again_and_cannot_be_read(house: House) -> None:
    """An answer of a lost attempt that holds no tokens is kept with it, and nobody is asked again
    because of it."""
    grant = await expired(house)
    house.endpoint.answers.append(HttpAnswer(200, "text/html", Sensitive(b"<html>")))
    await Crash(house, "stored").refresh(grant)
    sibling = House.beside(house)
    house.endpoint.fail(AnswerClass.INVALID_GRANT, 2, status=400, error="invalid_grant")
    for _ in range(2):
        house.clock.advance(limits.SPOOL_WAIT_S + LEASE_S)
        await _sweep(sibling)
    house.endpoint.ledger.clear()
    returned = restarted(house)
    for _ in range(3):
        await _sweep(returned)
    assert house.endpoint.ledger == []
    assert house.stores.tables.leases == {}
    attempt = _attempt(house)
    assert attempt.state is AttemptState.RESOLVED_LOST
    assert attempt.orphan_envelope is not None
    assert not any(house.spool.folder.entries.values())
    assert len(house.records(AuditAction.REFRESH_ORPHAN_KEPT)) == 1


async def test_a_revocation_came_first(house: House) -> None:
    """The kept answer of a grant that was revoked meanwhile is revoked at the provider."""
    grant, again = await _dead(house, "stored", revocation_endpoint="https://op.example/revoke")
    await again.revoke(again.call(), grant.name)
    await _sweep(again)
    assert (await house.row(grant.name)).state is GrantState.REVOKED
    assert {post.refresh_token for post in house.endpoint.posted("revoke")} == {"rt-1", "rt-2"}
    assert not any(house.spool.folder.entries.values())


async def test_a_consent_came_first(house: House) -> None:
    """The kept answer of a grant that was consented to anew meanwhile overwrites nothing."""
    grant, again = await _dead(house, "stored")
    await again.consent()
    held = await _holds(again, grant)
    await _sweep(again)
    assert await _holds(again, grant) == held
    assert (await house.row(grant.name)).generation == 2
    assert len(house.records(AuditAction.REFRESH_RESULT_DISCARDED)) == 1


async def test_superseded_without_an_answer(house: House) -> None:
    """An attempt without an answer, whose grant has moved on, asks nobody anything."""
    _, again = await _dead(house, "answered", introspection_endpoint=INTROSPECTION)
    await again.consent()
    house.endpoint.ledger.clear()
    await _sweep(again)
    assert _attempt(house).state is AttemptState.RESOLVED_SUPERSEDED
    assert house.endpoint.ledger == []


async def test_an_answer_that_cannot_be_read_is_kept(house: House) -> None:
    """An answer in the spool that holds no tokens as the profile reads it stays with the attempt,
    and is used once the profile is right."""
    nested = Sensitive(b'{"data": {"access_token": "at-9", "refresh_token": "rt-9"}}')
    grant = await expired(house, introspection_endpoint=INTROSPECTION)
    house.endpoint.answers.append(HttpAnswer(200, "application/json", nested))
    await Crash(house, "stored").refresh(grant)
    house.clock.advance(LEASE_S)
    again = restarted(house)
    house.endpoint.introspections.append(Liveness.INACTIVE)
    await _sweep(again)
    assert _attempt(house).orphan_envelope is not None
    paths = {name: f"data.{name}" for name in ("access_token", "refresh_token")}
    await again.register(introspection_endpoint=INTROSPECTION, token_paths=paths)
    house.clock.advance(limits.CONFIRM_AFTER_S + LEASE_S)
    await _sweep(House.beside(house))
    assert _attempt(house).state is AttemptState.RESOLVED_REFRESHED
    assert await _holds(again, grant) == "rt-9"


async def test_the_life_of_a_kept_token_began_long_ago(house: House) -> None:
    """A token from a kept answer is as old as its request: its end is counted from there."""
    grant = await expired(house)
    house.endpoint.answers.append(as_http(an_answer("at-9", "rt-9", life_s=600)))
    asked = house.clock.now()
    await Crash(house, "stored").refresh(grant)
    house.clock.advance(500)
    await _sweep(restarted(house))
    row = await house.row(grant.name)
    assert row.access_expire_time is not None
    assert (row.access_expire_time - asked).total_seconds() == 600


@pytest.mark.parametrize("slow", ["take_over", "prepare"])
async def test_a_recovery_that_was_too_slow(
    house: House, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    """When getting the lease, or preparing under it, took so long that the POST could outlive it,
    nothing is sent, nothing counts as a retry, and the next look tries again at once."""
    _, again = await _dead(house, "answered")
    owner: Any = {"take_over": again.attempts, "prepare": again.spool}[slow]
    name = {"take_over": "take_over", "prepare": "reserve"}[slow]
    real = getattr(owner, name)

    async def slowly(*values: Any) -> Any:
        done = await real(*values)
        house.clock.advance(limits.LEASE_MARGIN_S + 1)
        return done

    monkeypatch.setattr(owner, name, slowly)
    await _sweep(again)
    assert house.endpoint.ledger == []
    attempt = _attempt(house)
    assert (attempt.state, attempt.retries) == (AttemptState.INTENT, 0)
    assert house.stores.tables.leases == {}
    monkeypatch.setattr(owner, name, real)
    await _sweep(again)
    assert len(house.endpoint.ledger) == 1
    assert _attempt(house).state is AttemptState.RESOLVED_REFRESHED


async def test_a_lease_lost_under_way_keeps_the_answer(house: House) -> None:
    """Who lost its lease during the request and then dies leaves its answer with the attempt; any
    process finds it there, whatever became of the spool."""
    grant = await expired(house)
    commit = house.attempts.commit

    async def late(*values: Any) -> bool:
        house.stores.tables.leases.clear()
        return await commit(*values)

    patched: Any = house.attempts
    patched.commit = late
    await house.refresh(house.call(), grant)
    attempt = _attempt(house)
    assert attempt.state is AttemptState.INTENT
    assert attempt.orphan_envelope is not None
    house.clock.advance(limits.SPOOL_WAIT_S + 1)
    house.endpoint.ledger.clear()
    await _sweep(House.beside(house))
    assert house.endpoint.ledger == []
    assert await _holds(house, grant) == "rt-2"
