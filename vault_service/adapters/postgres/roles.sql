-- The four roles of tokenvault, made once per cluster by a database superuser. Idempotent.
-- Passwords are not here: set them with ALTER ROLE ... PASSWORD (SCRAM).
-- Then: CREATE DATABASE tokenvault OWNER tokenvault_owner, and `tokenvault migrate` as that owner.
--
--   tokenvault_owner       owns the tables and runs migrations and `tokenvault tenant create`
--   tokenvault_app         serves requests; every row it sees is of one tenant
--   tokenvault_worker      background work across tenants
--   tokenvault_disclosure  nobody logs in as it; the disclosure function runs as it
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['tokenvault_owner', 'tokenvault_app', 'tokenvault_worker'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS', wanted);
        END IF;
    END LOOP;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tokenvault_disclosure') THEN
        CREATE ROLE tokenvault_disclosure NOLOGIN NOSUPERUSER NOBYPASSRLS;
    END IF;
    -- The owner may hand the function over, and does not look through that role's eyes otherwise:
    -- row-level policies reach whoever inherits the role they name.
    IF current_setting('server_version_num')::integer >= 160000 THEN
        EXECUTE 'GRANT tokenvault_disclosure TO tokenvault_owner WITH INHERIT FALSE, SET TRUE';
    ELSE
        ALTER ROLE tokenvault_owner NOINHERIT;
        GRANT tokenvault_disclosure TO tokenvault_owner;
    END IF;
END
$$;
