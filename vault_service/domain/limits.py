"""Every bound of the service, each with its reason. Units stand last in the names."""

from __future__ import annotations

# Names and texts -----------------------------------------------------------------------------
ID_MAX_CHARS = 63  # a DNS label: what operators already use to name things
OWNER_MAX_CHARS = 128  # fits a UUID, an e-mail address or a `sub` with a prefix
URI_MAX_CHARS = 2_048  # what browsers and proxies carry without trouble
SCOPE_MAX_CHARS = 256
SCOPES_MAX_COUNT = 100
REDIRECT_URIS_MAX_COUNT = 20
STATE_MAX_CHARS = 512
CODE_MAX_CHARS = 4_096  # Microsoft's codes reach 1.5 KiB
SUBJECT_MAX_CHARS = 255  # OpenID Connect Core §2: sub is at most 255 ASCII characters
CLIENT_ID_MAX_CHARS = 512
TEXT_MAX_CHARS = 256  # outside text in a record or an error: cut here, escaped

# Payloads ------------------------------------------------------------------------------------
PAYLOAD_MAX_BYTES = 65_536  # one envelope; larger things are files, not secrets
CLIENT_SECRET_MAX_BYTES = 4_096
TOKEN_MAX_BYTES = 16_384  # Microsoft's access tokens with many groups reach 8 KiB
MESSAGE_MAX_BYTES = 262_144  # one gRPC message
TRANSPORT_MAX_BYTES = 524_288  # up to this we refuse ourselves, with reason and record; then gRPC
METADATA_MAX_BYTES = 8_192

# Secrets and credentials -----------------------------------------------------------------------
LABELS_MAX_COUNT = 32
LABEL_VALUE_MAX_CHARS = 128
REQUEST_ID_MAX_CHARS = 128  # a UUID, or a job's own name with a prefix
REQUEST_ID_KEEP_S = 86_400  # how long a retry is known as one
ETAG_MAX_CHARS = 20  # a revision in decimal
SECRET_LIFE_MAX_S = 10 * 365 * 86_400  # a later expire_time is a mistake, not a plan
SECRET_REMINDER_S = 7 * 86_400  # time enough to rotate what a person must rotate
CLIENT_CREDENTIALS_MAX_COUNT = 5  # not retired at one time: two overlap, the rest is forgotten

# Connections ---------------------------------------------------------------------------------
STREAMS_MAX = 256  # calls under way on one connection
CONNECTION_AGE_S = 600  # so that new replicas get their share and certificates are read again
CONNECTION_AGE_GRACE_S = 120  # the longest call
PING_INTERVAL_MIN_S = 10
DRAIN_S = 25.0  # after SIGTERM: a POST under way, and storing what it brought
DRAIN_NOTICE_MAX_S = 60.0  # a load balancer that needs longer does not watch

# Pages ---------------------------------------------------------------------------------------
PAGE_DEFAULT = 50
PAGE_MAX = 500

# Time ----------------------------------------------------------------------------------------
MIN_TTL_DEFAULT_S = 60
MIN_TTL_MAX_S = 86_400
TOKEN_LIFE_DEFAULT_S = 3_600  # where a provider says nothing (RFC 6749 §5.1: RECOMMENDED only)
TOKEN_LIFE_MAX_S = 31_536_000  # a longer expires_in is cut: nothing lives a year unasked
AUTHORIZATION_LIFE_S = 600  # RFC 6749 §4.1.2: codes should live at most ten minutes
AUTHORIZATION_KEEP_S = 86_400  # after its end, so that a late callback is told what happened
COMPLETION_REPLAY_S = 600  # the same completion asked again gets the same answer for this long
RPC_DEFAULT_BUDGET_S = 30.0  # a caller that sets no deadline
RPC_MAX_BUDGET_S = 120.0  # no call waits longer, whatever its deadline says
RPC_MIN_BUDGET_S = 0.1  # less is not enough to do anything safely
REPLY_RESERVE_S = 0.02  # kept back to answer
POST_LIMIT_S = 20.0  # one request to a provider, connect to last byte
LEASE_MARGIN_S = 5.0  # lease = POST limit + this, so that a lease outlives its POST
LEASE_POLL_S = 0.05
COMMIT_RETRY_S = 60.0  # how long a refreshed token is offered to a database that is away
TRANSIT_LIMIT_S = 2.0
TRANSIT_RELOGIN_S = 10.0  # a 403 soon after a new login is the policy, not the token
RETRY_AFTER_S = 1.0  # what RetryInfo says where nothing better is known
REVOCATION_KEEP_S = 7 * 86_400  # how long an envelope is kept for revocation at the provider
REVOCATION_HIDE_S = 60  # a queued revocation that someone took is not taken again before this

