"""A development CA: one ECDSA P-256 root in the state directory, and what it issues.

The certificates are X509-SVIDs (SPIFFE) where a SPIFFE id is asked for. Nothing but the programs
of this state directory trusts the root. ``build`` makes odd certificates too, for tests.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from vault_service.embedded.files import private_folder, write_private
from vault_service.embedded.machine import EmbeddedError

SERVER_AUTH: Final = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT_AUTH: Final = ExtendedKeyUsageOID.CLIENT_AUTH
LEAF_LIFE_S: Final = 30 * 86_400
ROOT_LIFE_S: Final = 3 * 365 * 86_400
_SKEW: Final = timedelta(minutes=5)  # clocks of containers beside us
_REISSUE_AT: Final = 3  # when less than a third of the life is left
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_ROOT_NAME: Final = "tokenvault development CA"


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """PEM files, each 0600: the leaf and its PKCS #8 key."""

    certificate_file: Path
    key_file: Path


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a certificate says. Moments are UTC and aware."""

    common_name: str
    not_before: datetime
    not_after: datetime
    uris: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    ips: tuple[str, ...] = ()
    ekus: tuple[ObjectIdentifier, ...] = ()
    is_ca: bool = False


class DevCA:
    """The CA of one state directory, in its folder ``ca``; made when first used."""

    def __init__(
        self, state_dir: Path, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """Raises EmbeddedError when the files of the CA cannot be read or written."""
        self._folder = private_folder(state_dir.absolute() / "ca")
        self._clock = clock
        self._key_file = self._folder / "root.key"
        self._key = self._load_key()
        self._root = self._load_root()

    @property
    def root_file(self) -> Path:
        """The root certificate, PEM: what clients and servers trust."""
        return self._folder / "root.pem"

    def issue(
        self,
        name: str,
        *,
        spiffe_id: str | None = None,
        dns: Sequence[str] = (),
        ips: Sequence[str] = (),
        server: bool,
        client: bool,
        life_s: float = LEAF_LIFE_S,
    ) -> IssuedCertificate:
        """The certificate of this name: the one on disk while it says what is wanted and has a
        third of its life left, else a new one with a new key.

        ``name`` ([a-z0-9._-]) names the files and the subject. Raises EmbeddedError.
        """
        now = self._clock()
        wanted = Wanted(
            common_name=name,
            not_before=now - _SKEW,
            not_after=now + timedelta(seconds=life_s),
            uris=(spiffe_id,) if spiffe_id else (),
            dns=tuple(dns),
            ips=tuple(ips),
            ekus=(SERVER_AUTH,) * server + (CLIENT_AUTH,) * client,
        )
        issued = self.files(name)
        if not self._still_good(issued, wanted):
            self.build(name, wanted)
        return issued

    def build(self, name: str, wanted: Wanted) -> IssuedCertificate:
        """Issue whatever is asked for, sensible or not."""
        issued = self.files(name)
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _sign(wanted, key.public_key(), self._root.subject, self._key)
        write_private(issued.key_file, _key_pem(key))
        write_private(issued.certificate_file, _certificate_pem(certificate))
        return issued

    def build_odd(
        self,
        name: str,
        *,
        uris: Sequence[str] = (),
        dns: Sequence[str] = (),
        ips: Sequence[str] = (),
        ekus: Sequence[ObjectIdentifier] = (CLIENT_AUTH,),
        is_ca: bool = False,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> IssuedCertificate:
        """For tests: any number of URIs, a CA as a leaf, other usages, other times."""
        now = self._clock()
        wanted = Wanted(
            common_name=name,
            not_before=not_before or now - _SKEW,
            not_after=not_after or now + timedelta(seconds=LEAF_LIFE_S),
            uris=tuple(uris),
            dns=tuple(dns),
            ips=tuple(ips),
            ekus=tuple(ekus),
            is_ca=is_ca,
        )
        return self.build(name, wanted)

    def files(self, name: str) -> IssuedCertificate:
        """Where the certificate of this name is, issued or not. Raises EmbeddedError."""
        if not _NAME.fullmatch(name) or name == "root":
            raise EmbeddedError(f"{name!r} cannot name a certificate: [a-z0-9._-], not root")
        return IssuedCertificate(self._folder / f"{name}.pem", self._folder / f"{name}.key")

    def _load_key(self) -> ec.EllipticCurvePrivateKey:
        if not self._key_file.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            write_private(self._key_file, _key_pem(key))
            return key
        try:
            return _read_key(self._key_file)
        except (OSError, ValueError, TypeError) as error:
            raise EmbeddedError(
                f"the development CA's key {self._key_file} cannot be read; remove the folder "
                f"{self._folder} to get a new CA"
            ) from error

    def _load_root(self) -> x509.Certificate:
        """A new certificate for the same key keeps all that was issued valid."""
        now = self._clock()
        public = self._key.public_key()
        try:
            root = x509.load_pem_x509_certificate(self.root_file.read_bytes())
            if root.public_key() == public and _has_life_left(root, now):
                return root
        except (OSError, ValueError):
            pass  # made anew below
        wanted = Wanted(
            common_name=_ROOT_NAME,
            not_before=now - _SKEW,
            not_after=now + timedelta(seconds=ROOT_LIFE_S),
            is_ca=True,
        )
        root = _sign(wanted, public, _subject(_ROOT_NAME), self._key)
        write_private(self.root_file, _certificate_pem(root))
        return root

    def _still_good(self, issued: IssuedCertificate, wanted: Wanted) -> bool:
        try:
            found = x509.load_pem_x509_certificate(issued.certificate_file.read_bytes())
            key = _read_key(issued.key_file)
            found.verify_directly_issued_by(self._root)
        except (OSError, ValueError, TypeError, InvalidSignature):
            return False
        return (
            found.public_key() == key.public_key()
            and _has_life_left(found, self._clock())
            and _says(found) == (wanted.uris, wanted.dns, wanted.ips, wanted.ekus)
        )


def _sign(
    wanted: Wanted,
    public: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    names: list[x509.GeneralName] = [
        *(x509.UniformResourceIdentifier(uri) for uri in wanted.uris),
        *(x509.DNSName(name) for name in wanted.dns),
        *(x509.IPAddress(ipaddress.ip_address(address)) for address in wanted.ips),
    ]
    builder = (
        x509.CertificateBuilder()
        .subject_name(_subject(wanted.common_name))
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(wanted.not_before)
        .not_valid_after(wanted.not_after)
        .add_extension(x509.BasicConstraints(ca=wanted.is_ca, path_length=None), critical=True)
        .add_extension(_key_usage(wanted), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
        )
    )
    if wanted.ekus:
        builder = builder.add_extension(x509.ExtendedKeyUsage(wanted.ekus), critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256())


def _subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(wanted: Wanted) -> x509.KeyUsage:
    is_ca = wanted.is_ca
    return x509.KeyUsage(
        # A CA that also wants to be a client or server gets as far as TLS lets it.
        digital_signature=not is_ca or bool(wanted.ekus),
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )


def _says(
    found: x509.Certificate,
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[ObjectIdentifier, ...]]:
    """Its URIs, DNS names, addresses and extended usages."""
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    try:
        usages = tuple(found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        usages = ()
    return (
        tuple(names.get_values_for_type(x509.UniformResourceIdentifier)),
        tuple(names.get_values_for_type(x509.DNSName)),
        tuple(str(address) for address in names.get_values_for_type(x509.IPAddress)),
        usages,
    )


def _has_life_left(certificate: x509.Certificate, now: datetime) -> bool:
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    not_yet = now < certificate.not_valid_before_utc
    return not not_yet and certificate.not_valid_after_utc - now > life / _REISSUE_AT


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not an elliptic curve key")
    return key


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _certificate_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
