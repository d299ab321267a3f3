"""A strict server of a vendor's Messages API in memory: refuses what the real one refuses, and plays the loop of `server`.

It stands where `upstream.client.Upstream` does. What one vendor does is a `MessagesFake`. Facts that are not certain are
tolerated: no rule refuses for them. Sources: the docstrings of the modules in `byway.backends.vendors`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from vendors.server import Body, Refused, RefusingServer, StrictAnswer

from byway.messages import signature

MessagesRule = Callable[[Body], "Refused | None"]
#: The fields of a request that Anthropic's own API has.
FIELDS: Final = frozenset(
    "model messages max_tokens system stream stop_sequences temperature top_p top_k tools tool_choice thinking output_config"
    " metadata".split()
)
_USAGE: Final = {"input_tokens": 900, "output_tokens": 40}


def messages_error(message: str, status: int = 400, kind: str = "invalid_request_error", **fields: Any) -> Refused:
    """An error in the envelope of Anthropic."""
    return Refused(status, {"type": "error", "error": {"type": kind, "message": message}, **fields})


@dataclass
class MessagesFake:
    """The Messages API of one vendor, for one of its models."""

    type: str
    model: str
    rules: tuple[MessagesRule, ...] = ()
    ignored: frozenset[str] = frozenset()
    """Fields of the Messages API that it does not have."""
    system_turns: bool = True
    always_thinks: bool = False
    form: str = ""
    """Peculiarities of its streams: `no usage`, `whole`."""
    protocol: ClassVar[str] = "anthropic"
    """The setting `protocol` of the backend."""
    overflow: Refused = field(
        default_factory=lambda: messages_error("prompt is too long: 240000 tokens > 200000 maximum")
    )
    rate_limit: Refused = field(
        default_factory=lambda: Refused(
            429, {"type": "error", "error": {"type": "rate_limit_error", "message": "Slow down."}}, {"retry-after": "7"}
        )
    )

    @property
    def id(self) -> str:
        """The name of its tests."""
        return f"{self.type} {self.model}"

    def thinks(self, body: Body) -> bool:
        """Return whether the model thinks before its answer."""
        return self.always_thinks or body.get("thinking", {"type": "disabled"}).get("type") != "disabled"


class StrictMessagesServer(RefusingServer):
    """The Messages API of one vendor."""

    path = "/v1/messages"

    def __init__(self, fake: MessagesFake) -> None:
        super().__init__(fake)
        self.fake = fake

    def _refusal(self, body: Body) -> Refused | None:
        for name in body:
            if name not in FIELDS or name in self.fake.ignored:
                return messages_error(f"{name}: Extra inputs are not permitted")
        if body["model"] != self.fake.model:
            return messages_error(f"model: {body['model']}", 404, "not_found_error")
        for rule in (self._well_formed, *self.fake.rules):
            refused = rule(body)
            if refused is not None:
                return refused
        return None

    def _well_formed(self, body: Body) -> Refused | None:
        waiting: list[str] = []
        for at, message in enumerate(body["messages"]):
            role, blocks = message["role"], blocks_of(message)
            if role not in ("user", "assistant", *(["system"] if self.fake.system_turns else ())):
                return messages_error(f"messages.{at}.role: Input should be 'user' or 'assistant'")
            if not blocks or any(block["type"] == "text" and not block["text"] for block in blocks):
                return messages_error(f"messages.{at}: content must be non-empty")
            results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
            leading = [block["type"] == "tool_result" for block in blocks[: len(results)]]
            if role != "system":
                if sorted(results) != sorted(waiting) or not all(leading):
                    return messages_error(f"messages.{at}: `tool_use` ids were found without `tool_result` blocks")
                waiting = [block["id"] for block in blocks if block["type"] == "tool_use"]
            for block in blocks:
                if block["type"] == "thinking" and signature.ours(block["signature"]):
                    return messages_error(f"messages.{at}: Invalid `signature` in `thinking` block")
        thinking = body.get("thinking", {})
        if thinking.get("budget_tokens", 0) >= body["max_tokens"]:
            return messages_error("`max_tokens` must be greater than `thinking.budget_tokens`")
        return None

    # ----------------------------------------------------------------------------------------------------------- answers

    def _answer(self, body: Body) -> StrictAnswer:
        """The next step of the play: two calls, one call, one call, then a text. A forced choice gets a call."""
        since = _since_last_question(body["messages"])
        names = [tool["name"] for tool in body.get("tools", ())]
        choice = body.get("tool_choice", {"type": "auto"})
        content: list[Body] = []
        if self.fake.thinks(body):
            thinking = f"Step {since}: think.\nThen act."
            content.append({"type": "thinking", "thinking": thinking, "signature": f"{self.fake.type}-{since}"})
        inputs: list[str] = []
        if forced(body):
            inputs, names = ["forced.txt"], [choice.get("name", names[0])]
        elif names and choice["type"] != "none" and since < 3:
            inputs = ["a.txt", "b.txt"] if since == 0 else [f"step-{since}.txt"]
        content.append({"type": "text", "text": "I look." if inputs else "Done. All three files agree."})
        for at, path in enumerate(inputs):
            self._calls += 1
            call = {"type": "tool_use", "id": f"call_{self.fake.type}_{self._calls}", "name": names[at % len(names)]}
            content.append({**call, "input": {"file_path": path}})
        whole: Body = {
            "id": "msg_9",
            "type": "message",
            "role": "assistant",
            "model": self.fake.model,
            "content": content,
        }
        whole |= {"stop_reason": "tool_use" if inputs else "end_turn", "stop_sequence": None, "usage": _USAGE}
        data = "".join(self._stream(whole)) if body.get("stream") else json.dumps(whole)
        return StrictAnswer(200, data.encode(), {})

    def _stream(self, whole: Body) -> Iterator[str]:
        start: Body = {**whole, "content": [], "stop_reason": None}
        if "no usage" in self.fake.form:
            del start["usage"]
        yield _event("message_start", message=start)
        yield _event("ping")
        for at, block in enumerate(whole["content"]):
            name, kind = {
                "thinking": ("thinking", "thinking_delta"),
                "text": ("text", "text_delta"),
                "tool_use": ("input", "input_json_delta"),
            }[block["type"]]
            empty = {} if name == "input" else ""
            first = {**block, name: empty, **({"signature": ""} if name == "thinking" else {})}
            yield _event("content_block_start", index=at, content_block=first)
            text = json.dumps(block["input"]) if name == "input" else block[name]
            for piece in (text[:9], text[9:]):
                delta = {"type": kind, "partial_json" if name == "input" else name: piece}
                yield _event("content_block_delta", index=at, delta=delta)
            if name == "thinking":
                delta = {"type": "signature_delta", "signature": block["signature"]}
                yield _event("content_block_delta", index=at, delta=delta)
            yield _event("content_block_stop", index=at)
        end = {"delta": {"stop_reason": whole["stop_reason"], "stop_sequence": None}}
        yield _event("message_delta", **end, **({} if "no usage" in self.fake.form else {"usage": _USAGE}))
        yield _event("message_stop")
        if "whole" in self.fake.form:
            yield f"data: {json.dumps(whole)}\n\n"


def _event(type: str, **fields: Any) -> str:
    return f"event: {type}\ndata: {json.dumps({'type': type, **fields})}\n\n"


def blocks_of(message: Body) -> list[Body]:
    """The content of a message as blocks."""
    content = message["content"]
    return content if isinstance(content, list) else [{"type": "text", "text": content}]


def _since_last_question(messages: list[Body]) -> int:
    """How many messages with tool calls follow the client's last question."""
    since = 0
    for message in messages:
        if message["role"] == "user" and "[question]" in json.dumps(message):
            since = 0
        since += any(block["type"] == "tool_use" for block in blocks_of(message))
    return since


