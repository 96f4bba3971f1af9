"""Pages of the in-memory stores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from vault_service.adapters.postgres import pages
from vault_service.ports import Page

T = TypeVar("T")


def page_by_id(items: Sequence[T], page_size: int, key: Callable[[T], str], after: str) -> Page[T]:
    """A page of items ordered by their id."""
    found = sorted((item for item in items if key(item) > after), key=key)
    return pages.page_of(found, page_size, lambda item: key(item).encode())
