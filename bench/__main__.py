"""`python -m bench`: measures, prints a table with limits, and stores the figures in `bench/results/`."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib
import json
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import peers, runs
from bench.runs import BY_NAME, METRICS, Metric, Values

PEERS = ("direct", "nginx", "byway", "litellm")
RESULTS = Path(__file__).parent / "results"


def verdict(metric: Metric, middle: dict[str, float]) -> tuple[str, str, str]:
    """(what is compared with the limit, the limit, `ok` or `over`), empty where there is none."""
    mine, nginx, direct = middle.get("byway"), middle.get("nginx"), middle.get("direct")
    if mine is None:
        return "", "", ""
    against, most = metric.limit or ("nginx", None)
    if against == "nginx":
        reached, form = (mine / nginx if nginx else None), "{:.1f} x nginx"
    elif against == "direct":
        reached, form = (mine - direct if direct is not None else None), "+{:.2f} " + metric.unit
    else:
        reached, form = mine, "{:.2f} " + metric.unit
    if reached is None:
        return "", "", ""
    shown = form.format(reached)
    return (shown, "", "") if most is None else (shown, f"<= {most:g}", "ok" if reached <= most else "over")


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(values: Values) -> str:
    """The table as text: a row a metric, medians of the rounds."""
    present = [peer for peer in PEERS if any(peer in row for row in values.values())]
    lines = [["", *present, "byway is", "limit", ""]]
    for metric in METRICS:
        if metric.name not in values:
            continue
        middle = {peer: statistics.median(figures) for peer, figures in values[metric.name].items()}
        cells = [f"{_figure(middle[peer])} {metric.unit}" if peer in middle else "-" for peer in present]
        lines.append([metric.title, *cells, *verdict(metric, middle)])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    rows = [
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        )
        for line in lines
    ]
    return "\n".join(row.rstrip() for row in rows)


def version() -> str:
    """Byway's version; the date where it has none yet."""
    source = str(peers.HERE.parent / "src")
    if source not in sys.path:
        sys.path.append(source)
    with contextlib.suppress(ImportError):
        value = getattr(importlib.import_module("byway"), "__version__", None)
        if isinstance(value, str):
            return value
    return datetime.date.today().isoformat()


def result(values: Values, pace: runs.Pace) -> dict[str, Any]:
    """The stored result of a run. Compare figures of different machines or runs by their ratios only."""
    return {
        "version": version(),
        "date": datetime.date.today().isoformat(),
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "rounds": pace.rounds,
        "units": {name: BY_NAME[name].unit for name in values},
        "limits": {metric.name: metric.limit for metric in METRICS if metric.limit},
        "values": {
            name: {peer: [float(f"{v:.5g}") for v in figures] for peer, figures in row.items()}
            for name, row in values.items()
        },
    }


def profile(programs: peers.Programs, pace: runs.Pace, wanted: list[str]) -> str:
    """Where Byway's processor time goes while it does the wanted work."""
    names, protocol = runs.models(pace), BY_NAME[wanted[0]].protocol
    report = programs.folder / "profile.txt"
    with (
        peers.mock(programs, names) as backend,
        peers.byway(programs, backend, protocol, names, ["-m", "bench.sample", str(report)]) as peer,
    ):
        assert peer.pid
        os.kill(peer.pid, signal.SIGUSR2)
        for name in wanted:
            runs.cost(programs, peer, backend, name, replace(pace, seconds=5 * pace.seconds))
        os.kill(peer.pid, signal.SIGUSR2)
        deadline = time.monotonic() + 10
        while not report.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
    if not report.exists():
        raise peers.Unusable("byway left no profile")
    return report.read_text()


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] in (["prefix"], ["search"], ["page"], ["pictures"], ["pairs"], ["steps"], ["team"], ["fronts"]):
        # These measure with the servers and the started Byway of the tests.
        sys.path[:0] = [str(peers.HERE.parent / "tests"), str(peers.HERE.parent / "src")]
        return int(importlib.import_module(f"bench.{arguments[0]}").main(arguments[1:]))
    names = ", ".join(BY_NAME)
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog="python -m bench prefix: prompt prefixes that servers reuse; python -m bench search: cost of a search turn; "
        "python -m bench page: load time of the settings page; python -m bench pictures: its pictures for the docs; "
        "python -m bench pairs COMMIT: compare with an older commit; "
        "python -m bench steps: instructions of each function; python -m bench team: the cost of usage, prices and limits; "
        "python -m bench fronts: the other APIs beside Messages",
    )
    parser.add_argument(
        "--quick", action="store_true", help="one short round of everything, in less than a minute; not stored"
    )
    parser.add_argument("--only", help=f"metrics, separated by commas: {names}")
    parser.add_argument(
        "--peers", default=",".join(PEERS), help="the peers, separated by commas (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, help="rounds of each metric; the table shows medians")
    parser.add_argument("--json", action="store_true", help="print the result as JSON instead of the table")
    parser.add_argument(
        "--save",
        metavar="NAME",
        help="store the result as bench/results/NAME.json (default for a whole run: the version)",
    )
    parser.add_argument(
        "--profile",
        action="store_true",
        help="sample Byway at the work of --only (default 60k) and print the hot spots",
    )
    options = parser.parse_args(arguments)
    if sys.platform != "linux":
        print("bench: it reads /proc and uses epoll, so it runs on Linux only", file=sys.stderr)
        return 2
    wanted = options.only.split(",") if options.only else ["60k"] if options.profile else list(BY_NAME)
    among = options.peers.split(",")
    for unknown in [name for name in wanted if name not in BY_NAME] + [name for name in among if name not in PEERS]:
        parser.error(f"there is no {unknown!r}; metrics: {names}; peers: {', '.join(PEERS)}")
    if options.profile and any(name in ("start", *runs.MEMORY) for name in wanted):
        parser.error("--profile looks at requests: 1k, 60k, 400k, burst, chunk, chunks, first, same-60k, same-chunks")
    pace = runs.QUICK if options.quick else runs.STEADY
    if options.rounds:
        pace = replace(pace, rounds=options.rounds)

    printed = set()

    def say(line: str) -> None:
        if line.startswith("skipped"):
            if line in printed:
                return
            printed.add(line)
            print(f"bench: {line}", file=sys.stderr, flush=True)
        elif sys.stderr.isatty():
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)

    values: Values = {}
    try:
        with tempfile.TemporaryDirectory(prefix="byway-bench-") as folder, peers.on(peers.OUR_CORES):
            programs = peers.Programs(Path(folder))
            if options.profile:
                print(profile(programs, pace, wanted))
                return 0
            for metric, peer, value in runs.measure(programs, pace, wanted, among, say):
                values.setdefault(metric, {}).setdefault(peer, []).append(value)
    except (runs.Invalid, peers.Unusable) as problem:
        print(f"\nbench: {problem}", file=sys.stderr)
        return 1
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    kept = result(values, pace)
    print(json.dumps(kept, indent=1) if options.json else table(values))
    whole = not options.quick and not options.only and "byway" in values.get("60k", {})
    name = options.save or (version() if whole else None)
    if name:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n")
        print(f"stored in {(RESULTS / name).relative_to(RESULTS.parent.parent)}.json", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
