"""Secrets, aliases, credentials and suspension on the command line, against a running service."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.authserver import AuthServer
from tests.support.vault import RealVault
from vault_service.embedded.settings_files import TENANT

_CANARY = "a-value-for-the-cli"
_NEXT_YEAR = (datetime.now(UTC) + timedelta(days=365)).isoformat()


@pytest.fixture(scope="module")
def provider(real_vault: RealVault) -> Iterator[AuthServer]:
    """An authorization server; consent is what the tests say it is."""
    with AuthServer(real_vault.ca) as server:
        yield server


@pytest.fixture(scope="module")
def files(real_vault: RealVault, provider: AuthServer) -> Iterator[Mapping[str, str]]:
    """The callers' files of a running process."""
    port = real_vault.serve("cli-whole", [provider.host_port])
    yield {name: str(path) for name, path in real_vault.client_files(port).items()}
    real_vault.stop_process("cli-whole")


def test_a_secrets_life(real_vault: RealVault, files: Mapping[str, str], tmp_path: Path) -> None:
    """Put from stdin and from a file, listed, read back byte for byte, destroyed and deleted."""
    run, app = real_vault.command, ("--client", files["calendar-app"], "--owner", "u-1")
    name = f"tenants/{TENANT}/owners/u-1/secrets/mail-relay"
    put = ("secret", "put", TENANT, "mail-relay", *app)
    shown = run(*put, "--file", "-", "--trim", "--label", "team=pay", stdin=f"{_CANARY}\n")
    assert shown == f"{name} version 1 stored\n"
    blob = tmp_path / "blob"
    blob.write_bytes(b"\x00\xff\n")
    run(*put, "--file", str(blob), "--request-id", "job-1", "--expire-time", _NEXT_YEAR)
    assert "version 2" in run(*put, "--file", str(blob), "--request-id", "job-1",
                              "--expire-time", _NEXT_YEAR)  # fmt: skip
    assert "ETAG_MISMATCH" in run(*put, "--file", str(blob), "--etag", "0", fails=1)
    listed = run("secret", "list", TENANT, *app)
    assert re.search(rf"{name} +2 +team=pay +2 ", listed), listed
    assert "mail-relay" not in run("secret", "list", TENANT, "--client", files["operator"])
    get = ("secret", "get", TENANT, "mail-relay", *app)
    assert _CANARY not in run(*get, "--version", "1")
    assert run(*get, "--version", "1", "--show") == _CANARY
    out = tmp_path / "out"
    run(*get, "--to", str(out))
    assert (out.read_bytes(), out.stat().st_mode & 0o777) == (b"\x00\xff\n", 0o600)
    assert "there already" in run(*get, "--to", str(out), fails=2)
    destroyed = run("secret", "destroy", TENANT, "mail-relay", "2", *app, "--yes")
    assert "DESTROYED" in destroyed
    assert "SECRET_VERSION_DESTROYED" in run(*get, fails=1)
    versions = run("secret", "versions", TENANT, "mail-relay", *app)
    assert [line.split()[1:3] for line in versions.splitlines()[1:]] == [
        ["2", "DESTROYED"], ["1", "ACTIVE"],
    ]  # fmt: skip
    run("secret", "delete", TENANT, "mail-relay", *app, "--yes")
    assert "SECRET_NOT_FOUND" in run(*get, "--version", "1", fails=1)
    assert "version 3" in run(*put, "--file", "-", stdin="again")


