"""What the documentation names is there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from vault_service.config import faults, load

_ROOT = Path(__file__).parents[2]
_PAGES = [
    *_ROOT.glob("*.md"),
    *_ROOT.glob("docs/**/*.md"),
    *_ROOT.glob("deploy/*.md"),
    *_ROOT.glob("clients/python/*.md"),
    *_ROOT.glob("examples/*/*.md"),
]


def test_every_named_test_of_the_threat_model_exists() -> None:
    """Each row of the threat model names tests that are there."""
    text = (_ROOT / "docs" / "threat-model.md").read_text()
    named = set(re.findall(r"`(tests/[\w./-]+)`", text))
    assert named
    assert [name for name in sorted(named) if not (_ROOT / name).exists()] == []


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: str(page.relative_to(_ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """A link to a file of this repository has that file at its end."""
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("name", ["tokenvault.toml", "tokenvault-admin.toml"])
def test_deploy_examples_are_sound_but_for_their_files(name: str) -> None:
    """The examples have every needed field; only the files they name are not on this machine."""
    path = _ROOT / "deploy" / name
    found = faults(load(path), serving=name == "tokenvault.toml")
    assert found
    assert all("cannot be read: No such file" in line for line in found)
    assert not any(line.startswith("policy_file") for line in found)
    assert tomllib.loads(path.read_text())["deployment"] == "prod"
