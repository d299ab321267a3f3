"""Environment variables that point Claude Code at this Byway, in the syntax of each shell, and the command that starts it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from typing import Final, NamedTuple

from byway.problems import Problem
from byway.routing.route import CLAUDE_PREFIX
from byway.runtime import Runtime

#: The model that Claude Code uses for small calls. Its family is `haiku`, so the alias `haiku` applies, else `default`.
SMALL_MODEL: Final = "claude-haiku-5-5"
#: The model that Claude Code requests by default (measured, 2.1.329).
MAIN_MODEL: Final = "claude-opus-5-5"
#: Claude Code assumes a context window of a million tokens; a smaller one has to be set (measured).
ASSUMED_WINDOW: Final = 1_000_000
_MAX_OUTPUT: Final = 32_000
#: The placeholder of a key that only its owner knows.
YOUR_KEY: Final = "YOUR-KEY"
#: Any text works where no key is required; an empty one would send Claude Code to its own login page (measured).
ANY_KEY: Final = "byway-local"
Pairs = Sequence[tuple[str, str]]


class ClientSetup(NamedTuple):
    """What the variables for Claude Code depend on."""

    url: str | None
    """Base URL of this Byway; None when it has no TCP address."""
    test_model: str = "default"
    """A model name that a test request can use."""
    main_model: str = ""
    """The model of Claude Code's main turns, by a name that the client does not know."""
    has_claude_names: bool = True
    """Claude Code's own model names have a target."""
    window: int | None = None
    """Context window of the main model in tokens."""
    is_official: bool = False
    """The main model is Anthropic's own."""
    is_builtin: bool = False
    """The main model is the built-in one."""
    key_required: bool = False
    model: str = ""
    """The main model's own name; empty when no model answers."""
    backend: str = ""


async def client_setup(runtime: Runtime, url: str | None) -> ClientSetup:
    """The setup by what the runtime knows now. `url` is the base URL for clients."""
    try:
        route = await runtime.route(MAIN_MODEL, probe=True)
    except Problem:
        return _without_claude_names(runtime, url)
    target = route.targets[0]
    # An alias with several targets keeps their order only when it is requested by its own name.
    main = target.model if len(route.targets) == 1 else f"{CLAUDE_PREFIX}{route.alias}"
    test_model = "default" if "default" in runtime.aliases else MAIN_MODEL
    return _setup(runtime, url, target.backend, target.model, test_model, main, has_claude_names=True)


def _without_claude_names(runtime: Runtime, url: str | None) -> ClientSetup:
    """The setup when no alias applies to Claude Code's names: the first model that is served is used instead."""
    served = ((backend.name, model) for backend in runtime.backends.values() for model in backend.models or ())
    name, model = next(served, ("", ""))
    return _setup(runtime, url, name, model, model or "MODEL", "", has_claude_names=False)


def _setup(
    runtime: Runtime, url: str | None, name: str, model: str, test_model: str, main: str, *, has_claude_names: bool
) -> ClientSetup:
    backend = runtime.backends.get(name)
    return ClientSetup(
        url,
        test_model,
        main,
        has_claude_names,
        backend.registry.get(model).window if backend else None,
        bool(backend and backend.protocol.NATIVE),
        bool(backend and backend.vendor.managed and not backend.settings.path),
        runtime.keyring.blocking,
        model,
        name,
    )


