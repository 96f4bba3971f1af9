"""The command line against a running service."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from tests.support.authserver import AuthServer
from tests.support.cli import wait_until_read
from tests.support.vault import RealVault
from vault_service.embedded.machine import choose_port
from vault_service.embedded.settings_files import TENANT

_CLIENT_SECRET = "a-client-secret-for-the-cli"


@pytest.fixture(scope="module")
def provider(real_vault: RealVault) -> Iterator[AuthServer]:
    """An authorization server for tokens; consent is what the tests say it is."""
    with AuthServer(real_vault.ca) as server:
        server.add_client("cli", _CLIENT_SECRET)
        yield server


@pytest.fixture(scope="module")
def files(real_vault: RealVault, provider: AuthServer) -> Iterator[Mapping[str, str]]:
    """The callers' files of a running process."""
    port = real_vault.serve("cli", [provider.host_port])
    yield {name: str(path) for name, path in real_vault.client_files(port).items()}
    real_vault.stop_process("cli")


@pytest.fixture(scope="module")
def redirect_uri() -> str:
    """On loopback: the command line listens there."""
    return f"http://127.0.0.1:{choose_port()}/callback"


@pytest.fixture(scope="module")
def registered(
    real_vault: RealVault,
    provider: AuthServer,
    files: Mapping[str, str],
    redirect_uri: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Mapping[str, str]:
    """A provider and an OAuthClient that the commands put there."""
    base = f"https://{provider.host_port}"
    real_vault.command(
        "provider", "put", TENANT, "cli-provider", "--client", files["operator"],
        "--issuer", base, "--authorization-endpoint", f"{base}/authorize",
        "--token-endpoint", f"{base}/token", "--revocation-endpoint", f"{base}/revoke",
        "--subject-from", "response:sub", "--param", "prompt=consent",
    )  # fmt: skip
    secret = tmp_path_factory.mktemp("cli") / "secret"
    secret.write_text(f"{_CLIENT_SECRET}\n")
    real_vault.command(*_put_client(files, redirect_uri), "--secret-file", str(secret))
    return files


def _put_client(files: Mapping[str, str], redirect_uri: str) -> tuple[str, ...]:
    return (
        "client", "put", TENANT, "cli-client", "--client", files["operator"],
        "--provider", "cli-provider", "--client-id", "cli", "--redirect-uri", redirect_uri,
        "--scope", "calendar",
    )  # fmt: skip


def test_registry_is_put_and_listed(
    real_vault: RealVault, registered: Mapping[str, str], redirect_uri: str
) -> None:
    """Providers are listed in full; a client secret comes from stdin as well as from a file."""
    listed = real_vault.command("provider", "list", TENANT, "--client", registered["operator"])
    assert f"tenants/{TENANT}/providers/cli-provider" in listed
    again = _put_client(registered, redirect_uri)
    put = real_vault.command(*again, "--secret-file", "-", stdin=f"{_CLIENT_SECRET}\n")
    assert "etag 2" in put


def test_provider_from_the_catalogue_and_a_file(
    real_vault: RealVault, registered: Mapping[str, str], tmp_path: Path
) -> None:
    """A preset is put with its region; a file goes before the preset, an option before the file."""
    file = tmp_path / "cronofy.toml"
    file.write_text('body_encoding = "FORM"\nrate_per_s = 20\nrefresh_class = "M"\n')
    real_vault.command(
        "provider", "put", TENANT, "cronofy-uk", "--client", registered["operator"],
        "--preset", "cronofy", "--region", "uk", "--file", str(file), "--refresh-class", "N",
    )  # fmt: skip
    listed = real_vault.command("provider", "list", TENANT, "--client", registered["operator"])
    (line,) = [line for line in listed.splitlines() if "cronofy-uk" in line]
    assert line.split()[1:] == [
        "N",
        "https://app-uk.cronofy.com",
        "https://api-uk.cronofy.com/oauth/token",
    ]


def test_consent_token_list_and_revocation(
    real_vault: RealVault, registered: Mapping[str, str], redirect_uri: str
) -> None:
    """grant start waits for the callback; then the token, the list and the end of the grant."""
    command = [
        sys.executable, "-m", "vault_service", "grant", "start", TENANT, "cli-client",
        "--client", registered["operator"], "--owner", "cli-owner", "--redirect-uri", redirect_uri,
        "--label", "cli",
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        url = run.stdout.readline().strip()
        state = parse_qs(urlsplit(url).query)["state"][0]
        strange = requests.get(redirect_uri, params={"state": "other", "code": "x"}, timeout=5)
        assert strange.status_code in (200, 404)
        arrived = requests.get(redirect_uri, params={"state": state, "code": "c-1"}, timeout=10)
        assert arrived.status_code == 200
        out, err = run.communicate(timeout=30)
        assert run.returncode == 0, err
    grant_id = re.search(r"grants/([0-9a-f-]{36})", out)
    assert grant_id is not None
    app, operator = registered["calendar-app"], registered["operator"]
    asked = ("token", "get", TENANT, "--client", app, "--owner", "cli-owner", "--label", "cli")
    told = real_vault.command(*asked, "--min-ttl-s", "1")
    shown = real_vault.command(*asked, "--min-ttl-s", "1", "--show").strip()
    assert shown
    assert shown not in told
    assert grant_id.group(1) in real_vault.command("grant", "list", TENANT, "--client", operator)
    ended = real_vault.command(
        "grant", "revoke", TENANT, grant_id.group(1), "--client", operator, "--yes"
    )
    assert "REVOKED" in ended
    assert "GRANT_REVOKED" in real_vault.command(*asked, fails=1)


def test_the_record_is_listed(real_vault: RealVault, registered: Mapping[str, str]) -> None:
    """audit list shows the newest records with caller and reason, whole."""
    listed = real_vault.command(
        "audit", "list", TENANT, "--client", registered["auditor"], "--most", "500"
    )
    assert "OAUTH_CLIENT_PUT" in listed
    assert "spiffe://dev.tokenvault/operator" in listed
    refused = real_vault.command("audit", "list", TENANT, "--client", registered["thief"], fails=1)
    assert "CALLER_NOT_ALLOWED" in refused


def test_a_client_secret_is_no_argument(
    real_vault: RealVault, registered: Mapping[str, str], redirect_uri: str, tmp_path: Path
) -> None:
    """There is no option for the secret itself, and an empty file is refused."""
    refused = real_vault.command(
        *_put_client(registered, redirect_uri), "--client-secret", "x", fails=2
    )
    assert "No such option" in refused
    empty = tmp_path / "empty"
    empty.write_text("\n")
    told = real_vault.command(
        *_put_client(registered, redirect_uri), "--secret-file", str(empty), fails=2
    )
    assert "1 to 4096 bytes" in told


def test_no_list_of_processes_shows_the_secret(
    registered: Mapping[str, str], redirect_uri: str
) -> None:
    """While the command has the secret, neither its arguments nor its environment hold it, nor
    does what it prints."""
    arguments = (*_put_client(registered, redirect_uri), "--secret-file", "-")
    with subprocess.Popen(
        [sys.executable, "-m", "vault_service", *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as run:  # fmt: skip
        assert run.stdin is not None
        run.stdin.write(_CLIENT_SECRET)
        run.stdin.flush()
        wait_until_read(run.stdin.fileno())
        seen = [Path(f"/proc/{run.pid}/{name}").read_bytes() for name in ("cmdline", "environ")]
        said, _ = run.communicate(timeout=30)
        assert run.returncode == 0, said
    assert b"--secret-file" in seen[0]
    assert not any(_CLIENT_SECRET.encode() in part for part in (*seen, said.encode()))


def test_consent_that_the_user_denies(registered: Mapping[str, str], redirect_uri: str) -> None:
    """The provider's error ends the command with its reason; a taken port is said at once."""
    arguments = [
        sys.executable, "-m", "vault_service", "grant", "start", TENANT, "cli-client",
        "--client", registered["operator"], "--owner", "cli-denied", "--redirect-uri", redirect_uri,
    ]  # fmt: skip
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        state = parse_qs(urlsplit(run.stdout.readline().strip()).query)["state"][0]
        second = subprocess.run(arguments, capture_output=True, text=True, timeout=30, check=False)
        assert second.returncode == 1
        assert "cannot listen for the callback" in second.stderr
        denied = {"state": state, "error": "access_denied"}
        requests.get(redirect_uri, params=denied, timeout=10)
        _, said = run.communicate(timeout=30)
    assert run.returncode == 1
    assert "AUTHORIZATION_DENIED" in said


def test_migrate_and_tenant_create_again_change_nothing(real_vault: RealVault) -> None:
    """Both say that there is nothing to do; a wrong tenant id says what one looks like."""
    admin = str(next(iter(real_vault.files.values())).admin)
    assert "nothing to do" in real_vault.command("migrate", "--config", admin)
    assert "was there already" in real_vault.command("tenant", "create", TENANT, "--config", admin)
    assert "NAME_MALFORMED" in real_vault.command(
        "tenant", "create", "No_Tenant", "--config", admin, fails=1
    )
    assert "CREATE ROLE" in real_vault.command("migrate", "--print-roles")


def test_errors_name_the_file_and_the_fault(real_vault: RealVault, tmp_path: Path) -> None:
    """A missing client file is a usage error, an unreachable service says what to check."""
    missing = str(tmp_path / "none.toml")
    told = real_vault.command("grant", "list", TENANT, "--client", missing, fails=2)
    assert missing in told
    nobody = real_vault.client_files(choose_port())["operator"]
    told = real_vault.command("grant", "list", TENANT, "--client", str(nobody), fails=1)
    assert "nothing listens" in told.lower() or "connect" in told.lower()
