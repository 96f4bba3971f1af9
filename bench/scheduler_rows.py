"""Databases with very many grants, made by a generator."""

from __future__ import annotations

import asyncio
import json
import uuid
from dataclasses import replace
from typing import Any, Final

import asyncpg

from tests.support.postgres import APP, OWNER, WORKER, DevPostgres
from tests.support.samples import a_grant, a_profile, a_record, an_oauth_client
from vault_service.adapters.postgres.oauth_clients import PostgresOAuthClientStore
from vault_service.adapters.postgres.pool import Database
from vault_service.adapters.postgres.providers import PostgresProviderStore
from vault_service.adapters.postgres.schedule import BACKLOG, TAKE
from vault_service.adapters.postgres.tenants import PostgresTenantStore
from vault_service.crypto.envelopes import Envelopes
from vault_service.domain.names import ProviderName
from vault_service.domain.oauth import credential_binding
from vault_service.domain.sensitive import Sensitive

TENANT: Final = "acme"
HERD_CLIENT: Final = "herd"
# Not in use and without an idle life: what is due of these is judged and leaves the index.
_GRANTS: Final = """
    INSERT INTO tokenvault.grants (
        grant_id, tenant, owner, oauth_client, provider, issuer, token_endpoint, subject, state,
        scopes, token_type, generation, access_envelope, access_generation, access_expire_time,
        access_life_s, refresh_envelope, refresh_generation)
    SELECT lpad(to_hex(n), 32, '0')::uuid, 'acme', 'u-' || n, 'crm', 'op', 'https://op.example',
        'https://op.example/token', 'sub-' || n, 1, '{{openid,mail}}', 'Bearer', 1,
        decode(repeat(md5(n::text), 8), 'hex'), 1, now() + random() * interval '1 hour', 3600,
        decode(repeat(md5((-n)::text), 8), 'hex'), 1
    FROM generate_series(1, {size}) n
"""
_UPKEEP: Final = """
    INSERT INTO tokenvault.grant_upkeep (grant_id, tenant, refresh_time, due_time)
    SELECT lpad(to_hex(n), 32, '0')::uuid, 'acme', now(),
        now() + interval '1 day' + random() * interval '90 d'
    FROM generate_series(1, {size}) n
"""
_NAMES: Final = (
    "grants_by_owner, grants_by_client, grants_by_provider, grants_by_state, "
    "one_live_grant_per_subject, grant_upkeep_due"
)
_INDEXES: Final = f"""
    SELECT indexdef FROM pg_indexes WHERE indexname = ANY (string_to_array('{_NAMES}', ', '))
"""
_DROP: Final = f"DROP INDEX {_NAMES}"
_DUE: Final = """
    UPDATE tokenvault.grant_upkeep SET due_time = now() - interval '1 s'
    WHERE grant_id IN (SELECT lpad(to_hex(1 + (random() * {size})::integer), 32, '0')::uuid
        FROM generate_series(1, {due}))
"""
_NOT_DUE: Final = """
    UPDATE tokenvault.grant_upkeep SET due_time = now() + interval '30 d'
    WHERE due_time <= now() + interval '1 hour' OR due_time IS NULL
"""
_COUNTED: Final = (
    "xact_commit", "tup_returned", "tup_fetched", "tup_inserted", "tup_updated", "blks_hit",
    "blks_read",
)  # fmt: skip


