"""`byway search`, as a person calls it."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from providers import KEY, Given, Provided, Seen, brave_error

from byway.cli.main import byway


def run(folder: Path, server: Provided, *arguments: str, key: str = KEY) -> Result:
    file = folder / "byway.yaml"
    settings: dict[str, Any] = {"enabled": True, "provider": "brave", "api_key": key, "base_url": server.url}
    file.write_text(json.dumps({"web_search": settings}))
    return CliRunner().invoke(byway, ["search", *arguments, "--config", str(file)])


def test_results_are_ranked_and_say_who_found_them(tmp_path: Path) -> None:
    with Provided() as server:
        done = run(tmp_path, server, "rust latest release")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == " 1  Rust 1.99 released  2 days ago"
    assert lines[1] == "    https://blog.rust-lang.org/2026/11/rust-1.99/"
    assert lines[2] == "    The team & friends."
    assert "2 results by brave in" in done.stderr


def test_json_is_for_programs(tmp_path: Path) -> None:
    with Provided() as server:
        done = run(tmp_path, server, "rust", "--json", "--count", "1", "--block", "rust-lang.org")
    assert [one["url"] for one in json.loads(done.stdout)] == ["https://example.com/rust"]


def test_a_refused_key_is_said_with_what_to_do_and_without_the_key(tmp_path: Path) -> None:
    with Provided() as server:
        done = run(tmp_path, server, "rust", key="wrong-key-0123456789")
    assert done.exit_code == 1 and "`api_key` in `web_search`" in done.output and "wrong-key" not in done.output


@pytest.mark.parametrize(("given", "words"), [((429, b""), "fallback"), ((200, {"type": "search"}), "Nothing found")])
def test_too_much_and_nothing(tmp_path: Path, given: Given, words: str) -> None:
    with Provided(lambda seen: given) as server:
        assert words in run(tmp_path, server, "rust").output


def test_domains_that_are_none_are_a_misuse(tmp_path: Path) -> None:
    with Provided() as server:
        done = run(tmp_path, server, "rust", "--allow", "https://a.com")
    assert done.exit_code == 2 and "must not start with http" in done.output


def test_without_a_provider_it_says_what_to_set(tmp_path: Path) -> None:
    file = tmp_path / "byway.yaml"
    file.write_text("{}")
    done = CliRunner().invoke(byway, ["search", "rust", "--config", str(file)])
    assert done.exit_code == 1 and "web_search.provider" in done.output


def several(folder: Path, server: Provided, *names: str, **more: Any) -> Path:
    file = folder / "byway.yaml"
    first, *others = [{"provider": name, "api_key": KEY, "base_url": server.url} for name in names]
    file.write_text(json.dumps({"web_search": {"enabled": True, **first, "fallback": others, **more}}))
    return file


def no_brave(seen: Seen) -> Given | None:
    return (422, brave_error("SUBSCRIPTION_TOKEN_INVALID", "x", 422)) if seen.path == "/res/v1/web/search" else None


def test_a_fallback_does_not_hide_what_has_failed(tmp_path: Path) -> None:
    with Provided(no_brave) as server:
        file = several(tmp_path, server, "brave", "exa")
        done = CliRunner().invoke(byway, ["search", "rust", "--config", str(file)])
    assert done.exit_code == 0
    assert (
        "brave failed (unavailable). Brave rejected the API key (HTTP 422" in done.stderr
        and "2 results by exa" in done.stderr
    )


def test_one_provider_alone_can_be_asked(tmp_path: Path) -> None:
    with Provided(no_brave) as server:
        file = several(tmp_path, server, "brave", "exa", "tavily")
        for name, code in (("brave", 1), ("exa", 0), ("tavily", 0)):
            done = CliRunner().invoke(byway, ["search", "rust", "--config", str(file), "--provider", name])
            assert done.exit_code == code and name in done.stderr, done.output
        assert len(server.seen) == 3
        done = CliRunner().invoke(byway, ["search", "rust", "--config", str(file), "--provider", "serper"])
    assert done.exit_code == 2 and "what is there: brave, exa, tavily" in done.stderr


def test_a_provider_that_lacks_its_variable_is_said(tmp_path: Path) -> None:
    file = tmp_path / "byway.yaml"
    given = {"provider": "brave", "api_key": "${NOT_SET_ANYWHERE}"}
    file.write_text(json.dumps({"web_search": {"enabled": True, **given, "fallback": [given]}}))
    done = CliRunner().invoke(byway, ["search", "rust", "--config", str(file), "--provider", "brave"])
    assert done.exit_code == 2 and "NOT_SET_ANYWHERE is not set" in done.stderr


def test_freshness_and_empty_queries(tmp_path: Path) -> None:
    with Provided() as server:
        run(tmp_path, server, "rust", "--freshness", "day")
        assert server.seen[0].query["freshness"] == "pd"
        done = run(tmp_path, server, "  ")
    assert done.exit_code == 1 and "The query is empty" in done.stderr and len(server.seen) == 1


def test_results_are_cut_to_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    rows = [
        {
            "title": "A long title " * 20,
            "url": "https://a.example/",
            "description": "some words " * 90,
            "age": "1 day ago",
        },
        {"title": "検索結果の題名" * 20, "url": "https://b.example/", "description": "本文の一部です" * 90},
        {"title": "\x1b[31mred\x07", "url": "https://c.example/", "description": "x\x1b]0;title\x07"},
    ]
    with Provided(lambda seen: (200, {"type": "search", "web": {"results": rows}})) as server:
        done = run(tmp_path, server, "rust")
    for line in done.stdout.splitlines():
        assert sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in line) <= 60
    assert "\x1b" not in done.stdout and "\x07" not in done.stdout
    assert "1 day ago" in done.stdout


def test_with_local_only_nobody_elsewhere_is_asked(tmp_path: Path) -> None:
    file = tmp_path / "byway.yaml"
    file.write_text(json.dumps({"local_only": True, "web_search": {"provider": "brave", "api_key": KEY}}))
    done = CliRunner().invoke(byway, ["search", "rust", "--config", str(file)])
    assert done.exit_code == 2 and "local_only is set" in done.stderr
    with Provided() as server:
        one = {"provider": "searxng", "base_url": server.url}
        file.write_text(json.dumps({"local_only": True, "web_search": one}))
        assert CliRunner().invoke(byway, ["search", "rust", "--config", str(file)]).exit_code == 0
