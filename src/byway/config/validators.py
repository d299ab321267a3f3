"""Parsers for the text of single settings: durations, addresses, URLs, headers. Pure.

Each raises ValueError with a message for a person. The message never contains the text, which may be a secret.
"""

from __future__ import annotations

import datetime
import ipaddress
import math
import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

from byway import domains, urls

#: Headers with the credential of a caller.
CALLER_CREDENTIALS: Final = frozenset(("authorization", "x-api-key", "proxy-authorization", "cookie"))
#: Request headers that hold a credential: those, and the header of Byway's own key.
_CREDENTIAL_HEADERS: Final = CALLER_CREDENTIALS | {"x-byway-key"}
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*(ms|s|m|h|d)")
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

#: The only query that a base URL may have: that of Azure's older API. Another one could hold a secret.
URL_QUERY: Final = re.compile(r"api-version=[\w.-]{1,40}")

#: Headers that belong to a connection and its framing: https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1
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
#: Link-local networks, in which cloud machines get their credentials: 169.254.169.254, fd00:ec2::254.
_LINK: Final = tuple(ipaddress.ip_network(network) for network in ("169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128"))


def duration(text: str) -> float:
    """Parse `30s`, `1h30m`, `500ms`, or a plain number of seconds; return seconds."""
    text = text.strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text):
        return float(text)
    parts = _DURATION.findall(text)
    if not parts or re.sub(r"\s+", "", _DURATION.sub("", text)):
        raise ValueError("expected a duration such as 30s, 500ms, 1h30m, or a number of seconds")
    return math.fsum(float(number) * _UNITS[unit] for number, unit in parts)


def size(text: str) -> int:
    """Parse `500MiB`, `10 GB`, or a plain number of bytes; return bytes."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*([KMGT]?)(I?)B?|(\d{1,18})", text.strip().upper())
    if match is None or (match[3] and not match[2]):
        raise ValueError("expected a size such as 500MiB, 10GB, or a number of bytes")
    if match[4]:
        return int(match[4])
    power = " KMGT".index(match[2] or " ")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** power)


def size_text(count: int) -> str | int:
    """Bytes in the form that `size` parses to exactly them: `500MiB`, `10GB`, else the number."""
    units = [
        (base**power, f"{' KMGT'[power]}{infix}B") for base, infix in ((1024, "i"), (1000, "")) for power in range(1, 5)
    ]
    exact = [(count // unit, name) for unit, name in units if count and count % unit == 0]
    number, name = min(exact, default=(count, ""))
    return f"{number}{name}" if name and number < 10**9 else count


def octal(text: str) -> int:
    """Parse permissions such as `0660`, `660` or `0o660`."""
    digits = re.fullmatch(r"(?:0o)?([0-7]{1,6})", text.strip())
    if digits is None:
        raise ValueError("expected permissions in octal, such as 0660")
    return int(digits[1], 8)


def moment(text: str) -> datetime.datetime:
    """Parse a time in ISO 8601. It is UTC when it has no zone."""
    try:
        time = datetime.datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError("expected a date and time such as 2027-12-31T23:59:59Z") from None
    return time if time.tzinfo else time.replace(tzinfo=datetime.UTC)


def network(text: str) -> str:
    """Parse an IP address or a network; return it in canonical form."""
    try:
        network = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValueError("expected an IP address or a network such as 10.0.0.0/8") from None
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def host(text: str) -> str:
    """Parse an IP address, a network or a host name; return it in canonical form."""
    try:
        return network(text)
    except ValueError:
        pass
    try:
        return urls.host(text.strip())
    except ValueError:
        raise ValueError("expected an IP address, a network such as 10.0.0.0/8, or the name of a host") from None


def origin(text: str) -> str:
    """Parse scheme, host and port of a URL, such as `https://byway.example.org`; return them in canonical form.

    An empty text is none.
    """
    if not text.strip():
        return ""
    try:
        url = urls.parse(text.strip())
    except ValueError as error:
        raise ValueError(f"the URL {error}") from None
    if url.target != "/" or "#" in text:
        raise ValueError("only scheme, host and port belong here; the path is `server.root_path`")
    return url.origin


def email_domain(text: str) -> str:
    """Parse the domain of email addresses; return it in canonical form."""
    try:
        return host(text)
    except ValueError:
        raise ValueError("expected a domain such as example.org, without @") from None


def domain(text: str) -> str:
    """Check a domain, optionally with the start of a path, as `domains` defines it."""
    text = text.strip()
    try:
        domains.parse_domain(text)
    except ValueError as error:
        raise ValueError(f"this {error}") from None
    return text


def address(text: str) -> str:
    """Check an address to listen on. `listen` returns its parts."""
    listen(text)
    return text.strip()


def listen(text: str) -> tuple[str, int] | str:
    """Return the parts of a `bind_address`: host and port, or the path of a unix socket."""
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
    """Check a name for logs and headers."""
    if not re.fullmatch(r"[!-.0-~](?:[ -.0-~]{0,98}[!-.0-~])?", text):
        raise ValueError("a name is 1 to 100 printable ASCII characters, without a slash")
    return text


def prefix(text: str) -> str:
    """Parse the path of a URL. The result starts with a slash and does not end with one; it is empty for the root."""
    text = text.strip().rstrip("/")
    if text and not re.fullmatch(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)+", text):
        raise ValueError("expected a path that starts with a slash, such as /byway")
    return text


def secret(text: str) -> str:
    """Parse a secret; blanks and line ends around it are removed."""
    text = text.strip()
    if not re.fullmatch("[!-~]*", text):
        raise ValueError("it contains a blank, a line break or a non-ASCII character")
    return text


def strategy(text: str) -> str:
    """Parse a selection strategy in any spelling; return the reference router's. An unknown one is returned unchanged."""
    plain = re.sub(r"[\s_-]", "", text).lower()
    names = ("RoundRobin", "WeightedRoundRobin", "LeastLatency")
    return next((name for name in names if name.lower() == plain), text)


