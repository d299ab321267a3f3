"""Translates a chat completion of a client to a Messages request, and the answer back. Pure.

A chat backend gets the client's own bytes (`backends.openai.passthrough`); other backends, and web searches of Byway, use the
Messages request. Shapes: https://platform.openai.com/docs/api-reference/chat (seen 2026-11-20).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, NoReturn

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from byway.fronts import accepted
from byway.fronts.accepted import CONTINUE, CallIds
from byway.fronts.formats import closed, is_free
from byway.fronts.responseerrors import code_of
from byway.messages import claudecode
from byway.messages import request as messages
from byway.messages.events import Part, Passthrough, Ping, WholeAnswer
from byway.messages.request import Content, Request
from byway.messages.stream import EVENT_ERRORS, fields, fold, input_text, tool_input
from byway.problems import Problem

_encode: Final = msgspec.json.Encoder().encode
_any: Final = msgspec.json.Decoder().decode


#: The model of a chat completion that names none: an alias.
DEFAULT: Final = "default"


class _Function(Struct, frozen=True):
    name: str = ""
    description: str | None = None
    parameters: Raw = Raw()
    strict: bool | None = None
    arguments: str | None = None


class _Call(Struct, frozen=True):
    id: str = ""
    type: str = "function"
    function: _Function = _Function()


class _ChatMessage(Struct):
    role: str
    content: Any = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None
    tool_call_id: str | None = None
    name: str | None = None
    function_call: _Function | None = None
    cache_control: Any = None


class _Tool(Struct):
    type: str = "function"
    function: _Function | None = None
    cache_control: Any = None


class _JsonSchema(Struct):
    schema: Raw = Raw()


class _Form(Struct):
    type: str = "text"
    json_schema: _JsonSchema | None = None


class _Options(Struct):
    include_usage: bool | None = None


class Chat(Struct, kw_only=True):
    """The fields of `POST /v1/chat/completions` that the Messages API can express."""

    model: str = DEFAULT
    messages: list[_ChatMessage]
    stream: bool | None = None
    stream_options: _Options | None = None
    n: int | None = None
    tools: list[_Tool] | None = None
    tool_choice: Any = None
    functions: list[_Function] | None = None
    """The older form of `tools`, with `function_call` instead of `tool_choice`, `tool_calls` and `finish_reason: tool_calls`."""
    function_call: Any = None
    parallel_tool_calls: bool | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: str | list[str] | None = None
    reasoning_effort: str | None = None
    response_format: _Form | None = None

    @property
    def counted(self) -> bool:
        """The client wants the usage at the end of a stream."""
        return bool(self.stream_options and self.stream_options.include_usage)


class _Outline(Struct):
    """The fields that a chat completion needs on its way to a backend that has the same API."""

    messages: list[Raw]
    model: str | UnsetType = UNSET
    stream: bool | None = None
    stream_options: _Options | UnsetType | None = UNSET
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    functions: Raw = Raw()


class ChatOutline(NamedTuple):
    """What the answer to a chat completion depends on."""

    counted: bool
    """The client wants the usage at the end of a stream."""
    functions: bool
    """It has the older form of tools."""


_outline: Final = msgspec.json.Decoder(_Outline)
_chat: Final = msgspec.json.Decoder(Chat)
_raw_fields: Final = msgspec.json.Decoder(dict[str, Raw])
_KNOWN: Final = frozenset(Chat.__struct_fields__)
#: Ids of calls in the older form, which has none.
_CALL_ID: Final = "call_function_{}"


def outline(body: bytes, headers: Mapping[str, str], id: str) -> tuple[Request, ChatOutline]:
    """Read a chat completion as far as a backend with the same API needs it: others get `content.translation`.

    Raises Problem `invalid_request`.
    """
    try:
        fields = _outline.decode(body)
        if not body.isascii():
            # The decoder has checked the structure of the messages only.
            body.decode()
    except Exception as error:
        raise messages.invalid(error, body="The request body") from None
    if not fields.messages:
        raise Problem("invalid_request", "messages: at least one message is required")
    model = fields.model
    if isinstance(model, UnsetType):
        model = DEFAULT
        body = _with_default(body)
    most = fields.max_completion_tokens if fields.max_tokens is None else fields.max_tokens
    stream = bool(fields.stream)
    counted = bool(fields.stream_options and fields.stream_options.include_usage)
    params = messages.Params(model=model, max_tokens=UNSET if most is None else most, stream=stream)
    content = Content(
        body,
        params,
        [],
        body,
        {},
        documents=False,
        translation=lambda: read(body, headers, id)[0],
        includes_usage=counted,
        stream_options=fields.stream_options is not UNSET,
    )
    request = Request(id, model, stream, len(body), headers, content)
    return request, ChatOutline(counted, bytes(fields.functions) not in (b"", b"null"))


def _with_default(body: bytes) -> bytes:
    """The body with the model `default`. The backend's own name replaces it."""
    return messages.extended(body, b'"model":"%b"' % DEFAULT.encode())


