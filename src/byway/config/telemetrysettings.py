"""The section `telemetry`: where the telemetry of clients is forwarded. Pure."""

from __future__ import annotations

from typing import Annotated

from byway.config.notes import MaskedStruct, Note


class TelemetrySettings(MaskedStruct, frozen=True, kw_only=True):
    """Telemetry that clients send to Byway."""

    forward: Annotated[
        str | None,
        Note(
            "Base URL of a collector (OTLP over HTTP) that gets metrics and logs, such as `http://127.0.0.1:4318`. Default: they "
            "are counted and dropped.",
            format="url",
            variables=True,
        ),
    ] = None
    headers: Annotated[
        dict[str, str],
        Note("Headers for the collector. Values can contain `${NAME}`.", format="header", variables=True),
    ] = {}  # noqa: RUF012 - msgspec copies it
    missing: Annotated[
        tuple[str, ...], Note("Environment variables that are not set: nothing is forwarded.", internal=True)
    ] = ()
