"""How the text of a setting is read: durations, addresses, URLs, headers. What settings mean together is not here.

Each function raises ValueError with words for a person, which never hold the text itself: it may be a secret.
"""

from __future__ import annotations

import datetime
import ipaddress
import math
import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

from byway import domains, urls

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*(ms|s|m|h|d)")
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

#: Headers of one connection, and those that make its framing: https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1
HOP_BY_HOP: Final = frozenset(
    (
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)

_PRIVATE: Final = tuple(
    ipaddress.ip_network(network)
    for network in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")
)
#: Where cloud machines hand out their own credentials, and the rest of the link: 169.254.169.254, fd00:ec2::254.
_LINK: Final = tuple(ipaddress.ip_network(network) for network in ("169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128"))


def duration(text: str) -> float:
    """Seconds of `30s`, `1h30m`, `500ms`, or a plain number of seconds."""
    text = text.strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text):
        return float(text)
    parts = _DURATION.findall(text)
    if not parts or re.sub(r"\s+", "", _DURATION.sub("", text)):
        raise ValueError("expected a duration such as 30s, 500ms, 1h30m, or a number of seconds")
    return math.fsum(float(number) * _UNITS[unit] for number, unit in parts)


def octal(text: str) -> int:
    """The permissions of `0660`, `660` or `0o660`."""
    digits = re.fullmatch(r"(?:0o)?([0-7]{1,6})", text.strip())
    if digits is None:
        raise ValueError("expected permissions in octal, such as 0660")
    return int(digits[1], 8)


def moment(text: str) -> datetime.datetime:
    """A point in time in ISO 8601, with UTC where it names no zone."""
    try:
        found = datetime.datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError("expected a date and time such as 2027-12-31T23:59:59Z") from None
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


def network(text: str) -> str:
    """An address or a network, in its usual writing."""
    try:
        found = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValueError("expected an IP address or a network such as 10.0.0.0/8") from None
    return str(found.network_address) if found.num_addresses == 1 else str(found)


def host(text: str) -> str:
    """An address, a network, or the name of a host, in its one form."""
    try:
        return network(text)
    except ValueError:
        pass
    try:
        return urls.host(text.strip())
    except ValueError:
        raise ValueError("expected an IP address, a network such as 10.0.0.0/8, or the name of a host") from None


def domain(text: str) -> str:
    """A domain, perhaps with the beginning of a path, as `domains` reads it."""
    text = text.strip()
    try:
        domains.parse_domain(text)
    except ValueError as error:
        raise ValueError(f"this {error}") from None
    return text


def address(text: str) -> str:
    """Where to listen, checked: see `listen` for its parts."""
    listen(text)
    return text.strip()


def listen(text: str) -> tuple[str, int] | str:
    """The parts of a `bind_address`: host and port, or the path of a unix socket. Raises ValueError."""
    text = text.strip()
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.strip("/") or "\0" in path:
            raise ValueError("expected a path after unix:, such as unix:/run/byway.sock")
        return path
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError("expected host:port with a port up to 65535, such as 127.0.0.1:38080")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError("expected an IPv6 address between the brackets, such as [::1]:38080") from None
    elif ":" in host:
        raise ValueError("an IPv6 address needs brackets, such as [::1]:38080")
    elif host in ("", "*"):
        host = "0.0.0.0"
    elif not _hostlike(host):
        raise ValueError("expected host:port, such as 127.0.0.1:38080")
    return host, int(port)


def name(text: str) -> str:
    """A name for logs and headers."""
    if not re.fullmatch(r"[!-.0-~](?:[ -.0-~]{0,98}[!-.0-~])?", text):
        raise ValueError("a name is 1 to 100 printable ASCII characters, without a slash")
    return text


def prefix(text: str) -> str:
    """A path that begins and does not end with a slash; empty for the root."""
    text = text.strip().rstrip("/")
    if text and not re.fullmatch(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)+", text):
        raise ValueError("expected a path that begins with a slash, such as /byway")
    return text


def secret(text: str) -> str:
    """A secret without the blanks and line ends that copying leaves around it."""
    text = text.strip()
    if not re.fullmatch("[!-~]*", text):
        raise ValueError("there is a blank, a line break or a non-ASCII character in the middle of it")
    return text


