"""How another machine or a phone reaches this Byway: its URLs, what is missing, and links that log in once."""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlencode

from msgspec import Struct

from byway.access.login import LINK_SECONDS
from byway.admin.addresses import listens_wide
from byway.admin.logins import create_login_code
from byway.admin.services import AdminServices
from byway.config import Config, listen
from byway.tls.names import served_names

#: URLs that are listed.
_MOST_URLS: Final = 8
#: Programs and systems in the description of a browser, the more specific first.
_BROWSERS: Final = (
    ("Edg", "Edge"),
    ("OPR", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Firefox", "Firefox"),
    ("FxiOS", "Firefox"),
    ("HeadlessChrome", "Chrome"),
    ("CriOS", "Chrome"),
    ("Chrome", "Chrome"),
    ("Safari", "Safari"),
    ("curl", "curl"),
)
_SYSTEMS: Final = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


class RemoteAccess(Struct, frozen=True):
    """How other machines reach this Byway."""

    reachable: bool
    """Other machines can connect: it listens beyond loopback, or `server.public_url` is set."""
    urls: tuple[str, ...]
    """The best first."""
    encrypted: bool
    """The first URL is https."""
    tunnel: str
    """An SSH command for another machine, which needs no setting here; empty without a TCP address."""


class LoginLink(Struct, frozen=True):
    """A link that logs a browser in once."""

    url: str
    account: str
    """The account; empty for the owner of this Byway."""
    seconds: int


def remote_access(services: AdminServices, config: Config, *, encrypted: bool) -> RemoteAccess:
    """The URLs for other machines. It may block for a moment: it resolves the name of this machine."""
    scheme = "https" if encrypted else "http"
    places = [place for place in map(listen, services.addresses) if not isinstance(place, str)]
    port = places[0][1] if places else 0
    urls = [config.server.public_url] if config.server.public_url else []
    wide = listens_wide(services.addresses)
    if wide:
        names = served_names(config.server, [host for host, _ in places])
        own = [address for address in names.addresses if not _is_loopback(address)]
        # An IPv4 address is the easiest to type, and a name in `.local` survives a change of it.
        own.sort(key=lambda address: ":" in address)
        hosts = [f"[{address}]" if ":" in address else address for address in own]
        hosts += [name for name in config.server.allowed_hosts if "*" not in name]
        urls += [f"{scheme}://{host}:{port}{config.server.root_path}" for host in hosts]
    urls = list(dict.fromkeys(urls))[:_MOST_URLS]
    tunnel = f"ssh -L {port}:127.0.0.1:{port} USER@THIS-MACHINE" if port and services.base else ""
    return RemoteAccess(bool(urls), tuple(urls), bool(urls) and urls[0].startswith("https:"), tunnel)


def create_login_link(services: AdminServices, base: str, account: str, who: str) -> LoginLink:
    """A link that logs in once, within 15 minutes: as the owner, or as an account. Raises LookupError, ValueError."""
    if account:
        made = create_login_code(services.store, account, who)
        return LoginLink(f"{base}/login?{urlencode({'code': made.code})}", account, LINK_SECONDS)
    return LoginLink(f"{base}/login?{urlencode({'token': services.logins.link()})}", "", LINK_SECONDS)


def browser_name(agent: str) -> str:
    """A browser in a few words: `Firefox on Linux`; the beginning of the text for an unknown one."""
    browser = next((name for mark, name in _BROWSERS if re.search(rf"\b{mark}(?:/|\b)", agent)), "")
    system = next((name for mark, name in _SYSTEMS if mark in agent), "")
    if not browser:
        return agent[:60] or "unknown browser"
    return f"{browser} on {system}" if system else browser


def usable_base(access: RemoteAccess, wanted: str) -> str:
    """The URL of a link: the wanted one when it is among those of this Byway, else the best."""
    return wanted if wanted in access.urls else next(iter(access.urls), "")


def _is_loopback(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    return parsed.is_loopback or parsed.is_link_local
