"""The table client_credentials: credentials beside the one in use, and tombstones.

Statements inside the transactions of oauth_clients.py, which hold that row's lock.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from vault_service.domain.names import OAuthClientName
from vault_service.domain.oauth import OAuthClient, SealedCredential

if TYPE_CHECKING:
    from vault_service.adapters.postgres.pool import Connection

_NEWEST: Final = """
    SELECT greatest(
        (SELECT max(version) FROM client_credentials WHERE tenant = $1 AND oauth_client = $2),
        (SELECT credential_version FROM oauth_clients WHERE tenant = $1 AND oauth_client = $2),
        0)
"""
_KEEP: Final = """
    INSERT INTO client_credentials (tenant, oauth_client, version, envelope, create_time)
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT (tenant, oauth_client, version) DO NOTHING
"""
_RETIRE: Final = """
    INSERT INTO client_credentials (tenant, oauth_client, version, retire_time)
    VALUES ($1, $2, $3, clock_timestamp())
    ON CONFLICT (tenant, oauth_client, version) DO UPDATE
    SET envelope = NULL, retire_time = excluded.retire_time
"""
_RETIRE_ALL: Final = """
    UPDATE client_credentials SET envelope = NULL, retire_time = clock_timestamp()
    WHERE tenant = $1 AND oauth_client = $2 AND retire_time IS NULL
"""
_BESIDE: Final = """
    SELECT version, envelope, create_time FROM client_credentials
    WHERE tenant = $1 AND oauth_client = $2 AND version <> $3 AND retire_time IS NULL
    ORDER BY version DESC LIMIT 1
"""
_USE: Final = """
    UPDATE oauth_clients SET
        credential_envelope = $3, credential_version = $4,
        credential_time = coalesce($5::timestamptz, clock_timestamp()),
        revision = revision + 1, update_time = clock_timestamp()
    WHERE tenant = $1 AND oauth_client = $2
"""
_TOUCH: Final = """
    UPDATE oauth_clients SET revision = revision + 1, update_time = clock_timestamp()
    WHERE tenant = $1 AND oauth_client = $2
"""


async def newest_version(connection: Connection, name: OAuthClientName) -> int:
    """The highest number that was ever given, 0 for none."""
    return int(await connection.fetchval(_NEWEST, name.tenant, name.oauth_client))


async def keep(connection: Connection, client: OAuthClient) -> None:
    """Write down the credential in use, before another one takes its place."""
    await connection.execute(
        _KEEP,
        client.name.tenant,
        client.name.oauth_client,
        client.credential_version,
        client.credential_envelope,
        client.credentials[0].create_time,
    )


async def retire(connection: Connection, client: OAuthClient, version: int) -> None:
    """Leave a tombstone of this version, without its envelope."""
    await connection.execute(_RETIRE, client.name.tenant, client.name.oauth_client, version)


async def retire_all(connection: Connection, name: OAuthClientName) -> None:
    """Leave tombstones of all beside the one in use."""
    await connection.execute(_RETIRE_ALL, name.tenant, name.oauth_client)


async def newest_beside(
    connection: Connection, client: OAuthClient
) -> tuple[SealedCredential, datetime | None] | None:
    """The newest one beside the one in use, and when it was added."""
    row = await connection.fetchrow(
        _BESIDE, client.name.tenant, client.name.oauth_client, client.credential_version
    )
    if row is None:
        return None
    return SealedCredential(row["version"], row["envelope"]), row["create_time"]


async def use(
    connection: Connection,
    name: OAuthClientName,
    credential: SealedCredential,
    create_time: datetime | None,
) -> None:
    """Put it into the row of oauth_clients; ``create_time`` None is now."""
    key = (name.tenant, name.oauth_client)
    await connection.execute(_USE, *key, credential.envelope, credential.version, create_time)


async def touch(connection: Connection, name: OAuthClientName) -> None:
    """The next revision of the row, whose credentials changed beside it."""
    await connection.execute(_TOUCH, name.tenant, name.oauth_client)
