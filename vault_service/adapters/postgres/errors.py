"""Foreign exceptions die here: what asyncpg, the network or a time-out raise becomes ours.

No message holds SQL text or a value. The driver's error stays as the cause, without the fields in
which PostgreSQL quotes rows (DETAIL of a failed constraint shows the whole row).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Final

import asyncpg

from vault_service.domain import limits
from vault_service.domain.errors import Reason, VaultError

_DRIVER_ERRORS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)

_QUOTING_FIELDS: Final = (
    "detail", "hint", "context", "query", "internal_query", "internal_position", "data",
)  # fmt: skip

_AWAY: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.LockNotAvailableError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.PostgresSystemError,
    asyncpg.InvalidCachedStatementError,  # a migration ran beside us; the next try prepares anew
    OSError,  # also TimeoutError and ssl.SSLError
)
"""The database is away, too slow, full or read-only: the same call may work later."""

_NOT_SET_UP: Final = (
    asyncpg.InsufficientPrivilegeError,
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedFunctionError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidSchemaNameError,
)
"""The database answers, but it is not the one this release expects."""

_RECORD_REFUSALS: Final = (
    *_NOT_SET_UP,
    asyncpg.InsufficientResourcesError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.PostgresSystemError,
)

# By the ends of constraint names, since every table that hangs on a parent names it alike.
_PARENTS: Final = (
    ("_tenant_provider_fkey", Reason.PROVIDER_NOT_FOUND, "no such provider in this tenant"),
    ("_tenant_oauth_client_fkey", Reason.OAUTH_CLIENT_NOT_FOUND, "no such OAuthClient here"),
    ("_tenant_grant_id_fkey", Reason.GRANT_NOT_FOUND, "no such grant in this tenant"),
    (
        "_tenant_fkey",
        Reason.TENANT_NOT_PROVISIONED,
        "this tenant was not created; an operator runs: tokenvault tenant create",
    ),
)


@contextlib.contextmanager
def store_errors(failed: Callable[[str], None] | None = None) -> Iterator[None]:
    """Turns what the driver raises into VaultError; a VaultError passes through.

    STORE_UNREACHABLE (away, too slow, full, not set up), TENANT_NOT_PROVISIONED,
    PROVIDER_NOT_FOUND, OAUTH_CLIENT_NOT_FOUND, GRANT_NOT_FOUND (a missing parent row),
    CLIENT_ID_IN_USE; INTERNAL for the rest, which would be a fault of ours. ``failed`` is told
    the name of the reason.
    """
    try:
        yield
    except _DRIVER_ERRORS as error:
        ours = _translated(error)
        if failed is not None:
            failed(ours.reason.name)
        raise ours from _without_values(error)


@contextlib.contextmanager
def audit_errors() -> Iterator[None]:
    """Around what only writes records: whatever fails, the record is not durable.

    AUDIT_UNAVAILABLE for every error of the driver and for what ``store_errors`` made of one.
    """
    try:
        yield
    except _DRIVER_ERRORS as error:
        raise _audit_unavailable() from _without_values(error)
    except VaultError as error:
        if error.reason not in (Reason.STORE_UNREACHABLE, Reason.INTERNAL):
            raise
        raise _audit_unavailable() from error


@contextlib.contextmanager
def record_errors() -> Iterator[None]:
    """Around a record's INSERT inside a change: what the table refuses is AUDIT_UNAVAILABLE.

    A lost connection stays what it is: then the change is as unreachable as its record.
    """
    try:
        yield
    except _RECORD_REFUSALS as error:
        raise _audit_unavailable() from _without_values(error)


def _translated(error: Exception) -> VaultError:
    if isinstance(error, asyncpg.ForeignKeyViolationError):
        constraint = str(getattr(error, "constraint_name", ""))
        for end, reason, message in _PARENTS:
            if constraint.endswith(end):
                return VaultError(reason, message)
    if getattr(error, "constraint_name", "") == "one_holder_per_registration":
        return VaultError(
            Reason.CLIENT_ID_IN_USE,
            "another OAuthClient holds this client_id at this issuer; one registration has one "
            "holder",
        )
    if isinstance(error, _NOT_SET_UP):
        return _unreachable(
            "the database is not set up for this release; an operator runs: tokenvault migrate"
        )
    if isinstance(error, _AWAY) and not _is_about_a_value(error):
        return _unreachable("the database does not answer or is too slow; try again")
    return VaultError(Reason.INTERNAL, "the database refused a statement of ours")


def _unreachable(message: str) -> VaultError:
    return VaultError(Reason.STORE_UNREACHABLE, message, retry_after_s=limits.RETRY_AFTER_S)


def _audit_unavailable() -> VaultError:
    return VaultError(
        Reason.AUDIT_UNAVAILABLE,
        "the audit record could not be made durable, so nothing was done; try again",
        retry_after_s=limits.RETRY_AFTER_S,
    )


def _is_about_a_value(error: Exception) -> bool:
    # SQLSTATE class 22, and what asyncpg itself cannot encode, which it files in two places. A
    # certificate that is not trusted is a ValueError too, and an OSError.
    return isinstance(error, asyncpg.DataError | ValueError) and not isinstance(error, OSError)


def _without_values(error: Exception) -> Exception:
    if _is_about_a_value(error):
        return ValueError(f"{type(error).__name__}: its text shows the value")
    for field in _QUOTING_FIELDS:
        if getattr(error, field, None) is not None:
            setattr(error, field, None)
    return error
