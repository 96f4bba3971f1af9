"""Webhooks: what may be put, how deliveries are tried, and when they are given up."""

from __future__ import annotations

import asyncio
import base64
from datetime import timedelta

import pytest

from tests.support.house import TENANT, House, refused
from tests.unit.test_webhook_signature import by_hand
from vault_service.domain import limits
from vault_service.domain.audit import AuditAction
from vault_service.domain.envelope import Field
from vault_service.domain.errors import Reason
from vault_service.domain.event import EventKind
from vault_service.domain.names import WebhookName
from vault_service.domain.sensitive import Sensitive
from vault_service.domain.webhook import SignedMessage, Webhook, WebhookAnswer, WebhookState
from vault_service.worker.webhooks import WebhookDispatch

NAME = WebhookName(TENANT, "pager")
KEY, NEW_KEY = b"first-key-first-key-first", b"second-key-second-key-xx"


def written(key: bytes) -> Sensitive:
    return Sensitive.from_text("whsec_" + base64.b64encode(key).decode())


async def put(house: House, url: str = "https://pager.example/hook", **changes: object) -> Webhook:
    """As the operator puts it."""
    values: dict[str, object] = {
        "url": url, "kinds": frozenset[EventKind](), "secret": written(KEY), "etag": "",
    }  # fmt: skip
    return await house.webhooks.put(house.call(), NAME, **(values | changes))  # type: ignore[arg-type]


async def deliver_all(house: House) -> list[WebhookAnswer | None]:
    """One attempt of everything that is due."""
    await house.deliver_webhooks.fan_out()
    due = await house.deliver_webhooks.take(100, ())
    return [await house.deliver_webhooks.deliver(house.call(), each) for each in due]


def signatures(message: SignedMessage, *keys: bytes) -> str:
    """What must stand in the header."""
    content = f"{message.message_id}.{message.timestamp}.".encode() + message.body.reveal()
    return " ".join(by_hand(key, content) for key in keys)


async def test_a_signed_delivery() -> None:
    """An event is sent once, signed with the webhook's secret, under the event's id; the secret is
    stored sealed only."""
    house = House()
    await house.register()
    webhook = await put(house)
    assert KEY not in webhook.secret_envelope
    await house.consent()
    assert await deliver_all(house) == [WebhookAnswer(204)]
    (message,) = house.webhook_endpoint.sent
    assert message.url == "https://pager.example/hook"
    assert message.signature == signatures(message, KEY)
    assert message.timestamp == int(house.clock.now().timestamp())
    event = house.stores.tables.events[-1]
    assert message.message_id == str(event.event_id)
    assert b"at-1" not in message.body.reveal()
    assert house.envelopes.opened[-1] is Field.WEBHOOK_SECRET
    assert await deliver_all(house) == []


async def test_both_secrets_sign_for_a_day() -> None:
    """After a new secret both sign, the new one first; a day later only the new one."""
    house = House()
    await house.register()
    await put(house)
    await put(house, secret=written(NEW_KEY))
    await house.consent()
    await deliver_all(house)
    (message,) = house.webhook_endpoint.sent
    assert message.signature == signatures(message, NEW_KEY, KEY)
    house.clock.advance(limits.WEBHOOK_SECRET_OVERLAP_S + 1)
    await house.consent(label="again")
    await deliver_all(house)
    assert house.webhook_endpoint.sent[1].signature == signatures(
        house.webhook_endpoint.sent[1], NEW_KEY
    )


async def test_what_may_be_put() -> None:
    """A URL that egress would never call, a new webhook without a secret, and an etag that is not
    the webhook's are refused, and nothing is stored."""
    house = House()
    await house.register()
    await refused(Reason.ENDPOINT_NOT_ALLOWED, put(house, "https://internal.example/hook"))
    await refused(Reason.ENDPOINT_NOT_ALLOWED, put(house, "http://pager.example/hook"))
    await refused(Reason.FIELD_MALFORMED, put(house, secret=None))
    await refused(Reason.FIELD_MALFORMED, put(house, secret=Sensitive(b"plain")))
    await refused(Reason.ETAG_MISMATCH, put(house, etag="1"))
    assert house.records(AuditAction.WEBHOOK_PUT) == []
    created = await put(house, etag="0")
    await refused(Reason.ETAG_MISMATCH, put(house, etag="0"))
    changed = await put(house, "https://b.example/p?q", etag=str(created.revision), secret=None)
    told = [record.detail for record in house.records(AuditAction.WEBHOOK_PUT)]
    assert [(each["host"], each["new_secret"]) for each in told] == [
        ("pager.example", "true"),
        ("b.example", "false"),
    ]
    assert (changed.url, changed.secret_version) == ("https://b.example/p?q", 1)