def read(body: bytes, headers: Mapping[str, str], id: str) -> tuple[Request, Chat]:
    """Decode a chat completion: the Messages request that it stands for, and its own fields. Raises Problem `invalid_request`."""
    try:
        chat, given = _chat.decode(body), _raw_fields.decode(body)
    except Exception as error:
        raise messages.invalid(error, body="The request body") from None
    if not chat.messages:
        raise Problem("invalid_request", "messages: at least one message is required")
    if "model" not in given:
        body = _with_default(body)
    untranslatable: Problem | None = None
    try:
        request = accepted.parse(_messages_body(chat), headers, id)
    except Problem as problem:
        # A backend that speaks chat may know more of the format than Byway does.
        untranslatable = problem
        least = {"model": chat.model, "stream": bool(chat.stream), "messages": [{"role": "user", "content": "-"}]}
        # Without a tool choice Byway could search for this text instead of the client's.
        request = messages.parse(_encode({**least, "tool_choice": {"type": "none"}}), headers, id)
    extra = {name: raw for name, raw in given.items() if name not in _KNOWN}
    request.content.chat, request.content.extra = body, extra
    request = msgspec.structs.replace(request, size=len(body), untranslatable=untranslatable)
    return request, chat


# ------------------------------------------------------------------------------------------------------------------ request


def _messages_body(chat: Chat) -> dict[str, Any]:
    """The body of the Messages request; raises Problem for fields that it cannot express."""
    if chat.n is not None and chat.n != 1:
        _wrong(
            "n",
            "must be 1 or absent, because the backend of this model uses the Messages API, which returns one answer",
        )
    system, at = _System(), 0
    for at, message in enumerate(chat.messages):
        if message.role not in ("system", "developer"):
            break
        system.add(_texts(message, f"messages.{at}.content"))
    else:
        at += 1
    schema = _schema(chat)
    if is_free(schema):
        system.add([{"type": "text", "text": ANY_OBJECT}])
    body: dict[str, Any] = {"model": chat.model, "stream": bool(chat.stream)}
    if content := system.content:
        body["system"] = content
    body["messages"] = _turns(chat.messages, at)
    most = chat.max_completion_tokens if chat.max_tokens is None else chat.max_tokens
    named = {"max_tokens": most, "top_p": chat.top_p}
    body.update({name: value for name, value in named.items() if value is not None})
    if chat.temperature is not None:
        # The range of chat completions is 0 to 2, that of the Messages API 0 to 1.
        body["temperature"] = min(chat.temperature, 1.0)
    if chat.stop:
        body["stop_sequences"] = [chat.stop] if isinstance(chat.stop, str) else chat.stop
    if chat.functions and not chat.tools:
        chat.tools = [_Tool(function=function) for function in chat.functions]
        chat.tool_choice = chat.function_call
        if isinstance(chat.function_call, dict):
            chat.tool_choice = {"function": chat.function_call}
        # The older form has one call in an answer.
        chat.parallel_tool_calls = False
    if chat.tools:
        body["tools"] = [_tool(tool, f"tools.{at}") for at, tool in enumerate(chat.tools)]
        body.update(_choice(chat))
    config = _config(chat, schema)
    if config:
        body["output_config"] = config
    if chat.reasoning_effort == "none":
        body["thinking"] = {"type": "disabled"}
    elif chat.reasoning_effort:
        # A request of the Messages API without it gets no thinking, whatever its effort.
        body["thinking"] = {"type": "adaptive", "display": "summarized"}
    return body


