"""`POST /v1/metrics`, `/v1/logs`, `/v1/traces`: telemetry (OTLP) of signed-in clients, counted, and dropped or forwarded."""

from __future__ import annotations

from typing import Final

from byway.admin.telemetry import TelemetryExport
from byway.problems import Problem
from byway.routes.context import BASE_PREFIXES, Endpoint, RequestContext, Route
from byway.routes.forms import read_at_most
from byway.signin.telemetry import SIGNALS, Signal

_LIMIT: Final = 8 << 20
_JSON, _PROTOBUF = "application/json", "application/x-protobuf"
_TOO_LARGE: Final = f"Telemetry has at most {_LIMIT >> 20} MiB in one request."


def _receiver(signal: Signal) -> Endpoint:
    async def receive(context: RequestContext) -> None:
        """Count the body, and forward it. The answer is the empty message of OTLP, in the encoding of the request."""
        # Traces can contain prompts: they are never forwarded.
        collector = context.gateway.collector if signal != "traces" else None
        if collector is None:
            # Its content is not read, so it stays compressed.
            context.headers.pop(b"content-encoding", None)
        kind = context.header(b"content-type").partition(";")[0].strip().lower()
        try:
            body = await read_at_most(context, _LIMIT, _TOO_LARGE)
        except Problem:
            context.gateway.forwarding.refused += collector is not None
            raise
        if context.gateway.admin is not None:
            context.gateway.admin.sign_ins.telemetry.add(signal, len(body))
        if collector is not None and kind in (_JSON, _PROTOBUF):
            collector.add(TelemetryExport(signal, kind == _JSON, body))
        elif collector is not None:
            context.gateway.forwarding.refused += 1
        if kind == _PROTOBUF:
            await context.begin(200, [(b"content-type", b"application/x-protobuf"), (b"content-length", b"0")])
            await context.send({"type": "http.response.body", "body": b""})
        else:
            await context.answer(b"{}")

    return receive


ROUTES: Final = tuple(
    Route("POST", f"{prefix}/v1/{signal}", _receiver(signal), "read") for prefix in BASE_PREFIXES for signal in SIGNALS
)
