"""Every bound of the client, each with its reason. Units stand last in the names."""

from __future__ import annotations

from typing import Final

TIMEOUT_DEFAULT_S: Final = 10.0
TIMEOUT_MAX_S: Final = 3_600.0  # a call that may last longer has no deadline worth the name
BUDGET_MIN_S: Final = 0.1  # less than this the service refuses as BUDGET_TOO_SHORT

ATTEMPTS_MAX: Final = 5
JITTER_SHARE: Final = 0.25  # RetryInfo is a lower bound: jitter only lengthens it
PAUSE_MIN_S: Final = 0.01  # a RetryInfo of 0 must not become a busy loop
RECONNECT_PAUSE_S: Final = 0.05  # failed callers share one new connection instead of making many

STREAM_LIFE_S: Final = 660.0  # a little more than the service gives a stream
RESUME_FIRST_S: Final = 0.1  # pause before a watch is opened again; it doubles
RESUME_MAX_S: Final = 30.0
REFUSALS_MAX: Final = 5  # in a row: the TLS handshake of a service that restarts may break off too

SENT_MAX_BYTES: Final = 262_144  # what the service accepts
RECEIVED_MAX_BYTES: Final = 4_194_304  # 500 records of a full page come to more than 256 KiB

KEEPALIVE_TIME_MS: Final = 30_000
# Also the TCP_USER_TIMEOUT: a connection that a firewall forgot is noticed within half of the
# default deadline, so that a read still has time for a new one.
KEEPALIVE_TIMEOUT_MS: Final = 5_000
BACKOFF_FIRST_MS: Final = 100
BACKOFF_MAX_MS: Final = 5_000  # gRPC's own 120 s would outlast most restarts of the service

LOOK_PAUSE_S: Final = 1.0  # three stat calls a second at most; certificates live for hours

TEXT_MAX_CHARS: Final = 2_048
FILE_MAX_BYTES: Final = 1_048_576  # a trust bundle of hundreds of certificates
PAGE_MAX: Final = 500
