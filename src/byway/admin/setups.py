"""The variables for Claude Code as settings of editors and other places, beside the shells of `exports`. Pure texts."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from byway.admin import exports
from byway.admin.exports import ANY_KEY, YOUR_KEY, Pairs
from byway.clientfiles.variables import API_KEY, BASE_URL, EXTRA_CAS

#: The name by which a container reaches the machine that runs it.
DOCKER_HOST: Final = "host.docker.internal"
#: Where a container has the certificate authority.
_CONTAINER_CA: Final = "/etc/byway-ca.pem"
_LOOPBACK: Final = frozenset(("127.0.0.1", "localhost", "::1", "0.0.0.0"))
#: The secret of the repository that contains a key of Byway.
_IN_REPOSITORY: Final = "BYWAY_KEY"


class SetupText(NamedTuple):
    """A text to copy."""

    name: str
    title: str
    text: str
    note: str = ""
    """Where it belongs, or what it needs; with code between backticks."""
    starts: bool = False
    """The command that starts Claude Code follows it."""


def setup_texts(pairs: Pairs, *, listens_wide: bool, key_required: bool) -> list[SetupText]:
    """All texts in the order of the tabs. `listens_wide`: Byway can be reached from other machines."""
    shells = [
        SetupText(name, title, make(pairs), _NOTES.get(name, ""), name in _STARTED)
        for name, title, make in exports.FORMS
    ]
    return [
        *shells,
        SetupText("vscode", "VS Code", vscode(pairs), _NOTES["vscode"]),
        SetupText("jetbrains", "JetBrains", jetbrains(pairs), _NOTES["jetbrains"]),
        SetupText("zed", "Zed", zed(pairs), _NOTES["zed"]),
        SetupText("desktop", "Claude Desktop", desktop(pairs), _NOTES["desktop"]),
        SetupText("docker", "Docker", docker(pairs), _docker_note(pairs, listens_wide, key_required)),
        SetupText("actions", "GitHub Actions", actions(pairs), _NOTES["actions"]),
    ]


_STARTED: Final = ("bash", "fish", "powershell", "cmd")
_NOTES: Final[Mapping[str, str]] = {
    "settings": "For `~/.claude/settings.json`: every session of this user, in terminals and editors.",
    "env": "For a `.env` file that a program loads. Claude Code itself does not read one.",
    "vscode": "For the user `settings.json` of VS Code (command: Preferences: Open User Settings (JSON)). Reload the window.",
    "jetbrains": "For `~/.jetbrains/acp.json`. It needs Node.js for `npx`. Restart the agent in AI Chat.",
    "zed": "For Zed's `settings.json` (command: zed: open settings file). Start a new thread.",
    "desktop": "In Claude Desktop: Developer, Configure third-party inference, Gateway. Quit and start the app again.",
    "actions": (
        f"For a workflow. Add a key of Byway as the secret `{_IN_REPOSITORY}` of the repository. The runner must reach this "
        "Byway: use a self-hosted runner in its network, or serve Byway by https at a public name."
    ),
}


def _docker_note(pairs: Pairs, listens_wide: bool, key_required: bool) -> str:
    host = urlsplit(dict(pairs).get(BASE_URL, "")).hostname or ""
    if host not in _LOOPBACK:
        return "Replace `IMAGE` by an image that contains Claude Code."
    note = f"`{DOCKER_HOST}` is this machine. Replace `IMAGE` by an image that contains Claude Code. "
    if listens_wide:
        return note + ("" if key_required else "Create a key before others can connect.")
    return note + (
        "Docker Desktop reaches Byway as it is. On Linux a container cannot reach 127.0.0.1 of its host: allow external access "
        "under Keys, which requires a key, or start the container with `--network host` and 127.0.0.1 in the URL."
    )


def vscode(pairs: Pairs) -> str:
    """For the user settings of VS Code: a list of objects (https://code.claude.com/docs/en/vs-code, seen 2026-11-29)."""
    variables = [{"name": name, "value": value} for name, value in pairs]
    return _json({"claudeCode.environmentVariables": variables, "claudeCode.disableLoginPrompt": True})


def jetbrains(pairs: Pairs) -> str:
    """For the agents of JetBrains IDEs (https://www.jetbrains.com/help/ai-assistant/acp.html, seen 2026-11-29)."""
    agent = {"command": "npx", "args": ["-y", "@agentclientprotocol/claude-agent-acp"], "env": dict(pairs)}
    return _json({"agent_servers": {"Claude Agent (Byway)": agent}})


def zed(pairs: Pairs) -> str:
    """For Zed's settings (https://zed.dev/docs/ai/external-agents, seen 2026-11-29)."""
    return _json({"agent_servers": {"claude-acp": {"type": "registry", "env": dict(pairs)}}})


def desktop(pairs: Pairs) -> str:
    """The gateway of Claude Desktop, as `byway connect desktop` writes it. All values are texts."""
    variables = dict(pairs)
    return _json(
        {
            "inferenceProvider": "gateway",
            "inferenceGatewayBaseUrl": variables[BASE_URL],
            # The app has no login beside a gateway, so it always sends a key.
            "inferenceGatewayApiKey": _key(variables),
            "inferenceGatewayAuthScheme": "x-api-key",
        }
    )


def docker(pairs: Pairs) -> str:
    """A command that runs Claude Code in a container.

    On Linux the name of the host needs `host-gateway` (https://docs.docker.com/reference/cli/docker/container/run/#add-host,
    seen 2026-11-30).
    """
    lines = ["docker run --rm -it", f"--add-host {DOCKER_HOST}:host-gateway"]
    for name, value in pairs:
        if name == BASE_URL:
            value = in_container(value)
        elif name == EXTRA_CAS:
            lines.append(f"-v {shlex.quote(f'{value}:{_CONTAINER_CA}:ro')}")
            value = _CONTAINER_CA
        elif name == "NO_PROXY":
            value = f"{value},{DOCKER_HOST}"
        lines.append(f"-e {shlex.quote(f'{name}={value}')}")
    return " \\\n  ".join([*lines, '-v "$PWD:/work" -w /work IMAGE claude'])


def in_container(url: str) -> str:
    """A URL of this machine as a container reaches it."""
    parts = urlsplit(url)
    if parts.hostname not in _LOOPBACK:
        return url
    port = f":{parts.port}" if parts.port else ""
    return parts._replace(netloc=f"{DOCKER_HOST}{port}").geturl()


def actions(pairs: Pairs) -> str:
    """A workflow of GitHub Actions.

    The action takes the key as an input, the base URL from the job's environment, and further variables from `settings`
    (action.yml of https://github.com/anthropics/claude-code-action, seen 2026-11-30).
    """
    variables = {name: value for name, value in pairs if name not in (API_KEY, EXTRA_CAS, "NO_PROXY")}
    url = variables.pop(BASE_URL, "")
    # An expression in the name of a model would be evaluated.
    settings = json.dumps({"env": variables}, indent=2).replace("${{", "$ {{")
    reference = f"${{{{ secrets.{_IN_REPOSITORY} }}}}"
    settings = settings.replace(YOUR_KEY, reference)
    key = reference if API_KEY in dict(pairs) else "${{ secrets.ANTHROPIC_API_KEY }}"
    lines = [
        "name: Claude Code",
        "on:",
        "  issue_comment:",
        "    types: [created]",
        "jobs:",
        "  claude:",
        "    if: contains(github.event.comment.body, '@claude')",
        "    runs-on: self-hosted",
        "    permissions: {contents: write, issues: write, pull-requests: write, id-token: write}",
        "    env:",
        f"      {BASE_URL}: {json.dumps(url)}",
        "    steps:",
        "      - uses: actions/checkout@v5",
        "      - uses: anthropics/claude-code-action@v1",
        "        with:",
        f"          anthropic_api_key: {key}",
        "          settings: |",
        *(f"            {line}" for line in settings.splitlines()),
    ]
    return "\n".join(lines)


def _key(variables: Mapping[str, str]) -> str:
    header = next((value for value in variables.values() if value.endswith(f": {YOUR_KEY}")), "")
    return variables.get(API_KEY) or (YOUR_KEY if header else ANY_KEY)


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
