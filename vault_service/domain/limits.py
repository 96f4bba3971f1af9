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
MIN_TTL_LATE_S = 5  # unasked, where a refresh ends the token before: one call of an API
UNRENEWED_SHARE = 0.05  # of its life: how often a provider is asked that gave the old token again
UNRENEWED_PAUSE_MAX_S = 300.0
MIN_TTL_MAX_S = 86_400
TOKEN_LIFE_DEFAULT_S = 3_600  # where a provider says nothing (RFC 6749 §5.1: RECOMMENDED only)
TOKEN_LIFE_MAX_S = 31_536_000  # a longer expires_in is cut: nothing lives a year unasked
AUTHORIZATION_LIFE_S = 600  # RFC 6749 §4.1.2: codes should live at most ten minutes
AUTHORIZATION_KEEP_S = 86_400  # after its end, so that a late callback is told what happened
CLAIM_KEEP_S = 31_536_000  # a claim without an outcome: a spool with its answer may come back
CONSENT_ANSWER_KEEP_S = 7 * 86_400  # an answer to a code that cannot be read, as for revocations
COMPLETION_REPLAY_S = 600  # the same completion asked again gets the same answer for this long
RPC_DEFAULT_BUDGET_S = 30.0  # a caller that sets no deadline
RPC_MAX_BUDGET_S = 120.0  # no call waits longer, whatever its deadline says
RPC_MIN_BUDGET_S = 0.1  # less is not enough to do anything safely
REPLY_RESERVE_S = 0.02  # kept back to answer, at least
REPLY_RESERVE_SHARE = 0.05  # of what the caller gave: a refusal is put on record before it leaves
REPLY_RESERVE_MAX_S = 1.0  # a commit and the way back take no longer where all is well
POST_LIMIT_S = 20.0  # one request to a provider, connect to last byte; no setting makes it longer
POST_LIMIT_MIN_S = 1.0  # a provider far away needs a TLS handshake and its own work
LEASE_MARGIN_S = 5.0  # lease = POST limit + this, so that a lease outlives its POST
LEASE_MARGIN_MIN_S = 0.5  # between the lease and its POST lies one write to the spool
LEASE_MARGIN_MAX_S = 30.0  # a grant whose process died waits for so much longer
GRACE_LEASE_SHARE = 0.25  # of a grace: with a sweep after it, recovery begins within a third
GRACE_LEASE_MIN_S = 1.0  # no request can be prepared, sent and answered in less
GRACE_MIN_S = 4  # the least lease over its share; class G with less is class S
ANSWER_LIMIT_S = 300.0  # how long a late answer of class S is waited for: no proxy holds on longer
ANSWER_LIMIT_MAX_S = 600.0
LEASE_RENEWALS = 3  # in one lease, so that two may fail
LEASE_POLL_S = 0.05
HELD_LOOK_S = 1.0  # who waits for another process's refresh looks so often without being told
COMMIT_RETRY_S = 60.0  # how long a refreshed token is offered to a database that is away
TRANSIT_LIMIT_S = 2.0
TRANSIT_RELOGIN_S = 10.0  # a 403 soon after a new login is the policy, not the token
RETRY_AFTER_S = 1.0  # what RetryInfo says where nothing better is known
RETRY_AFTER_MIN_S = 0.05  # and never less: nobody is to come back in the moment of the refusal
REVOCATION_KEEP_S = 7 * 86_400  # how long an envelope is kept for revocation at the provider
DISCARD_WAIT_S = 2.0  # how long a refused consent waits until its tokens are revoked
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
REVOCATION_BATCH_MAX = 50  # under way in one process; a tenant may hold as many as it leaves free
REVOCATION_WAIT_S = 2.0  # for those under way; the next look comes while others still hang
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
SPOOL_WAIT_MIN_S = 10.0  # a process that is started again at once must be waited for
SPOOL_WAIT_MAX_S = 86_400.0  # what is not back in a day needs an operator
ATTEMPT_BATCH_MAX = 50
WAITING_LOOK_MAX = 200  # of what waits for a person, in one sweep: 100,000 have a turn in 2 minutes
ATTEMPT_KEEP_S = 7 * 86_400  # an ended attempt is of use to who looks into last week
ATTEMPT_SWEEP_S = 0.25  # between looks for attempts whose process died: a short grace is 4 s
IN_DOUBT_RETRY_S = 5.0  # first pause before recovery tries again; it doubles
DOUBT_PATIENCE_S = 1.0  # who joins a request of recovery waits so long: most are answered by then
GRACE_RETRY_SHARE = 1 / 12  # of a grace, between tries inside it: they never grow rarer
GRACE_ROOM_SHARE = 1 / 20  # of a grace, what the last try needs to get to the provider
GRACE_ROOM_MAX_S = 2.0
RELEASE_INTERVAL_S = 1.0  # between looks for what a provider's success releases
RELEASE_BATCH_MAX = 20  # attempts released by one look: their refreshes keep to the budget too
RELEASE_PROVIDERS_MAX = 1_000  # whose successes one process remembers between two looks
LATE_ANSWERS_SHARE = 0.25  # of a spool's slots, for requests that are past their limit
OUTAGE_TOLD_MAX_S = 25.0  # what RetryInfo says at most where a provider's success ends the doubt
IN_DOUBT_RETRY_MAX_S = 300.0
WAIT_UNTIL_TOLD_S = 10 * 365 * 86_400.0  # what waits for a person is not looked at before
ORDER_REASON_MAX_CHARS = 200  # of an operator, for the record
WAIT_RETRY_AFTER_S = 60.0  # to callers of what waits for a person: it takes minutes at best
CONFIRM_AFTER_S = 60  # a refusal counts for good when repeated so much later: replicas caught up
BACKOFF_FIRST_S = 1.0  # after a transient fault of a provider; it doubles, with jitter
BACKOFF_MAX_S = 20.0  # a provider that is back is used again within half a minute

