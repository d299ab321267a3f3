"""The command line, one module per command. A module is imported when its command runs, so that each starts fast."""

from __future__ import annotations

import importlib
import sys
from typing import Final, NoReturn

import click

#: Name of a command -> what `byway --help` says of it; its module has the same name and holds a `command`.
COMMANDS: Final = {
    "up": "Start Byway.",
    "page": "Print a link that opens the settings page.",
    "verify": "Ask for one token as Claude Code would, and say what is wrong.",
    "requests": "Show the last requests of the Byway that runs.",
    "config": "Read, change and check the settings.",
    "alias": "Show and choose which model answers for which name.",
    "models": "Show what can be asked for, and who answers.",
    "key": "Make, list, rotate and revoke clients' keys.",
    "search": "Search the web as a model would, and print what is found.",
    "fetch": "Fetch a web page as a model would, and print its text.",
    "secret": "Keep the keys of search and cloud providers.",
    "completion": "Print the completion script of a shell.",
    "version": "Print the version.",
}


class Commands(click.Group):
    """Knows the commands by name and imports only the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = importlib.import_module(f"byway.cli.{cmd_name}").command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def byway() -> None:
    """Run Claude Code, and any other Anthropic client, by way of any model.

    `byway up` starts it; without a config file a small built-in model answers.
    """


def main() -> NoReturn:
    """The installed command `byway`."""
    sys.exit(byway.main(prog_name="byway"))
