"""The TLS settings of the HTTP client."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from tests.fakes.https_server import make_certificates, reply, serve
from vault_service.egress.answer import TransportFailure
from vault_service.egress.client import HttpClient
from vault_service.egress.guard import EgressGuard


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
async def test_old_tls_is_refused(tmp_path: Path) -> None:
    """A server that speaks TLS 1.1 at most gets no request."""
    certificates = make_certificates(tmp_path)
    async with serve(reply(b"{}"), certificates, tls_max=ssl.TLSVersion.TLSv1_1) as server:
        http = HttpClient(EgressGuard([server.authority]), certificates.ca_file)
        with pytest.raises(TransportFailure) as caught:
            await http.post_form(server.url, {})
        await http.close()
        assert not caught.value.sent
        assert server.requests == []
        # It does serve those who still take TLS 1.1.
        lax = ssl.create_default_context(cafile=str(certificates.ca_file))
        lax.minimum_version = ssl.TLSVersion.TLSv1_1
        lax.set_ciphers("ALL:@SECLEVEL=0")
        _, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=lax)
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.1"
        writer.close()


def test_missing_ca_file_is_told_at_start(tmp_path: Path) -> None:
    """A CA file that cannot be read fails when the client is made, not at the first request."""
    with pytest.raises(FileNotFoundError):
        HttpClient(EgressGuard(), tmp_path / "absent.pem")