# Outages of providers -------------------------------------------------------------------------
REFRESH_AT_SHARE = 0.8  # of its life: from then on it is refreshed, with time to try again
BREAKER_WINDOW_S = 10.0  # long enough to hold five answers of a provider that is little used
BREAKER_FAILURES_MIN = 5  # grants that fail; fewer in one window are bad luck, or theirs
BREAKER_RUN = 10  # grants that fail without a success between: a busy provider went down just now
BREAKER_GRANTS_MIN = 3  # fewer may all be poisoned accounts: then nobody else is kept out
BREAKER_GRANTS_MAX = 64  # failing grants that one breaker remembers; more say nothing new
BREAKER_AT_FAULT_MAX = 1_024  # grants that failed while others succeeded: 100 KB
BREAKER_ALONE_WINDOW_S = 60.0  # nobody succeeds for so long: then the failures of one grant count
BREAKER_FRESH_S = 5.0  # after a pause the probe is for grants that succeeded last, then for all
BREAKER_FAILURE_RATIO = 0.5
BREAKER_OPEN_FIRST_S = 1.0  # it doubles with every opening, with jitter
BREAKER_OPEN_MAX_S = 15.0  # with a probe that hangs: a provider that is back is used within 30 s
BREAKER_PROBE_S = 5.0  # a probe that takes longer counts as failed, until its answer comes
PERMIT_WAIT_S = 30.0  # who waits longer for a place is told to come again
PERMIT_QUEUE_MAX = 1_000  # waiting for one OAuthClient's requests; more is OVERLOADED
PERMIT_FULL_RETRY_S = 5.0  # what RetryInfo says then: a full queue takes seconds to drain
PERMIT_FULL_RETRY_MAX_S = 60.0  # or minutes, by the provider's budget: nobody is sent away longer
PERMIT_BATCH_MAX = 64  # permits of a rate budget that one replica takes at once
PERMIT_LIFE_S = 1.0  # one not used by then is lost: the budget counts from when it was given
BUDGET_LOOK_S = 1.0  # how old what a replica knows of a Retry-After that another got may be
RATE_LIMITED_PAUSE_S = 5.0  # 429 without Retry-After: the OAuthClient pauses for so long
RATE_LIMITED_WINDOW_S = 60.0  # 429 for two grants within it speaks of the OAuthClient
RATE_LIMITED_GRANTS_MAX = 64  # remembered of one OAuthClient; two are enough to decide
RATE_HOLD_FIRST_S = 60.0  # no first answer holds an OAuthClient for longer; it doubles, to an hour
RATE_HOLD_FORGET_S = 600.0  # after so long without a hold, the next one is a first one
HOLD_WHY_MAX_CHARS = 200  # a sentence and a ticket
RATE_DEBT_MAX = 64  # requests that went without a permit and are still to be paid for
CONSENT_SHARE = 0.5  # of a provider's rate budget, at most, in one process; the rest is refreshes'
CONSENT_BURST = 10  # exchanges at once, however small the budget: people come together
CONSENT_PARALLEL_MAX = 8  # code exchanges of one OAuthClient under way in one process
CONSENT_QUEUE_MAX = 64  # waiting for one OAuthClient's exchanges; more is OVERLOADED
CONSENT_WAIT_S = 10.0  # a person waits: then OVERLOADED, and nothing of the code is used up
OUTAGE_LANES_MAX = 10_000  # OAuthClients whose state one process remembers
RETRY_SHARE = 0.1  # retries per request
RETRY_TRICKLE_PER_S = 1.0  # retries that are always allowed
RETRIES_MAX = 20.0  # saved up
RETRY_KEYS_MAX = 10_000  # grants whose last request failed

