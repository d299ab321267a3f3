"""What `byway up` says once it serves: from facts to lines of text. Pure: it asks and prints nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, NamedTuple

from byway import platform
from byway.admin.exports import LARGE, curl, launch, variables
from byway.backends.vendors import VENDORS
from byway.local.discovery import DiscoveredServer

_BUILTIN: Final = (
    "The built-in model is for checking the wiring and for short answers: 135 million parameters, a window of 8k "
    "tokens. It does no agent work, and a full Claude Code session does not fit into it. For work, add a backend: a "
    "model server on this machine or network, or a cloud API."
)


class Answerer(NamedTuple):
    """A backend as it is shown."""

    name: str
    title: str
    state: str
    message: str
    models: tuple[str, ...]


class Facts(NamedTuple):
    """All that there is to say."""

    url: str | None
    """Base URL of this Byway; None when it has no TCP address."""
    socket: str | None = None
    """Path of a unix socket."""
    config: str = ""
    config_file: str = "byway.yaml"
    """Where settings belong."""
    answerers: tuple[Answerer, ...] = ()
    ask: str = "default"
    """A model name that leads somewhere."""
    main: str = ""
    """The model that answers Claude Code's main turns, by a name that the client does not know."""
    claude: bool = True
    """Claude Code's own model names lead somewhere."""
    window: int | None = None
    """Of the model that answers Claude Code's main turns."""
    official: bool = False
    """That model is Anthropic's own."""
    builtin: bool = False
    """That model is the built-in one."""
    keys: tuple[str, ...] | None = None
    """What the keys are called of which one is asked for; None when none is."""
    found: tuple[DiscoveredServer, ...] = ()
    notes: tuple[str, ...] = ()
    page: str = ""
    """The link that opens the settings page once."""

    @property
    def closed(self) -> bool:
        """A key is asked for."""
        return self.keys is not None


class Line(NamedTuple):
    """A line of the welcome. `kind`: plain, head, good, bad, code (to be pasted), dim."""

    text: str
    kind: str = "plain"


def welcome(facts: Facts) -> list[Line]:
    """The whole welcome, from what answers to how to stop."""
    lines = [Line("")]
    lines += _state(facts)
    if facts.page:
        lines += [Line(""), Line("Settings page (the link works once)", "head"), Line(facts.page, "code")]
    if facts.url or facts.socket:
        lines += [Line(""), Line("Try it", "head"), *(Line(text, "code") for text in curl(facts, facts.socket))]
    if facts.url:
        lines += [Line(""), Line("Claude Code", "head"), *_claude(facts)]
    if facts.builtin:
        lines += [Line(""), *(Line(text) for text in wrap(_BUILTIN))]
    lines += _offers(facts)
    for note in facts.notes:
        lines += [Line(""), *(Line(text, "bad" if at == 0 else "plain") for at, text in enumerate(wrap(note)))]
    return lines


def _state(facts: Facts) -> list[Line]:
    at = f"{facts.url}/anthropic" if facts.url else f"unix:{facts.socket}"
    lines = [Line(f"Endpoint    {at}  (Anthropic Messages API)"), Line(f"Config      {facts.config}")]
    for order, one in enumerate(facts.answerers):
        head = "Answers" if order == 0 else ""
        kind = {"ready": "good", "failed": "bad", "off": "bad"}.get(one.state, "plain")
        state = one.state if one.state != "unknown" else "no answer yet"
        models = f": {_few(one.models)}" if one.models else ""
        lines.append(Line(f"{head:<12}{one.name}{models} ({one.title}, {state})", kind))
        lines += [Line(f"{'':<12}{text}") for text in wrap(one.message, 100)]
    return lines


def _claude(facts: Facts) -> list[Line]:
    lines = [Line(platform.export_command(name, value), "code") for name, value in variables(facts)]
    lines.append(Line(launch(facts), "code"))
    if facts.keys is not None:
        which = (
            f"one of Byway's keys ({_few(facts.keys)})" if facts.keys else "a key: `byway key create NAME` makes one"
        )
        lines.append(Line(f"YOUR-KEY stands for {which}.", "dim"))
    if facts.window is None and not facts.official:
        lines.append(Line(f"If its window is below {LARGE:,} tokens, say so too:", "dim"))
        if facts.claude:
            lines.append(Line(platform.export_command("ANTHROPIC_MODEL", facts.main), "dim"))
        lines.append(Line(platform.export_command("CLAUDE_CODE_MAX_CONTEXT_TOKENS", "WINDOW"), "dim"))
    if not facts.official:
        # It asks that host before each page, whatever its base URL is (measured).
        lines.append(Line('Off-line, WebFetch needs "skipWebFetchPreflight": true in Claude Code\'s settings.', "dim"))
    return lines


def _offers(facts: Facts) -> list[Line]:
    lines: list[Line] = []
    for one in facts.found:
        name = f"{VENDORS[one.vendor].title}{f' {one.version}' if one.version else ''}"
        lines += [Line(""), Line(f"Found {name} at {one.url}", "head")]
        if one.models:
            lines.append(Line(f"It has {_few(one.models)}. To use it, put this into {facts.config_file}:"))
            lines += [Line(text, "code") for text in offer(one)]
        else:
            lines.append(Line("It serves no model yet. Load one there, then start Byway again."))
    return lines


def offer(found: DiscoveredServer) -> list[str]:
    """The lines of `byway.yaml` that use a server which was found."""
    usual = found.url == VENDORS[found.vendor].url
    return [
        "backends:",
        f"  - type: {found.vendor}" if usual else f"  - {{type: {found.vendor}, url: '{found.url}'}}",
        "model_aliases:",
        f"  default: {_yaml(found.models[0])}",
    ]


def _yaml(text: str) -> str:
    """A name as YAML: quoted where it could be read as something else. JSON's strings are YAML's."""
    plain = (
        text and text[0].isalpha() and text.lower() not in ("true", "false", "yes", "no", "on", "off", "null", "y", "n")
    )
    safe = all(one.isalnum() or one in "-_./:" for one in text) and not text.endswith(":")
    return text if plain and safe else json.dumps(text)


def _few(names: Sequence[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def wrap(text: str, width: int = 110) -> list[str]:
    """`text` in lines of at most `width` characters, where its words allow."""
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
