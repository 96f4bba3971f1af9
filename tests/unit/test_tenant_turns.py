"""Work in the background: what of one tenant hangs or fails holds up no other tenant's."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from tests.fakes.token_endpoint import FakeTokenEndpoint, Posted
from tests.support.house import CLIENT, TENANT, House
from tests.support.two_tenants import OTHER_TENANT, expired_grant, register
from tests.unit.test_webhooks import KEY, written
from vault_service.domain import limits
from vault_service.domain.attempt import SpoolEntry, SpoolKind, SpoolMark
from vault_service.domain.audit import AuditAction
from vault_service.domain.event import EventKind
from vault_service.domain.grant import Grant, ProviderRevocation
from vault_service.domain.names import OAuthClientName, WebhookName
from vault_service.domain.on_behalf import TENANT as ON_BEHALF
from vault_service.domain.webhook import SignedMessage, WebhookAnswer
from vault_service.usecases.under_way import UnderWay
from vault_service.worker.webhooks import WebhookDispatch

_REVOKED = AuditAction.GRANT_REVOKED
THEIRS = OAuthClientName(OTHER_TENANT, "their-crm")


class HangingRevocations(FakeTokenEndpoint):
    """One URL's requests hang until ``gate`` is set; ``hangs`` is set when one does."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.let = asyncio.Event()
        self.under_way = 0

    async def _arrive(self, entry: Posted) -> None:
        await super()._arrive(entry)
        if entry.kind == "revoke" and entry.url == self.url:
            self.under_way += 1
            await self.let.wait()


async def revoked(house: House, *grants: Grant) -> None:
    """Tombstones, whose providers nobody has told yet."""
    for grant in grants:
        assert await house.stores.grants.revoke(
            grant, True, house.recorder.done(house.call(), _REVOKED, grant.tenant, str(grant.name))
        )


async def test_hanging_revocations_of_one_tenant(monkeypatch: pytest.MonkeyPatch) -> None:
    """While as many revocations of one tenant hang as it may have, the worker's next look tells
    another tenant's provider at once, and the hanging ones end when their provider answers."""
    monkeypatch.setattr(limits, "REVOCATION_WAIT_S", 0.0)
    hangs = HangingRevocations("https://slow.example/revoke")
    house = House(endpoint=hangs)
    await register(house, CLIENT, revocation_endpoint=hangs.url)
    await register(house, THEIRS)
    many = [await expired_grant(house, CLIENT, f"u-{n}") for n in range(60)]
    await revoked(house, *many)
    while hangs.under_way < limits.ERRAND_PLACES_MAX // 2:
        await house.revoke_at_provider.due(house.call())
        await asyncio.sleep(0)
    healthy = await expired_grant(house, THEIRS)
    await revoked(house, healthy)
    assert await house.revoke_at_provider.due(house.call()) == 1
    while (await house.row(healthy.name)).provider_revocation is ProviderRevocation.PENDING:
        await asyncio.sleep(0)
    assert hangs.under_way == limits.ERRAND_PLACES_MAX // 2
    hangs.let.set()
    while (await house.row(many[0].name)).provider_revocation is ProviderRevocation.PENDING:
        await asyncio.sleep(0)
    await house.revoke_at_provider.close()


async def test_a_fault_of_one_is_told_by_the_next_look() -> None:
    """What one task raises after nobody waited for it any more is raised by the next wait, once;
    the others go on, and all can be given up."""
    under_way = UnderWay(3)
    gate = asyncio.Event()

    async def fails() -> None:
        await gate.wait()
        raise RuntimeError

    async def hangs() -> None:
        await asyncio.Event().wait()

    under_way.begin("a", fails())
    under_way.begin("b", hangs())
    await under_way.wait(0.0)
    assert (under_way.room, under_way.held) == (1, {"a": 1, "b": 1})
    gate.set()
    while under_way.room == 1:
        await asyncio.sleep(0)
    with pytest.raises(RuntimeError):
        await under_way.wait(0.0)
    await under_way.wait(0.0)
    assert under_way.held == {"b": 1}
    await under_way.close()
    assert under_way.room == 3


