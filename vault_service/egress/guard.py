"""What may be called from here (threat T11): https to public addresses, and what the server's own
configuration names as exceptions. A provider profile can never add an exception.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from vault_service.domain import limits
from vault_service.domain.errors import VaultError
from vault_service.egress.addresses import is_public, is_public_text
from vault_service.egress.endpoint import (
    Endpoint,
    parse_authority,
    parse_endpoint,
    refused,
    shown,
    usual_port,
)

# Names that mean this host or this network whatever a resolver says (RFC 6761, RFC 6762,
# RFC 8375, RFC 9476 and the private use of .internal).
_PRIVATE_SUFFIXES: Final = (
    "localhost", "local", "localdomain", "internal", "intranet", "lan", "home.arpa", "alt",
)  # fmt: skip


class EgressGuard:
    """The rules. Implements ports.EndpointGuard.

    ``allowed_private``: exact ``host:port`` entries that may be private (egress.allowed_private);
    ValueError when one is malformed.
    """

    def __init__(self, allowed_private: Collection[str] = ()) -> None:
        if len(allowed_private) > limits.ALLOWED_PRIVATE_MAX_COUNT:
            raise ValueError(f"more than {limits.ALLOWED_PRIVATE_MAX_COUNT} allowed private hosts")
        self._allowed = frozenset(parse_authority(entry) for entry in allowed_private)

    def check(self, url: str) -> None:
        """Raises ENDPOINT_NOT_ALLOWED with what is wrong; looks nothing up."""
        self.endpoint(url)

    def endpoint(self, url: str) -> Endpoint:
        """The endpoint of an allowed URL; raises ENDPOINT_NOT_ALLOWED."""
        endpoint = parse_endpoint(url)
        if endpoint.authority in self._allowed:
            return endpoint
        if not usual_port(endpoint.port):
            raise _listable(endpoint.authority, "has a port that serves no https")
        if endpoint.literal is not None:
            if not is_public(endpoint.literal):
                raise _listable(endpoint.authority, "is not a public address")
        elif "." not in endpoint.host or _is_private_name(endpoint.host):
            raise _listable(endpoint.authority, "is the name of a private host")
        return endpoint

    def check_addresses(self, host: str, port: int, addresses: Sequence[str]) -> None:
        """The answers of one look-up: all must be public, or ``host:port`` is an exception.

        One private answer refuses all: an attacker's name server mixes them. Raises
        ENDPOINT_NOT_ALLOWED.
        """
        authority = f"{host}:{port}"
        if authority in self._allowed:
            return
        if not all(is_public_text(address) for address in addresses):
            raise _listable(authority, "resolves to an address that is not public")


def _is_private_name(host: str) -> bool:
    return any(host == suffix or host.endswith(f".{suffix}") for suffix in _PRIVATE_SUFFIXES)


def _listable(authority: str, what: str) -> VaultError:
    return refused(
        f"{shown(authority)} {what}; if it is meant, the operator lists it in "
        "egress.allowed_private of the server's configuration"
    )
