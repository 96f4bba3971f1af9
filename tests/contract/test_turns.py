"""What is taken from a queue of all tenants: no tenant's backlog keeps another's from its turn. One
suite for the fakes and for PostgreSQL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.contract.conftest import Stores
from tests.support.attempts import SPOOL, begin
from tests.support.samples import (
    a_grant,
    a_profile,
    a_record,
    a_webhook,
    an_authorization,
    discard_token,
    put_grant,
)
from vault_service.domain.attempt import AttemptState, WaitsFor
from vault_service.domain.grant import Grant
from vault_service.domain.names import ProviderName
from vault_service.domain.webhook import Delivery, Webhook, WebhookAnswer
from vault_service.ports import Ending

NOBODY: Mapping[str, int] = {}
PUT_OFF = Ending(AttemptState.IN_DOUBT, "REFRESH_IN_DOUBT", pause_s=90.0, until_it_answers=True)
KEPT = Ending(AttemptState.IN_DOUBT, "REFRESH_IN_DOUBT", waits_for=WaitsFor.PROFILE, revision=1)


async def consent(stores: Stores, tenant: str, label: str) -> Grant:
    """A grant of its own, which is an event too."""
    return await put_grant(stores.authorizations, stores.grants, a_grant(tenant), label)


async def put_webhook(stores: Stores, tenant: str, name: str) -> Webhook:
    """One more endpoint."""
    webhook = a_webhook(tenant, name)
    assert await stores.webhooks.insert(webhook, a_record(tenant))
    return webhook


async def take(
    stores: Stores, room: int, under_way: Collection[Delivery] = ()
) -> Sequence[Delivery]:
    """Deliveries that are due, four to one webhook at most."""
    return await stores.webhook_queue.take_due(room, 4, under_way)


async def test_webhooks_of_one_tenant_leave_room(stores: Stores) -> None:
    """Ten endpoints of one tenant with a backlog each take half of the places, and another tenant's
    one delivery goes with the same look; so does one that comes when they all hang."""
    for number in range(10):
        await put_webhook(stores, "acme", f"w{number}")
    await put_webhook(stores, "globex", "pager")
    for number in range(5):
        await consent(stores, "acme", f"l{number}")
    await consent(stores, "globex", "mail")
    await stores.webhook_queue.fan_out(100)
    taken = await take(stores, 16)
    assert Counter(one.tenant for one in taken) == {"acme": 8, "globex": 1}
    hanging = [one for one in taken if one.tenant == "acme"]
    assert len({one.webhook_id for one in hanging}) == 8
    await consent(stores, "globex", "more")
    await stores.webhook_queue.fan_out(100)
    (next_one,) = await take(stores, 16 - len(hanging), hanging)
    assert next_one.tenant == "globex"


async def test_a_webhook_that_hangs_lets_others_of_its_tenant_go_first(stores: Stores) -> None:
    """The endpoint that has something put off or under way comes after one that has not, however
    old its backlog is."""
    hanging = await put_webhook(stores, "acme", "hanging")
    for number in range(4):
        await consent(stores, "acme", f"l{number}")
    await stores.webhook_queue.fan_out(100)
    for delivery in await stores.webhook_queue.take_due(4, 2, ()):
        await stores.webhook_queue.postpone(delivery, WebhookAnswer(0), 3_600)
    healthy = await put_webhook(stores, "acme", "healthy")
    await consent(stores, "acme", "new")
    await stores.webhook_queue.fan_out(100)
    order = [(await take(stores, 1))[0].webhook_id for _ in range(2)]
    assert order == [healthy.webhook_id, hanging.webhook_id]


async def test_a_failed_delivery_costs_its_tenant_no_turn(stores: Stores) -> None:
    """A tenant with one delivery that was put off has its turns among tenants with a backlog."""
    await put_webhook(stores, "acme", "pager")
    await consent(stores, "acme", "failed")
    await stores.webhook_queue.fan_out(100)
    (failed,) = await take(stores, 1)
    await stores.webhook_queue.postpone(failed, WebhookAnswer(503), 3_600)
    await consent(stores, "acme", "next")
    await put_webhook(stores, "globex", "pager")
    for number in range(25):
        await consent(stores, "globex", f"l{number}")
    await stores.webhook_queue.fan_out(100)
    seen: list[str] = []
    while "acme" not in seen and len(seen) < 24:  # each look draws one of two tenants
        (one,) = await take(stores, 1)
        await stores.webhook_queue.delivered(one)
        seen.append(one.tenant)
    assert "acme" in seen


async def test_events_become_deliveries_of_all_tenants(stores: Stores) -> None:
    """However many events and webhooks one tenant has, a look makes as many deliveries of
    another's; what is left is made by the next looks."""
    for number in range(4):
        await put_webhook(stores, "acme", f"w{number}")
    await put_webhook(stores, "globex", "pager")
    for number in range(3):
        await consent(stores, "acme", f"l{number}")
        await consent(stores, "globex", f"l{number}")
    assert await stores.webhook_queue.fan_out(4) == 4 + 3
    while await stores.webhook_queue.fan_out(4):
        pass
    made: Counter[str] = Counter()
    while taken := await take(stores, 50):
        made.update(one.tenant for one in taken)
    assert made == {"acme": 12, "globex": 3}


