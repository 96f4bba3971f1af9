"""policy: whether a policy file is valid, and what a caller could do under it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from vault_service.app.explain import PolicyInvalid, Question, Ruling, explain, rules_of
from vault_service.cli.app import App, many, one
from vault_service.cli.connection import TenantArgument
from vault_service.cli.output import fail, show, show_list

policy_app = App("Policies, before they are in force. Asks no service.")

FileArgument = Annotated[Path, typer.Argument(help="Cedar policy.")]


@dataclass(frozen=True, slots=True)
class PolicyRules:
    """A valid policy: its version, as the record has it, and its rules."""

    version: str
    rules: tuple[str, ...]


@policy_app.does("check", one(PolicyRules))
def policy_check(file: FileArgument) -> None:
    """Say whether a policy would be taken, and list its rules; exits 1 with the line where not."""
    try:
        version, rules = rules_of(file)
    except PolicyInvalid as error:
        fail(str(error))
    show(PolicyRules(version, rules), "\n".join([f"{version}, {len(rules)} rules", *rules]))


@policy_app.does("explain", many("rulings", Ruling))
def policy_explain(
    file: FileArgument,
    tenant: TenantArgument,
    caller: Annotated[str, typer.Argument(help="SPIFFE id, spiffe://trust-domain/path.")],
    owner: Annotated[str, typer.Option(help="Of the grant or secret; user level.")] = "",
    label: Annotated[str, typer.Option(help="Label of the alias that is used.")] = "",
    provider: Annotated[str, typer.Option(help="Provider id.")] = "",
    oauth_client: Annotated[str, typer.Option(help="OAuthClient id.")] = "",
    grant: Annotated[str, typer.Option(help="UUID of a grant, if not by alias.")] = "",
    secret: Annotated[str, typer.Option(help="Secret id.")] = "",
    scope: Annotated[list[str] | None, typer.Option(help="Of the grant; repeatable.")] = None,
    all_rulings: Annotated[bool, typer.Option("--all", help="What is denied, too.")] = False,
) -> None:
    """Say what a caller may do in a tenant, and by which rule; exits 1 where nothing."""
    question = Question(
        caller=caller,
        tenant=tenant,
        owner=owner,
        label=label,
        provider=provider,
        oauth_client=oauth_client,
        grant_id=grant,
        secret=secret,
        scopes=tuple(scope or ()),
    )
    try:
        rulings = explain(file, question)
    except PolicyInvalid as error:
        fail(str(error))
    shown = [ruling for ruling in rulings if ruling.allowed or all_rulings]
    if not shown:
        fail(f"{caller} may do nothing of this in tenants/{tenant}")
    show_list(
        "rulings",
        ("PERMISSION", "MAY", "RULE", "ON"),
        shown,
        lambda one: (one.permission, "yes" if one.allowed else "no", one.rule, one.resource),
    )
