"""The probes of a model's readiness: what each one requests, and how its answer is judged. No I/O.

A probe checks one ability that Claude Code uses. `admin.readiness` runs them, `admin.suitability` draws the conclusion.
"""

from __future__ import annotations

import base64
import re
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Struct

from byway.decoding import DECODE_ERRORS

State = Literal["passed", "failed", "not supported", "not run"]
Block = Mapping[str, Any]

#: Tokens of an answer: of the first one, and those of a model that thinks before every answer; and of other models.
ANSWER: Final = 1024
_SHORT_ANSWER: Final = 400
_THOUGHTFUL: Final = 2048
_BUDGET: Final = 1024
#: Tokens of the long prompt, where the window has room: Claude Code's own prompt has 12,000 to 25,000.
LONG_PROMPT: Final = 20_000
#: The part of a smaller window that the long prompt takes, and the least prompt that shows anything.
_SHARE: Final = 0.6
_SHORTEST: Final = 1_500
#: Tokens of a line of the long prompt, about.
_LINE_TOKENS: Final = 20
_QUOTED: Final = 120
#: How far a token count may be off: one of the backend, and an estimate.
_TOLERANCE: Final = 0.15
_ESTIMATE_TOLERANCE: Final = 0.3
#: The part of the repeated prompt that has to come from the cache, or by which its answer has to be faster.
_REUSED: Final = 0.5


class ProbeAnswer(Struct, frozen=True):
    """What Byway answered to the request of a probe."""

    status: int
    """0 when there was no answer in time."""
    message: str = ""
    """The error; empty when there is none."""
    problem: str = ""
    """The kind of the error."""
    content: tuple[Block, ...] = ()
    stop: str = ""
    input_tokens: int = 0
    """Tokens of the prompt, those from the cache included."""
    cached_tokens: int = 0
    output_tokens: int = 0
    estimated: bool = False
    """The backend reported no tokens."""
    cost: int | None = None
    """In nano-dollars; None when no price is known."""
    ms: float = 0.0
    first_ms: float | None = None
    """To the first content."""
    retry_after: float | None = None
    """Seconds after which the backend accepts the request, as far as it said so."""
    request_id: str = ""
    repairs: tuple[str, ...] = ()
    """Changes of the call that the backend required."""
    counted: int | None = None
    """The result of a token count."""
    by_backend: bool = False
    """The backend itself has counted."""

    @property
    def text(self) -> str:
        return "".join(str(block.get("text", "")) for block in self.content if block.get("type") == "text")

    @property
    def calls(self) -> list[Block]:
        return [block for block in self.content if block.get("type") == "tool_use"]

    @property
    def thinking(self) -> str:
        return "".join(str(block.get("thinking", "")) for block in self.content if block.get("type") == "thinking")


class ProbeResult(Struct, frozen=True):
    """What a probe has shown."""

    name: str
    title: str
    state: State
    cause: str = ""
    """Why it did not pass, as one of a few words: `no tool call`, `refused`, `timeout` ..."""
    reason: str = ""
    """One line for a person."""
    ms: float | None = None
    request_id: str = ""


class Judgement(NamedTuple):
    """The conclusion from an answer."""

    state: State
    cause: str = ""
    reason: str = ""


class Facts(Struct):
    """What is known before a probe: facts of the model, and the answers of earlier probes."""

    window: int | None = None
    vision: bool | None = None
    tools: bool | None = None
    answers: dict[str, ProbeAnswer] = msgspec.field(default_factory=dict)
    results: dict[str, ProbeResult] = msgspec.field(default_factory=dict)

    @property
    def answer_tokens(self) -> int:
        """Tokens that the next answer may take."""
        plain = self.answers.get("plain")
        return ANSWER if plain is None or plain.thinking else _SHORT_ANSWER

    def passed(self, name: str) -> bool:
        return name in self.results and self.results[name].state == "passed"


class Probe(NamedTuple):
    """One probe."""

    name: str
    title: str
    bodies: Callable[[Facts], Sequence[dict[str, Any]]]
    """The request, without the model; a further one is sent when the backend refuses the one before. None: nothing is sent."""
    judge: Callable[[ProbeAnswer, Facts], Judgement]
    optional: bool = False
    """A backend that refuses the request does not have this ability: that is no failure."""
    counts: bool = False
    """It is a token count."""
    skip: Callable[[Facts], Judgement | None] = lambda facts: None
    """The result without a request, where it is known."""


