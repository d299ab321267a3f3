"""Translates a Responses request of a client to a Messages request. Pure. `responseevents` translates the answer back.

A backend with the Responses API gets the client's own bytes (`backends.responses.passthrough`); other backends, and web searches
of Byway, use the Messages request. Shapes: https://platform.openai.com/docs/api-reference/responses, the `openai` SDK 3.52.0,
and what Codex 0.171.0 sends (seen 2026-11-29).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn

import msgspec
from msgspec import Raw, Struct

from byway.decoding import DECODE_ERRORS
from byway.fronts.accepted import CACHED, CONTINUE, ID_LIMIT, other_id
from byway.fronts.chat import ANY_OBJECT, DEFAULT, source
from byway.fronts.formats import closed, is_free
from byway.fronts.responsebody import (
    TEXT_PARTS,
    InputImage,
    InputOutputText,
    InputText,
    Item,
    PlainCall,
    PlainContent,
    PlainMessage,
    PlainOutput,
    PlainReasoning,
    ResponsesBody,
    any_text,
    decode,
    plain_text,
    raw_fields,
)
from byway.fronts.responsetools import EMPTY, Kind, Names, ToolTable, tool_fields, tool_table
from byway.messages import carriers, claudecode
from byway.messages import request as messages
from byway.messages.blocks import (
    Base64Source,
    Document,
    InlineImage,
    RedactedThinking,
    Text,
    TextSource,
    Thinking,
    ToolResult,
    ToolUse,
    UrlSource,
)
from byway.messages.request import Format, OutputConfig, Request, Thought, Turn
from byway.messages.stream import tool_input
from byway.problems import Problem


class _AnyObject(Struct):
    """A JSON object whose fields are not looked at."""


_encode: Final = msgspec.json.Encoder().encode
_check_object: Final = msgspec.json.Decoder(_AnyObject).decode


#: The answer has to be one compaction item: the model is requested to write it.
COMPACTION_PROMPT: Final = (
    "Summarize the conversation so far. The summary replaces it: include the task, the instructions of the user, decisions and "
    "their reasons, facts, commands and file names that are needed later, what is done, and the next step. Write only the "
    "summary, and call no tool."
)
_UNREADABLE: Final = "[The earlier part of this conversation was compacted by another server and cannot be read here.]"
_NO_OUTPUT: Final = "(no output)"
_NO_RESULT: Final = "(The call was interrupted: there is no result.)"
_EFFORTS: Final = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_OTHER_CALLS: Final = ("custom_tool_call", "tool_search_call", "local_shell_call", "shell_call", "apply_patch_call")
_PLAIN_OUTPUTS: Final = frozenset(("function_call_output", "custom_tool_call_output", "local_shell_call_output"))
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
_SILENT: Final = frozenset(("web_search_call", "configuration_update", "compaction_trigger"))
_PLAIN: Final = frozenset((None, "message", "function_call", "function_call_output", "reasoning"))
_THOUGHTS: Final = frozenset((Thinking, RedactedThinking))


class Read(Struct, gc=False):
    """A Responses request, decoded and translated."""

    request: Request
    body: ResponsesBody
    names: Names
    left_out: tuple[str, ...]
    """The types of items and tools that the Messages API cannot express."""
    previous: str = ""
    """The id of the stored response that it continues; empty for none."""
    own_input: bytes = b""
    """The items of its own input, which are stored with its response; empty: it is not stored."""


def read(data: bytes, headers: Mapping[str, str], id: str, body: ResponsesBody | None = None) -> Read:
    """Translate a Responses request. `body`: the decoded `data`. Raises Problem `invalid_request`."""
    if body is None:
        body = decode(data)
    if body.background or body.conversation is not None or body.prompt is not None:
        _refuse(body)
    if not body.input and not isinstance(body.instructions, str):
        raise Problem("invalid_request", "input: a text or at least one item is required")
    if body.model is None:
        # The backend's own name replaces it.
        body.model = DEFAULT
        data = _encode({**raw_fields(data), "model": DEFAULT})
    left_out: tuple[str, ...] = ()
    table = EMPTY
    try:
        table = tool_table(body.tools)
        request, table, left_out = _translated(body, table, headers, id, len(data))
    except Problem as problem:
        # A backend with the Responses API may know more of the format than Byway does.
        least = {"model": body.model, "stream": bool(body.stream), "messages": [{"role": "user", "content": "-"}]}
        # Without a tool choice Byway could search for this text instead of the client's.
        request = messages.parse(_encode({**least, "tool_choice": {"type": "none"}}), headers, id)
        request = msgspec.structs.replace(request, size=len(data), untranslatable=problem)
    content = request.content
    content.extra, content.responses = {}, data
    # It has tools or items beside messages, functions and reasoning.
    if table.extended or ((items := body.items) and not _PLAIN.issuperset([item.type for item in items])):
        content.extended = True
    if len(body.client_metadata):
        content.client_metadata = True
    return Read(request, body, table.names, left_out)


def _refuse(body: ResponsesBody) -> NoReturn:
    """Raise Problem for features that need a server with a memory of its own."""
    if body.background:
        _wrong("background", "Byway answers while the client waits. Leave `background` out, and set `stream` to true")
    if body.conversation is not None:
        _wrong("conversation", "Byway keeps no conversations. Use `previous_response_id`, or send the whole input")
    _wrong("prompt", "Byway keeps no prompt templates. Send the text of the prompt as `instructions` and `input`")


# ------------------------------------------------------------------------------------------------------------------ request


def _translated(
    body: ResponsesBody, table: ToolTable, headers: Mapping[str, str], id: str, size: int
) -> tuple[Request, ToolTable, tuple[str, ...]]:
    """The Messages request, the tools, and what was left out. Raises Problem for what it cannot express."""
    conversation = _TurnList(table)
    system = conversation.system
    if isinstance(body.instructions, str) and body.instructions.strip():
        system.append(body.instructions)
    if isinstance(body.input, str):
        conversation.add_text(body.input)
    else:
        conversation.add(body.input or [])
    compacts = body.compacts
    turns = conversation.finish(COMPACTION_PROMPT if compacts else "")
    schema = _schema(body.text) if body.text is not None and not compacts else None
    if schema is not None and is_free(schema):
        system.append(ANY_OBJECT)
    table = conversation.table
    tools, choice = table.choose("none" if compacts else body.tool_choice, body.parallel_tool_calls)
    if table.left_out and not tools and not compacts:
        _wrong("tools", f"only servers of OpenAI run {', '.join(sorted(set(table.left_out)))[:200]}")
    # A field that is set later takes four times as long as one that is passed here.
    params = messages.TypedParams(
        model=body.model,  # type: ignore[arg-type]
        messages=turns,  # type: ignore[arg-type]
        system=[Text(text) for text in system] if len(system) > 1 else system[0] if system else None,
        stream=True if body.stream else None,
        tools=tools or None,
        tool_choice=choice if tools else None,
    )
    if body.max_output_tokens is not None:
        params.max_tokens = max(1, body.max_output_tokens)
    if body.reasoning is not None or compacts:
        _set_reasoning(params, body.reasoning, compacts=compacts)
    if params.thinking is None or params.thinking.type == "disabled":
        # Models of Anthropic refuse these together with thinking.
        if body.temperature is not None:
            # The range of Responses is 0 to 2, that of the Messages API 0 to 1.
            params.temperature = min(body.temperature, 1.0)
        if body.top_p is not None:
            params.top_p = body.top_p
    if schema is not None and not is_free(schema):
        effort = params.output_config.effort if params.output_config is not None else None
        params.output_config = OutputConfig(effort, Format("json_schema", Raw(_encode(closed(schema)))))
    request = messages.build(
        id, headers, size, params, _body, documents=conversation.documents, carriers=conversation.carriers
    )
    return request, table, (*table.left_out, *conversation.left_out)


def _set_reasoning(params: messages.TypedParams, reasoning: Any, *, compacts: bool) -> None:
    effort = reasoning.get("effort") if isinstance(reasoning, dict) else None
    if effort == "none" or compacts:
        params.thinking = Thought("disabled")
    elif isinstance(reasoning, dict):
        shown = reasoning.get("summary") or reasoning.get("generate_summary")
        params.thinking = Thought("adaptive", display="summarized" if shown else "omitted")
        if isinstance(effort, str) and effort in _EFFORTS:
            params.output_config = OutputConfig(_EFFORTS[effort])


def _body(params: messages.TypedParams) -> bytes:
    """The Messages request as JSON."""
    return _encode(_body_fields(params))


#: Parameters of a Messages request beside the model and the conversation, in the order in which they are sent.
_SENT: Final = (*("stream", "tools", "tool_choice", "max_tokens", "thinking", "temperature", "top_p", "output_config"),)


def _body_fields(params: messages.TypedParams) -> dict[str, Any]:
    """The body of the Messages request, for a backend that gets it as it is.

    Servers of Anthropic read the prompt again at the full price, unless marks say what the next request repeats.
    """
    made: dict[str, Any] = {"model": params.model}
    system = [Text(params.system)] if isinstance(params.system, str) else params.system
    if system:
        made["system"] = [*system[:-1], {"type": "text", "text": system[-1].text, "cache_control": CACHED}]
    sent: list[dict[str, Any]] = [
        {"role": turn.role, "content": [_fields_of(block) for block in turn.blocks]} for turn in params.messages
    ]
    last = sent[-1]["content"][-1]
    fields = last if isinstance(last, dict) else {"type": "text", "text": last.text} if type(last) is Text else None
    if fields is not None:
        sent[-1]["content"][-1] = {**fields, "cache_control": CACHED}
    made["messages"] = sent
    for name in _SENT:
        match getattr(params, name):
            case None | msgspec.UNSET:
                continue
            case list() as tools:
                made[name] = list(map(tool_fields, tools))
            case Struct() as value:
                made[name] = {
                    field: part for field in value.__struct_fields__ if (part := getattr(value, field)) is not None
                }
            case value:
                made[name] = value
    if params.tool_choice is not None and params.tool_choice.type in ("any", "tool"):
        # They refuse it together with thinking.
        made.pop("thinking", None)
    return made


def _fields_of(block: Any) -> Any:
    """A block as JSON of the Messages API, without fields that are null."""
    match block:
        case ToolResult(id, content):
            shown = content if isinstance(content, str) else [_fields_of(part) for part in content or ()]
            return {"type": "tool_result", "tool_use_id": id, "content": shown}
        case InlineImage(source):
            return {"type": "image", "source": source}
        case Document(source, title):
            given: Any = source
            if type(source) is TextSource:
                given = {"type": "text", "media_type": "text/plain", "data": source.data}
            return {"type": "document", "source": given, **({"title": title} if title else {})}
    return block


def _schema(text: Any) -> dict[str, Any] | None:
    """The schema of the format that `text` requires; empty for any JSON object, None for a text."""
    form = text.get("format") if isinstance(text, dict) else None
    if not isinstance(form, dict):
        return None
    match form.get("type"):
        case "json_object":
            return {}
        case "json_schema":
            schema = form.get("schema")
            return schema if isinstance(schema, dict) else _wrong("text.format.schema", "Input should be an object")
    return None


class _TurnList:
    """Items as turns of the Messages API, which requires: users and assistants in turn, and results directly after calls."""

    # Defaults of the class: few requests change them.
    documents = False
    """There are documents in it."""
    carriers = False
    """There is something in it that Byway has made opaque."""
    _is_own_table = False
    """The table may change: it is not that of other requests."""
    _at = 0
    """The place of the current item, for errors."""

    def __init__(self, table: ToolTable) -> None:
        self.table = table
        """The tools of the request, and those that its items bring."""
        self.system: list[str] = []
        self.left_out: list[str] = []
        self._turns: list[Turn] = []
        self._assistant: list[Any] = []
        self._user: list[Any] = []
        """Its first text is a `str`: most turns of a user are one text."""
        self._results: list[Any] = []
        """The results of the calls in the assistant's turn, with which the next turn of the user begins."""
        self._calls: dict[str, list[ToolResult]] = {}
        """The results of the calls with each id of the client: some models repeat an id. An output may come much later."""
        self._outputs: dict[str, int] = {}
        """How many outputs have come for each id."""

    def add_text(self, text: str) -> None:
        if text.strip():
            self._say(text)

    def add(self, items: Sequence[Any]) -> None:
        """Add the items of the input: of the types Item and PlainItem."""
        for at, item in enumerate(items):
            kind = type(item)
            if kind is PlainMessage:
                self._add_plain_message(item)
            elif kind is PlainCall:
                name = self._flat("function", item.namespace or "", item.name or "function")
                self._add_use(item.call_id, name, _checked(item.arguments))
            elif kind is PlainOutput:
                output = item.output
                self._add_result(item.call_id, output if type(output) is str else _plain_blocks(output))
            elif kind is PlainReasoning:
                self._add_reasoning(item)
            else:
                self._at = at
                self._add_other(item)

    def _add_other(self, item: Item) -> None:
        add = _ADD_OTHER.get(item.type)
        if add is not None:
            add(self, item)
        elif item.type not in _SILENT and (item.type is not None or item.role is not None):
            self.left_out.append(str(item.type)[:64])

    def _own_table(self) -> ToolTable:
        if not self._is_own_table:
            self._is_own_table, self.table = True, self.table.copied()
        return self.table

    def _flat(self, kind: Kind, namespace: str, name: str) -> str:
        """The flat name of a called tool."""
        return self.table.names.known(namespace, name) or self._own_table().names.flat(kind, namespace, name)

    def finish(self, prompt: str) -> list[Turn]:
        """The turns. They end with one of the user: a model continues an assistant's turn, or its server refuses that."""
        if self._assistant:
            self._end_assistant()
        user = self._user
        if prompt:
            self._say(prompt)
        if not user:
            # Without turns the instructions are all there is.
            is_question = not self._turns and len(self.system) > 1
            user.append(self.system.pop() if is_question else CONTINUE)
        self._turns.append(_user_turn(user))
        return self._turns

    def _add_plain_message(self, item: PlainMessage) -> None:
        role, content = item.role, item.content
        part = content[0] if len(content) == 1 else None
        if type(part) is InputText or type(part) is InputOutputText:
            # Nearly every message is one text.
            text = part.text
        elif role == "user":
            if blocks := _plain_blocks(content):
                self._say_user(*blocks)
            return
        else:
            text = plain_text(content, "" if role == "assistant" else "\n\n")
        if not text or text.isspace():
            return
        if role == "user":
            self._say(text)
        elif role == "assistant":
            self._assistant.append(Text(text))
        else:
            self._add_instructions(text)

    def _add_message(self, item: Item) -> None:
        match item.role:
            case "user":
                if blocks := self._blocks(item.content, "content"):
                    self._say_user(*blocks)
            case "assistant":
                if (text := any_text(item.content, "")) and not text.isspace():
                    self._assistant.append(Text(text))
            case "system" | "developer":
                if (text := any_text(item.content, "\n\n")) and not text.isspace():
                    self._add_instructions(text)
            case _:
                _wrong(f"input.{self._at}.role", "Input should be 'user', 'assistant', 'system' or 'developer'")

    def _add_instructions(self, text: str) -> None:
        if self._turns or self._assistant or self._user:
            self._say(claudecode.reminder(text))
        else:
            self.system.append(text)

    def _add_tools(self, item: Item) -> None:
        if isinstance(item.tools, list):
            self._own_table().load([Raw(_encode(tool)) for tool in item.tools], f"input.{self._at}.tools")

    def _add_compaction(self, item: Item) -> None:
        self.carriers = self.carriers or carriers.is_ours(item.encrypted_content)
        summary = carriers.unpack_summary(item.encrypted_content)
        self._say(_UNREADABLE if summary is None else summary)

    def _say(self, text: str) -> None:
        """Add a text of the user."""
        if self._assistant:
            self._end_assistant()
        user = self._user
        user.append(Text(text) if user else text)

    def _say_user(self, *blocks: Any) -> None:
        if self._assistant:
            self._end_assistant()
        self._user += blocks

    def _add_function_call(self, item: Item) -> None:
        name = item.name if isinstance(item.name, str) and item.name else "function"
        namespace = item.namespace if isinstance(item.namespace, str) else ""
        self._call(item, self._flat("function", namespace, name), _arguments(item.arguments))

    def _add_other_call(self, item: Item) -> None:
        flat = self._flat
        match item.type:
            case "custom_tool_call":
                name = item.name if isinstance(item.name, str) and item.name else "custom"
                namespace = item.namespace if isinstance(item.namespace, str) else ""
                text = item.input if isinstance(item.input, str) else ""
                self._call(item, flat("custom", namespace, name), Raw(_encode({"input": text})))
            case "tool_search_call":
                self._call(item, flat("tool_search", "", "tool_search"), _arguments(item.arguments))
            case "local_shell_call":
                self._call(item, flat("local_shell", "", "local_shell"), _without(item.action, "type"))
            case "shell_call":
                self._call(item, flat("shell", "", "shell"), _without(item.action, ""))
            case "apply_patch_call":
                self._call(item, flat("apply_patch", "", "apply_patch"), _without(item.operation, ""))

    def _call(self, item: Item, name: str, given: Raw) -> None:
        id = item.call_id or item.id
        if not isinstance(id, str) or not id:
            self.left_out.append(f"{item.type} without call_id")
            return
        self._add_use(id, name, given)

    def _add_use(self, id: str, name: str, given: Raw) -> None:
        results = self._calls.get(id)
        if results is None:
            # Nearly every id is of this form, which is tested faster than any valid one.
            own = id if id.isidentifier() and id.isascii() and len(id) <= ID_LIMIT else other_id(id, 1)
            result = ToolResult(own, _NO_RESULT)
            self._calls[id] = [result]
        else:
            # An id must be unique in a Messages request.
            own = other_id(id, len(results) + 1)
            result = ToolResult(own, _NO_RESULT)
            results.append(result)
        self._assistant.append(ToolUse(own, name, given))
        self._results.append(result)

    def _add_output(self, item: Item) -> None:
        id = item.call_id or item.id
        self._add_result(id if isinstance(id, str) else "", self._output(item))

    def _add_result(self, id: str, content: str | list[Any]) -> None:
        """Add the output of a call."""
        if self._assistant:
            self._end_assistant()
        count = self._outputs.get(id, 0)
        if (results := self._calls.get(id)) is not None and count < len(results):
            results[count].content = content or _NO_OUTPUT
            self._outputs[id] = count + 1
            return
        # It answers no call of this conversation.
        text = [Text(content or _NO_OUTPUT)] if isinstance(content, str) else content
        self._user += [Text(f"Result of the tool call {id[:100]}:"), *text]

    def _output(self, item: Item) -> str | list[Any]:
        """The output of a call, as the content of its result."""
        output = item.output
        if item.type in _PLAIN_OUTPUTS:
            if isinstance(output, str):
                return output
            if isinstance(output, list):
                return self._blocks(output, "output")
            return "" if output is None else _encode(output).decode()
        if item.type == "shell_call_output":
            return _shell_output(output)
        if item.type == "apply_patch_call_output":
            return (output if isinstance(output, str) else "") or ("Failed." if item.status == "failed" else "Done.")
        tools = item.tools if isinstance(item.tools, list) else []
        table = self._own_table()
        before = len(table.tools)
        table.load([Raw(_encode(tool)) for tool in tools], f"input.{self._at}.tools")
        new = [tool.name for tool in table.tools[before:]]
        return f"These tools can be called now: {', '.join(new)}" if new else "No further tool was found."

    def _add_reasoning(self, item: Item | PlainReasoning) -> None:
        self.carriers = self.carriers or carriers.is_ours(item.encrypted_content)
        block = carriers.unpack(item.encrypted_content, item.summary)
        if block is None:
            # Reasoning of other servers is of no use to this one.
            return
        if block["type"] == "thinking":
            self._assistant.append(Thinking(block["thinking"], block["signature"]))
        else:
            self._assistant.append(RedactedThinking(block["data"]))

    def _blocks(self, content: Any, field: str) -> list[Any]:
        """The blocks of a content: a text, or a list of parts. Empty texts, which servers refuse, are left out."""
        if isinstance(content, str):
            return [Text(content)] if content.strip() else []
        if content is None:
            return []
        if not isinstance(content, list):
            _wrong(f"input.{self._at}.{field}", "Input should be a string or a list of parts")
        blocks: list[Any] = []
        for at, part in enumerate(content):
            if isinstance(part, dict) and part.get("type") == "input_text":
                text = part.get("text")
                if isinstance(text, str) and text and not text.isspace():
                    blocks.append(Text(text))
            elif (block := _block(part, f"input.{self._at}.{field}.{at}")) is not None:
                self.documents = self.documents or type(block) is Document
                blocks.append(block)
        return blocks

    def _end_assistant(self) -> None:
        """End the assistant's turn. The results of its calls begin the user's."""
        blocks = self._assistant
        while blocks and type(blocks[-1]) in _THOUGHTS:
            # A turn must not end with thinking: the answer was cut after it.
            blocks.pop()
        if blocks:
            if self._user:
                self._turns.append(_user_turn(self._user))
            self._turns.append(Turn("assistant", blocks))
            self._assistant, self._user, self._results = [], self._results, []


