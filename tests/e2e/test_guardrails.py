"""The real Claude Code with guardrails: a flagged answer arrives, and a block is shown once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.claude import Claude
from gateway import Gateway, config
from scripted import Say, Scripted

pytestmark = pytest.mark.real
SECRET = "AKIA" + "IOSFODNN7EXAMPLE"
RULES = [
    {"name": "keys", "patterns": ["api_key"], "action": "block"},
    {"name": "falcon", "words": ["project falcon"], "action": "flag"},
]


@pytest.fixture(scope="module")
def guarded() -> Iterator[tuple[Scripted, Gateway]]:
    with Scripted() as server, Gateway(config(server, guardrails={"enabled": True, "rules": RULES})) as gateway:
        yield server, gateway


def test_claude_shows_a_block_once_and_gets_flagged_answers(guarded: tuple[Scripted, Gateway], tmp_path: Path) -> None:
    server, gateway = guarded
    claude = Claude(tmp_path, gateway.url, CLAUDE_CODE_MAX_RETRIES="5")
    server.play([Say("About Project Falcon: it flies.")])
    turn = claude.ask("hi")
    assert not turn.failed and "it flies" in turn.text
    server.play([])
    turn = claude.ask(f"my key is {SECRET}")
    assert turn.failed and turn.text.count('The guardrail "keys"') == 1 and SECRET not in turn.text, turn.text
    assert not server.requests, "nothing was forwarded"
    server.play([Say("word " * 200 + SECRET)])
    before = len(gateway.requests())
    turn = claude.ask("tell me")
    assert turn.failed and turn.text.count('The guardrail "keys"') == 1, turn.text
    assert SECRET not in str(turn.events)
    assert len(server.requests) == 1, "the repetition without streaming reached no model"
    gateway.wait(lambda: len(gateway.requests()) > before, what="the request is logged")
    assert {line.get("problem") for line in gateway.requests()[before:]} == {"policy_blocked"}
