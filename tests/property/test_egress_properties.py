"""The guard on URLs that nobody thought of."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from urllib.parse import urlsplit

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from yarl import URL

from vault_service.domain.errors import Reason, VaultError
from vault_service.egress.addresses import is_public
from vault_service.egress.endpoint import Endpoint
from vault_service.egress.guard import EgressGuard

GUARD = EgressGuard(["127.0.0.1:8443"])
V4 = st.ip_addresses(v=4) | st.integers(0, 2**32 - 1).map(IPv4Address)
NOT_PUBLIC_V4 = st.one_of(
    *(
        st.ip_addresses(network=network)
        for network in ("10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "192.168.0.0/16")
    )
)
PIECES = st.lists(
    st.sampled_from(
        [
            "https://", "http://", "HTTPS:", "//", "/", "\\", "@", ":", "#", "?", "[", "]", "%",
            ".", "127.0.0.1", "8.8.8.8", "::1", "::ffff:", "0x7f", "017", "1", "8443", "443",
            "a.example", "localhost", "x", "\u3002", "\uff11", "\u00fc", "\n", "\t", " ", "\0",
            "%2e", "%40",
        ]
    ),
    max_size=8,
).map("".join)  # fmt: skip


def _endpoint(url: str) -> Endpoint | None:
    try:
        return GUARD.endpoint(url)
    except VaultError as caught:
        refusal = caught
    assert refusal.reason is Reason.ENDPOINT_NOT_ALLOWED
    assert refusal.message.isascii()
    assert refusal.message.isprintable()
    return None


@given(st.text(max_size=60) | PIECES | PIECES.map("https://{}".format))
def test_accepted_urls_read_alike_everywhere(url: str) -> None:
    """A URL is refused with its reason, or three parsers see one and the same host and port."""
    endpoint = _endpoint(url)
    if endpoint is None:
        return
    for host, port in (
        (URL(endpoint.url, encoded=True).raw_host, URL(endpoint.url, encoded=True).port),
        (urlsplit(endpoint.url).hostname, urlsplit(endpoint.url).port),
    ):
        assert (host, port) == (endpoint.host, endpoint.port)
    assert GUARD.endpoint(endpoint.url) == endpoint
    assert endpoint.literal is None or is_public(endpoint.literal) or endpoint.port == 8443


@given(V4, st.integers(0, 3), st.sampled_from(["{}", "{:#x}", "0{:o}", "0{}", "{:#X}"]))
def test_ipv4_has_one_spelling(address: IPv4Address, merged: int, style: str) -> None:
    """An IPv4 address passes in four plain decimal parts and never in another spelling."""
    octets = list(address.packed)
    keep = 3 - merged
    parts = [*octets[:keep], int.from_bytes(bytes(octets[keep:]), "big")]
    spelled = ".".join(style.format(part) for part in parts)
    assume(spelled != str(address))
    assert _endpoint(f"https://{spelled}/") is None


@given(NOT_PUBLIC_V4)
def test_private_ipv4_is_refused_inside_every_ipv6(address: IPv4Address) -> None:
    """No IPv6 address that carries a private IPv4 address is public."""
    value = int(address)
    assert not is_public(address)
    for carrier in (
        0xFFFF << 32 | value,
        value,
        0xFFFF << 48 | value,
        0x64FF9B << 96 | value,
        0x64FF9B0001 << 80 | value,
        0x2002 << 112 | value << 80,
        0x20010000 << 96 | (value ^ 0xFFFFFFFF),
    ):
        assert not is_public(IPv6Address(carrier))


@given(st.lists(NOT_PUBLIC_V4.map(str) | V4.map(str), min_size=1, max_size=5), NOT_PUBLIC_V4)
def test_one_private_answer_refuses_a_look_up(answers: list[str], private: IPv4Address) -> None:
    """A look-up with a private answer at any place is refused."""
    with pytest.raises(VaultError):
        GUARD.check_addresses("provider.example", 443, [*answers, str(private)])
