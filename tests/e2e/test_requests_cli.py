"""`byway requests`: the requests of a running Byway as a table, as JSON and as they come."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from beside import command
from click.testing import CliRunner
from gateway import SOURCE, Gateway, config
from scripted import Asked, Reply, Say, Scripted, openai_error

from byway.cli.main import byway


def reply(request: Asked) -> Reply | Say:
    if "fail" in request.body.decode():
        return openai_error(400, "this \x1b[31mcannot be", "x")
    return Say("Hi")


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with Scripted(reply) as server, Gateway(config(server)) as gateway:
        yield gateway


def ask(gateway: Gateway, model: str, text: str = "Hi") -> None:
    body = {"model": model, "max_tokens": 5, "messages": [{"role": "user", "content": text}]}
    gateway.post(body, headers={"x-claude-code-session-id": "abcdef0123456789"})


def test_requests_are_printed_as_a_table_and_as_json(gateway: Gateway) -> None:
    none = command(gateway, "requests")
    assert (none.returncode, none.stdout) == (0, "") and "No requests yet" in none.stderr
    ask(gateway, "first")
    ask(gateway, "second", "fail")
    done = command(gateway, "requests")
    head, first, second = done.stdout.splitlines()
    assert head.split()[:6] == ["NO", "TIME", "SESSION", "REQUESTED", "ANSWERED", "BY"]
    assert first.split()[2:6] == ["abcdef01", "first", "one/local", "200"]
    assert " 400 " in second and "cannot be" in second and "\x1b" not in second
    listed = json.loads(command(gateway, "requests", "--json").stdout)["requests"]
    assert [(entry["number"], entry["asked"], entry["status"]) for entry in listed] == [
        (1, "first", 200),
        (2, "second", 400),
    ]
    assert "Hi" not in json.dumps(listed), "no prompts, no answers"
    last = json.loads(command(gateway, "requests", "--limit", "1", "--json").stdout)["requests"]
    assert [entry["number"] for entry in last] == [2]


@pytest.mark.parametrize("as_json", [False, True])
def test_follow_prints_new_requests_until_it_is_stopped(gateway: Gateway, as_json: bool) -> None:
    ask(gateway, "first")
    child = subprocess.Popen(
        [sys.executable, "-m", "byway", "requests", "--follow", *(["--json"] if as_json else [])],
        env={
            **{"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE), "PYTHONUNBUFFERED": "1"},
            "BYWAY_HOME": str(gateway.home / "data"),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    lines = [child.stdout.readline() for _ in range(1 if as_json else 2)]
    ask(gateway, "second")
    ask(gateway, "third")
    lines += [child.stdout.readline(), child.stdout.readline()]
    child.send_signal(signal.SIGINT)
    _, value = child.communicate(timeout=120)
    assert child.returncode == 0 and "Traceback" not in value
    if as_json:
        assert [json.loads(line)["asked"] for line in lines] == ["first", "second", "third"]
    else:
        assert [line.split()[3] for line in lines] == ["REQUESTED", "first", "second", "third"]


def test_follow_continues_after_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def page_of(*numbers: int) -> dict[str, object]:
        return {"requests": [{"number": number} for number in reversed(numbers)], "count": max(numbers, default=0)}

    answers = iter([page_of(7, 8), page_of(9), None, page_of(), page_of(1), page_of(2)])
    request = []

    def ask(data: Path, path: str) -> dict[str, object] | None:
        request.append(path.partition("=")[2])
        try:
            return next(answers)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr("byway.cli.client.get", ask)
    monkeypatch.setattr("byway.cli.requests._INTERVAL", 0.0)
    done = CliRunner().invoke(byway, ["requests", "--follow", "--json", "--data-dir", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert [json.loads(line)["number"] for line in done.stdout.splitlines()] == [7, 8, 9, 1, 2]
    assert request == ["0", "8", "9", "9", "0", "1", "2"]


def test_without_a_socket_the_error_names_the_page(gateway: Gateway) -> None:
    (gateway.home / "data" / "byway.sock").unlink()
    done = command(gateway, "requests")
    assert done.returncode == 1 and "byway page" in done.stderr


def test_filters_and_sums_are_those_of_the_page(gateway: Gateway) -> None:
    ask(gateway, "first")
    ask(gateway, "second", "fail")
    failed = command(gateway, "requests", "--failed")
    assert "second" in failed.stdout and "first" not in failed.stdout
    assert "1 request" in failed.stderr and "1 failed" in failed.stderr
    for options in (["--model", "FIRST"], ["--session", "abcdef", "--search", "first"], ["--agent", "python-urllib"]):
        assert command(gateway, "requests", *options).returncode == 0
    chosen = json.loads(command(gateway, "requests", "--model", "FIRST", "--json").stdout)
    assert [entry["asked"] for entry in chosen["requests"]] == ["first"]
    assert (chosen["sums"]["requests"], chosen["sums"]["failed"]) == (1, 0)
    nothing = command(gateway, "requests", "--account", "ada")
    assert (nothing.returncode, nothing.stdout) == (0, "") and "No request matches" in nothing.stderr


def test_one_request_is_shown_with_its_timeline_and_attempts(gateway: Gateway) -> None:
    ask(gateway, "first")
    shown = command(gateway, "requests", "show", "1")
    assert shown.returncode == 0, shown.stderr
    for part in ("Timeline", "admission", "Attempts", "1. one/local  answered (200)", "one/local", "abcdef0123456789"):
        assert part in shown.stdout, part
    details = json.loads(command(gateway, "requests", "show", "1", "--json").stdout)
    assert abs(sum(phase["ms"] for phase in details["phases"]) - details["request"]["ms"]) < 2
    assert [attempt["outcome"] for attempt in details["attempts"]] == ["answered"]
    ask(gateway, "second", "fail")
    failed = command(gateway, "requests", "show", "2")
    assert "1. one/local  invalid_request (400)" in failed.stdout and "\x1b" not in failed.stdout
    missing = command(gateway, "requests", "show", "99")
    assert missing.returncode == 2 and "no longer in the list" in missing.stderr
