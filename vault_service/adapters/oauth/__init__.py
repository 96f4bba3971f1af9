"""Providers' token and revocation endpoints, reached through ``egress``."""

from vault_service.adapters.oauth.token_endpoint import OAuthTokenEndpoint

__all__ = ["OAuthTokenEndpoint"]
