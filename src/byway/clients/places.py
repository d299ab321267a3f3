"""Reads every place of this machine where a client's endpoint can be set. Changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

from byway.clientfiles import files, jsonc, shell
from byway.clientfiles.changes import FileFormat
from byway.clientfiles.files import ClientFileError
from byway.clientfiles.folders import UserFolders, claude_logins, gateway_digest, read_object
from byway.clientfiles.jsonc import JsoncError, Member
from byway.clientfiles.targets import VSCODE_VARIABLES
from byway.clientfiles.variables import AUTH_TOKEN, BASE_URL, CREDENTIALS, EXTRA_CAS, MODEL_VARIABLES, PROVIDER_FLAGS
from byway.proxies import NO_PROXIES, PROXIES
from byway.signin.settings import MCP_SERVER

PlaceKind = Literal[
    "managed", "local", "project", "user", "process", "profile", "vscode", "zed", "jetbrains", "desktop"
]
#: Of Claude Code's own places, the strongest first (measured, 2.1.316; managed by its documentation).
CLAUDE_ORDER: Final[tuple[PlaceKind, ...]] = ("managed", "local", "project", "user", "process")
VARIABLES: Final = frozenset(
    (BASE_URL, *CREDENTIALS, *PROVIDER_FLAGS, *MODEL_VARIABLES, *PROXIES, *NO_PROXIES, EXTRA_CAS)
)
#: Settings of Claude Code beside its variables.
SETTINGS: Final = ("apiKeyHelper", "model", "availableModels", "allowedProviders", "forceLoginMethod")
_SHELLS: Final[tuple[shell.Shell, ...]] = ("bash", "zsh", "fish", "powershell")


class PlacedValue(NamedTuple):
    """A value of one name at one place."""

    name: str
    """A variable, or a setting of Claude Code."""
    value: Any
    path: jsonc.Path = ()
    """Where it is in a JSON file."""
    line: str = ""
    """The line of a shell profile."""
    number: int = 0
    """The number of that line."""

    @property
    def text(self) -> str:
        """The value as text; empty when it has another type."""
        return self.value if isinstance(self.value, str) else ""


class Place(NamedTuple):
    """A place where an endpoint can be set."""

    kind: PlaceKind
    title: str
    file: Path | None = None
    form: FileFormat = "jsonc"
    exists: bool = False
    values: tuple[PlacedValue, ...] = ()
    problem: str = ""
    """Why it cannot be read, or why the program ignores it."""
    writable: bool = True

    def get(self, name: str) -> PlacedValue | None:
        """The value of a name. In a profile the last one."""
        entry: PlacedValue
        for entry in reversed(self.values):
            if entry.name == name:
                return entry
        return None

    @property
    def url(self) -> str:
        """The base URL; empty when the place sets none."""
        entry = self.get(BASE_URL)
        return entry.text if entry else ""


class SignInPlaces(NamedTuple):
    """What Claude Code's files contain of a sign-in to Byway, beside its credentials."""

    url: str = ""
    """The gateway that its user settings name; empty when they name none."""
    server_url: str = ""
    """The URL of the MCP server `byway`; empty when there is none."""
    server_token: str = ""
    digest: str = ""
    """The SHA-256 of its access token, in hexadecimal digits; empty when it is not known."""
    pinned: str = ""
    """The fingerprint of the certificate that Claude Code accepts from its gateway; empty when it is not known."""


class Surroundings(NamedTuple):
    """All places, and what else of the machine decides where requests go."""

    folders: UserFolders
    places: tuple[Place, ...]
    claude_login: bool = False
    """Claude Code is logged in to claude.ai."""
    gateway_login: str = ""
    """The gateway that Claude Code is signed in to; empty when it is not."""
    sign_in: SignInPlaces = SignInPlaces()

    def of(self, kind: PlaceKind) -> Place | None:
        """The first place of a kind."""
        return next((place for place in self.places if place.kind == kind), None)

    def winner(self, name: str, order: Sequence[PlaceKind] = CLAUDE_ORDER) -> tuple[Place, PlacedValue] | None:
        """The place whose value Claude Code uses. A setting that is empty counts as a value: it hides weaker ones."""
        for kind in order:
            for place in self.places:
                if place.kind == kind and not place.problem and (entry := place.get(name)):
                    return place, entry
        return None

    def effective(self, name: str) -> str:
        """The value that Claude Code uses in a terminal; empty when there is none."""
        winner = self.winner(name)
        return winner[1].text if winner else ""


def survey(folders: UserFolders, *, process: bool = True) -> Surroundings:
    """Read every place. Blocks for some file reads. A place that cannot be read has a `problem`.

    `process`: the working folder and the environment of this process are those of a user's shell. The server's are not.
    """
    places = [_claude_place("managed", "Managed settings", folders.managed, writable=False)]
    if process:
        places.append(_claude_place("local", "Local settings", folders.project / ".claude" / "settings.local.json"))
        places.append(_claude_place("project", "Project settings", folders.project / ".claude" / "settings.json"))
    places.append(_claude_place("user", "User settings", folders.claude / "settings.json"))
    if process:
        places.append(_process_place(folders.environ))
    places += [_profile_place(folders, kind) for kind in _SHELLS]
    places += [
        _json_place("vscode", "VS Code", folders.vscode, _vscode_values),
        _json_place("zed", "Zed", folders.zed, _agent_values),
        _json_place("jetbrains", "JetBrains IDEs", folders.jetbrains, _agent_values),
    ]
    if folders.desktop is not None:
        places.append(_desktop_place(folders.desktop))
    return Surroundings(folders, tuple(places), *claude_logins(folders), _sign_in_places(folders))


