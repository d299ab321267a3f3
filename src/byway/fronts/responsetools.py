"""The tools of a Responses request as tools of the Messages API, and the table by which their names come back. Pure.

The Responses API has kinds of tools that the Messages API lacks: namespaces (of MCP servers), free-form tools, searches for
tools, and tools whose form the client knows. Each becomes one function with a flat name.
Shapes: https://platform.openai.com/docs/api-reference/responses and the `openai` SDK 3.52.0 (seen 2026-11-29).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Raw, Struct

from byway.bounded import BoundedDict
from byway.decoding import DECODE_ERRORS
from byway.messages.request import ToolChoice
from byway.messages.tools import Tool
from byway.problems import Problem

Kind = Literal["function", "custom", "tool_search", "local_shell", "shell", "apply_patch"]

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode
#: A name that every backend accepts.
_VALID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")
_INVALID: Final = re.compile(r"[^a-zA-Z0-9_-]+")
_NO_SCHEMA: Final = Raw(b'{"type":"object","properties":{}}')
_FREE_INPUT: Final = Raw(
    b'{"type":"object","properties":{"input":{"type":"string","description":"The whole input, as plain text."}},'
    b'"required":["input"],"additionalProperties":false}'
)
SEARCH: Final = "web_search"
#: The server tool of the Messages API that stands for every revision of web search.
_SEARCH_TYPE: Final = "web_search_20250305"
#: Namespaces inside of each other, and tools of one request.
_DEEPEST: Final = 4
MOST_TOOLS: Final = 10_000
#: Characters of a namespace's description, which each of its tools repeats.
_LONGEST_ABOUT: Final = 1000


class _Defined(NamedTuple):
    """A tool whose form the client knows: it runs it itself."""

    description: str
    schema: Raw


_DEFINED: Final[dict[Kind, _Defined]] = {
    "local_shell": _Defined(
        "Runs a command on the user's machine.",
        Raw(
            b'{"type":"object","properties":{"command":{"type":"array","items":{"type":"string"},"description":"The program and '
            b'its arguments."},"working_directory":{"type":"string"},"timeout_ms":{"type":"integer"},"env":{"type":"object",'
            b'"additionalProperties":{"type":"string"}}},"required":["command"]}'
        ),
    ),
    "shell": _Defined(
        "Runs shell commands on the user's machine.",
        Raw(
            b'{"type":"object","properties":{"commands":{"type":"array","items":{"type":"string"},"description":"Shell command '
            b'lines, run one after the other."},"timeout_ms":{"type":"integer"},"max_output_length":{"type":"integer"}},'
            b'"required":["commands"]}'
        ),
    ),
    "apply_patch": _Defined(
        "Creates, changes or deletes one file.",
        Raw(
            b'{"type":"object","properties":{"type":{"type":"string","enum":["create_file","update_file","delete_file"]},"path":'
            b'{"type":"string"},"diff":{"type":"string","description":"Lines that begin with a space (context), + (added) or - '
            b"(removed), in sections that begin with @@. For create_file every line begins with +. Absent for delete_file."
            b'"}},"required":["type","path"]}'
        ),
    ),
}


class Origin(NamedTuple):
    """What a flat name stands for."""

    kind: Kind
    namespace: str
    name: str


class Names:
    """The names of one request's tools: flat for the model, with kind and namespace for the client."""

    def __init__(self) -> None:
        self._flat: dict[tuple[str, str], str] = {}
        self._origins: dict[str, Origin] = {}
        self._only: dict[str, str | None] = {}
        """The flat name of the only tool with a name, in any namespace; None: several have it."""

    def copied(self) -> Names:
        """The same names, to which others can be added."""
        names = Names()
        names._flat, names._origins, names._only = {**self._flat}, {**self._origins}, {**self._only}
        return names

    def flat(self, kind: Kind, namespace: str, name: str) -> str:
        """The flat name of a tool: the same one in each request, and one that every backend accepts."""
        key = namespace, name
        known = self._flat.get(key)
        if known is not None:
            return known
        whole = f"{namespace}__{name}" if namespace else name
        flat = whole
        if not _VALID.match(whole) or whole in self._origins:
            digest = blake2b(f"{namespace}\0{name}".encode("utf-8", "surrogatepass"), digest_size=5).hexdigest()
            flat = f"{_INVALID.sub('_', whole[:200])[:53]}_{digest}"
        self._flat[key] = flat
        self._origins[flat] = Origin(kind, namespace, name)
        self._only[name] = None if name in self._only else flat
        return flat

    def known(self, namespace: str, name: str) -> str | None:
        """The flat name of a tool that has one; None for any other."""
        return self._flat.get((namespace, name))

    def reserve(self, name: str) -> None:
        """Keep a flat name free for a tool of the server."""
        self._origins.setdefault(name, Origin("function", "", name))

    def origin(self, flat: str) -> Origin:
        """What the model's name stands for. A name that stands for nothing goes to the client as it is."""
        return self._origins.get(flat) or Origin("function", "", flat)

    def find(self, namespace: str, name: str) -> str | None:
        """The flat name of a known tool. Without a namespace it may be the only one of that name in any namespace."""
        return self._flat.get((namespace, name)) or (None if namespace else self._only.get(name))


