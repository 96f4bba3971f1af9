"""Children, ports, disks and files of the one-command environment."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vault_service.embedded import machine
from vault_service.embedded.child import Child
from vault_service.embedded.files import (
    Lock,
    make_state_dir,
    read_facts,
    secret_file,
    write_private,
)
from vault_service.embedded.machine import EmbeddedError


def python(tmp_path: Path, code: str) -> Child:
    """A child that runs a few lines."""
    return Child("the child", [sys.executable, "-c", code], log_file=tmp_path / "child.log")


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Child]:
    """A child with one child of its own, both ignoring SIGTERM."""
    code = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "inner = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print('inner', inner.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    child = python(tmp_path, code)
    child.start()
    child.wait_ready(lambda: "inner" in child.log_tail(), 10)
    yield child
    child.kill()


def inner_pid(child: Child) -> int:
    return int(child.log_tail().split()[1])


def state_of(pid: int) -> str:
    """The letter of /proc: R, S, T (stopped), Z; "" when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""


def gone(pid: int) -> bool:
    """Whether a process has ended within a moment."""
    give_up = time.monotonic() + 5
    while state_of(pid) not in ("", "Z"):
        if time.monotonic() > give_up:
            return False
        time.sleep(0.02)
    return True


def test_dead_child_is_noticed_at_once(tmp_path: Path) -> None:
    """A child that dies while we wait for it ends the wait, with its last words in the error."""
    child = python(tmp_path, "import sys; sys.exit('I cannot find my hat')")
    child.start()
    started = time.monotonic()
    with pytest.raises(EmbeddedError, match=r"the child stopped with exit status 1(.|\n)*my hat"):
        child.wait_ready(lambda: False, 30)
    assert time.monotonic() - started < 10
    assert not child.alive()


def test_killed_child_is_named_by_its_signal(sleeper: Child) -> None:
    """A child that something killed is reported with the signal."""
    os.kill(sleeper.pid, signal.SIGKILL)
    with pytest.raises(EmbeddedError, match="ended by SIGKILL"):
        sleeper.wait_ready(lambda: False, 30)


def test_full_disk_is_said_in_clear(tmp_path: Path) -> None:
    """A child that dies of a full disk gives an error that says so, whatever it is."""
    child = python(tmp_path, "import sys; sys.exit('write: No space left on device')")
    child.start()
    with pytest.raises(EmbeddedError, match="the disk is full: free some space"):
        child.wait_ready(lambda: False, 30)


def test_errors_tell_of_this_start_only(tmp_path: Path) -> None:
    """The log is kept from start to start; an error shows what came since the last one."""
    first = python(tmp_path, "import sys; sys.exit('yesterday')")
    with pytest.raises(EmbeddedError, match="yesterday"):
        first.run(10)
    second = python(tmp_path, "import sys; sys.exit('today')")
    with pytest.raises(EmbeddedError) as error:
        second.run(10)
    assert "today" in str(error.value)
    assert "yesterday" not in str(error.value)
    assert "yesterday" in (tmp_path / "child.log").read_text()


def test_slow_child_is_given_up(sleeper: Child) -> None:
    """A child that never gets ready is given up after the limit."""
    with pytest.raises(EmbeddedError, match=r"not ready within 0\.2 s"):
        sleeper.wait_ready(lambda: False, 0.2)


def test_program_that_is_not_there(tmp_path: Path) -> None:
    """A program that does not exist is named."""
    child = Child("the child", [str(tmp_path / "nothing")], log_file=tmp_path / "child.log")
    with pytest.raises(EmbeddedError, match=r"cannot run .*nothing: No such file"):
        child.run(10)


def test_stubborn_child_is_killed_with_its_children(sleeper: Child) -> None:
    """What does not stop when asked is killed, and so is what it started."""
    inner = inner_pid(sleeper)
    sleeper.stop(limit_s=0.3)
    assert not sleeper.alive()
    assert gone(inner)


def test_pause_stops_the_whole_tree(sleeper: Child) -> None:
    """A paused child and its children stand still until they are resumed."""
    inner = inner_pid(sleeper)
    sleeper.pause()
    assert (state_of(sleeper.pid), state_of(inner)) == ("T", "T")
    sleeper.resume()
    assert "T" not in (state_of(sleeper.pid), state_of(inner))


