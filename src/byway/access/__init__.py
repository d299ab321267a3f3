"""Clients' keys and browser logins."""
