"""The strict fakes: what each vendor refuses, how it thinks and streams, and how it says that a prompt is too long.

Sources: the docstrings of the modules in `byway.backends.vendors`. Wordings were seen on 2026-11-20 and 2026-11-29.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final

from vendors.server import (
    Body,
    Fake,
    Refused,
    Rule,
    StrictServer,
    calling,
    every_schema,
    forced,
    history,
    openai_error,
    refuse,
    refuse_if,
)

EFFORT: Final = frozenset(("reasoning_effort",))
PARALLEL: Final = frozenset(("parallel_tool_calls",))
TEMPLATE: Final = frozenset(("chat_template_kwargs",))
SWITCH: Final = frozenset(("thinking",))


def efforts(*words: str) -> Rule:
    """Refuse another effort than these."""
    message = f"Unsupported value: 'reasoning_effort'. Supported values are: {', '.join(words)}."
    return refuse_if(lambda body, server: body.get("reasoning_effort", words[0]) not in words, openai_error(message))


def on_by_effort(body: Body) -> bool:
    """Thinks unless the effort is none."""
    return body.get("reasoning_effort", "none") != "none"


def on_by_switch(body: Body) -> bool:
    """Thinks unless `thinking` is disabled."""
    return bool(body.get("thinking", {}).get("type") != "disabled")


def on_by_flag(body: Body) -> bool:
    """Thinks with `enable_thinking`."""
    return bool(body.get("enable_thinking"))


def on_by_template(body: Body) -> bool:
    """Thinks when the template is told to."""
    return bool(body.get("chat_template_kwargs", {}).get("enable_thinking"))


def always(body: Body) -> bool:
    """Thinks before every answer."""
    return True


FORCED_WHILE_THINKING: Final = "tool_choice 'required' is incompatible with thinking enabled"


def no_forced_thinking(fake_thinks: Any, message: str = FORCED_WHILE_THINKING) -> Rule:
    """Refuse a forced tool choice while the model thinks."""
    return refuse_if(lambda body, server: forced(body) and fake_thinks(body), openai_error(message))


# -------------------------------------------------------------------------------------------------------------- OpenAI


def _strict_schemas(body: Body, server: StrictServer) -> Refused | None:
    for tool in body.get("tools", ()):
        schema = tool["function"]["parameters"]
        properties = schema.get("properties", {})
        if tool["function"].get("strict") and (
            schema.get("additionalProperties") is not False or sorted(schema.get("required", ())) != sorted(properties)
        ):
            return openai_error(
                "Invalid schema for function: 'required' is required to include every key in properties."
            )
    return None


def _long_ids(body: Body, server: StrictServer) -> bool:
    return any(len(call["id"]) > 40 for message in calling(body) for call in message["tool_calls"])


_OPENAI: Final = (
    refuse(
        "max_tokens",
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'.",
    ),
    refuse_if(
        lambda body, server: len(body.get("stop", ())) > 4, openai_error("array too long. Expected maximum length 4")
    ),
    refuse_if(
        lambda body, server: len(body.get("tools", ())) > 128, openai_error("array too long ... maximum length 128")
    ),
    refuse_if(_long_ids, openai_error("string too long. Expected a string with maximum length 40")),
    refuse("top_k", "Unrecognized request argument supplied: {}"),
    _strict_schemas,
)
_FUNCTION_TOOLS: Final = openai_error(
    "Function tools with reasoning_effort are not supported for this model in /v1/chat/completions. To use function tools, use "
    "/v1/responses or set reasoning_effort to 'none'.",
    param="reasoning_effort",
)


def _reasons(body: Body) -> bool:
    return body.get("reasoning_effort", "medium") != "none"


def _while_reasoning(name: str) -> Rule:
    """Refuse a field while the model reasons."""
    message = f"Unsupported parameter: '{name}' is not supported with this model."
    return refuse_if(lambda body, server: name in body and _reasons(body), openai_error(message, param=name))


_NO_SAMPLING: Final = tuple(map(_while_reasoning, ("temperature", "top_p", "stop")))
_OPENAI_FIELDS: Final = EFFORT | PARALLEL
OPENAI: Final = (
    Fake(
        "openai",
        "gpt-5.6-terra",
        (
            *_OPENAI,
            efforts("none", "low", "medium", "high", "xhigh", "max"),
            refuse_if(
                lambda body, server: body.get("tools") and body.get("reasoning_effort") != "none", _FUNCTION_TOOLS
            ),
            *_NO_SAMPLING,
        ),
        _OPENAI_FIELDS,
        protocol="chat",
    ),
    Fake(
        "openai",
        "gpt-5.2",
        (*_OPENAI, efforts("none", "low", "medium", "high", "xhigh"), *_NO_SAMPLING),
        _OPENAI_FIELDS,
        protocol="chat",
    ),
    Fake("openai", "gpt-5.1", (*_OPENAI, efforts("none", "low", "medium", "high"), *_NO_SAMPLING), _OPENAI_FIELDS),
    Fake(
        "openai", "gpt-5-mini", (*_OPENAI, efforts("minimal", "low", "medium", "high"), *_NO_SAMPLING), _OPENAI_FIELDS
    ),
    Fake(
        "openai",
        "gpt-5-chat-latest",
        (*_OPENAI, refuse("reasoning_effort", "Unrecognized request argument: {}")),
        PARALLEL,
    ),
    Fake(
        "openai",
        "o4-mini",
        (*_OPENAI, efforts("low", "medium", "high"), *_NO_SAMPLING, refuse("parallel_tool_calls")),
        _OPENAI_FIELDS,
    ),
)
AZURE: Final = (
    Fake(
        "azure",
        "prod-large",
        (*_OPENAI, refuse("reasoning_effort", "Unrecognized request argument supplied: {}")),
        PARALLEL,
        form="filter",
        rate_limit=Refused(
            429, {"error": {"code": "429", "message": "Rate limit is exceeded."}}, {"retry-after-ms": "7000"}
        ),
    ),
)

# --------------------------------------------------------------------------------------------------------- DeepSeek, MiMo


def _exact_reasoning(body: Body, server: StrictServer) -> bool:
    """Whether a message of a conversation with tools lacks its reasoning, or has another one."""
    if not body.get("tools") or not on_by_switch(body):
        return False
    for message in history(body):
        given = message.get("reasoning_content")
        if not given or any(server.reasoning.get(call["id"], given) != given for call in message.get("tool_calls", ())):
            return True
        if message.get("tool_calls") and not any(call["id"] in server.reasoning for call in message["tool_calls"]):
            return True
    return False


_MUST_PASS: Final = "The reasoning_content in the thinking mode must be passed back to the API."
_CAP: Final = "Invalid max_tokens value, the valid range of max_tokens is [1, 393216]"
_DEEPSEEK: Final = (
    refuse_if(lambda body, server: body.get("max_tokens", 1) > 393_216, openai_error(_CAP)),
    refuse_if(_exact_reasoning, openai_error(_MUST_PASS)),
    refuse_if(
        lambda body, server: any(message.get("content", None) is None for message in calling(body)),
        openai_error("messages: missing field `content`"),
    ),
    no_forced_thinking(on_by_switch, "Thinking mode does not support this tool_choice"),
    efforts("low", "high", "max", "minimal", "medium", "xhigh"),
    refuse_if(lambda body, server: len(body.get("stop", ())) > 16, openai_error("too many stop sequences")),
    refuse_if(
        lambda body, server: body.get("response_format", {}).get("type") == "json_schema",
        openai_error("This response_format type is unavailable now"),
    ),
)
DEEPSEEK: Final = tuple(
    Fake(
        "deepseek",
        model,
        _DEEPSEEK,
        SWITCH | EFFORT | PARALLEL,
        thinks=on_by_switch,
        ids=lambda number, name: f"call_00_{number:024d}",
        images=images,
        form="comments",
        overflow=openai_error(
            "This model's maximum context length is 1000000 tokens. However, you requested 1100000 tokens (1090000 in the "
            "messages, 10000 in the completion)."
        ),
    )
    for model, images in (("deepseek-v4-pro", False), ("deepseek-flash", True))
)
MIMO: Final = (
    Fake(
        "mimo",
        "mimo-v2.5-pro",
        (
            refuse_if(
                _exact_reasoning,
                Refused(400, {"error": {"message": "Param Incorrect", "param": _MUST_PASS, "code": "400"}}),
            ),
            no_forced_thinking(on_by_switch),
        ),
        SWITCH | PARALLEL,
        thinks=on_by_switch,
        form="cumulative input",
    ),
)

# ---------------------------------------------------------------------------------------------------------------- Kimi


def _untyped(body: Body, server: StrictServer) -> bool:
    for schema in every_schema(body):
        if not isinstance(schema, dict) or "$ref" in schema or "$schema" in schema:
            return True
        if ("anyOf" in schema) == ("type" in schema):
            return True
        values = schema.get("enum", [])
        if values and schema.get("type") == "string" and not all(isinstance(value, str) for value in values):
            return True
    return False


def _foreign_ids(body: Body, server: StrictServer) -> bool:
    ids = [call["id"] for message in calling(body) for call in message["tool_calls"]]
    return not all(re.fullmatch(r"functions\.[\w-]+:\d+", id) for id in ids)


_KIMI: Final = (
    *(refuse(name, "invalid {}: only 1 is allowed for this model") for name in ("temperature", "top_p")),
    refuse_if(
        _untyped, openai_error("tools.0: not a valid moonshot flavored json schema, details: <At path 'properties'>")
    ),
    # The real one answers with a text instead of a call.
    refuse_if(_foreign_ids, openai_error("ids of another form: K2 stops calling tools")),
    refuse_if(
        lambda body, server: any(message.get("content") == "" for message in calling(body)),
        openai_error("Invalid request: the message with role 'assistant' must not be empty"),
    ),
    refuse_if(lambda body, server: len(body.get("stop", ())) > 5, openai_error("stop: at most 5")),
)
_KIMI_MISSING: Final = openai_error(
    "thinking is enabled but reasoning_content is missing in assistant tool call message at index 1"
)
_KIMI_TEXT: Final = "Invalid request: Your request exceeded model token limit: 262144 (requested: 269030)"


def _kimi(type: str, model: str, thinks: Any, fields: frozenset[str], *rules: Rule) -> Fake:
    lacks = refuse_if(
        lambda body, server: thinks(body) and any(not message.get("reasoning_content") for message in calling(body)),
        _KIMI_MISSING,
    )
    return Fake(
        type,
        model,
        (*_KIMI, lacks, *rules),
        fields | PARALLEL,
        thinks=thinks,
        ids=lambda number, name: f"functions.{name}:{number - 1}",
        form="choice usage",
        overflow=openai_error(_KIMI_TEXT),
        rate_limit=Refused(429, {"error": {"type": "engine_overloaded_error", "message": "The engine is overloaded."}}),
    )


_LOW_HIGH_MAX: Final = efforts("low", "high", "max")
_CANNOT: Final = refuse_if(
    lambda body, server: body.get("thinking", {}).get("type") == "disabled", openai_error("thinking cannot be disabled")
)
MOONSHOT: Final = (
    _kimi("moonshot", "kimi-k3", always, EFFORT, _LOW_HIGH_MAX),
    _kimi("moonshot", "kimi-k2.7-code", always, SWITCH, _CANNOT, no_forced_thinking(always)),
    _kimi("moonshot", "kimi-k2.6", on_by_switch, SWITCH, no_forced_thinking(on_by_switch)),
    _kimi(
        "moonshot",
        "kimi-k2.5",
        on_by_switch,
        SWITCH,
        no_forced_thinking(on_by_switch),
        refuse_if(
            lambda body, server: "keep" in body.get("thinking", {}), openai_error("thinking.keep is not supported")
        ),
    ),
    _kimi("kimicode", "kimi-for-coding", always, EFFORT, _LOW_HIGH_MAX),
)

# ----------------------------------------------------------------------------------------------------------------- GLM


def _glm(type: str, model: str, *rules: Rule, images: bool = False) -> Fake:
    return Fake(
        type,
        model,
        (
            refuse("top_k", "1210: {} is not supported"),
            refuse_if(
                lambda body, server: not 0 < body.get("temperature", 0.5) <= 1,
                openai_error("1214: temperature 参数非法"),
            ),
            refuse_if(lambda body, server: forced(body), openai_error("1210: tool_choice only supports auto")),
            *rules,
        ),
        SWITCH | EFFORT | PARALLEL | {"tool_stream"},
        thinks=on_by_switch,
        form="empty content",
        images=images,
        overflow=Refused(400, {"error": {"code": "1261", "message": "Prompt exceeds max length"}}),
        rate_limit=Refused(429, {"error": {"code": "1302", "message": "您的账户已达到速率限制"}}),
    )


_GLM_53: Final = (efforts("low", "high", "max"), _CANNOT)
ZAI: Final = (
    _glm("zai", "glm-5.3", *_GLM_53),
    _glm("zai", "glm-5.3-flash", *_GLM_53, images=True),
    _glm("zai", "glm-5.2", efforts("high", "max")),
    _glm("zai", "glm-4.7", refuse("reasoning_effort", "1210: {}")),
    _glm("zaicoding", "glm-5.3", *_GLM_53),
)

# -------------------------------------------------------------------------------------------------------------- Gemini

_BAD_WORDS: Final = frozenset(
    "$ref $defs const oneOf allOf not patternProperties exclusiveMinimum exclusiveMaximum additionalProperties $schema".split()
)


def _bad_schema(body: Body, server: StrictServer) -> bool:
    for schema in every_schema(body):
        if not isinstance(schema, dict) or _BAD_WORDS & schema.keys():
            return True
        if schema.get("type") != "object" and ("properties" in schema or "required" in schema):
            return True
        if not all(isinstance(value, str) and value for value in schema.get("enum", ())):
            return True
    return False


def _unsigned(body: Body, server: StrictServer) -> bool:
    signatures = [
        message["tool_calls"][0].get("extra_content", {}).get("google", {}).get("thought_signature")
        for message in calling(body)
    ]
    ids = [message["tool_calls"][0]["id"] for message in calling(body)]
    return any(
        signature not in (f"sig-{id}", "skip_thought_signature_validator")
        for signature, id in zip(signatures, ids, strict=True)
    )


def _google(message: str, status: int = 400, code: str = "INVALID_ARGUMENT", **more: Any) -> Refused:
    return Refused(status, [{"error": {"code": status, "message": message, "status": code, **more}}])


def _gemini(model: str, *rules: Rule) -> Fake:
    return Fake(
        "gemini",
        model,
        (refuse_if(_bad_schema, _google("Invalid JSON payload received. Unknown name in schema")), *rules),
        EFFORT,
        unknown=lambda name: _google(f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.'),
        thinks=always,
        reasoning="signature",
        ids=lambda number, name: f"function-call-{number:020d}",
        overflow=_google("The input token count (1310720) exceeds the maximum number of tokens allowed (1048576)."),
        rate_limit=_google(
            "You exceeded your current quota. Please retry in 34s.",
            429,
            "RESOURCE_EXHAUSTED",
            details=[{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}],
        ),
    )


_SIGNED: Final = refuse_if(_unsigned, _google("Function call is missing a thought_signature in functionCall parts."))
GEMINI: Final = (
    _gemini("gemini-3-pro", efforts("low", "high"), _SIGNED),
    _gemini("gemini-3.1-pro", efforts("low", "medium", "high"), _SIGNED),
    _gemini("gemini-3.5-flash", efforts("minimal", "low", "medium", "high"), _SIGNED),
    _gemini("gemini-3.8-flash", efforts("low", "medium", "high"), _SIGNED),
    _gemini("gemini-2.5-flash", efforts("none", "low", "medium", "high")),
    _gemini("gemini-2.5-pro", efforts("low", "medium", "high")),
)

# ---------------------------------------------------------------------------------------------------------- OpenRouter


def _lost_details(body: Body, server: StrictServer) -> bool:
    for message in calling(body):
        kinds = [entry["type"] for entry in message.get("reasoning_details", ())]
        if "reasoning.encrypted" not in kinds or kinds != sorted(kinds, key="reasoning.text reasoning.encrypted".find):
            return True
    return False


def _raw(message: str) -> Refused:
    raw = json.dumps({"error": {"message": message, "type": "invalid_request_error"}})
    return Refused(
        400,
        {"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": raw, "provider_name": "x"}}},
    )


def _router(model: str, *rules: Rule, mandatory: bool = False) -> Fake:
    checks = [
        refuse_if(
            lambda body, server: {"effort", "max_tokens"} <= body.get("reasoning", {}).keys(),
            openai_error('Only one of "reasoning.effort" and "reasoning.max_tokens" may be specified'),
        ),
    ]
    if mandatory:
        checks.append(
            refuse_if(
                lambda body, server: (
                    body.get("reasoning", {}).get("effort") == "none"
                    or body.get("reasoning", {}).get("enabled") is False
                ),
                openai_error("Reasoning is mandatory for this endpoint and cannot be disabled."),
            )
        )
    return Fake(
        "openrouter",
        model,
        (*checks, *rules),
        PARALLEL | {"reasoning"},
        thinks=lambda body: body.get("reasoning", {}).get("effort", "none") != "none",
        reasoning="details",
        form="comments twice",
        overflow=openai_error(
            "This endpoint's maximum context length is 131072 tokens. However, you requested about 135349 tokens (60662 of text "
            "input, 70687 of tool input, 4000 in the output)."
        ),
        rate_limit=Refused(
            429,
            {
                "error": {
                    "message": "Provider returned error",
                    "code": 429,
                    "metadata": {"raw": "temporarily rate-limited upstream"},
                }
            },
        ),
    )


OPENROUTER: Final = (
    _router(
        "google/gemini-3-pro-preview",
        refuse_if(_lost_details, _raw("Function call is missing a thought_signature")),
        mandatory=True,
    ),
    _router(
        "moonshotai/kimi-k3",
        refuse_if(
            lambda body, server: any(
                not (message.get("reasoning") or message.get("reasoning_details")) for message in calling(body)
            ),
            _raw("thinking is enabled but reasoning_content is missing"),
        ),
        mandatory=True,
    ),
    _router("openai/gpt-5.2"),
    _router("anthropic/claude-opus-5"),
)

# --------------------------------------------------------------------------------------------------- MiniMax, Qwen, xAI


def _minimax(model: str, fields: frozenset[str], thinks: Callable[[Body], bool], *rules: Rule) -> Fake:
    return Fake(
        "minimax",
        model,
        (
            refuse_if(
                lambda body, server: forced(body),
                openai_error("invalid params, tool_choice must be none or auto (2013)"),
            ),
            refuse("max_tokens", "max_tokens is deprecated. Use max_completion_tokens."),
            refuse_if(
                lambda body, server: sum(message["role"] == "system" for message in body["messages"]) > 1,
                Refused(400, {"base_resp": {"status_code": 2013, "status_msg": "invalid params"}}),
            ),
            refuse_if(lambda body, server: body.get("temperature", 1) <= 0, openai_error("invalid temperature (2013)")),
            *rules,
        ),
        PARALLEL | {"reasoning_split", "top_k"} | fields,
        thinks=thinks,
        reasoning="split",
        ids=lambda number, name: f"call_function_{number:012d}_1",
        form="whole",
        overflow=openai_error("invalid params, context window exceeds limit (2013)"),
        rate_limit=Refused(200, {"choices": None, "base_resp": {"status_code": 1002, "status_msg": "rate limit"}}),
    )


MINIMAX: Final = (
    _minimax("MiniMax-M2.5", EFFORT, always, efforts("low", "medium", "high")),
    _minimax(
        "MiniMax-M3",
        SWITCH,
        on_by_switch,
        refuse_if(
            lambda body, server: (
                body.get("thinking", {"type": "adaptive"}) not in ({"type": "adaptive"}, {"type": "disabled"})
            ),
            openai_error("invalid params, thinking.type must be adaptive or disabled (2013)"),
        ),
    ),
    _minimax(
        "MiniMax-M3.1-Flash",
        EFFORT | SWITCH,
        always,
        efforts("low", "medium", "high", "xhigh", "max"),
        refuse_if(
            lambda body, server: body.get("thinking", {}).get("type") == "disabled",
            openai_error("invalid params, requires adaptive thinking (2013)"),
        ),
        refuse_if(
            lambda body, server: "reasoning_effort" not in body,
            openai_error("no effort: the model thinks with the effort max"),
        ),
    ),
)
_QWEN_TEXT: Final = "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 129024]"
_QWEN_FORCED: Final = "The tool_choice parameter does not support being set to required or object in thinking mode"


def _qwen(type: str, model: str, fields: frozenset[str], *rules: Rule) -> Fake:
    return Fake(
        type,
        model,
        (no_forced_thinking(on_by_flag, _QWEN_FORCED), *rules),
        fields | PARALLEL | {"top_k"},
        thinks=on_by_flag,
        overflow=openai_error(_QWEN_TEXT, code="invalid_parameter_error"),
        rate_limit=Refused(
            429,
            {
                "error": {
                    "code": "insufficient_quota",
                    "message": "You exceeded your current quota. See .../error-code#token-limit",
                }
            },
        ),
    )


DASHSCOPE: Final = (
    _qwen(
        "dashscope",
        "qwen3.8-max",
        EFFORT | {"enable_thinking", "preserve_thinking"},
        efforts("low", "medium", "xhigh"),
    ),
    _qwen("dashscope", "qwen3.6-plus", frozenset(("enable_thinking", "thinking_budget"))),
    _qwen("dashscope", "qwen3-coder-plus", frozenset()),
    _qwen("dashscopecoding", "qwen3.6-plus", frozenset(("enable_thinking", "thinking_budget"))),
)


def _grok(model: str, *words: str) -> Fake:
    checks = (efforts(*words),) if words else (refuse("reasoning_effort", "Model does not support parameter {}"),)
    return Fake(
        "xai",
        model,
        (
            *checks,
            refuse("stop", "Model does not support parameter {}"),
            refuse("top_k", "Argument not supported: {}"),
        ),
        EFFORT | {"parallel_function_calling"},
        thinks=lambda body: False,
        ids=lambda number, name: f"call-{number:032x}",
        overflow=Refused(
            400,
            {
                "code": "Client specified an invalid argument",
                "error": "This model's maximum prompt length is 500000 but the request contains 907154 tokens.",
            },
        ),
    )


XAI: Final = (
    _grok("grok-4.3", "none", "low", "medium", "high"),
    _grok("grok-4.5", "low", "medium", "high"),
    _grok("grok-4.7", "low", "medium", "high", "xhigh"),
    _grok("grok-code-fast-1"),
)

# ------------------------------------------------------------------------------------------------------- Mistral, Groq


def _flat(message: str) -> Refused:
    return Refused(400, {"object": "error", "message": message, "type": "invalid_request_error"})


def _mistral_order(body: Body, server: StrictServer) -> Refused | None:
    roles = [message["role"] for message in body["messages"]]
    if ("tool", "user") in pairwise(roles):
        return _flat("Unexpected role 'user' after role 'tool'")
    for message in calling(body):
        for call in message["tool_calls"]:
            if not re.fullmatch(r"[a-zA-Z0-9]{9}", call["id"]):
                return _flat(f"Tool call id was {call['id']} but must be a-z, A-Z, 0-9, with a length of 9.")
    if body.get("tool_choice") == "required":
        return Refused(422, {"detail": [{"loc": ["body", "tool_choice"], "msg": "Input should be 'any'"}]})
    return None


def _extra_forbidden(name: str) -> Refused:
    return Refused(
        422, {"detail": [{"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"}]}
    )


def _mistral(model: str, *rules: Rule) -> Fake:
    return Fake(
        "mistral",
        model,
        (
            _mistral_order,
            refuse_if(lambda body, server: "stream_options" in body, _extra_forbidden("stream_options")),
            refuse_if(lambda body, server: "max_completion_tokens" in body, _extra_forbidden("max_completion_tokens")),
            *rules,
        ),
        EFFORT | PARALLEL,
        unknown=_extra_forbidden,
        thinks=on_by_effort,
        reasoning="parts",
        ids=lambda number, name: f"q{number:08d}",
        overflow=_flat(
            "Prompt contains 140000 tokens and 0 draft tokens, too large for model with 131072 maximum context length"
        ),
    )


MISTRAL: Final = (
    _mistral("mistral-medium-2604", efforts("none", "high")),
    _mistral("mistral-large-2512", refuse("reasoning_effort")),
)


def _groq(model: str, fields: frozenset[str], *rules: Rule) -> Fake:
    return Fake(
        "groq",
        model,
        (
            refuse("top_k", "property '{}' is unsupported"),
            refuse_if(
                lambda body, server: any("name" in message for message in body["messages"]),
                openai_error("'messages.3.name' : property 'name' is unsupported"),
            ),
            *rules,
        ),
        EFFORT | PARALLEL | fields,
        thinks=on_by_effort,
        reasoning="reasoning",
        overflow=openai_error(
            "Please reduce the length of the messages or completion.", code="context_length_exceeded"
        ),
        rate_limit=Refused(
            429, {"error": {"message": "Rate limit reached. Please try again in 7.66s."}}, {"retry-after": "8"}
        ),
    )


GROQ: Final = (
    _groq("openai/gpt-oss-120b", frozenset(), efforts("low", "medium", "high")),
    _groq(
        "qwen/qwen3-32b",
        frozenset(("reasoning_format",)),
        efforts("none", "default"),
        refuse_if(
            lambda body, server: body.get("tools") and body.get("reasoning_format", "raw") == "raw",
            openai_error("reasoning_format must be parsed or hidden when tools are used"),
        ),
    ),
)

# ------------------------------------------------------------------------------------------------------ other providers

_CEREBRAS_OVERFLOW: Final = Refused(
    400,
    {"message": "Current length is 140000 while limit is 131072", "type": "invalid_request_error", "code": "context"},
)
INFERENCE: Final = (
    Fake(
        "cerebras",
        "gpt-oss-120b",
        (
            efforts("low", "medium", "high"),
            refuse("top_k"),
            refuse_if(
                lambda b, s: any("reasoning_content" in m for m in b["messages"]),
                openai_error("property 'reasoning_content' is unsupported"),
            ),
        ),
        EFFORT | PARALLEL,
        thinks=on_by_effort,
        reasoning="reasoning",
        overflow=_CEREBRAS_OVERFLOW,
    ),
    Fake(
        "cerebras",
        "zai-glm-4.7",
        (efforts("none"),),
        EFFORT | PARALLEL,
        thinks=lambda body: "reasoning_effort" not in body,
        reasoning="reasoning",
        overflow=_CEREBRAS_OVERFLOW,
    ),
    Fake(
        "together",
        "zai-org/GLM-5.3",
        (efforts("low", "medium", "high", "max"),),
        EFFORT | PARALLEL | {"reasoning", "top_k"},
        thinks=lambda body: bool(body.get("reasoning", {}).get("enabled")),
        overflow=openai_error("The input (140000 tokens) is longer than the model's context length (131072 tokens)."),
    ),
    Fake(
        "together",
        "meta-llama/Llama-4-Maverick",
        (refuse("reasoning_effort"),),
        PARALLEL | {"top_k"},
        overflow=openai_error(
            "`inputs` tokens + `max_new_tokens` must be <= 131072. Given: 140000 `inputs` tokens and 900 `max_new_tokens`"
        ),
    ),
    Fake(
        "fireworks",
        "accounts/fireworks/models/glm-5p1",
        (
            efforts("none", "high", "max"),
            refuse_if(lambda b, s: {"thinking", "reasoning_effort"} <= b.keys(), openai_error("cannot specify both")),
        ),
        EFFORT | PARALLEL | {"top_k", "thinking"},
        thinks=on_by_effort,
        overflow=openai_error("The prompt is too long: 140000, model maximum context length: 131072"),
    ),
    Fake(
        "fireworks",
        "accounts/fireworks/models/glm-5p3",
        (
            efforts("low", "high", "max"),
            refuse_if(lambda b, s: {"thinking", "reasoning_effort"} <= b.keys(), openai_error("cannot specify both")),
        ),
        EFFORT | PARALLEL | {"top_k"},
        thinks=always,
        overflow=openai_error("The prompt is too long: 1200012, model maximum context length: 1048573"),
    ),
    Fake(
        "nvidia",
        "qwen/qwen3-235b-a22b",
        (),
        TEMPLATE | PARALLEL,
        thinks=on_by_template,
        overflow=openai_error("sequence length of 140000, but the maximum supported sequence length is just 131072"),
    ),
    Fake(
        "siliconflow",
        "Qwen/Qwen3-32B",
        (),
        frozenset(("enable_thinking", "thinking_budget", "top_k")) | PARALLEL,
        thinks=on_by_flag,
        overflow=Refused(400, {"code": 20015, "message": "input length exceeds the context length", "data": None}),
    ),
    Fake("huggingface", "moonshotai/Kimi-K2-Instruct:groq", (), PARALLEL),
    Fake(
        "databricks",
        "databricks-gpt-oss-120b",
        (efforts("low", "medium", "high"),),
        EFFORT | PARALLEL,
        overflow=Refused(
            400, {"error_code": "BAD_REQUEST", "message": "Input tokens (140000) exceed the maximum allowed 131072"}
        ),
    ),
    Fake(
        "ark",
        "doubao-seed-2.0",
        (),
        SWITCH | PARALLEL,
        thinks=on_by_switch,
        overflow=openai_error("Input length 140000 exceeds the maximum length 131072", code="InvalidParameter"),
    ),
    Fake("arkcoding", "kimi-k2.6", (), SWITCH | PARALLEL, thinks=on_by_switch),
    Fake(
        "qianfan",
        "ernie-5.0",
        (),
        PARALLEL,
        form="cumulative input",
        overflow=Refused(400, {"error": {"code": "tokens_too_long", "message": "Prompt tokens too long"}, "id": "x"}),
    ),
    Fake(
        "cohere",
        "command-a-reasoning",
        (efforts("none", "high"),),
        EFFORT | PARALLEL,
        thinks=on_by_effort,
        overflow=Refused(
            400, {"message": "too many tokens: size limit exceeded by 900 tokens. The limit for this model is 256000"}
        ),
    ),
    Fake(
        "litellm",
        "team-model",
        (),
        PARALLEL,
        overflow=openai_error(
            "litellm.ContextWindowExceededError: OpenAIException - This model's maximum context length is 131072 tokens. "
            "However, your messages resulted in 140000 tokens."
        ),
    ),
    Fake("newapi", "any-model", (), PARALLEL),
)

# -------------------------------------------------------------------------------------------------------- model servers

_WORDS_ONLY: Final = refuse_if(
    lambda body, server: isinstance(body.get("tool_choice"), dict),
    openai_error("Invalid tool_choice: expected a string"),
)
_LLAMA_OVERFLOW: Final = Refused(
    400,
    {
        "error": {
            "code": 400,
            "message": "request (140000 tokens) exceeds the available context size (131072 tokens), try increasing it",
            "type": "exceed_context_size_error",
            "n_prompt_tokens": 140000,
            "n_ctx": 131072,
        }
    },
)
_FORMAT_WITH_TOOLS: Final = refuse_if(
    lambda body, server: body.get("tools") and body.get("response_format"),
    openai_error("Cannot use custom grammar constraints with tools."),
)
_LOADING: Final = Refused(503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}})
_LLAMA_FIELDS: Final = TEMPLATE | PARALLEL | {"top_k", "thinking_budget_tokens"}
LOCAL: Final = (
    Fake(
        "ollama",
        "qwen3:32b",
        (efforts("none"),),
        EFFORT | PARALLEL | {"top_k"},
        thinks=lambda body: body.get("reasoning_effort") != "none",
        reasoning="reasoning",
        ids=lambda number, name: f"call_{number:08d}",
        overflow=openai_error("prompt too long; exceeded max context length by 900 tokens"),
    ),
    Fake(
        "ollama",
        "gpt-oss:20b",
        (efforts("low", "medium", "high"),),
        EFFORT | PARALLEL | {"top_k"},
        thinks=always,
        reasoning="reasoning",
        overflow=openai_error("input length exceeds the context length"),
    ),
    Fake(
        "llamacpp",
        "qwen3-32b",
        (_WORDS_ONLY, _FORMAT_WITH_TOOLS),
        _LLAMA_FIELDS,
        thinks=on_by_template,
        overflow=_LLAMA_OVERFLOW,
        rate_limit=_LOADING,
    ),
    Fake(
        "llamaswap",
        "qwen3-32b",
        (_WORDS_ONLY, _FORMAT_WITH_TOOLS),
        _LLAMA_FIELDS,
        thinks=on_by_template,
        overflow=_LLAMA_OVERFLOW,
        form="comments",
        rate_limit=_LOADING,
    ),
    Fake(
        "lmstudio",
        "qwen3-32b",
        (_WORDS_ONLY,),
        PARALLEL | {"top_k"},
        thinks=always,
        reasoning="tags",
        ids=lambda number, name: f"{number:09d}",
        overflow=Refused(
            400,
            {
                "error": "Trying to keep the first 140000 tokens when context the overflows. However, the model is "
                "loaded with context length of only 131072 tokens"
            },
        ),
    ),
    Fake(
        "vllm",
        "Qwen3-32B",
        (),
        TEMPLATE | PARALLEL | {"top_k"},
        thinks=on_by_template,
        reasoning="reasoning",
        ids=lambda number, name: f"chatcmpl-tool-{number:032d}",
        overflow=openai_error(
            "This model's maximum context length is 131072 tokens. However, you requested 4096 output tokens and your "
            "prompt contains at least 140000 input tokens, for a total of at least 144096 tokens."
        ),
    ),
    Fake(
        "sglang",
        "GLM-5.1",
        (),
        TEMPLATE | PARALLEL | {"top_k"},
        thinks=on_by_template,
        # It counts the calls of each answer.
        ids=lambda number, name: f"call_{(number - 1) % 2}",
        overflow=Refused(
            400,
            {
                "object": "error",
                "message": "Requested token count exceeds the model's maximum context length of 131072 tokens. You "
                "requested a total of 144096 tokens: 140000 tokens from the input messages and 4096 tokens for the completion.",
                "type": "BadRequestError",
            },
        ),
    ),
    Fake(
        "tgi",
        "tgi",
        (),
        PARALLEL,
        overflow=Refused(
            422, {"error": "`inputs` must have less than 131072 tokens. Given: 140000", "error_type": "validation"}
        ),
    ),
    Fake(
        "mlx",
        "Qwen3-32B",
        (refuse_if(lambda body, server: forced(body), openai_error("tool_choice is not supported")),),
        TEMPLATE | PARALLEL | {"top_k"},
        thinks=on_by_template,
        reasoning="reasoning",
        overflow=openai_error("Prompt too long: 140000 tokens exceeds max context window of 131072"),
    ),
    Fake("koboldcpp", "koboldcpp", (), PARALLEL | {"top_k"}),
    Fake("mlxcel", "Qwen3-32B", (), TEMPLATE | PARALLEL | {"top_k"}, thinks=on_by_template),
    Fake("generic", "any-model", (refuse("top_k"),), PARALLEL),
)

FAKES: Final = (
    *OPENAI,
    *AZURE,
    *DEEPSEEK,
    *MIMO,
    *MOONSHOT,
    *ZAI,
    *GEMINI,
    *OPENROUTER,
    *MINIMAX,
    *DASHSCOPE,
    *XAI,
    *MISTRAL,
    *GROQ,
    *INFERENCE,
    *LOCAL,
)
