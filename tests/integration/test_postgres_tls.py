"""TLS to PostgreSQL: verified in full, or no connection."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.postgres import APP, TestDatabase
from tests.support.tls_front import TlsFront, tls_front
from vault_service.adapters.postgres.pool import Database
from vault_service.domain.errors import Reason, VaultError
from vault_service.embedded.devca import DevCA


@pytest.fixture
def ca(tmp_path: Path) -> DevCA:
    """The CA that the operator configured."""
    return DevCA(tmp_path / "ours")


def _context(authority: DevCA) -> ssl.SSLContext:
    issued = authority.issue("postgres", server=True, client=False, dns=["localhost"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.certificate_file, issued.key_file)
    return context


@pytest.fixture
async def front(database: TestDatabase, ca: DevCA) -> AsyncIterator[TlsFront]:
    """A front with a certificate for localhost."""
    settings = database.app.settings
    socket = Path(settings.host) / f".s.PGSQL.{settings.port}"
    async with tls_front(TlsFront(socket, _context(ca))) as running:
        yield running


def _open(database: TestDatabase, front: TlsFront, ca: DevCA, host: str = "localhost") -> Database:
    return database.open(APP, host=host, port=front.port, ca_file=ca.root_file)


async def _unreachable(opened: Database) -> BaseException | None:
    with pytest.raises(VaultError) as refused:
        await opened.ping()
    await opened.close()
    assert refused.value.reason is Reason.STORE_UNREACHABLE
    return refused.value.__cause__


def test_plain_tcp_is_refused(database: TestDatabase) -> None:
    """A host that is not a socket directory cannot even be configured without a CA."""
    for host in ("localhost", "127.0.0.1", "db.example", "relative/socket"):
        with pytest.raises(ValueError, match="CA file"):
            database.open(APP, host=host)


async def test_verified_connection(database: TestDatabase, front: TlsFront, ca: DevCA) -> None:
    """A server with a certificate of our CA for its name is used, with TLS 1.2 at least."""
    opened = _open(database, front, ca)
    await opened.ping()
    await opened.close()
    assert front.versions == {"TLSv1.3"}
    assert front.plain_bytes == b""


async def test_other_name(database: TestDatabase, front: TlsFront, ca: DevCA) -> None:
    """A certificate of our CA for another host is refused."""
    cause = await _unreachable(_open(database, front, ca, "127.0.0.1"))
    assert isinstance(cause, ssl.SSLCertVerificationError)


async def test_other_authority(
    database: TestDatabase, front: TlsFront, ca: DevCA, tmp_path: Path
) -> None:
    """A certificate of another CA, whatever the system trusts, is refused."""
    front.context = _context(DevCA(tmp_path / "theirs"))
    cause = await _unreachable(_open(database, front, ca))
    assert isinstance(cause, ssl.SSLCertVerificationError)


async def test_server_without_tls(database: TestDatabase, front: TlsFront, ca: DevCA) -> None:
    """A server that offers no TLS hears nothing from us: no user name, no password."""
    front.answer = b"N"
    await _unreachable(_open(database, front, ca))
    assert front.plain_bytes == b""


async def test_missing_ca_file(database: TestDatabase, front: TlsFront, tmp_path: Path) -> None:
    """A CA file that cannot be read means no connection."""
    opened = database.open(APP, host="localhost", port=front.port, ca_file=tmp_path / "none.pem")
    assert isinstance(await _unreachable(opened), FileNotFoundError)
    assert front.versions == set()


async def test_ca_file_is_read_again(
    database: TestDatabase, front: TlsFront, ca: DevCA, tmp_path: Path
) -> None:
    """A CA file that was replaced is used by the next connection."""
    theirs = DevCA(tmp_path / "theirs")
    ca_file = tmp_path / "trusted.pem"
    ca_file.write_bytes(theirs.root_file.read_bytes())
    opened = database.open(APP, host="localhost", port=front.port, ca_file=ca_file)
    with pytest.raises(VaultError):
        await opened.ping()
    ca_file.write_bytes(ca.root_file.read_bytes())
    await opened.ping()
    await opened.close()
