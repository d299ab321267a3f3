"""The command line, one module per command. A module is imported when its command runs, so that each command starts fast."""

from __future__ import annotations

import importlib
import sys
from typing import Final, NoReturn

import click

#: Each command with its line in `byway --help`. Its module has the same name and contains a `command`.
COMMANDS: Final = {
    "up": "Start Byway.",
    "page": "Print a link that opens the settings page.",
    "verify": "Send a test request as Claude Code would, and explain a failure.",
    "requests": "Show the last requests of the running Byway.",
    "config": "Read, change and check the settings.",
    "alias": "List, set and remove model aliases.",
    "models": "List models; download, load and unload local ones.",
    "key": "Create, list, rotate and revoke client keys.",
    "secret": "Store the API keys of vendors and search providers.",
    "login": "List and revoke logins of the settings page.",
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

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def byway() -> None:
    """Use any model with Claude Code and other clients of the Anthropic API.

    To start: byway up. Without a config file a small built-in model answers.
    """


def main() -> NoReturn:
    """The installed command `byway`."""
    sys.exit(byway.main(prog_name="byway"))
