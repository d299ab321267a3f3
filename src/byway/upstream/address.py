"""The address of a backend: its URL, the proxy to reach it, the TLS settings. No connection is opened here."""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import re
import ssl
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from byway.config import TlsSettings
from byway.config.validators import URL_QUERY
from byway.problems import Problem

_PORTS: Final = {"http": 80, "https": 443}


class UpstreamAddress:
    """A URL, parsed once, so that the checked address is the one that is connected to. Raises Problem `internal`."""

    def __init__(self, url: str) -> None:
        self.unix: str | None = None
        self.secure = False
        self.host, self.port, self.base = "localhost", 80, ""
        self.query = ""
        """The query that each call gets, without its question mark."""
        if url.startswith("unix:"):
            self.unix = "/" + url.removeprefix("unix:").lstrip("/")
            self.authority, self.shown = "localhost", f"unix:{self.unix}"
            return
        try:
            parts, self.host, self.port = _split(url)
        except ValueError as error:
            raise Problem("internal", f"The url of a backend {error}.") from None
        if parts.username is not None or parts.password is not None:
            raise Problem("internal", "The url of a backend must not contain a user name. Set `api_key` or a header.")
        if (parts.query and not URL_QUERY.fullmatch(parts.query)) or parts.fragment:
            raise Problem("internal", "The url of a backend must not contain ? or #. Set headers.")
        self.query = parts.query
        self.secure = parts.scheme == "https"
        self.base = parts.path.rstrip("/")
        self.shown = f"{_bracketed(self.host)}:{self.port}"
        self.authority = _bracketed(self.host) if self.port == _PORTS[parts.scheme] else self.shown

    @property
    def loopback(self) -> bool:
        """True for this machine, without a name server."""
        if self.unix or self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        number = _number(self.host)
        return number is not None and number.is_loopback


class ProxyAddress:
    """A proxy, `http://[user:password@]host:port`. Raises ValueError with a message that follows the name of the setting."""

    def __init__(self, text: str) -> None:
        # Environment variables often have the form `proxy.example.org:3128`.
        parts, self.host, self.port = _split(text if "://" in text else f"http://{text}")
        self.secure = parts.scheme == "https"
        self.shown = f"{_bracketed(self.host)}:{self.port}"
        self.credential = ""
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self.credential = f"proxy-authorization: Basic {base64.b64encode(pair.encode()).decode()}\r\n"


def proxy_for(address: UpstreamAddress, setting: str | None, environ: Mapping[str, str]) -> ProxyAddress | None:
    """The proxy for `address`: the setting, else HTTP(S)_PROXY of `environ` unless NO_PROXY lists the address.

    The setting "" or "none" disables proxies. The environment is not used for this machine. Raises ValueError.
    """
    if address.unix or setting in ("", "none"):
        return None
    if setting is not None:
        return _named("`backends[].proxy`", setting)
    if address.loopback:
        return None
    for name in ("https_proxy", "all_proxy") if address.secure else ("http_proxy", "all_proxy"):
        for spelled in (name, name.upper()):
            if text := environ.get(spelled, "").strip():
                no_proxy = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
                return None if _listed(address, no_proxy) else _named(spelled, text)
    return None


def tls_context(tls: TlsSettings, extra_cas: Sequence[str] = ()) -> ssl.SSLContext:
    """The TLS context for the settings. Raises Problem when one of their files cannot be used.

    `extra_cas` are files of certificates that are trusted too, where they can be read.
    """
    field = "ca"
    try:
        made = ssl.create_default_context(cafile=tls.ca)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        made.set_alpn_protocols(["http/1.1"])
        for file in extra_cas:
            with contextlib.suppress(OSError):
                made.load_verify_locations(file)
        if tls.cert:
            field = "cert"
            # Without a password argument OpenSSL prompts at the terminal, which would block the whole gateway.
            made.load_cert_chain(tls.cert, tls.key, password="")
    except OSError as error:
        raise Problem(
            "unreachable",
            f"The file in `backends[].tls.{field}` cannot be used ({error.strerror or 'it is not PEM'}). "
            "It must be a PEM file that Byway can read, and a key must have no password.",
        ) from None
    if not tls.verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made


#: Ends of names that only a local network resolves: RFC 6762, RFC 8375, and ICANN's reserved `internal`.
_LOCAL_NAMES: Final = (".local", ".localhost", ".lan", ".home.arpa", ".internal")


def is_self_hosted(url: str) -> bool:
    """Whether the address is this machine or a private network: loopback, a private IP address, a unix socket, a local name."""
    if url.startswith("unix:"):
        return True
    try:
        host = (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return False
    number = _number(host)
    if number is not None:
        number = getattr(number, "ipv4_mapped", None) or number
        # 100.64.0.0/10 is not global either: VPNs such as Tailscale use it.
        # Python counts ::1 as reserved.
        return number.is_loopback or (not number.is_global and not number.is_multicast and not number.is_reserved)
    return bool(host) and ("." not in host or host.endswith(_LOCAL_NAMES))


def _split(text: str) -> tuple[SplitResult, str, int]:
    """The parts, host and port of an http or https URL; raises ValueError with the reason."""
    text = text.strip()
    if not re.fullmatch(r"[!-~]+", text) or "\\" in text:
        raise ValueError("contains a character that is not allowed in a URL")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("has an invalid host or port") from None
    if parts.scheme not in _PORTS or not host or port == 0:
        raise ValueError("must begin with http:// or https:// and a host")
    return parts, host, port or _PORTS[parts.scheme]


def _named(name: str, text: str) -> ProxyAddress:
    try:
        return ProxyAddress(text)
    except ValueError as error:
        raise ValueError(f"{name} {error}; it must be an HTTP proxy such as http://proxy.example.org:3128") from None


def _listed(address: UpstreamAddress, no_proxy: str) -> bool:
    """Whether NO_PROXY lists `address`. Entries: `*`, a domain with its subdomains, an IP address, a network; port optional."""
    number = _number(address.host)
    for entry in no_proxy.lower().replace(",", " ").split():
        if entry == "*":
            return True
        name, _, port = entry.rpartition(":")
        if name and port.isdigit() and (":" not in name or name.endswith("]")):
            if int(port) != address.port:
                continue
            entry = name
        entry = entry.strip("[]").removeprefix("*").removeprefix(".")
        if number is None:
            if entry and (address.host == entry or address.host.endswith(f".{entry}")):
                return True
            continue
        try:
            if number in ipaddress.ip_network(entry, strict=False):
                return True
        except ValueError:
            continue
    return False


def _number(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _bracketed(host: str) -> str:
    return f"[{host.partition('%')[0]}]" if ":" in host else host
