"""SecretService."""

from __future__ import annotations

from tokenvault.v1 import secret_service_pb2 as pb
from tokenvault.v1 import secret_service_pb2_grpc
from vault_service.domain.access import Call
from vault_service.domain.names import SecretName
from vault_service.domain.sensitive import Sensitive
from vault_service.rpc import translate
from vault_service.rpc.handling import Handling, handled
from vault_service.usecases.secrets import Secrets


class SecretServicer(secret_service_pb2_grpc.SecretServiceServicer):
    """Opaque secrets at both levels."""

    def __init__(self, handling: Handling, secrets: Secrets) -> None:
        self.handling = handling
        self._secrets = secrets

    @handled("SecretService", lambda request: request.name)
    async def PutSecret(self, request: pb.PutSecretRequest, call: Call) -> pb.PutSecretResponse:
        """See the proto."""
        payload = Sensitive(request.payload)
        version = await self._secrets.put(call, SecretName.parse(request.name), payload)
        return pb.PutSecretResponse(secret_version=translate.secret_version(version))

    @handled("SecretService", lambda request: request.name)
    async def GetSecretValue(
        self, request: pb.GetSecretValueRequest, call: Call
    ) -> pb.GetSecretValueResponse:
        """See the proto."""
        value, version = await self._secrets.get_value(call, SecretName.parse(request.name))
        return pb.GetSecretValueResponse(
            payload=value.reveal(), secret_version=translate.secret_version(version)
        )
