"""The settings of traces. Pure."""

from __future__ import annotations

from typing import Annotated

from byway.config.notes import MaskedStruct, Note


class TracingSettings(MaskedStruct, frozen=True, kw_only=True):
    """Traces of requests for a collector of OpenTelemetry."""

    enabled: Annotated[bool, Note("`true`: requests to models are traced. Needs the extra `otel`.")] = False
    endpoint: Annotated[
        str, Note("The URL to which traces are sent by OTLP over HTTP.", format="url", variables=True)
    ] = "http://127.0.0.1:4318/v1/traces"
    headers: Annotated[
        dict[str, str],
        Note("Headers for the collector. Values can contain `${NAME}`.", format="header", variables=True),
    ] = {}  # noqa: RUF012 - msgspec copies it
    sample_ratio: Annotated[
        float, Note("The share of requests that are traced when the client does not decide it.", minimum=0, maximum=1)
    ] = 1.0
    missing: Annotated[
        tuple[str, ...], Note("Environment variables that are not set: nothing is traced.", internal=True)
    ] = ()
