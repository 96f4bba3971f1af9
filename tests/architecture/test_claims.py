"""docs/claims.md: each promise names tests that exist."""

from __future__ import annotations

import ast
import re

import pytest

from tests.architecture.sources import ROOT

PAGE = (ROOT / "docs" / "claims.md").read_text("utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| -")]
PROMISES = [row for row in ROWS if not row.startswith("| promise ")]


@pytest.mark.parametrize("row", PROMISES, ids=lambda row: row.split("|")[1].strip()[:60])
def test_each_promise_names_tests_that_exist(row: str) -> None:
    """A promise has three columns, and its last one names files and functions that are there."""
    _, promise, place, tests, _ = row.split("|")
    assert promise.strip()
    assert place.strip()
    named = re.findall(r"`([^`]+)`", tests)
    assert named
    for name in named:
        path, _, function = name.partition("::")
        text = (ROOT / path).read_text("utf-8")
        if function:
            defined = {
                node.name
                for node in ast.walk(ast.parse(text))
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            }
            assert function in defined, name


def test_the_readme_points_to_its_promises() -> None:
    """The README links the page of promises."""
    assert "docs/claims.md" in (ROOT / "README.md").read_text("utf-8")
