-- Extra parameters of an OAuthClient's token requests, and when a refresh last brought the access
-- token that the grant had already. Run by tokenvault_owner inside one transaction. It only adds:
-- the release before sends no extra parameters, and asks such a provider more often.

ALTER TABLE oauth_clients ADD COLUMN token_params jsonb NOT NULL DEFAULT '{}';
ALTER TABLE grants ADD COLUMN unrenewed_time timestamptz;
