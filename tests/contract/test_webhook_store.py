"""ports.WebhookStore and ports.WebhookQueue: one suite for the fakes and for PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.contract.conftest import Stores
from tests.support.samples import LONG_AGO, a_grant, a_record, a_webhook, new_id, put_grant
from vault_service.domain import limits
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.event import EventKind
from vault_service.domain.grant import Grant
from vault_service.domain.names import WebhookName
from vault_service.domain.webhook import Delivery, Webhook, WebhookAnswer, WebhookState

_NAME = WebhookName("acme", "pager")
_FAILED = WebhookAnswer(503, "status 503")


async def _put(stores: Stores, webhook: Webhook | None = None) -> Webhook:
    webhook = webhook or a_webhook()
    assert await stores.webhooks.insert(webhook, a_record(webhook.name.tenant))
    stored = await stores.webhooks.get(webhook.name)
    assert stored is not None
    return stored


async def _consent(stores: Stores, label: str = "mail", tenant: str = "acme") -> Grant:
    return await put_grant(stores.authorizations, stores.grants, a_grant(tenant), label)


async def _due(stores: Stores, limit: int = 10) -> Sequence[Delivery]:
    await stores.webhook_queue.fan_out(100)
    return await stores.webhook_queue.take_due(limit, limit, ())


async def test_insert_keeps_every_field(stores: Stores) -> None:
    """A webhook reads back as it was written, by name and by id, with the stores' own times."""
    webhook = a_webhook(kinds=frozenset({EventKind.REVOKED, EventKind.CREATED}))
    stored = await _put(stores, webhook)
    times: dict[str, Any] = {
        "create_time": stored.create_time,
        "update_time": stored.update_time,
        "read_time": stored.read_time,
    }
    assert stored == replace(webhook, **times)
    assert LONG_AGO < stored.create_time <= stored.read_time
    by_id = await stores.webhooks.get_by_id("acme", webhook.webhook_id)
    assert by_id is not None
    assert by_id.name == webhook.name
    assert await stores.webhooks.get_by_id("globex", webhook.webhook_id) is None
    assert await stores.webhooks.get(WebhookName("globex", "pager")) is None


async def test_a_name_is_taken_once(stores: Stores) -> None:
    """A second webhook of a name is refused and writes nothing; in another tenant it is not."""
    first = await _put(stores)
    before = len(await stores.records())
    assert not await stores.webhooks.insert(a_webhook(url="https://b.example"), a_record())
    found = await _get(stores)
    assert found == replace(first, read_time=found.read_time)
    assert len(await stores.records()) == before
    await _put(stores, a_webhook("globex"))


async def _get(stores: Stores) -> Webhook:
    found = await stores.webhooks.get(_NAME)
    assert found is not None
    return found


async def test_a_tenant_has_at_most_ten(stores: Stores) -> None:
    """The eleventh webhook of a tenant is WEBHOOK_LIMIT, also when many are made at once."""
    made = await asyncio.gather(
        *(
            stores.webhooks.insert(a_webhook(webhook=f"w{n}"), a_record())
            for n in range(limits.WEBHOOKS_MAX_COUNT + 3)
        ),
        return_exceptions=True,
    )
    refused = [one for one in made if isinstance(one, VaultError)]
    assert [one.reason for one in refused] == [Reason.WEBHOOK_LIMIT] * 3
    page = await stores.webhooks.list("acme", 100, "")
    assert len(page.items) == limits.WEBHOOKS_MAX_COUNT
    await _put(stores, a_webhook("globex"))


async def test_list_by_id_in_pages(stores: Stores) -> None:
    """Webhooks are listed by id, page by page, of one tenant only."""
    for name in ("c", "a", "b"):
        await _put(stores, a_webhook(webhook=name))
    await _put(stores, a_webhook("globex", "z"))
    page = await stores.webhooks.list("acme", 2, "")
    assert [one.name.webhook for one in page.items] == ["a", "b"]
    page = await stores.webhooks.list("acme", 2, page.next_token)
    assert [one.name.webhook for one in page.items] == ["c"]
    assert page.next_token == ""


