"""A virtual environment that holds a wheel and what it asks for, and nothing else; offline."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from importlib.metadata import distribution
from pathlib import Path


def build_wheel(project: Path, folder: Path) -> Path:
    """The wheel of a project, built by its own backend from this environment."""
    _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(project))
    (wheel,) = folder.glob("*.whl")
    return wheel


class CleanVenv:
    """Requirements are copied from this environment: the locked versions, without a network."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=False)
        self.python = folder / "bin" / "python"
        name = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.packages = folder / "lib" / name / "site-packages"

    def install(self, wheel: Path, requirements: Sequence[str]) -> None:
        """The wheel and the distributions that these need in turn."""
        for name in _closure(requirements):
            self._copy(name)
        _pip("--python", str(self.python), "install", "--no-deps", str(wheel))
        _pip("--python", str(self.python), "check")

    def run(self, script: Path, *arguments: str) -> str:
        """Runs a script without any of our paths or variables; its output."""
        done = subprocess.run(
            [str(self.python), "-I", str(script), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=script.parent,
            env={"PATH": os.defpath},
        )
        assert done.returncode == 0, f"{script.name} ended {done.returncode}: {done.stderr}"
        return done.stdout

    def _copy(self, name: str) -> None:
        root = Path(sysconfig.get_path("purelib"))
        for file in distribution(name).files or ():
            source = Path(str(file.locate()))
            if ".." in file.parts or source.suffix == ".pyc" or not source.exists():
                continue
            target = self.packages / source.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def _closure(requirements: Sequence[str]) -> set[str]:
    found: set[str] = set()
    wanted = list(requirements)
    while wanted:
        requirement, _, marker = wanted.pop().partition(";")
        name = re.split(r"[<>=!~\[( ]", requirement.strip(), maxsplit=1)[0]
        if "extra" not in marker and name not in found:
            found.add(name)
            wanted += distribution(name).requires or []
    return found


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check"]
    if "install" in arguments or "wheel" in arguments:
        arguments = (*arguments, "--no-index")
    done = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"pip {arguments} failed: {done.stdout}{done.stderr}"
