"""Backends and their models: list, describe, add, change, remove, check, and try one before it is saved."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET, Struct, UnsetType

from byway import platform
from byway.admin.config import CurrentConfig, is_builtin_implied
from byway.admin.errors import invalid
from byway.backend import Backend
from byway.backends.vendors import VENDORS
from byway.call import Call
from byway.config import BackendSettings, Config, TimeoutSettings
from byway.config.backendchecks import better_type, needs_protocol
from byway.config.editing import Append, Edit, Remove, Set, edit
from byway.config.file import ConfigFile
from byway.config.settings import BUILTIN
from byway.local import edits
from byway.problems import Kind, Problem
from byway.runtime import Runtime
from byway.scrub import Scrubber
from byway.secrets.names import ENTRIES, variables_in

#: What to do about a backend's problem, where its message does not say so.
HINTS: Final[Mapping[Kind, str]] = {
    "timeout": "The server may be busy, or another program listens at that address.",
    "refused": "The API key is missing or wrong. Set it under Secrets, or correct the variable that contains it.",
    "billing": "The account has no credit left.",
    "model_not_found": "There is no list of models at that address. Correct the address, or name the models.",
    "upstream": "The server itself failed. See its log.",
    "broken": "The server may be of another type.",
    "rate_limit": "The server limits requests. Try again later.",
}


#: The groups of types, in the order of the gallery: their key, title and what they have in common.
GROUPS: Final = (
    ("cloud", "Clouds", "The APIs of the companies that make the models."),
    ("inference", "Hosts of open models", "Clouds that serve open models of many makers."),
    ("gateway", "Aggregators and gateways", "One API in front of many others."),
    ("local", "Model servers", "Servers that you run, on this machine or in your network."),
)


class BackendKind(NamedTuple):
    """A type of backend that can be added."""

    name: str
    title: str
    type: str
    """The value of `backends[].type`."""
    url: str
    """The usual address; empty when there is none."""
    cloud: bool
    needs_url: bool = False
    """There is no usual address."""
    group: str = "local"
    """Its entry of `GROUPS`."""
    signup: str = ""
    """Where its API keys are created; for a server, how it is installed. Empty when there is no such page."""
    needs_models: bool = False
    """It lists no models, so they must be named."""

    @property
    def secret(self) -> str:
        """The variable that contains its API key; empty for a self-hosted server."""
        return ENTRIES[self.name].variable if self.cloud else ""


def _kinds() -> Iterable[BackendKind]:
    for row in VENDORS.values():
        if not row.managed:
            yield BackendKind(
                row.name,
                row.title,
                row.name,
                row.url or "",
                not row.self_hosted,
                needs_url=row.url is None,
                group=row.group,
                signup=row.signup,
                needs_models=row.needs_models,
            )


#: Every type that can be added, self-hosted servers first.
KINDS: Final = {kind.name: kind for kind in sorted(_kinds(), key=lambda kind: kind.cloud)}


def find_kinds(query: str) -> list[BackendKind]:
    """The types whose name, title, address or variable contains every word of `query`."""
    words = query.lower().split()[:10]
    return [
        kind
        for kind in KINDS.values()
        if all(word in f"{kind.name} {kind.title} {kind.url} {kind.secret}".lower() for word in words)
    ]


#: Characters of a model's name.
_LONGEST_MODEL: Final = 500


class ModelInfo(Struct, frozen=True):
    """A model that a backend serves. Null: unknown."""

    backend: str
    name: str
    window: int | None = None
    """Context window in tokens."""
    window_source: str | None = None
    """`config`, `backend`, or `learned` from a refusal."""
    tools: bool | None = None
    vision: bool | None = None


class BackendInfo(Struct, frozen=True):
    """A backend and its state."""

    name: str
    type: str
    title: str
    url: str
    """Its address; empty for a model that Byway runs."""
    path: str
    """The model file; empty for a server and for the built-in model."""
    state: str
    """`ready`, `asleep`, `loading`, `unknown`, `failed` or `off`."""
    message: str
    """Why it is in this state; empty when it is ready."""
    hint: str
    """What to do about it."""
    latency_ms: float | None
    """How long its last list of models took."""
    memory: int | None
    """Bytes that its process uses; null for a server."""
    managed: bool
    """Byway runs this model."""
    implied: bool
    """It is the built-in model and answers because the config names no backend."""
    models: tuple[ModelInfo, ...]
    keys: tuple[str, ...] = ()
    """API keys of a list that are not used now, by their places: `key 2 of 3: rate limited until 12:04`."""
    better_type: str = ""
    """The type that its address is known for; empty when it has that type, or the address is not known."""
    self_hosted: bool = False
    """It is on this machine or a private network, or the config says so."""


class ModelSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """A model with its context window."""

    id: str
    window: int | None = None


class NewBackend(Struct, frozen=True, forbid_unknown_fields=True):
    """A backend to add."""

    type: str
    """A vendor."""
    name: str = ""
    """Default: the type, with a number when that is taken."""
    url: str = ""
    """Default: the usual address of the type."""
    api_key: str = ""
    """`${NAME}`. Default for a cloud: the variable of its stored secret."""
    models: tuple[str | ModelSpec, ...] = ()
    """Default: the models that the server lists."""
    keep_builtin: bool = False
    """Keep the built-in model, which otherwise stops to answer when the first backend is added."""


class BackendUpdate(Struct, frozen=True, forbid_unknown_fields=True):
    """Changes of a backend. A field that is absent stays as it is; an empty one is removed from the config."""

    type: str | UnsetType = UNSET
    """A vendor."""
    protocol: str | UnsetType = UNSET
    """`auto`, `chat`, `responses` or `anthropic`."""
    url: str | UnsetType = UNSET
    api_key: str | UnsetType = UNSET
    models: tuple[str | ModelSpec, ...] | UnsetType = UNSET


class BackendRemoval(NamedTuple):
    """What removing a backend changes."""

    edits: list[Edit]
    aliases: tuple[str, ...]
    """Aliases that used it."""
    is_last: bool
    """No backend is left, so the built-in model answers."""


class BackendTest(Struct, frozen=True):
    """The result of trying a backend."""

    good: bool
    message: str
    hint: str = ""
    latency_ms: float | None = None
    models: tuple[ModelInfo, ...] = ()
    """Models that the server lists."""
    missing: tuple[str, ...] = ()
    """Models that the settings name and the server does not list."""


# ------------------------------------------------------------------------------------------------------------- the state


async def list_backends(runtime: Runtime) -> list[BackendInfo]:
    """Every backend with its state and models."""
    return [await describe_backend(runtime, name) for name in runtime.backends]


async def describe_backend(runtime: Runtime, name: str) -> BackendInfo:
    """One backend with its state and models. Raises Problem."""
    backend = find_backend(runtime, name)
    managed = backend.vendor.managed
    better = better_type(backend.vendor.name, backend.settings.url or "")
    memory = await asyncio.to_thread(platform.resident_memory, backend.pid) if backend.pid is not None else None
    return BackendInfo(
        backend.name,
        backend.vendor.name,
        backend.vendor.title,
        "" if managed else backend.settings.url or backend.vendor.url or "",
        backend.settings.path or "",
        backend.state,
        runtime.scrubber.scrub(backend.message),
        hint(backend),
        None if backend.latency is None else round(backend.latency * 1000, 1),
        memory,
        managed,
        managed and is_builtin_implied(runtime.config),
        models(backend),
        backend.key_states(time.time()),
        better.name if better is not None else "",
        backend.self_hosted,
    )


def find_backend(runtime: Runtime, name: str) -> Backend:
    """The backend called `name`. Raises Problem."""
    backend = runtime.backends.get(name)
    if backend is None:
        raise Problem("not_found", f"There is no backend {name}. Backends: {', '.join(runtime.backends) or 'none'}.")
    return backend


def hint(backend: Backend) -> str:
    """What to do about a backend's state; empty when its message explains it."""
    if backend.state == "off" and backend.settings.missing:
        return "Store its API key under Secrets, or set the variable before Byway starts."
    return HINTS.get(backend.problem_kind, "") if backend.problem_kind else ""