async def test_replace_compares_the_revision(stores: Stores) -> None:
    """A row that moved is not written over; one that did not is, at its next revision."""
    webhook = await _put(stores)
    changed = replace(webhook, url="https://b.example", kinds=frozenset({EventKind.DELETED}))
    assert await stores.webhooks.replace(changed, 60, a_record())
    assert not await stores.webhooks.replace(changed, 60, a_record())
    found = await _get(stores)
    assert (found.url, found.kinds, found.revision) == (changed.url, changed.kinds, 2)
    assert len(found.secrets) == 1


async def test_a_secret_before_signs_on_for_the_overlap(stores: Stores) -> None:
    """After a new secret both are in force until the overlap ends; another change of the webhook
    does not lengthen it."""
    webhook = await _put(stores)
    changed = replace(
        webhook,
        secret_envelope=b"sealed secret 2",
        secret_version=2,
        previous_envelope=webhook.secret_envelope,
        previous_version=1,
    )
    assert await stores.webhooks.replace(changed, 3.0, a_record())
    both = await _get(stores)
    assert [envelope for _, envelope in both.secrets] == [b"sealed secret 2", b"sealed secret 1"]
    assert [binding.version for binding, _ in both.secrets] == [2, 1]
    assert await stores.webhooks.replace(replace(both, url="https://c.example"), 60, a_record())
    again = await _get(stores)
    assert again.previous_until == both.previous_until
    await stores.behind.advance(3.1)
    assert [envelope for _, envelope in (await _get(stores)).secrets] == [b"sealed secret 2"]


async def test_events_after_it_was_made_become_deliveries(stores: Stores) -> None:
    """A webhook is told of what happens after it was made, each event once, of its tenant only,
    as JSON that names the grant and holds no token."""
    await _consent(stores, "before")
    webhook = await _put(stores)
    grant = await _consent(stores, "after")
    await _consent(stores, "theirs", "globex")
    (delivery,) = await _due(stores)
    assert delivery.webhook_id == webhook.webhook_id
    told = json.loads(delivery.body)
    assert told["type"] == "grant.created"
    assert told["data"]["grant"] == str(grant.name)
    assert told["data"]["id"] == str(delivery.event_id)
    assert "token" not in delivery.body
    assert await stores.webhook_queue.fan_out(100) == 0
    assert await _due(stores) == []


async def test_kinds_narrow(stores: Stores) -> None:
    """A webhook with kinds is told of these only."""
    await _put(stores, a_webhook(kinds=frozenset({EventKind.REVOKED})))
    grant = await _consent(stores)
    await stores.grants.revoke(grant, False, a_record())
    told = [json.loads(one.body)["type"] for one in await _due(stores)]
    assert told == ["grant.revoked"]


async def test_fan_out_in_batches(stores: Stores) -> None:
    """However small the batch, each event becomes one delivery, in order."""
    await _put(stores)
    names = [str((await _consent(stores, f"l{n}")).name) for n in range(5)]
    looked = 0
    while step := await stores.webhook_queue.fan_out(2):
        looked += step
    assert looked == 5
    due = await stores.webhook_queue.take_due(10, 10, ())
    assert [json.loads(one.body)["data"]["grant"] for one in due] == names


async def test_what_is_taken_is_hidden(stores: Stores) -> None:
    """A taken delivery is not given to another, until its minute has passed."""
    await _put(stores)
    await _consent(stores)
    assert len(await _due(stores)) == 1
    assert await _due(stores) == []
    await stores.behind.make_deliveries_due()
    assert len(await _due(stores)) == 1


