"""The HTTP client: the only package that opens connections to backends."""
