"""Parsers of documents that others wrote: HTML and PDF. They run in child processes with limits."""