class _System:
    """The blocks of the system prompt: one, unless the client marks the end of a part for the cache."""

    def __init__(self) -> None:
        self._blocks: list[tuple[list[str], dict[str, Any]]] = []
        """The pieces of each block, and its mark."""

    def add(self, texts: list[dict[str, Any]]) -> None:
        """Add the texts of one message."""
        separator = "\n\n"
        for text in texts:
            if not self._blocks or self._blocks[-1][1]:
                self._blocks.append(([], {}))
                separator = ""
            pieces, mark = self._blocks[-1]
            pieces += separator, text["text"]
            mark |= _mark(text.get("cache_control"))
            separator = ""

    @property
    def content(self) -> str | list[dict[str, Any]]:
        blocks = [{"type": "text", "text": "".join(pieces), **mark} for pieces, mark in self._blocks]
        return (
            blocks if len(blocks) > 1 or any(mark for _, mark in self._blocks) else blocks[0]["text"] if blocks else ""
        )


def _turns(messages: list[_ChatMessage], at: int) -> list[dict[str, Any]]:
    """The conversation from message `at` on. Results of tools are grouped, as the Messages API requires."""
    turns: list[dict[str, Any]] = []
    results: list[dict[str, Any]] | None = None
    ids = CallIds()
    last_call = ""
    for index, message in enumerate(messages[at:], at):
        path = f"messages.{index}"
        if message.function_call is not None and not message.tool_calls:
            last_call = _CALL_ID.format(index)
            message.tool_calls = [_Call(last_call, function=message.function_call)]
        if message.role in ("tool", "function"):
            if message.role == "function":
                message.tool_call_id = last_call or _wrong(
                    f"{path}.role", "there is no function_call before this result"
                )
            id = message.tool_call_id or _wrong(f"{path}.tool_call_id", "Field required")
            result = {
                "type": "tool_result",
                "tool_use_id": ids.result(id),
                "content": _content(message, f"{path}.content"),
            }
            if results is None:
                results = []
                turns.append({"role": "user", "content": results})
            results.append(result)
            continue
        results = None
        match message.role:
            case "user":
                if content := _content(message, f"{path}.content"):
                    turns.append({"role": "user", "content": content})
                elif not turns or turns[-1]["role"] == "assistant":
                    turns.append({"role": "user", "content": CONTINUE})
            case "assistant":
                if content := _answer(message, path, ids):
                    turns.append({"role": "assistant", "content": content})
            case "system" | "developer":
                if text := _text(_texts(message, f"{path}.content")):
                    turns.append({"role": "user", "content": claudecode.reminder(text)})
            case _:
                _wrong(
                    f"{path}.role", "Input should be 'system', 'developer', 'user', 'assistant', 'tool' or 'function'"
                )
    # Instructions alone are a conversation for servers of OpenAI.
    return turns or [{"role": "user", "content": CONTINUE}]


def _answer(message: _ChatMessage, path: str, ids: CallIds) -> list[dict[str, Any]]:
    texts = _texts(message, f"{path}.content")
    text = _text(texts) or message.refusal or ""
    blocks: list[dict[str, Any]] = []
    if text.strip():
        marks = [part["cache_control"] for part in texts if "cache_control" in part]
        blocks.append({"type": "text", "text": text, **({"cache_control": marks[-1]} if marks else {})})
    if message.tool_calls:
        ids.begin()
    for at, call in enumerate(message.tool_calls or ()):
        if not call.id or not call.function.name:
            _wrong(f"{path}.tool_calls.{at}", "id and function.name are required")
        given = tool_input(call.function.arguments or "")
        blocks.append({"type": "tool_use", "id": ids.call(call.id), "name": call.function.name, "input": given})
    return blocks


def _text(texts: list[dict[str, Any]]) -> str:
    return "".join([part["text"] for part in texts])


