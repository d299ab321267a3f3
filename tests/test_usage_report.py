"""Reports of usage: periods, filters, charts, exports, and what a member sees; by functions, API and settings page."""

from __future__ import annotations

import csv
import datetime
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from pages import Pages

from byway.access.keys import Caller
from byway.admin import usagereport
from byway.admin.usagechart import best_measure, chart_columns, cost_of_row, short_number, unknown_costs
from byway.admin.usagereport import (
    COLUMNS,
    OTHERS,
    UsageReport,
    exact_dollars,
    export,
    read_query,
    read_time,
    rows_as_csv,
    usage_report,
    visible_usage,
)
from byway.display import dollars
from byway.problems import Problem
from byway.store import UsageFilter, UsageStore
from byway.usage.record import UsageRecord

#: 2026-11-30 12:30 UTC, a Monday.
NOW: Final = datetime.datetime(2026, 11, 30, 12, 30, tzinfo=datetime.UTC).timestamp()
DAY: Final = 86_400.0
EVERYTHING: Final = UsageFilter()
HOSTILE: Final = '=cmd|"<b>&amp;'


def record(number: int, days: float = 0.0, **fields: Any) -> UsageRecord:
    usual: dict[str, Any] = {
        "account": "ada",
        "key": "key_a",
        "backend": "cloud",
        "model": "large",
        "session": "s1",
        "input_tokens": 10,
        "cached_tokens": 100,
        "cache_write_tokens": 5,
        "output_tokens": 20,
        "reasoning_tokens": 7,
        "cost": 1_500_000_000,
        "latency_ms": 100.0,
        "first_ms": 40.0,
    }
    return UsageRecord(f"req_{number:024x}", NOW - days * DAY, **(usual | fields))


RECORDS: Final = (
    record(1),
    record(2, 1),
    record(3, 1, model="small", cost=250_000_000),
    record(4, 3, account="grace", key="key_g", backend="gpu", model="qwen", cost=0, session="s2", tag=HOSTILE),
    record(5, 3, account="grace", key="key_g", model="new", cost=None, status=529, estimated=True, first_ms=None),
    record(6, 40, account="linus"),
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[UsageStore]:
    opened = UsageStore(tmp_path)
    opened.add("journal", 0, 1, RECORDS)
    yield opened
    opened.close()


def report(store: UsageStore, own: UsageFilter = EVERYTHING, **fields: str) -> UsageReport:
    return usage_report(store, read_query(fields, NOW, own), NOW)


# ------------------------------------------------------------------------------------------------------------- reports


def test_a_report_has_the_total_the_rows_and_the_chart_of_seven_days(store: UsageStore) -> None:
    made = report(store)
    assert (made.since, made.until, made.by, made.every) == ("2026-11-24T00:00:00Z", None, "model", "day")
    assert (made.total.requests, made.total.errors, made.total.estimated, made.total.unpriced) == (5, 1, 1, 1)
    assert (made.total.input_tokens, made.total.cached_tokens, made.total.output_tokens) == (50, 500, 100)
    assert (made.total.cost, made.total.mean_ms, made.total.mean_first_ms) == (3.25, 100, 40)
    assert [(row.name, row.requests, row.cost, row.unpriced) for row in made.rows] == [
        ("large", 2, 3.0, 0),
        ("small", 1, 0.25, 0),
        ("new", 1, None, 1),
        ("qwen", 1, 0, 0),
    ]
    assert [(bar.at[:10], bar.requests, bar.tokens, bar.cost) for bar in made.bars] == [
        ("2026-11-27", 2, 270, 0.0),
        ("2026-11-29", 2, 270, 1.75),
        ("2026-11-30", 1, 135, 1.5),
    ]
    assert not made.more


@pytest.mark.parametrize("by", usagereport.BY)
def test_the_rows_of_each_kind_add_up_to_the_total(store: UsageStore, by: str) -> None:
    made = report(store, by=by, since="90d")
    assert sum(row.requests for row in made.rows) == made.total.requests == 6
    assert sum(row.cost or 0 for row in made.rows) == made.total.cost
    assert sum(bar.requests for bar in made.bars) == 6


@pytest.mark.parametrize("by", ["model", "account", "key", "target", "session", "tag"])
def test_a_split_chart_adds_up_to_the_total(store: UsageStore, by: str) -> None:
    store.add("more", 0, 1, [record(10 + number, number % 3, model=f"m{number}") for number in range(8)])
    made = report(store, by=by, split="1")
    assert sum(bar.requests for bar in made.bars) == made.total.requests == 13
    assert sum(bar.tokens for bar in made.bars) == 13 * 135
    names = [row.name for row in made.rows[:5]]
    assert {bar.name for bar in made.bars} <= {*names, OTHERS}
    assert (OTHERS in {bar.name for bar in made.bars}) == (len(made.rows) > 5)


def test_a_limit_cuts_the_rows_and_says_so(store: UsageStore) -> None:
    made = report(store, limit="2")
    assert ([row.name for row in made.rows], made.more) == (["large", "small"], True)
    assert made.total.requests == 5


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({"account": "grace"}, {"new", "qwen"}),
        ({"backend": "cloud", "model": "small"}, {"small"}),
        ({"session": "s2"}, {"qwen"}),
        ({"tag": HOSTILE}, {"qwen"}),
        ({"key": "key_x"}, set()),
    ],
)
def test_a_filter_chooses_which_usage_counts(store: UsageStore, filter: dict[str, str], expected: set[str]) -> None:
    assert {row.name for row in report(store, EVERYTHING, **filter).rows} == expected


