"""The files that the service, its operator and its callers read in the development environment."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vault_service.embedded.devca import DevCA
from vault_service.embedded.files import write_private
from vault_service.embedded.openbao import OpenBaoHandle
from vault_service.embedded.postgres import PostgresHandle

TRUST_DOMAIN = "dev.tokenvault"
TENANT = "demo"
CALLERS = ("calendar-app", "operator", "auditor", "thief")

POLICY = f"""\
// Who may do what in the development environment. Default is deny: "thief" has no rule.
@id("calendar-app-works-in-demo")
permit (
    principal == Caller::"spiffe://{TRUST_DOMAIN}/calendar-app",
    action in [Action::"UseTenant", Action::"StartAuthorization", Action::"CompleteAuthorization",
               Action::"GetAccessToken", Action::"GetGrant", Action::"LinkAlias",
               Action::"UnlinkAlias", Action::"WatchGrants", Action::"ReportRejectedToken",
               Action::"PutSecret", Action::"GetSecretValue",
               Action::"GetSecret", Action::"ListSecrets", Action::"ListSecretVersions",
               Action::"DestroySecretVersion", Action::"DeleteSecret"],
    resource in Tenant::"{TENANT}"
);
@id("operators-run-demo")
permit (
    principal == Caller::"spiffe://{TRUST_DOMAIN}/operator",
    action in [Action::"UseTenant", Action::"PutProvider", Action::"ListProviders",
               Action::"PutOAuthClient", Action::"ListOAuthClients",
               Action::"AddClientCredential", Action::"RetireClientCredential",
               Action::"SuspendOAuthClient", Action::"ResumeOAuthClient",
               Action::"ListClientHolds", Action::"ClearClientHold",
               Action::"StartAuthorization", Action::"CompleteAuthorization", Action::"GetGrant",
               Action::"ListGrants", Action::"RevokeGrant", Action::"DeleteGrant",
               Action::"LinkAlias", Action::"UnlinkAlias", Action::"WatchGrants",
               Action::"PutWebhook", Action::"ListWebhooks", Action::"DeleteWebhook",
               Action::"ListDeadLetters", Action::"RedeliverDeadLetters",
               Action::"ListAttempts", Action::"GetAttempt", Action::"ResolveAttempt",
               Action::"PutSecret", Action::"GetSecret", Action::"ListSecrets",
               Action::"ListSecretVersions", Action::"DestroySecretVersion",
               Action::"DeleteSecret"],
    resource in Tenant::"{TENANT}"
);
@id("auditors-read-the-record")
permit (
    principal == Caller::"spiffe://{TRUST_DOMAIN}/auditor",
    action in [Action::"UseTenant", Action::"ListAuditRecords", Action::"ListGrants",
               Action::"GetGrant"],
    resource
);
"""


@dataclass(frozen=True, slots=True)
class SettingsFiles:
    """Where they are."""

    serve: Path
    admin: Path
    port: Path
    metrics_port: Path
    clients: Mapping[str, Path]


def toml(sections: Mapping[str, Mapping[str, object]]) -> str:
    """Strings, numbers, booleans and lists of them: JSON's spelling of these is TOML's."""
    lines: list[str] = []
    for section, values in sections.items():
        if section:
            lines.append(f"\n[{section}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    return "\n".join(lines).lstrip() + "\n"


def write_server_files(
    state_dir: Path,
    ca: DevCA,
    postgres: PostgresHandle,
    openbao: OpenBaoHandle,
    *,
    port: int,
    providers: Sequence[str],
    name: str = "tokenvault",
) -> SettingsFiles:
    """Write all for the process ``name``; ``port`` 0 lets the system choose, ``providers`` are the
    host:port of authorization servers on this machine."""
    server = ca.issue(
        "tokenvault",
        spiffe_id=f"spiffe://{TRUST_DOMAIN}/tokenvault",
        dns=("localhost",),
        ips=("127.0.0.1",),
        server=True,
        client=False,
    )
    policy = state_dir / "policy.cedar"
    if not policy.exists():  # yours to change
        policy.write_text(POLICY)
    files = SettingsFiles(
        serve=state_dir / f"{name}.toml",
        admin=state_dir / "tokenvault-admin.toml",
        port=state_dir / f"{name}.port",
        metrics_port=state_dir / f"{name}.metrics-port",
        clients={caller: state_dir / "clients" / f"{caller}.toml" for caller in CALLERS},
    )
    common: dict[str, dict[str, object]] = {
        "": {"deployment": "dev", "instance": name, "policy_file": str(policy)},
        "server": {
            "host": "127.0.0.1",
            "port": port,
            "certificate_file": str(server.certificate_file),
            "key_file": str(server.key_file),
            "client_ca_file": str(ca.root_file),
            "trust_domains": [TRUST_DOMAIN],
            "reflection": True,
            "port_file": str(files.port),
            "drain_notice_s": 0,  # no load balancer is in front
        },
    }
    write_private(
        files.serve,
        toml(
            common
            | {
                "database": _database(postgres, "tokenvault_app"),
                "transit": _transit(openbao, "tokenvault-service"),
                "spool": {"path": str(state_dir.absolute() / "spool")},
                "egress": {"allowed_private": list(providers), "ca_file": str(ca.root_file)},
                "metrics": {"port": 0, "port_file": str(files.metrics_port)},
            }
        ),
    )
    write_private(
        files.admin,
        toml(
            common
            | {
                "database": _database(postgres, "tokenvault_owner"),
                "transit": _transit(openbao, "tokenvault-admin"),
            }
        ),
    )
    return files


def write_client_files(files: SettingsFiles, ca: DevCA, port: int) -> None:
    """One for each caller, with a certificate of its own."""
    for name, path in files.clients.items():
        spiffe_id = f"spiffe://{TRUST_DOMAIN}/{name}"
        issued = ca.issue(name, spiffe_id=spiffe_id, server=False, client=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        values = {
            "target": f"127.0.0.1:{port}",
            "ca_file": str(ca.root_file),
            "certificate_file": str(issued.certificate_file),
            "key_file": str(issued.key_file),
        }
        write_private(path, toml({"": values}))


def _database(postgres: PostgresHandle, user: str) -> dict[str, object]:
    return {
        "host": str(postgres.socket_dir),
        "port": postgres.port,
        "name": postgres.database,
        "user": user,
        "password_file": str(postgres.password_file(user)),
        "worker_password_file": str(postgres.password_file("tokenvault_worker")),
    }


def _transit(openbao: OpenBaoHandle, role: str) -> dict[str, object]:
    return {
        "address": openbao.address,
        "ca_file": str(openbao.ca_file),
        "mount": openbao.mount,
        "role_id_file": str(openbao.role_id_file(role)),
        "secret_id_file": str(openbao.secret_id_file(role)),
    }
