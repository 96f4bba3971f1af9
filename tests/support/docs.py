"""The examples of the documentation, and how each kind of them is run.

console  commands after "$ ", the lines below each stand in its output, in this order; "..." is
         anything; a line that begins with "error:" says that the command fails
sh       a script that succeeds
python   is executed, with await at the top level
toml     is read
cedar    is a valid policy
text     is not run
"""

from __future__ import annotations

import contextlib
import contextvars
import io
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT
from vault_service.cli.main import main
from vault_service.telemetry import configure_logging

LANGUAGES = {"console", "sh", "python", "toml", "cedar", "sql", "text"}
_FENCE = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_LIMIT_S = 60


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    page: str
    line: int
    language: str
    text: str


def pages() -> list[Path]:
    """Every page that a person wrote, generated ones too."""
    found = [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("deploy/*.md"),
        *ROOT.glob("clients/python/*.md"),
        *ROOT.glob("examples/*/*.md"),
        *ROOT.glob("bench/*.md"),
    ]
    return sorted(found)


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, without their indentation."""
    text, name, found = page.read_text(), page.relative_to(ROOT).as_posix(), []
    for match in _FENCE.finditer(text):
        indent, language, body = match.groups()
        lines = [line.removeprefix(indent) for line in body.splitlines()]
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(name, line, language.strip(), "\n".join(lines)))
    return found


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a console block, and what its output has."""

    text: str
    wanted: tuple[str, ...]

    @property
    def fails(self) -> bool:
        """Whether it shall end with an error."""
        return any(line.startswith(("error:", "FAILED", '{"error"')) for line in self.wanted)

    def missing(self, output: str) -> str:
        """The first wanted line that the output does not have at its place; "" where none."""
        place = 0
        for line in self.wanted:
            pattern = r".*?".join(map(_loose, line.split("...")))
            found = re.compile(pattern).search(output, place)
            if found is None:
                return line
            place = found.end()
        return ""


def commands(block: Block) -> Iterator[Command]:
    """The commands of a console block."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, *wanted = re.sub(r"\\\n", " ", part).splitlines()
        yield Command(command, tuple(line for line in wanted if line.strip()))


def _loose(fragment: str) -> str:
    """Columns are as wide as their content: any space is some space."""
    return r"\s+".join(map(re.escape, fragment.split()))


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended; stdout and stderr are one."""

    status: int
    output: str


class Shell:
    """Runs the commands of one page in its folder; what is exported stays for the next ones."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self._folder = folder
        self._env = dict(env)

    def run(self, text: str) -> Done:
        """Run a script, or a command: our own are run in this process, which saves their start."""
        words = shlex.split(text)
        if words[0] == "export" and len(words) == 2:
            name, _, value = words[1].partition("=")
            self._env[name] = value
            return Done(0, "")
        # What hardens or replaces its process has one of its own.
        own = words[0] == "tokenvault" and words[1] not in ("doctor", "serve")
        if own and not re.search(r"[|<>$;&\n]", text):
            return self._here(words)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self._folder,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
        return Done(done.returncode, done.stdout)

    def _here(self, words: list[str]) -> Done:
        written = io.BytesIO()
        said = io.TextIOWrapper(written, encoding="utf-8", write_through=True)
        status = 0
        with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
            patch.chdir(self._folder)
            patch.setattr(sys, "argv", words)
            for name, value in self._env.items():
                patch.setenv(name, value)
            stack.enter_context(contextlib.redirect_stdout(said))
            stack.enter_context(contextlib.redirect_stderr(said))
            try:
                contextvars.copy_context().run(main)
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else int(end.code is not None)
            finally:
                configure_logging("info", json=True, stream=sys.__stderr__)
        said.flush()
        return Done(status, written.getvalue().decode())
