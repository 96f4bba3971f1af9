"""The one way out: HTTP client, SSRF guard, bounds."""
