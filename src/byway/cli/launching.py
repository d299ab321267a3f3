"""What the commands that start clients share: their options, questions and errors."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from byway import platform
from byway.cli.output import Failure, note
from byway.display import latency

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from byway.endpoints.preflight import PreflightReport

SHELLS: Final = ("bash", "fish", "powershell", "cmd")
_MARKS: Final = {
    "ok": ("ok", "green"),
    "warning": ("warning", "yellow"),
    "failed": ("FAILED", "red"),
    "skipped": ("-", ""),
}


class LaunchCommand(click.Command):
    """Byway's own options come first. The first other argument, or `--`, starts those of the client."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        options = {name: option for option in self.params if isinstance(option, click.Option) for name in option.opts}
        flags = {name for name, option in options.items() if option.is_flag} | {"-h", "--help"}
        at = 0
        while at < len(args) and args[at] != "--":
            name, has_value, _ = args[at].partition("=")
            if name not in options and name not in flags:
                break
            at += 1
            if name == "--print-env":
                at += not has_value and args[at : at + 1] != [] and args[at] in SHELLS
            elif name not in flags and not has_value:
                at += 1
        rest = args[at + 1 :] if args[at : at + 1] == ["--"] else args[at:]
        super().parse_args(ctx, args[:at])
        ctx.params["arguments"] = tuple(rest)
        return []


START_CONFIG: Final = click.option(
    "--config", metavar="FILE", help="The config file for a Byway that has to be started."
)
NO_CHECK: Final = click.option("--no-check", is_flag=True, help="Start without checking the endpoint.")
DRY_RUN: Final = click.option("--dry-run", is_flag=True, help="Print what would be started, and start nothing.")


def up_options(config: str | None) -> tuple[str, ...]:
    """The options of `byway up` for a Byway that has to be started with this config file."""
    return ("--config", str(Path(config).absolute())) if config else ()


@contextlib.contextmanager
def launch_failures() -> Iterator[None]:
    """Print why a client cannot be started, and what to do."""
    from byway.launch import session
    from byway.launch.localbyway import LaunchError

    try:
        yield
    except session.EndpointFailure as failure:
        if failure.report is not None:
            print_checks(failure.report)
        details = f"\nDetails: {failure.advice.details}" if failure.advice.details else ""
        raise Failure(f"{failure}{details}") from None
    except LaunchError as error:
        raise Failure(str(error)) from None


def run_plain(program: Path, arguments: Sequence[str]) -> int:
    """Run a program that sends no requests, with the user's own variables."""
    from byway import programs

    try:
        return programs.run_in_terminal([str(program), *arguments], os.environ)
    except OSError as error:
        raise Failure(f"Cannot start {program}: {error.strerror or error}.") from None


def print_checks(report: PreflightReport) -> None:
    """Print the verdicts of a preflight to stderr."""
    for check in report.checks:
        mark, colour = _MARKS[check.state]
        time = f"  ({latency(check.ms)})" if check.ms >= 1 else ""
        note(f"  {check.name:<13}{click.style(f'{mark:<8}', fg=colour or None)} {check.text}{time}")


def report(text: str) -> None:
    """Print a line about the start of a client."""
    note(f"byway: {text}")


def confirm(file: Path, name: str) -> bool:
    """Prompt the user for whether to trust a `.byway` file. Without a terminal: no."""
    if not (platform.is_terminal(sys.stdin) and platform.is_terminal(sys.stderr)):
        return False
    return click.confirm(f"{file} names the endpoint {name}. Use it for this folder?", default=False, err=True)