async def _revoke(stores: Stores, tenant: str, label: str) -> None:
    grant = await consent(stores, tenant, label)
    assert await stores.grants.revoke(grant, True, a_record(tenant))


async def test_revocations_take_turns(stores: Stores) -> None:
    """A tenant's backlog of revocations leaves half of a batch, and one that has many under way
    gets less than it leaves free."""
    for number in range(6):
        await _revoke(stores, "acme", f"l{number}")
    await _revoke(stores, "globex", "mail")
    first = await stores.revocations.take_due(4, NOBODY)
    assert Counter(one.grant.tenant for one in first) == {"acme": 2, "globex": 1}
    await _revoke(stores, "globex", "more")
    second = await stores.revocations.take_due(4, {"acme": 2})
    assert Counter(one.grant.tenant for one in second) == {"acme": 1, "globex": 1}
    assert list(await stores.revocations.take_due(2, {"acme": 4})) == []


async def test_discarded_tokens_take_turns(stores: Stores) -> None:
    """As for revocations of grants."""
    for number in range(6):
        await discard_token(
            stores.authorizations, an_authorization(state_hash=bytes([number] * 32))
        )
    await discard_token(stores.authorizations, an_authorization("globex"))
    first = await stores.discarded.take_due(4, NOBODY)
    assert Counter(one.tenant for one in first) == {"acme": 2, "globex": 1}
    assert len(await stores.discarded.take_due(4, {"acme": 2})) == 1


async def test_kept_answers_take_turns(stores: Stores) -> None:
    """A tenant with many kept answers to read again does not keep another one's from its turn: each
    look goes on where the one before it ended, though what it found stays due."""
    for tenant, label in (("acme", "a"), ("acme", "b"), ("acme", "c"), ("globex", "d")):
        begun = await begin(stores.attempts, await consent(stores, tenant, label))
        await stores.attempts.keep_orphan(begun.attempt, b"sealed", a_record(tenant), 1)
        assert await stores.attempts.end(begun.lease, begun.attempt, KEPT, a_record(tenant))
    for tenant in ("acme", "globex"):
        mended = a_profile(default_life_s=77)
        await stores.providers.put(ProviderName(tenant, "op"), mended, a_record(tenant))
    first, second = [await stores.attempts.due_anew(2) for _ in range(2)]
    assert len({attempt.attempt_id for attempt in (*first, *second)}) == 4


async def test_what_successes_release_is_shared_out(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where several providers answer again, each has its turn among what is released."""
    monkeypatch.setattr("vault_service.adapters.postgres.attempts._FIRST_PAUSE", timedelta(0))
    monkeypatch.setattr("vault_service.domain.limits.IN_DOUBT_RETRY_S", 0.0)
    for tenant, label, pause_s in (
        ("acme", "a", 60.0), ("acme", "b", 60.0), ("acme", "c", 60.0), ("globex", "d", 90.0),
    ):  # fmt: skip
        begun = await begin(stores.attempts, await consent(stores, tenant, label), 0.05)
        ending = replace(PUT_OFF, pause_s=pause_s)
        assert await stores.attempts.end(begun.lease, begun.attempt, ending, a_record(tenant))
    await stores.behind.advance(0.2)
    both = [ProviderName("acme", "op"), ProviderName("globex", "op")]
    assert await stores.attempts.hasten(both, 2) == 2
    await stores.behind.advance(0.01)
    due = await stores.attempts.unresolved([SPOOL], 10)
    assert {attempt.tenant for attempt in due} == {"acme", "globex"}
