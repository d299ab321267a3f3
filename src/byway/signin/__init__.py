"""Sign-in of Claude Code with a device code (RFC 8628): codes, tokens, settings for it, counts of its telemetry. Pure."""