def forced(body: Body) -> bool:
    """Whether the request forces a tool choice."""
    return body.get("tool_choice", {}).get("type") in ("any", "tool")


# ------------------------------------------------------------------------------------------------------------- the rules


def _refuse_if(condition: Callable[[Body], Any], message: str) -> MessagesRule:
    return lambda body: messages_error(message) if condition(body) else None


def _type_of_thinking(body: Body) -> str:
    return str(body.get("thinking", {}).get("type", ""))


def _thinks(body: Body) -> bool:
    return _type_of_thinking(body) not in ("", "disabled")


def _efforts(*words: str) -> MessagesRule:
    return _refuse_if(
        lambda body: body.get("output_config", {}).get("effort", words[0]) not in words,
        f"output_config.effort: supported values are: {', '.join(words)}",
    )


def _lacks_thinking(body: Body) -> bool:
    """Whether a conversation with tools has an answer without its thinking, while the model thinks."""
    answers = [blocks_of(message) for message in body["messages"] if message["role"] == "assistant"]
    called = any(block["type"] == "tool_use" for blocks in answers for block in blocks)
    return _thinks(body) and called and not all(any(b["type"] == "thinking" for b in blocks) for blocks in answers)


_PASSED_BACK: Final = _refuse_if(
    _lacks_thinking, "The `content[].thinking` in the thinking mode must be passed back to the API."
)
_NO_FORCED_TOOL: Final = _refuse_if(
    lambda body: forced(body) and _thinks(body), "Thinking mode does not support this tool_choice"
)
_NO_THINKING_FIELD: Final = _refuse_if(lambda body: "thinking" in body, "invalid request: unknown field thinking")
_ONLY_ADAPTIVE: Final = _refuse_if(
    lambda body: _type_of_thinking(body) not in ("", "adaptive", "disabled"), "invalid params, thinking.type (2013)"
)
_ALWAYS_ADAPTIVE: Final = _refuse_if(
    lambda body: _type_of_thinking(body) == "disabled", "invalid params, requires adaptive thinking (2013)"
)
_STATED_EFFORT: Final = _refuse_if(
    lambda body: "effort" not in body.get("output_config", {}), "no effort: the model thinks with the effort max"
)
_NO_STRICT_TOOLS: Final = _refuse_if(
    lambda body: any("strict" in tool for tool in body.get("tools", ())),
    "tools.0.custom.strict: Extra inputs are not permitted",
)
_SIGNED: Final = _refuse_if(
    lambda body: any(
        block["type"] == "thinking" and not block["signature"].startswith(("azure-", "Eq"))
        for message in body["messages"]
        for block in blocks_of(message)
    ),
    "messages.1.content.0: Invalid `signature` in `thinking` block",
)
_K3: Final = (_efforts("low", "high", "max"), _NO_THINKING_FIELD, _STATED_EFFORT)
_KIMI_OVERFLOW: Final = messages_error("Your request exceeded model token limit: 262144 (requested: 300000)")