async def test_takers_share_what_is_due(stores: Stores) -> None:
    """Many takers at once get each delivery once."""
    await _put(stores)
    for n in range(12):
        await _consent(stores, f"l{n}")
    await stores.webhook_queue.fan_out(100)
    taken = await asyncio.gather(*(stores.webhook_queue.take_due(5, 5, ()) for _ in range(6)))
    positions = [one.position for batch in taken for one in batch]
    assert len(positions) == len(set(positions))
    rest = await stores.webhook_queue.take_due(100, 100, ())
    assert len(positions) + len(rest) == 12


async def test_an_endpoint_gets_no_more_than_its_share(stores: Stores) -> None:
    """No webhook gets more than the share of one look, and a busy one nothing."""
    first = await _put(stores)
    second = await _put(stores, a_webhook(webhook="other"))
    for n in range(6):
        await _consent(stores, f"l{n}")
    await stores.webhook_queue.fan_out(100)
    taken = await stores.webhook_queue.take_due(100, 2, ())
    counts = [one.webhook_id for one in taken]
    assert counts.count(first.webhook_id) == counts.count(second.webhook_id) == 2
    under_way = [one for one in taken if one.webhook_id == first.webhook_id]
    taken = await stores.webhook_queue.take_due(100, 2, under_way)
    assert {one.webhook_id for one in taken} == {second.webhook_id}
    assert len(await stores.webhook_queue.take_due(1, 2, ())) == 1


async def test_later_events_of_a_grant_wait_for_the_earlier(stores: Stores) -> None:
    """While an event is young and undelivered, later ones of its grant wait and others do not;
    after some attempts they overtake it."""
    await _put(stores)
    grant = await _consent(stores)
    await stores.grants.revoke(grant, False, a_record())
    other = await _consent(stores, "other")
    due = await _due(stores)
    told = [json.loads(one.body)["data"] for one in due]
    assert [one["kind"] for one in told] == ["CREATED", "CREATED"]
    assert told[1]["grant"] == str(other.name)
    for _ in range(limits.WEBHOOK_ORDER_ATTEMPTS):
        await stores.webhook_queue.postpone(due[0], _FAILED, 3_600)
    assert [json.loads(one.body)["data"]["kind"] for one in await _due(stores)] == ["REVOKED"]


async def test_postponed_is_due_later(stores: Stores) -> None:
    """A postponed delivery waits and knows its attempts; the time it was first due stays."""
    await _put(stores)
    await _consent(stores)
    (delivery,) = await _due(stores)
    await stores.webhook_queue.postpone(delivery, _FAILED, 3_600)
    assert await _due(stores) == []
    await stores.behind.make_deliveries_due()
    (again,) = await _due(stores)
    assert (again.attempts, again.begin_time) == (1, delivery.begin_time)
    assert (again.event_id, again.body) == (delivery.event_id, delivery.body)


async def test_delivered_is_gone(stores: Stores) -> None:
    """What was delivered is never due again."""
    await _put(stores)
    await _consent(stores)
    (delivery,) = await _due(stores)
    await stores.webhook_queue.delivered(delivery)
    await stores.behind.make_deliveries_due()
    assert await _due(stores) == []


async def test_dead_letters(stores: Stores) -> None:
    """A buried delivery is on record once, listed with its last answer, and sent no more; sent
    again it is as new, with its old id."""
    await _put(stores)
    grant = await _consent(stores)
    (delivery,) = await _due(stores)
    record = a_record()
    await stores.webhook_queue.bury(delivery, _FAILED, record)
    await stores.webhook_queue.bury(delivery, _FAILED, a_record())
    await stores.behind.make_deliveries_due()
    assert await _due(stores) == []
    assert (await stores.records())[0].record_id == record.record_id
    (letter,) = (await stores.webhooks.dead_letters(_NAME, 10, "")).items
    assert (letter.event_id, letter.grant, letter.kind) == (
        delivery.event_id,
        grant.name,
        EventKind.CREATED,
    )
    assert (letter.attempts, letter.status, letter.detail) == (1, 503, "status 503")
    assert await stores.webhooks.redeliver(_NAME, [new_id()], a_record()) == 0
    assert await stores.webhooks.redeliver(_NAME, [delivery.event_id], a_record()) == 1
    assert (await stores.webhooks.dead_letters(_NAME, 10, "")).items == []
    (again,) = await _due(stores)
    assert (again.event_id, again.attempts) == (delivery.event_id, 0)
    assert again.begin_time > delivery.begin_time or again.begin_time == again.read_time


