"""Translates a Responses request of a client to a Messages request. Pure. `responseevents` translates the answer back.

A backend with the Responses API gets the client's own bytes (`backends.responses.passthrough`); other backends, and web searches
of Byway, use the Messages request. Shapes: https://platform.openai.com/docs/api-reference/responses, the `openai` SDK 3.52.0,
and what Codex 0.171.0 sends (seen 2026-11-29).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final, NamedTuple, NoReturn

import msgspec
from msgspec import Raw, Struct

from byway.fronts.chat import ANY_OBJECT, DEFAULT, source
from byway.fronts.formats import closed, is_free
from byway.fronts.responsetools import Names, ToolTable, tool_table
from byway.messages import carriers, claudecode
from byway.messages import request as messages
from byway.messages.request import Content, Request
from byway.messages.stream import tool_input
from byway.problems import Problem

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode
_fields: Final = msgspec.json.Decoder(dict[str, Raw]).decode


class Item(Struct):
    """An item of the input, leniently decoded: none may break a turn."""

    type: str | None = None
    role: str | None = None
    content: Any = None
    id: Any = None
    call_id: Any = None
    name: Any = None
    namespace: Any = None
    arguments: Any = None
    input: Any = None
    output: Any = None
    summary: Any = None
    encrypted_content: Any = None
    tools: Any = None
    action: Any = None
    operation: Any = None
    status: Any = None


class ResponsesBody(Struct, kw_only=True):
    """The fields of `POST /v1/responses` that Byway reads."""

    model: str | None = None
    input: str | list[Item] | None = None
    instructions: Any = None
    stream: bool | None = None
    tools: Raw = Raw()
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    reasoning: Any = None
    text: Any = None
    include: Any = None
    store: bool | None = None
    metadata: Any = None
    prompt_cache_key: Any = None
    previous_response_id: str | None = None
    conversation: Any = None
    prompt: Any = None
    background: bool | None = None

    @property
    def compacts(self) -> bool:
        """The client wants a summary of the conversation as the only item."""
        return isinstance(self.input, list) and bool(self.input) and self.input[-1].type == "compaction_trigger"


_body: Final = msgspec.json.Decoder(ResponsesBody)
#: The answer has to be one compaction item: the model is requested to write it.
COMPACTION_PROMPT: Final = (
    "Summarize the conversation so far. The summary replaces it: include the task, the instructions of the user, decisions and "
    "their reasons, facts, commands and file names that are needed later, what is done, and the next step. Write only the "
    "summary, and call no tool."
)
_SUMMARIZED: Final = "This is a summary of the conversation so far, which it replaces:\n\n{}"
_UNREADABLE: Final = "[The earlier part of this conversation was compacted by another server and cannot be read here.]"
_NO_OUTPUT: Final = "(no output)"
_NO_RESULT: Final = "(The call was interrupted: there is no result.)"
_CONTINUE: Final = "Continue."
_EFFORTS: Final = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_CALLS: Final = frozenset(
    ("function_call", "custom_tool_call", "tool_search_call", "local_shell_call", "shell_call", "apply_patch_call")
)
_OUTPUTS: Final = frozenset(
    (
        "function_call_output",
        "custom_tool_call_output",
        "tool_search_output",
        "local_shell_call_output",
        "shell_call_output",
        "apply_patch_call_output",
    )
)
#: Items that bring no text for the model: what a server has run is repeated in the answer, or cannot be run here.
_SILENT: Final = frozenset(("web_search_call", "additional_tools", "configuration_update", "compaction_trigger"))
_PLAIN: Final = frozenset((None, "message", "function_call", "function_call_output", "reasoning"))
_VALID_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")
_CACHED: Final = {"type": "ephemeral"}
_TEXT_PARTS: Final = ("input_text", "output_text", "text", "refusal", "summary_text", "reasoning_text")


class Read(NamedTuple):
    """A Responses request, decoded and translated."""

    request: Request
    body: ResponsesBody
    names: Names
    left_out: tuple[str, ...]
    """The types of items and tools that the Messages API cannot express."""


def read(data: bytes, headers: Mapping[str, str], id: str) -> Read:
    """Decode a Responses request. Raises Problem `invalid_request`."""
    try:
        body = _body.decode(data)
    except Exception as error:
        raise messages.invalid(error, body="The request body") from None
    _refuse_unsupported(body)
    if not body.input and not isinstance(body.instructions, str):
        raise Problem("invalid_request", "input: a text or at least one item is required")
    if body.model is None:
        # The backend's own name replaces it.
        body.model = DEFAULT
        data = _encode({**_fields(data), "model": DEFAULT})
    untranslatable: Problem | None = None
    left_out: tuple[str, ...] = ()
    table = ToolTable()
    try:
        table = tool_table(body.tools)
        translated, left_out = _messages_body(body, table)
        request = messages.parse(_encode(translated), headers, id)
    except Problem as problem:
        # A backend with the Responses API may know more of the format than Byway does.
        untranslatable = problem
        least = {"model": body.model, "stream": bool(body.stream), "messages": [{"role": "user", "content": "-"}]}
        # Without a tool choice Byway could search for this text instead of the client's.
        request = messages.parse(_encode({**least, "tool_choice": {"type": "none"}}), headers, id)
    content = Content(
        request.body, request.params, request.content.turns, extra={}, responses=data, extended=_extended(body, table)
    )
    request = msgspec.structs.replace(request, size=len(data), content=content, untranslatable=untranslatable)
    return Read(request, body, table.names, left_out)


def _refuse_unsupported(body: ResponsesBody) -> None:
    """Raise Problem for features that need a server with a memory of its own."""
    if body.background:
        _wrong("background", "Byway answers while the client waits. Leave `background` out, and set `stream` to true")
    if body.conversation is not None:
        _wrong("conversation", "Byway keeps no conversations. Use `previous_response_id`, or send the whole input")
    if body.prompt is not None:
        _wrong("prompt", "Byway keeps no prompt templates. Send the text of the prompt as `instructions` and `input`")


def _extended(body: ResponsesBody, table: ToolTable) -> bool:
    """Return whether the request has tools or items beside messages, functions and reasoning."""
    items = body.input if isinstance(body.input, list) else ()
    return table.extended or any([item.type not in _PLAIN for item in items])


# ------------------------------------------------------------------------------------------------------------------ request


def _messages_body(body: ResponsesBody, table: ToolTable) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body of the Messages request, and what was left out. Raises Problem for what it cannot express."""
    conversation = _TurnList(table)
    if isinstance(body.instructions, str) and body.instructions.strip():
        conversation.system.append(body.instructions)
    given = body.input
    if isinstance(given, str):
        conversation.add_text(given)
    else:
        conversation.add(given or [])
    compacts = body.compacts
    turns = conversation.finish(COMPACTION_PROMPT if compacts else "")
    form = body.text.get("format") if isinstance(body.text, dict) and not compacts else None
    schema = _schema(form) if isinstance(form, dict) else None
    if is_free(schema):
        conversation.system.append(ANY_OBJECT)
    made: dict[str, Any] = {"model": body.model, "stream": bool(body.stream)}
    if conversation.system:
        made["system"] = [{"type": "text", "text": text} for text in conversation.system]
        # Servers of Anthropic read the prompt again at the full price, unless these marks say what the next request repeats.
        made["system"][-1]["cache_control"] = _CACHED
    made["messages"] = turns
    last = turns[-1]["content"][-1]
    if last["type"] in ("text", "tool_result", "image", "document"):
        last["cache_control"] = _CACHED
    choice: Any = "none" if compacts else body.tool_choice
    tools, chosen = table.choose(choice, body.parallel_tool_calls)
    if not tools and table.left_out and not compacts:
        _wrong("tools", f"only servers of OpenAI run {', '.join(sorted(set(table.left_out)))[:200]}")
    if tools:
        made["tools"] = tools
        if chosen is not None:
            made["tool_choice"] = chosen
    if body.max_output_tokens is not None:
        made["max_tokens"] = max(1, body.max_output_tokens)
    made.update(_thinking(body, schema, compacts=compacts))
    return made, (*table.left_out, *conversation.left_out)


