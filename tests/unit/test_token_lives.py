"""How long a token lives, in whatever way it is told."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.samples import a_profile
from vault_service.domain import limits
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.provider import TokenLife
from vault_service.domain.sensitive import Sensitive
from vault_service.domain.token_answer import read_refresh, read_tokens
from vault_service.domain.token_lives import life_s

NOW = datetime(2026, 11, 28, 15, 0, tzinfo=UTC)
LATER = NOW + timedelta(seconds=900)
EPOCH = int(LATER.timestamp())


def _answer(**members: object) -> HttpAnswer:
    body = json.dumps({"access_token": "at", "refresh_token": "rt", **members}).encode()
    return HttpAnswer(200, "application/json", Sensitive(body))


@pytest.mark.parametrize(
    ("members", "expected_s"),
    [
        ({}, 1_800),
        ({"expires_in": 600}, 600),
        ({"expires_at": EPOCH}, 900),
        ({"expires_on": str(EPOCH)}, 900),
        ({"expires_at": EPOCH + 0.5}, 900),
        ({"expiry": EPOCH * 1_000}, 900),
        ({"expiration": f"{EPOCH * 1_000}"}, 900),
        ({"expiresAt": EPOCH}, 900),
        ({"expires": "2026-11-28T15:15:00Z"}, 900),
        ({"expires": "2026-11-28T17:15:00+02:00"}, 900),
        ({"expires": "2026-11-28T15:15:00.1234567Z"}, 900),
        ({"expires": "2026-11-28 15:15:00 UTC"}, 900),
        ({"expires": "2026-11-28 15:15:00 +0000"}, 900),
        ({".expires": "Sat, 28 Nov 2026 15:15:00 GMT"}, 900),
        ({".expires": "Sat, 28 Nov 2026 15:15:00 GMT", "expires_in": 899}, 899),
        ({"expires": "2026-11-28T15:15:00"}, 900),
        ({"expires": "2026-11-28T23:15:00"}, 1_800),  # a local time: no longer than usual
        ({"expires": "2026-11-28T09:15:00"}, 1_800),
        ({"expires": 5_183}, 5_183),
        ({"expires": "5183"}, 5_183),
        ({"expires_at": 5_183}, 1_800),  # neither a moment nor surely seconds
        ({"expires_in": 600, "expires_at": EPOCH}, 600),
        ({"expires_in": 3_600, "expires_at": EPOCH}, 900),
        ({"expires_in": 3_600, "expires_at": EPOCH - 86_400}, 3_600),  # their clock is wrong
        ({"expires_in": 0, "expires_at": EPOCH}, 900),
        ({"expires_at": EPOCH, "expiry": EPOCH - 600}, 300),
        ({"expires_at": EPOCH - 86_400}, 0),
        ({"expires_at": EPOCH + 10**9}, limits.TOKEN_LIFE_MAX_S),
        ({"expires_at": 10**18}, 1_800),
        ({"expires_at": "soon"}, 1_800),
        ({"expires_at": "9" * 65}, 1_800),
        ({"expires_at": "0001-01-01T00:00:00Z"}, 1_800),
        ({"expires_at": "99999-01-01T00:00:00Z"}, 1_800),
        ({"expires_at": True}, 1_800),
        ({"expires_at": [EPOCH]}, 1_800),
        ({"refresh_token_expires_in": 60, "refresh_token_expires_at": EPOCH}, 1_800),
        ({"expires_in": 0}, 0),
        ({"expires_in": "0"}, 0),
        ({"expires_in": -1}, 0),
        ({"expires_in": "900s"}, 900),
        ({"expires_in": "900 seconds"}, 900),
        ({"expires_in": "15m"}, 900),
        ({"expires_in": "2 Hours"}, 7_200),
        ({"expires_in": "+900"}, 900),
        ({"expires_in": "0s"}, 0),
        ({"expires_in": "PT15M"}, 900),
        ({"expires_in": "P1DT1H"}, 90_000),
        ({"expires_in": "PT0.5S"}, 0),
        ({"expires_in": "P"}, 1_800),
        ({"expires_in": "PT"}, 1_800),
        ({"expires_in": "P1M"}, 1_800),  # a month or a minute
        ({"expires_in": "1:00"}, 1_800),
        ({"expires_in": "never"}, 1_800),
        ({"expires_in": EPOCH}, 900),  # no life, else the token would be promised for a year
        ({"expires_in": str(EPOCH)}, 900),
        ({"expires_in": EPOCH * 1_000}, 900),
        ({"expires_in": "2026-11-28T15:15:00Z"}, 900),
        ({"expires_in": EPOCH, "expires_at": EPOCH - 300}, 600),
        ({"expires_in": EPOCH - 86_400}, 0),
        ({"access_token_expires_in": 900, "refresh_token_expires_in": 60}, 900),
        ({"accessTokenExpiresIn": "900s"}, 900),
        ({"accessTokenExpiresAt": EPOCH, "refreshTokenExpiresAt": EPOCH - 600}, 900),
        ({"exp": EPOCH, "iat": EPOCH - 3_600}, 900),
        ({"expires_at": EPOCH * 1_000_000}, 900),
        ({"expires_at": "/Date(%d)/" % (EPOCH * 1_000)}, 900),
        ({"expires_at": "/Date(%d+0100)/" % (EPOCH * 1_000)}, 900),
        ({"expires_at": "2026-11-28T15:15:00Z[UTC]"}, 900),
        ({"expires_at": "2026-11-28T16:15:00+01:00[Europe/Paris]"}, 900),
        ({"expires_at": "2026-11-28t15:15:00z"}, 900),
        ({"expires": "900s"}, 900),
        ({"issued_at": str((EPOCH - 1_500) * 1_000), "expires_in": "900"}, 900),  # ours is newer
    ],
    ids=str,
)
def test_lives(members: dict[str, object], expected_s: int) -> None:
    """A life is told in seconds or by a moment; the shorter counts; what is unusable is omitted."""
    read = read_tokens(_answer(**members), a_profile(default_life_s=1_800), ())
    assert life_s(read, 1_800, NOW) == expected_s
    assert not read.endless


def test_a_moment_is_placed_by_the_profile() -> None:
    """token_paths may say where the moment stands."""
    body = json.dumps({"data": {"access_token": "at", "end": EPOCH}}).encode()
    profile = a_profile(token_paths={"access_token": "data.access_token", "expires_at": "data.end"})
    read = read_tokens(HttpAnswer(200, "", Sensitive(body)), profile, ())
    assert read.expire_time == LATER


@pytest.mark.parametrize(
    ("members", "token_life", "endless"),
    [
        ({"expires_in": 0, "refresh_token": None}, TokenLife.EXPIRES, True),
        ({"expires_in": "0", "refresh_token": ""}, TokenLife.EXPIRES, True),
        ({"expires_in": 0.0, "refresh_token": None}, TokenLife.EXPIRES, True),
        ({"expires_in": 0, "expires": 0, "refresh_token": None}, TokenLife.EXPIRES, True),
        # Anything but an exact, uncontradicted 0 in expires_in: dead too early beats never.
        ({"expires_in": -1, "refresh_token": None}, TokenLife.EXPIRES, False),
        ({"expires_in": "-30", "refresh_token": None}, TokenLife.EXPIRES, False),
        ({"expires_in": 0.4, "refresh_token": None}, TokenLife.EXPIRES, False),
        ({"expires_in": "0.4", "refresh_token": None}, TokenLife.EXPIRES, False),
        ({"expires_in": False, "refresh_token": None}, TokenLife.EXPIRES, False),
        ({"expires_in": "0s", "refresh_token": None}, TokenLife.EXPIRES, False),
        ({"expires_in": "PT0S", "refresh_token": None}, TokenLife.ZERO_IS_ENDLESS, False),
        ({"expires_in": EPOCH, "refresh_token": None}, TokenLife.ENDLESS, False),
        ({"expires": 0, "refresh_token": None}, TokenLife.EXPIRES, False),
        ({"expires_at": 0, "refresh_token": None}, TokenLife.EXPIRES, False),
        ({"expires_in": 0, "expires": 3600, "refresh_token": None}, TokenLife.EXPIRES, False),
        ({"expires_in": 0, "expiry": "soon", "refresh_token": None}, TokenLife.EXPIRES, False),
        ({"expires_in": -1}, TokenLife.ZERO_IS_ENDLESS, False),
        ({"expires_in": 0}, TokenLife.EXPIRES, False),
        ({"refresh_token": None}, TokenLife.EXPIRES, False),
        ({"expires_in": 60, "refresh_token": None}, TokenLife.EXPIRES, False),
        ({"expires_in": 0, "expires_at": EPOCH, "refresh_token": None}, TokenLife.EXPIRES, False),
        ({"expires_in": 0}, TokenLife.ZERO_IS_ENDLESS, True),
        ({}, TokenLife.ZERO_IS_ENDLESS, False),
        ({"expires_in": 60}, TokenLife.ZERO_IS_ENDLESS, False),
        ({}, TokenLife.ENDLESS, True),
        ({"expires_in": 0}, TokenLife.ENDLESS, True),
        ({"expires_in": 60}, TokenLife.ENDLESS, False),
        ({"expires_at": EPOCH}, TokenLife.ENDLESS, False),
    ],
    ids=str,
)
def test_tokens_without_an_end(
    members: dict[str, object], token_life: TokenLife, endless: bool
) -> None:
    """A token has no end where the profile says so, or where 0 comes without a refresh token."""
    read = read_tokens(_answer(**members), a_profile(token_life=token_life), ())
    assert read.endless is endless
    if endless:
        assert life_s(read, 1_800, NOW) == limits.TOKEN_LIFE_MAX_S


@pytest.mark.parametrize("values", [(3_600, 0), (0, 3_600), (0, -1), (0, "soon")], ids=str)
def test_a_contradiction_is_never_endless(values: tuple[object, object]) -> None:
    """A life that is told twice, once as 0, is expired and not without an end."""
    one, other = map(json.dumps, values)
    body = f'{{"access_token":"at","expires_in":{one},"expires_in":{other}}}'.encode()
    for token_life in (TokenLife.EXPIRES, TokenLife.ZERO_IS_ENDLESS):
        profile = a_profile(token_life=token_life)
        read = read_tokens(HttpAnswer(200, "", Sensitive(body)), profile, ())
        assert not read.endless
        assert life_s(read, 1_800, NOW) == 0


def test_a_refresh_that_reissues_nothing_promises_no_endless_token() -> None:
    """The refresh token that stays is not in the answer, so 0 there is still expired on arrival."""
    answer = _answer(expires_in=0, refresh_token=None)
    assert not read_refresh(answer, a_profile(), ()).endless
    assert read_refresh(answer, a_profile(token_life=TokenLife.ZERO_IS_ENDLESS), ()).endless
