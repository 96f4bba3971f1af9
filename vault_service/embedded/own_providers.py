"""Providers of one's own on this machine: which may be called, and their certificate."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final

from vault_service.domain import limits
from vault_service.egress.endpoint import parse_authority
from vault_service.embedded.devca import DevCA, IssuedCertificate

_NAME: Final = "localhost"
_ALWAYS: Final = ("127.0.0.1", "::1")
_CERTIFICATE: Final = "own-provider"
_MAX_COUNT: Final = limits.ALLOWED_PRIVATE_MAX_COUNT - 1  # one place is the demo provider's


def own_providers(texts: Iterable[str]) -> tuple[str, ...]:
    """Each HOST:PORT once, as egress.allowed_private names it; ValueError says what is wrong.

    Only this machine can be named: the development environment must not become a way into the
    network that it stands in.
    """
    found = tuple(dict.fromkeys(map(_loopback, texts)))
    if len(found) > _MAX_COUNT:
        raise ValueError(f"at most {_MAX_COUNT} providers of your own can be allowed")
    return found


def provider_certificate(ca: DevCA, allowed: Sequence[str]) -> IssuedCertificate:
    """One that the development service trusts at every one of these places, on any port."""
    addresses = dict.fromkeys(_ALWAYS)
    addresses.update(dict.fromkeys(host for host in map(_host, allowed) if host != _NAME))
    return ca.issue(_CERTIFICATE, dns=[_NAME], ips=[*addresses], server=True, client=False)


def _loopback(text: str) -> str:
    authority = parse_authority(text)
    host = _host(authority)
    if host != _NAME and not _is_loopback(host):
        raise ValueError(
            f"{authority} is not on this machine: a provider of your own is at 127.0.0.0/8, "
            f"[::1] or {_NAME}, such as 127.0.0.1:9443"
        )
    return authority


def _host(authority: str) -> str:
    return authority.rpartition(":")[0].strip("[]")


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    # ::ffff:127.0.0.1 is another spelling, which some systems route elsewhere.
    return address.is_loopback and getattr(address, "ipv4_mapped", None) is None
