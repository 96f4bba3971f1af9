-- What an attempt in doubt waits for. Run by tokenvault_owner inside one transaction. It only adds:
-- the release before goes on beside it, and its attempts wait as they did.

-- Spools of other processes that may hold an answer to it, although this one presented the refresh
-- token again inside the grace of class G.
ALTER TABLE refresh_attempts ADD COLUMN earlier_spools uuid[] NOT NULL DEFAULT '{}';
-- Its pause is for a provider that fails, and ends when that provider answers somebody.
ALTER TABLE refresh_attempts ADD COLUMN until_it_answers boolean NOT NULL DEFAULT false;
