"""The calls of AttemptService, as ``_calls`` has the others."""

from __future__ import annotations

from tokenvault.v1 import attempt_service_pb2 as pb
from tokenvault.v1 import resources_pb2
from tokenvault_client import enums, models
from tokenvault_client._calls import Call, PageOf
from tokenvault_client._convert import enum_name, moment_of


def list_attempts(
    parent: str, which: enums.AttemptFilter, provider: str, page: PageOf
) -> Call[pb.ListAttemptsResponse, models.Page[models.Attempt]]:
    """AttemptService.ListAttempts"""
    return Call(
        "AttemptService/ListAttempts",
        pb.ListAttemptsRequest(
            parent=parent,
            filter=pb.AttemptFilter.Value(f"ATTEMPT_FILTER_{which.value}"),
            provider=provider,
            page_size=page.size,
            page_token=page.token,
        ),
        pb.ListAttemptsResponse,
        lambda response: models.Page(
            tuple(map(attempt, response.attempts)), response.next_page_token
        ),
        is_read=True,
    )


def get_attempt(name: str) -> Call[pb.GetAttemptResponse, models.Attempt]:
    """AttemptService.GetAttempt"""
    return Call(
        "AttemptService/GetAttempt",
        pb.GetAttemptRequest(name=name),
        pb.GetAttemptResponse,
        lambda response: attempt(response.attempt),
        is_read=True,
    )


def resolve_attempt(
    name: str, action: enums.AttemptAction, etag: str, reason: str
) -> Call[pb.ResolveAttemptResponse, models.Attempt]:
    """AttemptService.ResolveAttempt"""
    return Call(
        "AttemptService/ResolveAttempt",
        pb.ResolveAttemptRequest(
            name=name,
            action=pb.AttemptAction.Value(f"ATTEMPT_ACTION_{action.value}"),
            etag=etag,
            reason=reason,
        ),
        pb.ResolveAttemptResponse,
        lambda response: attempt(response.attempt),
    )


def attempt(message: pb.Attempt) -> models.Attempt:
    """A refresh attempt."""
    state = enum_name(pb.AttemptState.DESCRIPTOR, message.state, "ATTEMPT_STATE_")
    waits_for = enum_name(pb.WaitsFor.DESCRIPTOR, message.waits_for, "WAITS_FOR_")
    kind = enum_name(resources_pb2.RefreshClass.DESCRIPTOR, message.refresh_class, "REFRESH_CLASS_")
    return models.Attempt(
        name=message.name,
        grant=message.grant,
        provider=message.provider,
        refresh_class=enums.RefreshClass.of(kind),
        state=enums.AttemptState.of(state),
        waits_for=enums.WaitsFor.of(waits_for),
        retries=message.retries,
        generation=message.generation,
        reason=message.reason,
        answer_kept=message.answer_kept,
        received=_received(message.received) if message.HasField("received") else None,
        spool=message.spool,
        create_time=moment_of(message.create_time),
        update_time=moment_of(message.update_time),
        next_try_time=moment_of(message.next_try_time),
        etag=message.etag,
    )


def _received(message: pb.ReceivedAnswer) -> models.ReceivedAnswer:
    return models.ReceivedAnswer(
        status=message.status,
        length=message.length,
        media_type=message.media_type,
        why=message.why,
        oddity=message.oddity,
    )