def models(backend: Backend) -> tuple[ModelInfo, ...]:
    """The models that a backend serves, with what is known of them."""
    return tuple(_model(backend, name) for name in backend.models or ())


def _model(backend: Backend, name: str) -> ModelInfo:
    facts = backend.registry.get(name)
    source = facts.source if facts.window is not None else None
    return ModelInfo(backend.name, name, facts.window, source, facts.tools, facts.vision)


async def check_backend(runtime: Runtime, name: str) -> BackendInfo:
    """Check now whether a backend answers. One that is asleep is left asleep. Raises Problem."""
    if find_backend(runtime, name).state != "asleep":
        await runtime.probe(name)
    return await describe_backend(runtime, name)


async def check_backends(runtime: Runtime) -> list[BackendInfo]:
    """Check now whether all backends answer, at once."""
    await runtime.refresh()
    for name in [backend.name for backend in runtime.backends.values() if backend.pid is not None]:
        with contextlib.suppress(Problem):
            await runtime.probe(name)
    return await list_backends(runtime)


async def load_model(runtime: Runtime, name: str, model: str) -> BackendInfo:
    """Load a model in the server of a backend, wait until it is loaded, and return the backend. Raises Problem."""
    backend = find_backend(runtime, name)
    path = backend.vendor.load_path
    if not path:
        raise Problem(
            "invalid_request",
            f"Byway cannot load a model in {backend.vendor.title}: load it in that program. A model that Byway runs itself is "
            "loaded under Models -> Local.",
        )
    if not model or len(model) > _LONGEST_MODEL:
        raise invalid("model", "give the name of a model that the backend lists")
    body = msgspec.json.encode({"model": model})
    await backend.fetch(Call("POST", path, (("content-type", "application/json"),), body))
    return await check_backend(runtime, name)


