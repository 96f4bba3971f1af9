-- Events of grants, and who is told of them. Run by tokenvault_owner inside one transaction. It only
-- adds; the release before writes no events.

-- The outbox ------------------------------------------------------------------------------------
-- Written in the transaction of the change. Readers go by (order_xid, position): numbers of a
-- sequence become visible out of order, transaction ids below the snapshot's horizon do not. All
-- that was written under an id below pg_snapshot_xmin() is committed or gone for ever, so nothing
-- can turn up behind a reader's place. order_xid is the transaction's own id, or that of the same
-- grant's event before where that is greater: a transaction that took its id early and waited for
-- the grant's row would else stand before the change that it waited for. It stays sound: order_xid
-- is never below the writer's id, so below the horizon its writer has ended too.
CREATE TABLE grant_events (
    position     bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    order_xid    xid8 NOT NULL,
    event_id     uuid NOT NULL, -- of the change's record
    tenant       text NOT NULL REFERENCES tenants,
    grant_id     uuid NOT NULL,
    owner        text NOT NULL,
    oauth_client text NOT NULL,
    provider     text NOT NULL,
    scopes       text[] NOT NULL, -- the policy may ask for them
    kind         smallint NOT NULL,
    state        smallint NOT NULL,
    cause        smallint,
    generation   bigint NOT NULL,
    revision     bigint NOT NULL,
    event_time   timestamptz NOT NULL DEFAULT clock_timestamp(),
    FOREIGN KEY (tenant, grant_id) REFERENCES grants (tenant, grant_id)
);
CREATE INDEX grant_events_in_order ON grant_events (tenant, order_xid, position);
CREATE INDEX grant_events_by_grant ON grant_events (grant_id, position DESC);
CREATE INDEX grant_events_by_order ON grant_events (order_xid);
CREATE INDEX grant_events_by_age ON grant_events (event_time);

-- Reports of rejected tokens ----------------------------------------------------------------------
-- How often a grant may be reported is judged by its row, so by all replicas together.
ALTER TABLE grants ADD COLUMN rejected_time timestamptz;

-- Webhooks --------------------------------------------------------------------------------------
-- Each has a place in the outbox (after_xid, after_position) of its own, as a watcher has: what lies
-- after it becomes deliveries, in the transaction that moves the place.
CREATE TABLE webhooks (
    webhook_id        uuid PRIMARY KEY, -- bound into the secret's envelopes; a name may come again
    tenant            text NOT NULL REFERENCES tenants,
    webhook           text NOT NULL,
    url               text NOT NULL,
    kinds             smallint[] NOT NULL,
    state             smallint NOT NULL DEFAULT 1,
    secret_envelope   bytea NOT NULL,
    secret_version    bigint NOT NULL,
    previous_envelope bytea,
    previous_version  bigint,
    previous_until    timestamptz,
    after_xid         xid8 NOT NULL,
    after_position    bigint NOT NULL,
    revision          bigint NOT NULL DEFAULT 1,
    create_time       timestamptz NOT NULL DEFAULT clock_timestamp(),
    update_time       timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (tenant, webhook),
    UNIQUE (tenant, webhook_id),
    CONSTRAINT previous_is_whole CHECK (
        (previous_envelope IS NULL) = (previous_version IS NULL)
        AND (previous_envelope IS NULL) = (previous_until IS NULL))
);
CREATE TABLE webhook_deliveries (
    webhook_id        uuid NOT NULL,
    position          bigint NOT NULL, -- of the event
    tenant            text NOT NULL,
    event_id          uuid NOT NULL,
    grant_id          uuid NOT NULL,
    kind              smallint NOT NULL,
    body              text NOT NULL, -- as it is signed and sent; it outlives the event
    attempts          integer NOT NULL DEFAULT 0,
    next_attempt_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    status            integer NOT NULL DEFAULT 0, -- of the last answer; 0: none came
    detail            text NOT NULL DEFAULT '',
    begin_time        timestamptz NOT NULL DEFAULT clock_timestamp(), -- retries count from here
    dead_time         timestamptz,
    PRIMARY KEY (webhook_id, position),
    FOREIGN KEY (tenant, webhook_id) REFERENCES webhooks (tenant, webhook_id) ON DELETE CASCADE
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook_id, next_attempt_time)
    WHERE dead_time IS NULL;
CREATE INDEX webhook_deliveries_by_grant ON webhook_deliveries (webhook_id, grant_id, position)
    WHERE dead_time IS NULL;
CREATE INDEX webhook_deliveries_dead ON webhook_deliveries (tenant, webhook_id, position)
    WHERE dead_time IS NOT NULL;
CREATE INDEX webhook_deliveries_by_death ON webhook_deliveries (dead_time)
    WHERE dead_time IS NOT NULL;

-- Row-level security and least privilege ------------------------------------------------------------
DO $$
DECLARE
    guarded text;
BEGIN
    FOREACH guarded IN ARRAY ARRAY['grant_events', 'webhooks', 'webhook_deliveries'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', guarded);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', guarded);
        EXECUTE format(
            'CREATE POLICY own_tenant ON %I TO tokenvault_app, tokenvault_owner '
            'USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant())', guarded);
        EXECUTE format(
            'CREATE POLICY all_tenants ON %I TO tokenvault_worker USING (true) WITH CHECK (true)',
            guarded);
    END LOOP;
END
$$;
GRANT SELECT, INSERT ON grant_events TO tokenvault_app;
-- The worker takes away what is past its time, and renumbers after a restore from a dump.
GRANT SELECT, UPDATE (order_xid), DELETE ON grant_events TO tokenvault_worker;

GRANT SELECT, INSERT, UPDATE, DELETE ON webhooks, webhook_deliveries TO tokenvault_app;
-- The worker finds webhooks with news and deliveries that are due; it never reads an envelope. It
-- moves places only after a restore from a dump.
GRANT SELECT (tenant, webhook_id, state, after_xid, after_position),
    UPDATE (after_xid, after_position) ON webhooks TO tokenvault_worker;
GRANT SELECT, UPDATE (next_attempt_time), DELETE ON webhook_deliveries TO tokenvault_worker;
