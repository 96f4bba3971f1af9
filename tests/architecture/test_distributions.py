"""The two distributions and their locked requirements."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.architecture.sources import ROOT

LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


def _project(path: Path) -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))["project"]
    return project


def _name(requirement: str) -> str:
    return re.split(r"[<>=!~;\[ ]", requirement, maxsplit=1)[0].lower()


def _locked(path: Path) -> dict[str, str]:
    """Requirement name to its entry, hashes included."""
    entries = path.read_text("utf-8").replace("\\\n", " ").splitlines()
    return {_name(entry): entry for entry in entries if entry.strip()}


def test_client_needs_grpc_and_nothing_else() -> None:
    """Application servers install the client: it brings grpcio, protobuf and grpcio-status only."""
    project = _project(ROOT / "clients" / "python" / "pyproject.toml")
    assert {_name(each) for each in project["dependencies"]} == {
        "grpcio",
        "grpcio-status",
        "protobuf",
    }
    assert "optional-dependencies" not in project


def test_service_depends_on_this_client() -> None:
    """The service asks for the client's own version: the two are released together."""
    client = _project(ROOT / "clients" / "python" / "pyproject.toml")
    service = _project(ROOT / "pyproject.toml")
    assert f"tokenvault-client=={client['version']}" in service["dependencies"]
    assert client["version"] == service["version"]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_locked_requirement_has_hashes(lock: Path) -> None:
    """Each locked requirement is one version with the hashes of its files."""
    entries = _locked(lock)
    assert entries
    assert [e for e in entries.values() if not re.match(r"\S+==\S+ .*--hash=sha256:", e)] == []


@pytest.mark.parametrize(
    ("lock", "extras"), [("runtime.txt", ["embedded"]), ("dev.txt", ["embedded", "dev"])]
)
def test_locks_cover_the_distributions(lock: str, extras: list[str]) -> None:
    """Whatever the distributions ask for is locked, build backends included."""
    project = _project(ROOT / "pyproject.toml")
    wanted = [*project["dependencies"], "hatchling"]
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    missing = {_name(each) for each in wanted} - set(_locked(ROOT / "requirements" / lock))
    assert missing == {"tokenvault-client"}


def test_locks_agree() -> None:
    """What make run installs are the same files that the tests run on."""
    dev = _locked(ROOT / "requirements" / "dev.txt")
    runtime = _locked(ROOT / "requirements" / "runtime.txt")
    assert {name: entry for name, entry in runtime.items() if dev.get(name) != entry} == {}
