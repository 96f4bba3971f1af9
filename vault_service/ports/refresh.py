"""What the refresh engine needs from outside, and how each of it fails."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from vault_service.domain.attempt import (
    AttemptState,
    Beginning,
    Busy,
    Deferred,
    RefreshAttempt,
    SpoolEntry,
    SpoolKind,
    WaitsFor,
)
from vault_service.domain.audit import AuditRecord
from vault_service.domain.grant import Grant, Lease, ReauthorizationCause, SealedTokens
from vault_service.domain.names import ProviderName
from vault_service.domain.provider import RefreshClass


@dataclass(frozen=True, slots=True)
class NewAttempt:
    """What ``begin`` writes beside what the database knows itself."""

    attempt_id: uuid.UUID
    refresh_class: RefreshClass
    grace_s: int
    spool_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt ends that brought no tokens.

    ``pause_s`` holds back the next request for the grant; with ``doubles`` it grows with every
    failure in a row. ``refused`` marks the generation as refused by the provider at this moment (a
    second refusal later confirms it). ``until_it_answers``: the pause is for a provider that fails,
    so its next success ends it (``hasten``). ``waits_for``, of IN_DOUBT: without a pause nobody
    looks at it again before that comes, and its lease ends at once.
    """

    state: AttemptState
    reason: str  # name of the Reason that callers get meanwhile
    pause_s: float = 0.0
    doubles: bool = False
    refused: bool = False
    until_it_answers: bool = False
    waits_for: WaitsFor | None = None
    revision: int = 0  # of the provider, by whose profile that was decided


class AttemptStore(Protocol):
    """Leases and attempts, on the database's clock. STORE_UNREACHABLE, GRANT_NOT_FOUND.

    Each method is one transaction, and with a record the record is in it. A method that takes a
    lease does nothing and returns False where its fence is no longer the newest.
    """

    async def begin(
        self,
        grant: Grant,
        new: NewAttempt,
        lease_s: float,
        spools: Sequence[uuid.UUID],
        record: AuditRecord,
    ) -> Beginning:
        """Take the lease and write INTENT, if the row is ACTIVE at ``grant.generation``, nothing
        holds it back and no attempt of it is unresolved. ``Unresolved``, under its lease, only
        where that attempt is ``resolvable`` with these spools now; else ``Deferred``, also where
        its holder has left it in doubt. ``Busy.MOVED`` before both."""

    async def holder(self, grant: Grant) -> Deferred | Busy | None:
        """``Busy.HELD`` while somebody's lease of it goes on, ``Deferred`` where that holder's
        request is in doubt."""

    async def renew(self, lease: Lease, attempt: RefreshAttempt, lease_s: float) -> bool:
        """The lease goes on for so long from now: its holder's request is under way past its limit.
        The attempt is IN_DOUBT for everybody else from now on, and its spool still counts."""

    async def put_off(self, lease: Lease, attempt: RefreshAttempt, pause_s: float) -> None:
        """End the lease, and leave the attempt alone for ``pause_s``, but no longer than its grace
        allows: something of ours is missing that recovery needs."""

    async def release(self, lease: Lease, tenant: str) -> None:
        """End it early, only if the fence is still ours."""

    async def take_over(
        self, attempt: RefreshAttempt, lease_s: float, spools: Sequence[uuid.UUID]
    ) -> tuple[Lease, RefreshAttempt] | None:
        """The lease of an unresolved attempt whose holder's has ended; the attempt as it stands
        under it. None: another has it, it is not ``resolvable`` with these spools, or
        ``next_try_time`` has moved since it was read."""

    async def take_ordered(
        self, attempt: RefreshAttempt, lease_s: float
    ) -> tuple[Lease, RefreshAttempt] | None:
        """As ``take_over``, whatever it waits for: an operator ordered it. None: another has the
        lease, or there is no such attempt."""

    async def retry(
        self,
        lease: Lease,
        attempt: RefreshAttempt,
        spools: Sequence[uuid.UUID],
        record: AuditRecord,
    ) -> bool:
        """Before recovery presents the refresh token again: it is this process's INTENT now.
        ``spools``: those it holds, its own first; others that were awaited are awaited still."""

    async def commit(
        self,
        lease: Lease,
        attempt: RefreshAttempt,
        grant: Grant,
        tokens: SealedTokens,
        state: AttemptState,
        record: AuditRecord,
    ) -> bool:
        """Compare-and-swap on ``attempt.base_generation``, the fence and state ACTIVE: the tokens
        into the row, the attempt to ``state``, the lease ended. The same record again, after a
        commit whose answer was lost, is True."""

    async def end(
        self, lease: Lease, attempt: RefreshAttempt, ending: Ending, record: AuditRecord
    ) -> bool:
        """The attempt to ``ending.state``, and what it means for the next request; the lease
        ends, but for IN_DOUBT of class S (and G past its grace), whose lease runs out: the provider
        may still be at it."""

    async def condemn(
        self,
        lease: Lease,
        attempt: RefreshAttempt,
        cause: ReauthorizationCause,
        state: AttemptState,
        record: AuditRecord,
    ) -> bool:
        """ACTIVE to REAUTHORIZATION_REQUIRED under the same compare-and-swap as ``commit``. False
        too while an answer of the attempt is kept, unless an operator gives it up."""

    async def keep_orphan(
        self, attempt: RefreshAttempt, envelope: bytes, record: AuditRecord, revision: int = 0
    ) -> bool:
        """An answer that the row could not take: its sealed bytes go into the attempt. False, and
        no record, where the attempt has ended so that no answer of it is missed.
        ``revision``: of the provider, with whose profile it could not be read; 0: not tried."""

    async def read_in_vain(self, lease: Lease, attempt: RefreshAttempt, revision: int) -> None:
        """The kept answer of an attempt that has ended cannot be read with this profile either:
        not tried again before another. The lease ends."""

    async def forget_answer(
        self, lease: Lease, attempt: RefreshAttempt, record: AuditRecord
    ) -> bool:
        """What was kept is no success after all: it keeps nobody from asking again."""

    async def is_in_question(self, grant: Grant) -> bool:
        """Whether the refresh token of this generation was refused by the provider, or an attempt
        of class G or S that presented it has no outcome: it is used up, as far as anybody knows."""

    async def take_up(
        self, attempt: RefreshAttempt, tokens: SealedTokens, record: AuditRecord
    ) -> bool:
        """The refresh token of ``tokens`` into a row that a consent has moved on without a newer
        one than the attempt presented. False, and nothing happens, where the row is not so, or an
        answer of the attempt is in it. The same record again is True."""

    async def due_anew(self, limit: int) -> Sequence[RefreshAttempt]:
        """Attempts that wait, or have an answer that could not be read, and for which that may be
        otherwise now, over all tenants: the provider's profile was put, the reader is another,
        or the grant has moved on. A look is at ``limits.WAITING_LOOK_MAX`` of them, from where the
        one before ended, so that it costs the same however many wait."""

    async def unresolved(self, spools: Sequence[uuid.UUID], limit: int) -> Sequence[RefreshAttempt]:
        """Attempts whose time to be resolved has come, over all tenants: lease ended,
        ``next_try_time`` reached, and ``resolvable`` with these spools. Tenants take turns; of
        each first those whose grace runs out, then the oldest."""

    async def hasten(self, providers: Collection[ProviderName], limit: int) -> int:
        """These providers answer again: attempts that were in doubt for a while, and whose pause
        is ``until_it_answers``, are due now, ``limit`` of them at most; how many."""

    async def find(self, tenant: str, attempt_id: uuid.UUID) -> RefreshAttempt | None:
        """One attempt."""

    async def refused_since(self, grant: Grant) -> datetime | None:
        """When the provider first refused this generation, or None."""


