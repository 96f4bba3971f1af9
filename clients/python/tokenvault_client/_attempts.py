"""The methods of the client for refresh attempts that are in doubt."""

from __future__ import annotations

from collections.abc import AsyncIterator

from tokenvault_client import _attempt_calls as calls
from tokenvault_client._aio import Runner
from tokenvault_client._calls import PageOf
from tokenvault_client._secrets import items
from tokenvault_client.enums import AttemptAction, AttemptFilter
from tokenvault_client.models import Attempt, Page


class AttemptMethods:
    """Part of ``TokenVaultClient``."""

    _runner: Runner

    async def list_attempts(
        self,
        parent: str,
        *,
        which: AttemptFilter = AttemptFilter.IN_DOUBT,
        provider: str = "",
        page_size: int = 0,
        page_token: str = "",
        timeout_s: float | None = None,
    ) -> Page[Attempt]:
        """One page of a tenant's refresh attempts, oldest first; at most 500, 50 where 0."""
        call = calls.list_attempts(parent, which, provider, PageOf(page_size, page_token))
        return await self._runner.run(call, timeout_s)

    def iter_attempts(
        self,
        parent: str,
        *,
        which: AttemptFilter = AttemptFilter.IN_DOUBT,
        provider: str = "",
        page_size: int = 0,
        timeout_s: float | None = None,
    ) -> AsyncIterator[Attempt]:
        """All of them, page by page. ``timeout_s`` is for each page."""

        async def fetch(page_token: str) -> Page[Attempt]:
            return await self.list_attempts(
                parent,
                which=which,
                provider=provider,
                page_size=page_size,
                page_token=page_token,
                timeout_s=timeout_s,
            )

        return items(fetch)

    async def get_attempt(self, name: str, *, timeout_s: float | None = None) -> Attempt:
        """One attempt, with what is known of its kept answer, never its content."""
        return await self._runner.run(calls.get_attempt(name), timeout_s)

    async def resolve_attempt(
        self,
        name: str,
        action: AttemptAction,
        *,
        etag: str = "",
        reason: str = "",
        timeout_s: float | None = None,
    ) -> Attempt:
        """Does with an attempt in doubt what an operator decides, on record with ``reason``; the
        attempt as it stands then, which may still be in doubt.
        """
        call = calls.resolve_attempt(name, action, etag, reason)
        return await self._runner.run(call, timeout_s)
