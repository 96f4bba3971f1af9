"""Where providers put the code of an error, beside the text in ``error`` of RFC 6749 §5.2.

Places are tried in a fixed order, those of the profile first. What stands there and says nothing
(a status text, a number) does no harm: only a code that a table knows means anything. What names
neither the grant nor the refresh token means nothing but in ``error`` or where the profile says.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from typing import Any, Final

from vault_service.domain.error_codes import known_class, names_no_grant
from vault_service.domain.lenient_json import Contradiction
from vault_service.domain.provider import ProviderProfile
from vault_service.domain.strict_json import at_path

# At the top.
_PLACES: Final = (
    "error", "errors", "error_code", "errorCode", "errorcode", "errcode", "error_type", "errorType",
    "errortype", "code", "status", "fault", "detail", "reason",
)  # fmt: skip
# Inside an object there, in small letters.
_INNER: Final = (
    "error", "code", "error_code", "errorcode", "error_type", "errortype", "type", "status", "name",
    "reason", "detail",
)  # fmt: skip
# "invalid_grant: it has expired", and a code at the end of a URI (RFC 9457 §3.1.1): in these, and
# in a ``type`` at the top. Elsewhere a sentence may only mention a code.
_TELLS_A_CODE: Final = frozenset(("error", "code", "error_code", "errorcode"))
_DESCRIBED: Final = re.compile(r"\s*([A-Za-z0-9_.-]{1,64})\s*:\s")
_URI: Final = re.compile(r"(?:urn:|https?://)[!-~]*[:/#]([A-Za-z0-9_.-]{1,64})")
_DESCRIPTIONS: Final = (
    "error_description", "reason", "message", "msg", "error_message", "errorMessage",
)  # fmt: skip
_INNER_DEPTH_MAX: Final = 3
_ELEMENTS_MAX: Final = 5  # of a list
_CODES_MAX: Final = 32
_OK: Final = frozenset(("", "0", "200", "ok", "success", "none", "false"))


def placed_codes(members: Mapping[str, Any], profile: ProviderProfile) -> list[str]:
    """The codes at the profile's ``error_code_paths``, in their order."""
    found = (code_text(at_path(members, path)) for path in profile.error_code_paths)
    return [code for code in found if code.lower() not in _OK]


def code_in_200(members: Mapping[str, Any], profile: ProviderProfile) -> str:
    """The code at ``error_in_200.member``, "" where it says that nothing is wrong."""
    code = code_text(at_path(members, profile.error_in_200.member))
    return "" if code.lower() in _OK else code


def told_codes(members: Mapping[str, Any]) -> list[str]:
    """The codes at the built-in places, each once, in their order."""
    codes: dict[str, None] = {}
    found = [(place, members.get(place)) for place in _PLACES]
    for code in chain.from_iterable(_codes(*one, _INNER_DEPTH_MAX) for one in found):
        codes.setdefault(code)
        if len(codes) == _CODES_MAX:
            return list(codes)
    # In other letters, or a page's address (RFC 9457), it may be a word for people.
    others = [*_values(members, _PLACES), ("error", members.get("type"))]
    for code in chain.from_iterable(_codes(*one, _INNER_DEPTH_MAX) for one in others):
        if known_class(code) and len(codes) < _CODES_MAX:
            codes.setdefault(code)
    return list(codes)


def aside(members: Mapping[str, Any], named: Collection[str]) -> set[str]:
    """Those codes at the built-in places that condemn nobody from there: they name no grant, are
    not ``error`` itself, nor ``named``, which are told where the profile says."""
    error = members.get("error")
    own = {code_text(error), *named}
    if isinstance(error, dict):
        own.add(_kind_and_number(error))
    return {code for code in told_codes(members) if names_no_grant(code) and code not in own}


def descriptions(members: Mapping[str, Any]) -> list[str]:
    """The texts that stand beside a code, at the top and inside ``error``."""
    inner = members.get("error")
    places = (members, inner) if isinstance(inner, dict) else (members,)
    return [
        text
        for place in places
        for name in _DESCRIPTIONS
        if isinstance(text := place.get(name), str)
    ]


def code_text(value: object) -> str:
    """A code as tables have it: a text, or a whole number as one; "" for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18
    return str(value) if whole else ""


def says_error(members: Mapping[str, Any]) -> bool:
    """Whether ``error`` says more than that there is none ("0", "none", a code of "ok")."""
    error = members.get("error")
    inner = error.get("code") if isinstance(error, dict) else error
    code = code_text(inner)
    return bool(error) and not (code and code.lower() in _OK)


def contradicts(members: Mapping[str, Any], names: tuple[str, ...]) -> bool:
    """Whether one of these members stands there with different values."""
    return any(isinstance(members.get(name), Contradiction) for name in names)


def _codes(name: str, value: object, depth: int) -> Iterator[str]:
    """Those in the member ``name``, which decides whether it may have a description behind it."""
    if code := code_text(value):
        yield code
        found = _DESCRIBED.match(code) or _URI.fullmatch(code)
        if found and name.lower() in _TELLS_A_CODE:
            yield found[1]
    elif depth and isinstance(value, list):
        for element in value[:_ELEMENTS_MAX]:
            yield from _codes(name, element, depth - 1)
    elif depth and isinstance(value, dict):
        if both := _kind_and_number(value):
            yield both
        for one in _values(value, _INNER):
            yield from _codes(*one, depth - 1)


def _values(members: Mapping[str, Any], names: Collection[str]) -> Iterator[tuple[str, Any]]:
    """The members of these names, or else of the same in other letters (Error, errorCode)."""
    others = {name.lower(): value for name, value in members.items()}
    return ((name, members.get(name, others.get(name))) for name in names)


def _kind_and_number(value: Mapping[str, Any]) -> str:
    """One number means different things (Facebook); "" where one of the two is missing."""
    kind, number = value.get("type"), code_text(value.get("code"))
    return f"{kind} {number}" if isinstance(kind, str) and number else ""
