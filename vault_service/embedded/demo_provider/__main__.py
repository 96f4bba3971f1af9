"""``python -m vault_service.embedded.demo_provider --config FILE`` runs it until SIGTERM."""

from __future__ import annotations

import argparse
import sqlite3
import sys
import time
from pathlib import Path
from typing import Final

from aiohttp import web

from vault_service.embedded.demo_provider.server import make_app, tls
from vault_service.embedded.demo_provider.settings import SettingsError, load
from vault_service.embedded.demo_provider.store import Store

_DRAIN_S: Final = 1.0
_EX_CONFIG: Final = 78  # sysexits.h


def main() -> int:
    """Serve; returns the exit status."""
    parser = argparse.ArgumentParser(prog="demo_provider", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="JSON, see settings.py")
    path = parser.parse_args().config
    try:
        settings = load(path)
        store = Store(settings.state_file, settings.access_life_s, time.time)
    except (OSError, SettingsError, sqlite3.Error) as error:
        print(f"demo provider: {path}: {error}", file=sys.stderr)
        return _EX_CONFIG
    try:
        # No access log: the query of a redirect holds a code.
        web.run_app(
            make_app(settings, store, time.time),
            host=settings.host,
            port=settings.port,
            ssl_context=tls(settings),
            access_log=None,
            print=None,
            shutdown_timeout=_DRAIN_S,
        )
    except OSError as error:
        print(f"demo provider: {error.strerror or error}", file=sys.stderr)
        return 1
    finally:
        store.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
