"""Settings of the reference router that Byway accepts and does not implement yet."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from byway.config.notes import MaskedStruct, Note


class RateLimitSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A token bucket."""

    requests_per_second: Annotated[float, Note("Rate at which the bucket fills.")] = 0
    burst_capacity: Annotated[int, Note("Capacity of the bucket.")] = 0


class RateLimitBuckets(msgspec.Struct, frozen=True, kw_only=True):
    """Token buckets of clients, backends, keys and models."""

    per_client: Annotated[RateLimitSettings | None, Note("For each client.")] = None
    per_backend: Annotated[RateLimitSettings | None, Note("For each backend.")] = None
    per_api_key: Annotated[RateLimitSettings | None, Note("For each key.")] = None
    per_model: Annotated[RateLimitSettings | None, Note("For each model.")] = None
    all: Annotated[RateLimitSettings | None, Note("For all requests together.")] = msgspec.field(
        default=None, name="global"
    )


class RateLimitingSettings(MaskedStruct, frozen=True, kw_only=True):
    """Limits on the rate of requests."""

    enabled: Annotated[bool, Note("Enables it.")] = False
    storage: Annotated[Literal["memory", "redis"], Note("Where the counters are kept.")] = "memory"
    limits: Annotated[RateLimitBuckets, Note("The token buckets.")] = RateLimitBuckets()
    whitelist: Annotated[tuple[str, ...], Note("Addresses and networks without limits.", format="cidr")] = ()
    bypass_keys: Annotated[tuple[str, ...], Note("Keys without limits.", format="secret", variables=True)] = ()
    use_rightmost_xff: Annotated[bool, Note("Use the rightmost address of `X-Forwarded-For`.")] = True


class AdminAuthSettings(MaskedStruct, frozen=True, kw_only=True):
    """Authentication of administrators."""

    method: Annotated[Literal["none", "bearer_token", "basic", "api_key"], Note("The path that is requested.")] = "none"
    token: Annotated[str | None, Note("For `bearer_token`.", format="secret", variables=True)] = None
    username: Annotated[str | None, Note("For `basic`.")] = None
    password: Annotated[str | None, Note("For `basic`.", format="secret", variables=True)] = None
    api_key: Annotated[str | None, Note("For `api_key`.", format="secret", variables=True)] = None


class AdminSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The administration API of the reference router."""

    auth: Annotated[AdminAuthSettings, Note("Authentication of administrators.")] = AdminAuthSettings()


class CardinalitySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Limits on the number of time series."""

    max_labels_per_metric: Annotated[int, Note("Label sets per metric.")] = 100
    max_unique_label_values: Annotated[int, Note("Values per label.")] = 1000


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
    """Metrics that are kept over a restart."""

    enabled: Annotated[bool, Note("Enables it.")] = False
    backend: Annotated[str, Note("Where they are stored.")] = "sqlite"
    path: Annotated[str, Note("The file.")] = "./data/metrics.db"
    snapshot_interval_seconds: Annotated[int, Note("Time between two snapshots.", minimum=1)] = 60
    retention_days: Annotated[int, Note("How long they are kept.", minimum=1)] = 15
    compaction: Annotated[CompactionSettings, Note("Compaction of old snapshots.")] = CompactionSettings()


class MetricsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Metrics for Prometheus."""

    enabled: Annotated[bool, Note("Enables them.")] = True
    endpoint: Annotated[str, Note("Their path.", format="prefix")] = "/metrics"
    cardinality_limit: Annotated[CardinalitySettings, Note("Limits on their number.")] = CardinalitySettings()
    optional_metrics: Annotated[OptionalMetricsSettings, Note("Metrics with a cost.")] = OptionalMetricsSettings()
    persistence: Annotated[PersistenceSettings, Note("Metrics that are kept over a restart.")] = PersistenceSettings()


class PromptSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A system prompt for some requests."""

    prompt: Annotated[str | None, Note("The text.")] = None
    prompt_file: Annotated[str | None, Note("File with the text. It takes precedence over `prompt`.", file=True)] = None
    merge_strategy: Annotated[
        Literal["prepend", "append", "replace"] | None, Note("How it is combined with the client's prompt.")
    ] = None


class GlobalPromptSettings(msgspec.Struct, frozen=True, kw_only=True):
    """System prompts that the operator adds."""

    default: Annotated[str | None, Note("The text for every request.")] = None
    default_file: Annotated[str | None, Note("File with that text.", file=True)] = None
    prompts_dir: Annotated[str | None, Note("Folder of the files.", file=True)] = None
    merge_strategy: Annotated[
        Literal["prepend", "append", "replace"], Note("How it is combined with the client's prompt.")
    ] = "prepend"
    separator: Annotated[str, Note("Text between the two.")] = "\n\n---\n\n"
    backends: Annotated[dict[str, PromptSettings], Note("By backend.")] = {}
    models: Annotated[dict[str, PromptSettings], Note("By model.")] = {}


class StdioSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Transport over standard input and output."""

    enabled: Annotated[bool, Note("Enables it.")] = True


class TransportSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Transports for editors."""

    stdio: Annotated[StdioSettings, Note("Standard input and output.")] = StdioSettings()


class CapabilitySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Capabilities that editors see."""

    load_session: Annotated[bool, Note("Sessions can be resumed.")] = True
    mcp: Annotated[bool, Note("MCP servers can be used.")] = True


class PermissionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Actions that need no confirmation."""

    default_policy: Annotated[str, Note("For all other actions.")] = "ask_always"
    auto_allow: Annotated[tuple[str, ...], Note("Actions without confirmation.")] = ()
    always_ask: Annotated[tuple[str, ...], Note("Actions that always need confirmation.")] = ()


class SessionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Active sessions."""

    max_concurrent: Annotated[int, Note("Number of sessions at once.", minimum=1)] = 10
    idle_timeout: Annotated[float, Note("Idle time after which a session ends.", format="duration")] = 3600.0
    storage: Annotated[str, Note("Where they are kept.")] = "memory"


class AcpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The Agent Client Protocol, for editors."""

    enabled: Annotated[bool, Note("Enables it.")] = False
    transport: Annotated[TransportSettings, Note("Transports for editors.")] = TransportSettings()
    capabilities: Annotated[CapabilitySettings, Note("Capabilities that editors see.")] = CapabilitySettings()
    default_model: Annotated[str | None, Note("Model for editors that name none.")] = None
    permissions: Annotated[PermissionSettings, Note("Actions that need no confirmation.")] = PermissionSettings()
    sessions: Annotated[SessionSettings, Note("Active sessions.")] = SessionSettings()


class GuardrailSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Checks of requests and responses."""

    enabled: Annotated[bool, Note("Enables them.")] = False
