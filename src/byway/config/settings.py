"""The settings: one struct for each section of `byway.yaml`, with a Note on each field for the reader and the documentation.

Names and meanings are those of the reference router (https://docs.continuum.lablup.ai/en/configuration/, seen 2026-11-20),
so its `config.yaml` works unchanged. Its settings that Byway does not implement yet are typed and marked.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final, Literal, Protocol
from urllib.parse import urlsplit

import msgspec

from byway.backends.vendors import VENDORS, ProtocolSetting
from byway.config.acp import AcpSettings
from byway.config.batchsettings import BatchSettings
from byway.config.filesettings import FileSettings
from byway.config.guardrailsettings import GuardrailSettings
from byway.config.limits import LimitSettings, RateLimitingSettings, RateLimitSettings
from byway.config.metricsettings import MetricsSettings
from byway.config.notes import SECRET_NAME, MaskedStruct, Note, notes
from byway.config.planned import (
    AdminSettings,
)
from byway.config.promptsettings import GlobalPromptSettings
from byway.config.responsesettings import ResponseSettings
from byway.config.server import ServerSettings
from byway.config.signinsettings import SignInSettings
from byway.config.telemetrysettings import TelemetrySettings
from byway.config.tracingsettings import TracingSettings
from byway.providers.registry import ProviderName
from byway.roles import Role
from byway.scopes import DEFAULT_SCOPES, Scope


class TlsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The check of a backend's certificate, and the client certificate that Byway presents."""

    ca: Annotated[
        str | None, Note("File with the certificates of your own certificate authority, in PEM format.", file=True)
    ] = None
    cert: Annotated[str | None, Note("File with the client certificate, in PEM format.", file=True)] = None
    key: Annotated[
        str | None,
        Note("File with the private key of `cert`, in PEM format. Not needed when `cert` contains both.", file=True),
    ] = None
    verify: Annotated[
        bool,
        Note(
            "`false` accepts any certificate. For tests only: anyone on the network can then read the "
            "requests and the API key."
        ),
    ] = True


#: The name of the built-in model.
BUILTIN_MODEL: Final = "smollm2-135m-instruct"
#: Settings of a backend that apply only to models that Byway runs itself.
BUILTIN_ONLY: Final = ("path", "window", "gpu_layers", "threads", "idle_unload")


