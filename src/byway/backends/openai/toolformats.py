"""How models write tool calls as text, each family in its own form, when the server before them does not read it.

The forms are those of the models' templates, as vLLM (https://docs.vllm.ai/en/latest/features/tool_calling/), llama.cpp
(docs/function-calling.md) and ik_llama.cpp (examples/server/function_calls.md) read them, seen 2026-11-21. Only how a form
begins, ends and is read; when one is looked for is `spoken`'s.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw, Struct

from byway.backends.openai.arguments import Braces, decoded, mended
from byway.backends.openai.tools import wire_name
from byway.messages.request import Tool

_encode: Final = msgspec.json.Encoder().encode

Types = dict[str, dict[str, str]]
"""Of each tool that was offered: the JSON types of those inputs that are no strings."""
Found = list[tuple[str, str]] | None
"""Name and input of each call; empty: it is none; None: it is not complete."""


class Form(NamedTuple):
    """One way to write calls: from its opener to `closer`, or to the end of its JSON where that is ""."""

    closer: str
    begins: tuple[str, ...]
    """What may follow the opener, after white space. `=` stands for the name of any tool that was offered."""
    read: Callable[[str, Types, bool], Found]
    """From the body, opener and closer included. True: nothing more will come."""


class _Property(Struct):
    type: Any = None


class _Schema(Struct):
    properties: dict[str, _Property] = {}


_schema: Final = msgspec.json.Decoder(_Schema)
#: The tools of one client are the same request after request: comparing their bytes is cheaper than reading them.
_seen: Final[dict[str, tuple[Raw, str, dict[str, str]]]] = {}
_SEEN_MOST: Final = 512
_SCHEMA_MOST: Final = 1 << 15


def types(tools: Iterable[Tool]) -> tuple[Types, dict[str, str]]:
    """What has to be known of `tools` to read a call of one: the types by the names that were sent, and the tools' own
    names where they were sent by others. Does not keep the request alive."""
    found: dict[str, dict[str, str]] = {}
    own: dict[str, str] = {}
    for tool in tools:
        schema = tool.input_schema
        known = _seen.get(tool.name)
        if known is None or known[0] != schema:
            known = (schema.copy(), wire_name(tool.name), _types(bytes(schema)))
            if len(schema) <= _SCHEMA_MOST:
                if len(_seen) >= _SEEN_MOST:
                    _seen.clear()
                _seen[tool.name] = known
        found[known[1]] = known[2]
        if known[1] != tool.name:
            own[known[1]] = tool.name
    return found, own


def _types(schema: bytes) -> dict[str, str]:
    try:
        properties = _schema.decode(schema).properties
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    return {name: _type(one.type) for name, one in properties.items() if _type(one.type) != "string"}


def _type(said: Any) -> str:
    """`string` where a string is allowed; `any` where nothing is said."""
    if isinstance(said, list):
        return "string" if "string" in said or not said else str(said[0])
    return str(said) if said else "any"


# ---------------------------------------------------------------------------------------------------------------- reading


def _of(value: Any, known: Types) -> tuple[str, str] | None:
    """The call that a JSON value says."""
    if not isinstance(value, dict):
        return None
    if isinstance(value.get("function"), dict):
        value = value["function"]
    name = next((value[key] for key in ("name", "function", "tool") if isinstance(value.get(key), str)), None)
    if name not in known:
        return None
    input: Any = next(
        (value[key] for key in ("arguments", "parameters", "args", "input") if value.get(key) is not None), {}
    )
    if isinstance(input, str):
        input = decoded(mended(input)) if input.strip() else {}
    return (name, _encode(input).decode()) if isinstance(input, dict) else None


def _json(text: str, known: Types, last: bool) -> Found:
    """One object, or a list of them."""
    text = text.strip()
    braces = Braces()
    braces.feed(text)
    if not braces.whole and not last:
        return None
    value = decoded(mended(text))
    calls = [_of(one, known) for one in (value if isinstance(value, list) else [value])]
    return [call for call in calls if call is not None] if None not in calls else []


_FUNCTION: Final = re.compile(r"<function=([^>\n]+)>(.*?)(?:</function>|\Z)", re.DOTALL)
_PARAMETER: Final = re.compile(r"<parameter=([^>\n]+)>(.*?)(?:</parameter>|(?=<parameter=)|\Z)", re.DOTALL)


def _functions(text: str, known: Types, last: bool) -> Found:
    """`<function=name>` with `<parameter=x>` in it (Qwen3-Coder), or with JSON (Llama)."""
    calls = []
    for found in _FUNCTION.finditer(text):
        name, body = found[1].strip(), found[2].strip()
        if name not in known:
            return []
        if body.startswith("{"):
            input: Any = decoded(mended(body))
            if not isinstance(input, dict):
                return [] if last else None
        elif body.count("<parameter=") > body.count("</parameter>") and not last:
            return None
        else:
            input = {
                key.strip(): _typed(said, known[name].get(key.strip(), "string"))
                for key, said in _PARAMETER.findall(body)
            }
        calls.append((name, _encode(input).decode()))
    return calls


def _typed(text: str, type: str) -> Any:
    """A value that stands between tags, as its schema wants it. The template puts it on lines of its own."""
    text = text.removeprefix("\n").removesuffix("\n")
    if type == "string" or (type == "any" and not text.lstrip().startswith(("{", "["))):
        return text
    plain = text.strip()
    value = decoded({"True": "true", "False": "false", "None": "null"}.get(plain, plain))
    return text if value is None and plain not in ("null", "None") else value


_KEYS: Final = re.compile(r"<arg_key>([^<]*)</arg_key>\s*<arg_value>(.*?)(?:</arg_value>|\Z)", re.DOTALL)


def _tagged(text: str, known: Types, last: bool) -> Found:
    """Between `<tool_call>` tags: JSON (Hermes, Qwen), functions (Qwen3-Coder), or a name and its keys (GLM)."""
    body = text.removeprefix("<tool_call>").removesuffix("</tool_call>").strip()
    if body.startswith("<function="):
        return _functions(body, known, last)
    if body.startswith(("{", "[")):
        return _json(body, known, last)
    if body.count("<arg_value>") > body.count("</arg_value>") and not last:
        return None
    name = body.partition("<arg_key>")[0].strip()
    if name not in known:
        return []
    input = {key: _typed(said, known[name].get(key, "string")) for key, said in _KEYS.findall(body)}
    return [(name, _encode(input).decode())]


def _llama(text: str, known: Types, last: bool) -> Found:
    return _json(text.removeprefix("<|python_tag|>"), known, last)


_MISTRAL: Final = re.compile(r"\s*([^\s\[{]+)\s*(?:\[CALL_ID\]\s*\w+\s*)?(?:\[ARGS\]\s*)?(\{.*)?\Z", re.DOTALL)


def _mistral(text: str, known: Types, last: bool) -> Found:
    """A list of calls (up to tokenizer v7), or a name and its input (from v11 on)."""
    body = text.removeprefix("[TOOL_CALLS]").strip()
    if body.startswith(("[", "{")):
        return _json(body, known, last)
    found = _MISTRAL.match(body)
    if found is None or found[2] is None:
        return [] if last else None
    input = decoded(mended(found[2]))
    return [(found[1], _encode(input).decode())] if found[1] in known and isinstance(input, dict) else []


def _token(words: str) -> str:
    """A special token of DeepSeek's: it has a fullwidth bar and a low block where others have `|` and `_`."""
    return "<\uff5c" + words.replace(" ", "\u2581") + "\uff5c>"


