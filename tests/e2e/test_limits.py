"""The real Claude Code at a budget that is used up, and the commands of a running Byway with limits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from e2e.claude import Claude
from gateway import Gateway, config
from scripted import Say, Scripted

from byway.cli.main import byway

pytestmark = pytest.mark.real

PRICE = {"one/local": {"input": 1000, "output": 1000}}
SENTENCE = "The budget of all requests together ($0.50 per month) is used up; wait until "


def test_claude_shows_one_sentence_after_one_request_when_the_budget_is_used_up(tmp_path: Path) -> None:
    limits = [{"for": "global", "budget": 0.5, "period": "month"}]
    with Scripted() as server, Gateway(config(server, prices=PRICE, limits=limits)) as gateway:
        server.play([Say("Hello.", tokens=(1234, 7))])
        body = {"model": "claude-x", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
        assert gateway.post(body).status == 200
        claude = Claude(tmp_path, gateway.url, CLAUDE_CODE_MAX_RETRIES="5")
        turn = claude.ask("hi")
        assert turn.failed and turn.text.count("budget of all requests") == 1, turn.text
        assert SENTENCE in turn.text and "have the budget raised in Byway." in turn.text
        gateway.wait(lambda: len(gateway.requests()) >= 2, what="both requests are logged")
        assert [(line["status"], line.get("problem")) for line in gateway.requests()] == [(200, None), (429, "budget")]
        assert len(server.requests) == 1
        done = CliRunner().invoke(byway, ["limits", "--json", "--data-dir", str(gateway.home / "data")])
        (row,) = json.loads(done.stdout)["limits"]
        assert (row["unit"], row["limit"], row["used"]) == ("budget", 0.5, 1.241)
