"""`python -m bench steps`: counts the bytecode instructions of a request and of a chunk, function by function.

The counts do not depend on the machine or its load, so they show a difference of one percent, which times do not. They
leave out what the C code below costs. With a commit, the counts of that commit stand beside those of this tree.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from bench import fronts, pairs, peers, runs
from bench.runs import Work

Steps = dict[str, float]
"""Function -> its instructions per request or per chunk."""

REQUESTS: Final = 100
_RUNS: Final = 3
_SHORT, _LONG, _STREAMS = 20, 170, 4
#: Milliseconds between two chunks of a stream, so that each is handled on its own: a counted Byway is slow.
_GAP: Final = 40
_SIZES: Final = {"1k": 1024, "60k": 60_000, "400k": 400_000}
#: The same conversations by each API: size, tokens, and whether the answer streams. The tokens of a stream come at once.
_FRONTS: Final = {
    f"{api}-{size}{form}": (api, _SIZES[size], tokens, stream)
    for api in fronts.FORMS
    for size in ("1k", "60k")
    for form, tokens, stream in (("", fronts.TOKENS, False), ("-stream", fronts.STREAMED_TOKENS, True))
}
ROWS: Final = (*_SIZES, "chunk", *_FRONTS)


def _models() -> list[str]:
    return peers.models_of([(20, 0), (fronts.STREAMED_TOKENS, 0), (_SHORT, _GAP), (_LONG, _GAP)])


def _counted(peer: peers.Peer, report: Path, send: Callable[[], object]) -> Counter[str]:
    """The instructions of each function while `send` sends its requests."""
    assert peer.pid
    report.unlink(missing_ok=True)
    os.kill(peer.pid, signal.SIGUSR2)
    send()
    os.kill(peer.pid, signal.SIGUSR2)
    deadline = time.monotonic() + 10
    while not report.exists():
        if time.monotonic() > deadline:
            raise peers.Unusable("byway did not write its counts")
        time.sleep(0.02)
    return Counter(json.loads(report.read_text()))


def _row(programs: peers.Programs, peer: peers.Peer, report: Path, name: str) -> Steps:
    if name == "chunk":
        # What the longer streams cost beyond the shorter ones is the cost of chunks alone.
        short, long = (
            _counted(peer, report, partial(runs.load, programs, peer, job, _STREAMS))
            for job in (Work(1024, tokens, gap=_GAP, connections=_STREAMS, ramp=10_000) for tokens in (_SHORT, _LONG))
        )
        chunks = _STREAMS * (_LONG - _SHORT)
        return {function: (long[function] - short[function]) / chunks for function in long}
    send: Callable[[int], object]
    if name in _FRONTS:
        api, size, tokens, stream = _FRONTS[name]
        send = partial(fronts.send, peer.port, fronts.message(api, size, tokens, stream=stream))
    else:
        send = partial(runs.load, programs, peer, Work(_SIZES[name], 20, stream=False, connections=1))
    send(20)
    # Byway also does things by the clock; the fewest instructions are those of a run with the least of them.
    steps = min((_counted(peer, report, partial(send, REQUESTS)) for _ in range(_RUNS)), key=Counter.total)
    return {function: count / REQUESTS for function, count in steps.items()}


def count(wanted: list[str], tree: Path = pairs.HERE, sections: Mapping[str, object] | None = None) -> dict[str, Steps]:
    """The instructions of each wanted row in the Byway of `tree`, with more sections in its config."""
    with tempfile.TemporaryDirectory(prefix="byway-steps-") as folder:
        programs = peers.Programs(Path(folder))
        report = programs.folder / "steps.json"
        runner = ["-m", "bench.counted", str(report)]
        with (
            peers.mock(programs, _models()) as backend,
            peers.byway(programs, backend, "openai", _models(), runner, tree, sections) as peer,
        ):
            # Byway looks at the machine for a moment after its start.
            time.sleep(1.5)
            return {name: _row(programs, peer, report, name) for name in wanted}


def table(name: str, new: Steps, old: Steps | None, top: int) -> str:
    """One row's functions, those with the largest difference (without `old`: count) first."""
    before = old or {}
    total, former = sum(new.values()), sum(before.values())
    versus = f", {former:,.0f} in the older commit: {total / former - 1:+.1%}" if former else ""
    lines = [f"{name}: {total:,.0f} instructions{versus}"]
    functions = sorted({*new, *before}, key=lambda function: before.get(function, 0) - new.get(function, 0))
    for function in functions[:top]:
        was = f"{before.get(function, 0):9.1f}" if old else ""
        lines.append(f"{was}{new.get(function, 0):9.1f}  {function}")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench steps", description=__doc__)
    parser.add_argument("commit", nargs="?", help="an older commit to compare with")
    parser.add_argument("--only", default="1k,60k,chunk", help=f"rows of {','.join(ROWS)} (default: %(default)s)")
    parser.add_argument("--top", type=int, default=40, help="functions in each table (default: %(default)s)")
    options = parser.parse_args(arguments)
    wanted = options.only.split(",")
    if unknown := [name for name in wanted if name not in ROWS]:
        parser.error(f"unknown row {unknown[0]!r}; rows: {', '.join(ROWS)}")
    old: dict[str, Steps] = {}
    try:
        with contextlib.ExitStack() as stack:
            if options.commit:
                old = count(wanted, stack.enter_context(pairs.checkout(options.commit)))
            new = count(wanted)
    except (peers.Unusable, runs.Invalid) as problem:
        print(f"bench: {problem}", file=sys.stderr)
        return 1
    print("\n\n".join(table(name, new[name], old.get(name), options.top) for name in wanted))
    return 0