def _thinking(body: ResponsesBody, schema: dict[str, Any] | None, *, compacts: bool) -> dict[str, Any]:
    """The settings of reasoning, sampling and format."""
    made: dict[str, Any] = {}
    config: dict[str, Any] = {}
    reasoning = body.reasoning if isinstance(body.reasoning, dict) else None
    effort = reasoning.get("effort") if reasoning is not None else None
    if effort == "none" or compacts:
        made["thinking"] = {"type": "disabled"}
    elif reasoning is not None:
        shown = reasoning.get("summary") or reasoning.get("generate_summary")
        made["thinking"] = {"type": "adaptive", "display": "summarized" if shown else "omitted"}
        if isinstance(effort, str) and effort in _EFFORTS:
            config["effort"] = _EFFORTS[effort]
    if "thinking" not in made or made["thinking"]["type"] == "disabled":
        # Models of Anthropic refuse these together with thinking.
        if body.temperature is not None:
            # The range of Responses is 0 to 2, that of the Messages API 0 to 1.
            made["temperature"] = min(body.temperature, 1.0)
        if body.top_p is not None:
            made["top_p"] = body.top_p
    if schema is not None and not is_free(schema):
        config["format"] = {"type": "json_schema", "schema": closed(schema)}
    if config:
        made["output_config"] = config
    return made


