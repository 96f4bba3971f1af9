"""Fixtures of the egress tests: the real client, and a scripted HTTPS server that it may ask."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fakes.https_server import DevCertificates, Server, make_certificates, reply, serve
from vault_service.egress.client import HttpClient
from vault_service.egress.guard import EgressGuard


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> DevCertificates:
    """Of a CA of this module, for the loopback address."""
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def server(certificates: DevCertificates) -> AsyncIterator[Server]:
    """Answers 200 with an empty object until a test sets its ``behaviour``."""
    async with serve(reply(b"{}"), certificates) as state:
        yield state


@pytest.fixture
async def http(server: Server, certificates: DevCertificates) -> AsyncIterator[HttpClient]:
    """The client as it ships, allowed to ask ``server`` and nothing else."""
    client = HttpClient(EgressGuard([server.authority]), certificates.ca_file)
    yield client
    await client.close()
