"""The development CA, judged by TLS handshakes and by reading what it made."""

from __future__ import annotations

import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from vault_service.embedded.devca import (
    CLIENT_AUTH,
    LEAF_LIFE_S,
    ROOT_LIFE_S,
    SERVER_AUTH,
    DevCA,
    IssuedCertificate,
)
from vault_service.embedded.machine import EmbeddedError

NOW = datetime.now(UTC)


class Clock:
    """A clock that stands where it is put."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def read(issued: IssuedCertificate) -> x509.Certificate:
    return x509.load_pem_x509_certificate(issued.certificate_file.read_bytes())


def shake_hands(
    root: Path, server: IssuedCertificate, client: IssuedCertificate, name: str = "127.0.0.1"
) -> None:
    """A mutual TLS 1.3 handshake in memory; raises ssl.SSLError where one side refuses."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    calling = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for context, issued in ((serving, server), (calling, client)):
        context.load_verify_locations(root)
        context.load_cert_chain(issued.certificate_file, issued.key_file)
        context.verify_mode = ssl.CERT_REQUIRED
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        calling.wrap_bio(to_client, to_server, server_hostname=name),
        serving.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ca(tmp_path: Path, clock: Clock) -> DevCA:
    return DevCA(tmp_path, clock)


@pytest.fixture
def server(ca: DevCA) -> IssuedCertificate:
    return ca.issue("server", dns=["localhost"], ips=["127.0.0.1"], server=True, client=False)


@pytest.fixture
def client(ca: DevCA) -> IssuedCertificate:
    return ca.issue("app", spiffe_id="spiffe://dev/app", server=False, client=True)


def test_both_sides_believe_each_other(
    ca: DevCA, server: IssuedCertificate, client: IssuedCertificate
) -> None:
    """What it issues verifies in full on both sides, by address and by name."""
    for name in ("127.0.0.1", "localhost"):
        shake_hands(ca.root_file, server, client, name)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(ca.root_file, server, client, "other.example")


