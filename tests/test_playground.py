"""The requests of the playground: whose they are, what is refused, and the demo tools."""

from __future__ import annotations

import asyncio
import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import HOST, Pages, Sent
from scripted import Say, Scripted

from byway.ui.playground import IMAGE_BYTES, TOOLS, run_tool

NOW = datetime.datetime(2026, 11, 30, 12, 30, tzinfo=datetime.UTC)


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted(lambda request: Say("Hello", tokens=(1200, 34))) as running:
        yield running


def config(server: Scripted, **sections: Any) -> str:
    backend = {"name": "one", "type": "generic", "url": server.url, "models": ["local"]}
    return json.dumps({"backends": [backend], "model_aliases": {"default": "one/local"}, **sections})


@pytest.fixture
def pages(server: Scripted, tmp_path: Path) -> Iterator[Pages]:
    limit = {"for": "account", "requests_per_minute": 2}
    opened = Pages(tmp_path, config(server, limits=[limit]))
    yield opened
    opened.close()


def login(pages: Pages, account: str, role: str) -> None:
    """Log in as a new account."""
    pages.store.add_account(account, "test", role=role)
    logins = pages.services.logins
    cookie = asyncio.run(_enter(pages, account))
    pages.cookie = f"{logins.cookie_name}={cookie}"


async def _enter(pages: Pages, account: str) -> str:
    from byway.access.sync import KeySync
    from byway.admin.logins import create_login_code

    await KeySync(pages.gateway).read()
    cookie = await pages.services.logins.enter_code(create_login_code(pages.store, account, "test").code, "127.0.0.1")
    assert cookie is not None
    return cookie


def send(pages: Pages, headers: dict[str, str] | None = None, **fields: Any) -> Sent:
    return send_all(pages, 1, headers, **fields)[0]


def send_all(pages: Pages, count: int, headers: dict[str, str] | None = None, **fields: Any) -> list[Sent]:
    """Send a request so many times. Connections belong to one event loop: they are closed at its end."""

    async def main() -> list[Sent]:
        answers = [await sending(pages, headers, **fields) for _ in range(count)]
        await pages.gateway.runtime.close()
        return answers

    return asyncio.run(main())


async def sending(pages: Pages, headers: dict[str, str] | None = None, **fields: Any) -> Sent:
    body = {"model": "one/local", "max_tokens": 50, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    more = {"accept": "*/*", "content-type": "application/json", **(headers or {})}
    return await pages._call("POST", "/playground/messages", json.dumps(body | fields), True, more)


def events(answer: Sent) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in answer.html.splitlines() if line.startswith("data: ")]


def test_the_last_event_has_what_the_answer_took(pages: Pages) -> None:
    answer = send(pages)
    assert answer.status == 200, answer.html
    *message, summary = events(answer)
    assert [event["type"] for event in message][-1] == "message_stop"
    assert summary["type"] == "byway_summary"
    assert (summary["backend"], summary["model"]) == ("one", "local")
    assert (summary["input_tokens"], summary["output_tokens"], summary["attempts"]) == (1200, 34, 1)
    assert summary["request_id"] == answer.headers["request-id"]
    number = json.loads(pages.get(f"/playground/request/{summary['request_id']}").html)["number"]
    assert pages.gateway.requests.find(number) is not None
    assert json.loads(pages.get("/playground/request/req_none").html) == {"number": None}


def test_requests_are_those_of_the_account_and_within_its_limits(pages: Pages) -> None:
    login(pages, "ada", "member")
    first, second, refused = send_all(pages, 3)
    assert (first.status, second.status) == (200, 200)
    assert refused.status == 429 and "ada" in refused.html
    [line, *_] = [request.line for request in pages.gateway.requests.newest()]
    assert (line.account, line.path) == ("ada", "/playground/messages")
    assert pages.gateway.requests.newest()[0].agent == "playground"


def test_requests_count_for_no_client(pages: Pages) -> None:
    send(pages)
    assert len(pages.gateway.requests.newest()) == 1
    assert pages.gateway.requests.by_clients() == []


def test_an_account_does_not_see_the_number_of_another_ones_request(pages: Pages) -> None:
    id = send(pages).headers["request-id"]
    login(pages, "ada", "member")
    assert json.loads(pages.get(f"/playground/request/{id}").html) == {"number": None}


def test_a_viewer_sends_nothing_and_the_page_says_so(pages: Pages, server: Scripted) -> None:
    login(pages, "vera", "viewer")
    assert send(pages).status == 403
    assert pages.call("POST", "/playground/tool", "{}", {"accept": "*/*"}).status == 403
    assert "may not use models" in pages.get("/playground").text
    assert server.requests == []


@pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1:1", "null"])
def test_another_site_sends_nothing(pages: Pages, server: Scripted, origin: str) -> None:
    assert send(pages, {"origin": origin}).status == 403
    assert server.requests == []


def test_without_a_login_nothing_is_sent(pages: Pages, server: Scripted) -> None:
    pages.cookie = "nothing=1"
    assert send(pages).status == 401
    assert server.requests == []


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [({"stream": False}, 400, "stream"), ({"messages": "no"}, 400, "messages"), ({"model": ""}, 400, "model")],
)
def test_errors_are_json_with_the_message_of_byway(
    pages: Pages, fields: dict[str, Any], status: int, words: str
) -> None:
    answer = send(pages, **fields)
    assert answer.status == status and words in json.loads(answer.html)["error"]["message"]


def test_a_body_over_the_limit_is_refused(pages: Pages) -> None:
    assert send(pages, {"content-length": str(64 << 20)}).status == 413


def test_the_page_has_the_models_with_their_place(pages: Pages) -> None:
    html = pages.get("/playground?model=one/local").html
    assert 'value="one/local"' in html and 'data-value="default"' in html
    assert f'data-image-bytes="{IMAGE_BYTES}"' in html and f'data-url="http://{HOST}/anthropic/v1/messages"' in html


def test_a_demo_tool_is_run_by_the_server(pages: Pages) -> None:
    body = json.dumps({"name": "add", "input": {"numbers": [1, 2.5]}})
    answer = pages.call("POST", "/playground/tool", body, {"accept": "*/*"})
    assert json.loads(answer.html) == {"content": "3.5", "is_error": False}
    assert pages.call("POST", "/playground/tool", "[]", {"accept": "*/*"}).status == 400


@pytest.mark.parametrize(
    ("name", "given", "content", "is_error"),
    [
        ("get_time", {"zone": "UTC"}, "Monday 2026-11-30 12:30:00 UTC", False),
        ("get_time", {}, "Monday 2026-11-30 12:30:00 UTC", False),
        ("get_time", {"zone": "../../etc/passwd"}, "unknown time zone", True),
        ("get_time", {"zone": "x" * 10_000}, "unknown time zone", True),
        ("add", {"numbers": [1234, 5678]}, "6912", False),
        ("add", {"numbers": ["1"]}, "expected a list of numbers", True),
        ("add", {"numbers": [1] * 1_001}, "at most 1,000", True),
        ("add", {"numbers": [1e308, 1e308]}, "inf", False),
        ("rm", {}, "unknown tool 'rm'", True),
    ],
)
def test_the_demo_tools(name: str, given: dict[str, Any], content: str, is_error: bool) -> None:
    output = run_tool(name, given, NOW)
    assert content in output.content and output.is_error is is_error and len(output.content) < 300


def test_each_demo_tool_is_known() -> None:
    assert all("unknown tool" not in run_tool(str(tool["name"]), {}, NOW).content for tool in TOOLS)
