"""Why no request for a grant may be sent now, as the rows say."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from vault_service.adapters.postgres.leases import leased_s
from vault_service.adapters.postgres.upkeep import read_upkeep
from vault_service.domain import limits
from vault_service.domain.attempt import AttemptState, Busy, Deferred, RefreshAttempt
from vault_service.domain.errors import Reason
from vault_service.domain.grant import Grant, GrantState

if TYPE_CHECKING:
    from vault_service.adapters.postgres.pool import Connection

_WHERE_IT_STANDS: Final = """
    SELECT generation, state FROM grants WHERE tenant = $1 AND grant_id = $2
"""
_A_MOMENT: Final = timedelta(seconds=limits.RETRY_AFTER_S)
_FIRST_PAUSE: Final = timedelta(seconds=limits.IN_DOUBT_RETRY_S)


def _deferred(attempt: RefreshAttempt, left_s: float = 0.0) -> Deferred:
    """What an unresolved attempt means to who would begin another. ``left_s``: of its lease."""
    # A spool that is awaited may be back at any time; what is due is tried in a moment.
    pause = _A_MOMENT if attempt.next_try_time > attempt.read_time else _FIRST_PAUSE
    if not attempt.awaited:
        pause = _A_MOMENT
    lease_end = attempt.read_time + timedelta(seconds=left_s)
    until = max(attempt.next_try_time, lease_end, attempt.read_time + pause)
    reason = Reason.REFRESH_IN_DOUBT.name
    return Deferred(until, attempt.read_time, reason, attempt.waits_for, attempt.until_it_answers)


async def held(
    connection: Connection, grant: Grant, attempt: RefreshAttempt | None
) -> Deferred | Busy:
    """What the lease of another process means: it asks for the first time, or is in doubt."""
    if attempt is None or not (attempt.retries or attempt.state is AttemptState.IN_DOUBT):
        return Busy.HELD
    left_s = await leased_s(connection, grant.tenant, grant.grant_id)
    return _deferred(attempt, left_s or 0.0)


async def moved(connection: Connection, grant: Grant) -> Busy | None:
    """Whether it has another generation or state by now."""
    row = await connection.fetchrow(_WHERE_IT_STANDS, grant.tenant, grant.grant_id)
    standing = (grant.generation, GrantState.ACTIVE.value)
    other = row is None or (row["generation"], row["state"]) != standing
    return Busy.MOVED if other else None


async def hindrance(
    connection: Connection, grant: Grant, earlier: RefreshAttempt | None
) -> Deferred | Busy | None:
    """Why no request for this generation may be sent now."""
    if await moved(connection, grant) is not None:
        return Busy.MOVED
    if earlier is not None:
        return _deferred(earlier)
    upkeep = await read_upkeep(connection, grant.tenant, grant.grant_id)
    if upkeep is not None and upkeep.not_before is not None and upkeep.holds_back:
        return Deferred(upkeep.not_before, upkeep.read_time, upkeep.reason)
    return None