def _user_turn(blocks: list[Any]) -> Turn:
    first = blocks[0]
    if type(first) is str:
        if len(blocks) == 1:
            return Turn("user", first)
        blocks[0] = Text(first)
    return Turn("user", blocks)


_ADD_OTHER: Final[dict[str | None, Callable[[_TurnList, Item], None]]] = {
    None: _TurnList._add_message,
    "message": _TurnList._add_message,
    "function_call": _TurnList._add_function_call,
    "reasoning": _TurnList._add_reasoning,
    "additional_tools": _TurnList._add_tools,
    "compaction": _TurnList._add_compaction,
    "compaction_summary": _TurnList._add_compaction,
    **dict.fromkeys(_OUTPUTS, _TurnList._add_output),
    **dict.fromkeys(_OTHER_CALLS, _TurnList._add_other_call),
}


def _arguments(given: Any) -> Raw:
    """The input of a call, which should be a text."""
    if not isinstance(given, str):
        return Raw(_encode(given)) if isinstance(given, dict) else _NO_INPUT
    return _checked(given)


def _checked(arguments: str) -> Raw:
    """The input of a call from its text, in exactly the words of the model where it is a JSON object."""
    data = arguments.encode()
    try:
        _check_object(data)
    except DECODE_ERRORS:
        return Raw(_encode(tool_input(arguments)))
    return Raw(data)


