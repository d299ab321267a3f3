"""The `curl` line that `byway up` prints works as it stands, and so does the simplest one that a person would type."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from e2e.conftest import Wire
from gateway import Gateway
from scripted import Say
from strict import check_event, check_message


def shell(line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60, check=False)


def printed(gateway: Gateway) -> str:
    """The curl command that Byway prints, its continued lines joined."""
    gateway.wait(lambda: "Ready." in gateway.lines, what="it has said all")
    text = gateway.text
    lines = text.replace("\\\n", " ").splitlines()
    results = [line.strip().removeprefix("$ ") for line in lines if re.match(r"\s*(\$ )?curl ", line)]
    assert results, text
    return results[0]


def test_the_printed_line_works(wire: Wire, program: Callable[[str], str]) -> None:
    program("curl")
    wire.play([Say("Hello, curl.")])
    done = shell(printed(wire.gateway) + " -sS")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    check_message(answer)
    assert answer["content"] == [{"type": "text", "text": "Hello, curl.", "citations": None}]


@pytest.mark.real
def test_the_printed_line_works_with_the_built_in_model(program: Callable[[str], str]) -> None:
    program("curl")
    pytest.importorskip("xllamacpp", reason="xllamacpp is not installed")
    with Gateway(model=True) as gateway:
        gateway.wait(lambda: gateway.get("/readyz").json["backends"][0]["state"] == "ready", what="the model is loaded")
        done = shell(printed(gateway) + " -sS")
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    check_message(answer)
    assert answer["content"][0]["text"] and answer["usage"]["output_tokens"] > 0


def test_a_stream_arrives_word_by_word(wire: Wire, program: Callable[[str], str]) -> None:
    curl = program("curl")
    wire.play([Say("one two three four", gap=0.2)])
    body = {"model": "x", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    with subprocess.Popen(
        [curl, "-sSN", f"{wire.gateway.url}/anthropic/v1/messages", "--json", json.dumps(body)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        seen = []
        for line in process.stdout:
            if line.startswith("data: "):
                event = json.loads(line[6:])
                check_event(event)
                if event["type"] == "content_block_delta":
                    seen.append((event["delta"]["text"], process.poll()))
    assert [text for text, _ in seen] == ["one ", "two ", "three ", "four"]
    assert seen[0][1] is None, "the first word came while the answer was still being made"
    assert process.returncode == 0