class Endpoints:
    """Endpoints of one tenant hang; each delivery says for whom it asks."""

    def __init__(self) -> None:
        self.hanging: Counter[str] = Counter()
        self.taken: list[str] = []

    async def send(self, message: SignedMessage) -> WebhookAnswer:
        if ON_BEHALF.get() == TENANT:
            self.hanging[message.url] += 1
            await asyncio.Event().wait()
        self.taken.append(f"{ON_BEHALF.get()} {message.url}")
        return WebhookAnswer(204)


async def put(house: House, tenant: str, name: str) -> None:
    """One more webhook."""
    await house.webhooks.put(
        house.call(), WebhookName(tenant, name), url=f"https://{name}.example/hook",
        kinds=frozenset[EventKind](), secret=written(KEY), etag="",
    )  # fmt: skip


async def look_until(dispatch: WebhookDispatch, seen: Callable[[], bool]) -> None:
    """As the worker does, again and again."""
    while not seen():
        await dispatch.step()
        await asyncio.sleep(0)


async def test_hanging_endpoints_of_one_tenant(monkeypatch: pytest.MonkeyPatch) -> None:
    """While all ten endpoints of one tenant hang, each with all that one may have, another tenant's
    deliveries go out, those that come later too; each asks on behalf of its own tenant."""
    monkeypatch.setattr(limits, "WEBHOOK_SWEEP_S", 0.001)
    house, endpoints = House(), Endpoints()
    house.deliver_webhooks._endpoint = endpoints
    await register(house, CLIENT)
    await register(house, THEIRS)
    for number in range(limits.WEBHOOKS_MAX_COUNT):
        await put(house, TENANT, f"w{number}")
    await put(house, OTHER_TENANT, "theirs")
    for number in range(6):
        await expired_grant(house, CLIENT, f"u-{number}")
    dispatch = WebhookDispatch(house.deliver_webhooks, house.clock, house.entropy)
    all_of_them = limits.WEBHOOKS_MAX_COUNT * limits.WEBHOOK_PER_ENDPOINT_MAX
    await look_until(dispatch, lambda: endpoints.hanging.total() == all_of_them)
    assert set(endpoints.hanging.values()) == {limits.WEBHOOK_PER_ENDPOINT_MAX}
    for number in range(3):
        await expired_grant(house, THEIRS, f"u-{number}")
        await look_until(dispatch, lambda: len(endpoints.taken) > number)  # noqa: B023
    assert endpoints.hanging.total() == all_of_them
    assert set(endpoints.taken) == {f"{OTHER_TENANT} https://theirs.example/hook"}
    await dispatch.close()


async def test_a_fault_of_fan_out_keeps_nobody_from_what_is_due(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where events cannot become deliveries the look fails, and what is due already is sent."""
    house = House()
    await register(house, CLIENT)
    await put(house, TENANT, "pager")
    await expired_grant(house, CLIENT)
    await house.deliver_webhooks.fan_out()

    async def fails() -> int:
        raise RuntimeError

    dispatch = WebhookDispatch(house.deliver_webhooks, house.clock, house.entropy)
    monkeypatch.setattr(house.deliver_webhooks, "fan_out", fails)
    with pytest.raises(RuntimeError):
        await dispatch.step()
    while not house.webhook_endpoint.sent:
        await asyncio.sleep(0)
    await dispatch.close()


def left(tenant: str, count: int) -> list[SpoolEntry]:
    """Exchanges of a process that died."""
    made = (uuid.uuid4() for _ in range(count))
    mark, kind = SpoolMark.SENT, SpoolKind.CONSENT
    return [SpoolEntry(uuid.UUID(int=1), 0, one, tenant, one, mark, None, kind) for one in made]


async def test_exchanges_that_are_left_over_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many exchanges one tenant has in the spool, another's is looked at with the first
    batch, and all have their turn."""
    house = House()
    entries = [*left(TENANT, 2 * limits.ATTEMPT_BATCH_MAX), *left(OTHER_TENANT, 1)]
    looked: list[SpoolEntry] = []

    async def all_left() -> Sequence[SpoolEntry]:
        return entries

    async def look(call: object, entry: SpoolEntry) -> None:
        looked.append(entry)

    monkeypatch.setattr(house.spool, "left_over", all_left)
    monkeypatch.setattr(house.consents.recover, "_in_flight", look)
    await house.consents.recover(house.call())
    assert entries[-1] in looked
    for _ in range(2):
        await house.consents.recover(house.call())
    assert {entry.attempt_id for entry in looked} == {entry.attempt_id for entry in entries}