PASSED: Final = Judgement("passed")


def _user(text: str | list[Any]) -> dict[str, Any]:
    return {"role": "user", "content": text}


def _failed(cause: str, reason: str) -> Judgement:
    return Judgement("failed", cause, reason)


#: Characters of a text that are looked at for its start.
_EXAMINED: Final = 2_000
#: What Byway adds to a refusal for Claude Code.
_TOKEN: Final = re.compile(r" \(capability_rejected: [\w:-]{1,80}\)")


def quoted(text: str) -> str:
    """The start of a text, on one line."""
    line = " ".join(_TOKEN.sub("", text[:_EXAMINED]).split())
    return f"{line[:_QUOTED]}…" if len(line) > _QUOTED else line


# ----------------------------------------------------------------------------------------------------------- the tools

WEATHER: Final = {
    "name": "get_weather",
    "description": "Returns the weather that a city has now.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "The name of the city, such as Paris"}},
        "required": ["city"],
    },
}
CLOCK: Final = {
    "name": "get_time",
    "description": "Returns the time in a time zone.",
    "input_schema": {
        "type": "object",
        "properties": {"zone": {"type": "string", "description": "A time zone, such as Europe/Rome"}},
        "required": ["zone"],
    },
}
NOTE: Final = {
    "name": "save_note",
    "description": "Saves a note.",
    "input_schema": {
        "type": "object",
        "properties": {"title": {"type": "string"}, "priority": {"type": "integer"}},
        "required": ["title", "priority"],
    },
}
_TOOLS: Final = [WEATHER, CLOCK]
_AGENT: Final = "You are an agent with tools. Use a tool whenever it can answer the question. Answer briefly."


def _cities(answer: ProbeAnswer) -> list[str]:
    """The cities of the calls of get_weather, in lower case."""
    return [
        str(call["input"].get("city", "")).lower()
        for call in answer.calls
        if call.get("name") == "get_weather" and isinstance(call.get("input"), dict)
    ]


def _without_call(answer: ProbeAnswer, name: str) -> Judgement:
    """Why an answer has no call of the tool `name`."""
    if answer.calls:
        return _failed("wrong tool", f"called {answer.calls[0].get('name')} instead of {name}")
    text = answer.text
    if name in text and any(mark in text for mark in ("{", "(", "<")):
        return _failed("tool call as text", f"wrote the call as text: {quoted(text)}")
    if answer.stop == "max_tokens":
        return _failed("too long", "did not call the tool within its tokens")
    return _failed("no tool call", f"answered without the tool: {quoted(text)}" if text else "answered nothing")


# ---------------------------------------------------------------------------------------------------------- the probes


def _plain(facts: Facts) -> list[dict[str, Any]]:
    return [{"max_tokens": ANSWER, "messages": [_user("Reply with the single word: ready")]}]


def _judge_plain(answer: ProbeAnswer, facts: Facts) -> Judgement:
    text = answer.text
    if "ready" in text.lower():
        return PASSED
    if text.strip():
        return _failed("wrong answer", f"did not follow a simple instruction: {quoted(text)}")
    if answer.stop == "max_tokens":
        return _failed("too long", f"used all of its {ANSWER:,} tokens before it answered")
    return _failed("empty", "answered nothing")


def _tool_call(facts: Facts) -> list[dict[str, Any]]:
    question = _user("What is the weather in Oslo now? Use a tool.")
    return [{"max_tokens": facts.answer_tokens, "system": _AGENT, "tools": _TOOLS, "messages": [question]}]


def _judge_tool_call(answer: ProbeAnswer, facts: Facts) -> Judgement:
    cities = _cities(answer)
    if not cities:
        return _without_call(answer, "get_weather")
    if not any("oslo" in city for city in cities):
        return _failed("wrong arguments", f"called get_weather with {_shown(answer.calls[0])}")
    return PASSED


def _shown(call: Block) -> str:
    return quoted(msgspec.json.encode(call.get("input")).decode())


