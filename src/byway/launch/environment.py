"""The environment and the settings file with which Claude Code is started for an endpoint. Pure.

A settings file of the user overrides the environment, so everything stands in both: Claude Code gives `--settings` the
highest rank below an administrator's file (measured, 2.1.329: --settings > local > project > user > environment).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from byway.clientfiles.variables import API_KEY, AUTH_TOKEN, BASE_URL, HEADERS, MODEL_VARIABLES, PROVIDER_FLAGS
from byway.launch.target import KEY_HEADER, PLACEHOLDER, LaunchTarget
from byway.proxies import NO_PROXIES, PROXIES, exceptions, has_proxy, merged_no_proxy
from byway.scrub import is_secret_name

#: Variables with which Claude Code sends another credential, or sends requests to another place (its binary, 2.1.329).
#: `CLAUDECODE` marks a session inside a session.
DIVERTING: Final = (
    "CLAUDECODE",
    *PROVIDER_FLAGS,
    *(f"CLAUDE_CODE_USE_ANTHROPIC_{name}" for name in ("AWS", "GOOGLE_CLOUD")),
    *(
        f"ANTHROPIC_{name}_BASE_URL"
        for name in ("BEDROCK", "BEDROCK_MANTLE", "VERTEX", "FOUNDRY", "AWS", "GOOGLE_CLOUD")
    ),
    *(
        "ANTHROPIC_FOUNDRY_API_KEY",
        "ANTHROPIC_FOUNDRY_AUTH_TOKEN",
        "ANTHROPIC_FOUNDRY_RESOURCE",
        "ANTHROPIC_AWS_API_KEY",
    ),
    *("ANTHROPIC_UNIX_SOCKET", "ANTHROPIC_API_HOST", "ANTHROPIC_PROFILE", "CLAUDE_CODE_API_BASE_URL"),
    *("ANTHROPIC_IDENTITY_TOKEN", "ANTHROPIC_IDENTITY_TOKEN_FILE", "ANTHROPIC_FEDERATION_RULE_ID"),
    *("CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN_FILE_DESCRIPTOR", "CLAUDE_CODE_OAUTH_REFRESH_TOKEN"),
    *("CLAUDE_CODE_API_KEY_FILE_DESCRIPTOR", "CLAUDE_CODE_GATEWAY_TOKEN", "CLAUDE_CODE_GATEWAY_TOKEN_FILE_DESCRIPTOR"),
    *("CLAUDE_CODE_SESSION_ACCESS_TOKEN", "CLAUDE_CODE_SESSIONS_OAUTH_TOKEN", "CLAUDE_CODE_HOST_AUTH_ENV_VAR"),
)
#: Those that are a login at Anthropic.
_LOGIN: Final = ("CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CODE_OAUTH_REFRESH_TOKEN")
#: Variables that belong to the models of another endpoint.
_OF_MODELS: Final = (
    *MODEL_VARIABLES,
    "ANTHROPIC_DEFAULT_MODEL",
    "CLAUDE_CODE_MAX_CONTEXT_TOKENS",
    "CLAUDE_CODE_MAX_OUTPUT_TOKENS",
)
#: Byway sets these only where the user has not.
_DEFAULTS: Final = frozenset(("CLAUDE_CODE_MAX_RETRIES", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"))


class ClientEnvironment(NamedTuple):
    """How a client is started."""

    environ: dict[str, str]
    """The whole environment."""
    changed: dict[str, str]
    """The variables that differ from the user's environment."""
    removed: tuple[str, ...]
    """Variables of the user's environment that the client does not get."""
    overlay: dict[str, Any]
    """The content of the settings file."""


