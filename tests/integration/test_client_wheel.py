"""The client's wheel, alone in a clean environment, against a running service."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.clean_venv import CleanVenv, build_wheel
from tests.support.demo import Demo, running_demo
from tests.support.vault import RealVault

_ROOT = Path(__file__).parents[2]
_CLIENT = _ROOT / "clients" / "python"
_REQUIRED = ["grpcio", "grpcio-status", "protobuf"]
_EXAMPLES = re.findall(r"```python\n(.*?)```", (_CLIENT / "README.md").read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left in the repository."""
    folder = tmp_path_factory.mktemp("wheel")
    source = shutil.copytree(
        _CLIENT, folder / "source", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
    )
    return build_wheel(source, folder)


@pytest.fixture(scope="module")
def clean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> CleanVenv:
    """The wheel and what it asks for."""
    made = CleanVenv(tmp_path_factory.mktemp("clean") / "venv")
    made.install(wheel, _REQUIRED)
    return made


@pytest.fixture(scope="module")
def demo(real_vault: RealVault) -> Iterator[Demo]:
    """A service with the demo provider."""
    with running_demo(real_vault, "wheel", access_life_s=60) as running:
        yield running


def test_the_wheel_holds_the_client_and_nothing_else(wheel: Path) -> None:
    """Both packages with their py.typed and stubs, the README as description, no tests."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (name for name in names if name.endswith("METADATA"))
        text = archive.read(metadata).decode()
    tops = {name.split("/")[0] for name in names}
    version = tomllib.loads((_CLIENT / "pyproject.toml").read_text())["project"]["version"]
    assert tops == {
        "tokenvault",
        "tokenvault_client",
        f"tokenvault_client-{version}.dist-info",
    }
    assert {"tokenvault/v1/py.typed", "tokenvault_client/py.typed"} <= names
    assert "tokenvault/v1/token_service_pb2.pyi" in names
    assert "# tokenvault-client" in text
    required = re.findall(r"^Requires-Dist: ([a-z-]+)", text, re.MULTILINE)
    assert sorted(required) == _REQUIRED


def test_both_clients_of_the_wheel_call_a_running_service(
    clean: CleanVenv, demo: Demo, tmp_path: Path
) -> None:
    """Tokens, secrets and a refusal arrive with nothing of this repository but the wheel."""
    alias = demo.consent("wheel-owner", label="wheel")
    script = Path(shutil.copy(_ROOT / "tests" / "integration" / "wheel_caller.py", tmp_path))
    files = [str(demo.clients[name]) for name in ("calendar-app", "thief")]
    found: dict[str, Any] = json.loads(clean.run(script, *files, alias))
    assert Path(found["imported_from"]).is_relative_to(clean.packages)
    assert set(found["installed"]) == {
        "googleapis-common-protos",
        "grpcio",
        "grpcio-status",
        "protobuf",
        "tokenvault-client",
        "typing_extensions",
    }
    assert found["strangers"] == []
    assert found["async"]["state"] == "ACTIVE"
    assert found["async"]["secret"] == found["sync"]["secret"] == "from the wheel"
    assert found["sync"]["values"] == [found["async"]["value"]]
    assert found["sync"]["refusal"] == "CALLER_NOT_ALLOWED"


@pytest.mark.parametrize("example", _EXAMPLES[:2], ids=["async", "sync"])
def test_the_first_examples_of_the_readme_run(
    example: str, clean: CleanVenv, demo: Demo, tmp_path: Path
) -> None:
    """The two opening examples do what they say, beside a client.toml, word for word."""
    demo.consent("user-42", label="calendar")
    shutil.copyfile(demo.clients["calendar-app"], tmp_path / "client.toml")
    script = tmp_path / "example.py"
    # The tenant is the demo's; what it has got is shown.
    text = example.replace('"acme"', '"demo"')
    text = re.sub(r"^( *)(headers = .*)$", r"\1\2\n\1print(headers)", text, flags=re.MULTILINE)
    script.write_text(text)
    assert clean.run(script).startswith("{'Authorization': 'Bearer ")


_TYPED = """
from tokenvault_client import Grant, SyncTokenVaultClient, TokenVaultClient


async def one(vault: TokenVaultClient) -> Grant:
    async for grant in vault.iter_grants("tenants/demo"):
        return grant
    return await vault.get_grant("g")


def other(vault: SyncTokenVaultClient) -> Grant:
    for grant in vault.iter_grants("tenants/demo"):
        return grant
    return vault.get_grant("g")
"""
_WRONG = """

def wrong(vault: SyncTokenVaultClient) -> None:
    vault.get_grant("g").no_such_field
    vault.get_access_token()
    vault.get_secret_value(7)
"""


def test_the_wheel_is_typed(clean: CleanVenv, tmp_path: Path) -> None:
    """mypy --strict reads the installed types: right calls pass, each wrong one is found."""
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text(_TYPED)
    bad.write_text(_TYPED + _WRONG)
    assert _mypy(clean, good) == (0, [])
    status, errors = _mypy(clean, bad)
    assert status == 1
    assert errors == ["attr-defined", "call-overload", "arg-type"]


def _mypy(clean: CleanVenv, file: Path) -> tuple[int, list[str]]:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--config-file", "/dev/null"),
            *("--python-executable", str(clean.python), "--cache-dir", str(file.parent / "cache")),
            str(file),
        ],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        cwd=file.parent,
        env={"PATH": "/usr/bin:/bin"},
    )
    return done.returncode, re.findall(r"error: .*\[([a-z-]+)\]$", done.stdout, re.MULTILINE)