def test_child_dies_with_us(tmp_path: Path) -> None:
    """When the supervisor is killed without a chance to clean up, its child ends too."""
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from vault_service.embedded.child import Child\n"
        "child = Child('inner', [sys.executable, '-c', 'import time; time.sleep(60)'],\n"
        f"              log_file=Path({str(tmp_path / 'inner.log')!r}))\n"
        "child.start()\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    supervisor = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with supervisor:
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline())
        supervisor.kill()
    assert gone(pid)


def test_child_is_not_in_our_terminal_group(sleeper: Child) -> None:
    """Ctrl-C in the terminal reaches us and not the children, which we stop in order."""
    assert os.getpgid(sleeper.pid) != os.getpgid(0)


def test_taken_port_is_named() -> None:
    """A remembered port that another process has is named, with what to do."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert not machine.port_is_free("127.0.0.1", port)
        with pytest.raises(EmbeddedError, match=rf"port {port} .*OpenBao.* is taken"):
            machine.require_free_port("127.0.0.1", port, "OpenBao")
    machine.require_free_port("127.0.0.1", port, "OpenBao")


def test_small_disk_is_refused(tmp_path: Path) -> None:
    """Too little space is refused before anything starts, also for a folder yet to be made."""
    machine.require_free_disk(tmp_path / "not" / "yet", 1)
    with pytest.raises(EmbeddedError, match=r"MiB free, and 1073741824 MiB are needed"):
        machine.require_free_disk(tmp_path / "not" / "yet", 2**50)


def test_private_files_are_whole_and_ours_alone(tmp_path: Path) -> None:
    """A private file is replaced in one step and is never readable by others."""
    path = tmp_path / "secret"
    write_private(path, "one")
    before = path.open()
    write_private(path, "two")
    with before:
        assert before.read() == "one"
    assert path.read_text() == "two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_secret_is_drawn_once(tmp_path: Path) -> None:
    """A secret is drawn at the first asking and is the same afterwards."""
    first = secret_file(tmp_path / "a")
    assert len(first) == 43
    assert secret_file(tmp_path / "a") == first != secret_file(tmp_path / "b")


def test_damaged_facts_are_refused(tmp_path: Path) -> None:
    """What was remembered and cannot be read any more is an error, not a fresh start."""
    assert read_facts(tmp_path / "facts") == {}
    (tmp_path / "facts").write_text("{")
    with pytest.raises(EmbeddedError, match="cannot be read"):
        read_facts(tmp_path / "facts")


def test_lock_has_one_holder(tmp_path: Path) -> None:
    """Two users of one state directory are refused, until the first has let go."""
    first, second = (Lock(tmp_path / "lock", "PostgreSQL") for _ in range(2))
    first.take()
    with pytest.raises(EmbeddedError, match="another process runs PostgreSQL"):
        second.take()
    first.release()
    second.take()
    second.release()


def test_state_dir_keeps_the_mode_of_an_existing_one(tmp_path: Path) -> None:
    """A new state directory is closed to other users' eyes; an existing one is left as it is."""
    made = make_state_dir(tmp_path / "a" / "state")
    assert stat.S_IMODE(made.stat().st_mode) == (0o711 if os.geteuid() == 0 else 0o700)
    made.chmod(0o750)
    assert stat.S_IMODE(make_state_dir(made).stat().st_mode) == 0o750


def test_state_dir_that_is_a_file(tmp_path: Path) -> None:
    """A state directory that is a file is refused."""
    (tmp_path / "state").touch()
    with pytest.raises(EmbeddedError, match="not a directory"):
        make_state_dir(tmp_path / "state")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to someone else")
def test_state_dir_of_another_user(tmp_path: Path) -> None:
    """A state directory of another user is refused."""
    (tmp_path / "state").mkdir()
    os.chown(tmp_path / "state", 12345, 12345)
    with pytest.raises(EmbeddedError, match="belongs to uid 12345"):
        make_state_dir(tmp_path / "state")
