"""The settings: one struct for each section of `byway.yaml`, with what reader and documentation know of each field.

Names and meanings are the reference router's (https://docs.continuum.lablup.ai/en/configuration/, seen 2026-11-20), so
that its `config.yaml` works as it is; what it has and Byway does not yet is typed and marked `built=False`.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

import msgspec

from byway.backends.vendors import VENDORS
from byway.providers.registry import ProviderName
from byway.scopes import DEFAULT_SCOPES, Scope
from byway.secrets.names import mask

Format = Literal[
    "",
    "address",
    "cidr",
    "domain",
    "duration",
    "header",
    "host",
    "models",
    "moment",
    "name",
    "octal",
    "prefix",
    "proxy",
    "secret",
    "strategy",
    "url",
]


class Note(msgspec.Struct, frozen=True):
    """What `load` and the documentation know of a setting beyond its type and default."""

    description: str
    format: Format = ""
    """How the text of it is read and checked."""
    minimum: float = 0
    maximum: float = 1_000_000_000
    implemented: bool = True
    """False: the reference has it, Byway reads it and says that it has no effect yet."""
    restart: bool = False
    """It takes effect at the next start only."""
    internal: bool = False
    """Not a setting: `load` works it out."""


def notes(struct: type[msgspec.Struct]) -> dict[str, Note]:
    """The Note of each field of a settings struct, by field name, in order."""
    found = _NOTES.get(struct)
    if found is None:
        found = {}
        for field in msgspec.structs.fields(struct):
            for extra in getattr(field.type, "__metadata__", ()):
                if isinstance(extra, Note):
                    found[field.name] = extra
        _NOTES[struct] = found
    return found


_NOTES: Final[dict[Any, dict[str, Note]]] = {}


class MaskedStruct(msgspec.Struct, frozen=True, kw_only=True):
    """A struct whose `repr` masks its secrets, so that no log line or traceback can carry one."""

    def __repr__(self) -> str:
        def show(field: str, value: object) -> str:
            note = notes(type(self)).get(field)
            if value and note and note.format in ("secret", "proxy"):
                return repr(mask(value)) if isinstance(value, str) else "'***'"
            if value and note and note.format == "header" and isinstance(value, dict):
                return repr(dict.fromkeys(value, "***"))
            return repr(value)

        fields = ", ".join(f"{name}={show(name, getattr(self, name))}" for name in self.__struct_fields__)
        return f"{type(self).__name__}({fields})"


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how Byway listens."""

    bind_address: Annotated[
        tuple[str, ...],
        Note(
            "`host:port`, `[v6]:port`, `unix:/path`, or a list. Wider than loopback needs keys or `--insecure`.",
            format="address",
            restart=True,
        ),
    ] = ("127.0.0.1:38080",)
    socket_mode: Annotated[
        int | None, Note("Permissions of unix sockets, octal: `0660`.", format="octal", maximum=0o777, restart=True)
    ] = None
    tcp: Annotated[
        bool,
        Note(
            "`false`: over TCP only the settings page answers, and clients come by the unix socket in the data folder."
        ),
    ] = True
    workers: Annotated[int, Note("How many processes serve. 0 and 1: one.", maximum=256, restart=True)] = 1
    connection_pool_size: Annotated[int, Note("Idle connections kept per backend.", minimum=1, maximum=10_000)] = 100
    allowed_hosts: Annotated[
        tuple[str, ...], Note("Names that clients may use for Byway in `Host`, beside addresses and `localhost`.")
    ] = ()
    allowed_origins: Annotated[tuple[str, ...], Note("Web pages that may call Byway: `https://chat.example.org`.")] = ()
    root_path: Annotated[
        str, Note("The path under which a reverse proxy shows Byway: `/byway`.", format="prefix", restart=True)
    ] = ""
    trusted_proxies: Annotated[
        tuple[str, ...], Note("Addresses or networks whose `X-Forwarded-*` headers count.", format="cidr")
    ] = ()


