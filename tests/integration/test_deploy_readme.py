"""deploy/README.md from its first command to its last, on a Vault and a PostgreSQL as they come."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT
from tests.support.docs import Shell, blocks, commands
from tests.support.openbao import DevOpenBao
from tests.support.postgres import DevPostgres
from tests.support.state_dirs import new_state_dir
from vault_service.embedded.devca import DevCA
from vault_service.embedded.postgres_binaries import find_binaries

PAGE = ROOT / "deploy" / "README.md"


@pytest.fixture
def directory() -> Iterator[Path]:
    """Short paths, which PostgreSQL's own user can reach."""
    with new_state_dir() as found:
        yield found


@pytest.fixture
def transit(directory: Path) -> Iterator[DevOpenBao]:
    """A server on which nothing was set up."""
    folder = directory / "bao"
    folder.mkdir()
    server = DevOpenBao(folder)
    try:
        yield server.start_bare()
    finally:
        server.stop()


@pytest.fixture
def postgres(directory: Path) -> Iterator[DevPostgres]:
    """A server without our database."""
    server = DevPostgres(directory)
    try:
        server.run()
        server.sql("DROP DATABASE IF EXISTS tokenvault")
        yield server
    finally:
        server.remove()


def test_deploy_readme(directory: Path, transit: DevOpenBao, postgres: DevPostgres) -> None:
    """Its commands, in order and with this machine's paths for its own, end with a set-up in which
    the doctor finds nothing wrong."""
    folder = directory / "deploy"
    names = _names(folder, transit, postgres)
    _lay_out(folder, names, transit)
    shell = Shell(folder, _env(folder, transit, postgres))
    found = blocks(PAGE)
    assert [block.language for block in found] == [
        "sh", "sh", "sh", "console", "sh", "console",
    ]  # fmt: skip
    for block in found:
        if block.language == "sh":
            done = shell.run(_filled(block.text, names))
            assert done.status == 0, f"{block.page}:{block.line}: {done.output}"
            continue
        for command in commands(block):
            done = shell.run(_filled(command.text, names))
            assert done.status == 0, f"{command.text}: {done.output}"
            assert not command.missing(done.output), done.output
    assert "FAILED" not in done.output
    kept = list((folder / "secrets").iterdir())
    assert len(kept) == 7
    assert not any(path.read_text().strip() in done.output for path in kept)
    assert {path.stat().st_mode & 0o077 for path in kept} == {0}


def _names(folder: Path, transit: DevOpenBao, postgres: DevPostgres) -> dict[str, str]:
    return {
        "https://vault.internal.example:8200": transit.address,
        "db.internal.example": str(postgres.handle.socket_dir),
        "/var/lib/tokenvault": str(folder),
        "/run/secrets": str(folder / "secrets"),
        "/etc/tokenvault": str(folder / "etc"),
        "/run/spiffe": str(folder / "spiffe"),
        "port = 5432": f"port = {postgres.handle.port}",
    }


def _lay_out(folder: Path, names: dict[str, str], transit: DevOpenBao) -> None:
    """The files of the example, and what others put in place: CAs and the server's SVID."""
    folder.mkdir()
    for source in (ROOT / "deploy").iterdir():
        (folder / source.name).write_text(_filled(source.read_text(), names))
    for name in ("secrets", "etc", "spiffe"):
        (folder / name).mkdir()
    shutil.copy(transit.ca_file, folder / "etc" / "vault-ca.pem")
    ca = DevCA(folder)
    shutil.copy(ca.root_file, folder / "etc" / "database-ca.pem")
    shutil.copy(ca.root_file, folder / "spiffe" / "bundle.pem")
    issued = ca.issue(
        "svid",
        spiffe_id="spiffe://prod.example/tokenvault",
        dns=("localhost",),
        server=True,
        client=False,
    )
    shutil.copy(issued.certificate_file, folder / "spiffe" / "svid.pem")
    shutil.copy(issued.key_file, folder / "spiffe" / "svid_key.pem")


def _env(folder: Path, transit: DevOpenBao, postgres: DevPostgres) -> dict[str, str]:
    programs = folder / "bin"
    programs.mkdir()
    # OpenBao's command line takes what Vault's does.
    (programs / "vault").symlink_to(Path(sys.executable).with_name("bao"))
    handle = postgres.handle
    path = [str(programs), str(Path(sys.executable).parent), str(find_binaries().folder)]
    return {
        "PATH": os.pathsep.join([*path, os.defpath]),
        "HOME": str(folder),
        "BAO_ADDR": transit.address,
        "BAO_TOKEN": transit.root_token,
        "BAO_CACERT": str(transit.ca_file),
        "PGHOST": str(handle.socket_dir),
        "PGPORT": str(handle.port),
        "PGUSER": handle.superuser,
        "PGPASSWORD": handle.superuser_password_file.read_text().strip(),
        "TOKENVAULT_DATABASE__PORT": str(handle.port),
    }


def _filled(text: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        text = text.replace(name, value)
    return text