def test_a_period_without_usage_has_no_rows_and_no_chart(store: UsageStore) -> None:
    made = report(store, since="2026-01-01", until="2026-01-31")
    assert (made.total.requests, made.rows, made.bars) == (0, (), ())
    assert chart_columns(made, "tokens", NOW, 31) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1h", "2026-11-30T12:00:00Z"),
        ("24h", "2026-11-29T13:00:00Z"),
        ("1d", "2026-11-30T00:00:00Z"),
        ("7d", "2026-11-24T00:00:00Z"),
        ("2w", "2026-11-17T00:00:00Z"),
        ("2026-11-01", "2026-11-01T00:00:00Z"),
        ("2026-11-01T12:30", "2026-11-01T12:30:00Z"),
        ("2026-11-01 12:30:15Z", "2026-11-01T12:30:15Z"),
        ("0999-01-02", "0999-01-02T00:00:00Z"),
    ],
)
def test_a_time_is_read_as_people_write_it(text: str, expected: str) -> None:
    assert usagereport.iso(read_time(text, NOW, "since")) == expected


@pytest.mark.parametrize(
    "text", ["", "0d", "7", "7m", "yesterday", "2026-13-01", "2026-11-31", "2026-11-01T25:00", "9" * 99 + "d"]
)
def test_a_time_in_another_form_is_refused(text: str) -> None:
    with pytest.raises(Problem) as caught:
        read_time(text, NOW, "since")
    assert caught.value.facts["field"] == "since"


def test_the_last_day_belongs_to_the_period(store: UsageStore) -> None:
    made = report(store, since="2026-11-27", until="2026-11-29")
    assert (made.until, made.total.requests) == ("2026-11-30T00:00:00Z", 4)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"by": "colour"}, "by"),
        ({"since": "x"}, "since"),
        ({"until": "x"}, "until"),
        ({"since": "2026-11-02", "until": "2026-11-01"}, "until"),
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"limit": "-5"}, "limit"),
        ({"limit": "9" * 5000}, "limit"),
    ],
)
def test_an_invalid_field_of_a_query_is_named(fields: dict[str, str], field: str) -> None:
    with pytest.raises(Problem) as caught:
        read_query(fields, NOW, EVERYTHING)
    assert caught.value.facts["field"] == field


def test_a_member_gets_only_its_own_usage_whatever_it_requests(store: UsageStore) -> None:
    own = visible_usage(Caller("key_a", account="ada", role="member"))
    for fields in ({}, {"account": "grace"}, {"key": "key_g"}, {"session": "s2"}):
        made = report(store, own, by="account", **fields)
        assert {row.name for row in made.rows} <= {"ada"}
    assert report(store, own, by="account", account="grace").total.requests == 3


@pytest.mark.parametrize(("role", "scope"), [("owner", "admin"), ("viewer", "read"), ("", "admin")])
def test_an_owner_and_a_viewer_see_all_usage(role: Any, scope: str) -> None:
    assert visible_usage(Caller("key_a", (scope,), account="ada", role=role)) == EVERYTHING


@pytest.mark.parametrize("role", ["owner", ""])
def test_a_key_without_the_scope_admin_sees_the_usage_of_its_account(role: Any) -> None:
    assert visible_usage(Caller("key_a", ("read",), account="ada", role=role)) == UsageFilter(account="ada")


