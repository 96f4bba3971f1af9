"""``App``: groups of commands that all take ``--output`` and say what they print as JSON."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from vault_service.cli.output import Output, chosen

OutputOption = Annotated[
    Output,
    typer.Option(
        "--output",
        envvar="TOKENVAULT_OUTPUT",
        help="text for people, json for programs; errors too, on stderr.",
    ),
]


@dataclass(frozen=True, slots=True)
class Shape:
    """What a command prints as JSON: objects of ``kinds``, one a line, in this order.

    With ``list_name`` it is one object with a list of that name, whose items are of the kind.
    """

    kinds: tuple[type, ...]
    list_name: str = ""


_shapes: dict[Callable[..., Any], Shape] = {}


def one(*kinds: type) -> Shape:
    """One object of each kind, one a line."""
    return Shape(kinds)


def many(list_name: str, kind: type) -> Shape:
    """``{list_name: [...]}``."""
    return Shape((kind,), list_name)


class App(typer.Typer):
    """A group of commands, added with ``does``."""

    def __init__(self, about: str = "") -> None:
        super().__init__(
            help=about or None,
            no_args_is_help=True,
            pretty_exceptions_enable=False,
        )

    def does(self, name: str, shape: Shape) -> Callable[[Callable[..., None]], Callable[..., None]]:
        """Register a function as a command that takes ``--output`` too."""

        def add(work: Callable[..., None]) -> Callable[..., None]:
            _shapes[work] = shape
            self.command(name)(_with_output(work))
            return work

        return add


@dataclass(frozen=True, slots=True)
class Command:
    """One command of the tree."""

    path: tuple[str, ...]  # ("secret", "put")
    parameters: tuple[inspect.Parameter, ...]  # as Python has them, --output last
    shape: Shape


def commands(app: typer.Typer, path: tuple[str, ...] = ()) -> Iterator[Command]:
    """All commands below ``app``; KeyError for one that was not added with ``does``."""
    for info in app.registered_commands:
        assert info.callback is not None
        assert info.name is not None
        parameters = tuple(inspect.signature(info.callback).parameters.values())
        shape = _shapes[inspect.unwrap(info.callback)]
        yield Command((*path, info.name), parameters, shape)
    for group in app.registered_groups:
        assert group.typer_instance is not None
        assert group.name is not None
        yield from commands(group.typer_instance, (*path, group.name))


def _with_output(work: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(work)
    def run(**arguments: Any) -> None:
        chosen.set(arguments.pop("output"))
        work(**arguments)

    taken = inspect.signature(work, eval_str=True)
    output = inspect.Parameter(
        "output", inspect.Parameter.KEYWORD_ONLY, default=Output.TEXT, annotation=OutputOption
    )
    signature = taken.replace(parameters=[*taken.parameters.values(), output])
    run.__signature__ = signature  # type: ignore[attr-defined]  # what typer reads
    return run
