"""The overview: numbers of each period, what members see, and the steps of the first run."""

from __future__ import annotations

import asyncio
import datetime
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import Pages
from test_account_page import Team
from test_page_states import CONFIG, ready
from test_page_states import request as seen
from test_usage_store import add, record

from byway.admin.overview import PERIODS, OverviewPeriod, overview, read_period
from byway.problems import Problem
from byway.store import UsageFilter, UsageStore

#: 2026-11-30 10:30:20 UTC.
NOW = 1_796_034_620.0
MINUTE, HOUR, DAY = 60, 3_600, 86_400


@pytest.fixture
def store(tmp_path: Path) -> Iterator[UsageStore]:
    opened = UsageStore(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    opened = Pages(tmp_path, CONFIG)
    ready(opened)
    yield opened
    opened.close()


# ---------------------------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("period", "bars", "seconds"), [("1h", 60, 60), ("24h", 24, HOUR), ("7d", 42, 4 * HOUR), ("30d", 30, DAY)]
)
def test_a_period_has_all_its_bars_and_they_add_up(
    store: UsageStore, period: OverviewPeriod, bars: int, seconds: int
) -> None:
    length = bars * seconds
    times = [NOW - length * part / 40 for part in range(39)]
    add(store, *(record(number, at, status=500 if number % 5 == 0 else 200) for number, at in enumerate(times)))
    result = overview(store, period, UsageFilter(), NOW)
    assert (len(result.bars), result.seconds) == (bars, seconds)
    starts = [datetime.datetime.fromisoformat(bar.at).timestamp() for bar in result.bars]
    assert starts == [starts[0] + number * seconds for number in range(bars)]
    assert starts[0] % seconds == 0 and starts[-1] <= NOW < starts[-1] + seconds
    assert result.total.requests == sum(bar.requests for bar in result.bars) == 39
    assert result.total.errors == sum(bar.errors for bar in result.bars) == 8
    assert (
        sum(bar.input_tokens for bar in result.bars) == 39 * 15
        and sum(bar.cached_tokens for bar in result.bars) == 3_900
    )
    assert sum(bar.cost or 0 for bar in result.bars) == pytest.approx(result.total.cost or 0)
    assert result.first_p50_ms is not None and 38 < result.first_p50_ms < 48
    assert [row.name for row in result.models] == ["cloud/large"] and [row.name for row in result.sessions] == ["s1"]


def test_what_is_before_the_period_does_not_count(store: UsageStore) -> None:
    add(
        store,
        record(1, NOW - HOUR),
        record(2, NOW - 30 * MINUTE),
        record(3, NOW - 25 * HOUR),
        record(4, NOW - 31 * DAY),
    )
    counts = {period: overview(store, period, UsageFilter(), NOW).total.requests for period in PERIODS}
    assert counts == {"1h": 1, "24h": 2, "7d": 3, "30d": 3}


def test_percentiles_differ_from_the_mean(store: UsageStore) -> None:
    add(store, *(record(number, NOW - number, first_ms=100.0) for number in range(90)))
    add(store, *(record(100 + number, NOW - 100 - number, first_ms=20_000.0) for number in range(10)))
    for period in PERIODS:
        result = overview(store, period, UsageFilter(), NOW)
        assert result.first_p50_ms is not None and result.first_p95_ms is not None, period
        assert result.first_p50_ms < 130 and 15_000 < result.first_p95_ms < 25_000, period


def test_an_empty_period_has_bars_of_zeros(store: UsageStore) -> None:
    result = overview(store, "1h", UsageFilter(), NOW)
    assert result.total.requests == 0 and len(result.bars) == 60 and result.first_p50_ms is None and not result.models


def test_requests_without_a_session_are_no_session(store: UsageStore) -> None:
    add(store, *(record(number, NOW - 5, session="", cost=10**9) for number in range(3)), record(9, NOW - 5))
    for period in PERIODS:
        assert [row.name for row in overview(store, period, UsageFilter(), NOW).sessions] == ["s1"], period


def test_an_unknown_period_is_named() -> None:
    assert read_period("") == "24h" and read_period("1h") == "1h"
    with pytest.raises(Problem, match="'2h' is not one of 1h, 24h, 7d, 30d"):
        read_period("2h")


# ------------------------------------------------------------------------------------------------------- page and API