def _schema(form: dict[str, Any]) -> dict[str, Any] | None:
    """The schema of the required format; empty for any JSON object, None for text."""
    match form.get("type"):
        case "json_object":
            return {}
        case "json_schema":
            schema = form.get("schema")
            return schema if isinstance(schema, dict) else _wrong("text.format.schema", "Input should be an object")
    return None


class _TurnList:
    """Items as turns of the Messages API, which requires: users and assistants in turn, and results directly after calls."""

    def __init__(self, table: ToolTable) -> None:
        self.system: list[str] = []
        self.left_out: list[str] = []
        self._table = table
        self._turns: list[dict[str, Any]] = []
        self._assistant: list[dict[str, Any]] = []
        self._user: list[dict[str, Any]] = []
        self._items: list[Item] = []
        self._outputs: dict[str, deque[int]] = {}
        """The places of the outputs by the ids of their calls."""
        self._used: set[int] = set()
        self._calls: list[tuple[str, str]] = []
        """The calls of the assistant's turn: the client's id, and the id in the Messages request."""
        self._ids: dict[str, int] = {}
        """How often an id was used: it must be unique in a Messages request."""

    def add_text(self, text: str) -> None:
        if text.strip():
            self._user.append({"type": "text", "text": text})

    def add(self, items: list[Item]) -> None:
        """Add the items of the input."""
        self._items = items
        for at, item in enumerate(items):
            if item.type in _OUTPUTS and isinstance(id := item.call_id or item.id, str):
                self._outputs.setdefault(id, deque()).append(at)
            elif item.type == "additional_tools" and isinstance(item.tools, list):
                self._table.load([Raw(_encode(tool)) for tool in item.tools], f"input.{at}.tools")
        for at, item in enumerate(items):
            self._add(item, at)

    def finish(self, prompt: str) -> list[dict[str, Any]]:
        """The turns. They end with one of the user: a model continues an assistant's turn, or its server refuses that."""
        self._end_assistant()
        if prompt:
            self._user.append({"type": "text", "text": prompt})
        if not self._user and not self._turns:
            # The instructions are all there is.
            self._user.append({"type": "text", "text": self.system.pop() if len(self.system) > 1 else _CONTINUE})
        elif not self._user:
            self._user.append({"type": "text", "text": _CONTINUE})
        self._end_user()
        return self._turns

    def _add(self, item: Item, at: int) -> None:
        kind = item.type
        if kind == "message" or (kind is None and item.role is not None):
            self._add_message(item, f"input.{at}")
        elif kind in _CALLS:
            self._add_call(item)
        elif kind in _OUTPUTS:
            self._add_output(item, at)
        elif kind == "reasoning":
            self._add_reasoning(item)
        elif kind == "compaction" or kind == "compaction_summary":
            summary = carriers.unpack_summary(item.encrypted_content)
            self._say_user(_UNREADABLE if summary is None else _SUMMARIZED.format(summary))
        elif kind not in _SILENT:
            self.left_out.append(str(kind)[:64])

    def _add_message(self, item: Item, path: str) -> None:
        match item.role:
            case "user":
                blocks = content_blocks(item.content, f"{path}.content")
                if blocks:
                    self._end_assistant()
                    self._user += blocks
            case "assistant":
                text = "".join(_texts(item.content))
                if text.strip():
                    self._assistant.append({"type": "text", "text": text})
            case "system" | "developer":
                text = "\n\n".join(_texts(item.content))
                if not text.strip():
                    return
                if self._turns or self._assistant or self._user:
                    self._say_user(claudecode.reminder(text))
                else:
                    self.system.append(text)
            case _:
                _wrong(f"{path}.role", "Input should be 'user', 'assistant', 'system' or 'developer'")

    def _say_user(self, text: str) -> None:
        self._end_assistant()
        self._user.append({"type": "text", "text": text})

    def _add_call(self, item: Item) -> None:
        id = item.call_id or item.id
        if not isinstance(id, str) or not id:
            self.left_out.append(f"{item.type} without call_id")
            return
        names = self._table.names
        name = item.name if isinstance(item.name, str) and item.name else ""
        namespace = item.namespace if isinstance(item.namespace, str) else ""
        given: Any
        match item.type:
            case "custom_tool_call":
                flat = names.flat("custom", namespace, name or "custom")
                given = {"input": item.input if isinstance(item.input, str) else ""}
            case "tool_search_call":
                flat = names.flat("tool_search", "", "tool_search")
                given = item.arguments if isinstance(item.arguments, dict) else _arguments(item.arguments)
            case "local_shell_call":
                flat = names.flat("local_shell", "", "local_shell")
                given = _without(item.action, "type")
            case "shell_call":
                flat = names.flat("shell", "", "shell")
                given = _without(item.action, "")
            case "apply_patch_call":
                flat = names.flat("apply_patch", "", "apply_patch")
                given = _without(item.operation, "")
            case _:
                flat = names.flat("function", namespace, name or "function")
                given = item.arguments if isinstance(item.arguments, dict) else _arguments(item.arguments)
        own = self._unique(id)
        self._calls.append((id, own))
        self._assistant.append({"type": "tool_use", "id": own, "name": flat, "input": given})

    def _unique(self, id: str) -> str:
        """The id of a call in the form that every server of the Messages API accepts. Some models repeat an id."""
        count = self._ids[id] = self._ids.get(id, 0) + 1
        valid = (
            id
            if _VALID_ID.match(id)
            else f"call_{blake2b(id.encode('utf-8', 'surrogatepass'), digest_size=8).hexdigest()}"
        )
        return valid if count == 1 else f"{valid[:56]}_{count}"

    def _add_output(self, item: Item, at: int) -> None:
        self._end_assistant()
        if at in self._used:
            return
        # It answers no call of this conversation.
        content = self._result(item, at)
        text = [{"type": "text", "text": content}] if isinstance(content, str) else content
        self._user += [{"type": "text", "text": f"Result of the tool call {str(item.call_id)[:100]}:"}, *text]

    def _result(self, item: Item, at: int) -> str | list[dict[str, Any]]:
        """The content of a tool result."""
        match item.type:
            case "tool_search_output":
                tools = item.tools if isinstance(item.tools, list) else []
                before = len(self._table.tools)
                self._table.load([Raw(_encode(tool)) for tool in tools], f"input.{at}.tools")
                new = [tool["name"] for tool in self._table.tools[before:]]
                return f"These tools can be called now: {', '.join(new)}" if new else "No further tool was found."
            case "shell_call_output":
                return _shell_output(item.output)
            case "apply_patch_call_output":
                text = item.output if isinstance(item.output, str) else ""
                return text or ("Failed." if item.status == "failed" else "Done.")
        if isinstance(item.output, list):
            return content_blocks(item.output, f"input.{at}.output") or _NO_OUTPUT
        if isinstance(item.output, str):
            return item.output or _NO_OUTPUT
        return _NO_OUTPUT if item.output is None else _encode(item.output).decode()

    def _add_reasoning(self, item: Item) -> None:
        block = carriers.unpack(item.encrypted_content, "".join(_texts(item.summary)))
        if block is not None:
            # Reasoning of other servers is of no use to this one.
            self._assistant.append(block)

    def _end_assistant(self) -> None:
        """End the assistant's turn. The results of its calls begin the user's."""
        blocks = self._assistant
        while blocks and blocks[-1]["type"] in ("thinking", "redacted_thinking"):
            # A turn must not end with thinking: the answer was cut after it.
            blocks.pop()
        if not blocks:
            return
        self._end_user()
        self._turns.append({"role": "assistant", "content": blocks})
        self._assistant = []
        calls, self._calls = self._calls, []
        for id, own in calls:
            places = self._outputs.get(id)
            content: str | list[dict[str, Any]] = _NO_RESULT
            if places:
                place = places.popleft()
                self._used.add(place)
                content = self._result(self._items[place], place)
            self._user.append({"type": "tool_result", "tool_use_id": own, "content": content})

    def _end_user(self) -> None:
        if self._user:
            self._turns.append({"role": "user", "content": self._user})
            self._user = []


