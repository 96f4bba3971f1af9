"""``SyncTokenVaultClient``: the whole service as functions that wait.

Made from client.py by tools/sync_client.py (`make client`): change it there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Self, overload

from tokenvault_client import _calls as calls
from tokenvault_client import _hold_calls as hold_calls
from tokenvault_client._calls import GrantsOf, PageOf
from tokenvault_client._limits import TIMEOUT_DEFAULT_S
from tokenvault_client._settings import Settings
from tokenvault_client._sync import Runner
from tokenvault_client._sync_attempts import AttemptMethods
from tokenvault_client._sync_events import EventMethods
from tokenvault_client._sync_secrets import SecretMethods, items
from tokenvault_client.enums import GrantState
from tokenvault_client.models import (
    AccessToken,
    AuditRecord,
    Authorization,
    ClientHold,
    CompletedAuthorization,
    Grant,
    OAuthClient,
    Page,
    Provider,
    RejectedToken,
)


class SyncTokenVaultClient(SecretMethods, EventMethods, AttemptMethods):
    """Calls tokenvault over mutual TLS. Make one per process, after it
    forked, and keep it; any number of threads may use it at once.

    Every method raises ``TokenVaultError`` (see ``errors``) and takes ``timeout_s``, the
    deadline of the whole call with its retries; the client's own where it is None. What the
    service marks as retryable is retried within it, and reads once more on a new connection
    where the old one broke.
    """

    def __init__(
        self,
        target: str,
        *,
        ca_file: str | PathLike[str],
        certificate_file: str | PathLike[str],
        key_file: str | PathLike[str],
        timeout_s: float = TIMEOUT_DEFAULT_S,
        server_name: str | None = None,
    ) -> None:
        """``target`` is "host:port"; ``server_name`` is the name in the service's certificate
        where that is not the host. The files are PEM. Raises ConfigurationError.
        """
        self._runner = Runner(
            Settings(
                target=target,
                ca_file=Path(ca_file),
                certificate_file=Path(certificate_file),
                key_file=Path(key_file),
                timeout_s=timeout_s,
                server_name=server_name,
            )
        )

    @classmethod
    def from_file(cls, path: str | PathLike[str]) -> Self:
        """Reads a TOML file with the constructor's arguments; relative paths in it are relative
        to the file. Raises ConfigurationError.
        """
        settings = Settings.from_toml(path)
        return cls(
            settings.target,
            ca_file=settings.ca_file,
            certificate_file=settings.certificate_file,
            key_file=settings.key_file,
            timeout_s=settings.timeout_s,
            server_name=settings.server_name,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(target={self._runner.settings.target!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; calls still open end with ClientClosed."""
        self._runner.close()

    @overload
    def get_access_token(
        self,
        *,
        grant: str,
        min_ttl_s: float | None = None,
        scopes: Iterable[str] = (),
        timeout_s: float | None = None,
    ) -> AccessToken: ...

    @overload
    def get_access_token(
        self,
        *,
        alias: str,
        min_ttl_s: float | None = None,
        scopes: Iterable[str] = (),
        timeout_s: float | None = None,
    ) -> AccessToken: ...

    def get_access_token(
        self,
        *,
        grant: str | None = None,
        alias: str | None = None,
        min_ttl_s: float | None = None,
        scopes: Iterable[str] = (),
        timeout_s: float | None = None,
    ) -> AccessToken:
        """An access token of a grant or of the grant an alias points at, with at least
        ``min_ttl_s`` of life left (60 s where None), covering ``scopes``.
        """
        call = calls.get_access_token(grant=grant, alias=alias, min_ttl_s=min_ttl_s, scopes=scopes)
        return self._runner.run(call, timeout_s)

    def report_rejected_token(
        self,
        *,
        grant: str | None = None,
        alias: str | None = None,
        token_fingerprint: str,
        timeout_s: float | None = None,
    ) -> RejectedToken:
        """Says that an API answered 401 to a token (``AccessToken.fingerprint``): the next
        ``get_access_token`` refreshes first. One report a minute counts for a grant.
        """
        call = calls.report_rejected_token(
            grant=grant, alias=alias, token_fingerprint=token_fingerprint
        )
        return self._runner.run(call, timeout_s)

    def start_authorization(
        self,
        oauth_client: str,
        *,
        owner: str,
        redirect_uri: str,
        scopes: Iterable[str] = (),
        label: str = "",
        timeout_s: float | None = None,
    ) -> Authorization:
        """Begins a consent of ``owner``: send the browser to ``url``, keep ``state`` in its
        session. Empty scopes and label mean the OAuthClient's.
        """
        call = calls.start_authorization(
            oauth_client=oauth_client,
            owner=owner,
            redirect_uri=redirect_uri,
            scopes=scopes,
            label=label,
        )
        return self._runner.run(call, timeout_s)

    def complete_authorization(
        self,
        parent: str,
        *,
        state: str,
        owner: str,
        code: str = "",
        iss: str = "",
        redirect_uri: str = "",
        error: str = "",
        timeout_s: float | None = None,
    ) -> CompletedAuthorization:
        """Ends a consent with the parameters of the callback; ``owner`` comes from your own
        session, never from the callback. Asked again within ten minutes it answers the same.
        """
        call = calls.complete_authorization(
            parent=parent,
            state=state,
            owner=owner,
            code=code,
            iss=iss,
            redirect_uri=redirect_uri,
            error=error,
        )
        return self._runner.run(call, timeout_s)

    def get_grant(self, name: str, *, timeout_s: float | None = None) -> Grant:
        """A grant without its tokens."""
        return self._runner.run(calls.get_grant(name), timeout_s)

    def list_grants(
        self,
        parent: str,
        *,
        owner: str = "",
        state: GrantState = GrantState.UNSPECIFIED,
        oauth_client: str = "",
        provider: str = "",
        page_size: int = 0,
        page_token: str = "",
        timeout_s: float | None = None,
    ) -> Page[Grant]:
        """One page of a tenant's grants, narrowed by what is given (full resource names for
        ``oauth_client`` and ``provider``); at most 500, 50 where 0.
        """
        only = GrantsOf(owner, state, oauth_client, provider)
        call = calls.list_grants(parent, only, PageOf(page_size, page_token))
        return self._runner.run(call, timeout_s)

    def iter_grants(
        self,
        parent: str,
        *,
        owner: str = "",
        state: GrantState = GrantState.UNSPECIFIED,
        oauth_client: str = "",
        provider: str = "",
        page_size: int = 0,
        timeout_s: float | None = None,
    ) -> Iterator[Grant]:
        """All of them, page by page; ``timeout_s`` holds for each page."""

        def fetch(page_token: str) -> Page[Grant]:
            return self.list_grants(
                parent,
                owner=owner,
                state=state,
                oauth_client=oauth_client,
                provider=provider,
                page_size=page_size,
                page_token=page_token,
                timeout_s=timeout_s,
            )

        return items(fetch)

    def revoke_grant(self, name: str, *, timeout_s: float | None = None) -> Grant:
        """Ends a grant for good. Once this returned, no call gets its token."""
        return self._runner.run(calls.revoke_grant(name), timeout_s)

    def delete_grant(self, name: str, *, timeout_s: float | None = None) -> Grant:
        """Revokes a grant, and takes it and its aliases out of every list."""
        return self._runner.run(calls.delete_grant(name), timeout_s)

    def link_alias(self, alias: str, grant: str, *, timeout_s: float | None = None) -> Grant:
        """Points a new alias at a grant; AlreadyExists where it points at another one."""
        return self._runner.run(calls.link_alias(alias, grant), timeout_s)

    def unlink_alias(self, alias: str, *, timeout_s: float | None = None) -> None:
        """Takes an alias away; the grant stays."""
        self._runner.run(calls.unlink_alias(alias), timeout_s)

    def put_provider(self, provider: Provider, *, timeout_s: float | None = None) -> Provider:
        """Creates or replaces a provider."""
        return self._runner.run(calls.put_provider(provider), timeout_s)

    def list_providers(
        self,
        parent: str,
        *,
        page_size: int = 0,
        page_token: str = "",
        timeout_s: float | None = None,
    ) -> Page[Provider]:
        """One page of a tenant's providers; at most 500, 50 where 0."""
        call = calls.list_providers(parent, PageOf(page_size, page_token))
        return self._runner.run(call, timeout_s)

    def iter_providers(
        self, parent: str, *, page_size: int = 0, timeout_s: float | None = None
    ) -> Iterator[Provider]:
        """All of them, page by page; ``timeout_s`` holds for each page."""

        def fetch(page_token: str) -> Page[Provider]:
            return self.list_providers(
                parent, page_size=page_size, page_token=page_token, timeout_s=timeout_s
            )

        return items(fetch)

    def put_oauth_client(
        self, oauth_client: OAuthClient, *, client_secret: str = "", timeout_s: float | None = None
    ) -> OAuthClient:
        """Creates or replaces a registration; an empty ``client_secret`` keeps the stored one."""
        call = calls.put_oauth_client(oauth_client, client_secret)
        return self._runner.run(call, timeout_s)

    def list_oauth_clients(
        self,
        parent: str,
        *,
        page_size: int = 0,
        page_token: str = "",
        timeout_s: float | None = None,
    ) -> Page[OAuthClient]:
        """One page of a tenant's registrations; at most 500, 50 where 0."""
        call = calls.list_oauth_clients(parent, PageOf(page_size, page_token))
        return self._runner.run(call, timeout_s)

    def iter_oauth_clients(
        self, parent: str, *, page_size: int = 0, timeout_s: float | None = None
    ) -> Iterator[OAuthClient]:
        """All of them, page by page; ``timeout_s`` holds for each page."""

        def fetch(page_token: str) -> Page[OAuthClient]:
            return self.list_oauth_clients(
                parent, page_size=page_size, page_token=page_token, timeout_s=timeout_s
            )

        return items(fetch)

    def add_client_credential(
        self, oauth_client: str, client_secret: str, *, timeout_s: float | None = None
    ) -> OAuthClient:
        """Adds a client secret beside the others; the newest one is used."""
        call = calls.add_client_credential(oauth_client, client_secret)
        return self._runner.run(call, timeout_s)

    def retire_client_credential(
        self, oauth_client: str, version: int, *, timeout_s: float | None = None
    ) -> OAuthClient:
        """Destroys one client secret; the last one cannot be retired."""
        call = calls.retire_client_credential(oauth_client, version)
        return self._runner.run(call, timeout_s)

    def suspend_oauth_client(self, name: str, *, timeout_s: float | None = None) -> OAuthClient:
        """Kill switch: no consent, no refresh, no token of its grants until it is resumed."""
        return self._runner.run(calls.suspend_oauth_client(name), timeout_s)

    def resume_oauth_client(self, name: str, *, timeout_s: float | None = None) -> OAuthClient:
        """Ends a suspension."""
        return self._runner.run(calls.resume_oauth_client(name), timeout_s)

    def list_client_holds(
        self, parent: str, *, timeout_s: float | None = None
    ) -> tuple[ClientHold, ...]:
        """The pauses that providers asked for and that last; ``parent`` is a tenant."""
        return self._runner.run(hold_calls.list_client_holds(parent), timeout_s)

    def clear_client_hold(
        self, oauth_client: str, why: str, *, timeout_s: float | None = None
    ) -> bool:
        """Ends one, ``why`` on record; False where there was none."""
        return self._runner.run(hold_calls.clear_client_hold(oauth_client, why), timeout_s)

    def list_audit_records(
        self,
        parent: str,
        *,
        page_size: int = 0,
        page_token: str = "",
        timeout_s: float | None = None,
    ) -> Page[AuditRecord]:
        """One page of a tenant's records, newest first; at most 500, 50 where 0. The parent
        "tenants/-" has those of calls that named no valid tenant.
        """
        call = calls.list_audit_records(parent, PageOf(page_size, page_token))
        return self._runner.run(call, timeout_s)

    def iter_audit_records(
        self, parent: str, *, page_size: int = 0, timeout_s: float | None = None
    ) -> Iterator[AuditRecord]:
        """All of them, newest first, page by page; ``timeout_s`` holds for each page."""

        def fetch(page_token: str) -> Page[AuditRecord]:
            return self.list_audit_records(
                parent, page_size=page_size, page_token=page_token, timeout_s=timeout_s
            )

        return items(fetch)
