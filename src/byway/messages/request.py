"""Messages requests: types and decoding. Nothing is translated here.

Shapes: https://docs.anthropic.com/en/api/messages and the `anthropic` SDK 2.11.0 (seen 2026-11-20).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import chain, islice
from typing import Annotated, Any, Final, Literal, NoReturn

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from byway.messages.blocks import KNOWN, Block, Text, ToolResult, Unknown, Wire
from byway.problems import Problem

Role = Literal["user", "assistant", "system"]
_ROLES: Final[dict[str, Role]] = {"user": "user", "assistant": "assistant", "system": "system"}


class Thought(Wire):
    """The setting `thinking`: `adaptive`, `enabled` with a budget, `disabled`."""

    type: str
    budget_tokens: int | None = None


class Format(Wire):
    """The form that an answer's text must have: `json_schema`."""

    type: str
    schema: Raw = Raw()


class OutputConfig(Wire):
    """How hard to think, and in which form to answer."""

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


class ToolChoice(Wire):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Tool(Wire):
    """A tool of the client, or (with a dated `type`) one that Anthropic's servers would run."""

    name: str = ""
    type: str | None = None
    # The bulk of a prompt: it goes on as it came, never opened.
    description: Raw = Raw()
    input_schema: Raw = Raw()
    defer_loading: bool | None = None
    strict: bool | None = None
    input_examples: Raw = Raw()
    # Those of `web_search_...` and `web_fetch_...`.
    max_uses: int | None = None
    max_content_tokens: int | None = None
    use_cache: bool | None = None
    url_sources: Raw = Raw()
    citations: dict[str, Any] | None = None
    allowed_domains: list[str] | None = None
    blocked_domains: list[str] | None = None
    user_location: Raw = Raw()
    # Those of the tool `computer_...`.
    display_width_px: int | None = None
    display_height_px: int | None = None
    enable_zoom: bool | None = None


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


class _Typed(Params, kw_only=True):
    """A request of which every block is known: one pass decodes all of it."""

    messages: list[Turn]
    system: str | list[Text] | None = None


class _LooseTurn(Wire):
    role: str
    content: str | list[Raw]
    output_config: OutputConfig | None = None


class _Loose(Params, kw_only=True):
    """Any other request: its blocks are decoded one by one, so that an unknown one does not spoil the rest."""

    messages: list[Raw]
    system: str | list[Raw] | None = None


class _LooseResult(Wire):
    tool_use_id: str
    content: str | list[Raw] | None = None
    is_error: bool | None = None


class _Type(Wire):
    type: str


_typed: Final = msgspec.json.Decoder(_Typed)
_loose: Final = msgspec.json.Decoder(_Loose)
_turn: Final = msgspec.json.Decoder(_LooseTurn)
_block: Final = msgspec.json.Decoder(Block)
_result: Final = msgspec.json.Decoder(_LooseResult)
_type: Final = msgspec.json.Decoder(_Type)
_encode: Final = msgspec.json.Encoder().encode
_FORWARDED: Final = ("anthropic-version", "anthropic-beta")
#: The longest number that Python's own decoder takes.
_DIGITS: Final = 4300
_ONLY_DIGITS: Final = bytes(48 if 48 <= byte <= 57 else 32 for byte in range(256))


class _Named(Wire):
    model: str


_named: Final = msgspec.json.Decoder(_Named)
_NAME: Final = re.compile(rb'("model"\s*:\s*)"(?:[^"\\]|\\.)*"')


#: How many places are tried in which the model's name may stand.
_TRIES: Final = 16


class Request:
    """One request from the client. `id` is that of the answer (`msg_...`), made by whoever calls `parse`.

    `body` and what is decoded from it are let go by `drop` as soon as no other target can be tried: a thousand open
    streams must not keep a thousand prompts.
    """

    __slots__ = (
        "_headers", "_turns", "body", "chat", "estimate", "extra", "id", "judged", "loose", "model", "params", "room",
        "size", "stream",
    )  # fmt: skip

    def __init__(self, id: str, body: bytes, params: Params, headers: Mapping[str, str], size: int) -> None:
        self.id = id
        self.body = body
        self.params = params
        self.model = params.model
        self.stream = bool(params.stream)
        self._headers = headers
        self.size = size
        self.estimate = size // 4 or 1
        """A guess at the prompt's tokens: what `message_start` says before anybody has counted."""
        self.loose = type(params) is _Loose
        """It has a block of a type that is not known, or one that is not as it should be."""
        self.judged = False
        """Byway itself brings the verdicts that its `safeguards` ask for."""
        self.chat = b""
        """The body of a chat completion that this request stands for."""
        self.extra: dict[str, Raw] | None = None
        """Fields of that body for which the Messages API has no word; None: it is no chat completion."""
        self.room: int | None = None
        """Tokens that the window has left for the answer, once a backend has said so."""
        self._turns: list[Turn] | None = params.messages if isinstance(params, _Typed) else None

    @property
    def forwarded(self) -> tuple[tuple[str, str], ...]:
        """`anthropic-version` and `anthropic-beta`, as they came."""
        return tuple((name, self._headers[name]) for name in _FORWARDED if name in self._headers)

    @property
    def system(self) -> list[str]:
        """The texts of the top-level `system`."""
        params = self.params
        said = params.system if isinstance(params, (_Typed, _Loose)) else None
        if said is None or isinstance(said, str):
            return [said] if said else []
        texts: list[str] = []
        for at, one in enumerate(said):
            block = _decoded(one, f"system.{at}") if isinstance(one, Raw) else one
            if not isinstance(block, Text):
                _wrong(f"system.{at}.type", "Input should be 'text'")
            texts.append(block.text)
        return texts

    @property
    def turns(self) -> list[Turn]:
        """The conversation; raises Problem with the path of what is wrong in it."""
        if self._turns is None:
            raws = self.params.messages if isinstance(self.params, _Loose) else ()
            self._turns = [_loose_turn(raw, f"messages.{at}") for at, raw in enumerate(raws)]
        return self._turns

    @property
    def unknown(self) -> set[str]:
        """The types of blocks in the conversation that this version does not know; only a `loose` request has any."""
        blocks = [block for turn in self.turns if not isinstance(turn.content, str) for block in turn.content]
        inner = [block.content for block in blocks if type(block) is ToolResult and isinstance(block.content, list)]
        return {block.kind[:64] for block in chain(blocks, *inner) if type(block) is Unknown and block.foreign}

    def patched(self, model: str) -> bytes:
        """The body with the value of `model` changed and every other byte as it came."""
        return self.body if model == self.model else renamed(self.body, model, lambda data: _named.decode(data).model)

    def asking(self, turns: list[Turn], params: Params) -> Request:
        """Another turn of the same exchange: other turns, other params. It has no body to pass on unopened."""
        made = Request(self.id, b"", params, self._headers, self.size)
        made._turns = turns
        made.judged, made.room, made.extra = self.judged, self.room, self.extra
        return made

    def drop(self) -> None:
        """Let go of the body and all that was decoded from it."""
        self.body = self.chat = b""
        self.params = Params(model=self.model)
        self._turns = None


