"""What Claude Code is told so that it works by way of this Byway: its environment variables, in the words of each shell."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from byway.problems import Problem
from byway.routing.route import CLAUDE_PREFIX
from byway.runtime import Runtime

#: What Claude Code is told to take for the small calls: by its family it finds the alias `haiku`, else `default`.
SMALL: Final = "claude-haiku-5-5"
#: The model that Claude Code asks for by itself (measured, 2.1.329).
MAIN: Final = "claude-opus-5-5"
#: Claude Code takes any name for a model with a window of a million tokens; a smaller one has to be said (measured).
LARGE: Final = 1_000_000
_MOST_OUTPUT: Final = 32_000
#: What stands for the key that a person has.
YOUR_KEY: Final = "YOUR-KEY"
#: Any text will do where no key is asked for; an empty one would send Claude Code to its own login page (measured).
ANY_KEY: Final = "byway-local"
Pairs = Sequence[tuple[str, str]]


class Setup(Protocol):
    """What the variables depend on."""

    @property
    def url(self) -> str | None:
        """Base URL of this Byway; None when it has no TCP address."""

    @property
    def ask(self) -> str:
        """A model name that leads somewhere."""

    @property
    def main(self) -> str:
        """The model that answers Claude Code's main turns, by a name that the client does not know."""

    @property
    def claude(self) -> bool:
        """Claude Code's own model names lead somewhere."""

    @property
    def window(self) -> int | None:
        """Of the model that answers Claude Code's main turns, in tokens."""

    @property
    def official(self) -> bool:
        """That model is Anthropic's own."""

    @property
    def builtin(self) -> bool:
        """That model is the built-in one."""

    @property
    def closed(self) -> bool:
        """A key is asked for."""


class Answering(NamedTuple):
    """Who answers Claude Code now: a Setup."""

    url: str | None
    ask: str
    main: str
    claude: bool
    window: int | None
    official: bool
    builtin: bool
    closed: bool
    model: str
    """The model that answers, by its own name; empty when none does."""
    backend: str


async def answering(runtime: Runtime, url: str | None) -> Answering:
    """Who would answer Claude Code's main turns."""
    try:
        route = await runtime.route(MAIN, probe=True)
        place, claude = route.targets[0], True
        # An alias with several targets keeps its order of trying when it is asked for by its own name.
        main = place.model if len(route.targets) == 1 else f"{CLAUDE_PREFIX}{route.alias}"
    except Problem:
        place, claude, main = None, False, ""
    ask = "default" if claude and "default" in runtime.aliases else MAIN
    served = (
        [(live, model) for live in runtime.backends.values() for model in live.models or ()] if place is None else []
    )
    if place is None:
        ask = served[0][1] if served else "MODEL"
    live = runtime.backends[place.backend] if place else served[0][0] if served else None
    model = place.model if place else served[0][1] if served else ""
    known = live.registry.get(model) if live else None
    return Answering(
        url,
        ask,
        main,
        claude,
        known.window if known else None,
        bool(live and live.protocol.NATIVE),
        bool(live and live.vendor.managed and not getattr(live.settings, "path", None)),
        runtime.keyring.blocking,
        model,
        live.name if live else "",
    )


def variables(setup: Setup) -> list[tuple[str, str]]:
    """The environment variables for Claude Code, by name."""
    pairs = [
        ("ANTHROPIC_BASE_URL", f"{setup.url}/anthropic"),
        ("ANTHROPIC_API_KEY", YOUR_KEY if setup.closed else ANY_KEY),
    ]
    small = setup.window is not None and setup.window < LARGE
    if not setup.claude or (small and not setup.official):
        # A window is believed for names that the client does not know; for its own it keeps a million (measured, 2.1.329).
        pairs.append(("ANTHROPIC_MODEL", setup.main or setup.ask))
    if setup.official:
        return pairs
    # Without it the small calls (titles, summaries) go to the main model.
    pairs.append(("ANTHROPIC_DEFAULT_HAIKU_MODEL", SMALL if setup.claude else setup.ask))
    if small:
        pairs.append(("CLAUDE_CODE_MAX_CONTEXT_TOKENS", str(setup.window)))
        pairs.append(("CLAUDE_CODE_MAX_OUTPUT_TOKENS", str(min((setup.window or 0) // 4, _MOST_OUTPUT))))
    # A line at the top of each prompt that differs every time keeps a local model from reusing what it has read.
    pairs.append(("CLAUDE_CODE_ATTRIBUTION_HEADER", "0"))
    pairs.append(("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"))
    return pairs


def launch(setup: Setup) -> str:
    """The command that starts Claude Code. Its auto mode wants a classifier that only Anthropic has (measured)."""
    if setup.builtin:
        return 'claude --bare -p "Say hello"'
    return "claude" if setup.official else "claude --permission-mode acceptEdits"


def curl(setup: Setup, socket: str | None = None) -> list[str]:
    """A request that works when it is pasted, in a POSIX shell; by the unix socket `socket` where there is no address."""
    body = {"model": setup.ask, "max_tokens": 64, "messages": [{"role": "user", "content": "Say hello"}]}
    where = f"{setup.url}/anthropic/v1/messages"
    if not setup.url:
        where = f"--unix-socket {shlex.quote(socket or '')} http://localhost/anthropic/v1/messages"
    key = ' -H "x-api-key: $ANTHROPIC_API_KEY"' if setup.closed else ""
    return [f"curl {where} -H 'content-type: application/json'{key} \\", f"  -d {shlex.quote(json.dumps(body))}"]


# Names of models are others' words: in every form they stay one word of the shell.


def bash(pairs: Pairs) -> str:
    """For bash and zsh."""
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in pairs)


def fish(pairs: Pairs) -> str:
    """In single quotes only `\\` and `'` are escaped (https://fishshell.com/docs/current/language.html#quotes, 2026-11-21)."""
    quoted = ((name, value.replace("\\", "\\\\").replace("'", "\\'")) for name, value in pairs)
    return "\n".join(f"set -gx {name} '{value}'" for name, value in quoted)


def powershell(pairs: Pairs) -> str:
    """https://learn.microsoft.com/powershell/module/microsoft.powershell.core/about/about_quoting_rules (seen 2026-11-21)."""
    return "\n".join("$env:{} = '{}'".format(name, value.replace("'", "''")) for name, value in pairs)


def dotenv(pairs: Pairs) -> str:
    """A `.env` file: a value with anything odd in it stands in quotes, so that a shell that reads the file runs nothing."""
    return "\n".join(f"{name}={_quoted(value)}" for name, value in pairs)


def settings(pairs: Pairs) -> str:
    """Claude Code's `settings.json`, whose `env` is set in every session. The preflight asks Anthropic before each page."""
    return json.dumps({"env": dict(pairs), "skipWebFetchPreflight": True}, indent=2)


def _quoted(value: str) -> str:
    if _plain(value):
        return value
    if not any(mark in value for mark in "'\\\n\r"):
        # Nothing is replaced between these, neither by a shell nor by what reads such files.
        return f"'{value}'"
    return re.sub(r"([$`])", r"\\\1", json.dumps(value, ensure_ascii=False))


def _plain(value: str) -> bool:
    return bool(value) and all(one.isalnum() or one in "-_./:@+," for one in value)


#: How the page offers them: its name for the form, for people, and how it is made.
FORMS: Final = (
    ("bash", "bash, zsh", bash),
    ("fish", "fish", fish),
    ("powershell", "PowerShell", powershell),
    ("env", ".env", dotenv),
    ("settings", "settings.json", settings),
)
