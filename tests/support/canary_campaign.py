"""Canaries through every RPC, on success and on every failure that can be made."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from tests.rpc.surface_cases import Known
from tests.rpc.surface_whole_cases import ALL_CASES
from tests.support.authserver import Answer, AuthServer
from tests.support.canary_wire import APP, AUDITOR, OPERATOR, THIEF, Wire
from tests.support.oidc import REDIRECT_URI
from tokenvault.v1 import attempt_service_pb2 as attempts
from tokenvault.v1 import (
    attempt_service_pb2_grpc,
    grant_service_pb2_grpc,
    provider_service_pb2_grpc,
    secret_service_pb2_grpc,
    token_service_pb2_grpc,
    webhook_service_pb2_grpc,
)
from tokenvault.v1 import grant_service_pb2 as grants
from tokenvault.v1 import provider_service_pb2 as providers
from tokenvault.v1 import resources_pb2 as resources
from tokenvault.v1 import secret_service_pb2 as secrets
from tokenvault.v1 import token_service_pb2 as tokens
from tokenvault.v1 import webhook_service_pb2 as hooks
from vault_service.domain import limits
from vault_service.embedded.settings_files import TENANT

_PARENT = f"tenants/{TENANT}"
_ATTEMPTS = attempt_service_pb2_grpc.AttemptServiceStub
_GRANTS = grant_service_pb2_grpc.GrantServiceStub
_PROVIDERS = provider_service_pb2_grpc.ProviderServiceStub
_SECRETS = secret_service_pb2_grpc.SecretServiceStub
_WEBHOOKS = webhook_service_pb2_grpc.WebhookServiceStub
_TOKENS = token_service_pb2_grpc.TokenServiceStub


class Campaign:
    """Rounds of calls; each mints its own canaries and names its own rows."""

    def __init__(self, wire: Wire, provider: AuthServer) -> None:
        self._wire = wire
        self._mint = wire.canaries.mint
        self._provider = provider
        self._rounds = 0
        self._refresh_token = ""  # the last that was given

    async def whole_round(self) -> None:
        """Every RPC once and more, allowed and refused."""
        self._rounds += 1
        await self.secrets()
        await self.credentials()
        await self.consents()
        await self.attempts()
        await self.webhooks()
        await self.every_rpc()

    async def secrets(self) -> None:
        """Both levels: put, put again, read, destroyed, deleted; and each way to be refused."""
        ask, number = self._wire.ask, self._rounds
        application = f"{_PARENT}/secrets/canary-{number}"
        user = f"{_PARENT}/owners/owner-{number}/secrets/canary-{number}"
        for name in (application, user):
            for _ in range(2):
                payload = self._mint("secret").encode()
                put = secrets.PutSecretRequest(name=name, payload=payload, request_id=f"r-{number}")
                await ask(_SECRETS, "PutSecret", put)
                answer = await ask(
                    _SECRETS, "PutSecret", secrets.PutSecretRequest(name=name, payload=payload)
                )
                read = await ask(
                    _SECRETS, "GetSecretValue", secrets.GetSecretValueRequest(name=name)
                )
                assert read.payload == payload
                version = answer.secret_version.version
                await ask(
                    _SECRETS,
                    "DestroySecretVersion",
                    secrets.DestroySecretVersionRequest(name=name, version=version),
                )
                await ask(_SECRETS, "GetSecretValue", secrets.GetSecretValueRequest(name=name))
            await self._refused_secrets(name)
        await ask(_SECRETS, "DeleteSecret", secrets.DeleteSecretRequest(name=application))

    async def _refused_secrets(self, name: str) -> None:
        ask = self._wire.ask

        def put(name: str = name, times: int = 1, **more: Any) -> secrets.PutSecretRequest:
            payload = self._mint("refused secret").encode() * times
            return secrets.PutSecretRequest(name=name, payload=payload, **more)

        await ask(_SECRETS, "PutSecret", put(), THIEF)
        await ask(_SECRETS, "PutSecret", put(f"tenants/ghost/secrets/{self._rounds}"))
        await ask(_SECRETS, "PutSecret", put("secrets/malformed"))
        await ask(_SECRETS, "PutSecret", put(etag="99"))
        await ask(_SECRETS, "PutSecret", put(labels={"Not A Label": "x"}))
        await ask(_SECRETS, "PutSecret", put(times=1 + limits.PAYLOAD_MAX_BYTES // 50))
        await ask(_SECRETS, "PutSecret", put(times=1 + limits.MESSAGE_MAX_BYTES // 50))
        await ask(_SECRETS, "PutSecret", put(times=1 + limits.TRANSPORT_MAX_BYTES // 50))
        await ask(_SECRETS, "PutSecret", put(), damaged=True)
        await ask(_SECRETS, "PutSecret", put(), limit_s=0.05)

    async def credentials(self) -> None:
        """OAuthClients: their secrets put, added, retired, refused."""
        ask, name = self._wire.ask, f"{_PARENT}/oauthClients/canary-{self._rounds}"

        def put(provider: str, secret: str) -> providers.PutOAuthClientRequest:
            return providers.PutOAuthClientRequest(
                oauth_client=resources.OAuthClient(
                    name=name,
                    provider=provider,
                    client_id=f"canary-{self._rounds}",
                    redirect_uris=[REDIRECT_URI],
                ),
                client_secret=secret,
            )

        def add(secret: str) -> providers.AddClientCredentialRequest:
            return providers.AddClientCredentialRequest(oauth_client=name, client_secret=secret)

        real, absent = self._provider.name, f"{_PARENT}/providers/absent"
        for caller, provider in ((OPERATOR, real), (OPERATOR, absent), (THIEF, real)):
            secret = self._mint("client secret")
            await ask(_PROVIDERS, "PutOAuthClient", put(provider, secret), caller)
        for _ in range(limits.CLIENT_CREDENTIALS_MAX_COUNT):
            await ask(_PROVIDERS, "AddClientCredential", add(self._mint("client secret")), OPERATOR)
        for caller, times in ((THIEF, 1), (OPERATOR, 100)):
            secret = self._mint("refused client secret") * times
            await ask(_PROVIDERS, "AddClientCredential", add(secret), caller)
        await ask(
            _PROVIDERS, "AddClientCredential", add(self._mint("client secret")), OPERATOR,
            damaged=True,
        )  # fmt: skip
        retire = providers.RetireClientCredentialRequest(oauth_client=name, version=1)
        await ask(_PROVIDERS, "RetireClientCredential", retire, OPERATOR)
        suspend = providers.SuspendOAuthClientRequest(name=name)
        await ask(_PROVIDERS, "SuspendOAuthClient", suspend, OPERATOR)
        resume = providers.ResumeOAuthClientRequest(name=name)
        await ask(_PROVIDERS, "ResumeOAuthClient", resume, OPERATOR)
        clear = providers.ClearClientHoldRequest(oauth_client=name, why="no pause is needed")
        await ask(_PROVIDERS, "ClearClientHold", clear, OPERATOR)

    async def attempts(self) -> None:
        """Answers full of secrets that could not be read: shown to an operator, and read again."""
        ask = self._wire.ask
        waiting = attempts.ListAttemptsRequest(
            parent=_PARENT, filter=attempts.ATTEMPT_FILTER_WAITING
        )
        listed = await ask(_ATTEMPTS, "ListAttempts", waiting, OPERATOR)
        assert listed.attempts
        name = listed.attempts[0].name
        await ask(_ATTEMPTS, "GetAttempt", attempts.GetAttemptRequest(name=name), OPERATOR)
        order = attempts.ResolveAttemptRequest(
            name=name, action=attempts.ATTEMPT_ACTION_REREAD, reason="a canary"
        )
        await ask(_ATTEMPTS, "ResolveAttempt", order, OPERATOR)

    async def webhooks(self) -> None:
        """Webhooks: their secrets put, exchanged and refused; what is delivered fails by itself."""
        ask, name = self._wire.ask, f"{_PARENT}/webhooks/canary-{self._rounds}"
        webhook = hooks.Webhook(name=name, url=f"{self._provider.issuer}/hooks")

        def put(secret: str) -> hooks.PutWebhookRequest:
            return hooks.PutWebhookRequest(webhook=webhook, secret=secret)

        for caller in (OPERATOR, OPERATOR, THIEF):
            await ask(_WEBHOOKS, "PutWebhook", put(self._webhook_secret()), caller)
        await ask(_WEBHOOKS, "PutWebhook", put(self._mint("refused webhook secret")), OPERATOR)
        await ask(_WEBHOOKS, "PutWebhook", put(self._webhook_secret()), OPERATOR, damaged=True)
        listed = hooks.ListWebhooksRequest(parent=_PARENT)
        await ask(_WEBHOOKS, "ListWebhooks", listed, OPERATOR)
        letters = hooks.ListDeadLettersRequest(parent=name)
        await ask(_WEBHOOKS, "ListDeadLetters", letters, OPERATOR)
        again = hooks.RedeliverDeadLettersRequest(webhook=name)
        await ask(_WEBHOOKS, "RedeliverDeadLetters", again, OPERATOR)
        await ask(_WEBHOOKS, "DeleteWebhook", hooks.DeleteWebhookRequest(name=name), OPERATOR)

    def _webhook_secret(self) -> str:
        """Of the form that is taken; the canary is its key in base64, as it is given."""
        key = base64.b64encode(self._mint("webhook key").encode()[:64]).decode()
        return f"whsec_{self._wire.canaries.adopt(key, 'webhook secret')}"

    async def consents(self) -> None:
        """Codes, states, verifiers and tokens: exchanged, refreshed, revoked, and each failing."""
        owner = f"owner-{self._rounds}"
        grant, alias = await self._consent(owner)
        self._script(self._good_answer(600))
        for _ in range(2):  # refreshed, and fresh
            await self._token(alias)
        # A grant for each: a bad answer holds the next request of its grant back.
        for number in range(len(self._bad_answers())):
            _, failing = await self._consent(f"{owner}-{number}")
            self._script(self._bad_answers()[number])
            await self._token(failing)
        second = f"{_PARENT}/owners/{owner}/grantAliases/second"
        link = grants.LinkAliasRequest(alias=second, grant=grant)
        await self._wire.ask(_GRANTS, "LinkAlias", link)
        await self._wire.ask(_GRANTS, "UnlinkAlias", grants.UnlinkAliasRequest(alias=second))
        await self._wire.ask(_GRANTS, "GetGrant", grants.GetGrantRequest(name=grant))
        await self._refused_consents(owner)
        revoke = grants.RevokeGrantRequest(name=grant)
        await self._wire.ask(_GRANTS, "RevokeGrant", revoke, OPERATOR)
        await self._token(alias)
        delete = grants.DeleteGrantRequest(name=grant)
        await self._wire.ask(_GRANTS, "DeleteGrant", delete, OPERATOR)

    def _script(self, answer: Answer) -> None:
        """The next answer, in the place of whatever was not asked for."""
        self._provider.clear_rules()
        self._provider.script(answer)

    async def _token(self, alias: str) -> None:
        request = tokens.GetAccessTokenRequest(alias=alias)
        # Below RetryInfo, and the refresh goes on behind it.
        given = await self._wire.ask(_TOKENS, "GetAccessToken", request, limit_s=5.0)
        if given is not None:
            report = tokens.ReportRejectedTokenRequest(
                alias=alias, token_fingerprint=given.token_fingerprint
            )
            await self._wire.ask(_TOKENS, "ReportRejectedToken", report)

    async def _start(self, owner: str) -> str:
        """The state of a consent that was begun; it and the verifier are secrets, too."""
        request = grants.StartAuthorizationRequest(
            oauth_client=self._provider.oauth_client,
            owner=owner,
            redirect_uri=REDIRECT_URI,
            label="calendar",
        )
        started = await self._wire.ask(_GRANTS, "StartAuthorization", request)
        self._wire.states.add(started.state)
        return str(started.state)

    async def _consent(self, owner: str) -> tuple[str, str]:
        """Grant and alias of a consent whose access token is stale on arrival."""
        state = await self._start(owner)
        self._script(self._good_answer(0, user=owner))
        complete = self._completion(state, owner)
        answer = await self._wire.ask(_GRANTS, "CompleteAuthorization", complete)
        again = await self._wire.ask(_GRANTS, "CompleteAuthorization", complete)
        assert again.grant.name == answer.grant.name
        return str(answer.grant.name), f"{_PARENT}/owners/{owner}/grantAliases/calendar"

    def _completion(
        self, state: str, owner: str, **more: str
    ) -> grants.CompleteAuthorizationRequest:
        return grants.CompleteAuthorizationRequest(
            parent=_PARENT, state=state, code=self._mint("code"), owner=owner, **more
        )

    def _good_answer(self, life_s: int, **more: str) -> Answer:
        self._refresh_token = self._mint("refresh token")
        members = {
            "access_token": self._mint("access token"),
            "refresh_token": self._refresh_token,
            "id_token": f"e30.{self._mint('id token')}.",
            "token_type": "Bearer",
            "expires_in": life_s,
        }
        return Answer.json({**members, **more})

    def _bad_answers(self) -> Sequence[Answer]:
        """Answers with secrets where none should be, as careless servers give them."""
        return [
            # What we sent comes back as an error code, which is what a record may show.
            Answer.json({"error": self._refresh_token, "error_uri": self._mint("echo")}, 400),
            Answer.json({"error": self._refresh_token[:40]}, 401),
            Answer.json({"error": "server_error", "refresh_token": self._mint("echo")}, 500),
            Answer(
                body=f"<h1>{self._mint('echo')}</h1>".encode(), status=502,
                content_type="text/html",
            ),
            Answer(status=307, headers={"Location": f"https://127.0.0.1:1/?t={self._mint('echo')}"}),
            Answer(body=b"{}", status=429, headers={"Retry-After": self._mint("echo")}),
            Answer(body=self._mint("echo").encode(), content_type=self._mint("echo")),
            Answer.json({"access_token": f"{self._mint('access token')}\n.", "token_type": "x"}),
            Answer.json({"access_token": [self._mint("access token")]}),
            Answer.json({"access_token": self._mint("access token") * 2_000}),
            Answer(
                body=f'{{"a": "{self._mint("echo")[:20]}'.encode(),
                headers={"Content-Encoding": "gzip", "Set-Cookie": f"s={self._mint('echo')}"},
            ),
            Answer.json({"error": "invalid_scope", "error_uri": self._mint("echo")}, 400),
        ]  # fmt: skip

    async def _refused_consents(self, owner: str) -> None:
        ask = self._wire.ask
        for answer in self._bad_answers()[2:8]:
            state = await self._start(owner)
            self._script(answer)
            await ask(_GRANTS, "CompleteAuthorization", self._completion(state, owner))
        state = await self._start(owner)
        for complete, caller in (
            (self._completion(state, owner), THIEF),
            (self._completion(state, "somebody-else"), APP),
            (self._completion(state, owner, iss="https://evil.example"), APP),
            (self._completion(state, owner, redirect_uri="https://evil.example/"), APP),
            (self._completion(self._mint("state"), owner), APP),
            (self._completion(state, owner, error="access_denied"), APP),
        ):
            await ask(_GRANTS, "CompleteAuthorization", complete, caller)
        await ask(_GRANTS, "CompleteAuthorization", self._completion(state, owner), damaged=True)

    async def every_rpc(self) -> None:
        """Each as those who may and as one who may not, with canaries in the metadata only; and
        what the record says of all the others."""
        known = Known("0192f0c1-0000-7000-8000-00000000dead", "no-such-state")
        for case in ALL_CASES:
            for caller in (APP, OPERATOR, AUDITOR, THIEF):
                sound: Any = case.request(TENANT, known)
                # Our provider's endpoint is one of this machine; the case's is not.
                if case.method == "PutProvider":
                    sound.provider.CopyFrom(self._harmless_provider())
                await self._wire.ask(case.stub, case.method, sound, caller)
            await self._wire.ask(case.stub, case.method, case.malformed)
            await self._wire.ask(case.stub, case.method, case.malformed, damaged=True)

    async def dependency_down(self, what: str) -> None:
        """What needs a key or a row, while neither can be had."""
        ask = self._wire.ask
        owner, client = f"{what}-{self._rounds}", f"{_PARENT}/oauthClients/canary-1"
        name = f"{_PARENT}/owners/{owner}/secrets/canary"
        payload = self._mint("secret while down").encode()
        put = secrets.PutSecretRequest(name=name, payload=payload)
        await ask(_SECRETS, "PutSecret", put, limit_s=3.0)
        secret = self._mint("client secret while down")
        add = providers.AddClientCredentialRequest(oauth_client=client, client_secret=secret)
        await ask(_PROVIDERS, "AddClientCredential", add, OPERATOR, limit_s=3.0)
        complete = self._completion(self._mint("state"), owner)
        await ask(_GRANTS, "CompleteAuthorization", complete, limit_s=3.0)
        alias = f"{_PARENT}/owners/owner-1/grantAliases/calendar"
        await ask(_TOKENS, "GetAccessToken", tokens.GetAccessTokenRequest(alias=alias), limit_s=3.0)

    def _harmless_provider(self) -> resources.Provider:
        issuer = self._provider.issuer
        return resources.Provider(
            name=f"{_PARENT}/providers/harmless",
            issuer=issuer,
            authorization_endpoint=f"{issuer}/authorize",
            token_endpoint=f"{issuer}/token",
        )
