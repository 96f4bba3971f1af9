"""The table audit_records: records of changes go with their change, all others in group commits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vault_service.adapters.postgres import pages, rows
from vault_service.adapters.postgres.errors import audit_errors, record_errors
from vault_service.adapters.postgres.pool import Database
from vault_service.domain import limits
from vault_service.domain.audit import AuditRecord
from vault_service.domain.grant import Grant
from vault_service.domain.names import GrantAliasName
from vault_service.domain.secret import SecretVersion
from vault_service.gather import Gatherer
from vault_service.ports import Page
from vault_service.telemetry.meters import CommitMeter
from vault_service.telemetry.metrics import Metrics
from vault_service.telemetry.traces import child

if TYPE_CHECKING:
    from vault_service.adapters.postgres.pool import Connection

_INSERT: Final = f"""
    INSERT INTO audit_records ({rows.RECORD_COLUMNS})
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15::text::jsonb)
"""  # noqa: S608  # column names of ours

_DISCLOSE: Final = """
    SELECT * FROM disclose_current(
        $1::integer[], $2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::uuid[], $7::text[],
        $8::smallint[], $9::smallint[], $10::text[], $11::text[], $12::text[], $13::text[],
        $14::text[], $15::text[], $16::text[], $17::text[], $18::text[], $19::text[], $20::text[])
        AS accepted
"""


async def insert_record(connection: Connection, record: AuditRecord) -> None:
    """Write the record of a change in the change's own transaction. AUDIT_UNAVAILABLE."""
    with record_errors():
        await connection.execute(_INSERT, *rows.record_to_row(record))


async def is_recorded(connection: Connection, record: AuditRecord) -> bool:
    """Whether this very record has committed, and so the change it belongs to.

    A commit whose answer was lost is tried again; its second try finds the row already moved.
    """
    found = await connection.fetchval(
        "SELECT true FROM audit_records WHERE tenant = $1 AND record_id = $2",
        record.tenant,
        record.record_id,
    )
    return found is True


_DISCLOSE_SECRETS: Final = """
    SELECT * FROM disclose_secrets(
        $1::integer[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::uuid[], $7::text[],
        $8::smallint[], $9::smallint[], $10::text[], $11::text[], $12::text[], $13::text[],
        $14::text[], $15::text[], $16::text[], $17::text[], $18::text[], $19::text[], $20::text[])
        AS accepted
"""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One record of a batch, with the grant that must still be as it was read."""

    record: AuditRecord
    grant: Grant | None
    alias: GrantAliasName | None = None


@dataclass(frozen=True, slots=True)
class _SecretEntry:
    """One record of a batch, with the version that must still have its value."""

    record: AuditRecord
    version: SecretVersion


class PostgresAuditLog:
    """ports.AuditLog. Appends and disclosures of one moment share one statement and commit;
    disclosures of secrets have one of their own, so that tokens do not pay for them."""

    def __init__(self, database: Database, meter: CommitMeter | None = None) -> None:
        self._database = database
        meter = meter or CommitMeter(Metrics())
        self._gatherer: Gatherer[_Entry, bool] = Gatherer(
            self._write,
            batch_max=limits.DISCLOSURE_BATCH_MAX,
            queue_max=limits.DISCLOSURE_QUEUE_MAX,
            patience_s=limits.DISCLOSURE_PATIENCE_S,
            on_batch=meter.records.observe,
        )
        self._secrets: Gatherer[_SecretEntry, bool] = Gatherer(
            self._write_secrets,
            batch_max=limits.DISCLOSURE_BATCH_MAX,
            queue_max=limits.DISCLOSURE_QUEUE_MAX,
            on_batch=meter.secrets.observe,
        )

    @property
    def waiting(self) -> tuple[int, int]:
        """Records and records of secrets that no commit has taken yet."""
        return self._gatherer.waiting, self._secrets.waiting

    async def append(self, record: AuditRecord) -> None:
        """Durable when it returns. AUDIT_UNAVAILABLE, OVERLOADED."""
        with child("group commit"):
            await self._gatherer.submit(_Entry(record, None))

    async def disclose(
        self, record: AuditRecord, grant: Grant, alias: GrantAliasName | None = None
    ) -> bool:
        """Durable, and the grant was ACTIVE at this revision, and the alias its own, when it
        committed, its OAuthClient not suspended; else False."""
        with child("group commit"):
            return await self._gatherer.submit(_Entry(record, grant, alias))

    async def disclose_secret(self, record: AuditRecord, version: SecretVersion) -> bool:
        """Durable, and the version had its value and had not expired; else False."""
        with child("group commit"):
            return await self._secrets.submit(_SecretEntry(record, version))

    async def list(self, tenant: str, page_size: int, page_token: str) -> Page[AuditRecord]:
        """Newest first. FIELD_MALFORMED, STORE_UNREACHABLE."""
        before = pages.uuid_key(page_token, pages.LAST_UUID)
        async with self._database.tenant_transaction(tenant) as connection:
            found = await connection.fetch(
                f"SELECT {rows.AUDIT_RECORD} FROM audit_records"  # noqa: S608
                " WHERE tenant = $1 AND record_id < $2 ORDER BY record_id DESC LIMIT $3",
                tenant,
                before,
                pages.rows_wanted(page_size),
            )
        records = [rows.record_from(row) for row in found]
        return pages.page_of(records, page_size, lambda record: record.record_id.bytes)

    async def close(self) -> None:
        """Take nothing more and write what waits."""
        await self._gatherer.close()
        await self._secrets.close()

    async def _write(self, batch: Sequence[_Entry]) -> Sequence[bool]:
        with audit_errors():
            accepted = await self._database.call(_DISCLOSE, *_columns(batch))
        return _judged(accepted, len(batch))

    async def _write_secrets(self, batch: Sequence[_SecretEntry]) -> Sequence[bool]:
        with audit_errors():
            accepted = await self._database.call(_DISCLOSE_SECRETS, *_secret_columns(batch))
        return _judged(accepted, len(batch))


def _judged(accepted: Sequence[rows.Row], size: int) -> list[bool]:
    ordinals = {row["accepted"] for row in accepted}
    return [ordinal in ordinals for ordinal in range(1, size + 1)]


def _columns(batch: Sequence[_Entry]) -> list[Sequence[object]]:
    records = zip(*(rows.record_to_row(entry.record) for entry in batch), strict=True)
    grants = [entry.grant for entry in batch]
    return [
        range(1, len(batch) + 1),
        [grant and grant.grant_id for grant in grants],
        [grant and grant.revision for grant in grants],
        [entry.alias and entry.alias.owner for entry in batch],
        [entry.alias and entry.alias.label for entry in batch],
        *records,
    ]


def _secret_columns(batch: Sequence[_SecretEntry]) -> list[Sequence[object]]:
    records = zip(*(rows.record_to_row(entry.record) for entry in batch), strict=True)
    names = [entry.version.name for entry in batch]
    return [
        range(1, len(batch) + 1),
        [name.level.value for name in names],
        [name.owner for name in names],
        [name.secret for name in names],
        [entry.version.version for entry in batch],
        *records,
    ]
