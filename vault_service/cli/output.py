"""What commands print: tables for people, and errors that say what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

EXIT_REFUSED = 1
EXIT_USAGE = 2
EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows; cells are text, never markup."""
    drawn = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        drawn.add_row(*(escape(cell) for cell in row))
    out.print(drawn)


def fail(message: str, code: int = EXIT_REFUSED) -> NoReturn:
    """Print one error and leave."""
    err.print(f"[bold red]error:[/] {escape(message)}", soft_wrap=True)
    raise typer.Exit(code)