def masked(value: Any, note: Note | None = None) -> Any:
    """Settings as plain values that may be shown: lists, mappings, and texts without what is secret."""
    if isinstance(value, msgspec.Struct):
        kinds = notes(type(value))
        return {
            field.encode_name: masked(getattr(value, field.name), kinds.get(field.name))
            for field in msgspec.structs.fields(value)
            if not (field.name in kinds and kinds[field.name].internal)
        }
    if note is not None and value and note.format in ("secret", "proxy"):
        return mask(value) if isinstance(value, str) else "***"
    if isinstance(value, Mapping):
        hidden = note is not None and note.format == "header"
        return {str(key): "***" if hidden else masked(internal) for key, internal in value.items()}
    if isinstance(value, list | tuple):
        return [masked(internal) for internal in value]
    return str(value) if isinstance(value, datetime.datetime) else value


class TlsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a backend's certificate is checked, and what we show it."""

    ca: Annotated[str | None, Note("File with the certificates of your own authority, PEM.")] = None
    cert: Annotated[str | None, Note("File with our client certificate, PEM.")] = None
    key: Annotated[str | None, Note("File with the key of `cert`, PEM; not needed when `cert` holds both.")] = None
    verify: Annotated[bool, Note("`false` accepts any certificate: for tests only.")] = True


#: What the built-in weights are called.
BUILTIN_MODEL: Final = "smollm2-135m-instruct"
#: Settings of a backend that only say how Byway runs a model itself.
BUILTIN_ONLY: Final = ("path", "window", "gpu_layers", "threads", "idle_unload")


class BackendSettings(MaskedStruct, frozen=True, kw_only=True):
    """A configured upstream."""

    name: Annotated[str, Note("What logs and `backend/model` call it. The type when not given.", format="name")] = ""
    type: Annotated[str, Note("The kind of server: see the table of types.")] = "generic"
    url: Annotated[
        str | None,
        Note("Where it is, with or without `/v1`; or `unix:/path`. The type's own place when not given.", format="url"),
    ] = None
    api_key: Annotated[str | None, Note("The secret that it wants of Byway: `${OPENAI_API_KEY}`.", format="secret")] = (
        None
    )
    models: Annotated[
        tuple[str, ...],
        Note(
            "What it serves: names, or `{id: name, window: tokens}`. The backend is asked when not given.",
            format="models",
        ),
    ] = ()
    weight: Annotated[int, Note("Its share under `WeightedRoundRobin`.", minimum=1, maximum=100)] = 1
    max_concurrent: Annotated[
        int, Note("Requests that run at once; a stream counts until its end.", minimum=1, maximum=100_000)
    ] = 1024
    max_queued: Annotated[
        int,
        Note(
            "Requests that wait beyond those, in the order of arrival. Further ones go to the next target of the alias, or "
            "get a 529.",
            minimum=0,
            maximum=100_000,
        ),
    ] = 256
    local: Annotated[
        bool | None,
        Note(
            "Is it self-hosted? Decided by the address when not given: loopback, a private network and a unix socket are. A "
            "self-hosted backend never fails over to a cloud that the alias does not name.",
        ),
    ] = None
    headers: Annotated[
        dict[str, str], Note("Headers sent with every call. Values may be `${NAME}`.", format="header")
    ] = {}
    tls: Annotated[TlsSettings | None, Note("How its certificate is checked, and what we show it.")] = None
    proxy: Annotated[
        str | None, Note("HTTP proxy to reach it by: `http://proxy.example.org:3128`.", format="proxy")
    ] = None
    path: Annotated[
        str | None,
        Note(
            "`builtin` only: the GGUF file that Byway runs, the first one of several parts. A relative one lies beside the "
            "config. The built-in weights when not given."
        ),
    ] = None
    window: Annotated[
        int | None,
        Note(
            "`builtin` only: tokens of context, which cost memory. The model's own when not given, but at most 32768.",
            minimum=128,
        ),
    ] = None
    gpu_layers: Annotated[
        int | None,
        Note("`builtin` only: so many layers go to the GPU. As many as fit when not given."),
    ] = None
    threads: Annotated[
        int | None,
        Note(
            "`builtin` only: threads that compute. As many as there are processors, 8 at most.", minimum=1, maximum=1024
        ),
    ] = None
    idle_unload: Annotated[
        float,
        Note(
            "`builtin` only: unloaded after so long without a request; the next one loads it again. 0: never.",
            format="duration",
        ),
    ] = 0.0
    windows: Annotated[
        dict[str, int], Note("Context windows in tokens that `models` names, by model.", internal=True)
    ] = {}
    missing: Annotated[
        tuple[str, ...], Note("Environment variables that it needs and that are not set.", internal=True)
    ] = ()
    off: Annotated[str, Note("Why it takes no requests; empty when it does.", internal=True)] = ""

    @property
    def managed(self) -> bool:
        """Byway runs this model server itself."""
        return VENDORS[self.type].managed

    @property
    def names(self) -> tuple[str, ...]:
        """What it is known to serve: what `models` says, and for a model that Byway runs itself also without that."""
        if self.models or not self.managed:
            return self.models
        return (self.name,) if self.path else (BUILTIN_MODEL,)


class RateLimitSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A token bucket."""

    requests_per_second: Annotated[float, Note("How fast the bucket fills.")] = 0
    burst_capacity: Annotated[int, Note("How much it holds.")] = 0


class KeySettings(MaskedStruct, frozen=True, kw_only=True):
    """What a client shows to be let in."""

    key: Annotated[str, Note("The key itself: `${TEAM_KEY}`.", format="secret")] = ""
    id: Annotated[str, Note("What logs call it. `name`, else `key-1`, `key-2`, … when not given.", format="name")] = ""
    user_id: Annotated[str | None, Note("Whose it is.")] = None
    organization_id: Annotated[str | None, Note("To whom its owner belongs.")] = None
    name: Annotated[str | None, Note("What people call it.")] = None
    scopes: Annotated[tuple[Scope, ...], Note("What it opens; `admin` opens the settings.")] = DEFAULT_SCOPES
    rate_limit: Annotated[int | RateLimitSettings | None, Note("Requests per minute.", implemented=False)] = None
    enabled: Annotated[bool, Note("`false` turns it away.")] = True
    expires_at: Annotated[
        datetime.datetime | None,
        Note("When it ends: `2027-12-31T23:59:59Z`. UTC unless it says otherwise.", format="moment"),
    ] = None
    missing: Annotated[
        tuple[str, ...], Note("Environment variables that it needs and that are not set.", internal=True)
    ] = ()


class ApiKeysSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who may use Byway."""

    mode: Annotated[
        Literal["permissive", "blocking"] | None,
        Note("`blocking`: only known keys. `permissive`: anyone. Not given: blocking as soon as there is a key."),
    ] = None
    api_keys: Annotated[tuple[KeySettings, ...], Note("The keys.")] = ()
    api_keys_file: Annotated[str | None, Note("File with more keys, in the form of `api_keys.api_keys`.")] = None

    @property
    def closed(self) -> bool:
        """Must a client show a key? A key that is off, or a file without keys, still counts: the door stays shut."""
        return self.mode == "blocking" or (self.mode is None and bool(self.api_keys or self.api_keys_file))


class TimeoutSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How long Byway waits, in seconds."""

    connect: Annotated[float, Note("For a connection to a backend.", format="duration", minimum=0.001)] = 5.0
    first_byte: Annotated[float, Note("For the first byte of its answer.", format="duration", minimum=0.001)] = 600.0
    between_chunks: Annotated[float, Note("Between two pieces of a stream.", format="duration", minimum=0.001)] = 300.0
    commit_after: Annotated[
        float,
        Note(
            "So long is a stream's head held back: an error keeps its status, another target may be tried.",
            format="duration",
        ),
    ] = 10.0
    ping_after: Annotated[
        float, Note("Silence towards the client before a ping.", format="duration", minimum=0.001)
    ] = 15.0
    drain: Annotated[float, Note("For running requests when Byway stops.", format="duration")] = 30.0


class LoggingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What Byway says of its work. Prompts and answers are never logged."""

    level: Annotated[Literal["trace", "debug", "info", "warning", "error"], Note("The least that is said.")] = "info"
    format: Annotated[Literal["auto", "pretty", "json"], Note("`auto`: pretty on a terminal, JSON elsewhere.")] = "auto"


class HealthCheckSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How Byway finds out which backends answer."""

    enabled: Annotated[bool, Note("`false`: a backend counts as well until a request fails.")] = True
    interval: Annotated[float, Note("Between two checks of a backend.", format="duration", minimum=0.1)] = 30.0
    timeout: Annotated[float, Note("For the answer to a check.", format="duration", minimum=0.001)] = 10.0
    unhealthy_threshold: Annotated[
        int, Note("So many failures in a row take a backend out.", minimum=1, maximum=1000)
    ] = 3
    healthy_threshold: Annotated[int, Note("So many successes in a row bring it back.", minimum=1, maximum=1000)] = 2
    endpoint: Annotated[str, Note("What is asked for.", format="prefix")] = "/v1/models"
    warmup_check_interval: Annotated[
        float, Note("Between checks of a loading model.", format="duration", minimum=0.1)
    ] = 1.0
    max_warmup_duration: Annotated[float, Note("So long a model may load.", format="duration")] = 300.0


class SearchProviderSettings(MaskedStruct, frozen=True, kw_only=True):
    """A search provider."""

    provider: Annotated[ProviderName, Note("Who searches.")] = "searxng"
    api_key: Annotated[str | None, Note("The secret that it wants. SearXNG wants none.", format="secret")] = None
    base_url: Annotated[str | None, Note("Where it is: your SearXNG, a proxy, a mirror.", format="url")] = None
    missing: Annotated[
        tuple[str, ...], Note("Environment variables that it needs and that are not set.", internal=True)
    ] = ()


class WebSearchSettings(MaskedStruct, frozen=True, kw_only=True):
    """The search providers behind Claude Code's WebSearch."""

    enabled: Annotated[bool, Note("Is the web searched?")] = False
    provider: Annotated[ProviderName | None, Note("Who searches.")] = None
    api_key: Annotated[str | None, Note("The secret that the provider wants. SearXNG wants none.", format="secret")] = (
        None
    )
    base_url: Annotated[str | None, Note("Where it is: your SearXNG, a proxy, a mirror.", format="url")] = None
    fallback: Annotated[
        tuple[SearchProviderSettings, ...], Note("Who is asked when that one fails, in this order.")
    ] = ()
    max_results: Annotated[int, Note("So many results of one search.", minimum=1, maximum=20)] = 8
    freshness: Annotated[
        Literal["day", "week", "month", "year"] | None,
        Note("Only what is not older than this. Any age when not given."),
    ] = None
    timeout: Annotated[float, Note("How long a provider may take.", format="duration", minimum=0.1)] = 15.0
    cache_ttl: Annotated[float, Note("So long results are remembered. 0: not at all.", format="duration")] = 300.0
    max_tool_iterations: Annotated[
        int, Note("So many searches per answer, where a request does not say.", minimum=1, maximum=100)
    ] = 5
    inject: Annotated[
        Literal["off", "when_asked", "always"],
        Note(
            "Whose models may search without Anthropic's tool: nobody's, those of clients that declare a function `web_search` "
            "(Byway then runs it), or everybody's. Self-hosted backends only.",
        ),
    ] = "off"
    missing: Annotated[
        tuple[str, ...], Note("Environment variables that it needs and that are not set.", internal=True)
    ] = ()

    @property
    def always(self) -> bool:
        """Does every request get the tool?"""
        return self.enabled and self.inject == "always"

    @property
    def providers(self) -> tuple[SearchProviderSettings, ...]:
        """All of them, in the order in which they are asked."""
        first = SearchProviderSettings(
            provider=self.provider or "searxng", api_key=self.api_key, base_url=self.base_url, missing=self.missing
        )
        return tuple(one for one in ((first,) if self.provider else ()) + self.fallback if not one.missing)


class SafeguardSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who judges the tool calls of Claude Code's auto mode where the backend does not."""

    classifier: Annotated[
        str | None,
        Note(
            "The model that is asked about each call, by any name that a client could ask for: *Auto mode*.",
        ),
    ] = None
    timeout: Annotated[float, Note("How long it may take for one call.", format="duration", minimum=0.001)] = 60.0


class WebFetchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Pages that Byway fetches for a model."""

    enabled: Annotated[bool, Note("May models ask for pages?")] = False
    max_content_tokens: Annotated[int, Note("A longer page is cut; a request may ask for less.", minimum=1)] = 25_000
    timeout: Annotated[
        float, Note("For one page, with its redirects and its reading.", format="duration", minimum=0.1)
    ] = 20.0
    max_bytes: Annotated[int, Note("A larger page is refused; counted unpacked.", minimum=1, maximum=100 << 20)] = (
        10 << 20
    )
    cache_ttl: Annotated[float, Note("So long a page is remembered. 0: not at all.", format="duration")] = 900.0
    allow_private: Annotated[
        tuple[str, ...],
        Note("Addresses, networks and names that are fetched from although they are not public.", format="host"),
    ] = ()
    allowed_domains: Annotated[
        tuple[str, ...], Note("Only these, with all below them: `example.com`, `example.com/docs`.", format="domain")
    ] = ()
    blocked_domains: Annotated[tuple[str, ...], Note("Never these.", format="domain")] = ()
    user_agent: Annotated[
        str, Note("What Byway calls itself. `byway/VERSION (web fetch)` when not given.", format="header")
    ] = ""


#: Where models are downloaded from unless somebody says otherwise.
HUB: Final = "https://huggingface.co"


class LocalModelSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Model files on this machine. Which of them run, `backends` of type `builtin` say."""

    hub: Annotated[
        str, Note("Where `owner/repo` is downloaded from: Hugging Face, or a mirror that speaks like it.", format="url")
    ] = HUB
    paths: Annotated[
        tuple[str, ...],
        Note("GGUF files, and folders that are searched for them, beside the usual ones: *Local models*."),
    ] = ()


class RateLimitBuckets(msgspec.Struct, frozen=True, kw_only=True):
    """A token bucket for each kind of thing that asks or is asked."""

    per_client: Annotated[RateLimitSettings | None, Note("For one client.")] = None
    per_backend: Annotated[RateLimitSettings | None, Note("For one backend.")] = None
    per_api_key: Annotated[RateLimitSettings | None, Note("For one key.")] = None
    per_model: Annotated[RateLimitSettings | None, Note("For one model.")] = None
    all: Annotated[RateLimitSettings | None, Note("For all together.")] = msgspec.field(default=None, name="global")


class RateLimitingSettings(MaskedStruct, frozen=True, kw_only=True):
    """How many requests are let in."""

    enabled: Annotated[bool, Note("Is it on?")] = False
    storage: Annotated[Literal["memory", "redis"], Note("Where the counts live.")] = "memory"
    limits: Annotated[RateLimitBuckets, Note("The buckets.")] = RateLimitBuckets()
    whitelist: Annotated[tuple[str, ...], Note("Addresses and networks without limits.", format="cidr")] = ()
    bypass_keys: Annotated[tuple[str, ...], Note("Keys without limits.", format="secret")] = ()
    use_rightmost_xff: Annotated[bool, Note("Which address of `X-Forwarded-For` is the client's.")] = True


class AdminAuthSettings(MaskedStruct, frozen=True, kw_only=True):
    """How an administrator is known."""

    method: Annotated[Literal["none", "bearer_token", "basic", "api_key"], Note("What is asked for.")] = "none"
    token: Annotated[str | None, Note("For `bearer_token`.", format="secret")] = None
    username: Annotated[str | None, Note("For `basic`.")] = None
    password: Annotated[str | None, Note("For `basic`.", format="secret")] = None
    api_key: Annotated[str | None, Note("For `api_key`.", format="secret")] = None


class AdminSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The reference's administration API."""

    auth: Annotated[AdminAuthSettings, Note("How an administrator is known.")] = AdminAuthSettings()


class CardinalitySettings(msgspec.Struct, frozen=True, kw_only=True):
    """What keeps the number of time series small."""

    max_labels_per_metric: Annotated[int, Note("Sets of labels per metric.")] = 100
    max_unique_label_values: Annotated[int, Note("Values per label.")] = 1000


class OptionalMetricsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Metrics that cost something."""

    enable_request_body_size: Annotated[bool, Note("Sizes of requests.")] = False
    enable_response_body_size: Annotated[bool, Note("Sizes of answers.")] = False
    enable_detailed_errors: Annotated[bool, Note("Errors by kind.")] = True


class CompactionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """When old snapshots are thinned out."""

    enabled: Annotated[bool, Note("Is it on?")] = True
    schedule: Annotated[str, Note("When, as cron writes it.")] = "0 3 * * *"


class PersistenceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Metrics that outlive a restart."""

    enabled: Annotated[bool, Note("Is it on?")] = False
    backend: Annotated[str, Note("Where they are kept.")] = "sqlite"
    path: Annotated[str, Note("The file.")] = "./data/metrics.db"
    snapshot_interval_seconds: Annotated[int, Note("Between two snapshots.", minimum=1)] = 60
    retention_days: Annotated[int, Note("So long they are kept.", minimum=1)] = 15
    compaction: Annotated[CompactionSettings, Note("When old snapshots are thinned out.")] = CompactionSettings()


class MetricsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers for Prometheus."""

    enabled: Annotated[bool, Note("Are they shown?")] = True
    endpoint: Annotated[str, Note("Where.", format="prefix")] = "/metrics"
    cardinality_limit: Annotated[CardinalitySettings, Note("What keeps them few.")] = CardinalitySettings()
    optional_metrics: Annotated[OptionalMetricsSettings, Note("Those that cost something.")] = OptionalMetricsSettings()
    persistence: Annotated[PersistenceSettings, Note("Numbers that outlive a restart.")] = PersistenceSettings()


class PromptSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A system prompt for some requests."""

    prompt: Annotated[str | None, Note("The text.")] = None
    prompt_file: Annotated[str | None, Note("The file that holds it; wins over `prompt`.")] = None
    merge_strategy: Annotated[Literal["prepend", "append", "replace"] | None, Note("How it joins the client's.")] = None


class GlobalPromptSettings(msgspec.Struct, frozen=True, kw_only=True):
    """System prompts that the operator adds."""

    default: Annotated[str | None, Note("The text for every request.")] = None
    default_file: Annotated[str | None, Note("The file that holds it.")] = None
    prompts_dir: Annotated[str | None, Note("Where the files are.")] = None
    merge_strategy: Annotated[Literal["prepend", "append", "replace"], Note("How it joins the client's.")] = "prepend"
    separator: Annotated[str, Note("What stands between the two.")] = "\n\n---\n\n"
    backends: Annotated[dict[str, PromptSettings], Note("By backend.")] = {}
    models: Annotated[dict[str, PromptSettings], Note("By model.")] = {}


class StdioSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Speaking over standard input and output."""

    enabled: Annotated[bool, Note("Is it on?")] = True


class TransportSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How editors reach Byway."""

    stdio: Annotated[StdioSettings, Note("Standard input and output.")] = StdioSettings()


class CapabilitySettings(msgspec.Struct, frozen=True, kw_only=True):
    """What editors are told."""

    load_session: Annotated[bool, Note("Sessions can be taken up again.")] = True
    mcp: Annotated[bool, Note("MCP servers can be used.")] = True


class PermissionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent may do without asking."""

    default_policy: Annotated[str, Note("For all that is not named.")] = "ask_always"
    auto_allow: Annotated[tuple[str, ...], Note("Done without asking.")] = ()
    always_ask: Annotated[tuple[str, ...], Note("Never done without asking.")] = ()


class SessionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Running conversations."""

    max_concurrent: Annotated[int, Note("How many at once.", minimum=1)] = 10
    idle_timeout: Annotated[float, Note("When a silent one ends.", format="duration")] = 3600.0
    storage: Annotated[str, Note("Where they live.")] = "memory"


class AcpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The Agent Client Protocol, for editors."""

    enabled: Annotated[bool, Note("Is it on?")] = False
    transport: Annotated[TransportSettings, Note("How editors reach Byway.")] = TransportSettings()
    capabilities: Annotated[CapabilitySettings, Note("What editors are told.")] = CapabilitySettings()
    default_model: Annotated[str | None, Note("The model when an editor names none.")] = None
    permissions: Annotated[PermissionSettings, Note("What is done without asking.")] = PermissionSettings()
    sessions: Annotated[SessionSettings, Note("Running conversations.")] = SessionSettings()


class GuardrailSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Checks of what is asked and answered."""

    enabled: Annotated[bool, Note("Are they on?")] = False


