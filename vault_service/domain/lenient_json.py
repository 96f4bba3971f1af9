"""JSON as careless servers send it, read only where it cannot be read in two ways.

What stays refused: nesting, two objects that tell of tokens, anything that needs a guess. A member
that stands twice with different values is a ``Contradiction``: who needs it refuses it, and where
nobody does no token is lost over it. NaN says nothing, as null does. A number that is none (1e999)
says nothing about time either, but it may be a token without quotes, so no token is read from it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from vault_service.domain import limits
from vault_service.domain.relaxed_json import NO_TOKEN, rewritten
from vault_service.domain.strict_json import JsonRefusedError, nesting

_BLANK: Final = " \t\r\n\f\v\0\ufeff\u00a0"
# What guards a list or object against being run as a script (XSSI).
_GUARD: Final = re.compile(r"\)\]\}'?,?|while\s*\(1\);|for\s*\(;;\);")
# A call around it (JSONP), for pages that load it as a script.
_CALL: Final = re.compile(r"(?:/\*\*/)?\s*+[A-Za-z_$][\w$.]{0,63}\s*+\((.*)\)\s*;?", re.DOTALL)
# What must not stand around an object that is read all the same: it might say something else.
_TELLING: Final = re.compile(r"(?:access|refresh)[_-]?token|[\"'](?:error|ok[\"'])", re.IGNORECASE)
_STARTS_MAX: Final = 8  # braces in a text that are tried as the beginning of an object
_DIGITS_MAX: Final = 400
_CUT_NUMBER: Final = re.compile(r'(?:,|(?<=\{))\s*"[^"\\]{1,64}"\s*:\s*[0-9.eE+-]{1,40}\Z')


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
    surrounded: bool = False  # by text that is no JSON: enough for tokens, not for a verdict


def read_object(text: str) -> Reading:
    """The one object in ``text``. Raises ``JsonRefusedError``, nothing else."""
    oddities: list[str] = []
    bare = text.strip(_BLANK)
    if guard := _GUARD.match(bare):
        oddities.append("a guard against scripts before it")
        bare = bare[guard.end() :].strip(_BLANK)
    elif bare[:1] not in ("{", "[", '"') and (call := _CALL.fullmatch(bare)):
        oddities.append("a call around it")
        bare = call[1].strip(_BLANK)
    try:
        value, cut = _parsed(bare, oddities)
    except JsonRefusedError:
        found = _within(bare)
        if found is None:
            raise
        return Reading(found, ("text around its object",), surrounded=True)
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
    """The members, with a ``Contradiction`` where one stands twice with different values. Beside a
    value null and "" say nothing. The last one told is the last of them."""
    members: dict[str, Any] = {}
    for name, value in pairs:
        before = members.pop(name, None)
        if _silent(before) or same(before, value):
            members[name] = value
        elif _silent(value):
            members[name] = before
        else:
            known = before.values if isinstance(before, Contradiction) else (before,)
            members[name] = Contradiction((*known, value)[:_VALUES_MAX])
    return members


def spelled(members: Mapping[str, Any], name: str) -> Any:
    """The member of this name, or else of another spelling of it (accessToken, Access-Token).
    A ``Contradiction`` where several other spellings have different values."""
    if name in members:
        return members[name]
    plain = squeezed(name)
    others = [(plain, value) for key, value in members.items() if squeezed(key) == plain]
    return merged(others).get(plain)


def same(one: object, other: object) -> bool:
    """Whether they are equal in kind and value; true is not 1."""
    return type(one) is type(other) and one == other


def _silent(value: object) -> bool:
    return value is None or value == ""


def squeezed(name: str) -> str:
    """What all spellings of a name have in common."""
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
    mended = rewritten(text)
    value = _loaded(mended, strict=False)
    if value is not None:
        oddities.append("not quite JSON")
        return value[0], False
    # A number at the end may be cut itself.
    value = _loaded(_CUT_NUMBER.sub("", mended) + "}", strict=False)
    if value is None:
        raise JsonRefusedError("not JSON")
    oddities.append("its end is missing")
    return value[0], True


def _within(text: str) -> dict[str, Any] | None:
    """The one object in a text that is no JSON (warnings before it, a comment of a proxy behind
    it), where nothing around it tells of tokens or errors, and nothing before it is open."""
    start = -1
    for _ in range(_STARTS_MAX):
        start = text.find("{", start + 1)
        if start < 0 or nesting(text[start:]) > limits.JSON_DEPTH_MAX:
            return None
        try:
            value, end = _DECODER.raw_decode(text, start)
        except ValueError:
            continue
        if isinstance(value, dict) and value:
            if any(text.count(a, 0, start) > text.count(z, 0, start) for a, z in ("{}", "[]")):
                return None
            around = f"{text[:start]} {text[end:]}"
            return None if _TELLING.search(around) else value
    return None


def _loaded(text: str, strict: bool) -> tuple[Any] | None:
    try:
        return ((_STRICT if strict else _DECODER).decode(text),)
    except ValueError:
        return None


def _decoder(strict: bool) -> json.JSONDecoder:
    return json.JSONDecoder(
        strict=strict,
        object_pairs_hook=merged,
        parse_constant=lambda _: None,
        parse_float=_finite,
        parse_int=lambda text: int(text) if len(text) <= _DIGITS_MAX else NO_TOKEN,
    )


def _finite(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else NO_TOKEN


_STRICT, _DECODER = _decoder(True), _decoder(False)
