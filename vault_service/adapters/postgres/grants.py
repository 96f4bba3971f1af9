"""The tables grants and grant_aliases.

Order of locks in every transaction: authorization, grant, lease. What changes a row checks first
and writes then, in statements of their own: each sees what the locks before it waited for.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from vault_service.adapters.postgres import pages, rows
from vault_service.adapters.postgres.audit import insert_record, is_recorded
from vault_service.adapters.postgres.events import insert_event
from vault_service.adapters.postgres.kept_answers import in_question
from vault_service.adapters.postgres.leases import lock_lease
from vault_service.adapters.postgres.pool import Database
from vault_service.adapters.postgres.revocations import enqueue
from vault_service.adapters.postgres.upkeep import note_consented
from vault_service.domain.audit import AuditRecord
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.event import EventKind
from vault_service.domain.grant import (
    EVERY_GRANT,
    Grant,
    GrantFilter,
    GrantState,
    ProviderRevocation,
    Rejection,
    RejectionKind,
)
from vault_service.domain.names import GrantName, GrantTarget, OAuthClientName
from vault_service.domain.oauth import Authorization
from vault_service.ports import Page

if TYPE_CHECKING:
    from vault_service.adapters.postgres.pool import Connection

_FIND: Final = f"SELECT {rows.GRANT} FROM find_grant($1, $2)"  # noqa: S608
_FIND_BY_ALIAS: Final = f"SELECT {rows.GRANT} FROM find_grant_by_alias($1, $2, $3)"  # noqa: S608
_FIND_BY_SUBJECT: Final = f"""
    SELECT {rows.GRANT} FROM grants
    WHERE tenant = $1 AND oauth_client = $2 AND subject = $3 AND state <> 3
"""  # noqa: S608
_LIST: Final = f"""
    SELECT {rows.GRANT} FROM grants
    WHERE tenant = $1 AND grant_id > $2 AND delete_time IS NULL %s
    ORDER BY grant_id LIMIT $3
"""  # noqa: S608
_OF_OWNER: Final = """
    AND grant_id IN (
        SELECT grant_id FROM grants WHERE tenant = $1 AND owner = {0} AND grant_id > $2
        UNION
        SELECT grant_id FROM grant_aliases WHERE tenant = $1 AND owner = {0} AND grant_id > $2)
"""
_LOCK: Final = f"""
    SELECT {rows.GRANT} FROM grants WHERE tenant = $1 AND grant_id = $2 FOR NO KEY UPDATE
"""  # noqa: S608
_INSERT: Final = """
    INSERT INTO grants (
        tenant, grant_id, owner, oauth_client, provider, issuer, token_endpoint, subject, state,
        cause, scopes, token_type, generation, access_envelope, access_generation,
        access_expire_time, access_life_s, refresh_envelope, refresh_generation,
        provider_revocation, asked_scopes)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,
        $20, $21)
    ON CONFLICT (tenant, oauth_client, subject) WHERE subject IS NOT NULL AND state <> 3
    DO NOTHING
    RETURNING true
"""
_RECONNECT: Final = """
    UPDATE grants SET
        owner = $3, oauth_client = $4, provider = $5, issuer = $6, token_endpoint = $7,
        subject = $8, state = $9, cause = $10, scopes = $11, token_type = $12, generation = $13,
        access_envelope = $14, access_generation = $15, access_expire_time = $16,
        access_life_s = $17, refresh_envelope = $18, refresh_generation = $19,
        provider_revocation = $20, asked_scopes = $21, unrenewed_time = NULL,
        revision = revision + 1, update_time = clock_timestamp()
    WHERE tenant = $1 AND grant_id = $2 AND revision = $22 AND state <> 3
    RETURNING true
"""
_ALIAS: Final = """
    INSERT INTO grant_aliases (tenant, owner, label, grant_id) VALUES ($1, $2, $3, $4)
    ON CONFLICT (tenant, owner, label) DO UPDATE
    SET grant_id = excluded.grant_id, update_time = clock_timestamp()
