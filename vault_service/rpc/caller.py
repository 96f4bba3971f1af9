"""Who calls: exactly one SPIFFE id, read from the TLS connection on every call.

Only the parsing is cached, by the certificate's bytes, never by peer address: two certificates
can come from one address and port. TLS has verified chain and signature before; what TLS lets
through is judged here (SPIFFE X509-SVID §§2-5).
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from vault_service.domain import limits
from vault_service.domain.access import Caller
from vault_service.domain.errors import Reason, VaultError
from vault_service.ports import Clock

_SPIFFE: Final = re.compile(r"spiffe://([a-z0-9._-]{1,255})((?:/[A-Za-z0-9._-]+)+)")
# The library's own exceptions are no ValueErrors; each is a refusal and not a fault of ours.
_UNREADABLE: Final = (
    ValueError,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
_PEM_KEY: Final = "x509_pem_cert"
_TLS_KEY: Final = "ssl_tls_version"


@dataclass(frozen=True, slots=True)
class _Judged:
    """What a certificate's bytes say, whatever the time is."""

    caller: Caller | None
    refusal: str
    not_after: datetime | None


class CallerReader:
    """Reads the caller from ``auth_context()``; knows the allowed trust domains."""

    def __init__(self, trust_domains: Collection[str], clock: Clock) -> None:
        self._trust_domains = frozenset(trust_domains)
        self._clock = clock
        self._judged: OrderedDict[bytes, _Judged] = OrderedDict()
        self.hits = self.misses = self.evictions = 0

    def __len__(self) -> int:
        return len(self._judged)

    def read(self, auth_context: Mapping[str, Iterable[bytes]]) -> Caller:
        """The caller; raises CALLER_UNKNOWN with what is wrong with the certificate."""
        versions = auth_context.get(_TLS_KEY, ())
        if list(versions) != [b"TLSv1.3"]:
            raise _unknown("the connection is not TLS 1.3")
        certificates = list(auth_context.get(_PEM_KEY, ()))
        if len(certificates) != 1:
            raise _unknown("the connection has no client certificate")
        judged = self._judge(bytes(certificates[0]))
        if judged.caller is None:
            raise _unknown(judged.refusal)
        # TLS checked the time at the handshake only, and connections live longer than that.
        if judged.not_after is None or judged.not_after <= self._clock.now():
            raise _unknown("the certificate has expired")
        return judged.caller

    def _judge(self, pem: bytes) -> _Judged:
        known = self._judged.get(pem)
        if known is not None:
            self._judged.move_to_end(pem)
            self.hits += 1
            return known
        self.misses += 1
        judged = _judge(pem, self._trust_domains)
        self._judged[pem] = judged
        if len(self._judged) > limits.CERTIFICATE_CACHE_MAX:
            self._judged.popitem(last=False)
            self.evictions += 1
        return judged


def _judge(pem: bytes, trust_domains: frozenset[str]) -> _Judged:
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        refusal = _refusal(certificate)
        uris = _uris(certificate)
    except _UNREADABLE:
        return _Judged(None, "the certificate cannot be read", None)
    if refusal:
        return _Judged(None, refusal, None)
    if len(uris) != 1:
        return _Judged(None, f"the certificate has {len(uris)} URI names; one is needed", None)
    match = _SPIFFE.fullmatch(uris[0])
    if match is None or len(uris[0]) > limits.URI_MAX_CHARS or _has_dots(match.group(2)):
        return _Judged(None, "the certificate's URI name is not a SPIFFE id", None)
    if match.group(1) not in trust_domains:
        return _Judged(None, "the certificate is of a trust domain that is not allowed here", None)
    serial = format(certificate.serial_number, "x")
    return _Judged(Caller(uris[0], serial), "", certificate.not_valid_after_utc)


def _refusal(certificate: x509.Certificate) -> str:
    """Why this is no leaf for a client; "" where it is one."""
    extensions = certificate.extensions
    try:
        if extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return "the certificate is a CA's; callers use leaf certificates"
    except x509.ExtensionNotFound:
        pass  # absent means not a CA (RFC 5280 §4.2.1.9)
    try:
        if extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign:
            return "the certificate may sign certificates; callers use leaf certificates"
    except x509.ExtensionNotFound:
        pass
    try:
        usages = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return "the certificate has no extended key usage; clientAuth is needed"
    if ExtendedKeyUsageOID.CLIENT_AUTH not in usages:
        return "the certificate is not for client authentication"
    return ""


def _uris(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return names.value.get_values_for_type(x509.UniformResourceIdentifier)


def _has_dots(path: str) -> bool:
    return any(segment in (".", "..") for segment in path.split("/"))


def _unknown(why: str) -> VaultError:
    return VaultError(
        Reason.CALLER_UNKNOWN,
        f"{why}; use a leaf certificate with one SPIFFE id of an allowed trust domain",
        recorded={"why": why},
    )
