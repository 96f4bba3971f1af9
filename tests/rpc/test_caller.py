"""Threat T9: forged and ambiguous certificates. What TLS lets through is judged here."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.fakes.clock import FakeClock
from tests.rpc.caller_certificates import (
    CLIENT_AUTH,
    FROM,
    GOOD,
    SERVER_AUTH,
    UNTIL,
    Wanted,
    built,
    pem,
)
from vault_service.domain import limits
from vault_service.domain.access import Caller
from vault_service.domain.errors import Reason, VaultError
from vault_service.rpc.caller import CallerReader


def context(*certificates: bytes, tls: Iterable[bytes] = (b"TLSv1.3",)) -> dict[str, list[bytes]]:
    """What gRPC's auth_context says."""
    return {
        "ssl_tls_version": list(tls),
        "x509_pem_cert": list(certificates),
        "x509_common_name": [b"spiffe://example.org/admin"],
        "x509_subject_alternative_name": [b"spiffe://example.org/admin"],
        "peer_spiffe_id": [b"spiffe://example.org/admin"],
    }


def reader(*domains: str, clock: FakeClock | None = None) -> CallerReader:
    return CallerReader(domains or ("example.org",), clock or FakeClock())


def refusal(certificate: bytes, domains: tuple[str, ...] = ()) -> VaultError:
    """The refusal of a certificate."""
    with pytest.raises(VaultError) as caught:
        reader(*domains).read(context(certificate))
    assert caught.value.reason is Reason.CALLER_UNKNOWN
    assert caught.value.recorded["why"] in caught.value.message
    return caught.value


def test_sound_certificate() -> None:
    """The caller is the one SPIFFE id of the certificate itself, with its serial number."""
    assert reader().read(context(pem())) == Caller(GOOD, "abc123")


@pytest.mark.parametrize(
    "uri",
    [
        "spiffe://example.org/a",
        "spiffe://example.org/ns/prod/sa/calendar",
        "spiffe://example.org/A-b_c.d/0",
        "spiffe://example.org/...",
        "spiffe://example.org/" + "a" * (limits.URI_MAX_CHARS - 21),
    ],
)
def test_sound_ids(uri: str) -> None:
    """Every path that SPIFFE allows is taken as it is."""
    assert reader().read(context(pem(Wanted(uris=(uri,))))).spiffe_id == uri


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (Wanted(uris=None), "0 URI names"),
        (Wanted(uris=(), dns=("app.example.org",)), "0 URI names"),
        (Wanted(uris=(GOOD, "spiffe://example.org/other")), "2 URI names"),
        (Wanted(uris=(GOOD, GOOD)), "2 URI names"),
        (Wanted(uris=(GOOD, "https://example.org/")), "2 URI names"),
        (Wanted(uris=("spiffe://evil.example/app",)), "trust domain"),
        (Wanted(uris=("spiffe://sub.example.org/app",)), "trust domain"),
        (Wanted(uris=("spiffe://example.org.evil/app",)), "trust domain"),
        (Wanted(is_ca=True), "CA"),
        (Wanted(is_ca=True, signs_certificates=True), "CA"),
        (Wanted(signs_certificates=True), "may sign certificates"),
        (Wanted(is_ca=None, signs_certificates=True), "may sign certificates"),
        (Wanted(ekus=None), "extended key usage"),
        (Wanted(ekus=(SERVER_AUTH,)), "not for client"),
        (Wanted(ekus=(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)), "not for client"),
    ],
)
def test_refused(wanted: Wanted, why: str) -> None:
    """What is not a leaf for a client with exactly one SPIFFE id of ours is CALLER_UNKNOWN."""
    assert why in refusal(pem(wanted)).message


@pytest.mark.parametrize("wanted", [Wanted(dns=("app",)), Wanted(ekus=(CLIENT_AUTH, SERVER_AUTH))])
def test_more_than_needed(wanted: Wanted) -> None:
    """DNS names and further usages beside what is needed do no harm."""
    assert reader().read(context(pem(wanted))).spiffe_id == GOOD


def test_absent_constraints() -> None:
    """Without BasicConstraints and KeyUsage a certificate is no CA (RFC 5280)."""
    wanted = Wanted(is_ca=None, signs_certificates=None)
    assert reader().read(context(pem(wanted))).spiffe_id == GOOD


@pytest.mark.parametrize(
    "uri",
    [
        "spiffe://example.org",
        "spiffe://example.org/",
        "spiffe://example.org/app/",
        "spiffe://example.org//app",
        "spiffe://example.org/./app",
        "spiffe://example.org/../app",
        "spiffe://example.org/app/..",
        "spiffe://example.org/a%2fb",
        "spiffe://example.org/a b",
        "spiffe://example.org/app\n",
        "spiffe://example.org/app?x=1",
        "spiffe://example.org/app#x",
        "spiffe://example.org/app~",
        "spiffe://EXAMPLE.org/app",
        "spiffe://Example.Org/app",
        "SPIFFE://example.org/app",
        "spiffe://user@example.org/app",
        "spiffe://example.org:443/app",
        "spiffe:///app",
        "spiffe:/example.org/app",
        "https://example.org/app",
        " spiffe://example.org/app",
        "spiffe://example.org\x00.evil/app",
        "spiffe://" + "a" * 256 + "/app",
        "spiffe://example.org/" + "a" * (limits.URI_MAX_CHARS - 20),
        "spiffe://example.org/" + "a/" * 100_000 + "a",
        "",
    ],
)
def test_malformed_ids(uri: str) -> None:
    """What SPIFFE does not allow is refused and never normalised; nor is it repeated."""
    error = refusal(pem(Wanted(uris=(uri,))))
    assert "not a SPIFFE id" in error.message
    assert len(error.message) < 300


