"""Writes SyncTokenVaultClient from TokenVaultClient, so that each method is written once.

Without arguments it writes the file; with --check it fails when the file is stale. The tree of
the asynchronous class loses what only coroutines have; its words stay, but for the ones below.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[1]
_PACKAGE: Final = _ROOT / "clients" / "python" / "tokenvault_client"
SOURCE: Final = _PACKAGE / "client.py"
TARGET: Final = _PACKAGE / "sync_client.py"
SECRETS_SOURCE: Final = _PACKAGE / "_secrets.py"
SECRETS_TARGET: Final = _PACKAGE / "_sync_secrets.py"
EVENTS_SOURCE: Final = _PACKAGE / "_events.py"
EVENTS_TARGET: Final = _PACKAGE / "_sync_events.py"
ATTEMPTS_SOURCE: Final = _PACKAGE / "_attempts.py"
ATTEMPTS_TARGET: Final = _PACKAGE / "_sync_attempts.py"

_NAMES: Final = {
    "AsyncIterator": "Iterator",
    "TokenVaultClient": "SyncTokenVaultClient",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "tokenvault_client._aio": "tokenvault_client._sync",
    "tokenvault_client._attempts": "tokenvault_client._sync_attempts",
    "tokenvault_client._events": "tokenvault_client._sync_events",
    "tokenvault_client._secrets": "tokenvault_client._sync_secrets",
}
_WRAPPER: Final = "Awaitable"  # Awaitable[X] becomes X
# What a docstring says of coroutines, and of threads instead. Each must be found in its file.
_WORDS: Final = {
    "``TokenVaultClient``: the whole service as coroutines.": (
        "``SyncTokenVaultClient``: the whole service as functions that wait.\n\n"
        "Made from client.py by tools/sync_client.py (`make client`): change it there.\n"
    ),
    "Make one per process and event loop, and keep it.": (
        "Make one per process, after it\n"
        "    forked, and keep it; any number of threads may use it at once."
    ),
}
_SECRET_WORDS: Final = {
    "The methods of the client for secrets, and the walk over pages that all its lists share.": (
        "The methods of the synchronous client for secrets, and the walk over pages.\n\n"
        "Made from _secrets.py by tools/sync_client.py (`make client`): change it there.\n"
    ),
    "Part of ``TokenVaultClient``.": "Part of ``SyncTokenVaultClient``.",
}


_EVENT_WORDS: Final = {
    "The methods of the client for what happens to grants: watching, and webhooks.": (
        "The methods of the synchronous client for what happens to grants.\n\n"
        "Made from _events.py by tools/sync_client.py (`make client`): change it there.\n"
    ),
    "Part of ``TokenVaultClient``.": "Part of ``SyncTokenVaultClient``.",
}


_ATTEMPT_WORDS: Final = {
    "The methods of the client for refresh attempts that are in doubt.": (
        "The methods of the synchronous client for refresh attempts.\n\n"
        "Made from _attempts.py by tools/sync_client.py (`make client`): change it there.\n"
    ),
    "Part of ``TokenVaultClient``.": "Part of ``SyncTokenVaultClient``.",
}


class _Waiting(ast.NodeTransformer):
    """The same code without coroutines."""

    def __init__(self, words: Mapping[str, str]) -> None:
        self._words = words
        self.used_words: set[str] = set()

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        plain = ast.FunctionDef(**{name: getattr(node, name) for name in node._fields})
        return self.visit_FunctionDef(ast.copy_location(plain, node))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.name = _NAMES.get(node.name, node.name)
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.name = _NAMES.get(node.name, node.name)
        return self.generic_visit(node)

    def visit_AsyncFor(self, node: ast.AsyncFor) -> ast.AST:
        plain = ast.For(**{name: getattr(node, name) for name in node._fields})
        return self.generic_visit(ast.copy_location(plain, node))

    def visit_AsyncWith(self, node: ast.AsyncWith) -> ast.AST:
        plain = ast.With(**{name: getattr(node, name) for name in node._fields})
        return self.generic_visit(ast.copy_location(plain, node))

    def visit_Await(self, node: ast.Await) -> ast.AST:
        waited: ast.AST = self.visit(node.value)
        return waited

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        node.is_async = 0
        return self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id == _WRAPPER:
            inner: ast.AST = self.visit(node.slice)
            return inner
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = _NAMES.get(node.id, node.id)
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        node.module = _NAMES.get(node.module or "", node.module)
        kept = [alias for alias in node.names if alias.name != _WRAPPER]
        for alias in kept:
            alias.name = _NAMES.get(alias.name, alias.name)
        node.names = sorted(kept, key=lambda alias: alias.name)
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, str):
            for words, instead in self._words.items():
                if words in node.value:
                    node.value = node.value.replace(words, instead)
                    self.used_words.add(words)
        return node


def made() -> str:
    """The text of the synchronous client. Raises ValueError where a word is no longer there."""
    return _made(SOURCE, TARGET, _WORDS)


def made_secrets() -> str:
    """The text of its methods for secrets. Raises ValueError as ``made``."""
    return _made(SECRETS_SOURCE, SECRETS_TARGET, _SECRET_WORDS)


def made_events() -> str:
    """The text of its methods for events. Raises ValueError as ``made``."""
    return _made(EVENTS_SOURCE, EVENTS_TARGET, _EVENT_WORDS)


def made_attempts() -> str:
    """The text of its methods for attempts. Raises ValueError as ``made``."""
    return _made(ATTEMPTS_SOURCE, ATTEMPTS_TARGET, _ATTEMPT_WORDS)


def _made(source: Path, target: Path, words: Mapping[str, str]) -> str:
    waiting = _Waiting(words)
    tree = ast.fix_missing_locations(waiting.visit(ast.parse(source.read_text("utf-8"))))
    if missing := words.keys() - waiting.used_words:
        raise ValueError(f"{source.name} no longer says {sorted(missing)}")
    # Imports in order, and `yield from` where `async for` had to be a loop.
    select = ("check", "--fix", "--unsafe-fixes", "--select=I,UP028")
    tidy = _ruff(*select, target=target, text=ast.unparse(tree))
    return _ruff("format", target=target, text=tidy)


def _ruff(*arguments: str, target: Path, text: str) -> str:
    ruff = Path(sys.executable).with_name("ruff")
    done = subprocess.run(
        [ruff, *arguments, "--stdin-filename", target, "-"],
        input=text,
        capture_output=True,
        text=True,
        check=True,
        cwd=_ROOT,
    )
    return done.stdout


def main(arguments: Sequence[str]) -> int:
    """Exit status 1 when --check finds a file stale."""
    stale = 0
    texts = {
        TARGET: made(),
        SECRETS_TARGET: made_secrets(),
        EVENTS_TARGET: made_events(),
        ATTEMPTS_TARGET: made_attempts(),
    }
    for target, text in texts.items():
        if "--check" not in arguments:
            target.write_text(text, "utf-8")
        elif not target.exists() or target.read_text("utf-8") != text:
            print(f"{target.relative_to(_ROOT)} is stale: run make client", file=sys.stderr)
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
