"""Checks of `local_only`: every server that Byway uses is on this machine or in a private network. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, cast

from byway.config import validators
from byway.config.document import Node
from byway.config.settings import BackendSettings, ProblemSink

_NOT_LOCAL: Final = "local_only is set, and {} is not certain to be on this machine or in a private network"
_USE_PRIVATE_URL: Final = "Use the URL of a collector with a private address"


class _Server(NamedTuple):
    """A server that is no backend."""

    path: str
    """The setting that names it, or switches it on."""
    url: str | None
    name: str
    """What a message calls it."""
    action: str = ""


def check_local_backend(reader: ProblemSink, backend: BackendSettings, node: Node, path: str) -> None:
    """Report a backend, or its proxy, that may be outside of the private network."""
    for field, address in (("url", backend.url), ("proxy", backend.proxy)):
        if address is not None and not validators.local(address):
            line = cast("dict[str, Node]", node.value).get(field, node).line
            action = "Use a private IP address, localhost or unix:/path; a name can resolve to any address"
            reader.error(f"{path}.{field}", line, f"{_NOT_LOCAL.format('this')}. {action}")


def check_local_servers(reader: ProblemSink, values: Mapping[str, Any], fields: Mapping[str, Node]) -> None:
    """Report the other servers of a config that may be outside of the private network."""
    for server in _servers(values):
        if not validators.local(server.url or ""):
            line = fields[server.path.partition(".")[0]].line
            message = _NOT_LOCAL.format(server.name) + (f". {server.action}" if server.action else "")
            reader.error(server.path, line, message)


def _servers(values: Mapping[str, Any]) -> Iterator[_Server]:
    """The servers that are in use. A section that was rejected is missing in `values`."""
    if (search := values.get("web_search")) is not None and search.enabled:
        for provider in search.providers:
            yield _Server("web_search.enabled", provider.base_url, f"the provider {provider.provider}")
    if (oidc := values.get("oidc")) is not None:
        yield _Server("oidc.issuer", oidc.issuer, "this provider")
    if (files := values.get("files")) is not None and files.enabled and files.storage == "s3":
        action = "Use `storage: disk`, or the URL of a storage with a private address"
        yield _Server("files.s3.url", files.s3.url, "this storage", action)
    if (telemetry := values.get("telemetry")) is not None and telemetry.forward:
        yield _Server("telemetry.forward", telemetry.forward, "this collector", _USE_PRIVATE_URL)
    if (tracing := values.get("tracing")) is not None and tracing.enabled:
        yield _Server("tracing.endpoint", tracing.endpoint, "this collector", _USE_PRIVATE_URL)
