"""ports.AuthorizationStore: one suite for the fake and for PostgreSQL."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.contract.conftest import Stores
from tests.support.samples import (
    LONG_AGO,
    a_grant,
    a_record,
    an_authorization,
    discard_token,
    new_id,
)
from vault_service.domain import limits
from vault_service.domain.audit import AuditAction
from vault_service.domain.consent import NO_CODE_HASH, Ending
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.names import ProviderName
from vault_service.domain.oauth import Authorization

_CODE, _OTHER_CODE = b"c" * 32, b"d" * 32
_USED = Ending(Reason.AUTHORIZATION_CODE_USED, "start anew")
_DENIED = Ending(Reason.AUTHORIZATION_DENIED, "no", {"error": "access_denied"})


async def _started(stores: Stores) -> Authorization:
    authorization = an_authorization()
    await stores.authorizations.insert(authorization, 600, a_record())
    return authorization


async def _found(stores: Stores, authorization: Authorization) -> Authorization:
    found = await stores.authorizations.find(authorization.tenant, authorization.state_hash)
    assert found is not None
    return found


async def _claim(
    stores: Stores,
    authorization: Authorization,
    code_hash: bytes = _CODE,
    claim_id: uuid.UUID | None = None,
) -> bool:
    record = a_record(authorization.tenant)
    return await stores.authorizations.claim(authorization, code_hash, claim_id or new_id(), record)


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
    assert await stores.authorizations.find_by_id("globex", authorization.authorization_id) is None
    assert await stores.authorizations.find_by_id("acme", new_id()) is None
    assert not await _claim(stores, replace(authorization, tenant="globex"))


async def test_found_by_its_id(stores: Stores) -> None:
    """A spool knows an authorization by its id."""
    authorization = await _started(stores)
    found = await stores.authorizations.find_by_id("acme", authorization.authorization_id)
    assert found is not None
    assert found.state_hash == authorization.state_hash


async def test_code_is_claimed_once(stores: Stores) -> None:
    """Of many completions of one state at one moment one may present the code; the exchange is on
    record with its claim, once."""
    authorization = await _started(stores)
    before = len(await stores.records())
    claims = (_claim(stores, authorization, code) for code in [_CODE, _OTHER_CODE] * 4)
    assert sorted(await asyncio.gather(*claims)) == [False] * 7 + [True]
    found = await _found(stores, authorization)
    assert found.code_hash in (_CODE, _OTHER_CODE)
    assert found.claim_id is not None
    assert found.claim_time is not None
    assert found.create_time <= found.claim_time <= found.read_time
    assert len(await stores.records()) == before + 1


async def test_no_claim_without_its_record(stores: Stores) -> None:
    """Where the record cannot be written no code is claimed, and so none presented."""
    authorization = await _started(stores)
    await stores.behind.break_audit()
    with pytest.raises(VaultError) as refused:
        await _claim(stores, authorization)
    assert refused.value.reason is Reason.AUDIT_UNAVAILABLE
    assert (await _found(stores, authorization)).code_hash is None


async def test_claim_is_given_back(stores: Stores) -> None:
    """A claim that is given back can be taken again, also with another code; another claim's id
    gives nothing back and is not on record."""
    authorization = await _started(stores)
    claim_id = new_id()
    assert await _claim(stores, authorization, _CODE, claim_id)
    records = len(await stores.records())
    await stores.authorizations.give_back(authorization, new_id(), a_record())
    assert not await _claim(stores, authorization)
    assert len(await stores.records()) == records
    await stores.authorizations.give_back(authorization, claim_id, a_record())
    found = await _found(stores, authorization)
    assert (found.code_hash, found.claim_time, found.claim_id) == (None, None, None)
    assert len(await stores.records()) == records + 1
    assert await _claim(stores, authorization, _OTHER_CODE)


async def test_denied_state_takes_no_code(stores: Stores) -> None:
    """A callback's error is the answer to every later completion, and on record once."""
    authorization = await _started(stores)
    assert await stores.authorizations.deny(authorization, _DENIED, a_record())
    records = len(await stores.records())
    assert not await stores.authorizations.deny(authorization, _USED, a_record())
    assert not await _claim(stores, authorization)
    found = await _found(stores, authorization)
    assert (found.code_hash, found.ending, found.grant_id) == (NO_CODE_HASH, _DENIED, None)
    assert found.claim_time is not None
    # So that a release which knows no endings waits for nothing.
    assert found.read_time - found.claim_time >= timedelta(seconds=limits.COMPLETION_REPLAY_S)
    assert len(await stores.records()) == records


async def test_claimed_state_is_not_denied(stores: Stores) -> None:
    """An error callback ends nothing once a code was claimed."""
    authorization = await _started(stores)
    assert await _claim(stores, authorization)
    assert not await stores.authorizations.deny(authorization, _DENIED, a_record())
    assert (await _found(stores, authorization)).ending is None


async def test_ended_claim_is_final(stores: Stores) -> None:
    """An ending stands against all that comes later, and is on record once."""
    authorization = await _started(stores)
    claim_id = new_id()
    assert await _claim(stores, authorization, _CODE, claim_id)
    record = a_record()
    for _ in range(2):
        await stores.authorizations.end(authorization, claim_id, _USED, record)
    await stores.authorizations.end(authorization, claim_id, _DENIED, a_record())
    await stores.authorizations.give_back(authorization, claim_id, a_record())
    found = await _found(stores, authorization)
    assert (found.ending, found.answer_envelope, found.code_hash) == (_USED, None, _CODE)
    assert not await _claim(stores, authorization)
    assert (await stores.records())[0].record_id == record.record_id


