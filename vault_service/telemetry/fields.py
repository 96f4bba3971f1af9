"""What logs and traces may show: names from one list, values cut and escaped."""

from __future__ import annotations

import enum
import math
import re
import uuid
from datetime import datetime
from typing import Final

from vault_service.domain import limits
from vault_service.domain.errors import VaultError

ALLOWED_FIELDS: Final = frozenset(
    {
        # what the chain itself adds
        "event", "level", "logger", "time", "dropped", "where",
        # the process
        "address", "component", "deployment", "exit_status", "file", "instance", "pid", "port",
        "role", "state", "step", "version",
        # a call
        "action", "caller", "certificate_serial", "code", "duration_ms", "outcome", "permission",
        "policy_version", "reason", "request_id", "rpc", "rule", "source", "trace_id",
        # what it was about: names, never contents
        "generation", "grant", "lease_s", "oauth_client", "owner_kind", "provider", "resource",
        "revision", "secret_name", "tenant",
        # work outside
        "answer_class", "attempt", "batch_size", "count", "delay_s", "dependency", "error", "fault",
        "host", "kek_version", "key_name", "library", "limit_s", "operation", "queue_size",
        "retry_after_s", "size_bytes", "status", "template", "undumpable", "unfinished",
    }
)  # fmt: skip
"""Every field a log line or a span may have; a new one is a decision that a reviewer sees."""

_PLAIN: Final = re.compile(r"[ -\[\]-~]*")  # what escaping leaves as it is
_WITHHELD: Final = "<withheld>"
_INT_MAX: Final = 2**63


def clean(value: object) -> str | int | float | bool | None:
    """A value that may be shown: no bytes, no containers, no ``Sensitive``; texts cut, escaped."""
    if isinstance(value, enum.Enum):
        return value.name
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else _WITHHELD
    if isinstance(value, int):
        return value if -_INT_MAX <= value < _INT_MAX else _WITHHELD
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, VaultError):
        return escape(f"{value.reason.name}: {value.message}")
    if isinstance(value, BaseException):
        return type(value).__name__
    return _WITHHELD


def escape(text: str) -> str:
    """At most 256 characters, one line, printable ASCII."""
    if len(text) <= limits.TEXT_MAX_CHARS and _PLAIN.fullmatch(text):
        return text
    cut = text[: limits.TEXT_MAX_CHARS]
    shown = cut.encode("unicode_escape").decode("ascii")
    return shown[: limits.TEXT_MAX_CHARS] + ("..." if len(text) > len(cut) else "")
