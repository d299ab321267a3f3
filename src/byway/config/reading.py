"""Text -> Config, or every complaint. The types say what is expected, the checks below what belongs together."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from types import UnionType
from typing import Annotated, Any, Final, Literal, NoReturn, Union, cast, get_args, get_origin

import msgspec

from byway.backends.vendors import VENDORS
from byway.config import document, validators
from byway.config.document import Node, shown_key
from byway.config.settings import (
    BUILTIN,
    BUILTIN_ONLY,
    ApiKeysSettings,
    BackendSettings,
    Config,
    ConfigProblem,
    Format,
    KeySettings,
    MaskedStruct,
    Note,
    SearchProviderSettings,
    TlsSettings,
    WebSearchSettings,
    notes,
)
from byway.providers.registry import PROVIDERS
from byway.secrets.names import ENTRIES, ENTRY_OF_VARIABLE, Scrubber, expand


class ConfigError(Exception):
    """A config that cannot be used. `complaints` has everything that was found, by line; `str` has one per line."""

    def __init__(self, complaints: Iterable[ConfigProblem], file: str = "byway.yaml") -> None:
        self.problems = _by_line(complaints)
        self.file = file
        super().__init__(file, self.problems)

    def __str__(self) -> str:
        places = (f"{self.file}:{one.line}" if one.line else self.file for one in self.problems)
        return "\n".join(f"{place}: {one}" for place, one in zip(places, self.problems, strict=True))


def load(text: str, environ: Mapping[str, str], *, file: str = "byway.yaml") -> Config:
    """The Config of a `byway.yaml`; what is odd about it is in its `warnings`. `file` is how complaints call it.

    `environ` gives the values of `${NAME}`. Raises ConfigError.
    """
    reader = _Reader(environ, file)
    root = reader.open(text)
    config = Config() if root is None else cast(Config, reader.struct(root, Config, ""))
    reader.end()
    return msgspec.structs.replace(config, warnings=_by_line(reader.problems))


def load_keys(text: str, environ: Mapping[str, str], *, file: str = "api-keys.yaml") -> tuple[KeySettings, ...]:
    """The keys of an `api_keys_file`: a list of keys, or a mapping with that list under `api_keys`.

    A key whose `${NAME}` is missing has it in `missing` and opens nothing. Raises ConfigError.
    """
    reader = _Reader(environ, file)
    root = reader.open(text)
    path = ""
    if root is not None and isinstance(root.value, dict):
        path = "api_keys"
        for name in root.value.keys() - {path}:
            reader.complain(
                shown_key(name), root.lines[name], "not known here; the file is a list of keys under api_keys"
            )
        root = root.value.get(path)
    found = None if root is None or root.null else reader.value(root, tuple[KeySettings, ...], Note(""), path)
    keys = reader.keys(found, root, path) if root is not None and isinstance(found, tuple) else ()
    reader.end()
    return keys


def static_changes(old: Config, new: Config) -> tuple[str, ...]:
    """The paths of settings that differ and take effect at the next start only."""
    return tuple(
        f"{section}.{field.encode_name}"
        for section, struct in ((name, getattr(old, name)) for name in notes(Config))
        if isinstance(struct, msgspec.Struct)
        for field in msgspec.structs.fields(struct)
        if (note := notes(type(struct)).get(field.name)) and note.restart
        if getattr(struct, field.name) != getattr(getattr(new, section), field.name)
    )


#: More complaints than this help nobody.
_MANY: Final = 300


def _by_line(complaints: Iterable[ConfigProblem]) -> tuple[ConfigProblem, ...]:
    return tuple(sorted(complaints, key=lambda one: (one.line or 0, one.path)))


class _Absent:
    """What a value is that was refused or not given."""


_ABSENT: Final = _Absent()

#: Readers of text by form; those of `header`, `models` and `url` need more than the text and are called by name.
_FORMS: Final[dict[Format, Callable[[str], object]]] = {
    "address": validators.address,
    "cidr": validators.network,
    "domain": validators.domain,
    "duration": validators.duration,
    "header": validators.header,
    "host": validators.host,
    "moment": validators.moment,
    "name": validators.name,
    "octal": validators.octal,
    "prefix": validators.prefix,
    "proxy": validators.proxy,
    "secret": validators.secret,
    "strategy": validators.strategy,
}
_SECRET: Final[frozenset[Format]] = frozenset({"secret", "header", "proxy", "url"})
_NUMBER: Final = {int: re.compile(r"[-+]?\d{1,15}"), float: re.compile(r"[-+]?\d{1,15}(\.\d{1,15})?")}
_KINDS: Final = {str: "text", list: "a list", dict: "a mapping"}


class _Reader:
    """One run over a tree: collects complaints, expands `${NAME}`, notes which variables are missing where."""

    def __init__(self, environ: Mapping[str, str], file: str) -> None:
        self.problems: list[ConfigProblem] = []
        self.file = file
        self._environ = environ
        self._scrub = Scrubber().scrub
        self._soft = False
        """Inside a section that is not built yet: nothing there can end the start."""
        self._missing: list[tuple[str, str, int]] | None = None
        """Where a missing variable turns off what needs it: name, path, line. None: it is an error."""
        self._left = document.MAX_VALUES

    def open(self, text: str) -> Node | None:
        try:
            root, complaints = document.read(text.removeprefix("\ufeff"))
        except document.YamlError as error:
            raise ConfigError([error.problem], self.file) from None
        self.problems += complaints
        return root

    def end(self) -> None:
        if any(one.severity == "error" for one in self.problems):
            raise ConfigError(self.problems, self.file)

    def complain(self, path: str, line: int, message: str) -> None:
        self._add(path, line, message, "warning" if self._soft else "error")

    def warn(self, path: str, line: int, message: str) -> None:
        self._add(path, line, message, "warning")

    def _add(self, path: str, line: int, message: str, severity: Literal["error", "warning"]) -> None:
        self.problems.append(ConfigProblem(self._scrub(path), line, self._scrub(message), severity))
        if len(self.problems) > _MANY:
            self._stop(path, line, "more is wrong below; this is where the reader gave up")

    def _stop(self, path: str, line: int, message: str) -> NoReturn:
        raise ConfigError([*self.problems, ConfigProblem(path, line, message)], self.file)

    def _spend(self, count: int, path: str, line: int) -> None:
        """Count values, so that aliases within aliases come to an end."""
        self._left -= count
        if self._left < 0:
            self._stop(
                path, line, f"there are more than {document.MAX_VALUES} values, counting those that aliases repeat"
            )

    def struct(self, node: Node, cls: type[msgspec.Struct], path: str) -> msgspec.Struct | None:
        """A settings struct; None when the node is no mapping. A field that was refused keeps its default."""
        if not isinstance(node.value, dict):
            self.complain(path, node.line, f"expected a mapping (key: value), got {_KINDS[type(node.value)]}")
            return None if path else cls()
        self._spend(len(node.value), path, node.line)
        before = self._missing
        if cls in (BackendSettings, KeySettings, WebSearchSettings, SearchProviderSettings):
            self._missing = []
        known = {
            field.encode_name: field for field in msgspec.structs.fields(cls) if not _note(cls, field.name).internal
        }
        values: dict[str, Any] = {}
        for name, child in node.value.items():
            inside = f"{path}.{shown_key(name)}".lstrip(".")
            field = known.get(name)
            if field is None:
                self._unknown(name, known, cls, path, node.lines[name])
                continue
            note = _note(cls, field.name)
            if child.null or note.format == "models":
                continue
            self._soft, outer = self._soft or not note.implemented, self._soft
            value = self.value(child, field.type, note, inside)
            if value is not _ABSENT:
                values[field.name] = value
                default = None if field.default is msgspec.NODEFAULT else field.default
                if not note.implemented and getattr(value, "enabled", value != default):
                    self.warn(inside, node.lines[name], "not built yet, has no effect")
            self._soft = outer
        check = _CHECKS.get(cls)
        if check is not None:
            check(self, values, node, path)
        self._missing = before
        return cls(**values)

    def value(self, node: Node, kind: Any, note: Note, path: str) -> Any:
        """A value of the type `kind`, or `_ABSENT` when it was refused and complained about."""
        self._spend(1, path, node.line)
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        if get_origin(kind) in (Union, UnionType):
            kinds = [one for one in get_args(kind) if one is not type(None)]
            structs = [one for one in kinds if _is_struct(one)]
            kind = structs[0] if structs and isinstance(node.value, dict) else kinds[0]
        if _is_struct(kind):
            found = self.struct(node, kind, path)
            return _ABSENT if found is None else found
        if get_origin(kind) is tuple:
            return self._items(node, get_args(kind)[0], note, path)
        if get_origin(kind) is dict:
            return self._mapping(node, get_args(kind)[1], note, path)
        if not isinstance(node.value, str):
            self.complain(path, node.line, f"expected {_expected(kind, note)}, got {_KINDS[type(node.value)]}")
            return _ABSENT
        text = self._expand(node.value, path, node.line)
        if text is None:
            return _ABSENT
        try:
            return self._scalar(text, kind, note, path, node)
        except ValueError as error:
            self.complain(path, node.line, str(error))
            return _ABSENT

    def _scalar(self, text: str, kind: Any, note: Note, path: str, node: Node) -> object:
        if get_origin(kind) is Literal:
            return _choice(text, get_args(kind), node.value)
        if kind is bool:
            if text not in ("true", "True", "TRUE", "false", "False", "FALSE"):
                raise ValueError(f"expected true or false{_got(node, note)}")
            return text.lower() == "true"
        if note.format == "url":
            address, odd = validators.url(text)
            for one in odd:
                self.warn(path, node.line, one)
            return address
        read = _FORMS.get(note.format)
        if read is None and kind in _NUMBER:
            if not _NUMBER[kind].fullmatch(text):
                raise ValueError(f"expected {_expected(kind, note)}{_got(node, note)}")
            value = kind(text)
        elif read is None:
            value = text
            if "\0" in text:
                raise ValueError("there is a NUL character in it")
        else:
            value = read(text)
        if isinstance(value, int | float) and not note.minimum <= value <= note.maximum:
            raise ValueError(f"expected {_expected(kind, note)}{_got(node, note)}")
        return value

    def _items(self, node: Node, kind: Any, note: Note, path: str) -> Any:
        """A tuple; one value alone counts as a list of one."""
        if isinstance(node.value, dict) or (isinstance(node.value, str) and _is_struct(kind)):
            self.complain(path, node.line, f"expected a list, got {_KINDS[type(node.value)]}")
            return _ABSENT
        if isinstance(node.value, str):
            found = [self._item(node, kind, note, path)]
        else:
            found = [self._item(one, kind, note, f"{path}.{at}".lstrip(".")) for at, one in enumerate(node.value)]
        # The checks of a list of structs look at members beside their nodes, so a refused one must not shift the rest.
        return tuple(found) if _is_struct(kind) else tuple(one for one in found if one is not _ABSENT)

    def _item(self, node: Node, kind: Any, note: Note, path: str) -> Any:
        if node.null or node.value == "":
            self.complain(path, node.line, "there is nothing here; remove the entry or fill it in")
            return _ABSENT
        return self.value(node, kind, note, path)

    def _mapping(self, node: Node, kind: Any, note: Note, path: str) -> Any:
        if not isinstance(node.value, dict):
            self.complain(path, node.line, f"expected a mapping (key: value), got {_KINDS[type(node.value)]}")
            return _ABSENT
        found = {}
        for name, child in node.value.items():
            line = node.lines[name]
            try:
                if note.format == "header":
                    validators.header_name(name)
            except ValueError as error:
                known = f".{name}" if name.lower() in validators.HOP_BY_HOP else ""
                self.complain(path + known, line, str(error))
                continue
            value = self._item(child, kind, note, f"{path}.{name[:100]}")
            if child.value == []:
                self.complain(f"{path}.{name[:100]}", line, "the list is empty; remove the entry or fill it in")
            elif value is not _ABSENT:
                found[name] = value
        return found

    def _expand(self, text: str, path: str, line: int) -> str | None:
        """The text with its variables; None when one is missing, which is complained about or noted."""
        if "${" not in text:
            return text
        text, missing = expand(text, self._environ)
        for name in missing:
            if self._missing is not None:
                self._missing.append((name or "${}", path, line))
            elif not self._soft:
                what = f"{name} is not set" if name else "a name is missing between the braces"
                self.complain(path, line, f"{what}; set it, or give a default: ${{{name or 'NAME'}:-default}}")
        return None if missing else text

    def _unknown(self, name: str, known: Iterable[str], cls: type, path: str, line: int) -> None:
        near = difflib.get_close_matches(name[:60], known, 1)
        if not near and issubclass(cls, MaskedStruct):
            # Perhaps a secret that slipped to the left of a colon.
            self.complain(path, line, f"a key here is not known; known are {', '.join(known)}")
            return
        hint = f"did you mean {near[0]}?" if near else f"known here are {', '.join(known)}"
        self.complain(f"{path}.{shown_key(name)}".lstrip("."), line, f"not known; {hint}")

    def turned_off(self, values: dict[str, Any], what: str) -> None:
        """Note and warn about the variables that are missing for the struct being read."""
        missing = self._missing or []
        if missing:
            first = {name: (path, line) for name, path, line in reversed(missing)}
            values["missing"] = tuple(sorted(first))
            for name, (path, line) in first.items():
                keep = (
                    f". To keep it: byway secret set {ENTRY_OF_VARIABLE[name].name}"
                    if name in ENTRY_OF_VARIABLE
                    else ""
                )
                self.warn(path, line, f"{name} is not set: {what} is off until it is{keep}")

    def keys(self, found: tuple[Any, ...], node: Node, path: str) -> tuple[KeySettings, ...]:
        """Keys with an id each, without those that were refused; complains about repeated ones."""
        nodes = cast("list[Node]", node.value)
        keys: list[KeySettings] = []
        ids: dict[str, int] = {}
        texts: dict[str, int] = {}
        for at, (key, where) in enumerate(zip(found, nodes, strict=True)):
            if not isinstance(key, KeySettings):
                continue
            inside = f"{path}.{at}".lstrip(".")
            key = msgspec.structs.replace(key, id=key.id or key.name or f"key-{at + 1}")
            if key.id in ids:
                self.complain(inside, where.line, f"the id of this key is taken; the first is in line {ids[key.id]}")
            if key.key and key.key in texts:
                self.complain(inside, where.line, f"this key stands twice; the first is in line {texts[key.key]}")
            ids.setdefault(key.id, where.line)
            texts.setdefault(key.key, where.line)
            keys.append(key)
        return tuple(keys)

    # What belongs together: one check per struct, called with what was read of it.

    def check_backend(self, values: dict[str, Any], node: Node, path: str) -> None:
        fields = cast("dict[str, Node]", node.value)
        asked = _plain(values.get("type", "generic"))
        kind = asked if asked in VENDORS else None
        # As it stands in the file: complaints show nothing that came from the environment.
        written = str(fields["type"].value)[:40] if "type" in fields else ""
        line = fields["type"].line if "type" in fields else node.line
        values["type"] = kind or "generic"
        values.setdefault("name", kind or asked[:40] or "backend")
        name = values["name"]
        self._models(values, fields.get("models"), f"{path}.models")
        self.turned_off(values, f"backend {name!r}")
        if "missing" in values:
            values["off"] = (
                f"{' and '.join(values['missing'])} {'is' if len(values['missing']) == 1 else 'are'} not set"
            )
        if kind is None and asked.startswith(_PLANNED):
            values["off"] = f"backends of type {written} are not built yet"
            self.warn(f"{path}.type", line, f"{written} is not built yet: backend {name!r} is off")
        elif kind is None:
            near = difflib.get_close_matches(asked[:40], VENDORS, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            message = f"{written!r} is not a type of backend.{hint} There are {', '.join(VENDORS)}."
            self.complain(f"{path}.type", line, message)
        elif VENDORS[kind].managed:
            for field in ("url", "api_key", "proxy", "tls"):
                if values.pop(field, None) is not None:
                    message = "has no effect: the built-in model runs inside Byway"
                    self.warn(f"{path}.{field}", fields[field].line, message)
        elif "url" not in values and "missing" not in values and ("url" not in fields or fields["url"].null):
            values["url"] = VENDORS[kind].url
            if values["url"] is None:
                self.complain(path, node.line, f"a backend of type {kind} needs a url, such as http://127.0.0.1:8080")
        for field in BUILTIN_ONLY if kind is not None and not VENDORS[kind].managed else ():
            if field in values:
                message = f"only Byway's own models (type: builtin) have this; what runs at a {kind} is set there"
                self.complain(f"{path}.{field}", fields[field].line, message)

    def _models(self, values: dict[str, Any], node: Node | None, path: str) -> None:
        """`models`: names, or mappings with `id` (or `name`) and perhaps `window`."""
        if node is None or node.null:
            return
        windows: dict[str, int] = {}
        models: dict[str, None] = {}
        items = node.value if isinstance(node.value, list) else [node]
        for at, item in enumerate(items):
            inside = f"{path}.{at}" if isinstance(node.value, list) else path
            window: Any = _ABSENT
            if isinstance(item.value, dict):
                named = item.value.get("id") or item.value.get("name")
                for name in item.value.keys() - {"id", "name", "window"}:
                    self.warn(f"{inside}.{shown_key(name)}", item.lines[name], "not known here, has no effect")
                if (size := item.value.get("window")) is not None and not size.null:
                    window = self.value(size, int, Note("", minimum=1), f"{inside}.window")
                if named is None or isinstance(named.value, dict | list):
                    self.complain(inside, item.line, "a model needs its name: {id: my-model}")
                    continue
                item = named
            model = self._item(item, str, Note(""), inside)
            if isinstance(model, str):
                models[model] = None
                if window is not _ABSENT:
                    windows[model] = window
        values["models"] = tuple(models)
        values["windows"] = windows

    def check_tls(self, values: dict[str, Any], node: Node, path: str) -> None:
        if values.get("key") and not values.get("cert"):
            self.complain(path, node.line, "a key without its cert; give the certificate's file too")

    def check_key(self, values: dict[str, Any], node: Node, path: str) -> None:
        fields = cast("dict[str, Node]", node.value)
        called = values.get("name") or values.get("id") or path.rpartition(".")[2]
        self.turned_off(values, f"key {called!r}")
        if not values.get("key") and "missing" not in values and not ("key" in fields and fields["key"].value):
            self.complain(path, node.line, "the key itself is missing: key: ${NAME}")
        elif values.get("key") == "" and "missing" not in values:
            self.complain(f"{path}.key", fields["key"].line, "the key is empty")

    def check_keys(self, values: dict[str, Any], node: Node, path: str) -> None:
        if "api_keys" in values:
            where = cast("dict[str, Node]", node.value)["api_keys"]
            values["api_keys"] = self.keys(values["api_keys"], where, f"{path}.api_keys")
        if values.get("mode") == "permissive" and (values.get("api_keys") or values.get("api_keys_file")):
            message = "permissive although there are keys: anyone may use Byway, with any key or none"
            self.warn(f"{path}.mode", cast("dict[str, Node]", node.value)["mode"].line, message)

    def check_search(self, values: dict[str, Any], node: Node, path: str) -> None:
        if self._missing and values.get("enabled"):
            others = any(not one.missing for one in values.get("fallback", ()))
            self.turned_off(values, f"search provider {values.get('provider', '')}" if others else "web search")
            values["enabled"] = others
        if values.get("enabled"):
            if not values.get("provider"):
                names = tuple(PROVIDERS)
                who = f"{', '.join(names[:-1])} or {names[-1]}"
                self.complain(f"{path}.provider", node.line, f"who searches? Name {who}")
            self._provider(values, node, path)

    def check_searched(self, values: dict[str, Any], node: Node, path: str) -> None:
        if self._missing:
            self.turned_off(values, f"search provider {values.get('provider', '')}")
        self._provider(values, node, path)

    def _provider(self, values: dict[str, Any], node: Node, path: str) -> None:
        name = values.get("provider")
        if values.get("missing") or not name:
            return
        info = PROVIDERS[name].INFO
        if not info.url and not values.get("base_url"):
            self.complain(f"{path}.base_url", node.line, f"required: the address of your {info.title} instance")
        elif info.keyed and not values.get("api_key"):
            message = (
                f"{info.title} requires an API key: run `byway secret set {name}` "
                f"and set api_key: ${{{ENTRIES[name].variable}}}"
            )
            self.complain(f"{path}.api_key", node.line, message)

    def check_config(self, values: dict[str, Any], node: Node, path: str) -> None:
        fields = cast("dict[str, Node]", node.value)
        lines: dict[str, int] = {}
        backends: list[BackendSettings] = []
        for at, backend in enumerate(values.get("backends", ())):
            if not isinstance(backend, BackendSettings):
                continue
            where = cast("list[Node]", fields["backends"].value)[at]
            if backend.name in lines:
                message = f"the name {backend.name!r} is taken; the first is in line {lines[backend.name]}"
                self.complain(f"backends.{at}.name", where.line, message)
            lines.setdefault(backend.name, where.line)
            backends.append(backend)
            if values.get("local_only"):
                self._local(backend, where, f"backends.{at}")
        values["backends"] = tuple(backends) or (BUILTIN,)
        search = values.get("web_search")
        if values.get("local_only") and isinstance(search, WebSearchSettings) and search.enabled:
            for one in search.providers:
                if not one.base_url or not validators.local(one.base_url):
                    message = (
                        f"local_only is on, and {one.provider} is not provably on this machine or a private network"
                    )
                    self.complain("web_search.enabled", fields["web_search"].line, message)
        if "server" in values and values["server"].workers > 1:
            line = cast("dict[str, Node]", fields["server"].value)["workers"].line
            self.warn("server.workers", line, "more than one is not built yet; one process serves")
        self._aliases(values, fields.get("model_aliases"))

    def _local(self, backend: BackendSettings, node: Node, path: str) -> None:
        for field, address in (("url", backend.url), ("proxy", backend.proxy)):
            if address is not None and not validators.local(address):
                line = cast("dict[str, Node]", node.value).get(field, node).line
                message = (
                    "local_only is on, and this is not provably on this machine or a private network. Give a private "
                    "IP address, localhost or unix:/path; a name may come to mean any address"
                )
                self.complain(f"{path}.{field}", line, message)

    def _aliases(self, values: dict[str, Any], node: Node | None) -> None:
        """Warn about targets that no backend can know. A backend without `models` may know any name."""
        if node is None or "backends" not in values:
            return
        backends: dict[str, BackendSettings] = {backend.name: backend for backend in values["backends"]}
        open_ended = any(not backend.models for backend in backends.values())
        models = {model for backend in backends.values() for model in backend.models}
        for alias, targets in values.get("model_aliases", {}).items():
            for target in targets:
                name, slash, model = target.partition("/")
                pinned = backends.get(name) if slash else None
                known = target in models or (pinned is not None and (not pinned.models or model in pinned.models))
                if known or len(self.problems) >= _MANY:
                    continue
                near = difflib.get_close_matches(name[:60], backends, 1, 0.8) if slash and pinned is None else []
                if open_ended and not near and pinned is None:
                    continue
                if slash and pinned is None:
                    hint = f"did you mean {near[0]}/{model}?" if near else f"there are {', '.join(backends)}"
                    message = f"no backend is called {name!r} and none lists the model {target!r}; {hint}"
                elif pinned is not None:
                    message = f"backend {name!r} does not list the model {model!r}"
                else:
                    message = f"no backend lists the model {target!r}"
                where = cast("dict[str, Node]", node.value)[alias]
                self.warn(f"model_aliases.{alias}", where.line, message)


_CHECKS: Final[dict[type, Callable[[_Reader, dict[str, Any], Node, str], None]]] = {
    BackendSettings: _Reader.check_backend,
    TlsSettings: _Reader.check_tls,
    KeySettings: _Reader.check_key,
    ApiKeysSettings: _Reader.check_keys,
    WebSearchSettings: _Reader.check_search,
    SearchProviderSettings: _Reader.check_searched,
    Config: _Reader.check_config,
}

#: Types of the reference that Byway has no module for yet.
_PLANNED: Final = ("gemini", "google", "azure", "continuum")
_SPELLINGS: Final = {
    "openaicompatible": "generic",
    "openaicompat": "generic",
    "localai": "generic",
    "llamacppserver": "llamacpp",
    "llamaserver": "llamacpp",
    "claude": "anthropic",
}


def _plain(written: str) -> str:
    """A type without capitals, dots, dashes and blanks, and by one name where it has several."""
    plain = re.sub("[^a-z0-9]", "", written.lower())
    return _SPELLINGS.get(plain, plain)


def _note(cls: type[msgspec.Struct], field: str) -> Note:
    return notes(cls)[field]


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _choice(text: str, allowed: tuple[str, ...], written: object) -> str:
    plain = {"warn": "warning"}.get(text.lower(), text.lower())
    for one in allowed:
        if plain == one.lower():
            return one
    near = difflib.get_close_matches(plain[:40], allowed, 1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise ValueError(f"{str(written)[:40]!r} is not one of {', '.join(allowed)}.{hint}")


def _got(node: Node, note: Note) -> str:
    return "" if note.format in _SECRET else f", got {str(node.value)[:40]!r}"


def _expected(kind: Any, note: Note) -> str:
    low, high = f"{note.minimum:g}", f"{note.maximum:g}"
    if note.format == "octal":
        return "permissions in octal up to 0777"
    if note.format == "duration":
        return "a duration such as 30s" + (f" of at least {note.minimum:g} s" if note.minimum else "")
    if kind in _NUMBER:
        what = "a whole number" if kind is int else "a number"
        return what + (f" of at least {low}" if note.maximum >= 1_000_000_000 else f" from {low} to {high}")
    return {bool: "true or false"}.get(kind, "text")
