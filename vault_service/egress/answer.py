"""What comes back beside an answer: a failure that says whether the request was sent, and when
the other side wants to be asked again.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from vault_service.domain import limits

_SECONDS_MAX_DIGITS: Final = 9


class TransportFailure(Exception):
    """No answer. ``sent`` False: provably not one byte of the request left this host.

    ``detail`` is in our own words, never the other side's.
    """

    def __init__(self, sent: bool, detail: str) -> None:
        super().__init__(f"{'sent' if sent else 'not sent'}: {detail}")
        self.sent = sent
        self.detail = detail


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds to wait (RFC 9110 §10.2.3: seconds or an HTTP date), 0 to RETRY_AFTER_MAX_S.

    None for what is absent or neither.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        digits = text.lstrip("0") or "0"
        seconds = float(digits) if len(digits) <= _SECONDS_MAX_DIGITS else float("inf")
    else:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
        # "-0000" gives a naive moment; HTTP dates are always UTC (RFC 9110 §5.6.7).
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        seconds = (aware - now).total_seconds()
    return min(max(seconds, 0.0), limits.RETRY_AFTER_MAX_S)
