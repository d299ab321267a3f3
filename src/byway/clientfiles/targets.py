"""The client programs that Byway can connect: where each keeps its settings, and what names an endpoint there."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from byway.clientfiles import files, jsonc, shell
from byway.clientfiles.changes import FileFormat, Setting
from byway.clientfiles.files import ClientFileError
from byway.clientfiles.folders import UserFolders
from byway.clientfiles.jsonc import MISSING, JsoncError, Member
from byway.clientfiles.plans import FileChange
from byway.clientfiles.variables import API_KEY, BASE_URL, CREDENTIALS, HEADERS

#: https://code.claude.com/docs/en/vs-code (seen 2026-11-29): a list of objects with `name` and `value`.
VSCODE_VARIABLES: Final = "claudeCode.environmentVariables"
VSCODE_LOGIN: Final = "claudeCode.disableLoginPrompt"
#: The id of the configuration of Claude Desktop that Byway adds where none is applied.
DESKTOP_ID: Final = "6a1c9a0e-7d3b-4d7e-9b0f-62797761792d"
#: Programs that run Claude Code for an editor, by their old names too.
_CLAUDE_AGENT: Final = re.compile(r"claude-(?:agent|code)-acp")
#: The agent that is added to JetBrains' file where none is configured.
JETBRAINS_AGENT: Final = "Claude Agent (Byway)"


class ClientValues(NamedTuple):
    """What a client is given."""

    endpoint: str
    """The endpoint's name."""
    variables: Mapping[str, str]
    """Environment variables. Exactly one credential has a value; the other one is empty, so that none of the user's is sent.
    Beside a login that the client keeps there is none."""
    secret: bool = False
    """The credential is a secret, and no placeholder."""
    key: str = ""
    """The id of Byway's key that was created for clients; empty when none was."""
    permission_mode: str = ""
    """Claude Code's permission mode that works with the endpoint's models; empty when every mode does."""
    overrides: Mapping[str, str] = {}
    """Model ids of the endpoint by Anthropic's ids."""
    keeps_login: bool = False
    """The endpoint gets the client's own login: no credential is set, and a key of Byway goes beside it in HEADERS."""
    own_key: str = ""
    """Beside a kept login: Byway's key or a placeholder, for programs that have no login."""

    @property
    def base_url(self) -> str:
        return self.variables[BASE_URL]

    @property
    def credential(self) -> str:
        """The credential that is sent; empty when that is the client's own login."""
        return next((self.variables[name] for name in CREDENTIALS if self.variables.get(name)), "")

    @property
    def sends_api_key(self) -> bool:
        """The credential is sent as x-api-key, not as a bearer token."""
        return bool(self.variables.get(API_KEY))


class ClientTarget(NamedTuple):
    """A client program, or one of its settings files."""

    name: str
    title: str
    use: str
    """What uses its settings, in a few words."""
    takes_effect: str
    """When a running program uses a change."""
    changes: Callable[[ClientTarget, UserFolders, ClientValues], list[FileChange]]
    path: Callable[[UserFolders], Path | None]

    def plan(self, folders: UserFolders, values: ClientValues) -> list[FileChange]:
        """The files with the wanted values. Reads them. Raises ClientFileError."""
        return self.changes(self, folders, values)


def _variables(
    values: ClientValues, path: Callable[[str], jsonc.Path], form: Callable[[str, str], Any] = lambda name, value: value
) -> list[Setting]:
    """The variables as settings of a JSON file. Beside a kept login, credentials of another base URL are emptied."""
    settings = [
        Setting(path(name), form(name, value), credential=_is_credential(name, values))
        for name, value in values.variables.items()
    ]
    if values.keeps_login:
        settings += [Setting(path(name), form(name, ""), credential=True, when="foreign") for name in CREDENTIALS]
    return settings


def _is_credential(name: str, values: ClientValues) -> bool:
    return name in CREDENTIALS or (values.keeps_login and name == HEADERS)


# --------------------------------------------------------------------------------------------------------------- claude


