"""What the code logs stands on the allow-list, so that no line loses a field by surprise."""

from __future__ import annotations

import ast

from tests.architecture.sources import ROOT, python_files, shown
from vault_service.telemetry import ALLOWED_FIELDS

_METHODS = {"bind", "debug", "info", "warning", "error"}


def _shows_fields(call: ast.Call) -> bool:
    """A line of a log, or a span with its attributes."""
    if isinstance(call.func, ast.Name):
        return call.func.id == "child"
    if not isinstance(call.func, ast.Attribute):
        return False
    of_log = isinstance(call.func.value, ast.Name) and call.func.value.id in ("_log", "log")
    return call.func.attr == "note" or (of_log and call.func.attr in _METHODS)


def test_log_calls_use_allowed_fields() -> None:
    """Every field named in a call on a module's ``_log``, in ``child`` and in a span's ``note`` is
    on telemetry's allow-list."""
    unknown = [
        f"{shown(path)}:{call.lineno} {keyword.arg}"
        for path in python_files()
        if ROOT / "vault_service" in path.parents
        for call in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(call, ast.Call) and _shows_fields(call)
        for keyword in call.keywords
        if keyword.arg is not None and keyword.arg not in ALLOWED_FIELDS | {"kind"}
    ]
    assert unknown == []
