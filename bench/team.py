"""`python -m bench team`: what keys, usage records, prices, limits and budgets cost, compared with all of it off.

By default it counts bytecode instructions, which do not depend on the load of the machine. `--rounds N` measures CPU time of
both in turn, for a quiet machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bench import peers, runs, steps
from bench.runs import STEADY

OFF: Final[Mapping[str, object]] = {}
#: The load generator sends the key `bench`.
ON: Final[Mapping[str, object]] = {
    "usage": {"enabled": True},
    "api_keys": {"api_keys": [{"key": "bench", "id": "bench", "user_id": "ada", "organization_id": "lab"}]},
    "prices": {"mock/*": {"input": 3, "output": 15}},
    "limits": [
        {
            "for": "key",
            "requests_per_minute": 100_000_000,
            "tokens_per_minute": 900_000_000,
            "concurrency": 1000,
            "budget": 1_000_000,
        }
    ],
}
#: How much more CPU time a request may cost with all of it.
MOST: Final = 1.15
ROWS: Final = ("1k", "60k")


def _counted() -> bool:
    off, on = (steps.count(list(ROWS), sections=sections) for sections in (OFF, ON))
    within = True
    for name in ROWS:
        print(steps.table(name, on[name], off[name], 25).replace("in the older commit", "with all of it off"))
        ratio = sum(on[name].values()) / sum(off[name].values())
        within = within and ratio <= MOST
        print(f"{name}: {ratio:.3f} of the instructions, limit {MOST:g}\n")
    return within


def _measured(rounds: int) -> bool:
    figures: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="byway-team-") as folder:
        programs = peers.Programs(Path(folder))
        models = runs.models(STEADY)
        for number in range(rounds):
            both = [("off", OFF), ("on", ON)]
            for kind, sections in both if number % 2 == 0 else reversed(both):
                with (
                    peers.mock(programs, models) as backend,
                    peers.byway(programs, backend, "openai", models, sections=sections) as peer,
                ):
                    for name in ROWS:
                        cost = runs.cost(programs, peer, backend, name, STEADY)
                        figures.setdefault((name, kind), []).append(cost)
            print(f"bench: round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    within = True
    for name in ROWS:
        off, on = (statistics.median(figures[name, kind]) for kind in ("off", "on"))
        within = within and on / off <= MOST
        print(f"{name}: {off:.1f} us off, {on:.1f} us on: {on / off:.3f}, limit {MOST:g}")
    return within


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench team", description=__doc__)
    parser.add_argument("--rounds", type=int, default=0, help="measure CPU time in this many rounds")
    options = parser.parse_args(arguments)
    try:
        within = _measured(options.rounds) if options.rounds else _counted()
    except (peers.Unusable, runs.Invalid) as problem:
        print(f"bench: {problem}", file=sys.stderr)
        return 1
    return 0 if within else 1
