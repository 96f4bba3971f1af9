"""What each role of PostgreSQL sees and may do, whatever our own predicates say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.support.postgres import APP, OWNER, WORKER, TestDatabase
from tests.support.postgres_rows import TABLES, fill_every_table
from tests.support.samples import a_record, new_id
from vault_service.adapters.postgres.audit import PostgresAuditLog, insert_record
from vault_service.adapters.postgres.grants import PostgresGrantStore
from vault_service.adapters.postgres.pool import Database
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.names import GrantName

if TYPE_CHECKING:
    from vault_service.adapters.postgres.pool import Connection

_UPDATED = ("providers", "oauth_clients", "grants", "grant_aliases", "grant_leases",
            "authorizations", "provider_revocations", "discarded_tokens", "secrets",
            "provider_budgets")  # fmt: skip

_FORBIDDEN_TO_APP = (
    "UPDATE audit_records SET caller = 'x'",
    "DELETE FROM audit_records",
    "TRUNCATE audit_records",
    "DELETE FROM grants",
    "DELETE FROM grant_leases",
    "DELETE FROM authorizations",
    "DELETE FROM oauth_clients",
    "DELETE FROM providers",
    "DELETE FROM provider_budgets",
    "DELETE FROM deks",
    "UPDATE deks SET wrapped = 'x'",
    "DELETE FROM secret_versions",
    "UPDATE secret_versions SET version = 2",
    "UPDATE secret_versions SET expire_time = NULL",
    "DELETE FROM secrets",
    "DELETE FROM secret_requests",
    "UPDATE secret_requests SET digest = ''",
    "DELETE FROM client_credentials",
    "INSERT INTO tenants (tenant) VALUES ('mine')",
    "DELETE FROM tenants",
    "UPDATE refresh_plans SET run_until = now()",
    "ALTER TABLE grants DISABLE ROW LEVEL SECURITY",
    "DROP POLICY own_tenant ON grants",
    "CREATE TABLE tokenvault.mine (x integer)",
    "SELECT setval('fences', 1)",
    "INSERT INTO schema_migrations (name, sha256) VALUES ('x', 'x')",
    "SET ROLE tokenvault_owner",
    "SET ROLE tokenvault_disclosure",
    "SET ROLE tokenvault_worker",
    "COPY grants TO PROGRAM 'cat'",
    "SELECT pg_read_file('PG_VERSION')",
)
_FORBIDDEN_TO_WORKER = (
    "SELECT * FROM deks",
    "SELECT * FROM oauth_clients",
    "SELECT credential_envelope FROM oauth_clients",
    "SELECT create_time FROM providers",
    "UPDATE grant_upkeep SET not_before = NULL",
    "UPDATE grant_upkeep SET warned_generation = 1",
    "DELETE FROM refresh_plans",
    "SELECT * FROM secret_versions",
    "SELECT envelope FROM secret_versions",
    "UPDATE secret_versions SET reminded = true",
    "SELECT labels FROM secrets",
    "SELECT * FROM client_credentials",
    "SELECT digest FROM secret_requests",
    "SELECT * FROM audit_records",
    "SELECT * FROM tenants",
    "SELECT * FROM provider_budgets",
    "SELECT * FROM take_permits('acme', 'crm', 1, 1, 1, 1, 1)",
    "SELECT disclose('{}','{}','{}','{}','{}','{}','{}','{}','{}','{}','{}','{}','{}','{}','{}',"
    "'{}','{}','{}')",
    "UPDATE grants SET state = 1",
    "DELETE FROM grants",
    "DELETE FROM provider_revocations",
    "UPDATE provider_revocations SET refresh_envelope = ''",
    "DELETE FROM discarded_tokens",
    "UPDATE discarded_tokens SET envelope = ''",
    "UPDATE authorizations SET caller = 'x'",
    "SET ROLE tokenvault_owner",
    "SET ROLE tokenvault_app",
)


async def _fill(database: TestDatabase) -> None:
    for tenant in ("acme", "globex"):
        await fill_every_table(database, tenant)


async def _counts(connection: Connection, where: str = "true") -> dict[str, int]:
    return {
        table: await connection.fetchval(f"SELECT count(*) FROM {table} WHERE {where}")
        for table in TABLES
    }


async def _refused(database: Database, statement: str, tenant: str = "acme") -> BaseException:
    with pytest.raises(VaultError) as refused:
        async with database.tenant_transaction(tenant) as connection:
            await connection.execute(statement)
    assert refused.value.__cause__ is not None
    return refused.value.__cause__


async def test_every_table_is_guarded(database: TestDatabase) -> None:
    """Every table of the schema that holds rows of tenants has row-level security, forced."""
    found = await database.sql(
        "SELECT relname, relrowsecurity AND relforcerowsecurity AS guarded FROM pg_class"
        " WHERE relnamespace = 'tokenvault'::regnamespace AND relkind IN ('r', 'p')"
        " AND relname NOT IN ('schema_migrations', 'abandoned_spools')"
    )
    assert {row["relname"]: row["guarded"] for row in found} == dict.fromkeys(TABLES, True)


@pytest.mark.parametrize("role", [APP, OWNER])
async def test_nothing_is_seen_without_a_tenant(database: TestDatabase, role: str) -> None:
    """A transaction in which no tenant was set sees no row of any table."""
    await _fill(database)
    seeing = {APP: database.app, OWNER: database.owner}[role]
    async with seeing.worker_transaction() as connection:
        assert await _counts(connection) == dict.fromkeys(TABLES, 0)


@pytest.mark.parametrize("role", [APP, OWNER])
async def test_only_the_own_tenant_is_seen(database: TestDatabase, role: str) -> None:
    """A transaction of one tenant sees its rows in every table, and no other's."""
    await _fill(database)
    seeing = {APP: database.app, OWNER: database.owner}[role]
    async with seeing.tenant_transaction("acme") as connection:
        assert all((await _counts(connection)).values())
        assert await _counts(connection, "tenant <> 'acme'") == dict.fromkeys(TABLES, 0)


