"""Checks before an endpoint runs; `App` calls them in order, with `routes.authorize` last. Each raises Problem or returns.

Host and Origin keep web pages of other sites out (DNS rebinding, cross-site requests); the rest is `server.tcp`, the route's
scope and shutdown. Names that passed are remembered per runtime, so that a check costs one lookup per request.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

from byway import urls
from byway.config import ServerSettings
from byway.problems import Problem
from byway.routes.context import RequestContext

_LOOPBACK_NAMES: Final = frozenset(("localhost", "127.0.0.1", "[::1]"))
#: Names by which containers reach this machine. No other site can have one: `.internal` is reserved for private use
#: (https://www.icann.org/en/board-activities-and-meetings/materials/approved-resolutions-special-meeting-of-the-icann-board-
#: 29-07-2024-en, seen 2026-11-30).
_CONTAINER_NAMES: Final = frozenset(("host.docker.internal", "host.containers.internal"))
#: A name or an address in brackets, and an optional port.
_HOST: Final = re.compile(r"(\[[0-9a-f:.%]+\]|[^\s\[\]:/@]+)(?::\d*)?")
_TCP_OFF: Final = (
    "The API is disabled over TCP (`server.tcp: false`); it is served at the unix socket in Byway's data folder. Enable it in "
    "the settings page, under Keys."
)
#: Accepted values of `Host` that are remembered.
_REMEMBERED: Final = 256


class HostNames:
    """Which values of `Host` this server accepts. `wide`: it listens beyond loopback, so any IP address is accepted."""

    def __init__(self, wide: bool) -> None:
        self._wide = wide
        self._accepted: set[bytes] = set()
        self._settings: ServerSettings | None = None
        self._allowed: frozenset[str] = frozenset()

    def check(self, context: RequestContext, settings: ServerSettings) -> None:
        """Reject unknown host names: another site's name may resolve to this machine (DNS rebinding)."""
        host = context.headers.get(b"host", b"")
        if settings is not self._settings:
            # A reload may have changed the names.
            self._settings, self._allowed = settings, _names(settings)
            self._accepted.clear()
        if host in self._accepted or _is_unix(context):
            # No web page can reach a unix socket.
            return
        if self._accepts(host_name(host.decode("latin-1"))):
            if len(self._accepted) < _REMEMBERED:
                self._accepted.add(host)
            return
        if b"host" not in context.headers:
            # RFC 9112 section 3.2. The connection closes after it.
            raise Problem("invalid_request", "The request has no Host header. Send one.")
        if b"," in host:
            raise Problem("invalid_request", "The request has more than one Host header. Send one.")
        raise Problem(
            "misdirected",
            "Unknown host name in the Host header. Use 127.0.0.1 or localhost, or add the name to `server.allowed_hosts`; behind "
            "a reverse proxy, set `server.public_url`.",
        )

    def _accepts(self, name: str) -> bool:
        if name in _LOOPBACK_NAMES or name in _CONTAINER_NAMES or name.endswith(".localhost"):
            return True
        return name in self._allowed or (self._wide and _is_address(name))


def _names(settings: ServerSettings) -> frozenset[str]:
    """The host names of the settings, as `host_name` returns them."""
    names = {allowed.lower() for allowed in settings.allowed_hosts}
    if settings.public_url:
        host = urls.parse(settings.public_url).host
        names.add(f"[{host}]" if ":" in host else host)
    return frozenset(names)


def check_origin(context: RequestContext) -> None:
    """Reject web pages of other sites: a browser names them in `Origin`, whatever else it sends."""
    origin = context.headers.get(b"origin")
    if origin is None:
        return
    text = origin.decode("latin-1").lower()
    try:
        parts = urlsplit(text)
    except ValueError:
        parts = urlsplit("")
    settings = context.runtime.config.server
    if text in (allowed.lower().rstrip("/") for allowed in settings.allowed_origins):
        context.origin = origin
    elif text == settings.public_url:
        # Byway's own page behind a proxy that replaces Host.
        return
    elif parts.scheme not in ("http", "https") or parts.netloc != context.header(b"host").lower():
        raise Problem(
            "permission",
            "Web pages of other sites may not use this Byway. To allow this one, add its origin to `server.allowed_origins`.",
        )


def check_transport(context: RequestContext) -> None:
    """With `server.tcp: false`, reject TCP clients, but for the settings page on this machine."""
    if context.runtime.config.server.tcp or _is_unix(context):
        return
    route = context.route
    is_api = route is not None and (route.scope in ("read", "write", "files", "tools") or route.envelope == "oauth")
    if not _is_local(context) or is_api:
        raise Problem("permission", _TCP_OFF)


def check_draining(context: RequestContext) -> None:
    """Refuse new work while Byway stops."""
    if context.gateway.draining and context.scope["method"] == "POST":
        raise Problem("stopping", "Byway is stopping. Send the request again in a moment.", retry_after=5)


def host_name(host: str) -> str:
    """The name in a `Host` header in lower case, without its port; "" when it is malformed."""
    match = _HOST.fullmatch(host.strip().lower())
    return match[1] if match else ""


def _is_unix(context: RequestContext) -> bool:
    server = context.scope.get("server")
    return server is not None and server[1] is None


def _is_local(context: RequestContext) -> bool:
    client = context.scope.get("client")
    try:
        return client is not None and ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
