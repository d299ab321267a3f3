"""The command line, one module per command. A module is imported when its command runs, so that each command starts fast."""

from __future__ import annotations

import importlib
import sys
from typing import Final, NoReturn

import click

#: Each command with its line in `byway --help`. Its module has the same name and contains a `command`.
COMMANDS: Final = {
    "up": "Start Byway.",
    "claude": "Run Claude Code with Byway, or with another endpoint.",
    "run": "Run another coding agent with Byway, or with another endpoint.",
    "acp": "Run Claude Code as an agent of an editor (ACP).",
    "service": "Start Byway at login.",
    "endpoint": "List, add and choose the endpoints that clients use.",
    "page": "Print a link that opens the settings page.",
    "connect": "Write an endpoint into the settings of Claude Code and editors.",
    "disconnect": "Undo what connect and doctor have written.",
    "doctor": "Find what keeps clients from their endpoint, and fix it.",
    "verify": "Send a test request as Claude Code would, and explain a failure.",
    "requests": "Show the last requests of the running Byway.",
    "record": "Record prompts and answers for the inspector.",
    "log": "Show the log of the running Byway, as it grows.",
    "usage": "Show requests, tokens and cost; export them.",
    "prices": "Show what models cost.",
    "batch": "List, cancel and delete batches.",
    "limits": "Show the limits and how much of them is used.",
    "config": "Read, change and check the settings.",
    "alias": "List, set and remove model aliases.",
    "models": "List models; download, load and unload local ones.",
    "account": "Add, list, change, disable and remove accounts.",
    "key": "Create, list, rotate and revoke client keys.",
    "secret": "Store the API keys of vendors and search providers.",
    "files": "List and delete the files that clients have uploaded.",
    "login": "List and revoke logins of the settings page.",
    "signin": "Approve, list and end sign-ins of Claude Code by /login.",
    "tls": "Show the certificate of https and what clients have to trust.",
    "search": "Search the web with the configured provider.",
    "fetch": "Fetch a web page and print its text.",
    "completion": "Print the completion script of a shell.",
    "version": "Print the version.",
}


class Commands(click.Group):
    """The group `byway`, which imports only the command that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"byway.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0][:50], COMMANDS, 1, 0.6)
            hint = f"Did you mean `byway {near[0]}`?" if near else "To list the commands: byway --help"
            ctx.fail(f"No such command {args[0]!r}. {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from byway.cli.version import version_line

        click.echo(version_line())
        ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
def byway() -> None:
    """Use any model with Claude Code and other clients of the Anthropic API.

    To start: byway up. Without a config file a small built-in model answers.
    """


def main() -> NoReturn:
    """The installed command `byway`."""
    sys.exit(byway.main(prog_name="byway"))
