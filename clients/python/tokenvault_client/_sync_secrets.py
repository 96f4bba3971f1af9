"""The methods of the synchronous client for secrets, and the walk over pages.

Made from _secrets.py by tools/sync_client.py (`make client`): change it there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TypeVar

from tokenvault_client import _secret_calls as calls
from tokenvault_client._calls import PageOf
from tokenvault_client._secret_calls import PutOptions
from tokenvault_client._sync import Runner
from tokenvault_client.errors import InternalFault
from tokenvault_client.models import Page, Secret, SecretValue, SecretVersion

ItemT = TypeVar("ItemT")


class SecretMethods:
    """Part of ``SyncTokenVaultClient``."""

    _runner: Runner

    def put_secret(
        self,
        name: str,
        value: bytes,
        *,
        etag: str = "",
        request_id: str = "",
        labels: Mapping[str, str] | None = None,
        expire_time: datetime | None = None,
        timeout_s: float | None = None,
    ) -> SecretVersion:
        """Stores a new version of a secret, 1 byte to 64 KiB; the first one creates it.

        ``etag``: the secret's as you read it, or "0" for one that shall not exist yet. With a
        ``request_id`` of your own making, the same call again within a day makes no second
        version, so it is also tried again where a connection broke. ``labels`` are set, one with
        an empty value is taken away. From ``expire_time`` on the value is not given any more.
        """
        options = PutOptions(etag, request_id, labels or {}, expire_time)
        return self._runner.run(calls.put_secret(name, value, options), timeout_s)

    def get_secret_value(
        self, name: str, *, version: int = 0, timeout_s: float | None = None
    ) -> SecretValue:
        """The value of a version, of the newest where it is 0."""
        return self._runner.run(calls.get_secret_value(name, version), timeout_s)

    def get_secret(self, name: str, *, timeout_s: float | None = None) -> Secret:
        """A secret without its values."""
        return self._runner.run(calls.get_secret(name), timeout_s)

    def list_secrets(
        self,
        parent: str,
        *,
        page_size: int = 0,
        page_token: str = "",
        timeout_s: float | None = None,
    ) -> Page[Secret]:
        """One page of the application's secrets (``tenant_name``) or of one owner's
        (``owner_name``); at most 500, 50 where 0.
        """
        call = calls.list_secrets(parent, PageOf(page_size, page_token))
        return self._runner.run(call, timeout_s)

    def iter_secrets(
        self, parent: str, *, page_size: int = 0, timeout_s: float | None = None
    ) -> Iterator[Secret]:
        """All of them, page by page; ``timeout_s`` holds for each page."""

        def fetch(page_token: str) -> Page[Secret]:
            return self.list_secrets(
                parent, page_size=page_size, page_token=page_token, timeout_s=timeout_s
            )

        return items(fetch)

    def list_secret_versions(
        self, name: str, *, page_size: int = 0, page_token: str = "", timeout_s: float | None = None
    ) -> Page[SecretVersion]:
        """One page of a secret's versions, newest first; at most 500, 50 where 0."""
        call = calls.list_secret_versions(name, PageOf(page_size, page_token))
        return self._runner.run(call, timeout_s)

    def iter_secret_versions(
        self, name: str, *, page_size: int = 0, timeout_s: float | None = None
    ) -> Iterator[SecretVersion]:
        """All of them, newest first, page by page; ``timeout_s`` holds for each page."""

        def fetch(page_token: str) -> Page[SecretVersion]:
            return self.list_secret_versions(
                name, page_size=page_size, page_token=page_token, timeout_s=timeout_s
            )

        return items(fetch)

    def destroy_secret_version(
        self, name: str, version: int, *, timeout_s: float | None = None
    ) -> SecretVersion:
        """Destroys a value for ever. Once this returned, no call gets it."""
        return self._runner.run(calls.destroy_secret_version(name, version), timeout_s)

    def delete_secret(self, name: str, *, etag: str = "", timeout_s: float | None = None) -> None:
        """Destroys all versions and takes the secret out of lists."""
        self._runner.run(calls.delete_secret(name, etag), timeout_s)


def items(fetch: Callable[[str], Page[ItemT]]) -> Iterator[ItemT]:
    """Page after page until no page token comes; InternalFault where the list stands still."""
    token = ""
    while True:
        page = fetch(token)
        yield from page.items
        if not page.next_page_token:
            return
        if page.next_page_token == token:
            raise InternalFault("", "the service's list does not advance")
        token = page.next_page_token
