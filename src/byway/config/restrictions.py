"""What a change of the config may do when it comes through the page or the API, whose author need not own this machine. Pure.

It must not read secrets of the machine: a variable that only the environment should know, a file outside Byway's folders, or
a secret that the file holds for another server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from byway.backends.vendors import VENDORS
from byway.config.editing import Path
from byway.config.secretuses import Receiver, Value, secret_uses, values
from byway.config.settings import ConfigProblem
from byway.config.signinchecks import unsafe_pushes
from byway.providers.registry import PROVIDERS
from byway.secrets.names import variables_in

#: Variables that mean a secret for a model or a search provider wherever they are used.
_PREFIXES: Final = ("BYWAY_", "BACKEND_AI_")
_WELL_KNOWN: Final = frozenset(
    (
        *(f"{name.upper()}_API_KEY" for name, vendor in VENDORS.items() if not vendor.managed),
        *("GEMINI_API_KEY", "GOOGLE_API_KEY", "XAI_API_KEY", "GROQ_API_KEY", "MISTRAL_API_KEY", "OPENROUTER_API_KEY"),
        *("TOGETHER_API_KEY", "FIREWORKS_API_KEY", "ANTHROPIC_AUTH_TOKEN", "HF_TOKEN"),
        *(f"{name.upper()}_API_KEY" for name, provider in PROVIDERS.items() if provider.INFO.keyed),
    )
)


def is_allowed_variable(name: str) -> bool:
    """May a change through the page or the API name this environment variable?"""
    return name.startswith(_PREFIXES) or name in _WELL_KNOWN


def restricted_problems(before: Any, after: Any, inside: Callable[[str], bool]) -> list[ConfigProblem]:
    """Return what a change from one meaning of a config to another must not do.

    `inside` tells whether a path of a file is below Byway's folders for config and data.
    """
    old = {value.path: value for value in values(before)}
    used = {name for value in old.values() for name in variables_in(value.text)}
    used_in_urls = {name for value in old.values() if _is_url(value) for name in variables_in(value.text)}
    files = {value.text for value in old.values() if _is_file(value)}
    problems: list[ConfigProblem] = []
    for value in values(after):
        path, text = value.path, value.text
        if path in old and old[path].text == text:
            continue
        where = ".".join(map(str, path))
        for name in sorted(variables_in(text)):
            in_url = _is_url(value)
            if name not in used_in_urls if in_url else not (name in used or is_allowed_variable(name)):
                problems.append(ConfigProblem(where, None, _NOT_IN_URLS if in_url else _NOT_ALLOWED.format(name)))
        if _is_file(value) and text not in files and not inside(text):
            problems.append(ConfigProblem(where, None, _OUTSIDE))
    known = {receiver for _, receiver in _credential_receivers(before)}
    problems += [
        ConfigProblem(f"backends.{at}.credential", None, _FORWARDING)
        for at, receiver in _credential_receivers(after)
        if receiver not in known
    ]
    pushed = {entry for _, entry in unsafe_pushes(before)}
    problems += [
        ConfigProblem(f"sign_in.settings.{at}", None, _PUSHED)
        for at, entry in unsafe_pushes(after)
        if entry not in pushed
    ]
    return problems


#: What decides where the credentials of callers go.
_RECEIVING: Final = ("type", "protocol", "url", "credential", "credential_host", "proxy", "tls", "headers")
_FORWARDING: Final = (
    "`credential: client`, and where such a backend is, cannot be changed through the page or the API. Put it into the file, or "
    "use `byway config set` on this machine"
)


def _credential_receivers(tree: Any) -> Iterator[tuple[int, str]]:
    """Yield the places of the backends that get the credentials of callers, and what decides which servers these are."""
    backends = tree.get("backends") if isinstance(tree, Mapping) else None
    for at, backend in enumerate(backends if isinstance(backends, list) else ()):
        if isinstance(backend, Mapping) and "credential" in backend and backend["credential"] != "config":
            yield at, repr([backend.get(name) for name in _RECEIVING])


_PUSHED: Final = (
    "settings outside the safe list can run code on clients, and cannot be sent through the page or the API. Put them into the "
    "file, or use `byway config set` on this machine"
)
_NOT_ALLOWED: Final = (
    "the variable {} cannot be named through the page or the API: only BYWAY_..., BACKEND_AI_..., well-known API keys of "
    "vendors, and variables that the file uses already. Put it into the file, or use `byway config set` on this machine"
)
_NOT_IN_URLS: Final = (
    "a URL can name a variable through the page or the API only when the file uses that variable in a URL already. Put it "
    "into the file, or use `byway config set` on this machine"
)
_OUTSIDE: Final = (
    "through the page or the API a file has to be below the folder of the config or of Byway's data. Put it into the file, "
    "or use `byway config set` on this machine"
)


def unbound_secrets(before: Any, after: Any) -> list[Path]:
    """Return the paths in `after` of secrets that would be sent to a server they were not entered for.

    A secret that `before` has, as a value or as `${NAME}`, belongs to the servers that received it there. One that is new
    in `after` was entered for the server it is with now.
    """
    receivers: dict[str, set[Receiver | None]] = {}
    for use in secret_uses(before):
        for part in _parts(use.text):
            receivers.setdefault(part, set()).add(use.receiver)
    return [
        use.path
        for use in secret_uses(after)
        if any(part in receivers and use.receiver not in receivers[part] for part in _parts(use.text))
    ]


def _parts(text: str) -> Iterator[str]:
    """What a secret's text is told by: the text itself, and each variable in it."""
    yield text
    yield from (f"${{{name}}}" for name in variables_in(text))


def _is_url(value: Value) -> bool:
    return value.note is not None and value.note.format in ("url", "proxy")


def _is_file(value: Value) -> bool:
    return value.note is not None and value.note.file
