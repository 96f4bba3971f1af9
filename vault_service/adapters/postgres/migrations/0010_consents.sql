-- How an exchange of a code ends, and tokens that came and are not wanted. Run by tokenvault_owner
-- inside one transaction. It only adds: the release before sees a state that has ended as one whose
-- code was used.

ALTER TABLE authorizations
    -- Of the newest claim: what a spool has of another one says nothing about this row.
    ADD COLUMN claim_id        uuid,
    -- The refusal that every later completion gets: {"reason", "message", "metadata"}.
    ADD COLUMN ending          jsonb,
    -- The sealed answer to the exchange, where it could not be read.
    ADD COLUMN answer_envelope bytea;

-- Tokens of consents that made no grant, until the provider was told to revoke them. A table of its
-- own: the queue of grants' tokens belongs to rows of grants.
CREATE TABLE discarded_tokens (
    token_id          uuid PRIMARY KEY,
    tenant            text NOT NULL,
    authorization_id  uuid NOT NULL,
    owner             text NOT NULL,
    oauth_client      text NOT NULL,
    provider          text NOT NULL,
    kind              text NOT NULL CHECK (kind IN ('refresh_token', 'access_token')),
    envelope          bytea NOT NULL,
    attempts          integer NOT NULL DEFAULT 0,
    next_attempt_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    expire_time       timestamptz NOT NULL,
    FOREIGN KEY (tenant, oauth_client) REFERENCES oauth_clients
);
CREATE INDEX discarded_tokens_due ON discarded_tokens (next_attempt_time);
CREATE INDEX discarded_tokens_by_authorization ON discarded_tokens (authorization_id);

ALTER TABLE discarded_tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE discarded_tokens FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON discarded_tokens TO tokenvault_app, tokenvault_owner
    USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());
CREATE POLICY all_tenants ON discarded_tokens TO tokenvault_worker USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON discarded_tokens TO tokenvault_app;
GRANT SELECT, UPDATE (next_attempt_time) ON discarded_tokens TO tokenvault_worker;
