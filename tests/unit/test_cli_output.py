"""How results become JSON, and how it is asked for."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from vault_service.cli.main import _asks_for_json
from vault_service.cli.output import Output, chosen, show, show_list, working
from vault_service.cli.plain import plain


@dataclass(frozen=True)
class _Thing:
    name: str
    value: bytes = field(repr=False)
    when: datetime | None = None
    inner: tuple[Any, ...] = ()


def test_plain_values() -> None:
    """Moments are UTC with a Z, bytes base64, enums their value; what is hidden needs reveal."""
    east = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))
    thing = _Thing("x", b"\x00\xff", east, (_Thing("y", b""), Output.JSON, {"a": 1, "b": None}))
    assert plain(thing) == {
        "name": "x",
        "when": "2026-01-02T01:04:05Z",
        "inner": [{"name": "y", "when": None, "inner": []}, "json", {"a": 1, "b": None}],
    }
    revealed = plain(_Thing("x", b"\x00\xff"), reveal=True)
    assert revealed == {"name": "x", "value": "AP8=", "when": None, "inner": []}
    assert plain(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00Z"
    with pytest.raises(TypeError):
        plain({1, 2})


@pytest.mark.parametrize(
    ("arguments", "variable", "asked"),
    [
        ([], "", False),
        ([], "json", True),
        (["--output", "json"], "", True),
        (["--output=json", "x"], "", True),
        (["x", "--output"], "", False),
        (["--output", "text"], "json", False),
        (["--output", "json", "--output", "text"], "", False),
    ],
)
def test_json_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], variable: str, asked: bool
) -> None:
    """By the option in both spellings, the last one counting, or by the variable."""
    monkeypatch.setenv("TOKENVAULT_OUTPUT", variable)
    assert _asks_for_json(arguments) is asked


def test_shown_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """One object is one line; a list is an object with its name; progress is silent."""
    token = chosen.set(Output.JSON)
    try:
        with working("long work") as at:
            at("further")
        show(_Thing("é", b""), "for people")
        show_list("things", ("NAME",), [_Thing("a", b"")], lambda one: (one.name,))
    finally:
        chosen.reset(token)
    first, second = capsys.readouterr().out.splitlines()
    assert json.loads(first)["name"] == "é"
    assert [one["name"] for one in json.loads(second)["things"]] == ["a"]
