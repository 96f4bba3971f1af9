"""Certificates that a caller could come with (threat T9), each really issued; who refuses it."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.support.house import APP
from vault_service.domain import limits
from vault_service.embedded.devca import IssuedCertificate

TLS: Final = "TLS"
"""The handshake refuses it: no handler, no record."""
TAKEN: Final = ""

_DOMAIN = "spiffe://example.org"
_HOUR, _YEAR = dt.timedelta(hours=1), dt.timedelta(days=365)
_CLIENT = (ExtendedKeyUsageOID.CLIENT_AUTH,)
Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Wanted:
    """What a certificate says. Times are relative to now; None leaves an extension out."""

    uris: Sequence[str] = (APP,)
    others: Sequence[x509.GeneralName] = ()
    ekus: Sequence[x509.ObjectIdentifier] | None = _CLIENT
    is_ca: bool | None = False
    signs_certificates: bool = False
    begins: dt.timedelta = -_HOUR
    ends: dt.timedelta = _HOUR
    common_name: str = "caller"
    issuer: str = "sound"  # or "self", "stranger", "leaf", "intermediate"
    more: Sequence[tuple[x509.ExtensionType, bool]] = ()


@dataclass(frozen=True)
class Authority:
    """Who signs."""

    certificate: x509.Certificate
    key: Key


def _uri(text: str) -> Wanted:
    return Wanted(uris=(text,))


_MANY = tuple(f"{_DOMAIN}/app-{number}" for number in range(500))
_UNKNOWN_CRITICAL = x509.UnrecognizedExtension(
    x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\5\0"
)
_OTHER_NAME = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x01a")
_SPIFFE = "not a SPIFFE id"

# Each with what the refusal's message says.
CORPUS: dict[str, tuple[Wanted, str]] = {
    # The URIs of the names.
    "no names": (Wanted(uris=()), "0 URI names"),
    "DNS only": (Wanted(uris=(), others=[x509.DNSName("app.example.org")]), "0 URI names"),
    "SPIFFE id as a DNS name": (
        Wanted(uris=(), others=[x509.DNSName("spiffe://example.org/app")]), "0 URI names",
    ),
    "wildcard": (Wanted(uris=(), others=[x509.DNSName("*.example.org")]), "0 URI names"),
    "e-mail only": (Wanted(uris=(), others=[x509.RFC822Name("app@example.org")]), "0 URI names"),
    "address only": (
        Wanted(uris=(), others=[x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), "0 URI names",
    ),
    "other name only": (Wanted(uris=(), others=[_OTHER_NAME]), "0 URI names"),
    "SPIFFE id as the subject only": (Wanted(uris=(), common_name=APP), "0 URI names"),
    "two URIs": (Wanted(uris=(APP, f"{_DOMAIN}/admin")), "2 URI names"),
    "twice the same": (Wanted(uris=(APP, APP)), "2 URI names"),
    "a second that is no SPIFFE id": (Wanted(uris=(APP, "https://example.org/")), "2 URI names"),
    "a second that is empty": (Wanted(uris=(APP, "")), "2 URI names"),
    "100 URIs": (Wanted(uris=_MANY[:100]), "100 URI names"),
    "500 URIs": (Wanted(uris=_MANY), TLS),  # its message is too long
    # Trust domains.
    "foreign domain": (_uri("spiffe://evil.example/app"), "trust domain"),
    "subdomain": (_uri("spiffe://a.example.org/app"), "trust domain"),
    "domain as a prefix": (_uri("spiffe://example.org.evil/app"), "trust domain"),
    "domain as a suffix": (_uri("spiffe://evil-example.org/app"), "trust domain"),
    "domain in the path": (_uri("spiffe://evil.example/example.org/app"), "trust domain"),
    "dot after the domain": (_uri("spiffe://example.org./app"), "trust domain"),
    "international domain": (_uri("spiffe://xn--exmple-cua.org/app"), "trust domain"),
    # Spelling.
    "no path": (_uri(_DOMAIN), _SPIFFE),
    "empty path": (_uri(f"{_DOMAIN}/"), _SPIFFE),
    "slash at the end": (_uri(f"{APP}/"), _SPIFFE),
    "two slashes": (_uri(f"{_DOMAIN}//app"), _SPIFFE),
    "dot": (_uri(f"{_DOMAIN}/./app"), _SPIFFE),
    "two dots": (_uri(f"{_DOMAIN}/x/../app"), _SPIFFE),
    "percent-encoded letter": (_uri(f"{_DOMAIN}/%61pp"), _SPIFFE),
    "percent-encoded slash": (_uri(f"{_DOMAIN}/x%2f..%2fapp"), _SPIFFE),
    "percent-encoded null": (_uri(f"{APP}%00.evil"), _SPIFFE),
    "capitals in the scheme": (_uri("SPIFFE://example.org/app"), _SPIFFE),
    "capitals in the domain": (_uri("spiffe://Example.ORG/app"), _SPIFFE),
    "wildcard in the path": (_uri(f"{_DOMAIN}/*"), _SPIFFE),
    "query": (_uri(f"{APP}?role=admin"), _SPIFFE),
    "fragment": (_uri(f"{APP}#admin"), _SPIFFE),
    "user": (_uri("spiffe://admin@example.org/app"), _SPIFFE),
    "port": (_uri("spiffe://example.org:443/app"), _SPIFFE),
    "another scheme": (_uri("https://example.org/app"), _SPIFFE),
    "one slash": (_uri("spiffe:/example.org/app"), _SPIFFE),
    "backslash": (_uri("spiffe:\\\\example.org\\app"), _SPIFFE),
    "space": (_uri(f"{APP} "), _SPIFFE),
    "line end": (_uri(f"{APP}\n"), _SPIFFE),
    "carriage return": (_uri(f"{APP}\r\nx: y"), _SPIFFE),
    "null at the end": (_uri(f"{APP}\0"), _SPIFFE),
    "null in the middle": (_uri(f"{APP}\0.evil.example"), _SPIFFE),
    "null in the domain": (_uri("spiffe://example.org\0.evil/app"), _SPIFFE),
    "escape": (_uri(f"{APP}\x1b[2J"), _SPIFFE),
    "tilde": (_uri(f"{APP}~"), _SPIFFE),
    "quotes": (_uri(f'{APP}"'), _SPIFFE),
    "too long": (_uri(f"{_DOMAIN}/" + "a" * limits.URI_MAX_CHARS), _SPIFFE),
    "empty": (_uri(""), _SPIFFE),
    # What it may be used for.
    "CA as a leaf": (Wanted(is_ca=True), "is a CA's"),
    "CA that signs": (Wanted(is_ca=True, signs_certificates=True), "is a CA's"),
    "may sign certificates": (Wanted(signs_certificates=True), "may sign certificates"),
    "no usage": (Wanted(ekus=None), "no extended key usage"),
    "usage of a server": (Wanted(ekus=(ExtendedKeyUsageOID.SERVER_AUTH,)), TLS),
    "usage of e-mail": (Wanted(ekus=(ExtendedKeyUsageOID.EMAIL_PROTECTION,)), TLS),
    "any usage": (Wanted(ekus=(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)), TLS),
    # Time and issuer.
    "expired": (Wanted(begins=-2 * _HOUR, ends=-_HOUR), TLS),
    "expired a moment ago": (Wanted(begins=-2 * _HOUR, ends=-dt.timedelta(seconds=2)), TLS),
    "not yet valid": (Wanted(begins=_HOUR, ends=2 * _HOUR), TLS),
    "ends before it begins": (Wanted(begins=-_HOUR, ends=-_HOUR / 2), TLS),
    "signed by itself": (Wanted(issuer="self"), TLS),
    "a stranger of the same name": (Wanted(issuer="stranger"), TLS),
    "signed by a leaf": (Wanted(issuer="leaf"), TLS),
    "an unknown critical extension": (Wanted(more=[(_UNKNOWN_CRITICAL, True)]), TLS),
    # Sound, if odd.
    "sound": (Wanted(), TAKEN),
    "with DNS, e-mail and address": (
        Wanted(
            others=[
                x509.DNSName("*"), x509.RFC822Name("a@b.example"),
                x509.IPAddress(ipaddress.ip_address("::1")),
            ]
        ),
        TAKEN,
    ),
    "for servers too": (
        Wanted(ekus=(*_CLIENT, ExtendedKeyUsageOID.SERVER_AUTH)), TAKEN,
    ),
    "without constraints": (Wanted(is_ca=None), TAKEN),
    "of an intermediate": (Wanted(issuer="intermediate"), TAKEN),
    "an unknown extension": (Wanted(more=[(_UNKNOWN_CRITICAL, False)]), TAKEN),
    "another id as its subject": (Wanted(common_name=f"{_DOMAIN}/admin"), TAKEN),
    "of a hundred years": (Wanted(ends=100 * _YEAR), TAKEN),
}  # fmt: skip


class Issuer:
    """Issues what is wanted under a sound CA; keeps the files in a folder."""

    def __init__(self, folder: Path, sound: Authority) -> None:
        self._folder = folder
        self._sound = sound
        self._count = 0

    def issue(self, wanted: Wanted) -> IssuedCertificate:
        """The files of a new certificate, its chain behind it where it has one."""
        key = ec.generate_private_key(ec.SECP256R1())
        authority, chain = self._authority(wanted.issuer, key)
        certificate = _signed(wanted, key, authority)
        self._count += 1
        made = IssuedCertificate(
            self._folder / f"odd-{self._count}.pem", self._folder / f"odd-{self._count}.key"
        )
        chained = b"".join(one.public_bytes(Encoding.PEM) for one in (certificate, *chain))
        made.certificate_file.write_bytes(chained)
        made.key_file.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        return made

    def _authority(self, who: str, key: Key) -> tuple[Authority, list[x509.Certificate]]:
        if who == "sound":
            return self._sound, []
        own = ec.generate_private_key(ec.SECP256R1())
        if who == "self":
            return Authority(_signed(Wanted(), key, None), key), []
        if who == "stranger":
            return Authority(self._sound.certificate, own), []
        is_ca = who == "intermediate"
        above = Wanted(uris=(), is_ca=is_ca, signs_certificates=is_ca, common_name=who, ekus=None)
        certificate = _signed(above, own, self._sound)
        return Authority(certificate, own), [certificate]


def _signed(wanted: Wanted, key: Key, authority: Authority | None) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, wanted.common_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority.certificate.subject if authority else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + wanted.begins)
        .not_valid_after(now + wanted.ends)
        .add_extension(_key_usage(wanted), critical=True)
    )
    names = [*(x509.UniformResourceIdentifier(uri) for uri in wanted.uris), *wanted.others]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if wanted.is_ca is not None:
        constraints = x509.BasicConstraints(wanted.is_ca, None)
        builder = builder.add_extension(constraints, critical=True)
    if wanted.ekus is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(wanted.ekus), critical=False)
    for extension, critical in wanted.more:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(authority.key if authority else key, hashes.SHA256())


def _key_usage(wanted: Wanted) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=wanted.signs_certificates,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
