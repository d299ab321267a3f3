"""`byway usage`, its export, and `byway prices`: output, options and errors, in this process."""

from __future__ import annotations

import csv
import io
import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from test_usage_report import NOW, RECORDS

from byway.cli import usage
from byway.cli.main import byway
from byway.store import UsageStore


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with some usage, on the day of its newest record."""
    tmp_path.chmod(0o700)
    store = UsageStore(tmp_path)
    store.add("journal", 0, 1, RECORDS)
    store.close()
    monkeypatch.setattr(time, "time", lambda: NOW)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


def run(folder: Path, *arguments: str, command: str = "usage") -> Result:
    return CliRunner().invoke(byway, [command, *arguments, "--data-dir", str(folder)])


def test_the_report_has_totals_a_chart_and_a_table(folder: Path) -> None:
    done = run(folder)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "2026-11-24 00:00 to now (UTC)"
    assert lines[2:5] == [
        "Requests  5, 1 failed",
        "Tokens    575 in (87 % from the cache), 100 out",
        "Cost      $3.25+",
    ]
    chart = [line for line in lines if "█" in line]
    assert [line.split()[0] for line in chart] == ["2026-11-29", "2026-11-30"]
    assert chart[0].count("█") > chart[1].count("█") and chart[0].endswith("$1.75")
    assert max(map(len, lines)) <= 80
    table = [line.split() for line in lines[-4:]]
    assert [row[0] for row in table] == ["large", "small", "new", "qwen"]
    assert [row[-2] for row in table[:2]] == ["40", "40"]
    assert "1 request has no cost, because the price of the model is unknown. See: byway prices" in done.stderr


def test_a_chart_for_a_terminal_without_block_characters_is_ascii() -> None:
    assert not usage.supports_blocks("ascii") and not usage.supports_blocks("latin-1")
    assert usage.supports_blocks("utf-8") and not usage.supports_blocks("no such encoding")
    assert [usage.bar(share, 10, False) for share in (0, 0.001, 0.5, 1)] == ["", "#", "#####", "##########"]
    assert [usage.bar(share, 4, True) for share in (0, 0.001, 0.5, 0.53, 1)] == ["", "▏", "██", "██▏", "████"]


def test_the_rows_can_be_accounts_of_one_backend(folder: Path) -> None:
    rows = json.loads(run(folder, "--by", "account", "--backend", "cloud", "--since", "90d", "--json").stdout)["rows"]
    assert [(row["name"], row["requests"], row["cost"]) for row in rows] == [
        ("ada", 3, 3.25),
        ("linus", 1, 1.5),
        ("grace", 1, None),
    ]


def test_the_rows_can_be_printed_as_csv(folder: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(run(folder, "--csv", "--by", "key").stdout)))
    assert [(row["key"], row["requests"], row["cost"]) for row in rows] == [
        ("key_a", "3", "3.25"),
        ("key_g", "2", "0.0"),
    ]


def test_a_limit_is_noted(folder: Path) -> None:
    done = run(folder, "--limit", "1")
    assert "Only the first 1 rows. More: --limit 1000" in done.stderr and "small" not in done.stdout


def test_names_cannot_control_the_terminal(folder: Path) -> None:
    store = UsageStore(folder)
    (odd,) = [each for each in RECORDS if each.tag]
    odd = type(odd)(
        **{**{name: getattr(odd, name) for name in odd.__struct_fields__}, "id": "req_x", "tag": "\x1b[31mred" * 9}
    )
    store.add("more", 0, 1, [odd])
    store.close()
    done = run(folder, "--by", "tag")
    assert "\x1b" not in done.stdout and "[31mred" in done.stdout and "…" in done.stdout


def test_a_folder_without_usage_says_so(tmp_path: Path) -> None:
    done = run(tmp_path / "new")
    assert (done.exit_code, done.stderr) == (0, "No requests in this period.\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--since", "soon"), "byway: since: 'soon' is not a span such as 24h"),
        (
            ("--since", "2026-11-02", "--until", "2026-11-01"),
            "byway: until: the end of the period is not after its start",
        ),
        (("--by", "colour"), "'colour' is not one of"),
        (("export", "--since", "soon"), "byway: since: 'soon' is not a span"),
    ],
)
def test_an_invalid_option_is_explained(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    done = run(folder, *arguments)
    assert done.exit_code == 2 and message in done.stderr


def test_an_export_is_written_to_stdout_or_to_a_file(folder: Path) -> None:
    text = run(folder, "export", "--account", "grace").stdout
    assert [row["model"] for row in csv.DictReader(io.StringIO(text))] == ["qwen", "new"]
    file = folder / "usage.jsonl"
    done = run(folder, "export", "--since", "90d", "--json", "--output", str(file))
    assert done.exit_code == 0 and done.stderr == f"Written to {file}.\n"
    assert [json.loads(line)["model"] for line in file.read_text().splitlines()] == [
        *("large", "qwen", "new", "large", "small", "large")
    ]


def test_a_file_that_cannot_be_written_is_named(folder: Path) -> None:
    done = run(folder, "export", "--output", str(folder / "missing" / "x.csv"))
    assert (done.exit_code, "cannot be written: No such file" in done.stderr) == (2, True)


def test_a_damaged_database_is_a_clear_error(folder: Path) -> None:
    for file in folder.glob("usage.db*"):
        file.unlink()
    (folder / "usage.db").write_bytes(b"no database" * 500)
    for arguments in ((), ("export",)):
        done = run(folder, *arguments)
        assert (done.exit_code, "usage.db" in done.stderr, done.stdout) == (1, True, "")


# -------------------------------------------------------------------------------------------------------------- prices

CONFIG = """\
backends:
  - {name: box, type: vllm, url: "http://127.0.0.1:9", models: [small, big]}
model_aliases: {haiku: box/small, "claude-*": box/big, opus: gone/x}
prices: {box/big: {input: 3, output: 15, cached: 0.3, tiers: [{above: 100, input: 6, output: 30}]}}
"""


def test_prices_are_listed_with_their_source(tmp_path: Path) -> None:
    file = tmp_path / "byway.yaml"
    file.write_text(CONFIG)
    done = run(tmp_path, "--config", str(file), command="prices")
    assert done.exit_code == 0, done.output
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["TARGET", "INPUT", "CACHED", "STORED", "OUTPUT", "SOURCE"],
        ["box/small", "$0", "$0", "$0", "$0", "local"],
        ["box/big", "$3+", "$0.3+", "$3+", "$15+", "prices:", "box/big"],
    ]
    assert "another price applies to long prompts" in done.stderr
    (price,) = json.loads(run(tmp_path, "claude-x", "--json", "--config", str(file), command="prices").stdout)["prices"]
    assert (price["target"], price["tiers"][0]["above"], price["tiers"][0]["cached"]) == ("box/big", 100, 6)


def test_the_price_of_an_unknown_name_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "byway.yaml"
    file.write_text(CONFIG)
    done = run(tmp_path, "box2/nothing", "--config", str(file), command="prices")
    assert done.exit_code == 1 and "box2/nothing" in done.stderr
