"""The tables secrets, secret_versions and secret_requests.

Order of locks in every transaction: request, secret, its versions by number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from vault_service.adapters.postgres import pages, rows
from vault_service.adapters.postgres.audit import insert_record
from vault_service.adapters.postgres.pool import Database
from vault_service.domain.audit import AuditRecord
from vault_service.domain.names import SecretName, SecretParent
from vault_service.domain.secret import AnsweredRequest, Secret, SecretRequest, SecretVersion
from vault_service.ports import Page

if TYPE_CHECKING:
    from vault_service.adapters.postgres.pool import Connection

_KEY: Final = "tenant = $1 AND level = $2 AND owner = $3 AND secret = $4"
_GET: Final = f"SELECT {rows.SECRET} FROM secrets WHERE {_KEY}"  # noqa: S608
_LIST: Final = f"""
    SELECT {rows.SECRET} FROM secrets
    WHERE tenant = $1 AND level = $2 AND owner = $3 AND secret > $4 COLLATE "C"
        AND delete_time IS NULL
    ORDER BY secret COLLATE "C" LIMIT $5
"""  # noqa: S608
_VERSIONS: Final = f"""
    SELECT {rows.SECRET_VERSION} FROM secret_versions
    WHERE {_KEY} AND version < $5 ORDER BY version DESC LIMIT $6
"""  # noqa: S608
_VERSION: Final = f"""
    SELECT {rows.SECRET_VERSION} FROM secret_versions WHERE {_KEY} AND version = $5
"""  # noqa: S608
_ANSWERED: Final = """
    SELECT tenant, owner, secret, version, digest FROM secret_requests
    WHERE tenant = $1 AND caller = $2 AND request_id = $3
"""
_ANSWER: Final = """
    INSERT INTO secret_requests (tenant, level, owner, secret, version, caller, request_id, digest)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT (tenant, caller, request_id) DO NOTHING RETURNING true
"""
_CREATE: Final = """
    INSERT INTO secrets (tenant, level, owner, secret, version, revision)
    VALUES ($1, $2, $3, $4, 0, 0) ON CONFLICT DO NOTHING
"""
_NEXT: Final = f"""
    UPDATE secrets SET
        version = $5, labels = coalesce($6::text::jsonb, labels), delete_time = NULL,
        revision = revision + 1, update_time = clock_timestamp()
    WHERE {_KEY} AND version = $5 - 1 AND ($7::bigint IS NULL OR revision = $7)
    RETURNING true
"""  # noqa: S608
_INSERT: Final = """
    INSERT INTO secret_versions (tenant, level, owner, secret, version, envelope, expire_time)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
_TOUCH: Final = f"""
    UPDATE secrets SET revision = revision + 1, update_time = clock_timestamp() WHERE {_KEY}
"""  # noqa: S608
_DESTROY: Final = f"""
    UPDATE secret_versions SET envelope = NULL, destroy_time = clock_timestamp()
    WHERE {_KEY} AND version = $5 AND destroy_time IS NULL RETURNING true
"""  # noqa: S608
_BURY: Final = f"""
    UPDATE secrets SET
        delete_time = clock_timestamp(), labels = '{{}}', revision = revision + 1,
        update_time = clock_timestamp()
    WHERE {_KEY} AND revision = $5 AND delete_time IS NULL RETURNING true
"""  # noqa: S608
_LOCK_VERSIONS: Final = f"""
    SELECT version FROM secret_versions WHERE {_KEY} ORDER BY version FOR NO KEY UPDATE
"""  # noqa: S608
_DESTROY_ALL: Final = f"""
    UPDATE secret_versions SET envelope = NULL, destroy_time = clock_timestamp()
    WHERE {_KEY} AND destroy_time IS NULL
"""  # noqa: S608


class _Moved(Exception):
    """Rolls the transaction back."""


