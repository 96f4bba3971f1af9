"""What import-linter cannot say; the layers themselves stand in pyproject.toml."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT, shown

SERVICE = ROOT / "vault_service"
# They reach the disk, the network, the log or the process: the domain is values and rules.
NOT_PURE = {
    "asyncio",
    "http",
    "logging",
    "os",
    "pathlib",
    "random",
    "socket",
    "subprocess",
    "threading",
}


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{shown(path)}:{node.lineno} imports relatively"
            yield node.lineno, node.module or ""
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def _foreign(path: Path) -> list[str]:
    return [
        f"{shown(path)}:{line} {name}"
        for line, name in _imports(path)
        if not name.startswith("vault_service.")
        and (name.split(".")[0] in NOT_PURE or name.split(".")[0] not in sys.stdlib_module_names)
    ]


@pytest.mark.parametrize("path", sorted(SERVICE.glob("domain/*.py")), ids=lambda path: path.name)
def test_domain_is_pure(path: Path) -> None:
    """The domain uses the standard library only, does no I/O and never awaits."""
    tree = ast.parse(path.read_text("utf-8"))
    assert _foreign(path) == []
    assert not any(isinstance(node, ast.AsyncFunctionDef | ast.Await) for node in ast.walk(tree))


def test_ports_need_no_library() -> None:
    """The contracts name no library: a fake needs none either."""
    assert _foreign(SERVICE / "ports" / "__init__.py") == []


def test_no_http_client_of_the_standard_library() -> None:
    """Only the demo's browser, which plays the person at the keyboard, goes around egress."""
    used = {
        shown(path)
        for path in SERVICE.glob("**/*.py")
        for _, name in _imports(path)
        if name.startswith(("http.client", "urllib.request"))
    }
    assert used <= {"vault_service/embedded/browser.py"}


def test_demo_provider_is_no_http_client() -> None:
    """Of aiohttp the demo provider imports the server only; the client belongs to egress."""
    found = {
        name
        for path in SERVICE.glob("embedded/**/*.py")
        for _, name in _imports(path)
        if name.split(".")[0] == "aiohttp"
    }
    assert all(
        name in {"aiohttp", "aiohttp.web"} or name.startswith("aiohttp.web.") for name in found
    )
    assert not any(
        isinstance(node, ast.Attribute) and node.attr == "ClientSession"
        for path in SERVICE.glob("embedded/**/*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
    )
