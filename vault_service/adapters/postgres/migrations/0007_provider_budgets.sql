-- What providers allow to each OAuthClient, counted over all replicas, and until when they want no
-- requests. Run by tokenvault_owner inside one transaction. It only adds: the release before takes
-- no permits, and its requests are not counted.

-- One row for an OAuthClient. A client_id at an issuer belongs to one OAuthClient of one tenant
-- (unique in oauth_clients), so this is one row for each pair that a provider counts by.
CREATE TABLE provider_budgets (
    tenant       text NOT NULL,
    oauth_client text NOT NULL,
    second_level double precision NOT NULL DEFAULT 'infinity',
    minute_level double precision NOT NULL DEFAULT 'infinity',
    update_time  timestamptz NOT NULL DEFAULT clock_timestamp(),
    held_until   timestamptz NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (tenant, oauth_client),
    FOREIGN KEY (tenant, oauth_client) REFERENCES oauth_clients
)
-- Updated for every batch of permits: room on the page keeps those updates off the index.
WITH (fillfactor = 50);

ALTER TABLE provider_budgets ENABLE ROW LEVEL SECURITY;
ALTER TABLE provider_budgets FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON provider_budgets TO tokenvault_app, tokenvault_owner
    USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());
GRANT SELECT, INSERT, UPDATE ON provider_budgets TO tokenvault_app;

-- Up to `wanted` permits out of two buckets that fill with time; without one, how long until the
-- next, or until the provider wants to be asked again. The row is locked first and the clock read
-- then: what waited for the lock counts from when it had it.
CREATE FUNCTION take_permits(
    of_tenant text, of_client text, wanted integer,
    second_size double precision, second_per_s double precision,
    minute_size double precision, minute_per_s double precision,
    OUT permits integer, OUT wait_s double precision, OUT held_s double precision
)
    LANGUAGE plpgsql
AS $$
DECLARE
    budget provider_budgets;
    moment timestamptz;
    passed_s double precision;
BEGIN
    SELECT * INTO budget FROM provider_budgets
        WHERE tenant = of_tenant AND oauth_client = of_client FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        INSERT INTO provider_budgets (tenant, oauth_client) VALUES (of_tenant, of_client)
            ON CONFLICT DO NOTHING;
        SELECT * INTO STRICT budget FROM provider_budgets
            WHERE tenant = of_tenant AND oauth_client = of_client FOR NO KEY UPDATE;
    END IF;
    moment := clock_timestamp();
    permits := 0;
    wait_s := 0;
    held_s := greatest(0, extract(epoch FROM budget.held_until - moment));
    IF held_s > 0 THEN
        RETURN;
    END IF;
    -- A clock that was set back fills nothing and takes nothing away.
    passed_s := greatest(0, extract(epoch FROM moment - budget.update_time));
    budget.second_level := least(second_size, budget.second_level + second_per_s * passed_s);
    budget.minute_level := least(minute_size, budget.minute_level + minute_per_s * passed_s);
    permits := greatest(0, floor(least(wanted, budget.second_level, budget.minute_level)));
    IF permits = 0 THEN
        wait_s := greatest(
            (1 - budget.second_level) / second_per_s, (1 - budget.minute_level) / minute_per_s);
    END IF;
    UPDATE provider_budgets SET
        second_level = budget.second_level - permits,
        minute_level = budget.minute_level - permits,
        update_time = moment
    WHERE tenant = of_tenant AND oauth_client = of_client;
END
$$;
REVOKE ALL ON FUNCTION take_permits FROM PUBLIC;
GRANT EXECUTE ON FUNCTION take_permits TO tokenvault_app;
