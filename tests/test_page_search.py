"""The card Web Search: it shows what is set and whether it works, and saving without a change changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pages import Pages, Sent

KEY = "key-of-a-provider-0123456789"
Open = Callable[..., Pages]


@pytest.fixture
def open_page(tmp_path: Path) -> Iterator[Open]:
    opened: list[Pages] = []

    def open_page(text: str = "", **environ: str) -> Pages:
        opened.append(Pages(tmp_path, text, **environ))
        return opened[-1]

    yield open_page
    for pages in opened:
        pages.close()


def config(search: str) -> str:
    return f"backends:\n  - {{name: box, type: vllm, url: 'http://127.0.0.1:1', models: [m]}}\nweb_search:\n{search}"


def save(pages: Pages, **typed: str) -> Sent:
    """Save the card as the page sent it, with the fields that a person has changed."""
    fields = pages.get("/claude").form("/claude/search")
    changed = {name.replace("__", ":"): value for name, value in typed.items()}
    return pages.post(
        "/claude/search", {name: value for name, value in {**fields, **changed}.items() if value != "OFF"}
    )


BRAVE = '  enabled: true\n  provider: brave\n  api_key: "${BRAVE_API_KEY}"  # mine\n'


def test_a_variable_of_the_config_is_kept_by_a_save_without_a_change(open_page: Open) -> None:
    pages = open_page(config(BRAVE), BRAVE_API_KEY=KEY)
    page = pages.get("/claude")
    assert page.form("/claude/search")["source"] == "variable"
    assert page.form("/claude/search")["variable"] == "${BRAVE_API_KEY}"
    assert "plain text" not in page.text and "in a variable" in page.text
    before = pages.file.read_text()
    assert save(pages).outcome("search") == "good: Nothing to change."
    assert pages.file.read_text() == before
    assert pages.gateway.runtime.searcher.ready


def test_a_key_in_plain_text_is_reported_and_kept_until_another_source_is_chosen(open_page: Open) -> None:
    pages = open_page(config(f"  enabled: true\n  provider: brave\n  api_key: {KEY}\n"), BYWAY_BRAVE_API_KEY=KEY)
    page = pages.get("/claude")
    assert page.form("/claude/search")["source"] == "file" and "contains a key in plain text" in page.text
    assert KEY not in page.html
    before = pages.file.read_text()
    save(pages)
    assert pages.file.read_text() == before
    assert save(pages, source="stored").outcome("search").startswith("good: Saved")
    assert KEY not in pages.file.read_text() and "${BYWAY_BRAVE_API_KEY}" in pages.file.read_text()


def test_a_save_without_a_key_says_that_searches_fail_and_keeps_the_tick(open_page: Open) -> None:
    pages = open_page(config("  enabled: false\n"))
    answer = save(pages, enabled="on", provider="serper", source="stored")
    assert answer.outcome("search").startswith("warn: Saved, but searches fail: there is no key. Serper needs")
    page = pages.get("/claude")
    assert page.form("/claude/search")["enabled"] == "on", "the tick shows what is set"
    assert "on, but no key: searches fail" in page.text
    tried = pages.post("/claude/search/test", {"query": "rust"})
    assert tried.outcome("search").startswith("bad: Web search has no key. Serper needs BYWAY_SERPER_API_KEY")
    # Another save with the box unticked switches it off, also once a key has been stored.
    save(pages, enabled="OFF")
    pages.environ["BYWAY_SERPER_API_KEY"] = KEY
    assert "enabled: false" in pages.file.read_text()


def test_a_refused_save_keeps_everything_that_was_typed(open_page: Open) -> None:
    pages = open_page(config("  enabled: false\n"))
    answer = save(pages, enabled="on", provider="exa", source="typed", key=KEY)
    assert "Tick the box below" in answer.outcome("search") and answer.status == 422
    form = answer.form("/claude/search")
    assert (form["enabled"], form["provider"], form["source"]) == ("on", "exa", "typed")
    assert 'id="search-key" hx-preserve="true"' in answer.html, "the browser keeps the typed key; it is not sent back"
    assert KEY not in answer.html
    accepted = pages.post("/claude/search", {**form, "key": KEY, "accept": "on"})
    assert accepted.outcome("search").startswith("good: Saved"), accepted.text
    assert "hx-preserve" not in accepted.html.partition('id="search-key"')[2][:40]


def test_the_key_of_one_provider_is_not_sent_to_another(open_page: Open) -> None:
    pages = open_page(config(BRAVE), BRAVE_API_KEY=KEY)
    assert "key of another provider" in save(pages, provider="serper").outcome("search")
    assert "brave" in pages.file.read_text()


def test_an_address_without_a_provider_is_kept_and_one_of_another_provider_is_named(open_page: Open) -> None:
    pages = open_page(config("  base_url: http://127.0.0.1:8888\n"), BYWAY_BRAVE_API_KEY=KEY)
    assert pages.get("/claude").form("/claude/search")["base_url"] == "http://127.0.0.1:8888"
    save(pages, enabled="on", provider="brave", source="stored")
    assert "base_url: http://127.0.0.1:8888" in pages.file.read_text()
    assert "Searches go to http://127.0.0.1:8888" in pages.get("/claude").text
    answer = save(pages, provider="serper", source="stored")
    assert "base_url" not in pages.file.read_text()
    assert "base_url: http://127.0.0.1:8888 of Brave Search was removed" in answer.outcome("search")
