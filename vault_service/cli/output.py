"""What commands print: tables for people, JSON for programs, and errors that say what to do.

Results go to stdout and everything else to stderr, so that a pipe gets results only. rich leaves
colours out where it does not write to a terminal or NO_COLOR is set.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NoReturn, TypeVar

import typer
from rich.console import Console
from rich.markup import escape

from vault_service.cli.plain import plain

T = TypeVar("T")

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

EXIT_REFUSED = 1
EXIT_USAGE = 2
EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h

_REASONS: Mapping[int, str] = {
    EXIT_REFUSED: "FAILED",
    EXIT_USAGE: "USAGE",
    EXIT_CONFIG: "CONFIGURATION_INVALID",
}


class Output(StrEnum):
    """How results and errors are written."""

    TEXT = "text"
    JSON = "json"


chosen: ContextVar[Output] = ContextVar("output", default=Output.TEXT)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a command failed. ``reason`` is the service's, or USAGE, CONFIGURATION_INVALID or FAILED
    where the command itself refused; ``code`` and ``request_id`` are "" then.
    """

    reason: str
    message: str
    code: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    retry_after_s: float | None = None
    request_id: str = ""


def wants_json() -> bool:
    """Whether JSON was asked for."""
    return chosen.get() is Output.JSON


def show(result: object, say: str | Callable[[], None], *, reveal: bool = False) -> None:
    """One result: a dataclass as one line of JSON, or what is said to people.

    Fields that are hidden from repr are secrets: they are left out unless ``reveal``.
    """
    if wants_json():
        typer.echo(json.dumps(plain(result, reveal=reveal), ensure_ascii=False))
    elif callable(say):
        say()
    else:
        out.print(say, markup=False, soft_wrap=True)


def show_list(
    name: str, columns: Sequence[str], items: Iterable[T], cells: Callable[[T], Sequence[str]]
) -> None:
    """Items: ``{name: [...]}`` in JSON, a table for people."""
    found = list(items)
    show_items(name, found, lambda: table(columns, map(cells, found)))


def show_items(name: str, items: Sequence[object], say: Callable[[], None]) -> None:
    """As ``show_list``, where a table is not all that people are told."""
    if wants_json():
        typer.echo(json.dumps({name: [plain(item) for item in items]}, ensure_ascii=False))
    else:
        say()


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows in full, however narrow the terminal is: names are there to be copied."""
    lines = [tuple(columns), *(tuple(row) for row in rows)]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    for number, line in enumerate(lines):
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        style = "bold" if number == 0 else None
        out.print(text.rstrip(), style=style, markup=False, soft_wrap=True)


@contextlib.contextmanager
def working(on: str) -> Iterator[Callable[[str], None]]:
    """Shows on stderr what long work is at, where that is a terminal; yields a way to say more."""
    if wants_json() or not err.is_terminal:
        yield lambda _: None
        return
    with err.status(escape(on)) as status:
        yield lambda text: status.update(escape(text))


def note(message: str) -> None:
    """Something a person at a terminal should know; never part of the result."""
    err.print(f"[yellow]note:[/] {escape(message)}", soft_wrap=True)


def confirm(question: str, *, yes: bool) -> None:
    """Ask on stderr unless ``yes``; ends the command where the answer is no. Programs are not
    asked: with JSON it is a mistake to leave --yes out.
    """
    if yes:
        return
    if wants_json():
        fail(f"{question} --yes is needed with --output json", EXIT_USAGE)
    typer.confirm(question, abort=True, err=True)


def fail(message: str, code: int = EXIT_REFUSED) -> NoReturn:
    """Print one error of the command itself and leave."""
    refuse(Failure(_REASONS[code], message), message, code)


def refuse(failure: Failure, message: str, code: int = EXIT_REFUSED) -> NoReturn:
    """Print one error and leave; ``message`` is what people read."""
    tell(failure, message)
    raise typer.Exit(code)


def tell(failure: Failure, message: str) -> None:
    """Print one error on stderr."""
    if wants_json():
        typer.echo(json.dumps({"error": plain(failure)}, ensure_ascii=False), err=True)
    else:
        err.print(f"[bold red]error:[/] {escape(message)}", soft_wrap=True)
