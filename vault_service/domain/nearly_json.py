"""The error code of a refusal whose body is not quite JSON.

Only what comes before the fault is read, token by token from the first brace, so no description
that mentions a code is taken for one; and only where the whole body has one member ``error``.
"""

from __future__ import annotations

import re
from typing import Final

from vault_service.domain.error_codes import known_class, names_no_grant, names_the_grant

_CODE: Final = r"[A-Za-z0-9_.-]{1,64}"
_QUOTED: Final = r"\"(?:[^\"\\]|\\.)*+\"|'(?:[^'\\]|\\.)*+'"
_NAME: Final = r"[\"']?[A-Za-z_][A-Za-z0-9_]{0,63}[\"']?"
# A member before the error, whole and without brackets.
_BEFORE: Final = re.compile(
    rf"\s*+{_NAME}\s*+:\s*+(?:{_QUOTED}|-?[0-9.]{{1,20}}|true|false|null|None|True|False)\s*+,",
    re.DOTALL,
)
_ERROR: Final = re.compile(
    rf"\s*+[\"']?error[\"']?\s*+:\s*+(?:\"({_CODE})\"|'({_CODE})'|({_CODE}))\s*+(?:[,}}\"']|\Z)"
)
_NAMED: Final = re.compile(r"[\"'{,\s]error[\"']?\s*+:", re.IGNORECASE)
_BARE: Final = re.compile(rf"[\"']?({_CODE})[\"']?")
_DESCRIBED: Final = re.compile(rf"(?:error\s*:\s*)?({_CODE})(?::\s[^\n{{]*)?", re.IGNORECASE)
_MEMBERS_MAX_COUNT: Final = 20


def error_code(text: str) -> str:
    """The code, "" where none can be read without a guess. A body of one word counts
    where that is a code that is known and can only be of a grant or a client."""
    bare = text.strip(" \t\r\n\0\ufeff")
    if whole := _BARE.fullmatch(bare):
        known = known_class(whole[1]) and not names_no_grant(whole[1])
        return whole[1] if known else ""
    if (said := _DESCRIBED.fullmatch(bare)) and names_the_grant(said[1]):
        return said[1] if known_class(said[1]) else ""
    if not bare.startswith("{") or len(_NAMED.findall(bare)) != 1:
        return ""
    at = 1
    for _ in range(_MEMBERS_MAX_COUNT):
        if found := _ERROR.match(bare, at):
            return found[1] or found[2] or found[3]
        before = _BEFORE.match(bare, at)
        if before is None:
            return ""
        at = before.end()
    return ""
