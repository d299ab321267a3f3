"""`Vendor`: everything particular to one kind of server, as data. Each vendor is a module of this package; `registry` lists
them. A source that is marked second-hand was read as other clients and documents quote it, not at its address.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import msgspec

ProtocolName = Literal["openai", "responses", "anthropic"]
"""A wire protocol: chat completions, the Responses API of OpenAI, or the Messages API."""
ProtocolSetting = Literal["auto", "chat", "responses", "anthropic"]
"""The value of `backends[].protocol`. `auto`: the protocol of the row, or Responses for the models that need it."""
_PROTOCOLS: Final[dict[ProtocolSetting, ProtocolName]] = {
    "chat": "openai",
    "responses": "responses",
    "anthropic": "anthropic",
}
ToolIdForm = Literal["native", "kimi", "nine", "forty"]
"""The ids of tool calls that a backend takes: its own, Kimi's, nine characters, or at most forty."""
Auth = Literal["bearer", "x-api-key", "api-key"]
"""The header of the API key: `authorization: Bearer`, `x-api-key`, or `api-key`."""

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class ThinkingRule(msgspec.Struct, frozen=True, eq=False):
    """How some models of a vendor set thinking, and what they refuse. The first rule that fits the name of a model counts.

    A field is a path such as `reasoning.effort`. The value None in `on` and `off` removes a field.
    """

    models: str = ""
    """A pattern for the names of the models; empty: all. It must fit newer versions of a family too."""
    words: tuple[str, ...] = ()
    """The value of effort for `low`, `medium`, `high`, `xhigh` and `max` of the Messages API; empty: none is sent."""
    field: str = "reasoning_effort"
    """The field for that value."""
    on: Mapping[str, Any] = _NOTHING
    """Fields that are sent with thinking."""
    off: Mapping[str, Any] = _NOTHING
    """Fields that are sent without thinking. For a model that always thinks: those for the least."""
    budget_field: str = ""
    """The field for the most tokens of thinking."""
    refuses: tuple[str, ...] = ()
    """Fields that the models refuse."""
    refuses_thinking: tuple[str, ...] = ()
    """Fields that the models refuse while they think."""
    tools_off: bool = False
    """They accept tools only without thinking."""
    forced: Literal["accepted", "off", "auto"] = "accepted"
    """A forced tool choice while they think: accepted; accepted without thinking only; or `auto` only, and Byway checks."""
    missing: Literal["", "blank", "off", "sentinel", "text"] = ""
    """What to do about an earlier tool call without its reasoning, such as one of another model: nothing; send a blank; turn
    thinking off; send Gemini's sentinel; or send the call as text."""


class KnownModel(msgspec.Struct, frozen=True, eq=False):
    """Facts of models that the vendor's list of models does not report. The config, the list and refusals win over them."""

    models: str
    """A pattern for their names."""
    window: int | None = None
    max_output: int | None = None
    vision: bool | None = None


class MessagesEndpoint(msgspec.Struct, frozen=True):
    """The Messages API of a vendor whose own protocol is another one, and what differs there."""

    prefix: str
    """The path of the API, below which the endpoint is `/messages`."""
    auth: Auth = "x-api-key"
    counts_tokens: bool = False
    """It has `count_tokens`."""
    leaves_out: tuple[str, ...] = ()
    """Fields of a request that it refuses."""
    thinking: tuple[ThinkingRule, ...] = ()
    """As in `Vendor`, with the fields of the Messages API."""
    system_turns: bool = True
    """It accepts messages of the role `system`. Elsewhere they become reminders of the user."""
    strict_tools: bool = True
    """It accepts `strict` with a tool."""


