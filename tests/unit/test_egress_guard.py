"""The egress guard: what may ever be called from here (threat T11)."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from tests.fakes.hostile_urls import HOSTILE_URLS
from tests.fakes.https_server import CountingSocket
from vault_service.domain.errors import Reason, VaultError
from vault_service.egress.answer import TransportFailure
from vault_service.egress.client import HttpClient
from vault_service.egress.guard import EgressGuard
from vault_service.egress.resolver import AddressRefusedError, GuardedResolver

PRIVATE_ANSWERS = (
    ["127.0.0.1"],
    ["::1"],
    ["8.8.8.8", "127.0.0.1"],
    ["127.0.0.1", "8.8.8.8"],
    ["::ffff:127.0.0.1"],
    ["fe80::1%lo"],
    ["not an address"],
    ["169.254.169.254"],
    ["64:ff9b::7f00:1"],
    ["2002:7f00:1::"],
    ["0.0.0.0"],
    ["224.0.0.1"],
)


def _refusal(guard: EgressGuard, url: str) -> str:
    with pytest.raises(VaultError) as caught:
        guard.check(url)
    assert caught.value.reason is Reason.ENDPOINT_NOT_ALLOWED
    return caught.value.message


def test_table_is_large() -> None:
    """The table of hostile URLs has the sixty rows that the threat model asks for."""
    assert len(set(HOSTILE_URLS.values())) >= 60


@pytest.mark.parametrize("answer", [["127.0.0.1"], ["::1"], ["8.8.8.8", "127.0.0.1"]], ids=str)
async def test_hostile_urls_send_no_packet(
    answer: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No hostile URL makes the client open a single socket, whatever the resolver answers."""
    looked_up = []

    async def lookup(host: str, port: int) -> list[str]:
        looked_up.append(host)
        return answer

    opened: list[object] = []
    async with CountingSocket() as target:
        client = HttpClient(EgressGuard(), lookup=lookup)
        connect = socket.socket.connect

        def watched(*args: Any) -> None:
            opened.append(args)
            connect(*args)

        monkeypatch.setattr(socket.socket, "connect", watched)
        for what, template in HOSTILE_URLS.items():
            url = template.replace("{port}", str(target.port))
            with pytest.raises(TransportFailure) as caught:
                await client.post_form(url, {"a": "b"}, limit_s=2)
            assert not caught.value.sent, what
        await client.close()
        assert (target.connections, opened) == (0, [])
        # The same instruments do see a request that is allowed.
        allowed = HttpClient(EgressGuard([f"127.0.0.1:{target.port}"]))
        with pytest.raises(TransportFailure):
            await allowed.post_form(f"https://127.0.0.1:{target.port}/", {}, limit_s=2)
        await allowed.close()
        assert (target.connections, len(opened)) == (1, 1)
    # Only what is a public name by its spelling is looked up at all.
    assert {*looked_up} == {
        "provider.example", "127.0.0.1.nip.example", "xn--mnchen-3ya.example",
        "kubernetes.default.svc",
    }  # fmt: skip


@pytest.mark.parametrize("what", [w for w in HOSTILE_URLS if not w.startswith("resolves")])
def test_hostile_urls_are_refused_without_a_look_up(what: str) -> None:
    """A URL that is hostile by its spelling is refused when it is configured already."""
    _refusal(EgressGuard(), HOSTILE_URLS[what].replace("{port}", "8443"))


@pytest.mark.parametrize(
    "url",
    [
        "https://oauth2.googleapis.com/token",
        "HTTPS://Login.Microsoftonline.com/common/oauth2/v2.0/token",
        "https://provider.example:8443/token?tenant=a",
        "https://provider.example?tenant=a",
        "https://münchen.example/token",
        "https://8.8.8.8/token",
        "https://[2606:4700::1111]/token",
    ],
)
def test_public_urls_pass(url: str) -> None:
    """An https URL of a public host passes."""
    EgressGuard().check(url)


@pytest.mark.parametrize("answers", PRIVATE_ANSWERS, ids=str)
def test_one_private_answer_refuses_all(answers: list[str]) -> None:
    """A look-up with any address that is not public is refused."""
    with pytest.raises(VaultError, match=r"egress\.allowed_private"):
        EgressGuard().check_addresses("provider.example", 443, answers)


def test_message_says_what_to_do() -> None:
    """The refusal of a private host names it and the operator's setting, never a password."""
    message = _refusal(EgressGuard(), "https://10.1.2.3:8443/token")
    assert "10.1.2.3:8443" in message
    assert "egress.allowed_private" in message
    assert "hunter2" not in _refusal(EgressGuard(), "https://me:hunter2@provider.example/")


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("127.0.0.1:8443", "https://127.0.0.1:8443/token"),
        ("localhost:8443", "https://LOCALHOST:8443/token"),
        ("[::1]:8443", "https://[::1]:8443/token"),
        ("keycloak.internal:443", "https://keycloak.internal/realms/a"),
        ("provider.example:25", "https://provider.example:25/token"),
    ],
)
def test_operator_names_exceptions(entry: str, url: str) -> None:
    """What the operator lists passes, whatever it resolves to."""
    guard = EgressGuard([entry])
    guard.check(url)
    host, _, port = entry.rpartition(":")
    guard.check_addresses(host, int(port), ["10.0.0.1"])


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1:8444/",
        "https://127.0.0.2:8443/",
        "https://2130706433:8443/",
        "https://127.1:8443/",
        "https://a.127.0.0.1:8443/",
        "https://127.0.0.1:8443#x",
        "https://x@127.0.0.1:8443/",
        "http://127.0.0.1:8443/",
        "https://[::ffff:127.0.0.1]:8443/",
        "https://localhost:8443/",
    ],
)
def test_exceptions_are_exact(url: str) -> None:
    """An exception covers its host and port in their one spelling, over https, and nothing else."""
    _refusal(EgressGuard(["127.0.0.1:8443"]), url)


@pytest.mark.parametrize(
    "entry", ["127.0.0.1", "localhost", "127.1:8443", "*:443", "10.0.0.0/8:443", "a:0", "", "[::1]"]
)
def test_malformed_exceptions_are_refused(entry: str) -> None:
    """A malformed exception is an error of configuration at start, never a wide one."""
    with pytest.raises(ValueError, match=r"."):
        EgressGuard([entry])


async def test_rebinding_resolver_never_wins() -> None:
    """Each look-up is checked by itself: a name that turns private is refused from then on."""
    answers = iter([["8.8.8.8"], ["127.0.0.1"], ["8.8.8.8", "10.0.0.1"]])

    async def lookup(host: str, port: int) -> list[str]:
        return next(answers)

    resolver = GuardedResolver(EgressGuard(), lookup)
    pinned = await resolver.resolve("provider.example", 443)
    assert [each["host"] for each in pinned] == ["8.8.8.8"]
    assert pinned[0]["flags"] & socket.AI_NUMERICHOST
    for _ in range(2):
        with pytest.raises(AddressRefusedError):
            await resolver.resolve("provider.example", 443)


async def test_look_ups_are_bounded() -> None:
    """All addresses of an answer are checked, and sixteen of them used."""

    async def lookup(host: str, port: int) -> list[str]:
        return [f"8.8.{n}.8" for n in range(200)]

    assert len(await GuardedResolver(EgressGuard(), lookup).resolve("provider.example", 443)) == 16