class ConfigProblem(msgspec.Struct, frozen=True):
    """One thing that is wrong with a config, or only odd. `line` counts from 1."""

    path: str
    line: int | None
    message: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        words = (self.path, "warning" if self.severity == "warning" else "", self.message)
        return ": ".join(word for word in words if word)


#: Who answers when the config names nobody.
BUILTIN: Final = BackendSettings(name="builtin", type="builtin")


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """All settings. `Config()` is what an empty file gives: the built-in model on loopback."""

    server: Annotated[ServerSettings, Note("Where and how Byway listens.")] = ServerSettings()
    backends: Annotated[
        tuple[BackendSettings, ...], Note("Who answers. None, or an empty list: the built-in model.")
    ] = (BUILTIN,)
    model_aliases: Annotated[
        dict[str, tuple[str, ...]],
        Note(
            "What a client asks for -> the model that answers, or several in the order in which they are tried. "
            "Keys: `haiku`, `sonnet`, `opus`, `fable`, `default`, exact names, globs such as `claude-*`. "
            "`backend/model` names the backend too."
        ),
    ] = {}
    local_only: Annotated[
        bool, Note("`true`: only backends on this machine or a private network: *Staying local*.")
    ] = False
    api_keys: Annotated[ApiKeysSettings, Note("Who may use Byway.")] = ApiKeysSettings()
    timeouts: Annotated[TimeoutSettings, Note("How long Byway waits.")] = TimeoutSettings()
    safeguards: Annotated[SafeguardSettings, Note("Who judges tool calls in Claude Code's auto mode.")] = (
        SafeguardSettings()
    )
    logging: Annotated[LoggingSettings, Note("What Byway says of its work.")] = LoggingSettings()
    health_checks: Annotated[
        HealthCheckSettings, Note("How Byway finds out which backends answer.", implemented=False)
    ] = HealthCheckSettings()
    selection_strategy: Annotated[
        str, Note("Which of several equal backends is asked.", format="strategy", implemented=False)
    ] = "RoundRobin"
    model_metadata_file: Annotated[str | None, Note("File with facts about models.", implemented=False)] = None
    web_search: Annotated[WebSearchSettings, Note("Who searches the web.")] = WebSearchSettings()
    web_fetch: Annotated[WebFetchSettings, Note("Pages that models ask for.")] = WebFetchSettings()
    local_models: Annotated[LocalModelSettings, Note("Model files on this machine.")] = LocalModelSettings()
    rate_limiting: Annotated[RateLimitingSettings, Note("How many requests are let in.", implemented=False)] = (
        RateLimitingSettings()
    )
    admin: Annotated[AdminSettings, Note("The reference's administration API.", implemented=False)] = AdminSettings()
    metrics: Annotated[MetricsSettings, Note("Numbers for Prometheus.", implemented=False)] = MetricsSettings()
    global_prompts: Annotated[GlobalPromptSettings, Note("System prompts of yours.", implemented=False)] = (
        GlobalPromptSettings()
    )
    acp: Annotated[AcpSettings, Note("The Agent Client Protocol.", implemented=False)] = AcpSettings()
    guardrails: Annotated[GuardrailSettings, Note("Checks of what is asked and answered.", implemented=False)] = (
        GuardrailSettings()
    )
    warnings: Annotated[tuple[ConfigProblem, ...], Note("What is odd about this config.", internal=True)] = ()

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret in it, ours and the clients', for `secrets.Scrubber`."""
        return tuple(dict.fromkeys(_secrets(self)))


def _secrets(struct: msgspec.Struct) -> Iterator[str]:
    for field, note in notes(type(struct)).items():
        value = getattr(struct, field)
        if note.format == "secret":
            yield from (value,) if isinstance(value, str) else value or ()
        elif note.format == "proxy" and value:
            yield urlsplit(value).password or ""
        elif note.format == "header" and isinstance(value, dict):
            yield from (text for name, text in value.items() if SECRET_NAME.search(name))
        else:
            for part in value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else (value,):
                if isinstance(part, msgspec.Struct):
                    yield from _secrets(part)


#: Headers whose value is a secret, by their names.
SECRET_NAME: Final = re.compile("auth|cookie|key|pass|secret|token", re.IGNORECASE)