async def test_retries_grow_and_end_in_a_dead_letter() -> None:
    """What is not taken is tried with growing pauses for three days, then it is a dead letter, on
    record; sent again it can be taken."""
    house = House()
    await house.register()
    await put(house)
    house.webhook_endpoint.answers = [WebhookAnswer(500, "status 500")] * 100
    await house.consent()
    attempts, started = 0, house.clock.now()
    pauses: list[float] = []
    while not house.records(AuditAction.WEBHOOK_DELIVERY_DEAD):
        before = house.clock.now()
        while not await deliver_all(house):
            house.clock.advance(max(1.0, pauses[-1] / 20 if pauses else 1.0))
        pauses.append((house.clock.now() - before).total_seconds())
        attempts += 1
    assert 15 < attempts < 40
    assert pauses[1] < pauses[4] < pauses[7]
    tried = house.clock.now() - started
    assert timedelta(days=2, hours=18) < tried <= timedelta(days=3)
    (record,) = house.records(AuditAction.WEBHOOK_DELIVERY_DEAD)
    assert record.detail["attempts"] == str(attempts)
    assert record.resource == str(NAME)
    (letter,) = (await house.webhooks.dead_letters(house.call(), NAME, 10, "")).items
    assert (letter.attempts, letter.status) == (attempts, 500)
    house.webhook_endpoint.answers.clear()
    assert await house.webhooks.redeliver(house.call(), NAME, ()) == 1
    assert await deliver_all(house) == [WebhookAnswer(204)]
    sent = house.webhook_endpoint.sent
    assert len({message.message_id for message in sent}) == 1
    assert len(house.records(AuditAction.DEAD_LETTERS_REDELIVERED)) == 1


async def test_retry_after_is_a_lower_bound() -> None:
    """An endpoint that says when to come again is not asked before."""
    house = House()
    await house.register()
    await put(house)
    house.webhook_endpoint.answers = [WebhookAnswer(503, "status 503", 900.0)]
    await house.consent()
    await deliver_all(house)
    house.clock.advance(899)
    assert await deliver_all(house) == []
    house.clock.advance(2)
    assert await deliver_all(house) == [WebhookAnswer(204)]


async def test_gone_disables() -> None:
    """A 410 ends the webhook, on record; put again it is enabled."""
    house = House()
    await house.register()
    await put(house)
    house.webhook_endpoint.answers = [WebhookAnswer(410, "status 410")]
    await house.consent()
    await deliver_all(house)
    (listed,) = (await house.webhooks.list(house.call(), TENANT, 10, "")).items
    assert listed.state is WebhookState.GONE
    (record,) = house.records(AuditAction.WEBHOOK_GONE)
    assert record.caller == house.call().caller.spiffe_id
    await house.consent(label="again")
    assert await deliver_all(house) == []
    assert (await put(house, secret=None)).state is WebhookState.ENABLED
    assert await deliver_all(house) == [WebhookAnswer(204)]


async def test_a_webhook_deleted_under_way() -> None:
    """A delivery whose webhook was deleted meanwhile is not sent."""
    house = House()
    await house.register()
    await put(house)
    await house.consent()
    await house.deliver_webhooks.fan_out()
    (delivery,) = await house.deliver_webhooks.take(10, ())
    await house.webhooks.delete(house.call(), NAME)
    assert await house.deliver_webhooks.deliver(house.call(), delivery) is None
    assert house.webhook_endpoint.sent == []


async def test_keys_away_lose_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Where the secret cannot be opened nothing is sent, it is in the log, and the delivery is due
    again, with no attempt counted."""
    house = House()
    await house.register()
    await put(house)
    await house.consent()
    cold = House.beside(house)
    cold.wrapper.unreachable = True
    dispatch = WebhookDispatch(cold.deliver_webhooks, cold.clock, cold.entropy)
    await dispatch.step()
    await asyncio.sleep(0.05)
    assert cold.webhook_endpoint.sent == []
    assert "KEK_UNREACHABLE" in capsys.readouterr().err
    cold.wrapper.unreachable = False
    house.clock.advance(limits.WEBHOOK_HIDE_S + 1)
    assert await deliver_all(house) == [WebhookAnswer(204)]
    await dispatch.close()


class _Held:
    """An endpoint of which one URL does not answer until it is let."""

    def __init__(self, slow: str) -> None:
        self.slow = slow
        self.let = asyncio.Event()
        self.under_way = 0
        self.most = 0
        self.taken: list[str] = []

    async def send(self, message: SignedMessage) -> WebhookAnswer:
        if message.url == self.slow:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            await self.let.wait()
            self.under_way -= 1
        self.taken.append(message.url)
        return WebhookAnswer(204)


async def test_a_slow_endpoint_holds_up_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one endpoint does not answer, it has its few requests under way and the other one gets
    all of its events; when it answers it gets the rest."""
    house = House()
    await house.register()
    monkeypatch.setattr(limits, "WEBHOOK_SWEEP_S", 0.01)
    held = _Held("https://slow.example/hook")
    house.deliver_webhooks._endpoint = held
    await put(house, held.slow)
    await house.webhooks.put(
        house.call(), WebhookName(TENANT, "quick"), url="https://quick.example/hook",
        kinds=frozenset(), secret=written(KEY), etag="",
    )  # fmt: skip
    for n in range(12):
        house.endpoint.subject = f"s-{n}"
        await house.consent(f"u-{n}")
    dispatch = WebhookDispatch(house.deliver_webhooks, house.clock, house.entropy)
    for _ in range(8):
        await dispatch.step()
        await asyncio.sleep(0.01)
    assert held.taken == ["https://quick.example/hook"] * 12
    assert held.most == limits.WEBHOOK_PER_ENDPOINT_MAX
    held.let.set()
    for _ in range(8):
        await dispatch.step()
        await asyncio.sleep(0.01)
    assert held.taken.count(held.slow) == 12
    assert held.most == limits.WEBHOOK_PER_ENDPOINT_MAX
    await dispatch.close()