class GrantBell(Protocol):
    """Rings when an attempt of a grant ends or the grant changes its state, on whatever replica. It
    may ring for nothing and it may miss one: who waits looks by itself too."""

    def waiting(self, grant_id: uuid.UUID) -> AbstractContextManager[asyncio.Event]:
        """An event that is set whenever it rings; clear it before each look."""


class Spool(Protocol):
    """Where a process keeps what it sent and what came back, on its own disk.

    Every method that writes, but ``free``, returns when the bytes are on disk. STORE_UNREACHABLE
    when the disk takes nothing or not in time (a write that was late may still reach it; one
    step may be tried again), OVERLOADED when every slot is taken, INTERNAL for a step out of
    order. An entry stays until it is freed: free it when the database knows the attempt's end,
    also of an attempt that is in doubt. A spool without entries is adopted by nobody.
    """

    @property
    def spool_id(self) -> uuid.UUID:
        """Of the spool that this process writes. STORE_UNREACHABLE while it has none."""

    async def reserve(
        self,
        attempt_id: uuid.UUID,
        tenant: str,
        grant_id: uuid.UUID,
        kind: SpoolKind = SpoolKind.REFRESH,
    ) -> SpoolEntry:
        """A slot with room for the largest answer, marked RESERVED. For CONSENT the ids are those
        of the claim and of the authorization."""

    async def mark_sent(self, entry: SpoolEntry) -> SpoolEntry:
        """From here on the request may be on its way."""

    async def store(self, entry: SpoolEntry, envelope: bytes) -> SpoolEntry:
        """The sealed answer, marked RECEIVED."""

    async def free(self, entry: SpoolEntry) -> None:
        """The database has it: the slot may be used again. A crash before it reaches the disk
        only makes recovery look at it once more. Never raises; nothing happens to an entry that
        is free already, or whose slot another attempt has."""

    def leave(self, entry: SpoolEntry) -> None:
        """The task at work on it ends without an outcome that the database has: ``left_over``
        gives it from now on, and not only after a restart."""

    async def left_over(self) -> Sequence[SpoolEntry]:
        """Entries that no task of this process is at work on: its own from before or left since,
        and those of other spools in the same folder whose process is gone."""

    def holds(self) -> Sequence[uuid.UUID]:
        """The spools that this process has locked, its own first."""
