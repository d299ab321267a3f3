"""The metrics and their limits. The peers are in `peers`, the table is made in `__main__`."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, Literal

from bench import meter, peers
from bench.bodies import body
from bench.peers import Peer, Programs, Protocol, Unusable


class Invalid(Exception):
    """A run whose answers were not whole, or whose chunks arrived in lumps: its figures are invalid."""


@dataclass(frozen=True)
class Work:
    """What the load generator does: the shape of one request and how often, over how many connections."""

    size: int
    """Bytes of the request."""
    tokens: int
    gap: int = 0
    """Milliseconds between two tokens; 0: all at once."""
    stream: bool = True
    connections: int = 8
    requests: int | None = None
    """None: as many as take about `Pace.seconds`."""
    ramp: int = 0
    """Microseconds between the starts of two connections."""


@dataclass(frozen=True)
class Pace:
    """How long to look. A quick run is good for finding blunders, not for comparing two changes."""

    rounds: int
    seconds: float
    """Of each run at full speed."""
    chunk_tokens: int
    """Of each stream in the run at 100 chunks/s a stream."""
    held_tokens: int
    """Of each stream in the run that holds 1,000 open, at 2 chunks/s a stream."""
    first_requests: int


STEADY: Final = Pace(rounds=5, seconds=1.0, chunk_tokens=500, held_tokens=20, first_requests=300)
QUICK: Final = Pace(rounds=1, seconds=0.5, chunk_tokens=150, held_tokens=8, first_requests=100)
TINY: Final = Pace(rounds=1, seconds=0.02, chunk_tokens=5, held_tokens=3, first_requests=5)

HELD: Final = 1000
"""Streams that are held open for the memory figures."""

Limit = tuple[Literal["nginx", "direct", "none"], float]


@dataclass(frozen=True)
class Metric:
    """One row of the table. `limit`: Byway's figure divided by nginx's, less the direct path's, or as it is."""

    name: str
    title: str
    unit: Literal["us", "ms", "MiB", "KiB", "s"]
    limit: Limit | None = None
    protocol: Protocol = "openai"


METRICS: Final = (
    # The limits are those that the project set itself from what it measured on 2026-11-20.
    Metric("1k", "CPU of a 1 KB request", "us", ("nginx", 6)),
    Metric("60k", "CPU of a 60 KB request", "us", ("nginx", 9)),
    Metric("400k", "CPU of a 400 KB request", "us"),
    Metric("burst", "CPU of a 60 KB request, 200 chunks at once", "us"),
    # A wake-up is dearer than the chunk it is for, and shared when there is more to do: so two loads.
    Metric("chunk", "CPU of a chunk on its own, 2,000 a second", "us", ("nginx", 4)),
    Metric("chunks", "CPU of a chunk on its own, 15,000 a second", "us", ("nginx", 4)),
    Metric("first", "time to first token, 60 KB", "ms", ("direct", 1.0)),
    Metric("same-60k", "Anthropic to Anthropic: CPU of a 60 KB request", "us", protocol="anthropic"),
    Metric("same-chunks", "Anthropic to Anthropic: CPU of a chunk, 15,000 a second", "us", protocol="anthropic"),
    Metric("start", "start to first answer", "s", ("none", 1.0)),
    Metric("idle", "memory, idle", "MiB", ("none", 80)),
    Metric("held", "memory of one of 1,000 open streams, 60 KB", "KiB", ("none", 64)),
    Metric("whole", "memory with 1,000 open streams", "MiB", ("none", 160)),
    Metric("late", "delay of a chunk at 1,000 streams, p99", "ms", ("direct", 100)),
)
BY_NAME: Final = {metric.name: metric for metric in METRICS}
MEMORY: Final = ("idle", "held", "whole", "late")
"""These come out of one run."""

Values = dict[str, dict[str, list[float]]]
"""Metric name -> peer name -> a value a round, in the metric's unit."""


