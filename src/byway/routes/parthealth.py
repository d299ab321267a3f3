"""The health of the parts of a running Byway, from its state. It queries nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from byway.gateway import Gateway

PartState = Literal["ready", "error", "disabled"]


class PartHealth(Struct, frozen=True):
    """The health of one part of Byway."""

    name: str
    state: str
    """`ready`, `error` or `disabled`; of a backend also `unknown`, `loading`, `asleep` and `failed`."""
    message: str
    """Why it is in that state; empty when it is ready."""


def health_of_parts(gateway: Gateway) -> Iterator[PartHealth]:
    """The health of the parts of Byway that are no backends."""
    yield _part("config", True, gateway.config_problem or "")
    yield _part("usage", gateway.usage is not None, gateway.usage.status.problem if gateway.usage else "")
    batches = gateway.batches_problem or (gateway.batches.problem if gateway.batches else "")
    enabled = gateway.runtime.config.batches.enabled and (gateway.batches is not None or bool(batches))
    yield _part("batches", enabled, batches)
    yield _part("files", gateway.files is not None, gateway.files.problem if gateway.files else "")
    history = gateway.history
    enabled = history.enabled if history else bool(gateway.history_problem)
    yield _part("metrics history", enabled, history.problem if history else gateway.history_problem)


def _part(name: str, enabled: bool, problem: str) -> PartHealth:
    state: PartState = "disabled" if not enabled else "error" if problem else "ready"
    return PartHealth(name, state, problem if enabled else "")