def _tool_result(facts: Facts) -> list[dict[str, Any]]:
    first = _tool_call(facts)[0]
    # The model's own call, where it made one: with its thinking, which some backends want back.
    called = facts.answers["tool_call"] if facts.passed("tool_call") else None
    content: list[Any] = [
        {"type": "tool_use", "id": "toolu_byway0001", "name": "get_weather", "input": {"city": "Oslo"}}
    ]
    if called is not None:
        content = list(called.content)
    results = [
        {"type": "tool_result", "tool_use_id": block["id"], "content": "17 degrees Celsius, fog, wind from the west"}
        for block in content
        if block["type"] == "tool_use"
    ]
    messages = [*first["messages"], {"role": "assistant", "content": content}, {"role": "user", "content": results}]
    return [{**first, "messages": messages}]


def _judge_tool_result(answer: ProbeAnswer, facts: Facts) -> Judgement:
    if answer.calls:
        return _failed("called again", "called a tool again instead of using its result")
    text = answer.text.lower()
    if "17" in text or "fog" in text or "seventeen" in text:
        return PASSED
    if not text.strip():
        return _failed("empty", "answered nothing to the result of the tool")
    return _failed("wrong answer", f"did not use the result of the tool: {quoted(answer.text)}")


def _parallel(facts: Facts) -> list[dict[str, Any]]:
    question = _user(
        "What is the weather in Oslo and in Lima now? Call the tool for both cities at once, in one answer."
    )
    return [{"max_tokens": facts.answer_tokens, "system": _AGENT, "tools": _TOOLS, "messages": [question]}]


def _judge_parallel(answer: ProbeAnswer, facts: Facts) -> Judgement:
    cities = _cities(answer)
    if not cities:
        return _without_call(answer, "get_weather")
    if len(answer.calls) == 1:
        return Judgement("not supported", "one at a time", "calls one tool at a time")
    if not (any("oslo" in city for city in cities) and any("lima" in city for city in cities)):
        return _failed("wrong arguments", f"called get_weather for {quoted(', '.join(cities))}")
    return PASSED


def _forced(facts: Facts) -> list[dict[str, Any]]:
    question = _user("Remember to buy milk, it is urgent: priority 1.")
    choice = {"type": "tool", "name": "save_note"}
    return [
        {"max_tokens": facts.answer_tokens, "tools": [WEATHER, NOTE], "tool_choice": choice, "messages": [question]}
    ]


def _judge_forced(answer: ProbeAnswer, facts: Facts) -> Judgement:
    calls = [call for call in answer.calls if call.get("name") == "save_note"]
    if not calls:
        return _without_call(answer, "save_note")
    given = calls[0].get("input")
    if not isinstance(given, dict) or not isinstance(given.get("title"), str) or type(given.get("priority")) is not int:
        return _failed("wrong arguments", f"called save_note with {_shown(calls[0])}")
    return PASSED


_FORM: Final = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "country": {"type": "string"}, "capital": {"type": "boolean"}},
    "required": ["city", "country", "capital"],
    "additionalProperties": False,
}


def _schema(facts: Facts) -> list[dict[str, Any]]:
    question = _user(
        "Berlin is the capital of Germany. Give me this as JSON with the fields city, country and capital."
    )
    form = {"format": {"type": "json_schema", "schema": _FORM}}
    return [{"max_tokens": facts.answer_tokens, "output_config": form, "messages": [question]}]


def _judge_schema(answer: ProbeAnswer, facts: Facts) -> Judgement:
    text = answer.text.strip()
    try:
        value = msgspec.json.decode(text)
    except (UnicodeError, *DECODE_ERRORS):
        if answer.stop == "max_tokens":
            return _failed("too long", "the JSON did not end within its tokens")
        return _failed("invalid JSON", f"no valid JSON: {quoted(text)}" if text else "answered nothing")
    if not isinstance(value, dict) or value.keys() != _FORM["properties"].keys():  # type: ignore[attr-defined]
        return _failed("wrong fields", f"JSON of another form: {quoted(text)}")
    if not isinstance(value["city"], str) or not isinstance(value["capital"], bool):
        return _failed("wrong fields", f"JSON with wrong types: {quoted(text)}")
    return PASSED


def _thinking(facts: Facts) -> list[dict[str, Any]]:
    body = {"max_tokens": _THOUGHTFUL, "messages": [_user("What is 17 times 23? Think about it first.")]}
    # Models that think adaptively refuse a budget.
    return [
        {**body, "thinking": {"type": "enabled", "budget_tokens": _BUDGET}},
        {**body, "thinking": {"type": "adaptive"}},
    ]


