"""Messages requests: types and decoding. Nothing is translated here.

Shapes: https://docs.anthropic.com/en/api/messages and the `anthropic` SDK 2.11.0 (seen 2026-11-20).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from functools import partial
from itertools import chain, islice
from typing import Annotated, Final, Literal, NoReturn

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from byway.messages.blocks import KNOWN, Block, FilelessBlock, Text, ToolResult, ToolUse, Unknown, Wire
from byway.messages.tools import Tool, ToolSet, tool_set
from byway.problems import Problem

Role = Literal["user", "assistant", "system"]
_ROLES: Final[dict[str, Role]] = {"user": "user", "assistant": "assistant", "system": "system"}


class Thought(Wire):
    """The parameter `thinking`: `adaptive`, `enabled` with a budget, `disabled`."""

    type: str
    budget_tokens: int | None = None
    display: str | None = None
    """`omitted`: the client shows no thinking."""


class Format(Wire):
    """The format of the answer's text: `json_schema`."""

    type: str
    schema: Raw = Raw()


class OutputConfig(Wire):
    """The effort of the model, and the format of the answer."""

    effort: str | None = None
    format: Format | None = None


class Turn(Wire):
    """One message of the conversation. Its `output_config` holds from here on."""

    role: Role
    content: str | list[Block]
    output_config: OutputConfig | None = None

    @property
    def blocks(self) -> list[Block]:
        """The content as a list."""
        return [Text(self.content)] if isinstance(self.content, str) else self.content


class _FilelessTurn(Turn):
    """A message as the decoder takes it in one pass."""

    # Documents and uploaded files are rare. A request that has one is decoded block by block, so that in all others none
    # is looked for.
    content: str | list[FilelessBlock]  # type: ignore[assignment]


class ToolChoice(Wire):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Params(Wire, kw_only=True):
    """The body of `POST /v1/messages`: typed where Byway looks, raw where it only passes on. Unknown fields stay in `body`."""

    model: Annotated[str, Meta(min_length=1, max_length=512)]
    # 0 fills the prompt cache and generates nothing.
    max_tokens: Annotated[int, Meta(ge=0)] | UnsetType = UNSET
    stream: bool | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    stop_sequences: list[str] | None = None
    temperature: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    thinking: Thought | None = None
    output_config: OutputConfig | None = None
    output_format: Format | None = None
    """The older name of `output_config.format`."""
    safeguards: list[Raw] | None = None
    container: Raw = Raw()
    mcp_servers: Raw = Raw()
    thread: Raw = Raw()
    compaction: Raw = Raw()


class TypedParams(Params, kw_only=True):
    """A request in which every block is known, and none is a document or a file: one pass decodes all of it."""

    messages: list[_FilelessTurn]
    system: str | list[Text] | None = None


class _LooseTurn(Wire):
    role: str
    content: str | list[Raw]
    output_config: OutputConfig | None = None


class _Loose(Params, kw_only=True):
    """Any other request: its blocks are decoded one by one, so that an unknown block does not spoil the rest."""

    messages: list[Raw]
    system: str | list[Raw] | None = None


class _LooseResult(Wire):
    tool_use_id: str
    content: str | list[Raw] | None = None
    is_error: bool | None = None


class _Type(Wire):
    type: str


_typed: Final = msgspec.json.Decoder(TypedParams)
_loose: Final = msgspec.json.Decoder(_Loose)
_turn: Final = msgspec.json.Decoder(_LooseTurn)
_block: Final = msgspec.json.Decoder(Block)
_result: Final = msgspec.json.Decoder(_LooseResult)
_type: Final = msgspec.json.Decoder(_Type)
_encode: Final = msgspec.json.Encoder().encode
_FORWARDED: Final = ("anthropic-version", "anthropic-beta", "user-agent")
#: Bytes of a request that is too small to hold many tools or messages.
_LIGHT: Final = 16 << 10
#: Bytes of text that take as long as one tool or message.
_PART_WEIGHT: Final = 512
#: Bytes of text that take as long as one byte of a schema, which may have a property in each 12 of them.
_SCHEMA_WEIGHT: Final = 8
#: Bytes of text that take as long as one byte of a loose request, which may have a block in each 20 of them.
_LOOSE_WEIGHT: Final = 12
#: Bytes of a request that is too small for many properties.
_FEW_PROPERTIES: Final = 96 << 10
#: Bytes of a body that is decoded in one call: about 25 ms.
_WHOLE: Final = 8 << 20
#: The longest number that Python's own decoder takes.
_DIGITS: Final = 4300
_ONLY_DIGITS: Final = bytes(48 if 48 <= byte <= 57 else 32 for byte in range(256))


