"""Batches: many requests that a client sends at once, and whose results it reads later."""