def _judge_thinking(answer: ProbeAnswer, facts: Facts) -> Judgement:
    if answer.thinking.strip():
        return PASSED
    if any(block.get("type") in ("thinking", "redacted_thinking") for block in answer.content):
        return Judgement("passed", "", "thinks without showing it")
    return Judgement("not supported", "no thinking", "answers without thinking")


@cache
def picture() -> str:
    """A PNG as base64: its left half is red, its right half blue."""
    size = 96
    row = b"\0" + b"\xff\0\0" * (size // 2) + b"\0\0\xff" * (size // 2)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(row * size)) + chunk(b"IEND", b"")
    return base64.b64encode(png).decode()


_NO_IMAGES: Final = "messages images"
"""The repair that replaces images by text."""


def _image(facts: Facts) -> list[dict[str, Any]]:
    source = {"type": "base64", "media_type": "image/png", "data": picture()}
    question = {"type": "text", "text": "Which colour has the left half of this picture, and which the right half?"}
    return [{"max_tokens": facts.answer_tokens, "messages": [_user([{"type": "image", "source": source}, question])]}]


def _judge_image(answer: ProbeAnswer, facts: Facts) -> Judgement:
    if _NO_IMAGES in answer.repairs:
        return Judgement("not supported", "no images", "the backend refuses images; Byway replaces them by text")
    text = answer.text.lower()
    if "red" in text and "blue" in text:
        return PASSED
    return Judgement("not supported", "no images", f"does not see the picture: {quoted(answer.text)}")


def _skip_image(facts: Facts) -> Judgement | None:
    if facts.vision is False:
        return Judgement("not supported", "no images", "the backend reports that the model takes no images")
    return None


# --------------------------------------------------------------------------------------------------------- long prompts

NEEDLE: Final = "4419-cobalt"
_PLACES: Final = ("harbour", "library", "station", "market", "orchard", "lighthouse", "museum", "bridge")
_NEWS: Final = (
    "is open until nine",
    "is closed for repairs",
    "has a new roof",
    "was painted in spring",
    "has two visitors",
)


def long_tokens(facts: Facts) -> int:
    """Tokens of the long prompt."""
    if facts.window is None or facts.window * _SHARE >= LONG_PROMPT:
        return LONG_PROMPT
    return max(_SHORTEST, int(facts.window * _SHARE))


@lru_cache(4)
def long_text(tokens: int) -> str:
    """A text of about so many tokens, with the needle after a third of it."""
    number = tokens // _LINE_TOKENS
    lines = [
        f"Entry {at:04d}: the {_PLACES[at % 8]} of district {at * 7 % 53} {_NEWS[at % 5]}." for at in range(number)
    ]
    lines.insert(number // 3, f"Entry of the keeper: the code of the vault is {NEEDLE}.")
    return "\n".join(lines)


def _long(facts: Facts, question: str) -> list[dict[str, Any]]:
    block = {"type": "text", "text": long_text(long_tokens(facts)), "cache_control": {"type": "ephemeral"}}
    return [{"max_tokens": facts.answer_tokens, "system": [block], "messages": [_user(question)]}]


def _long_prompt(facts: Facts) -> list[dict[str, Any]]:
    return _long(facts, "What is the code of the vault? Reply with the code only.")


def _judge_long(answer: ProbeAnswer, facts: Facts) -> Judgement:
    wanted = long_tokens(facts)
    size = f"{answer.input_tokens or wanted:,} tokens"
    if NEEDLE in answer.text.lower() or NEEDLE.partition("-")[0] in answer.text:
        if wanted < LONG_PROMPT:
            return Judgement("passed", "", f"{size}, because the window is {facts.window:,}")
        return Judgement("passed", "", size)
    if not answer.text.strip():
        return _failed("empty", f"answered nothing to {size}")
    return _failed("needle not found", f"did not find a fact in {size}: {quoted(answer.text)}")


def _count(facts: Facts) -> list[dict[str, Any]]:
    # The small prompt of another probe would show how a template wraps tools, and not how tokens are counted.
    body = _long_prompt(facts)[0]
    del body["max_tokens"]
    return [body]


def _judge_count(answer: ProbeAnswer, facts: Facts) -> Judgement:
    if not answer.counted:
        return _failed("no count", "returned no number")
    used = facts.answers.get("long_prompt")
    how = "counted by the backend" if answer.by_backend else "estimated by Byway: the backend does not count"
    if used is None or not used.input_tokens or used.estimated:
        return Judgement("passed", "", how)
    off = answer.counted / used.input_tokens - 1
    if abs(off) > (_TOLERANCE if answer.by_backend else _ESTIMATE_TOLERANCE):
        return _failed("wrong count", f"{answer.counted:,} tokens, while the answer used {used.input_tokens:,}; {how}")
    return Judgement("passed", "", how if answer.by_backend else f"{how}, {abs(off):.0%} off")


def _prefix(facts: Facts) -> list[dict[str, Any]]:
    return _long(facts, "How many visitors has a place that has visitors? Reply with the number only.")


def _judge_prefix(answer: ProbeAnswer, facts: Facts) -> Judgement:
    first = facts.answers["long_prompt"]
    if answer.input_tokens and answer.cached_tokens >= answer.input_tokens * _REUSED:
        return Judgement("passed", "", f"{answer.cached_tokens / answer.input_tokens:.0%} of the prompt from the cache")
    before, after = first.first_ms or first.ms, answer.first_ms or answer.ms
    if after <= before * _REUSED:
        return Judgement("passed", "", "the second answer started in less than half of the time")
    return _failed("not reused", "each request processes the whole prompt again")


def _skip_prefix(facts: Facts) -> Judgement | None:
    if facts.passed("long_prompt"):
        return None
    return Judgement("not run", "not run", "the long prompt failed")


PROBES: Final = (
    Probe("plain", "Plain answer", _plain, _judge_plain),
    Probe("tool_call", "Tool call", _tool_call, _judge_tool_call),
    Probe("tool_result", "Tool result", _tool_result, _judge_tool_result),
    Probe("parallel", "Parallel tools", _parallel, _judge_parallel, optional=True),
    Probe("forced_tool", "Forced tool", _forced, _judge_forced),
    Probe("json_schema", "JSON schema", _schema, _judge_schema),
    Probe("thinking", "Thinking", _thinking, _judge_thinking, optional=True),
    Probe("image", "Image", _image, _judge_image, optional=True, skip=_skip_image),
    Probe("long_prompt", "Long prompt", _long_prompt, _judge_long),
    Probe("token_count", "Token count", _count, _judge_count, counts=True),
    Probe("prefix_reuse", "Prefix reuse", _prefix, _judge_prefix, skip=_skip_prefix),
)

#: Kinds of problem that say that the request itself was refused.
_REFUSALS: Final = frozenset(
    ("invalid_request", "not_supported", "too_large", "model_not_found", "not_found", "upstream")
)
_CAUSES: Final = {
    "timeout": "timeout",
    "prompt_too_long": "prompt too long",
    "rate_limit": "rate limit",
    "quota": "rate limit",
    "limit": "rate limit",
    "budget": "rate limit",
    "overloaded": "busy",
    "busy": "busy",
    "loading": "loading",
    "unreachable": "unreachable",
    "refused": "API key rejected",
    "forbidden": "access denied",
    "billing": "no credit",
    "model_not_found": "model not found",
    "policy_blocked": "blocked",
    "broken": "invalid answer",
    "stopping": "stopped",
}


def is_refused(answer: ProbeAnswer) -> bool:
    """Was the request itself refused, so that another form of it may work?"""
    return bool(answer.message) and answer.problem in _REFUSALS and answer.problem != "upstream"


def judge(probe: Probe, answer: ProbeAnswer, facts: Facts) -> Judgement:
    """The conclusion from the answer to a probe."""
    if not answer.message:
        return probe.judge(answer, facts)
    if probe.optional and facts.passed("plain") and answer.problem in _REFUSALS:
        return Judgement("not supported", "refused", f"refused: {quoted(answer.message)}")
    cause = _CAUSES.get(answer.problem, "refused" if answer.problem in _REFUSALS else "server error")
    if answer.problem == "upstream":
        cause = "server error"
    return _failed(cause, quoted(answer.message))


def result(probe: Probe, judgement: Judgement, answer: ProbeAnswer | None = None) -> ProbeResult:
    """The result of a probe."""
    ms = None if answer is None else answer.ms
    request_id = "" if answer is None else answer.request_id
    return ProbeResult(probe.name, probe.title, judgement.state, judgement.cause, judgement.reason, ms, request_id)
