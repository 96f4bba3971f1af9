"""Replicas that refresh ahead of time together: nothing twice, nothing lost with one of them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.authserver import AuthServer, Done
from tests.support.vault import RealVault

_LIFE_S = 600
_GRANTS = 16
_PARALLEL = 4
_WAIT_S = 40.0


@contextmanager
def _replica(vault: RealVault, name: str, provider: AuthServer) -> Iterator[int]:
    settings = {"BATCH": "6", "PARALLEL": str(_PARALLEL), "RATE_PER_S": "8"}
    env = {f"TOKENVAULT_SCHEDULER__{key}": value for key, value in settings.items()}
    yield vault.serve(name, [provider.host_port], {**os.environ, **env})
    child = vault.processes.pop(name)
    child.stop()


async def _consents(vault: RealVault, port: int, provider: AuthServer) -> None:
    """Grants that are used once; the provider's ledger has only their consents."""
    async with (
        vault.client("operator", port) as operator,
        vault.client("calendar-app", port) as app,
    ):
        await provider.register(operator)
        for number in range(_GRANTS):
            done = await provider.consent(app, f"user-{number}", life_s=_LIFE_S)
            assert not (await app.get_access_token(grant=done.grant.name)).refreshed


def _make_due(vault: RealVault, provider: AuthServer) -> None:
    """All are in use, got their tokens long ago, are near their end, and due in the same moment."""
    client = provider.oauth_client.rpartition("/")[2]
    vault.sql(
        "WITH g AS (UPDATE tokenvault.grants SET access_expire_time = now() + interval '50 s'"
        f" WHERE oauth_client = '{client}' RETURNING grant_id)"
        " UPDATE tokenvault.grant_upkeep u SET due_time = now(), last_used_time = now(),"
        f" refresh_time = now() - interval '{_LIFE_S - 50} s'"
        " FROM g WHERE u.grant_id = g.grant_id"
    )


def _generations(vault: RealVault, provider: AuthServer) -> tuple[int, int]:
    """The lowest and the highest generation of the grants."""
    client = provider.oauth_client.rpartition("/")[2]
    lowest, highest = vault.sql(
        "SELECT min(generation), max(generation) FROM tokenvault.grants"
        f" WHERE oauth_client = '{client}'"
    )
    return lowest, highest


def _until_refreshed(vault: RealVault, provider: AuthServer) -> None:
    give_up = time.monotonic() + _WAIT_S
    while _generations(vault, provider) != (2, 2):
        assert time.monotonic() < give_up, _generations(vault, provider)
        time.sleep(0.2)


def _refreshed_by(vault: RealVault, name: str, provider: AuthServer) -> int:
    """Of this provider's grants; action 6 is GRANT_REFRESHED."""
    client = provider.oauth_client.rpartition("/")[2]
    (count,) = vault.sql(
        "SELECT count(*) FROM tokenvault.audit_records r JOIN tokenvault.grants g"
        " ON r.resource = 'tenants/' || g.tenant || '/grants/' || g.grant_id"
        f" WHERE r.action = 6 AND r.rpc = 'worker/Scheduler' AND r.instance = '{name}'"
        f" AND g.oauth_client = '{client}'"
    )
    return int(count)


@pytest.fixture
def provider(real_vault: RealVault) -> Iterator[AuthServer]:
    """Of class S, with tokens of ten minutes."""
    with AuthServer(real_vault.ca) as server:
        server.configure(expires_in_s=_LIFE_S)
        yield server


def test_two_replicas_do_nothing_twice(real_vault: RealVault, provider: AuthServer) -> None:
    """Each due grant is refreshed once before its token ends, whichever replica takes it."""
    with (
        _replica(real_vault, "split-1", provider) as port,
        _replica(real_vault, "split-2", provider),
    ):
        asyncio.run(_consents(real_vault, port, provider))
        _make_due(real_vault, provider)
        _until_refreshed(real_vault, provider)
        posts = provider.sent("refresh_token")
        assert [post.done for post in posts] == [Done.ISSUED] * _GRANTS
        assert len({post.family for post in posts}) == _GRANTS
        by = [_refreshed_by(real_vault, name, provider) for name in ("split-1", "split-2")]
        assert sum(by) == _GRANTS


def test_a_replica_that_is_killed(real_vault: RealVault, provider: AuthServer) -> None:
    """What a killed replica had taken is refreshed by another: what waited at once, what was
    leased when its lease ends, what was sent by recovery; no family is lost."""
    with _replica(real_vault, "killed", provider) as port:
        asyncio.run(_consents(real_vault, port, provider))
        with provider.outage("hang", kind="refresh_token"):
            _make_due(real_vault, provider)
            give_up = time.monotonic() + _WAIT_S
            while not provider.sent("refresh_token"):
                assert time.monotonic() < give_up
                time.sleep(0.05)
            real_vault.processes["killed"].kill()
        assert len(provider.sent("refresh_token")) <= _PARALLEL
        with _replica(real_vault, "heir", provider):
            # The leases of attempts and of the batch: 25 s and 120 s.
            real_vault.let_pass(30)
            real_vault.sql(
                "UPDATE tokenvault.grant_upkeep SET due_time = due_time - interval '120 s'"
                " WHERE due_time < now() + interval '120 s'"
            )
            _until_refreshed(real_vault, provider)
            issued = [post.family for post in provider.sent("refresh_token") if post.issued]
            assert len(issued) == len(set(issued)) == _GRANTS
            # Attempts that had begun are not the scheduler's any more.
            assert _refreshed_by(real_vault, "heir", provider) >= _GRANTS - _PARALLEL