def client_environment(
    target: LaunchTarget,
    environ: Mapping[str, str],
    user: Sequence[Mapping[str, Any]] = (),
    *,
    through: tuple[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> ClientEnvironment:
    """Build the environment of a client.

    `user` are the user's settings files, the strongest first. `through` is the URL and the secret of a relay that
    adds the credential; beside a login that the client keeps, the secret is a header. `extra` are settings that the user
    passed with `--settings`; they keep what the target does not set.
    """
    layers = [_variables_of(settings) for settings in (*([extra] if extra else ()), *user)]
    if target.keeps_login:
        wanted = {**_beside_login(target, through), **_foreign_credentials(environ, layers)}
    else:
        wanted = _credential(target, through) if target.name else _without_endpoint(environ, layers)
    models = {
        name: value
        for name, value in target.variables.items()
        if name not in _DEFAULTS or not _current(name, environ, layers)
    }
    diverting = [name for name in DIVERTING if not (target.keeps_login and name in _LOGIN)]
    blank = dict.fromkeys(diverting, "") if target.name else {}
    if target.name:
        # A stale name of another endpoint's model. An empty value in a settings file counts as not set (measured).
        blank |= {name: "" for name in _OF_MODELS if any(layer.get(name) for layer in layers)}
    proxies = no_proxy_variables(through[0] if through else target.base_url, environ, layers) if target.name else {}
    block = {**blank, **wanted, **models, **proxies}
    overlay = _merged(extra or {}, target, block, user)
    if target.name and not (target.keeps_login and not _has_endpoint(environ, layers)):
        # Its output would be sent beside our credential (measured).
        overlay["apiKeyHelper"] = ""
    dropped = (*diverting, *_OF_MODELS, HEADERS) if target.name else ()
    result = {name: value for name, value in environ.items() if name not in dropped}
    for name, value in {**wanted, **models, **proxies}.items():
        if value:
            result[name] = value
        else:
            result.pop(name, None)
    changed = {name: value for name, value in result.items() if environ.get(name) != value}
    removed = tuple(name for name in environ if name not in result)
    return ClientEnvironment(result, changed, removed, overlay)


def masked(pairs: Mapping[str, str]) -> dict[str, str]:
    """Variables for display, without secrets. Placeholders stay readable."""
    return {
        name: "***" if value and value != PLACEHOLDER and is_secret_name(name) else value
        for name, value in pairs.items()
    }


def _credential(target: LaunchTarget, through: tuple[str, str] | None) -> dict[str, str]:
    """The variables of the address and of exactly one credential; the others are empty."""
    if through:
        # A token: Claude Code's terminal would first ask whether it may use a key from the environment.
        return {BASE_URL: through[0], AUTH_TOKEN: through[1], API_KEY: "", HEADERS: ""}
    headers = "\n".join(f"{name}: {value}" for name, value in target.headers.items())
    secret = target.secret or PLACEHOLDER
    is_token = target.credential == "auth_token"
    # A key beside which nothing else is sent: with a token alone Claude Code also sends the key of a stored Console login
    # (measured, 2.1.329).
    return {
        BASE_URL: target.base_url,
        AUTH_TOKEN: secret if is_token else "",
        API_KEY: "" if is_token else secret,
        HEADERS: headers,
    }


def _beside_login(target: LaunchTarget, through: tuple[str, str] | None) -> dict[str, str]:
    """The variables of the address and of Byway's key: a header, because a key or token would replace the client's login."""
    if through:
        return {BASE_URL: through[0], HEADERS: f"{KEY_HEADER}: {through[1]}"}
    headers = "\n".join(f"{name}: {value}" for name, value in target.request_headers().items())
    return {BASE_URL: target.base_url, HEADERS: headers}


def _without_endpoint(environ: Mapping[str, str], layers: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """For Anthropic itself: no base URL, and no placeholder. The user's own credentials stay."""
    if not _has_endpoint(environ, layers):
        return {}
    return {BASE_URL: "", HEADERS: "", **_foreign_credentials(environ, layers)}


def _has_endpoint(environ: Mapping[str, str], layers: Sequence[Mapping[str, str]]) -> bool:
    """Whether the user has set a base URL, so that the credentials beside it belong to that endpoint."""
    return any(layer.get(BASE_URL) for layer in (*layers, environ))


def _foreign_credentials(environ: Mapping[str, str], layers: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The key and the token, empty, where they are not the user's own for Anthropic."""
    everything = (*layers, environ)
    is_foreign = _has_endpoint(environ, layers)
    return {
        name: ""
        for name in (API_KEY, AUTH_TOKEN)
        if any(layer.get(name) and (is_foreign or layer[name] == PLACEHOLDER) for layer in everything)
    }


def _merged(
    extra: Mapping[str, Any], target: LaunchTarget, block: Mapping[str, str], user: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The settings file: the user's `--settings`, overridden by the target."""
    settings = dict(target.settings)
    modes = (_mode(layer) for layer in (extra, *user))
    if "permissions" in settings and any(mode not in ("", "auto") for mode in modes):
        # The user has chosen a mode that works with every model.
        settings.pop("permissions")
    if isinstance(extra.get("permissions"), dict) and "permissions" in settings:
        settings["permissions"] = {**extra["permissions"], **settings["permissions"]}
    return {**extra, **settings, "env": {**_variables_of(extra), **block}}


def _mode(settings: Mapping[str, Any]) -> str:
    permissions = settings.get("permissions")
    return str(permissions.get("defaultMode") or "") if isinstance(permissions, dict) else ""


def _variables_of(settings: Mapping[str, Any]) -> dict[str, str]:
    """The `env` block of a settings file."""
    block = settings.get("env")
    return {str(name): str(value) for name, value in block.items()} if isinstance(block, dict) else {}


def _current(name: str, environ: Mapping[str, str], layers: Sequence[Mapping[str, str]]) -> str:
    """The value that a client would have without Byway."""
    return next((layer[name] for layer in layers if layer.get(name)), environ.get(name, ""))


def no_proxy_variables(
    url: str, environ: Mapping[str, str], layers: Sequence[Mapping[str, str]] = ()
) -> dict[str, str]:
    """NO_PROXY with this machine and the endpoint in it, where a proxy or NO_PROXY is set."""
    current = {name: _current(name, environ, layers) for name in (*PROXIES, *NO_PROXIES)}
    if not has_proxy(current) and not exceptions(current):
        return {}
    host = urlsplit(url).hostname or ""
    merged = merged_no_proxy(current, *([host] if host and _is_private(url) else []))
    return dict.fromkeys(NO_PROXIES, merged)


def _is_private(url: str) -> bool:
    return LaunchTarget("", url).is_local
