"""A client's settings are judged before anything is sent."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

import tokenvault_client as tv
from tests.rpc.client_pki import Authority, Files

GOOD = {
    "target": "127.0.0.1:1",
    "ca_file": "ca/ca.pem",
    "certificate_file": "ca/caller.pem",
    "key_file": "ca/caller.key",
}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ca")


@pytest.fixture
def caller(authority: Authority) -> Files:
    return authority.caller()


def written(folder: Path, **changes: object) -> Path:
    table = {**GOOD, **changes}
    lines = [
        f"{name} = {value if not isinstance(value, str) else repr(value)}"
        for name, value in table.items()
        if value is not None
    ]
    file = folder / "client.toml"
    file.write_text("\n".join(lines))
    return file


@pytest.mark.usefixtures("caller")
def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory does not matter."""
    monkeypatch.chdir("/")
    vault = tv.TokenVaultClient.from_file(written(tmp_path, timeout_s=3))
    assert repr(vault) == "TokenVaultClient(target='127.0.0.1:1')"


@pytest.mark.usefixtures("caller")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target": None}, "missing"),
        ({"targte": "x"}, "unknown"),
        ({"target": ""}, "target"),
        ({"target": "vault .example"}, "blanks"),
        ({"target": 7}, "target"),
        ({"server_name": ""}, "server_name"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": "soon"}, "timeout_s"),
        ({"timeout_s": "nan"}, "timeout_s"),
        ({"ca_file": 1}, "ca_file"),
        ({"ca_file": "none.pem"}, "none.pem cannot be read"),
        ({"ca_file": "ca/caller.key"}, "ca_file"),
        ({"certificate_file": "ca/caller.key"}, "certificate_file"),
        ({"key_file": "ca/caller.pem"}, "key_file"),
    ],
)
def test_each_mistake_is_named(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    """A wrong setting is a ConfigurationError that names it."""
    with pytest.raises(tv.ConfigurationError, match=words):
        tv.TokenVaultClient.from_file(written(tmp_path, **changes))


@pytest.mark.parametrize("content", [b"target = ", b"\xff\xfe", b"x" * 2_000_000])
def test_what_is_not_toml(tmp_path: Path, content: bytes) -> None:
    """Text that is no TOML, bytes that are no text and a file without end are refused."""
    file = tmp_path / "client.toml"
    file.write_bytes(content)
    with pytest.raises(tv.ConfigurationError, match=r"client\.toml"):
        tv.TokenVaultClient.from_file(file)


def test_a_key_of_another_certificate(authority: Authority, caller: Files, tmp_path: Path) -> None:
    """A key that does not belong to the certificate is found at once."""
    other = Authority(tmp_path, "other").caller()
    with pytest.raises(tv.ConfigurationError, match="belongs to another certificate"):
        tv.TokenVaultClient(
            "127.0.0.1:1",
            ca_file=authority.ca_file,
            certificate_file=caller.certificate,
            key_file=other.key,
        )


def test_an_encrypted_key_asks_nobody(authority: Authority, caller: Files) -> None:
    """A key with a password is refused instead of asking at the terminal."""
    key = serialization.load_pem_private_key(caller.key.read_bytes(), None)
    caller.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"hush"),
        )
    )
    with pytest.raises(tv.ConfigurationError, match="encrypted"):
        tv.TokenVaultClient(
            "127.0.0.1:1",
            ca_file=authority.ca_file,
            certificate_file=caller.certificate,
            key_file=caller.key,
        )
