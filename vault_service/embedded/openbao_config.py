"""The configuration of the embedded OpenBao: what the server is told, and what it makes of itself
at its first start (declarative self-initialization, OpenBao ≥ 2.4: the root token of that moment
is revoked by the server and never leaves it).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vault_service.embedded.machine import LOOPBACK, EmbeddedError

MOUNT: Final = "transit"
SERVICE_ROLE: Final = "tokenvault-service"
ADMIN_ROLE: Final = "tokenvault-admin"
SEALER_ROLE: Final = "tokenvault-sealer"
_TOKEN_LIFE: Final = "1h"
_TOKEN_LIFE_MAX: Final = "24h"
_PREFIX: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
_OWN_TOKEN: Final = {
    "auth/token/lookup-self": {"capabilities": ["read"]},
    "auth/token/renew-self": {"capabilities": ["update"]},
    "auth/token/revoke-self": {"capabilities": ["update"]},
    "sys/capabilities-self": {"capabilities": ["update"]},  # `tokenvault doctor` looks at it
}


@dataclass(frozen=True, slots=True)
class Paths:
    """Files and folders of one server."""

    data: Path
    seal_key: Path
    certificate: Path
    key: Path
    audit_log: Path


@dataclass(frozen=True, slots=True)
class Credential:
    """An AppRole login. Its secret id is in the configuration of the first start only."""

    role_id: str
    secret_id: str


def server_config(paths: Paths, port: int, cluster_port: int) -> dict[str, Any]:
    """Raft on one node, TLS 1.3 on loopback, a static seal, an audit file."""
    return {
        "ui": False,
        "disable_mlock": True,
        "log_level": "info",
        "api_addr": f"https://{LOOPBACK}:{port}",
        "cluster_addr": f"https://{LOOPBACK}:{cluster_port}",
        "storage": {
            "raft": {"path": str(paths.data), "node_id": "dev", "performance_multiplier": 1}
        },
        "listener": [
            {
                "tcp": {
                    "address": f"{LOOPBACK}:{port}",
                    "cluster_address": f"{LOOPBACK}:{cluster_port}",
                    "tls_cert_file": str(paths.certificate),
                    "tls_key_file": str(paths.key),
                    "tls_min_version": "tls13",
                }
            }
        ],
        "seal": {"static": {"current_key_id": "dev-1", "current_key": f"file://{paths.seal_key}"}},
        "audit": [{"type": "file", "path": "file", "options": {"file_path": str(paths.audit_log)}}],
    }


def initialize(key_prefix: str, credentials: Mapping[str, Credential]) -> list[dict[str, Any]]:
    """The ``initialize`` stanza: transit, policies, AppRole and one role for each credential.

    Raises EmbeddedError for a key prefix that could widen a policy.
    """
    if not _PREFIX.fullmatch(key_prefix):
        raise EmbeddedError(f"the key prefix is 1 to 32 of [A-Za-z0-9_-], not {key_prefix!r}")
    requests = [
        ("sys/mounts/" + MOUNT, {"type": "transit"}),
        (MOUNT + "/config/keys", {"disable_upsert": True}),
        ("sys/auth/approle", {"type": "approle"}),
    ]
    for role, credential in credentials.items():
        policy = _hcl(policies(key_prefix)[role] | _OWN_TOKEN)
        requests += [
            (f"sys/policies/acl/{role}", {"policy": policy}),
            (f"auth/approle/role/{role}", _role(role)),
            (f"auth/approle/role/{role}/role-id", {"role_id": credential.role_id}),
            (f"auth/approle/role/{role}/custom-secret-id", {"secret_id": credential.secret_id}),
        ]
    stanza = [
        {f"step_{number}": {"operation": "update", "path": path, "data": data}}
        for number, (path, data) in enumerate(requests)
    ]
    return [{"tokenvault": {"request": stanza}}]


def policies(key_prefix: str) -> dict[str, dict[str, Any]]:
    """By role: path → rule. What is not here is denied."""
    data_paths = [f"{MOUNT}/{verb}/{key_prefix}*" for verb in ("encrypt", "decrypt", "rewrap")]
    return {
        # No "create": with it, encrypt would make keys that it does not find.
        SERVICE_ROLE: {path: {"capabilities": ["update"]} for path in data_paths},
        ADMIN_ROLE: {
            f"{MOUNT}/keys/{key_prefix}*": {
                "capabilities": ["create", "update", "read"],
                # An allow-list, since keys/<name>/config lies below this path too, with what
                # unmakes a key: deletion, export, the least version that decrypts.
                "allowed_parameters": {
                    "type": ["aes256-gcm96"],
                    "derived": [True],
                    "exportable": [False],
                    "auto_rotate_period": [],
                },
            },
            f"{MOUNT}/config/keys": {"capabilities": ["read"]},
        },
        SEALER_ROLE: {"sys/seal": {"capabilities": ["update", "sudo"]}},
    }


def _hcl(rules: Mapping[str, Mapping[str, Any]]) -> str:
    """A policy in HCL. Not in JSON, which OpenBao takes too: 2.7 drops the booleans of a JSON
    policy's ``allowed_parameters``, and an empty list there allows any value."""
    lines = []
    for path, rule in rules.items():
        lines.append(f"path {json.dumps(path)} {{")
        for name, value in rule.items():
            if isinstance(value, dict):
                inner = ", ".join(f"{json.dumps(k)} = {json.dumps(v)}" for k, v in value.items())
                lines.append(f"  {name} = {{ {inner} }}")
            else:
                lines.append(f"  {name} = {json.dumps(value)}")
        lines.append("}")
    return "\n".join(lines)


def _role(role: str) -> dict[str, Any]:
    return {
        "token_policies": [role],
        "token_no_default_policy": True,
        "token_ttl": _TOKEN_LIFE,
        "token_max_ttl": _TOKEN_LIFE_MAX,
        "token_bound_cidrs": [f"{LOOPBACK}/32"],
        "secret_id_bound_cidrs": [f"{LOOPBACK}/32"],
    }
