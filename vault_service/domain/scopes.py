"""Which scopes a grant has, from those that were asked for and those that the provider names.

Providers separate them otherwise than asked (GitHub: commas) and give them other names (Google
answers "email" with a URL). A scope counts as missing only where the answer shows that it is.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Final

from vault_service.domain import limits
from vault_service.domain.provider import ProviderProfile

_DEFAULT_SEPARATOR: Final = " "
# Added by providers unasked, and named alike by all: no other scope is ever renamed to one of
# these, and they do not show whose names the others have.
_ADDED: Final = frozenset(("openid", "offline_access"))
_PART: Final = re.compile(r"[^A-Za-z0-9_]+")


def granted_scopes(
    asked: Sequence[str],
    answered: Sequence[str] | None,
    profile: ProviderProfile,
    *,
    renewed: bool = False,
    uncounted: Collection[str] = (),
) -> tuple[str, ...]:
    """The asked scopes that count as granted, in their order, then what the answer names beside
    them. ``answered`` None: as asked (RFC 6749 §5.1, §6). ``renewed``: ``asked`` are those of the
    grant so far, with the provider's own names among them, so one of these may stand for another.
    ``uncounted``: their absence does not matter where scopes are counted.

    Where the answer has no asked scope but those of OpenID, and names others, as many as are
    missing, the two speak different vocabularies, and what is missing counts as granted. A call
    that names a scope as it was asked for must not send the user through consent again and again.
    One scope that is recognised shows that the vocabulary is ours, and what is missing is missing.
    """
    if answered is None:
        return tuple(asked)
    found = separated(asked, answered, profile.scope_separator)
    named = {name.lower() for name in found}
    aliases = {scope: profile.scope_aliases.get(scope, scope).lower() for scope in asked}
    known = {scope.lower() for scope in asked} | set(aliases.values())
    renamed = named if renewed else named - known
    missing = [
        scope
        for scope in asked
        if scope.lower() not in named
        and aliases[scope] not in named
        and not any(_is_renamed(scope, name) for name in renamed)
    ]
    unknown = named - known - _ADDED
    foreign = {scope.lower() for scope in asked if scope not in missing} <= _ADDED
    counted = [scope for scope in missing if scope.lower() not in uncounted]
    by_count = foreign and unknown and len(unknown) >= len(counted)
    if profile.scopes_not_comparable or by_count:
        missing = []
    return tuple(dict.fromkeys([*(one for one in asked if one not in missing), *found]))


def refreshed_scopes(
    asked: Sequence[str],
    granted: Sequence[str],
    answered: Sequence[str] | None,
    profile: ProviderProfile,
) -> tuple[str, ...]:
    """Those that a grant has after a refresh. ``asked`` by its consent, () where that is not known;
    ``granted`` until now.

    The answer is held against what the consent asked for, as far as that is granted yet, by the
    same rule as the consent's answer: so a scope that was granted by count is by count still there.
    One that names no scope at all takes none away (RFC 6749 §6; §3.3: a list has one at least).
    """
    if not answered:
        return tuple(granted)
    still = [scope for scope in asked if scope in granted]
    if not still:
        return granted_scopes(granted, answered, profile, renewed=True)
    # Many name those of OpenID at the consent only.
    return granted_scopes(still, answered, profile, uncounted=_ADDED)


def separated(asked: Sequence[str], answered: Sequence[str], separator: str) -> tuple[str, ...]:
    """The answered scopes one by one: also at commas and plus signs where the profile names no
    separator of its own and no asked scope has that character."""
    signs = " "
    if separator == _DEFAULT_SEPARATOR:
        signs += "".join(sign for sign in ",+" if not any(sign in scope for scope in asked))
    split = re.compile("[" + re.escape(signs) + "]+")
    parts = (part for scope in answered for part in split.split(scope) if part)
    return tuple(dict.fromkeys(parts))[: limits.SCOPES_MAX_COUNT]


def _is_renamed(scope: str, name: str) -> bool:
    """Whether a longer name ends with the scope's (``email``, ``https://.../userinfo.email``), or
    the other way round."""
    short, long = sorted((scope.lower(), name), key=len)
    rest = long.removesuffix(short)
    return short != long != rest and ("/" in rest) and _PART.fullmatch(rest[-1]) is not None
