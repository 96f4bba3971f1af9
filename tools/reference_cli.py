"""The page of the command line, from the tree of commands."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import Enum
from typing import Any

import typer

from vault_service.cli.app import Command, commands
from vault_service.cli.main import app
from vault_service.cli.output import Failure

_HEAD = """# The command line

`tokenvault COMMAND --help` says the same at the terminal; `tokenvault completion SHELL` prints what
bash, zsh or fish source for completion.

Commands that call a running service take `--client FILE` (or `TOKENVAULT_CLIENT`): the TOML file of
[tokenvault-client](../../clients/python/README.md), whose certificate says who calls. Commands that
work on servers take `--config FILE` (or `TOKENVAULT_CONFIG`), see
[configuration.md](configuration.md).

**Secrets never stand in arguments**, where the shell's history and the list of processes would show
them: they come from a file, from stdin (`-`), or from a prompt that does not echo.

**Output.** Results go to stdout, everything else to stderr. With `--output json` (or
`TOKENVAULT_OUTPUT=json`) a result is one line of JSON, as told at each command; moments are RFC
3339 in UTC, bytes base64, and what has no value yet is null. Fields marked *secret* are there only
with `--show`. Programs are not asked: a command that would ask wants `--yes`. Colours are left out
where the output is no terminal, or `NO_COLOR` is set.

**Errors** are one line on stderr; with JSON `{"error": ...}` with a [Failure](#failure) in it.

| exit status | what happened |
| --- | --- |
| 0 | it is done; of `doctor`: nothing failed |
| 1 | refused or failed, with the service's reason; of `doctor`: a check failed |
| 2 | the arguments or a file named by them are wrong; nothing was asked |
| 78 | the configuration is wrong (EX_CONFIG of sysexits.h) |
| 130 | interrupted by Ctrl-C |

This page is made from the commands (`make docs`)."""
_OBJECTS = """
## Objects

What the JSON is made of. A value of a closed vocabulary that a newer service brings and this
release does not know is `UNSPECIFIED`."""
_PLAIN: Mapping[Any, str] = {
    str: "text",
    int: "number",
    float: "number",
    bool: "true or false",
    bytes: "base64",
    datetime: "time",
    types.NoneType: "null",
}


def command_line() -> str:
    """Every command with its parameters and its JSON, then the objects."""
    found, root = list(commands(app)), typer.main.get_command(app)
    lines = [_HEAD]
    for command in found:
        lines += _command(command, _at(root, command.path))
    lines.append(_OBJECTS)
    kinds: dict[type, None] = {Failure: None}
    for command in found:
        for kind in command.shape.kinds:
            _collect(kind, kinds)
    for kind in sorted(kinds, key=lambda one: one.__name__):
        lines += _object(kind)
    return "\n".join(lines).rstrip() + "\n"


def _at(node: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        node = node.commands[name]
    return node


def _command(command: Command, node: Any) -> Iterator[str]:
    name = " ".join(command.path)
    arguments = [one for one in node.params if one.param_type_name == "argument"]
    usage = " ".join(["tokenvault", name, *(one.name.upper() for one in arguments), "[OPTIONS]"])
    yield f"\n## {name}\n\n    {usage}\n\n{_said(node.help)}\n"
    yield "| parameter | default | what it is |\n| --- | --- | --- |"
    for parameter in node.params:
        if parameter.name != "output":
            yield _parameter(parameter)
    yield f"\nJSON: {_shape(command)}"


def _parameter(parameter: Any) -> str:
    is_argument = parameter.param_type_name == "argument"
    name = parameter.name.upper() if is_argument else ", ".join(parameter.opts)
    default = parameter.default
    if isinstance(default, Enum):
        default = default.value
    told = "none" if default in (None, "", ()) else "no" if default is False else f"`{default}`"
    shown = "needed" if parameter.required else told
    variable = f" Or `{parameter.envvar}`." if parameter.envvar else ""
    says = (parameter.help or "").replace("|", "\\|")
    choices = _choices(parameter)
    return f"| `{name}` | {shown} | {says}{choices}{variable} |"


def _choices(parameter: Any) -> str:
    kind = parameter.type_descriptor.annotation
    named = [one for one in (kind, *typing.get_args(kind)) if _is_enum(one)]
    return f" One of {', '.join(f'`{one.value}`' for one in named[0])}." if named else ""


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Enum)


def _shape(command: Command) -> str:
    kinds = [_linked(kind) for kind in command.shape.kinds]
    if command.shape.list_name:
        return f'`{{"{command.shape.list_name}": [...]}}`, each {kinds[0]}.'
    if len(kinds) > 1:
        return f"one line each: {', then '.join(kinds)}."
    return f"{kinds[0]}."


def _collect(kind: Any, into: dict[type, None]) -> None:
    for inner in (kind, *typing.get_args(kind)):
        if dataclasses.is_dataclass(inner) and isinstance(inner, type) and inner not in into:
            into[inner] = None
            for hint in typing.get_type_hints(inner).values():
                _collect(hint, into)


def _object(kind: type) -> Iterator[str]:
    yield f"\n### {kind.__name__}\n\n{_said(kind.__doc__)}\n"
    yield "| field | what it is |\n| --- | --- |"
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        secret = "" if field.repr else ", *secret*"
        yield f"| `{field.name}` | {_json_type(hints[field.name])}{secret} |"


def _json_type(hint: Any) -> str:
    if hint in _PLAIN:
        return _PLAIN[hint]
    if _is_enum(hint):
        return " ".join(f"`{one.value}`" for one in hint)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _linked(hint)
    inner = [_json_type(one) for one in typing.get_args(hint) if one is not Ellipsis]
    origin = typing.get_origin(hint)
    if origin in (tuple, list):
        return f"list of {inner[0]}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(inner)
    return f"object of {inner[1]} by {inner[0]}"


def _said(text: str | None) -> str:
    return inspect.cleandoc(text or "").replace("``", "`")


def _linked(kind: type) -> str:
    return f"[{kind.__name__}](#{kind.__name__.lower()})"
