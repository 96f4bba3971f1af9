"""What one process measures and traces with."""

from __future__ import annotations

from importlib.metadata import version

from vault_service.config import Config
from vault_service.rpc.server import RPCS
from vault_service.telemetry.meters import RpcMeter
from vault_service.telemetry.metrics import Metrics
from vault_service.telemetry.traces import Traces

VERSION = version("tokenvault")


class Instruments:
    """Metrics, and traces where they are configured."""

    def __init__(self, traces: Traces | None = None) -> None:
        self.metrics = Metrics()
        self.traces = traces or Traces()
        self.rpc = RpcMeter(self.metrics)
        for rpc in RPCS:
            self.rpc.expect(rpc)


def traces_of(config: Config) -> Traces:
    """To the configured collector; nothing is sent before the first call."""
    traces = config.traces
    if traces.otlp_endpoint is None:
        return Traces()
    # Here and not above: the SDK is a tenth of a second of imports for who does not trace.
    from vault_service.telemetry.otlp import Collector, OtlpTraces

    ca_file = None if traces.ca_file is None else str(traces.ca_file)
    return OtlpTraces(
        Collector(traces.otlp_endpoint, ca_file, traces.sampling_ratio),
        {
            "service.version": VERSION,
            "service.instance.id": config.instance,
            "deployment.environment.name": config.deployment,
        },
    )
