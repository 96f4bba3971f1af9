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

_ASK_S = (0.15, 2.0)  # between callers' questions, rarer the longer a run takes
_ASK_SHARE = 0.2  # of what has passed
# Between sweeps: no later than something can be due, and rarer where that was in vain. A campaign
# of thousands that looked all the time would do nothing else.
_SWEEP_S = (0.06, 1.0)
_SWEEP_IDLE_S = 0.2  # nothing is open


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
            least, most = _ASK_S
            passed_s = time.monotonic() - started
            await asyncio.sleep(min(most, max(least, passed_s * _ASK_SHARE)))

    async def sweep() -> None:
        await vault.sweep()
        await asyncio.sleep(idle_s)
        least, most = _SWEEP_S
        in_vain_s = least
        while True:
            await vault.sweep()
            due_s = await vault.due_in_s()
            in_vain_s = least if due_s is None or due_s > 0 else min(most, in_vain_s * 1.5)
            pause_s = _SWEEP_IDLE_S if due_s is None else min(most, due_s)
            await asyncio.sleep(max(in_vain_s, pause_s))

    async with asyncio.TaskGroup() as group:
        group.create_task(sweep())
        if asks_after_s is not None:
            group.create_task(ask(asks_after_s))


async def stop(at_work: asyncio.Task[None]) -> None:
    """End the callers and sweeps; what they have begun goes on. Raises what went wrong in them."""
    at_work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await at_work


async def quiet(vault: Vault) -> None:
    """Returns when no refresh is under way in it."""
    await vault.flights.drain(limits.RPC_DEFAULT_BUDGET_S)
