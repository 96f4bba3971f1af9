"""ports.AuthorizationStore: one suite for the fake and for PostgreSQL."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.contract.conftest import Stores
from tests.support.samples import LONG_AGO, a_grant, a_record, an_authorization
from vault_service.domain import limits
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.oauth import Authorization

_CODE, _OTHER_CODE = b"c" * 32, b"d" * 32


async def _started(stores: Stores) -> Authorization:
    authorization = an_authorization()
    await stores.authorizations.insert(authorization, 600, a_record())
    return authorization


async def test_insert_keeps_every_field(stores: Stores) -> None:
    """A consent under way reads back as it was started, its times from the stores' clock."""
    authorization = an_authorization()
    expire_time = await stores.authorizations.insert(authorization, 600, a_record())
    found = await stores.authorizations.find("acme", authorization.state_hash)
    assert found is not None
    assert found == replace(
        authorization,
        create_time=found.create_time,
        expire_time=expire_time,
        read_time=found.read_time,
    )
    assert LONG_AGO < found.create_time <= found.read_time
    assert timedelta(seconds=599) < expire_time - found.create_time < timedelta(seconds=601)


async def test_state_belongs_to_its_tenant(stores: Stores) -> None:
    """A state of another tenant, or none of ours, is not found and cannot be claimed."""
    authorization = await _started(stores)
    assert await stores.authorizations.find("globex", authorization.state_hash) is None
    assert await stores.authorizations.find("acme", b"x" * 32) is None
    assert not await stores.authorizations.claim("globex", authorization.state_hash, _CODE)


async def test_code_is_claimed_once(stores: Stores) -> None:
    """Of many completions of one state at one moment one may exchange the code."""
    state = (await _started(stores)).state_hash
    claims = (stores.authorizations.claim("acme", state, code) for code in [_CODE, _OTHER_CODE] * 4)
    assert sorted(await asyncio.gather(*claims)) == [False] * 7 + [True]
    found = await stores.authorizations.find("acme", state)
    assert found is not None
    assert found.code_hash in (_CODE, _OTHER_CODE)
    assert found.claim_time is not None
    assert found.create_time <= found.claim_time <= found.read_time


async def test_unclaim_gives_it_back(stores: Stores) -> None:
    """A claim that is given back can be taken again, also with another code."""
    state = (await _started(stores)).state_hash
    assert await stores.authorizations.claim("acme", state, _CODE)
    await stores.authorizations.unclaim("acme", state, _OTHER_CODE)
    assert not await stores.authorizations.claim("acme", state, _CODE)
    await stores.authorizations.unclaim("acme", state, _CODE)
    found = await stores.authorizations.find("acme", state)
    assert found is not None
    assert (found.code_hash, found.claim_time) == (None, None)
    assert await stores.authorizations.claim("acme", state, _OTHER_CODE)


async def test_abandoned_claim_is_out_of_reach(stores: Stores) -> None:
    """A claim that will have no outcome stays taken, and nobody can still wait for one."""
    state = (await _started(stores)).state_hash
    assert await stores.authorizations.claim("acme", state, _CODE)
    await stores.authorizations.abandon("acme", state, _CODE)
    found = await stores.authorizations.find("acme", state)
    assert found is not None
    assert found.claim_time is not None
    age = found.read_time - found.claim_time
    assert age >= timedelta(seconds=limits.COMPLETION_REPLAY_S)
    assert not await stores.authorizations.claim("acme", state, _OTHER_CODE)


async def test_outcome_is_not_given_back(stores: Stores) -> None:
    """An authorization that made a grant stays claimed."""
    authorization = await _started(stores)
    state = authorization.state_hash
    assert await stores.authorizations.claim("acme", state, _CODE)
    assert await stores.grants.insert(a_grant(), authorization, a_record())
    await stores.authorizations.unclaim("acme", state, _CODE)
    assert not await stores.authorizations.claim("acme", state, _CODE)


async def test_parents_are_wanted(stores: Stores) -> None:
    """An unknown tenant or OAuthClient is refused with that reason, and nothing is written."""
    for changes, reason in (
        ({"tenant": "nowhere"}, Reason.TENANT_NOT_PROVISIONED),
        ({"oauth_client": "unknown"}, Reason.OAUTH_CLIENT_NOT_FOUND),
    ):
        authorization = an_authorization(**changes)
        tenant = authorization.tenant
        with pytest.raises(VaultError) as refused:
            await stores.authorizations.insert(authorization, 600, a_record(tenant))
        assert refused.value.reason is reason
        assert await stores.authorizations.find(tenant, authorization.state_hash) is None


async def test_no_authorization_without_its_record(stores: Stores) -> None:
    """Where the record cannot be written, no authorization is started."""
    await stores.behind.break_audit()
    authorization = an_authorization()
    with pytest.raises(VaultError) as refused:
        await stores.authorizations.insert(authorization, 600, a_record())
    assert refused.value.reason is Reason.AUDIT_UNAVAILABLE
    assert await stores.authorizations.find("acme", authorization.state_hash) is None
