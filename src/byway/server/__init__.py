"""The HTTP server: connections, checks, dispatch, lifecycle."""
