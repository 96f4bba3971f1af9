"""Curated profiles of known providers: one TOML file each, every fact with its source.

A file has a title, the [profile] (fields as in message Provider), [variables.NAME] with help and
perhaps a default for what stands as {NAME} in the profile, [regions.NAME] with what differs there,
and [[facts]]: which fields it is about, what it says, the page it comes from and the day it was
read there; a fact without ``checked_on`` is from common knowledge and was not read up.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib import resources
from typing import Any, Final

# A host, a tenant's id, a region: nothing that could move a URL to another host.
_VALUE: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?", re.ASCII)
_PLACEHOLDER: Final = re.compile(r"\{([a-z_]+)\}")


class PresetError(ValueError):
    """A preset was asked for what it does not have. The message says what it has."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that is known about a provider."""

    fields: tuple[str, ...]  # of the profile; "endpoints" is issuer and all URLs
    says: str
    source: str
    url: str
    checked_on: date | None


@dataclass(frozen=True, slots=True)
class Variable:
    """What differs from customer to customer of the provider."""

    help: str
    default: str  # "": must be said


@dataclass(frozen=True, slots=True)
class Preset:
    """One provider of the catalogue."""

    name: str
    title: str
    profile: Mapping[str, Any]
    variables: Mapping[str, Variable]
    regions: Mapping[str, Mapping[str, Any]]
    facts: tuple[Fact, ...]

    def resolved(self, region: str, values: Mapping[str, str]) -> dict[str, Any]:
        """The fields of the profile for one region ("" where there are none), with its variables
        filled in. Raises ``PresetError``."""
        if region not in (self.regions or {"": {}}):
            names = ", ".join(self.regions)
            says = f"has the regions {names}: name one" if names else "has no regions"
            raise PresetError(f"{self.name} {says}")
        if unknown := values.keys() - self.variables.keys():
            names = ", ".join(self.variables) or "none"
            raise PresetError(f"{self.name} has no variable {min(unknown)}; it has: {names}")
        filled = {name: self._value(name, values) for name in self.variables}
        fields = {**self.profile, **self.regions.get(region, {})}
        return {name: _filled(value, filled) for name, value in fields.items()}

    def _value(self, name: str, values: Mapping[str, str]) -> str:
        variable = self.variables[name]
        value = values.get(name, variable.default)
        if not value:
            raise PresetError(f"{self.name} needs {name}: {variable.help}")
        if not _VALUE.fullmatch(value):
            raise PresetError(f"{name} is letters, digits, '.', '_' and '-'")
        return value


def presets() -> dict[str, Preset]:
    """All of them, by name."""
    folder = resources.files(__name__)
    files = sorted((one for one in folder.iterdir() if one.name.endswith(".toml")), key=_name)
    return {_name(one): _preset(_name(one), tomllib.loads(one.read_text("utf-8"))) for one in files}


def _name(file: Any) -> str:
    return str(file.name).removesuffix(".toml")


def _preset(name: str, content: Mapping[str, Any]) -> Preset:
    return Preset(
        name=name,
        title=content["title"],
        profile=content["profile"],
        variables={
            key: Variable(value["help"], value.get("default", ""))
            for key, value in content.get("variables", {}).items()
        },
        regions=content.get("regions", {}),
        facts=tuple(
            Fact(
                fields=tuple(fact["fields"]),
                says=fact["says"],
                source=fact["source"],
                url=fact["url"],
                checked_on=fact.get("checked_on"),
            )
            for fact in content["facts"]
        ),
    )


def _filled(value: Any, values: Mapping[str, str]) -> Any:
    if not isinstance(value, str):
        return value
    return _PLACEHOLDER.sub(lambda match: values[match[1]], value)
