"""``tokenvault dev``: all of it on one machine, and the main job shown once.

Servers are real (OpenBao with raft, TLS and a static seal; PostgreSQL with SCRAM), what they keep
lies in the state directory, and a second run finds it again.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Final, TypeVar

from rich.console import Console
from rich.markup import escape

from tokenvault_client import TokenVaultError
from vault_service.app.admin import MigrationsMissing, run_migrations
from vault_service.config import load
from vault_service.domain.errors import VaultError
from vault_service.embedded.browser import Browser
from vault_service.embedded.child import Child
from vault_service.embedded.demo import EmbeddedDemoProvider
from vault_service.embedded.devca import DevCA, IssuedCertificate
from vault_service.embedded.files import (
    Lock,
    make_state_dir,
    private_folder,
    read_facts,
    write_facts,
)
from vault_service.embedded.machine import (
    EmbeddedError,
    choose_port,
    require_free_disk,
    require_free_port,
)
from vault_service.embedded.openbao import EmbeddedOpenBao
from vault_service.embedded.own_providers import provider_certificate
from vault_service.embedded.postgres import EmbeddedPostgres
from vault_service.embedded.settings_files import (
    TENANT,
    SettingsFiles,
    write_client_files,
    write_server_files,
)
from vault_service.embedded.story import DemoProvider, Story

T = TypeVar("T")

_HOST: Final = "127.0.0.1"
_DISK_BYTES: Final = 500 * 1024 * 1024  # data of both servers, raft's log, and room to breathe
_READY_S: Final = 60.0
_COMMAND_S: Final = 60.0
_WATCH_S: Final = 0.5


class Dev:
    """The development environment of one state directory.

    ``own_providers``: host:port of authorization servers beside the demo one (``own_providers``).
    """

    def __init__(
        self, state_dir: Path, console: Console, own_providers: Sequence[str] = ()
    ) -> None:
        self._state_dir = state_dir
        self._console = console
        self._own_providers = tuple(own_providers)
        self.provider_certificate: IssuedCertificate | None = None  # for them, once it runs
        self._watched: list[Callable[[], None]] = []
        self._started = time.monotonic()

    def run(self, *, once: bool, ready: Callable[[SettingsFiles], None] = lambda _: None) -> None:
        """Start all, show the main job, then stay until Ctrl-C (or leave, with ``once``).

        ``ready`` hears when all of it worked. Raises EmbeddedError with what to do; whatever was
        started is stopped.
        """
        signal.signal(signal.SIGTERM, _interrupt)
        require_free_disk(self._state_dir, _DISK_BYTES)
        with ExitStack() as stack:
            try:
                self._state_dir = make_state_dir(self._state_dir)
                lock = Lock(self._state_dir / "lock", "tokenvault dev")
                lock.take()
                stack.callback(lock.release)
                files = self._start(stack, once=once)
                ready(files)
                if not once:
                    self._stay(files)
            except KeyboardInterrupt:
                self._console.print("stopping ...")
            except TokenVaultError as error:
                raise EmbeddedError(
                    f"{error}; the service's log is {self._log('tokenvault')}"
                ) from error
            except (VaultError, MigrationsMissing) as error:
                raise EmbeddedError(str(error)) from error

    def _start(self, stack: ExitStack, *, once: bool) -> SettingsFiles:
        ca = self._step("development CA", lambda: DevCA(self._state_dir))
        if self._own_providers:
            self.provider_certificate = provider_certificate(ca, self._own_providers)
        postgres = EmbeddedPostgres(self._state_dir)
        stack.callback(postgres.stop)
        database = self._step("PostgreSQL", postgres.start)
        openbao = EmbeddedOpenBao(self._state_dir, ca)
        stack.callback(openbao.stop)
        transit = self._step("OpenBao", openbao.start)
        demo = EmbeddedDemoProvider(
            self._state_dir / "demo-provider", ca, redirect_uri=self._redirect_uri()
        )
        stack.callback(demo.stop)
        provider = self._step("demo authorization server", demo.start)
        self._watched += [postgres.require_alive, openbao.require_alive, demo.require_alive]
        port = self._port("tokenvault")
        files = write_server_files(
            self._state_dir,
            ca,
            database,
            transit,
            port=port,
            providers=[provider.host_port, *self._own_providers],
        )
        write_client_files(files, ca, port)
        self._step("migrations", lambda: asyncio.run(run_migrations(load(files.admin))))
        self._make_tenant(files)
        service = self._service(files)
        stack.callback(service.stop)
        self._step("tokenvault", lambda: self._serve(service, files))
        self._watched.append(service.require_alive)
        self._console.print(f"[bold]The main job[/] (up after {self._age_s():.1f} s)")
        told = DemoProvider(
            provider.base_url, provider.client_id, provider.client_secret, provider.redirect_uri
        )
        Story(self._console, files.clients, told, Browser(ca.root_file)).tell()
        self._console.print(f"[green]all of it worked[/], {self._age_s():.1f} s")
        return files

    def _stay(self, files: SettingsFiles) -> None:
        self._next_steps(files)
        while True:
            time.sleep(_WATCH_S)
            for require_alive in self._watched:
                require_alive()

    def _serve(self, service: Child, files: SettingsFiles) -> None:
        files.port.unlink(missing_ok=True)
        files.metrics_port.unlink(missing_ok=True)
        service.start()
        service.wait_ready(files.port.exists, _READY_S)

    def _service(self, files: SettingsFiles) -> Child:
        argv = [sys.executable, "-m", "vault_service", "serve", "--config", str(files.serve)]
        return Child("tokenvault", argv, log_file=self._log("tokenvault"))

    def _make_tenant(self, files: SettingsFiles) -> None:
        """As an operator would, once; the state directory remembers it."""
        path = self._state_dir / "tenant.json"
        if read_facts(path).get("tenant") == TENANT:
            return
        argv = [sys.executable, "-m", "vault_service", "tenant", "create", TENANT]
        argv += ["--config", str(files.admin)]
        command = Child("tokenvault tenant create", argv, log_file=self._log("tenant"))
        self._step(f"tokenvault tenant create {TENANT}", lambda: command.run(_COMMAND_S))
        write_facts(path, {"tenant": TENANT})

    def _port(self, whose: str) -> int:
        """The port of the first run; an error names it when something else has it now."""
        path = self._state_dir / "ports.json"
        ports = read_facts(path)
        if whose in ports:
            require_free_port(_HOST, int(ports[whose]), whose)
        else:
            ports[whose] = choose_port(_HOST)
            write_facts(path, ports)
        return int(ports[whose])

    def _redirect_uri(self) -> str:
        return f"http://{_HOST}:{self._port('callback')}/callback"

    def _log(self, name: str) -> Path:
        return private_folder(self._state_dir / "logs") / f"{name}.log"

    def _step(self, what: str, work: Callable[[], T]) -> T:
        started = time.monotonic()
        with self._console.status(f"starting {escape(what)} ..."):
            result = work()
        took_s = time.monotonic() - started
        self._console.print(f"  [green]ok[/] {escape(what):30} {took_s:5.1f} s", soft_wrap=True)
        return result

    def _age_s(self) -> float:
        return time.monotonic() - self._started

    def _next_steps(self, files: SettingsFiles) -> None:
        command = f"{Path(sys.executable).parent / 'tokenvault'}"
        operator, app, auditor = (
            files.clients[name] for name in ("operator", "calendar-app", "auditor")
        )
        redirect = self._redirect_uri()
        if (issued := self.provider_certificate) is not None:
            told = f"{', '.join(self._own_providers)} may be called, with a certificate of"
            self._console.print(f"\nProviders of your own at {told}", markup=False, soft_wrap=True)
            self._console.print(f"  {issued.certificate_file}", markup=False, soft_wrap=True)
            self._console.print(f"  {issued.key_file}", markup=False, soft_wrap=True)
        self._console.print("\nIt stays up; Ctrl-C stops it. In another terminal:", soft_wrap=True)
        for line in (
            f"{command} token get {TENANT} --client {app} --owner ada --label calendar "
            "--min-ttl-s 1",
            f"{command} grant list {TENANT} --client {operator}",
            f"{command} grant start {TENANT} calendar --client {operator} --owner grace "
            f"--redirect-uri {redirect}",
            f"{command} audit list {TENANT} --client {auditor}",
            f"curl http://{_HOST}:{files.metrics_port.read_text().strip()}/metrics",
        ):
            self._console.print(f"  {line}", markup=False, soft_wrap=True)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
