"""Rules for the tests themselves."""

from __future__ import annotations

import ast

from tests.architecture.sources import ROOT, python_files, shown


def test_each_test_says_its_behaviour() -> None:
    """Every test function has a docstring."""
    silent = [
        f"{shown(path)}:{node.lineno} {node.name}"
        for path in python_files()
        if ROOT / "tests" in path.parents
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert silent == []