async def test_only_the_claim_ends(stores: Stores) -> None:
    """Another claim's id ends nothing."""
    authorization = await _started(stores)
    assert await _claim(stores, authorization)
    await stores.authorizations.end(authorization, new_id(), _USED, a_record())
    assert (await _found(stores, authorization)).ending is None


async def test_kept_answer_may_have_another_outcome(stores: Stores) -> None:
    """An ending with a kept answer gives way to a grant, and the answer goes with it."""
    authorization = await _started(stores)
    claim_id = new_id()
    assert await _claim(stores, authorization, _CODE, claim_id)
    await stores.authorizations.end(
        authorization, claim_id, _USED, a_record(), answer_envelope=b"sealed answer"
    )
    assert (await _found(stores, authorization)).answer_envelope == b"sealed answer"
    grant = a_grant()
    assert await stores.grants.insert(grant, authorization, a_record())
    found = await _found(stores, authorization)
    assert (found.grant_id, found.ending, found.answer_envelope) == (grant.grant_id, None, None)


async def test_outcome_is_not_given_back(stores: Stores) -> None:
    """An authorization that made a grant stays claimed, and is not ended."""
    authorization = await _started(stores)
    claim_id = new_id()
    assert await _claim(stores, authorization, _CODE, claim_id)
    assert await stores.grants.insert(a_grant(), authorization, a_record())
    await stores.authorizations.give_back(authorization, claim_id, a_record())
    await stores.authorizations.end(authorization, claim_id, _USED, a_record())
    assert not await _claim(stores, authorization)
    assert (await _found(stores, authorization)).ending is None


async def test_superseded_by_a_later_consent(stores: Stores) -> None:
    """A claim is superseded once its owner has consented again under the same label."""
    first = await _started(stores)
    assert await _claim(stores, first)
    first = await _found(stores, first)
    for changes in ({"label": "other"}, {"owner": "u-2"}, {}):
        assert not await stores.authorizations.is_superseded(first)
        await stores.behind.advance(0.01)
        later = an_authorization(**changes)
        await stores.authorizations.insert(later, 600, a_record())
        assert await _claim(stores, later)
        assert not await stores.authorizations.is_superseded(first)
        assert await stores.grants.insert(a_grant(), later, a_record())
    assert await stores.authorizations.is_superseded(first)


async def test_discarded_token_is_queued_with_the_ending(stores: Stores) -> None:
    """A token that made no grant waits for its revocation, of its own tenant, until it is told."""
    token = await discard_token(stores.authorizations, an_authorization())
    assert list(await stores.discarded.take_for("globex", token.authorization_id)) == []
    (taken,) = await stores.discarded.take_for("acme", token.authorization_id)
    assert taken == replace(token, expire_time=taken.expire_time, read_time=taken.read_time)
    kept = taken.expire_time - taken.read_time
    assert abs(kept - timedelta(seconds=limits.REVOCATION_KEEP_S)) < timedelta(seconds=60)
    assert list(await stores.discarded.take_due(10, {})) == []
    record = a_record(action=AuditAction.PROVIDER_REVOCATION_DONE)
    await stores.discarded.finish(taken, record)
    await stores.discarded.finish(taken, a_record())
    assert (await stores.records())[0].record_id == record.record_id
    await stores.behind.make_due()
    assert list(await stores.discarded.take_due(10, {})) == []


async def test_postponed_token_comes_back(stores: Stores) -> None:
    """A postponed token is due again when its time has come, one attempt older."""
    token = await discard_token(stores.authorizations, an_authorization())
    (taken,) = await stores.discarded.take_due(10, {})
    assert taken.token_id == token.token_id
    await stores.discarded.postpone(taken, 3_600)
    assert list(await stores.discarded.take_due(10, {})) == []
    await stores.behind.make_due()
    (again,) = await stores.discarded.take_due(10, {})
    assert (again.token_id, again.attempts) == (token.token_id, 1)


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


async def _unread(stores: Stores, tenant: str = "acme") -> Authorization:
    """One whose answer is kept because nobody could read it."""
    authorization, claim_id = an_authorization(tenant), new_id()
    await stores.authorizations.insert(authorization, 600, a_record(tenant))
    assert await _claim(stores, authorization, _CODE, claim_id)
    await stores.authorizations.end(
        authorization, claim_id, _USED, a_record(tenant), answer_envelope=b"sealed answer"
    )
    return await _found(stores, authorization)


async def test_kept_answer_is_due_once_for_each_profile(stores: Stores) -> None:
    """A kept answer is due until it was read in vain, and again when its provider's profile is
    put; what has no kept answer is never due."""
    await _started(stores)
    assert await _claim(stores, await _started(stores))
    unread = await _unread(stores)
    provider = await stores.providers.get(ProviderName("acme", unread.provider))
    assert provider is not None
    (due,) = await stores.kept_consents.due(10)
    assert due == replace(unread, read_time=due.read_time)
    await stores.kept_consents.read_in_vain(unread, provider.revision)
    assert list(await stores.kept_consents.due(10)) == []
    await stores.providers.put(provider.name, provider.profile, a_record())
    (due,) = await stores.kept_consents.due(10)
    assert due.state_hash == unread.state_hash
    await stores.kept_consents.read_in_vain(unread, provider.revision)  # with the one of before
    assert len(await stores.kept_consents.due(10)) == 1
    assert await stores.grants.insert(a_grant(), unread, a_record())
    assert list(await stores.kept_consents.due(10)) == []


async def test_tenants_take_turns_with_kept_answers(stores: Stores) -> None:
    """A tenant with many kept answers does not keep another's from being read."""
    for tenant in ("acme", "acme", "acme", "globex"):
        await _unread(stores, tenant)
    due = await stores.kept_consents.due(2)
    assert {one.tenant for one in due} == {"acme", "globex"}
    assert len(await stores.kept_consents.due(10)) == 4
