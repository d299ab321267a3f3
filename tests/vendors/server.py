"""A strict model server in memory: refuses what the real one refuses, in its words, and plays a tool loop in its form.

`StrictServer` stands where `upstream.client.Upstream` does. What one vendor does is a `Fake`, in `rows`. Facts that are not
certain are tolerated: no rule refuses for them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from byway.call import Call

Body = dict[str, Any]
Rule = Callable[[Body, "StrictServer"], "Refused | None"]

#: What a request of the client contains to get the failure.
OVERFLOW, RATE_LIMIT = "[overflow]", "[rate limit]"
#: What a request contains to get a text without a tool call.
PLAIN = "[plain]"
#: Fields that every chat server accepts.
COMMON = frozenset(
    "model messages tools tool_choice max_tokens max_completion_tokens stream stream_options temperature top_p stop"
    " response_format".split()
)


@dataclass
class Refused:
    """An answer that is not a success."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Fake:
    """One vendor's server, for one of its models."""

    type: str
    model: str
    rules: tuple[Rule, ...] = ()
    fields: frozenset[str] = frozenset()
    """Fields that it accepts beside those that every server accepts. Others are refused."""
    unknown: Callable[[str], Refused] = lambda name: openai_error(f"Unrecognized request argument supplied: {name}")
    thinks: Callable[[Body], bool] = lambda body: False
    """Whether the model thinks before its answer to a request."""
    reasoning: str = "reasoning_content"
    """The form of its thinking: a field of the delta, `details`, `signature`, `parts` or `tags`."""
    ids: Callable[[int, str], str] = lambda number, name: f"call_{number:024d}"
    overflow: Refused = field(
        default_factory=lambda: openai_error(
            "This model's maximum context length is 131072 tokens. However, your messages resulted in 200000 tokens."
        )
    )
    rate_limit: Refused = field(
        default_factory=lambda: Refused(429, {"error": {"message": "Slow down."}}, {"retry-after": "7"})
    )
    form: str = ""
    """Peculiarities of its streams: `cumulative`, `whole`, `twice`, `filter`, `choice usage`, `buffered`, in one text."""
    images: bool = True
    protocol: str = "chat"
    """The setting `protocol` of the backend."""

    @property
    def id(self) -> str:
        """The name of its tests."""
        return f"{self.type} {self.model}"


def openai_error(message: str, status: int = 400, **fields: Any) -> Refused:
    """An error in the envelope of OpenAI."""
    return Refused(status, {"error": {"message": message, "type": "invalid_request_error", "param": None, **fields}})


