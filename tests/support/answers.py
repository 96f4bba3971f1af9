"""The corpus of answers: tests/unit/data/answers/*.json.

A file is {"preset": of the catalogue, "rows": [...]}, or has "profile": what is said beside the
endpoints. A row has a name, a status,
the body (as text, as hexadecimal, or as [before, filling, count, after]), perhaps content_type,
retry_after_s, refusal and framed_bytes, and what is expected: TOKENS or a class, and the error
code on record; of tokens the two where they are not "at" and "rt" (access, perhaps as [text,
count], and refresh, null where none came), and perhaps an oddity and life_s.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support.presets import preset_profile
from tests.support.samples import a_profile
from vault_service.adapters.postgres.profiles import profile_from_json, profile_to_json
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.provider import ProviderProfile
from vault_service.domain.sensitive import Sensitive

FOLDER: Final = Path(__file__).parents[1] / "unit" / "data" / "answers"


@dataclass(frozen=True)
class Row:
    """One answer with the profile of its provider."""

    file: str
    profile: ProviderProfile
    facts: Mapping[str, Any]

    @property
    def answer(self) -> HttpAnswer:
        return HttpAnswer(
            self.facts["status"],
            self.facts.get("content_type", "application/json"),
            Sensitive(self._body()),
            self.facts.get("retry_after_s"),
            self.facts.get("refusal", ""),
            framed_bytes=self.facts.get("framed_bytes"),
        )

    @property
    def tokens(self) -> tuple[str, str | None]:
        """The access token and the refresh token that are expected."""
        access = self.facts.get("access", "at")
        if not isinstance(access, str):
            access = access[0] * access[1]
        return access, self.facts.get("refresh", "rt")

    def _body(self) -> bytes:
        if "hex" in self.facts:
            return bytes.fromhex(self.facts["hex"])
        if "fill" in self.facts:
            before, filling, count, after = self.facts["fill"]
            return str(before + filling * count + after).encode()
        body = self.facts["body"]
        return body.encode() if isinstance(body, str) else json.dumps(body).encode()

    def __str__(self) -> str:
        return f"{self.file}: {self.facts['name']}"


def corpus() -> list[Row]:
    """Every row of every file."""
    rows = []
    for path in sorted(FOLDER.glob("*.json")):
        content = json.loads(path.read_text("utf-8"))
        preset = content.get("preset")
        profile = preset_profile(preset) if preset else _profile(content["profile"])
        rows += [Row(path.stem, profile, facts) for facts in content["rows"]]
    return rows


def _profile(changes: Mapping[str, Any]) -> ProviderProfile:
    stored = json.loads(profile_to_json(a_profile()))
    return profile_from_json(json.dumps({**stored, **changes}))
