"""`byway models`."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import click

from byway.cli.config import read
from byway.cli.source import data_dir, find

if TYPE_CHECKING:
    from byway.runtime import Runtime


@click.command()
@click.option("--config", "file", metavar="FILE", help="The config file. [default: $BYWAY_CONFIG, else the user's own]")
@data_dir
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def command(file: str | None, folder: str | None, as_json: bool) -> None:
    """Show what can be asked for, and who answers. Asks the backends themselves; Byway need not run."""
    config = read(find(file, os.environ, folder))
    from byway.runtime import Runtime

    async def ask() -> dict[str, Any]:
        runtime = Runtime(config)
        try:
            await runtime.ask()
            return await answers(runtime)
        finally:
            await runtime.close()

    found = asyncio.run(ask())
    if as_json:
        import json

        click.echo(json.dumps(found, indent=2))
        return
    rows: list[tuple[str, ...]] = [("MODEL", "BACKEND", "WINDOW", "STATE")]
    rows += [(one["model"] or "-", one["backend"], _window(one), one["state"]) for one in found["targets"]]
    _table(rows)
    for one in found["backends"]:
        if one["message"]:
            click.echo(f"{one['name']}: {one['message']}", err=True)
    if any(one["model"] and not one["window"] for one in found["targets"]):
        click.echo("Tell an unknown window in the config: models: [{id: NAME, window: TOKENS}]", err=True)
    if found["aliases"]:
        click.echo()
        _table([("ALIAS", "TARGETS"), *((one["alias"], ", then ".join(one["targets"])) for one in found["aliases"])])


def _window(target: dict[str, Any]) -> str:
    """A window with its source: 32,768 (backend)."""
    if target["window"]:
        return f"{target['window']:,} ({target['window_source']})"
    return "unknown" if target["model"] else "-"


async def answers(runtime: Runtime) -> dict[str, Any]:
    """Backends, targets and aliases of a runtime that has asked its backends, ready for JSON."""
    from byway.local.builtin import WINDOW, Missing, weights
    from byway.problems import Problem
    from byway.runtime import MODEL

    targets = []
    backends = []
    for live in runtime.backends.values():
        state, message, models = live.state, live.message, live.models
        window = None
        if live.vendor.name == "builtin" and state != "off":
            # Its process belongs to `byway up`; all that can be said here is whether it could run.
            models, window = (MODEL,), WINDOW
            try:
                weights()
                state, message = "ready", "starts with `byway up`"
            except Missing as missing:
                state, message = "failed", str(missing)
        backends.append({"name": live.name, "type": live.vendor.name, "state": state, "message": message})
        for model in models or (None,):
            facts = live.facts.get(model) if model else None
            known = facts is not None and facts.window is not None
            targets.append(
                {
                    "backend": live.name,
                    "model": model,
                    "window": facts.window if facts and known else window,
                    "window_source": facts.source if facts and known else "backend" if window else None,
                    "tools": facts.tools if facts else None,
                    "vision": facts.vision if facts else None,
                    "state": state,
                }
            )
    aliases = []
    for alias, leads in runtime.aliases.items():
        try:
            places = (await runtime.route(alias)).places
        except Problem:
            places = ()
        shown = [f"{place.backend}/{place.model}" for place in places]
        aliases.append({"alias": alias, "targets": shown or list(leads)})
    return {"backends": backends, "targets": targets, "aliases": aliases}


def _table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
