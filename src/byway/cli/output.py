"""What the commands share for output: errors with their exit codes."""

from __future__ import annotations

import click


class Failure(click.ClickException):
    """The command cannot do its work: said on stderr, exit code 1."""

    exit_code = 1

    def show(self, file: object = None) -> None:
        click.echo(f"byway: {self.message}", err=True)


class Misuse(Failure):
    """The command line or the config is wrong: exit code 2."""

    exit_code = 2
