"""Which call a task works for: its request id and trace id, on every line it logs.

What belongs to many calls (a group commit, a DEK being loaded) runs in an empty context and
carries no one's ids.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

_ids: Final[ContextVar[tuple[str, str] | None]] = ContextVar("tokenvault_call", default=None)


def work_for_call(request_id: str, trace_id: str) -> None:
    """From here on this task, and what it starts, works for this call."""
    _ids.set((request_id, trace_id))


def ids_of_the_call() -> tuple[str, str] | None:
    """(request id, trace id), or None outside a call."""
    return _ids.get()
