"""What the databases say when a chunk is over: histories, fences, and that nothing is left open."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.campaigns.kill_matrix.vault import TIMES, Place
from tests.support.postgres import DevPostgres
from vault_service.adapters.spool.rescue import look
from vault_service.domain.audit import AuditAction

# Each generation was made once, and each by a later lease than the one before.
_HISTORY = f"""
    WITH refreshed AS (
        SELECT resource, (detail->>'generation')::bigint AS generation,
            (detail->>'fence')::bigint AS fence, record_time
        FROM audit_records WHERE action = {AuditAction.GRANT_REFRESHED.value}
    ), stepped AS (
        SELECT *, row_number() OVER w + 1 AS expected, lag(fence) OVER w AS earlier_fence
        FROM refreshed WINDOW w AS (PARTITION BY resource ORDER BY generation, record_time)
    ), made AS (
        SELECT resource, max(generation) AS generation FROM refreshed GROUP BY resource
    )
    SELECT
        (SELECT count(*) FROM stepped WHERE generation <> expected) AS generations,
        (SELECT count(*) FROM stepped WHERE fence <= earlier_fence) AS fences,
        (SELECT count(*) FROM grants g LEFT JOIN made m
            ON m.resource = 'tenants/' || g.tenant || '/grants/' || g.grant_id
            WHERE g.generation <> coalesce(m.generation, 1)) AS rows_off,
        (SELECT count(*) FROM grants g
            WHERE g.revision <> g.generation + CASE WHEN g.state = 2 THEN 1 ELSE 0 END)
            AS revisions,
        (SELECT count(*) FROM refresh_attempts WHERE state IN (1, 5)) AS unresolved_attempts,
        (SELECT count(*) FROM grant_leases WHERE lease_until > clock_timestamp()) AS leases,
        (SELECT count(*) FROM grants) AS grants,
        (SELECT count(*) FROM refresh_attempts) AS attempts
"""


def check(postgres: DevPostgres, places: list[Place]) -> dict[str, Any]:
    """Counts over all slots; every one but ``grants`` and ``attempts`` should be 0."""
    time.sleep(TIMES.lease_s)
    found: dict[str, Any] = {"spool_entries": 0}
    for place in places:
        (row,) = postgres.sql(_HISTORY, place.database)
        for name, count in dict(row).items():
            found[name] = found.get(name, 0) + count
        for folder in Path(place.folder).iterdir():
            if folder.is_dir():
                found["spool_entries"] += sum(len(spool.entries) for spool in look(folder))
    return found