def strategy(text: str) -> str:
    """A strategy as the reference writes it, whatever its capitals, dashes and underscores; an unknown one as it is."""
    plain = re.sub(r"[\s_-]", "", text).lower()
    return next((one for one in ("RoundRobin", "WeightedRoundRobin", "LeastLatency") if one.lower() == plain), text)


def header_name(text: str) -> str:
    """The name of a header that a backend may be sent."""
    if not _TOKEN.fullmatch(text):
        raise ValueError("a key here is not a header name (letters, digits and -)")
    if text.lower() in HOP_BY_HOP:
        raise ValueError("belongs to the connection itself; Byway writes it")
    return text


def header(text: str) -> str:
    """The value of a header."""
    text = text.strip()
    if not re.fullmatch(r"[\t -~]*", text):
        raise ValueError("a header's value is ASCII on one line")
    return text


def proxy(text: str) -> str:
    """`http://host:port`, with a user and password where the proxy wants them."""
    parts = _split(text)
    if parts.scheme not in ("http", "https"):
        raise ValueError("expected an HTTP proxy such as http://proxy.example.org:3128")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("a proxy is a host and a port, without a path")
    return text.strip().rstrip("/")


def url(text: str) -> tuple[str, tuple[str, ...]]:
    """A backend's base URL without slash and `/v1` at its end, and what is odd about it. Raises ValueError."""
    text = text.strip()
    if text.startswith("unix:"):
        path = "/" + text.removeprefix("unix:").lstrip("/")
        if path == "/" or not path.isprintable():
            raise ValueError("expected a path after unix:, such as unix:/run/vllm.sock")
        return f"unix:{path}", ()
    parts = _split(text)
    if parts.scheme not in ("http", "https"):
        raise ValueError("expected a URL that begins with http:// or https://, or unix:/path")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a user name or password does not belong into a URL; use api_key or headers")
    if parts.query or parts.fragment or text.endswith(("?", "#")):
        raise ValueError("a base URL has no ? or #; use headers for what the server wants to know")
    if not re.fullmatch(r"[!-~]*", parts.path):
        raise ValueError("there is a character in the URL that does not belong there")
    odd = []
    path = parts.path.rstrip("/")
    for tail in ("/chat/completions", "/v1/messages", "/completions"):
        if path.endswith(tail):
            odd.append(f"{tail} is left out: a base URL ends before it")
            path = path.removesuffix(tail).rstrip("/")
            break
    path = path.removesuffix("/v1").rstrip("/")
    at = _literal(parts.hostname or "")
    if at is not None and any(at in network for network in _LINK):
        odd.append(
            "this address is of the link itself, where clouds hand out credentials; requests go there as you say"
        )
    return f"{parts.scheme}://{parts.netloc}{path}", tuple(odd)


def local(text: str) -> bool:
    """Is a checked URL provably on this machine or a private network? A name other than localhost is not."""
    if text.startswith("unix:"):
        return True
    host = urlsplit(text).hostname or ""
    at = _literal(host)
    return host == "localhost" if at is None else any(at in network for network in _PRIVATE)


def _split(text: str) -> SplitResult:
    text = text.strip()
    if not re.fullmatch(r"[!-~]*", text) or "\\" in text:
        raise ValueError("there is a blank or another character in the URL that does not belong there")
    try:
        parts = urlsplit(text)
        port, host = parts.port, parts.hostname
    except ValueError:
        raise ValueError("the host or port of the URL cannot be read") from None
    if parts.scheme in ("http", "https") and (not host or port == 0 or not (_literal(host) or _hostlike(host))):
        raise ValueError("the host or port of the URL cannot be read")
    return parts


def _literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, ipaddress.IPv6Address) else found


def _hostlike(host: str) -> bool:
    """A name or a dotted IPv4 address. `2130706433`, `0x7f.1` and `127.1` are addresses in disguise, and refused."""
    if not re.fullmatch(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9_.])?", host) or ".." in host:
        return False
    last = host.rstrip(".").rpartition(".")[2]
    return _literal(host) is not None or not re.fullmatch(r"\d+|0[xX][0-9a-fA-F]*", last)
