"""Endpoints: the base URLs that clients such as Claude Code are given. Byway itself is the built-in one."""
