"""Where transit is, how to log in, and what a tenant's key is called."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

_MOUNT: Final = re.compile(r"[A-Za-z0-9_-]{1,64}(/[A-Za-z0-9_-]{1,64}){0,7}")
_PREFIX: Final = re.compile(r"[A-Za-z0-9_-]{0,32}")
_HASH_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class TransitSettings:
    """One login at one transit mount. Raises ValueError for what cannot be right.

    The credential files are read at every login, so they may be replaced while we run.
    """

    address: str  # https://host:port
    ca_file: Path  # PEM; the only authorities that are trusted for this address
    mount: str  # of the transit engine, "transit"
    key_prefix: str  # of key names, "tokenvault-"
    role_id_file: Path
    secret_id_file: Path
    auth_mount: str  # of the AppRole method, "approle"
    deployment: str  # bound into key names and contexts

    def __post_init__(self) -> None:
        parts = urlsplit(self.address)
        if parts.scheme != "https" or not parts.hostname:
            raise ValueError(f"the transit address is https://host:port, not {self.address!r}")
        if parts.username or parts.password or parts.path.strip("/") or parts.query:
            raise ValueError("the transit address has no user, path or query")
        for what, mount in (("mount", self.mount), ("auth_mount", self.auth_mount)):
            if not _MOUNT.fullmatch(mount):
                raise ValueError(f"the transit {what} is a path like 'transit', not {mount!r}")
        if not _PREFIX.fullmatch(self.key_prefix):
            raise ValueError("the transit key_prefix is [A-Za-z0-9_-], at most 32 characters")
        if not self.deployment:
            raise ValueError("the deployment has a name")


def key_name(prefix: str, deployment: str, tenant: str) -> str:
    """The name of a tenant's transit key.

    ``prefix`` and 32 hexadecimal digits: the first 16 bytes of SHA-256 over deployment and
    tenant, each preceded by its length (u32be), so no two pairs share a key by concatenation.
    """
    digest = hashlib.sha256()
    for part in (deployment.encode(), tenant.encode()):
        digest.update(len(part).to_bytes(4, "big") + part)
    return prefix + digest.digest()[:_HASH_BYTES].hex()
