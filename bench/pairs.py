"""`python -m bench pairs COMMIT`: measures an older commit and this tree in turn, and compares them.

The benchmark of this tree measures both. Both run at the same time, and short loads alternate between them; the ratio is that
of one round, and the median of the rounds counts. So the speed of the machine, which changes from second to second, nearly
cancels out. Each round starts both again: where a process happens to lie in memory changes its speed by up to 4 %.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from bench import peers, runs
from bench.peers import Programs, Protocol
from bench.runs import BY_NAME, MEMORY, STEADY

HERE = peers.HERE.parent
#: A row that is worse by more than this fails the comparison.
WORSE = 1.08
#: Loads of a third of a second.
_PACE: Final = replace(STEADY, seconds=0.35, chunk_tokens=150, first_requests=100)

Figures = dict[str, list[float]]


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """A working tree of `commit` in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="byway-pairs-") as folder:
        tree = Path(folder) / "tree"
        subprocess.run(["git", "worktree", "add", "-q", "--detach", str(tree), commit], cwd=HERE, check=True)
        try:
            yield tree
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=HERE, check=False)


class Pair:
    """An older tree and this one, with a folder each."""

    def __init__(self, older: Path, folder: Path) -> None:
        self.trees = {"old": older, "new": HERE}
        self.programs = {}
        for name in self.trees:
            (folder / name).mkdir()
            self.programs[name] = Programs(folder / name)

    def start(self, name: str, backend: int, protocol: Protocol) -> contextlib.AbstractContextManager[peers.Peer]:
        models = runs.models(_PACE)
        return peers.byway(self.programs[name], backend, protocol, models, tree=self.trees[name])


def order(number: int) -> list[str]:
    """The order of the trees in a round: it alternates, because the second one may find another machine than the first."""
    return ["old", "new"] if number % 2 == 0 else ["new", "old"]


def measure(pair: Pair, rounds: int, wanted: list[str]) -> Iterator[tuple[str, str, float]]:
    """Every wanted metric of both trees in each round: (metric, `old` or `new`, value) as they come."""
    with peers.mock(pair.programs["new"], runs.models(_PACE)) as backend:
        protocols: tuple[Protocol, ...] = ("openai", "anthropic")
        for protocol in protocols:
            busy = [name for name in wanted if BY_NAME[name].protocol == protocol and name not in ("start", *MEMORY)]
            for number in range(rounds if busy else 0):
                with contextlib.ExitStack() as stack:
                    both = {name: stack.enter_context(pair.start(name, backend, protocol)) for name in order(number)}
                    for metric in busy:
                        for name in order(number):
                            yield metric, name, runs.cost(pair.programs[name], both[name], backend, metric, _PACE)
        if set(wanted) & set(MEMORY):
            for number in range(rounds):
                for name in order(number):
                    with pair.start(name, backend, "openai") as peer:
                        for metric, value in runs.held(pair.programs[name], peer, _PACE, wanted):
                            if metric in wanted:
                                yield metric, name, value
        if "start" in wanted:
            # The first start of each tree compiles its modules.
            for number in range(-1, rounds):
                for name in order(number):
                    began = time.monotonic()
                    with pair.start(name, backend, "openai"):
                        seconds = time.monotonic() - began
                    if number >= 0:
                        yield "start", name, seconds


def table(old: Figures, new: Figures) -> tuple[str, bool]:
    """Medians of both trees and of the ratios of the rounds; True when a ratio is over WORSE. Less is better everywhere."""
    lines = [f"{'':52}{'old':>10}{'new':>10}{'new / old':>11}"]
    worse = False
    for metric, figures in new.items():
        before, after = statistics.median(old[metric]), statistics.median(figures)
        ratio = statistics.median([b / a if a else 1.0 for a, b in zip(old[metric], figures, strict=True)])
        mark = "  worse" if ratio > WORSE else ""
        worse = worse or bool(mark)
        name = f"{BY_NAME[metric].title} ({BY_NAME[metric].unit})"
        lines.append(f"{name:52}{before:>10.4g}{after:>10.4g}{ratio:>11.3f}{mark}")
    return "\n".join(lines), worse


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench pairs", description=__doc__)
    parser.add_argument("commit", help="the older commit")
    parser.add_argument("--rounds", type=int, default=10, help="rounds of each tree (default: %(default)s)")
    parser.add_argument("--only", help="metrics, separated by commas")
    parser.add_argument("--save", metavar="FILE", type=Path, help="write all figures to FILE as JSON")
    options = parser.parse_args(arguments)
    wanted = options.only.split(",") if options.only else list(BY_NAME)
    if unknown := [name for name in wanted if name not in BY_NAME]:
        parser.error(f"there is no {unknown[0]!r}; metrics: {', '.join(BY_NAME)}")
    figures: dict[str, Figures] = {"old": {}, "new": {}}
    try:
        with checkout(options.commit) as tree, tempfile.TemporaryDirectory(prefix="byway-pairs-") as folder:
            for metric, name, value in measure(Pair(tree, Path(folder)), options.rounds, wanted):
                if metric not in figures[name]:
                    print(f"bench: {metric}, {name}", file=sys.stderr, flush=True)
                figures[name].setdefault(metric, []).append(value)
    except (peers.Unusable, runs.Invalid) as problem:
        print(f"bench: {problem}", file=sys.stderr)
        return 1
    text, worse = table(figures["old"], figures["new"])
    print(text)
    if options.save:
        options.save.write_text(json.dumps({"commit": options.commit, **figures}, indent=1) + "\n")
    return int(worse)
