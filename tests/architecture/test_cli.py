"""The command line as a whole: JSON everywhere, and no secret in arguments."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest

from vault_service.cli.app import Command, commands
from vault_service.cli.main import app

COMMANDS = list(commands(app))
# What stands in arguments stands in the shell's history and the list of processes. Whoever adds a
# text here has made sure that it is no secret; secrets come from a file, stdin or a prompt.
TEXTS = {
    "tenant", "owner", "label", "secret", "grant", "grant_id", "provider", "oauth_client",
    "client_id", "issuer", "authorization_endpoint", "token_endpoint", "revocation_endpoint",
    "subject_from", "param", "redirect_uri", "scope", "etag", "request_id", "expire_time",
    "caller", "preset", "region", "variable", "webhook", "url", "kind", "event", "cursor",
    "fingerprint", "allow_provider", "token_param", "why",
    "attempt", "reason",
}  # fmt: skip
SECRET_WORDS = re.compile(r"secret|password|token|value|payload|credential|key|code")
# Texts whose names have such a word, and what they are.
NAMES_OF_THINGS = {
    "secret": "the id of a secret",
    "token_endpoint": "a URL",
    "token_param": "a parameter of token requests; those that are secrets are refused",
}


def _kind(parameter: inspect.Parameter) -> Any:
    """The Python type of one value: list[str] | None is str."""
    kind = parameter.annotation
    while get_args(kind):
        inner = [one for one in get_args(kind) if one is not type(None)]
        kind = inner[0]
    return kind


def _shown(command: Command) -> str:
    return " ".join(command.path)


@pytest.mark.parametrize("command", COMMANDS, ids=_shown)
def test_no_argument_takes_a_secret(command: Command) -> None:
    """Texts are known to be none; what is named like a secret is a file or a flag."""
    for parameter in command.parameters:
        kind = _kind(parameter)
        if kind is str:
            assert parameter.name in TEXTS, f"{_shown(command)}: is {parameter.name} a secret?"
            if SECRET_WORDS.search(parameter.name):
                assert parameter.name in NAMES_OF_THINGS
        elif SECRET_WORDS.search(parameter.name):
            assert kind in (Path, bool), f"{_shown(command)}: {parameter.name}"


def test_the_list_of_texts_has_no_leftovers() -> None:
    """Each name on the list is still an argument of a command."""
    used = {one.name for each in COMMANDS for one in each.parameters if _kind(one) is str}
    assert used == TEXTS


@pytest.mark.parametrize("command", COMMANDS, ids=_shown)
def test_every_command_has_a_json_form(command: Command) -> None:
    """Each takes --output, and says of which dataclasses its JSON is made."""
    assert command.parameters[-1].name == "output"
    assert command.shape.kinds
    assert all(hasattr(kind, "__dataclass_fields__") for kind in command.shape.kinds)


def test_parameters_are_annotated() -> None:
    """What is looked at here is what typer reads: every parameter is an Annotated."""
    for command in COMMANDS:
        for parameter in command.parameters:
            annotation = parameter.annotation
            assert get_origin(annotation) is not None or get_args(annotation), _shown(command)
            assert annotation.__metadata__, f"{_shown(command)}: {parameter.name}"
