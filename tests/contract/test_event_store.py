"""ports.EventStore: one suite for the fake and for PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.contract.conftest import Stores
from tests.support.attempts import begin
from tests.support.samples import (
    a_grant,
    a_record,
    an_authorization,
    put_grant,
    some_tokens,
)
from vault_service.adapters.postgres import cursors
from vault_service.domain import limits
from vault_service.domain.attempt import AttemptState, Begun
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.event import EventKind, GrantEvent
from vault_service.domain.grant import Grant, GrantState, ReauthorizationCause

_LOST = (ReauthorizationCause.SUCCESSOR_LOST, AttemptState.RESOLVED_LOST)


async def _put(stores: Stores, grant: Grant | None = None, label: str = "mail") -> Grant:
    return await put_grant(stores.authorizations, stores.grants, grant or a_grant(), label)


async def _read(stores: Stores, cursor: str, tenant: str = "acme") -> list[GrantEvent]:
    batch = await stores.events.read(tenant, cursor, 100)
    assert not batch.more
    return [event for event, _ in batch.events]


async def _condemn(stores: Stores, grant: Grant) -> None:
    begun = await begin(stores.attempts, grant)
    assert await stores.attempts.condemn(begun.lease, begun.attempt, *_LOST, a_record())


async def test_every_change_of_state_is_told(stores: Stores) -> None:
    """Consent, condemnation, the same account's new consent, revocation and deletion each make one
    event, in their order, with the row as it stood and the id of the change's record."""
    cursor = await stores.events.begin("acme", "")
    grant = await _put(stores)
    await _condemn(stores, grant)
    authorization = an_authorization()
    await stores.authorizations.insert(authorization, 600, a_record())
    again = replace(grant, generation=2)
    assert await stores.grants.reconnect(again, 2, authorization, a_record())
    record = a_record()
    revoked = await stores.grants.revoke(again, False, record)
    assert revoked is not None
    assert await stores.grants.delete(revoked, a_record())
    told = await _read(stores, cursor)
    assert [(event.kind, event.state, event.cause, event.revision) for event in told] == [
        (EventKind.CREATED, GrantState.ACTIVE, None, 1),
        (
            EventKind.REAUTHORIZATION_REQUIRED,
            GrantState.REAUTHORIZATION_REQUIRED,
            ReauthorizationCause.SUCCESSOR_LOST,
            2,
        ),
        (EventKind.RECOVERED, GrantState.ACTIVE, None, 3),
        (EventKind.REVOKED, GrantState.REVOKED, None, 4),
        (EventKind.DELETED, GrantState.REVOKED, None, 5),
    ]
    assert told[3].event_id == record.record_id
    first = told[0]
    facts = (first.grant, first.owner, first.oauth_client, first.provider, first.scopes)
    assert facts == (grant.name, "u-1", "crm", "op", ("openid", "mail"))
    assert [event.generation for event in told] == [1, 1, 2, 2, 2]


async def test_consent_while_active_is_reconnected(stores: Stores) -> None:
    """A new consent of an account whose grant works is told as such."""
    grant = await _put(stores)
    cursor = await stores.events.begin("acme", "")
    authorization = an_authorization()
    await stores.authorizations.insert(authorization, 600, a_record())
    assert await stores.grants.reconnect(grant, 1, authorization, a_record())
    assert [event.kind for event in await _read(stores, cursor)] == [EventKind.RECONNECTED]


async def test_a_refresh_is_no_event_but_a_recovery_is(stores: Stores) -> None:
    """A refresh of an ACTIVE grant tells nothing; an answer that turns up after the grant was given
    up for lost returns it to ACTIVE, and that is told."""
    grant = await _put(stores)
    cursor = await stores.events.begin("acme", "")
    begun = await begin(stores.attempts, grant)
    assert await _commit(stores, begun, grant, 2)
    assert await _read(stores, cursor) == []
    current = await stores.grants.get(grant.name)
    assert current is not None
    begun = await begin(stores.attempts, current)
    assert await stores.attempts.condemn(begun.lease, begun.attempt, *_LOST, a_record())
    await stores.attempts.keep_orphan(begun.attempt, b"sealed answer", a_record())
    taken = await stores.attempts.take_over(begun.attempt, 25.0, [])
    assert taken is not None
    assert await _commit(stores, Begun(*taken), current, 3)
    told = [(event.kind, event.generation) for event in await _read(stores, cursor)]
    assert told == [(EventKind.REAUTHORIZATION_REQUIRED, 2), (EventKind.RECOVERED, 3)]


async def _commit(stores: Stores, begun: Begun, grant: Grant, generation: int) -> bool:
    state = AttemptState.COMMITTED
    tokens = some_tokens(generation)
    return await stores.attempts.commit(
        begun.lease, begun.attempt, grant, tokens, state, a_record()
    )


