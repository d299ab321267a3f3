"""`byway models probe`: tests by real requests whether a model is ready for Claude Code."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import click

from byway import platform
from byway.cli import client
from byway.cli.options import DATA_DIR, JSON, data_folder
from byway.cli.output import Failure, Misuse, StatusLine, note, print_json, print_table, printable
from byway.display import dollars, elapsed, latency
from byway.endpoints.running import request

if TYPE_CHECKING:
    from pathlib import Path

#: Seconds between two looks at the progress.
_INTERVAL: Final = 0.3
_MARKS: Final = {
    "passed": ("✓", "green"),
    "failed": ("✗", "red"),
    "not supported": ("-", "yellow"),
    "not run": ("·", None),
}
_COLOURS: Final = {
    "good for agent work": "green",
    "usable with limits": "yellow",
    "chat only": "yellow",
    "does not work": "red",
}


@click.command()
@click.argument("name", metavar="[NAME]", required=False)
@DATA_DIR
@JSON
def probe(name: str | None, folder: str | None, as_json: bool) -> None:
    """Test a model for Claude Code: tools, JSON, long prompts, images and more. Byway must run.

    NAME is a model name, an alias, or BACKEND/MODEL. The test takes about a minute and 45,000 tokens, which a cloud bills.
    Without NAME: list the last results.
    """
    data = data_folder(folder)
    if name is None:
        _list(client.needed_answer(data, "GET", "/byway/readiness"), as_json)
        return
    result = _run(data, name, quiet=as_json)
    if as_json:
        print_json(result)
    else:
        _conclude(result)
    if result["verdict"] == "does not work":
        raise click.exceptions.Exit(Failure.exit_code)


def _run(data: Path, name: str, *, quiet: bool) -> dict[str, Any]:
    """Start the test and return its result; print a line for each probe that has ended."""
    answer = request(data, "POST", "/byway/models/probe", {"name": name})
    if answer is None:
        raise Failure(client.not_running(data))
    if answer.status != 202:
        message = printable(answer.message) or f"Byway has answered with status {answer.status}."
        raise (Misuse if answer.status == 404 else Failure)(message)
    result = answer.body
    target = f"{result['backend']}/{result['model']}"
    if not quiet:
        click.echo(f"Testing {printable(target)}")
        if not result["self_hosted"]:
            note("This is a cloud model: the test is billed.")
    line = StatusLine()
    shown = 0
    started = time.monotonic()
    try:
        while True:
            if not quiet:
                for probed in result["results"][shown:]:
                    line.clear()
                    click.echo(_row(probed))
                    shown += 1
            if result["state"] != "running":
                return result
            if not quiet:
                line.show(f"  … {result['current']} ({elapsed(time.monotonic() - started)})")
            time.sleep(_INTERVAL)
            path = f"/byway/models/probe?{urlencode({'name': target})}"
            result = client.needed_answer(data, "GET", path)
    except KeyboardInterrupt:
        raise Failure("Stopped waiting. The test continues: `byway models probe` lists its result.") from None
    finally:
        line.clear()


def _row(probed: dict[str, Any]) -> str:
    """A line for a probe."""
    mark, colour = _MARKS[probed["state"]]
    took = "" if probed["ms"] is None else latency(probed["ms"])
    text = printable(probed["reason"])
    if probed["state"] != "passed":
        text = f"{probed['state']}: {text}"
    return f"  {click.style(mark, fg=colour)} {probed['title']:<15} {took:>9}  {text}".rstrip()


def _conclude(result: dict[str, Any]) -> None:
    """The verdict, its reasons, and what to do."""
    verdict = result["verdict"]
    word = click.style(verdict, fg=_COLOURS.get(verdict), bold=True)
    cost = "" if result["self_hosted"] or result["cost"] is None else f", {dollars(result['cost'])}"
    click.echo()
    click.echo(f"For Claude Code: {word} ({result['passed']} of {result['total']} passed)")
    for reason in result["reasons"]:
        click.echo(f"  - {printable(reason)}")
    for words in result["learned"]:
        click.echo(f"  - Learned from refusals: Byway {printable(words)}.")
    click.echo(f"  Next: {printable(result['action'])}")
    speed = f", {result['answer_speed']:,.0f} tokens/s" if result["answer_speed"] else ""
    note(f"Used {result['input_tokens']:,} tokens of input and {result['output_tokens']:,} of output{cost}{speed}")


def _list(answer: dict[str, Any], as_json: bool) -> None:
    """The last results."""
    models = answer["models"]
    if as_json:
        print_json(answer)
        return
    if not models:
        click.echo("No model was tested yet. To test one: byway models probe NAME")
        return
    rows = [("MODEL", "FOR CLAUDE CODE", "PASSED", "TESTED")]
    for model in models:
        tested = str(model["at"] or "").replace("T", " ")[:16] or "running"
        rows.append(
            (
                printable(f"{model['backend']}/{model['model']}"),
                model["verdict"] or f"testing: {model['current']}",
                f"{model['passed']}/{model['total']}",
                f"{tested} (old: {printable(model['old'])})" if model["old"] else tested,
            )
        )

    def style(row: int, column: int, cell: str) -> str:
        return click.style(cell, fg=_COLOURS.get(cell.strip())) if row and column == 1 else cell

    print_table(rows, style if platform.is_terminal(sys.stdout) else lambda row, column, cell: cell)
