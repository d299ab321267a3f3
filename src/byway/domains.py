"""Which addresses `allowed_domains` and `blocked_domains` mean, for web search and web fetch alike.

The rules are those of https://platform.claude.com/docs/en/agents-and-tools/tool-use/server-tools (seen 2026-11-21).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from byway import urls
from byway.urls import Url


class DomainPattern(NamedTuple):
    """One entry: a host with all below it, and perhaps the beginning of a path."""

    host: str
    path: str
    """Empty for any path; may hold `*`."""

    def covers(self, url: Url) -> bool:
        """Does it mean `url`? `example.com` means `docs.example.com` too; `/blog` means `/blog/post`, not `/blogger`."""
        if url.host != self.host and not (url.number is None and url.host.endswith(f".{self.host}")):
            return False
        return not self.path or _begins(_single(url.path), self.path)


def parse_domain(entry: str) -> DomainPattern:
    """Read one entry: `example.com`, `docs.example.com`, `example.com/blog`, `example.com/*/articles`.

    Raises ValueError with words that follow the entry.
    """
    if "://" in entry:
        raise ValueError("must come without http:// or https://")
    name, slash, path = entry.partition("/")
    if "*" in name:
        raise ValueError("must not have * in the domain; subdomains are included anyway")
    if "?" in entry or "#" in entry or "@" in entry:
        raise ValueError("must be a domain, with a path at most")
    try:
        found = urls.parse(f"http://{name}/{path}")
    except ValueError:
        raise ValueError("is not a domain such as example.com") from None
    if found.port != 80 or name.endswith(":80"):
        raise ValueError("must come without a port")
    return DomainPattern(found.host, _single(found.path).rstrip("/") if slash else "")


def permitted(url: Url, allowed: Sequence[str] | None, blocked: Sequence[str] | None) -> bool:
    """May `url` be used? An absent or empty list restricts nothing. Raises ValueError like `domain`."""
    if allowed and not any(parse_domain(entry).covers(url) for entry in allowed):
        return False
    return not any(parse_domain(entry).covers(url) for entry in blocked or ())


def domains_error(allowed: Sequence[str] | None, blocked: Sequence[str] | None) -> str:
    """What is wrong with the two lists of a tool, beginning with the name of the field; empty when nothing is."""
    if allowed and blocked:
        return "allowed_domains: cannot be used together with blocked_domains; give one of them"
    for field, entries in (("allowed_domains", allowed), ("blocked_domains", blocked)):
        for at, entry in enumerate(entries or ()):
            try:
                parse_domain(entry)
            except ValueError as error:
                return f"{field}.{at}: {entry[:100]!r} {error}"
    return ""


def _single(path: str) -> str:
    """Servers read `//` as `/`: a path must not get past its entry by that."""
    while "//" in path:
        path = path.replace("//", "/")
    return path


def _begins(path: str, pattern: str) -> bool:
    """Does `path` begin with `pattern`, up to the end of a part? `*` stands for any letters. Never goes back far."""
    first, *rest = pattern.split("*")
    if not path.startswith(first):
        return False
    at = len(first)
    if not rest:
        return at == len(path) or path[at] == "/"
    for piece in rest[:-1]:
        found = path.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    last = rest[-1]
    while last:
        at = path.find(last, at)
        if at < 0:
            return False
        end = at + len(last)
        if end == len(path) or path[end] == "/":
            return True
        at += 1
    return True