class Vendor(msgspec.Struct, frozen=True):
    """One kind of server. The defaults are those of a plain OpenAI-compatible server."""

    name: str
    """The value of `backends[].type`."""
    title: str
    group: Literal["cloud", "gateway", "inference", "local"] = "local"
    """The page of the documentation that describes it, and its group in the gallery of the settings page."""
    signup: str = ""
    """Where its API keys are created; for a server, how it is installed. From general knowledge: not looked up."""
    protocol: ProtocolName = "openai"
    url: str | None = None
    """The address when the config gives none; None: the config must."""
    prefix: str = "/v1"
    """The path of the API below the address."""
    complete_urls: str = ""
    """A pattern for addresses that contain the path of the API already."""
    hosts: tuple[str, ...] = ()
    """Hosts whose address means this vendor. A name that begins with a dot means all hosts below it."""
    twin: str = ""
    """The address of the vendor's other region, where the same API key does not work."""
    prices: str = ""
    """Its id in genai-prices; empty: that has no prices of it. With a `_` at the end, the part of a model's name after `:`
    belongs to the id."""
    twin_prices: str = ""
    """The id for the address `twin`, where that differs."""
    needs_models: bool = False
    """It lists no models, so the config must name them."""
    messages: MessagesEndpoint | None = None
    """Its Messages API, for `protocol: anthropic`."""
    spellings: tuple[str, ...] = ()
    """Other values of `type` that mean this vendor: lower case letters and digits only."""
    self_hosted: bool = True
    cloud_suffixes: tuple[str, ...] = ()
    """The ends of the names of models that a self-hosted server runs in a cloud."""
    managed: bool = False
    """Byway starts, watches and stops the server itself."""
    auth: Auth = "bearer"
    client_credentials: bool = False
    """It may get the caller's own credential: `credential: client`."""
    key_pattern: str = ""
    """A pattern for its API keys: a key of another form belongs to another plan."""
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    stop_limit: int | None = None
    """The most stop sequences that it accepts. Byway ends the answer at the others."""
    sampling: tuple[str, ...] = ("temperature", "top_p", "top_k")
    """The sampling parameters of the Messages API that it accepts under the same name."""
    temperatures: tuple[float, float] = (0.0, 2.0)
    """The lowest and the highest temperature that it accepts."""
    fields: Mapping[str, Any] = _NOTHING
    """Fields of every request."""
    fields_with_tools: Mapping[str, Any] = _NOTHING
    """Fields of every request with tools."""
    stream_options: bool = True
    """It reports the usage of a stream only where `stream_options` requests it. Others refuse the field, or need none."""
    thinking: tuple[ThinkingRule, ...] = ()
    """How its models set thinking. A model without a rule gets no field, because it may refuse one."""
    known_models: tuple[KnownModel, ...] = ()
    """The first entry that fits a name counts."""
    format: Literal["json_schema", "json_object", "prompt"] = "json_schema"
    """The setting for the format of an answer; `prompt`: only an instruction in the prompt."""
    reasons_in_total: bool = False
    """It counts reasoning in `total_tokens` but not in `completion_tokens`, and may report no `reasoning_tokens`."""
    strict_formats: str = ""
    """The models that enforce the JSON schema of an answer only with `strict: true`: a pattern for their names."""
    format_with_tools: bool = True
    """It accepts tools and a format of the answer in one request."""
    clamps_max_tokens: bool = True
    """Byway lowers `max_tokens` to the limit that the server names. The clients of Anthropic do that themselves."""
    forces_tools: bool = False
    """It obeys a forced tool choice. Elsewhere Byway checks that a call came, and requests it again when none did."""
    forces_json: bool = False
    """It obeys a JSON schema but no named tool choice: a forced call is requested as JSON at once."""
    choices: Literal["named", "words", "any", "auto"] = "named"
    """The forced tool choices that it accepts: a named tool and `required`; `required`; a named tool and `any`; none."""
    max_tools: int | None = None
    """The most tools of one request."""
    runs_web_tools: bool = False
    """It runs the server tools `web_search_...` and `web_fetch_...` itself."""
    runs_classifier: bool = False
    """It returns the verdicts of auto mode itself."""
    thinking_as_text: bool = True
    """It may leave thinking in the text, such as `<think>` at the start of an answer."""
    tools_as_text: bool = True
    """It may leave tool calls in the text, in the form of the model's template."""
    description_pages: tuple[str, ...] = ()
    """The pages that describe a model, the best one first. The body of a POST is `{"model": name}`."""
    load_path: str = ""
    """The path that loads a model into memory. The body of the POST is `{"model": name}`."""
    count_path: str = ""
    """The path that counts the tokens of a chat request."""
    schema: Literal["open", "grammar", "openai", "plain", "moonshot"] = "open"
    """The JSON schemas of tools that it accepts: any; those that llama.cpp can convert to a grammar; those with an object at
    the top; only the keywords that both Gemini and llama.cpp know; or those of Moonshot, where each schema has one type."""
    strict_tools: bool = False
    """It accepts `strict: true` with a tool."""
    parallel_field: str = "parallel_tool_calls"
    """The field that limits an answer to one tool call; empty: none."""
    no_parallel_flag: str = ""
    """The models that call one tool at a time and refuse that field: a pattern for their names."""
    files: bool = False
    """It accepts a PDF as a part of a message. Other servers get its text."""
    user_after_tool: bool = True
    """It accepts a user message directly after the result of a tool. Elsewhere the text becomes part of the result."""
    tool_name_back: bool = False
    """The result of a tool has the name of the tool."""
    call_content: Literal["null", "empty", "absent"] = "null"
    """The text of a message that only calls tools: null, an empty text, or left out."""
    reasoning_field: Literal["", "reasoning", "reasoning_content"] = ""
    """The field of an assistant message for the reasoning of that turn; empty: none, and some servers refuse it."""
    reasoning_required: bool = False
    """It refuses an assistant message that calls tools and lacks that field."""
    tool_ids: ToolIdForm = "native"
    """The form of tool-call ids that it accepts: any; `functions.NAME:N`; nine letters and digits; at most 40 characters.
    `native`: models of Kimi and Mistral get their form wherever they are served."""
    prefill: bool = False
    """`continue_final_message: true` makes it continue an assistant message at the end."""
    responses_models: str = ""
    """The models that `protocol: auto` calls by the Responses API: a pattern for their names."""
    responses_extras: bool = False
    """By Responses, it accepts `prompt_cache_key` and `stream_options`, fetches files by URL, and counts tokens."""
    overflows_silently: bool = False
    """It takes a prompt that is longer than its window, cuts it, and reports no error."""
    counts_tokens: bool = True
    """With the Messages API: it has `count_tokens`."""
    leaves_out: tuple[str, ...] = ()
    """With the Messages API: fields that it refuses."""
    endpoints: Mapping[str, str] = _NOTHING
    """Where its endpoints differ from those of OpenAI, such as `/v1/rerank`: its own path, or empty for one that it lacks."""
    system_turns: bool = True
    """With the Messages API: it accepts messages of the role `system`."""
    adapts: bool = False
    """With the Messages API: requests are changed for it. Those for Anthropic's own servers pass through."""

    def by(self, protocol: ProtocolSetting) -> Vendor:
        """Return this row for a backend that is called by `protocol`; the row itself where that changes nothing."""
        if protocol == "auto":
            return self
        name = _PROTOCOLS[protocol]
        if name == self.protocol:
            return msgspec.structs.replace(self, responses_models="") if self.responses_models else self
        if name == "responses":
            # It has no field for stop sequences: `backends.openai.stops` ends the answer at them.
            return msgspec.structs.replace(
                self, protocol=name, responses_models="", count_path="", prefill=False, stop_limit=0
            )
        if name == "anthropic" and self.messages is not None:
            return with_messages(self, self.messages)
        return msgspec.structs.replace(self, protocol=name, count_path="", prefill=False)


