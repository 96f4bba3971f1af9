"""The client's README says what the client does."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

import tokenvault_client as tv
from tokenvault_client._reasons import KIND_BY_REASON

README = (Path(__file__).parents[2] / "clients/python/README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)


def test_the_table_of_errors_is_the_clients() -> None:
    """Each reason stands in the row of the class that is raised for it, and only there."""
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", README, re.MULTILINE)
    told = [(reason, kind) for kind, when in rows for reason in re.findall(r"[A-Z_]{4,}", when)]
    assert len(told) == len(dict(told))
    assert dict(told) == {reason: kind.__name__ for reason, kind in KIND_BY_REASON.items()}


def test_every_method_and_helper_is_told() -> None:
    """The table of methods has each public method of the client and each name helper."""
    methods = {name for name in dir(tv.TokenVaultClient) if not name.startswith("_")}
    helpers = {name for name in tv.__all__ if name.endswith("_name")}
    told = set(re.findall(r"`(\w+)`", README.split("## What it can do")[1].split("##")[0]))
    assert (methods - {"close", "from_file"}) | helpers <= told


@pytest.mark.parametrize("code", [code for language, code in BLOCKS if language == "python"])
def test_examples_use_what_exists(code: str) -> None:
    """Examples parse, and import only what the package exports."""
    imported = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom)]
    names = {alias.name for node in imported for alias in node.names}
    assert names <= set(tv.__all__)
    called = set(re.findall(r"vault\.(\w+)\(", code))
    assert called <= set(dir(tv.TokenVaultClient))


def test_the_toml_is_complete() -> None:
    """The example configuration has the settings that are needed."""
    (text,) = (code for language, code in BLOCKS if language == "toml")
    assert {"target", "ca_file", "certificate_file", "key_file"} <= tomllib.loads(text).keys()