# Scheduler -----------------------------------------------------------------------------------
REFRESH_AHEAD_JITTER = 0.1  # of its life, either way: one second's herd fills a fifth of it
AHEAD_LIFE_MIN_S = 120  # shorter tokens would be refreshed all day for one use
KEEP_ALIVE_SHARE = 0.8  # of max_idle_s
KEEP_ALIVE_JITTER = 0.05
EXPIRING_SOON_SHARE = 0.1  # of max_idle_s left: nine days of Microsoft's ninety
IN_USE_S = 86_400.0  # a disclosure so lately means that there will be another
IN_USE_MAX_S = 31_536_000.0
SCHEDULER_TICK_S = 1.0
SCHEDULER_TICKS_MAX = 20  # in a row while there is more, then the other loops have their turn
SCHEDULER_LEASE_S = 120.0  # longer than one refresh takes; a dead replica's batch waits so long
SCHEDULER_HORIZON_S = 2.0  # slots given out before their time: a tick may come late
SCHEDULER_BATCH = 200
SCHEDULER_BATCH_MAX = 1_000
SCHEDULER_PARALLEL = 16  # callers need the spool and the pool of connections too
SCHEDULER_PARALLEL_MAX = 256
SCHEDULER_CLIENT_PARALLEL_MAX = 8  # of one OAuthClient: one provider that hangs stops no other
SCHEDULER_LATE_S = 0.75  # later than its slot by more: another one, or late ones come together
SCHEDULER_CLIENT_SLOTS_MAX = 256  # of one OAuthClient, given out and not ended: 128 a second
SCHEDULER_SLOTS_MAX = 2_048  # of all; no more is taken then
SCHEDULER_RATE_PER_S = 50.0  # of an OAuthClient whose provider tells no budget
BACKGROUND_SHARE = 0.5  # of a provider's rate budget; the rest is for callers
BACKGROUND_RETRY_S = 5.0  # first pause after a failure; it doubles
BACKGROUND_RETRY_MAX_S = 900.0
SUSPENDED_LOOK_S = 3_600.0  # a suspended OAuthClient's grants come back within an hour of its end
USED_GRANTS_MAX = 100_000  # noted in one process between two writes: 20 MB
USED_WRITE_S = 30.0  # what a crash forgets of uses
USED_BATCH_MAX = 1_000
BACKLOG_COUNT_MAX = 10_000  # more is as red

# Events --------------------------------------------------------------------------------------
EVENT_KEEP_S = 7 * 86_400  # a watcher that was away for a week lists the grants anew
EVENT_KEEP_MARGIN_S = 3_600.0  # an event is that much older at most than a place before it
EVENT_LATE_S = 30.0  # no transaction of ours is that long; somebody else holds the horizon
EVENT_SWEEP_S = 60.0
EVENT_SWEEP_MAX = 10_000
EVENT_BATCH_MAX = 100  # rows a watcher holds at one time: 50 KB
EVENT_POLL_S = 5.0  # a watcher looks by itself this often, should a notification be lost
EVENT_UNRIPE_POLL_S = 0.05  # ... and this often where an event waits for an older transaction
EVENT_GATHER_S = 0.02  # after the bell, so that a burst of changes is one look
EVENT_READS_MAX = 2  # looks at one time in one process: requests keep the other connections
CURSOR_MAX_CHARS = 64
WATCH_HEARTBEAT_S = 15.0  # below the idle limit of common load balancers (60 s)
WATCH_LIFE_S = 600.0  # then identity and policy are judged anew; the client resumes
WATCHES_MAX = 256  # streams in one process, each with one batch: 13 MB
WATCHES_PER_CALLER_MAX = 16  # a caller's replicas, with some to spare
WATCH_RESUME_S = 0.2  # what RetryInfo says where a stream ends only to be opened again
WATCH_SEND_LIMIT_S = 30.0  # a reader that takes nothing for so long loses its place in the line
WATCH_KINDS_MAX = 16
LISTEN_PING_S = 5.0  # between looks whether the listening connection still lives
LISTEN_RETRY_S = 1.0
FINGERPRINT_MAX_CHARS = 64  # ours have 25
REJECTION_INTERVAL_S = 60.0  # between reports of one grant that lead to a refresh

