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
CREATE INDEX grant_events_by_age ON grant_events (event_time);

-- Reports of rejected tokens ----------------------------------------------------------------------
-- How often a grant may be reported is judged by its row, so by all replicas together.
ALTER TABLE grants ADD COLUMN rejected_time timestamptz;

-- Row-level security and least privilege ------------------------------------------------------------
ALTER TABLE grant_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE grant_events FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON grant_events TO tokenvault_app, tokenvault_owner
    USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());
CREATE POLICY all_tenants ON grant_events TO tokenvault_worker USING (true) WITH CHECK (true);
GRANT SELECT, INSERT ON grant_events TO tokenvault_app;
-- The worker takes away what is past its time, and renumbers after a restore from a dump.
GRANT SELECT, UPDATE (order_xid), DELETE ON grant_events TO tokenvault_worker;
