"""doctor: what is wrong with a set-up, and what to do about it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated

import typer

from vault_service.cli.app import App, one
from vault_service.cli.operate import ConfigOption, load_or_fail
from vault_service.cli.output import EXIT_CONFIG, EXIT_REFUSED, out, show, working
from vault_service.domain.finding import Finding, Verdict

_STYLES = {
    Verdict.OK: "green",
    Verdict.WARNING: "yellow",
    Verdict.FAILED: "bold red",
    Verdict.SKIPPED: "dim",
}


@dataclass(frozen=True, slots=True)
class Examination:
    """All checks; ``verdict`` is FAILED where one failed, WARNING where one warns, else OK."""

    verdict: Verdict
    checks: tuple[Finding, ...]


def add_to(app: App) -> None:
    """Register the command."""
    app.does("doctor", one(Examination))(doctor)


def doctor(
    config: ConfigOption = None,
    tenant: Annotated[
        list[str] | None,
        typer.Option(help="Look at this tenant too, though it has no grant yet; repeatable."),
    ] = None,
    providers: Annotated[
        bool, typer.Option("--providers", help="Ask the hosts of the providers too.")
    ] = False,
    limit_s: Annotated[
        float, typer.Option("--timeout", min=1, max=300, help="Seconds for each server.")
    ] = 10.0,
) -> None:
    """Look at everything that `serve` needs, and say what to do about what is wrong.

    Exits 0 when nothing failed (warnings are allowed), 1 when a check failed, 78 when the
    configuration cannot be used. Changes nothing, and prints no secret.
    """
    # Here and not above: half a second of imports that no other command needs.
    from vault_service.app.doctor import Doctor

    loaded = load_or_fail(config)
    with working("looking at files, PostgreSQL, transit ..."):
        patient = Doctor(loaded, limit_s=limit_s)
        found = asyncio.run(patient.examine(tenant or (), providers))
    examination = Examination(_worst(found), tuple(found))
    show(examination, lambda: _tell(examination))
    if not patient.configuration_is_sound:
        raise typer.Exit(EXIT_CONFIG)
    if examination.verdict is Verdict.FAILED:
        raise typer.Exit(EXIT_REFUSED)


def _worst(found: list[Finding]) -> Verdict:
    verdicts = {finding.verdict for finding in found}
    return next(
        (worst for worst in (Verdict.FAILED, Verdict.WARNING) if worst in verdicts), Verdict.OK
    )


def _tell(examination: Examination) -> None:
    width = max(len(finding.check) for finding in examination.checks)
    for finding in examination.checks:
        verdict = finding.verdict.value.ljust(7)
        out.print(verdict, style=_STYLES[finding.verdict], end="  ")
        out.print(f"{finding.check.ljust(width)}  {finding.found}", markup=False, soft_wrap=True)
        if finding.advice:
            out.print(f"{'':9}→ {finding.advice}", markup=False, soft_wrap=True)
    counted = {
        verdict: sum(finding.verdict is verdict for finding in examination.checks)
        for verdict in Verdict
    }
    said = ", ".join(f"{count} {verdict.value}" for verdict, count in counted.items() if count)
    out.print(said, markup=False)