def _claude(target: ClientTarget, path: Path, values: ClientValues, *, shared: bool = False) -> list[FileChange]:
    """`env` of a settings file of Claude Code: it replaces the variables of the process (measured, 2.1.316)."""
    if shared and values.secret:
        raise ClientFileError(
            f"{path} belongs to the project and is usually committed, so Byway writes no key there. "
            "Use the target `local`, or an endpoint without a key."
        )
    settings = _variables(values, lambda name: ("env", name))
    # Its output would be sent beside the credential (measured, 2.1.316).
    settings.append(
        Setting(("apiKeyHelper",), "", credential=True, when="foreign" if values.keeps_login else "present")
    )
    if values.permission_mode:
        settings.append(Setting(("permissions", "defaultMode"), values.permission_mode, when="missing"))
    settings += [Setting(("modelOverrides", name), model) for name, model in values.overrides.items()]
    # Claude Code would query Anthropic before each page that it fetches (measured, 2.1.329).
    settings.append(Setting(("skipWebFetchPreflight",), True))
    return [_change(target, path, "jsonc", settings, values, ("env", BASE_URL))]


def _claude_user(target: ClientTarget, folders: UserFolders, values: ClientValues) -> list[FileChange]:
    return _claude(target, folders.claude / "settings.json", values)


def _claude_project(target: ClientTarget, folders: UserFolders, values: ClientValues) -> list[FileChange]:
    return _claude(target, folders.project / ".claude" / "settings.json", values, shared=True)


def _claude_local(target: ClientTarget, folders: UserFolders, values: ClientValues) -> list[FileChange]:
    return _claude(target, folders.project / ".claude" / "settings.local.json", values)


# -------------------------------------------------------------------------------------------------------------- editors


def _vscode(target: ClientTarget, folders: UserFolders, values: ClientValues) -> list[FileChange]:
    settings = _variables(
        values,
        lambda name: (VSCODE_VARIABLES, Member("name", name)),
        lambda name, value: {"name": name, "value": value},
    )
    settings.append(Setting((VSCODE_LOGIN,), True))
    return [_change(target, folders.vscode, "jsonc", settings, values, (VSCODE_VARIABLES, Member("name", BASE_URL)))]


def _zed(target: ClientTarget, folders: UserFolders, values: ClientValues) -> list[FileChange]:
    """https://zed.dev/docs/ai/external-agents (seen 2026-11-29): `type` is `registry` for an agent of the ACP registry."""
    agent = ("agent_servers", "claude-acp")
    settings = [Setting((*agent, "type"), "registry", when="missing")]
    settings += _variables(values, lambda name: (*agent, "env", name))
    return [_change(target, folders.zed, "jsonc", settings, values, (*agent, "env", BASE_URL))]


def _jetbrains(target: ClientTarget, folders: UserFolders, values: ClientValues) -> list[FileChange]:
    """The first agent that runs Claude Code; where there is none, one is added."""
    path = folders.jetbrains
    agents = _content(path, ("agent_servers",))
    names = [name for name, agent in agents.items() if _is_claude_agent(agent)] if isinstance(agents, dict) else []
    agent = ("agent_servers", names[0] if names else JETBRAINS_AGENT)
    settings = [
        Setting((*agent, "command"), "npx", when="missing"),
        Setting((*agent, "args"), ["-y", "@agentclientprotocol/claude-agent-acp"], when="missing"),
    ]
    settings += _variables(values, lambda name: (*agent, "env", name))
    return [_change(target, path, "jsonc", settings, values, (*agent, "env", BASE_URL))]


def _is_claude_agent(agent: Any) -> bool:
    if not isinstance(agent, dict):
        return False
    words = [agent.get("command"), *(agent["args"] if isinstance(agent.get("args"), list) else ())]
    return any(isinstance(word, str) and _CLAUDE_AGENT.search(word) for word in words)


def _desktop(target: ClientTarget, folders: UserFolders, values: ClientValues) -> list[FileChange]:
    """The configuration that is applied; where there is none, one is added. All values are strings."""
    folder = folders.desktop
    if folder is None:
        raise ClientFileError(
            "Claude Desktop documents no settings file for this system. Enter the URL in the app: Developer > Configure "
            f"third-party inference > Gateway, base URL {values.base_url}, auth scheme bearer."
        )
    index = folder / "_meta.json"
    applied = _content(index, ("appliedId",))
    known = isinstance(applied, str) and re.fullmatch(r"[A-Za-z0-9-]{1,64}", applied)
    entry = str(applied) if known else DESKTOP_ID
    settings = [
        Setting(("inferenceProvider",), "gateway"),
        Setting(("inferenceGatewayBaseUrl",), values.base_url),
        # Beside a gateway the app has no login at Anthropic, so models that need one do not answer it.
        Setting(("inferenceGatewayApiKey",), values.credential or values.own_key, credential=True),
        Setting(("inferenceGatewayAuthScheme",), "x-api-key" if values.sends_api_key else "bearer"),
    ]
    changes = [_change(target, folder / f"{entry}.json", "jsonc", settings, values, ("inferenceGatewayBaseUrl",))]
    if not known:
        steps = [
            Setting(("entries", Member("id", entry)), {"id": entry, "name": "Byway"}),
            Setting(("appliedId",), entry),
        ]
        changes.append(FileChange(target.name, index, "jsonc", tuple(steps), values.endpoint, values.base_url))
    return changes