class _DeclaredTool(Struct):
    """A tool, leniently decoded: a tool of a kind that this version does not know must not break the request."""

    type: str = "function"
    name: Any = None
    description: Raw = Raw()
    parameters: Raw = Raw()
    strict: Any = None
    format: Any = None
    tools: list[Raw] | None = None
    execution: Any = None
    defer_loading: Any = None
    filters: Any = None
    user_location: Any = None
    external_web_access: Any = None


_declared: Final = msgspec.json.Decoder(_DeclaredTool)


class ToolTable:
    """The tools of one request, in the order in which they appear."""

    def __init__(self) -> None:
        self.names = Names()
        self.tools: list[Tool] = []
        self.left_out: list[str] = []
        """The types of tools that have no counterpart in the Messages API."""
        self.extended = False
        """It has tools beside functions."""
        self._known: set[tuple[str, str]] = set()
        self._searches = False
        """The client searches for tools itself: those that wait for a search are not offered before."""

    def copied(self) -> ToolTable:
        """A table with the same tools, to which others can be added."""
        table = ToolTable()
        table.names = self.names.copied()
        table.tools, table.left_out, table._known = [*self.tools], [*self.left_out], {*self._known}
        table.extended, table._searches = self.extended, self._searches
        return table

    def declare(self, tools: list[Raw], path: str) -> None:
        """Add the tools of the request. Raises Problem for one whose shape is wrong."""
        declared = [_decoded(raw, f"{path}.{at}") for at, raw in enumerate(tools)]
        for tool in declared:
            if tool.type == "tool_search" and tool.execution == "client":
                self._searches = True
            elif _is_search(tool.type):
                self.names.reserve(SEARCH)
        for at, tool in enumerate(declared):
            self._add(tool, "", "", f"{path}.{at}", deferred=not self._searches)

    def load(self, tools: Iterable[Raw], path: str) -> None:
        """Add tools that an item of the input brings: the result of a search, or `additional_tools`."""
        for at, raw in enumerate(tools):
            self._add(_decoded(raw, f"{path}.{at}"), "", "", f"{path}.{at}", deferred=True)

    def _add(
        self, tool: _DeclaredTool, namespace: str, about: str, path: str, *, deferred: bool, depth: int = 0
    ) -> None:
        kind = tool.type
        self.extended = self.extended or kind != "function"
        if len(self.tools) >= MOST_TOOLS:
            raise Problem("invalid_request", f"{path}: more than {MOST_TOOLS} tools.")
        if kind == "namespace":
            name = _name(tool, path)
            if depth == _DEEPEST:
                raise Problem("invalid_request", f"{path}: more than {_DEEPEST} namespaces are inside of each other.")
            inner = f"{namespace}.{name}" if namespace else name
            text = _text(tool.description)[:_LONGEST_ABOUT]
            for at, raw in enumerate(tool.tools or ()):
                place = f"{path}.tools.{at}"
                self._add(_decoded(raw, place), inner, text or about, place, deferred=deferred, depth=depth + 1)
        elif kind == "function":
            if deferred or not tool.defer_loading:
                self._offer("function", namespace, _name(tool, path), _described(tool.description, about), tool, path)
        elif kind == "custom":
            if deferred or not tool.defer_loading:
                description = Raw(_encode("\n\n".join(filter(None, (about, _text(tool.description), _grammar(tool))))))
                self._offer("custom", namespace, _name(tool, path), description, None, path)
        elif kind == "tool_search" and tool.execution == "client":
            self._offer("tool_search", "", "tool_search", tool.description, tool, path)
        elif kind == "tool_search":
            # All tools are loaded: there is nothing to search for.
            return
        elif kind in _DEFINED:
            defined = _DEFINED[kind]
            if ("", kind) not in self._known:
                self._known.add(("", kind))
                flat = self.names.flat(kind, "", kind)
                self.tools.append(
                    Tool(flat, description=Raw(_encode(defined.description)), input_schema=defined.schema)
                )
        elif _is_search(kind):
            self._add_search(tool)
        else:
            self.left_out.append(str(kind)[:64])

    def _offer(
        self, kind: Kind, namespace: str, name: str, description: Raw, tool: _DeclaredTool | None, path: str
    ) -> None:
        if (namespace, name) in self._known:
            # A search may find a tool that an earlier one has found.
            return
        self._known.add((namespace, name))
        schema = _FREE_INPUT if tool is None else _schema(tool, path)
        made = Tool(self.names.flat(kind, namespace, name), input_schema=schema)
        if len(description) and bytes(description) != b"null":
            made.description = description
        if tool is not None and tool.strict is True:
            made.strict = True
        self.tools.append(made)

    def _add_search(self, tool: _DeclaredTool) -> None:
        if tool.external_web_access is False:
            # The client permits answers from an index only. Byway has none, and its searches reach the web.
            self.left_out.append(f"{tool.type} without external_web_access")
            return
        if ("", "\0search") in self._known:
            return
        self._known.add(("", "\0search"))
        made = Tool(SEARCH, _SEARCH_TYPE)
        filters = tool.filters if isinstance(tool.filters, dict) else {}
        for field in ("allowed_domains", "blocked_domains"):
            domains = filters.get(field)
            if isinstance(domains, list) and domains:
                setattr(made, field, [str(domain) for domain in domains])
                break
        place = tool.user_location if isinstance(tool.user_location, dict) else {}
        known = {
            field: place[field]
            for field in ("city", "region", "country", "timezone")
            if isinstance(place.get(field), str)
        }
        if known:
            made.user_location = Raw(_encode({"type": "approximate", **known}))
        self.tools.append(made)

    def choose(self, choice: Any, parallel: Any) -> tuple[list[Tool], ToolChoice | None]:
        """The tools that may be called, and the tool choice in the Messages format. Raises Problem for an unknown form."""
        tools = self.tools
        if choice in (None, "auto") and parallel is not False:
            return tools, None
        kind = choice.get("type") if isinstance(choice, dict) else choice
        match kind:
            case None | "auto" | "none" | "required":
                made = ToolChoice("none" if kind == "none" else "any" if kind == "required" else "auto")
            case "allowed_tools":
                allowed = choice.get("tools")
                names = {self._chosen(entry) for entry in allowed} if isinstance(allowed, list) else set()
                tools = [tool for tool in tools if tool.name in names]
                made = ToolChoice("any" if choice.get("mode") == "required" else "auto")
            case _ if isinstance(choice, dict):
                name = self._chosen(choice)
                if not any(tool.name == name for tool in tools):
                    raise Problem(
                        "invalid_request",
                        f"tool_choice: {_encode(choice).decode()[:200]} names no tool that this request has and the Messages "
                        "API can express.",
                    )
                made = ToolChoice("tool", name)
            case _:
                raise Problem(
                    "invalid_request",
                    "tool_choice: Input should be 'auto', 'none', 'required', or an object that names tools",
                )
        if made.type == "any" and not tools:
            raise Problem("invalid_request", "tool_choice: no tool of this request can be called")
        if parallel is False and made.type != "none":
            made.disable_parallel_tool_use = True
        return tools, made if tools and made != ToolChoice("auto") else None

    def _chosen(self, entry: Any) -> str | None:
        """The flat name of the tool that a choice names."""
        if not isinstance(entry, dict):
            return None
        kind, name, namespace = entry.get("type"), entry.get("name"), entry.get("namespace")
        if _is_search(kind):
            return SEARCH
        if isinstance(name, str):
            return self.names.find(namespace if isinstance(namespace, str) else "", name)
        return self.names.find("", kind) if isinstance(kind, str) else None


