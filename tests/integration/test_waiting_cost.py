"""What a sweep costs does not depend on how many attempts wait for a person."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.postgres import TestDatabase
from tests.support.postgres_rows import make_tenant
from vault_service.adapters.postgres.kept_answers import DUE_OF, WAITING
from vault_service.domain import limits
from vault_service.domain.attempt import READER

_WAITING = 20_000
_STATEMENTS = {
    "waiting": f"(uuid, bigint) AS {WAITING}",
    "due": f"(interval, uuid[], bigint) AS {DUE_OF}",
}
# A row of attempts, its grant, its provider and its lease, by indexes three pages high; with what
# the server needs to plan for the first time.
_PAGES_MAX = 20 * limits.WAITING_LOOK_MAX


async def _fill(database: TestDatabase) -> None:
    await make_tenant(database)
    await database.sql(
        "INSERT INTO grants (grant_id, tenant, owner, oauth_client, provider, issuer,"
        " token_endpoint, state, scopes, token_type, generation, access_generation,"
        " access_life_s, refresh_generation, access_expire_time)"
        " SELECT md5('g' || n)::uuid, 'acme', 'u-1', 'crm', 'op', 'https://op.example', '', 1,"
        f" '{{}}', 'Bearer', 1, 1, 3600, 1, now() FROM generate_series(1, {_WAITING}) n"
    )
    await database.sql(
        "INSERT INTO refresh_attempts (attempt_id, tenant, grant_id, base_generation,"
        " refresh_class, grace_s, instance, spool_id, state, next_try_time, waits_for,"
        " read_revision, read_by) SELECT md5('a' || n)::uuid, 'acme', md5('g' || n)::uuid, 1, 4, 0,"
        " 'i-1', '00000000-0000-0000-0000-000000000000', CASE n % 2 WHEN 0 THEN 5 ELSE 7 END,"
        " now() + interval '10 years', 1,"
        f" (SELECT revision FROM providers WHERE tenant = 'acme' AND provider = 'op'), {READER}"
        f" FROM generate_series(1, {_WAITING}) n"
    )


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from _nodes(child)


@pytest.mark.parametrize("name", sorted(_STATEMENTS))
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_a_look_reads_few_rows(own_database: TestDatabase, name: str, mode: str) -> None:
    """Each statement of a look finds its rows by an index, whatever the planner knows."""
    await _fill(own_database)
    await own_database.sql("ANALYZE grants, refresh_attempts, providers, grant_leases")
    start = uuid.UUID(int=0)
    async with own_database.worker.worker_transaction() as connection:
        first = await connection.fetch(WAITING, start, limits.WAITING_LOOK_MAX)
        ids = ",".join(str(row["attempt_id"]) for row in first)
        arguments = {
            "waiting": f"'{start}', {limits.WAITING_LOOK_MAX}",
            "due": f"'600 s', '{{{ids}}}', {limits.ATTEMPT_BATCH_MAX}",
        }
        await connection.execute(f"SET LOCAL plan_cache_mode = {mode}")
        await connection.execute(f"PREPARE look {_STATEMENTS[name]}")
        found = await connection.fetchval(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE look ({arguments[name]})"
        )
        plan = json.loads(found)[0]["Plan"]
        await connection.execute("DEALLOCATE look")
    large = [n for n in _nodes(plan) if n.get("Relation Name") in ("grants", "refresh_attempts")]
    assert large
    assert [node["Node Type"] for node in large if "Seq" in node["Node Type"]] == []
    rows = max(node["Actual Rows"] * node["Actual Loops"] for node in _nodes(plan))
    assert rows <= limits.WAITING_LOOK_MAX
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] <= _PAGES_MAX
