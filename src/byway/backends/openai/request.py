"""What to send for a Messages request: the chat-completions request. What comes back is read in `reader`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from byway import claudecode
from byway.backends import Call, Target
from byway.messages import (
    Base64Source,
    Block,
    ContentSource,
    Document,
    FileSource,
    Image,
    Request,
    Text,
    TextSource,
    ToolReference,
    ToolResult,
    ToolUse,
    Turn,
    Unknown,
    UrlSource,
    unopened,
)
from byway.problems import Problem


class _Part(Struct, omit_defaults=True):
    type: str
    text: str | None = None
    image_url: dict[str, str] | None = None


class _Function(Struct):
    name: str
    arguments: str


class _CallOut(Struct):
    id: str
    function: _Function
    type: str = "function"


class _Out(Struct):
    role: str
    content: str | list[_Part] | UnsetType | None = UNSET
    tool_calls: list[_CallOut] | UnsetType = UNSET
    tool_call_id: str | UnsetType = UNSET


class _ToolOut(Struct):
    function: dict[str, Any]
    type: str = "function"


_encode: Final = msgspec.json.Encoder().encode
_EMPTY_SCHEMA: Final = Raw(b'{"type":"object","properties":{}}')

# ------------------------------------------------------------------------------------------------------------- request


def request(request: Request, target: Target) -> Call:
    """The call for `request`. Only what the protocol knows is sent: no cache marks, no metadata, no betas.

    The order of the keys is that of a prompt: tools, then messages, so that a server which hashes the body sees the
    same beginning turn after turn.
    """
    params, vendor = request.params, target.vendor
    body: dict[str, Any] = {"model": target.model}
    tools = _tools(request)
    if tools:
        body["tools"] = tools
    body["messages"] = _messages(request)
    if isinstance(params.max_tokens, UnsetType):
        raise Problem("invalid_request", "max_tokens: Field required")
    # 0 asks Anthropic to fill its cache; the smallest that these servers take is 1.
    body[vendor.max_tokens_field] = max(1, params.max_tokens)
    for name in vendor.sampling:
        value = getattr(params, name)
        if value is not None:
            body[name] = value
    if params.stop_sequences:
        # Servers refuse an empty stop sequence, and some a long list: the rest is left out rather than the request lost.
        body["stop"] = [text for text in params.stop_sequences if text][: vendor.stop_limit]
    if tools and params.tool_choice is not None:
        choice = params.tool_choice
        match choice.type:
            case "any":
                body["tool_choice"] = "required"
            case "tool":
                if choice.name is None:
                    raise Problem("invalid_request", "tool_choice.name: Field required when type is 'tool'")
                body["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
            case _:
                body["tool_choice"] = choice.type
        if choice.disable_parallel_tool_use:
            body["parallel_tool_calls"] = False
    if request.stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    return Call("POST", "/v1/chat/completions", _JSON, _encode(body))


_JSON: Final = (("content-type", "application/json"),)


def _tools(request: Request) -> list[_ToolOut]:
    found = []
    for at, tool in enumerate(claudecode.tools(request)):
        if tool.type not in (None, "custom"):
            raise Problem(
                "invalid_request",
                f"tools.{at}.type: {tool.type!r} is a tool that Anthropic's servers run; this backend cannot, and Byway "
                "does not run it yet. Leave the tool out, or send this request to an Anthropic backend.",
            )
        if not tool.name:
            raise Problem("invalid_request", f"tools.{at}.name: Field required")
        function: dict[str, Any] = {"name": tool.name}
        said = unopened(tool.description, f"tools.{at}.description")
        if said:
            if not said.startswith(b'"'):
                raise Problem("invalid_request", f"tools.{at}.description: Input should be a string")
            function["description"] = tool.description
        known = unopened(tool.input_schema, f"tools.{at}.input_schema")
        function["parameters"] = tool.input_schema if known else _EMPTY_SCHEMA
        found.append(_ToolOut(function))
    return found


def _messages(request: Request) -> list[_Out]:
    """The conversation in chat form. A turn's messages depend on that turn and those before it, never on later ones."""
    out: list[_Out] = []
    system = claudecode.system(request.system)
    for turn in request.turns:
        if turn.role == "system":
            texts = [said for block in turn.blocks for said in _said(block) if isinstance(said, str)]
            if out:
                _say(out, [claudecode.reminder(text) for text in texts])
            else:
                system.extend(texts)
        elif turn.role == "assistant":
            out.append(_assistant(turn))
        else:
            _user(out, turn)
    text = "\n\n".join([text for text in system if text])
    return [_Out("system", text), *out] if text else out


