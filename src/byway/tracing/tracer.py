"""RequestTracer: sends a span of each request to a model to a collector, by the packages of the extra `otel`.

Spans are made after the answer. They wait in a bounded queue, and a thread of OpenTelemetry's SDK sends them: a collector that
is slow or gone costs requests nothing. Names of attributes:
https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans (seen 2026-11-30).
"""

from __future__ import annotations

import time
from typing import Final

import requests
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from byway import __version__
from byway.config import TracingSettings
from byway.logs import log_exception
from byway.tracing.request import TracedRequest

#: Spans that wait to be sent. Further ones are dropped.
_QUEUE: Final = 2048
_BATCH: Final = 256
#: Milliseconds between two sends.
_INTERVAL: Final = 2_000.0
#: Seconds that the collector gets to answer.
_TIMEOUT: Final = 5.0
#: Milliseconds that the last spans get when Byway stops.
_STOP: Final = 3_000
#: The length of a `traceparent` of version 00.
_TRACEPARENT: Final = 55


class RequestTracer:
    """Makes spans and sends them in a thread of its own, until `stop`."""

    def __init__(self, settings: TracingSettings) -> None:
        self.settings = settings
        session = requests.Session()
        # No proxy and no credentials from the environment; a redirect would send the headers elsewhere.
        session.trust_env = False
        session.max_redirects = 0
        exporter = OTLPSpanExporter(
            endpoint=settings.endpoint,
            headers=settings.headers,
            timeout=_TIMEOUT,
            compression=Compression.NoCompression,
            session=session,
        )
        self._processor = BatchSpanProcessor(
            exporter,
            max_queue_size=_QUEUE,
            schedule_delay_millis=_INTERVAL,
            max_export_batch_size=_BATCH,
            export_timeout_millis=_TIMEOUT * 1_000,
        )
        provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(settings.sample_ratio)),
            resource=Resource({"service.name": "byway", "service.version": __version__}),
            shutdown_on_exit=False,
        )
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer("byway", __version__)
        self._propagator = TraceContextTextMapPropagator()

    def add(self, request: TracedRequest) -> None:
        """Put the span of a request that has just ended into the queue. Raises nothing."""
        try:
            self._add(request)
        except Exception:
            log_exception("Tracing a request failed unexpectedly. Please report this bug.")

    def _add(self, request: TracedRequest) -> None:
        parent = Context()
        if len(request.traceparent) == _TRACEPARENT:
            header = {"traceparent": request.traceparent.decode("latin-1")}
            parent = self._propagator.extract(header, context=parent)
        end = time.time_ns()
        span = self._tracer.start_span(
            request.name,
            context=parent,
            kind=SpanKind.SERVER,
            attributes={name: value for name, value in request.attributes.items() if value != ""},
            start_time=end - int(request.seconds * 1_000_000_000),
        )
        if request.error:
            span.set_attribute("error.type", request.error)
            span.set_status(Status(StatusCode.ERROR))
        span.end(end)

    def stop(self) -> None:
        """Send what waits, for a few seconds at most. Called in a thread."""
        self._processor._batch_processor.shutdown(_STOP)
