"""OAuth 2.0 without a network: what a client says, and what it makes of the answers (RFC 6749 and its relatives)."""