class _ModelName(Wire):
    model: str


_model_name: Final = msgspec.json.Decoder(_ModelName)
_NAME: Final = re.compile(rb'("model"\s*:\s*)"(?:[^"\\]|\\.)*"')
#: How many occurrences of `"model": "..."` are tried before the body is taken apart instead.
_TRIES: Final = 16


class Content(Struct):
    """The parts of a request that hold its prompt. `release` frees them.

    They are freed as soon as no other target can be tried: a thousand open streams must not keep a thousand prompts.
    """

    body: bytes
    params: Params
    turns: list[Turn] | None
    """None: not decoded yet."""
    chat: bytes = b""
    extra: dict[str, Raw] | None = None
    tool_set: ToolSet | None = None
    """None: not looked for yet."""
    call_ids: Collection[str] | None = None
    """The ids of all tool calls in the conversation; None: not collected yet."""
    offered: list[Tool] | None = None
    """The tools that the model may call now; None: not looked for yet."""
    documents: bool = True
    """It may have documents."""
    responses: bytes = b""
    """The body of the Responses request that this one stands for."""
    extended: bool = False
    """That request has tools or items that only servers of OpenAI know."""
    client_metadata: bool = False
    """That request has the field `client_metadata`, which only servers of OpenAI accept."""
    carriers: bool = True
    """That request may contain what Byway has made opaque for another backend."""
    translation: Callable[[], Request] | None = None
    """Makes the Messages request of a chat completion, where no backend has needed it yet; None: this is it."""
    includes_usage: bool | None = None
    """The client of a chat completion wants the usage of a stream; None: not read yet."""
    stream_options: bool = True
    """The chat completion may have the field `stream_options`."""
    encode: Callable[[], bytes] | None = None
    """Makes the body of a request that a front has translated."""

    def release(self) -> None:
        """Free the body and everything that was decoded from it."""
        self.body = b""
        self.params = _RELEASED
        self.turns = self.tool_set = self.call_ids = self.offered = None
        # Only the fronts of other APIs set these.
        if self.chat or self.responses or self.encode is not None:
            self.chat = self.responses = b""
            self.encode = self.translation = None


#: The parameters of a request whose prompt is released.
_RELEASED: Final = Params(model="")


class Request(Struct, frozen=True):
    """One request of the client. It does not change; the facts of one attempt at one target are an `Attempt`."""

    id: str
    """The id of the answer, `msg_...`."""
    model: str
    stream: bool
    size: int
    """Bytes of the body."""
    headers: Mapping[str, str]
    content: Content
    loose: bool = False
    """It has a document, a file, a block of an unknown type, or a block of a known type with a wrong shape."""
    untranslatable: Problem | None = None
    """Why the Messages API cannot express this chat completion: only a backend that speaks chat can answer it."""

    @property
    def estimate(self) -> int:
        """A guess at the prompt's tokens by its size alone: what `message_start` reports before anything was counted."""
        return self.size // 4 or 1

    @property
    def weight(self) -> int:
        """Bytes whose translation takes as long as this request's: its size, or more when it has much of what takes longer."""
        size = self.size
        if size < _LIGHT:
            return size
        params = self.content.params
        tools = params.tools or ()
        messages = params.messages if isinstance(params, (TypedParams, _Loose)) else ()
        weight = max(size, _PART_WEIGHT * (len(tools) + len(messages)))
        if size < _FEW_PROPERTIES:
            return weight
        if self.loose:
            weight = max(weight, _LOOSE_WEIGHT * size)
        return max(weight, _SCHEMA_WEIGHT * sum([len(tool.input_schema) for tool in tools]))

    @property
    def body(self) -> bytes:
        """The Messages request as it came. That of a translated one is made when a backend needs it."""
        content = self.content
        if content.encode is not None:
            content.body, content.encode = content.encode(), None
        return content.body

    @property
    def params(self) -> Params:
        return self.content.params

    @property
    def chat(self) -> bytes:
        """The body of the chat completion that this request stands for; empty when it is a Messages request."""
        return self.content.chat

    @property
    def extra(self) -> dict[str, Raw] | None:
        """Fields of the chat completion that the Messages API does not have; None when it is a Messages request."""
        return self.content.extra

    @property
    def forwarded(self) -> tuple[tuple[str, str], ...]:
        """The client's `anthropic-version`, `anthropic-beta` and `user-agent`, as they came."""
        return tuple((name, self.headers[name]) for name in _FORWARDED if name in self.headers)

    @property
    def system(self) -> list[str]:
        """The texts of the top-level `system`."""
        params = self.content.params
        if type(params) is TypedParams:
            blocks = params.system
            if type(blocks) is list:
                # Most requests have one text. A loop of its own would cost half of this property.
                return [blocks[0].text] if len(blocks) == 1 else [block.text for block in blocks]
            return [blocks] if blocks else []  # type: ignore[list-item]
        if not isinstance(params, _Loose) or not params.system:
            return []
        if isinstance(params.system, str):
            return [params.system]
        texts: list[str] = []
        for index, raw in enumerate(params.system):
            block = _decode_block(raw, f"system.{index}")
            if not isinstance(block, Text):
                _reject(f"system.{index}.type", "Input should be 'text'")
            texts.append(block.text)
        return texts

    @property
    def turns(self) -> list[Turn]:
        """The conversation; raises Problem with the path of what is wrong in it."""
        content = self.content
        turns = content.turns
        if turns is None:
            raws = content.params.messages if isinstance(content.params, _Loose) else ()
            turns = content.turns = [_decode_turn(raw, f"messages.{index}") for index, raw in enumerate(raws)]
        return turns

    @property
    def unknown(self) -> set[str]:
        """The types of blocks in the conversation that this version does not know; only a `loose` request has any."""
        blocks = [block for turn in self.turns if not isinstance(turn.content, str) for block in turn.content]
        inner = [block.content for block in blocks if type(block) is ToolResult and isinstance(block.content, list)]
        return {block.kind[:64] for block in chain(blocks, *inner) if type(block) is Unknown and block.foreign}

    def patched(self, model: str) -> bytes:
        """The body with the value of `model` changed and every other byte as it came."""
        if self.untranslatable is not None:
            raise self.untranslatable
        if model == self.model:
            return self.body
        return renamed(self.body, model, lambda data: _model_name.decode(data).model)

    def followed(self, turns: list[Turn], params: Params, *, stream: bool | None = None) -> Request:
        """The request for another model turn of the same exchange. It has no body that could pass through unchanged."""
        return Request(
            self.id,
            self.model,
            self.stream if stream is None else stream,
            self.size,
            self.headers,
            Content(b"", params, turns, extra=self.content.extra),
            # Its blocks are decoded already.
            False,
        )

    def limited(self, max_tokens: int) -> Request:
        """The same request with another `max_tokens` in its params. The body stays as it came."""
        content = self.content
        params = msgspec.structs.replace(content.params, max_tokens=max_tokens)
        return msgspec.structs.replace(self, content=msgspec.structs.replace(content, params=params))