async def test_dead_letters_in_pages_and_all_again(stores: Stores) -> None:
    """Dead letters are listed oldest first in pages; without ids all are sent again."""
    await _put(stores)
    for n in range(3):
        await _consent(stores, f"l{n}")
    due = await _due(stores)
    for delivery in due:
        await stores.webhook_queue.bury(delivery, _FAILED, a_record())
    page = await stores.webhooks.dead_letters(_NAME, 2, "")
    assert [one.event_id for one in page.items] == [one.event_id for one in due[:2]]
    page = await stores.webhooks.dead_letters(_NAME, 2, page.next_token)
    assert [one.event_id for one in page.items] == [due[2].event_id]
    assert await stores.webhooks.redeliver(WebhookName("globex", "pager"), (), a_record()) == 0
    assert await stores.webhooks.redeliver(_NAME, (), a_record()) == 3
    assert len(await _due(stores)) == 3


async def test_gone_ends_everything_until_it_is_put_again(stores: Stores) -> None:
    """After 410 what is on its way is dead and nothing is made; put again, the webhook goes on
    from where it stood."""
    webhook = await _put(stores)
    await _consent(stores)
    await stores.webhook_queue.fan_out(100)
    await stores.webhook_queue.mark_gone(webhook, a_record())
    await stores.webhook_queue.mark_gone(webhook, a_record())
    found = await _get(stores)
    assert (found.state, found.revision) == (WebhookState.GONE, 2)
    (letter,) = (await stores.webhooks.dead_letters(_NAME, 10, "")).items
    assert letter.status == 410
    await _consent(stores, "meanwhile")
    assert await stores.webhook_queue.fan_out(100) == 0
    enabled = replace(found, state=WebhookState.ENABLED)
    assert await stores.webhooks.replace(enabled, 60, a_record())
    assert len(await _due(stores)) == 1


async def test_delete_takes_all_of_it(stores: Stores) -> None:
    """A deleted webhook is gone with its deliveries, and its name is free for another one."""
    webhook = await _put(stores)
    await _consent(stores)
    await stores.webhook_queue.fan_out(100)
    assert await stores.webhooks.delete(_NAME, a_record())
    assert not await stores.webhooks.delete(_NAME, a_record())
    assert await stores.webhook_queue.take_due(10, 10, ()) == []
    assert await stores.webhooks.get_by_id("acme", webhook.webhook_id) is None
    await _put(stores, a_webhook())
    assert await _due(stores) == []


@pytest.mark.parametrize("change", ["insert", "replace", "delete"])
async def test_no_change_without_its_record(stores: Stores, change: str) -> None:
    """Where the record cannot be written the webhook stays as it was."""
    webhook = await _put(stores)
    await stores.behind.break_audit()
    changes = {
        "insert": lambda: stores.webhooks.insert(a_webhook(webhook="new"), a_record()),
        "replace": lambda: stores.webhooks.replace(
            replace(webhook, url="https://b.example"), 60, a_record()
        ),
        "delete": lambda: stores.webhooks.delete(_NAME, a_record()),
    }
    with pytest.raises(VaultError) as refused:
        await changes[change]()
    assert refused.value.reason is Reason.AUDIT_UNAVAILABLE
    page = await stores.webhooks.list("acme", 10, "")
    assert [(one.name, one.url) for one in page.items] == [(webhook.name, webhook.url)]
