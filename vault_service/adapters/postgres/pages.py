"""Page tokens: where the next page starts. They name a row and grant nothing."""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from vault_service.domain import limits
from vault_service.domain.errors import Reason, VaultError
from vault_service.ports import Page

T = TypeVar("T")

FIRST_UUID: Final = uuid.UUID(int=0)
LAST_UUID: Final = uuid.UUID(int=2**128 - 1)
LAST_INT: Final = 2**63 - 1
_INT_BYTES: Final = 8


def rows_wanted(page_size: int) -> int:
    """One row more than the page, which tells whether there is a next one."""
    return _bounded(page_size) + 1


def page_of(rows: Sequence[T], page_size: int, key: Callable[[T], bytes]) -> Page[T]:
    """A page of at most ``page_size`` of the rows; the rest is on the next."""
    items = rows[: _bounded(page_size)]
    return Page(items, encode(key(items[-1])) if len(rows) > len(items) else "")


def encode(key: bytes) -> str:
    """The page token after the row with this key."""
    return base64.urlsafe_b64encode(key).decode()


def uuid_key(page_token: str, first: uuid.UUID) -> uuid.UUID:
    """The id in a page token, ``first`` for none; raises FIELD_MALFORMED."""
    if not page_token:
        return first
    key = _decode(page_token)
    if len(key) != 16:
        raise _malformed()
    return uuid.UUID(bytes=key)


def text_key(page_token: str) -> str:
    """The id in a page token, "" for none; raises FIELD_MALFORMED."""
    key = _decode(page_token)
    if not key.isascii() or not key.decode().isprintable() or len(key) > limits.ID_MAX_CHARS:
        raise _malformed()
    return key.decode()


def int_key(page_token: str, first: int) -> int:
    """The number in a page token, ``first`` for none; raises FIELD_MALFORMED."""
    if not page_token:
        return first
    key = _decode(page_token)
    if len(key) != _INT_BYTES or key[0] > 0x7F:
        raise _malformed()
    return int.from_bytes(key)


def int_bytes(number: int) -> bytes:
    """A number as a page token's key."""
    return number.to_bytes(_INT_BYTES)


def _bounded(page_size: int) -> int:
    return min(max(page_size, 1), limits.PAGE_MAX)


def _decode(page_token: str) -> bytes:
    if len(page_token) > limits.TEXT_MAX_CHARS:
        raise _malformed()
    try:
        key = base64.b64decode(page_token.encode("ascii"), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise _malformed() from None
    if encode(key) != page_token:
        raise _malformed()
    return key


def _malformed() -> VaultError:
    return VaultError(
        Reason.FIELD_MALFORMED,
        "page_token is not one of ours; pass next_page_token of the last answer, or nothing",
        metadata={"field": "page_token"},
    )
