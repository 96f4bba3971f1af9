"""The deployment that the examples of the documentation speak of.

The tenant acme under the policy that is shipped as an example, callers of the trust domain
prod.example, and a provider whose registration is called calendar.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import tokenvault_client as sdk
from tests.architecture.sources import ROOT
from tests.support.authserver import CLIENT_SECRET, AuthServer
from tests.support.serving import changed, start
from tests.support.vault import RealVault
from vault_service.embedded.postgres_binaries import find_binaries
from vault_service.embedded.settings_files import toml

TENANT: Final = "acme"
REDIRECT_URI: Final = "https://app.example.org/callback"
CALENDAR: Final = sdk.oauth_client_name(TENANT, "calendar")
# Client files by name, and the paths of the callers' SPIFFE ids.
_CALLERS: Final = {
    "client": "acme/app",
    "operator": "operator",
    "auditor": "auditor",
    "on-call": "on-call",
    "platform-lead": "platform-lead",
}
_READY_S = 30.0


class DocsDeployment:
    """Servers and one process, for all pages; each page has a folder of its own."""

    def __init__(self, vault: RealVault, provider: AuthServer, port: int) -> None:
        self.vault = vault
        self.provider = provider
        self.port = port
        self._folders = 0

    def client(self, name: str) -> sdk.TokenVaultClient:
        """The client of one of the callers."""
        return sdk.TokenVaultClient.from_file(self._client_file(name, self.vault.directory))

    def folder(self) -> Path:
        """A new folder with the files that pages name."""
        self._folders += 1
        folder = self.vault.directory / f"page-{self._folders}"
        folder.mkdir()
        for name in ("tokenvault.toml", "tokenvault-admin.toml", "policy.cedar"):
            shutil.copy(self.vault.directory / f"docs-{name}", folder / name)
        for name in _CALLERS:
            self._client_file(name, folder)
        ca = self.vault.directory / "ca"
        shutil.copy(ca / "root.pem", folder / "callers-ca.pem")
        shutil.copy(ca / "root.pem", folder / "trust-bundle.pem")
        shutil.copy(ca / "root.key", folder / "callers-ca.key")
        shutil.copy(self.vault.ca.files("docs-client").certificate_file, folder / "app.pem")
        (folder / "google-web.secret").write_text("a made-up client secret\n")
        (folder / "calendar-new.secret").write_text(f"{CLIENT_SECRET}\n")
        (folder / "proto").symlink_to(ROOT / "proto")
        return folder

    def env(self) -> dict[str, str]:
        """Our programs and PostgreSQL's first on the path; PostgreSQL's superuser."""
        database = self.vault.database
        path = [str(Path(sys.executable).parent), str(find_binaries().folder)]
        return {
            "PATH": os.pathsep.join([*path, os.defpath, "/usr/local/bin"]),
            "HOME": str(self.vault.directory),
            "LANG": "C.UTF-8",
            "PGHOST": str(database.socket_dir),
            "PGPORT": str(database.port),
            "PGUSER": database.superuser,
            "PGPASSWORD": database.superuser_password_file.read_text().strip(),
        }

    async def consent(self, owner: str) -> sdk.Grant:
        """A grant of this owner under the label calendar."""
        async with self.client("client") as app:
            started = await app.start_authorization(
                CALENDAR, owner=owner, redirect_uri=REDIRECT_URI, label="calendar"
            )
            done = await app.complete_authorization(
                sdk.tenant_name(TENANT), state=started.state, code=f"{owner}.1", owner=owner
            )
        return done.grant

    async def register(self) -> None:
        """The provider and the registration calendar."""
        issuer, name = self.provider.issuer, sdk.provider_name(TENANT, "example")
        async with self.client("operator") as operator:
            await operator.put_provider(
                sdk.Provider(
                    name=name,
                    issuer=issuer,
                    authorization_endpoint=f"{issuer}/authorize",
                    token_endpoint=f"{issuer}/token",
                    subject_from="response:user",
                )
            )
            await operator.put_oauth_client(
                sdk.OAuthClient(
                    name=CALENDAR,
                    provider=name,
                    client_id="calendar",
                    redirect_uris=(REDIRECT_URI,),
                    scopes=("calendar",),
                ),
                client_secret=CLIENT_SECRET,
            )

    def _client_file(self, name: str, folder: Path) -> Path:
        issued = self.vault.ca.issue(
            f"docs-{name}",
            spiffe_id=f"spiffe://prod.example/{_CALLERS[name]}",
            server=False,
            client=True,
        )
        values = {
            "target": f"127.0.0.1:{self.port}",
            "ca_file": str(self.vault.ca.root_file),
            "certificate_file": str(issued.certificate_file),
            "key_file": str(issued.key_file),
        }
        file = folder / f"{name}.toml"
        file.write_text(toml({"": values}))
        return file


@contextlib.contextmanager
def docs_deployment(vault: RealVault) -> Iterator[DocsDeployment]:
    """Serve on these servers until the block ends."""
    provider = AuthServer(vault.ca)
    provider.up()
    provider.add_client("calendar", CLIENT_SECRET)
    config = _configure(vault, provider)
    vault.command("tenant", "create", TENANT, "--config", str(config["admin"]))
    port_file = vault.directory / "docs.port"
    process = start(config["serve"], vault.directory / "docs.log")
    try:
        deployment = DocsDeployment(vault, provider, _port(process, port_file))
        asyncio.run(_prepare(deployment))
        yield deployment
    finally:
        process.terminate()
        process.wait(_READY_S)
        provider.close()


async def _prepare(deployment: DocsDeployment) -> None:
    await deployment.register()
    await deployment.consent("user-42")


def _configure(vault: RealVault, provider: AuthServer) -> dict[str, Path]:
    directory = vault.directory
    files = vault.write_files("docs", [provider.host_port])
    policy = directory / "docs-policy.cedar"
    shutil.copy(ROOT / "deploy" / "policy.example.cedar", policy)
    wanted = {"server.trust_domains": ["prod.example"], "policy_file": str(policy)}
    admin = directory / "docs-tokenvault-admin.toml"
    shutil.copy(files.admin, admin)
    return {"serve": changed(files, directory / "docs-tokenvault.toml", wanted), "admin": admin}


def _port(process: subprocess.Popen[bytes], file: Path) -> int:
    for _ in range(int(_READY_S * 20)):
        if file.exists():
            return int(file.read_text())
        with contextlib.suppress(subprocess.TimeoutExpired):
            raise AssertionError(f"serve ended with {process.wait(0.05)}")
    raise TimeoutError("serve did not listen")