def _user(out: list[_Out], turn: Turn) -> None:
    """A user turn: its tool results first (they must follow their assistant turn), then all that it says."""
    if isinstance(turn.content, str):
        _say(out, [turn.content] if turn.content else [])
        return
    said: list[str | _Part] = []
    for block in turn.content:
        if type(block) is ToolResult:
            text, pictures = _result(block)
            out.append(_Out("tool", text, tool_call_id=block.tool_use_id))
            if pictures:
                said.append(f"Images in the result of {block.tool_use_id}:")
                said.extend(pictures)
        else:
            said.extend(_said(block))
    _say(out, said)


def _say(out: list[_Out], said: Sequence[str | _Part]) -> None:
    """Add what is said as the user's, to the last message when that is the user's too: many templates want turns to
    alternate."""
    if not said:
        return
    if out and out[-1].role == "user":
        before = out.pop().content
        said = [before, *said] if isinstance(before, str) else [*(before or ()), *said]
    texts = [one for one in said if isinstance(one, str)]
    if len(texts) == len(said):
        out.append(_Out("user", "\n\n".join(texts)))
    else:
        out.append(_Out("user", [_Part("text", one) if isinstance(one, str) else one for one in said]))


def _result(block: ToolResult) -> tuple[str, list[_Part]]:
    """A tool result's text and its images: the `tool` role takes text alone."""
    pictures: list[_Part] = []
    if isinstance(block.content, str):
        text = block.content
    else:
        said = [one for inner in block.content or () for one in _said(inner)]
        text = "\n\n".join([one for one in said if isinstance(one, str)])
        pictures = [one for one in said if not isinstance(one, str)]
    if block.is_error and not text.startswith(("Error", "<tool_use_error>")):
        text = f"Error: {text}" if text else "Error"
    if not text:
        text = "(see the images below)" if pictures else "(no output)"
    return text, pictures


def _said(block: Block) -> Sequence[str | _Part]:
    """What a user's block says: texts and images. A block that chat has no form for is kept as text."""
    if type(block) is Text:
        return (block.text,) if block.text else ()
    match block:
        case Image(Base64Source(kind, data)):
            return (_Part("image_url", image_url={"url": f"data:{kind};base64,{data}"}),)
        case Image(UrlSource(url)):
            return (_Part("image_url", image_url={"url": url}),)
        case Document(TextSource(data), title):
            return (f"{title}\n\n{data}" if title else data,)
        case Document(ContentSource(content)):
            return (content,) if isinstance(content, str) else [one for inner in content or () for one in _said(inner)]
        case Document(UrlSource(url), title):
            return (f"[document {title or ''} {url}]",)
        case Document(source=Base64Source(kind)):
            return (f"[{kind} document, which this backend cannot read]",)
        case Image(FileSource()) | Document(FileSource()):
            raise Problem("invalid_request", "source.type: 'file' needs the Files API, which Byway does not have yet")
        case ToolReference(name):
            return (f"Tool {name} is loaded.",)
        case Unknown(_, raw):
            return (unopened(raw, "content").decode(),)
        case _:
            return ()


def _assistant(turn: Turn) -> _Out:
    texts: list[str] = []
    calls: list[_CallOut] = []
    for block in turn.blocks:
        # What is left out is thinking: it is the model's own and over, and these servers have no place for it.
        if type(block) is Text:
            texts.append(block.text)
        elif type(block) is ToolUse:
            input = unopened(block.input, "tool_use.input").decode()
            calls.append(_CallOut(block.id, _Function(block.name, input or "{}")))
        elif type(block) is Unknown:
            texts.append(unopened(block.raw, "content").decode())
    text = "".join(texts)
    return _Out("assistant", text or (None if calls else ""), calls or UNSET)
