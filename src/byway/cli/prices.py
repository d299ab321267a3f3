"""`byway prices`: what models cost, and where each price comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from byway.cli.options import CONFIG, DATA_DIR, JSON, data_folder
from byway.cli.output import Failure, note, print_json, print_table, printable

if TYPE_CHECKING:
    from byway.admin.prices import PriceInfo
    from byway.runtime import Runtime


@click.command()
@click.argument("model", default="")
@CONFIG
@DATA_DIR
@JSON
def command(model: str, file: str | None, folder: str | None, as_json: bool) -> None:
    """Show what models cost, in US dollars per million tokens, and where each price comes from.

    MODEL is a name that clients request, or backend/model. Without it: the targets of the aliases, and all models of the
    backends.
    """
    import os

    from byway.admin.prices import list_prices
    from byway.cli import configfile
    from byway.cli.snapshot import query_backends
    from byway.problems import Problem

    async def listed(runtime: Runtime) -> list[PriceInfo]:
        await runtime.prices.load()
        return list_prices(runtime, model)

    config = configfile.read(configfile.find(file, os.environ, folder))
    try:
        prices = query_backends(config, data_folder(folder), listed)
    except Problem as problem:
        raise Failure(problem.message) from None
    if as_json:
        print_json({"prices": prices})
        return
    print_table([("TARGET", "INPUT", "CACHED", "STORED", "OUTPUT", "SOURCE"), *map(_row, prices)])
    if any(price.tiers for price in prices):
        note("+: another price applies to long prompts. All numbers: --json")


def _row(info: PriceInfo) -> tuple[str, ...]:
    more = "+" if info.tiers else ""
    price = info.price
    if price is None:
        return (printable(info.target), "unknown", "", "", "", printable(info.source))
    numbers = (price.input, price.cached, price.cache_write, price.output)
    return (printable(info.target), *(f"${value:.12g}{more}" for value in numbers), printable(info.source))
