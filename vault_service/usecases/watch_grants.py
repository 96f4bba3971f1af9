"""WatchGrants: what happens to grants, each change once it is certain, as far as the caller may."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from vault_service.domain import limits
from vault_service.domain.access import Call, Decision, Permission, Resource, ResourceKind
from vault_service.domain.audit import AuditAction
from vault_service.domain.envelope import Level
from vault_service.domain.errors import VaultError
from vault_service.domain.event import EventFilter, GrantEvent
from vault_service.ports import AuditLog, Clock, EventBell, EventStore
from vault_service.usecases.gate import Gate, tenant_resource
from vault_service.usecases.recorder import Recorder
from vault_service.usecases.watches import Watches, stream_ended

Send = Callable[[GrantEvent | None, str], Awaitable[None]]
"""Takes an event (None: a heartbeat) and the cursor after it; returns when it is on its way, so
that a slow reader slows the watch and nothing piles up."""

_END_RESERVE_S = 0.5
"""A stream ends so long before its deadline, so that its reason still arrives."""


@dataclass(slots=True)
class _Told:
    """What the record of the end says, and when the last message left."""

    at: float
    events: int = 0
    withheld: int = 0


class WatchGrants:
    """Reads the outbox in its certain order; the bell only says when to look."""

    def __init__(
        self,
        *,
        gate: Gate,
        events: EventStore,
        bell: EventBell,
        watches: Watches,
        audit: AuditLog,
        recorder: Recorder,
        clock: Clock,
    ) -> None:
        self._gate = gate
        self._events = events
        self._bell = bell
        self._watches = watches
        self._audit = audit
        self._recorder = recorder
        self._clock = clock

    async def __call__(
        self, call: Call, tenant: str, only: EventFilter, cursor: str, send: Send
    ) -> None:
        """Tells until it raises: STREAM_ENDED in the normal course, or the reasons of the proto.

        The start is on record before anything leaves, and the end with what was told.
        """
        await self._gate.enter(call, tenant)
        decision = self._gate.require(call, Permission.WATCH_GRANTS, tenant_resource(tenant))
        with self._watches.entered(call.caller):
            place = await self._events.begin(tenant, cursor)
            await self._record(call, AuditAction.GRANT_WATCH_STARTED, tenant, decision, {})
            told, ended = _Told(self._clock.monotonic()), "CANCELLED"
            try:
                await send(None, place)
                await self._follow(call, tenant, only, place, send, told)
            except VaultError as error:
                ended = error.reason.name
                raise
            finally:
                facts = {
                    "events": str(told.events), "withheld": str(told.withheld), "ended": ended,
                }  # fmt: skip
                with contextlib.suppress(VaultError):
                    action = AuditAction.GRANT_WATCH_ENDED
                    await self._record(call, action, tenant, decision, facts)

    async def _follow(
        self, call: Call, tenant: str, only: EventFilter, place: str, send: Send, told: _Told
    ) -> None:
        heard = 0
        while True:
            self._watches.require_open()
            if call.deadline - self._clock.monotonic() <= _END_RESERVE_S:
                raise stream_ended("the stream was open for its longest time")
            batch = await self._events.read(tenant, place, limits.EVENT_BATCH_MAX)
            for event, cursor in batch.events:
                if not only.matches(event):
                    continue
                if not self._may_see(call, event):
                    told.withheld += 1
                    continue
                await send(event, cursor)
                told.events += 1
                told.at = self._clock.monotonic()
            place = batch.cursor
            if self._clock.monotonic() - told.at >= limits.WATCH_HEARTBEAT_S:
                await send(None, place)
                told.at = self._clock.monotonic()
            if len(batch.events) == limits.EVENT_BATCH_MAX:
                continue
            pause_s = limits.EVENT_UNRIPE_POLL_S if batch.more else limits.EVENT_POLL_S
            rung = await self._bell.wait(tenant, heard, self._until(call, told, pause_s))
            if rung != heard:
                await asyncio.sleep(limits.EVENT_GATHER_S)
            heard = rung

    def _until(self, call: Call, told: _Told, pause_s: float) -> float:
        """How long to wait for the bell: no longer than to the heartbeat or the end."""
        now = self._clock.monotonic()
        heartbeat_s = told.at + limits.WATCH_HEARTBEAT_S - now
        left_s = call.deadline - _END_RESERVE_S - now
        return max(0.0, min(pause_s, heartbeat_s, left_s))

    def _may_see(self, call: Call, event: GrantEvent) -> bool:
        return self._gate.allows(call, Permission.WATCH_GRANTS, event_resource(event))

    async def _record(
        self,
        call: Call,
        action: AuditAction,
        tenant: str,
        decision: Decision,
        facts: dict[str, str],
    ) -> None:
        resource = f"tenants/{tenant}"
        record = self._recorder.done(
            call, action, tenant, resource, decision=decision, detail=facts
        )
        await self._audit.append(record)


def event_resource(event: GrantEvent) -> Resource:
    """The grant of an event as the policy sees it."""
    return Resource(
        ResourceKind.GRANT,
        str(event.grant),
        event.tenant,
        level=Level.USER,
        owner=event.owner,
        provider=event.provider,
        oauth_client=event.oauth_client,
        scopes=frozenset(event.scopes),
    )
