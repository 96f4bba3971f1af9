"""When a grant is refreshed although nobody waits for it: ahead of its token's end while it is in
use, and before its refresh token dies unused.

Moments are spread by a hash of grant and generation, so that what was issued in one second does
not come due in one second, and so that every replica computes the same.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

from vault_service.domain import limits
from vault_service.domain.grant import NEVER, GrantState
from vault_service.domain.names import GrantName, OAuthClientName


class Due(Enum):
    """Why a refresh is due."""

    AHEAD = 1  # in use, and its access token ends soon
    KEEP_ALIVE = 2  # its refresh token dies if it is not used


@dataclass(frozen=True, slots=True)
class Scheduling:
    """What an operator decides. ``in_use_s`` 0: no token is refreshed ahead of its end."""

    in_use_s: float = limits.IN_USE_S
    batch: int = limits.SCHEDULER_BATCH  # rows of one tick
    parallel: int = limits.SCHEDULER_PARALLEL  # refreshes under way in one process
    rate_per_s: float = limits.SCHEDULER_RATE_PER_S  # of an OAuthClient without a known budget


@dataclass(frozen=True, slots=True)
class DueGrant:
    """One row of the due index with what decides about it, taken until ``leased_until``."""

    tenant: str
    grant_id: uuid.UUID
    oauth_client: str
    state: GrantState
    generation: int
    has_refresh_token: bool
    access_expire_time: datetime | None
    access_life_s: int
    refresh_time: datetime  # when new tokens came last
    last_used_time: datetime | None
    not_before: datetime | None  # a back-off, or what the provider asked for
    failures: int  # since then
    warned_generation: int | None
    planned: bool  # it comes at the time that its OAuthClient's plan gave it
    suspended: bool  # its OAuthClient is
    max_idle_s: int
    rate_per_s: int
    rate_per_min: int
    kills_old_token: bool  # a refresh ends the access token before it
    leased_until: datetime
    read_time: datetime  # the database's clock

    @property
    def name(self) -> GrantName:
        """``tenants/{t}/grants/{id}``"""
        return GrantName(self.tenant, self.grant_id)

    @property
    def client(self) -> OAuthClientName:
        """Whose budget it needs."""
        return OAuthClientName(self.tenant, self.oauth_client)


@dataclass(frozen=True, slots=True)
class Step:
    """What to do about a due row: a refresh, or a look at ``look_time``. Neither: it leaves the
    index until new tokens or a use bring it back. ``warn``: consent will be needed soon."""

    refresh: Due | None = None
    look_time: datetime | None = None
    warn: bool = False


@dataclass(frozen=True, slots=True)
class UsedGrant:
    """A disclosure so many seconds ago."""

    tenant: str
    grant_id: uuid.UUID
    age_s: float


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is due and not taken: how many rows (counted to ``limits.BACKLOG_COUNT_MAX``), and for
    how long the oldest has been."""

    due: int
    lag_s: float


def decide(due: DueGrant, in_use_s: float) -> Step:
    """Judges by the row as it was taken, on the database's clock."""
    if due.state is not GrantState.ACTIVE:
        return Step()
    if not due.has_refresh_token:
        return _without_refresh_token(due)
    now, warn = due.read_time, _is_dying(due)
    moments: dict[Due, datetime] = {}
    if _is_in_use(due, in_use_s) and due.access_expire_time and now < due.access_expire_time:
        moments[Due.AHEAD] = ahead_time(
            due.access_expire_time, _life_s(due), due.grant_id, due.generation
        )
    if due.max_idle_s:
        moments[Due.KEEP_ALIVE] = _keep_alive(due)
    if not moments:
        return Step()
    kind = min(moments, key=lambda each: moments[each])
    if moments[kind] > now:
        return Step(look_time=moments[kind])
    if due.suspended:
        return Step(look_time=now + _SUSPENDED_LOOK, warn=warn)
    if due.not_before is not None and due.not_before > now:
        return Step(look_time=due.not_before, warn=warn)
    return Step(refresh=kind, warn=warn)