def _texts(message: _ChatMessage, path: str) -> list[dict[str, Any]]:
    """The blocks of a content that may contain only text."""
    content = _content(message, path)
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    if any(part["type"] != "text" for part in content):
        _wrong(path, "only text is allowed here")
    return content


def _content(message: _ChatMessage, path: str) -> str | list[dict[str, Any]]:
    """A content in the Messages format: text, or a list of blocks. Texts without a word, which servers refuse, are left out."""
    content = message.content
    if content is None:
        return ""
    if isinstance(content, str):
        if not content.strip():
            return ""
        mark = _mark(message.cache_control)
        return [{"type": "text", "text": content, **mark}] if mark else content
    if not isinstance(content, list):
        _wrong(path, "Input should be a string or a list of parts")
    parts = [_part(part, f"{path}.{at}") for at, part in enumerate(content)]
    parts = [part for part in parts if part["type"] != "text" or part["text"].strip()]
    if parts and (mark := _mark(message.cache_control)):
        parts[-1] |= mark
    return parts or ""


def _mark(given: Any) -> dict[str, Any]:
    """The mark for the prompt cache that clients in the style of OpenRouter send, as a field of a block; empty for none."""
    return {"cache_control": given} if isinstance(given, dict) and given.get("type") == "ephemeral" else {}


_DATA: Final = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[\w.=-]+)*;base64,(.*)", re.DOTALL)


def _part(part: Any, path: str) -> dict[str, Any]:
    made = _block(part, path)
    if "cache_control" in part:
        made |= _mark(part["cache_control"])
    return made


def _block(part: Any, path: str) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, dict) else None
    match kind:
        case "text" | "refusal" if isinstance(part.get(kind), str):
            return {"type": "text", "text": part[kind]}
        case "image_url":
            image = part.get("image_url")
            url = image.get("url") if isinstance(image, dict) else image
            if not isinstance(url, str):
                _wrong(f"{path}.image_url.url", "Field required")
            return {"type": "image", "source": source(url)}
        case "file":
            file = part.get("file")
            data = file.get("file_data") if isinstance(file, dict) else None
            if not isinstance(data, str):
                _wrong(f"{path}.file.file_data", "Field required: send the file in the request, as a data URL")
            name = file.get("filename")
            titled = {"title": name} if isinstance(name, str) else {}
            return {"type": "document", "source": source(data, "application/pdf"), **titled}
        case _:
            _wrong(
                f"{path}.type", f"{str(kind)[:60]!r} is not supported by the Messages API; use text, image_url or file"
            )


def source(url: str, kind: str = "") -> dict[str, Any]:
    """The source of an image or a document. `kind` is the media type of data that has none."""
    match = _DATA.fullmatch(url)
    if match:
        return {"type": "base64", "media_type": match[1], "data": match[2]}
    if kind and not url.startswith(("http:", "https:")):
        return {"type": "base64", "media_type": kind, "data": url}
    return {"type": "url", "url": url}


def _tool(tool: _Tool, path: str) -> dict[str, Any]:
    function = tool.function
    if tool.type != "function" or function is None or not function.name:
        _wrong(path, f"the type must be 'function', with a name; this is {tool.type[:60]!r}")
    made: dict[str, Any] = {"name": function.name}
    if function.description is not None:
        made["description"] = function.description
    made["input_schema"] = function.parameters if len(function.parameters) else {"type": "object", "properties": {}}
    if function.strict:
        made["strict"] = True
    return made | _mark(tool.cache_control)


def _choice(chat: Chat) -> dict[str, Any]:
    wanted = chat.tool_choice
    named = wanted.get("function") if isinstance(wanted, dict) else None
    choice: dict[str, Any]
    if isinstance(named, dict) and isinstance(named.get("name"), str):
        choice = {"type": "tool", "name": named["name"]}
    elif wanted in (None, "auto", "none", "required"):
        choice = {"type": {"none": "none", "required": "any"}.get(str(wanted), "auto")}
    else:
        _wrong("tool_choice", "Input should be 'auto', 'none', 'required' or a function with its name")
    if chat.parallel_tool_calls is False and choice["type"] != "none":
        choice["disable_parallel_tool_use"] = True
    return {} if choice == {"type": "auto"} else {"tool_choice": choice}


