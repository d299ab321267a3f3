"""Environment variables that point Claude Code at this Byway, in the syntax of each shell, and the command that starts it."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from byway.access.keys import OWN_HEADER
from byway.clientfiles import shell
from byway.clientfiles.variables import API_KEY, BASE_URL, EXTRA_CAS, HEADERS
from byway.problems import Problem
from byway.proxies import has_proxy, merged_no_proxy
from byway.routing.route import CLAUDE_PREFIX, TargetName
from byway.runtime import Runtime

#: The model that Claude Code uses for small calls. Its family is `haiku`, so the alias `haiku` applies, else `default`.
SMALL_MODEL: Final = "claude-haiku-5-5"
#: The model that Claude Code requests by default (measured, 2.1.329).
MAIN_MODEL: Final = "claude-opus-5-5"
#: Claude Code assumes a context window of a million tokens; a smaller one has to be set (measured).
ASSUMED_WINDOW: Final = 1_000_000
#: A model with a smaller window cannot hold a full session: Claude Code's own prompt has 12,000 to 25,000 tokens.
SMALLEST_SESSION: Final = 30_000
#: Claude Code compacts when a conversation has reached CLAUDE_CODE_MAX_CONTEXT_TOKENS, less the tokens of an answer, less this
#: (measured, 2.1.329 and 2.1.332). It is added, so that the whole window is used.
_COMPACTION_RESERVE: Final = 12_288
#: The most tokens of an answer for which Claude Code reserves room.
_MAX_OUTPUT: Final = 20_000
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
    no_proxy: str = ""
    """The value of NO_PROXY that keeps requests to Byway off the proxy of this environment; empty without a proxy."""
    has_classifier: bool = False
    """A model judges tool calls in auto mode (`safeguards.classifier`)."""
    trust: str = ""
    """The file with the certificate authority that the client has to trust; empty when it needs none."""
    client_credential: bool = False
    """A backend gets the client's own credential, which a key or token in the variables would replace."""

    @property
    def is_too_small(self) -> bool:
        """The main model's window cannot hold a full session."""
        return self.window is not None and self.window < SMALLEST_SESSION


async def client_setup(
    runtime: Runtime, url: str | None, environ: Mapping[str, str] = os.environ, *, trust: str = ""
) -> ClientSetup:
    """The setup by what the runtime knows now. `url` is the base URL for clients, `environ` where a proxy may be set, `trust`
    the file with the certificate authority that clients have to trust."""
    try:
        route = await runtime.route(MAIN_MODEL, probe=True)
    except Problem:
        setup = _without_claude_names(runtime, url)
    else:
        target = route.targets[0]
        # An alias with several targets keeps their order only when it is requested by its own name.
        main = f"{CLAUDE_PREFIX}{route.alias}" if len(route.targets) > 1 else qualified(runtime, target)
        test_model = "default" if "default" in runtime.aliases else MAIN_MODEL
        setup = _setup(runtime, url, target.backend, target.model, test_model, main, has_claude_names=True)
    return setup._replace(
        no_proxy=no_proxy(environ),
        trust=trust,
        has_classifier=runtime.config.safeguards.classifier is not None and not setup.is_official,
        client_credential=runtime.forwards_credentials,
    )


def qualified(runtime: Runtime, target: TargetName) -> str:
    """The name by which only `target` answers: its model, or `backend/model` when several backends list that model."""
    serving = sum(target.model in (backend.models or ()) for backend in runtime.backends.values())
    return target.model if serving < 2 else f"{target.backend}/{target.model}"


def no_proxy(environ: Mapping[str, str]) -> str:
    """NO_PROXY with this machine added; empty when no proxy is set. Without it a client's requests to Byway go to the proxy."""
    return merged_no_proxy(environ) if has_proxy(environ) else ""


