"""`byway search`: results, errors, options and output width."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from providers import KEY, FakeProviders, ProviderRequest, ProviderResponse, brave_error

from byway.cli.main import byway


def run(folder: Path, server: FakeProviders, *arguments: str, key: str = KEY) -> Result:
    file = folder / "byway.yaml"
    settings: dict[str, Any] = {"enabled": True, "provider": "brave", "api_key": key, "base_url": server.url}
    file.write_text(json.dumps({"web_search": settings}))
    return CliRunner().invoke(byway, ["search", *arguments, "--config", str(file)])


def test_results_are_numbered_and_name_the_provider(tmp_path: Path) -> None:
    with FakeProviders() as server:
        done = run(tmp_path, server, "rust latest release")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == " 1  Rust 1.99 released  2 days ago"
    assert lines[1] == "    https://blog.rust-lang.org/2026/11/rust-1.99/"
    assert lines[2] == "    The team & friends."
    assert "2 results from brave in" in done.stderr


def test_json_contains_the_results(tmp_path: Path) -> None:
    with FakeProviders() as server:
        done = run(tmp_path, server, "rust", "--json", "--count", "1", "--block", "rust-lang.org")
    assert [result["url"] for result in json.loads(done.stdout)] == ["https://example.com/rust"]


def test_rejected_key_is_reported_with_advice_and_without_the_key(tmp_path: Path) -> None:
    with FakeProviders() as server:
        done = run(tmp_path, server, "rust", key="wrong-key-0123456789")
    assert done.exit_code == 1 and "`api_key` in `web_search`" in done.output and "wrong-key" not in done.output


@pytest.mark.parametrize(("given", "words"), [((429, b""), "fallback"), ((200, {"type": "search"}), "No results")])
def test_rate_limit_and_empty_results_are_reported(
    tmp_path: Path, given: ProviderResponse, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("byway.search.chain._INTERVAL", 0.01)
    with FakeProviders(lambda seen: given) as server:
        assert words in run(tmp_path, server, "rust").output


def test_invalid_domain_is_a_usage_error(tmp_path: Path) -> None:
    with FakeProviders() as server:
        done = run(tmp_path, server, "rust", "--allow", "https://a.com")
    assert done.exit_code == 2 and "must not start with http" in done.output


def test_missing_provider_is_reported_with_its_setting(tmp_path: Path) -> None:
    file = tmp_path / "byway.yaml"
    file.write_text("{}")
    done = CliRunner().invoke(byway, ["search", "rust", "--config", str(file)])
    assert done.exit_code == 1 and "web_search.provider" in done.output


def several(folder: Path, server: FakeProviders, *names: str, **more: Any) -> Path:
    file = folder / "byway.yaml"
    first, *others = [{"provider": name, "api_key": KEY, "base_url": server.url} for name in names]
    file.write_text(json.dumps({"web_search": {"enabled": True, **first, "fallback": others, **more}}))
    return file


def no_brave(seen: ProviderRequest) -> ProviderResponse | None:
    return (422, brave_error("SUBSCRIPTION_TOKEN_INVALID", "x", 422)) if seen.path == "/res/v1/web/search" else None


def test_error_is_printed_before_the_fallback_s_results(tmp_path: Path) -> None:
    with FakeProviders(no_brave) as server:
        file = several(tmp_path, server, "brave", "exa")
        done = CliRunner().invoke(byway, ["search", "rust", "--config", str(file)])
    assert done.exit_code == 0
    assert (
        "brave failed (unavailable). Brave rejected the API key (HTTP 422" in done.stderr
        and "2 results from exa" in done.stderr
    )


def test_provider_option_uses_that_provider_only(tmp_path: Path) -> None:
    with FakeProviders(no_brave) as server:
        file = several(tmp_path, server, "brave", "exa", "tavily")
        for name, code in (("brave", 1), ("exa", 0), ("tavily", 0)):
            done = CliRunner().invoke(byway, ["search", "rust", "--config", str(file), "--provider", name])
            assert done.exit_code == code and name in done.stderr, done.output
        assert len(server.seen) == 3
        done = CliRunner().invoke(byway, ["search", "rust", "--config", str(file), "--provider", "serper"])
    assert done.exit_code == 2 and "Configured: brave, exa, tavily" in done.stderr


def test_disabled_provider_is_reported_with_its_variable(tmp_path: Path) -> None:
    file = tmp_path / "byway.yaml"
    given = {"provider": "brave", "api_key": "${NOT_SET_ANYWHERE}"}
    file.write_text(json.dumps({"web_search": {"enabled": True, **given, "fallback": [given]}}))
    done = CliRunner().invoke(byway, ["search", "rust", "--config", str(file), "--provider", "brave"])
    assert done.exit_code == 2 and "NOT_SET_ANYWHERE is not set" in done.stderr


def test_freshness_is_sent_and_empty_query_is_rejected(tmp_path: Path) -> None:
    with FakeProviders() as server:
        run(tmp_path, server, "rust", "--freshness", "day")
        assert server.seen[0].query["freshness"] == "pd"
        done = run(tmp_path, server, "  ")
    assert done.exit_code == 1 and "The query is empty" in done.stderr and len(server.seen) == 1


def test_output_fits_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    with FakeProviders(lambda seen: (200, {"type": "search", "web": {"results": rows}})) as server:
        done = run(tmp_path, server, "rust")
    for line in done.stdout.splitlines():
        assert sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in line) <= 60
    assert "\x1b" not in done.stdout and "\x07" not in done.stdout
    assert "1 day ago" in done.stdout


def test_local_only_rejects_remote_providers(tmp_path: Path) -> None:
    file = tmp_path / "byway.yaml"
    file.write_text(json.dumps({"local_only": True, "web_search": {"provider": "brave", "api_key": KEY}}))
    done = CliRunner().invoke(byway, ["search", "rust", "--config", str(file)])
    assert done.exit_code == 2 and "local_only is set" in done.stderr
    with FakeProviders() as server:
        searxng = {"provider": "searxng", "base_url": server.url}
        file.write_text(json.dumps({"local_only": True, "web_search": searxng}))
        assert CliRunner().invoke(byway, ["search", "rust", "--config", str(file)]).exit_code == 0
