"""The Messages format, the one language inside: requests, events, streams, tokens. Pure."""