class BackendSettings(MaskedStruct, frozen=True, kw_only=True):
    """A configured upstream."""

    name: Annotated[str, Note("Its name in logs and in `backend/model`. Default: the type.", format="name")] = ""
    type: Annotated[str, Note("The kind of server. See the table of types.")] = "generic"
    url: Annotated[
        str | None,
        Note(
            "The base URL, with or without the path of the API such as `/v1`, or `unix:/path`. Default: the URL of the type.",
            format="url",
            variables=True,
        ),
    ] = None
    api_key: Annotated[
        str | None,
        Note(
            "The API key that Byway sends to it: `${OPENAI_API_KEY}`. With a list, the next key is used while one is rate "
            "limited, out of credit or rejected.",
            format="secret",
            variables=True,
            many="api_keys",
        ),
    ] = None
    credential: Annotated[
        Literal["config", "client"],
        Note(
            "`config`: Byway sends `api_key`. `client`: it forwards the caller's own credential, to `credential_host` only. "
            "See the page on keys."
        ),
    ] = "config"
    credential_host: Annotated[
        str | None,
        Note("The host of `url`, once more: it confirms where `credential: client` sends the credentials of callers."),
    ] = None
    protocol: Annotated[
        ProtocolSetting,
        Note(
            "The API that Byway calls: `chat` (chat completions), `responses` (OpenAI's Responses) or `anthropic` (Messages). "
            "`auto`: that of the type; at OpenAI, Responses for the models that need it."
        ),
    ] = "auto"
    models: Annotated[
        tuple[str, ...],
        Note(
            "The models it serves: names, or `{id: name, window: tokens, like: model}`. `like` names the model behind a name "
            "of your own. Default: Byway queries the backend.",
            format="models",
        ),
    ] = ()
    weight: Annotated[int, Note("Its share of requests under `WeightedRoundRobin`.", minimum=1, maximum=100)] = 1
    max_concurrent: Annotated[
        int, Note("Requests that it processes at once. A stream counts until its end.", minimum=1, maximum=100_000)
    ] = 1024
    max_queued: Annotated[
        int,
        Note(
            "Further requests that wait, in the order of arrival. Requests beyond that go to the next target of the alias, "
            "or fail with status 529.",
            minimum=0,
            maximum=100_000,
        ),
    ] = 256
    local: Annotated[
        bool | None,
        Note(
            "Whether it is self-hosted. Default: yes for loopback, private networks and unix sockets. A self-hosted backend "
            "never fails over to a cloud backend that the alias does not name.",
        ),
    ] = None
    headers: Annotated[
        dict[str, str],
        Note("Headers that are added to every request. Values can contain `${NAME}`.", format="header", variables=True),
    ] = {}  # noqa: RUF012 - msgspec copies it
    tls: Annotated[
        TlsSettings | None, Note("The check of its certificate, and the client certificate that Byway presents.")
    ] = None
    proxy: Annotated[
        str | None,
        Note("The HTTP proxy for its connections: `http://proxy.example.org:3128`.", format="proxy", variables=True),
    ] = None
    path: Annotated[
        str | None,
        Note(
            "`builtin` only: the GGUF file to run, or the first of its parts. A relative path starts at the "
            "folder of the "
            "config. Default: the built-in model."
        ),
    ] = None
    window: Annotated[
        int | None,
        Note(
            "`builtin` only: size of the context window in tokens. A larger one needs more memory. Default: "
            "that of the model, at most 32768.",
            minimum=128,
        ),
    ] = None
    gpu_layers: Annotated[
        int | None,
        Note("`builtin` only: number of layers on the GPU. Default: as many as fit."),
    ] = None
    threads: Annotated[
        int | None,
        Note(
            "`builtin` only: number of compute threads. Default: `OMP_NUM_THREADS`, else one per processor, at most 8.",
            minimum=1,
            maximum=1024,
        ),
    ] = None
    idle_unload: Annotated[
        float,
        Note(
            "`builtin` only: unload the model after this time without a request. The next request loads it "
            "again. `0`: never.",
            format="duration",
        ),
    ] = 0.0
    windows: Annotated[dict[str, int], Note("Context windows in tokens from `models`, by model.", internal=True)] = {}  # noqa: RUF012 - msgspec copies it
    likes: Annotated[dict[str, str], Note("The model that each name of `models` stands for.", internal=True)] = {}  # noqa: RUF012 - msgspec copies it
    api_keys: Annotated[
        tuple[str, ...], Note("All API keys, when `api_key` has several.", format="secret", internal=True)
    ] = ()
    missing: Annotated[
        tuple[str, ...], Note("Environment variables that it needs and that are not set.", internal=True)
    ] = ()
    off: Annotated[str, Note("Why it is disabled, or empty.", internal=True)] = ""

    @property
    def managed(self) -> bool:
        """Byway runs this model server itself."""
        return VENDORS[self.type].managed

    @property
    def names(self) -> tuple[str, ...]:
        """The models it is known to serve: those of `models`, else the one that Byway runs itself."""
        if self.models or not self.managed:
            return self.models
        return (self.name,) if self.path else (BUILTIN_MODEL,)


