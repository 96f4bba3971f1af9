"""JSON from outside, read strictly: what two parsers could read differently is refused."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final

from vault_service.domain import limits

# A string, whole or cut off at the end, is one match, so that each character is looked at once
# (no quadratic time on hostile input) and brackets inside strings are not counted.
_STRING_OR_BRACKET: Final = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)

_INDEX: Final = re.compile(r"[0-9]{1,4}", re.ASCII)


class JsonRefusedError(ValueError):
    """The bytes are not JSON as we read it. The message is in our words, never the body's."""


def parse_object(body: bytes) -> dict[str, Any]:
    """The one object in ``body`` (RFC 8259): UTF-8 without a byte order mark, at most
    BODY_MAX_BYTES, nested at most JSON_DEPTH_MAX deep, no member twice, finite numbers only.

    What is accepted is what ``json.loads`` gives. Raises ``JsonRefusedError``, nothing else.
    """
    if len(body) > limits.BODY_MAX_BYTES:
        raise JsonRefusedError(f"longer than {limits.BODY_MAX_BYTES} bytes")
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise JsonRefusedError("not UTF-8") from None
    # Before the parser, which recurses.
    if nesting(text) > limits.JSON_DEPTH_MAX:
        raise JsonRefusedError(f"nested deeper than {limits.JSON_DEPTH_MAX}")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_without_duplicates,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
    except JsonRefusedError:
        raise
    except ValueError:
        raise JsonRefusedError("not JSON") from None
    if not isinstance(value, dict):
        raise JsonRefusedError("not an object")
    return value


def at_path(members: Mapping[str, Any], path: str) -> object:
    """The member at a dotted path, None where there is none. A whole number is the place in a list
    too (``errors.0.code``)."""
    found: object = members
    for name in path.split("."):
        if isinstance(found, list) and _INDEX.fullmatch(name):
            found = found[int(name)] if int(name) < len(found) else None
        elif isinstance(found, dict):
            found = found.get(name)
        else:
            return None
    return found


def nesting(text: str) -> int:
    """How deep its brackets are nested, those inside strings left out."""
    depth = deepest = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        first = match[0][0]
        if first in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif first in "]}":
            depth -= 1
    return deepest


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise JsonRefusedError("a member stands twice")
    return members


def _no_constant(name: str) -> None:
    """For ``json.loads``: refuses what is no number."""
    raise JsonRefusedError("NaN or Infinity")


def _finite(text: str) -> float:
    """For ``json.loads``: a number, refused where it is out of range."""
    number = float(text)
    if not math.isfinite(number):
        raise JsonRefusedError("a number out of range")
    return number