def renamed(data: bytes, model: str, read: Callable[[bytes], str]) -> bytes:
    """`data` with its model's name changed to `model`, by slice. `read` finds the name where it counts, so that the same
    words elsewhere (in a tool's input, say) are left alone."""
    value = _encode(model)
    for found in islice(_NAME.finditer(data), _TRIES):
        changed = b"%b%b%b%b" % (data[: found.start()], found[1], value, data[found.end() :])
        if read(changed) == model:
            return changed
    # So many of these words that each try would cost more than to take it apart.
    fields = msgspec.json.decode(data, type=dict[str, Raw])
    if "model" in fields:
        fields["model"] = Raw(value)
    elif "message" in fields:
        fields["message"] = Raw(
            _encode({**msgspec.json.decode(fields["message"], type=dict[str, Raw]), "model": model})
        )
    return _encode(fields)


def parse(body: bytes, headers: Mapping[str, str], id: str) -> Request:
    """Read a request as far as routing needs it; the conversation is decoded when a backend asks for it.

    `headers` has lower-case names. Raises Problem `invalid_request` for what the official API refuses for its shape.
    """
    params: _Typed | _Loose
    try:
        try:
            params = _typed.decode(body)
        except msgspec.ValidationError:
            params = _loose.decode(body)
    except msgspec.ValidationError as error:
        _wrong("", str(error))
    except RecursionError:
        raise Problem("invalid_request", "The request body is nested too deeply.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem("invalid_request", f"The request body is not valid JSON: {error}") from None
    if not params.messages:
        _wrong("messages", "at least one message is required")
    return Request(id, body, params, headers, len(body))


def unopened(raw: Raw, path: str) -> bytes:
    """The bytes of a part that is passed on as it came; none when it is absent or null.

    The decoder has looked at its escapes. Here: is it UTF-8, and no number in it so long that servers choke on it?
    """
    data = bytes(raw)
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError:
            _wrong(path, "Input should be valid UTF-8")
    if len(data) > _DIGITS and b"0" * _DIGITS in data.translate(_ONLY_DIGITS):
        _wrong(path, f"Input should not hold a number of more than {_DIGITS} digits")
    return b"" if data == b"null" else data


def _loose_turn(raw: Raw, path: str) -> Turn:
    """One message whose blocks, or whose role, are not all known; raises the complaint with its place."""
    try:
        turn = _turn.decode(raw)
    except msgspec.ValidationError as error:
        _wrong(path, str(error))
    role = _ROLES.get(turn.role)
    if role is None:
        _wrong(f"{path}.role", "Input should be 'user' or 'assistant'")
    content = turn.content
    if not isinstance(content, str):
        blocks = [_decoded(item, f"{path}.content.{at}") for at, item in enumerate(content)]
        return Turn(role, blocks, turn.output_config)
    return Turn(role, content, turn.output_config)


def _decoded(raw: Raw, path: str) -> Block:
    """One block; of an unknown type it is kept whole."""
    try:
        block: Block = _block.decode(raw)
    except msgspec.ValidationError as error:
        try:
            kind = _type.decode(raw).type
        except msgspec.ValidationError:
            _wrong(f"{path}.type", "Field required, a string")
        if kind not in KNOWN:
            return Unknown(kind, raw)
        if kind == "tool_result":
            try:
                result = _result.decode(raw)
            except msgspec.ValidationError as inner:
                _wrong(path, str(inner))
            if isinstance(result.content, list):
                content = [_decoded(item, f"{path}.content.{at}") for at, item in enumerate(result.content)]
                return ToolResult(result.tool_use_id, content, result.is_error)
        _wrong(path, str(error))
    return block


def _wrong(path: str, message: str) -> NoReturn:
    """Raise the 400 that names the place, from msgspec's words (`Expected ... - at `$.x`) or ours."""
    text, _, where = message.partition(" - at `$")
    place = (path + re.sub(r"\[(\w+|\.\.\.)\]", r".\1", where.rstrip("`"))).lstrip(".")
    raise Problem("invalid_request", f"{place}: {text}" if place else text)
