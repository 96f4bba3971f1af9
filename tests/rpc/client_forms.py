"""Both forms of the client behind one face, so that one suite holds for both."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import Any, Self, cast

from tokenvault_client import SyncTokenVaultClient, TokenVaultClient

_THREADS = 64  # more than any test has calls at once
_END = object()


class Form(Enum):
    """Which client."""

    ASYNC = "async"
    SYNC = "sync"

    def client(self, target: str, **settings: Any) -> TokenVaultClient:
        """A client of this form, to be awaited in either case."""
        if self is Form.ASYNC:
            return TokenVaultClient(target, **settings)
        return cast(TokenVaultClient, InThreads(SyncTokenVaultClient(target, **settings)))


class InThreads:
    """A synchronous client whose calls run in threads of their own."""

    def __init__(self, vault: SyncTokenVaultClient) -> None:
        self._vault = vault
        self._pool = ThreadPoolExecutor(_THREADS)

    async def __aenter__(self) -> Self:
        self._vault.__enter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._run(self._vault.__exit__, None, None, None)
        self._pool.shutdown(wait=True)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._vault, name)
        if inspect.isgeneratorfunction(method) or name.startswith(("iter_", "watch_")):
            return lambda *args, **kwargs: self._walk(method(*args, **kwargs))

        def call(*args: Any, **kwargs: Any) -> Awaitable[Any]:
            return self._run(method, *args, **kwargs)

        return call

    async def _run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, lambda: function(*args, **kwargs))

    async def _walk(self, items: Iterator[Any]) -> AsyncIterator[Any]:
        while (item := await self._run(next, items, _END)) is not _END:
            yield item
