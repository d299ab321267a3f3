"""The benchmark's own parts: they compile, and notice an answer that is not whole. No test here judges by the clock."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from bench import __main__ as command
from bench import bodies, meter, pairs, peers, runs

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the benchmark needs Linux: it reads /proc, and uses epoll"
)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> peers.Programs:
    if not (shutil.which("cc") or shutil.which("gcc")):
        pytest.skip("no C compiler (gcc): the mock and the load generator of the benchmark cannot be compiled")
    return peers.Programs(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def backend(programs: peers.Programs) -> Iterator[int]:
    with peers.mock(programs, ["bench-3-0"]) as port:
        yield port


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few requests of each kind, whichever pace is asked for."""
    monkeypatch.setattr(runs, "QUICK", runs.TINY)
    monkeypatch.setattr(runs, "STEADY", runs.TINY)


@pytest.mark.parametrize("size", [1024, 60_000, 400_000])
def test_a_body_has_its_size_and_the_parts_of_a_real_turn(size: int) -> None:
    request = bodies.body(size, tokens=7, gap=3, stream=True)
    assert len(request) == size
    assert request == bodies.body(size, tokens=7, gap=3, stream=True)
    parsed = json.loads(request)
    assert parsed["model"] == "claude-bench-7-3"
    assert len(parsed["tools"]) == (12 if size > 1024 else 1)
    blocks = [b for m in parsed["messages"] if isinstance(m["content"], list) for b in m["content"]]
    used = [b["id"] for b in blocks if b["type"] == "tool_use"]
    assert used
    assert used == [b["tool_use_id"] for b in blocks if b["type"] == "tool_result"]
    # A pad that makes up the size must not become the body.
    assert len(blocks[-1]["text"]) < size / 10


@pytest.mark.parametrize("protocol", ["openai", "anthropic"])
@pytest.mark.parametrize(("stream", "gap"), [(False, 0), (True, 0), (True, 2)])
def test_every_answer_of_the_mock_is_whole_and_is_counted(
    programs: peers.Programs, backend: int, protocol: peers.Protocol, stream: bool, gap: int
) -> None:
    job = runs.Work(1024, tokens=6, gap=gap, stream=stream, connections=3, ramp=100)
    before = json.loads(peers.get(backend, "/seen")[1])
    with peers.direct(programs, backend, protocol) as peer:
        figures = runs.load(programs, peer, job, requests=9)
    after = json.loads(peers.get(backend, "/seen")[1])
    assert (figures["requests"], figures["failed"], figures["tokens"]) == (9, 0, 54)
    assert after["requests"] - before["requests"] == 9
    assert after["bytes"] - before["bytes"] == 9 * 1024


def test_the_mock_speaks_http_that_others_read_too(backend: int) -> None:
    assert peers.get(backend, "/v1/models")[1] == (
        b'{"object":"list","data":[{"id":"bench-3-0","object":"model","owned_by":"bench"}]}'
    )
    assert peers.get(backend, "/props")[0] == 404


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [({"tokens": 5}, "tokens: status 200, 4 of 5 tokens"), ({"final": "never said"}, "no final event")],
)
def test_an_answer_that_is_not_whole_makes_the_run_invalid(
    programs: peers.Programs, backend: int, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any], complaint: str
) -> None:
    job = runs.Work(1024, tokens=4, connections=1)
    if "final" in wrong:
        monkeypatch.setitem(peers.FINAL, ("openai", True), wrong["final"])
    with peers.direct(programs, backend, "openai") as peer:
        runs.load(programs, peer, dataclasses.replace(job, stream=False), requests=1)
        sent = programs.folder / "body-1024-5-0-True.json"
        sent.write_bytes(bodies.body(1024, tokens=4, gap=0, stream=True))
        with pytest.raises(runs.Invalid, match=complaint):
            runs.load(programs, peer, dataclasses.replace(job, tokens=wrong.get("tokens", 4)), requests=2)


def test_a_path_that_is_not_there_makes_the_run_invalid(programs: peers.Programs, backend: int) -> None:
    peer = peers.Peer("direct", backend, "/nowhere", "openai")
    with pytest.raises(runs.Invalid, match="status 404"):
        runs.load(programs, peer, runs.Work(1024, tokens=4, connections=1), requests=2)


def test_chunks_that_come_in_lumps_make_the_run_invalid() -> None:
    whole = {"failed": 0, "tokens": 100, "arrivals": 100, "latency_p50": 990_000}
    peer, job = peers.Peer("direct", 1, "/", "openai"), runs.Work(1024, tokens=100, gap=10)
    assert runs.check(peer, job, whole) is whole
    with pytest.raises(runs.Invalid, match="lumps"):
        runs.check(peer, job, {**whole, "arrivals": 20})
    with pytest.raises(runs.Invalid, match="before the mock sent their end"):
        runs.check(peer, job, {**whole, "latency_p50": 500_000})


def test_the_meter_sees_what_this_process_uses() -> None:
    before = meter.cpu(os.getpid())
    sum(range(300_000))
    assert meter.cpu(os.getpid()) > before
    assert meter.pss(os.getpid()) > 1 << 20
    assert os.getpid() in meter.tree(os.getppid())


def test_the_verdict_compares_with_what_the_limit_names() -> None:
    ratio, added, plain = runs.BY_NAME["60k"], runs.BY_NAME["first"], runs.BY_NAME["idle"]
    assert command.verdict(ratio, {"nginx": 30, "byway": 240}) == ("8.0 x nginx", "<= 9", "ok")
    assert command.verdict(ratio, {"nginx": 30, "byway": 300}) == ("10.0 x nginx", "<= 9", "over")
    assert command.verdict(added, {"direct": 0.5, "byway": 1.6}) == ("+1.10 ms", "<= 1", "over")
    assert command.verdict(plain, {"byway": 40}) == ("40.00 MiB", "<= 80", "ok")
    assert command.verdict(ratio, {"byway": 240}) == ("", "", "")


def test_the_command_measures_byway_and_names_missing_peers(
    tiny: None, capsys: pytest.CaptureFixture[str], programs: peers.Programs
) -> None:
    # Without the pace of single chunks: on a busy machine chunks merge, which makes a run invalid.
    code = command.main(["--only", "1k,burst,first,same-60k,idle,start", "--json"])
    output = capsys.readouterr()
    assert code == 0, output.err
    result = json.loads(output.out)
    for metric in ("1k", "burst", "first", "same-60k", "idle", "start"):
        assert result["values"][metric]["byway"], metric
    assert "direct" in result["values"]["first"]
    nginx = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")
    assert ("nginx" in result["values"]["1k"]) == bool(nginx)
    assert ("nginx is not installed" in output.err) != bool(nginx)


def test_a_profile_names_the_lines_that_cost(
    tiny: None, capsys: pytest.CaptureFixture[str], programs: peers.Programs
) -> None:
    assert command.main(["--profile", "--only", "1k"]) == 0
    assert "functions, with what they call" in capsys.readouterr().out


def test_a_metric_that_is_not_there_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["--only", "60kb"])
    assert ended.value.code == 2
    assert "there is no '60kb'" in capsys.readouterr().err


def test_pairs_compare_medians_and_name_what_became_worse() -> None:
    # The machine was half as fast in the second round.
    text, worse = pairs.table({"1k": [100, 202, 98], "idle": [40.0]}, {"1k": [107, 212, 107], "idle": [44.0]})
    rows = text.splitlines()
    assert worse and "1.070" in rows[1] and "worse" not in rows[1] and rows[2].endswith("1.100  worse")
