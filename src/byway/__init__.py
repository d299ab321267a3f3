"""Byway: run Claude Code by way of any model. The version stands here and nowhere else."""

__version__ = "0.1.0"