class StrictAnswer:
    """An answer in pieces of a few hundred bytes."""

    sent_at = connecting = 0.0
    is_read = False

    def __init__(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.status = status
        self.headers = {name.lower(): value for name, value in headers.items()}
        self._pieces = [body[at : at + 300] for at in range(0, len(body), 300)]
        self.on_close: Callable[[], None] = lambda: None

    async def read(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    async def body(self, limit: int = 0) -> bytes:
        return b"".join(self._pieces)

    def finish(self) -> None:
        self.close()

    def close(self) -> None:
        self._pieces = []
        self.on_close()


class _Failures(Protocol):
    overflow: Refused
    rate_limit: Refused


class RefusingServer:
    """Answers the calls of one backend at one path, and keeps what it refused."""

    shown = "the strict server"
    path = ""

    def __init__(self, failures: _Failures) -> None:
        self._failures = failures
        self.refused: list[tuple[Refused, Body]] = []
        self.bodies: list[Body] = []
        self._calls = 0

    async def open(self, call: Call) -> StrictAnswer:
        if call.path != self.path:
            return _failure(Refused(404, b"404 page not found"))
        body = json.loads(call.body)
        self.bodies.append(body)
        text = json.dumps(body["messages"][-1:], ensure_ascii=False)
        if OVERFLOW in text:
            return _failure(self._failures.overflow)
        if RATE_LIMIT in text:
            return _failure(self._failures.rate_limit)
        refused = self._refusal(body)
        if refused is not None:
            self.refused.append((refused, body))
            return _failure(refused)
        return self._answer(body)

    async def close(self) -> None:
        """Nothing is open."""

    def _refusal(self, body: Body) -> Refused | None:
        raise NotImplementedError

    def _answer(self, body: Body) -> StrictAnswer:
        raise NotImplementedError


def _failure(refused: Refused) -> StrictAnswer:
    body = refused.body if isinstance(refused.body, bytes) else json.dumps(refused.body, ensure_ascii=False).encode()
    return StrictAnswer(refused.status, body, refused.headers)


class StrictServer(RefusingServer):
    """The chat completions of one vendor."""

    path = "/v1/chat/completions"

    def __init__(self, fake: Fake) -> None:
        super().__init__(fake)
        self.fake = fake
        self.reasoning: dict[str, str] = {}
        """The reasoning before each tool call that this server made, by the id of the call."""
        self.folder = ""
        """Where the files are that a real client reads."""

    # ---------------------------------------------------------------------------------------------------------- refusals

    def _refusal(self, body: Body) -> Refused | None:
        unknown = [name for name in body if name not in COMMON and name not in self.fake.fields]
        if unknown:
            return self.fake.unknown(unknown[0])
        for rule in (well_formed, *self.fake.rules):
            refused = rule(body, self)
            if refused is not None:
                return refused
        if not self.fake.images and "image_url" in json.dumps(body["messages"]):
            return openai_error("messages[3]: unknown variant `image_url`, expected `text` at line 1 column 9000")
        return None

    # ----------------------------------------------------------------------------------------------------------- answers

    def _answer(self, body: Body) -> StrictAnswer:
        """The next step of the play: two calls, one call, one call, then a text. A forced choice gets a call."""
        results = [message for message in body["messages"] if message["role"] == "tool"]
        since = _since_last_question(body["messages"])
        tools = body.get("tools") or []
        last = json.dumps(body["messages"][-1], ensure_ascii=False)
        summary = "<summary>" in last and "THE-SUMMARY" not in last
        choice = body.get("tool_choice", "auto")
        thinking = f"Step {len(results)}: think.\nThen act." if self.fake.thinks(body) else ""
        calls: list[tuple[str, str, str]] = []
        if choice in ("required", "any") or isinstance(choice, dict):
            name = choice["function"]["name"] if isinstance(choice, dict) else tools[0]["function"]["name"]
            calls = [self._call(name, {"file_path": "forced.txt"})]
        elif tools and choice != "none" and since < 3 and PLAIN not in last and not summary:
            names = ["Read"] if self.folder else [tool["function"]["name"] for tool in tools]
            paths = ("a.txt", "b.txt") if since == 0 else (f"step-{since}.txt",)
            inputs = [{"file_path": f"{self.folder}{path}"} for path in paths]
            calls = [self._call(names[at % len(names)], input) for at, input in enumerate(inputs)]
        for id, _, _ in calls:
            self.reasoning[id] = thinking
        required = body.get("response_format") or "Answer with one JSON object" in last
        text = '{"title": "Notes"}' if required else "I look." if calls else "Done. All three files agree."
        if summary:
            text = "<analysis>Short.</analysis><summary>THE-SUMMARY: three files agree.</summary>"
        if required and "Call one of these tools" in last:
            text = '{"name": "Read", "arguments": {"file_path": "forced.txt"}}'
        if body.get("stream"):
            data = "".join(self._stream(thinking, text, calls)).encode()
        else:
            data = json.dumps(self._whole(thinking, text, calls)).encode()
        return StrictAnswer(200, data, {})

    def _call(self, name: str, arguments: Body) -> tuple[str, str, str]:
        self._calls += 1
        return self.fake.ids(self._calls, name), name, json.dumps(arguments)

    def _message(self, thinking: str, text: str, calls: list[tuple[str, str, str]]) -> Body:
        message: Body = {"role": "assistant", "content": text}
        if thinking:
            message.update(self._thinking(thinking, text))
        if calls:
            message["tool_calls"] = [
                {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
                for id, name, arguments in calls
            ]
            if self.fake.reasoning == "signature":
                message["tool_calls"][0]["extra_content"] = {"google": {"thought_signature": f"sig-{calls[0][0]}"}}
            if self.fake.reasoning == "details":
                message["reasoning_details"] = [
                    *message.get("reasoning_details", []),
                    {
                        "type": "reasoning.encrypted",
                        "data": f"enc-{calls[0][0]}",
                        "index": 1,
                        "format": "google-gemini-v1",
                    },
                ]
        return message

    def _thinking(self, thinking: str, text: str) -> Body:
        match self.fake.reasoning:
            case "details":
                entry = {"type": "reasoning.text", "text": thinking, "index": 0, "format": "x"}
                return {"reasoning": thinking, "reasoning_details": [entry]}
            case "split":
                return {"reasoning_details": [{"type": "reasoning.text", "text": thinking, "index": 0}]}
            case "signature":
                return {}
            case "parts":
                return {
                    "content": [
                        {"type": "thinking", "thinking": [{"type": "text", "text": thinking}]},
                        {"type": "text", "text": text},
                    ]
                }
            case "tags":
                return {"content": f"<think>{thinking}</think>\n\n{text}"}
            case name:
                return {name: thinking}

    def _whole(self, thinking: str, text: str, calls: list[tuple[str, str, str]]) -> Body:
        reason = "tool_calls" if calls else "stop"
        choice = {"index": 0, "message": self._message(thinking, text, calls), "finish_reason": reason}
        return {"id": "x", "object": "chat.completion", "choices": [choice], "usage": _USAGE}

    def _stream(self, thinking: str, text: str, calls: list[tuple[str, str, str]]) -> Iterator[str]:
        form, message = self.fake.form, self._message(thinking, text, calls)
        if "filter" in form:
            yield _event({"choices": [], "prompt_filter_results": [{"prompt_index": 0}]})
        if "comments" in form:
            yield ": PROCESSING\n\n"
        before = ""
        for name in ("reasoning_content", "reasoning"):
            for piece in _pieces(message.get(name, "")):
                before += piece
                delta: Body = {name: before if "cumulative" in form else piece}
                if "details" in self.fake.reasoning:
                    delta["reasoning_details"] = [{**message["reasoning_details"][0], "text": piece}]
                yield _chunk({**delta, **({"content": ""} if "empty content" in form else {})})
        if self.fake.reasoning == "split" and thinking:
            yield _chunk({"reasoning_details": message["reasoning_details"]})
        if isinstance(message["content"], list):
            for part in message["content"]:
                yield _chunk({"content": [part]})
        else:
            for piece in _pieces(message["content"]):
                yield _chunk({"content": piece})
        if self.fake.reasoning == "details" and calls:
            yield _chunk({"reasoning_details": message["reasoning_details"][-1:]})
        for at, call in enumerate(message.get("tool_calls", ())):
            function = call["function"]
            head = {"index": at, **{key: value for key, value in call.items() if key != "function"}}
            if "buffered" in form:
                yield _chunk({"tool_calls": [{**head, "function": function}]})
                continue
            yield _chunk({"tool_calls": [{**head, "function": {"name": function["name"], "arguments": ""}}]})
            so_far = ""
            for piece in _pieces(function["arguments"]):
                so_far += piece
                arguments = so_far if "cumulative input" in form else piece
                yield _chunk({"tool_calls": [{"index": at, "function": {"arguments": arguments}}]})
        if "whole" in form:
            yield _event(self._whole(thinking, text, calls))
            yield "data: [DONE]\n\n"
            return
        end: Body = {"index": 0, "delta": {}, "finish_reason": "tool_calls" if calls else "stop"}
        if "choice usage" in form:
            yield _event({"choices": [{**end, "usage": _USAGE}]})
        else:
            yield _event({"choices": [end]})
            if "twice" in form:
                yield _event({"choices": [end], "usage": _USAGE})
            else:
                yield _event({"choices": [], "usage": _USAGE})
        yield "data: [DONE]\n\n"


_USAGE = {"prompt_tokens": 900, "completion_tokens": 40, "total_tokens": 940}


def _event(value: Body) -> str:
    return f"data: {json.dumps(value)}\n\n"


def _chunk(delta: Body) -> str:
    return _event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})


def _pieces(text: str) -> list[str]:
    return [text[at : at + 7] for at in range(0, len(text), 7)]


def _since_last_question(messages: list[Body]) -> int:
    """How many messages with tool calls follow the client's last question."""
    questions = [
        at for at, message in enumerate(messages) if message["role"] == "user" and "[question]" in json.dumps(message)
    ]
    return len(calling({"messages": messages[questions[-1] if questions else 0 :]}))


# --------------------------------------------------------------------------------------------------- rules of all servers


def well_formed(body: Body, server: StrictServer) -> Refused | None:
    """The form that every server requires: 6.10 in short."""
    waiting: list[str] = []
    for at, message in enumerate(body["messages"]):
        role = message.get("role")
        if role not in ("system", "user", "assistant", "tool") or (role == "system" and at):
            return openai_error(f"messages[{at}]: role {role!r} is not allowed here")
        if waiting and role != "tool":
            return openai_error("An assistant message with 'tool_calls' must be followed by tool messages")
        if role == "tool":
            if message.get("tool_call_id") not in waiting:
                return openai_error(
                    "messages with role 'tool' must be a response to a preceding message with 'tool_calls'"
                )
            waiting.remove(message["tool_call_id"])
            if not isinstance(message.get("content"), str):
                return openai_error("the content of a tool message must be a text")
        if role == "assistant":
            calls = message.get("tool_calls") or []
            if not calls and not message.get("content"):
                return openai_error(f"the message at position {at} with role 'assistant' must not be empty")
            waiting = [call["id"] for call in calls]
            if len(set(waiting)) < len(waiting):
                return openai_error("Duplicate tool call id")
            for call in calls:
                json.loads(call["function"]["arguments"])
        if role == "user" and not message.get("content"):
            return openai_error("user message must not be empty")
    if waiting and body["messages"]:
        return openai_error("tool_call_ids did not have response messages")
    for tool in body.get("tools", ()):
        function = tool["function"]
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", function["name"]) or function["parameters"].get("type") != "object":
            return openai_error("Invalid schema for function")
    return None


def refuse(name: str, message: str = "Unsupported parameter: '{}' is not supported with this model.") -> Rule:
    """Refuse a field."""
    return refuse_if(lambda body, server: name in body, openai_error(message.format(name), param=name))


def refuse_if(condition: Callable[[Body, StrictServer], Any], refused: Refused) -> Rule:
    """Refuse a request for which `condition` holds."""
    return lambda body, server: refused if condition(body, server) else None


def history(body: Body) -> list[Body]:
    """The assistant messages of a request."""
    return [message for message in body["messages"] if message["role"] == "assistant"]


def calling(body: Body) -> list[Body]:
    """The assistant messages with tool calls."""
    return [message for message in history(body) if message.get("tool_calls")]


def forced(body: Body) -> bool:
    """Whether the request forces a tool choice."""
    choice = body.get("tool_choice")
    return choice in ("required", "any") or isinstance(choice, dict)


def every_schema(body: Body) -> Iterator[Any]:
    """Each schema of the request's tools, with those inside it."""
    left: list[Any] = [tool["function"]["parameters"] for tool in body.get("tools", ())]
    while left:
        schema = left.pop()
        yield schema
        if isinstance(schema, dict):
            left += [*schema.get("properties", {}).values(), *(schema.get("anyOf") or ())]
            if "items" in schema:
                left.append(schema["items"])