def _minimax(model: str, *rules: MessagesRule, always_thinks: bool = True) -> MessagesFake:
    return MessagesFake(
        "minimax",
        model,
        (_ONLY_ADAPTIVE, *rules),
        always_thinks=always_thinks,
        form="no usage whole",
        overflow=messages_error("invalid params, context window exceeds limit (2013)"),
        rate_limit=Refused(200, {"content": None, "base_resp": {"status_code": 1002, "status_msg": "rate limit"}}),
    )


def _glm(type: str, model: str) -> MessagesFake:
    return MessagesFake(
        type,
        model,
        overflow=Refused(400, {"type": "error", "error": {"code": "1261", "message": "Prompt exceeds max length"}}),
        rate_limit=Refused(429, {"type": "error", "error": {"code": "1302", "message": "High concurrency usage"}}),
    )


MESSAGES_FAKES: Final = (
    *(
        MessagesFake(
            "deepseek",
            model,
            (_efforts("low", "high", "max"), _PASSED_BACK, _NO_FORCED_TOOL),
            system_turns=False,
            overflow=messages_error(
                "This model's maximum context length is 1048576 tokens. However, you requested 1200000 tokens (1100000 in the "
                "messages, 100000 in the completion)."
            ),
        )
        for model in ("deepseek-v4-pro", "deepseek-flash")
    ),
    MessagesFake("moonshot", "kimi-k3", _K3, always_thinks=True, overflow=_KIMI_OVERFLOW),
    MessagesFake("kimicode", "kimi-for-coding", _K3, always_thinks=True, overflow=_KIMI_OVERFLOW),
    MessagesFake("moonshot", "kimi-k2.6", (_NO_FORCED_TOOL,), overflow=_KIMI_OVERFLOW),
    _glm("zai", "glm-5.3"),
    _glm("zaicoding", "glm-4.7"),
    _minimax("MiniMax-M2.5"),
    _minimax("MiniMax-M3", always_thinks=False),
    _minimax("MiniMax-M3.1-Flash", _ALWAYS_ADAPTIVE, _STATED_EFFORT),
    *(
        MessagesFake(
            type,
            "qwen3.6-plus",
            overflow=messages_error("Range of input length should be [1, 991808]"),
        )
        for type in ("dashscope", "dashscopecoding")
    ),
    MessagesFake(
        "mimo",
        "mimo-v2.5-pro",
        (
            _refuse_if(
                lambda body: (
                    body.get("thinking", {"type": "enabled"}) not in ({"type": "enabled"}, {"type": "disabled"})
                ),
                "Param Incorrect: thinking",
            ),
            _PASSED_BACK,
        ),
        overflow=messages_error("prompt is too long"),
    ),
    MessagesFake("arkcoding", "kimi-k2.6"),
    MessagesFake(
        "fireworks",
        "accounts/fireworks/models/glm-5p3",
        overflow=messages_error("The prompt is too long: 1200012, model maximum context length: 1048573"),
    ),
    MessagesFake("azure", "claude-sonnet-5", (_NO_STRICT_TOOLS, _SIGNED)),
    MessagesFake(
        "openrouter",
        "anthropic/claude-opus-5",
        rate_limit=messages_error(
            "Provider returned error", 429, "rate_limit_error", openrouter_metadata={"provider": "x"}
        ),
    ),
    MessagesFake("litellm", "team-model"),
    MessagesFake("newapi", "any-model"),
    MessagesFake(
        "ollama",
        "qwen3:32b",
        ignored=frozenset(("tool_choice", "metadata")),
        overflow=messages_error("prompt too long; exceeded max context length by 40000 tokens"),
    ),
    MessagesFake(
        "lmstudio",
        "qwen3-32b",
        overflow=Refused(
            400,
            {
                "error": "Trying to keep the first 9000 tokens when context the overflows. However, the model is loaded with "
                "context length of only 4096 tokens"
            },
        ),
    ),
    MessagesFake(
        "llamacpp",
        "qwen3-32b",
        overflow=Refused(
            400,
            {
                "error": {
                    "code": 400,
                    "message": "request (9000 tokens) exceeds the available context size (8192 tokens), try increasing it",
                    "type": "exceed_context_size_error",
                    "n_prompt_tokens": 9000,
                    "n_ctx": 8192,
                }
            },
        ),
        rate_limit=Refused(503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}),
    ),
    MessagesFake(
        "vllm",
        "Qwen3-32B",
        system_turns=False,
        overflow=messages_error(
            "This model's maximum context length is 32768 tokens. However, you requested 400 output tokens and your prompt "
            "contains at least 33000 input tokens, for a total of at least 33400 tokens."
        ),
    ),
    MessagesFake(
        "sglang",
        "GLM-5.1",
        system_turns=False,
        overflow=messages_error("The input (40000 tokens) is longer than the model's context length (32768 tokens)."),
    ),
)
