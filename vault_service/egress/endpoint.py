"""A URL taken apart by one strict grammar, so that no second parser can see another host in it.

What the grammar does not know is refused, not repaired: a URL that two parsers read differently
is how a guard gets passed (RFC 3986 against what clients accept).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

import idna

from vault_service.domain import limits
from vault_service.domain.errors import Reason, VaultError
from vault_service.egress.addresses import Address

_PORT_DEFAULT: Final = 443
_PORT_MIN: Final = 1_024  # below it, only 443 speaks https; 22, 25 and so on are other protocols
_PORT_MAX: Final = 65_535
_HOST_MAX_CHARS: Final = 253  # RFC 1035 §2.3.4
_SHOWN_MAX_CHARS: Final = 80

_URL: Final = re.compile(r"https://(?P<authority>[^/?]*)(?P<target>[/?].*)?", re.I | re.ASCII)
_AUTHORITY: Final = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>.*))?")
_TARGET: Final = re.compile(r"[!-~]*")
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a request goes. ``host`` is lower-case ASCII without brackets."""

    host: str
    port: int
    target: str  # path and query, begins with "/"
    literal: Address | None  # set when the host is an address

    @property
    def authority(self) -> str:
        """``host:port`` with the port always there, IPv6 in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The one spelling of it that is ever requested."""
        return f"https://{self.authority}{self.target}"


def refused(what: str) -> VaultError:
    """ENDPOINT_NOT_ALLOWED, saying what is wrong."""
    return VaultError(Reason.ENDPOINT_NOT_ALLOWED, what)


def shown(text: str) -> str:
    """Outside text for a message: cut, escaped, quoted."""
    escaped = text[:_SHOWN_MAX_CHARS].encode("ascii", "backslashreplace").decode()
    return repr(escaped[:_SHOWN_MAX_CHARS])


def parse_endpoint(url: str) -> Endpoint:
    """An https URL; raises ENDPOINT_NOT_ALLOWED. Looks at the spelling only, not the address."""
    if len(url) > limits.URI_MAX_CHARS:
        raise refused(f"the URL is longer than {limits.URI_MAX_CHARS} characters")
    if "#" in url:
        raise refused("the URL has a fragment (#...), which an endpoint never has")
    match = _URL.fullmatch(url)
    if match is None:
        raise refused("the URL is not of the form https://host[:port]/path")
    target = match["target"] or "/"
    if "\\" in url or not _TARGET.fullmatch(target):
        raise refused("the URL has a backslash, space or other character that must be encoded")
    host, port, literal = _split_authority(match["authority"])
    return Endpoint(host, port, target if target[0] == "/" else f"/{target}", literal)


def parse_authority(text: str) -> str:
    """``host:port`` in its one spelling; ValueError when it is none or has no port."""
    if ":" not in text.rpartition("]")[2]:
        raise ValueError(f"{shown(text)} has no port: write host:port")
    try:
        host, port, literal = _split_authority(text)
    except VaultError as error:
        raise ValueError(f"{shown(text)}: {error.message}") from None
    return Endpoint(host, port, "/", literal).authority


def usual_port(port: int) -> bool:
    """Whether https is served there by anyone: 443, or an unprivileged port."""
    return port == _PORT_DEFAULT or port >= _PORT_MIN


def _split_authority(authority: str) -> tuple[str, int, Address | None]:
    if "@" in authority:
        raise refused("the URL has a user name or password before the host")
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise refused("the host and port of the URL are malformed")
    port = _PORT_DEFAULT if match["port"] is None else _port(match["port"])
    text = match["host"]
    if text.startswith("["):
        v6 = _literal_v6(text[1:-1])
        return str(v6), port, v6
    host = _ascii_host(text)
    if not _NUMBER.fullmatch(host.rpartition(".")[2]):
        return host, port, None
    # A name that ends in a number is an IPv4 address to the system's resolver, in octal, hex or
    # with parts left out (WHATWG URL §3.5); only the plain spelling is an address here.
    v4 = _literal_v4(host)
    return host, port, v4


def _port(text: str) -> int:
    if not _PORT.fullmatch(text) or int(text) > _PORT_MAX:
        raise refused(f"the port is not a number from 1 to {_PORT_MAX}")
    return int(text)


def _literal_v6(text: str) -> IPv6Address:
    try:
        address = IPv6Address(text)
    except ValueError:
        raise refused(f"{shown(text)} is not an IPv6 address") from None
    if address.scope_id is not None or str(address) != text:
        raise refused(f"{shown(text)} is not an IPv6 address in its plain spelling (RFC 5952)")
    return address


def _literal_v4(text: str) -> IPv4Address:
    try:
        return IPv4Address(text)  # takes four decimal parts without leading zeros only
    except ValueError:
        raise refused(f"{shown(text)} is an IPv4 address in an unusual spelling") from None


def _ascii_host(text: str) -> str:
    """The host in lower case, its international labels encoded (RFC 5891, UTS 46)."""
    if not text or len(text) > _HOST_MAX_CHARS:
        raise refused(f"the host is empty or longer than {_HOST_MAX_CHARS} characters")
    if text.endswith("."):
        raise refused("the host ends in a dot")
    host = text.lower() if text.isascii() else _encoded(text)
    labels = host.split(".")
    if len(host) > _HOST_MAX_CHARS or not all(_LABEL.fullmatch(label) for label in labels):
        raise refused(f"{shown(text)} is not a host name")
    return host


def _encoded(text: str) -> str:
    try:
        return idna.encode(text, uts46=True, std3_rules=True).decode().lower()
    except ValueError:
        raise refused(f"{shown(text)} is not an international host name") from None