async def test_what_changes_nothing_tells_nothing(stores: Stores) -> None:
    """A second revocation, a lost compare-and-swap and a consent that was stored before make no
    event."""
    grant = await _put(stores)
    await stores.grants.revoke(grant, False, a_record())
    cursor = await stores.events.begin("acme", "")
    await stores.grants.revoke(grant, False, a_record())
    authorization = an_authorization()
    await stores.authorizations.insert(authorization, 600, a_record())
    assert not await stores.grants.reconnect(grant, 1, authorization, a_record())
    assert await _read(stores, cursor) == []


async def test_no_event_without_its_record(stores: Stores) -> None:
    """Where the record cannot be written, neither the change nor its event is there."""
    grant = await _put(stores)
    cursor = await stores.events.begin("acme", "")
    await stores.behind.break_audit()
    with pytest.raises(VaultError):
        await stores.grants.revoke(grant, False, a_record())
    assert await _read(stores, cursor) == []


async def test_from_now_on(stores: Stores) -> None:
    """Without a cursor a reader sees what comes, not what was."""
    await _put(stores, label="a")
    cursor = await stores.events.begin("acme", "")
    assert await _read(stores, cursor) == []
    later = await _put(stores, label="b")
    assert [event.grant for event in await _read(stores, cursor)] == [later.name]


async def test_each_cursor_goes_on_after_its_event(stores: Stores) -> None:
    """Reading on from the cursor of any event, or of the batch, gives exactly what comes after."""
    cursor = await stores.events.begin("acme", "")
    names = [(await _put(stores, label=f"l{n}")).name for n in range(5)]
    batch = await stores.events.read("acme", cursor, 100)
    assert [event.grant for event, _ in batch.events] == names
    for position, (_, after) in enumerate(batch.events, 1):
        assert await stores.events.begin("acme", after) == after
        assert [event.grant for event in await _read(stores, after)] == names[position:]
    assert await _read(stores, batch.cursor) == []


async def test_batches_are_bounded(stores: Stores) -> None:
    """A batch has at most what was asked for, says that there is more, and goes on seamlessly."""
    cursor = await stores.events.begin("acme", "")
    names = [(await _put(stores, label=f"l{n}")).name for n in range(5)]
    told = []
    for size, more in ((2, True), (2, True), (1, False)):
        batch = await stores.events.read("acme", cursor, 2)
        assert (len(batch.events), batch.more) == (size, more)
        told += [event.grant for event, _ in batch.events]
        cursor = batch.cursor
    assert told == names


async def test_tenants_are_apart(stores: Stores) -> None:
    """A reader sees events of its tenant only, whatever cursor it brings."""
    cursor = await stores.events.begin("globex", "")
    await _put(stores)
    assert await _read(stores, cursor, "globex") == []
    theirs = await _put(stores, a_grant("globex"))
    assert [event.grant for event in await _read(stores, cursor, "globex")] == [theirs.name]


@pytest.mark.parametrize(
    "cursor",
    ["x", "A" * 36, "A" * 35 + "=", "\u00e9" * 36, "____" * 9, "AQ" + "A" * 33 + "B"],
)
async def test_foreign_cursor(stores: Stores, cursor: str) -> None:
    """A text that is no cursor of ours is refused, wherever it comes in."""
    for ask in (stores.events.begin("acme", cursor), stores.events.read("acme", cursor, 10)):
        with pytest.raises(VaultError) as refused:
            await ask
        assert refused.value.reason is Reason.FIELD_MALFORMED
        assert refused.value.metadata == {"field": "cursor"}


async def test_cursor_older_than_events_are_kept(stores: Stores) -> None:
    """A cursor after which events may be gone is refused, never read over the gap."""
    place = cursors.decode(await stores.events.begin("acme", ""))
    old = replace(place, time=place.time - timedelta(seconds=limits.EVENT_KEEP_S + 1))
    for ask in (
        stores.events.begin("acme", cursors.encode(old)),
        stores.events.read("acme", cursors.encode(old), 10),
    ):
        with pytest.raises(VaultError) as refused:
            await ask
        assert refused.value.reason is Reason.CURSOR_EXPIRED


async def test_cursor_of_a_future_that_is_not_ours(stores: Stores) -> None:
    """A place ahead of everything, as of a database before its restore, is refused."""
    ahead = cursors.Place(2**62, 1, datetime.now(UTC) + timedelta(days=3_000))
    with pytest.raises(VaultError) as refused:
        await stores.events.begin("acme", cursors.encode(ahead))
    assert refused.value.reason is Reason.CURSOR_EXPIRED
