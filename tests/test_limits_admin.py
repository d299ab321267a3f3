"""Limits on the page, in the API and in commands: what is listed, added and removed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pages import Pages

from byway.admin.limits import configured_limits
from byway.cli.main import byway
from byway.clients import checks
from byway.config import load
from byway.runtime import Runtime

CONFIG = """
backends:
  - {name: box, type: generic, url: "http://127.0.0.1:9", models: [m]}
  - {name: cloud, type: generic, url: "http://127.0.0.1:9", local: false, models: [large, small]}
model_aliases: {default: box/m}
prices: {cloud/small: {input: 1, output: 2}}
api_keys: {mode: permissive, api_keys: [{key: sk-a-key-of-the-config, id: ci, rate_limit: 30}]}
# The budget of the team.
limits:
  - {for: key, budget: 20, period: month, concurrency: 4}
"""


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    opened = Pages(tmp_path, CONFIG)
    yield opened
    opened.close()


def limits(pages: Pages) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(pages.get("/byway/limits").html)["limits"]
    return listed


def test_the_api_lists_adds_and_removes_limits(pages: Pages) -> None:
    rows = [(row["path"], row["for"], row["name"], row["unit"], row["limit"], row["used"]) for row in limits(pages)]
    assert rows == [
        ("limits.0", "key", "*", "concurrency", 4, 0),
        ("limits.0", "key", "*", "budget", 20.0, 0),
        ("api_keys.api_keys.0.rate_limit", "key", "ci", "requests", 30, 0),
    ]
    body = {"for": "group", "name": "lab", "tokens_per_minute": 500}
    assert pages.call("POST", "/byway/limits", json.dumps(body)).status == 200
    assert load(pages.file.read_text(), {}).limits[1].tokens_per_minute == 500
    assert "# The budget of the team." in pages.file.read_text()
    assert [row["path"] for row in limits(pages)][-2:] == ["limits.1", "api_keys.api_keys.0.rate_limit"]
    for wrong, words in (
        ({"for": "group"}, "a limit needs one of requests_per_minute"),
        ({"for": "team", "budget": 5}, "team"),
        ({"for": "address", "budget": 5}, "an address cannot have a budget"),
    ):
        refused = pages.call("POST", "/byway/limits", json.dumps(wrong))
        assert refused.status == 400 and words in refused.html
    assert pages.call("DELETE", "/byway/limits/7").status == 404
    assert pages.call("DELETE", "/byway/limits/0").status == 200
    assert pages.call("DELETE", "/byway/limits/0").status == 200
    assert [row["path"] for row in limits(pages)] == ["api_keys.api_keys.0.rate_limit"]


def test_the_page_shows_the_use_of_limits_and_adds_and_removes_one(pages: Pages) -> None:
    shown = pages.get("/api")
    assert "each key limits.0 $0 of $20.00 per month" in shown.text
    assert "key ci api_keys.api_keys.0.rate_limit 0 of 30 requests per minute" in shown.text
    assert "Budgets count cloud/large as free, because the price is unknown." in shown.text
    form = shown.form("/api/limits/add")
    for amount in ("", "-1", "x", "1e99"):
        assert "bad: The amount of dollars per month is a number above 0" in pages.post(
            "/api/limits/add", form | {"amount": amount}
        ).outcome("limits")
    saved = pages.post("/api/limits/add", form | {"for": "account", "name": "ada", "amount": "7.5", "what": "week"})
    assert saved.outcome("limits").startswith("good: Limit added")
    assert "account ada limits.1 $0 of $7.50 per week" in saved.text
    limit = load(pages.file.read_text(), {}).limits[1]
    assert (limit.subject, limit.name, limit.budget, limit.period) == ("account", "ada", 7.5, "week")
    removed = pages.post("/api/limits/remove", saved.form("/api/limits/remove"))
    assert (
        removed.outcome("limits").startswith("good: Limit removed")
        and "each key" not in removed.text.split("New limit")[0]
    )
    assert len(load(pages.file.read_text(), {}).limits) == 1


def test_the_card_follows_what_was_counted(pages: Pages) -> None:
    limiter = pages.gateway.runtime.limiter
    assert limiter is not None
    limiter.trust_counts()
    counts = limiter.tables[0].get("ci", 0, 0)
    assert counts.spending is not None
    counts.running = 3
    shown = pages.get("/api/cards/limits", {"hx-request": "true"}).text
    assert "key ci limits.0 3 of 4 at once" in shown


def run(*arguments: str) -> tuple[str, str]:
    done = CliRunner().invoke(byway, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout, done.stderr


def test_the_page_says_how_many_limits_it_leaves_out(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "byway limits shows all" not in pages.get("/api").text
    monkeypatch.setattr("byway.ui.api._LISTED_LIMITS", 1)
    assert "2 more: byway limits shows all." in pages.get("/api").text


def test_commands_show_the_limits_of_the_config(tmp_path: Path) -> None:
    file = tmp_path / "byway.yaml"
    file.write_text(CONFIG)
    out, notes = run("limits", "--config", str(file))
    assert "limits.0" in out and "$0 of $20.00 per month" in out and "key ci" in out
    assert "limits of the config, without their use" in notes
    listed = json.loads(run("limits", "--config", str(file), "--json")[0])["limits"]
    assert [row["limit"] for row in listed] == [4, 20.0, 30]
    out, notes = run("config", "check", str(file))
    assert "limits      each key: 4 at once" in out and "each key: $20.00 per month" in out
    assert "warning: Budgets count cloud/large as free, because the price is unknown." in notes
    file.write_text("limits: []")
    assert "There are no limits." in run("limits", "--config", str(file))[1]


def test_a_bucket_per_second_is_shown_with_its_capacity_and_its_rate() -> None:
    text = "rate_limiting: {enabled: true, limits: {global: {requests_per_second: 0.5, burst_capacity: 10}}}"
    (info,) = configured_limits(load(text, {}))
    assert (info.text, info.limit, info.per_second) == ("0 of 10 requests at once, 0.5 per second", 10, 0.5)


def test_the_doctor_names_limits_that_are_reached_and_budgets_that_are_closed(pages: Pages) -> None:
    runtime = pages.gateway.runtime
    assert checks._limits(Runtime(load("", {}))).state == "none"
    assert (checks._limits(runtime).state, checks._limits(runtime).word) == ("bad", "closed")
    limiter = runtime.limiter
    assert limiter is not None
    limiter.trust_counts()
    check = checks._limits(runtime)
    assert check.state == "warn" and "Budgets count cloud/large as free" in check.finding
    limiter.tables[0].get("ci", 0, 0).running = 4
    check = checks._limits(runtime)
    assert (check.word, check.finding, check.where) == ("reached", "Reached for key ci.", "/api#limits")
