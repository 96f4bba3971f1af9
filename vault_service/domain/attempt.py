"""A refresh attempt: written before the provider is asked, so that a crash leaves a question and
never a guess.

INTENT → COMMITTED | NOT_SENT | REJECTED | IN_DOUBT → RESOLVED_*. An INTENT in the database counts
as sent. Whether it was, and what came back, the spool of the process that sent it knows.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

from vault_service.domain.envelope import Binding, DekOwner, Field
from vault_service.domain.grant import Grant, GrantState, Lease, ReauthorizationCause
from vault_service.domain.names import GrantName
from vault_service.domain.provider import RefreshClass


class AttemptState(Enum):
    """What is known of one attempt. RESOLVED_*: decided by recovery."""

    INTENT = 1  # about to be sent, or sent
    COMMITTED = 2  # the successor is in the grant's row
    NOT_SENT = 3  # nothing left this host
    REJECTED = 4  # the provider answered, and gave nothing
    IN_DOUBT = 5  # sent, and no answer that tells
    RESOLVED_REFRESHED = 6  # its answer was found, or a retry brought one
    RESOLVED_UNCHANGED = 7  # it never reached the provider: the refresh token is as good as before
    RESOLVED_LOST = 8  # the provider has moved on and nobody has its answer
    RESOLVED_SUPERSEDED = 9  # the grant moved on otherwise: revoked, consented anew, a sibling won


class WaitsFor(Enum):
    """Without what an attempt in doubt does not go on: nobody presents its refresh token."""

    PROFILE = 1  # a 2xx came and cannot be read: a mended profile, a release or an operator can
    OPERATOR = 2  # the provider's ``recovery`` forbids a retry: an operator decides


class AttemptFilter(Enum):
    """Which attempts an operator lists."""

    IN_DOUBT = 1  # without an outcome, and nobody is at work on them
    WAITING = 2  # for a profile or an operator, or with a kept answer
    ALL = 3


class AttemptAction(Enum):
    """What an operator orders."""

    REREAD = 1  # the kept answer, now
    ACCEPT_AS_UNCHANGED = 2  # the provider did not carry it out
    GIVE_UP = 3  # the grant needs consent again
    PRESENT_AGAIN = 4  # the refresh token, once


# Raise it with each release that reads more answers: kept ones are read once again then.
READER: Final = 1

NO_SPOOL: Final = uuid.UUID(int=0)
"""Of an attempt in doubt whose process has said all that its spool could say."""

UNRESOLVED: Final = frozenset({AttemptState.INTENT, AttemptState.IN_DOUBT})
"""At most one attempt of a grant is in these; no other one begins before it is resolved."""

_MAY_BE_FOUND: Final = frozenset(
    {ReauthorizationCause.SUCCESSOR_LOST, ReauthorizationCause.BY_OPERATOR}
)
"""Causes with which a grant was given up; its answer may turn up, or become readable, all the
same."""

MAY_KEEP_AN_ANSWER: Final = frozenset(
    {
        AttemptState.INTENT,
        AttemptState.IN_DOUBT,
        AttemptState.RESOLVED_UNCHANGED,
        AttemptState.RESOLVED_LOST,
    }
)
"""With an attempt in another state an answer is worth nothing: its grant has moved on."""

RESOLVED: Final = frozenset(
    {
        AttemptState.RESOLVED_REFRESHED,
        AttemptState.RESOLVED_UNCHANGED,
        AttemptState.RESOLVED_LOST,
        AttemptState.RESOLVED_SUPERSEDED,
    }
)
"""By recovery."""


@dataclass(frozen=True, slots=True)
class RefreshAttempt:
    """One row of refresh_attempts."""

    attempt_id: uuid.UUID
    tenant: str
    grant_id: uuid.UUID
    base_generation: int  # whose refresh token was presented
    refresh_class: RefreshClass
    grace_s: int  # class G: how long the predecessor works
    instance: str
    spool_id: uuid.UUID  # where its SENT mark and its answer are, if anywhere
    state: AttemptState
    retries: int  # how often recovery has presented the refresh token again
    orphan_envelope: bytes | None  # an answer that came when the row could not take it
    create_time: datetime  # before the first request was sent
    next_try_time: datetime  # recovery leaves it alone until then
    read_time: datetime  # the database's clock
    # Spools that may hold an answer to it, but for those given up or away for too long.
    awaited: tuple[uuid.UUID, ...]
    waits_for: WaitsFor | None = None
    until_it_answers: bool = False  # a success of its provider releases it before its time
    due_anew: bool = False  # what it waits for may have come: see adapters/postgres/kept_answers

    @property
    def grant(self) -> GrantName:
        """Whose refresh it is."""
        return GrantName(self.tenant, self.grant_id)

    @property
    def grace_end_time(self) -> datetime:
        """Of class G: until then, at least, the predecessor works."""
        return self.create_time + timedelta(seconds=self.grace_s)

    def grace_left_s(self, now: datetime) -> float:
        """Seconds until then; 0 for every other class, and past it."""
        if self.refresh_class is not RefreshClass.G:
            return 0.0
        return max(0.0, (self.grace_end_time - now).total_seconds())

    @property
    def acting_class(self) -> RefreshClass:
        """Class G past its grace is class S in everything."""
        over = self.refresh_class is RefreshClass.G and not self.grace_left_s(self.read_time)
        return RefreshClass.S if over else self.refresh_class

    def may_change(self, row: Grant) -> bool:
        """Whether the row stands where this attempt began. One that recovery gave up for lost is
        as good as ACTIVE here: what was lost may have been found."""
        lost = row.cause in _MAY_BE_FOUND
        alive = row.state is GrantState.ACTIVE
        return row.generation == self.base_generation and (alive or lost)


def resolvable(attempt: RefreshAttempt, spools: Collection[uuid.UUID]) -> bool:
    """Whether a process that holds these spools may resolve it now.

    Class S, and class G past its grace, wait for every spool that may hold the only copy of the
    successor; where the old refresh token works on, anybody may ask again. An answer that is kept
    with the attempt is open to anybody, and what was given up for lost to whoever finds it.
    """
    if attempt.state is AttemptState.RESOLVED_LOST:
        return attempt.spool_id in spools or attempt.orphan_envelope is not None
    if attempt.state is AttemptState.RESOLVED_UNCHANGED:
        return attempt.due_anew  # and no newer attempt is under way
    if attempt.state not in UNRESOLVED:
        return False
    waits = attempt.acting_class is RefreshClass.S and attempt.orphan_envelope is None
    return not waits or set(attempt.awaited) <= set(spools)


def answer_binding(grant: Grant, base_generation: int) -> Binding:
    """What the envelope of a raw answer is bound to: the generation that it would make."""
    owner: DekOwner = grant.dek_owner
    return Binding(
        owner, str(grant.grant_id), Field.REFRESH_ANSWER, base_generation + 1, grant.provider
    )


class SpoolMark(Enum):
    """How far an attempt got in this process. Each is on disk before the next step begins."""

    RESERVED = 1  # nothing was sent
    SENT = 2  # the request may be on its way
    RECEIVED = 3  # the answer is here, sealed


class SpoolKind(Enum):
    """The kind of answer that an entry waits for; the value is its record's version on disk."""

    REFRESH = 1
    CONSENT = 2  # the attempt is a claim of an authorization, whose id stands for the grant's


