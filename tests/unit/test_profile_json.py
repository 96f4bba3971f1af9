"""Profiles as the table providers keeps them."""

from __future__ import annotations

import json

from tests.support.samples import a_full_profile, a_profile
from vault_service.adapters.postgres.profiles import profile_from_json, profile_to_json
from vault_service.domain.provider import RefreshClass

# As releases before 0.2 wrote it.
_OLD = {
    "issuer": "https://op.example",
    "authorization_endpoint": "https://op.example/auth",
    "token_endpoint": "https://op.example/token",
    "revocation_endpoint": "https://op.example/revoke",
    "refresh_class": "G",
    "grace_s": 30,
    "authorization_params": {"access_type": "offline"},
    "scope_separator": ",",
    "subject_from": "response:sub",
    "requires_iss": True,
    "default_life_s": 1800,
}


def test_profiles_read_back() -> None:
    """A profile reads back as it was written, with every field set and with none."""
    for profile in (a_full_profile(), a_profile()):
        assert profile_from_json(profile_to_json(profile)) == profile


def test_profiles_of_older_releases() -> None:
    """A profile that was stored before there were more fields has their defaults."""
    expected = a_profile(
        refresh_class=RefreshClass.G,
        grace_s=30,
        authorization_params={"access_type": "offline"},
        scope_separator=",",
        subject_from="response:sub",
        requires_iss=True,
        default_life_s=1_800,
    )
    assert profile_from_json(json.dumps(_OLD)) == expected


def test_profiles_of_newer_releases() -> None:
    """A member that this release does not know is not read."""
    assert profile_from_json(json.dumps({**_OLD, "of_tomorrow": 1})).grace_s == 30
