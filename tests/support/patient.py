"""A set-up for the doctor to look at, and copies of its configuration with one thing broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.cli import Ended, run_json
from tests.support.serving import changed
from tests.support.vault import RealVault
from vault_service.config import load
from vault_service.embedded.settings_files import TENANT, SettingsFiles


class Patient:
    """A sound deployment, and copies of its configuration with one thing broken."""

    def __init__(self, vault: RealVault) -> None:
        self.vault = vault
        self.files: SettingsFiles = vault.write_files("doctor", ())
        self._broken = 0

    def broken(self, **changes: object) -> Path:
        """The configuration with changes; __ stands for the dot."""
        self._broken += 1
        target = self.vault.directory / f"broken-{self._broken}.toml"
        named = {name.replace("__", ".", 1): value for name, value in changes.items()}
        return changed(self.files, target, named)

    def file(self, name: str, text: str) -> str:
        """A private file beside the others."""
        path = self.vault.directory / name
        path.touch(0o600)
        path.write_text(text)
        return str(path)

    def examine(self, config: Path, *more: str) -> dict[str, Any]:
        """The findings by check; the exit status is that of the worst, and no secret is shown."""
        ended = run_json("doctor", "--config", str(config), "--tenant", TENANT, *more)
        self.assert_no_secret(ended)
        found = {check["check"]: check for check in ended.json["checks"]}
        failed = {name for name, check in found.items() if check["verdict"] == "FAILED"}
        assert ended.status == (78 if "configuration" in failed else int(bool(failed)))
        assert all(check["advice"] for check in found.values() if check["verdict"] != "OK"
                   and check["verdict"] != "SKIPPED")  # fmt: skip
        return found

    def assert_no_secret(self, ended: Ended) -> None:
        """Nothing of what the credential files hold was printed."""
        values = load(self.files.serve)
        for file in (
            values.database.password_file,
            values.database.worker_password_file,
            values.transit.secret_id_file,
            values.server.key_file,
        ):
            assert file is not None
            for line in file.read_text().splitlines():
                assert line not in ended.out + ended.err


def failed(found: dict[str, Any]) -> dict[str, str]:
    """What failed, by check: what was found and what to do."""
    return {
        name: f"{check['found']} → {check['advice']}"
        for name, check in found.items()
        if check["verdict"] == "FAILED"
    }
