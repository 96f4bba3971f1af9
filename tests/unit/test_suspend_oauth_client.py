"""SuspendOAuthClient and ResumeOAuthClient: the kill switch, and taking it back."""

from __future__ import annotations

import pytest

from tests.support.house import APP, CLIENT, ROGUE, TENANT, House, refused
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason
from vault_service.domain.grant import Grant, GrantState
from vault_service.domain.names import OAuthClientName


@pytest.fixture
async def house() -> House:
    return House()


@pytest.fixture
async def grant(house: House) -> Grant:
    return await house.grant()


async def test_everything_stops(house: House, grant: Grant) -> None:
    """Consents, their completion, refreshes and tokens that are still valid: all end at once."""
    started = await house.started(label="second")
    client = await house.suspend.suspend(house.call(), CLIENT)
    assert client.suspend_time == house.clock.now()
    posts = len(house.endpoint.posted("refresh"))
    for answer in (
        house.started(), house.complete(house.call(), house.callback(started)),
        house.token(grant.name),
    ):  # fmt: skip
        error = await refused(Reason.KILL_SWITCH, answer)
        assert error.metadata == {"oauth_client": str(CLIENT)}
    house.clock.advance(4_000)
    await refused(Reason.KILL_SWITCH, house.token(grant.name))
    assert len(house.endpoint.posted("refresh")) == posts
    assert (await house.row(grant.name)).state is GrantState.ACTIVE


async def test_other_processes_see_it(house: House, grant: Grant) -> None:
    """A process that has the grant in memory asks the row again at each disclosure."""
    other = House.beside(house)
    assert (await other.token(grant.name)).grant == grant.name
    await house.suspend.suspend(house.call(), CLIENT)
    await refused(Reason.KILL_SWITCH, other.token(grant.name))


async def test_resume(house: House, grant: Grant) -> None:
    """Resumed, all goes on where it was, the consent that had begun too."""
    started = await house.started(label="second")
    await house.suspend.suspend(house.call(), CLIENT)
    client = await house.suspend.resume(house.call(), CLIENT)
    assert client.suspend_time is None
    assert (await house.token(grant.name)).grant == grant.name
    completed = await house.complete(house.call(), house.callback(started))
    assert completed.grant.state is GrantState.ACTIVE


async def test_records(house: House, grant: Grant) -> None:
    """Each change is on record once, with the rule; saying it again changes nothing."""
    for step in (house.suspend.suspend, house.suspend.suspend, house.suspend.resume,
                 house.suspend.resume):  # fmt: skip
        await step(house.call(), CLIENT)
    (suspended,) = house.records(AuditAction.OAUTH_CLIENT_SUSPENDED)
    (resumed,) = house.records(AuditAction.OAUTH_CLIENT_RESUMED)
    assert suspended.detail["policy_rule"] == "allow-SuspendOAuthClient"
    assert resumed.detail["policy_rule"] == "allow-ResumeOAuthClient"
    assert {suspended.resource, resumed.resource} == {str(CLIENT)}
    assert {suspended.caller, resumed.caller} == {APP}


async def test_revocation_still_works(house: House, grant: Grant) -> None:
    """A suspended registration does not keep anybody from revoking."""
    await house.suspend.suspend(house.call(), CLIENT)
    assert (await house.revoke(house.call(), grant.name)).state is GrantState.REVOKED


async def test_denied_and_absent(house: House, grant: Grant) -> None:
    """Who may not is told the same whether or not it is there; who may is told it is not."""
    absent = OAuthClientName(TENANT, "absent")
    for step in (house.suspend.suspend, house.suspend.resume):
        for name in (CLIENT, absent):
            await refused(Reason.CALLER_NOT_ALLOWED, step(house.call(ROGUE), name))
        await refused(Reason.OAUTH_CLIENT_NOT_FOUND, step(house.call(), absent))
    assert (await house.token(grant.name)).grant == grant.name


async def test_unrecordable(house: House, grant: Grant) -> None:
    """What cannot be put on record is not done."""
    house.stores.audit_unavailable = True
    await refused(Reason.AUDIT_UNAVAILABLE, house.suspend.suspend(house.call(), CLIENT))
    house.stores.audit_unavailable = False
    assert (await house.token(grant.name)).grant == grant.name
