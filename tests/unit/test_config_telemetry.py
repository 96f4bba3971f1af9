"""The sections of metrics and traces."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.test_config import configured
from vault_service.config import faults


@pytest.mark.parametrize("host", ["127.0.0.1:4318", "[::1]:4318", "localhost:4318"])
def test_collectors(tmp_path: Path, host: str) -> None:
    """Spans go to another machine by TLS only; to this one plain http will do, and what only looks
    like it is a fault. The CA is checked as every file is."""
    changes = {"traces__otlp_endpoint": f"http://{host}/v1/traces"}
    assert faults(configured(tmp_path, **changes), serving=True) == []
    changes = {"traces__otlp_endpoint": f"http://{host.partition(':4')[0].strip('[]')}.example/v1"}
    found = faults(configured(tmp_path, **changes), serving=True)
    assert found == ["traces.otlp_endpoint: is plain http to another machine; use https"]
    changes = {"traces__otlp_endpoint": "https://a.example/v1", "traces__ca_file": "absent.pem"}
    (line,) = faults(configured(tmp_path, **changes), serving=True)
    assert line.startswith("traces.ca_file: ")


def test_metrics_and_traces_are_off_unless_configured(tmp_path: Path) -> None:
    """Without their sections nothing listens beside gRPC and nothing is sent."""
    config = configured(tmp_path)
    assert (config.metrics.port, config.traces.otlp_endpoint) == (None, None)