class KeySettings(MaskedStruct, frozen=True, kw_only=True):
    """A key that a client sends."""

    key: Annotated[str, Note("The value of the key: `${TEAM_KEY}`.", format="secret", variables=True)] = ""
    id: Annotated[str, Note("Its id in logs. Default: `name`, else `key-1`, `key-2`, …", format="name")] = ""
    user_id: Annotated[str | None, Note("Its account: a label for usage and limits.")] = None
    organization_id: Annotated[str | None, Note("Its organization: a label for usage and limits.")] = None
    name: Annotated[str | None, Note("A name for people.")] = None
    scopes: Annotated[tuple[Scope, ...], Note("What it allows. `admin` allows changing the settings.")] = DEFAULT_SCOPES
    rate_limit: Annotated[int | RateLimitSettings | None, Note("Requests per minute.")] = None
    enabled: Annotated[bool, Note("`false` rejects the key.")] = True
    expires_at: Annotated[
        datetime.datetime | None,
        Note("When it expires: `2027-12-31T23:59:59Z`. UTC unless a zone is given.", format="moment"),
    ] = None
    missing: Annotated[
        tuple[str, ...], Note("Environment variables that it needs and that are not set.", internal=True)
    ] = ()


class ApiKeysSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of clients."""

    mode: Annotated[
        Literal["permissive", "blocking"] | None,
        Note(
            "`blocking`: a valid key is required. `permissive`: any client may use Byway, with or without a "
            "key. Default: `blocking` as soon as there is a key."
        ),
    ] = None
    api_keys: Annotated[tuple[KeySettings, ...], Note("The keys. `byway key` creates others.")] = ()
    api_keys_file: Annotated[
        str | None, Note("File with more keys, in the form of `api_keys.api_keys`.", file=True)
    ] = None

    @property
    def closed(self) -> bool:
        """Whether this section requires a key. A disabled key, or a file without keys, counts: it must open nothing."""
        return self.mode == "blocking" or (self.mode is None and bool(self.api_keys or self.api_keys_file))


class TimeoutSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Time limits, in seconds."""

    connect: Annotated[float, Note("To open a connection to a backend.", format="duration", minimum=0.001)] = 5.0
    first_byte: Annotated[float, Note("Until the first byte of its response.", format="duration", minimum=0.001)] = (
        600.0
    )
    between_chunks: Annotated[float, Note("Between two chunks of a stream.", format="duration", minimum=0.001)] = 300.0
    commit_after: Annotated[
        float,
        Note(
            "The response to a client starts after this time at the latest. Until then an error keeps its "
            "status, and the next target can be tried.",
            format="duration",
        ),
    ] = 10.0
    ping_after: Annotated[
        float, Note("Silence before Byway sends a ping to the client.", format="duration", minimum=0.001)
    ] = 15.0
    drain: Annotated[float, Note("For active requests to finish when Byway stops.", format="duration")] = 30.0


class LoggingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The log. Prompts and responses are never logged."""

    level: Annotated[
        Literal["trace", "debug", "info", "warning", "error"], Note("The least severe messages that are logged.")
    ] = "info"
    format: Annotated[Literal["auto", "pretty", "json"], Note("`auto`: pretty on a terminal, JSON elsewhere.")] = "auto"


class HealthCheckSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Checks of which backends respond."""

    enabled: Annotated[bool, Note("`false`: a backend is healthy until a request fails.")] = True
    interval: Annotated[float, Note("Time between two checks of a backend.", format="duration", minimum=0.1)] = 30.0
    timeout: Annotated[float, Note("For the response to a check.", format="duration", minimum=0.001)] = 10.0
    unhealthy_threshold: Annotated[
        int, Note("Consecutive failures after which a backend is unhealthy.", minimum=1, maximum=1000)
    ] = 3
    healthy_threshold: Annotated[
        int, Note("Consecutive successes after which it is healthy again.", minimum=1, maximum=1000)
    ] = 2
    endpoint: Annotated[str, Note("The path that is requested.", format="prefix")] = "/v1/models"
    warmup_check_interval: Annotated[
        float, Note("Time between checks while a model loads.", format="duration", minimum=0.1)
    ] = 1.0
    max_warmup_duration: Annotated[float, Note("Longest time for a model to load.", format="duration")] = 300.0


