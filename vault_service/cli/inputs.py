"""How secrets come in: from a prompt, a file or stdin, never from arguments.

Arguments stand in the shell's history and in the list of processes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from vault_service.cli.output import EXIT_USAGE, fail

CLIENT_SECRET_MAX_BYTES = 4_096
VALUE_MAX_BYTES = 65_536

SecretFileOption = Annotated[
    Path | None, typer.Option(help="File with the client secret; '-' is stdin. Else asked.")
]
ValueFileOption = Annotated[
    Path | None,
    typer.Option("--file", help="File with the value, byte for byte; '-' is stdin. Else asked."),
]


def client_secret(file: Path | None) -> str:
    """A text of one line; its end of line is not part of it."""
    if file is None:
        return str(typer.prompt("Client secret", hide_input=True, err=True))
    try:
        read = _read(file, CLIENT_SECRET_MAX_BYTES + 2)
        text = read.decode().removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError):
        fail(f"{file}: cannot be read as text", EXIT_USAGE)
    if not 0 < len(text.encode()) <= CLIENT_SECRET_MAX_BYTES:
        fail(f"{file}: a client secret has 1 to {CLIENT_SECRET_MAX_BYTES} bytes", EXIT_USAGE)
    return text


def value(file: Path | None, *, trim: bool) -> bytes:
    """Any bytes; ``trim`` takes one end of line off."""
    if file is None:
        asked = typer.prompt("Value", hide_input=True, confirmation_prompt=True, err=True)
        return str(asked).encode()
    try:
        read = _read(file, VALUE_MAX_BYTES + 3)
    except OSError as error:
        fail(f"{file}: cannot be read: {error.strerror}", EXIT_USAGE)
    if trim:
        read = read.removesuffix(b"\n").removesuffix(b"\r")
    if not 0 < len(read) <= VALUE_MAX_BYTES:
        fail(f"{file}: a value has 1 to {VALUE_MAX_BYTES} bytes", EXIT_USAGE)
    return read


def pairs(option: str, said: list[str]) -> dict[str, str]:
    """Of a repeated option name=value; another shape is an error of usage."""
    found = dict(one.partition("=")[::2] for one in said)
    if not all(found) or any("=" not in one for one in said):
        fail(f"{option} takes name=value", EXIT_USAGE)
    return found


def _read(file: Path, most: int) -> bytes:
    if str(file) == "-":
        return sys.stdin.buffer.read(most)
    with file.open("rb") as source:
        return source.read(most)
