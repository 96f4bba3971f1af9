"""Puts on record, once, that a secret's newest version expires soon."""

from __future__ import annotations

from vault_service.domain import limits
from vault_service.domain.access import Call
from vault_service.domain.audit import AuditAction
from vault_service.ports import SecretReminders
from vault_service.usecases.recorder import Recorder


class RemindOfSecrets:
    """Who watches the record learns of it in time to store a new version."""

    def __init__(self, *, reminders: SecretReminders, recorder: Recorder, within_s: float) -> None:
        """``within_s``: how long before the end."""
        self._reminders = reminders
        self._recorder = recorder
        self._within_s = within_s

    async def __call__(self, call: Call) -> int:
        """One batch of what is due, for the worker; returns how many were reminded of."""
        reminded = 0
        for version in await self._reminders.due(self._within_s, limits.REMINDER_BATCH_MAX):
            record = self._recorder.done(
                call,
                AuditAction.SECRET_EXPIRING_SOON,
                version.name.tenant,
                str(version.name),
                detail={
                    "version": str(version.version),
                    "expire_time": version.expire_time.isoformat(),
                },
            )
            reminded += await self._reminders.remind(version, record)
        return reminded
