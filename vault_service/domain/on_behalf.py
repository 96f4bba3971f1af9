"""For which tenant a task asks outside: what is shared by all is shared out by it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

TENANT: Final[ContextVar[str]] = ContextVar("tenant", default="")


@contextmanager
def on_behalf_of(tenant: str) -> Iterator[None]:
    """What is asked inside counts as this tenant's."""
    token = TENANT.set(tenant)
    try:
        yield
    finally:
        TENANT.reset(token)