# Loops, queues, caches -----------------------------------------------------------------------
DISCLOSURE_ATTEMPTS = 5  # a grant that changes under the reader is read again this often
COMMIT_ATTEMPTS = 5  # compare-and-swap retries of a consent
DISCLOSURE_BATCH_MAX = 256
DISCLOSURE_PATIENCE_S = 0.005  # how long a group commit waits while calls keep coming
DISCLOSURE_QUEUE_MAX = 10_000  # waiting for a group commit; more is OVERLOADED
FLIGHTS_MAX = 10_000  # refreshes under way in one process
TRANSIT_BATCH_MAX = 160  # OpenBao takes 1,000 JSON strings a body
TRANSIT_THREADS = 8
TRANSIT_QUEUE_MAX = 10_000  # DEKs waiting for a batch; more is OVERLOADED
DEK_CACHE_MAX = 50_000
DEK_SOFT_LIFE_S = 300.0
DEK_HARD_LIFE_S = 3_600.0
DEK_HARD_LIFE_MAX_S = 86_400.0  # no setting lets a DEK outlive its revocation by more than a day
DEK_JITTER = 0.2  # of the soft life, so that what was loaded together is not refreshed together
DEK_RECHECK_S = 30.0  # how long "transit is unreachable" stands before a cached DEK asks again
DEK_SWEEP_S = 60.0  # between looks for DEKs past their hard life that nobody asks for
DEK_LOADS_MAX = 10_000  # DEKs being loaded at one time in one process; more is OVERLOADED
SEALS_AHEAD = 4  # message ids drawn before a POST: answer, refresh token, access token, a spare
DECISION_CACHE_MAX = 50_000
POLICY_DEPTH_MAX = 32  # brackets within brackets: more than a reviewer can follow
POLICY_OPERATORS_MAX = 256  # of one policy; Cedar itself takes chains of some sixty
POLICY_MAX_BYTES = 1_048_576  # one reviewed file; a decision looks at all of it
CERTIFICATE_CACHE_MAX = 10_000
TENANT_CACHE_MAX = 10_000
GRANT_CACHE_MAX = 10_000  # sealed rows in memory: 20 MB at 2 KB each
GRANT_CACHE_LIFE_S = 300.0  # what nobody disclosed for so long is read again
REFUSALS_OWN_RECORD_MAX = 20  # of a caller's malformed calls a second; a job's mistakes, no flood
REFUSAL_WINDOW_S = 1.0  # between two writes of the counts of the others
REFUSAL_CALLERS_MAX = 10_000  # counted apart: 10 MB
REVOCATION_BATCH_MAX = 50
REMINDER_BATCH_MAX = 100
REQUEST_ID_SWEEP_MAX = 1_000

# Refresh attempts ----------------------------------------------------------------------------
SPOOL_SLOTS = 256  # answers that may wait for the database in one process: 20 MB of disk
SPOOL_SLOTS_MIN = 16
SPOOL_SLOTS_MAX = 4_096  # 319 MB; who waits for a database for longer needs another database
SPOOLS_MAX = 64  # in one folder: more processes than a host has; a start in a loop fills no disk
SPOOL_LIMIT_S = 2.0  # one write and its sync; a disk that takes longer counts as gone
SPOOL_START_LIMIT_S = 30.0  # preallocating a spool, or reading one that was left over
SPOOL_QUEUE_MAX = 10_000  # writes waiting for the disk; more is OVERLOADED
SPOOL_BATCH_MAX = 64  # writes that share one sync
SPOOL_DAMAGED_MAX = 64  # copies of damaged slots kept as evidence in one folder
SPOOL_WAIT_S = 600.0  # how long class S waits for the spool of a process that is gone
ATTEMPT_BATCH_MAX = 50
ATTEMPT_KEEP_S = 7 * 86_400  # an ended attempt is of use to who looks into last week
ATTEMPT_SWEEP_S = 1.0  # between looks for attempts whose process died
IN_DOUBT_RETRY_S = 5.0  # first pause before recovery tries again; it doubles
IN_DOUBT_RETRY_MAX_S = 300.0
CONFIRM_AFTER_S = 60  # a refusal counts for good when repeated so much later: replicas caught up
BACKOFF_FIRST_S = 1.0  # after a transient fault of a provider; it doubles, with jitter
BACKOFF_MAX_S = 20.0  # a provider that is back is used again within half a minute

# Provider answers ----------------------------------------------------------------------------
BODY_MAX_BYTES = 63_488  # with its head it fits into one envelope
JSON_DEPTH_MAX = 16
RETRY_AFTER_MAX_S = 3_600.0  # a provider cannot silence a grant for longer than an hour
ERROR_CODE_MAX_CHARS = 64  # the longest registered OAuth error code has 26
ERROR_TABLE_MAX_COUNT = 50  # codes that one profile gives a meaning; Slack documents about 40
ERROR_KEY_MAX_CHARS = 256  # a code with the description that goes with it
JSON_PATH_MAX_CHARS = 128  # "authed_user.access_token" has 24
CONFIRM_AFTER_MAX_S = 3_600
IDLE_MAX_S = 5 * 365 * 86_400  # Okta allows up to 1,825 days
RATE_MAX = 10_000  # requests a second or minute; more is no budget
ID_TOKEN_LEEWAY_S = 300  # clocks of providers differ; the token came over TLS a moment ago

# Egress --------------------------------------------------------------------------------------
HTTP_CONNECTIONS_MAX = 256  # to all providers together
HTTP_CONNECTIONS_PER_HOST_MAX = 16  # bulkhead: a slow provider holds no more than these
HTTP_CONNECT_LIMIT_S = 10.0  # one address, handshake included; then the next address is tried
HTTP_KEEP_ALIVE_S = 3.0  # below the idle limit of common servers (5 s): see egress/client.py
HTTP_READ_CHUNK_BYTES = 8_192
ADDRESSES_MAX_COUNT = 16  # of one look-up; what is beyond is never tried
ALLOWED_PRIVATE_MAX_COUNT = 256

# Telemetry -----------------------------------------------------------------------------------
PROVIDER_LABELS_MAX = 50  # providers with series of their own; the rest shares the label "other"
STATUS_HEAD_MAX_BYTES = 8_192  # a request for metrics or health, headers included
STATUS_LIMIT_S = 5.0  # from its first byte to the last of the answer
STATUS_CONNECTIONS_MAX = 32  # some scrapers and probes at once; more are hung up on
SPAN_QUEUE_MAX = 8_192  # ended spans waiting for the collector; what does not fit is dropped
SPAN_BATCH_MAX = 512
SPAN_DELAY_S = 2.0  # how long a span waits for others
SPAN_EXPORT_LIMIT_S = 5.0  # one batch, its retries included
SPAN_FLUSH_S = 5.0  # at the end of the process
