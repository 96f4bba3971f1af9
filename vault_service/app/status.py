"""The pages of the metrics port."""

from __future__ import annotations

import json
from http import HTTPStatus

from vault_service.adapters.status_http import Page, StatusServer
from vault_service.app.watched import Watched
from vault_service.telemetry.metrics import CONTENT_TYPE


def status_server(watched: Watched) -> StatusServer:
    """/metrics for Prometheus, /livez for who restarts, /readyz for who sends calls."""
    metrics = watched.parts.instruments.metrics
    return StatusServer(
        {
            "/metrics": lambda: Page(HTTPStatus.OK, CONTENT_TYPE, metrics.render()),
            "/livez": lambda: Page(HTTPStatus.OK, "text/plain; charset=utf-8", b"ok\n"),
            "/readyz": lambda: _ready(watched),
        }
    )


def _ready(watched: Watched) -> Page:
    codes = watched.readiness.codes()
    status = "draining" if watched.draining else "not ready" if any(codes.values()) else "ready"
    told = {
        "status": status,
        "dependencies": {
            name: {"up": not code} | ({"reason": code} if code else {})
            for name, code in codes.items()
        },
    }
    http = HTTPStatus.OK if status == "ready" else HTTPStatus.SERVICE_UNAVAILABLE
    return Page(http, "application/json", json.dumps(told).encode() + b"\n")
