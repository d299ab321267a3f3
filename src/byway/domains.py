"""Domain lists (`allowed_domains`, `blocked_domains`) of web search and web fetch.

The rules are those of https://platform.claude.com/docs/en/agents-and-tools/tool-use/server-tools (seen 2026-11-21).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from byway import urls
from byway.urls import Url

#: Entries of one list in a request.
_MAX_ENTRIES: Final = 1_000


class DomainPattern(NamedTuple):
    """One entry: a host with its subdomains, and optionally the beginning of a path."""

    host: str
    path: str
    """Empty for any path; may contain `*`."""


class DomainFilter:
    """Decides which URLs two domain lists permit. An absent or empty list restricts nothing."""

    def __init__(self, allowed: Iterable[str] | None, blocked: Iterable[str] | None) -> None:
        """Raises ValueError like `parse_domain`."""
        self._allowed = _by_host(allowed or ())
        self._blocked = _by_host(blocked or ())

    def permits(self, url: Url) -> bool:
        """`example.com` matches `docs.example.com` too; `/blog` matches `/blog/post`, not `/blogger`."""
        return (not self._allowed or _matches(self._allowed, url)) and not _matches(self._blocked, url)


def parse_domain(entry: str) -> DomainPattern:
    """Parse one entry: `example.com`, `docs.example.com`, `example.com/blog`, `example.com/*/articles`.

    Raises ValueError with a message that continues a sentence about the entry.
    """
    if "://" in entry:
        raise ValueError("must not start with http:// or https://")
    name, slash, path = entry.partition("/")
    if "*" in name:
        raise ValueError("must not have * in the domain; subdomains are included without it")
    if "?" in entry or "#" in entry or "@" in entry:
        raise ValueError("must be a domain, optionally with a path")
    try:
        url = urls.parse(f"http://{name}/{path}")
    except ValueError:
        raise ValueError("is not a domain such as example.com") from None
    if url.port != 80 or name.endswith(":80"):
        raise ValueError("must not have a port")
    return DomainPattern(url.host, _single_slashes(url.path).rstrip("/") if slash else "")


def domains_error(allowed: Sequence[str] | None, blocked: Sequence[str] | None) -> str:
    """What is wrong with the two lists of a tool, with the path of the field. Empty: nothing."""
    if allowed and blocked:
        return "allowed_domains: cannot be used together with blocked_domains; use one of them"
    for field, entries in (("allowed_domains", allowed or ()), ("blocked_domains", blocked or ())):
        if len(entries) > _MAX_ENTRIES:
            return f"{field}: has {len(entries):,} entries; the limit is {_MAX_ENTRIES:,}"
        for index, entry in enumerate(entries):
            try:
                parse_domain(entry)
            except ValueError as error:
                return f"{field}.{index}: {entry[:100]!r} {error}"
    return ""


def _by_host(entries: Iterable[str]) -> dict[str, set[str]]:
    """The paths of each host."""
    paths: dict[str, set[str]] = {}
    for entry in entries:
        pattern = parse_domain(entry)
        paths.setdefault(pattern.host, set()).add(pattern.path)
    return paths


def _matches(paths: dict[str, set[str]], url: Url) -> bool:
    path = _single_slashes(url.path)
    return any(not pattern or _starts_with(path, pattern) for host in _parents(url) for pattern in paths.get(host, ()))


def _parents(url: Url) -> Iterator[str]:
    """The host and each domain above it."""
    host = url.host
    yield host
    if url.number is None:
        while "." in host:
            host = host.partition(".")[2]
            yield host


def _single_slashes(path: str) -> str:
    """Servers treat `//` as `/`: it must not get past an entry."""
    while "//" in path:
        path = path.replace("//", "/")
    return path


def _starts_with(path: str, pattern: str) -> bool:
    """True when `path` starts with `pattern` up to the end of a segment. `*` matches any characters. No backtracking."""
    first, *rest = pattern.split("*")
    if not path.startswith(first):
        return False
    position = len(first)
    if not rest:
        return position == len(path) or path[position] == "/"
    for piece in rest[:-1]:
        start = path.find(piece, position)
        if start < 0:
            return False
        position = start + len(piece)
    last = rest[-1]
    while last:
        position = path.find(last, position)
        if position < 0:
            return False
        end = position + len(last)
        if end == len(path) or path[end] == "/":
            return True
        position += 1
    return True
