"""The formats in which model families write tool calls as text: how each begins, how it ends, and how it is parsed.

They are those of the models' templates, as vLLM (https://docs.vllm.ai/en/latest/features/tool_calling/), llama.cpp
(docs/function-calling.md) and ik_llama.cpp (examples/server/function_calls.md) parse them (seen 2026-11-21), and those
that small models invent. Where in an answer a format is looked for is decided in `toolparser`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw, Struct

from byway.backends.openai.arguments import JsonTracker, decode_json, repaired
from byway.backends.openai.toolnames import offered_name
from byway.backends.openai.tools import wire_name
from byway.decoding import DECODE_ERRORS
from byway.messages import claudecode
from byway.messages.request import Request, declared_tools
from byway.messages.tools import Tool

_encode: Final = msgspec.json.Encoder().encode

ArgumentTypes = dict[str, dict[str, str]]
"""For each offered tool: the JSON types of those of its properties that take no string."""
ParsedCalls = list[tuple[str, str]] | None
"""The name and the arguments of each call. Empty: the text is no call. None: the call is not complete."""
Promise = bool | None
"""True: the text is a call, or will be one if its format is kept. False: it is none. None: too short to decide."""


class ToolFormat(NamedTuple):
    """One way to write calls: from an opener to `closer`, or to the end of its JSON where that is empty."""

    closer: str
    promise: Callable[[str, ArgumentTypes], Promise]
    """Decides from the first characters behind the opener whether they may become a call."""
    parse: Callable[[str, ArgumentTypes, bool], ParsedCalls]
    """Parses the text from opener to closer. True: the answer has ended, nothing more will come."""
    look: int = 256
    """How many characters behind the opener may be held until `promise` decides."""


# ------------------------------------------------------------------------------------------------------ argument types


class PropertySchema(Struct):
    type: Any = None
    any_of: Any = msgspec.field(default=None, name="anyOf")
    one_of: Any = msgspec.field(default=None, name="oneOf")


class InputSchema(Struct):
    properties: dict[str, PropertySchema] = {}


_schema: Final = msgspec.json.Decoder(InputSchema)
#: A client sends the same tools with each request: comparing their bytes is cheaper than parsing them.
_cache: Final[dict[str, tuple[Raw, str, dict[str, str]]]] = {}
_CACHE_SIZE: Final = 512
#: Bytes of the largest tool that is kept.
_CACHED_BYTES: Final = 1 << 15


def argument_types(request: Request) -> tuple[ArgumentTypes, dict[str, str]]:
    """The types of all tools by the names that were sent, and the client's names of tools that were sent by others.

    What is returned does not keep the request alive, and other requests share it.
    """
    if request.loose:
        return _types_of(claudecode.tools(request))
    tools = declared_tools(request)
    known: tuple[ArgumentTypes, dict[str, str]] | None = tools.made.get("types")
    if known is None:
        known = _types_of(request.content.params.tools or ())
        if tools.shared:
            tools.made["types"] = known
    return known


def _types_of(tools: Iterable[Tool]) -> tuple[ArgumentTypes, dict[str, str]]:
    types: dict[str, dict[str, str]] = {}
    client_names: dict[str, str] = {}
    for tool in tools:
        schema = tool.input_schema
        entry = _cache.get(tool.name)
        if entry is None or entry[0] != schema:
            entry = (schema.copy(), wire_name(tool.name), _property_types(bytes(schema)))
            if len(tool.name) + len(schema) <= _CACHED_BYTES:
                if len(_cache) >= _CACHE_SIZE:
                    _cache.clear()
                _cache[tool.name] = entry
        types[entry[1]] = entry[2]
        if entry[1] != tool.name:
            client_names[entry[1]] = tool.name
    return types, client_names


def _property_types(schema: bytes) -> dict[str, str]:
    try:
        properties = _schema.decode(schema).properties
    except DECODE_ERRORS:
        return {}
    types = {name: _property_type(schema) for name, schema in properties.items()}
    return {name: kind for name, kind in types.items() if kind != "string"}


def _property_type(schema: PropertySchema) -> str:
    """The type of a property: `string` where a string is allowed, `any` where the schema names no type."""
    kinds = schema.type
    choices = schema.any_of or schema.one_of
    if kinds is None and isinstance(choices, list) and choices:
        kinds = [choice.get("type") if isinstance(choice, dict) else None for choice in choices]
    if isinstance(kinds, list):
        if "string" in kinds or not kinds:
            return "string"
        kinds = [kind for kind in kinds if kind != "null"] or kinds
        return str(kinds[0]) if len(kinds) == 1 and kinds[0] else "any"
    return str(kinds) if kinds else "any"


# ------------------------------------------------------------------------------------------------------------- promises


def _begins_with(*beginnings: str) -> Callable[[str, ArgumentTypes], Promise]:
    """A promise that is kept by any of `beginnings`, after white space. `=` stands for the name of any offered tool."""

    def promise(head: str, types: ArgumentTypes) -> Promise:
        text = head.lstrip()
        undecided = False
        for beginning in beginnings:
            if beginning == "=":
                named = _begins_with_name(text, types)
                if named:
                    return True
                undecided = undecided or named is None
            elif text.startswith(beginning):
                return True
            elif beginning.startswith(text):
                undecided = True
        return None if undecided else False

    return promise


_NAME_END: Final = re.compile(r"[\s<>\[\]{}()\"',;=]")


def _begins_with_name(text: str, types: ArgumentTypes) -> Promise:
    """Whether `text` begins with the name of an offered tool. A complete name needs one look-up, not one per tool."""
    end = _NAME_END.search(text)
    if end is not None:
        return offered_name(text[: end.start()], types) is not None
    if text.startswith("functions.") or "functions.".startswith(text):
        return None
    return None if any(name.startswith(text) for name in types) else False


#: The keys of a call in JSON. An object with any other key in front of the name is ordinary text.
_NAME_KEYS: Final = ("name", "tool", "tool_name", "function", "recipient_name")
_ARGUMENT_KEYS: Final = ("arguments", "parameters", "args", "input", "tool_input")
_WRAPPER_KEYS: Final = ("function", "tool_call", "function_call", "tool_calls")
_CALL_KEYS: Final = frozenset((*_NAME_KEYS, *_ARGUMENT_KEYS, *_WRAPPER_KEYS, "type", "id"))
_MEMBER: Final = re.compile(r'[\s,]*"((?:[^"\\]|\\.){0,64})"\s*:\s*', re.DOTALL)
_STRING: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_SCALAR: Final = re.compile(r"[^\s,}\]]+(?=[\s,}\]])")
_SPACE: Final = re.compile(r"\s*")


def _names_tool(text: str, types: ArgumentTypes) -> Promise:
    """Whether the JSON that begins `text` (after its first bracket) names an offered tool, as far as it can be seen."""
    at = 0
    while True:
        while at < len(text) and (text[at].isspace() or text[at] in "{["):
            # Doubled braces, the list of several calls, and the object in a wrapper.
            at += 1
        member = _MEMBER.match(text, at)
        if member is None:
            # An object that has ended names no tool; half a key may still become one.
            rest = text[at:].lstrip(" \t\r\n,")
            return None if not rest or _may_be_member(rest) else False
        key, at = member[1], member.end()
        if key not in _CALL_KEYS:
            return False
        if at == len(text):
            return None
        if text[at] == '"':
            value = _STRING.match(text, at)
            if value is None:
                return None
            if key in _NAME_KEYS:
                return offered_name(value[1], types) is not None
            at = value.end()
        elif text[at] in "{[":
            if key in _WRAPPER_KEYS:
                continue
            end = JsonTracker().feed(text, at)
            if end < 0:
                return None
            at = end
        else:
            scalar = _SCALAR.match(text, at)
            if scalar is None:
                return None
            at = scalar.end()


def _may_be_member(text: str) -> bool:
    """Whether `text`, which is no complete `"key":`, can become one whose key a call may have."""
    if not text.startswith('"'):
        return False
    key, closed, rest = text[1:].partition('"')
    if closed:
        return key in _CALL_KEYS and not rest.strip()
    return any(name.startswith(key) for name in _CALL_KEYS)


#: What models call a code block that holds a call.
_INFO: Final = re.compile(r"[ \t]*([A-Za-z_][\w+-]*)?[ \t]*(\r?\n\s*)?")
_INFO_WORDS: Final = frozenset(
    "json jsonc json5 tool_call tool_calls tool_code tool_use tool tools function function_call xml text plaintext "
    "javascript js python bash sh".split()
)


def _fence_names_tool(head: str, types: ArgumentTypes) -> Promise:
    """Whether a code block at the start of an answer holds a call: in JSON, or in a format with an opener."""
    info = _INFO.match(head)
    word, line_end, body = (info[1] or "", info[2], head[info.end() :]) if info else ("", None, head)
    if not body:
        return None if line_end or not word or any(known.startswith(word.lower()) for known in _INFO_WORDS) else False
    if word and word.lower() not in _INFO_WORDS:
        return False
    if body[0] in "{[":
        return _names_tool(body[1:], types)
    for opener, form in FORMATS.items():
        if body.startswith(opener):
            return form.promise(body[len(opener) :], types)
    return None if any(opener.startswith(body) for opener in FORMATS) else False


_HARMONY_HEAD: Final = re.compile(r"\s*([\w.-]+)\s*(?:<\|constrain\|>\s*)?(?:json|code)?\s*(?:<\|message\|>\s*)?(\{)?")


def _harmony_names_tool(head: str, types: ArgumentTypes) -> Promise:
    match = _HARMONY_HEAD.match(head)
    if match is None:
        return None if not head.strip() else False
    if match[2]:
        return offered_name(match[1], types) is not None
    rest = head[match.end() :]
    complete = bool(re.match(r"\s*[\w.-]+\s", head))
    if rest and not any(token.startswith(rest) for token in ("<|constrain|>", "<|message|>", "json", "code")):
        return False
    return False if complete and match[1] not in types else None


# -------------------------------------------------------------------------------------------------------------- parsers


def _call(value: Any, types: ArgumentTypes, *, bare: bool = False) -> tuple[str, str] | None:
    """The call that a JSON value stands for. `bare`: it must have arguments, for nothing else marks it as a call."""
    if not isinstance(value, dict):
        return None
    for key in _WRAPPER_KEYS:
        if isinstance(value.get(key), dict):
            value = value[key]
            break
    name = next((value[key] for key in _NAME_KEYS if isinstance(value.get(key), str)), None)
    name = offered_name(name, types) if name is not None else None
    if name is None:
        return None
    arguments: Any = next((value[key] for key in _ARGUMENT_KEYS if value.get(key) is not None), None)
    if arguments is None:
        if bare and not any(key in value for key in _ARGUMENT_KEYS):
            return None
        arguments = {}
    if isinstance(arguments, str):
        arguments = decode_json(repaired(arguments)) if arguments.strip() else {}
    return (name, _encode(arguments).decode()) if isinstance(arguments, dict) else None


_VALUES_MOST: Final = 100


def _parse_json(text: str, types: ArgumentTypes, last: bool, *, bare: bool = False) -> ParsedCalls:
    """One object, a list of objects, or several of them one after the other."""
    calls: list[tuple[str, str]] = []
    at = _after_space(text, 0)
    for _ in range(_VALUES_MOST):
        tracker = JsonTracker()
        end = tracker.feed(text, at)
        if end < 0:
            if not last:
                return None
            end = len(text)
        value = decode_json(repaired(text[at:end])) if text.startswith("{", at) else decode_json(text[at:end])
        if isinstance(value, dict) and isinstance(value.get("tool_calls"), list):
            value = value["tool_calls"]
        for item in value if isinstance(value, list) else [value]:
            call = _call(item, types, bare=bare)
            if call is None:
                return []
            calls.append(call)
        at = _after_space(text, end)
        if text.startswith((",", ";"), at):
            at = _after_space(text, at + 1)
        if not text.startswith(("{", "["), at):
            # Closing brackets that were written too many times say nothing.
            return calls if not text[at:].strip("}] \t\r\n") else []
    return []


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _parse_bare_json(text: str, types: ArgumentTypes, last: bool) -> ParsedCalls:
    return _parse_json(text, types, last, bare=True)


def _parse_fence(text: str, types: ArgumentTypes, last: bool) -> ParsedCalls:
    """A Markdown code block with a call in it. Its closing line may be missing where the answer has ended."""
    body = text.removeprefix("```")
    if body.endswith("```"):
        body = body[:-3]
    elif not last:
        return None
    info = _INFO.match(body)
    body = body[info.end() if info else 0 :].strip()
    for opener, form in FORMATS.items():
        if body.startswith(opener):
            return form.parse(body, types, True)
    # A closing fence inside a string is none: the JSON around it is not complete.
    return _parse_json(body, types, last, bare=True)


def _parse_harmony(text: str, types: ArgumentTypes, last: bool) -> ParsedCalls:
    """gpt-oss without its special tokens: `commentary to=functions.Read json{...}`."""
    match = _HARMONY_HEAD.match(text.partition("to=")[2].removeprefix("functions."))
    name = offered_name(match[1], types) if match else None
    arguments = decode_json(repaired(text[text.find("{") :])) if "{" in text else None
    return [(name, _encode(arguments).decode())] if name is not None and isinstance(arguments, dict) else []


#: The length of a name is limited, so that openers without an end do not make the search quadratic.
_FUNCTION: Final = re.compile(r"<function=([^>\n{]{1,256})>?(.*?)(?:</function>|<function>|\Z)", re.DOTALL)
_PARAMETER: Final = re.compile(
    r"<parameter=([^>\n]{1,256})>(.*?)(?:</parameter>|(?=<parameter=)|(?=</function>)|\Z)", re.DOTALL
)


def _parse_functions(text: str, types: ArgumentTypes, last: bool) -> ParsedCalls:
    """`<function=name>` with `<parameter=key>` in it (Qwen3-Coder), or with JSON (Llama, also without the `>`)."""
    calls = []
    for match in _FUNCTION.finditer(text):
        name, body = offered_name(match[1].strip(" ,[]()"), types), match[2].strip()
        if name is None:
            return []
        if body.startswith("{"):
            arguments: Any = decode_json(repaired(body))
            if not isinstance(arguments, dict):
                return [] if last else None
        elif body.count("<parameter=") > body.count("</parameter>") and not last:
            return None
        else:
            arguments = {
                key.strip(): _typed(value, types[name].get(key.strip(), "string"))
                for key, value in _PARAMETER.findall(body)
            }
        calls.append((name, _encode(arguments).decode()))
    return calls


_PYTHON_WORDS: Final = {"True": "true", "False": "false", "None": "null"}


def _typed(text: str, kind: str) -> Any:
    """A value between tags, as its schema wants it. The template puts it on lines of its own."""
    text = text.removeprefix("\n").removesuffix("\n")
    if kind == "string" or (kind == "any" and not text.lstrip().startswith(("{", "["))):
        return text
    plain = text.strip()
    value = decode_json(_PYTHON_WORDS.get(plain, plain))
    return text if value is None and plain not in ("null", "None") else value


_KEYS: Final = re.compile(r"<arg_key>([^<]{0,256})</arg_key>\s*<arg_value>(.*?)(?:</arg_value>|\Z)", re.DOTALL)


def _parse_tool_call_tag(text: str, types: ArgumentTypes, last: bool) -> ParsedCalls:
    """Between `<tool_call>` tags: JSON (Hermes, Qwen), functions (Qwen3-Coder), or a name and its keys (GLM)."""
    body = text.removeprefix("<tool_call>").removesuffix("</tool_call>").strip()
    if body.startswith("<function="):
        return _parse_functions(body, types, last)
    if body.startswith(("{", "[")):
        return _parse_json(body, types, last)
    if body.count("<arg_value>") > body.count("</arg_value>") and not last:
        return None
    name = offered_name(body.partition("<arg_key>")[0].strip(), types)
    if name is None:
        return []
    arguments = {key: _typed(value, types[name].get(key, "string")) for key, value in _KEYS.findall(body)}
    return [(name, _encode(arguments).decode())]


def _json_after(opener: str, closer: str = "") -> Callable[[str, ArgumentTypes, bool], ParsedCalls]:
    """A parser of JSON between an opener and a closer."""

    def parse(text: str, types: ArgumentTypes, last: bool) -> ParsedCalls:
        return _parse_json(text.removeprefix(opener).removesuffix(closer), types, last)

    return parse


_MISTRAL: Final = re.compile(
    r"\s*([^\s\[{]{1,256})\s*(?:\[CALL_ID\]\s*\w{1,64}\s*)?(?:\[ARGS\]\s*)?(\{.*)?\Z", re.DOTALL
)


def _parse_mistral(text: str, types: ArgumentTypes, last: bool) -> ParsedCalls:
    """A list of calls (up to tokenizer v7), or a name and its arguments (from v11 on)."""
    body = text.removeprefix("[TOOL_CALLS]").strip()
    if body.startswith(("[", "{")):
        return _parse_json(body, types, last)
    match = _MISTRAL.match(body)
    if match is None or match[2] is None:
        return [] if last else None
    name, arguments = offered_name(match[1], types), decode_json(repaired(match[2]))
    return [(name, _encode(arguments).decode())] if name is not None and isinstance(arguments, dict) else []


#: The word that DeepSeek V3.2 puts into each of its tags.
_DSML: Final = "\uff5cDSML\uff5c"


def _invokes(word: str = "") -> Callable[[str, ArgumentTypes, bool], ParsedCalls]:
    """A parser of `<invoke name="Read">` with `<parameter name="key">` in it. `word` is at the start of each tag.

    MiniMax-M2 and models trained on Claude's answers have none. Tags without the word are part of a value.
    """
    start, end = f"<{word}parameter name=", f"</{word}parameter>"
    invoke = re.compile(rf"<{word}invoke name=\"([^\"\n]{{1,256}})\">(.*?)(?:</{word}invoke>|\Z)", re.DOTALL)
    parameter = re.compile(rf"{start}\"([^\"\n]{{1,256}})\"[^>\n]{{0,64}}>(.*?)(?:{end}|(?={start})|\Z)", re.DOTALL)

    def parse(text: str, types: ArgumentTypes, last: bool) -> ParsedCalls:
        calls = []
        for match in invoke.finditer(text):
            name, body = offered_name(match[1], types), match[2]
            if name is None:
                return []
            if body.count(start) > body.count(end) and not last:
                return None
            arguments = {key: _typed(value, types[name].get(key, "string")) for key, value in parameter.findall(body)}
            calls.append((name, _encode(arguments).decode()))
        return calls

    return parse


_parse_invokes: Final = _invokes()
_parse_dsml: Final = _invokes(_DSML)


def _token(words: str) -> str:
    """One of DeepSeek's special tokens: it has a fullwidth bar and a low block where others have `|` and `_`."""
    return "<\uff5c" + words.replace(" ", "\u2581") + "\uff5c>"


