"""How long a token lives, in the ways that providers tell it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from vault_service.domain import limits
from vault_service.domain.lenient_json import Contradiction, spelled
from vault_service.domain.oauth import TokenAnswer
from vault_service.domain.provider import TokenLife

# Members that tell a moment; ".expires" is ASP.NET's.
END_MEMBERS: Final = (
    "expires_at", "expires_on", "expires", "expiry", "expiration", ".expires", "expiry_date",
    "expires_date", "expire_time", "expiration_time", "expire_at", "expiration_date",
    "expires_utc", "exp", "valid_until", "access_token_expires_at", "access_token_expires_on",
    "access_token_expiry",
)  # fmt: skip
# Other names of ``expires_in``.
_LIFE_MEMBERS: Final = ("access_token_expires_in", "access_expires_in", "expire_in")
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,400}(\.[0-9]{1,20})?", re.ASCII)
_ZONE: Final = re.compile(r" ?(UTC|GMT|[+-][0-9]{2}:?[0-9]{2})\Z")
_MOMENT_MAX_CHARS: Final = 64
# Seconds, milliseconds and microseconds since 1970, each from 2001 on.
_EPOCHS: Final = ((1e9, 1e11, 1), (1e12, 1e14, 1_000), (1e15, 1e17, 1_000_000))
_LIFE_BELOW: Final = 1.6e9  # what is more in ``expires_in`` is a moment since 2020 and no life
_AMOUNT: Final = re.compile(
    r"([0-9]{1,9})(?:\.[0-9]{1,9})? ?"
    r"(?:(s|secs?|seconds?)|(m|mins?|minutes?)|(h|hours?)|(d|days?))",
    re.ASCII | re.IGNORECASE,
)
_DURATION: Final = re.compile(  # ISO 8601, without years, months and weeks
    r"P(?=[0-9T])(?:([0-9]{1,9})D)?"
    r"(?:T(?=[0-9])(?:([0-9]{1,9})H)?(?:([0-9]{1,9})M)?(?:([0-9]{1,9})(?:\.[0-9]{1,9})?S)?)?",
    re.ASCII | re.IGNORECASE,
)
_NET_DATE: Final = re.compile(r"/Date\(([0-9]{12,14})(?:[+-][0-9]{4})?\)/", re.ASCII)
_ZONE_NAME: Final = re.compile(r"\[[A-Za-z/_]{1,40}\]\Z")  # of Java, behind the offset


@dataclass(frozen=True, slots=True)
class ToldLife:
    """What an answer says of it: seconds, a moment, or both; None: nothing usable."""

    expires_in_s: int | None
    expire_time: datetime | None
    oddities: tuple[str, ...] = ()
    zero: bool = False  # ``expires_in`` is exactly 0, and nothing beside it tells another end


def told_life(members: Mapping[str, Any], default_life_s: int) -> ToldLife:
    """``expires_in`` (RFC 6749 §5.1), and the earliest moment of those that are told.

    A moment is epoch seconds, milli- or microseconds, ISO 8601, an HTTP date or .NET's, in
    ``expires_in`` too. One without a time zone is read as UTC and lives no longer than
    ``default_life_s``, since it may be a local time. A life is a number, "3600s" or a duration of
    ISO 8601. ``expires`` below 2001 is a number of seconds (Facebook). Milliseconds in
    ``expires_in`` are not guessed.
    """
    told = spelled(members, "expires_in")
    values = [spelled(members, name) for name in END_MEMBERS]
    if _is_moment(told):
        values.append(told)
        life_s = None
    else:
        life_s = seconds(told)
    if life_s is None:
        life_s = _told_elsewhere(members)
    if life_s is None and any(_number(value) == 0 for value in values):
        life_s = 0
    ends = [end for value in values if (end := _moment(value)) is not None]
    if not ends:
        others = [value for value in values if value is not None and value != ""]
        return ToldLife(life_s, None, zero=_is_zero(told) and all(map(_is_zero, others)))
    oddities = []
    if len({end.replace(tzinfo=None) for end in ends}) > 1:
        oddities.append("several ends of the token; the first counts")
    if any(end.tzinfo is None for end in ends):
        oddities.append("an end without a time zone")
        life_s = default_life_s if life_s is None else life_s
    first = min(end if end.tzinfo else end.replace(tzinfo=UTC) for end in ends)
    return ToldLife(life_s, first, tuple(oddities))


def _told_elsewhere(members: Mapping[str, Any]) -> int | None:
    """The life in other members than ``expires_in``, the first that is usable."""
    others = [spelled(members, name) for name in _LIFE_MEMBERS]
    short = members.get("expires")
    others += [short] if (_number(short) or 0) < _EPOCHS[0][0] else []
    lives = (seconds(value) for value in others if not _is_moment(value))
    return next((one for one in lives if one is not None), None)


def _is_moment(value: object) -> bool:
    number = _number(value)
    if number is None:
        return _moment(value) is not None
    return number >= _LIFE_BELOW and _moment(value) is not None


def life_s(answer: TokenAnswer, default_life_s: int, start: datetime) -> int:
    """Seconds from ``start``; the shorter where two are told. A moment that has passed beside a
    life that has not is a clock that is wrong."""
    if answer.endless:
        return limits.TOKEN_LIFE_MAX_S
    told = answer.expires_in_s
    if answer.expire_time is None:
        return default_life_s if told is None else told
    left = int((answer.expire_time - start).total_seconds())
    if left <= 0:
        return told or 0
    return min(left, told or left, limits.TOKEN_LIFE_MAX_S)


def is_endless(told: ToldLife, token_life: TokenLife, has_refresh_token: bool) -> bool:
    """Whether the token has no end. A 0 without a refresh token is one that never ends (VK): nobody
    issues a token that is dead on arrival and cannot be renewed. It must be exactly 0 in
    ``expires_in``: what is negative, a fraction, told by a moment or contradicted is expired."""
    if told.expire_time is not None or (told.expires_in_s or 0) > 0:
        return False
    if token_life is TokenLife.ENDLESS:
        return True
    return told.zero and (token_life is TokenLife.ZERO_IS_ENDLESS or not has_refresh_token)


def seconds(value: object) -> int | None:
    """Seconds within bounds, from a number or its decimal text (older Microsoft endpoints). None:
    unknown. Of values that contradict each other the smallest."""
    if isinstance(value, Contradiction):
        usable = [one for one in map(seconds, value.values) if one is not None]
        return min(usable, default=None)
    number = _number(value)
    if number is None and isinstance(value, str):
        number = _duration_s(value.strip())
    return None if number is None else int(min(max(number, 0), limits.TOKEN_LIFE_MAX_S))


def _duration_s(text: str) -> int | None:
    """ "3600s", "60 minutes", "PT1H"; "m" alone is minutes, as nobody issues months."""
    if found := _AMOUNT.fullmatch(text):
        amount, *units = found.groups()
        unit_s = next(s for s, unit in zip((1, 60, 3_600, 86_400), units, strict=True) if unit)
        return int(amount) * unit_s
    if found := _DURATION.fullmatch(text):
        parts = zip(found.groups(), (86_400, 3_600, 60, 1), strict=True)
        return sum(int(amount or 0) * unit_s for amount, unit_s in parts)
    return None


def _is_zero(value: object) -> bool:
    """Whether it is the number 0 or its text, and nothing that is cut or raised to it."""
    if isinstance(value, str):
        return value.strip() == "0"
    return not isinstance(value, bool) and isinstance(value, int | float) and value == 0


def _number(value: object) -> int | float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str):
        text = value.strip()
        return float(text) if _NUMBER.fullmatch(text) else None
    return value


def _moment(value: object) -> datetime | None:
    if isinstance(value, Contradiction):
        return None
    number = _number(value)
    if number is not None:
        for least, most, per_s in _EPOCHS:
            if least <= number < most:
                return datetime.fromtimestamp(number / per_s, UTC)
        return None
    if not isinstance(value, str) or len(value) > _MOMENT_MAX_CHARS or not value.isascii():
        return None
    text = value.strip()
    if found := _NET_DATE.fullmatch(text):
        return datetime.fromtimestamp(int(found[1]) / 1_000, UTC)
    text = _ZONE_NAME.sub("", text)
    for parse in (_iso, parsedate_to_datetime):
        try:
            return _sane(parse(text))
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return None


def _iso(text: str) -> datetime:
    text = text.upper()
    zone = _ZONE.search(text)
    if zone is None or len(text) <= len("2026-01-01"):
        return datetime.fromisoformat(text)
    offset = "+00:00" if zone[1] in ("UTC", "GMT") else zone[1]
    return datetime.fromisoformat(text[: zone.start()] + offset)


def _sane(moment: datetime) -> datetime:
    """ValueError for what no token's end is, and for what cannot be computed with."""
    if not 2_000 < moment.year < 9_000:
        raise ValueError("no token's end")
    return moment