def _config(chat: Chat, schema: dict[str, Any] | None) -> dict[str, Any]:
    config: dict[str, Any] = {}
    if chat.reasoning_effort and chat.reasoning_effort != "none":
        config["effort"] = {"minimal": "low"}.get(chat.reasoning_effort, chat.reasoning_effort)
    if schema is not None and not is_free(schema):
        config["format"] = {"type": "json_schema", "schema": closed(schema)}
    return config


#: For a format that permits any object, which the Messages API cannot express: a closed object without properties is `{}`.
ANY_OBJECT: Final = "Answer with one JSON object and nothing else."


def _schema(chat: Chat) -> dict[str, Any] | None:
    """The schema of the required format; empty for any JSON object, None for text."""
    form = chat.response_format
    if form is None or form.type not in ("json_schema", "json_object"):
        return None
    if form.type == "json_object" or form.json_schema is None:
        return {}
    if not len(form.json_schema.schema):
        _wrong("response_format.json_schema.schema", "Field required")
    schema = _any(form.json_schema.schema)
    return (
        schema
        if isinstance(schema, dict)
        else _wrong("response_format.json_schema.schema", "Input should be an object")
    )


def _wrong(path: str, message: str) -> NoReturn:
    raise Problem("invalid_request", f"{path}: {message}")


# ------------------------------------------------------------------------------------------------------------------- answer

_FINISH: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def usage(counts: Mapping[str, Any]) -> dict[str, Any]:
    """The usage of the Messages API as chat completions count it: cached tokens are part of the prompt."""
    cached = counts.get("cache_read_input_tokens") or 0
    prompt = (counts.get("input_tokens") or 0) + cached + (counts.get("cache_creation_input_tokens") or 0)
    output = counts.get("output_tokens") or 0
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def completion(parts: list[Part], created: int, *, functions: bool = False) -> bytes:
    """The whole answer; raises Problem `broken` for parts that do not make one. `created`: seconds since the epoch.

    `functions`: the request has the older form of tools.
    """
    if parts and type(parts[0]) is WholeAnswer and parts[0].chat:
        return parts[0].data
    message = _any(fold(parts))
    texts, thoughts, calls = [], [], []
    for block in message["content"]:
        match block.get("type"):
            case "text":
                texts.append(block["text"])
            case "thinking":
                thoughts.append(block["thinking"])
            case "tool_use":
                function = {"name": block["name"], "arguments": input_text(block["input"])}
                calls.append({"id": block["id"], "type": "function", "function": function})
    reply: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(texts) if texts or not calls else None,
        "refusal": None,
    }
    if thoughts:
        reply["reasoning_content"] = "".join(thoughts)
    finish = _FINISH.get(message.get("stop_reason") or "", "stop")
    if calls and finish == "length" and (last := message["content"][-1])["type"] == "tool_use" and not last["input"]:
        # The answer was cut before the input.
        calls[-1]["function"]["arguments"] = ""
    if calls and functions:
        reply["function_call"] = calls[0]["function"]
        finish = "function_call" if finish == "tool_calls" else finish
    elif calls:
        reply["tool_calls"] = calls
    return _encode(
        {
            "id": f"chatcmpl-{message['id'].removeprefix('msg_')}",
            "object": "chat.completion",
            "created": created,
            "model": message["model"],
            "choices": [{"index": 0, "message": reply, "logprobs": None, "finish_reason": finish}],
            "usage": usage(message["usage"]),
        }
    )


