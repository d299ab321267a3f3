"""`byway claude`: runs Claude Code with the active endpoint."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from byway import platform
from byway.cli.launching import (
    DRY_RUN,
    NO_CHECK,
    SHELLS,
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
from byway.cli.output import Failure, note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from byway.launch.session import LaunchOptions, LaunchPlan


@click.command(cls=LaunchCommand, options_metavar="[OPTIONS] [--] [ARGUMENTS OF CLAUDE CODE...]")
@click.option("--endpoint", metavar="NAME", help="Use this endpoint; `off` uses Anthropic. [default: the active one]")
@click.option("--model", metavar="NAME", default="", help="The model of the main conversation.")
@START_CONFIG
@NO_CHECK
@DRY_RUN
@click.option(
    "--print-env",
    is_flag=False,
    flag_value="bash",
    type=click.Choice(SHELLS),
    help="Print the variables for a shell instead: bash (default), fish, powershell or cmd.",
)
@click.option("--show-secrets", is_flag=True, help="With --print-env: print the endpoint's secret too.")
@DATA_DIR
def command(
    endpoint: str | None,
    model: str,
    config: str | None,
    no_check: bool,
    dry_run: bool,
    print_env: str | None,
    show_secrets: bool,
    folder: str | None,
    arguments: tuple[str, ...] = (),
) -> None:
    """Run Claude Code with the active endpoint, Byway unless you have chosen another one.

    Starts Byway when it does not run, and checks the endpoint first. Your settings, logins and keys stay as they are, and
    none of them is sent to the endpoint. Everything after these options is passed to Claude Code.

    \b
      byway claude
      byway claude --model qwen3-coder:30b -p "Explain this folder"
      byway claude -- --help
    """
    from byway.launch import session
    from byway.launch.finding import INSTALL_HINT, find_claude

    program = find_claude(os.environ)
    if program is None and not print_env:
        raise Failure(INSTALL_HINT)
    if session.needs_no_endpoint(arguments) and program is not None:
        raise click.exceptions.Exit(run_plain(program, arguments))
    is_dry = dry_run or print_env is not None
    options = session.LaunchOptions(
        data_folder(folder), Path.cwd(), endpoint, model, not no_check, is_dry, up_options(config)
    )
    with launch_failures():
        plan = session.plan_launch(options, os.environ, confirm, report)
        if print_env:
            _print_environment(plan, options, print_env, show_secrets=show_secrets)
            return
        if dry_run:
            _print_plan(plan, options, str(program), arguments)
            return
        _announce(plan, arguments)
        assert program is not None  # noqa: S101 - checked above
        code = session.run_claude(plan, program, arguments, options, os.environ)
        if plan.notice:
            note(f"byway: {plan.notice}.")
    raise click.exceptions.Exit(code)


def _announce(plan: LaunchPlan, arguments: Sequence[str]) -> None:
    """One line about the endpoint, and what limits the client."""
    if plan.notice:
        note(click.style(f"byway: {plan.notice}.", fg="yellow"))
        return
    for check in plan.report.checks if plan.report else ():
        if check.state == "warning":
            note(f"byway: {check.name}: {check.text}")
    window = plan.target.small_window
    if window is not None and "--bare" not in arguments:
        note(
            f"byway: a window of {window:,} tokens is too small for Claude Code's own prompt, which has 12,000 to 25,000. "
            "Use a model with a larger one, or: byway claude --bare"
        )
    if platform.is_terminal(sys.stderr):
        model = f", model {plan.model}" if plan.model else ""
        note(f"byway: endpoint {plan.target.name} ({plan.target.base_url}){model}")


def _print_plan(plan: LaunchPlan, options: LaunchOptions, program: str, arguments: Sequence[str]) -> None:
    from byway.endpoints.clients import overlay_folder
    from byway.launch import session
    from byway.launch.environment import masked

    kept, extra = session.take_settings(arguments, options.folder)
    made = session.plan_environment(plan, options.folder, os.environ, extra)
    place = overlay_folder(options.data) / "PID.settings.json"
    target = f"{plan.target.name} ({plan.target.base_url})" if plan.target.name else "off: Anthropic"
    click.echo(f"Endpoint:  {target}, chosen by: {plan.selection.reason}")
    click.echo(f"Command:   {program} --settings {place} {' '.join(kept)}".rstrip())
    for name, value in sorted(masked(made.changed).items()):
        click.echo(f"Set:       {name}={value}")
    for name in made.removed:
        click.echo(f"Removed:   {name}")
    block = masked(made.overlay["env"])
    shown: dict[str, Any] = {**made.overlay, "env": {name: value for name, value in block.items() if value}}
    click.echo(f"Settings:  {json.dumps(shown, indent=2)}")
    click.echo(f"Empty:     {' '.join(name for name, value in block.items() if not value)}")
    if plan.target.keeps_login:
        click.echo("A relay on 127.0.0.1 replaces the base URL and adds Byway's key. Claude Code keeps its own login.")
    else:
        click.echo("A relay on 127.0.0.1 replaces the base URL and the credential, so the client has neither.")
    if plan.report is not None:
        print_checks(plan.report)


def _print_environment(plan: LaunchPlan, options: LaunchOptions, shell: str, *, show_secrets: bool) -> None:
    from byway.admin.exports import YOUR_KEY
    from byway.launch import session
    from byway.launch.clientsettings import read_settings
    from byway.launch.shells import export_text

    made = session.plan_environment(plan, options.folder, os.environ, {})
    pairs = dict(made.changed)
    secret = plan.target.secret
    if secret and not show_secrets:
        pairs = {name: value.replace(secret, YOUR_KEY) for name, value in pairs.items()}
        note("The secret is not printed: replace YOUR-KEY, or use --show-secrets.")
    if plan.notice:
        note(f"byway: {plan.notice}.")
    click.echo(export_text(shell, pairs, made.removed), nl=False)
    own = [entry for entry in read_settings(options.folder, os.environ) if _overrides(entry.values)]
    for entry in own:
        note(f"{entry.path} overrides these variables. `byway claude` without --print-env is not affected.")


def _overrides(settings: dict[str, Any]) -> bool:
    block = settings.get("env")
    names = block if isinstance(block, dict) else {}
    return bool(settings.get("apiKeyHelper")) or any(name.startswith("ANTHROPIC_") for name in names)
