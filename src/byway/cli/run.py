"""`byway run`: runs other coding agents with the active endpoint."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from byway import platform
from byway.cli.launching import (
    DRY_RUN,
    NO_CHECK,
    START_CONFIG,
    LaunchCommand,
    confirm,
    launch_failures,
    print_checks,
    report,
    run_plain,
    up_options,
)
from byway.cli.options import DATA_DIR, data_folder
from byway.cli.output import Failure, Misuse, note, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from byway.launch.agents import Agent
    from byway.launch.session import LaunchOptions, LaunchPlan


class _RunCommand(LaunchCommand):
    """The first argument that is no option is the agent; options of Byway may be before and after it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        super().parse_args(ctx, args)
        first: tuple[str, ...] = ctx.params["arguments"]
        if first and first[0].startswith("-"):
            raise click.UsageError(f"No such option: {first[0]}", ctx)
        given = {name: value for name, value in ctx.params.items() if name != "arguments"}
        defaults = {option.name: option.get_default(ctx) for option in self.params}
        super().parse_args(ctx, list(first[1:]))
        for name, value in given.items():
            # An option before the agent counts, unless it is given again.
            if value != defaults.get(name) and ctx.params[name] == defaults.get(name):
                ctx.params[name] = value
        ctx.params["agent"] = first[0] if first else ""
        return []


@click.command(cls=_RunCommand, options_metavar="[OPTIONS] AGENT [OPTIONS] [--] [ARGUMENTS OF THE AGENT...]")
@click.option("--endpoint", metavar="NAME", help="Use this endpoint. [default: the active one]")
@click.option("--model", metavar="NAME", default="", help="The model. [default: the endpoint's]")
@START_CONFIG
@NO_CHECK
@DRY_RUN
@DATA_DIR
def command(
    endpoint: str | None,
    model: str,
    config: str | None,
    no_check: bool,
    dry_run: bool,
    folder: str | None,
    agent: str = "",
    arguments: tuple[str, ...] = (),
) -> None:
    """Run a coding agent with the active endpoint, Byway unless you have chosen another one. Without AGENT: list them.

    The agent's own settings, logins and keys stay as they are, and none of them is sent to the endpoint. Everything after
    AGENT and these options is passed to the agent.

    \b
      byway run opencode
      byway run qwen --model qwen3-coder:30b "Explain this folder"
      byway run aider -- --help
    """
    from byway.endpoints.registry import BYWAY
    from byway.launch import session
    from byway.launch.agents import AGENTS
    from byway.launch.agentsession import run_agent
    from byway.launch.finding import find_agent

    if not agent:
        _list()
        return
    row = AGENTS.get(agent)
    if row is None:
        hint = "For Claude Code: byway claude." if agent == "claude" else f"Use one of: {', '.join(AGENTS)}."
        raise Misuse(f"There is no agent {agent[:60]!r}. {hint}")
    program = find_agent(row.name, row.program, os.environ)
    if program is None:
        raise Failure(
            f"{row.title} is not installed, or is not on PATH. Install it:\n  {row.install}\n"
            f"Or name the program: BYWAY_{row.name.upper()}=/path/to/{row.program} byway run {row.name}"
        )
    if row.sends_nothing(arguments):
        raise click.exceptions.Exit(run_plain(program, arguments))
    options = session.LaunchOptions(
        data_folder(folder), Path.cwd(), endpoint, model, not no_check, dry_run, up_options(config)
    )
    with launch_failures():
        plan = session.plan_launch(options, os.environ, confirm, report)
        if plan.notice:
            note(
                click.style(
                    f"byway: {plan.notice.replace('Anthropic answers', f'{row.title} uses its own settings')}.",
                    fg="yellow",
                )
            )
        if row.needs_responses and plan.target.name not in ("", BYWAY):
            note(
                click.style(
                    f"byway: {row.title} uses the Responses API, which the endpoint {plan.target.name} may not have. Byway "
                    f"has it: byway run {row.name} --endpoint {BYWAY}",
                    fg="yellow",
                )
            )
        if dry_run:
            _print_plan(row, plan, options, program, arguments)
            return
        if platform.is_terminal(sys.stderr) and plan.target.name:
            note(f"byway: endpoint {plan.target.name} ({plan.target.base_url})")
        code = run_agent(row, plan, program, arguments, options, os.environ)
    raise click.exceptions.Exit(code)


def _list() -> None:
    from byway.launch.agents import AGENTS
    from byway.launch.finding import find_agent

    rows = [("AGENT", "NAME", "PROGRAM")]
    for row in AGENTS.values():
        path = find_agent(row.name, row.program, os.environ)
        rows.append((row.name, row.title, str(path) if path else f"not installed: {row.install}"))
    print_table(rows)
    note("For Claude Code: byway claude")


def _print_plan(
    agent: Agent, plan: LaunchPlan, options: LaunchOptions, program: Path, arguments: Sequence[str]
) -> None:
    from byway.endpoints.clients import overlay_folder
    from byway.launch.agentsession import agent_endpoint, agent_environment

    place = overlay_folder(options.data) / f"PID.{agent.name}{agent.suffix}"
    setup = agent.setup(agent_endpoint(plan, str(place)))
    target = f"{plan.target.name} ({plan.target.base_url})" if plan.target.name else "off: the agent's own settings"
    click.echo(f"Endpoint:  {target}, chosen by: {plan.selection.reason}")
    if not plan.target.name:
        click.echo(f"Command:   {program} {' '.join(arguments)}".rstrip())
        return
    click.echo(f"Command:   {' '.join((str(program), *setup.arguments, *arguments))}")
    made = agent_environment(setup.variables, plan.target.base_url, os.environ)
    for name, value in sorted(made.items()):
        if os.environ.get(name) != value:
            click.echo(f"Set:       {name}={value}")
    for name in os.environ:
        if name not in made:
            click.echo(f"Removed:   {name}")
    if setup.content:
        click.echo(f"File:      {place}\n{setup.content}")
    click.echo("A relay on 127.0.0.1 replaces the base URL and the credential, so the agent has neither.")
    if plan.report is not None:
        print_checks(plan.report)