def first_look_time(
    expire_time: datetime | None, life_s: int, renewable: bool, grant_id: uuid.UUID, generation: int
) -> datetime | None:
    """Where a generation that was just stored enters the due index, apart from a keep-alive that
    comes before. None: only callers refresh it (``limits.AHEAD_LIFE_MIN_S``)."""
    if expire_time in (None, NEVER) or (renewable and life_s < limits.AHEAD_LIFE_MIN_S):
        return None
    return ahead_time(expire_time, life_s, grant_id, generation)


def ahead_time(
    expire_time: datetime, life_s: int, grant_id: uuid.UUID, generation: int
) -> datetime:
    """80 % of the life after its start, 10 % earlier or later."""
    share = limits.REFRESH_AT_SHARE + limits.REFRESH_AHEAD_JITTER * _spread(grant_id, generation)
    return expire_time - timedelta(seconds=life_s * (1.0 - share))


def keep_alive_share(grant_id: uuid.UUID, generation: int) -> float:
    """The part of ``max_idle_s`` after which a refresh keeps the refresh token alive."""
    return limits.KEEP_ALIVE_SHARE + limits.KEEP_ALIVE_JITTER * _spread(grant_id, generation)


def keep_alive_time(
    refresh_time: datetime, max_idle_s: int, grant_id: uuid.UUID, generation: int
) -> datetime:
    """80 % of the idle life after the last refresh, 5 % earlier or later."""
    return refresh_time + timedelta(seconds=max_idle_s * keep_alive_share(grant_id, generation))


def retry_pause_s(failures: int, grant_id: uuid.UUID) -> float:
    """How long background work leaves a grant alone after so many failures in a row."""
    doubled = limits.BACKGROUND_RETRY_S * 2.0 ** min(failures, 20)
    return min(doubled, limits.BACKGROUND_RETRY_MAX_S) * (1.0 + 0.2 * _spread(grant_id, failures))


def _life_s(due: DueGrant) -> int:
    """Of the access token since tokens came last: less than a new one has where the provider gave
    the old one again."""
    if due.access_expire_time is None:
        return due.access_life_s
    left_s = (due.access_expire_time - due.refresh_time).total_seconds()
    return int(left_s) if left_s < due.access_life_s * 0.9 else due.access_life_s


def _keep_alive(due: DueGrant) -> datetime:
    """Not while callers were promised a token that it would end, unless the refresh token dies
    before that ends."""
    at = keep_alive_time(due.refresh_time, due.max_idle_s, due.grant_id, due.generation)
    end, dies = due.access_expire_time, due.refresh_time + timedelta(seconds=due.max_idle_s)
    if not due.kills_old_token or end is None or dies <= end != NEVER:
        return at
    return max(at, end)


def _is_in_use(due: DueGrant, in_use_s: float) -> bool:
    """Whether it is refreshed ahead of its end. Never where that would end a token which callers
    were promised, or one that has no end."""
    if due.kills_old_token or due.access_expire_time == NEVER:
        return False
    if due.last_used_time is None or _life_s(due) < limits.AHEAD_LIFE_MIN_S:
        return False
    return due.read_time - due.last_used_time < timedelta(seconds=in_use_s)


def _is_dying(due: DueGrant) -> bool:
    """Whether so little of the idle life is left that consent will be needed if the keep-alive
    goes on failing, and nobody was told yet."""
    if not due.max_idle_s or due.warned_generation == due.generation:
        return False
    left = due.refresh_time + timedelta(seconds=due.max_idle_s) - due.read_time
    return left < timedelta(seconds=due.max_idle_s * limits.EXPIRING_SOON_SHARE)


def _without_refresh_token(due: DueGrant) -> Step:
    """Consent will be needed when the access token ends: said once, at 80 % of its life."""
    if due.access_expire_time in (None, NEVER) or due.warned_generation == due.generation:
        return Step()
    at = ahead_time(due.access_expire_time, due.access_life_s, due.grant_id, due.generation)
    return Step(warn=True) if at <= due.read_time else Step(look_time=at)


def _spread(grant_id: uuid.UUID, number: int) -> float:
    """From -1 to 1, evenly, always the same for the same two."""
    digest = hashlib.sha256(grant_id.bytes + number.to_bytes(8, "big")).digest()
    return int.from_bytes(digest[:4], "big") / 2**31 - 1.0


_SUSPENDED_LOOK: Final = timedelta(seconds=limits.SUSPENDED_LOOK_S)
