"""Rows of a queue of all tenants, shared out as ``usecases.shares`` shares out places.

A tenant gets one more while it holds fewer than are free, so its backlog leaves room for others.
"""

from __future__ import annotations

from collections.abc import Mapping


def shared_out(table: str, key: str) -> str:
    """A subquery for keys of rows that are due. $2: the room; $3 and $4: tenants, and how many each
    holds.

    It ranks no more than $2 rows of a tenant. How it finds them is the planner's choice: by the
    index (tenant, next_attempt_time), or by that of the time alone where most rows are due, and
    then it reads rows of other tenants too. The cost grows with the tenants and with the backlog.
    """
    return f"""
        WITH RECURSIVE owners AS (
            (SELECT tenant FROM {table} ORDER BY tenant LIMIT 1)
            UNION ALL
            SELECT (SELECT q.tenant FROM {table} q WHERE q.tenant > o.tenant
                ORDER BY q.tenant LIMIT 1)
            FROM owners o WHERE o.tenant IS NOT NULL)
        SELECT {key} FROM (
            SELECT {key}, holds, row_number() OVER (ORDER BY holds, next_attempt_time) AS place
            FROM (
                SELECT due.{key}, due.next_attempt_time, coalesce(held.number, 0) + row_number()
                    OVER (PARTITION BY o.tenant ORDER BY due.next_attempt_time) - 1 AS holds
                FROM owners o
                LEFT JOIN unnest($3::text[], $4::bigint[]) held (tenant, number)
                    ON held.tenant = o.tenant
                CROSS JOIN LATERAL (
                    SELECT q.{key}, q.next_attempt_time FROM {table} q
                    WHERE q.tenant = o.tenant AND q.next_attempt_time <= now()
                    ORDER BY q.next_attempt_time LIMIT $2) due) queued) ranked
        WHERE holds + place - 1 < $2
    """  # noqa: S608


def holdings(held: Mapping[str, int]) -> tuple[list[str], list[int]]:
    """The two arrays that ``shared_out`` takes."""
    return list(held), list(held.values())
