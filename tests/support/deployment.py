"""What the whole deployment must look like when a fault is over."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import tokenvault_client as sdk
from tests.support.authserver import Controls, Done
from tests.support.vault import RealVault
from tests.support.watch import Watch
from vault_service.adapters.spool import rescue

_POLL_S = 0.05
_SETTLE_LIMIT_S = 40.0
# A lease of four seconds instead of 25, and half a second for a database that is away.
QUICK: Mapping[str, str] = {
    "TOKENVAULT_REFRESH__POST_LIMIT_S": "3",
    "TOKENVAULT_REFRESH__LEASE_MARGIN_S": "1.5",
    "TOKENVAULT_DATABASE__STATEMENT_LIMIT_S": "0.5",
}


def environment(*more: Mapping[str, str]) -> dict[str, str]:
    """Ours, with these variables."""
    merged = dict(os.environ)
    for each in more:
        merged |= each
    return merged


def expire(vault: RealVault, owner_like: str = "%") -> None:
    """The access tokens of these owners end now. With their revision, as every change of a row."""
    vault.sql(
        "UPDATE tokenvault.grants SET revision = revision + 1,"
        f" access_expire_time = clock_timestamp() WHERE owner LIKE '{owner_like}'"
    )


async def until(condition: Callable[[], object], limit_s: float = _SETTLE_LIMIT_S) -> None:
    """Wait for it. TimeoutError."""
    end = time.monotonic() + limit_s
    while not await asyncio.to_thread(condition):
        if time.monotonic() > end:
            raise TimeoutError(f"{condition} stayed false for {limit_s:g} s")
        await asyncio.sleep(_POLL_S)


async def token_of(
    watch: Watch,
    clients: Sequence[sdk.TokenVaultClient],
    grant: str,
    limit_s: float = _SETTLE_LIMIT_S,
) -> sdk.AccessToken:
    """Ask every process in turn, until each has given a token; the last one. TimeoutError."""
    end = time.monotonic() + limit_s
    token = None
    for number, client in enumerate(clients):
        while (token := await watch.ask(client, grant, f"{number}", timeout_s=5)) is None:
            assert not watch.final, watch.final
            if time.monotonic() > end:
                raise TimeoutError(f"no token of {grant} in {limit_s:g} s: {watch.retryable}")
            await asyncio.sleep(_POLL_S)
    assert token is not None
    return token


def loose_ends(vault: RealVault, server: Controls, spools: Iterable[Path]) -> list[str]:
    """Attempts at this server that nobody has resolved, and entries that are left in spools."""
    client = server.oauth_client.rpartition("/")[2]
    (attempts,) = vault.sql(
        "SELECT count(*) FROM tokenvault.refresh_attempts a"
        " JOIN tokenvault.grants g USING (tenant, grant_id)"
        f" WHERE a.state IN (1, 5) AND g.oauth_client = '{client}'"
    )
    entries = [
        entry.mark.name
        for folder in spools
        if folder.is_dir()
        for spool in rescue.look(folder)
        for entry in spool.entries
    ]
    return [*(["attempt unresolved"] * attempts), *entries]


def second_posts(server: Controls, families: Iterable[str] | None = None) -> list[str]:
    """Generations of these families that were presented more than once."""
    entries = server.entries(kind="refresh_token", families=families)
    presented = Counter((entry.family, entry.presented) for entry in entries)
    return [f"{key}: {count}" for key, count in presented.items() if count > 1]


def refused_posts(server: Controls, families: Iterable[str] | None = None) -> list[str]:
    """Answers of the server's own that gave no tokens."""
    return [
        f"{entry.family} {entry.presented}: {entry.done} {entry.error}"
        for entry in server.entries(kind="refresh_token", families=families)
        if entry.done in (Done.REFUSED, Done.KILLED, Done.UNAUTHENTICATED)
    ]