def work(name: str, pace: Pace) -> Work:
    """The work behind a metric."""
    return {
        "1k": Work(1024, 20, stream=False),
        "60k": Work(60_000, 20, stream=False),
        "400k": Work(400_000, 20, stream=False),
        "burst": Work(60_000, 200),
        "chunk": Work(1024, pace.chunk_tokens, gap=10, connections=20, requests=20, ramp=500),
        "chunks": Work(1024, pace.chunk_tokens, gap=10, connections=150, requests=150, ramp=67),
        "first": Work(60_000, 5, connections=1, requests=pace.first_requests),
        "held": Work(60_000, pace.held_tokens, gap=500, connections=HELD, requests=HELD, ramp=1000),
    }[name.removeprefix("same-")]


def models(pace: Pace) -> list[str]:
    """Every model name that the metrics request."""
    knobs = {(job.tokens, job.gap) for job in (work(name, pace) for name in ("1k", "burst", "chunk", "first", "held"))}
    return peers.models_of(sorted(knobs))


def _command(programs: Programs, peer: Peer, job: Work, requests: int) -> list[str]:
    file = programs.folder / f"body-{job.size}-{job.tokens}-{job.gap}-{job.stream}.json"
    if not file.exists():
        file.write_bytes(body(job.size, tokens=job.tokens, gap=job.gap, stream=job.stream))
    final = peers.FINAL[peer.answers, job.stream]
    numbers = [str(job.connections), str(requests), str(job.tokens), final, str(job.ramp)]
    return [str(programs.load), str(peer.port), peer.path, str(file), *numbers]


def check(peer: Peer, job: Work, figures: dict[str, Any]) -> dict[str, Any]:
    """The figures, when every answer was whole and, where the mock paced its chunks, they came one by one."""
    if figures["failed"]:
        raise Invalid(
            f"{peer.name}: {figures['failed']} of {figures['requests']} answers failed: {figures['complaint']}"
        )
    if job.gap and job.tokens > 1:
        if figures["arrivals"] < 0.8 * figures["tokens"]:
            raise Invalid(f"{peer.name}: {figures['tokens']} chunks came in {figures['arrivals']} lumps")
        if figures["latency_p50"] < 0.9 * (job.tokens - 1) * job.gap * 1000:
            raise Invalid(
                f"{peer.name}: streams ended after {figures['latency_p50']} us, before the mock sent their end"
            )
    return figures


