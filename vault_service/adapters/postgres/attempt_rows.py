"""Rows of refresh_attempts: how they are read, and how they come to another state."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from vault_service.adapters.postgres import rows
from vault_service.domain import limits
from vault_service.domain.attempt import (
    MAY_KEEP_AN_ANSWER,
    NO_SPOOL,
    READER,
    AttemptState,
    RefreshAttempt,
    WaitsFor,
)
from vault_service.domain.grant import GrantState
from vault_service.domain.provider import RefreshClass
from vault_service.domain.refresh_times import grace_room_s
from vault_service.ports.refresh import Ending

if TYPE_CHECKING:
    from vault_service.adapters.postgres.pool import Connection

_MAY_KEEP: Final = ", ".join(str(state.value) for state in MAY_KEEP_AN_ANSWER)
# What an attempt waits for may have come. While another attempt of the grant is unresolved, that
# one goes first: its answer is the newer. OFFSET: asked by index for each row, since the planner
# would else make a hash of all that are unresolved.
DUE_ANEW: Final = f"""
    (a.orphan_envelope IS NOT NULL OR a.waits_for <> 0) AND a.state IN ({_MAY_KEEP})
    AND (a.state IN (1, 5) OR NOT EXISTS (
        SELECT FROM refresh_attempts o
        WHERE o.grant_id = a.grant_id AND o.state IN (1, 5) OFFSET 0))
    AND EXISTS (
        SELECT FROM grants g JOIN providers p ON p.tenant = g.tenant AND p.provider = g.provider
        WHERE g.tenant = a.tenant AND g.grant_id = a.grant_id
            AND (a.read_by <> {READER} OR a.read_revision <> p.revision
                OR g.generation <> a.base_generation OR g.state = {GrantState.REVOKED.value}))
"""  # noqa: S608
ATTEMPT: Final = f"""
    a.attempt_id, a.tenant, a.grant_id, a.base_generation, a.refresh_class, a.grace_s, a.instance,
    a.spool_id, a.state, a.retries, a.orphan_envelope, a.create_time, a.next_try_time,
    a.waits_for, a.until_it_answers, ({DUE_ANEW}) AS due_anew, clock_timestamp() AS read_time,
    CASE WHEN a.update_time + {{wait}}::interval < clock_timestamp() THEN '{{{{}}}}'::uuid[]
        ELSE ARRAY(
            SELECT s FROM unnest(array_append(a.earlier_spools, a.spool_id)) s
            WHERE s <> '00000000-0000-0000-0000-000000000000'
                AND NOT EXISTS (SELECT FROM abandoned_spools g WHERE g.spool_id = s))
        END AS awaited
"""  # noqa: S608
_UNRESOLVED: Final = "a.state IN (1, 5)"
OPEN: Final = f"""
    SELECT {ATTEMPT.format(wait="$3")} FROM refresh_attempts a
    WHERE a.tenant = $1 AND a.grant_id = $2 AND {_UNRESOLVED}
"""  # noqa: S608
FIND: Final = f"""
    SELECT {ATTEMPT.format(wait="$3")} FROM refresh_attempts a
    WHERE a.tenant = $1 AND a.attempt_id = $2
"""  # noqa: S608
# Class G inside its grace: nobody waits for it, and it waits for nobody.
_IN_GRACE: Final = """
    (a.refresh_class = 3 AND a.create_time + make_interval(secs => a.grace_s) > clock_timestamp())
"""
# domain.attempt.resolvable, as a condition. Tenants take turns: one with many does not keep the
# others from their recovery.
DUE: Final = f"""
    SELECT * FROM (
        SELECT {ATTEMPT.format(wait="$1")}, {_IN_GRACE} AS in_grace,
            row_number() OVER (
                PARTITION BY a.tenant ORDER BY {_IN_GRACE} DESC, a.next_try_time) AS turn
        FROM refresh_attempts a
        LEFT JOIN grant_leases l ON l.grant_id = a.grant_id
        WHERE {_UNRESOLVED} AND a.next_try_time <= clock_timestamp()
            AND (l.lease_until IS NULL OR l.lease_until < clock_timestamp())) due
    WHERE refresh_class IN (1, 2) OR in_grace OR orphan_envelope IS NOT NULL
        OR awaited <@ $2::uuid[]
    ORDER BY turn, in_grace DESC, next_try_time LIMIT $3
