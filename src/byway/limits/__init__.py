"""Limits on requests, tokens, concurrency and money: rules of the config, their counts, and the check of a request. Pure."""
