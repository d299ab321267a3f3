"""Parses http and https URLs strictly into one normalized form, which is compared, checked and connected to. Pure.

The base URLs of backends are parsed by `upstream/address.py`; `web/guard.py` decides which addresses are permitted.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NamedTuple
from urllib.parse import quote, urljoin

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_URL: Final = re.compile(r"(?i)(https?)://([^/?#]*)([^?#]*)(\?[^#]*)?(?:#.*)?")
_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMERIC: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
#: IDNA 2003 and 2008 map these to different names (https://www.unicode.org/reports/tr46/#Deviations, seen 2026-11-21).
_AMBIGUOUS: Final = frozenset("ßςẞ\u200c\u200d")
_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
#: Other characters that stay unescaped in a path and a query.
_SAFE: Final = "/?:@!$&'()*+,;=~%[]|^"
#: Characters of a host name with its dots (RFC 1035).
_MAX_HOST: Final = 253


class Url(NamedTuple):
    """A normalized http or https URL. `str` gives its text."""

    scheme: str
    host: str
    """Lower-case ASCII without a final dot; an IPv6 address without its brackets."""
    port: int
    path: str
    """Starts with a slash and has no `.` and `..` segments."""
    query: str
    """With its question mark; empty when there is none."""

    @property
    def number(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """The host as an IP address; None for a name."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None

    @property
    def origin(self) -> str:
        """Scheme, host and port: `https://example.com`, `http://[2001:db8::1]:8080`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + (f":{self.port}" if self.port != _DEFAULT_PORTS[self.scheme] else "")

    @property
    def target(self) -> str:
        """Path and query, as a request line has them."""
        return self.path + self.query

    def __str__(self) -> str:
        return self.origin + self.target


def parse(text: str) -> Url:
    """Parse an absolute URL; its fragment is dropped. Raises ValueError with a message that continues "the URL"."""
    if any(character <= " " or character == "\x7f" for character in text) or not text.isprintable():
        raise ValueError("contains a space or a control character")
    if "\\" in text:
        raise ValueError("contains a backslash, which programs interpret in different ways")
    match = _URL.fullmatch(text)
    if match is None:
        raise ValueError("must start with http:// or https://")
    scheme = match[1].lower()
    authority = match[2]
    if "@" in authority:
        raise ValueError("contains a user name or password, which Byway never sends")
    name, colon, port = authority.rpartition(":")
    if not colon or authority.endswith("]"):
        name, port = authority, ""
    if port and not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        raise ValueError("has an invalid port")
    return Url(scheme, host(name), int(port or _DEFAULT_PORTS[scheme]), _path(match[3]), _normalized(match[4] or ""))


def join(base: Url, reference: str) -> Url:
    """Resolve `reference` (of a redirect, for example) against `base`, as strictly as `parse`. Raises ValueError."""
    if any(character <= " " for character in reference) or "\\" in reference:
        raise ValueError("contains a space, a control character or a backslash")
    return parse(urljoin(str(base), reference))


def host(text: str) -> str:
    """Normalize a host name or address. Raises ValueError.

    Rejected: other spellings of IPv4 addresses (`2130706433`, `0x7f.1`, `127.1`), zones, and percent signs.
    """
    if text.startswith("[") and text.endswith("]"):
        try:
            if "%" in text:
                raise ValueError
            return ipaddress.IPv6Address(text[1:-1]).compressed
        except ValueError:
            raise ValueError("has an invalid IPv6 address") from None
    if "%" in text:
        raise ValueError("has a percent sign in its host")
    if len(text) > _MAX_HOST + 1:
        raise ValueError("has an invalid host name")
    if not text.isascii():
        if _AMBIGUOUS & set(text):
            raise ValueError("has a host name that programs interpret in different ways: write it as xn--…")
        try:
            text = text.encode("idna").decode("ascii")
        except UnicodeError:
            raise ValueError("has an invalid host name") from None
    text = text.lower().removesuffix(".")
    labels = text.split(".")
    if len(text) > _MAX_HOST or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("has an invalid host name" if text else "has no host")
    if _NUMERIC.fullmatch(labels[-1]):
        try:
            return str(ipaddress.IPv4Address(text))
        except ValueError:
            raise ValueError("has an IPv4 address that is not four decimal numbers") from None
    return text


def _path(text: str) -> str:
    """The path without `.` and `..` segments (RFC 3986 section 5.2.4)."""
    segments = _normalized(text).split("/")[1:] or [""]
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def _normalized(text: str) -> str:
    """Percent-escapes in one spelling, and none where none is needed (RFC 3986 section 6.2.2)."""

    def unescaped(match: re.Match[str]) -> str:
        character = chr(int(match[1], 16))
        return character if character in _UNRESERVED else match[0].upper()

    return quote(_ESCAPE.sub(unescaped, text), safe=_SAFE)


def is_loopback(url: Url) -> bool:
    """Is it an address of this machine, without a name server?"""
    number = url.number
    return number.is_loopback if number is not None else url.host == "localhost" or url.host.endswith(".localhost")