def test_wrong_input_says_what_is_wanted(
    real_vault: RealVault, files: Mapping[str, str], tmp_path: Path
) -> None:
    """What cannot be sent is refused before anything is asked, with what to write instead."""
    run, put = real_vault.command, ("secret", "put", TENANT, "x", "--client", files["operator"])
    large = tmp_path / "large"
    large.write_bytes(b"x" * 65_537)
    assert "65536" in run(*put, "--file", str(large), fails=2)
    assert "cannot be read" in run(*put, "--file", str(tmp_path / "none"), fails=2)
    assert "name=value" in run(*put, "--file", "-", "--label", "team", stdin="x", fails=2)
    for moment in ("tomorrow", "2099-01-01T00:00:00"):
        run(*put, "--file", "-", "--expire-time", moment, stdin="x", fails=2)
    assert "a secret" in run("secret", "get", TENANT, "A b", "--client", "-", fails=2)
    assert "No such option" in run(*put, "--value", _CANARY, fails=2)


def test_a_value_is_asked_for(real_vault: RealVault, files: Mapping[str, str]) -> None:
    """Without a file the value is asked for at the terminal, twice, and is not echoed."""
    arguments = ["secret", "put", TENANT, "asked", "--client", files["operator"]]
    terminal, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "vault_service", *arguments],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    ) as run:  # fmt: skip
        os.close(theirs)
        said = b""
        for _ in range(2):
            said += _read_until(terminal, b": ")
            os.write(terminal, f"{_CANARY}\n".encode())
        said += _read_until(terminal, b"stored")
        run.wait(30)
    os.close(terminal)
    assert b"version 1 stored" in said
    assert _CANARY.encode() not in said


def _read_until(terminal: int, mark: bytes) -> bytes:
    said = b""
    while mark not in said:
        said += os.read(terminal, 1_024)
    return said


def test_credentials_and_suspension(
    real_vault: RealVault, provider: AuthServer, files: Mapping[str, str]
) -> None:
    """Credentials overlap and are retired; a suspended client refuses tokens that are still valid,
    until it is resumed; aliases are linked and unlinked; a deleted grant is in no list."""
    run, operator = real_vault.command, ("--client", files["operator"])

    async def grant_of() -> str:
        client = real_vault.client("operator", _port(files))
        app = real_vault.client("calendar-app", _port(files))
        async with client, app:
            await provider.register(client)
            return (await provider.consent(app, "u-cli")).grant.name.rpartition("/")[2]

    grant = asyncio.run(grant_of())
    oauth_client = provider.oauth_client.rpartition("/")[2]
    assert oauth_client in run("client", "list", TENANT, *operator)
    which = (TENANT, oauth_client, *operator)
    assert "2, 1" in run("client", "credential", "add", *which, "--secret-file", "-", stdin="new\n")
    assert "2" in run("client", "list", TENANT, *operator)
    retire = ("client", "credential", "retire", TENANT, oauth_client)
    assert run(*retire, "2", *operator, "--yes").endswith(": 1\n")
    assert "CREDENTIAL_LIMIT" in run(*retire, "1", *operator, "--yes", fails=1)
    app = ("--client", files["calendar-app"])
    token = ("token", "get", TENANT, *app, "--grant", grant)
    run(*token)
    assert "suspended since" in run("client", "suspend", *which, "--yes")
    assert "KILL_SWITCH" in run(*token, fails=1)
    assert "in service" in run("client", "resume", *which)
    run(*token)
    assert "points at" in run("grant", "alias", "link", TENANT, "u-other", "cal", grant, *app)
    by_alias = ("token", "get", TENANT, *app, "--owner", "u-other", "--label", "cal")
    assert grant in run(*by_alias)
    run("grant", "alias", "unlink", TENANT, "u-other", "cal", *app)
    assert "GRANT_NOT_FOUND" in run(*by_alias, fails=1)
    assert "deleted" in run("grant", "delete", TENANT, grant, *operator, "--yes")
    assert grant not in run("grant", "list", TENANT, *operator)
    assert "GRANT_NOT_FOUND" in run(*token, fails=1)


def _port(files: Mapping[str, str]) -> int:
    """Where the service listens, as the callers' files have it."""
    found = re.search(r'target = "127.0.0.1:(\d+)"', Path(files["operator"]).read_text())
    assert found
    return int(found[1])