@pytest.mark.parametrize("table", _UPDATED)
async def test_other_tenants_rows_cannot_be_changed(database: TestDatabase, table: str) -> None:
    """Another tenant's rows are not there to be updated, and no row can be moved to it."""
    await _fill(database)
    async with database.app.tenant_transaction("acme") as connection:
        done = await connection.execute(
            f"UPDATE {table} SET tenant = tenant WHERE tenant = 'globex'"
        )
    assert done == "UPDATE 0"
    cause = await _refused(database.app, f"UPDATE {table} SET tenant = 'globex'")
    assert isinstance(cause, asyncpg.InsufficientPrivilegeError)


async def test_no_record_of_another_tenant(database: TestDatabase) -> None:
    """A change in one tenant cannot write its record into another."""
    await _fill(database)
    with pytest.raises(VaultError) as refused:
        async with database.app.tenant_transaction("acme") as connection:
            await insert_record(connection, a_record("globex"))
    assert refused.value.reason is Reason.AUDIT_UNAVAILABLE


async def test_pointers_do_not_cross_tenants(database: TestDatabase) -> None:
    """An alias or a lease in one tenant cannot point at a grant of another."""
    await _fill(database)
    foreign = (await database.sql("SELECT grant_id FROM grants WHERE tenant = 'globex'"))[0][0]
    for statement in (
        "INSERT INTO grant_aliases (tenant, owner, label, grant_id)"
        f" VALUES ('acme', 'u-9', 'x', '{foreign}')",
        "INSERT INTO provider_revocations (queue_id, tenant, grant_id, refresh_envelope,"
        f" generation, expire_time) VALUES ('{new_id()}', 'acme', '{foreign}', '', 1, now())",
    ):
        cause = await _refused(database.app, statement)
        assert isinstance(cause, asyncpg.ForeignKeyViolationError)


@pytest.mark.parametrize("statement", _FORBIDDEN_TO_APP)
async def test_app_role_has_no_more_than_it_needs(database: TestDatabase, statement: str) -> None:
    """The role that serves requests cannot do this, with a tenant set or without."""
    cause = await _refused(database.app, statement)
    assert isinstance(cause, asyncpg.InsufficientPrivilegeError)


@pytest.mark.parametrize("statement", _FORBIDDEN_TO_WORKER)
async def test_worker_role_has_no_more_than_it_needs(
    database: TestDatabase, statement: str
) -> None:
    """The role that works over all tenants cannot do this."""
    cause = await _refused(database.worker, statement)
    assert isinstance(cause, asyncpg.InsufficientPrivilegeError)


async def test_disclosure_role_cannot_log_in(database: TestDatabase) -> None:
    """Nobody connects as the role that the disclosure function runs as, and it cannot create."""
    found = await database.sql(
        "SELECT rolname, rolcanlogin, rolsuper, rolbypassrls,"
        " has_schema_privilege(rolname, 'tokenvault', 'CREATE') AS creates"
        " FROM pg_roles WHERE rolname LIKE 'tokenvault%' ORDER BY rolname"
    )
    assert {row["rolname"]: tuple(row)[1:] for row in found} == {
        APP: (True, False, False, False),
        "tokenvault_disclosure": (False, False, False, False),
        OWNER: (True, False, False, True),
        WORKER: (True, False, False, False),
    }


async def test_functions_are_not_for_everyone(database: TestDatabase) -> None:
    """Only current_tenant, which tells nothing, can be called by every role."""
    found = await database.sql(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'tokenvault'::regnamespace"
        " AND has_function_privilege('public', oid, 'EXECUTE')"
    )
    assert [row["proname"] for row in found] == ["current_tenant"]


async def test_tenant_does_not_stay_on_the_connection(database: TestDatabase) -> None:
    """After a read or a transaction of a tenant, its connection sees nothing again."""
    grant = await fill_every_table(database, "acme")
    single = database.open(APP, pool_size=1)
    assert await PostgresGrantStore(single).get(GrantName("acme", grant.grant_id)) is not None
    assert (await single.call("SELECT count(*) FROM grants"))[0][0] == 0
    assert len((await PostgresAuditLog(single).list("acme", 5, "")).items) == 5
    assert (await single.call("SELECT count(*) FROM audit_records"))[0][0] == 0
    await single.close()


async def test_tenant_is_no_way_into_the_statement(database: TestDatabase) -> None:
    """A tenant that is none is refused before it becomes part of any statement."""
    for tenant in ("", "x', true); DROP TABLE grants; --", "A", "acme\n", "ä", "a" * 64):
        with pytest.raises(VaultError) as refused:
            async with database.app.tenant_transaction(tenant):
                pass
        assert refused.value.reason is Reason.NAME_MALFORMED