#: The values of `effort` in the Messages API, from the least to the most.
EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")
#: Those of all vendors, from the least to the most.
ALL_EFFORTS: Final = ("none", "minimal", *EFFORTS)


@lru_cache(1024)
def thinking_rule(rules: tuple[ThinkingRule, ...], model: str) -> ThinkingRule | None:
    """Return the first of `rules` that fits the name of `model`; None when none does."""
    return next((rule for rule in rules if _pattern(rule.models).search(model)), None)


@lru_cache(1024)
def known_model(models: tuple[KnownModel, ...], model: str) -> KnownModel | None:
    """Return the first of `models` that fits the name of `model`; None when none does."""
    return next((known for known in models if _pattern(known.models).search(model)), None)


def enforces_strict_formats(vendor: Vendor, model: str) -> bool:
    """Return whether `model` gets `strict: true` with the JSON schema of its answer."""
    return bool(vendor.strict_formats) and _pattern(vendor.strict_formats).search(model) is not None


@lru_cache(512)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE)


def with_messages(vendor: Vendor, endpoint: MessagesEndpoint) -> Vendor:
    """Return the row of a vendor for its Messages API."""
    return msgspec.structs.replace(
        vendor,
        protocol="anthropic",
        prefix=endpoint.prefix,
        auth=endpoint.auth,
        thinking=endpoint.thinking,
        counts_tokens=endpoint.counts_tokens,
        leaves_out=endpoint.leaves_out,
        system_turns=endpoint.system_turns,
        strict_tools=endpoint.strict_tools,
        adapts=True,
        forces_tools=True,
        runs_web_tools=True,
        runs_classifier=True,
    )


def api_root(vendor: Vendor, url: str) -> tuple[str, str]:
    """Return the address without the path of the API, and that path: `("https://api.z.ai", "/api/paas/v4")`.

    `url` may contain the path of the API, as the vendor's documentation shows it, or a part of it.
    """
    url, mark, query = url.partition("?")
    if vendor.complete_urls and re.search(vendor.complete_urls, url):
        return f"{url}{mark}{query}", ""
    own = [vendor.prefix, *([vendor.messages.prefix] if vendor.messages else [])]
    ends = {end for prefix in own for end in (prefix, prefix.removesuffix("/v1"), prefix.removesuffix("/openai"))}
    for end in sorted(ends, key=len, reverse=True):
        if end and url.endswith(end):
            url = url.removesuffix(end)
            break
    return f"{url}{mark}{query}", vendor.prefix


def serves_host(vendor: Vendor, url: str) -> bool:
    """Return whether the host of `url` is known as one of the vendor's."""
    try:
        host = (urlsplit(url).hostname or "").rstrip(".").lower()
    except ValueError:
        return False
    return any(host.endswith(known) if known.startswith(".") else host == known for known in vendor.hosts)
