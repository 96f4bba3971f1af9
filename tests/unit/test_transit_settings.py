"""TransitSettings, key names, and what statuses mean."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault_service.adapters.clock import SystemClock
from vault_service.adapters.transit import TransitKeyWrapper, TransitSettings, key_name
from vault_service.adapters.transit.failures import from_status
from vault_service.domain.errors import KekDenied, Reason


def settings(**changes: Any) -> TransitSettings:
    values: dict[str, Any] = {
        "address": "https://kek.example:8200",
        "ca_file": Path("ca.pem"),
        "mount": "transit",
        "key_prefix": "tv-",
        "role_id_file": Path("role-id"),
        "secret_id_file": Path("secret-id"),
        "auth_mount": "approle",
        "deployment": "dep-1",
    }
    return TransitSettings(**(values | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"address": "http://kek.example:8200"},
        {"address": "kek.example:8200"},
        {"address": "https://"},
        {"address": "https://user:word@kek.example"},
        {"address": "https://kek.example/v1"},
        {"mount": "../sys"},
        {"mount": "/transit"},
        {"mount": ""},
        {"auth_mount": "approle?x"},
        {"key_prefix": "a/b"},
        {"deployment": ""},
    ],
    ids=str,
)
def test_impossible_settings_are_refused(changes: dict[str, str]) -> None:
    """Plain http, credentials in the address, and odd paths are refused before anything starts."""
    with pytest.raises(ValueError, match=r"transit|deployment"):
        settings(**changes)


@pytest.mark.parametrize("content", [None, b"", b"no certificate"], ids=str)
async def test_an_unreadable_ca_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """A missing or empty CA file is refused when the wrapper is made."""
    ca_file = tmp_path / "ca.pem"
    if content is not None:
        ca_file.write_bytes(content)
    with pytest.raises(ValueError, match="ca_file"):
        TransitKeyWrapper(settings(ca_file=ca_file), SystemClock())


def test_a_key_name_is_known() -> None:
    """The name is the prefix and the hash of both parts with their lengths."""
    assert key_name("tv-", "dep-1", "acme") == (
        "tv-" + hashlib.sha256(b"\0\0\0\x05dep-1\0\0\0\x04acme").hexdigest()[:32]
    )


@given(*(st.text(max_size=20) for _ in range(4)))
def test_key_names_differ_when_their_parts_do(a: str, b: str, c: str, d: str) -> None:
    """Two pairs share a name only when they are equal, however they concatenate."""
    assert (key_name("", a, b) == key_name("", c, d)) == ((a, b) == (c, d))


@pytest.mark.parametrize("status", [200, 307, 412, 429, 472, 473, 500, 501, 502, 503, 504])
def test_statuses_that_may_pass_are_unreachable(status: int) -> None:
    """Overload, faults and what is no transit at all may work later, and say when to try."""
    error = from_status(status, "decrypt")
    assert error.reason is Reason.KEK_UNREACHABLE
    assert not isinstance(error, KekDenied)
    assert error.retry_after_s is not None


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413])
def test_statuses_that_refuse_are_denials(status: int) -> None:
    """An answer that refuses is a denial: nothing cached may stand in for it."""
    assert isinstance(from_status(status, "decrypt"), KekDenied)
