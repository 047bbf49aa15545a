"""OAuth 2.0 against servers that others wrote: oidc-provider and oauth2-mock-server, from npm, on loopback."""
