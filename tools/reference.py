"""Writes the pages of docs/reference that are made from the code.

Without arguments it writes them; with --check it fails when one is stale.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from reference_cli import command_line
from reference_proto import interface

from vault_service.adapters.provider_catalog import Preset, presets
from vault_service.app.meters import described
from vault_service.config import Config
from vault_service.domain.errors import CODE_BY_REASON, RETRYABLE_CODES

_ROOT = Path(__file__).parents[1]
_FOLDER = _ROOT / "docs" / "reference"
_PROTO = _ROOT / "proto" / "tokenvault" / "v1" / "error_reason.proto"
_REASON = re.compile(r"  // [A-Z_]+: (.*)\n  ERROR_REASON_(\w+) = \d+;")
_ERRORS_HEAD = """# Errors

Every refusal is a `google.rpc.Status` with `ErrorInfo{reason, domain: "tokenvault", metadata}`, and
with `RetryInfo` where the same call may succeed later. The request id is in the trailing metadata
`tokenvault-request-id` and in the record. Messages say what to do and never hold a secret.

This page is made from the code (`make docs`).

| reason | code | again? | what it means |
| --- | --- | --- | --- |
"""
_ERRORS_TAIL = """
Refusals inside the TLS handshake (an expired certificate, an unknown CA, no certificate) reach no
handler and no record: the client raises `TransportRefused` and names the likely causes.

`REAUTHORIZATION_REQUIRED` has `metadata["cause"]`: `REVOKED_BY_OWNER`, `EXPIRED_UNUSED`,
`SUCCESSOR_LOST`, `SCOPES_MISSING` or `BY_OPERATOR`. `MIN_TTL_OUT_OF_RANGE` has
`metadata["access_life_s"]` where the provider's life is the limit, `FIELD_MALFORMED` has
`metadata["field"]`.

A message over 256 KiB is `PAYLOAD_TOO_LARGE`, unread. One over 512 KiB, or metadata over 8 KiB, is
refused by gRPC itself (RESOURCE_EXHAUSTED without ErrorInfo): it never becomes a call.

Malformed and too large calls of one caller have twenty records of their own a second; the others of
that second, and those that are `OVERLOADED`, share one record with their counts.
"""
_PROVIDERS_HEAD = """# Known providers

The catalogue that `tokenvault provider put --preset NAME` begins with; options and `--file` change
what it says. What each field means stands in `proto/tokenvault/v1/resources.proto`, the letters in
[how a refresh goes](../explanation/refresh.md). Every fact names its source and the day it was
read; "not read up" is common knowledge that nobody looked up for this page. What a provider does
not promise has the careful value: class S.

A provider with regions is one Provider for each: grants hang on the issuer, and `client_id` is
unique at one.

This page is made from the catalogue (`make docs`).
"""
_HEAD = """# Configuration

One TOML file, named by `--config` or `TOKENVAULT_CONFIG`, and variables over it: section and field
joined by two underscores, `TOKENVAULT_DATABASE__HOST`. Relative paths are relative to the file.
Secrets come by file path only. `tokenvault serve --check` says what is wrong and starts nothing.
An example stands in [deploy](../../deploy/tokenvault.toml).

This page is made from the code (`make docs`).
"""


_METRICS_HEAD = """# Metrics

Served as Prometheus text on the port of [`[metrics]`](configuration.md#metrics), one process a
port. What to do when one is red stands in [observe](../how-to/observe.md). Beside these there are
`process_cpu_seconds_total`, `process_resident_memory_bytes`, `process_open_fds` and their kin.

Every label is bounded: by the code (RPCs, codes, reasons, operations, classes of answers, pools,
caches), or, for `provider`, by a cap whose rest is `other`. No label names a tenant, a grant, an
owner or a caller: that is what the records and the logs are for. A histogram has `_bucket`, `_sum`
and `_count`.

This page is made from the code (`make docs`).

| metric | kind | labels | what it says |
| --- | --- | --- | --- |
"""


def metrics() -> str:
    """Every metric of ours."""
    rows = []
    for metric in described():
        labels = ", ".join(f"`{label}`" for label in metric.labels) or "none"
        rows.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |\n")
    return _METRICS_HEAD + "".join(rows)


def errors() -> str:
    """Every reason, with the code of the table and the words of the proto."""
    says = {name: text for text, name in _REASON.findall(_PROTO.read_text())}
    rows = []
    for reason, code in CODE_BY_REASON.items():
        again = "after RetryInfo" if code in RETRYABLE_CODES else "no"
        rows.append(f"| `{reason.name}` | {code.name} | {again} | {says[reason.name]} |\n")
    return _ERRORS_HEAD + "".join(rows) + _ERRORS_TAIL


def configuration() -> str:
    """Every field with its default."""
    sections: dict[str, type[BaseModel]] = {"": Config}
    for name, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            sections[name] = field.annotation
    return _HEAD + "".join(_section(name, model) for name, model in sections.items())


def providers() -> str:
    """The catalogue, each fact with its source."""
    return _PROVIDERS_HEAD + "".join(map(_preset, presets().values()))


def _preset(preset: Preset) -> str:
    lines = [f"\n## {preset.name}\n", f"{preset.title}.\n"]
    lines += [
        f"- `--set {name}=…`: {variable.help}"
        + (f"; `{variable.default}` where not said" if variable.default else "")
        for name, variable in preset.variables.items()
    ]
    if preset.regions:
        lines.append(f"- `--region`: {', '.join(preset.regions)}")
    if preset.variables or preset.regions:
        lines.append("")
    lines += ["| field | value |", "| --- | --- |"]
    first = next(iter(preset.regions.values()), {})
    fields = {**preset.profile, **first}
    lines += [f"| `{name}` | {_shown(value)} |" for name, value in fields.items()]
    lines += ["", "| about | what is known | source | read on |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {', '.join(f'`{field}`' for field in fact.fields)} | {fact.says} "
        f"| [{fact.source}]({fact.url}) | {fact.checked_on or 'not read up'} |"
        for fact in preset.facts
    ]
    return "\n".join(lines) + "\n"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        pairs = (f"{name} → {_shown(one)}" for name, one in value.items())
        return "; ".join(pairs)
    if isinstance(value, list):
        return ", ".join(f"`{one}`" for one in value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


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


def _pages() -> dict[str, str]:
    return {
        "cli.md": command_line(),
        "configuration.md": configuration(),
        "errors.md": errors(),
        "grpc.md": interface(),
        "metrics.md": metrics(),
        "providers.md": providers(),
    }


def main(arguments: Sequence[str]) -> int:
    """Exit status 1 when --check finds a stale page."""
    stale = 0
    for name, made in _pages().items():
        page = _FOLDER / name
        if "--check" not in arguments:
            page.write_text(made)
        elif not page.exists() or page.read_text() != made:
            print(f"{page.relative_to(_ROOT)} is stale: run make docs", file=sys.stderr)
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
