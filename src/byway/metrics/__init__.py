"""Metrics for Prometheus: counts of requests and models, and their text form. Pure."""
