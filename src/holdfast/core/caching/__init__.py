"""RFC 9111 as pure decisions, one file per section; an import names its section."""
