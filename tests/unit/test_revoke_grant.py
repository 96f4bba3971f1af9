"""RevokeGrant and the queue behind it: the tombstone first, the provider now or later."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.house import APP, ROGUE, TENANT, House, refused
from vault_service.domain import limits
from vault_service.domain.access import Caller, Permission, Resource
from vault_service.domain.answers import AnswerClass, TokenEndpointError
from vault_service.domain.audit import AuditAction, Outcome
from vault_service.domain.errors import Reason
from vault_service.domain.grant import GrantState, ProviderRevocation
from vault_service.domain.names import GrantName
from vault_service.worker.revocations import RevocationSweep

_DOWN = TokenEndpointError(AnswerClass.PROVIDER_FAULT, status=503)


@pytest.fixture
def house() -> House:
    return House()


def sweep(house: House) -> RevocationSweep:
    """The worker over the same queue."""
    return RevocationSweep(house.revoke_at_provider, house.clock, house.entropy)


async def test_revocation(house: House) -> None:
    """The grant becomes a tombstone without envelopes, and the provider is told at once."""
    grant = await house.grant()
    revoked = await house.revoke(house.call(), grant.name)
    assert (revoked.state, revoked.provider_revocation) == (
        GrantState.REVOKED,
        ProviderRevocation.DONE,
    )
    assert (revoked.access_envelope, revoked.refresh_envelope) == (None, None)
    (posted,) = house.endpoint.posted("revoke")
    assert (posted.url, posted.refresh_token) == ("https://op.example/revoke", "rt-1")
    assert house.stores.tables.queue == {}
    (record,) = house.records(AuditAction.GRANT_REVOKED)
    assert (record.outcome, record.caller, record.resource) == (
        Outcome.ALLOW,
        APP,
        str(grant.name),
    )
    assert record.detail["policy_rule"] == "allow-RevokeGrant"
    assert len(house.records(AuditAction.PROVIDER_REVOCATION_DONE)) == 1


async def test_revoked_already(house: House) -> None:
    """Revoking again answers the same, and neither records nor tells anyone twice."""
    grant = await house.grant()
    first = await house.revoke(house.call(), grant.name)
    assert await house.revoke(house.call(), grant.name) == first
    assert len(house.records(AuditAction.GRANT_REVOKED)) == 1
    assert len(house.endpoint.posted("revoke")) == 1


async def test_no_revocation_endpoint(house: House) -> None:
    """Where the provider has no endpoint, that is said and nothing is queued."""
    grant = await house.grant(revocation_endpoint="")
    revoked = await house.revoke(house.call(), grant.name)
    assert revoked.provider_revocation is ProviderRevocation.UNSUPPORTED
    assert house.endpoint.posted("revoke") == []
    assert house.stores.tables.queue == {}
    assert house.records(AuditAction.PROVIDER_REVOCATION_ABANDONED) == []


async def test_dead_provider(house: House) -> None:
    """A provider that fails holds nothing up: PENDING, and the worker tells it later."""
    grant = await house.grant()
    house.endpoint.revocation_errors.extend([_DOWN, _DOWN])
    revoked = await house.revoke(house.call(), grant.name)
    assert (revoked.state, revoked.provider_revocation) == (
        GrantState.REVOKED,
        ProviderRevocation.PENDING,
    )
    await refused(Reason.GRANT_REVOKED, house.token(grant.name))
    await sweep(house).step()
    assert len(house.endpoint.posted("revoke")) == 1
    house.clock.advance(31)
    await sweep(house).step()
    house.clock.advance(61)
    await sweep(house).step()
    assert len(house.endpoint.posted("revoke")) == 3
    assert (await house.row(grant.name)).provider_revocation is ProviderRevocation.DONE
    (record,) = house.records(AuditAction.PROVIDER_REVOCATION_DONE)
    assert (record.caller, record.rpc) == ("", "worker/RevocationSweep")


async def test_slow_provider(house: House) -> None:
    """A provider that hangs does not keep the caller: the answer comes before its deadline."""
    grant = await house.grant()
    held = house.endpoint.hold()
    revoked = await house.revoke(house.call(budget_s=0.55), grant.name)
    assert revoked.provider_revocation is ProviderRevocation.PENDING
    held.set()
    assert await house.flights.drain(1) == 0
    assert (await house.row(grant.name)).provider_revocation is ProviderRevocation.DONE


async def test_caller_hangs_up(house: House) -> None:
    """A caller that leaves while the provider is told changes nothing."""
    grant = await house.grant()
    held = house.endpoint.hold()
    task = asyncio.create_task(house.revoke(house.call(), grant.name))
    await house.endpoint.arrived.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    held.set()
    assert await house.flights.drain(1) == 0
    assert (await house.row(grant.name)).provider_revocation is ProviderRevocation.DONE


async def test_tries_grow_rare(house: House) -> None:
    """A provider that stays dead is asked ever less often: in its first hour seven times."""
    grant = await house.grant()
    house.endpoint.revocation_errors.extend([_DOWN] * 400)
    await house.revoke(house.call(), grant.name)
    for _ in range(720):
        house.clock.advance(5)
        await sweep(house).step()
    assert len(house.endpoint.posted("revoke")) == 7


async def test_seven_days(house: House) -> None:
    """After seven days the envelope is given up, on record, and said to be UNSUPPORTED."""
    grant = await house.grant()
    house.endpoint.revocation_errors.extend([_DOWN] * 400)
    await house.revoke(house.call(), grant.name)
    for _ in range(200):
        house.clock.advance(3_600)
        await sweep(house).step()
    assert house.stores.tables.queue == {}
    row = await house.row(grant.name)
    assert row.provider_revocation is ProviderRevocation.UNSUPPORTED
    (record,) = house.records(AuditAction.PROVIDER_REVOCATION_ABANDONED)
    assert record.detail["provider_status"] == "503"
    tries = len(house.endpoint.posted("revoke"))
    assert limits.REVOCATION_KEEP_S / 3_600 <= tries <= limits.REVOCATION_KEEP_S / 3_600 + 10


async def test_keys_away(house: House) -> None:
    """Where the envelope cannot be opened now, it stays queued."""
    grant = await house.grant()
    other = House.beside(house)
    other.wrapper.unreachable = True
    revoked = await other.revoke(house.call(), grant.name)
    assert revoked.provider_revocation is ProviderRevocation.PENDING
    other.wrapper.unreachable = False
    house.clock.advance(31)
    await sweep(other).step()
    assert (await house.row(grant.name)).provider_revocation is ProviderRevocation.DONE


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (TokenEndpointError(AnswerClass.INVALID_GRANT, status=400), ProviderRevocation.DONE),
        (
            TokenEndpointError(
                AnswerClass.REQUEST_REFUSED, status=400, error="unsupported_token_type"
            ),
            ProviderRevocation.UNSUPPORTED,
        ),
        (
            TokenEndpointError(AnswerClass.CLIENT_REFUSED, status=401),
            ProviderRevocation.PENDING,
        ),
    ],
)
async def test_answers(
    house: House, error: TokenEndpointError, outcome: ProviderRevocation
) -> None:
    """A token dead already is done, a type that cannot be revoked is said, the rest is retried."""
    grant = await house.grant()
    house.endpoint.revocation_errors.append(error)
    revoked = await house.revoke(house.call(), grant.name)
    assert revoked.provider_revocation is outcome


async def test_no_refresh_token(house: House) -> None:
    """A grant without a refresh token has nothing to tell the provider."""
    grant = await house.grant()
    house.change_row(grant, refresh_envelope=None)
    revoked = await house.revoke(house.call(), grant.name)
    assert revoked.provider_revocation is ProviderRevocation.NONE
    assert house.endpoint.posted("revoke") == []


async def test_denials(house: House) -> None:
    """A denied tenant is refused; a denied row and a missing one look the same; all stays."""
    grant = await house.grant()
    await refused(Reason.CALLER_NOT_ALLOWED, house.revoke(house.call(ROGUE), grant.name))

    def no_revoking(_: Caller, permission: Permission, __: Resource) -> bool:
        return permission is not Permission.REVOKE_GRANT

    house.policy.only = no_revoking
    denied = await refused(Reason.GRANT_NOT_FOUND, house.revoke(house.call(), grant.name))
    missing = GrantName(TENANT, house.entropy.uuid7())
    absent = await refused(Reason.GRANT_NOT_FOUND, house.revoke(house.call(), missing))
    assert (denied.message, denied.metadata) == (absent.message, absent.metadata)
    assert (await house.row(grant.name)).state is GrantState.ACTIVE


async def test_unrecordable_revocation(house: House) -> None:
    """A revocation that cannot be put on record does not happen."""
    grant = await house.grant()
    house.stores.audit_unavailable = True
    await refused(Reason.AUDIT_UNAVAILABLE, house.revoke(house.call(), grant.name))
    house.stores.audit_unavailable = False
    assert (await house.row(grant.name)).state is GrantState.ACTIVE


async def test_read_grants(house: House) -> None:
    """Grants are read one by one and listed by owner, a denied row like a missing one."""
    grant = await house.grant()
    assert (await house.read.get(house.call(), grant.name)).name == grant.name
    page = await house.read.list(house.call(), TENANT, "u-1", 50, "")
    assert [each.name for each in page.items] == [grant.name]
    assert (await house.read.list(house.call(), TENANT, "u-9", 50, "")).items == []
    missing = GrantName(TENANT, house.entropy.uuid7())
    absent = await refused(Reason.GRANT_NOT_FOUND, house.read.get(house.call(), missing))
    house.policy.allowed.discard((APP, Permission.GET_GRANT))
    denied = await refused(Reason.GRANT_NOT_FOUND, house.read.get(house.call(), grant.name))
    assert denied.message == absent.message
    house.policy.allowed.discard((APP, Permission.LIST_GRANTS))
    await refused(Reason.CALLER_NOT_ALLOWED, house.read.list(house.call(), TENANT, "", 50, ""))
