"""Results as JSON: dataclasses become objects, moments RFC 3339 in UTC, bytes base64."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum


def plain(value: object, *, reveal: bool = False) -> object:
    """What ``json.dumps`` takes. Fields that are hidden from repr are left out unless ``reveal``.

    Raises TypeError for what no result holds.
    """
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return {str(key): plain(item, reveal=reveal) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, reveal=reveal) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain(getattr(value, field.name), reveal=reveal)
            for field in dataclasses.fields(value)
            if field.repr or reveal
        }
    raise TypeError(f"{type(value).__name__} has no JSON form here")
