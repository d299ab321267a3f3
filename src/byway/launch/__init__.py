"""Starts Claude Code with an endpoint, and Byway with it or at login."""