# ------------------------------------------------------------------------------------------------------------ changes


def add_backend(current: CurrentConfig, new: NewBackend) -> tuple[str, list[Edit]]:
    """The name of a new backend, and the edits that add it. Raises Problem."""
    value = backend_value(current.config, new)
    changes: list[Edit] = [Append(("backends",), value)]
    if new.keep_builtin and current.is_builtin_implied:
        changes.append(Append(("backends",), {"name": BUILTIN.name, "type": BUILTIN.type}))
    return value["name"], changes


def backend_value(config: Config, new: NewBackend) -> dict[str, Any]:
    """A new backend as the config contains it. Raises Problem."""
    kind = KINDS.get(new.type)
    if kind is None:
        raise invalid("type", f"{new.type!r} is no type of backend. Types: {', '.join(KINDS)}")
    if kind.needs_url and not new.url:
        raise invalid("url", "this type has no usual address; give one such as http://127.0.0.1:8080")
    value: dict[str, Any] = {"name": new.name or free_name(config, kind.name), "type": kind.type}
    if new.name and new.name in taken_names(config):
        raise invalid("name", f"there is a backend {new.name!r} already; choose another name")
    url = new.url or kind.url
    if url and url != VENDORS[kind.type].url:
        value["url"] = url
    api_key = new.api_key or (f"${{{kind.secret}}}" if kind.secret else "")
    if api_key:
        value["api_key"] = _variable(api_key)
    if new.models:
        value["models"] = _written(new.models)
    return value


def update_backend(current: CurrentConfig, name: str, update: BackendUpdate) -> list[Edit]:
    """The edits that change a backend. Raises Problem."""
    index = written_index(current, name)
    if current.config.backends[index].managed:
        raise Problem("invalid_request", f"Byway runs {name} itself. Change it with PUT /byway/local-models.")
    values: dict[str, Any] = {}
    if update.type is not UNSET:
        if update.type not in KINDS:
            raise invalid("type", f"{update.type!r} is no type of backend. Types: {', '.join(KINDS)}")
        values["type"] = update.type
    if update.protocol is not UNSET:
        values["protocol"] = update.protocol
    if update.url is not UNSET:
        values["url"] = update.url
    if update.api_key is not UNSET:
        values["api_key"] = _variable(update.api_key) if update.api_key else ""
    if update.models is not UNSET:
        values["models"] = _written(update.models, current.config.backends[index].likes)
    return [
        Set(("backends", index, key), value) if value else Remove(("backends", index, key))
        for key, value in values.items()
    ]