class SearchProviderSettings(MaskedStruct, frozen=True, kw_only=True):
    """A search provider."""

    provider: Annotated[ProviderName, Note("The search provider.")] = "searxng"
    api_key: Annotated[str | None, Note("Its API key. SearXNG needs none.", format="secret", variables=True)] = None
    base_url: Annotated[
        str | None, Note("Its base URL: your SearXNG, a proxy or a mirror.", format="url", variables=True)
    ] = None
    missing: Annotated[
        tuple[str, ...], Note("Environment variables that it needs and that are not set.", internal=True)
    ] = ()


class WebSearchSettings(MaskedStruct, frozen=True, kw_only=True):
    """The search providers behind Claude Code's WebSearch."""

    enabled: Annotated[bool, Note("Enables web search.")] = False
    provider: Annotated[ProviderName | None, Note("The search provider.")] = None
    api_key: Annotated[
        str | None, Note("The API key of the provider. SearXNG needs none.", format="secret", variables=True)
    ] = None
    base_url: Annotated[
        str | None, Note("Its base URL: your SearXNG, a proxy or a mirror.", format="url", variables=True)
    ] = None
    fallback: Annotated[
        tuple[SearchProviderSettings, ...], Note("Providers that are tried, in this order, when that one fails.")
    ] = ()
    max_results: Annotated[int, Note("Number of results per search.", minimum=1, maximum=20)] = 8
    freshness: Annotated[
        Literal["day", "week", "month", "year"] | None,
        Note("Only results that are not older than this. Default: any age."),
    ] = None
    timeout: Annotated[float, Note("Time limit for a provider.", format="duration", minimum=0.1)] = 15.0
    cache_ttl: Annotated[float, Note("How long results are cached. `0` disables the cache.", format="duration")] = 300.0
    max_tool_iterations: Annotated[
        int, Note("Number of searches per response when the request sets no limit.", minimum=1, maximum=100)
    ] = 5
    inject: Annotated[
        Literal["off", "when_asked", "always"],
        Note(
            "Which requests get web search although they do not declare Anthropic's tool: none, those that "
            "declare a function "
            "`web_search` (Byway then runs it), or all. For self-hosted backends only.",
        ),
    ] = "off"
    missing: Annotated[
        tuple[str, ...], Note("Environment variables that it needs and that are not set.", internal=True)
    ] = ()

    @property
    def always(self) -> bool:
        """Whether every request gets the tool."""
        return self.enabled and self.inject == "always"

    @property
    def providers(self) -> tuple[SearchProviderSettings, ...]:
        """The usable providers, in the order in which they are tried."""
        first = SearchProviderSettings(
            provider=self.provider or "searxng", api_key=self.api_key, base_url=self.base_url, missing=self.missing
        )
        providers = ((first,) if self.provider else ()) + self.fallback
        return tuple(provider for provider in providers if not provider.missing)


class SafeguardSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The classifier for tool calls in Claude Code's auto mode, for backends that have none."""

    classifier: Annotated[
        str | None,
        Note(
            "The model that judges each tool call, by any name that clients can use. See *Auto mode*.",
        ),
    ] = None
    timeout: Annotated[float, Note("Time limit for one tool call.", format="duration", minimum=0.001)] = 60.0


class WebFetchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Web pages that Byway fetches for models."""

    enabled: Annotated[bool, Note("Enables fetching.")] = False
    max_content_tokens: Annotated[
        int, Note("Longer pages are truncated. A request can set a lower limit.", minimum=1)
    ] = 25_000
    timeout: Annotated[
        float, Note("Time limit for one page, including redirects and parsing.", format="duration", minimum=0.1)
    ] = 20.0
    max_bytes: Annotated[
        int, Note("Larger pages are rejected. The size is that after decompression.", minimum=1, maximum=100 << 20)
    ] = 10 << 20
    cache_ttl: Annotated[float, Note("How long a page is cached. `0` disables the cache.", format="duration")] = 900.0
    allow_private: Annotated[
        tuple[str, ...],
        Note("Addresses, networks and host names that may be fetched although they are not public.", format="host"),
    ] = ()
    allowed_domains: Annotated[
        tuple[str, ...],
        Note(
            "Only these domains and paths, with everything below them: `example.com`, `example.com/docs`.",
            format="domain",
        ),
    ] = ()
    blocked_domains: Annotated[tuple[str, ...], Note("Domains and paths that are never fetched.", format="domain")] = ()
    user_agent: Annotated[
        str, Note("The `User-Agent` of Byway. Default: `byway/VERSION (web fetch)`.", format="header")
    ] = ""


class OidcRoleSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The persons that get a role when they log in by OpenID Connect."""

    role: Annotated[Role, Note("The role of their accounts.")] = "member"
    emails: Annotated[tuple[str, ...], Note("Email addresses that the provider has verified.")] = ()
    domains: Annotated[
        tuple[str, ...], Note("Domains of verified email addresses: `example.org`.", format="email_domain")
    ] = ()
    groups: Annotated[tuple[str, ...], Note("Groups in the claim that `groups_claim` names.")] = ()


class OidcSettings(MaskedStruct, frozen=True, kw_only=True):
    """Logins of the settings page by an identity provider (OpenID Connect)."""

    issuer: Annotated[
        str,
        Note("The provider's issuer, exactly as the provider writes it: `https://login.example.org/realms/team`."),
    ] = ""
    client_id: Annotated[str, Note("The id under which Byway is registered at the provider.")] = ""
    client_secret: Annotated[
        str | None,
        Note("The secret of that registration: `${BYWAY_OIDC_CLIENT_SECRET}`.", format="secret", variables=True),
    ] = None
    url: Annotated[
        str,
        Note(
            "Where browsers reach Byway: `https://byway.example.org`. Needed unless they run on this machine.",
        ),
    ] = ""
    scopes: Annotated[tuple[str, ...], Note("What is requested besides `openid`.")] = ("email", "profile")
    groups_claim: Annotated[str, Note("The claim of the ID token that lists the groups of a person.")] = "groups"
    roles: Annotated[
        tuple[OidcRoleSettings, ...],
        Note(
            "Who may log in, and with which role. The first entry that matches decides; without a match the login is refused."
        ),
    ] = ()
    missing: Annotated[
        tuple[str, ...], Note("Environment variables that it needs and that are not set.", internal=True)
    ] = ()

    @property
    def enabled(self) -> bool:
        """It is configured and has its secret."""
        return bool(self.issuer) and not self.missing


#: Where models are downloaded from by default.
HUB: Final = "https://huggingface.co"


class LocalModelSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Model files on this machine. A backend of type `builtin` runs one of them."""

    hub: Annotated[
        str,
        Note(
            "The server that `owner/repo` is downloaded from: Hugging Face, or a mirror with the same API.",
            format="url",
            variables=True,
        ),
    ] = HUB
    paths: Annotated[
        tuple[str, ...],
        Note("GGUF files and folders with such files, besides the usual folders. See *Local models*."),
    ] = ()


class RateSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What tokens cost, in US dollars per million tokens."""

    input: Annotated[float, Note("Input tokens that the cache neither returned nor stored. Required.")] = 0.0
    output: Annotated[float, Note("Output tokens, with those of thinking. Required.")] = 0.0
    cached: Annotated[float | None, Note("Input tokens that were read from the cache. Default: `input`.")] = None
    cache_write: Annotated[
        float | None, Note("Input tokens that were stored in the cache for five minutes. Default: `input`.")
    ] = None
    cache_write_1h: Annotated[
        float | None, Note("Input tokens that were stored in the cache for an hour. Default: `cache_write`.")
    ] = None