def variables(setup: ClientSetup) -> list[tuple[str, str]]:
    """The environment variables for Claude Code, by name."""
    pairs = [
        ("ANTHROPIC_BASE_URL", f"{setup.url}/anthropic"),
        ("ANTHROPIC_API_KEY", YOUR_KEY if setup.key_required else ANY_KEY),
    ]
    is_small = setup.window is not None and setup.window < ASSUMED_WINDOW
    if not setup.has_claude_names or (is_small and not setup.is_official):
        # The client accepts a window for names that it does not know; for its own names it assumes a million (measured, 2.1.329).
        pairs.append(("ANTHROPIC_MODEL", setup.main_model or setup.test_model))
    if setup.is_official:
        return pairs
    # Without it the small calls (titles, summaries) use the main model.
    pairs.append(("ANTHROPIC_DEFAULT_HAIKU_MODEL", SMALL_MODEL if setup.has_claude_names else setup.test_model))
    if is_small:
        pairs.append(("CLAUDE_CODE_MAX_CONTEXT_TOKENS", str(setup.window)))
        pairs.append(("CLAUDE_CODE_MAX_OUTPUT_TOKENS", str(min((setup.window or 0) // 4, _MAX_OUTPUT))))
    # A line at the top of each prompt that differs every time prevents a local model from reusing its cache.
    pairs.append(("CLAUDE_CODE_ATTRIBUTION_HEADER", "0"))
    pairs.append(("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"))
    return pairs


def launch(setup: ClientSetup) -> str:
    """The command that starts Claude Code. Its auto mode needs a classifier that only Anthropic has (measured)."""
    if setup.is_builtin:
        return 'claude --bare -p "Say hello"'
    return "claude" if setup.is_official else "claude --permission-mode acceptEdits"


def curl(setup: ClientSetup, socket: str | None = None) -> list[str]:
    """A test request to paste into a POSIX shell; over the unix socket `socket` when there is no TCP address."""
    body = {"model": setup.test_model, "max_tokens": 64, "messages": [{"role": "user", "content": "Say hello"}]}
    target = f"{setup.url}/anthropic/v1/messages"
    if not setup.url:
        target = f"--unix-socket {shlex.quote(socket or '')} http://localhost/anthropic/v1/messages"
    key = ' -H "x-api-key: $ANTHROPIC_API_KEY"' if setup.key_required else ""
    return [f"curl {target} -H 'content-type: application/json'{key} \\", f"  -d {shlex.quote(json.dumps(body))}"]


# Model names are foreign text: in every form a value stays one word of the shell.


def bash(pairs: Pairs) -> str:
    """For bash and zsh."""
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in pairs)


def fish(pairs: Pairs) -> str:
    """For fish. In single quotes only `\\` and `'` are escaped (https://fishshell.com/docs/current/language.html#quotes, seen
    2026-11-21)."""
    quoted = ((name, value.replace("\\", "\\\\").replace("'", "\\'")) for name, value in pairs)
    return "\n".join(f"set -gx {name} '{value}'" for name, value in quoted)


def powershell(pairs: Pairs) -> str:
    """For PowerShell: https://learn.microsoft.com/powershell/module/microsoft.powershell.core/about/about_quoting_rules (seen
    2026-11-21)."""
    return "\n".join("$env:{} = '{}'".format(name, value.replace("'", "''")) for name, value in pairs)


def dotenv(pairs: Pairs) -> str:
    """For a `.env` file. A value with special characters is quoted, so that a shell that reads the file runs nothing."""
    return "\n".join(f"{name}={_quoted(value)}" for name, value in pairs)


def settings(pairs: Pairs) -> str:
    """For Claude Code's `settings.json`. Its preflight would query Anthropic before each page that it fetches."""
    return json.dumps({"env": dict(pairs), "skipWebFetchPreflight": True}, indent=2)


def _quoted(value: str) -> str:
    if value and all(char.isalnum() or char in "-_./:@+," for char in value):
        return value
    if not any(mark in value for mark in "'\\\n\r"):
        # Between single quotes neither a shell nor a reader of such files replaces anything.
        return f"'{value}'"
    return re.sub(r"([$`])", r"\\\1", json.dumps(value, ensure_ascii=False))


#: The forms that the page and the API offer: its name, its title, and the function that makes it.
FORMS: Final = (
    ("bash", "bash, zsh", bash),
    ("fish", "fish", fish),
    ("powershell", "PowerShell", powershell),
    ("env", ".env", dotenv),
    ("settings", "settings.json", settings),
)
