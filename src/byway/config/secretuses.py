"""Walks through the values of a config as its text writes them: which are secrets, and which servers receive those. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Final, NamedTuple, Union, get_args, get_origin
from urllib.parse import urlsplit

import msgspec

from byway.backends.vendors import VENDORS
from byway.config.editing import Path
from byway.config.notes import SECRET_NAME, Note, fields_of, notes
from byway.config.settings import BackendSettings, Config, OidcSettings, SearchProviderSettings, WebSearchSettings
from byway.config.telemetrysettings import TelemetrySettings
from byway.config.tracingsettings import TracingSettings

#: Settings of servers that receive secrets.
_SENDING: Final = (
    BackendSettings,
    OidcSettings,
    SearchProviderSettings,
    TelemetrySettings,
    TracingSettings,
    WebSearchSettings,
)
#: A whole text that stands for a secret kept elsewhere.
_REFERENCE: Final = re.compile(r"\s*\$\{[^{}:]+\}\s*")
_NO_NOTE: Final = Note("")


class Receiver(NamedTuple):
    """The server that gets a secret, and what decides whether it is that server: a proxy and the check of certificates."""

    scheme: str
    host: str
    proxy: str = ""
    trust: str = ""


class SecretUse(NamedTuple):
    """A secret at one place of a config."""

    path: Path
    text: str
    """As the file writes it, with `${NAME}` unexpanded."""
    receiver: Receiver | None
    """None for a secret that is sent nowhere, such as a client's key."""
    literal: bool
    """The secret itself is in the text, and not only the `${NAME}` of one."""


class Value(NamedTuple):
    """A single value of a config, with the Note of its setting; None for a key that the settings do not have."""

    path: Path
    text: str
    note: Note | None
    receiver: Receiver | None


def secret_uses(tree: Any) -> Iterator[SecretUse]:
    """Yield every secret of a config, given what its text means (`editing.meaning`)."""
    for path, text, note, receiver in values(tree):
        if note is None:
            name = next((key for key in reversed(path) if isinstance(key, str)), "")
            if SECRET_NAME.search(name):
                yield SecretUse(path, text, None, _is_literal(_NO_NOTE, text))
        elif _is_secret(note, path, text):
            yield SecretUse(path, text, receiver, _is_literal(note, text))


def values(tree: Any) -> Iterator[Value]:
    """Yield every single value of a config that has a text, given what the config means."""
    yield from _in_struct(tree, Config, (), None)


def _in_struct(tree: Any, struct: type[msgspec.Struct], path: Path, receiver: Receiver | None) -> Iterator[Value]:
    if not isinstance(tree, Mapping):
        return
    if struct in _SENDING:
        receiver = _receiver(tree, struct)
    fields = fields_of(struct)
    for name, value in tree.items():
        field = fields.get(name)
        note = notes(struct)[field.name] if field is not None else None
        if field is None or note is None or note.internal:
            yield from _in_value(value, None, None, (*path, name), receiver)
        else:
            yield from _in_value(value, field.type, note, (*path, name), receiver)


def _in_value(value: Any, kind: Any, note: Note | None, path: Path, receiver: Receiver | None) -> Iterator[Value]:
    kind = _plain_type(kind)
    if isinstance(value, list):
        inner = get_args(kind)[0] if get_origin(kind) is tuple else kind
        for index, member in enumerate(value):
            yield from _in_value(member, inner, note, (*path, index), receiver)
    elif isinstance(value, Mapping):
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            yield from _in_struct(value, kind, path, receiver)
        elif get_origin(kind) is tuple:
            # One value stands for a list of one.
            yield from _in_value(value, get_args(kind)[0], note, path, receiver)
        else:
            inner = get_args(kind)[1] if get_origin(kind) is dict else kind
            for name, member in value.items():
                yield from _in_value(member, inner, note, (*path, name), receiver)
    elif text := _text(value):
        yield Value(path, text, note, receiver)


def _is_secret(note: Note, path: Path, text: str) -> bool:
    if note.format == "secret":
        return True
    if note.format in ("proxy", "url"):
        return "@" in text
    if note.format == "header":
        # A header whose name is harmless may still carry a secret from the environment.
        return bool(SECRET_NAME.search(str(path[-1]))) or "${" in text
    return False


def _is_literal(note: Note, text: str) -> bool:
    if note.format == "secret":
        return _REFERENCE.fullmatch(text) is None
    if note.format in ("proxy", "url"):
        return "${" not in text.rpartition("@")[0]
    return "${" not in text


#: The setting with the URL of a server, where it is not `base_url`.
_URL_FIELDS: Final[Mapping[type[msgspec.Struct], str]] = {
    BackendSettings: "url",
    OidcSettings: "issuer",
    TelemetrySettings: "forward",
    TracingSettings: "endpoint",
}


def _receiver(tree: Mapping[str, Any], struct: type[msgspec.Struct]) -> Receiver:
    """The server of a backend, a search, an identity provider or a collector, from its settings as the text has them."""
    url = _text(tree.get(_URL_FIELDS.get(struct, "base_url"))).strip()
    kind = _text(tree.get("type" if struct is BackendSettings else "provider")).lower()
    if not url and struct is BackendSettings and (vendor := VENDORS.get(kind)) is not None:
        url = vendor.url or ""
    if not url:
        # The server that the type or the provider stands for.
        return Receiver("", kind)
    try:
        parts = urlsplit(url)
        scheme, host = parts.scheme.lower(), (parts.netloc.rpartition("@")[2] or parts.path).lower()
    except ValueError:
        scheme, host = "", url
    proxy = _text(tree.get("proxy")).rpartition("@")[2]
    trust, tls = "", tree.get("tls")
    if isinstance(tls, Mapping):
        trust = f"{_text(tls.get('verify')).lower() or 'true'} {_text(tls.get('ca'))}"
    return Receiver(scheme, _with_port(scheme, host), proxy, "" if trust == "true " else trust)


def _with_port(scheme: str, host: str) -> str:
    default = {"http": ":80", "https": ":443"}.get(scheme, "")
    return host.removesuffix(default) if default else host


def _text(value: Any) -> str:
    """The text of a single value of a meaning, where `true` and `5` are tuples of one word."""
    if isinstance(value, tuple):
        value = value[0]
    return value if isinstance(value, str) else ""


def _plain_type(kind: Any) -> Any:
    """A type without its note and without None; of several types the one with fields, else the first."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, UnionType):
        kinds = [kind for kind in get_args(kind) if kind is not type(None)]
        structs = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, msgspec.Struct)]
        return (structs or kinds)[0]
    return kind
