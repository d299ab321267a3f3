"""Web search and web fetch with a model that has neither: Claude Code's WebSearch and WebFetch, and the tools by the SDK."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from e2e.claude import Claude, OldClaude
from e2e.test_claude import ALLOWED, last_prompt, results
from gateway import Gateway, config
from providers import KEY, FakeProviders, ProviderRequest, ProviderResponse, brave_error
from scripted import Asked, Reply, Say, Scripted, Tool
from strict import check_message
from tlsproxy import certificate

pytestmark = pytest.mark.real


class Stage:
    """A gateway between a scripted model and fake search providers."""

    def __init__(self, server: Scripted, provider: FakeProviders, gateway: Gateway) -> None:
        self.server, self.provider, self.gateway = server, provider, gateway
        self.instead: ProviderResponse | None = None
        self.resume = threading.Event()
        """The provider waits for it."""
        self.sdk = anthropic.Anthropic(base_url=f"{gateway.url}/anthropic", api_key="dummy", max_retries=0)

    def searched(self) -> list[str]:
        return [request.text for request in self.provider.seen]


@pytest.fixture(scope="module")
def _stage() -> Iterator[Stage]:
    stage: Stage

    def instead(request: ProviderRequest) -> ProviderResponse | None:
        stage.resume.wait(60)
        return stage.instead

    with Scripted() as server, FakeProviders(instead) as provider:
        search = {"enabled": True, "provider": "brave", "api_key": KEY, "base_url": provider.url, "cache_ttl": 0}
        with Gateway(config(server, web_search=search)) as gateway:
            stage = Stage(server, provider, gateway)
            with stage.sdk:
                yield stage
            assert KEY not in gateway.text


@pytest.fixture
def stage(_stage: Stage) -> Iterator[Stage]:
    _stage.provider.seen.clear()
    _stage.instead = None
    _stage.resume.set()
    yield _stage
    _stage.server.check()


# -------------------------------- Claude Code


def agent(request: Asked) -> Reply | Say:
    """The main model: it searches once, then answers."""
    assert "Perform a web search" not in last_prompt(request), "the search needs no turn of the model"
    if results(request):
        return Say("I have read it.")
    return Say(tools=[Tool("WebSearch", {"query": "rust latest release", "allowed_domains": ["rust-lang.org"]})])


@pytest.mark.parametrize(
    "kind", [pytest.param(Claude, id="newest"), pytest.param(OldClaude, id="2.1.197", marks=pytest.mark.long)]
)
def test_claude_code_searches_and_its_model_gets_the_results(stage: Stage, tmp_path: Path, kind: type[Claude]) -> None:
    stage.server.play(agent)
    turn = kind(tmp_path, stage.gateway.url).ask("what is new in rust?", ALLOWED)
    assert (turn.failed, turn.text) == (False, "I have read it.")
    assert stage.searched() == ["rust latest release (site:rust-lang.org)"]
    content = results(stage.server.requests[-1])[0]["content"]
    assert "Rust 1.99 released" in content and "https://blog.rust-lang.org/2026/11/rust-1.99/" in content
    assert "The team & friends." in content and "2 days ago" in content, "the model gets snippets"
    assert "example.com" not in content, "the domains that were allowed hold"


def test_failed_search_is_an_error_for_claude_code(stage: Stage, tmp_path: Path) -> None:
    stage.instead = (422, brave_error("SUBSCRIPTION_TOKEN_INVALID", "no", 422))
    stage.server.play(agent)
    turn = Claude(tmp_path, stage.gateway.url).ask("what is new in rust?", ALLOWED)
    assert turn.text == "I have read it."
    assert "Web search error: unavailable" in results(stage.server.requests[-1])[0]["content"]


def test_search_without_results_is_reported(stage: Stage, tmp_path: Path) -> None:
    stage.instead = (200, {"type": "search"})
    stage.server.play(agent)
    Claude(tmp_path, stage.gateway.url).ask("what is new in rust?", ALLOWED)
    assert "No results for" in results(stage.server.requests[-1])[0]["content"]


# -------------------------------- any client


SEARCH: Any = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
WEATHER: Any = {"name": "weather", "input_schema": {"type": "object", "properties": {}}}
ASK: dict[str, Any] = {"model": "sonnet", "max_tokens": 100, "messages": [{"role": "user", "content": "What is new?"}]}


@pytest.mark.parametrize("stream", [False, True])
def test_model_searches_and_answers(stage: Stage, stream: bool) -> None:
    stage.server.play(
        [
            Say("I will look.", tools=[Tool("web_search", {"query": "rust"})], tokens=(10, 5)),
            Say("Rust 1.99.", tokens=(50, 4)),
        ]
    )
    body = {**ASK, "tools": [SEARCH]}
    if stream:
        with stage.sdk.messages.stream(**body) as events:
            message = events.get_final_message()
    else:
        message = stage.sdk.messages.create(**body)
    kinds = [block.type for block in message.content]
    assert kinds == ["text", "server_tool_use", "web_search_tool_result", "text"]
    assert message.stop_reason == "end_turn" and message.usage.input_tokens == 60
    assert message.usage.server_tool_use is not None and message.usage.server_tool_use.web_search_requests == 1
    first, second = stage.server.requests
    assert first.json["tools"][0]["function"]["name"] == "web_search"
    assert "The team & friends." in second.json["messages"][-1]["content"]
    check_message(json.loads(message.model_dump_json(exclude_unset=True)))
    # A later turn returns the blocks; the model gets them as text.
    stage.server.play([Say("Yes.")])
    history = [*ASK["messages"], {"role": "assistant", "content": message.model_dump(exclude_unset=True)["content"]}]
    stage.sdk.messages.create(**{**ASK, "messages": [*history, {"role": "user", "content": "Sure?"}]})
    assert "Rust 1.99 released" in stage.server.last.body.decode()


def test_text_is_streamed_before_the_search_has_ended(stage: Stage) -> None:
    stage.resume.clear()
    stage.server.play([Say("I will look.", tools=[Tool("web_search", {"query": "rust"})]), Say("Rust 1.99.")])
    requests: list[int] = []
    with stage.sdk.messages.stream(**ASK, tools=[SEARCH]) as events:
        for text in events.text_stream:
            if "look" in text:
                requests.append(len(stage.server.requests))
                stage.resume.set()
        message = events.get_final_message()
    assert requests == [1], "the second turn had not started"
    assert [block.type for block in message.content][-1] == "text"


def test_searches_end_at_max_uses(stage: Stage) -> None:
    more = Say(tools=[Tool("web_search", {"query": "more"})])
    stage.server.play([more, more, Say("Enough.")])
    message = stage.sdk.messages.create(**ASK, tools=[SEARCH])
    assert stage.searched() == ["more", "more"] and message.content[-1].type == "text"
    assert "tools" not in stage.server.last.json, "a tool that is used up is not offered"


def test_searches_end_at_max_tool_iterations_without_max_uses(stage: Stage) -> None:
    def script(request: Asked) -> Say:
        return Say(tools=[Tool("web_search", {"query": "more"})]) if "tools" in request.json else Say("Enough.")

    stage.server.play(script)
    message = stage.sdk.messages.create(**{**ASK, "tools": [{"type": "web_search_20250305", "name": "web_search"}]})
    assert message.content[-1].type == "text" and len(stage.searched()) == 5


def test_tool_call_of_the_client_is_returned_before_the_search(stage: Stage) -> None:
    stage.server.play([Say(tools=[Tool("weather", {}), Tool("web_search", {"query": "rain"})])])
    message = stage.sdk.messages.create(**ASK, tools=[SEARCH, WEATHER])
    assert [block.type for block in message.content] == ["tool_use"] and message.stop_reason == "tool_use"
    assert stage.searched() == []


def test_failed_search_is_an_error_block_and_an_error_for_the_model(stage: Stage) -> None:
    stage.instead = (500, b"down")
    stage.server.play([Say(tools=[Tool("web_search", {"query": "rust"})]), Say("I could not search.")])
    message = stage.sdk.messages.create(**ASK, tools=[SEARCH])
    (block,) = [block for block in message.content if block.type == "web_search_tool_result"]
    assert not isinstance(block.content, list) and block.content.error_code == "unavailable"
    assert message.usage.server_tool_use is not None and message.usage.server_tool_use.web_search_requests == 0
    assert "unavailable" in stage.server.last.json["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"allowed_domains": ["a.com"], "blocked_domains": ["b.com"]}, "cannot be used together"),
        ({"allowed_domains": ["https://a.com"]}, "allowed_domains.0"),
    ],
)
def test_invalid_domain_lists_are_rejected(stage: Stage, fields: dict[str, Any], words: str) -> None:
    stage.server.play([Say(tools=[Tool("web_search", {"query": "rust"})])])
    with pytest.raises(anthropic.BadRequestError, match=words):
        stage.sdk.messages.create(**{**ASK, "tools": [{**SEARCH, **fields}]})


@pytest.mark.parametrize("kind", ["web_search", "web_fetch"])
def test_disabled_tool_is_rejected_with_the_setting_that_enables_it(kind: str) -> None:
    with Scripted() as server, Gateway(config(server)) as gateway:
        answer = gateway.post({**ASK, "tools": [{"type": f"{kind}_20250910", "name": kind}]})
        assert answer.status == 400 and f"{kind}.enabled" in answer.json["error"]["message"]


# -------------------------------- pages


FETCH: Any = {"type": "web_fetch_20250910", "name": "web_fetch", "max_uses": 2}


@pytest.fixture(scope="module")
def _site() -> Iterator[Stage]:
    def page(request: ProviderRequest) -> ProviderResponse | None:
        return 200, json.dumps({"the page": "says hello"}).encode()

    with Scripted() as server, FakeProviders(page) as site:
        fetch = {"enabled": True, "allow_private": ["127.0.0.1"], "cache_ttl": 0}
        with Gateway(config(server, web_fetch=fetch)) as gateway:
            stage = Stage(server, site, gateway)
            with stage.sdk:
                yield stage


@pytest.fixture
def site(_site: Stage) -> Iterator[Stage]:
    _site.provider.seen.clear()
    yield _site
    _site.server.check()


def fetched(stage: Stage, question: str, url: str, **fields: Any) -> tuple[Any, str]:
    """The content of the result block, and the tool result of the model."""
    stage.server.play([Say(tools=[Tool("web_fetch", {"url": url})]), Say("Done.")])
    body = {**ASK, "messages": [{"role": "user", "content": question}], "tools": [{**FETCH, **fields}]}
    message = stage.sdk.messages.create(**body)
    check_message(json.loads(message.model_dump_json(exclude_unset=True)))
    (block,) = [block for block in message.content if block.type == "web_fetch_tool_result"]
    return block.content, stage.server.last.json["messages"][-1]["content"]


def test_page_from_the_user_s_message_is_fetched(site: Stage) -> None:
    url = f"{site.provider.url}/notes.json"
    content, result = fetched(site, f"What does {url} say?", url)
    assert content.type == "web_fetch_result" and content.url == url and content.retrieved_at
    assert "says hello" in content.content.source.data and "says hello" in result


def test_page_that_the_conversation_does_not_contain_is_not_fetched(site: Stage) -> None:
    content, result = fetched(site, "What is new?", f"{site.provider.url}/?secret=what-we-talked-about")
    assert content.error_code == "url_not_in_prior_context" and "url_not_in_prior_context" in result
    assert site.provider.seen == []


def test_page_outside_the_allowed_domains_is_not_fetched(site: Stage) -> None:
    url = f"{site.provider.url}/notes.json"
    content, _ = fetched(site, f"Read {url}", url, allowed_domains=["example.com"])
    assert content.error_code == "url_not_allowed" and site.provider.seen == []


def test_pages_over_max_uses_are_not_fetched(site: Stage) -> None:
    url = f"{site.provider.url}/notes.json"
    content, _ = fetched(site, f"Read {url}", url, max_uses=0)
    assert content.error_code == "max_uses_exceeded" and site.provider.seen == []


# -------------------------------- Claude Code's own WebFetch


def test_claude_code_fetches_a_page_and_the_small_model_summarizes_it(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    page = b"<html><body><h1>Byways</h1><p>A byway is a small road.</p></body></html>"
    summaries: list[Asked] = []

    def script(request: Asked) -> Reply | Say:
        if "small road" in last_prompt(request) and not results(request):
            summaries.append(request)
            return Say("It is about small roads.")
        return (
            Say("Read.")
            if results(request)
            else Say(tools=[Tool("WebFetch", {"url": web.secure, "prompt": "What is it?"})])
        )

    with (
        FakeProviders(lambda request: (200, page), tls=context) as web,
        Scripted(script, models=("local", "small")) as server,
    ):
        settings = config(server)
        settings["backends"][0]["models"] = ["local", "small"]
        settings["model_aliases"]["haiku"] = ["one/small"]
        with Gateway(settings) as gateway:
            claude = Claude(
                tmp_path / "home",
                gateway.url,
                NODE_EXTRA_CA_CERTS=str(cert),
                ANTHROPIC_DEFAULT_HAIKU_MODEL="claude-haiku-5-5",
            )
            home = Path(claude.environ["CLAUDE_CONFIG_DIR"])
            (home / "settings.json").write_text(json.dumps({"skipWebFetchPreflight": True}))
            turn = claude.ask("read it", ALLOWED)
    assert (turn.failed, turn.text) == (False, "Read.")
    assert [summary.json["model"] for summary in summaries] == ["small"], "the alias of the small model is used"
    assert "It is about small roads." in results(server.requests[-1])[0]["content"]
