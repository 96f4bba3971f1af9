"""A real OpenBao in development mode with TLS, with the root token that faults need."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import requests

from vault_service.adapters.transit import TransitSettings, key_name

_START_LIMIT_S = 30.0
_PREFIX = "tv-"
_DEPLOYMENT = "dep-1"
_SERVICE_POLICY = """
path "transit/encrypt/tv-*" { capabilities = ["update"] }
path "transit/decrypt/tv-*" { capabilities = ["update"] }
"""
_ADMIN_POLICY = """
path "transit/keys/tv-*" { capabilities = ["create", "read", "update"] }
"""


class DevOpenBao:
    """``bao server -dev-tls`` on a port of the system's choice; state in memory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._root_token = secrets.token_hex(16)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.address = f"https://127.0.0.1:{self._port}"
        self.ca_file = directory / "vault-ca.pem"
        self.certificate_file = directory / "vault-cert.pem"
        self.key_file = directory / "vault-key.pem"
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = str(self.ca_file)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def root_token(self) -> str:
        """For the command line of OpenBao."""
        return self._root_token

    def start(self) -> DevOpenBao:
        """Start it, and set up a mount, two policies and two logins."""
        self.start_bare()
        self.root("POST", "sys/mounts/transit", type="transit")
        self.root("POST", "transit/config/keys", disable_upsert=True)
        self.root("POST", "sys/auth/approle", type="approle")
        self.allow("service", _SERVICE_POLICY)
        self.allow("admin", _ADMIN_POLICY)
        for role in ("service", "admin"):
            self.add_role(role)
        return self

    def start_bare(self) -> DevOpenBao:
        """Start it as it comes, and wait until it answers."""
        bao = Path(sys.executable).with_name("bao")
        with (self._directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    bao, "server", "-dev-tls", f"-dev-tls-cert-dir={self._directory}",
                    f"-dev-root-token-id={self._root_token}", "-dev-no-store-token",
                    f"-dev-listen-address=127.0.0.1:{self._port}",
                ],
                stdout=log, stderr=log, env={"HOME": str(self._directory), "PATH": os.defpath},
            )  # fmt: skip
        self._wait()
        return self

    def stop(self) -> None:
        """End the server."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
        self._session.close()

    def root(self, method: str, path: str, **body: object) -> dict[str, Any]:
        """A request with the root token; fails the test where the server refuses."""
        response = self._session.request(
            method,
            f"{self.address}/v1/{path}",
            headers={"X-Vault-Token": self._root_token},
            json=body or None,
            timeout=10,
        )
        response.raise_for_status()
        return dict(response.json()) if response.content else {}

    def allow(self, policy: str, text: str = _SERVICE_POLICY) -> None:
        """Replace a policy."""
        self.root("PUT", f"sys/policies/acl/{policy}", policy=text)

    def add_role(self, role: str, policy: str = "", ttl: str = "20m", max_ttl: str = "1h") -> None:
        """An AppRole with its two credential files."""
        path = f"auth/approle/role/{role}"
        self.root("POST", path, token_policies=policy or role, token_ttl=ttl, token_max_ttl=max_ttl)
        role_id = self.root("GET", f"{path}/role-id")["data"]["role_id"]
        (self._directory / f"{role}.role-id").write_text(role_id + "\n")
        self.new_secret_id(role)

    def new_secret_id(self, role: str) -> None:
        """Replace the secret id in its file."""
        answer = self.root("POST", f"auth/approle/role/{role}/secret-id")
        (self._directory / f"{role}.secret-id").write_text(answer["data"]["secret_id"] + "\n")

    def logins(self, role: str) -> int:
        """How many tokens of this role live."""
        accessors = self.root("LIST", "auth/token/accessors")["data"]["keys"]
        found = (self.root("POST", "auth/token/lookup-accessor", accessor=a) for a in accessors)
        return sum((t["data"]["meta"] or {}).get("role_name") == role for t in found)

    def revoke_logins(self, role: str) -> None:
        """Revoke all tokens of this role."""
        for accessor in self.root("LIST", "auth/token/accessors")["data"]["keys"]:
            token = self.root("POST", "auth/token/lookup-accessor", accessor=accessor)["data"]
            if (token["meta"] or {}).get("role_name") == role:
                self.root("POST", "auth/token/revoke-accessor", accessor=accessor)

    def seal(self) -> None:
        """Seal it: it answers 503 to everything but its health."""
        self.root("PUT", "sys/seal")

    def unseal(self) -> None:
        """Open it again with the key it printed at its start."""
        for line in (self._directory / "log").read_text().splitlines():
            if line.startswith("Unseal Key: "):
                self.root("PUT", "sys/unseal", key=line.removeprefix("Unseal Key: ").strip())
        self._wait()

    def settings(self, role: str = "service", **changes: Any) -> TransitSettings:
        """The settings of a login, with changes."""
        values: dict[str, Any] = {
            "address": self.address,
            "ca_file": self.ca_file,
            "mount": "transit",
            "key_prefix": _PREFIX,
            "role_id_file": self._directory / f"{role}.role-id",
            "secret_id_file": self._directory / f"{role}.secret-id",
            "auth_mount": "approle",
            "deployment": _DEPLOYMENT,
        }
        return TransitSettings(**(values | changes))

    def key_path(self, tenant: str) -> str:
        """The path of a tenant's key."""
        return f"transit/keys/{key_name(_PREFIX, _DEPLOYMENT, tenant)}"

    def _wait(self) -> None:
        end = time.monotonic() + _START_LIMIT_S
        while time.monotonic() < end:
            try:
                health = self._session.get(f"{self.address}/v1/sys/health", timeout=1)
                if health.status_code == 200:
                    return
            except (OSError, requests.exceptions.RequestException):
                pass  # not yet
            time.sleep(0.05)
        raise TimeoutError((self._directory / "log").read_text()[-2_000:])