# Up to V3 and R1: the word `function`, the name, and the arguments in a code block. From V3.1 on: name and arguments.
_DEEPSEEK: Final = re.compile(
    f"{_token('tool call begin')}(?:function{_token('tool sep')})?([^\\s<`{{]{{1,256}})(?:{_token('tool sep')})?"
    rf"\s*(?:```(?:json)?\s*)?(\{{.*?)(?:{_token('tool call end')}|\Z)",
    re.DOTALL,
)
_KIMI: Final = re.compile(
    r"<\|tool_call_begin\|>\s*((?:functions\.)?[^\s:<]{1,256})(?::\d+)?\s*<\|tool_call_argument_begin\|>\s*(\{.*?)"
    r"(?:<\|tool_call_end\|>|\Z)",
    re.DOTALL,
)


def _matching(pattern: re.Pattern[str]) -> Callable[[str, ArgumentTypes, bool], ParsedCalls]:
    """A parser of calls between special tokens. The groups of `pattern` are a call's name and its arguments."""

    def parse(text: str, types: ArgumentTypes, last: bool) -> ParsedCalls:
        calls = []
        for written, json_text in pattern.findall(text):
            name = offered_name(written, types)
            arguments = decode_json(repaired(json_text.rstrip().removesuffix("```").rstrip()))
            if name is None or not isinstance(arguments, dict):
                return []
            calls.append((name, _encode(arguments).decode()))
        return calls

    return parse


