"""``tokenvault dev``: the one command, first and second time, and when something is in its way."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT
from tests.support.docs import Shell, blocks, commands
from tests.support.state_dirs import new_state_dir
from vault_service.cli.operate import DevEnvironment
from vault_service.embedded import processes
from vault_service.embedded.postgres import EmbeddedPostgres

_LIMIT_S = 90


@pytest.fixture(scope="module")
def state_dir() -> Iterator[Path]:
    """Filled by the first test, found again by the others."""
    with new_state_dir() as directory:
        yield directory
        EmbeddedPostgres(directory).destroy()


def _argv(state_dir: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "vault_service", "dev", "--state-dir", str(state_dir), *options]


def _once(state_dir: Path, *options: str) -> subprocess.CompletedProcess[str]:
    argv = _argv(state_dir, "--once", *options)
    return subprocess.run(argv, capture_output=True, text=True, timeout=_LIMIT_S, check=False)


@contextmanager
def _staying(state_dir: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Start it and wait until it says that it stays."""
    with subprocess.Popen(
        _argv(state_dir, *options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as started:
        assert started.stdout is not None
        for line in started.stdout:
            if "It stays up" in line:
                break
        else:
            raise AssertionError(f"it ended with {started.wait(5)}")
        try:
            yield started
        finally:
            started.send_signal(signal.SIGINT)


def test_first_run_shows_the_main_job_and_second_finds_the_grant(state_dir: Path) -> None:
    """Consent, refresh, refusal and record once; then yesterday's grant without a consent, and the
    files of the environment as JSON; a provider of one's own may be called from then on."""
    first = _once(state_dir)
    assert first.returncode == 0, first.stdout + first.stderr
    for shown in (
        "authorization URL",
        "FRESH",
        "REFRESHED",
        "CALLER_NOT_ALLOWED",
        "GRANT_REFRESHED",
    ):
        assert shown in first.stdout
    assert _allowed(state_dir) == [_demo_provider(state_dir)]
    own = ("--allow-provider", "127.0.0.1:26510", "--allow-provider", "localhost:26511")
    second = _once(state_dir, *own, "--output", "json")
    assert second.returncode == 0, second.stdout + second.stderr
    assert "yesterday's" in second.stderr
    assert "authorization URL" not in second.stderr
    told = json.loads(second.stdout)
    assert told.keys() == {field.name for field in dataclasses.fields(DevEnvironment)}
    assert Path(told["client_files"]["operator"]).is_file()
    assert Path(told["provider_certificate_file"]).is_file()
    assert Path(told["provider_key_file"]).stat().st_mode & 0o077 == 0
    own_places = ["127.0.0.1:26510", "localhost:26511"]
    assert _allowed(state_dir) == [_demo_provider(state_dir), *own_places]


def test_taken_port_is_named(state_dir: Path) -> None:
    """A port of the first run that something else has now is in the error, with what to do."""
    port = json.loads((state_dir / "ports.json").read_text())["tokenvault"]
    with socket.create_server(("127.0.0.1", port)):
        refused = _once(state_dir)
    assert refused.returncode == 1
    assert str(port) in refused.stderr
    assert "--state-dir" in refused.stderr


def test_ctrl_c_stops_every_child(state_dir: Path) -> None:
    """It stays until it is interrupted, and leaves no process behind; another one is refused."""
    with _staying(state_dir) as staying:
        children = processes.descendants(staying.pid)
        assert len(children) >= 4
        assert "another process" in _once(state_dir).stderr
        staying.send_signal(signal.SIGINT)
        staying.communicate(timeout=_LIMIT_S)
    assert staying.returncode == 0
    assert [pid for pid in children if _alive(pid)] == []


def test_dead_child_ends_it_with_the_end_of_its_log(state_dir: Path) -> None:
    """When a child dies the command stops the others and says which one and where its log is."""
    with _staying(state_dir) as staying:
        service = next(pid for pid in processes.descendants(staying.pid) if _is_service(pid))
        os.kill(service, signal.SIGKILL)
        _, told = staying.communicate(timeout=_LIMIT_S)
    assert staying.returncode == 1
    assert "tokenvault was ended by SIGKILL" in told
    assert "tokenvault.log" in told


def test_the_tutorial(state_dir: Path, tmp_path: Path) -> None:
    """The commands of the tutorial work in the environment that the first one starts."""
    (tmp_path / ".tokenvault").symlink_to(state_dir)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    shell = Shell(tmp_path, os.environ)
    tutorial = blocks(ROOT / "docs" / "tutorial" / "first-grant.md")
    # The first and the last are what this module is about; the other waits for a person at a
    # browser, as test_cli.py does without one.
    left = [block.text.split() for block in tutorial if block.language != "console"]
    assert left[0] == ["make", "run"]
    assert left[1][:3] == [".venv/bin/tokenvault", "grant", "start"]
    (_, _, *options) = left[2]
    own = shlex.split(shlex.split(" ".join(options))[0].removeprefix("ARGS="))
    grants = ""
    with _staying(state_dir, *own):
        for command in (each for block in tutorial for each in commands(block)):
            done = shell.run(command.text.replace("GRANT_ID", grants))
            assert (done.status != 0) == command.fails, done.output
            if found := re.search(r"grants/([0-9a-f-]{36})  ada", done.output):
                grants = found[1]
            output = done.output.replace(grants, "GRANT_ID") if grants else done.output
            assert not command.missing(output), f"{command.text}: {done.output}"
    assert grants


@pytest.mark.parametrize(
    "place", ["192.168.1.7:443", "op.example:443", "127.0.0.1", "127.1:443", "http://127.0.0.1:1"]
)
def test_only_providers_of_this_machine_are_allowed(place: str, tmp_path: Path) -> None:
    """Anything else is a mistake in the command line, and nothing is made or started."""
    directory = tmp_path / "state"
    refused = _once(directory, "--allow-provider", place)
    assert refused.returncode == 2
    assert "--allow-provider" in refused.stderr
    assert not directory.exists()


def _allowed(state_dir: Path) -> list[str]:
    settings = tomllib.loads((state_dir / "tokenvault.toml").read_text())
    allowed: list[str] = settings["egress"]["allowed_private"]
    return allowed


def _demo_provider(state_dir: Path) -> str:
    port = json.loads((state_dir / "demo-provider" / "ports.json").read_text())["port"]
    return f"127.0.0.1:{port}"


def _is_service(pid: int) -> bool:
    return b"serve" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")


def _alive(pid: int) -> bool:
    # A moment for what was told to end just now.
    for _ in range(50):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return False
        if state == "Z":
            return False
        time.sleep(0.1)
    return True