class PostgresSecretStore:
    """ports.SecretStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, name: SecretName) -> Secret | None:
        """One secret, a tombstone too, or None."""
        async with self._database.tenant_transaction(name.tenant) as connection:
            row = await connection.fetchrow(_GET, *_key(name))
        return rows.secret_from(row) if row else None

    async def next_version(self, name: SecretName) -> int:
        """The number the next version would have (1 for a new secret)."""
        known = await self.get(name)
        return known.version + 1 if known else 1

    async def put(
        self,
        version: SecretVersion,
        record: AuditRecord,
        *,
        labels: Mapping[str, str] | None = None,
        expected_revision: int | None = None,
        request: SecretRequest | None = None,
    ) -> bool:
        """Insert the next version; False when the port says so. TENANT_NOT_PROVISIONED."""
        key = _key(version.name)
        kept = None if labels is None else json.dumps(dict(labels))
        try:
            async with self._database.tenant_transaction(version.name.tenant) as connection:
                if request is not None:
                    await _answer(connection, version, request)
                await connection.execute(_CREATE, *key)
                next_ = (version.version, kept, expected_revision)
                if not await connection.fetchval(_NEXT, *key, *next_):
                    raise _Moved
                await connection.execute(
                    _INSERT, *key, version.version, version.envelope, version.expire_time
                )
                await insert_record(connection, record)
        except _Moved:
            return False
        return True

    async def answered(self, tenant: str, caller: str, request_id: str) -> AnsweredRequest | None:
        """What a request of this caller and id made, or None."""
        async with self._database.tenant_transaction(tenant) as connection:
            row = await connection.fetchrow(_ANSWERED, tenant, caller, request_id)
        return rows.answered_from(row) if row else None

    async def latest(self, name: SecretName) -> SecretVersion | None:
        """The newest version, whatever its state, or None."""
        async with self._database.tenant_transaction(name.tenant) as connection:
            row = await connection.fetchrow(_VERSIONS, *_key(name), pages.LAST_INT, 1)
        return rows.secret_version_from(row) if row else None

    async def get_version(self, name: SecretName, version: int) -> SecretVersion | None:
        """One version, whatever its state, or None."""
        async with self._database.tenant_transaction(name.tenant) as connection:
            row = await connection.fetchrow(_VERSION, *_key(name), version)
        return rows.secret_version_from(row) if row else None

    async def list(self, parent: SecretParent, page_size: int, page_token: str) -> Page[Secret]:
        """Of one level and owner by id, without tombstones. FIELD_MALFORMED."""
        after = pages.text_key(page_token)
        whose = (parent.tenant, parent.level.value, parent.owner)
        async with self._database.tenant_transaction(parent.tenant) as connection:
            found = await connection.fetch(_LIST, *whose, after, pages.rows_wanted(page_size))
        secrets = [rows.secret_from(row) for row in found]
        return pages.page_of(secrets, page_size, lambda one: one.name.secret.encode())

    async def list_versions(
        self, name: SecretName, page_size: int, page_token: str
    ) -> Page[SecretVersion]:
        """Newest first. FIELD_MALFORMED."""
        before = pages.int_key(page_token, pages.LAST_INT)
        async with self._database.tenant_transaction(name.tenant) as connection:
            found = await connection.fetch(
                _VERSIONS, *_key(name), before, pages.rows_wanted(page_size)
            )
        versions = [rows.secret_version_from(row) for row in found]
        return pages.page_of(versions, page_size, lambda one: pages.int_bytes(one.version))

    async def destroy(
        self, name: SecretName, version: int, record: AuditRecord
    ) -> SecretVersion | None:
        """Destroy the envelope for ever; the version as it stands, None when there is none.

        Waits for disclosures of it that are under way: none commits after this returned.
        """
        key = _key(name)
        async with self._database.tenant_transaction(name.tenant) as connection:
            # The secret first, as everywhere; its etag changes with its versions.
            await connection.execute(f"{_GET} FOR NO KEY UPDATE", *key)
            if await connection.fetchval(_DESTROY, *key, version):
                await connection.execute(_TOUCH, *key)
                await insert_record(connection, record)
            row = await connection.fetchrow(_VERSION, *key, version)
        return rows.secret_version_from(row) if row else None

    async def delete(self, secret: Secret, record: AuditRecord) -> bool:
        """Destroy all envelopes and leave a tombstone; False when the row has moved."""
        key = _key(secret.name)
        async with self._database.tenant_transaction(secret.name.tenant) as connection:
            buried = await connection.fetchval(_BURY, *key, secret.revision)
            if buried:
                # In the order in which disclosures lock them.
                await connection.execute(_LOCK_VERSIONS, *key)
                await connection.execute(_DESTROY_ALL, *key)
                await insert_record(connection, record)
        return buried is True


async def _answer(connection: Connection, version: SecretVersion, request: SecretRequest) -> None:
    written = await connection.fetchval(
        _ANSWER,
        *_key(version.name),
        version.version,
        request.caller,
        request.request_id,
        request.digest,
    )
    if not written:
        raise _Moved


def _key(name: SecretName) -> tuple[str, str, str, str]:
    return name.tenant, name.level.value, name.owner, name.secret