"""  # noqa: S608
# One that was tried a moment ago has its first pause: a provider that answers every second request
# is not asked in a loop. Providers take turns: one with many leaves the others some of each look.
HASTEN: Final = """
    UPDATE refresh_attempts SET next_try_time = clock_timestamp() WHERE attempt_id IN (
        SELECT attempt_id FROM refresh_attempts
        WHERE state = 5 AND until_it_answers AND next_try_time > clock_timestamp()
            AND attempt_id IN (
                SELECT attempt_id FROM (
                    SELECT a.attempt_id, a.next_try_time, row_number() OVER (
                        PARTITION BY p.tenant, p.provider ORDER BY a.next_try_time) AS turn
                    FROM refresh_attempts a
                    JOIN grants g ON g.tenant = a.tenant AND g.grant_id = a.grant_id
                    JOIN unnest($1::text[], $2::text[]) p (tenant, provider)
                        ON p.tenant = g.tenant AND p.provider = g.provider
                    WHERE a.state = 5 AND a.until_it_answers
                        AND a.next_try_time > clock_timestamp()
                        AND a.update_time < clock_timestamp() - $3::interval) doubtful
                ORDER BY turn, next_try_time LIMIT $4)
        FOR UPDATE SKIP LOCKED)
    RETURNING true
"""
_TO_STATE: Final = f"""
    UPDATE refresh_attempts SET
        state = $3::smallint, reason = $4, update_time = clock_timestamp(),
        spool_id = CASE WHEN $3::smallint = 5 THEN $6::uuid ELSE spool_id END,
        until_it_answers = $7,
        -- In doubt, unchanged or lost: the answer that is kept may yet be what is missing.
        orphan_envelope = CASE WHEN $3::smallint IN ({_MAY_KEEP}) THEN orphan_envelope END,
        waits_for = $9::smallint,
        read_revision = CASE WHEN $9::smallint = 0 THEN read_revision ELSE $10::bigint END,
        read_by = CASE WHEN $9::smallint = 0 THEN read_by ELSE $11::integer END,
        -- No pause leaps over the last moment at which the predecessor still works.
        next_try_time = CASE
            WHEN refresh_class = 3
                AND create_time + make_interval(secs => grace_s) - $8::interval > clock_timestamp()
            THEN least(clock_timestamp() + $5::interval,
                create_time + make_interval(secs => grace_s) - $8::interval)
            ELSE clock_timestamp() + $5::interval END
    WHERE tenant = $1 AND attempt_id = $2
"""  # noqa: S608
_PAST_GRACE: Final = f"""
    SELECT a.refresh_class = 3 AND NOT {_IN_GRACE} FROM refresh_attempts a
    WHERE a.tenant = $1 AND a.attempt_id = $2
"""  # noqa: S608
_PUT_OFF: Final = """
    UPDATE refresh_attempts SET next_try_time = CASE
        WHEN refresh_class = 3
            AND create_time + make_interval(secs => grace_s) - $4::interval > clock_timestamp()
        THEN least(clock_timestamp() + $3::interval,
            create_time + make_interval(secs => grace_s) - $4::interval)
        ELSE clock_timestamp() + $3::interval END
    WHERE tenant = $1 AND attempt_id = $2
"""
_UNTIL_TOLD: Final = timedelta(seconds=limits.WAIT_UNTIL_TOLD_S)


async def is_strict(connection: Connection, attempt: RefreshAttempt) -> bool:
    """Whether its refresh token may be dead and its reuse harmful, as of now."""
    if attempt.refresh_class is not RefreshClass.G:
        return attempt.refresh_class is RefreshClass.S
    over = await connection.fetchval(_PAST_GRACE, attempt.tenant, attempt.attempt_id)
    return over is True


async def to_state(connection: Connection, attempt: RefreshAttempt, ending: Ending) -> None:
    """The attempt as it ends, in this transaction: until when, or for what, it waits in doubt."""
    in_doubt = ending.state is AttemptState.IN_DOUBT
    waits_for = ending.waits_for.value if in_doubt and ending.waits_for else 0
    pause = timedelta(seconds=ending.pause_s if in_doubt else 0)
    if waits_for and not pause:
        pause = _UNTIL_TOLD
    # A refusal is confirmed after its own time, and what waits has none, wherever the grace ends.
    paced = not ending.refused and not waits_for
    room = timedelta(seconds=grace_room_s(attempt.grace_s)) if paced else None
    until_it_answers = ending.until_it_answers and not waits_for
    await connection.execute(
        _TO_STATE, attempt.tenant, attempt.attempt_id, ending.state.value, ending.reason, pause,
        NO_SPOOL, until_it_answers, room, waits_for, ending.revision, READER,
    )  # fmt: skip


async def put_off(connection: Connection, attempt: RefreshAttempt, pause_s: float) -> None:
    """Not tried again before ``pause_s`` have passed, but before its grace ends."""
    room = timedelta(seconds=grace_room_s(attempt.grace_s))
    key = (attempt.tenant, attempt.attempt_id)
    await connection.execute(_PUT_OFF, *key, timedelta(seconds=pause_s), room)


def attempt_from(row: rows.Row) -> RefreshAttempt:
    """The attempt of a row that was read by these statements."""
    facts = {name: row[name] for name in RefreshAttempt.__dataclass_fields__}
    facts["refresh_class"] = RefreshClass(row["refresh_class"])
    facts["state"] = AttemptState(row["state"])
    facts["awaited"] = tuple(row["awaited"])
    facts["waits_for"] = WaitsFor(row["waits_for"]) if row["waits_for"] else None
    return RefreshAttempt(**facts)