#: Without tools.
EMPTY: Final = ToolTable()
#: Clients send the same tools with each request: comparing them takes less than a hash of them. By the number of bytes.
_tables: Final[BoundedDict[int, tuple[Raw, ToolTable]]] = BoundedDict(16)
_KEPT_BYTES: Final = 256 << 10
_list: Final = msgspec.json.Decoder(list[Raw] | None).decode


def tool_table(tools: Raw) -> ToolTable:
    """The table of the tools of a request, which other requests share. Raises Problem for a list whose shape is wrong."""
    size = len(tools)
    if size == 0:
        return EMPTY
    known = _tables.get(size)
    if known is not None and known[0] == tools:
        return known[1]
    # A copy, so that the cache keeps only the tools of a request alive.
    tools = tools.copy()
    try:
        declared = _list(tools)
    except DECODE_ERRORS as error:
        raise Problem("invalid_request", f"tools: {error}") from None
    table = ToolTable()
    table.declare(declared or [], "tools")
    if size <= _KEPT_BYTES:
        _tables[size] = tools, table
    return table


def tool_fields(tool: Tool) -> dict[str, Any]:
    """A tool as JSON of the Messages API."""
    return {name: value for name in _FIELDS if (value := getattr(tool, name)) is not None and value != Raw()}


