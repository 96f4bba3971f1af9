"""Certificates of callers, sound and odd, as TLS hands them to the service."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

GOOD = "spiffe://example.org/app"
CLIENT_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH
FROM = dt.datetime(2025, 12, 1, tzinfo=dt.UTC)
UNTIL = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
_KEY = ec.generate_private_key(ec.SECP256R1())
_NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "caller")])


@dataclass(frozen=True)
class Wanted:
    """What a certificate says; None leaves an extension out."""

    uris: Sequence[str] | None = (GOOD,)
    dns: Sequence[str] = ()
    ekus: Sequence[x509.ObjectIdentifier] | None = (CLIENT_AUTH,)
    is_ca: bool | None = False
    signs_certificates: bool | None = False
    until: dt.datetime = UNTIL
    more: Sequence[x509.ExtensionType] = ()


def built(wanted: Wanted) -> x509.Certificate:
    """The certificate; nobody checks its signature here, TLS did."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(_NAME)
        .issuer_name(_NAME)
        .public_key(_KEY.public_key())
        .serial_number(0xABC123)
        .not_valid_before(FROM)
        .not_valid_after(wanted.until)
    )
    for extension in _extensions(wanted):
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(_KEY, hashes.SHA256())


def pem(wanted: Wanted | None = None) -> bytes:
    """As gRPC gives it."""
    return built(wanted or Wanted()).public_bytes(Encoding.PEM)


def _extensions(wanted: Wanted) -> list[x509.ExtensionType]:
    found: list[x509.ExtensionType] = list(wanted.more)
    if wanted.uris is not None:
        names: list[x509.GeneralName] = [
            *(x509.UniformResourceIdentifier(uri) for uri in wanted.uris),
            *(x509.DNSName(name) for name in wanted.dns),
        ]
        found.append(x509.SubjectAlternativeName(names))
    if wanted.ekus is not None:
        found.append(x509.ExtendedKeyUsage(wanted.ekus))
    if wanted.is_ca is not None:
        found.append(x509.BasicConstraints(ca=wanted.is_ca, path_length=None))
    if wanted.signs_certificates is not None:
        found.append(_key_usage(wanted.signs_certificates))
    return found


def _key_usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
