"""The agents that `byway run` starts, one row each: how a program is pointed at an endpoint. Pure.

A row changes nothing of the user's: it sets variables, adds arguments, and names a file that exists while the agent runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from byway.launch.codexmodels import catalog

#: The name under which agents list the endpoint.
_PROVIDER: Final = "byway"
#: Output tokens of a model whose limit is not known.
_OUTPUT: Final = 8_192
#: The context window of a model whose window is not known.
_WINDOW: Final = 200_000


class AgentEndpoint(NamedTuple):
    """What an agent is given."""

    url: str
    """The base URL, without /v1."""
    token: str
    model: str
    window: int | None = None
    """The context window of the model, where it is known."""
    file: str = ""
    """The path of the agent's file."""
    windows: Mapping[str, int] = {}
    """The listed models whose context window is known, each with it."""

    @property
    def v1(self) -> str:
        """The base URL for programs that append only /messages."""
        return f"{self.url}/v1"

    @property
    def context(self) -> int:
        """The context window, or a usual one."""
        return self.window or _WINDOW

    @property
    def output(self) -> int:
        """The most output tokens that fit beside a prompt."""
        return min(_OUTPUT, self.context // 4)


class AgentSetup(NamedTuple):
    """How an agent is started for an endpoint."""

    variables: dict[str, str]
    """An empty value removes a variable."""
    arguments: tuple[str, ...] = ()
    """Before those of the user."""
    content: str = ""
    """The content of the file; empty when the agent needs none."""


class Agent(NamedTuple):
    """A row of the table."""

    name: str
    title: str
    install: str
    setup: Callable[[AgentEndpoint], AgentSetup]
    other_program: str = ""
    """The name of the program where it is not that of the agent."""
    suffix: str = ".json"
    """The end of the file's name."""
    plain: tuple[str, ...] = ()
    """First arguments with which the agent sends no requests, beside --version and --help."""
    needs_responses: bool = False
    """It uses the Responses API, which Byway has, instead of the Messages API, which every endpoint has."""

    @property
    def program(self) -> str:
        """The name of the program."""
        return self.other_program or self.name

    def sends_nothing(self, arguments: tuple[str, ...]) -> bool:
        """Whether the agent only prints or updates itself."""
        return bool(arguments) and arguments[0] in (*_PLAIN, *self.plain)


#: Arguments with which every agent sends no requests.
_PLAIN: Final = ("--version", "-v", "--help", "-h")


def _opencode(at: AgentEndpoint) -> AgentSetup:
    """Its config in a variable is merged over its files: https://opencode.ai/docs/config (seen 2026-11-30)."""
    model = {"name": at.model, "limit": {"context": at.context, "output": at.output}}
    provider = {
        "name": "Byway",
        "npm": "@ai-sdk/anthropic",
        "options": {"baseURL": at.v1, "apiKey": at.token},
        "models": {at.model: model},
    }
    name = f"{_PROVIDER}/{at.model}"
    settings = {
        "provider": {_PROVIDER: provider},
        "enabled_providers": [_PROVIDER],
        "model": name,
        "small_model": name,
        "share": "disabled",
        "autoupdate": False,
    }
    return AgentSetup({"OPENCODE_CONFIG_CONTENT": json.dumps(settings)})


def _qwen(at: AgentEndpoint) -> AgentSetup:
    """Its system settings override the user's: https://qwenlm.github.io/qwen-code-docs (seen 2026-11-30)."""
    models = [{"id": at.model, "name": at.model, "baseUrl": at.url, "envKey": "ANTHROPIC_API_KEY"}]
    settings: dict[str, Any] = {
        "security": {"auth": {"selectedType": "anthropic"}},
        "model": {"name": at.model},
        "modelProviders": {"anthropic": models},
        "privacy": {"usageStatisticsEnabled": False},
    }
    variables = {
        "QWEN_CODE_SYSTEM_SETTINGS_PATH": at.file,
        "ANTHROPIC_BASE_URL": at.url,
        "ANTHROPIC_API_KEY": at.token,
        "ANTHROPIC_MODEL": at.model,
    }
    return AgentSetup(variables, (), json.dumps(settings, indent=1))


def _copilot(at: AgentEndpoint) -> AgentSetup:
    """Its own model provider: `copilot help providers` (1.0.102). Offline it needs no GitHub login."""
    variables = {
        "COPILOT_PROVIDER_TYPE": "anthropic",
        "COPILOT_PROVIDER_BASE_URL": at.url,
        "COPILOT_PROVIDER_API_KEY": at.token,
        "COPILOT_PROVIDER_BEARER_TOKEN": "",
        "COPILOT_MODEL": at.model,
        "COPILOT_PROVIDER_MODEL_ID": "",
        "COPILOT_PROVIDER_WIRE_MODEL": "",
        "COPILOT_PROVIDER_MAX_PROMPT_TOKENS": str(at.context - at.output),
        "COPILOT_PROVIDER_MAX_OUTPUT_TOKENS": "",
        "COPILOT_OFFLINE": "true",
    }
    return AgentSetup(variables)


def _aider(at: AgentEndpoint) -> AgentSetup:
    """Variables AIDER_... override its files, and litellm reads the rest: https://aider.chat/docs/config/options.html
    (seen 2026-11-30)."""
    name = f"anthropic/{at.model}"
    variables = {
        "ANTHROPIC_API_KEY": at.token,
        "ANTHROPIC_API_BASE": at.url,
        "ANTHROPIC_BASE_URL": at.url,
        "AIDER_MODEL": name,
        "AIDER_WEAK_MODEL": name,
        "AIDER_EDITOR_MODEL": name,
        "AIDER_MODEL_METADATA_FILE": at.file,
        "AIDER_CHECK_UPDATE": "false",
        "AIDER_ANALYTICS_DISABLE": "true",
        "AIDER_SHOW_MODEL_WARNINGS": "false",
    }
    facts = {
        "max_input_tokens": at.context,
        "max_output_tokens": at.output,
        "litellm_provider": "anthropic",
        "mode": "chat",
    }
    return AgentSetup(variables, (), json.dumps({name: facts}, indent=1))


def _pi(at: AgentEndpoint) -> AgentSetup:
    """An extension registers a provider: docs/custom-provider.md of its package (0.73.1)."""
    model = {
        "id": at.model,
        "name": at.model,
        "reasoning": False,
        "input": ["text", "image"],
        "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0},
        "contextWindow": at.context,
        "maxTokens": at.output,
    }
    provider = {
        "baseUrl": at.url,
        "apiKey": at.token,
        "api": "anthropic-messages",
        "models": [model],
    }
    content = (
        f"export default (pi) => pi.registerProvider({json.dumps(_PROVIDER)}, {json.dumps(provider, indent=1)});\n"
    )
    arguments = ("--extension", at.file, "--provider", _PROVIDER, "--model", at.model)
    return AgentSetup({}, arguments, content)


def _continue(at: AgentEndpoint) -> AgentSetup:
    """A config file replaces the user's for one run: https://docs.continue.dev/reference (seen 2026-11-30)."""
    model = {
        "name": at.model,
        "provider": "anthropic",
        "model": at.model,
        "apiBase": f"{at.v1}/",
        "apiKey": at.token,
        "roles": ["chat", "edit", "apply"],
        "capabilities": ["tool_use"],
        "defaultCompletionOptions": {"contextLength": at.context, "maxTokens": at.output},
    }
    # JSON is YAML.
    content = json.dumps({"name": "Byway", "version": "1.0.0", "schema": "v1", "models": [model]}, indent=1)
    return AgentSetup({"CONTINUE_TELEMETRY_ENABLED": "0"}, ("--config", at.file), content)


def _gptme(at: AgentEndpoint) -> AgentSetup:
    """https://gptme.org/docs/providers.html (seen 2026-11-30); its client of Anthropic reads ANTHROPIC_BASE_URL."""
    variables = {
        "ANTHROPIC_API_KEY": at.token,
        "ANTHROPIC_BASE_URL": at.url,
        "MODEL": f"anthropic/{at.model}",
    }
    return AgentSetup(variables)


def _mini(at: AgentEndpoint) -> AgentSetup:
    """https://mini-swe-agent.com/latest/advanced/global_configuration/ (seen 2026-11-30); litellm reads the rest."""
    variables = {
        "ANTHROPIC_API_KEY": at.token,
        "ANTHROPIC_API_BASE": at.url,
        "ANTHROPIC_BASE_URL": at.url,
        "MSWEA_MODEL_NAME": f"anthropic/{at.model}",
        "MSWEA_COST_TRACKING": "ignore_errors",
        "MSWEA_CONFIGURED": "true",
    }
    return AgentSetup(variables)


#: The variable that has the key for Codex.
_CODEX_KEY: Final = "BYWAY_CODEX_KEY"


def _codex(at: AgentEndpoint) -> AgentSetup:
    """Options `-c` override its config for one run: https://developers.openai.com/codex/config-reference (seen 2026-11-30).

    Values are TOML, and a JSON string is one too.
    """
    provider = {"name": "Byway", "base_url": at.v1, "env_key": _CODEX_KEY, "wire_api": "responses"}
    table = ", ".join(f"{name} = {json.dumps(value)}" for name, value in provider.items())
    settings = {
        "model": json.dumps(at.model),
        "model_provider": json.dumps(_PROVIDER),
        f"model_providers.{_PROVIDER}": f"{{{table}}}",
        "model_catalog_json": json.dumps(at.file),
        "analytics.enabled": "false",
        "check_for_update_on_startup": "false",
    }
    arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    windows = {at.model: at.context, **at.windows}
    return AgentSetup({_CODEX_KEY: at.token}, tuple(arguments), catalog(windows))


#: Every agent by its name.
AGENTS: Final = {
    agent.name: agent
    for agent in (
        Agent(
            "opencode",
            "opencode",
            "npm install -g opencode-ai",
            _opencode,
            plain=("upgrade", "uninstall", "completion"),
        ),
        Agent("qwen", "Qwen Code", "npm install -g @qwen-code/qwen-code    (needs Node.js 22)", _qwen),
        Agent(
            "copilot",
            "GitHub Copilot CLI",
            "npm install -g @github/copilot",
            _copilot,
            plain=("update", "version", "help"),
        ),
        Agent(
            "pi",
            "pi",
            "npm install -g @mariozechner/pi-coding-agent",
            _pi,
            suffix=".js",
            plain=("update", "install", "list"),
        ),
        Agent("continue", "Continue CLI", "npm install -g @continuedev/cli", _continue, "cn", ".yaml"),
        Agent(
            "codex",
            "Codex CLI",
            "npm install -g @openai/codex",
            _codex,
            plain=("login", "logout", "completion", "update", "debug", "features", "help"),
            needs_responses=True,
        ),
        Agent("aider", "aider", "pip install aider-chat", _aider),
        Agent("gptme", "gptme", "pip install gptme", _gptme),
        Agent("mini", "mini-swe-agent", "pip install mini-swe-agent", _mini),
    )
}