_FIELDS: Final = (
    "type", "name", "description", "input_schema", "strict", "allowed_domains", "blocked_domains", "user_location",
)  # fmt: skip


def _is_search(kind: Any) -> bool:
    return isinstance(kind, str) and kind.startswith(SEARCH)


def _decoded(raw: Raw, path: str) -> _DeclaredTool:
    try:
        return _declared.decode(raw)
    except DECODE_ERRORS as error:
        raise Problem("invalid_request", f"{path}: {error}") from None


def _name(tool: _DeclaredTool, path: str) -> str:
    if not isinstance(tool.name, str) or not tool.name:
        raise Problem("invalid_request", f"{path}.name: Field required")
    return tool.name


def _text(raw: Raw) -> str:
    """The text of a field; empty for anything else."""
    try:
        value = _decode(raw) if len(raw) else ""
    except DECODE_ERRORS:
        return ""
    return value if isinstance(value, str) else ""


def _described(description: Raw, about: str) -> Raw:
    """The description of a tool, with that of its namespace in front."""
    if not about:
        return description
    text = _text(description)
    return Raw(_encode(f"{about}\n\n{text}" if text else about))


def _grammar(tool: _DeclaredTool) -> str:
    """What a free-form tool accepts, in words: the Messages API has no grammars."""
    form = tool.format if isinstance(tool.format, dict) else {}
    definition = form.get("definition")
    if form.get("type") != "grammar" or not isinstance(definition, str):
        return ""
    syntax = "regular expression" if form.get("syntax") == "regex" else "Lark grammar"
    return f"The input has to match this {syntax}:\n{definition}"


def _schema(tool: _DeclaredTool, path: str) -> Raw:
    data = bytes(tool.parameters).strip()
    if data in (b"", b"null"):
        return _NO_SCHEMA
    if not data.startswith(b"{"):
        raise Problem("invalid_request", f"{path}.parameters: Input should be an object")
    return tool.parameters


def defined_item(kind: str, given: dict[str, Any]) -> dict[str, Any]:
    """The item of a call whose form the client knows."""
    match kind:
        case "tool_search":
            return {"type": "tool_search_call", "execution": "client", "arguments": given}
        case "local_shell":
            command = given.get("command")
            parts = command if isinstance(command, list) else [command]
            action: dict[str, Any] = {
                "type": "exec",
                "command": [str(part) for part in parts if part is not None],
                "env": given.get("env") if isinstance(given.get("env"), dict) else {},
            }
            for name, type in (("working_directory", str), ("timeout_ms", int)):
                if isinstance(given.get(name), type):
                    action[name] = given[name]
            return {"type": "local_shell_call", "action": action}
        case "shell":
            commands = given.get("commands")
            parts = commands if isinstance(commands, list) else [commands]
            limits = {
                name: given.get(name) if isinstance(given.get(name), int) else None
                for name in ("timeout_ms", "max_output_length")
            }
            return {
                "type": "shell_call",
                "action": {"commands": [str(part) for part in parts if part is not None], **limits},
            }
    operation = {"type": str(given.get("type") or "update_file"), "path": str(given.get("path") or "")}
    if operation["type"] != "delete_file":
        operation["diff"] = str(given.get("diff") or "")
    return {"type": "apply_patch_call", "operation": operation}