# Up to V3 and R1: the word `function`, the name, and the input in a code fence; from V3.1 on: name and input alone.
_DEEPSEEK: Final = re.compile(
    f"{_token('tool call begin')}(?:function{_token('tool sep')})?([^\\s<`{{]+)(?:{_token('tool sep')})?"
    rf"\s*(?:```(?:json)?\s*)?(\{{.*?)(?:{_token('tool call end')}|\Z)",
    re.DOTALL,
)
_KIMI: Final = re.compile(
    r"<\|tool_call_begin\|>\s*(?:functions\.)?([^\s:<]+)(?::\d+)?\s*<\|tool_call_argument_begin\|>\s*(\{.*?)"
    r"(?:<\|tool_call_end\|>|\Z)",
    re.DOTALL,
)


def _marked(pattern: re.Pattern[str]) -> Callable[[str, Types, bool], Found]:
    """Reads calls between special tokens."""

    def read(text: str, known: Types, last: bool) -> Found:
        calls = []
        for name, said in pattern.findall(text):
            input = decoded(mended(said.rstrip().removesuffix("```").rstrip()))
            if name not in known or not isinstance(input, dict):
                return []
            calls.append((name, _encode(input).decode()))
        return calls

    return read


FORMS: Final[dict[str, Form]] = {
    "<tool_call>": Form("</tool_call>", ("{", "[", "<function=", "="), _tagged),
    "<function=": Form("</function>", ("=",), _functions),
    "<|python_tag|>": Form("", ("{",), _llama),
    "[TOOL_CALLS]": Form("", ("[{", "{", "="), _mistral),
    _token("tool calls begin"): Form(_token("tool calls end"), (_token("tool call begin"),), _marked(_DEEPSEEK)),
    "<|tool_calls_section_begin|>": Form("<|tool_calls_section_end|>", ("<|tool_call_begin|>",), _marked(_KIMI)),
}
"""By their openers."""

BARE: Final = Form("", ('"name"', '"type"', '"function"'), _json)
"""JSON without a mark, at the start of an answer or after a call (Llama 3): its opener is `{`."""
_NAME: Final = re.compile(r'"(?:name|function)"\s*:\s*"([^"\\]*)"')
_LOOK: Final = 200


def promising(form: Form, head: str, known: Types) -> bool | None:
    """May a body with this `head` (what follows the opener) become a call? None: it is too short to tell."""
    said = head.lstrip()
    for begin in form.begins:
        for text in known if begin == "=" else (begin,):
            if said.startswith(text):
                return _names(head, known) if form is BARE else True
            if text.startswith(said):
                return None
    return False


def _names(head: str, known: Types) -> bool | None:
    """Does bare JSON name a tool? Other JSON is ordinary text and must not be kept."""
    found = _NAME.search(head, 0, _LOOK)
    if found is not None:
        return found[1] in known
    return None if len(head) < _LOOK else False
