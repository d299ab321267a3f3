"""A web address as it is checked, compared and connected to: read once, strictly, into one form. No look-up, no network.

What a backend's own `url` may be is `upstream/address.py`'s business; what an address leads to is `web/public.py`'s.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NamedTuple
from urllib.parse import quote, urljoin

_PORTS: Final = {"http": 80, "https": 443}
_WHOLE: Final = re.compile(r"(?i)(https?)://([^/?#]*)([^?#]*)(\?[^#]*)?(?:#.*)?")
_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMERIC: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
#: Old and new IDNA read these as different names (https://www.unicode.org/reports/tr46/#Deviations, seen 2026-11-21).
_TWOFOLD: Final = frozenset("ßςẞ\u200c\u200d")
_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})")
_PLAIN: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
#: What may stand in a path and a query as it is; all else is percent-encoded.
_KEPT: Final = "/?:@!$&'()*+,;=~%[]|^"


class Url(NamedTuple):
    """An http or https address in its one form; `str` of it is what may be compared, shown and asked for."""

    scheme: str
    host: str
    """Lower-case ASCII without a dot at its end; an IPv6 address without its brackets."""
    port: int
    path: str
    """Begins with a slash, has no `.` or `..` in it."""
    query: str
    """With its question mark; empty when there is none."""

    @property
    def number(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """The address that the host is, when it is no name."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None

    @property
    def origin(self) -> str:
        """Scheme, host and port: `https://example.com`, `http://[2001:db8::1]:8080`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + (f":{self.port}" if self.port != _PORTS[self.scheme] else "")

    @property
    def target(self) -> str:
        """What the server is asked for."""
        return self.path + self.query

    def __str__(self) -> str:
        return self.origin + self.target


def parse(text: str) -> Url:
    """Read an absolute address; a fragment is left out. Raises ValueError with words that follow "the URL"."""
    if any(letter <= " " or letter == "\x7f" for letter in text) or not text.isprintable():
        raise ValueError("holds a blank or a control character")
    if "\\" in text:
        raise ValueError("holds a backslash, which programs read in different ways")
    found = _WHOLE.fullmatch(text)
    if found is None:
        raise ValueError("must begin with http:// or https://")
    scheme = found[1].lower()
    authority = found[2]
    if "@" in authority:
        raise ValueError("holds a user name or password, which are never sent")
    name, colon, port = authority.rpartition(":")
    if not colon or authority.endswith("]"):
        name, port = authority, ""
    if port and not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        raise ValueError("has a port that is none")
    query = found[4] or ""
    return Url(scheme, host(name), int(port or _PORTS[scheme]), _path(found[3]), _plain(query))


def join(base: Url, reference: str) -> Url:
    """What `reference` (of a redirect, say) means beside `base`, as strictly as `parse`. Raises ValueError."""
    if any(letter <= " " for letter in reference) or "\\" in reference:
        raise ValueError("holds a blank, a control character or a backslash")
    return parse(urljoin(str(base), reference))


def host(text: str) -> str:
    """The one form of a host's name or address. Raises ValueError: `2130706433`, `0x7f.1` and `127.1` are addresses in
    disguise, and a zone or a percent sign has no place here."""
    if text.startswith("[") and text.endswith("]"):
        try:
            if "%" in text:
                raise ValueError
            return ipaddress.IPv6Address(text[1:-1]).compressed
        except ValueError:
            raise ValueError("has an IPv6 address that cannot be read") from None
    if "%" in text:
        raise ValueError("has a host with a percent sign in it")
    if not text.isascii():
        if _TWOFOLD & set(text):
            raise ValueError("has a name that programs read in different ways: give it as xn--…")
        try:
            text = text.encode("idna").decode("ascii")
        except UnicodeError:
            raise ValueError("has a host that is no name") from None
    text = text.lower().removesuffix(".")
    labels = text.split(".")
    if len(text) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("has a host that is no name" if text else "has no host")
    if _NUMERIC.fullmatch(labels[-1]):
        try:
            return str(ipaddress.IPv4Address(text))
        except ValueError:
            raise ValueError("has an address that is not written as four decimal numbers") from None
    return text


def _path(text: str) -> str:
    """The path without `.` and `..` (RFC 3986 section 5.2.4)."""
    parts = _plain(text).split("/")[1:] or [""]
    kept: list[str] = []
    for part in parts:
        if part == "..":
            del kept[-1:]
        elif part != ".":
            kept.append(part)
    if parts[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def _plain(text: str) -> str:
    """Escapes in one spelling: none where none is needed (RFC 3986 section 6.2.2)."""

    def one(found: re.Match[str]) -> str:
        letter = chr(int(found[1], 16))
        return letter if letter in _PLAIN else found[0].upper()

    return quote(_ESCAPE.sub(one, text), safe=_KEPT)