"""
_UNLINK_ALL: Final = "DELETE FROM grant_aliases WHERE tenant = $1 AND grant_id = $2"
_DELETE: Final = f"""
    UPDATE grants SET
        delete_time = clock_timestamp(), revision = revision + 1, update_time = clock_timestamp()
    WHERE tenant = $1 AND grant_id = $2 AND state = 3 AND delete_time IS NULL
    RETURNING {rows.GRANT}
"""  # noqa: S608
_LOCK_OUTCOME: Final = """
    SELECT grant_id FROM authorizations WHERE tenant = $1 AND state_hash = $2 FOR NO KEY UPDATE
"""
_CONSENTED_SINCE: Final = """
    SELECT EXISTS (
        SELECT FROM authorizations WHERE tenant = $1 AND grant_id = $2 AND claim_time > $3)
"""
_OUTCOME: Final = """
    UPDATE authorizations SET grant_id = $3, ending = NULL, answer_envelope = NULL
    WHERE tenant = $1 AND state_hash = $2
"""
_TOMBSTONE: Final = f"""
    UPDATE grants SET
        state = 3, cause = NULL, access_envelope = NULL, refresh_envelope = NULL,
        access_expire_time = NULL, provider_revocation = $3, revision = revision + 1,
        update_time = clock_timestamp()
    WHERE tenant = $1 AND grant_id = $2
    RETURNING {rows.GRANT}
"""  # noqa: S608
_END_LEASES: Final = """
    UPDATE grant_leases SET fence = 0, lease_until = '-infinity'
    WHERE tenant = $1 AND grant_id = $2
"""
_LOCK_REPORTED: Final = f"""
    SELECT {rows.GRANT}, coalesce(
        extract(epoch FROM rejected_time + $3::interval - clock_timestamp()), 0)::float8 AS wait_s
    FROM grants WHERE tenant = $1 AND grant_id = $2 FOR NO KEY UPDATE
"""  # noqa: S608
_REJECT: Final = """
    UPDATE grants SET
        rejected_generation = generation, rejected_time = clock_timestamp(),
        revision = revision + 1, update_time = clock_timestamp()
    WHERE tenant = $1 AND grant_id = $2
"""
_QUEUED_LATE: Final = """
    UPDATE grants SET
        provider_revocation = $3, revision = revision + 1, update_time = clock_timestamp()
    WHERE tenant = $1 AND grant_id = $2
