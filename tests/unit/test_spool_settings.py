"""Where a spool may be: only in a folder that nobody else can write, read or exchange."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vault_service.adapters.spool.settings import SpoolSettings
from vault_service.domain import limits


def refused(folder: Path) -> str:
    """What is said of it."""
    with pytest.raises(ValueError, match=r"^spool\.path: ") as caught:
        SpoolSettings(folder)
    return str(caught.value)


def test_a_private_folder_and_one_to_be_made(tmp_path: Path) -> None:
    """A folder of mode 0700 is taken, and so is one that is missing where we may make it."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    assert SpoolSettings(private).slots == limits.SPOOL_SLOTS
    assert SpoolSettings(tmp_path / "later").folder == tmp_path / "later"
    assert not (tmp_path / "later").exists()


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o755, 0o711, 0o701])
def test_a_folder_open_to_others(tmp_path: Path, mode: int) -> None:
    """Whatever others may do there is too much."""
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool").chmod(mode)
    assert "is open to others" in refused(tmp_path / "spool")


def test_what_is_no_folder_of_ours(tmp_path: Path) -> None:
    """A link, a file, and a path that is relative, climbs, or leads nowhere are refused."""
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "file").write_text("")
    assert "is a symbolic link" in refused(tmp_path / "link")
    assert "is not a folder" in refused(tmp_path / "file")
    assert "must be absolute" in refused(Path("spool"))
    assert "without '..'" in refused(tmp_path / "real" / ".." / "real")
    assert "cannot be looked at" in refused(tmp_path / "missing" / "spool")


def test_a_missing_folder_where_anyone_may_write(tmp_path: Path) -> None:
    """Where anyone could put a folder of that name first, none is made; /tmp's sticky bit helps."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    assert "anyone may write" in refused(tmp_path / "open" / "spool")
    (tmp_path / "open").chmod(0o1777)
    assert SpoolSettings(tmp_path / "open" / "spool")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder away")
def test_a_folder_of_another_user(tmp_path: Path) -> None:
    """A folder that belongs to somebody else is refused, whatever its mode."""
    (tmp_path / "spool").mkdir(mode=0o700)
    os.chown(tmp_path / "spool", 4_321, -1)
    assert "belongs to uid 4321" in refused(tmp_path / "spool")


@pytest.mark.parametrize("slots", [limits.SPOOL_SLOTS_MIN - 1, limits.SPOOL_SLOTS_MAX + 1])
def test_slots_beyond_their_bounds(tmp_path: Path, slots: int) -> None:
    """The number of slots has bounds here too."""
    with pytest.raises(ValueError, match=r"^spool\.slots: "):
        SpoolSettings(tmp_path / "spool", slots)
