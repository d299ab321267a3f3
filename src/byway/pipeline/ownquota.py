"""Answers of a backend that gets the caller's own credential: the headers about its quota, and its refusals. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from byway.problems import Problem

_QUOTA: Final = "anthropic-ratelimit-"


def header_lines(given: Mapping[str, str]) -> bytes:
    """The lines of the headers about the caller's quota. With a key of Byway's they would be those of all callers together."""
    lines = [f"{name}: {value}" for name, value in given.items() if name.startswith(_QUOTA)]
    return b"".join(line.encode("latin-1", "replace") + b"\r\n" for line in lines if line.isprintable())


def problem_of_caller(problem: Problem, given: Mapping[str, str]) -> Problem:
    """The Problem for the caller, whose own credential was refused: a 401, so that its client renews its login."""
    backend = problem.facts.get("backend", "")
    if problem.kind == "refused":
        status = problem.facts.get("status")
        message = (
            f"Backend {backend!r} rejected your own credential, which Byway has forwarded unchanged (HTTP {status}). Log in "
            "again, or check ANTHROPIC_AUTH_TOKEN and ANTHROPIC_API_KEY."
        )
        problem = Problem("permission" if status == 403 else "authentication", message, facts=problem.facts)
        problem.retry = None
    if (wish := given.get("x-should-retry")) in ("true", "false"):
        problem.retry = wish == "true"
    return problem
