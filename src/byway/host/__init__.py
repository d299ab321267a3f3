"""Hosts Claude Code inside another program: owns its process, its endpoint and its sessions."""
