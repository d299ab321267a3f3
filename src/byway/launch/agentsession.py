"""One run of another agent than Claude Code, by the rules of `byway claude`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from byway.endpoints.preflight import DEFAULT_MODEL
from byway.launch.agents import Agent, AgentEndpoint
from byway.launch.environment import no_proxy_variables
from byway.launch.relay import Relay
from byway.launch.session import LaunchOptions, LaunchPlan, run_client, write_overlay


def agent_endpoint(plan: LaunchPlan, file: str, relay: Relay | None = None) -> AgentEndpoint:
    """What an agent is given for a plan. Without a relay: for display, without a secret."""
    listed = plan.report.models if plan.report else {}
    model = plan.model or next(iter(listed), DEFAULT_MODEL)
    facts = listed.get(model)
    exported = plan.target.variables.get("CLAUDE_CODE_MAX_CONTEXT_TOKENS", "")
    window = facts.window if facts and facts.window else int(exported) if exported.isdigit() else None
    windows = {name: listed[name].window or 0 for name in listed if listed[name].window}
    url, token = (relay.url, relay.token) if relay else (plan.target.base_url, "***")
    return AgentEndpoint(url, token, model, window, file, windows)


def agent_environment(variables: Mapping[str, str], url: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of an agent: the user's, changed by the row, and this machine in NO_PROXY."""
    changes = {**variables, **no_proxy_variables(url, environ)}
    removed = {name for name, value in changes.items() if not value}
    kept = {name: value for name, value in environ.items() if name not in removed}
    return {**kept, **{name: value for name, value in changes.items() if value}}


def run_agent(
    agent: Agent,
    plan: LaunchPlan,
    program: Path,
    arguments: Sequence[str],
    options: LaunchOptions,
    environ: Mapping[str, str],
) -> int:
    """Run an agent in this terminal until it ends; returns its exit code. Raises LaunchError."""

    def prepare(path: Path, relay: Relay | None) -> tuple[Sequence[str], Mapping[str, str]]:
        if relay is None:
            # Endpoints are off: the agent runs with the user's own settings.
            return [str(program), *arguments], environ
        setup = agent.setup(agent_endpoint(plan, str(path), relay))
        if setup.content:
            write_overlay(path, setup.content)
        return [str(program), *setup.arguments, *arguments], agent_environment(setup.variables, relay.url, environ)

    return run_client(plan, program, f".{agent.name}{agent.suffix}", prepare, options, environ)
