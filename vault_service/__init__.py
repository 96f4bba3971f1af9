"""tokenvault: OAuth grants and secrets under seal, short-lived tokens for whom a policy allows."""