def _without_claude_names(runtime: Runtime, url: str | None) -> ClientSetup:
    """The setup when no alias applies to Claude Code's names: the first model that is served is used instead."""
    served = ((backend.name, model) for backend in runtime.backends.values() for model in backend.models or ())
    name, model = next(served, ("", ""))
    main = qualified(runtime, TargetName(name, model)) if model else "MODEL"
    return _setup(runtime, url, name, model, main, "", has_claude_names=False)


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
    pairs = [(BASE_URL, f"{setup.url}/anthropic")]
    if not setup.client_credential:
        pairs.append((API_KEY, YOUR_KEY if setup.key_required else ANY_KEY))
    elif setup.key_required:
        pairs.append((HEADERS, key_header(YOUR_KEY)))
    if setup.trust:
        pairs.append((EXTRA_CAS, setup.trust))
    if setup.no_proxy:
        pairs.append(("NO_PROXY", setup.no_proxy))
    is_small = setup.window is not None and setup.window < ASSUMED_WINDOW
    if not setup.has_claude_names or (is_small and not setup.is_official):
        # The client accepts a window for names that it does not know; for its own names it assumes a million (measured, 2.1.329).
        pairs.append(("ANTHROPIC_MODEL", setup.main_model or setup.test_model))
    if setup.is_official:
        return pairs
    # Without it the small calls (titles, summaries) use the main model.
    pairs.append(("ANTHROPIC_DEFAULT_HAIKU_MODEL", SMALL_MODEL if setup.has_claude_names else setup.test_model))
    if is_small:
        context, output = client_window(setup.window or 0)
        pairs.append(("CLAUDE_CODE_MAX_CONTEXT_TOKENS", str(context)))
        pairs.append(("CLAUDE_CODE_MAX_OUTPUT_TOKENS", str(output)))
    # A line at the top of each prompt that differs every time prevents a local model from reusing its cache.
    pairs.append(("CLAUDE_CODE_ATTRIBUTION_HEADER", "0"))
    pairs.append(("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"))
    return pairs


def key_header(key: str) -> str:
    """The value of ANTHROPIC_CUSTOM_HEADERS that sends a key of Byway beside the client's own login."""
    return f"{OWN_HEADER.decode()}: {key}"


def client_window(window: int) -> tuple[int, int]:
    """CLAUDE_CODE_MAX_CONTEXT_TOKENS and CLAUDE_CODE_MAX_OUTPUT_TOKENS for a model with this window.

    With the window itself as the first, the client compacts at less than half of it, and a session in 32k ends with
    "Autocompact is thrashing" (measured, `tests/windows.py`). A window that cannot hold a session is given as it is.
    """
    if window < SMALLEST_SESSION:
        return window, window // 4
    output = min(window // 8, _MAX_OUTPUT)
    return window + output + _COMPACTION_RESERVE, output


def permission_mode(setup: ClientSetup) -> str:
    """The permission mode that works with the main model; empty when every mode does.

    Auto mode, the client's default, works where a model judges the tool calls: Anthropic's, or `safeguards.classifier`.
    """
    return "" if setup.is_official or setup.has_classifier else "acceptEdits"


def launch(setup: ClientSetup) -> str:
    """The command that starts Claude Code."""
    if setup.is_builtin:
        return 'claude --bare -p "Say hello"'
    mode = "auto" if setup.has_classifier else permission_mode(setup)
    return f"claude --permission-mode {mode}" if mode else "claude"


def curl(setup: ClientSetup, socket: str | None = None) -> list[str]:
    """A test request to paste into a POSIX shell; over the unix socket `socket` when there is no TCP address."""
    body = {"model": setup.test_model, "max_tokens": 64, "messages": [{"role": "user", "content": "Say hello"}]}
    target = f"{setup.url}/anthropic/v1/messages"
    if not setup.url:
        target = f"--unix-socket {shlex.quote(socket or '')} http://localhost/anthropic/v1/messages"
    elif setup.trust:
        target = f"--cacert {shlex.quote(setup.trust)} {target}"
    key = ""
    if setup.key_required:
        key = f' -H "${HEADERS}"' if setup.client_credential else ' -H "x-api-key: $ANTHROPIC_API_KEY"'
    return [f"curl {target} -H 'content-type: application/json'{key} \\", f"  -d {shlex.quote(json.dumps(body))}"]


# Model names are foreign text: in every form a value stays one word of the shell.


def bash(pairs: Pairs) -> str:
    """For bash and zsh."""
    return _lines(pairs, "bash")


def fish(pairs: Pairs) -> str:
    """For fish."""
    return _lines(pairs, "fish")


def powershell(pairs: Pairs) -> str:
    """For PowerShell."""
    return _lines(pairs, "powershell")


def _lines(pairs: Pairs, kind: shell.Shell) -> str:
    return "\n".join(shell.render(name, value, kind) for name, value in pairs)


def cmd(pairs: Pairs) -> str:
    """For cmd.exe. The quotes around name and value keep `&`, `|`, `<`, `>` and `^` literal
    (https://learn.microsoft.com/windows-server/administration/windows-commands/set_1, seen 2026-11-29)."""
    # A line end or a quote would end the command.
    return "\n".join(
        f'set "{name}={"".join(char for char in value if char.isprintable() and char != chr(34))}"'
        for name, value in pairs
    )


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
    ("cmd", "cmd.exe", cmd),
    ("env", ".env", dotenv),
    ("settings", "settings.json", settings),
)
