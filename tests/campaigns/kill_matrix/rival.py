"""A replica that lives: one has callers that want a newer token of the victim's grant, the other
one only looks for what is due.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
import uuid
from pathlib import Path

from tests.campaigns.kill_matrix.vault import Place, Vault
from vault_service.domain import limits
from vault_service.domain.errors import VaultError
from vault_service.egress.client import HttpClient

# Rarer the longer a run takes: the campaign shall not spend its time on looking.
_ASK_S = (0.1, 1.5)  # between callers' questions
_SWEEP_S = (0.06, 0.8)
_RARER = 0.05  # of what has passed: the sixtieth of a grace, from its beginning to its end


async def live(
    place: Place, name: str, folder: Path, http: HttpClient, orders: socket.socket
) -> None:
    """Until the other end closes. An order with a grant begins, {} ends and is answered."""
    vault = Vault(place, name, folder, http)
    orders.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=orders)
    at_work: asyncio.Task[None] | None = None
    while line := await reader.readline():
        order = json.loads(line)
        if at_work is not None:
            await stop(at_work)
            at_work = None
        if order:
            work = compete(vault, uuid.UUID(order["grant"]), order["asks"], order["idle"])
            at_work = asyncio.create_task(work)
        else:
            await quiet(vault)
            writer.write(b"{}\n")
            await writer.drain()
    await vault.close()


async def compete(
    vault: Vault, grant_id: uuid.UUID, asks_after_s: float | None, idle_s: float
) -> None:
    """For ever: sweeps, and callers that want a newer token than the first; None: no callers.

    ``idle_s``: nobody sweeps for so long after the first time. While the lease of the victim goes
    on there is nothing to find, and a campaign of thousands would look for it all the time.
    """

    started = time.monotonic()

    async def ask(after_s: float) -> None:
        await asyncio.sleep(after_s)
        while True:
            with contextlib.suppress(VaultError):  # callers try again
                found = await vault.find(grant_id)
                if found is not None and found.generation == 1:
                    await vault.refresh(found, budget_s=1.0)
            await asyncio.sleep(_pause_s(_ASK_S, started))

    async def sweep() -> None:
        await vault.sweep()
        await asyncio.sleep(idle_s)
        while True:
            await vault.sweep()
            await asyncio.sleep(_pause_s(_SWEEP_S, started))

    async with asyncio.TaskGroup() as group:
        group.create_task(sweep())
        if asks_after_s is not None:
            group.create_task(ask(asks_after_s))


def _pause_s(bounds: tuple[float, float], started: float) -> float:
    least, most = bounds
    return min(most, max(least, (time.monotonic() - started) * _RARER))


async def stop(at_work: asyncio.Task[None]) -> None:
    """End the callers and sweeps; what they have begun goes on. Raises what went wrong in them."""
    at_work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await at_work


async def quiet(vault: Vault) -> None:
    """Returns when no refresh is under way in it."""
    await vault.flights.drain(limits.RPC_DEFAULT_BUDGET_S)
