"""What commands print: tables for people, and errors that say what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NoReturn

import typer
from rich.console import Console
from rich.markup import escape

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

EXIT_REFUSED = 1
EXIT_USAGE = 2
EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows in full, however narrow the terminal is: names are there to be copied."""
    lines = [tuple(columns), *(tuple(row) for row in rows)]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    for number, line in enumerate(lines):
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        style = "bold" if number == 0 else None
        out.print(text.rstrip(), style=style, markup=False, soft_wrap=True)


def fail(message: str, code: int = EXIT_REFUSED) -> NoReturn:
    """Print one error and leave."""
    err.print(f"[bold red]error:[/] {escape(message)}", soft_wrap=True)
    raise typer.Exit(code)
