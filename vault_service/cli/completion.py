"""completion: the script with which a shell completes our commands."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer
from typer.completion import get_completion_script  # type: ignore[attr-defined]  # no __all__

from vault_service.cli.app import App, one
from vault_service.cli.output import show

_PROGRAM = "tokenvault"


class Shell(StrEnum):
    """Shells that are known."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


@dataclass(frozen=True, slots=True)
class CompletionScript:
    """What a shell sources."""

    shell: str
    script: str


def add_to(app: App) -> None:
    """Register the command."""
    app.does("completion", one(CompletionScript))(completion)


def completion(shell: Annotated[Shell, typer.Argument(help="Your shell.")]) -> None:
    """Print the completion script of a shell: source it, or let --install-completion do it."""
    script = get_completion_script(
        prog_name=_PROGRAM, complete_var=f"_{_PROGRAM.upper()}_COMPLETE", shell=shell.value
    )
    show(CompletionScript(shell.value, script), script)
