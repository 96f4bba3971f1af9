"""``python -m calendar_service``: see README.md."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from types import FrameType
from urllib.parse import urlsplit

from calendar_service.calendar_api import CalendarApi
from calendar_service.calendars import Calendars
from calendar_service.web import CalendarServer
from tokenvault_client import ConfigurationError, SyncTokenVaultClient


def parser() -> argparse.ArgumentParser:
    """What the example is told."""
    made = argparse.ArgumentParser(prog="calendar_service", description=__doc__)
    made.add_argument("--client", required=True, help="the vault's client.toml")
    made.add_argument("--tenant", required=True)
    made.add_argument("--oauth-client", required=True, help="our registration at the provider")
    made.add_argument("--redirect-uri", required=True, help="http://127.0.0.1:PORT/callback")
    made.add_argument("--api-url", required=True, help="what is shown as the calendar")
    made.add_argument("--api-ca-file", help="who may be the API; the system's CAs where absent")
    return made


def main() -> int:
    """Serves on the redirect URI's port of this machine until it is stopped."""
    told = parser().parse_args()
    try:
        api = CalendarApi(told.api_url, told.api_ca_file)
        port = urlsplit(told.redirect_uri).port or 80
        vault = SyncTokenVaultClient.from_file(told.client)
    except (ConfigurationError, OSError, ValueError) as error:
        print(f"calendar_service: {error}", file=sys.stderr)
        return 2
    calendars = Calendars(
        vault,
        api,
        tenant=told.tenant,
        oauth_client=told.oauth_client,
        redirect_uri=told.redirect_uri,
    )
    signal.signal(signal.SIGTERM, _stop)
    with vault, CalendarServer(port, calendars) as server:
        print(f"open http://127.0.0.1:{port}/", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
    return 0


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
