"""A small authorization server for `tokenvault dev`: a real one on the wire, a demo in its users.

OAuth 2.0 code flow with PKCE S256 (RFC 6749, RFC 7636), refresh tokens that are single use and
whose reuse ends the grant (RFC 9700 §4.14.2), revocation (RFC 7009), metadata (RFC 8414), ``iss``
in the authorization response (RFC 9207), and a signed id_token (OpenID Connect Core §2). Its two
users have no passwords: whoever can open the page may consent. Loopback only.
"""
