"""Providers as files and presets on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import tokenvault_client as sdk
from vault_service.adapters.provider_catalog import presets
from vault_service.cli.main import app
from vault_service.cli.profiles import (
    ProfileError,
    preset_profile,
    profile_file,
    provider_from,
)

_NAME = "tenants/acme/providers/op"
_LEAST: dict[str, Any] = {
    "issuer": "https://op.example",
    "authorization_endpoint": "https://op.example/auth",
    "token_endpoint": "https://op.example/token",
}
_TOML = """
issuer = "https://op.example"
authorization_endpoint = "https://op.example/auth"
token_endpoint = "https://op.example/token"
refresh_class = "G"
grace_s = 30
auth_methods = ["CLIENT_SECRET_POST"]
body_encoding = "JSON"
recovery = "RETRY"
error_code_paths = ["errors.0.code"]
scopes_not_comparable = true
token_life = "ZERO_IS_ENDLESS"
[scope_aliases]
email = "https://op.example/email"
[token_params]
audience = "https://api.example.org"
[token_paths]
access_token = "authed_user.access_token"
[error_in_200]
member = "error"
codes = { bad_refresh_token = "INVALID_GRANT" }
[error_codes]
over_limit = "RATE_LIMITED"
"""


def test_toml_and_json_read_alike(tmp_path: Path) -> None:
    """A profile reads the same from TOML and from JSON, with enums by their names."""
    as_toml, as_json = tmp_path / "op.toml", tmp_path / "op.json"
    as_toml.write_text(_TOML)
    as_json.write_text(json.dumps(profile_file(as_toml)))
    provider = provider_from(_NAME, profile_file(as_toml))
    assert provider_from(_NAME, profile_file(as_json)) == provider
    assert (provider.name, provider.refresh_class, provider.grace_s) == (
        _NAME,
        sdk.RefreshClass.G,
        30,
    )
    assert provider.auth_methods == (sdk.ClientAuthMethod.CLIENT_SECRET_POST,)
    assert (provider.body_encoding, provider.recovery) == (
        sdk.BodyEncoding.JSON,
        sdk.Recovery.RETRY,
    )
    assert provider.token_paths == {"access_token": "authed_user.access_token"}
    assert provider.error_in_200 == sdk.ErrorIn200(
        member="error", codes={"bad_refresh_token": sdk.AnswerClass.INVALID_GRANT}
    )
    assert provider.error_code_paths == ("errors.0.code",)
    assert provider.scopes_not_comparable
    assert provider.scope_aliases == {"email": "https://op.example/email"}
    assert provider.token_life is sdk.TokenLife.ZERO_IS_ENDLESS
    assert provider.token_params == {"audience": "https://api.example.org"}
    assert provider.error_codes == {"over_limit": sdk.AnswerClass.RATE_LIMITED}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"colour": "red"}, "no field colour"),
        ({"name": "x"}, "no field name"),
        ({"etag": "1"}, "no field etag"),
        ({"grace_s": "30"}, "grace_s is int"),
        ({"grace_s": True}, "grace_s is int"),
        ({"issuer": 5}, "issuer is text"),
        ({"requires_iss": 1}, "requires_iss is bool"),
        ({"refresh_class": "Z"}, "refresh_class is one of N, M, G, S"),
        ({"refresh_class": "UNSPECIFIED"}, "refresh_class is one of"),
        ({"refresh_class": ["N"]}, "refresh_class is one of"),
        ({"auth_methods": "CLIENT_SECRET_POST"}, "auth_methods is a list"),
        ({"auth_methods": [1]}, "auth_methods is one of"),
        ({"error_code_paths": "error"}, "error_code_paths is a list of texts"),
        ({"error_code_paths": [1]}, "error_code_paths is a list of texts"),
        ({"scope_aliases": {"email": 1}}, "scope_aliases is a table of texts"),
        ({"scopes_not_comparable": "yes"}, "scopes_not_comparable is bool"),
        ({"token_life": "FOREVER"}, "token_life is one of"),
        ({"token_params": ["a"]}, "token_params is a table of texts"),
        ({"token_paths": ["a"]}, "token_paths is a table of texts"),
        ({"authorization_params": {"a": 1}}, "authorization_params is a table of texts"),
        ({"error_codes": {"a": "FATAL"}}, "error_codes.a is one of"),
        ({"error_in_200": {"code": "x"}}, "error_in_200 is a table of member and codes"),
        ({"error_in_200": {"member": 1}}, "error_in_200.member is text"),
    ],
)
def test_unreadable_profiles(changes: dict[str, Any], says: str) -> None:
    """What cannot be read is refused naming the field and what is wanted."""
    with pytest.raises(ProfileError, match=says):
        provider_from(_NAME, _LEAST | changes)


@pytest.mark.parametrize("field", _LEAST)
def test_needed_fields(field: str) -> None:
    """Issuer and the two endpoints are needed, wherever they are said."""
    with pytest.raises(ProfileError, match=f"{field} is needed"):
        provider_from(_NAME, {name: value for name, value in _LEAST.items() if name != field})


def test_unreadable_files(tmp_path: Path) -> None:
    """A file that is missing, too long, not text, malformed or no table is refused by its name."""
    bad = tmp_path / "op.json"
    with pytest.raises(ProfileError, match="cannot be read"):
        profile_file(bad)
    for content in (b"[1]", b"{", b"\xff", b" " * 65_537):
        bad.write_bytes(content)
        with pytest.raises(ProfileError, match=r"op\.json"):
            profile_file(bad)


def test_unknown_presets() -> None:
    """An unknown preset is refused with the list of those there are."""
    with pytest.raises(ProfileError, match="atlassian, auth0"):
        preset_profile("yahoo", "", {})
    with pytest.raises(ProfileError, match="okta needs domain"):
        preset_profile("okta", "", {})


def test_presets_are_listed() -> None:
    """The command lists every preset without reaching for a service."""
    result = CliRunner().invoke(app, ["provider", "presets"])
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()[1:]] == list(presets())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--preset", "okta"], "needs domain"),
        (["--preset", "cronofy"], "name one"),
        (["--region", "uk"], "go with --preset"),
        (["--preset", "google", "--param", "x"], "--param takes name=value"),
        ([], "issuer is needed"),
    ],
)
def test_usage_is_told_before_the_service_is_asked(
    tmp_path: Path, arguments: list[str], says: str
) -> None:
    """What is wrong with the arguments is an error of usage, with no connection made."""
    command = ["provider", "put", "acme", "op", "--client", str(tmp_path / "none.toml")]
    result = CliRunner().invoke(app, [*command, *arguments])
    assert result.exit_code == 2
    assert says in result.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--auth", "none", "--secret-file", "crm.secret"], "has no secret"),
        (["--auth", "none", "--token-param", "audience"], "--token-param takes name=value"),
    ],
)
def test_registrations_are_judged_before_the_service_is_asked(
    tmp_path: Path, arguments: list[str], says: str
) -> None:
    """A secret of a public client, and a parameter without a value, are errors of usage."""
    command = ["client", "put", "acme", "crm", "--client", str(tmp_path / "none.toml")]
    options = ["--provider", "op", "--client-id", "c", "--redirect-uri", "https://app.example/cb"]
    result = CliRunner().invoke(app, [*command, *options, *arguments])
    assert result.exit_code == 2
    assert says in result.output
