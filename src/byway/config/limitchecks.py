"""Checks of `limits` and `rate_limiting`: which values fit together, and with the backends. Pure."""

from __future__ import annotations

from typing import Any, Final, cast

from byway.config.document import Node
from byway.config.limits import LimitSettings
from byway.config.settings import ProblemSink
from byway.display import listing

#: The settings of which a limit needs one.
AMOUNTS: Final = (
    "requests_per_minute",
    "tokens_per_minute",
    "input_tokens_per_minute",
    "output_tokens_per_minute",
    "concurrency",
    "budget",
)
_REDIS: Final = (
    "Byway keeps the counts in memory; redis is not supported. Set storage: memory. The counts are those of one process, and "
    "start again with it"
)


def check_limit(reader: ProblemSink, values: dict[str, Any], node: Node, path: str) -> None:
    """Report a limit without a subject or an amount, and one that cannot be counted."""
    fields = cast("dict[str, Node]", node.value)
    written = {name for name, field in fields.items() if not field.null}
    if "for" not in written:
        subjects = "key, account, group, organization, model, backend, address or global"
        reader.error(f"{path}.for", node.line, f"required: {subjects}")
    if not written.intersection(AMOUNTS):
        reader.error(path, node.line, f"the limit has no amount; set one of {', '.join(AMOUNTS)}")
    if values.get("subject") == "address" and "budget" in values:
        message = "an address cannot have a budget, because Byway stores no addresses. Use a limit for key or account"
        reader.error(f"{path}.budget", fields["budget"].line, message)
    if values.get("name") == "":
        reader.error(f"{path}.name", fields["name"].line, "is empty, and no name is. Remove it to limit each name")
    if values.get("subject") == "global" and values.get("name", "*") != "*":
        message = "a limit for global has no name, because it counts all requests together. Remove name"
        reader.error(f"{path}.name", fields["name"].line, message)


def check_limited_backends(reader: ProblemSink, values: dict[str, Any], node: Node | None) -> None:
    """Warn about limits for a backend that does not exist: a name with a typing error limits nothing."""
    names = [backend.name for backend in values["backends"]]
    for at, limit in enumerate(values.get("limits", ())):
        if not isinstance(limit, LimitSettings) or limit.subject != "backend" or set(limit.name) & set("*?["):
            continue
        if limit.name not in names:
            line = cast("list[Node]", cast("Node", node).value)[at].line
            message = f"no backend has the name {limit.name!r}, so this limit has no effect. The backends are {listing(names)}"
            reader.warn(f"limits.{at}.name", line, message)


def check_bucket(reader: ProblemSink, values: dict[str, Any], node: Node, path: str) -> None:
    """Warn about a token bucket that has no effect."""
    rate = cast("dict[str, Node]", node.value).get("requests_per_second")
    is_rejected = rate is not None and not rate.null and "requests_per_second" not in values
    if values.get("burst_capacity") and not values.get("requests_per_second") and not is_rejected:
        message = "is missing or 0, so this bucket limits nothing"
        reader.warn(f"{path}.requests_per_second", node.line, message)


def check_rate_limiting(reader: ProblemSink, values: dict[str, Any], node: Node, path: str) -> None:
    """Report a storage that does not exist here."""
    if values.get("enabled") and values.get("storage") == "redis":
        reader.error(f"{path}.storage", cast("dict[str, Node]", node.value)["storage"].line, _REDIS)
