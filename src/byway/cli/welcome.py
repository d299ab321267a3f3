"""The text that `byway up` prints once it serves: from facts to lines. Pure: it queries and prints nothing."""

from __future__ import annotations

import json
from typing import Final, NamedTuple

from byway import platform
from byway.admin.exports import ASSUMED_WINDOW, ClientSetup, curl, launch, variables
from byway.backends.vendors import VENDORS
from byway.display import listing
from byway.local.discovery import DiscoveredServer

_BUILTIN: Final = (
    "The built-in model is for testing the connection and for short answers: 135 million parameters, a context of 8k tokens. "
    "It cannot work as an agent, and a full Claude Code session does not fit into it. For real work add a backend: a model "
    "server on this machine or network, or a cloud API."
)
#: Names that are listed before the rest is counted.
_LISTED: Final = 4


class BackendLine(NamedTuple):
    """A backend in the start text."""

    name: str
    title: str
    state: str
    message: str
    models: tuple[str, ...]


class StartReport(NamedTuple):
    """Everything that the start text is made of."""

    setup: ClientSetup
    socket: str | None = None
    """Path of a unix socket."""
    config: str = ""
    """The config file, or that there is none."""
    config_file: str = "byway.yaml"
    """Where the config file is, or would be."""
    backends: tuple[BackendLine, ...] = ()
    keys: tuple[str, ...] | None = None
    """The names of the keys that are accepted; None when no key is required."""
    servers: tuple[DiscoveredServer, ...] = ()
    """Model servers on this machine that the config does not use."""
    notes: tuple[str, ...] = ()
    page: str = ""
    """The link that opens the settings page once."""


class WelcomeLine(NamedTuple):
    """A line of the start text. `kind`: plain, head, good, bad, code (to be pasted), dim."""

    text: str
    kind: str = "plain"


def welcome(report: StartReport) -> list[WelcomeLine]:
    """The whole start text."""
    setup = report.setup
    lines = [WelcomeLine(""), *_state(report)]
    if report.page:
        lines += [
            WelcomeLine(""),
            WelcomeLine("Settings page (the link works once)", "head"),
            WelcomeLine(report.page, "code"),
        ]
    if setup.url or report.socket:
        lines += [WelcomeLine(""), WelcomeLine("Test request", "head")]
        lines += [WelcomeLine(text, "code") for text in curl(setup, report.socket)]
    if setup.url:
        lines += [WelcomeLine(""), WelcomeLine("Claude Code", "head"), *_claude_code(report)]
    if setup.is_builtin:
        lines += [WelcomeLine(""), *(WelcomeLine(text) for text in wrap(_BUILTIN))]
    lines += _servers(report)
    for note in report.notes:
        lines += [
            WelcomeLine(""),
            *(WelcomeLine(text, "plain" if number else "bad") for number, text in enumerate(wrap(note))),
        ]
    return lines


def _state(report: StartReport) -> list[WelcomeLine]:
    base = f"{report.setup.url}/anthropic" if report.setup.url else f"unix:{report.socket}"
    lines = [WelcomeLine(f"{'Base URL':<12}{base}"), WelcomeLine(f"{'Config':<12}{report.config}")]
    for number, backend in enumerate(report.backends):
        head = "" if number else "Backends"
        kind = {"ready": "good", "failed": "bad", "off": "bad"}.get(backend.state, "plain")
        state = backend.state if backend.state != "unknown" else "no answer yet"
        models = f": {listing(backend.models, _LISTED)}" if backend.models else ""
        lines.append(WelcomeLine(f"{head:<12}{backend.name}{models} ({backend.title}, {state})", kind))
        lines += [WelcomeLine(f"{'':<12}{text}") for text in wrap(backend.message, 100)]
    return lines


def _claude_code(report: StartReport) -> list[WelcomeLine]:
    setup = report.setup
    lines = [WelcomeLine(platform.export_command(name, value), "code") for name, value in variables(setup)]
    lines.append(WelcomeLine(launch(setup), "code"))
    if report.keys is not None:
        names = f" ({listing(report.keys, _LISTED)})" if report.keys else ""
        lines.append(WelcomeLine(f"Replace YOUR-KEY by a key{names}. To create one: byway key create NAME", "dim"))
    if setup.window is None and not setup.is_official:
        lines.append(WelcomeLine(f"If the model's context is below {ASSUMED_WINDOW:,} tokens, also set:", "dim"))
        if setup.has_claude_names:
            lines.append(WelcomeLine(platform.export_command("ANTHROPIC_MODEL", setup.main_model), "dim"))
        lines.append(WelcomeLine(platform.export_command("CLAUDE_CODE_MAX_CONTEXT_TOKENS", "WINDOW"), "dim"))
    if not setup.is_official:
        # It queries that host before each page, whatever its base URL is (measured).
        text = 'Offline, WebFetch requires "skipWebFetchPreflight": true in Claude Code\'s settings.'
        lines.append(WelcomeLine(text, "dim"))
    return lines


def _servers(report: StartReport) -> list[WelcomeLine]:
    lines: list[WelcomeLine] = []
    for server in report.servers:
        version = f" {server.version}" if server.version else ""
        head = f"{VENDORS[server.vendor].title}{version} is running at {server.url}"
        lines += [WelcomeLine(""), WelcomeLine(head, "head")]
        if server.models:
            text = f"It serves {listing(server.models, _LISTED)}. To use it, add to {report.config_file}:"
            lines.append(WelcomeLine(text))
            lines += [WelcomeLine(text, "code") for text in offer(server)]
        else:
            lines.append(WelcomeLine("It serves no model yet. Load one there, then restart Byway."))
    return lines


def offer(server: DiscoveredServer) -> list[str]:
    """The lines of `byway.yaml` that use a server."""
    has_usual_url = server.url == VENDORS[server.vendor].url
    return [
        "backends:",
        f"  - type: {server.vendor}" if has_usual_url else f"  - {{type: {server.vendor}, url: '{server.url}'}}",
        "model_aliases:",
        f"  default: {_yaml(server.models[0])}",
    ]


def _yaml(text: str) -> str:
    """A name as YAML, quoted where it could be read as another type. JSON strings are valid YAML."""
    plain = (
        text and text[0].isalpha() and text.lower() not in ("true", "false", "yes", "no", "on", "off", "null", "y", "n")
    )
    safe = all(char.isalnum() or char in "-_./:" for char in text) and not text.endswith(":")
    return text if plain and safe else json.dumps(text)


def wrap(text: str, width: int = 110) -> list[str]:
    """`text` in lines of at most `width` characters, unless a word is longer."""
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