# --------------------------------------------------------------------------------------------------------------- shells


def _shell(kind: shell.Shell) -> Callable[[ClientTarget, UserFolders, ClientValues], list[FileChange]]:
    def plan(target: ClientTarget, folders: UserFolders, values: ClientValues) -> list[FileChange]:
        path = folders.profile(kind)
        settings = [Setting((name,), value, _is_credential(name, values)) for name, value in values.variables.items()]
        if values.keeps_login:
            settings += [Setting((name,), "", credential=True) for name in _foreign_credentials(path, kind)]
        return [_change(target, path, kind, settings, values, ())]

    return plan


def _foreign_credentials(path: Path, kind: shell.Shell) -> list[str]:
    """The credentials that a profile sets beside a base URL of the user. Raises ClientFileError."""
    text = files.read(path).text
    ours = set(shell.block_lines(text) or ())
    names = {entry.name for entry in shell.assignments(text, kind) if entry.text.strip() not in ours}
    return [name for name in CREDENTIALS if name in names] if BASE_URL in names else []


_SHELLS: Final[tuple[tuple[shell.Shell, str], ...]] = (
    ("bash", "bash"),
    ("zsh", "zsh"),
    ("fish", "fish"),
    ("powershell", "PowerShell"),
)
#: Measured, 2.1.329: Claude Code watches its settings files.
_HOT: Final = "in running sessions too, within two seconds"
_NEW_SHELL: Final = "in new shells; running sessions keep their endpoint until they are restarted"
_RELOAD: Final = "after the editor's window is reloaded; running agents keep their endpoint"

TARGETS: Final = {
    target.name: target
    for target in (
        ClientTarget(
            "claude",
            "Claude Code (user settings)",
            "every session of this user, in the terminal and in editors",
            _HOT,
            _claude_user,
            lambda folders: folders.claude / "settings.json",
        ),
        ClientTarget(
            "project",
            "Claude Code (project settings)",
            "every session in this folder, for all users of the project",
            _HOT,
            _claude_project,
            lambda folders: folders.project / ".claude" / "settings.json",
        ),
        ClientTarget(
            "local",
            "Claude Code (local settings)",
            "your sessions in this folder",
            _HOT,
            _claude_local,
            lambda folders: folders.project / ".claude" / "settings.local.json",
        ),
        ClientTarget("vscode", "VS Code", "the Claude Code panel", _RELOAD, _vscode, lambda folders: folders.vscode),
        ClientTarget("zed", "Zed", "the Claude agent", _RELOAD, _zed, lambda folders: folders.zed),
        ClientTarget(
            "jetbrains",
            "JetBrains IDEs",
            "the Claude agent of AI Chat",
            _RELOAD,
            _jetbrains,
            lambda folders: folders.jetbrains,
        ),
        ClientTarget(
            "desktop",
            "Claude Desktop",
            "Chat, Cowork and Code",
            "after the app is quit and started again",
            _desktop,
            lambda folders: folders.desktop,
        ),
        *(
            ClientTarget(
                kind,
                title,
                "programs that are started in this shell",
                _NEW_SHELL,
                _shell(kind),
                lambda folders, kind=kind: folders.profile(kind),  # type: ignore[misc]
            )
            for kind, title in _SHELLS
        ),
    )
}


def _change(
    target: ClientTarget,
    path: Path,
    form: FileFormat,
    settings: list[Setting],
    values: ClientValues,
    url_path: jsonc.Path,
) -> FileChange:
    return FileChange(
        target.name, path, form, tuple(settings), values.endpoint, values.base_url, url_path, values.key, values.secret
    )


def _content(path: Path, keys: jsonc.Path) -> Any:
    """The value in a JSON file; MISSING where there is none. A damaged file is reported when the change is planned."""
    try:
        return jsonc.value(files.read(path).text, keys)
    except JsoncError:
        return MISSING