class PriceTierSettings(RateSettings, frozen=True, kw_only=True):
    """Other prices for long prompts."""

    above: Annotated[
        int, Note("These prices apply to all tokens of a request whose prompt has more input tokens. Required.")
    ] = 0


class PriceSettings(RateSettings, frozen=True, kw_only=True):
    """What a model costs, in US dollars."""

    search: Annotated[float, Note("One web search that the backend runs.")] = 0.0
    tiers: Annotated[tuple[PriceTierSettings, ...], Note("Other prices for long prompts.")] = ()


class UsageSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Records of what requests have used."""

    enabled: Annotated[bool, Note("`false`: no usage is recorded. Records that exist stay until they are too old.")] = (
        True
    )
    keep_records: Annotated[
        int,
        Note(
            "Days for which the record of each request, and the sums of each session, are kept.",
            minimum=1,
            maximum=36_500,
        ),
    ] = 90
    keep_sums: Annotated[
        int,
        Note(
            "Days for which the sums per hour and day are kept, for everything else. At least `keep_records`.",
            minimum=1,
            maximum=36_500,
        ),
    ] = 730
    tag_header: Annotated[
        str | None,
        Note("A request header whose value becomes the tag of the usage, such as `x-team`.", format="tag_header"),
    ] = None


class ConfigProblem(msgspec.Struct, frozen=True):
    """An error or a warning about a config. `line` counts from 1."""

    path: str
    line: int | None
    message: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        words = (self.path, "warning" if self.severity == "warning" else "", self.message)
        return ": ".join(word for word in words if word)


class ProblemSink(Protocol):
    """Collects the problems of a config: the reader in `config.reading`."""

    def error(self, path: str, line: int, message: str) -> None: ...
    def warn(self, path: str, line: int, message: str) -> None: ...
    def disabled(self, values: dict[str, Any], what: str) -> None: ...
    def similar(self, name: str, known: Sequence[str], cutoff: float = ...) -> str: ...
    @property
    def is_full(self) -> bool: ...


#: The backend of a config that has none.
BUILTIN: Final = BackendSettings(name="builtin", type="builtin")


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """All settings. `Config()` is that of an empty file: the built-in model, on loopback."""

    server: Annotated[ServerSettings, Note("The addresses and the HTTP server of Byway.")] = ServerSettings()
    backends: Annotated[
        tuple[BackendSettings, ...], Note("The backends. Default, and for an empty list: the built-in model.")
    ] = (BUILTIN,)
    model_aliases: Annotated[
        dict[str, tuple[str, ...]],
        Note(
            "Maps the model name of a request to a target, or to a list of targets that are tried in order. "
            "Keys are `haiku`, "
            "`sonnet`, `opus`, `fable`, `default`, exact names, and patterns such as `claude-*`. A target is "
            "a model, or "
            "`backend/model`."
        ),
    ] = {}
    local_only: Annotated[
        bool, Note("`true`: allow only backends on this machine or in a private network. See *Staying local*.")
    ] = False
    api_keys: Annotated[ApiKeysSettings, Note("The keys of clients.")] = ApiKeysSettings()
    timeouts: Annotated[TimeoutSettings, Note("Time limits.")] = TimeoutSettings()
    safeguards: Annotated[SafeguardSettings, Note("The classifier for tool calls in Claude Code's auto mode.")] = (
        SafeguardSettings()
    )
    logging: Annotated[LoggingSettings, Note("The log. Prompts and responses are never logged.")] = LoggingSettings()
    health_checks: Annotated[HealthCheckSettings, Note("Checks of which backends respond.", implemented=False)] = (
        HealthCheckSettings()
    )
    selection_strategy: Annotated[
        str, Note("How one of several equal backends is selected.", format="strategy", implemented=False)
    ] = "RoundRobin"
    model_metadata_file: Annotated[str | None, Note("File with metadata of models.", file=True, implemented=False)] = (
        None
    )
    web_search: Annotated[WebSearchSettings, Note("The search providers behind Claude Code's WebSearch.")] = (
        WebSearchSettings()
    )
    web_fetch: Annotated[WebFetchSettings, Note("Web pages that Byway fetches for models.")] = WebFetchSettings()
    local_models: Annotated[LocalModelSettings, Note("Model files on this machine.")] = LocalModelSettings()
    prices: Annotated[
        dict[str, PriceSettings],
        Note(
            "What models cost, in US dollars per million tokens. Keys are `backend/model`, a model, or a pattern such as "
            "`backend/*`. Default: the vendor's prices; zero for models on your own machines. See *Usage and cost*."
        ),
    ] = {}
    usage: Annotated[UsageSettings, Note("Records of what requests have used. See *Usage and cost*.")] = UsageSettings()
    files: Annotated[FileSettings, Note("Files that clients upload. See *Files*.")] = FileSettings()
    batches: Annotated[
        BatchSettings,
        Note("Many requests that clients send at once, and whose results they read later. See *Batches*."),
    ] = BatchSettings()
    responses: Annotated[ResponseSettings, Note("Stored answers of the Responses API. See *Responses API*.")] = (
        ResponseSettings()
    )
    sign_in: Annotated[SignInSettings, Note("Clients that are signed in with `/login`. See *Sign-in*.")] = (
        SignInSettings()
    )
    telemetry: Annotated[TelemetrySettings, Note("Telemetry that clients send to Byway. See *Sign-in*.")] = (
        TelemetrySettings()
    )
    oidc: Annotated[OidcSettings, Note("Logins of the settings page by an identity provider (OpenID Connect).")] = (
        OidcSettings()
    )
    limits: Annotated[
        tuple[LimitSettings, ...],
        Note("Limits on requests, tokens, concurrency and money. A request must fit in all of them. See *Limits*."),
    ] = ()
    rate_limiting: Annotated[
        RateLimitingSettings, Note("Limits on the rate of requests, in the form of the reference router.")
    ] = RateLimitingSettings()
    admin: Annotated[AdminSettings, Note("The administration API of the reference router.", implemented=False)] = (
        AdminSettings()
    )
    metrics: Annotated[MetricsSettings, Note("Metrics for Prometheus. See *Metrics*.")] = MetricsSettings()
    tracing: Annotated[TracingSettings, Note("Traces of requests for OpenTelemetry. See *Metrics*.")] = (
        TracingSettings()
    )
    global_prompts: Annotated[
        GlobalPromptSettings, Note("System prompts that the operator adds. See *System prompts*.")
    ] = GlobalPromptSettings()
    acp: Annotated[AcpSettings, Note("The Agent Client Protocol: `byway acp`.")] = AcpSettings()
    guardrails: Annotated[
        GuardrailSettings, Note("Rules on what clients send and what models answer. See *Guardrails*.")
    ] = GuardrailSettings()
    warnings: Annotated[tuple[ConfigProblem, ...], Note("Warnings about this config.", internal=True)] = ()

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret in it, including clients' keys, for `secrets.Scrubber`."""
        return tuple(dict.fromkeys(_secrets(self)))


def _secrets(struct: msgspec.Struct) -> Iterator[str]:
    defaults = type(struct).__struct_defaults__
    for field, note in notes(type(struct)).items():
        value = getattr(struct, field)
        if note.format == "secret":
            yield from (value,) if isinstance(value, str) else value or ()
        elif note.format == "proxy" and value:
            yield urlsplit(value).password or ""
        elif note.format == "header" and isinstance(value, dict):
            yield from (text for name, text in value.items() if SECRET_NAME.search(name))
        elif not any(value is default for default in defaults):
            # A default is no secret, and to resolve the types of all sections would take a tenth of the start.
            for part in value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else (value,):
                if isinstance(part, msgspec.Struct):
                    yield from _secrets(part)
