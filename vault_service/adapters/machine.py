"""This machine as the doctor looks at it: who may read our files, disk, the process's limits."""

from __future__ import annotations

import os
import resource
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from vault_service.domain.finding import Finding, Thresholds, failed, ok, warning


def examine_secret_files(files: Mapping[str, Path]) -> Iterator[Finding]:
    """Files that hold secrets, by the field that names them; nobody else may read them."""
    check, open_files = "files.secret", []
    for field, file in files.items():
        try:
            mode = file.stat().st_mode
        except OSError as error:
            yield failed(check, f"{field}: {file}: {error.strerror}", "put the file there")
            continue
        if mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
            open_files.append(file)
            yield warning(
                check,
                f"{field}: {file} has mode {stat.S_IMODE(mode):04o}: others can read or change it",
                f"chmod 0600 {file} (0640 for the service's own group)",
            )
    if not open_files:
        yield ok(check, f"{len(files)} files, none of them readable by everyone")


def examine_shared_files(files: Mapping[str, Path]) -> Iterator[Finding]:
    """Files that decide what is allowed: nobody else may change them."""
    check = "files.trusted"
    loose = [
        (field, file)
        for field, file in files.items()
        if file.exists() and file.stat().st_mode & stat.S_IWOTH
    ]
    for field, file in loose:
        yield warning(check, f"{field}: everyone can change {file}", f"chmod o-w {file}")
    if not loose:
        yield ok(check, f"{len(files)} files, none of them writable by everyone")


def examine_disk(folders: Iterable[Path], thresholds: Thresholds) -> Iterator[Finding]:
    """Free space of each file system that the service or its files are on."""
    seen = set[int]()
    for folder in folders:
        existing = next((one for one in (folder, *folder.parents) if one.exists()), None)
        if existing is None or (device := existing.stat().st_dev) in seen:
            continue
        seen.add(device)
        free = shutil.disk_usage(existing).free
        shown = f"{free / 1024**2:,.0f} MiB are free at {existing}"
        if free < thresholds.disk_fail_bytes:
            yield failed("disk", shown, "free some, or nothing new can be written there")
        elif free < thresholds.disk_warn_bytes:
            yield warning("disk", shown, "free some before it is full")
        else:
            yield ok("disk", shown)


def examine_process(undumpable: bool, thresholds: Thresholds) -> Iterator[Finding]:
    """What a process started like this one gets from the system. ``undumpable``: of ``harden``."""
    check = "process.memory"
    if undumpable:
        yield ok(check, "no core files, closed to other processes of this user")
    else:
        yield warning(
            check,
            "this system does not close a process's memory to others of the same user",
            "run the service as a user of its own",
        )
    open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if open_files != resource.RLIM_INFINITY and open_files < thresholds.open_files_warn:
        yield warning(
            "process.files",
            f"{open_files} open files are allowed",
            f"raise the limit to {thresholds.open_files_warn} (LimitNOFILE=, ulimit -n)",
        )
    else:
        yield ok("process.files", f"{open_files} open files are allowed")
    if os.geteuid() == 0:
        yield warning(
            "process.user", "this runs as root", "serve as a user of its own without privileges"
        )
    else:
        yield ok("process.user", "not root")
