"""The server's certificate and the trust bundles, looked at as a caller would: for the doctor."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from vault_service.domain.finding import Finding, Thresholds, failed, ok, warning

_FILE_MAX_BYTES: Final = 1024 * 1024
# The library's own exceptions are no ValueErrors; the key's loader raises TypeError too.
_UNREADABLE: Final = (
    OSError,
    ValueError,
    TypeError,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
_RENEW: Final = "issue a new one and put it in place; the service takes new files without a restart"


def examine_server(
    certificate_file: Path, key_file: Path, now: datetime, thresholds: Thresholds
) -> Iterator[Finding]:
    """The chain that callers see: its life, key, names, usage and order."""
    try:
        chain = _certificates(certificate_file)
        key = serialization.load_pem_private_key(_read(key_file), password=None)
    except _UNREADABLE:
        yield failed(
            "server.certificate",
            f"{certificate_file} or {key_file} cannot be read as PEM",
            "put the chain, leaf first, and its unencrypted key there",
        )
        return
    leaf = chain[0]
    yield _life("server.certificate", str(certificate_file), chain, now, thresholds)
    yield _key(leaf, key, key_file)
    yield _purpose(leaf)
    yield _chain(chain)


def examine_bundles(
    bundles: Mapping[str, Path], now: datetime, thresholds: Thresholds
) -> Iterator[Finding]:
    """Trust bundles by the field that names them."""
    for check, file in bundles.items():
        try:
            yield _life(check, str(file), _certificates(file), now, thresholds)
        except _UNREADABLE:
            yield failed(
                check, f"{file} holds no PEM certificate", "put the CA's certificate there"
            )


def _life(
    check: str,
    name: str,
    certificates: Sequence[x509.Certificate],
    now: datetime,
    thresholds: Thresholds,
) -> Finding:
    """By the one that ends first: a chain is as good as its weakest member."""
    first = min(certificates, key=lambda one: one.not_valid_after_utc)
    late = max(certificates, key=lambda one: one.not_valid_before_utc)
    left = first.not_valid_after_utc - now
    if left <= timedelta(0):
        return failed(check, f"{name} expired {_shown(-left)} ago", _RENEW)
    if late.not_valid_before_utc > now:
        waits = _shown(late.not_valid_before_utc - now)
        advice = "check the clock of this machine and of the CA"
        return failed(check, f"{name} is valid only in {waits}", advice)
    life_s = (first.not_valid_after_utc - first.not_valid_before_utc).total_seconds()
    # Workloads' certificates live for hours: what is short for them is not two weeks.
    least_s = min(thresholds.certificate_warn_s, life_s * thresholds.certificate_warn_share)
    if left.total_seconds() < least_s:
        return warning(check, f"{name} expires in {_shown(left)}", _RENEW)
    return ok(check, f"{name} is valid for another {_shown(left)}")


def _key(leaf: x509.Certificate, key: object, key_file: Path) -> Finding:
    public = getattr(key, "public_key", lambda: None)()
    if public != leaf.public_key():
        return failed(
            "server.key",
            f"{key_file} is not the key of the certificate",
            "put both files of one issuance in place",
        )
    return ok("server.key", "belongs to the certificate")


def _purpose(leaf: x509.Certificate) -> Finding:
    check, reissue = "server.names", "have it issued with a DNS name or address, and serverAuth"
    try:
        usages = list(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        usages = [ExtendedKeyUsageOID.SERVER_AUTH]  # absent means any (RFC 5280 §4.2.1.12)
    if ExtendedKeyUsageOID.SERVER_AUTH not in usages:
        return failed(check, "the certificate is not for servers (no serverAuth)", reissue)
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    hosts = [
        *names.get_values_for_type(x509.DNSName),
        *map(str, names.get_values_for_type(x509.IPAddress)),
    ]
    if not hosts:
        return failed(check, "the certificate names no host, so no caller can verify it", reissue)
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return ok(check, f"serverAuth for {', '.join([*hosts, *uris])}")


def _chain(chain: Sequence[x509.Certificate]) -> Finding:
    for issued, issuer in itertools.pairwise(chain):
        try:
            issued.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature):
            return failed(
                "server.chain",
                f"{issued.subject.rfc4514_string()} was not issued by the certificate after it",
                "order the file: leaf, then the CA that issued it, then that one's",
            )
    return ok("server.chain", f"{len(chain)} certificate(s), each issued by the next")


def _certificates(file: Path) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(_read(file))


def _read(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(_FILE_MAX_BYTES)


def _shown(span: timedelta) -> str:
    if span >= timedelta(days=2):
        return f"{span.days} days"
    return f"{span.total_seconds() / 3_600:.1f} hours"
