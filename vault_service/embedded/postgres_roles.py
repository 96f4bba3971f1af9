"""Database, roles and passwords of the embedded PostgreSQL, set through the bundled psql.

Passwords reach the server as SCRAM verifiers (RFC 5803) only, so no statement, log line or
process list ever holds one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

from vault_service.embedded.files import write_private
from vault_service.embedded.machine import EmbeddedError

LOGIN_ROLES: Final = ("tokenvault_owner", "tokenvault_app", "tokenvault_worker")
SUPERUSER: Final = "postgres"
DATABASE: Final = "tokenvault"
# CREATE DATABASE runs in no block and knows no IF NOT EXISTS; psql runs what this selects.
_CREATE_DATABASE: Final = """
SELECT 'CREATE DATABASE tokenvault OWNER tokenvault_owner'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'tokenvault') \\gexec
"""
_SCRAM_ITERATIONS: Final = 4_096  # PostgreSQL's own; the passwords are random, not chosen
_SCRAM_SALT_BYTES: Final = 16
_PSQL_LIMIT_S: Final = 30.0
_ERROR_LINES: Final = 5


@dataclass(frozen=True, slots=True)
class Psql:
    """How to reach the server as its superuser."""

    program: str
    socket_dir: Path
    port: int
    pass_file: Path  # libpq's format, 0600

    def run(self, sql: str) -> None:
        """Run a script, stopping at the first error. Raises EmbeddedError."""
        try:
            done = subprocess.run(
                [
                    *(self.program, "-X", "-q", "--no-password", "-v", "ON_ERROR_STOP=1"),
                    *("-h", str(self.socket_dir), "-p", str(self.port)),
                    *("-U", SUPERUSER, "-d", "postgres", "-f", "-"),
                ],
                input=sql.encode(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={"PGPASSFILE": str(self.pass_file), "LC_ALL": "C"},
                timeout=_PSQL_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise EmbeddedError("PostgreSQL does not answer while its roles are made") from error
        if done.returncode != 0:
            lines = done.stderr.decode("utf-8", "replace").splitlines()[:_ERROR_LINES]
            raise EmbeddedError("PostgreSQL refused to make its roles:\n  " + "\n  ".join(lines))


def roles_sql() -> str:
    """The script that an operator runs too."""
    return (resources.files("vault_service.adapters.postgres") / "roles.sql").read_text("utf-8")


def set_up(psql: Psql, passwords: Mapping[str, str]) -> None:
    """Create roles and database where they are missing, and set the passwords (by role)."""
    statements = [
        f"ALTER ROLE {role} PASSWORD '{scram_verifier(password)}';"
        for role, password in passwords.items()
    ]
    psql.run("\n".join([roles_sql(), _CREATE_DATABASE, *statements, ""]))


def scram_verifier(password: str) -> str:
    """What PostgreSQL keeps of a password (RFC 5802 §3, RFC 7677); the password is ASCII."""
    salt = secrets.token_bytes(_SCRAM_SALT_BYTES)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, _SCRAM_ITERATIONS)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    texts = (base64.b64encode(part).decode() for part in (salt, stored_key, server_key))
    return "SCRAM-SHA-256${}:{}${}:{}".format(_SCRAM_ITERATIONS, *texts)


def write_pass_file(path: Path, password: str) -> Path:
    """A libpq password file for the superuser (any host, port and database)."""
    write_private(path, f"*:*:*:{SUPERUSER}:{password}\n")
    return path
