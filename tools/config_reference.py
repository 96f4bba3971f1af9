"""Writes docs/reference/configuration.md from the configuration's own fields.

Without arguments it writes the page; with --check it fails when the page is stale.
"""

from __future__ import annotations

import sys
import typing
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from vault_service.config import Config

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "configuration.md"
_HEAD = """# Configuration

One TOML file, named by `--config` or `TOKENVAULT_CONFIG`, and variables over it: section and field
joined by two underscores, `TOKENVAULT_DATABASE__HOST`. Relative paths are relative to the file.
Secrets come by file path only. `tokenvault serve --check` says what is wrong and starts nothing.
An example stands in [deploy](../../deploy/tokenvault.toml).

This page is made from the code (`make docs`).
"""


def page() -> str:
    """The whole page."""
    sections = {"": Config}
    for name, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            sections[name] = field.annotation
    return _HEAD + "".join(_section(name, model) for name, model in sections.items())


def _section(name: str, model: type[BaseModel]) -> str:
    title = f"[{name}]" if name else "Top level"
    says = " ".join((model.__doc__ or "").split()) if name else ""
    lines = [f"\n## {title}\n", f"{says}\n" if says else "", "| field | default | what it is |"]
    lines.append("| --- | --- | --- |")
    for key, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            continue
        lines.append(f"| `{key}` | {_default(field)} | {field.description} |")
    return "\n".join(line for line in lines if line) + "\n"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    if field.default is PydanticUndefined:
        return "made at start"
    value = field.default
    if value is None or value == ():
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def main(arguments: typing.Sequence[str]) -> int:
    """Exit status 1 when --check finds the page stale."""
    if "--check" in arguments:
        fresh = PAGE.exists() and PAGE.read_text() == page()
        if not fresh:
            print("docs/reference/configuration.md is stale: run make docs", file=sys.stderr)
        return 0 if fresh else 1
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
