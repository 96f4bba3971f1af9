"""Signatures of webhooks: what the service makes, others verify, and the other way round."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tokenvault_client as tv
from vault_service.crypto.webhook_signature import read_secret, sign
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.sensitive import Sensitive

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NEW_SECRET = "whsec_" + base64.b64encode(b"n" * 32).decode()
NOW = 1_614_265_330
DATA = {
    "id": "0192f0c1-0000-7000-8000-000000000001",
    "grant": "tenants/acme/grants/0192f0c1-0000-7000-8000-000000000002",
    "kind": "REAUTHORIZATION_REQUIRED",
    "owner": "u-1",
    "oauth_client": "tenants/acme/oauthClients/crm",
    "provider": "tenants/acme/providers/op",
    "state": "REAUTHORIZATION_REQUIRED",
    "cause": "SUCCESSOR_LOST",
    "generation": 3,
    "revision": 5,
    "event_time": "2026-01-02T12:00:00Z",
}
BODY = json.dumps({"type": "grant.reauthorization_required", "data": DATA}).encode()


def key_of(text: str) -> Sensitive:
    return read_secret(Sensitive.from_text(text))


def headers(body: bytes = BODY, timestamp: int = NOW, *secrets: str) -> dict[str, str]:
    """As the service sends them."""
    signature = sign([key_of(each) for each in secrets or (SECRET,)], "m-1", timestamp, body)
    return {
        "Webhook-Id": "m-1",
        "Webhook-Timestamp": str(timestamp),
        "Webhook-Signature": signature,
    }


def by_hand(key: bytes, content: bytes) -> str:
    """HMAC-SHA-256 as RFC 2104 writes it, from the hash alone."""
    padded = key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded) + content).digest()
    outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in padded) + inner).digest()
    return "v1," + base64.b64encode(outer).decode()


def test_the_example_of_the_specification() -> None:
    """The specification's own example has the signature that its libraries make."""
    body = b'{"test": 2432232314}'
    signature = sign([key_of(SECRET)], "msg_p5jXN8AQM9LWM0D4loKWxJek", NOW, body)
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(st.binary(min_size=24, max_size=64), st.binary(max_size=500), st.integers(0, 2**33))
def test_it_is_an_hmac(key: bytes, body: bytes, timestamp: int) -> None:
    """For any key, time and body it is the HMAC over id, time and body, with dots between."""
    content = b"m-1." + str(timestamp).encode() + b"." + body
    assert sign([Sensitive(key)], "m-1", timestamp, body) == by_hand(key, content)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_!!!!",
        "whsec_" + base64.b64encode(b"k" * 23).decode(),
        "whsec_" + base64.b64encode(b"k" * 65).decode(),
        "whsec_\u00e9",
    ],
)
def test_what_is_no_secret(secret: str) -> None:
    """A secret without its prefix, of bad base64, too short or too long is refused unshown."""
    with pytest.raises(VaultError) as refused:
        key_of(secret)
    assert refused.value.reason is Reason.FIELD_MALFORMED
    assert not secret.removeprefix("whsec_") or secret not in str(refused.value)


def test_the_helper_reads_what_the_service_signs() -> None:
    """verify_webhook gives the event, whatever the case of the headers, and with either of two
    secrets on either side."""
    event = tv.verify_webhook(SECRET, headers(), BODY, now_s=NOW + 10)
    assert event.kind is tv.GrantEventKind.REAUTHORIZATION_REQUIRED
    assert event.cause is tv.ReauthorizationCause.SUCCESSOR_LOST
    assert (event.id, event.revision) == (DATA["id"], 5)
    both = headers(BODY, NOW, NEW_SECRET, SECRET)
    lower = {name.lower(): value for name, value in both.items()}
    for secret in (
        SECRET,
        NEW_SECRET,
        [NEW_SECRET, "whsec_" + base64.b64encode(b"x" * 24).decode()],
    ):
        assert tv.verify_webhook(secret, lower, BODY, now_s=NOW) == event


@pytest.mark.parametrize(
    ("changed", "body", "now_s"),
    [
        ({"Webhook-Id": "m-2"}, BODY, NOW),
        ({"Webhook-Id": ""}, BODY, NOW),
        ({"Webhook-Timestamp": str(NOW + 1)}, BODY, NOW),
        ({"Webhook-Timestamp": "soon"}, BODY, NOW),
        ({"Webhook-Signature": ""}, BODY, NOW),
        ({"Webhook-Signature": "v2,AAAA"}, BODY, NOW),
        ({"Webhook-Signature": "v1,%%%"}, BODY, NOW),
        ({"Webhook-Signature": " ".join(["v1,AAAA"] * 11)}, BODY, NOW),
        ({}, BODY + b" ", NOW),
        ({}, BODY, NOW + 301),
        ({}, BODY, NOW - 301),
        ({}, b"x" * 65_537, NOW),
    ],
)
def test_what_is_refused(changed: dict[str, str], body: bytes, now_s: float) -> None:
    """Another id, time, signature or body, a request that is old or from the future, and one that
    is too large: none is taken for the service's."""
    with pytest.raises(tv.WebhookRefused):
        tv.verify_webhook(SECRET, headers() | changed, body, now_s=now_s)


def test_another_secret_is_refused() -> None:
    """A request signed with another secret is not the service's."""
    with pytest.raises(tv.WebhookRefused):
        tv.verify_webhook(NEW_SECRET, headers(), BODY, now_s=NOW)
    with pytest.raises(ValueError, match="whsec_"):
        tv.verify_webhook("not a secret", headers(), BODY, now_s=NOW)


@pytest.mark.parametrize("body", [b"{}", b"[]", b"no json", b'{"data": {"id": 1}}'])
def test_signed_but_no_event(body: bytes) -> None:
    """A signed body that is no event of a grant is refused too."""
    with pytest.raises(tv.WebhookRefused):
        tv.verify_webhook(SECRET, headers(body), body, now_s=NOW)


def test_kinds_of_a_newer_service() -> None:
    """An event of a kind that this client does not know is UNSPECIFIED, not an error."""
    data: dict[str, Any] = DATA | {"kind": "TELEPORTED", "more": 1}
    body = json.dumps({"type": "grant.teleported", "data": data}).encode()
    event = tv.verify_webhook(SECRET, headers(body), body, now_s=NOW)
    assert event.kind is tv.GrantEventKind.UNSPECIFIED