"""


class PostgresGrantStore:
    """ports.GrantStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, target: GrantTarget) -> Grant | None:
        """By name or alias; one round trip."""
        if isinstance(target, GrantName):
            found = await self._database.call(_FIND, target.tenant, target.grant_id)
        else:
            found = await self._database.call(
                _FIND_BY_ALIAS, target.tenant, target.owner, target.label
            )
        return rows.grant_from(found[0]) if found else None

    async def get_by_subject(self, client: OAuthClientName, subject: str) -> Grant | None:
        """The one live (not REVOKED) grant of this provider subject."""
        async with self._database.tenant_transaction(client.tenant) as connection:
            row = await connection.fetchrow(
                _FIND_BY_SUBJECT, client.tenant, client.oauth_client, subject
            )
        return rows.grant_from(row) if row else None

    async def insert(self, grant: Grant, authorization: Authorization, record: AuditRecord) -> bool:
        """A new grant, its alias and the authorization's outcome; False: the subject has one.

        An authorization that has its outcome already stays as it is (True, nothing is written):
        one consent makes one grant, however often its storing is tried.
        """
        async with self._database.tenant_transaction(grant.tenant) as connection:
            if await _has_outcome(connection, authorization):
                return True
            if not await connection.fetchval(_INSERT, *_columns(grant)):
                return False
            await note_consented(connection, grant)
            await _point_to(connection, grant, authorization)
            await insert_record(connection, record)
            stored = replace(grant, revision=1)
            await insert_event(connection, record.record_id, stored, EventKind.CREATED)
        return True

    async def reconnect(
        self,
        grant: Grant,
        expected_revision: int,
        authorization: Authorization,
        record: AuditRecord,
        *,
        only_newest: bool = False,
    ) -> bool:
        """The same account consented again: the row as given at the next revision, its alias and
        the outcome; False when the row has moved since ``expected_revision`` or is REVOKED, or
        when it would carry on a refresh token that is in question. ``only_newest``: False too when
        a consent that was claimed later is in the row.

        An authorization that has its outcome already: as for ``insert``.
        """
        async with self._database.tenant_transaction(grant.tenant) as connection:
            if await _has_outcome(connection, authorization):
                return True
            row = await connection.fetchrow(_LOCK, grant.tenant, grant.grant_id)
            if only_newest and await _consented_since(connection, grant, authorization):
                return False
            if await _is_presented(connection, grant):
                return False
            if not await connection.fetchval(_RECONNECT, *_columns(grant), expected_revision):
                return False
            await note_consented(connection, grant)
            await _point_to(connection, grant, authorization)
            await insert_record(connection, record)
            active = row is not None and row["state"] == GrantState.ACTIVE.value
            kind = EventKind.RECONNECTED if active else EventKind.RECOVERED
            stored = replace(grant, revision=expected_revision + 1)
            await insert_event(connection, record.record_id, stored, kind)
        return True

    async def is_consented_since(self, grant: Grant, authorization: Authorization) -> bool:
        """Whether the grant has a consent, of any owner and label, that was claimed later."""
        async with self._database.tenant_transaction(grant.tenant) as connection:
            return await _consented_since(connection, grant, authorization)

    async def list(
        self,
        tenant: str,
        owner: str,
        page_size: int,
        page_token: str,
        only: GrantFilter = EVERY_GRANT,
    ) -> Page[Grant]:
        """By id, without deleted ones; ``owner`` "" means all. Grants that an alias of the owner
        points at count."""
        after = pages.uuid_key(page_token, pages.FIRST_UUID)
        statement, narrowing = _listing(owner, only)
        wanted = (tenant, after, pages.rows_wanted(page_size), *narrowing)
        async with self._database.tenant_transaction(tenant) as connection:
            found = await connection.fetch(statement, *wanted)
        grants = [rows.grant_from(row) for row in found]
        return pages.page_of(grants, page_size, lambda grant: grant.grant_id.bytes)

    async def revoke(self, grant: Grant, queued: bool, record: AuditRecord) -> Grant | None:
        """Tombstone; the row as it stands, None when there is none.

        ``provider_revocation`` becomes PENDING when the refresh token was queued, UNSUPPORTED
        when there was one that is not, NONE without one. A grant already REVOKED stays as it
        is, and nothing is recorded.
        """
        key = (grant.tenant, grant.grant_id)
        async with self._database.tenant_transaction(grant.tenant) as connection:
            row = await connection.fetchrow(_LOCK, *key)
            if row is None:
                return None
            current = rows.grant_from(row)
            if current.state is GrantState.REVOKED:
                return current
            at_provider = _revocation_of(current, queued)
            tombstone = await connection.fetchrow(_TOMBSTONE, *key, at_provider.value)
            await connection.execute(_END_LEASES, *key)
            if at_provider is ProviderRevocation.PENDING and current.refresh_envelope:
                await enqueue(
                    connection, record.record_id, current, current.refresh_envelope,
                    current.refresh_generation,
                )  # fmt: skip
            await insert_record(connection, record)
            assert tombstone is not None, "its row is locked"
            revoked = rows.grant_from(tombstone)
            await insert_event(connection, record.record_id, revoked, EventKind.REVOKED)
        return revoked

    async def reject(self, grant: Grant, interval_s: float, record: AuditRecord) -> Rejection:
        """Mark ``grant.generation`` as refused by an API, once. GRANT_NOT_FOUND."""
        key = (grant.tenant, grant.grant_id)
        async with self._database.tenant_transaction(grant.tenant) as connection:
            row = await connection.fetchrow(_LOCK_REPORTED, *key, timedelta(seconds=interval_s))
            if row is None:
                raise VaultError(Reason.GRANT_NOT_FOUND, "the grant is gone")
            current = rows.grant_from(row)
            alive = current.state is GrantState.ACTIVE
            if not alive or current.generation != grant.generation:
                return Rejection(RejectionKind.MOVED)
            if current.rejected_generation == current.generation:
                return Rejection(RejectionKind.STANDING)
            if row["wait_s"] > 0:
                return Rejection(RejectionKind.TOO_SOON, row["wait_s"])
            await connection.execute(_REJECT, *key)
            await insert_record(connection, record)
        return Rejection(RejectionKind.MARKED)

    async def queue_revocation(
        self, grant: Grant, refresh_envelope: bytes, generation: int, record: AuditRecord
    ) -> None:
        """Queue a refresh token that arrived after its grant was revoked."""
        async with self._database.tenant_transaction(grant.tenant) as connection:
            await connection.fetchrow(_LOCK, grant.tenant, grant.grant_id)
            if await is_recorded(connection, record):
                return
            await connection.execute(
                _QUEUED_LATE, grant.tenant, grant.grant_id, ProviderRevocation.PENDING.value
            )
            await enqueue(connection, record.record_id, grant, refresh_envelope, generation)
            await insert_record(connection, record)

    async def delete(self, grant: Grant, record: AuditRecord) -> Grant | None:
        """Give a REVOKED grant its delete_time and take its aliases away; None when it is not
        REVOKED, is deleted already or is not there."""
        key = (grant.tenant, grant.grant_id)
        async with self._database.tenant_transaction(grant.tenant) as connection:
            row = await connection.fetchrow(_DELETE, *key)
            if row is not None:
                await connection.execute(_UNLINK_ALL, *key)
                await insert_record(connection, record)
                deleted = rows.grant_from(row)
                await insert_event(connection, record.record_id, deleted, EventKind.DELETED)
        return rows.grant_from(row) if row else None


