"""The methods of the client for what happens to grants: watching, and webhooks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from tokenvault_client import _event_calls as calls
from tokenvault_client._aio import Runner
from tokenvault_client._calls import PageOf
from tokenvault_client._event_calls import EventsOf
from tokenvault_client._secrets import items
from tokenvault_client.enums import GrantEventKind
from tokenvault_client.models import DeadLetter, Page, WatchStep, Webhook


class EventMethods:
    """Part of ``TokenVaultClient``."""

    _runner: Runner

    def watch_grants(
        self,
        parent: str,
        *,
        cursor: str = "",
        owner: str = "",
        oauth_client: str = "",
        provider: str = "",
        kinds: Iterable[GrantEventKind] = (),
    ) -> AsyncIterator[WatchStep]:
        """What happens to a tenant's grants, for as long as you walk it: from now on, or from
        after ``cursor``. It has no deadline and opens its stream again by itself where that ends
        or breaks, so that nothing is lost. A step without an event comes first, and then at least
        every 15 seconds: it moves the cursor. CursorExpired after a week.
        """
        only = EventsOf(owner, oauth_client, provider, tuple(kinds))
        return self._runner.follow(calls.watch_grants(parent, only, cursor))

    async def put_webhook(
        self, webhook: Webhook, *, secret: str = "", timeout_s: float | None = None
    ) -> Webhook:
        """Creates a webhook, or replaces its URL and kinds. ``secret`` is "whsec_" and base64 of 24
        to 64 random bytes: needed for a new one; a new secret of one that exists signs from now
        on, and the one before beside it for a day. An ``etag`` is compared where it is set.
        """
        return await self._runner.run(calls.put_webhook(webhook, secret), timeout_s)

    async def list_webhooks(
        self,
        parent: str,
        *,
        page_size: int = 0,
        page_token: str = "",
        timeout_s: float | None = None,
    ) -> Page[Webhook]:
        """One page of a tenant's webhooks; at most 500, 50 where 0."""
        call = calls.list_webhooks(parent, PageOf(page_size, page_token))
        return await self._runner.run(call, timeout_s)

    def iter_webhooks(
        self, parent: str, *, page_size: int = 0, timeout_s: float | None = None
    ) -> AsyncIterator[Webhook]:
        """All of them, page by page; ``timeout_s`` holds for each page."""

        async def fetch(page_token: str) -> Page[Webhook]:
            return await self.list_webhooks(
                parent, page_size=page_size, page_token=page_token, timeout_s=timeout_s
            )

        return items(fetch)

    async def delete_webhook(self, name: str, *, timeout_s: float | None = None) -> None:
        """Deletes a webhook, its dead letters and what is on its way to it."""
        await self._runner.run(calls.delete_webhook(name), timeout_s)

    async def list_dead_letters(
        self,
        webhook: str,
        *,
        page_size: int = 0,
        page_token: str = "",
        timeout_s: float | None = None,
    ) -> Page[DeadLetter]:
        """One page of what could not be delivered to a webhook, oldest first; at most 500."""
        call = calls.list_dead_letters(webhook, PageOf(page_size, page_token))
        return await self._runner.run(call, timeout_s)

    def iter_dead_letters(
        self, webhook: str, *, page_size: int = 0, timeout_s: float | None = None
    ) -> AsyncIterator[DeadLetter]:
        """All of them, page by page; ``timeout_s`` holds for each page."""

        async def fetch(page_token: str) -> Page[DeadLetter]:
            return await self.list_dead_letters(
                webhook, page_size=page_size, page_token=page_token, timeout_s=timeout_s
            )

        return items(fetch)

    async def redeliver_dead_letters(
        self, webhook: str, *, ids: Iterable[str] = (), timeout_s: float | None = None
    ) -> int:
        """Sends dead letters again, all of them where no ``ids`` are given; how many."""
        call = calls.redeliver_dead_letters(webhook, ids)
        return await self._runner.run(call, timeout_s)
