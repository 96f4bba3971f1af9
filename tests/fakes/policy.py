"""A policy in memory: pairs that are allowed, and a rule of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from vault_service.domain.access import Caller, Decision, Permission, Resource

Narrowing = Callable[[Caller, Permission, Resource], bool]


class FakePolicy:
    """ports.Policy: allows the (SPIFFE id, permission) pairs it was given, else denies.

    ``only``: must also say yes, for tests that narrow by tenant, owner, provider or scopes.
    ``allowed`` may be changed while it is in use. ``asked`` keeps every question in order.
    """

    def __init__(
        self, allowed: Iterable[tuple[str, Permission]] = (), only: Narrowing | None = None
    ) -> None:
        self.allowed = set(allowed)
        self.only = only
        self.asked: list[tuple[Caller, Permission, Resource]] = []

    @classmethod
    def allowing(cls, spiffe_id: str, *permissions: Permission) -> FakePolicy:
        """One caller with these permissions; all permissions where none is named."""
        return cls((spiffe_id, permission) for permission in permissions or Permission)

    @property
    def version(self) -> str:
        """Always the same."""
        return "sha256:fake"

    def decide(self, caller: Caller, permission: Permission, resource: Resource) -> Decision:
        """By the pair, and by ``only``."""
        self.asked.append((caller, permission, resource))
        if (caller.spiffe_id, permission) not in self.allowed:
            return Decision(False, "default-deny", self.version)
        if self.only is not None and not self.only(caller, permission, resource):
            return Decision(False, "default-deny", self.version)
        return Decision(True, f"allow-{permission.value}", self.version)