def api(pages: Pages, query: str = "") -> Any:
    answer = pages.get(f"/byway/overview{query}", {"accept": "application/json"})
    return json.loads(answer.html) | {"status": answer.status}


def steps(pages: Pages) -> dict[str, bool]:
    return {step["name"]: step["done"] for step in api(pages)["steps"]}


def test_the_steps_are_ticked_by_the_real_state(pages: Pages) -> None:
    pages.file.write_text(CONFIG.replace("default: box/my-model", "default: box/gone"))
    asyncio.run(pages.reload())
    backend = pages.gateway.runtime.backends["box"]
    backend.state, backend.models = "failed", None
    assert steps(pages) == {"model": False, "choose": False, "client": False, "verify": False}
    page = pages.get("/")
    assert (
        "Get started" in page.text
        and "0 of 4 done" in page.text
        and '<details class="card folded" id="setup"' not in page.html
    )
    ready(pages, "gone")
    assert steps(pages) == {"model": True, "choose": True, "client": False, "verify": False}
    seen(pages, probe=True)
    assert steps(pages) == {"model": True, "choose": True, "client": False, "verify": True}


def test_a_finished_setup_is_folded_and_can_be_opened(pages: Pages) -> None:
    add(pages.store.usage, record(1, time.time() - 3 * DAY))
    assert all(steps(pages).values())
    assert '<details class="card folded" id="setup">' in pages.get("/").html
    assert pages.get("/").html.count('class="button main"') == 0


def test_only_the_next_step_has_the_primary_button(pages: Pages) -> None:
    html = pages.get("/").html
    assert html.count('class="button main"') == 1
    assert 'href="/claude#endpoint" aria-label="Open: Connect Claude Code"' in html


def test_the_built_in_model_alone_is_no_connected_model(tmp_path: Path) -> None:
    pages = Pages(tmp_path, "backends: [{name: box, type: builtin}]\nmodel_aliases: {default: box/small}\n")
    try:
        ready(pages, "small")
        assert not steps(pages)["model"] and not steps(pages)["choose"]
        assert "too small for agent work" in pages.get("/").text
    finally:
        pages.close()


def test_the_page_shows_charts_and_their_numbers(pages: Pages) -> None:
    add(
        pages.store.usage,
        *(record(number, time.time() - number * 600, status=500 if number == 3 else 200) for number in range(20)),
    )
    page = pages.get("/?period=24h")
    assert page.html.count('<svg class="plot"') == 4 and page.html.count('role="img"') == 4
    assert "style=" not in page.html and "<script>" not in page.html
    assert "Numbers of the charts" in page.text and "cloud/large" in page.text
    assert pages.get("/overview/numbers?period=7d").html.lstrip().startswith('<div id="numbers"')
    assert "/usage?since=24h&amp;backend=cloud&amp;model=large&amp;by=day" in page.html


def test_an_empty_page_explains_what_to_do(pages: Pages) -> None:
    page = pages.get("/")
    assert "No requests in this period" in page.text and 'href="/claude"' in page.html
    pages.file.write_text(CONFIG + "usage: {enabled: false}\n")
    asyncio.run(pages.reload())
    assert "Usage is not recorded" in pages.get("/").text


def test_a_damaged_database_is_reported_on_the_page(pages: Pages) -> None:
    pages.store.usage.close()
    (pages.file.parent / "usage.db").write_bytes(b"this is no database " * 500)
    page = pages.get("/")
    assert page.status == 200 and "usage.db" in page.text


def test_the_api_names_an_invalid_period(pages: Pages) -> None:
    answer = api(pages, "?period=2h")
    assert answer["status"] == 400 and "is not one of 1h" in answer["error"]["message"]
    assert pages.get("/?period=2h").status == 200


def test_a_member_sees_its_own_numbers_and_steps(tmp_path: Path) -> None:
    team = Team(tmp_path)
    try:
        page = team.as_account("ada").get("/")
        assert "one/adas-model" in page.text and "grace" not in page.html
        status, answer = team.api("GET", "/byway/overview?period=1h")
        assert status == 200 and answer["numbers"]["total"]["requests"] == 1
        assert [step["name"] for step in answer["steps"]] == ["key", "client"]
        assert team.as_account("owner").api("GET", "/byway/overview")[1]["numbers"]["total"]["requests"] == 2
    finally:
        team.close()