# --------------------------------------------------------------------------------------------------------------- chart


def test_the_chart_has_a_column_for_each_day_from_the_first_one_with_usage(store: UsageStore) -> None:
    columns = chart_columns(report(store), "cost", NOW, 31)
    assert [(column.label, column.total) for column in columns] == [
        ("2026-11-27", 0.0),
        ("2026-11-28", 0.0),
        ("2026-11-29", 1.75),
        ("2026-11-30", 1.5),
    ]


def test_a_long_period_has_several_days_in_a_column(store: UsageStore) -> None:
    columns = chart_columns(report(store, since="90d"), "requests", NOW, 10)
    assert len(columns) <= 10 and sum(column.total for column in columns) == 6
    assert columns[0].label == "2026-10-21 to 10-25"


def test_a_day_is_charted_by_the_hour(store: UsageStore) -> None:
    made = report(store, since="24h")
    assert made.every == "hour"
    assert [column.label for column in chart_columns(made, "tokens", NOW, 31)] == ["11-30 12:00"]


def test_the_parts_of_a_column_are_in_the_order_of_the_rows(store: UsageStore) -> None:
    columns = chart_columns(report(store, split="1"), "cost", NOW, 31)
    assert columns[2].parts == (("large", 1.5), ("small", 0.25))


def test_numbers_are_shown_for_people(store: UsageStore) -> None:
    costs = (None, 0, 0.00001, 0.00042, 0.0042, 0.5, 1234.5)
    assert [dollars(cost) for cost in costs] == [
        "unknown",
        "$0",
        "<$0.0001",
        "$0.00042",
        "$0.0042",
        "$0.50",
        "$1,234.50",
    ]
    assert [short_number(number) for number in (0, 9_999, 12_345, 4_560_000, 123_400_000, 2e9)] == [
        *("0", "9,999", "12.3k", "4.56M", "123.4M", "2.00G")
    ]
    made = report(store)
    assert cost_of_row(made.total) == "$3.25+" and best_measure(made.total) == "cost"
    assert unknown_costs(made.total) == "1 request has no cost, because the price of the model is unknown."
    assert unknown_costs(made.rows[0]) == ""


# -------------------------------------------------------------------------------------------------------------- export


def test_an_export_has_every_field_of_every_record(store: UsageStore) -> None:
    text = b"".join(export(store.records(), "csv")).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert tuple(rows[0]) == COLUMNS and {*COLUMNS} == {"time", *UsageRecord.__struct_fields__} - {"at"}
    assert [row["id"] for row in rows] == [each.id for each in sorted(RECORDS, key=lambda each: each.at)]
    by_id = {row["id"]: row for row in rows}
    first = by_id[RECORDS[0].id]
    assert (first["time"], first["cost"], first["estimated"]) == ("2026-11-30T12:30:00.000Z", "1.5", "false")
    # An unknown cost is empty, not zero.
    assert (by_id[RECORDS[4].id]["cost"], by_id[RECORDS[3].id]["cost"]) == ("", "0")
    lines = [json.loads(line) for line in b"".join(export(store.records(), "jsonl")).splitlines()]
    assert [line["id"] for line in lines] == [row["id"] for row in rows]
    assert {line["cost"] for line in lines} == {1.5, 0.25, 0, None}


def test_a_spreadsheet_does_not_take_a_name_for_a_formula(store: UsageStore) -> None:
    rows = csv.DictReader(io.StringIO(b"".join(export(store.records(), "csv")).decode()))
    assert [row["tag"] for row in rows if row["tag"]] == [f"'{HOSTILE}"]
    assert f"'{HOSTILE}" in [row[0] for row in csv.reader(io.StringIO(rows_as_csv(report(store, by="tag")).decode()))]


def test_an_export_is_made_piece_by_piece() -> None:
    read: list[int] = []

    def records() -> Iterator[UsageRecord]:
        for number in range(2_000):
            read.append(number)
            yield record(number)

    pieces = export(records(), "jsonl")
    next(pieces)
    assert len(read) == 500
    assert sum(piece.count(b"\n") for piece in pieces) == 1_500


@pytest.mark.parametrize(
    ("nano", "text"),
    [(0, "0"), (1, "0.000000001"), (1_500_000_000, "1.5"), (12_000_000_000, "12"), (130_500, "0.0001305")],
)
def test_an_exported_cost_has_all_its_digits(nano: int, text: str) -> None:
    assert exact_dollars(nano) == text


