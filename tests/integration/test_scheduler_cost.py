"""What a tick costs depends on what is due, not on how many grants there are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.postgres import TestDatabase
from tests.support.postgres_rows import make_tenant
from vault_service.adapters.postgres.schedule import BACKLOG, NOTE_USED, PUT_OFF, TAKE

_GRANTS = 20_000
_DUE = 7
_IDS = f"ARRAY(SELECT md5('g' || n)::uuid FROM generate_series(1, {_DUE}) n)"
_TIMES = f"ARRAY(SELECT now() FROM generate_series(1, {_DUE}) n)"
_STATEMENTS = {
    "take": TAKE.replace("$1", "200").replace("$2", "'120 s'"),
    "backlog": BACKLOG.replace("$1", "10000"),
    "put_off": PUT_OFF.replace("$1", _IDS)
    .replace("$2", _TIMES)
    .replace("$3", _TIMES)
    .replace("$4", f"array_fill(true, ARRAY[{_DUE}])"),
    "note_used": NOTE_USED.replace("$1", f"array_fill('acme'::text, ARRAY[{_DUE}])")
    .replace("$2", _IDS)
    .replace("$3", f"array_fill('5 s'::interval, ARRAY[{_DUE}])")
    .replace("$4", "'1 day'"),
}


async def _fill(database: TestDatabase) -> None:
    await make_tenant(database)
    await database.sql(
        "INSERT INTO grants (grant_id, tenant, owner, oauth_client, provider, issuer,"
        " token_endpoint, state, scopes, token_type, generation, access_generation,"
        " access_life_s, refresh_generation, access_expire_time)"
        " SELECT md5('g' || n)::uuid, 'acme', 'u-1', 'crm', 'op', 'https://op.example', '', 1,"
        f" '{{}}', 'Bearer', 1, 1, 3600, 1, now() FROM generate_series(1, {_GRANTS}) n"
    )
    await database.sql(
        "INSERT INTO grant_upkeep (grant_id, tenant, due_time) SELECT md5('g' || n)::uuid, 'acme',"
        f" now() + CASE WHEN n <= {_DUE} THEN interval '-1 s' ELSE n * interval '1 h' END"
        f" FROM generate_series(1, {_GRANTS}) n"
    )
    await database.sql("ANALYZE grants, grant_upkeep")


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from _nodes(child)


def _reads(plan: dict[str, Any]) -> list[tuple[str, str]]:
    """The tables of grants, and how each is read."""
    return [
        (node["Relation Name"], node["Node Type"])
        for node in _nodes(plan)
        if node.get("Relation Name") in ("grants", "grant_upkeep")
        and node["Node Type"] != "ModifyTable"
    ]


async def _explained(database: TestDatabase, statement: str) -> dict[str, Any]:
    async with database.worker.worker_transaction() as connection:
        found = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}")
        plan: dict[str, Any] = json.loads(found)[0]["Plan"]
    return plan


@pytest.mark.parametrize("name", sorted(_STATEMENTS))
async def test_no_statement_reads_all_grants(own_database: TestDatabase, name: str) -> None:
    """Every statement of a tick finds its rows by an index, and touches a few pages a row."""
    await _fill(own_database)
    plan = await _explained(own_database, _STATEMENTS[name])
    reads = _reads(plan)
    assert reads
    assert [read for read in reads if "Seq" in read[1]] == []
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 100 * _DUE
    (pages,) = await own_database.sql("SELECT relpages FROM pg_class WHERE relname = 'grants'")
    assert pages["relpages"] > 300


async def test_what_the_planner_believes_does_not_matter(own_database: TestDatabase) -> None:
    """Also where every row was due when the planner looked last, and where it never looked."""
    await _fill(own_database)
    await own_database.sql("UPDATE grant_upkeep SET due_time = now() - interval '1 h'")
    await own_database.sql("ANALYZE grant_upkeep")
    await own_database.sql("UPDATE grant_upkeep SET due_time = now() + interval '1 h'")
    plan = await _explained(own_database, _STATEMENTS["take"])
    assert [read for read in _reads(plan) if "Seq" in read[1]] == []


async def test_as_the_driver_prepares_it(own_database: TestDatabase) -> None:
    """The plan that the server keeps for a prepared statement, whatever its numbers, too."""
    await _fill(own_database)
    async with own_database.worker.worker_transaction() as connection:
        await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE take_due (bigint, interval) AS {TAKE}")
        found = await connection.fetchval("EXPLAIN (FORMAT JSON) EXECUTE take_due (200, '120 s')")
        plan = json.loads(found)[0]["Plan"]
    assert [read for read in _reads(plan) if "Seq" in read[1]] == []