# Functions, not properties: a call of a function costs half as much, and each request makes several.


def declared_tools(request: Request) -> ToolSet:
    """The tools that `request` declares, as a set that other requests may share."""
    content = request.content
    if content.tool_set is None:
        content.tool_set = tool_set(content.params.tools)
    return content.tool_set


def call_ids(request: Request) -> Collection[str]:
    """The ids of all tool calls in the conversation. The translation of a request collects them in passing."""
    content = request.content
    if content.call_ids is None:
        content.call_ids = {
            block.id
            for turn in request.turns
            if turn.role == "assistant" and not isinstance(turn.content, str)
            for block in turn.content
            if type(block) is ToolUse
        }
    return content.call_ids


def renamed(data: bytes, model: str, read: Callable[[bytes], str]) -> bytes:
    """Return `data` with its model name changed to `model`, by slice.

    `read` returns the name that counts in the changed data, so that the same words elsewhere (in the input of a tool,
    for example) stay as they are.
    """
    value = _encode(model)
    for match in islice(_NAME.finditer(data), _TRIES):
        changed = b"%b%b%b%b" % (data[: match.start()], match[1], value, data[match.end() :])
        if read(changed) == model:
            return changed
    # With this many occurrences decoding the fields once costs less than another try.
    fields = msgspec.json.decode(data, type=dict[str, Raw])
    if "model" in fields:
        fields["model"] = Raw(value)
    elif "message" in fields:
        fields["message"] = Raw(
            _encode({**msgspec.json.decode(fields["message"], type=dict[str, Raw]), "model": model})
        )
    return _encode(fields)


def extended(data: bytes, member: bytes) -> bytes:
    """Return the JSON object `data`, which is not empty, with one more member at its beginning."""
    return b"{%b,%b" % (member, data[data.index(b"{") + 1 :])


