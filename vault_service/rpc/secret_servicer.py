"""SecretService."""

from __future__ import annotations

from tokenvault.v1 import secret_service_pb2 as pb
from tokenvault.v1 import secret_service_pb2_grpc
from vault_service.domain import limits
from vault_service.domain.access import Call
from vault_service.domain.names import SecretName, SecretParent
from vault_service.domain.secret import SecretChanges
from vault_service.domain.sensitive import Sensitive
from vault_service.rpc import fields, translate
from vault_service.rpc.handling import Handling, handled
from vault_service.usecases.destroy_secrets import DestroySecrets
from vault_service.usecases.read_secrets import ReadSecrets
from vault_service.usecases.secrets import Secrets


class SecretServicer(secret_service_pb2_grpc.SecretServiceServicer):
    """Opaque secrets at both levels."""

    def __init__(
        self, handling: Handling, secrets: Secrets, read: ReadSecrets, destroy: DestroySecrets
    ) -> None:
        self.handling = handling
        self._secrets = secrets
        self._read = read
        self._destroy = destroy

    @handled("SecretService", lambda request: request.name)
    async def PutSecret(self, request: pb.PutSecretRequest, call: Call) -> pb.PutSecretResponse:
        """See the proto."""
        payload, name = Sensitive(request.payload), SecretName.parse(request.name)
        version = await self._secrets.put(call, name, payload, _changes(request))
        return pb.PutSecretResponse(secret_version=translate.secret_version(version))

    @handled("SecretService", lambda request: request.name)
    async def GetSecretValue(
        self, request: pb.GetSecretValueRequest, call: Call
    ) -> pb.GetSecretValueResponse:
        """See the proto."""
        name, number = (
            SecretName.parse(request.name),
            fields.version(request.version, optional=True),
        )
        value, version = await self._secrets.get_value(call, name, number)
        return pb.GetSecretValueResponse(
            payload=value.reveal(), secret_version=translate.secret_version(version)
        )

    @handled("SecretService", lambda request: request.name)
    async def GetSecret(self, request: pb.GetSecretRequest, call: Call) -> pb.GetSecretResponse:
        """See the proto."""
        secret = await self._read.get(call, SecretName.parse(request.name))
        return pb.GetSecretResponse(secret=translate.secret(secret))

    @handled("SecretService", lambda request: request.parent)
    async def ListSecrets(
        self, request: pb.ListSecretsRequest, call: Call
    ) -> pb.ListSecretsResponse:
        """See the proto."""
        page = await self._read.list(
            call,
            SecretParent.parse(request.parent),
            fields.page_size(request.page_size),
            fields.page_token(request.page_token),
        )
        return pb.ListSecretsResponse(
            secrets=map(translate.secret, page.items), next_page_token=page.next_token
        )

    @handled("SecretService", lambda request: request.parent)
    async def ListSecretVersions(
        self, request: pb.ListSecretVersionsRequest, call: Call
    ) -> pb.ListSecretVersionsResponse:
        """See the proto."""
        page = await self._read.list_versions(
            call,
            SecretName.parse(request.parent),
            fields.page_size(request.page_size),
            fields.page_token(request.page_token),
        )
        return pb.ListSecretVersionsResponse(
            secret_versions=map(translate.secret_version, page.items),
            next_page_token=page.next_token,
        )

    @handled("SecretService", lambda request: request.name)
    async def DestroySecretVersion(
        self, request: pb.DestroySecretVersionRequest, call: Call
    ) -> pb.DestroySecretVersionResponse:
        """See the proto."""
        name, number = SecretName.parse(request.name), fields.version(request.version)
        version = await self._destroy.destroy(call, name, number)
        return pb.DestroySecretVersionResponse(secret_version=translate.secret_version(version))

    @handled("SecretService", lambda request: request.name)
    async def DeleteSecret(
        self, request: pb.DeleteSecretRequest, call: Call
    ) -> pb.DeleteSecretResponse:
        """See the proto."""
        await self._destroy.delete(call, SecretName.parse(request.name), _etag(request.etag))
        return pb.DeleteSecretResponse()


def _changes(request: pb.PutSecretRequest) -> SecretChanges:
    request_id_max = limits.REQUEST_ID_MAX_CHARS
    expire_time = request.expire_time if request.HasField("expire_time") else None
    return SecretChanges(
        etag=_etag(request.etag),
        request_id=fields.text("request_id", request.request_id, request_id_max, optional=True),
        labels=dict(request.labels),
        expire_time=fields.moment("expire_time", expire_time),
    )


def _etag(value: str) -> str:
    return fields.text("etag", value, limits.ETAG_MAX_CHARS, optional=True)
