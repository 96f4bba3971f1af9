"""JSON as careless servers send it, read only where it cannot be read in two ways.

What stays refused: nesting, numbers that are none, two objects, anything that needs a guess. A
member that stands twice with different values is a ``Contradiction``: who needs it refuses it, and
where nobody does no token is lost over it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from vault_service.domain import limits
from vault_service.domain.strict_json import (
    JsonRefusedError,
    finite,
    nesting,
    no_constant,
)

_BLANK: Final = " \t\r\n\f\v\0\ufeff\u00a0"
# What guards a list or object against being run as a script (XSSI).
_GUARD: Final = re.compile(r"\)\]\}'?,?|while\s*\(1\);|for\s*\(;;\);")
_STRING_OR_COMMA: Final = re.compile(
    r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|,(?=[ \t\r\n]*+[}\]])', re.DOTALL
)
_ESCAPE: Final = re.compile(r'(\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}))|\\', re.DOTALL)
_NO_ESCAPE: Final = "\ufffd"  # stands in no token, so none is guessed
_CUT_NUMBER: Final = re.compile(r',\s*"[A-Za-z_]{1,64}"\s*:\s*-?[0-9.eE+-]{1,40}\Z')


_VALUES_MAX: Final = 8  # of one member: more would cost time and tell nothing


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Different values of one member. No value that anybody accepts."""

    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """The members of a body. ``cut``: its last bytes are missing, so a member may be, too."""

    members: dict[str, Any]
    oddities: tuple[str, ...] = ()  # in our own words
    cut: bool = False


def read_object(text: str) -> Reading:
    """The one object in ``text``. Raises ``JsonRefusedError``, nothing else."""
    oddities: list[str] = []
    bare = text.strip(_BLANK)
    if guard := _GUARD.match(bare):
        oddities.append("a guard against scripts before it")
        bare = bare[guard.end() :].strip(_BLANK)
    value, cut = _parsed(bare, oddities)
    if isinstance(value, str):
        oddities.append("JSON in a JSON string")
        value, cut = _parsed(value.strip(_BLANK), oddities)
    if isinstance(value, list) and len(value) == 1:
        oddities.append("a list around it")
        value = value[0]
    if not isinstance(value, dict):
        raise JsonRefusedError("not an object")
    return Reading(value, tuple(dict.fromkeys(oddities)), cut)


def merged(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """The members, with a ``Contradiction`` where one stands twice with different values."""
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name not in members or same(members[name], value):
            members[name] = value
        else:
            before = members[name]
            known = before.values if isinstance(before, Contradiction) else (before,)
            members[name] = Contradiction((*known, value)[:_VALUES_MAX])
    return members


def spelled(members: Mapping[str, Any], name: str) -> Any:
    """The member of this name, or else of another spelling of it (accessToken, Access-Token).
    A ``Contradiction`` where several other spellings have different values."""
    if name in members:
        return members[name]
    plain = _squeezed(name)
    others = [(plain, value) for key, value in members.items() if _squeezed(key) == plain]
    return merged(others).get(plain)


def same(one: object, other: object) -> bool:
    """Whether they are equal in kind and value; true is not 1."""
    return type(one) is type(other) and one == other


def _squeezed(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def _parsed(text: str, oddities: list[str]) -> tuple[Any, bool]:
    # Before the parser, which recurses.
    if nesting(text) > limits.JSON_DEPTH_MAX:
        raise JsonRefusedError(f"nested deeper than {limits.JSON_DEPTH_MAX}")
    for strict, word in ((True, ""), (False, "control characters in a text")):
        value = _loaded(text, strict)
        if value is not None:
            oddities += [word] if word else []
            return value[0], False
    mended = _STRING_OR_COMMA.sub(_mended, text)
    value = _loaded(mended, strict=False)
    if value is not None:
        oddities.append("a comma or an escape that does not belong there")
        return value[0], False
    # A number at the end may be cut itself.
    value = _loaded(_CUT_NUMBER.sub("", mended) + "}", strict=False)
    if value is None:
        raise JsonRefusedError("not JSON")
    oddities.append("its end is missing")
    return value[0], True


def _loaded(text: str, strict: bool) -> tuple[Any] | None:
    try:
        value = json.loads(
            text,
            strict=strict,
            object_pairs_hook=merged,
            parse_constant=no_constant,
            parse_float=finite,
        )
    except JsonRefusedError:
        raise
    except ValueError:
        return None
    return (value,)


def _mended(found: re.Match[str]) -> str:
    if found[0] == ",":
        return ""
    return _ESCAPE.sub(lambda one: one[1] or _NO_ESCAPE, found[0])
