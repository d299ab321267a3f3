"""A real small model does agent work: Claude Code on Qwen2.5-Coder-1.5B behind llama.cpp reads a file and answers from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.claude import Claude
from gateway import Gateway
from smallmodel import needs_weights, small_model

RUNS = 5

pytestmark = [pytest.mark.real, pytest.mark.long, needs_weights]


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with small_model() as running:
        yield running


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
