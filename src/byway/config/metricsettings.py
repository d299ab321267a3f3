"""The settings of metrics. Pure."""

from __future__ import annotations

from typing import Annotated

import msgspec

from byway.config.notes import Note


class CardinalitySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Limits on the number of metrics."""

    max_labels_per_metric: Annotated[int, Note("Label sets per metric.", implemented=False)] = 100
    max_unique_label_values: Annotated[
        int,
        Note(
            "Different models, backends and statuses that are counted. Further ones are `other`.",
            minimum=1,
            maximum=100_000,
        ),
    ] = 1000


class OptionalMetricsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Metrics with a cost."""

    enable_request_body_size: Annotated[bool, Note("Sizes of request bodies.")] = False
    enable_response_body_size: Annotated[bool, Note("Sizes of response bodies.")] = False
    enable_detailed_errors: Annotated[bool, Note("Errors by kind.")] = True


class CompactionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Compaction of old snapshots."""

    enabled: Annotated[bool, Note("Enables it.")] = True
    schedule: Annotated[str, Note("Schedule in cron syntax.")] = "0 3 * * *"


class PersistenceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The history of metrics in the data folder."""

    enabled: Annotated[bool, Note("`false`: no history is kept. What is stored stays until it is too old.")] = True
    backend: Annotated[str, Note("Where it is stored.", implemented=False)] = "sqlite"
    path: Annotated[str, Note("The file. Byway keeps it in its data folder.", implemented=False)] = "./data/metrics.db"
    snapshot_interval_seconds: Annotated[
        int, Note("Seconds between two points of the history.", minimum=10, maximum=86_400)
    ] = 60
    retention_days: Annotated[int, Note("Days for which the history is kept.", minimum=1, maximum=3_650)] = 15
    compaction: Annotated[CompactionSettings, Note("Compaction of old snapshots.", implemented=False)] = (
        CompactionSettings()
    )


class MetricsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Metrics for Prometheus."""

    enabled: Annotated[bool, Note("`true`: requests are counted, and `/metrics` is served.")] = False
    endpoint: Annotated[
        str, Note("Their path. Byway serves them at `/metrics` only.", format="prefix", implemented=False)
    ] = "/metrics"
    cardinality_limit: Annotated[CardinalitySettings, Note("Limits on their number.")] = CardinalitySettings()
    optional_metrics: Annotated[OptionalMetricsSettings, Note("Metrics with a cost.", implemented=False)] = (
        OptionalMetricsSettings()
    )
    persistence: Annotated[PersistenceSettings, Note("The history of metrics in the data folder.")] = (
        PersistenceSettings()
    )
