"""`python -m bench pairs COMMIT`: measures an older commit and this tree in turn, and compares the medians."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import peers
from bench.runs import BY_NAME

HERE = peers.HERE.parent
#: A median that is worse by more than this fails the comparison.
WORSE = 1.08

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


def measure(tree: Path, arguments: list[str]) -> dict[str, float]:
    """One round of the benchmark that `tree` contains: a figure for each metric of Byway."""
    command = [sys.executable, "-m", "bench", "--peers", "byway,direct", "--rounds", "1", "--json", *arguments]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tree / "src"), str(tree)))}
    done = subprocess.run(command, cwd=tree, env=environ, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise peers.Unusable(f"the benchmark of {tree} failed with exit code {done.returncode}")
    values = json.loads(done.stdout)["values"]
    return {metric: row["byway"][0] for metric, row in values.items() if "byway" in row}


def table(old: Figures, new: Figures) -> tuple[str, bool]:
    """Medians of both trees and their ratio; True when a median is worse by more than WORSE. Less is better everywhere."""
    lines = [f"{'':34}{'old':>12}{'new':>12}{'new / old':>12}"]
    worse = False
    for metric, figures in new.items():
        if metric not in old:
            continue
        before, after = statistics.median(old[metric]), statistics.median(figures)
        ratio = after / before if before else 1.0
        mark = "  worse" if ratio > WORSE else ""
        worse = worse or bool(mark)
        name = f"{BY_NAME[metric].title} ({BY_NAME[metric].unit})"
        lines.append(f"{name:34}{before:>12.4g}{after:>12.4g}{ratio:>12.3f}{mark}")
    return "\n".join(lines), worse


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench pairs", description=__doc__)
    parser.add_argument("commit", help="the older commit")
    parser.add_argument("--rounds", type=int, default=10, help="rounds of each tree (default: %(default)s)")
    parser.add_argument("--only", help="metrics, separated by commas")
    parser.add_argument("--save", metavar="FILE", type=Path, help="write all figures to FILE as JSON")
    options = parser.parse_args(arguments)
    more = ["--only", options.only] if options.only else []
    old: Figures = {}
    new: Figures = {}
    try:
        with checkout(options.commit) as tree:
            for number in range(options.rounds):
                pairs = [(tree, old), (HERE, new)]
                # The order alternates, so that a machine that gets slower or faster affects both alike.
                for place, figures in pairs if number % 2 == 0 else reversed(pairs):
                    for metric, value in measure(place, more).items():
                        figures.setdefault(metric, []).append(value)
                print(f"bench: round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
    except peers.Unusable as problem:
        print(f"bench: {problem}", file=sys.stderr)
        return 1
    text, worse = table(old, new)
    print(text)
    if options.save:
        options.save.write_text(json.dumps({"commit": options.commit, "old": old, "new": new}, indent=1) + "\n")
    return int(worse)