def _sign_in_places(folders: UserFolders) -> SignInPlaces:
    settings = read_object(folders.claude / "settings.json") or {}
    url = settings.get("forceLoginGatewayUrl") if settings.get("forceLoginMethod") == "gateway" else ""
    servers = (read_object(folders.claude_state) or {}).get("mcpServers")
    server = servers.get(MCP_SERVER) if isinstance(servers, dict) else None
    entry = server if isinstance(server, dict) else {}
    headers = entry.get("headers")
    authorization = headers.get("Authorization") if isinstance(headers, dict) else ""
    token = str(authorization or "").removeprefix("Bearer ")
    return SignInPlaces(str(url or ""), str(entry.get("url") or ""), token, gateway_digest(folders), _pinned(folders))


def _pinned(folders: UserFolders) -> str:
    """Claude Code keeps one fingerprint for each host name (measured, 2.1.329)."""
    credentials = read_object(folders.claude / ".credentials.json") or {}
    trusted = credentials.get("gatewayTrust")
    host = urlsplit(claude_logins(folders).gateway).hostname or ""
    return str(trusted.get(host) or "") if isinstance(trusted, dict) else ""


def _claude_place(kind: PlaceKind, title: str, path: Path, *, writable: bool = True) -> Place:
    return _json_place(kind, title, path, _claude_values, strict=True, writable=writable)


def _json_place(
    kind: PlaceKind, title: str, path: Path, values: Any, *, strict: bool = False, writable: bool = True
) -> Place:
    place = Place(kind, title, path, writable=writable)
    try:
        file = files.read(path)
        if not file.exists:
            return place
        place = place._replace(exists=True)
        tree = jsonc.content(file.text)
    except ClientFileError as error:
        return place._replace(exists=True, problem=str(error))
    except JsoncError as error:
        return place._replace(problem=f"{path} is damaged: {error}. The program ignores the whole file.")
    if strict and tree is not jsonc.MISSING and (where := jsonc.strict_problem(file.text)):
        # Measured, 2.1.329: "These settings files did not load, so nothing in them is in effect".
        return place._replace(
            problem=f"{path} has a comment or a trailing comma ({where}). Claude Code ignores the whole file."
        )
    return place._replace(values=tuple(values(tree)) if isinstance(tree, dict) else ())


def _claude_values(tree: Mapping[str, Any]) -> Iterator[PlacedValue]:
    block = tree.get("env")
    if isinstance(block, dict):
        yield from (PlacedValue(name, str(value), ("env", name)) for name, value in block.items() if name in VARIABLES)
    yield from (PlacedValue(name, tree[name], (name,)) for name in SETTINGS if name in tree)


def _vscode_values(tree: Mapping[str, Any]) -> Iterator[PlacedValue]:
    entries = tree.get(VSCODE_VARIABLES)
    for entry in entries if isinstance(entries, list) else ():
        name = entry.get("name") if isinstance(entry, dict) else None
        if isinstance(name, str) and name in VARIABLES:
            yield PlacedValue(name, str(entry.get("value", "")), (VSCODE_VARIABLES, Member("name", name)))
    if "claudeCode.env" in tree:
        yield PlacedValue("claudeCode.env", tree["claudeCode.env"], ("claudeCode.env",))


def _agent_values(tree: Mapping[str, Any]) -> Iterator[PlacedValue]:
    """The variables of each agent that runs Claude Code."""
    agents = tree.get("agent_servers")
    for agent, settings in agents.items() if isinstance(agents, dict) else ():
        block = settings.get("env") if isinstance(settings, dict) else None
        if "claude" in f"{agent} {json.dumps(settings)[:2000]}".lower() and isinstance(block, dict):
            for name, value in block.items():
                if name in VARIABLES:
                    yield PlacedValue(name, str(value), ("agent_servers", agent, "env", name))


def _desktop_place(folder: Path) -> Place:
    applied = (read_object(folder / "_meta.json") or {}).get("appliedId")
    if not isinstance(applied, str) or not applied.replace("-", "").isalnum():
        return Place("desktop", "Claude Desktop", folder)
    return _json_place("desktop", "Claude Desktop", folder / f"{applied}.json", _desktop_values)


def _desktop_values(tree: Mapping[str, Any]) -> Iterator[PlacedValue]:
    if tree.get("inferenceProvider") == "gateway":
        for name, key in ((BASE_URL, "inferenceGatewayBaseUrl"), (AUTH_TOKEN, "inferenceGatewayApiKey")):
            if key in tree:
                yield PlacedValue(name, str(tree[key]), (key,))


def _process_place(environ: Mapping[str, str]) -> Place:
    values = tuple(PlacedValue(name, environ[name]) for name in sorted(VARIABLES) if name in environ)
    return Place("process", "This shell", exists=True, values=values, writable=False)


def _profile_place(folders: UserFolders, kind: shell.Shell) -> Place:
    path = folders.profile(kind)
    place = Place("profile", f"{kind} profile", path, kind)
    try:
        file = files.read(path)
        if not file.exists:
            return place
        values = tuple(
            PlacedValue(entry.name, entry.value, line=entry.text, number=entry.line)
            for entry in shell.assignments(file.text, kind)
            if entry.name in VARIABLES and not shell.is_computed(entry.value)
        )
    except ClientFileError as error:
        return place._replace(exists=True, problem=str(error))
    return place._replace(exists=True, values=values)