class Filled:
    """One database with ``size`` grants, none of them due."""

    def __init__(self, server: DevPostgres, name: str, size: int) -> None:
        self.size = size
        self.server = server
        self.name = name
        self.app = Database(server.settings(APP, name, pool_size=16))
        self.worker = Database(server.settings(WORKER, name, pool_size=4))

    @classmethod
    async def make(cls, server: DevPostgres, size: int) -> Filled:
        """A tenant with a provider and an OAuthClient, and their grants."""
        filled = cls(server, await asyncio.to_thread(server.migrated_database), size)
        owner = Database(server.settings(OWNER, filled.name))
        assert await PostgresTenantStore(owner).create(TENANT, a_record(TENANT))
        await owner.close()
        await filled._register(a_profile(), "crm", "op", b"sealed")
        connection = await filled._superuser()
        # Rows of a generator need no look at the rows that they point at, and indexes of many rows
        # are made faster than they grow. Ids follow each other, as those of UUIDv7 do.
        await connection.execute("SET session_replication_role = replica")
        await connection.execute("SET maintenance_work_mem = '256MB'")
        indexes = [row["indexdef"] for row in await connection.fetch(_INDEXES)]
        await connection.execute(_DROP)
        for statement in (_GRANTS, _UPKEEP, *indexes):
            await connection.execute(statement.format(size=size))
        await connection.execute("VACUUM ANALYZE grants, grant_upkeep")
        await connection.execute("CHECKPOINT")
        await connection.close()
        return filled

    async def sql(self, statement: str) -> list[asyncpg.Record]:
        """Of the superuser."""
        return await self.server.query(statement, self.name)

    async def make_due(self, due: int) -> None:
        """So many random rows are due, and no others."""
        if due:
            # Ids may repeat: as many as are wanted, and a few more are not.
            await self.sql(_DUE.format(size=self.size - 1, due=due))
        else:
            await self.sql(_NOT_DUE)

    async def load_of_take(self) -> dict[str, Any]:
        """What the statement that takes reads and writes, and what asking for the backlog does;
        nothing stays."""
        sums = "sum(seq_tup_read), sum(idx_tup_fetch), sum(n_tup_upd)"
        statement = f"SELECT {sums} FROM pg_stat_xact_user_tables"
        connection = await self._superuser()
        try:
            # What the rows that were made due left behind in the index is visited once, by whoever
            # comes first.
            await connection.execute(BACKLOG.replace("$1", "10000"))
            await connection.execute("BEGIN; SET LOCAL ROLE tokenvault_worker")
            explain = TAKE.replace("$1", "200").replace("$2", "'120 s'")
            plan = json.loads(
                await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {explain}")
            )[0]["Plan"]
            read = await connection.fetchrow(statement)
            await connection.execute("ROLLBACK; BEGIN; SET LOCAL ROLE tokenvault_worker")
            backlog = json.loads(
                await connection.fetchval(
                    f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {BACKLOG.replace('$1', '10000')}"
                )
            )[0]["Plan"]
            await connection.execute("ROLLBACK")
        finally:
            await connection.close()
        assert read is not None
        return {
            "due": plan["Actual Rows"],
            "rows_read_in_sequence": int(read[0] or 0),
            "rows_read_by_index": int(read[1] or 0),
            "rows_updated": int(read[2] or 0),
            "buffers": plan["Shared Hit Blocks"] + plan["Shared Read Blocks"],
            "buffers_of_backlog": backlog["Shared Hit Blocks"] + backlog["Shared Read Blocks"],
        }

    async def make_herd(
        self, envelopes: Envelopes, count: int, end_s: float, rate_per_s: int
    ) -> None:
        """Grants in use whose tokens end in one second, all of them due now; their refresh tokens
        open."""
        profile = a_profile(issuer="https://herd.example", rate_per_s=rate_per_s)
        sample = a_grant(TENANT, oauth_client=HERD_CLIENT, provider=HERD_CLIENT)
        client = an_oauth_client(TENANT, HERD_CLIENT, provider=HERD_CLIENT)
        binding = credential_binding(client.name, 1, HERD_CLIENT)
        registrar = await envelopes.sealer(binding.dek_owner)
        secret = registrar.seal(binding, Sensitive.from_text("secret"))
        await self._register(profile, HERD_CLIENT, HERD_CLIENT, secret)
        sealer = await envelopes.sealer(sample.dek_owner)
        rows = []
        for number in range(count):
            grant = replace(sample, grant_id=uuid.uuid4(), subject=f"herd-{number}")
            if number % 500 == 0:
                sealer = await envelopes.sealer(sample.dek_owner)
            sealed = sealer.seal(grant.refresh_binding(), Sensitive.from_text(f"rt-{number}.1"))
            rows.append((grant.grant_id, grant.subject, sealed))
        await self._insert_herd(rows, end_s)

    async def herd_state(self) -> dict[str, int]:
        """How many have a new token, stored before the end of the old one."""
        (row,) = await self.sql(
            "SELECT count(*) FILTER (WHERE generation = 2 AND update_time < ended) AS in_time"
            " FROM tokenvault.grants, herd_end WHERE oauth_client = 'herd'"
        )
        return {"in_time": row["in_time"]}

    async def database_counts(self) -> dict[str, int]:
        """What the database has counted so far; backends tell it at most once a second."""
        await asyncio.sleep(2.0)
        (row,) = await self.sql(
            f"SELECT {', '.join(_COUNTED)} FROM pg_stat_database WHERE datname = current_database()"
        )
        return dict(row)

    async def close(self) -> None:
        """End the connections."""
        await self.app.close()
        await self.worker.close()

    async def _register(self, profile: Any, client: str, provider: str, secret: bytes) -> None:
        name = ProviderName(TENANT, provider)
        await PostgresProviderStore(self.app).put(name, profile, a_record(TENANT))
        row = an_oauth_client(
            TENANT, client, provider=provider, issuer=profile.issuer, credential_envelope=secret
        )
        assert await PostgresOAuthClientStore(self.app).put(row, 0, a_record(TENANT))

    async def _insert_herd(self, rows: list[tuple[Any, ...]], end_s: float) -> None:
        connection = await self._superuser()
        try:
            await connection.execute("CREATE TEMP TABLE herd (id uuid, subject text, sealed bytea)")
            await connection.copy_records_to_table("herd", records=rows)
            await connection.execute(
                f"CREATE TABLE herd_end AS SELECT now() + interval '{end_s} s' AS ended"
            )
            await connection.execute(_HERD_GRANTS)
            await connection.execute(_HERD_UPKEEP)
        finally:
            await connection.close()

    async def _superuser(self) -> asyncpg.Connection[asyncpg.Record]:
        handle = self.server.handle
        return await asyncpg.connect(
            host=str(handle.socket_dir),
            port=handle.port,
            user=handle.superuser,
            database=self.name,
            password=handle.superuser_password_file.read_text().strip(),
            server_settings={"search_path": "tokenvault,pg_catalog"},
        )


_HERD_GRANTS: Final = """
    INSERT INTO grants (
        grant_id, tenant, owner, oauth_client, provider, issuer, token_endpoint, subject, state,
        scopes, token_type, generation, access_envelope, access_generation, access_expire_time,
        access_life_s, refresh_envelope, refresh_generation)
    SELECT id, 'acme', 'u-1', 'herd', 'herd', 'https://herd.example',
        'https://herd.example/token', subject, 1, '{openid,mail}', 'Bearer', 1, sealed, 1, ended,
        3600, sealed, 1
    FROM herd, herd_end
"""
_HERD_UPKEEP: Final = """
    INSERT INTO grant_upkeep (grant_id, tenant, refresh_time, due_time, last_used_time)
    SELECT id, 'acme', now(), now(), now() FROM herd
"""
