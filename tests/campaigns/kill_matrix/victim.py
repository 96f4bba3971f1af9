"""The process of a run: it recovers what the one before it left behind, then takes a grant of its
own, refreshes it, and dies. Each process is so the successor of one run and the victim of the next.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, cast

from tests.campaigns.kill_matrix.life import ENDED, POSTED, STARTED, Life
from tests.campaigns.kill_matrix.moments import PROVIDER_BY_NAME
from tests.campaigns.kill_matrix.mortal import watch_wire
from tests.campaigns.kill_matrix.plan import RANDOM, Case
from tests.campaigns.kill_matrix.successor import Before, recover
from tests.campaigns.kill_matrix.vault import OWNER, TENANT, Place, Vault, times_of
from tests.support.samples import a_grant, a_record, an_authorization
from vault_service.adapters.postgres.authorizations import PostgresAuthorizationStore
from vault_service.domain import limits
from vault_service.domain.sensitive import Sensitive
from vault_service.egress.client import HttpClient

_BEGIN_LIMIT_S, _AGAIN_S, _REPLY_S = 25.0, 0.2, 2.0
MISSED = 3  # exit status: its refresh was over and the moment never came


@dataclass(frozen=True, slots=True)
class Birth:
    """What a process gets from its fork server. ``before``: to recover."""

    place: Place
    spools: Path
    http: HttpClient
    life: Life
    before: Before | None


async def live_and_die(birth: Birth, channel: socket.socket) -> None:
    """Recover if there is something, then die at the moment that a line says."""
    before, life = birth.before, birth.life
    name = f"life-{os.getpid()}"
    vault = Vault(birth.place, name, birth.spools, birth.http, life=life)
    watch_wire(life)
    lines = cast(BinaryIO, channel.makefile("rwb"))
    if before is not None:
        life.mark(STARTED)
        if before.case.replicas == 1:
            # Nobody could look before this process was there.
            before = replace(before, alive_s=time.monotonic())
        await recover(vault, birth.place, before, lines)
    line = await asyncio.to_thread(lines.readline)
    if line:
        order = json.loads(line)
        await _die(vault, birth.place, Case(**order["case"]), order)
    await vault.close()


async def _die(vault: Vault, place: Place, case: Case, order: dict[str, Any]) -> None:
    grant_id, life = uuid.UUID(order["grant"]), vault.life
    await _consented(vault, place, case, order, grant_id)
    await vault.spool.open()
    vault.spool.stored.clear()
    if case.is_cold:
        await vault.hang_up()
    times = times_of(case.provider)
    life.target = "" if case.moment == RANDOM else case.moment
    life.post_limit_s = times.post_limit_s
    life.mark(STARTED)
    # What this process knows of an outage in the run before may hold the first request back, and
    # on a busy machine a short lease may be over before the request is sent.
    give_up = time.monotonic() + _BEGIN_LIMIT_S
    while time.monotonic() < give_up:
        await vault.refresh(await vault.row(grant_id), budget_s=times.lease_s + _REPLY_S)
        if life.at(POSTED):
            break
        await asyncio.sleep(_AGAIN_S)
    life.mark(ENDED)
    life.reach("k11.reply")
    await asyncio.sleep(0.3)  # k12: what is written behind the reply
    if case.moment != RANDOM:
        os._exit(MISSED)
    await asyncio.Event().wait()


async def _consented(
    vault: Vault, place: Place, case: Case, order: dict[str, Any], grant_id: uuid.UUID
) -> None:
    """The grant at generation 1, with the tokens of the family, sealed."""
    provider = PROVIDER_BY_NAME[case.provider]
    issuer = f"https://127.0.0.1:{place.provider_port}/{provider.name}"
    grant = a_grant(
        TENANT,
        grant_id=grant_id,
        owner=OWNER,
        oauth_client=f"crm-{provider.name}",
        provider=f"op-{provider.name}",
        issuer=issuer,
        token_endpoint=f"{issuer}/token",
        subject=order["family"],
        scopes=("calendar",),
        access_expire_time=datetime.now(UTC) + timedelta(seconds=600),
        access_life_s=600,
    )
    sealer = await vault.envelopes.sealer(grant.dek_owner)
    access = sealer.seal(grant.access_binding(1), Sensitive.from_text(order["access_token"]))
    refresh = sealer.seal(grant.refresh_binding(1), Sensitive.from_text(order["refresh_token"]))
    consent = an_authorization(
        TENANT,
        owner=OWNER,
        label=f"run-{case.number}",
        oauth_client=grant.oauth_client,
        provider=grant.provider,
    )
    authorizations = PostgresAuthorizationStore(vault.database)
    await authorizations.insert(consent, limits.AUTHORIZATION_LIFE_S, a_record(TENANT))
    sealed = replace(grant, access_envelope=access, refresh_envelope=refresh)
    assert await vault.grants.insert(sealed, consent, a_record(TENANT))
