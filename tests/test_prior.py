"""Which URLs count as part of the conversation: where they appear, and how they may be written."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from growth import assert_linear
from hypothesis import given
from hypothesis import strategies as st

from byway import urls
from byway.messages.request import parse
from byway.web import provenance
from byway.web.provenance import UrlSources, url_appears

URL = "https://example.com/docs/page?x=1"


def named(messages: list[dict[str, Any]], url: str = URL, sources: dict[str, Any] | None = None, **more: Any) -> bool:
    body = json.dumps({"model": "m", "max_tokens": 9, "messages": messages, **more}).encode()
    given_ = msgspec.convert(sources, UrlSources) if sources is not None else None
    return any(url_appears(parse(body, {}, "msg_1"), urls.parse(url), given_))


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


HELLO = user(text("hello"))
CALL = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "browse", "input": {}}]}
FOUND = {"type": "web_search_result", "url": URL, "title": "Page", "encrypted_content": "x"}
SEARCHED: list[dict[str, Any]] = [
    {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}},
    {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [FOUND]},
]
RESULT = {"type": "search_result", "source": "notes", "title": "t", "content": [{"type": "text", "text": "x"}]}
FETCHED = {
    "type": "web_fetch_tool_result",
    "tool_use_id": "s2",
    "content": {
        "type": "web_fetch_result",
        "url": "https://example.com/",
        "content": {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": f"[a]({URL})"}},
    },
}


def result(content: Any) -> dict[str, Any]:
    return user({"type": "tool_result", "tool_use_id": "t1", "content": content})


COUNTS: dict[str, list[dict[str, Any]]] = {
    "a user's text": [{"role": "user", "content": f"read {URL}, please"}],
    "a user's block": [user(text(f"<{URL}>"))],
    "an older message": [user(text(URL)), {"role": "assistant", "content": "ok"}, user(text("go"))],
    "a document's text": [
        user({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": URL}})
    ],
    "a document's URL": [user({"type": "document", "source": {"type": "url", "url": URL}})],
    "a document's content": [user({"type": "document", "source": {"type": "content", "content": [text(URL)]}})],
    "an image's URL": [user({"type": "image", "source": {"type": "url", "url": URL}})],
    "a tool's result": [HELLO, CALL, result(f'{{"href": "{URL}"}}')],
    "a tool's blocks": [HELLO, CALL, result([text(URL)])],
    "an unknown block of a tool": [HELLO, CALL, result([{"type": "link", "to": {"href": [URL]}}])],
    "a search result of the client": [HELLO, CALL, result([{**RESULT, "source": URL}])],
    "the text of a client's search": [user({**RESULT, "content": [text(URL)]})],
    "a search": [HELLO, {"role": "assistant", "content": SEARCHED}, user(text("go"))],
    "a fetched page": [HELLO, {"role": "assistant", "content": [FETCHED]}, user(text("go"))],
}
DOES_NOT: dict[str, list[dict[str, Any]]] = {
    "nothing": [HELLO],
    "the model's text": [HELLO, {"role": "assistant", "content": URL}, HELLO],
    "the model's call": [
        HELLO,
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "a", "input": {"url": URL}}]},
        result("done"),
    ],
    "the model's search": [
        HELLO,
        {"role": "assistant", "content": [{**SEARCHED[0], "input": {"query": URL}}]},
        user(text("go")),
    ],
    "code that ran": [
        HELLO,
        {"role": "assistant", "content": [{"type": "bash_code_execution_tool_result", "content": {"stdout": URL}}]},
        HELLO,
    ],
    "a file's bytes": [
        user({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "aHR0cHM6"}})
    ],
}


@pytest.mark.parametrize("where", COUNTS)
def test_url_from_user_tool_or_search_may_be_fetched(where: str) -> None:
    assert named(COUNTS[where])


@pytest.mark.parametrize("where", DOES_NOT)
def test_url_from_the_model_alone_may_not_be_fetched(where: str) -> None:
    assert not named(DOES_NOT[where])


def test_system_prompt_does_not_count() -> None:
    assert not named([HELLO], system=f"You may read {URL}")
    assert not named([HELLO, {"role": "system", "content": URL}, HELLO])


@pytest.mark.parametrize(
    "written",
    [
        URL,
        "HTTPS://Example.com:443/docs/./page?x=1#part",
        "http://example.com/docs/page?x=1",
        "(https://example.com/docs/page?x=1).",
        "[page](https://example.com/docs/page?x=1), and",
        "**https://example.com/docs/page?x=1**",
        '{"a":"https://example.com/docs/page?x=1","b":2}',
        "{'a': 'https://example.com/docs/page?x=1'}",
        "| https://example.com/docs/page?x=1|",
        "https://example.com/docs/page?x=1\\nnext",
        "look at example.com/docs/page?x=1.",
        "https://example.com/docs/%70age?x=1",
    ],
)
def test_url_may_be_written_in_other_ways(written: str) -> None:
    assert named([user(text(f"See {written} now"))])


@pytest.mark.parametrize(
    "written",
    [
        "https://example.com/docs/page",
        "https://example.com/docs/page?x=2",
        "https://example.com/docs/page?x=12",
        "https://example.com/Docs/page?x=1",
        "https://example.com:8443/docs/page?x=1",
        "https://www.example.com/docs/page?x=1",
        "https://notexample.com/docs/page?x=1",
        "https://example.com.evil.org/docs/page?x=1",
        "https://evil.org/?u=example.com/docs/page?x=1",
        "notexample.com/docs/page?x=1",
        "me@example.com/docs/page?x=1",
        "https://u@example.com/docs/page?x=1",
    ],
)
def test_different_url_does_not_count(written: str) -> None:
    assert not named([user(text(f"See {written} now"))])


@pytest.mark.parametrize(
    ("url", "written", "expected"),
    [
        ("https://example.com/", "example.com", True),
        ("https://example.com/", "Example.com.", True),
        ("https://example.com/", "example.com.evil.org", False),
        ("https://example.com/", "docs.example.com", False),
        ("https://example.com/", "bob@example.com", False),
        ("https://example.com/a", "https://example.com/a/", True),
        ("https://example.com/a/", "https://example.com/a", True),
        ("http://example.com/a", "https://example.com/a", False),
        ("https://example.com/secret-words", "example.com", False),
        ("https://example.com/a?b", "https://example.com/a", False),
        ("https://xn--bcher-kva.example.com/", "https://bücher.example.com", True),
        ("https://en.wikipedia.org/wiki/A_(b)", "https://en.wikipedia.org/wiki/A_(b)", True),
        ("https://en.wikipedia.org/wiki/A_(b)", "(https://en.wikipedia.org/wiki/A_(b))", True),
    ],
)
def test_equal_forms_cannot_carry_data(url: str, written: str, expected: bool) -> None:
    assert named([user(text(f"see {written} now"))], url) is expected


NONE = {"type": "none"}


@pytest.mark.parametrize(
    ("sources", "where", "expected"),
    [
        ({"user_input": NONE}, "a user's text", False),
        ({"user_input": NONE}, "a search", True),
        ({"client_tool_results": NONE}, "a tool's result", False),
        ({"client_tool_results": {"type": "only", "tools": [{"name": "browse"}]}}, "a tool's result", True),
        ({"client_tool_results": {"type": "only", "tools": [{"name": "other"}]}}, "a tool's result", False),
        ({"client_tool_results": {"type": "except", "tools": [{"name": "browse"}]}}, "a tool's result", False),
        ({"client_tool_results": {"type": "except", "tools": [{"name": "other"}]}}, "a tool's result", True),
        ({"server_tool_results": NONE}, "a search", False),
        ({"server_tool_results": {"type": "only", "tools": [{"name": "web_fetch"}]}}, "a search", False),
        ({"server_tool_results": {"type": "only", "tools": [{"name": "web_fetch"}]}}, "a fetched page", True),
        ({}, "a search", True),
    ],
)
def test_url_sources_select_what_counts(sources: dict[str, Any], where: str, expected: bool) -> None:
    assert named(COUNTS[where], sources=sources) is expected


@given(st.text(max_size=200), st.text(max_size=200))
def test_url_between_any_words_is_found(before: str, after: str) -> None:
    assert named([user(text(f"{before} {URL} {after}"))])


@pytest.mark.parametrize(
    ("text_of", "size"),
    [
        (lambda n: " ".join(f"https://example.com/{at}" for at in range(n)), 10),
        (lambda n: "https://example.com/" + "a" * n, 20),
        (lambda n: "https" * n, 17),
        (lambda n: "example.com/ " * n, 10),
    ],
    ids=["URLs of the same host", "one long URL", "schemes", "hosts without a scheme"],
)
def test_work_grows_linearly_with_the_text(text_of: Callable[[int], str], size: int) -> None:
    url = urls.parse(URL)

    def make(size: int) -> Any:
        body = {"model": "m", "max_tokens": 9, "messages": [user(text(text_of(size)))]}
        return parse(json.dumps(body).encode(), {}, "msg_1")

    assert_linear(make, lambda request: any(url_appears(request, url)), 1 << size)


def test_work_grows_linearly_with_the_turns() -> None:
    url = urls.parse(URL)

    def make(size: int) -> Any:
        body = {"model": "m", "max_tokens": 9, "messages": [CALL, result("https://example.com/docs")] * size}
        return parse(json.dumps(body).encode(), {}, "msg_1")

    assert_linear(make, lambda request: any(url_appears(request, url)))


def test_long_text_is_searched_in_slices() -> None:
    """The caller lets other tasks run between two slices."""
    request = parse(
        json.dumps({"model": "m", "max_tokens": 9, "messages": [user(text("x" * 4_000_000 + " " + URL))]}).encode(),
        {},
        "msg_1",
    )
    steps = list(url_appears(request, urls.parse(URL)))
    assert len(steps) > 10 and steps[-1]


@pytest.mark.parametrize("shift", range(0, 600, 7))
@pytest.mark.parametrize("written", [URL, "example.com/docs/page?x=1"])
def test_url_across_the_border_of_two_slices_is_found(
    shift: int, written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "_SLICE", 1 << 12)
    assert named([user(text("x" * (provenance._SLICE - shift - 1) + " " + written))])
    assert not named([user(text("x" * (provenance._SLICE - shift - 1) + " " + written + "0"))])


def test_number_of_comparisons_is_limited() -> None:
    """A text full of similar URLs costs a bounded amount of work; then the URL counts as unknown."""
    assert not named([user(text("https://example.com/................................ " * 2_000 + URL))])
