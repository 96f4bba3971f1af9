"""Cursors of the event stream: a place in it and the moment it was taken, as one opaque text.

They name a place and grant nothing; whoever makes one up cheats nobody but himself.

    version (1 byte, 1) ‖ order_xid (8) ‖ position (8) ‖ microseconds since 1970 (8), big-endian
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from vault_service.domain.errors import Reason, VaultError

_VERSION: Final = b"\x01"
_CHARS: Final = 36  # 25 bytes in base64, padded
_MAX: Final = 2**63 - 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Place:
    """After the event (order_xid, position); ``time`` is when the database said so."""

    order_xid: int
    position: int
    time: datetime


def encode(place: Place) -> str:
    """The cursor of a place."""
    micros = (place.time - _EPOCH) // timedelta(microseconds=1)
    numbers = (place.order_xid, place.position, micros)
    packed = _VERSION + b"".join(number.to_bytes(8) for number in numbers)
    return base64.urlsafe_b64encode(packed).decode()


def decode(cursor: str) -> Place:
    """The place of a cursor; raises FIELD_MALFORMED."""
    if len(cursor) != _CHARS:
        raise malformed()
    try:
        packed = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise malformed() from None
    numbers = [int.from_bytes(packed[start : start + 8]) for start in (1, 9, 17)]
    if packed[:1] != _VERSION or max(numbers) > _MAX:
        raise malformed()
    try:
        time = _EPOCH + timedelta(microseconds=numbers[2])
    except OverflowError:
        raise malformed() from None
    place = Place(numbers[0], numbers[1], time)
    if time > _LATEST or encode(place) != cursor:
        raise malformed()
    return place


def malformed() -> VaultError:
    """FIELD_MALFORMED for a text that is no cursor of ours."""
    return VaultError(
        Reason.FIELD_MALFORMED,
        "cursor is not one of ours; pass the last one that you were given, or nothing",
        metadata={"field": "cursor"},
    )


def expired() -> VaultError:
    """CURSOR_EXPIRED."""
    return VaultError(
        Reason.CURSOR_EXPIRED,
        "events after this cursor may be gone; list the grants to see how they stand, then watch "
        "without a cursor",
    )
