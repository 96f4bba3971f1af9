"""For which tenant a task asks outside: what is shared by all is shared out by it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

TENANT: Final[ContextVar[str]] = ContextVar("tenant", default="")