# Webhooks ------------------------------------------------------------------------------------
WEBHOOKS_MAX_COUNT = 10  # of one tenant: each is a request for each event
WEBHOOK_KEY_MIN_BYTES = 24  # the Standard Webhooks specification: 24 to 64 bytes
WEBHOOK_KEY_MAX_BYTES = 64
WEBHOOK_SECRET_OVERLAP_S = 86_400.0  # a new secret and the one before both sign for so long
WEBHOOK_LIMIT_S = 10.0  # one request; a receiver that works longer answers first
WEBHOOK_ANSWER_MAX_BYTES = 4_096  # only the status counts
WEBHOOK_SWEEP_S = 1.0  # between looks for new events and due deliveries
WEBHOOK_FAN_OUT_MAX = 500  # events in one transaction
# Under way in one process. A tenant may hold as many as it leaves free: half, if it is alone, which
# is room for all its endpoints, hanging or not.
WEBHOOK_DELIVERIES_MAX = 80
WEBHOOK_PER_ENDPOINT_MAX = 4  # ... to one endpoint: a slow one holds no more than these
WEBHOOK_HIDE_S = 60.0  # a delivery that someone took is not taken again before this
WEBHOOK_RETRY_FIRST_S = 5.0  # it grows fourfold, with jitter
WEBHOOK_RETRY_MAX_S = 4 * 3_600.0
WEBHOOK_KEEP_TRYING_S = 3 * 86_400.0  # a weekend
WEBHOOK_ORDER_ATTEMPTS = 4  # about seven minutes; then later events of the grant overtake
WEBHOOK_DEAD_KEEP_S = 30 * 86_400.0
WEBHOOK_DEAD_SWEEP_MAX = 1_000
REDELIVER_MAX_COUNT = 500  # named events in one call

# Provider answers ----------------------------------------------------------------------------
BODY_MAX_BYTES = 63_488  # with its head it fits into one envelope
CODING_MAX_CHARS = 64  # "gzip, deflate" has 13
CODINGS_MAX_COUNT = 3  # codings of one body that are undone; more is no honest server's answer
ODDITIES_MAX_COUNT = 8  # of one answer, in its record
ODDITY_MAX_CHARS = 64
JSON_DEPTH_MAX = 16
RETRY_AFTER_MAX_S = 3_600.0  # a provider cannot silence a grant for longer than an hour
ERROR_CODE_MAX_CHARS = 64  # the longest registered OAuth error code has 26
ERROR_TABLE_MAX_COUNT = 50  # codes that one profile gives a meaning; Slack documents about 40
ERROR_PATHS_MAX_COUNT = 8  # places that one profile names for the error code; one is usual
ERROR_KEY_MAX_CHARS = 256  # a code with the description that goes with it
JSON_PATH_MAX_CHARS = 128  # "authed_user.access_token" has 24
CONFIRM_AFTER_MAX_S = 3_600
IDLE_MAX_S = 5 * 365 * 86_400  # Okta allows up to 1,825 days
RATE_MAX = 10_000  # requests a second or minute; more is no budget
ID_TOKEN_LEEWAY_S = 300  # clocks of providers differ; the token came over TLS a moment ago

# Egress --------------------------------------------------------------------------------------
# Who asks enters a share first, so that nothing ever queues for a connection. Of each kind a tenant
# may hold as many as it leaves free: half if it is alone, and a newcomer always finds some.
REFRESH_PLACES_MAX = 192
CONSENT_PLACES_MAX = 64
ERRAND_PLACES_MAX = 32  # revocations
SHARE_QUEUE_MAX = 1_000  # of one tenant waiting for one kind; more is OVERLOADED
ERRAND_WAIT_S = 5.0  # then the queue in the database keeps it
HTTP_CONNECTIONS_MAX = 368  # the sum, and WEBHOOK_DELIVERIES_MAX
HTTP_CONNECTIONS_PER_HOST_MAX = 16  # of one OAuthClient's refreshes: bulkhead of a slow provider
LOOKUPS_MAX = 192  # threads in getaddrinfo; each tenant may hold as many as it leaves free
LOOKUP_LIMIT_S = 5.0  # a look-up that takes longer fails; resolvers mostly ask again after 5 s
LOOKUP_SILENT_S = 5.0  # after one that took too long, the name is not looked up again for so long
LOOKUP_NAMES_MAX = 1_000  # silent names and known ones, remembered by one process
HTTP_LATE_MAX = 256  # more, for answers that are late; they hold no places
HTTP_CONNECT_LIMIT_S = 10.0  # one address, handshake included; then the next address is tried
HTTP_LATE_READ_S = 0.25  # beyond a limit, to read what came while the process stood still
HTTP_KEEP_ALIVE_S = 3.0  # below the idle limit of common servers (5 s): see egress/client.py
HTTP_ANSWER_MAX_BYTES = 1_048_576  # head, framing and body; only the body is kept
HTTP_HEAD_MAX_BYTES = 262_144  # gateways add dozens of headers; common servers allow 8 to 64 KiB
HTTP_LINE_MAX_BYTES = 16_384  # of a head: what is longer is cut, and the rest of it read past
HTTP_TAIL_S = 1.0  # for the end of an answer whose content is whole, or for the rest of a cut one
HTTP_GOODBYE_S = 1.0  # for the peer's close_notify; then the connection is cut
HTTP_NEXT_ADDRESS_S = 0.25  # RFC 8305 §5: then the next address is tried beside the first
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
