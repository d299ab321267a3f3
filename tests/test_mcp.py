"""The MCP server: its protocol, its tools, who may use them, and the official client of MCP."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest
from pages import HOST, Pages
from providers import KEY, FakeProviders, ProviderRequest, ProviderResponse
from waiting import until
from webserver import fetcher, response, web_server

from byway.access.sync import KeySync
from byway.mcp import protocol, tools
from byway.mcp.calls import MOST_OF_CALLER
from byway.mcp.protocol import VERSIONS
from byway.signin.tokens import mcp_token
from byway.store import SignInTokens

DAY = 86_400.0


class McpAnswer(NamedTuple):
    """An HTTP response of the MCP server."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def result(self) -> Any:
        assert self.status == 200, self
        return self.json["result"]

    @property
    def error(self) -> Any:
        return self.json["error"]

    @property
    def tool_text(self) -> str:
        """The text of a tool result."""
        return str(self.result["content"][0]["text"])


class Wire(Pages):
    """A Byway with a search provider, and a client with a key."""

    def __init__(self, folder: Path, **sections: Any) -> None:
        super().__init__(folder, json.dumps(sections))
        self.sync = KeySync(self.gateway)
        self.key = self.store.add_key("client", ["write"], None, "test")[1]
        self.refresh()

    def refresh(self) -> None:
        asyncio.run(self.sync.read())

    def sign_in(self, account: str = "") -> str:
        """The MCP token of a new sign-in."""
        self.signed_in = self.store.add_sign_in(
            account, "claude-code/2.1.329", "127.0.0.1", SignInTokens(b"a", 9e9, b"r", 9e9)
        )
        self.refresh()
        return mcp_token(self.gateway.runtime.secret, self.signed_in.id)

    async def exchange(
        self,
        body: Any,
        token: str | None = None,
        headers: dict[str, str] | None = None,
        *,
        path: str = "/mcp",
        gone: asyncio.Event | None = None,
    ) -> McpAnswer:
        """Send a message; `gone` disconnects the client."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        messages: list[Any] = []
        unread = [data]

        async def receive() -> dict[str, Any]:
            if unread:
                return {"type": "http.request", "body": unread.pop(), "more_body": False}
            await (gone or asyncio.Event()).wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            messages.append(message)

        more = {
            "host": HOST,
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
            "content-length": str(len(data)),
            "authorization": f"Bearer {self.key if token is None else token}",
            **(headers or {}),
        }
        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in more.items() if value],
            "server": ("127.0.0.1", 38080),
            "client": ("127.0.0.1", 5555),
        }
        await self.app(scope, receive, send)
        if not messages:
            return McpAnswer(499, {}, b"")
        names = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
        return McpAnswer(messages[0]["status"], names, b"".join(message.get("body", b"") for message in messages[1:]))

    def send(self, body: Any, token: str | None = None, path: str = "/mcp", **headers: str) -> McpAnswer:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return asyncio.run(self.exchange(body, token, names, path=path))

    def search(self, token: str | None = None, **arguments: Any) -> McpAnswer:
        return self.send(call("web_search", **{"query": "rust", **arguments}), token)


def request(method: str, id: Any = 1, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


def call(name: str, id: Any = 1, **arguments: Any) -> dict[str, Any]:
    return request("tools/call", id, name=name, arguments=arguments)


def notice(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": params}


def search_settings(server: FakeProviders, **more: Any) -> dict[str, Any]:
    return {"enabled": True, "provider": "brave", "api_key": KEY, "base_url": server.url, **more}


@pytest.fixture
def instead() -> dict[str, Callable[[ProviderRequest], ProviderResponse | None]]:
    """Another response of the provider."""
    return {"answer": lambda seen: None}


@pytest.fixture
def provider(instead: dict[str, Any]) -> Iterator[FakeProviders]:
    with FakeProviders(lambda seen: instead["answer"](seen)) as server:
        yield server


@pytest.fixture
def wire(tmp_path: Path, provider: FakeProviders) -> Iterator[Wire]:
    opened = Wire(tmp_path, web_search=search_settings(provider), web_fetch={"enabled": True})
    yield opened
    opened.close()


# ------------------------------------------------------------------------------------------------------------- protocol


@pytest.mark.parametrize("version", VERSIONS)
def test_the_requested_revision_is_used(wire: Wire, version: str) -> None:
    client = {"name": "test", "version": "1"}
    answer = wire.send(request("initialize", protocolVersion=version, capabilities={}, clientInfo=client))
    assert answer.result["protocolVersion"] == version and answer.result["serverInfo"]["name"] == "byway"
    assert "tools" in answer.result["capabilities"] and len(answer.headers["mcp-session-id"]) == 32
    assert wire.send(notice("notifications/initialized"), mcp_protocol_version=version).status == 202
    assert wire.send(request("ping", "p"), mcp_protocol_version=version).json == {
        "jsonrpc": "2.0",
        "id": "p",
        "result": {},
    }


@pytest.mark.parametrize("version", ["2026-07-28", "1900-01-01", None, 7])
def test_an_unknown_revision_gets_the_newest_one(wire: Wire, version: Any) -> None:
    assert wire.send(request("initialize", protocolVersion=version)).result["protocolVersion"] == VERSIONS[-1]


def test_a_request_of_an_unknown_revision_is_refused_with_the_known_ones(wire: Wire) -> None:
    answer = wire.send(request("server/discover"), mcp_protocol_version="2026-07-28")
    assert answer.status == 400 and answer.error["data"]["supported"] == list(VERSIONS)


def test_the_tools_that_can_be_used_are_listed(wire: Wire, tmp_path: Path) -> None:
    search, fetch = wire.send(request("tools/list")).result["tools"]
    assert (search["name"], fetch["name"]) == ("web_search", "web_fetch")
    assert search["inputSchema"]["required"] == ["query"] and search["annotations"]["readOnlyHint"]
    folder = tmp_path / "off"
    folder.mkdir()
    off = Wire(folder)
    try:
        assert off.send(request("tools/list")).result == {"tools": []}
        for name, arguments in (("web_search", {"query": "x"}), ("web_fetch", {"url": "https://example.com"})):
            answer = off.send(call(name, **arguments))
            assert answer.result["isError"] and "Byway" in answer.tool_text
    finally:
        off.close()


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, protocol.PARSE_ERROR),
        (b"\xff", 400, protocol.PARSE_ERROR),
        (b"[" * 5_000 + b"]" * 5_000, 400, protocol.PARSE_ERROR),
        (b"7", 400, protocol.INVALID_REQUEST),
        (b"[]", 400, protocol.INVALID_REQUEST),
        ([request("ping")] * 11, 400, protocol.INVALID_REQUEST),
        ([request("initialize")], 400, protocol.INVALID_REQUEST),
        ([call("web_search", query="x"), call("web_search", 2, query="x")], 400, protocol.INVALID_REQUEST),
        ({"id": 1, "method": "ping"}, 400, protocol.INVALID_REQUEST),
        ({"jsonrpc": "2.0", "id": None, "method": "ping"}, 400, protocol.INVALID_REQUEST),
        ({"jsonrpc": "2.0", "id": True, "method": "ping"}, 400, protocol.INVALID_REQUEST),
        ({"jsonrpc": "2.0", "id": "x" * 200, "method": "ping"}, 400, protocol.INVALID_REQUEST),
        ({"jsonrpc": "2.0", "id": 1, "method": 7}, 200, protocol.INVALID_REQUEST),
        ({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": [1]}, 200, protocol.INVALID_PARAMS),
        (request("resources/list"), 200, protocol.METHOD_NOT_FOUND),
        (call("bash", command="id"), 200, protocol.INVALID_PARAMS),
        (request("tools/call"), 200, protocol.INVALID_PARAMS),
        (request("tools/call", name=["web_search"]), 200, protocol.INVALID_PARAMS),
    ],
)
def test_invalid_messages_get_the_errors_of_json_rpc(wire: Wire, body: Any, status: int, code: int) -> None:
    answer = wire.send(body)
    assert answer.status == status and answer.error["code"] == code and answer.error["message"].endswith(".")


def test_batches_are_answered_up_to_the_last_revision_that_has_them(wire: Wire) -> None:
    batch = [
        request("ping", 1),
        notice("notifications/initialized"),
        {"jsonrpc": "2.0", "id": 3, "result": {}},
        request("no", 2),
    ]
    answers = wire.send(batch).json
    assert [answer["id"] for answer in answers] == [1, 2] and answers[1]["error"]["code"] == protocol.METHOD_NOT_FOUND
    assert wire.send(batch[1:3]).status == 202
    assert wire.send(batch, mcp_protocol_version="2025-06-18").status == 400


def test_a_client_that_reads_only_streams_gets_an_event(wire: Wire) -> None:
    answer = wire.send(request("ping"), accept="text/event-stream")
    assert answer.headers["content-type"] == "text/event-stream"
    kind, data = answer.body.decode().strip().split("\n")
    assert kind == "event: message" and json.loads(data.removeprefix("data: "))["result"] == {}


def test_other_kinds_of_content_and_methods_are_refused(wire: Wire) -> None:
    assert wire.send(request("ping"), content_type="text/plain").status == 415
    assert wire.send(request("ping"), accept="image/png").status == 400
    headers = {"authorization": f"Bearer {wire.key}"}
    for method in ("GET", "DELETE"):
        assert wire.call(method, "/mcp", "", headers, cookie=False).status == 405


# ------------------------------------------------------------------------------------------------------------ searching


def test_a_search_returns_titles_urls_and_extracts(wire: Wire, provider: FakeProviders) -> None:
    answer = wire.search()
    assert "isError" not in answer.result
    for shown in (
        "Rust 1.99 released",
        "https://blog.rust-lang.org/2026/11/rust-1.99/",
        "2 days ago",
        "The team & friends.",
    ):
        assert shown in answer.tool_text
    assert provider.seen[0].text == "rust"
    assert wire.send(call("web_search", query="rust"), path="/anthropic/mcp").tool_text == answer.tool_text


def test_domain_lists_filter_the_results(wire: Wire) -> None:
    assert "rust-lang.org" not in wire.search(allowed_domains=["example.com"]).tool_text
    assert "example.com" not in wire.search(blocked_domains=["example.com"]).tool_text
    both = wire.search(allowed_domains=["a.org"], blocked_domains=["b.org"])
    assert both.result["isError"] and "allowed_domains" in both.tool_text


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"query": ""}, "empty"),
        ({"query": 7}, "query"),
        ({"max_results": 0}, "max_results"),
        ({"query": "x" * 3000}, "limit"),
    ],
)
def test_invalid_arguments_are_results_that_a_model_can_read(
    wire: Wire, arguments: dict[str, Any], reason: str
) -> None:
    answer = wire.search(**arguments)
    assert answer.result["isError"] and reason in answer.tool_text and answer.tool_text.endswith(".")


def test_an_error_of_the_provider_is_a_result_with_the_next_action(
    wire: Wire, instead: dict[str, Any], provider: FakeProviders
) -> None:
    instead["answer"] = lambda seen: (500, {})
    answer = wire.search()
    assert answer.result["isError"] and "byway search" in answer.tool_text and KEY not in answer.tool_text


def test_a_page_is_fetched_and_cut(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "_PAGE_TOKENS", 200)

    async def act() -> None:
        async with web_server({"/page": response(b"some words " * 5_000)}) as server:
            wire.gateway.runtime.fetcher = fetcher()
            whole = await wire.exchange(call("web_fetch", url=f"{server.base}/page"))
            assert "some words" in whole.tool_text and len(whole.tool_text) < 5_000
            assert "first part of a page" in whole.tool_text
            short = await wire.exchange(call("web_fetch", url=f"{server.base}/page", max_content_tokens=10))
            assert len(short.tool_text) < 500
            refused = await wire.exchange(call("web_fetch", url="http://10.0.0.7/"))
            assert refused.result["isError"] and "not a public address" in refused.tool_text

    asyncio.run(act())


# --------------------------------------------------------------------------------------------------- limits and the end


@pytest.fixture
def stuck(instead: dict[str, Any]) -> Iterator[threading.Semaphore]:
    """A provider that does not answer until the test ends; each search releases the semaphore."""
    ended, started = threading.Event(), threading.Semaphore(0)

    def answer(seen: ProviderRequest) -> None:
        started.release()
        ended.wait(60)

    instead["answer"] = answer
    yield started
    ended.set()


def test_a_call_ends_when_its_client_cancels_it(wire: Wire, stuck: threading.Semaphore) -> None:
    async def act() -> None:
        session = {"mcp-session-id": "one"}
        waiting = asyncio.create_task(wire.exchange(call("web_search", 5, query="x"), headers=session))
        await until(lambda: len(wire.gateway.mcp_calls) == 1)
        cancel = notice("notifications/cancelled", requestId=5, reason="no")
        other = wire.store.add_key("other", ["write"], None, "test")[1]
        await wire.sync.read()
        for token, name in ((wire.key, "two"), (other, "one")):
            assert (await wire.exchange(cancel, token, {"mcp-session-id": name})).status == 202
        await asyncio.sleep(0)
        assert len(wire.gateway.mcp_calls) == 1, "another session, or another client, cancels nothing"
        assert (await wire.exchange(cancel, headers=session)).status == 202
        assert (await waiting).error["code"] == protocol.CANCELLED

    asyncio.run(act())
    assert not len(wire.gateway.mcp_calls)


def test_a_call_ends_when_its_client_disconnects(wire: Wire, stuck: threading.Semaphore) -> None:
    async def act() -> None:
        gone = asyncio.Event()
        waiting = asyncio.create_task(wire.exchange(call("web_search", query="x"), gone=gone))
        await until(lambda: len(wire.gateway.mcp_calls) == 1)
        gone.set()
        assert (await waiting).status == 499

    asyncio.run(act())
    assert not len(wire.gateway.mcp_calls)


def test_a_call_that_takes_too_long_is_a_result(
    wire: Wire, stuck: threading.Semaphore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "DEADLINE", 0.01)
    answer = wire.search()
    assert answer.result["isError"] and "longer than" in answer.tool_text


def test_the_calls_of_one_client_are_limited(wire: Wire, stuck: threading.Semaphore) -> None:
    async def act() -> None:
        waiting = [
            asyncio.create_task(wire.exchange(call("web_search", at, query=f"x{at}"))) for at in range(MOST_OF_CALLER)
        ]
        await until(lambda: len(wire.gateway.mcp_calls) == MOST_OF_CALLER)
        answer = await wire.exchange(call("web_search", 99, query="y"))
        assert answer.result["isError"] and "Too many" in answer.tool_text
        again = await wire.exchange(call("web_search", 0, query="y"))
        assert again.result["isError"] and "id" in again.tool_text
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(act())


def test_a_limit_of_requests_refuses_a_call(tmp_path: Path, provider: FakeProviders) -> None:
    limits = [{"for": "key", "requests_per_minute": 1}]
    wire = Wire(tmp_path, web_search=search_settings(provider), limits=limits)
    try:
        assert "isError" not in wire.search().result
        refused = wire.search()
        assert refused.result["isError"] and "limit" in refused.tool_text, refused
    finally:
        wire.close()


def test_calls_are_counted_and_listed_without_their_query(wire: Wire) -> None:
    wire.search(query="a secret plan")
    wire.search(query="")
    status = json.loads(wire.call("GET", "/byway/status").html)
    assert status["mcp"]["web_search"] == {"calls": 2, "failed": 1}
    requests = json.loads(wire.call("GET", "/byway/requests").html)["requests"]
    assert [entry["asked"] for entry in requests] == ["web_search", "web_search"] and requests[1]["backend"] == "brave"
    assert "secret plan" not in json.dumps(requests)


# ------------------------------------------------------------------------------------------------------------- refusals


def test_without_a_valid_key_there_is_no_answer_also_where_models_need_none(wire: Wire) -> None:
    for token in ("", "sk-byway-wrong", "x"):
        answer = wire.send(request("tools/list"), token)
        assert answer.status == 401 and answer.error["code"] == protocol.INVALID_REQUEST
    read = wire.store.add_key("reader", ["read"], None, "test")[1]
    wire.refresh()
    assert wire.send(request("tools/list"), read).status == 403


def test_no_key_is_not_enough_where_keys_are_not_required(tmp_path: Path) -> None:
    wire = Wire(tmp_path, api_keys={"mode": "permissive"})
    try:
        assert wire.send(request("tools/list"), "", authorization="").status == 401
        assert wire.send(request("tools/list")).status == 200
    finally:
        wire.close()


def test_other_sites_and_unknown_hosts_are_refused(wire: Wire) -> None:
    assert wire.send(request("tools/list"), origin="https://evil.example").status == 403
    assert wire.send(request("tools/list"), origin=f"http://{HOST}").status == 200
    assert wire.send(request("tools/list"), host="evil.example:38080").status == 421


def test_a_huge_body_is_refused_before_it_is_read(wire: Wire) -> None:
    answer = wire.send(call("web_search", query="x" * 70_000))
    assert answer.status == 413 and "KiB" in answer.error["message"]


def test_the_mcp_token_of_a_sign_in_opens_the_tools_and_nothing_else(wire: Wire) -> None:
    token = wire.sign_in()
    assert "isError" not in wire.search(token).result
    for path in ("/v1/models", "/managed/settings", "/byway/sign-ins"):
        sent = wire.call("GET", path, "", {"authorization": f"Bearer {token}"}, cookie=False)
        assert sent.status == 401, path
    wire.store.revoke_sign_in(wire.signed_in.id, "test")
    wire.refresh()
    ended = wire.send(request("tools/list"), token)
    assert ended.status == 401 and "has ended" in ended.error["message"]


def test_a_forged_mcp_token_is_refused(wire: Wire) -> None:
    token = wire.sign_in()
    foreign = mcp_token(b"another Byway", wire.signed_in.id)
    cut = token[:-1] + ("A" if token[-1] != "A" else "B")
    for forged in (foreign, cut, token.replace("signin_", "signin_0"), "sk-byway-mt-"):
        assert wire.send(request("tools/list"), forged).status == 401, forged


def test_the_mcp_token_ends_with_the_account(wire: Wire) -> None:
    wire.store.add_account("ada", "test")
    token = wire.sign_in("ada")
    assert wire.send(request("tools/list"), token).status == 200
    wire.store.change_account("ada", "test", role="viewer")
    wire.refresh()
    assert wire.send(request("tools/list"), token).status == 401
    wire.store.change_account("ada", "test", role="member")
    wire.store.disable_account("ada", "test")
    wire.refresh()
    assert wire.send(request("tools/list"), token).status == 401


# ------------------------------------------------------------------------------------------------------ official client


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_official_client_searches(wire: Wire, mode: Any) -> None:
    token = wire.sign_in()

    # Here, because each process that runs tests would import it for half a second.
    from mcp.client.client import Client
    from mcp.client.streamable_http import streamable_http_client

    async def act() -> None:
        transport = httpx2.ASGITransport(app=wire.app, client=("127.0.0.1", 5555))
        headers = {"authorization": f"Bearer {token}"}
        async with httpx2.AsyncClient(transport=transport, headers=headers) as http:
            over = streamable_http_client(f"http://{HOST}/anthropic/mcp", http_client=http)
            async with Client(over, mode=mode) as client:
                listed = await client.list_tools()
                assert [tool.name for tool in listed.tools] == ["web_search", "web_fetch"]
                answer = await client.call_tool("web_search", {"query": "rust"})
                assert not answer.is_error and "rust-lang.org" in answer.content[0].text  # type: ignore[union-attr]
                failed = await client.call_tool("web_search", {"query": ""})
                assert failed.is_error

    asyncio.run(act())