_NO_INPUT: Final = Raw(b"{}")


def _without(value: Any, name: str) -> Raw:
    fields = value if isinstance(value, dict) else {}
    return Raw(_encode({field: part for field, part in fields.items() if field != name and part is not None}))


def _shell_output(output: Any) -> str:
    """The outputs of commands as text."""
    if isinstance(output, str):
        return output
    texts = []
    for part in output if isinstance(output, list) else ():
        if not isinstance(part, dict):
            continue
        outcome = part.get("outcome")
        ended = outcome if isinstance(outcome, dict) else {}
        texts += [text for name in ("stdout", "stderr") if isinstance(text := part.get(name), str) and text]
        texts.append("[timeout]" if ended.get("type") == "timeout" else f"[exit code {ended.get('exit_code')}]")
    return "\n".join(texts)


def _plain_blocks(content: PlainContent) -> list[Any]:
    """The blocks of a content of known types. Empty texts, which servers refuse, are left out."""
    if isinstance(content, str):
        return [Text(content)] if content and not content.isspace() else []
    blocks: list[Any] = []
    for part in content:
        if type(part) is InputImage:
            blocks.append(InlineImage(_source(part.image_url)))
        elif (text := part.text) and not text.isspace():
            blocks.append(Text(text))
    return blocks