# -------------------------------------------------------------------------------------------------------- API and page


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pages]:
    made = Pages(
        tmp_path,
        "backends: [{type: ollama, url: http://127.0.0.1:9, models: [m]}]\nprices: {o/*: {input: 1, output: 2}}\n",
    )
    made.store.usage.add("journal", 0, 1, RECORDS)
    monkeypatch.setattr("time.time", lambda: NOW)
    yield made
    made.store.close()


def test_the_api_returns_the_report(pages: Pages) -> None:
    sent = pages.get("/byway/usage?by=account&since=90d&split=true")
    made = msgspec.json.decode(sent.html, type=UsageReport)
    assert [(row.name, row.requests) for row in made.rows] == [("ada", 3), ("linus", 1), ("grace", 2)]
    assert {bar.name for bar in made.bars} == {"ada", "linus", "grace"}


@pytest.mark.parametrize(("form", "kind"), [("csv", "text/csv"), ("jsonl", "application/x-ndjson")])
def test_the_api_exports_the_records_of_a_period(pages: Pages, form: str, kind: str) -> None:
    sent = pages.get(f"/byway/usage/export?format={form}&since=7d&account=grace")
    assert sent.headers["content-type"].startswith(kind)
    assert f'filename="byway-usage.{form}"' in sent.headers["content-disposition"]
    assert sent.html.count("req_") == 2


@pytest.mark.parametrize(
    ("target", "field"),
    [
        ("/byway/usage?by=colour", "by"),
        ("/byway/usage/export?format=xml", "format"),
        ("/byway/usage/export?since=soon", "since"),
    ],
)
def test_the_api_names_an_invalid_field(pages: Pages, target: str, field: str) -> None:
    sent = pages.get(target, {"accept": "application/json"})
    assert (sent.status, json.loads(sent.html)["error"]["field"]) == (400, field)


def test_the_api_lists_prices_and_their_source(pages: Pages) -> None:
    prices = json.loads(pages.get("/byway/prices").html)["prices"]
    assert [(price["target"], price["price"]["input"], price["source"]) for price in prices] == [
        ("ollama/m", 0, "local")
    ]


def test_the_page_shows_totals_a_chart_and_a_table(pages: Pages) -> None:
    sent = pages.get("/usage")
    for text in ("Cost $3.25+", "Requests 5 1 failed", "1 request has no cost", "large 2", "$3.00", "unknown"):
        assert text in sent.text, text
    assert sent.html.count("<g>") == 4 and "most at 2026-11-29 with $1.75." in sent.html
    assert not re.search(r"\sstyle=|<script(?! src)", sent.html)
    assert "series-1" in sent.html


def test_names_of_clients_are_text_on_the_page(pages: Pages) -> None:
    sent = pages.get("/usage?by=tag")
    assert HOSTILE in sent.text and "<b>" not in sent.html
    # The link of a row narrows the page to it.
    (link,) = re.findall(r'href="(/usage\?[^"]*tag=[^"]*)"', sent.html)
    narrowed = pages.get(link.replace("&amp;", "&"))
    assert "Requests 1" in narrowed.text and f"tag: {HOSTILE}" in narrowed.text
    assert narrowed.form("/usage")["tag"] == HOSTILE


def test_the_page_reports_an_invalid_period_and_shows_the_usual_one(pages: Pages) -> None:
    sent = pages.get("/usage?since=soon")
    assert "since: 'soon' is not" in sent.text and "Cost $3.25+" in sent.text


def test_the_page_without_usage_says_so(pages: Pages) -> None:
    assert "No requests in this period." in pages.get("/usage?since=1h&account=linus").text


def test_a_damaged_database_is_a_clear_error_and_the_rest_of_the_page_works(pages: Pages) -> None:
    pages.store.usage.close()
    for name in ("usage.db", "usage.db-wal", "usage.db-shm"):
        (pages.services.folder / name).unlink(missing_ok=True)
    (pages.services.folder / "usage.db").write_bytes(b"no database" * 500)
    for target in ("/byway/usage", "/byway/usage/export"):
        sent = pages.get(target, {"accept": "application/json"})
        assert (sent.status, "usage.db" in json.loads(sent.html)["error"]["message"]) == (500, True)
    sent = pages.get("/usage")
    assert sent.status == 500 and "usage.db" in sent.text
    assert pages.get("/requests").status == 200
