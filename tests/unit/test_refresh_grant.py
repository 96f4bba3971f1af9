"""Refresh: one at a time, everything fallible before the POST, nothing lost after it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, NoReturn

import pytest

from tests.fakes.token_endpoint import an_answer
from tests.support.attempts import begin
from tests.support.house import CLIENT_SECRET, PROVIDER, TENANT, House, refused
from tests.support.refreshing import expired, until
from tests.support.samples import a_profile
from vault_service.domain import limits
from vault_service.domain.answers import AnswerClass
from vault_service.domain.attempt import AttemptState, Beginning, SpoolEntry
from vault_service.domain.audit import AuditAction, Outcome
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import Grant, GrantState, ProviderRevocation
from vault_service.domain.names import GrantAliasName, OAuthClientName
from vault_service.domain.oauth import OAuthClient, SealedCredential


@pytest.fixture
def house() -> House:
    return House()


async def test_result_is_committed(house: House) -> None:
    """A refresh makes the next generation, with both tokens, its life and a record."""
    grant = await expired(house)
    house.endpoint.answers.append(an_answer("new", "next", life_s=600, scopes=("mail",)))
    token = await house.token(grant.name)
    row = await house.row(grant.name)
    assert (token.value.reveal(), token.scopes, token.refreshed) == (b"new", ("mail",), True)
    assert (row.generation, row.access_generation, row.refresh_generation) == (2, 2, 2)
    assert (row.access_life_s, row.scopes, row.state) == (600, ("mail",), GrantState.ACTIVE)
    assert row.access_expire_time == house.clock.now() + timedelta(seconds=600)
    assert row.refresh_envelope is not None
    opened = await house.envelopes.open(row.refresh_binding(), row.refresh_envelope)
    assert opened.reveal() == b"next"
    (record,) = house.records(AuditAction.GRANT_REFRESHED)
    assert (record.outcome, record.detail["generation"]) == (Outcome.ALLOW, "2")
    assert house.stores.tables.leases == {}


async def test_what_is_posted(house: House) -> None:
    """The provider sees the newest refresh token and our credential, at the pinned endpoint."""
    grant = await expired(house)
    moved = a_profile(token_endpoint="https://elsewhere.example/token")
    await house.providers.put(house.call(), PROVIDER, moved)
    await house.token(grant.name)
    house.clock.advance(3_600)
    await house.token(grant.name)
    first, second = house.endpoint.posted("refresh")
    assert (first.refresh_token, second.refresh_token) == ("rt-1", "rt-2")
    assert (first.client_id, first.client_secret) == ("crm-at-op", CLIENT_SECRET)
    assert first.url == "https://op.example/token"


async def test_missing_refresh_token_keeps_the_old(house: House) -> None:
    """A provider that answers without a refresh token goes on with the one we have."""
    grant = await expired(house)
    house.endpoint.answers.append(an_answer("new", None))
    await house.token(grant.name)
    row = await house.row(grant.name)
    assert (row.generation, row.refresh_generation) == (2, 1)
    house.clock.advance(3_600)
    await house.token(grant.name)
    assert [post.refresh_token for post in house.endpoint.posted("refresh")] == ["rt-1", "rt-1"]


async def test_omitted_life(house: House) -> None:
    """Where expires_in is omitted, the profile's default counts."""
    grant = await expired(house, default_life_s=900)
    house.endpoint.answers.append(an_answer("new", life_s=None))
    token = await house.token(grant.name)
    assert token.expire_time == house.clock.now() + timedelta(seconds=900)


async def test_life_counts_from_before_the_post(house: House) -> None:
    """A slow provider does not lengthen its token's life."""
    grant = await expired(house)
    before = house.clock.now()
    held = house.endpoint.hold()
    waiting = asyncio.create_task(house.token(grant.name))
    await until(house, 1)
    house.clock.advance(7)
    held.set()
    assert (await waiting).expire_time == before + timedelta(seconds=3_600)


async def test_no_refresh_token(house: House) -> None:
    """A consent without a refresh token is served while its access token lives, then refused."""
    await house.register()
    house.endpoint.answers.append(an_answer("only", None))
    grant = (await house.consent()).grant
    house.endpoint.ledger.clear()
    assert (await house.token(grant.name)).value.reveal() == b"only"
    house.clock.advance(3_600)
    await refused(Reason.NO_REFRESH_TOKEN, house.token(grant.name))
    assert house.endpoint.ledger == []


async def test_waiters_have_their_own_deadline(house: House) -> None:
    """A waiter whose time is up gets REFRESH_IN_PROGRESS; the refresh goes on for the others."""
    grant = await expired(house)
    held = house.endpoint.hold()
    patient = asyncio.create_task(house.token(grant.name))
    await until(house, 1)
    error = await refused(Reason.REFRESH_IN_PROGRESS, house.token(grant.name, budget_s=0.05))
    assert error.retry_after_s is not None
    assert not patient.done()
    held.set()
    assert (await patient).value.reveal() == b"at-2"
    assert len(house.endpoint.ledger) == 1


