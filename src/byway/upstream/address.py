"""Where a backend is and which way leads there: its URL, the proxy, TLS. No connection is made here."""

from __future__ import annotations

import base64
import ipaddress
import re
import ssl
from collections.abc import Mapping
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from byway.config import TlsSettings
from byway.problems import Problem

_PORTS: Final = {"http": 80, "https": 443}


class UpstreamAddress:
    """A URL, parsed once: what is checked is what is connected to. Raises Problem `internal` for anything odd."""

    def __init__(self, url: str) -> None:
        self.unix: str | None = None
        self.secure = False
        self.host, self.port, self.base = "localhost", 80, ""
        if url.startswith("unix:"):
            self.unix = "/" + url.removeprefix("unix:").lstrip("/")
            self.authority, self.shown = "localhost", f"unix:{self.unix}"
            return
        try:
            parts, self.host, self.port = _split(url)
        except ValueError as error:
            raise Problem("internal", f"A backend's url {error}.") from None
        if parts.username is not None or parts.password is not None:
            raise Problem("internal", "A backend's url must not hold a user name; give it as `api_key` or a header.")
        if parts.query or parts.fragment:
            raise Problem("internal", "A backend's url has no ? or #; give such things as headers.")
        self.secure = parts.scheme == "https"
        self.base = parts.path.rstrip("/")
        self.shown = f"{_bracketed(self.host)}:{self.port}"
        self.authority = _bracketed(self.host) if self.port == _PORTS[parts.scheme] else self.shown

    @property
    def loopback(self) -> bool:
        """It is this machine, whatever a name server says."""
        if self.unix or self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        number = _number(self.host)
        return number is not None and number.is_loopback


class ProxyAddress:
    """`http://[user:password@]host:port`. Raises ValueError with words that follow the setting's name."""

    def __init__(self, text: str) -> None:
        # Environments often say `proxy.example.org:3128`.
        parts, self.host, self.port = _split(text if "://" in text else f"http://{text}")
        self.secure = parts.scheme == "https"
        self.shown = f"{_bracketed(self.host)}:{self.port}"
        self.credential = ""
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self.credential = f"proxy-authorization: Basic {base64.b64encode(pair.encode()).decode()}\r\n"


def proxy_for(address: UpstreamAddress, setting: str | None, environ: Mapping[str, str]) -> ProxyAddress | None:
    """The proxy that leads to `address`: the setting, else HTTP(S)_PROXY of `environ` unless NO_PROXY names it.

    "" or "none" as the setting is no proxy at all. The environment's is never used for this machine. Raises ValueError.
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
                unwanted = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
                return None if _listed(address, unwanted) else _named(spelled, text)
    return None


def tls_context(tls: TlsSettings) -> ssl.SSLContext:
    """What our side of TLS insists on. Raises Problem when a file that the settings name cannot be used."""
    field = "ca"
    try:
        made = ssl.create_default_context(cafile=tls.ca)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        made.set_alpn_protocols(["http/1.1"])
        if tls.cert:
            field = "cert"
            # Without a password OpenSSL would ask for one at the terminal, and the whole gateway would wait.
            made.load_cert_chain(tls.cert, tls.key, password="")
    except OSError as error:
        raise Problem(
            "unreachable",
            f"The file that `backends[].tls.{field}` names cannot be used ({error.strerror or 'it is not PEM'}). "
            "It must be PEM, readable for Byway, and a key must have no password.",
        ) from None
    if not tls.verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made


def _split(text: str) -> tuple[SplitResult, str, int]:
    """The parts, host and port of an http or https URL; raises ValueError with what is wrong."""
    text = text.strip()
    if not re.fullmatch(r"[!-~]+", text) or "\\" in text:
        raise ValueError("holds a character that does not belong into a URL")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("has a host or port that cannot be read") from None
    if parts.scheme not in _PORTS or not host or port == 0:
        raise ValueError("must begin with http:// or https:// and a host")
    return parts, host, port or _PORTS[parts.scheme]


def _named(name: str, text: str) -> ProxyAddress:
    try:
        return ProxyAddress(text)
    except ValueError as error:
        raise ValueError(f"{name} {error}; it must be an HTTP proxy such as http://proxy.example.org:3128") from None


def _listed(address: UpstreamAddress, unwanted: str) -> bool:
    """Does NO_PROXY name `address`? Entries: `*`, a domain with all below it, an address, a network, some with a port."""
    number = _number(address.host)
    for entry in unwanted.lower().replace(",", " ").split():
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