@dataclass(frozen=True, slots=True)
class SpoolEntry:
    """One entry of a spool."""

    spool_id: uuid.UUID
    slot: int
    attempt_id: uuid.UUID
    tenant: str
    grant_id: uuid.UUID
    mark: SpoolMark
    envelope: bytes | None  # the sealed HttpAnswer, of RECEIVED only
    kind: SpoolKind = SpoolKind.REFRESH


def by_attempt(entries: Iterable[SpoolEntry]) -> dict[uuid.UUID, SpoolEntry]:
    """The entry that got furthest, for each refresh: a retry has one of its own."""
    refreshes = (entry for entry in entries if entry.kind is SpoolKind.REFRESH)
    furthest = sorted(refreshes, key=lambda entry: entry.mark.value)
    return {entry.attempt_id: entry for entry in furthest}


@dataclass(frozen=True, slots=True)
class Begun:
    """The lease is ours and the attempt is written: the provider may be asked."""

    lease: Lease
    attempt: RefreshAttempt


@dataclass(frozen=True, slots=True)
class Unresolved:
    """The lease is ours, but an earlier attempt must be resolved first."""

    lease: Lease
    attempt: RefreshAttempt


@dataclass(frozen=True, slots=True)
class Deferred:
    """No request before ``until`` (a provider's Retry-After, a back-off, a confirmation)."""

    until: datetime
    read_time: datetime
    reason: str  # name of the Reason that the last refusal had
    waits_for: WaitsFor | None = None
    until_it_answers: bool = False  # it may end sooner: when the provider answers anybody


class Busy(Enum):
    """Why an attempt did not begin."""

    HELD = 1  # another process has the lease
    MOVED = 2  # the grant has another generation or state by now: read it again


Beginning = Begun | Unresolved | Deferred | Busy
