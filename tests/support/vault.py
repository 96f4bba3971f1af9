"""The whole service as it runs: real OpenBao and PostgreSQL, ``serve`` in processes of its own."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg

import tokenvault_client as sdk
from tests.support.oidc import CLIENT_ID, CLIENT_SECRET, REDIRECT_URI, OidcProvider
from vault_service.embedded.child import Child
from vault_service.embedded.devca import DevCA
from vault_service.embedded.openbao import EmbeddedOpenBao, OpenBaoHandle
from vault_service.embedded.postgres import EmbeddedPostgres, PostgresHandle
from vault_service.embedded.settings_files import (
    TENANT,
    SettingsFiles,
    write_client_files,
    write_server_files,
)

_READY_S = 30.0


def oauth_client_of(provider: OidcProvider) -> str:
    """The name of our registration at this server; the tests of a session have several."""
    return sdk.oauth_client_name(TENANT, f"calendar-{provider.port}")


class RealVault:
    """One deployment: servers once, any number of ``serve`` processes beside each other."""

    def __init__(
        self, directory: Path, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """``clock`` is that of the certificates."""
        self.directory = directory
        self.ca = DevCA(directory, clock)
        self.postgres = EmbeddedPostgres(directory)
        self.openbao = EmbeddedOpenBao(directory, self.ca, for_tests=True)
        self.processes: dict[str, Child] = {}
        self.files: dict[str, SettingsFiles] = {}
        self._database: PostgresHandle | None = None
        self._transit: OpenBaoHandle | None = None

    def start(self) -> RealVault:
        """Start the servers, migrate, and make the tenant."""
        self._database = self.postgres.start()
        # The order of commits is what some tests are about; it takes a restart.
        self.sql("ALTER SYSTEM SET track_commit_timestamp = on", database="postgres")
        self.postgres.stop()
        self._database = self.postgres.start()
        self._transit = self.openbao.start()
        files = self.write_files("admin", ())
        self.command("migrate", "--config", str(files.admin))
        self.command("tenant", "create", TENANT, "--config", str(files.admin))
        return self

    @property
    def database(self) -> PostgresHandle:
        """How to reach the database."""
        assert self._database is not None
        return self._database

    @property
    def data_directory(self) -> str:
        """Where PostgreSQL keeps its files."""
        return str(self.sql("SHOW data_directory")[0])

    def sql(self, statement: str, database: str = "tokenvault") -> tuple[Any, ...]:
        """The first row of a statement of the superuser; () where it has none."""

        async def run() -> tuple[Any, ...]:
            handle = self.database
            connection = await asyncpg.connect(
                host=str(handle.socket_dir),
                port=handle.port,
                user=handle.superuser,
                password=handle.superuser_password_file.read_text().strip(),
                database=database,
            )
            try:
                return tuple(await connection.fetchrow(statement) or ())
            finally:
                await connection.close()

        return asyncio.run(run())

    def let_pass(self, seconds: float) -> None:
        """Time passes for what waits for it: leases, pauses and confirmations of refreshes."""
        by = f"interval '{seconds} s'"
        self.sql(
            f"UPDATE tokenvault.grant_leases SET lease_until = lease_until - {by}"
            " WHERE lease_until > '-infinity'"
        )
        self.sql(
            f"UPDATE tokenvault.grant_upkeep SET not_before = not_before - {by},"
            f" refused_time = refused_time - {by}"
        )
        self.sql(
            f"UPDATE tokenvault.refresh_attempts SET next_try_time = next_try_time - {by},"
            f" create_time = create_time - {by}, update_time = update_time - {by}"
        )

    def stop(self) -> None:
        """End everything."""
        for child in self.processes.values():
            child.stop()
        self.openbao.stop()
        self.postgres.stop()
        self.postgres.destroy()

    def write_files(self, name: str, providers: Sequence[str]) -> SettingsFiles:
        """The settings of one process."""
        assert self._database is not None
        assert self._transit is not None
        files = write_server_files(
            self.directory,
            self.ca,
            self._database,
            self._transit,
            port=0,
            providers=providers,
            name=name,
        )
        self.files[name] = files
        return files

    def serve(
        self, name: str, providers: Sequence[str] = (), env: Mapping[str, str] | None = None
    ) -> int:
        """Start a process, wait until it is SERVING, and return its port."""
        files = self.write_files(name, providers)
        files.port.unlink(missing_ok=True)
        argv = [sys.executable, "-m", "vault_service", "serve", "--config", str(files.serve)]
        child = Child(name, argv, log_file=self.directory / f"{name}.log", env=env)
        child.start()
        self.processes[name] = child
        child.wait_ready(files.port.exists, _READY_S)
        return int(files.port.read_text())

    def stop_process(self, name: str) -> None:
        """SIGTERM and the drain that follows."""
        self.processes.pop(name).stop()

    def client(self, caller: str, port: int, timeout_s: float = 20.0) -> sdk.TokenVaultClient:
        """A client of the SDK with the certificate of ``caller``."""
        issued = self.ca.issue(
            caller, spiffe_id=f"spiffe://dev.tokenvault/{caller}", server=False, client=True
        )
        return sdk.TokenVaultClient(
            f"127.0.0.1:{port}",
            ca_file=self.ca.root_file,
            certificate_file=issued.certificate_file,
            key_file=issued.key_file,
            timeout_s=timeout_s,
        )

    def client_files(self, port: int) -> Mapping[str, Path]:
        """Client files of all callers, as the command line takes them."""
        files = next(iter(self.files.values()))
        write_client_files(files, self.ca, port)
        return files.clients

    def command(self, *arguments: str, fails: int = 0, stdin: str = "") -> str:
        """Run a command of the CLI; returns its output, and checks how it ended."""
        done = subprocess.run(
            [sys.executable, "-m", "vault_service", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            input=stdin,
            check=False,
        )
        assert done.returncode == fails, f"{arguments} ended {done.returncode}: {done.stderr}"
        return done.stdout + done.stderr


@contextmanager
def running_vault(
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Iterator[RealVault]:
    """A deployment of its own, gone afterwards."""
    # Not pytest's directory: PostgreSQL runs as another uid when this is root, and socket paths
    # are short.
    directory = Path(tempfile.mkdtemp(prefix="tv-"))
    directory.chmod(0o711)
    vault = RealVault(directory, clock)
    try:
        yield vault.start()
    finally:
        vault.stop()
        shutil.rmtree(directory, ignore_errors=True)


async def register(operator: sdk.TokenVaultClient, provider: OidcProvider) -> None:
    """Put the certified server and our registration there."""
    issuer = provider.issuer
    name = sdk.provider_name(TENANT, f"oidc-{provider.port}")
    await operator.put_provider(
        sdk.Provider(
            name=name,
            issuer=issuer,
            authorization_endpoint=f"{issuer}/auth",
            token_endpoint=f"{issuer}/token",
            revocation_endpoint=f"{issuer}/token/revocation",
            refresh_class=sdk.RefreshClass.S,
            authorization_params={"prompt": "consent"},
            requires_iss=True,
        )
    )
    await operator.put_oauth_client(
        sdk.OAuthClient(
            name=oauth_client_of(provider),
            provider=name,
            client_id=CLIENT_ID,
            redirect_uris=(REDIRECT_URI,),
            scopes=("openid", "offline_access", "calendar"),
        ),
        client_secret=CLIENT_SECRET,
    )


async def consent(
    app: sdk.TokenVaultClient, provider: OidcProvider, *, owner: str, user: str, label: str = ""
) -> sdk.CompletedAuthorization:
    """The whole consent of one user, browser included."""
    started = await app.start_authorization(
        oauth_client_of(provider), owner=owner, redirect_uri=REDIRECT_URI, label=label
    )
    returned = await asyncio.to_thread(provider.consent, started.url, user)
    return await app.complete_authorization(
        sdk.tenant_name(TENANT),
        state=returned.state,
        code=returned.code,
        iss=returned.iss,
        owner=owner,
        redirect_uri=REDIRECT_URI,
    )
