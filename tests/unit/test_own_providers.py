"""``tokenvault dev --allow-provider``: which places, and the certificate for them."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from typer.testing import CliRunner

from vault_service.cli.main import app
from vault_service.domain import limits
from vault_service.egress.guard import EgressGuard
from vault_service.embedded.devca import DevCA
from vault_service.embedded.own_providers import own_providers, provider_certificate


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("127.0.0.1:26510", "127.0.0.1:26510"),
        ("127.200.3.4:443", "127.200.3.4:443"),
        ("[::1]:8443", "[::1]:8443"),
        ("localhost:8443", "localhost:8443"),
        ("LOCALHOST:8443", "localhost:8443"),
    ],
)
def test_places_on_this_machine_are_taken(text: str, place: str) -> None:
    """Loopback addresses and localhost are taken, in the spelling that the guard compares with."""
    assert own_providers([text, text]) == (place,)
    EgressGuard(own_providers([text])).check(f"https://{place}/token")


@pytest.mark.parametrize(
    "text",
    [
        "10.0.0.1:443",
        "169.254.169.254:80",
        "0.0.0.0:443",
        "[::]:443",
        "[::2]:443",
        "[::ffff:127.0.0.1]:443",
        "[fe80::1]:443",
        "provider.example:443",
        "localhost.example:443",
        "sub.localhost:443",
        "127.1:443",
        "2130706433:443",
        "0177.0.0.1:443",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "user@127.0.0.1:443",
        "https://127.0.0.1:443",
        "127.0.0.1:443/token",
        "",
    ],
)
def test_other_places_are_refused(text: str) -> None:
    """What is not this machine in a plain spelling, with a port, is refused by the command."""
    with pytest.raises(ValueError, match=r"port|host|address|machine|user name"):
        own_providers([text])
    refused = CliRunner().invoke(app, ["dev", "--allow-provider", text])
    assert refused.exit_code == 2
    assert "--allow-provider" in refused.stderr


def test_as_many_as_the_service_takes() -> None:
    """All that fit into egress.allowed_private beside the demo provider, and no more."""
    places = [
        f"127.0.0.1:{port}" for port in range(20_000, 20_001 + limits.ALLOWED_PRIVATE_MAX_COUNT)
    ]
    most = own_providers(places[: limits.ALLOWED_PRIVATE_MAX_COUNT - 1])
    EgressGuard(["127.0.0.1:1", *most])
    with pytest.raises(ValueError, match="at most 255"):
        own_providers(places)


def test_one_certificate_for_all_of_them(tmp_path: Path) -> None:
    """It is for localhost, both loopback addresses and those named, and stays while that does."""
    ca = DevCA(tmp_path)
    first = provider_certificate(ca, own_providers(["127.0.0.9:1", "localhost:1", "[::1]:2"]))
    found = x509.load_pem_x509_certificate(first.certificate_file.read_bytes())
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    addresses = [str(one) for one in names.get_values_for_type(x509.IPAddress)]
    assert addresses == ["127.0.0.1", "::1", "127.0.0.9"]
    again = provider_certificate(ca, own_providers(["127.0.0.9:7", "127.0.0.1:3"]))
    assert x509.load_pem_x509_certificate(again.certificate_file.read_bytes()) == found


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_what_trusts_the_development_ca_trusts_it(host: str, tmp_path: Path) -> None:
    """A TLS client with the CA's root accepts it under each name."""
    ca = DevCA(tmp_path)
    issued = provider_certificate(ca, ["localhost:1"])
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(issued.certificate_file, issued.key_file)
    asking = ssl.create_default_context(cafile=ca.root_file)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = serving.wrap_bio(there, back, server_side=True)
    client = asking.wrap_bio(back, there, server_hostname=host)
    for side in (client, server, client, server):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    assert client.version() == "TLSv1.3"
