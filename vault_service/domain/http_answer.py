"""An HTTP answer as it came, for the rules that judge it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, repr=False)
class HttpAnswer:
    """One answer of any status, redirects included. Not printable: the body may hold tokens.

    ``refusal`` is "" or says why the body was not read whole; then ``body`` must not be used.
    """

    status: int
    content_type: str  # as sent, "" when absent
    body: bytes  # at most BODY_MAX_BYTES
    retry_after_s: float | None = None  # 0 to RETRY_AFTER_MAX_S
    refusal: str = ""
