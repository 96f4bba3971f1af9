"""audit: who saw and changed what."""

from __future__ import annotations

from typing import Annotated

import typer

from tokenvault_client import AuditRecord, TokenVaultClient
from vault_service.cli.app import App, many
from vault_service.cli.connection import ClientOption, call
from vault_service.cli.output import show_list

audit_app = App("The record.")


@audit_app.does("list", many("audit_records", AuditRecord))
def audit_list(
    tenant: Annotated[str, typer.Argument(help="Tenant id; '-' for calls without a valid one.")],
    client: ClientOption,
    most: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many records.")] = 50,
) -> None:
    """List records, newest first. This is itself on record."""

    async def work(vault: TokenVaultClient) -> list[AuditRecord]:
        found: list[AuditRecord] = []
        async for record in vault.iter_audit_records(f"tenants/{tenant}", page_size=min(most, 500)):
            found.append(record)
            if len(found) == most:
                break
        return found

    show_list(
        "audit_records",
        ("TIME (UTC)", "ACTION", "OUTCOME", "REASON", "CALLER", "RESOURCE", "RULE"),
        call(client, work),
        lambda record: (
            record.record_time.strftime("%Y-%m-%d %H:%M:%S") if record.record_time else "",
            record.action,
            record.outcome.name,
            record.reason,
            record.caller,
            record.resource,
            record.detail.get("policy_rule", ""),
        ),
    )
