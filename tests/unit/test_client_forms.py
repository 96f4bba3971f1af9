"""The synchronous client is the asynchronous one without coroutines."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path
from types import ModuleType

import pytest

import tokenvault_client as tv

_ROOT = Path(__file__).parents[2]
_SPECIAL = {"__aenter__": "__enter__", "__aexit__": "__exit__"}


def _tool() -> ModuleType:
    path = _ROOT / "tools" / "sync_client.py"
    spec = importlib.util.spec_from_file_location("sync_client_tool", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _methods(client: type) -> dict[str, inspect.Signature]:
    own = (name for name in vars(client) if callable(getattr(client, name)))
    return {
        _SPECIAL.get(name, name): inspect.signature(getattr(client, name))
        for name in own
        if name != "__repr__"
    }


def test_the_file_is_what_the_tool_makes() -> None:
    """The committed file was made from the present one: nobody wrote into it or forgot it."""
    tool = _tool()
    assert tool.TARGET.read_text("utf-8") == tool.made(), "run make client"
    assert tool.SECRETS_TARGET.read_text("utf-8") == tool.made_secrets(), "run make client"
    assert tool.EVENTS_TARGET.read_text("utf-8") == tool.made_events(), "run make client"


def test_both_have_the_same_methods_and_signatures() -> None:
    """Each method of one is a method of the other, with the same parameters and result."""
    wanted = _methods(tv.TokenVaultClient)
    found = _methods(tv.SyncTokenVaultClient)
    assert wanted.keys() == found.keys()
    assert len(found) > 15
    for name, signature in wanted.items():
        told = str(signature).replace("AsyncIterator[", "Iterator[")
        assert str(found[name]) == told, name


@pytest.mark.parametrize("name", sorted(vars(tv.SyncTokenVaultClient)))
def test_nothing_of_it_is_a_coroutine(name: str) -> None:
    """No method of the synchronous client gives back something to await."""
    method = getattr(tv.SyncTokenVaultClient, name)
    assert not inspect.iscoroutinefunction(method)
    assert not inspect.isasyncgenfunction(method)


def test_a_word_that_is_gone_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the asynchronous docstring changed, the tool says so instead of copying it."""
    tool = _tool()
    changed = tmp_path / "client.py"
    changed.write_text(tool.SOURCE.read_text("utf-8").replace("event loop", "loop"), "utf-8")
    monkeypatch.setattr(tool, "SOURCE", changed)
    with pytest.raises(ValueError, match="event loop"):
        tool.made()
