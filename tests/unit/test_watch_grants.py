"""WatchGrants: what a watcher is told, what is withheld, and how its stream ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.house import APP, OTHER, TENANT, House, refused
from vault_service.domain import limits
from vault_service.domain.access import Caller, Permission, Resource, ResourceKind
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.event import EVERY_EVENT, EventFilter, EventKind, GrantEvent


class Watcher:
    """A stream under way and what came over it."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.messages: list[tuple[GrantEvent | None, str]] = []
        self.arrived = asyncio.Event()

    async def send(self, event: GrantEvent | None, cursor: str) -> None:
        self.messages.append((event, cursor))
        self.arrived.set()

    @property
    def kinds(self) -> list[EventKind]:
        return [event.kind for event, _ in self.messages if event]

    async def until(self, count: int) -> None:
        """Wait for so many messages."""
        async with asyncio.timeout(5):
            while len(self.messages) < count:
                self.arrived.clear()
                await self.arrived.wait()

    async def settled(self) -> None:
        """All that could arrive without time passing has."""
        await asyncio.sleep(5 * limits.EVENT_GATHER_S)


@asynccontextmanager
async def watching(
    house: House,
    only: EventFilter = EVERY_EVENT,
    cursor: str = "",
    *,
    caller: str = APP,
    budget_s: float = 600.0,
) -> AsyncIterator[tuple[Watcher, asyncio.Task[None]]]:
    """A watch whose first message came."""
    watcher = Watcher(house)
    call = house.call(caller, budget_s=budget_s)
    task = asyncio.create_task(house.watch(call, TENANT, only, cursor, watcher.send))
    await watcher.until(1)
    yield watcher, task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_life_of_a_grant_is_told() -> None:
    """Consent, revocation and deletion are told as they happen, each with its cursor."""
    house = House()
    await house.register()
    async with watching(house) as (watcher, _):
        assert watcher.messages[0][0] is None
        grant = (await house.consent()).grant
        await watcher.until(2)
        await house.delete(house.call(), grant.name)
        await watcher.until(4)
    assert watcher.kinds == [EventKind.CREATED, EventKind.REVOKED, EventKind.DELETED]
    assert len({cursor for _, cursor in watcher.messages}) == 4


async def test_the_same_account_again_is_the_same_grant() -> None:
    """A second consent of an account keeps grant and aliases, and the watcher is told so."""
    house = House()
    first = await house.grant()
    async with watching(house) as (watcher, _):
        again = await house.consent(label="second")
        await watcher.until(2)
    assert again.grant.name == first.name
    assert watcher.kinds == [EventKind.RECONNECTED]
    event = watcher.messages[1][0]
    assert event is not None
    assert (event.grant, event.revision) == (first.name, first.revision + 1)
    assert len(house.stores.tables.aliases) == 2


async def test_a_cursor_goes_on_where_it_stopped() -> None:
    """Whoever comes back with the last cursor gets what happened meanwhile, and nothing twice."""
    house = House()
    grant = await house.grant()
    async with watching(house) as (watcher, _):
        cursor = watcher.messages[-1][1]
    await house.revoke(house.call(), grant.name)
    async with watching(House.beside(house), cursor=cursor) as (again, _):
        await again.until(2)
        assert again.kinds == [EventKind.REVOKED]
        cursor = again.messages[-1][1]
    async with watching(house, cursor=cursor) as (last, _):
        await last.settled()
        assert last.kinds == []


@pytest.mark.parametrize(
    ("only", "told"),
    [
        (EventFilter(owner="u-1"), [EventKind.REVOKED]),
        (EventFilter(owner="u-2"), []),
        (EventFilter(oauth_client="crm", provider="op"), [EventKind.REVOKED]),
        (EventFilter(oauth_client="other"), []),
        (EventFilter(provider="other"), []),
        (EventFilter(kinds=frozenset({EventKind.REVOKED})), [EventKind.REVOKED]),
        (EventFilter(kinds=frozenset({EventKind.DELETED})), []),
    ],
)
async def test_filters_narrow(only: EventFilter, told: list[EventKind]) -> None:
    """Owner, OAuthClient, provider and kinds narrow what is told, together."""
    house = House()
    grant = await house.grant()
    async with watching(house, only) as (watcher, _):
        await house.revoke(house.call(), grant.name)
        await watcher.settled()
    assert watcher.kinds == told


