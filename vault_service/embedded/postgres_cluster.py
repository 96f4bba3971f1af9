"""Making a PostgreSQL cluster: initdb, and who owns the files.

initdb runs only as a user that the system knows by name, and the uid that root chooses for the
server has none. So root runs initdb as nobody, in a folder for that moment, and copies what came
out into the server's own folder: nothing that nobody ever held open stays in use. For the same
reason the superuser's password that initdb sees is a throw-away.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Final

from vault_service.embedded.child import Child, RunAs
from vault_service.embedded.files import write_private
from vault_service.embedded.machine import EmbeddedError
from vault_service.embedded.postgres_binaries import Binaries
from vault_service.embedded.postgres_place import Place
from vault_service.embedded.postgres_roles import SUPERUSER

_LIMIT_S: Final = 120.0  # initdb on a slow disk
_PASSWORD_BYTES: Final = 32


class Cluster:
    """One data folder, complete or absent. The logs go to ``own``."""

    def __init__(self, binaries: Binaries, place: Place, own: Path, *, durable: bool) -> None:
        self._binaries = binaries
        self._place = place
        self._own = own
        self._durable = durable

    def make(self) -> str:
        """Make it, with SCRAM for everyone, in place of one that stands there; returns a password
        of its superuser that is to be replaced. Raises EmbeddedError."""
        partial = self._place.folder / "data.partial"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(self._place.data, ignore_errors=True)
        maker = _nobody() if self._place.run_as else None
        # Its parent can be entered by whoever can enter the server's folder's parent.
        scratch = Path(tempfile.mkdtemp(dir=self._place.folder.parent, prefix=".initdb-"))
        try:
            password = self._run_initdb(scratch, maker)
            self._take_over(scratch / "data", partial)
            if self._durable and self._place.run_as:
                os.sync()  # initdb's own sync was of the files that were copied
            partial.rename(self._place.data)
            return password
        except OSError as error:
            raise EmbeddedError(
                f"the PostgreSQL cluster in {self._place.folder} cannot be made ({error.strerror})"
            ) from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _run_initdb(self, scratch: Path, maker: RunAs | None) -> str:
        password = secrets.token_urlsafe(_PASSWORD_BYTES)
        password_file = scratch / "password"
        write_private(password_file, password)
        if maker:
            os.chown(password_file, maker.uid, maker.gid)
            os.chown(scratch, maker.uid, maker.gid)
        sync = () if self._durable and maker is None else ("--no-sync",)
        Child(
            "PostgreSQL's initdb",
            [
                *(self._binaries.program("initdb"), "-D", str(scratch / "data"), "-U", SUPERUSER),
                *(f"--pwfile={password_file}", "--auth=scram-sha-256", "--data-checksums"),
                *("--encoding=UTF8", "--locale=C", *sync),
            ],
            log_file=self._own / "initdb.log",
            env=environment(self._place),
            cwd=scratch,
            run_as=maker,
        ).run(_LIMIT_S)
        return password

    def _take_over(self, made: Path, partial: Path) -> None:
        run_as = self._place.run_as
        if run_as is None:
            made.rename(partial)
            return
        shutil.copytree(made, partial, symlinks=True)
        for folder, names, files in os.walk(partial):
            for name in [".", *names, *files]:
                os.chown(Path(folder) / name, run_as.uid, run_as.gid, follow_symlinks=False)


def environment(place: Place) -> dict[str, str]:
    """All that the server's programs get to see of ours."""
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC", "HOME": str(place.folder)}


def _nobody() -> RunAs:
    try:
        user = pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedError(
            "there is no user nobody here, as whom root runs PostgreSQL's initdb; run as an "
            "ordinary user"
        ) from None
    return RunAs(user.pw_uid, user.pw_gid)