def _arguments(text: Any) -> Any:
    """The input of a call from its JSON text, in exactly the words of the model where it is a JSON object."""
    if not isinstance(text, str):
        return {}
    given = tool_input(text)
    return Raw(text.encode()) if given and "__unparsedToolInput" not in given else given


def _without(value: Any, name: str) -> dict[str, Any]:
    fields = value if isinstance(value, dict) else {}
    return {field: part for field, part in fields.items() if field != name and part is not None}


def _shell_output(output: Any) -> str:
    """The outputs of commands as text."""
    if isinstance(output, str):
        return output or _NO_OUTPUT
    texts = []
    for part in output if isinstance(output, list) else ():
        if not isinstance(part, dict):
            continue
        outcome = part.get("outcome")
        ended = outcome if isinstance(outcome, dict) else {}
        texts += [text for name in ("stdout", "stderr") if isinstance(text := part.get(name), str) and text]
        texts.append("[timeout]" if ended.get("type") == "timeout" else f"[exit code {ended.get('exit_code')}]")
    return "\n".join(texts) or _NO_OUTPUT


def _texts(content: Any) -> list[str]:
    """The texts of a content."""
    if isinstance(content, str):
        return [content]
    texts = []
    for part in content if isinstance(content, list) else ():
        if isinstance(part, dict) and part.get("type") in _TEXT_PARTS:
            text = part.get("refusal") if part["type"] == "refusal" else part.get("text")
            if isinstance(text, str):
                texts.append(text)
    return texts


