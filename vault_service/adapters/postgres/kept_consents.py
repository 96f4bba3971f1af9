"""Answers to codes that could not be read, kept with their authorizations until another profile or
release can, as those of refreshes are (``kept_answers``)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from vault_service.adapters.postgres import rows
from vault_service.domain import limits
from vault_service.domain.attempt import READER
from vault_service.domain.oauth import Authorization

if TYPE_CHECKING:
    from vault_service.adapters.postgres.pool import Database

# Tenants take turns, and within each by chance: answers that cannot be opened now keep none of the
# others from being read.
_DUE: Final = f"""
    SELECT {rows.AUTHORIZATION} FROM (
        SELECT a.*, row_number() OVER (PARTITION BY a.tenant ORDER BY random()) AS turn
        FROM authorizations a
        JOIN providers p ON p.tenant = a.tenant AND p.provider = a.provider
        WHERE a.answer_envelope IS NOT NULL
            AND (a.read_by <> $1 OR a.read_revision <> p.revision)) due
    ORDER BY turn LIMIT $2
"""  # noqa: S608
_READ: Final = """
    UPDATE authorizations SET read_revision = $3, read_by = $4
    WHERE tenant = $1 AND state_hash = $2
"""
# A claim without an outcome may have its answer in a spool, and an answer in the row may become
# readable. While there is one, the row of a newer consent says that its tokens must stay.
_DELETE: Final = """
    DELETE FROM authorizations WHERE state_hash IN (
        SELECT state_hash FROM authorizations a
        WHERE expire_time < now() - $1::interval
            AND (claim_id IS NULL OR grant_id IS NOT NULL OR claim_time < now() - CASE
                WHEN ending IS NULL THEN $3::interval
                WHEN answer_envelope IS NOT NULL THEN $4::interval
                ELSE '0'::interval END)
            AND (grant_id IS NULL OR NOT EXISTS (
                SELECT FROM authorizations o
                WHERE o.tenant = a.tenant AND o.owner = a.owner AND o.label = a.label
                    AND o.oauth_client = a.oauth_client AND o.claim_time < a.claim_time
                    AND o.claim_id IS NOT NULL AND o.grant_id IS NULL
                    AND (o.ending IS NULL OR o.answer_envelope IS NOT NULL)))
        ORDER BY expire_time LIMIT $2 FOR UPDATE SKIP LOCKED)
    RETURNING true
"""


class PostgresKeptConsents:
    """ports.KeptConsents over two roles: the one of requests and the one of the worker."""

    def __init__(self, database_for_requests: Database, database_for_worker: Database) -> None:
        self._requests = database_for_requests
        self._worker = database_for_worker

    async def due(self, limit: int) -> Sequence[Authorization]:
        """Those whose answer was not read with the profile and the reader of now."""
        found = await self._worker.call(_DUE, READER, limit)
        return [rows.authorization_from(row) for row in found]

    async def read_in_vain(self, authorization: Authorization, revision: int) -> None:
        """Not due again before the provider has another revision."""
        key = (authorization.tenant, authorization.state_hash)
        async with self._requests.tenant_transaction(authorization.tenant) as connection:
            await connection.execute(_READ, *key, revision, READER)


class PostgresSweeper:
    """Clears away what nobody needs any more, over all tenants; wants the worker role."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def delete_expired_authorizations(self, limit: int) -> int:
        """Delete at most ``limit``, oldest first; returns how many.

        They are kept a day beyond their end, so that a late or repeated callback is told that
        its state expired or its code was used, and not that there never was such a state. One that
        may still get tokens is kept for as long as those are worth something.
        """
        deleted = await self._database.call(
            _DELETE,
            timedelta(seconds=limits.AUTHORIZATION_KEEP_S),
            limit,
            timedelta(seconds=limits.CLAIM_KEEP_S),
            timedelta(seconds=limits.CONSENT_ANSWER_KEEP_S),
        )
        return len(deleted)