def load(programs: Programs, peer: Peer, job: Work, requests: int) -> dict[str, Any]:
    """One run of the load generator. Raises Invalid."""
    command = _command(programs, peer, job, requests)
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise Invalid(f"{peer.name}: {done.stderr.strip() or 'the load generator failed'}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return check(peer, job, figures)


def cost(programs: Programs, peer: Peer, backend: int, name: str, pace: Pace) -> float:
    """The peer's figure for one of the metrics with repeated requests."""
    job = work(name, pace)
    requests = job.requests
    if requests is None:
        warm = load(programs, peer, job, 40)
        requests = max(20, min(50_000, int(40 / warm["seconds"] * pace.seconds)))
    before, seen = meter.cpu(peer.pid) if peer.pid else 0.0, _seen(backend)
    figures = load(programs, peer, job, requests)
    time.sleep(0.05)  # what a peer does after its last byte belongs to the request too
    used, new = (meter.cpu(peer.pid) if peer.pid else 0.0) - before, _seen(backend)
    if new["requests"] - seen["requests"] != requests or new["bytes"] - seen["bytes"] < 0.5 * job.size * requests:
        raise Invalid(f"{peer.name}: the mock saw {new} after {seen}, for {requests} requests of {job.size} bytes")
    if name == "first":
        return float(figures["first_p50"]) / 1000
    # The 20 requests of a chunk run are part of its sum: a hundredth of it, or less.
    return used / (figures["tokens"] if "chunk" in name else requests)


def _seen(backend: int) -> dict[str, int]:
    seen: dict[str, int] = json.loads(peers.get(backend, "/seen")[1])
    return seen


def held(programs: Programs, peer: Peer, pace: Pace, wanted: list[str]) -> Iterator[tuple[str, float]]:
    """The memory metrics of a peer that has just started, and how late chunks are with 1,000 streams open."""
    time.sleep(0.5)
    idle = meter.pss(peer.pid) if peer.pid else 0
    yield "idle", idle / 2**20
    if set(wanted) == {"idle"}:
        return
    job, began = work("held", pace), time.monotonic()
    with subprocess.Popen(_command(programs, peer, job, HELD), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        opened = process.stdout.readline()
        time.sleep(0.5)
        full = meter.pss(peer.pid) if peer.pid else 0
        late = time.monotonic() - began > job.tokens * job.gap / 1000
        figures = opened if '"requests"' in opened else process.stdout.readline()
    check(peer, job, json.loads(figures))
    if late:
        raise Unusable(f"{peer.name}: too slow to have {HELD} streams open at the same time")
    yield "held", (full - idle) / 1024 / HELD
    yield "whole", full / 2**20
    yield "late", json.loads(figures)["delay_p99"] / 1000


def starts(programs: Programs, backend: int, pace: Pace) -> list[float]:
    """Seconds from Byway's spawn to its first 200, a value a round; a first one is thrown away (it compiles)."""
    values = []
    for _ in range(pace.rounds + 1):
        began = time.monotonic()
        with peers.byway(programs, backend, "openai", models(pace)):
            values.append(time.monotonic() - began)
    return values[1:]


Start = Callable[[Protocol], AbstractContextManager[Peer]]


def starters(programs: Programs, backend: int, pace: Pace) -> dict[str, Start]:
    """How each peer starts, in the order of the table's columns."""
    names = models(pace)
    return {
        "direct": lambda protocol: peers.direct(programs, backend, protocol),
        "nginx": lambda protocol: peers.nginx(programs, backend, protocol),
        "byway": lambda protocol: peers.byway(programs, backend, protocol, names),
        "litellm": lambda protocol: peers.litellm(programs, backend, names),
    }


def measure(
    programs: Programs, pace: Pace, wanted: list[str], among: list[str], say: Callable[[str], None]
) -> Iterator[tuple[str, str, float]]:
    """Every wanted metric of every peer in turn, round by round: (metric, peer, value) as they come."""
    with peers.mock(programs, models(pace)) as backend:
        start = {name: starter for name, starter in starters(programs, backend, pace).items() if name in among}
        protocols: tuple[Protocol, ...] = ("openai", "anthropic")
        for protocol in protocols:
            busy = [name for name in wanted if BY_NAME[name].protocol == protocol and name not in ("start", *MEMORY)]
            with contextlib.ExitStack() as stack:
                present = []
                for name, enter in start.items() if busy else ():
                    if name == "litellm" and protocol == "anthropic":
                        continue  # compared where it translates
                    try:
                        present.append(stack.enter_context(enter(protocol)))
                    except Unusable as problem:
                        if name == "byway":
                            raise
                        say(f"skipped: {problem}")
                for metric in busy:
                    for turn in range(pace.rounds):
                        for peer in present:
                            if peer.pid is None and metric != "first":
                                continue  # the direct path has no cost of its own
                            say(f"{metric}, round {turn + 1} of {pace.rounds}, {peer.name}")
                            try:
                                yield metric, peer.name, cost(programs, peer, backend, metric, pace)
                            except Invalid as problem:
                                if peer.name != "litellm":
                                    raise
                                say(f"skipped: {metric} of {problem}")
        for name, enter in start.items() if set(wanted) & set(MEMORY) else ():
            say(f"memory of {name}")
            try:
                with enter("openai") as peer:
                    for metric, value in held(programs, peer, pace, [name for name in wanted if name in MEMORY]):
                        if metric in wanted and (peer.pid or metric == "late"):
                            yield metric, name, value
            except (Unusable, Invalid) as problem:
                if name == "byway":
                    raise
                say(f"skipped: {problem}")
        if "start" in wanted and "byway" in among:
            say("start of byway")
            for value in starts(programs, backend, pace):
                yield "start", "byway", value
