"""The objects that metrics are read from."""

from __future__ import annotations

from vault_service.app.compose import Parts
from vault_service.config import Config
from vault_service.rpc.certificates import CertificateEnd
from vault_service.worker.readiness import Readiness


class Watched:
    """The objects that are asked."""

    def __init__(self, config: Config, parts: Parts, readiness: Readiness) -> None:
        self.config = config
        self.parts = parts
        self.readiness = readiness
        self.certificate = CertificateEnd(config.server.certificate_file)
        self.draining = False
