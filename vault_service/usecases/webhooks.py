"""PutWebhook, ListWebhooks, DeleteWebhook, ListDeadLetters, RedeliverDeadLetters."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from urllib.parse import urlsplit

from vault_service.crypto.envelopes import Envelopes
from vault_service.crypto.webhook_signature import read_secret
from vault_service.domain import limits
from vault_service.domain.access import Call, Decision, Permission
from vault_service.domain.audit import AuditAction, AuditRecord
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.event import EventKind
from vault_service.domain.names import WebhookName
from vault_service.domain.sensitive import Sensitive
from vault_service.domain.webhook import DeadLetter, Webhook, WebhookState, secret_binding
from vault_service.ports import Clock, EndpointGuard, Entropy, Page, WebhookStore
from vault_service.usecases.gate import Gate, tenant_resource
from vault_service.usecases.recorder import Recorder, shown


class Webhooks:
    """The registry of a tenant's endpoints."""

    def __init__(
        self,
        *,
        gate: Gate,
        webhooks: WebhookStore,
        guard: EndpointGuard,
        envelopes: Envelopes,
        recorder: Recorder,
        entropy: Entropy,
        clock: Clock,
    ) -> None:
        self._gate = gate
        self._webhooks = webhooks
        self._guard = guard
        self._envelopes = envelopes
        self._recorder = recorder
        self._entropy = entropy
        self._clock = clock

    async def put(
        self,
        call: Call,
        name: WebhookName,
        *,
        url: str,
        kinds: frozenset[EventKind],
        secret: Sensitive | None,
        etag: str,
    ) -> Webhook:
        """The webhook as it stands. ETAG_MISMATCH when it is another one than ``etag``, where that
        is not "" ("0": it shall not exist)."""
        decision = await self._enter(call, name.tenant, Permission.PUT_WEBHOOK)
        self._guard.check(url)
        key = read_secret(secret) if secret else None
        known = await self._webhooks.get(name)
        if etag not in ("", str(known.revision if known else 0)):
            raise _changed()
        # Where events go is what an auditor asks; a path may hold what is no auditor's affair.
        facts = {"host": shown(urlsplit(url).netloc), "new_secret": str(key is not None).lower()}
        record = self._record(call, AuditAction.WEBHOOK_PUT, name, decision, facts)
        if known is None:
            if key is None:
                raise VaultError(
                    Reason.FIELD_MALFORMED,
                    "secret is needed for a new webhook",
                    metadata={"field": "secret"},
                )
            new = await self._new(name, url, kinds, key, self._clock.now())
            stored = await self._webhooks.insert(new, record)
        else:
            changed = replace(known, url=url, kinds=kinds, state=WebhookState.ENABLED)
            if key is not None:
                changed = await self._with_secret(changed, key)
            stored = await self._webhooks.replace(changed, limits.WEBHOOK_SECRET_OVERLAP_S, record)
        found = await self._webhooks.get(name) if stored else None
        if found is None:
            raise _changed()
        return found

    async def list(self, call: Call, tenant: str, page_size: int, page_token: str) -> Page[Webhook]:
        """One page by id."""
        await self._enter(call, tenant, Permission.LIST_WEBHOOKS)
        return await self._webhooks.list(tenant, page_size, page_token)

    async def delete(self, call: Call, name: WebhookName) -> None:
        """With its secrets and all that is on its way. WEBHOOK_NOT_FOUND."""
        decision = await self._enter(call, name.tenant, Permission.DELETE_WEBHOOK)
        record = self._record(call, AuditAction.WEBHOOK_DELETED, name, decision)
        if not await self._webhooks.delete(name, record):
            raise _not_found()

    async def dead_letters(
        self, call: Call, name: WebhookName, page_size: int, page_token: str
    ) -> Page[DeadLetter]:
        """One page, oldest first. WEBHOOK_NOT_FOUND."""
        await self._enter(call, name.tenant, Permission.LIST_DEAD_LETTERS)
        if await self._webhooks.get(name) is None:
            raise _not_found()
        return await self._webhooks.dead_letters(name, page_size, page_token)

    async def redeliver(
        self, call: Call, name: WebhookName, event_ids: Collection[uuid.UUID]
    ) -> int:
        """How many are on their way again; ``event_ids`` empty means all. WEBHOOK_NOT_FOUND."""
        decision = await self._enter(call, name.tenant, Permission.REDELIVER_DEAD_LETTERS)
        if await self._webhooks.get(name) is None:
            raise _not_found()
        record = self._record(call, AuditAction.DEAD_LETTERS_REDELIVERED, name, decision)
        return await self._webhooks.redeliver(name, event_ids, record)

    async def _enter(self, call: Call, tenant: str, permission: Permission) -> Decision:
        await self._gate.enter(call, tenant)
        return self._gate.require(call, permission, tenant_resource(tenant))

    async def _new(
        self,
        name: WebhookName,
        url: str,
        kinds: frozenset[EventKind],
        key: Sensitive,
        now: datetime,
    ) -> Webhook:
        webhook_id = self._entropy.uuid7()
        return Webhook(
            name=name,
            webhook_id=webhook_id,
            url=url,
            kinds=kinds,
            state=WebhookState.ENABLED,
            secret_envelope=await self._seal(name.tenant, webhook_id, 1, key),
            secret_version=1,
            previous_envelope=None,
            previous_version=None,
            previous_until=None,
            revision=1,
            create_time=now,
            update_time=now,
            read_time=now,
        )

    async def _with_secret(self, known: Webhook, key: Sensitive) -> Webhook:
        version = known.secret_version + 1
        return replace(
            known,
            secret_envelope=await self._seal(known.name.tenant, known.webhook_id, version, key),
            secret_version=version,
            previous_envelope=known.secret_envelope,
            previous_version=known.secret_version,
        )

    async def _seal(
        self, tenant: str, webhook_id: uuid.UUID, version: int, key: Sensitive
    ) -> bytes:
        binding = secret_binding(tenant, webhook_id, version)
        return (await self._envelopes.sealer(binding.dek_owner)).seal(binding, key)

    def _record(
        self,
        call: Call,
        action: AuditAction,
        name: WebhookName,
        decision: Decision,
        facts: Mapping[str, str] | None = None,
    ) -> AuditRecord:
        return self._recorder.done(
            call, action, name.tenant, str(name), decision=decision, detail=facts
        )


def _not_found() -> VaultError:
    return VaultError(Reason.WEBHOOK_NOT_FOUND, "no such webhook; ListWebhooks shows what there is")


def _changed() -> VaultError:
    return VaultError(
        Reason.ETAG_MISMATCH, "the webhook was changed meanwhile; list it and try again"
    )
