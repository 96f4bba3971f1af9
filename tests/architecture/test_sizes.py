"""Files and functions stay as long as one person can hold in mind."""

from __future__ import annotations

import ast

from tests.architecture.sources import python_files, shown

FILE_MAX_LINES = 400
FUNCTION_MAX_LINES = 70


def test_files_are_short() -> None:
    """No file that a person wrote has more than 400 lines."""
    lengths = {shown(path): len(path.read_text("utf-8").splitlines()) for path in python_files()}
    assert {name: lines for name, lines in lengths.items() if lines > FILE_MAX_LINES} == {}


def test_functions_are_short() -> None:
    """No function has more than 70 lines."""
    too_long = {
        f"{shown(path)}:{node.lineno} {node.name}": length
        for path in python_files()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_MAX_LINES
    }
    assert too_long == {}
