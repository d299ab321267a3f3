"""The state of one running Byway: its runtime, store, last requests, exchanges in progress and admin services."""

from __future__ import annotations

import asyncio
import logging
from functools import cached_property
from typing import TYPE_CHECKING

from byway import runtime as runtimes
from byway.admin.requests import RecentRequests
from byway.config import (
    Config,
    FileSettings,
    MetricsSettings,
    ResponseSettings,
    TelemetrySettings,
    TracingSettings,
    UsageSettings,
)
from byway.inspector.recording import Recordings
from byway.largebodies import LargeBodies
from byway.logs import log
from byway.metrics.counts import RequestMetrics
from byway.pipeline.guarding import BlockedAnswers
from byway.pipeline.watch import Exchanges
from byway.problems import Problem
from byway.runtime import Runtime
from byway.signin.telemetry import ForwardingCounts
from byway.store import StoreError, StoreProtocol
from byway.usage.recorder import UsageRecorder
from byway.usage.writer import Retention

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    # Parts that an idle Byway does not need, or whose packages are optional. Their code is loaded with their first use.
    from byway.admin.readiness import ReadinessTests
    from byway.admin.replay import Send
    from byway.admin.services import AdminServices
    from byway.admin.telemetry import TelemetryCollector
    from byway.batches.worker import BatchWorker
    from byway.files.service import FileService
    from byway.history import MetricsHistory
    from byway.limits.limiter import Limiter
    from byway.mcp.calls import McpCalls
    from byway.store.responses import ResponseStore
    from byway.tls.serving import ServedCertificate
    from byway.tracing.tracer import RequestTracer