def test_svid_is_as_spiffe_wants_it(client: IssuedCertificate) -> None:
    """A client's certificate is a leaf with one URI, for signatures and for clients only."""
    extensions = read(client).extensions
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert (constraints.critical, constraints.value.ca) == (True, False)
    assert (usage.critical, usage.value.digital_signature) == (True, True)
    assert not usage.value.key_cert_sign
    assert [name.value for name in names] == ["spiffe://dev/app"]
    usages = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usages) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_files_are_ours_alone(ca: DevCA, server: IssuedCertificate) -> None:
    """Every file of the CA, keys above all, is 0600."""
    files = list(ca.root_file.parent.iterdir())
    assert {file.name for file in files} == {"root.pem", "root.key", "server.pem", "server.key"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_issued_is_kept_while_good(
    ca: DevCA, client: IssuedCertificate, clock: Clock, tmp_path: Path
) -> None:
    """A certificate stays the same until a third of its life is left, also for a new process."""
    before = read(client)
    clock.now = NOW + timedelta(seconds=LEAF_LIFE_S * 0.6)
    DevCA(tmp_path, clock).issue("app", spiffe_id="spiffe://dev/app", server=False, client=True)
    assert read(client) == before
    clock.now = NOW + timedelta(seconds=LEAF_LIFE_S * 0.7)
    ca.issue("app", spiffe_id="spiffe://dev/app", server=False, client=True)
    assert read(client) != before
    assert read(client).not_valid_after_utc > clock.now + timedelta(seconds=LEAF_LIFE_S * 0.9)


@pytest.mark.parametrize("change", ["name", "usage", "key", "garbage", "root"])
def test_issued_is_replaced_when_wrong(
    ca: DevCA, client: IssuedCertificate, server: IssuedCertificate, change: str, tmp_path: Path
) -> None:
    """Another name or usage, a key that does not fit, garbage or another root: issued anew."""
    before = read(client)
    spiffe_id = "spiffe://dev/other" if change == "name" else "spiffe://dev/app"
    if change == "key":
        client.key_file.write_bytes(server.key_file.read_bytes())
    elif change == "garbage":
        client.certificate_file.write_text("not PEM")
    elif change == "root":
        (tmp_path / "ca" / "root.key").unlink()
        ca = DevCA(tmp_path)
    ca.issue("app", spiffe_id=spiffe_id, server=change == "usage", client=True)
    assert read(client) != before
    shake_hands(ca.root_file, ca.issue("s", ips=["127.0.0.1"], server=True, client=False), client)


def test_root_is_renewed_without_breaking_what_it_issued(
    ca: DevCA, server: IssuedCertificate, client: IssuedCertificate, clock: Clock, tmp_path: Path
) -> None:
    """A root near its end gets a new certificate for the same key: leaves stay valid under it."""
    before = ca.root_file.read_bytes()
    clock.now = NOW + timedelta(seconds=ROOT_LIFE_S * 0.7)
    renewed = DevCA(tmp_path, clock)
    assert ca.root_file.read_bytes() != before
    read(server).verify_directly_issued_by(
        x509.load_pem_x509_certificate(renewed.root_file.read_bytes())
    )


def test_foreign_ca_is_not_believed(
    ca: DevCA, server: IssuedCertificate, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Two state directories do not trust each other, though their roots have one name."""
    foreign = DevCA(tmp_path_factory.mktemp("foreign")).issue(
        "app", spiffe_id="spiffe://dev/app", server=False, client=True
    )
    with pytest.raises(ssl.SSLError, match="certificate verify failed"):
        shake_hands(ca.root_file, server, foreign)


def test_wrong_usage_and_expired_fail_the_handshake(ca: DevCA, server: IssuedCertificate) -> None:
    """A server's certificate is none for a client, and an expired one is none at all."""
    wrong = ca.build_odd("wrong", uris=["spiffe://dev/app"], ekus=[SERVER_AUTH])
    expired = ca.build_odd(
        "expired",
        uris=["spiffe://dev/app"],
        not_before=NOW - timedelta(days=2),
        not_after=NOW - timedelta(days=1),
    )
    for odd in (wrong, expired):
        with pytest.raises(ssl.SSLError, match="certificate verify failed"):
            shake_hands(ca.root_file, server, odd)


@pytest.mark.parametrize(
    ("uris", "is_ca", "ekus"),
    [
        (("spiffe://dev/a", "spiffe://dev/b"), False, (CLIENT_AUTH,)),
        ((), False, (CLIENT_AUTH,)),
        (("spiffe://elsewhere/a",), False, (CLIENT_AUTH,)),
        (("spiffe://dev/a",), True, (CLIENT_AUTH,)),
        (("spiffe://dev/a",), False, ()),
    ],
)
def test_odd_certificates_pass_tls(
    ca: DevCA,
    server: IssuedCertificate,
    uris: tuple[str, ...],
    is_ca: bool,
    ekus: tuple[x509.ObjectIdentifier, ...],
) -> None:
    """Odd names and kinds come out as asked and get through TLS: judging them is the service's."""
    odd = ca.build_odd("odd", uris=uris, is_ca=is_ca, ekus=ekus)
    extensions = read(odd).extensions
    assert extensions.get_extension_for_class(x509.BasicConstraints).value.ca is is_ca
    shake_hands(ca.root_file, server, odd)


def test_names_cannot_leave_the_folder(ca: DevCA) -> None:
    """A name is a plain file name, and never the root's."""
    for name in ("../x", "", "root", "A", "a/b", "." * 3, "x" * 65):
        with pytest.raises(EmbeddedError, match="cannot name a certificate"):
            ca.issue(name, server=True, client=True)


def test_damaged_root_key_is_not_replaced(ca: DevCA, tmp_path: Path) -> None:
    """A root key that cannot be read is an error: a new one would break all that trust the old."""
    (ca.root_file.parent / "root.key").write_text("damaged")
    with pytest.raises(EmbeddedError, match="remove the folder"):
        DevCA(tmp_path)
