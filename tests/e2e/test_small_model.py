"""A real small model does agent work: Claude Code on Qwen2.5-Coder-1.5B behind llama.cpp reads a file and answers from it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.claude import Claude
from gateway import SOURCE, Gateway

#: The GGUF file of Qwen2.5-Coder-1.5B-Instruct (Q4_K_M). Weights are no part of the project.
WEIGHTS = os.environ.get("BYWAY_TEST_CODER_GGUF", "")
RUNS = 5

pytestmark = [
    pytest.mark.real,
    pytest.mark.long,
    pytest.mark.skipif(not WEIGHTS, reason="BYWAY_TEST_CODER_GGUF does not name the model's file"),
]


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    options = {"path": WEIGHTS, "model": "coder", "secret": "sesame", "window": 32768, "threads": os.cpu_count() or 1}
    environ = {**os.environ, "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-m", "byway.local.worker"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ) as server:
        assert server.stdin is not None and server.stdout is not None
        server.stdin.write(json.dumps(options).encode() + b"\n")
        server.stdin.flush()
        url = json.loads(server.stdout.readline())["url"]
        backend = {"name": "coder", "type": "llamacpp", "url": url, "api_key": "sesame", "models": ["coder"]}
        settings = {"backends": [backend], "model_aliases": {"default": ["coder/coder"]}}
        with Gateway(settings) as running:
            yield running
        server.kill()


def test_claude_code_reads_a_file_with_a_small_model(gateway: Gateway, tmp_path: Path) -> None:
    """In at least 3 of 5 runs it calls the tool Read and answers with what the file contains."""
    answers = []
    for number in range(RUNS):
        claude = Claude(tmp_path / str(number), gateway.url)
        code = f"cobalt-{3899 + number}"
        file = claude.work / "notes.txt"
        file.write_text(f"The launch code is {code}.\n")
        prompt = f"Use the Read tool on the file {file} and tell me the launch code."
        turn = claude.ask(prompt, "--bare", "--model", "coder", "--tools", "Read", limit=900)
        blocks = [
            block for event in turn.events if event["type"] == "assistant" for block in event["message"]["content"]
        ]
        called = any(block["type"] == "tool_use" and block["name"] == "Read" for block in blocks)
        answers.append((called and code in turn.text, turn.text))
    assert sum(right for right, _ in answers) >= 3, answers
