"""The calls of SecretService, as ``_calls`` has the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tokenvault.v1 import secret_service_pb2
from tokenvault_client import _convert, models
from tokenvault_client._calls import Call, PageOf, nothing


@dataclass(frozen=True, slots=True)
class PutOptions:
    """What a PutSecret may have beside name and value."""

    etag: str = ""
    request_id: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    expire_time: datetime | None = None


def put_secret(
    name: str, value: bytes, options: PutOptions
) -> Call[secret_service_pb2.PutSecretResponse, models.SecretVersion]:
    """SecretService.PutSecret; with a request_id it may be sent again like a read."""
    expire_time = options.expire_time
    return Call(
        "SecretService/PutSecret",
        secret_service_pb2.PutSecretRequest(
            name=name,
            payload=value,
            etag=options.etag,
            request_id=options.request_id,
            labels=options.labels,
            expire_time=None if expire_time is None else _convert.timestamp(expire_time),
        ),
        secret_service_pb2.PutSecretResponse,
        lambda response: _convert.secret_version(response.secret_version),
        is_read=bool(options.request_id),
    )


def get_secret_value(
    name: str, version: int
) -> Call[secret_service_pb2.GetSecretValueResponse, models.SecretValue]:
    """SecretService.GetSecretValue"""
    return Call(
        "SecretService/GetSecretValue",
        secret_service_pb2.GetSecretValueRequest(name=name, version=version),
        secret_service_pb2.GetSecretValueResponse,
        _convert.secret_value,
        is_read=True,
    )


def get_secret(name: str) -> Call[secret_service_pb2.GetSecretResponse, models.Secret]:
    """SecretService.GetSecret"""
    return Call(
        "SecretService/GetSecret",
        secret_service_pb2.GetSecretRequest(name=name),
        secret_service_pb2.GetSecretResponse,
        lambda response: _convert.secret(response.secret),
        is_read=True,
    )


def list_secrets(
    parent: str, page: PageOf
) -> Call[secret_service_pb2.ListSecretsResponse, models.Page[models.Secret]]:
    """SecretService.ListSecrets"""
    return Call(
        "SecretService/ListSecrets",
        secret_service_pb2.ListSecretsRequest(
            parent=parent, page_size=page.size, page_token=page.token
        ),
        secret_service_pb2.ListSecretsResponse,
        lambda response: models.Page(
            tuple(map(_convert.secret, response.secrets)), response.next_page_token
        ),
        is_read=True,
    )


def list_secret_versions(
    parent: str, page: PageOf
) -> Call[secret_service_pb2.ListSecretVersionsResponse, models.Page[models.SecretVersion]]:
    """SecretService.ListSecretVersions"""
    return Call(
        "SecretService/ListSecretVersions",
        secret_service_pb2.ListSecretVersionsRequest(
            parent=parent, page_size=page.size, page_token=page.token
        ),
        secret_service_pb2.ListSecretVersionsResponse,
        lambda response: models.Page(
            tuple(map(_convert.secret_version, response.secret_versions)), response.next_page_token
        ),
        is_read=True,
    )


def destroy_secret_version(
    name: str, version: int
) -> Call[secret_service_pb2.DestroySecretVersionResponse, models.SecretVersion]:
    """SecretService.DestroySecretVersion"""
    return Call(
        "SecretService/DestroySecretVersion",
        secret_service_pb2.DestroySecretVersionRequest(name=name, version=version),
        secret_service_pb2.DestroySecretVersionResponse,
        lambda response: _convert.secret_version(response.secret_version),
    )


def delete_secret(name: str, etag: str) -> Call[secret_service_pb2.DeleteSecretResponse, None]:
    """SecretService.DeleteSecret"""
    return Call(
        "SecretService/DeleteSecret",
        secret_service_pb2.DeleteSecretRequest(name=name, etag=etag),
        secret_service_pb2.DeleteSecretResponse,
        nothing,
    )