async def test_waiters_judge_for_themselves(house: House) -> None:
    """A waiter learns only that the refresh ended: its own min_ttl, scopes and policy decide."""
    grant = await expired(house)
    held = house.endpoint.hold()
    house.endpoint.answers.append(an_answer("short", life_s=100, scopes=("mail",)))
    modest = asyncio.create_task(house.token(grant.name))
    wanting = asyncio.create_task(house.token(grant.name, 1_000))
    scoped = asyncio.create_task(house.token(grant.name, scopes=frozenset({"openid"})))
    await until(house, 1)
    held.set()
    assert (await modest).value.reveal() == b"short"
    await refused(Reason.MIN_TTL_OUT_OF_RANGE, wanting)
    await refused(Reason.REAUTHORIZATION_REQUIRED, scoped)
    assert len(house.endpoint.ledger) == 1


@pytest.mark.parametrize("wait_s", [0, 6])
async def test_loser_of_the_lease_adopts(house: House, wait_s: float) -> None:
    """A process that finds the lease held waits for its holder and adopts the result."""
    grant = await expired(house)
    other = House.beside(house)
    held = house.endpoint.hold()
    winner = asyncio.create_task(house.token(grant.name))
    await until(house, 1)
    loser = asyncio.create_task(other.token(grant.name))
    await asyncio.sleep(0.01)
    house.clock.advance(wait_s)
    held.set()
    assert (await winner).value.same_as((await loser).value)
    assert len(house.endpoint.ledger) == 1
    assert len(house.records(AuditAction.GRANT_REFRESHED)) == 1


async def test_read_again_under_the_lease(house: House) -> None:
    """Who gets the lease only after another process has refreshed sends nothing."""
    stale = await house.row((await expired(house)).name)
    await house.token(stale.name)
    await House.beside(house).refresh(house.call(), stale)
    assert len(house.endpoint.ledger) == 1
    assert house.stores.tables.leases == {}


async def test_lease_of_a_dead_process(house: House) -> None:
    """A lease whose holder died is waited for until its end, then the grant is refreshed."""
    grant = await expired(house)
    dead = House(house, "i-2", house.spool.folder)
    begun = await begin(dead.attempts, grant, spools=[dead.spool.spool_id])
    await dead.spool.reserve(begun.attempt.attempt_id, TENANT, grant.grant_id)
    dead.spool.crash()
    await house.spool.left_over()  # as every sweep does: the spool of the dead is ours now
    waiting = asyncio.create_task(house.token(grant.name, budget_s=60))
    await asyncio.sleep(0.01)
    assert house.endpoint.ledger == []
    house.clock.advance(26)
    assert (await waiting).value.reveal() == b"at-2"
    assert not any(house.spool.folder.entries.values())


