"""No repr of the client's shows a secret."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import pytest

import tokenvault_client as tv
from tokenvault_client import _calls, _secret_calls

CANARY = "canary-3f9c"
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
VERSION = tv.SecretVersion(secret="s", version=1, level=tv.Level.USER, create_time=None)
TOKEN = tv.AccessToken(
    value=CANARY,
    token_type="Bearer",
    expire_time=NOON,
    scopes=(),
    fingerprint="f",
    served=tv.Served.FRESH,
    grant="g",
    grant_state=tv.GrantState.ACTIVE,
)

HOLDERS = [
    TOKEN,
    tv.SecretValue(value=CANARY.encode(), secret_version=VERSION),
    tv.Authorization(url=f"https://idp.example/?state={CANARY}", state=CANARY, expire_time=NOON),
    _secret_calls.put_secret("name", CANARY.encode(), _secret_calls.PutOptions()),
    _calls.add_client_credential("name", CANARY),
    _calls.put_oauth_client(tv.OAuthClient(name="n", provider="p", client_id="c"), CANARY),
    _calls.complete_authorization(
        parent="p", state=CANARY, owner="o", code=CANARY, iss="", redirect_uri="", error=""
    ),
]


@pytest.mark.parametrize("holder", HOLDERS, ids=lambda holder: type(holder).__name__)
def test_secrets_stay_out_of_text(holder: object) -> None:
    """Whatever holds a secret prints without it, alone and inside other things."""
    shown = [repr(holder), str(holder), f"{holder}", f"{[holder]}", f"{ValueError(holder)!r}"]
    assert all(CANARY not in text for text in shown)


def test_results_do_not_change() -> None:
    """Results are frozen."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        TOKEN.value = "other"  # type: ignore[misc]  # that it cannot be set is the point
