"""Bounds of single request fields. Each raises a reason that names the field."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from vault_service.domain import limits
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.event import EventKind

# RFC 6749 §3.3: printable ASCII without space, double quote and backslash.
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,%d}" % limits.SCOPE_MAX_CHARS)


def text(field: str, value: str, max_chars: int, *, optional: bool = False) -> str:
    """Printable ASCII of at most ``max_chars``; FIELD_MALFORMED."""
    if not value and not optional:
        raise malformed(field, "is needed")
    if len(value) > max_chars:
        raise malformed(field, f"has at most {max_chars} characters")
    if not (value.isascii() and value.isprintable()):
        raise malformed(field, "is printable ASCII")
    return value


def scopes(values: Iterable[str]) -> tuple[str, ...]:
    """Distinct scopes in their order; SCOPE_MALFORMED."""
    distinct = tuple(dict.fromkeys(values))
    if len(distinct) > limits.SCOPES_MAX_COUNT:
        raise VaultError(
            Reason.SCOPE_MALFORMED, f"at most {limits.SCOPES_MAX_COUNT} scopes, one an entry"
        )
    for scope in distinct:
        if not _SCOPE.fullmatch(scope):
            raise VaultError(
                Reason.SCOPE_MALFORMED, "a scope is printable ASCII without space, one an entry"
            )
    return distinct


def min_ttl_s(value: Duration | None) -> float | None:
    """Seconds, None where unset; MIN_TTL_OUT_OF_RANGE."""
    if value is None:
        return None
    seconds = value.seconds + value.nanos / 1e9
    if not 0 <= seconds <= limits.MIN_TTL_MAX_S:
        raise VaultError(
            Reason.MIN_TTL_OUT_OF_RANGE, f"min_ttl is 0 to {limits.MIN_TTL_MAX_S} seconds"
        )
    return seconds


def version(value: int, *, optional: bool = False) -> int:
    """A version's number, from 1; 0 only where it may be left out. FIELD_MALFORMED."""
    if value < (0 if optional else 1):
        raise malformed("version", "counts from 1")
    return value


def moment(field: str, value: Timestamp | None) -> datetime | None:
    """UTC, None where unset; FIELD_MALFORMED."""
    if value is None:
        return None
    try:
        return value.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise malformed(field, "is a moment of the years 1 to 9999") from None


def event_kinds(field: str, values: Collection[int]) -> frozenset[EventKind]:
    """Kinds of events; FIELD_MALFORMED."""
    if len(values) > limits.WATCH_KINDS_MAX:
        raise malformed(field, f"has at most {limits.WATCH_KINDS_MAX} entries")
    try:
        return frozenset(map(EventKind, values))
    except ValueError:
        raise malformed(field, "names kinds of events") from None


def page_size(value: int) -> int:
    """0 means the default; more than the most is cut (AIP-158); FIELD_MALFORMED below 0."""
    if value < 0:
        raise malformed("page_size", "is not negative")
    return min(value or limits.PAGE_DEFAULT, limits.PAGE_MAX)


def page_token(value: str) -> str:
    """An opaque text of ours; its content is judged by the store."""
    return text("page_token", value, limits.STATE_MAX_CHARS, optional=True)


def malformed(field: str, message: str) -> VaultError:
    """FIELD_MALFORMED naming the field."""
    return VaultError(Reason.FIELD_MALFORMED, f"{field} {message}", metadata={"field": field})