async def test_slow_beginning_gives_up_the_post(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When taking the lease took so long that the POST could outlive it, nothing is sent."""
    grant = await expired(house)
    slow = house.attempts.begin

    async def begin_slowly(*values: Any) -> Beginning:
        house.clock.advance(limits.LEASE_MARGIN_S + 1)
        return await slow(*values)

    monkeypatch.setattr(house.attempts, "begin", begin_slowly)
    await refused(Reason.PROVIDER_UNAVAILABLE, house.token(grant.name))
    assert house.endpoint.ledger == []
    (attempt,) = house.stores.tables.attempts.values()
    assert attempt.state is AttemptState.NOT_SENT


async def test_slow_disk_gives_up_the_post(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the mark before the POST took so long that the POST could outlive its lease, nothing is
    sent, and the next one asks again."""
    grant = await expired(house)
    mark = house.spool.mark_sent

    async def mark_slowly(entry: SpoolEntry) -> SpoolEntry:
        house.clock.advance(limits.LEASE_MARGIN_S + 1)
        return await mark(entry)

    with monkeypatch.context() as slow:
        slow.setattr(house.spool, "mark_sent", mark_slowly)
        await refused(Reason.PROVIDER_UNAVAILABLE, house.token(grant.name))
    assert house.endpoint.ledger == []
    (attempt,) = house.stores.tables.attempts.values()
    assert attempt.state is AttemptState.NOT_SENT
    assert not any(house.spool.folder.entries.values())
    house.clock.advance(limits.BACKOFF_MAX_S)
    assert (await house.token(grant.name)).refreshed


async def test_slow_second_credential_is_not_presented(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When finding the older credential took so long that a second POST could outlive the lease,
    none is sent."""
    grant = await expired(house)
    house.endpoint.fail(AnswerClass.CLIENT_REFUSED, error="invalid_client")
    client = house.stores.tables.oauth_clients[OAuthClientName(TENANT, grant.oauth_client)]

    async def find_slowly(_: OAuthClient) -> SealedCredential:
        house.clock.advance(limits.LEASE_MARGIN_S + 1)
        return SealedCredential(client.credential_version, client.credential_envelope)

    monkeypatch.setattr(house.stores.oauth_clients, "older_credential", find_slowly)
    await refused(Reason.CLIENT_MISCONFIGURED, house.token(grant.name))
    assert len(house.endpoint.ledger) == 1


@pytest.mark.parametrize("fault", ["unreachable", "audit_unavailable"])
async def test_store_away_at_commit(house: House, fault: str) -> None:
    """A database that is away after the POST is offered the result until it takes it."""
    grant = await expired(house)
    held = house.endpoint.hold()
    waiting = asyncio.create_task(house.token(grant.name))
    await until(house, 1)
    setattr(house.stores, fault, True)
    held.set()
    await asyncio.sleep(0.12)
    assert not waiting.done()
    setattr(house.stores, fault, False)
    assert (await waiting).value.reveal() == b"at-2"
    assert len(house.endpoint.ledger) == 1
    assert len(house.records(AuditAction.GRANT_REFRESHED)) == 1


async def test_store_away_for_long(house: House) -> None:
    """After a minute the offer ends with the database's reason; nobody was told a lie."""
    grant = await expired(house)
    held = house.endpoint.hold()
    waiting = asyncio.create_task(house.token(grant.name, budget_s=120))
    await until(house, 1)
    house.stores.unreachable = True
    held.set()
    await asyncio.sleep(0.01)
    house.clock.advance(limits.COMMIT_RETRY_S + 1)
    await refused(Reason.STORE_UNREACHABLE, waiting)


async def test_revocation_beats_a_refresh(house: House) -> None:
    """What a refresh brings after a revocation is revoked at the provider, not stored."""
    grant = await expired(house)
    held = house.endpoint.hold()
    waiting = asyncio.create_task(house.token(grant.name))
    await until(house, 1)
    revoking = asyncio.create_task(house.revoke(house.call(), grant.name))
    await until(house, 2)
    held.set()
    await refused(Reason.GRANT_REVOKED, waiting)
    await revoking
    row = await house.row(grant.name)
    assert (row.state, row.generation) == (GrantState.REVOKED, 1)
    assert (row.access_envelope, row.refresh_envelope) == (None, None)
    assert {post.refresh_token for post in house.endpoint.posted("revoke")} == {"rt-1", "rt-2"}
    assert row.provider_revocation is ProviderRevocation.DONE
    assert len(house.records(AuditAction.REFRESH_RESULT_DISCARDED)) == 1
    assert house.stores.tables.queue == {}


async def test_discarded_result_is_queued_once(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queue that fails after it took a discarded refresh token does not get it again."""
    grant = await expired(house)
    held = house.endpoint.hold()
    waiting = asyncio.create_task(house.token(grant.name))
    await until(house, 1)
    away = VaultError(Reason.STORE_UNREACHABLE, "the worker's role is away")

    async def fail(_: Grant) -> NoReturn:
        raise away

    monkeypatch.setattr(house.stores.revocations, "take_for", fail)
    await house.revoke(house.call(), grant.name)
    held.set()
    await refused(Reason.GRANT_REVOKED, waiting)
    assert len(house.records(AuditAction.REFRESH_RESULT_DISCARDED)) == 1
    assert len(house.stores.tables.queue) == 2
    row = await house.row(grant.name)
    assert row.provider_revocation is ProviderRevocation.PENDING


async def test_consent_beats_a_refresh(house: House) -> None:
    """A refresh that ends after the account consented again does not overwrite the consent."""
    grant = await expired(house)
    held = house.endpoint.hold()
    waiting = asyncio.create_task(house.token(grant.name))
    await until(house, 1)
    house.endpoint.gate = None
    await house.consent()
    held.set()
    assert (await waiting).value.reveal() == b"at-3"
    row = await house.row(grant.name)
    assert row.generation == 2
    assert row.refresh_envelope is not None
    opened = await house.envelopes.open(row.refresh_binding(), row.refresh_envelope)
    assert opened.reveal() == b"rt-3"
    assert len(house.records(AuditAction.REFRESH_RESULT_DISCARDED)) == 1


async def test_grants_do_not_wait_for_each_other(house: House) -> None:
    """A provider that hangs over one grant holds up no refresh of another."""
    grant = await expired(house)
    house.endpoint.subject = "sub-2"
    second = (await house.consent("u-2")).grant
    house.clock.advance(3_600)
    held = house.endpoint.hold()
    hanging = asyncio.create_task(house.token(grant.name))
    await until(house, 2)
    house.endpoint.gate = None
    assert (await house.token(second.name)).refreshed
    assert not hanging.done()
    held.set()
    await hanging


async def test_alias_and_name_share_a_flight(house: House) -> None:
    """However a grant is named, one refresh serves all."""
    grant = await expired(house)
    alias = GrantAliasName(TENANT, "u-1", "crm")
    first, second = await asyncio.gather(house.token(grant.name), house.token(alias))
    assert first.value.same_as(second.value)
    assert len(house.endpoint.ledger) == 1
