"""attempt: refreshes that are in doubt, and the way out where only a person can tell."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer

from tokenvault_client import (
    Attempt,
    AttemptAction,
    AttemptFilter,
    TokenVaultClient,
    WaitsFor,
    attempt_name,
    provider_name,
    tenant_name,
)
from vault_service.cli.app import App, many, one
from vault_service.cli.connection import ClientOption, TenantArgument, YesOption, call
from vault_service.cli.output import confirm, show, show_list

attempt_app = App("Refreshes that are in doubt.")


class Which(StrEnum):
    """Which attempts are listed."""

    IN_DOUBT = "in-doubt"
    WAITING = "waiting"
    ALL = "all"


class Action(StrEnum):
    """What is done with one."""

    REREAD = "reread"
    ACCEPT_AS_UNCHANGED = "accept-as-unchanged"
    GIVE_UP = "give-up"
    PRESENT_AGAIN = "present-again"


_MEANS = {
    Action.REREAD: "Read the kept answer again",
    Action.ACCEPT_AS_UNCHANGED: "The provider did not carry it out: keep the refresh token",
    Action.GIVE_UP: "Give it up, so that the user has to consent again",
    Action.PRESENT_AGAIN: "Present the refresh token once more",
}

AttemptArgument = Annotated[str, typer.Argument(help="UUID of the attempt.")]


@attempt_app.does("list", many("attempts", Attempt))
def attempt_list(
    tenant: TenantArgument,
    client: ClientOption,
    state: Annotated[Which, typer.Option(help="Which of them.")] = Which.IN_DOUBT,
    provider: Annotated[str, typer.Option(help="Of this provider only.")] = "",
) -> None:
    """List refresh attempts, oldest first: those in doubt, those that wait for somebody, or all."""
    of = provider_name(tenant, provider) if provider else ""
    which = AttemptFilter[state.name]

    async def work(vault: TokenVaultClient) -> list[Attempt]:
        parent = tenant_name(tenant)
        return [item async for item in vault.iter_attempts(parent, which=which, provider=of)]

    show_list(
        "attempts",
        ("ATTEMPT", "PROVIDER", "STATE", "WAITS", "AGE"),
        call(client, work),
        lambda item: (
            _id(item.name),
            _id(item.provider),
            item.state.name.removeprefix("RESOLVED_"),
            _waits(item),
            _age(item),
        ),
    )


@attempt_app.does("show", one(Attempt))
def attempt_show(tenant: TenantArgument, attempt: AttemptArgument, client: ClientOption) -> None:
    """Show one attempt, and what is known of its kept answer; never the answer itself."""
    name = attempt_name(tenant, attempt)
    found = call(client, lambda vault: vault.get_attempt(name))
    show(found, _lines(found))


@attempt_app.does("resolve", one(Attempt))
def attempt_resolve(
    tenant: TenantArgument,
    attempt: AttemptArgument,
    action: Annotated[Action, typer.Argument(help="What is done.")],
    client: ClientOption,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    etag: Annotated[str, typer.Option(help="Only while its etag is this one.")] = "",
    yes: YesOption = False,
) -> None:
    """Decide about an attempt that only a person can resolve."""
    name = attempt_name(tenant, attempt)
    confirm(f"{_MEANS[action]} ({name})?", yes=yes)
    order = AttemptAction[action.name]
    found = call(client, lambda vault: vault.resolve_attempt(name, order, etag=etag, reason=reason))
    show(found, _lines(found))


def _lines(found: Attempt) -> str:
    facts = {
        "attempt": found.name,
        "grant": found.grant,
        "provider": found.provider,
        "class": found.refresh_class.name,
        "state": found.state.name,
        "waits for": _waits(found),
        "age": _age(found),
        "presented again": str(found.retries),
        "next look": _moment(found.next_try_time),
        "spool": found.spool or "-",
        "reason": found.reason or "-",
        "etag": found.etag,
    }
    received = found.received
    if received is not None:
        kind = received.media_type or "no media type"
        facts["received"] = f"status {received.status}, {received.length} bytes, {kind}"
        facts["unreadable"] = received.why or "-"
        facts["odd"] = received.oddity or "-"
    return "\n".join(f"{name + ':':<17}{value}" for name, value in facts.items())


def _id(name: str) -> str:
    return name.rpartition("/")[2]


def _waits(found: Attempt) -> str:
    return "-" if found.waits_for is WaitsFor.UNSPECIFIED else found.waits_for.name


def _moment(value: datetime | None) -> str:
    return value.isoformat(timespec="seconds") if value else "-"


def _age(found: Attempt) -> str:
    if found.create_time is None:
        return "-"
    seconds = max(0, int((datetime.now(UTC) - found.create_time).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
