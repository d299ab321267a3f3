"""`byway search`, as a person calls it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from providers import KEY, Given, Provided

from byway.cli import byway


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
    assert done.exit_code == 2 and "without http" in done.output


def test_without_a_provider_it_says_what_to_set(tmp_path: Path) -> None:
    file = tmp_path / "byway.yaml"
    file.write_text("{}")
    done = CliRunner().invoke(byway, ["search", "rust", "--config", str(file)])
    assert done.exit_code == 1 and "web_search.provider" in done.output
