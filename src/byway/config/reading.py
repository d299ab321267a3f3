"""Makes a Config of the text of `byway.yaml`, or a list of every problem in it. Pure.

The types in `settings` say what each value may be; the checks here say which values fit together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Final, Literal, NoReturn, Union, cast, get_args, get_origin

import msgspec

from byway.backends.vendors import VENDORS
from byway.config import document, validators
from byway.config.backendchecks import client_credential_problems, detected_type, key_warning, plain_type
from byway.config.document import Node, shown_key
from byway.config.expected import NUMBER, choice, expected, got, nearest
from byway.config.filechecks import check_files
from byway.config.filesettings import FileSettings, S3Settings
from byway.config.guardrailchecks import check_guardrails, check_rule
from byway.config.guardrailsettings import GuardrailRuleSettings, GuardrailSettings
from byway.config.limitchecks import check_bucket, check_limit, check_limited_backends, check_rate_limiting
from byway.config.limits import LimitSettings, RateLimitingSettings, RateLimitSettings
from byway.config.localchecks import check_local_backend, check_local_servers
from byway.config.notes import Format, MaskedStruct, Note, fields_of, notes
from byway.config.oidcchecks import check_oidc
from byway.config.pricechecks import check_price, check_tier, check_usage
from byway.config.promptchecks import check_prompted_backends
from byway.config.server import ServerTlsSettings
from byway.config.servertlschecks import check_server_tls
from byway.config.settings import (
    BUILTIN,
    BUILTIN_ONLY,
    ApiKeysSettings,
    BackendSettings,
    Config,
    ConfigProblem,
    KeySettings,
    OidcSettings,
    PriceSettings,
    PriceTierSettings,
    SearchProviderSettings,
    TlsSettings,
    UsageSettings,
    WebSearchSettings,
)
from byway.config.signinchecks import check_pushed_settings
from byway.config.signinsettings import PushedSettings
from byway.config.targetchecks import check_targets
from byway.config.telemetrysettings import TelemetrySettings
from byway.config.tracingchecks import check_tracing
from byway.config.tracingsettings import TracingSettings
from byway.providers.registry import PROVIDERS
from byway.scrub import Scrubber
from byway.secrets.names import ENTRIES, ENTRY_OF_VARIABLE, expand, variables_in


class ConfigError(Exception):
    """A config that cannot be used. `problems` has every error and warning, by line; `str` has one per line."""

    def __init__(self, problems: Iterable[ConfigProblem], file: str = "byway.yaml") -> None:
        self.problems = _by_line(problems)
        self.file = file
        super().__init__(file, self.problems)

    def __str__(self) -> str:
        return "\n".join(
            f"{self.file}:{problem.line}: {problem}" if problem.line else f"{self.file}: {problem}"
            for problem in self.problems
        )


def load(text: str, environ: Mapping[str, str], *, file: str = "byway.yaml") -> Config:
    """Return the Config of a `byway.yaml`, with its `warnings`. `file` is its name in problems.

    `environ` has the values of `${NAME}`. Raises ConfigError.
    """
    reader = _Reader(environ, file)
    try:
        root = reader.open(text)
        config = Config() if root is None else cast(Config, reader.struct(root, Config, ""))
        reader.end()
    except ConfigError:
        line = document.lost_indentation(text, notes(Config))
        if line:
            message = (
                "the indentation of this file was lost, probably when it was copied: every line starts in column 1. Indent the "
                "lines below each section by two spaces"
            )
            raise ConfigError([ConfigProblem("", line, message)], file) from None
        raise
    return msgspec.structs.replace(config, warnings=_by_line(reader.problems))


def load_keys(text: str, environ: Mapping[str, str], *, file: str = "api-keys.yaml") -> tuple[KeySettings, ...]:
    """Return the keys of an `api_keys_file`: a list of keys, or a mapping with that list under `api_keys`.

    A key whose `${NAME}` is not set has that name in `missing` and is never accepted. Raises ConfigError.
    """
    reader = _Reader(environ, file)
    root = reader.open(text)
    path = ""
    if root is not None and isinstance(root.value, dict):
        path = "api_keys"
        for name in root.value.keys() - {path}:
            reader.error(
                shown_key(name), root.lines[name], "unknown; the file is a list of keys, alone or under api_keys"
            )
        root = root.value.get(path)
    read = None if root is None or root.null else reader.value(root, tuple[KeySettings, ...], Note(""), path)
    keys = reader.keys(read, root, path) if root is not None and isinstance(read, tuple) else ()
    reader.end()
    return keys


def static_changes(old: Config, new: Config) -> tuple[str, ...]:
    """The paths of settings that differ and take effect only after a restart."""
    return tuple(
        f"{section}.{name}"
        for section in notes(Config)
        if isinstance(struct := getattr(old, section), msgspec.Struct)
        for name, field in fields_of(type(struct)).items()
        if (note := notes(type(struct)).get(field.name)) and note.restart
        if getattr(struct, field.name) != getattr(getattr(new, section), field.name)
    )


#: The reader stops after this many problems.
_MAX_PROBLEMS: Final = 300
#: How many unknown names are compared with the known ones for a hint, and how many of those: each comparison is slow.
_MAX_HINTS: Final = 50
_MAX_CANDIDATES: Final = 500


def _by_line(problems: Iterable[ConfigProblem]) -> tuple[ConfigProblem, ...]:
    return tuple(sorted(problems, key=lambda problem: (problem.line or 0, problem.path)))


class _Absent:
    """The value of a setting that is missing or was rejected."""


_ABSENT: Final = _Absent()

#: Parsers of text by format. `models` and `url` need more than the text and are called by name.
_PARSERS: Final[dict[Format, Callable[[str], object]]] = {
    "address": validators.address,
    "cidr": validators.network,
    "domain": validators.domain,
    "duration": validators.duration,
    "email_domain": validators.email_domain,
    "header": validators.header,
    "host": validators.host,
    "moment": validators.moment,
    "name": validators.name,
    "octal": validators.octal,
    "origin": validators.origin,
    "prefix": validators.prefix,
    "proxy": validators.proxy,
    "secret": validators.secret,
    "size": validators.size,
    "strategy": validators.strategy,
    "tag_header": validators.tag_header,
}
#: A key that looks like the name of a setting, not like a secret.
_SETTING_NAME: Final = re.compile(r"(?!.{17})[a-z]+(_[a-z]+)*")
_NODE_KINDS: Final = {str: "text", list: "a list", dict: "a mapping"}


class _Reader:
    """Reads one tree: collects problems, replaces `${NAME}`, and records which variables are not set."""

    def __init__(self, environ: Mapping[str, str], file: str) -> None:
        self.problems: list[ConfigProblem] = []
        self.file = file
        self._environ = environ
        self._scrub = Scrubber().scrub
        self._soft = False
        """Inside a section that is not implemented: its problems are warnings."""
        self._missing: list[tuple[str, str, int]] | None = None
        """Name, path and line of each variable that is not set, where that disables what needs it. None: it is an error."""
        self._values_left = document.MAX_VALUES
        self._hints_left = _MAX_HINTS

    def open(self, text: str) -> Node | None:
        try:
            root, problems = document.read(text.removeprefix("\ufeff"))
        except document.YamlError as error:
            raise ConfigError([error.problem], self.file) from None
        self.problems += problems
        return root

    def end(self) -> None:
        if any(problem.severity == "error" for problem in self.problems):
            raise ConfigError(self.problems, self.file)

    def error(self, path: str, line: int, message: str) -> None:
        self._add(path, line, message, "warning" if self._soft else "error")

    def warn(self, path: str, line: int, message: str) -> None:
        self._add(path, line, message, "warning")

    def _add(self, path: str, line: int, message: str, severity: Literal["error", "warning"]) -> None:
        self.problems.append(ConfigProblem(self._scrub(path), line, self._scrub(message), severity))
        if len(self.problems) > _MAX_PROBLEMS:
            self._stop(path, line, f"there are more than {_MAX_PROBLEMS} problems; the rest of the file was not read")

    def _stop(self, path: str, line: int, message: str) -> NoReturn:
        raise ConfigError([*self.problems, ConfigProblem(path, line, message)], self.file)

    def _spend(self, count: int, path: str, line: int) -> None:
        """Count values, so that aliases of aliases cannot multiply without end."""
        self._values_left -= count
        if self._values_left < 0:
            self._stop(
                path, line, f"there are more than {document.MAX_VALUES} values, including those that aliases repeat"
            )

    def struct(self, node: Node, cls: type[msgspec.Struct], path: str) -> msgspec.Struct | None:
        """Return a settings struct, or None when the node is not a mapping. A rejected field keeps its default."""
        if not isinstance(node.value, dict):
            self.error(path, node.line, f"expected a mapping (key: value), got {_NODE_KINDS[type(node.value)]}")
            return None if path else cls()
        self._spend(len(node.value), path, node.line)
        before = self._missing
        if "missing" in notes(cls):
            self._missing = []
        known = {name: field for name, field in fields_of(cls).items() if not notes(cls)[field.name].internal}
        values: dict[str, Any] = {}
        for name, child in node.value.items():
            inside = f"{path}.{shown_key(name)}".lstrip(".")
            field = known.get(name)
            if field is None:
                self._unknown(name, known, cls, path, node.lines[name])
                continue
            note = notes(cls)[field.name]
            if child.null or note.format == "models":
                continue
            self._soft, outer = self._soft or not note.implemented, self._soft
            value = self.value(child, field.type, note, inside)
            if value is not _ABSENT:
                values[field.name] = value
                default = None if field.default is msgspec.NODEFAULT else field.default
                if not note.implemented and getattr(value, "enabled", value != default):
                    self.warn(inside, node.lines[name], "not implemented yet; it has no effect")
            self._soft = outer
        check = _CHECKS.get(cls)
        if check is not None:
            check(self, values, node, path)
        self._missing = before
        return cls(**values)

    def value(self, node: Node, kind: Any, note: Note, path: str) -> Any:
        """Return a value of the type `kind`, or `_ABSENT` when it was rejected and reported."""
        self._spend(1, path, node.line)
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        hint = ""
        if get_origin(kind) in (Union, UnionType):
            kinds = [member for member in get_args(kind) if member is not type(None)]
            structs = [member for member in kinds if _is_struct(member)]
            kind = structs[0] if structs and isinstance(node.value, dict) else kinds[0]
            if structs and get_origin(kind) is Literal:
                hint = f" Or write a mapping with the keys {', '.join(fields_of(structs[0]))}."
        if note.many and isinstance(node.value, list):
            return self._items(node, kind, note, path)
        if _is_struct(kind):
            struct = self.struct(node, kind, path)
            return _ABSENT if struct is None else struct
        if get_origin(kind) is tuple:
            return self._items(node, get_args(kind)[0], note, path)
        if get_origin(kind) is dict:
            return self._mapping(node, get_args(kind)[1], note, path)
        if not isinstance(node.value, str):
            self.error(path, node.line, f"expected {expected(kind, note)}, got {_NODE_KINDS[type(node.value)]}")
            return _ABSENT
        text = self._expand(node.value, note, path, node.line)
        if text is None:
            return _ABSENT
        try:
            return self._scalar(text, kind, note, path, node)
        except ValueError as error:
            self.error(path, node.line, f"{error}{hint}")
            return _ABSENT

    def _scalar(self, text: str, kind: Any, note: Note, path: str, node: Node) -> object:
        if get_origin(kind) is Literal:
            return choice(text, get_args(kind), node.value)
        if kind is bool:
            if text not in ("true", "True", "TRUE", "false", "False", "FALSE"):
                raise ValueError(f"expected true or false{got(node, note)}")
            return text.lower() == "true"
        if note.format == "url":
            address, warnings = validators.url(text)
            for warning in warnings:
                self.warn(path, node.line, warning)
            return address
        parse = _PARSERS.get(note.format)
        if parse is None and kind in NUMBER:
            if not NUMBER[kind].fullmatch(text):
                raise ValueError(f"expected {expected(kind, note)}{got(node, note)}")
            value = kind(text)
        elif parse is None:
            value = text
            if "\0" in text:
                raise ValueError("it contains a NUL character")
        else:
            value = parse(text)
        if isinstance(value, int | float) and not note.minimum <= value <= note.maximum:
            raise ValueError(f"expected {expected(kind, note)}{got(node, note)}")
        return value

    def _items(self, node: Node, kind: Any, note: Note, path: str) -> Any:
        """Return a tuple. A single value stands for a list of one."""
        if isinstance(node.value, dict) or (isinstance(node.value, str) and _is_struct(kind)):
            self.error(path, node.line, f"expected a list, got {_NODE_KINDS[type(node.value)]}")
            return _ABSENT
        if isinstance(node.value, str):
            items = [self._item(node, kind, note, path)]
        else:
            items = [self._item(item, kind, note, f"{path}.{at}".lstrip(".")) for at, item in enumerate(node.value)]
        # The checks of a list of structs pair members with their nodes, so a rejected one must not shift the rest.
        return tuple(items) if _is_struct(kind) else tuple(item for item in items if item is not _ABSENT)

    def _item(self, node: Node, kind: Any, note: Note, path: str) -> Any:
        if node.null or node.value == "":
            self.error(path, node.line, "the entry is empty; remove it or give it a value")
            return _ABSENT
        return self.value(node, kind, note, path)

    def _mapping(self, node: Node, kind: Any, note: Note, path: str) -> Any:
        if not isinstance(node.value, dict):
            self.error(path, node.line, f"expected a mapping (key: value), got {_NODE_KINDS[type(node.value)]}")
            return _ABSENT
        values = {}
        for name, child in node.value.items():
            line = node.lines[name]
            try:
                if note.format == "header":
                    validators.header_name(name)
            except ValueError as error:
                known = f".{name}" if name.lower() in validators.HOP_BY_HOP else ""
                self.error(path + known, line, str(error))
                continue
            value = self._item(child, kind, note, f"{path}.{name[:100]}")
            if child.value == []:
                self.error(f"{path}.{name[:100]}", line, "the list is empty; remove the entry or add a value")
            elif value is not _ABSENT:
                values[name] = value
        return values

    def _expand(self, text: str, note: Note, path: str, line: int) -> str | None:
        """Return the text with its variables replaced; None when one is not set, which is reported or recorded."""
        if "${" not in text:
            return text
        if not note.variables:
            if names := variables_in(text):
                self.error(
                    path,
                    line,
                    f"${{{min(names)}}} is not replaced here: variables are for secrets, headers and URLs. Write the value "
                    "itself ($${ stands for ${)",
                )
                return None
            return expand(text, {})[0]
        text, missing = expand(text, self._environ)
        for name in missing:
            if self._missing is not None:
                self._missing.append((name or "${}", path, line))
            elif not self._soft:
                what = f"{name} is not set" if name else "there is no name between the braces"
                self.error(path, line, f"{what}; set it, or give a default: ${{{name or 'NAME'}:-default}}")
        return None if missing else text

    def _unknown(self, name: str, known: Iterable[str], cls: type, path: str, line: int) -> None:
        near = self.similar(name, tuple(known))
        if not near and issubclass(cls, MaskedStruct) and not _SETTING_NAME.fullmatch(name):
            # It may be a secret before a colon, so it is not shown.
            self.error(path, line, f"a key here is unknown; known keys are {', '.join(known)}")
            return
        hint = f"did you mean {near}?" if near else f"known keys are {', '.join(known)}"
        self.error(f"{path}.{shown_key(name)}".lstrip("."), line, f"unknown key; {hint}")

    @property
    def is_full(self) -> bool:
        """Are there as many problems as are reported?"""
        return len(self.problems) >= _MAX_PROBLEMS

    def similar(self, name: str, known: Sequence[str], cutoff: float = 0.6) -> str:
        """Return the known name that is most like `name`, or "". After _MAX_HINTS questions always "", to bound the work."""
        if self._hints_left <= 0:
            return ""
        self._hints_left -= 1
        return nearest(name[:60], known[:_MAX_CANDIDATES], cutoff)

    def disabled(self, values: dict[str, Any], what: str) -> None:
        """Record and report the variables that are not set for the struct being read."""
        missing = self._missing or []
        if missing:
            first = {name: (path, line) for name, path, line in reversed(missing)}
            values["missing"] = tuple(sorted(first))
            for name, (path, line) in first.items():
                entry = ENTRY_OF_VARIABLE.get(name)
                how = f", or store the key: byway secret set {entry.name}" if entry is not None else ""
                self.warn(path, line, f"{name} is not set, so {what} is disabled. Set the variable{how}")

    def keys(self, read: tuple[Any, ...], node: Node, path: str) -> tuple[KeySettings, ...]:
        """Return the keys that were not rejected, each with an id. Reports repeated ones."""
        nodes = cast("list[Node]", node.value)
        keys: list[KeySettings] = []
        ids: dict[str, int] = {}
        texts: dict[str, int] = {}
        for at, (key, where) in enumerate(zip(read, nodes, strict=True)):
            if not isinstance(key, KeySettings):
                continue
            inside = f"{path}.{at}".lstrip(".")
            key = msgspec.structs.replace(key, id=key.id or key.name or f"key-{at + 1}")
            if key.id in ids:
                self.error(inside, where.line, f"another key has the same id, in line {ids[key.id]}")
            if key.key and key.key in texts:
                self.error(inside, where.line, f"another key has the same value, in line {texts[key.key]}")
            ids.setdefault(key.id, where.line)
            texts.setdefault(key.key, where.line)
            keys.append(key)
        return tuple(keys)

    # One check per struct, called with the values that were read, for settings that depend on each other.

    def check_backend(self, values: dict[str, Any], node: Node, path: str) -> None:
        fields = cast("dict[str, Node]", node.value)
        wanted = plain_type(values.get("type", "generic"))
        kind = wanted if wanted in VENDORS else None
        # As the file has it.
        written = str(fields["type"].value)[:40] if "type" in fields else ""
        line = fields["type"].line if "type" in fields else node.line
        values["type"] = kind or "generic"
        values.setdefault("name", kind or wanted[:40] or "backend")
        name = values["name"]
        self._models(values, fields.get("models"), f"{path}.models")
        self._api_keys(values, path)
        self.disabled(values, f"backend {name!r}")
        if "missing" in values:
            values["off"] = (
                f"{' and '.join(values['missing'])} {'is' if len(values['missing']) == 1 else 'are'} not set"
            )
        if kind is None and wanted.startswith(_PLANNED):
            values["off"] = f"backends of type {written} are not implemented yet"
            self.warn(f"{path}.type", line, f"{written} is not implemented yet, so backend {name!r} is disabled")
        elif kind is None:
            near = self.similar(wanted, tuple(VENDORS))
            hint = f" Did you mean {near}?" if near else ""
            message = f"{written!r} is not a type of backend.{hint} The types are {', '.join(VENDORS)}."
            self.error(f"{path}.type", line, message)
        elif VENDORS[kind].managed:
            for field in ("url", "api_key", "proxy", "tls"):
                if values.pop(field, None) is not None:
                    message = "has no effect: Byway runs this model itself"
                    self.warn(f"{path}.{field}", fields[field].line, message)
        elif "url" not in values and "missing" not in values and ("url" not in fields or fields["url"].null):
            values["url"] = VENDORS[kind].url
            if values["url"] is None:
                self.error(path, node.line, f"a backend of type {kind} needs a url, such as http://127.0.0.1:8080")
        if kind is not None and values.get("url"):
            kind, message = detected_type(kind, values["url"], path)
            message = message or key_warning(kind, values.get("api_key") or "")
            values["type"] = kind
            if message:
                self.warn(f"{path}.type", line, message)
        if kind is not None and VENDORS[kind].needs_models and not values.get("models"):
            self.warn(path, node.line, f"{VENDORS[kind].title} does not list its models: name them under models")
        if values.get("credential") == "client":
            for field, message in client_credential_problems(values, VENDORS.get(kind or "")):
                self.error(f"{path}.{field}", fields["credential"].line, message)
        for field in BUILTIN_ONLY if kind is not None and not VENDORS[kind].managed else ():
            if field in values:
                message = (
                    f"applies only to models that Byway runs itself (type: builtin); configure it at the {kind} server"
                )
                self.error(f"{path}.{field}", fields[field].line, message)

    def _api_keys(self, values: dict[str, Any], path: str) -> None:
        """Read a list of API keys. A variable that is not set leaves out its key while the list has another one."""
        keys = values.get("api_key")
        if isinstance(keys, tuple):
            values |= {"api_key": keys[0] if keys else None, "api_keys": keys if len(set(keys)) > 1 else ()}
            for missing in [entry for entry in self._missing or () if keys and entry[1].startswith(f"{path}.api_key.")]:
                cast("list[tuple[str, str, int]]", self._missing).remove(missing)
                self.warn(missing[1], missing[2], f"{missing[0]} is not set, so this key is left out")

    def _models(self, values: dict[str, Any], node: Node | None, path: str) -> None:
        """Read `models`: names, or mappings with `id` (or `name`) and optionally `window` and `like`."""
        if node is None or node.null:
            return
        windows: dict[str, int] = {}
        likes: dict[str, str] = {}
        models: dict[str, None] = {}
        items = node.value if isinstance(node.value, list) else [node]
        for at, item in enumerate(items):
            inside = f"{path}.{at}" if isinstance(node.value, list) else path
            window: Any = _ABSENT
            like: Any = _ABSENT
            if isinstance(item.value, dict):
                named = item.value.get("id") or item.value.get("name")
                for name in item.value.keys() - {"id", "name", "window", "like"}:
                    self.warn(f"{inside}.{shown_key(name)}", item.lines[name], "unknown key; it has no effect")
                if (size := item.value.get("window")) is not None and not size.null:
                    window = self.value(size, int, Note("", minimum=1), f"{inside}.window")
                if (other := item.value.get("like")) is not None and not other.null:
                    like = self._item(other, str, Note(""), f"{inside}.like")
                if named is None or isinstance(named.value, dict | list):
                    self.error(inside, item.line, "a model needs a name: {id: my-model}")
                    continue
                item = named
            model = self._item(item, str, Note(""), inside)
            if isinstance(model, str):
                models[model] = None
                if window is not _ABSENT:
                    windows[model] = window
                if isinstance(like, str):
                    likes[model] = like
        values["models"] = tuple(models)
        values["windows"] = windows
        values["likes"] = likes

    def check_tls(self, values: dict[str, Any], node: Node, path: str) -> None:
        if values.get("key") and not values.get("cert"):
            self.error(path, node.line, "a key needs its certificate: set cert too")
        if values.get("verify") is False:
            line = cast("dict[str, Node]", node.value)["verify"].line
            self.warn(
                f"{path}.verify",
                line,
                "certificates are not checked: anyone on the network can read the requests and the API key. Set ca to the file "
                "of your certificate authority instead",
            )

    def check_key(self, values: dict[str, Any], node: Node, path: str) -> None:
        fields = cast("dict[str, Node]", node.value)
        called = values.get("name") or values.get("id") or path.rpartition(".")[2]
        self.disabled(values, f"key {called!r}")
        if not values.get("key") and "missing" not in values and not ("key" in fields and fields["key"].value):
            self.error(path, node.line, "the value of the key is missing; add key: ${NAME}")
        elif values.get("key") == "" and "missing" not in values:
            self.error(f"{path}.key", fields["key"].line, "the key is empty")

    def check_keys(self, values: dict[str, Any], node: Node, path: str) -> None:
        if "api_keys" in values:
            where = cast("dict[str, Node]", node.value)["api_keys"]
            values["api_keys"] = self.keys(values["api_keys"], where, f"{path}.api_keys")
        if values.get("mode") == "permissive" and (values.get("api_keys") or values.get("api_keys_file")):
            message = "there are keys, but permissive mode lets any client use Byway, with any key or none"
            self.warn(f"{path}.mode", cast("dict[str, Node]", node.value)["mode"].line, message)

    def check_search(self, values: dict[str, Any], node: Node, path: str) -> None:
        if self._missing and values.get("enabled"):
            others = any(not provider.missing for provider in values.get("fallback", ()))
            self.disabled(values, f"search provider {values.get('provider', '')}" if others else "web search")
            values["enabled"] = others
        if values.get("enabled"):
            if not values.get("provider"):
                names = tuple(PROVIDERS)
                choices = f"{', '.join(names[:-1])} or {names[-1]}"
                self.error(f"{path}.provider", node.line, f"web search needs a provider: {choices}")
            self._provider(values, node, path)

    def check_search_provider(self, values: dict[str, Any], node: Node, path: str) -> None:
        if self._missing:
            self.disabled(values, f"search provider {values.get('provider', '')}")
        self._provider(values, node, path)

    def _provider(self, values: dict[str, Any], node: Node, path: str) -> None:
        name = values.get("provider")
        if values.get("missing") or not name:
            return
        info = PROVIDERS[name].INFO
        if not info.url and not values.get("base_url"):
            self.error(f"{path}.base_url", node.line, f"required: the address of your {info.title} instance")
        elif info.keyed and not values.get("api_key"):
            message = (
                f"{info.title} requires an API key: run `byway secret set {name}` "
                f"and set api_key: ${{{ENTRIES[name].variable}}}"
            )
            self.error(f"{path}.api_key", node.line, message)

    def check_config(self, values: dict[str, Any], node: Node, path: str) -> None:
        fields = cast("dict[str, Node]", node.value)
        lines: dict[str, int] = {}
        backends: list[BackendSettings] = []
        for at, backend in enumerate(values.get("backends", ())):
            if not isinstance(backend, BackendSettings):
                continue
            where = cast("list[Node]", fields["backends"].value)[at]
            if backend.name in lines:
                message = f"another backend has the name {backend.name!r}, in line {lines[backend.name]}"
                self.error(f"backends.{at}.name", where.line, message)
            lines.setdefault(backend.name, where.line)
            backends.append(backend)
            if values.get("local_only"):
                check_local_backend(self, backend, where, f"backends.{at}")
        values["backends"] = tuple(backends) or (BUILTIN,)
        if values.get("local_only"):
            check_local_servers(self, values, fields)
        if "server" in values and values["server"].workers > 1:
            line = cast("dict[str, Node]", fields["server"].value)["workers"].line
            self.warn("server.workers", line, "more than one is not implemented yet; one process serves")
        check_targets(self, values, fields)
        check_limited_backends(self, values, fields.get("limits"))
        check_prompted_backends(self, values, fields.get("global_prompts"))


_Check = Callable[[_Reader, dict[str, Any], Node, str], None]


def _disables(what: str) -> _Check:
    """A check that reports the variables that are not set: only `what` needs them."""
    return lambda reader, values, node, path: reader.disabled(values, what)


_CHECKS: Final[dict[type, _Check]] = {
    BackendSettings: _Reader.check_backend,
    TlsSettings: _Reader.check_tls,
    ServerTlsSettings: check_server_tls,
    KeySettings: _Reader.check_key,
    ApiKeysSettings: _Reader.check_keys,
    LimitSettings: check_limit,
    RateLimitSettings: check_bucket,
    RateLimitingSettings: check_rate_limiting,
    WebSearchSettings: _Reader.check_search,
    SearchProviderSettings: _Reader.check_search_provider,
    PriceSettings: check_price,
    PriceTierSettings: check_tier,
    UsageSettings: check_usage,
    FileSettings: check_files,
    GuardrailRuleSettings: check_rule,
    GuardrailSettings: check_guardrails,
    S3Settings: _disables("the file storage"),
    TracingSettings: check_tracing,
    OidcSettings: check_oidc,
    PushedSettings: check_pushed_settings,
    TelemetrySettings: _disables("forwarding of telemetry"),
    Config: _Reader.check_config,
}

#: Types of the reference router that Byway does not implement yet.
_PLANNED: Final = ("continuum",)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)
