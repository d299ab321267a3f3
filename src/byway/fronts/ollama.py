"""Translates requests of Ollama's API to Messages requests, and answers back. Pure.

Shapes: https://github.com/ollama/ollama/blob/main/docs/api.md and the `ollama` package 0.6.3 (both seen 2026-11-30). A stream has
one object of JSON in each line; an empty line is no JSON for its clients.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, NoReturn

import msgspec
from msgspec import Struct

from byway.decoding import DECODE_ERRORS
from byway.fronts import accepted
from byway.fronts.accepted import CONTINUE, CallIds
from byway.fronts.chat import ANY_OBJECT
from byway.fronts.formats import closed, is_free
from byway.messages import claudecode
from byway.messages import request as messages
from byway.messages.events import Part, Ping
from byway.messages.request import Request
from byway.messages.sse import Decoder
from byway.messages.stream import EVENT_ERRORS, fields, fold, tool_input
from byway.problems import Problem

_encode: Final = msgspec.json.Encoder().encode
#: Ids of tool calls, which this API does not have in its older form.
_CALL_ID: Final = "call_{}"
#: The first bytes of images in base64.
_IMAGE_TYPES: Final = (
    ("iVBOR", "image/png"),
    ("/9j/", "image/jpeg"),
    ("R0lGOD", "image/gif"),
    ("UklGR", "image/webp"),
)
_FINISH: Final = {"max_tokens": "length", "model_context_window_exceeded": "length"}


class _OllamaCalled(Struct):
    name: str = ""
    arguments: Any = None


class _OllamaCall(Struct):
    function: _OllamaCalled = msgspec.field(default_factory=_OllamaCalled)
    id: str | None = None


class _OllamaMessage(Struct):
    role: str
    content: str | None = None
    images: list[str] | None = None
    tool_calls: list[_OllamaCall] | None = None
    tool_name: str | None = None
    name: str | None = None
    tool_call_id: str | None = None


class _OllamaFunction(Struct):
    name: str = ""
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _OllamaTool(Struct):
    function: _OllamaFunction
    type: str = "function"


class _OllamaOptions(Struct):
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    num_predict: int | None = None
    stop: str | list[str] | None = None


class OllamaBody(Struct, kw_only=True):
    """The fields of `/api/chat` and `/api/generate` that the Messages API can express."""

    model: str
    messages: list[_OllamaMessage] | None = None
    prompt: str | None = None
    system: str | None = None
    images: list[str] | None = None
    suffix: str | None = None
    tools: list[_OllamaTool] | None = None
    stream: bool | None = None
    think: bool | str | None = None
    format: Any = None
    options: _OllamaOptions | None = None
    keep_alive: Any = None


class OllamaRequest(NamedTuple):
    """A request that was read."""

    body: OllamaBody
    request: Request | None
    """None: the client only loads or unloads the model, which needs no answer."""


_body: Final = msgspec.json.Decoder(OllamaBody)


def read(body: bytes, headers: Mapping[str, str], id: str, name: Callable[[str], str], *, chat: bool) -> OllamaRequest:
    """Read the body of `/api/chat`, or of `/api/generate`. `name` finds the model of a name. Raises Problem `invalid_request`."""
    try:
        given = _body.decode(body)
    except Exception as error:
        raise messages.invalid(error, body="The request body") from None
    given.model = name(given.model)
    if chat:
        conversation = given.messages or []
    else:
        if given.suffix:
            _wrong("suffix", "the Messages API cannot fill in the middle of a text; use /v1/completions")
        conversation = [_OllamaMessage("system", given.system)] if given.system else []
        if given.prompt or given.images:
            conversation.append(_OllamaMessage("user", given.prompt, given.images))
    if not any(message.role != "system" for message in conversation):
        return OllamaRequest(given, None)
    request = accepted.parse(_messages_body(given, conversation), headers, id)
    # Unlike a Messages request it needs no `max_tokens`.
    request.content.extra = {}
    return OllamaRequest(given, request)


# ------------------------------------------------------------------------------------------------------------------ request


def _messages_body(given: OllamaBody, conversation: list[_OllamaMessage]) -> dict[str, Any]:
    at = next(at for at, message in enumerate(conversation) if message.role != "system")
    system = [text for message in conversation[:at] if (text := _text(message))]
    body: dict[str, Any] = {"model": given.model, "stream": given.stream is not False}
    schema = _schema(given.format)
    if is_free(schema):
        system.append(ANY_OBJECT)
    if system:
        body["system"] = "\n\n".join(system)
    body["messages"] = _turns(conversation, at)
    if (options := given.options) is not None:
        if options.num_predict is not None and options.num_predict > 0:
            body["max_tokens"] = options.num_predict
        if options.temperature is not None:
            # Ollama's range has no end, that of the Messages API ends at 1.
            body["temperature"] = min(options.temperature, 1.0)
        sampling = {"top_p": options.top_p, "top_k": options.top_k}
        body |= {name: value for name, value in sampling.items() if value is not None}
        if options.stop:
            body["stop_sequences"] = [options.stop] if isinstance(options.stop, str) else options.stop
    if given.tools:
        body["tools"] = [_tool(tool, f"tools.{index}") for index, tool in enumerate(given.tools)]
    config: dict[str, Any] = {}
    if given.think is False:
        body["thinking"] = {"type": "disabled"}
    elif given.think is not None:
        body["thinking"] = {"type": "adaptive"}
        if isinstance(given.think, str):
            config["effort"] = given.think
    if schema is not None and not is_free(schema):
        config["format"] = {"type": "json_schema", "schema": closed(schema)}
    if config:
        body["output_config"] = config
    return body


def _schema(form: Any) -> dict[str, Any] | None:
    """The schema of the format; empty for any JSON object, None for text."""
    if form in (None, ""):
        return None
    if form == "json":
        return {}
    if isinstance(form, dict):
        return form
    _wrong("format", "Input should be 'json' or a JSON schema")


def _turns(conversation: list[_OllamaMessage], at: int) -> list[dict[str, Any]]:
    """The conversation from message `at` on. Results of tools are grouped, as the Messages API requires."""
    turns: list[dict[str, Any]] = []
    results: list[dict[str, Any]] | None = None
    waiting: list[tuple[str, str]] = []
    """The ids and names of calls without a result."""
    calls, ids = 0, CallIds()
    for index, message in enumerate(conversation[at:], at):
        path = f"messages.{index}"
        if message.role == "tool":
            result = {"type": "tool_result", "content": message.content or ""}
            id = _answered(message, waiting)
            if not id:
                turns.append({"role": "user", "content": f"Result of a tool: {message.content or ''}"})
                continue
            id = ids.result(id)
            if results is None:
                results = []
                turns.append({"role": "user", "content": results})
            results.append({**result, "tool_use_id": id})
            continue
        results = None
        match message.role:
            case "user":
                blocks = [_image(image, f"{path}.images.{number}") for number, image in enumerate(message.images or ())]
                if text := _text(message):
                    blocks.append({"type": "text", "text": text})
                if blocks:
                    turns.append({"role": "user", "content": blocks if message.images else text})
                elif not turns or turns[-1]["role"] == "assistant":
                    turns.append({"role": "user", "content": CONTINUE})
            case "assistant":
                blocks = [{"type": "text", "text": text}] if (text := _text(message)) else []
                waiting = []
                ids.begin()
                for call in message.tool_calls or ():
                    id = call.id or _CALL_ID.format(calls)
                    calls += 1
                    waiting.append((id, call.function.name))
                    given = call.function.arguments
                    value = tool_input(given) if isinstance(given, str) else given or {}
                    blocks.append({"type": "tool_use", "id": ids.call(id), "name": call.function.name, "input": value})
                if blocks:
                    turns.append({"role": "assistant", "content": blocks})
            case "system":
                if text := _text(message):
                    turns.append({"role": "user", "content": claudecode.reminder(text)})
            case _:
                _wrong(f"{path}.role", "Input should be 'system', 'user', 'assistant' or 'tool'")
    return turns or [{"role": "user", "content": CONTINUE}]


def _text(message: _OllamaMessage) -> str:
    """The text of a message; empty for one without a word, which servers refuse."""
    text = message.content or ""
    return text if text.strip() else ""


def _answered(message: _OllamaMessage, waiting: list[tuple[str, str]]) -> str:
    """The id of the call that a result belongs to: by its id, by the name of the tool, or the first one. Empty: none waits."""
    name = message.tool_name or message.name
    for at, (id, called) in enumerate(waiting):
        if id == message.tool_call_id or (not message.tool_call_id and (not name or called == name)):
            del waiting[at]
            return id
    return waiting.pop(0)[0] if waiting else ""


def _image(data: str, path: str) -> dict[str, Any]:
    if data.startswith("data:"):
        data = data.partition(",")[2]
    kind = next((kind for start, kind in _IMAGE_TYPES if data.startswith(start)), None)
    if kind is None:
        _wrong(path, "Input should be a PNG, JPEG, GIF or WebP image in base64")
    return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}}


def _tool(tool: _OllamaTool, path: str) -> dict[str, Any]:
    function = tool.function
    if tool.type != "function" or not function.name:
        _wrong(path, f"the type must be 'function', with a name; this is {tool.type[:60]!r}")
    made: dict[str, Any] = {"name": function.name}
    if function.description is not None:
        made["description"] = function.description
    made["input_schema"] = function.parameters or {"type": "object", "properties": {}}
    return made


def _wrong(path: str, message: str) -> NoReturn:
    raise Problem("invalid_request", f"{path}: {message}")


# ------------------------------------------------------------------------------------------------------------------- answer


class AnswerLines:
    """Encodes the parts of one answer as lines of JSON, or as one object."""

    def __init__(self, model: str, created: float, elapsed: Callable[[], float], *, chat: bool) -> None:
        """`created`: seconds since the epoch; `elapsed`: seconds since the request. `chat`: for `/api/chat`."""
        moment = datetime.datetime.fromtimestamp(created, datetime.UTC).isoformat(timespec="microseconds")
        self._head = {"model": model, "created_at": moment.replace("+00:00", "Z")}
        self._elapsed = elapsed
        self._chat = chat
        self._decoder = Decoder()
        self._calls: dict[int, tuple[str, str, list[str]]] = {}
        """The id, the name and the pieces of the input of each open tool call, by the index of its block."""
        self._count = 0
        self._reason = "stop"
        self._usage: dict[str, Any] = {}
        self._first: float | None = None

    def encode(self, parts: Iterable[Part]) -> bytes:
        """The lines of `parts`. A ping becomes an empty piece of text."""
        lines: list[bytes] = []
        for part in parts:
            if type(part) is Ping:
                lines.append(self._text(""))
                continue
            try:
                lines += map(self._line, fields(part, self._decoder))
            except EVENT_ERRORS:
                raise Problem("broken", "The backend sent an event that is not part of the Messages API.") from None
        return b"".join(lines)

    def whole(self, parts: list[Part]) -> bytes:
        """The whole answer. Raises Problem `broken` for parts that do not make one."""
        message = msgspec.json.decode(fold(parts))
        texts, thoughts, calls = [], [], []
        for block in message["content"]:
            match block.get("type"):
                case "text":
                    texts.append(block["text"])
                case "thinking":
                    thoughts.append(block["thinking"])
                case "tool_use":
                    calls.append(self._call(block["id"], block["name"], block["input"]))
        self._reason = message.get("stop_reason") or ""
        self._usage = message["usage"]
        return _encode({**self._head, **self._content("".join(texts), "".join(thoughts), calls), **self._end()})

    def loaded(self, *, unloaded: bool) -> bytes:
        """The answer to a request that only loads or unloads the model."""
        reason = "unload" if unloaded else "load"
        return _encode({**self._head, **self._content(""), "done": True, "done_reason": reason})

    def _content(self, text: str, thinking: str = "", calls: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        more: dict[str, Any] = {"thinking": thinking} if thinking else {}
        if calls:
            more["tool_calls"] = calls
        if self._chat:
            return {"message": {"role": "assistant", "content": text, **more}}
        return {"response": text, **more}

    def _text(self, text: str, thinking: str = "", calls: list[dict[str, Any]] | None = None) -> bytes:
        return _encode({**self._head, **self._content(text, thinking, calls), "done": False}) + b"\n"

    def _call(self, id: str, name: str, given: Any) -> dict[str, Any]:
        call = {"id": id, "function": {"index": self._count, "name": name, "arguments": given}}
        self._count += 1
        return call

    def _line(self, event: dict[str, Any]) -> bytes:
        match event["type"]:
            case "message_start":
                self._usage = dict(event["message"].get("usage") or {})
            case "content_block_start" if event["content_block"]["type"] == "tool_use":
                block = event["content_block"]
                self._calls[event["index"]] = (block["id"], block["name"], [])
            case "content_block_delta":
                if self._first is None:
                    self._first = self._elapsed()
                delta = event["delta"]
                match delta["type"]:
                    case "text_delta":
                        return self._text(delta["text"])
                    case "thinking_delta":
                        return self._text("", delta["thinking"])
                    case "input_json_delta" if event["index"] in self._calls:
                        self._calls[event["index"]][2].append(delta["partial_json"])
            case "content_block_stop" if event["index"] in self._calls:
                id, name, pieces = self._calls.pop(event["index"])
                return self._text("", calls=[self._call(id, name, tool_input("".join(pieces)))])
            case "message_delta":
                counts = event.get("usage") or {}
                self._usage.update({name: count for name, count in counts.items() if count is not None})
                self._reason = event["delta"].get("stop_reason") or ""
            case "message_stop":
                return _encode({**self._head, **self._content(""), **self._end()}) + b"\n"
        return b""

    def _end(self) -> dict[str, Any]:
        """The fields at the end of an answer. Times are in nanoseconds."""
        total = self._elapsed()
        first = total if self._first is None else self._first
        usage = self._usage
        prompt = sum(
            usage.get(name) or 0 for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
        )
        return {
            "done": True,
            "done_reason": _FINISH.get(self._reason, "stop"),
            "total_duration": int(total * 1e9),
            "load_duration": 0,
            "prompt_eval_count": prompt,
            "prompt_eval_duration": int(first * 1e9),
            "eval_count": usage.get("output_tokens") or 0,
            "eval_duration": int((total - first) * 1e9),
        }


# --------------------------------------------------------------------------------------------------------------- embeddings


class EmbedBody(Struct):
    """The fields of `/api/embed` and of the older `/api/embeddings`, which has one `prompt`."""

    model: str
    input: str | list[str] | None = None
    prompt: str | None = None
    dimensions: int | None = None


_embed: Final = msgspec.json.Decoder(EmbedBody)


def read_embed(body: bytes) -> EmbedBody:
    """Read a request for embeddings. Raises Problem `invalid_request`."""
    try:
        given = _embed.decode(body)
    except Exception as error:
        raise messages.invalid(error, body="The request body") from None
    if given.input is None and given.prompt is None:
        _wrong("input", "Field required")
    return given


def embeddings_body(given: EmbedBody, model: str) -> bytes:
    """The request for `/v1/embeddings`."""
    texts = given.prompt if given.input is None else given.input
    body: dict[str, Any] = {"model": model, "input": texts, "encoding_format": "float"}
    if given.dimensions is not None:
        body["dimensions"] = given.dimensions
    return _encode(body)


class _Vector(Struct):
    embedding: msgspec.Raw
    index: int = 0


class _Vectors(Struct):
    data: list[_Vector]
    usage: dict[str, Any] | None = None


_vectors: Final = msgspec.json.Decoder(_Vectors)


def embedded(answer: bytes, given: EmbedBody, elapsed: float) -> bytes:
    """The answer of `/v1/embeddings` in Ollama's form; raises Problem `broken`."""
    try:
        read = _vectors.decode(answer)
    except DECODE_ERRORS:
        raise Problem("broken", "The backend sent something that is no list of embeddings.") from None
    vectors = [vector.embedding for vector in sorted(read.data, key=lambda vector: vector.index)]
    if given.input is None:
        return _encode({"embedding": vectors[0] if vectors else []})
    count = (read.usage or {}).get("prompt_tokens") or 0
    duration = int(elapsed * 1e9)
    more = {"total_duration": duration, "load_duration": 0, "prompt_eval_count": count}
    return _encode({"model": given.model, "embeddings": vectors, **more})