def _listing(owner: str, only: GrantFilter) -> tuple[str, list[object]]:
    """A statement for just these filters, so that each has its index, and their values."""
    clauses, values = [], list[object]()
    for clause, value in (
        (_OF_OWNER, owner),
        ("AND state = {0}", only.state.value if only.state else None),
        ("AND oauth_client = {0}", only.oauth_client),
        ("AND provider = {0}", only.provider),
    ):
        if value:
            values.append(value)
            clauses.append(clause.format(f"${len(values) + 3}"))
    return _LIST % " ".join(clauses), values


async def _has_outcome(connection: Connection, authorization: Authorization) -> bool:
    key = (authorization.tenant, authorization.state_hash)
    return await connection.fetchval(_LOCK_OUTCOME, *key) is not None


async def _consented_since(
    connection: Connection, grant: Grant, authorization: Authorization
) -> bool:
    key = (grant.tenant, grant.grant_id, authorization.claim_time)
    return await connection.fetchval(_CONSENTED_SINCE, *key) is True


async def _is_presented(connection: Connection, grant: Grant) -> bool:
    """Whether the row would carry on a refresh token that an attempt has presented by now."""
    if not grant.carries_its_token_on:
        return False
    await lock_lease(connection, grant.tenant, grant.grant_id)
    return await in_question(connection, grant.tenant, grant.grant_id, grant.generation - 1)


async def _point_to(connection: Connection, grant: Grant, authorization: Authorization) -> None:
    tenant, owner = authorization.tenant, authorization.owner
    await connection.execute(_ALIAS, tenant, owner, authorization.label, grant.grant_id)
    await connection.execute(_OUTCOME, tenant, authorization.state_hash, grant.grant_id)


def _revocation_of(grant: Grant, queued: bool) -> ProviderRevocation:
    if grant.refresh_envelope is None:
        return ProviderRevocation.NONE
    return ProviderRevocation.PENDING if queued else ProviderRevocation.UNSUPPORTED


def _columns(grant: Grant) -> tuple[Any, ...]:
    """The columns that a consent writes, in the order of ``_INSERT`` and ``_RECONNECT``."""
    return (
        grant.tenant,
        grant.grant_id,
        grant.owner,
        grant.oauth_client,
        grant.provider,
        grant.issuer,
        grant.token_endpoint,
        grant.subject,
        grant.state.value,
        None if grant.cause is None else grant.cause.value,
        grant.scopes,
        grant.token_type,
        grant.generation,
        grant.access_envelope,
        grant.access_generation,
        grant.access_expire_time,
        grant.access_life_s,
        grant.refresh_envelope,
        grant.refresh_generation,
        grant.provider_revocation.value,
        grant.asked_scopes,
    )