FORMATS: Final[dict[str, ToolFormat]] = {
    "<tool_call>": ToolFormat("</tool_call>", _begins_with("{", "[", "<function=", "="), _parse_tool_call_tag),
    "<function=": ToolFormat("</function>", _begins_with("="), _parse_functions),
    # Llama 3.
    "<|python_tag|>": ToolFormat("", _begins_with("{"), _json_after("<|python_tag|>")),
    # Phi-4-mini and Granite.
    "<|tool_call|>": ToolFormat("", _begins_with("[", "{"), _json_after("<|tool_call|>")),
    # Qwen2.5-Coder, which confuses it with the tag of its template.
    "<tools>": ToolFormat("</tools>", _begins_with("{", "["), _json_after("<tools>", "</tools>")),
    "[TOOL_CALLS]": ToolFormat("", _begins_with("[{", "{", "="), _parse_mistral),
    "<minimax:tool_call>": ToolFormat("</minimax:tool_call>", _begins_with('<invoke name="'), _parse_invokes),
    "<function_calls>": ToolFormat("</function_calls>", _begins_with('<invoke name="'), _parse_invokes),
    f"<{_DSML}function_calls>": ToolFormat(
        f"</{_DSML}function_calls>", _begins_with(f'<{_DSML}invoke name="'), _parse_dsml
    ),
    f"<{_DSML}tool_calls>": ToolFormat(f"</{_DSML}tool_calls>", _begins_with(f'<{_DSML}invoke name="'), _parse_dsml),
    # Seed-OSS, Nemotron, InternLM, and LFM2 where it writes JSON.
    "<seed:tool_call>": ToolFormat("</seed:tool_call>", _begins_with("<function="), _parse_functions),
    "<TOOLCALL>": ToolFormat("</TOOLCALL>", _begins_with("[", "{"), _json_after("<TOOLCALL>", "</TOOLCALL>")),
    "<|action_start|><|plugin|>": ToolFormat(
        "<|action_end|>", _begins_with("{"), _json_after("<|action_start|><|plugin|>", "<|action_end|>")
    ),
    "<|tool_call_start|>": ToolFormat(
        "<|tool_call_end|>", _begins_with("{", "[{"), _json_after("<|tool_call_start|>", "<|tool_call_end|>")
    ),
    _token("tool calls begin"): ToolFormat(
        _token("tool calls end"), _begins_with(_token("tool call begin")), _matching(_DEEPSEEK)
    ),
    "<|tool_calls_section_begin|>": ToolFormat(
        "<|tool_calls_section_end|>", _begins_with("<|tool_call_begin|>"), _matching(_KIMI)
    ),
}
"""Formats that are recognised anywhere outside code, by their openers."""

#: How much of an answer may be held while its first JSON has not named a tool yet.
_OPENING_LOOK: Final = 4096
BARE_JSON: Final = ToolFormat("", _names_tool, _parse_bare_json, _OPENING_LOOK)
"""JSON without a mark, at the start of an answer or after a call (Llama 3, small coder models). Its opener is a bracket."""
FENCE: Final = ToolFormat("```", _fence_names_tool, _parse_fence, _OPENING_LOOK)
"""A Markdown code block at the very start of an answer (small coder models)."""
HARMONY_TEXT: Final = ToolFormat("", _harmony_names_tool, _parse_harmony)
"""A call of gpt-oss under a server that drops special tokens, at the very start of an answer."""

OPENING_FORMATS: Final[Mapping[str, ToolFormat]] = {
    "```": FENCE,
    "commentary to=functions.": HARMONY_TEXT,
    "assistantcommentary to=functions.": HARMONY_TEXT,
    "analysis to=functions.": HARMONY_TEXT,
    "to=functions.": HARMONY_TEXT,
}
"""Formats that are recognised at the very start of an answer only: in the middle of text they are text."""
