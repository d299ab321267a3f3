"""What a section `tracing` of the config needs to work. Pure."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Final

from byway.config.document import Node
from byway.config.settings import ProblemSink

EXTRA_MISSING: Final = (
    "traces need the OpenTelemetry packages, which are not installed. Install the extra `otel`: "
    "pip install --no-deps --require-hashes -r requirements/otel.txt"
)


def check_tracing(reader: ProblemSink, values: dict[str, Any], node: Node, path: str) -> None:
    """Report that the packages for traces, or variables of the environment, are missing."""
    if not values.get("enabled"):
        return
    reader.disabled(values, "tracing")
    if not _installed():
        reader.error(f"{path}.enabled", node.line, EXTRA_MISSING)


def _installed() -> bool:
    try:
        return all(find_spec(name) for name in ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"))
    except ImportError:
        return False