def test_allowed_domains() -> None:
    """Any allowed trust domain will do, and only those."""
    other = pem(Wanted(uris=("spiffe://other.example/app",)))
    many = reader("example.org", "other.example")
    assert many.read(context(other)).spiffe_id == "spiffe://other.example/app"
    assert many.read(context(pem())).spiffe_id == GOOD
    refusal(other)


@pytest.mark.parametrize(
    "tls", [(b"TLSv1.2",), (b"TLSv1.1",), (), (b"",), (b"TLSv1.3", b"TLSv1.2")]
)
def test_older_tls(tls: tuple[bytes, ...]) -> None:
    """Another version than TLS 1.3 is refused, however good the certificate."""
    with pytest.raises(VaultError, match=r"not TLS 1\.3"):
        reader().read(context(pem(), tls=tls))


def test_plain_connection() -> None:
    """Without TLS, or without a certificate, there is no caller."""
    for auth in ({}, context(), context(pem(), pem())):
        with pytest.raises(VaultError) as caught:
            reader().read(auth)
        assert caught.value.reason is Reason.CALLER_UNKNOWN


@pytest.mark.parametrize(
    "bytes_",
    [
        b"",
        b"garbage",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"\xff" * 1_000,
        pem()[:-60],
    ],
)
def test_garbage(bytes_: bytes) -> None:
    """Bytes that are no certificate are refused, not a fault."""
    assert "cannot be read" in refusal(bytes_).message


def _patched(certificate: x509.Certificate, old: bytes, new: bytes) -> bytes:
    """The certificate with bytes exchanged; its signature is not looked at here."""
    der = certificate.public_bytes(Encoding.DER)
    assert old in der
    text = base64.encodebytes(der.replace(old, new)).decode()
    return f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n".encode()


def test_extension_twice() -> None:
    """A second SubjectAlternativeName, which parsers could read differently, is refused."""
    spare = x509.ObjectIdentifier("2.5.29.99")
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://example.org/b")])
    twin = x509.UnrecognizedExtension(spare, names.public_bytes())
    certificate = built(Wanted(more=(twin,)))
    assert reader().read(context(certificate.public_bytes(Encoding.PEM))).spiffe_id == GOOD
    twice = _patched(certificate, b"\x06\x03\x55\x1d\x63", b"\x06\x03\x55\x1d\x11")
    assert "cannot be read" in refusal(twice).message


def test_names_of_unknown_kinds() -> None:
    """A name of a kind that the library cannot read is a refusal, not a fault."""
    oid = x509.SubjectAlternativeName.oid
    x400 = x509.UnrecognizedExtension(oid, b"\x30\x02\xa3\x00")
    certificate = pem(Wanted(uris=None, more=(x400,)))
    assert "cannot be read" in refusal(certificate).message


def test_expiry_on_an_open_connection() -> None:
    """A certificate that runs out while its connection lives is refused from that moment on."""
    clock = FakeClock()
    asked = reader(clock=clock)
    assert asked.read(context(pem())).spiffe_id == GOOD
    clock.advance((UNTIL - clock.now()).total_seconds() - 1)
    assert asked.read(context(pem())).spiffe_id == GOOD
    clock.advance(1)
    with pytest.raises(VaultError, match="expired"):
        asked.read(context(pem()))


def test_expired_before() -> None:
    """A certificate that ended before the call is refused."""
    with pytest.raises(VaultError, match="expired"):
        reader().read(context(pem(Wanted(until=FROM + timedelta(days=1)))))


def test_cache_is_by_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate is parsed once; another one is another caller, whatever else is the same."""
    parsed = []
    parse = x509.load_pem_x509_certificate

    def counting(data: bytes) -> x509.Certificate:
        parsed.append(data)
        return parse(data)

    monkeypatch.setattr("vault_service.rpc.caller.x509.load_pem_x509_certificate", counting)
    asked = reader()
    first, second = pem(), pem(Wanted(uris=("spiffe://example.org/other",)))
    for _ in range(3):
        assert asked.read(context(first)).spiffe_id == GOOD
        assert asked.read(context(second)).spiffe_id == "spiffe://example.org/other"
        with pytest.raises(VaultError):
            asked.read(context(b"garbage"))
    assert len(parsed) == 3


def test_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many certificates come, no more than the limit are kept, the used ones longest."""
    monkeypatch.setattr(limits, "CERTIFICATE_CACHE_MAX", 2)
    asked = reader()
    ids = [f"spiffe://example.org/{n}" for n in range(4)]
    certificates = [pem(Wanted(uris=(each,))) for each in ids]
    for each, certificate in zip(ids, certificates, strict=True):
        assert asked.read(context(certificate)).spiffe_id == each
        assert asked.read(context(certificates[0])).spiffe_id == ids[0]
    assert set(asked._judged) == {certificates[0], certificates[3]}
