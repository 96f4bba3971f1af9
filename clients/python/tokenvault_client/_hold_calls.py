"""What the calls about pauses send, and how their answers read."""

from __future__ import annotations

from tokenvault.v1 import provider_service_pb2
from tokenvault_client import _convert, models
from tokenvault_client._calls import Call


def list_client_holds(
    parent: str,
) -> Call[provider_service_pb2.ListClientHoldsResponse, tuple[models.ClientHold, ...]]:
    """ProviderService.ListClientHolds"""
    return Call(
        "ProviderService/ListClientHolds",
        provider_service_pb2.ListClientHoldsRequest(parent=parent),
        provider_service_pb2.ListClientHoldsResponse,
        lambda response: tuple(map(_convert.client_hold, response.client_holds)),
    )


def clear_client_hold(
    oauth_client: str, why: str
) -> Call[provider_service_pb2.ClearClientHoldResponse, bool]:
    """ProviderService.ClearClientHold"""
    return Call(
        "ProviderService/ClearClientHold",
        provider_service_pb2.ClearClientHoldRequest(oauth_client=oauth_client, why=why),
        provider_service_pb2.ClearClientHoldResponse,
        lambda response: response.cleared,
    )