def parse(body: bytes, headers: Mapping[str, str], id: str) -> Request:
    """Read a request as far as routing needs it; the conversation is decoded when a backend needs it.

    `headers` has lower-case names. Raises Problem `invalid_request` for a shape that the official API refuses.
    """
    params: TypedParams | _Loose
    turns: list[Turn] | None = None
    size = len(body)
    try:
        try:
            if size > _WHOLE:
                # One call of the decoder holds the interpreter; a very large body is decoded block by block instead.
                params = _loose.decode(body)
            else:
                params = _typed.decode(body)
                turns = [*params.messages]
        except msgspec.ValidationError:
            params = _loose.decode(body)
    except Exception as error:
        raise invalid(error, body="The request body") from None
    if not params.messages:
        _reject("messages", "at least one message is required")
    loose = turns is None
    content = Content(body, params, turns, documents=loose)
    return Request(id, params.model, bool(params.stream), size, headers, content, loose)


def build(
    id: str,
    headers: Mapping[str, str],
    size: int,
    params: TypedParams,
    encode: Callable[[TypedParams], bytes],
    *,
    documents: bool,
    carriers: bool,
) -> Request:
    """A request that a front has translated. `encode` makes its body, which few backends need."""
    made = partial(encode, params)
    content = Content(b"", params, params.messages, documents=documents, carriers=carriers, encode=made)  # type: ignore[arg-type]
    return Request(id, params.model, params.stream is True, size, headers, content)


def invalid(error: Exception, path: str = "", body: str = "This part of the request") -> Problem:
    """The Problem `invalid_request` for an error of a JSON decoder, with the path of what is wrong.

    Raises `error` again when it is not an error of a decoder.
    """
    if isinstance(error, msgspec.ValidationError):
        return _complaint(path, str(error))
    at = f"{path}: " if path else ""
    if isinstance(error, RecursionError):
        return Problem("invalid_request", f"{at}{body} is nested too deeply.")
    if isinstance(error, UnicodeDecodeError):
        return Problem("invalid_request", f"{at}{body} is not valid UTF-8: {error.reason} at byte {error.start}.")
    if isinstance(error, msgspec.DecodeError):
        return Problem("invalid_request", f"{at}{body} is not valid JSON: {error}")
    raise error


def unopened(raw: Raw, path: str) -> bytes:
    """The bytes of a part that is passed on as it came; empty when it is absent or null.

    The decoder has checked its structure only. So this checks that it is UTF-8, and that it has no number so long that
    servers fail on it.
    """
    data = bytes(raw)
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError:
            _reject(path, "Input should be valid UTF-8")
    if len(data) > _DIGITS and b"0" * _DIGITS in data.translate(_ONLY_DIGITS):
        _reject(path, f"Input should not hold a number of more than {_DIGITS} digits")
    return b"" if data == b"null" else data


def _decode_turn(raw: Raw, path: str) -> Turn:
    """Decode one message of a loose request; raises Problem with the path of what is wrong in it."""
    try:
        turn = _turn.decode(raw)
    except Exception as error:
        raise invalid(error, path) from None
    role = _ROLES.get(turn.role)
    if role is None:
        _reject(f"{path}.role", "Input should be 'user' or 'assistant'")
    content = turn.content
    if not isinstance(content, str):
        blocks = [_decode_block(item, f"{path}.content.{index}") for index, item in enumerate(content)]
        return Turn(role, blocks, turn.output_config)
    return Turn(role, content, turn.output_config)


def _decode_block(raw: Raw, path: str) -> Block:
    """Decode one block; a block of an unknown type is kept whole."""
    try:
        block: Block = _block.decode(raw)
    except msgspec.ValidationError as error:
        return _decode_other(raw, path, error)
    except Exception as error:
        raise invalid(error, path) from None
    return block


def _decode_other(raw: Raw, path: str, error: msgspec.ValidationError) -> Block:
    """A block that is no known block as it should be; `error` is what the decoder said of it."""
    try:
        kind = _type.decode(raw).type
    except msgspec.ValidationError:
        _reject(f"{path}.type", "Field required, a string")
    except Exception as other:
        raise invalid(other, path) from None
    if kind not in KNOWN:
        return Unknown(kind, Raw(unopened(raw, path)))
    if kind == "tool_result":
        try:
            result = _result.decode(raw)
        except Exception as other:
            raise invalid(other, path) from None
        if isinstance(result.content, list):
            content = [_decode_block(item, f"{path}.content.{index}") for index, item in enumerate(result.content)]
            return ToolResult(result.tool_use_id, content, result.is_error)  # type: ignore[arg-type]
    raise invalid(error, path)


def _complaint(path: str, message: str) -> Problem:
    """The 400 that names the place, from msgspec's words (`Expected ... - at `$.x`) or ours."""
    text, _, where = message.partition(" - at `$")
    place = (path + re.sub(r"\[(\w+|\.\.\.)\]", r".\1", where.rstrip("`"))).lstrip(".")
    return Problem("invalid_request", f"{place}: {text}" if place else text)


def _reject(path: str, message: str) -> NoReturn:
    raise _complaint(path, message)
