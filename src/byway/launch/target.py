"""What a client is given for an endpoint: URL, credential, and the variables and settings that fit its models. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from byway.access.keys import OWN_HEADER
from byway.admin import exports
from byway.backends.protocol import ModelFacts
from byway.clientfiles.variables import API_KEY, BASE_URL, EXTRA_CAS, FAMILIES, HEADERS, LOCAL_RETRIES
from byway.endpoints.preflight import DEFAULT_MODEL, PreflightReport
from byway.endpoints.registry import Credential, Endpoint
from byway.routing.route import CLAUDE_PREFIX
from byway.upstream.address import is_self_hosted

#: Sent where an endpoint needs no key. An empty key would make Claude Code send the token of a claude.ai login (measured).
PLACEHOLDER: Final = exports.ANY_KEY
#: Rows of the model picker.
_PICKER_ROWS: Final = 40
#: The header of Byway's key beside a client's own login.
KEY_HEADER: Final = OWN_HEADER.decode()


class LaunchTarget(Struct, frozen=True):
    """An endpoint as a client uses it."""

    name: str
    """Empty: Anthropic itself, with the user's own login."""
    base_url: str = ""
    credential: Credential = "none"
    secret: str = ""
    headers: dict[str, str] = {}
    variables: dict[str, str] = {}
    """Models, windows and limits."""
    settings: dict[str, Any] = {}
    """Settings of Claude Code beside its variables."""
    extra_cas: tuple[str, ...] = ()
    """Files of certificates that requests to it trust too."""
    keeps_login: bool = False
    """This is a Byway that forwards the client's own credential: the client keeps its login, and `secret` goes beside it."""

    def __repr__(self) -> str:
        return f"LaunchTarget({self.name!r}, {self.base_url!r})"

    @property
    def is_local(self) -> bool:
        """It is on this machine or a private network."""
        return bool(self.base_url) and is_self_hosted(self.base_url)

    @property
    def small_window(self) -> int | None:
        """The main model's window, when it cannot hold a full session."""
        window = int(self.variables.get("CLAUDE_CODE_MAX_CONTEXT_TOKENS") or exports.SMALLEST_SESSION)
        return window if window < exports.SMALLEST_SESSION else None

    def request_headers(self) -> dict[str, str]:
        """The headers of a request to the endpoint, with exactly one credential: ours, or the key beside the client's login."""
        if self.keeps_login:
            return {**self.headers, KEY_HEADER: self.secret} if self.secret else self.headers
        if self.credential == "api_key":
            return {**self.headers, "x-api-key": self.secret}
        return {**self.headers, "authorization": f"Bearer {self.secret or PLACEHOLDER}"}


def endpoint_target(endpoint: Endpoint, base_url: str, secret: str, extra_cas: tuple[str, ...] = ()) -> LaunchTarget:
    """An endpoint before anything is known of its models."""
    return LaunchTarget(endpoint.name, base_url, endpoint.credential, secret, endpoint.headers, extra_cas=extra_cas)


def byway_target(
    endpoint: Endpoint, url: str, exported: Mapping[str, Any], key: str, extra_cas: tuple[str, ...] = ()
) -> LaunchTarget:
    """The target for Byway at `url`. `exported` is the answer of `GET /byway/exports`; `key` is empty when none is required."""
    target = endpoint_target(endpoint, f"{url}/anthropic", key, extra_cas)
    return msgspec.structs.replace(
        target,
        credential="auth_token" if key else target.credential,
        keeps_login=bool(exported.get("client_credential")),
    )


def with_byway_models(
    target: LaunchTarget, exported: Mapping[str, Any], report: PreflightReport, model: str
) -> LaunchTarget:
    """The target for Byway. `exported` is the answer of `GET /byway/exports`; `model` the user's choice or empty."""
    variables = {
        name: str(value)
        for name, value in dict(exported.get("variables") or {}).items()
        # NO_PROXY is that of Byway's own environment; the credential, the headers and the certificate are the relay's.
        if name not in (BASE_URL, API_KEY, HEADERS, EXTRA_CAS, "NO_PROXY")
    }
    if model:
        variables = {**variables, "ANTHROPIC_MODEL": model, **_windows(report.models.get(model))}
    is_official = bool(exported.get("official"))
    return _made(
        target, variables, {} if is_official else _settings(report, str(exported.get("permission_mode") or ""))
    )


def with_models(target: LaunchTarget, endpoint: Endpoint, report: PreflightReport, model: str) -> LaunchTarget:
    """The target for another endpoint, by its model map and by the models that it lists."""
    mapped = {FAMILIES[name]: value for name, value in endpoint.model_map.items() if name in FAMILIES}
    overrides = {name: value for name, value in endpoint.model_map.items() if name not in FAMILIES}
    serves_claude = not report.models or any("claude" in name.lower() for name in report.models)
    variables = dict(mapped)
    if not serves_claude:
        # Background calls and subagents use Claude's names too, and this server has none of them.
        main = model or mapped.get("ANTHROPIC_MODEL") or next(iter(report.models))
        variables = {**dict.fromkeys(FAMILIES.values(), main), **mapped}
    elif report.model and report.model != DEFAULT_MODEL:
        variables.setdefault("ANTHROPIC_MODEL", report.model)
    if model:
        variables["ANTHROPIC_MODEL"] = model
    settings: dict[str, Any] = {"modelOverrides": overrides} if overrides else {}
    if not serves_claude:
        variables |= _windows(report.models.get(variables["ANTHROPIC_MODEL"]))
        variables |= {"CLAUDE_CODE_ATTRIBUTION_HEADER": "0", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}
        settings |= _settings(report, "acceptEdits")
    return _made(target, variables, settings)


def _made(target: LaunchTarget, variables: dict[str, str], settings: dict[str, Any]) -> LaunchTarget:
    if target.is_local:
        variables = {**LOCAL_RETRIES, **variables}
    return msgspec.structs.replace(target, variables=variables, settings=settings)


def _windows(facts: ModelFacts | None) -> dict[str, str]:
    """The variables for the window of a model."""
    if facts is None or facts.window is None or facts.window >= exports.ASSUMED_WINDOW:
        return {}
    setup = exports.ClientSetup(None, main_model="model", window=facts.window)
    return {name: value for name, value in exports.variables(setup) if "_MAX_" in name}


def _settings(report: PreflightReport, permission_mode: str) -> dict[str, Any]:
    """Settings for models that are not Anthropic's: their names in the picker, and a permission mode that works with them."""
    settings: dict[str, Any] = {"skipWebFetchPreflight": True}
    own = [name for name in report.models if name.removeprefix(CLAUDE_PREFIX) == name]
    if own:
        options = [
            {"model": name, "label": name, "description": report.models[name].description or "From the endpoint"}
            for name in own[:_PICKER_ROWS]
        ]
        settings["modelPicker"] = {"options": options, "replaceBuiltInOptions": True}
    if permission_mode:
        settings["permissions"] = {"defaultMode": permission_mode}
    return settings