class Gateway:
    """State of the process that outlives a request. `runtime` is swapped whole on a reload; a request keeps its own."""

    def __init__(self, runtime: Runtime, store: StoreProtocol | None = None) -> None:
        self.runtime = runtime
        self.store = store
        self.recorder: UsageRecorder | None = None
        """Records usage; None without a data folder."""
        self.usage: UsageRecorder | None = None
        """`recorder` while `usage.enabled`."""
        self.file_service: FileService | None = None
        """The files of clients; None without a data folder."""
        self.files: FileService | None = None
        """`file_service` while `files.enabled`."""
        self.response_store: ResponseStore | None = None
        """The answers that clients of the Responses API continue; None without a data folder."""
        self.responses: ResponseStore | None = None
        """`response_store` while `responses.store`."""
        self.admin: AdminServices | None = None
        """Services of the settings page and the admin API; None without a data folder."""
        self.batches: BatchWorker | None = None
        """Answers the requests of batches; None without a data folder, and when their database cannot be opened."""
        self.batches_problem = ""
        """Why the database of batches cannot be opened."""
        self.open_parts: Callable[[], Awaitable[None]] | None = None
        """Opens what only requests beyond the first routes use. The application calls it once, when it has loaded their code."""
        self.readiness: ReadinessTests | None = None
        """Tests models; None without a data folder."""
        self.certificate: ServedCertificate | None = None
        """The certificate of the TCP listeners; None when they serve plain http."""
        self.started_config = runtime.config
        """The config at process start. Settings that differ from it may need a restart."""
        self.requests = RecentRequests()
        self.recordings = Recordings()
        """The accounts that record their requests, and what was recorded."""
        self.replay: Send | None = None
        """Sends a recorded request again; None where the application does not do that."""
        self.metrics: RequestMetrics | None = None
        """Counts for Prometheus; None while `metrics.enabled` is false."""
        self.set_metrics(runtime.config.metrics)
        self.tracer: RequestTracer | None = None
        """Sends traces; None while tracing is disabled. `set_tracing` makes it."""
        self.history: MetricsHistory | None = None
        """The history of metrics; None without a data folder, and when its database cannot be opened."""
        self.history_problem = ""
        """Why that database cannot be opened."""
        self.count_connections: Callable[[], int] = int
        """Returns the number of open connections of clients. The server sets it."""
        self.forwarding = ForwardingCounts()
        self.collector: TelemetryCollector | None = None
        """Gets the telemetry of clients; None while it is only counted."""
        self.collector = self._collector_of(runtime.config.telemetry)
        self.exchanges = Exchanges()
        self.large_bodies = LargeBodies()
        self.blocked_answers = BlockedAnswers()
        """Conversations whose answers a guardrail has blocked."""
        self.config_problem: str | None = None
        """Why the config file was rejected; None while it is valid."""
        self.draining = False
        """Byway is stopping: new requests are refused with 503 and `/readyz` reports it."""

    @cached_property
    def mcp_calls(self) -> McpCalls:
        """Calls of the MCP server's tools."""
        from byway.mcp.calls import McpCalls

        return McpCalls()

    @property
    def services(self) -> AdminServices:
        """The admin services. Raises Problem `not_found` when this process has no data folder."""
        if self.admin is None:
            raise Problem("not_found", "This Byway has no settings page: it runs without a data folder.")
        return self.admin

    @property
    def batch_worker(self) -> BatchWorker:
        """The worker of batches. Raises Problem `not_found` when batches are disabled."""
        if self.batches_problem:
            raise Problem("internal", f"Batches are not available: {self.batches_problem}")
        if self.batches is None or not self.runtime.config.batches.enabled:
            raise Problem(
                "not_found", "This Byway has no batches: `batches.enabled` is false, or it has no data folder."
            )
        return self.batches

    @property
    def readiness_tests(self) -> ReadinessTests:
        """The tests of models. Raises Problem `not_found` when this process has no data folder."""
        if self.readiness is None:
            raise Problem("not_found", "This Byway has no readiness tests: it runs without a data folder.")
        return self.readiness

    def set_usage(self, settings: UsageSettings) -> None:
        """Apply the settings of usage records."""
        recorder = self.recorder
        self.usage = recorder if settings.enabled else None
        if recorder is not None:
            recorder.tag_header = (settings.tag_header or "").encode()
            recorder.retention = Retention(settings.keep_records, settings.keep_sums)

    def set_files(self, settings: FileSettings) -> None:
        """Apply the settings of uploaded files."""
        self.files = self.file_service if settings.enabled else None
        if self.file_service is not None:
            self.file_service.settings = settings

    async def set_responses(self, settings: ResponseSettings) -> None:
        """Apply the settings of stored responses. While they are disabled, none is kept."""
        self.responses = self.response_store if settings.store else None
        if self.response_store is not None and not settings.store:
            try:
                await asyncio.to_thread(self.response_store.clear)
            except StoreError as error:
                log("The stored responses cannot be removed", logging.ERROR, problem=str(error))

    def set_metrics(self, settings: MetricsSettings) -> None:
        """Apply the settings of metrics. What was counted stays while they are enabled."""
        if not settings.enabled:
            self.metrics = None
            return
        if self.metrics is None:
            self.metrics = RequestMetrics(settings.cardinality_limit.max_unique_label_values)
        self.metrics.most = settings.cardinality_limit.max_unique_label_values

    async def set_telemetry(self, settings: TelemetrySettings) -> None:
        """Apply the settings of telemetry."""
        before, self.collector = self.collector, self._collector_of(settings)
        if before is not None and before is not self.collector:
            await before.close()

    def _collector_of(self, settings: TelemetrySettings) -> TelemetryCollector | None:
        """The collector of these settings, which may be the present one; None without one."""
        if self.collector is not None and self.collector.settings == settings:
            return self.collector
        if not settings.forward or settings.missing:
            return None
        from byway.admin.telemetry import TelemetryCollector

        return TelemetryCollector(settings, self.forwarding)

    async def set_tracing(self, settings: TracingSettings) -> None:
        """Apply the settings of traces. What waits is still sent to the earlier collector."""
        before = self.tracer
        if before is not None and settings == before.settings:
            return
        self.tracer = None
        if settings.enabled and not settings.missing:
            # Its packages are of the extra `otel` and slow to import.
            self.tracer = await asyncio.to_thread(_make_tracer, settings)
        if before is not None:
            await asyncio.to_thread(before.stop)

    async def load_spending(self, limiter: Limiter | None) -> None:
        """Read what was spent before, if a budget needs it."""
        if limiter is not None and limiter.has_budgets:
            from byway.admin.limits import load_spending

            await load_spending(limiter, self.usage, None if self.store is None else self.store.usage)

    async def reload(self, config: Config) -> None:
        """Replace the runtime by one for `config`. Requests in progress keep the runtime they started with."""
        self.set_usage(config.usage)
        self.set_files(config.files)
        await self.set_responses(config.responses)
        self.set_metrics(config.metrics)
        await self.set_tracing(config.tracing)
        after = await runtimes.swap(self.runtime, config, lambda runtime: self.load_spending(runtime.limiter))
        if after.stored is not self.runtime.stored:
            # The keys changed while the new runtime was made.
            after.take_keys(self.runtime.stored)
        self.runtime = after
        self.config_problem = None
        await self.set_telemetry(config.telemetry)


def _make_tracer(settings: TracingSettings) -> RequestTracer:
    from byway.tracing.tracer import RequestTracer

    return RequestTracer(settings)
