"""Logs, metrics and traces; none of them can tell a secret.

``logs``, ``metrics`` and ``traces`` need no OpenTelemetry; ``otlp`` does and is imported where
traces are configured only.
"""

from __future__ import annotations

from vault_service.telemetry.context import work_for_call
from vault_service.telemetry.fields import ALLOWED_FIELDS, clean, escape
from vault_service.telemetry.logs import Logger, configure_logging, get_logger, redact

__all__ = [
    "ALLOWED_FIELDS",
    "Logger",
    "clean",
    "configure_logging",
    "escape",
    "get_logger",
    "redact",
    "work_for_call",
]