def correct_type(current: CurrentConfig, name: str) -> list[Edit]:
    """The edits that give a backend the type that its address is known for. Raises Problem."""
    settings = current.config.backends[written_index(current, name)]
    known = better_type(settings.type, settings.url or "")
    if known is None:
        raise Problem("invalid_request", f"The type {settings.type} of backend {name} fits its address already.")
    protocol: str | UnsetType = "anthropic" if needs_protocol(settings.type, known) else UNSET
    return update_backend(current, name, BackendUpdate(type=known.name, protocol=protocol))


def remove_backend(current: CurrentConfig, name: str) -> BackendRemoval:
    """What changes when a backend is removed, with the alias targets that use it. Raises Problem."""
    changes = edits.unload_edits(current.config, written_index(current, name))
    aliases = tuple(str(change.path[1]) for change in changes[1:])
    return BackendRemoval(changes, aliases, len(current.config.backends) == 1)


def written_index(current: CurrentConfig, name: str) -> int:
    """The index of a backend in the file. Raises Problem when the file does not name it."""
    index = current.backend_index(name)
    if index is None:
        if current.is_builtin_implied and name == BUILTIN.name:
            raise Problem(
                "invalid_request",
                f"{name} answers because the config names no backend, so it cannot be removed. Add another backend instead, or "
                "start Byway with --no-model.",
            )
        names = ", ".join(backend.name for backend in current.config.backends if not current.is_builtin_implied)
        raise Problem("not_found", f"The config has no backend {name}. Backends: {names or 'none'}.")
    return index


def taken_names(config: Config) -> set[str]:
    """Names of backends that the config uses."""
    return {backend.name for backend in config.backends if not is_builtin_implied(config)}


def free_name(config: Config, name: str) -> str:
    """`name`, or `name-2`, `name-3` ... when a backend has it already."""
    taken = taken_names(config)
    number = 2
    free = name
    while free in taken:
        free, number = f"{name}-{number}", number + 1
    return free


def _written(listed: Sequence[str | ModelSpec], likes: Mapping[str, str] | None = None) -> list[Any]:
    """The models as the config contains them. `likes` are the models that names of the backend stand for: they stay."""
    written: list[Any] = []
    for model in listed:
        spec = ModelSpec(model) if isinstance(model, str) else model
        extras = {"window": spec.window, "like": (likes or {}).get(spec.id)}
        given = {key: value for key, value in extras.items() if value}
        written.append({"id": spec.id, **given} if given else spec.id)
    return written


def _variable(text: str) -> str:
    if not (text.startswith("${") and text.endswith("}") and len(variables_in(text)) == 1):
        # The value may be a key, so it is not repeated.
        raise invalid(
            "api_key", "give the name of a secret, such as ${OPENAI_API_KEY}, and store its value as a secret"
        )
    return text


# ------------------------------------------------------------------------------------------------------------- trying


def new_settings(file: ConfigFile, value: Mapping[str, Any], secret: str = "") -> BackendSettings:
    """The settings of a backend as if the config had it. `secret` stands in for its stored API key. Raises ConfigError."""
    text = edit(file.read().text, [Append(("backends",), dict(value))])
    settings = file.check(text).backends[-1]
    return msgspec.structs.replace(settings, api_key=secret, off="", missing=()) if secret else settings


async def try_backend(
    settings: BackendSettings, timeouts: TimeoutSettings, scrubber: Scrubber | None = None
) -> BackendTest:
    """Request the list of models of a backend that is not saved yet."""
    if settings.off:
        message = f"{settings.off[:1].upper()}{settings.off[1:]}."
        return BackendTest(
            False, message, "Type the key, store it under Secrets, or set the variable before Byway starts."
        )
    # Only its own list of models shows whether the key is accepted.
    backend = Backend(msgspec.structs.replace(settings, models=(), windows={}), timeouts, 1)
    try:
        await backend.refresh(time.monotonic())
    finally:
        if backend.upstream is not None:
            await backend.upstream.close()
    if backend.state != "ready":
        message = Scrubber((settings.api_key or "",)).scrub(backend.message)
        return BackendTest(False, scrubber.scrub(message) if scrubber else message, hint(backend))
    served = backend.models or ()
    missing = tuple(model for model in settings.models if model not in served)
    latency = round((backend.latency or 0) * 1000, 1)
    return BackendTest(True, "", "", latency, models(backend), missing)