async def test_what_the_policy_denies_on_the_grant_is_withheld() -> None:
    """A watcher sees events of grants it may watch only; the record counts the others."""
    house = House()
    await house.register()

    def only_first(caller: Caller, permission: Permission, resource: Resource) -> bool:
        watched = permission is Permission.WATCH_GRANTS and resource.kind is ResourceKind.GRANT
        return not watched or (resource.owner == "u-1" and resource.scopes == {"openid", "mail"})

    house.policy.only = only_first
    house.stores.tables.clock.advance(1)
    async with watching(house) as (watcher, task):
        house.endpoint.subject = "s-2"
        await house.consent("u-2")
        house.endpoint.subject = "s-1"
        await house.consent("u-1")
        await watcher.until(2)
        house.watches.close()
        await refused(Reason.STREAM_ENDED, task)
    assert [event.owner for event, _ in watcher.messages if event] == ["u-1"]
    (ended,) = house.records(AuditAction.GRANT_WATCH_ENDED)
    assert ended.detail["events"] == "1"
    assert ended.detail["withheld"] == "1"
    assert ended.detail["ended"] == "STREAM_ENDED"


async def test_nothing_leaves_before_the_start_is_on_record() -> None:
    """Where the start cannot be recorded the stream is AUDIT_UNAVAILABLE and says nothing."""
    house = House()
    await house.register()
    watcher = Watcher(house)
    house.stores.audit_unavailable = True
    await refused(
        Reason.AUDIT_UNAVAILABLE,
        house.watch(house.call(), TENANT, EVERY_EVENT, "", watcher.send),
    )
    assert watcher.messages == []
    assert len(house.watches) == 0


async def test_a_heartbeat_moves_the_cursor() -> None:
    """Without events a message with only a cursor comes after 15 seconds."""
    house = House()
    await house.register()
    async with watching(house) as (watcher, _):
        house.clock.advance(limits.WATCH_HEARTBEAT_S)
        house.stores.bell.ring_all()
        await watcher.until(2)
    assert [event for event, _ in watcher.messages] == [None, None]
    assert watcher.messages[0][1] != watcher.messages[1][1]


async def test_it_ends_after_its_longest_time() -> None:
    """At the end of its life the stream is STREAM_ENDED, retryable, and its slot is free."""
    house = House()
    await house.register()
    async with watching(house) as (_, task):
        house.clock.advance(limits.WATCH_LIFE_S)
        house.stores.bell.ring_all()
        error = await refused(Reason.STREAM_ENDED, task)
    assert error.retryable
    assert "cursor" in error.message
    assert len(house.watches) == 0


async def test_streams_are_bounded() -> None:
    """A caller's seventeenth stream is CALLER_RATE_LIMITED, another caller's is not; a stream more
    than the process takes is OVERLOADED, and a place that was left is free."""
    house = House()
    app, other = Caller(APP, "1"), Caller(OTHER, "2")
    entered = [house.watches.entered(app) for _ in range(limits.WATCHES_PER_CALLER_MAX)]
    for each in entered:
        each.__enter__()
    with pytest.raises(VaultError) as limited, house.watches.entered(app):
        raise AssertionError("entered")
    assert limited.value.reason is Reason.CALLER_RATE_LIMITED
    with house.watches.entered(other):
        assert len(house.watches) == limits.WATCHES_PER_CALLER_MAX + 1
    entered.pop().__exit__(None, None, None)
    with house.watches.entered(app):
        pass
    many = [
        house.watches.entered(Caller(f"spiffe://example.org/{n}", "3"))
        for n in range(limits.WATCHES_MAX - len(house.watches))
    ]
    for each in many:
        each.__enter__()
    with pytest.raises(VaultError) as full, house.watches.entered(other):
        raise AssertionError("entered")
    assert full.value.reason is Reason.OVERLOADED


async def test_a_slow_reader_holds_one_batch() -> None:
    """While a message waits to be taken nothing more is read from the store."""
    house = House()
    grant = await house.grant()
    kind = EventKind.EXPIRING_SOON
    record = house.records(AuditAction.AUTHORIZATION_COMPLETED)[0]
    cursor = await house.stores.events.begin(TENANT, "")
    for _ in range(3 * limits.EVENT_BATCH_MAX):
        house.stores.tables.tell(record, grant, kind)
    reads, taken = 0, asyncio.Semaphore(1)
    read = house.stores.events.read

    async def counted(*asked: object) -> object:
        nonlocal reads
        reads += 1
        return await read(*asked)  # type: ignore[arg-type]

    house.stores.events.read = counted  # type: ignore[method-assign,assignment]

    async def slow(event: GrantEvent | None, cursor: str) -> None:
        await taken.acquire()

    task = asyncio.create_task(house.watch(house.call(), TENANT, EVERY_EVENT, cursor, slow))
    for _ in range(50):
        await asyncio.sleep(0)
    assert reads == 1
    for _ in range(limits.EVENT_BATCH_MAX):
        taken.release()
    for _ in range(500):
        await asyncio.sleep(0)
    assert reads == 2
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_store_that_goes_away_ends_the_stream() -> None:
    """A database that is lost under way is STORE_UNREACHABLE: the watcher comes back later."""
    house = House()
    await house.register()
    async with watching(house) as (_, task):
        house.stores.unreachable = True
        house.stores.bell.ring_all()
        error = await refused(Reason.STORE_UNREACHABLE, task)
    assert error.retryable
    assert len(house.watches) == 0