class Chunks:
    """Encodes the parts of one answer as a stream of chunks."""

    def __init__(self, request: Request, created: int, *, counted: bool, functions: bool = False) -> None:
        """`counted`: the stream ends with a chunk that contains the usage. `functions`: the older form of tools."""
        self._functions = functions
        self._head = {
            "id": f"chatcmpl-{request.id.removeprefix('msg_')}",
            "object": "chat.completion.chunk",
            "created": created,
            "model": request.model,
        }
        self._counted = counted
        self._calls: dict[int, int] = {}
        """The index of a block -> the index of its tool call."""
        self._inputs: dict[int, Any] = {}
        """The index of a block -> the input with which its call began, until a piece of its input comes."""
        self._usage: dict[str, Any] = {}

    def encode(self, parts: Iterable[Part]) -> bytes:
        """The bytes of `parts`. Chunks of a backend that speaks chat pass through."""
        encoded: list[bytes] = []
        for part in parts:
            if type(part) is Passthrough and part.chat:
                encoded.append(part.data)
            elif type(part) is Ping:
                encoded.append(b": ping\n\n")
            else:
                encoded.append(self._chunks(part))
        return b"".join(encoded)

    def _chunks(self, part: Part) -> bytes:
        try:
            return b"".join(map(self._event, fields(part)))
        except EVENT_ERRORS:
            raise Problem("broken", "The backend sent an event that is not part of the Messages API.") from None

    def _event(self, event: dict[str, Any]) -> bytes:
        match event["type"]:
            case "message_start":
                self._usage = dict(event["message"].get("usage") or {})
                return self._chunk({"role": "assistant", "content": ""})
            case "content_block_start":
                block, rest = event["content_block"], self._rest()
                if block["type"] != "tool_use":
                    return rest
                at = self._calls[event["index"]] = len(self._calls)
                self._inputs[event["index"]] = block.get("input") or {}
                function = {"name": block["name"], "arguments": ""}
                if self._functions:
                    return rest + self._chunk({"function_call": function})
                return rest + self._chunk(
                    {"tool_calls": [{"index": at, "id": block["id"], "type": "function", "function": function}]}
                )
            case "content_block_delta":
                return self._delta(event["index"], event["delta"])
            case "message_delta":
                counts = event.get("usage") or {}
                self._usage.update({name: count for name, count in counts.items() if count is not None})
                finish = _FINISH.get(event["delta"].get("stop_reason") or "", "stop")
                rest = self._rest(cut=finish == "length")
                return rest + self._chunk({}, "function_call" if self._functions and finish == "tool_calls" else finish)
            case "message_stop":
                last = b""
                if self._counted:
                    last = b"data: %b\n\n" % _encode({**self._head, "choices": [], "usage": usage(self._usage)})
                return last + b"data: [DONE]\n\n"
            case "ping":
                return b": ping\n\n"
        return b""

    def _delta(self, index: int, delta: dict[str, Any]) -> bytes:
        match delta["type"]:
            case "text_delta":
                return self._chunk({"content": delta["text"]})
            case "thinking_delta":
                return self._chunk({"reasoning_content": delta["thinking"]})
            case "input_json_delta" if index in self._calls:
                piece = delta["partial_json"]
                if piece.strip():
                    self._inputs.pop(index, None)
                return self._arguments(index, piece)
        return b""

    def _rest(self, *, cut: bool = False) -> bytes:
        """The arguments of calls of which no piece has come. Clients parse them: no input is an empty object, not an empty text.

        `cut`: the answer was cut, perhaps before the input.
        """
        inputs, self._inputs = self._inputs, {}
        return b"".join(
            [self._arguments(index, _encode(given).decode()) for index, given in inputs.items() if given or not cut]
        )

    def _arguments(self, index: int, piece: str) -> bytes:
        """The chunk for a piece of the arguments of the call in a block."""
        if self._functions:
            return self._chunk({"function_call": {"arguments": piece}})
        return self._chunk({"tool_calls": [{"index": self._calls[index], "function": {"arguments": piece}}]})

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return b"data: %b\n\n" % _encode({**self._head, "choices": [choice]})


def envelope(problem: Problem, message: str) -> bytes:
    """An error in the shape of the OpenAI API: https://platform.openai.com/docs/guides/error-codes (seen 2026-11-20)."""
    status, type = problem.status, problem.row.type
    code = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}.get(status)
    if problem.kind == "not_found" and "model" not in message.lower():
        # A file or a batch.
        code = None
    if code_of(problem) == "insufficient_quota":
        code = "insufficient_quota"
    if status == 400 and message.startswith(("prompt is too long", "input length and")):
        code = "context_length_exceeded"
    return _encode({"error": {"message": message, "type": type, "param": None, "code": code}})
