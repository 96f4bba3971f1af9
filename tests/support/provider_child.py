"""``python -m tests.support.provider_child CA PORT LIMIT_S NAME...``: refreshes against a hostile
server, one path for each name, in a process whose memory is measured. Prints a JSON line for each.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from vault_service.adapters.clock import SystemClock
from vault_service.adapters.oauth import OAuthTokenEndpoint
from vault_service.domain import limits
from vault_service.domain.answers import TokenEndpointError
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.oauth import ClientAuthMethod, ClientCredential
from vault_service.domain.provider import ProviderProfile
from vault_service.domain.sensitive import Sensitive
from vault_service.domain.token_answer import read_refresh
from vault_service.egress.client import HttpClient
from vault_service.egress.guard import EgressGuard

_CLIENT = ClientCredential("id", Sensitive(b"client secret"), ClientAuthMethod.CLIENT_SECRET_POST)


class Bounded(HttpClient):
    """The client with another limit of time."""

    limit_s = limits.POST_LIMIT_S

    async def post_form(
        self,
        url: str,
        fields: Mapping[str, str | Sensitive],
        *,
        basic: Sensitive | None = None,
        limit_s: float = limits.POST_LIMIT_S,
        send_limit_s: float | None = None,
    ) -> HttpAnswer:
        """As the real one."""
        return await super().post_form(url, fields, basic=basic, limit_s=self.limit_s)


async def refresh(endpoint: OAuthTokenEndpoint, url: str) -> str:
    """The class of the failure, "ANSWER" where there is none."""
    profile = ProviderProfile(url, url, url, "")
    token = Sensitive(b"refresh token")
    try:
        answer = await endpoint.refresh(
            profile,
            _CLIENT,
            token_endpoint=url,
            refresh_token=token,
            post_limit_s=limits.POST_LIMIT_S,
            answer_limit_s=limits.POST_LIMIT_S,
        )
        # Kept as it came, and read again, as the spool has it.
        read_refresh(HttpAnswer.from_bytes(answer.to_bytes()), profile, (token,))
    except TokenEndpointError as error:
        return error.answer_class.name
    return "ANSWER"


def peak_bytes() -> int:
    """The most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024


async def main() -> None:
    """Two good answers first, so that what is loaded once is loaded before the measuring."""
    ca_file, port, limit_s, *names = sys.argv[1:]
    http = Bounded(EgressGuard([f"127.0.0.1:{port}"]), Path(ca_file))
    http.limit_s = float(limit_s)
    endpoint = OAuthTokenEndpoint(http, SystemClock())
    for _ in range(2):
        assert await refresh(endpoint, f"https://127.0.0.1:{port}/good") == "ANSWER"
    for name in names:
        before, started = peak_bytes(), time.monotonic()
        # Side by side, so that what each holds adds up.
        url = f"https://127.0.0.1:{port}/{quote(name)}"
        classes = await asyncio.gather(*(refresh(endpoint, url) for _ in range(4)))
        report = {
            "name": name,
            "classes": sorted(set(classes)),
            "seconds": time.monotonic() - started,
            "growth": peak_bytes() - before,
        }
        print(json.dumps(report), flush=True)
    await http.close()


if __name__ == "__main__":
    asyncio.run(main())