def _block(part: Any, path: str) -> Text | InlineImage | Document | None:
    """A part of a content as a block; None for one without content."""
    kind = part.get("type") if isinstance(part, dict) else None
    match kind:
        case "input_image" | "computer_screenshot":
            url = part.get("image_url")
            if isinstance(url, dict):
                # The form of chat completions.
                url = url.get("url")
            if not isinstance(url, str):
                _wrong(f"{path}.image_url", "Field required: a URL, or the image as a data URL")
            return InlineImage(_source(url))
        case "input_file":
            return _file(part, path)
        case _ if kind in TEXT_PARTS:
            text = part.get("refusal") if kind == "refusal" else part.get("text")
            return Text(text) if isinstance(text, str) and text.strip() else None
        case "input_audio" | "input_video":
            _wrong(f"{path}.type", f"{kind!r} is not supported by the Messages API; use text, images or files")
    return None


def _source(url: str, kind: str = "") -> Base64Source | UrlSource:
    made = source(url, kind)
    return UrlSource(made["url"]) if made["type"] == "url" else Base64Source(made["media_type"], made["data"])


def _file(part: dict[str, Any], path: str) -> InlineImage | Document:
    data, url, name = part.get("file_data"), part.get("file_url"), part.get("filename")
    title = name if isinstance(name, str) and name else None
    if isinstance(data, str):
        made = _source(data, "application/pdf")
        if type(made) is Base64Source:
            if made.media_type.startswith("image/"):
                return InlineImage(made)
            if made.media_type.startswith("text/") or made.media_type == "application/json":
                return Document(_text_source(made.data, path), title)
        return Document(made, title)
    if isinstance(url, str):
        return Document(UrlSource(url), title)
    return _wrong(
        f"{path}.file_data", "Field required: the file as a data URL, `file_url`, or `file_id` of an uploaded file"
    )


def _text_source(data: str, path: str) -> TextSource:
    try:
        text = msgspec.json.decode(_encode(data), type=bytes).decode("utf-8", "replace")
    except msgspec.MsgspecError:
        _wrong(f"{path}.file_data", "Input should be base64")
    return TextSource(text)


def _wrong(path: str, message: str) -> NoReturn:
    raise Problem("invalid_request", f"{path}: {message}")