def content_blocks(content: Any, path: str) -> list[dict[str, Any]]:
    """The blocks of a content: a text, or a list of parts. Empty texts, which servers refuse, are left out."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content.strip() else []
    if content is None:
        return []
    if not isinstance(content, list):
        _wrong(path, "Input should be a string or a list of parts")
    blocks = []
    for at, part in enumerate(content):
        block = _block(part, f"{path}.{at}")
        if block is not None:
            blocks.append(block)
    return blocks


def _block(part: Any, path: str) -> dict[str, Any] | None:
    kind = part.get("type") if isinstance(part, dict) else None
    match kind:
        case "input_image" | "computer_screenshot":
            url = part.get("image_url")
            if isinstance(url, dict):
                # The form of chat completions.
                url = url.get("url")
            if not isinstance(url, str):
                _wrong(f"{path}.image_url", "Field required: a URL, or the image as a data URL")
            return {"type": "image", "source": source(url)}
        case "input_file":
            return _file(part, path)
        case _ if kind in _TEXT_PARTS:
            text = part.get("refusal") if kind == "refusal" else part.get("text")
            return {"type": "text", "text": text} if isinstance(text, str) and text.strip() else None
        case "input_audio" | "input_video":
            _wrong(f"{path}.type", f"{kind!r} is not supported by the Messages API; use text, images or files")
    return None


def _file(part: dict[str, Any], path: str) -> dict[str, Any]:
    data, url, name = part.get("file_data"), part.get("file_url"), part.get("filename")
    titled = {"title": name} if isinstance(name, str) and name else {}
    if isinstance(data, str):
        made = source(data, "application/pdf")
        media = made.get("media_type", "")
        if media.startswith("image/"):
            return {"type": "image", "source": made}
        if media.startswith("text/") or media == "application/json":
            return {"type": "document", "source": _text_source(made["data"], path), **titled}
        return {"type": "document", "source": made, **titled}
    if isinstance(url, str):
        return {"type": "document", "source": {"type": "url", "url": url}, **titled}
    return _wrong(
        f"{path}.file_data", "Field required: the file as a data URL, `file_url`, or `file_id` of an uploaded file"
    )


def _text_source(data: str, path: str) -> dict[str, Any]:
    try:
        text = msgspec.json.decode(_encode(data), type=bytes).decode("utf-8", "replace")
    except msgspec.MsgspecError:
        _wrong(f"{path}.file_data", "Input should be base64")
    return {"type": "text", "media_type": "text/plain", "data": text}


def _wrong(path: str, message: str) -> NoReturn:
    raise Problem("invalid_request", f"{path}: {message}")