def header_name(text: str) -> str:
    """Check the name of a header for backends."""
    if not _TOKEN.fullmatch(text):
        raise ValueError("a key here is not a header name (letters, digits and -)")
    if text.lower() in HOP_BY_HOP:
        raise ValueError("this header belongs to the connection and is set by Byway")
    return text


def tag_header(text: str) -> str:
    """Check the name of the request header that holds a tag. Tags are stored and shown, so it must not hold a credential."""
    try:
        name = header_name(text.strip()).lower()
    except ValueError:
        raise ValueError(
            "expected the name of a header that clients can send (letters, digits and -), such as x-team"
        ) from None
    if name in _CREDENTIAL_HEADERS:
        raise ValueError(f"{name} holds a credential, and tags are stored. Use a header of its own, such as x-team")
    return name


def header(text: str) -> str:
    """Parse the value of a header."""
    text = text.strip()
    if not re.fullmatch(r"[\t -~]*", text):
        raise ValueError("expected ASCII text on one line")
    return text


def proxy(text: str) -> str:
    """Parse the URL of a proxy: `http://host:port`, optionally with user name and password."""
    parts = _split(text)
    if parts.scheme not in ("http", "https"):
        raise ValueError("expected an HTTP proxy such as http://proxy.example.org:3128")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("the URL of a proxy has only a host and a port, no path")
    return text.strip().rstrip("/")


def url(text: str) -> tuple[str, tuple[str, ...]]:
    """Parse the base URL of a backend; return it without `/v1` or a slash at its end, and warnings about it."""
    text = text.strip()
    if text.startswith("unix:"):
        path = "/" + text.removeprefix("unix:").lstrip("/")
        if path == "/" or not path.isprintable():
            raise ValueError("expected a path after unix:, such as unix:/run/vllm.sock")
        return f"unix:{path}", ()
    parts = _split(text)
    if parts.scheme not in ("http", "https"):
        raise ValueError("expected a URL that starts with http:// or https://, or unix:/path")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL must not contain a user name or password; use api_key or headers")
    query = f"?{parts.query}" if URL_QUERY.fullmatch(parts.query) else ""
    if (parts.query and not query) or parts.fragment or text.endswith(("?", "#")):
        raise ValueError("a base URL must not contain ? or #; use headers to send more to the server")
    if not re.fullmatch(r"[!-~]*", parts.path):
        raise ValueError("the URL contains a character that is not allowed")
    warnings = []
    path = parts.path.rstrip("/")
    for tail in ("/chat/completions", "/v1/messages", "/completions"):
        if path.endswith(tail):
            warnings.append(f"{tail} is ignored: a base URL ends before it")
            path = path.removesuffix(tail).rstrip("/")
            break
    path = path.removesuffix("/v1").rstrip("/")
    ip = _literal(parts.hostname or "")
    if ip is not None and any(ip in network for network in _LINK):
        warnings.append(
            "this address is link-local: cloud machines get their credentials there. Check that it is a model server"
        )
    return f"{parts.scheme}://{parts.netloc}{path}{query}", tuple(warnings)


def local(text: str) -> bool:
    """Is a checked URL certain to be on this machine or in a private network? A name other than localhost is not."""
    if text.startswith("unix:"):
        return True
    host = urlsplit(text).hostname or ""
    ip = _literal(host)
    return host == "localhost" if ip is None else any(ip in network for network in _PRIVATE)


def loopback(text: str) -> bool:
    """Is a checked URL of this machine?"""
    host = urlsplit(text).hostname or ""
    ip = _literal(host)
    return host == "localhost" if ip is None else ip.is_loopback


def _split(text: str) -> SplitResult:
    text = text.strip()
    if not re.fullmatch(r"[!-~]*", text) or "\\" in text:
        raise ValueError("the URL contains a blank or another character that is not allowed")
    try:
        parts = urlsplit(text)
        port, host = parts.port, parts.hostname
    except ValueError:
        raise ValueError("the host or the port of the URL is not valid") from None
    if parts.scheme in ("http", "https") and (not host or port == 0 or not (_literal(host) or _hostlike(host))):
        raise ValueError("the host or the port of the URL is not valid")
    return parts


def _literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        ip = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return (ip.ipv4_mapped or ip) if isinstance(ip, ipaddress.IPv6Address) else ip


def _hostlike(host: str) -> bool:
    """Is it a host name or a dotted IPv4 address? Other spellings of an address are not: `2130706433`, `0x7f.1`, `127.1`."""
    if not re.fullmatch(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9_.])?", host) or ".." in host:
        return False
    last = host.rstrip(".").rpartition(".")[2]
    return _literal(host) is not None or not re.fullmatch(r"\d+|0[xX][0-9a-fA-F]*", last)
