"""WebSearch of the real client, and the official tool by the SDK, by way of a model that cannot search."""

from __future__ import annotations

import datetime
import ipaddress
import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from e2e.claude import Claude, OldClaude
from e2e.test_claude import ALLOWED, results, told
from gateway import Gateway, config
from providers import KEY, FakeProviders, ProviderRequest, ProviderResponse, brave_error
from scripted import Asked, Reply, Say, Scripted, Tool
from strict import check_message

pytestmark = pytest.mark.real


class Stage:
    """A Byway between a scripted model and made-up providers."""

    def __init__(self, server: Scripted, provider: FakeProviders, gateway: Gateway) -> None:
        self.server, self.provider, self.gateway = server, provider, gateway
        self.instead: ProviderResponse | None = None
        self.slow = 0.0
        """Seconds that the provider takes."""
        self.sdk = anthropic.Anthropic(base_url=f"{gateway.url}/anthropic", api_key="dummy", max_retries=0)

    def searched(self) -> list[str]:
        return [seen.text for seen in self.provider.seen]


@pytest.fixture(scope="module")
def _stage() -> Iterator[Stage]:
    stage: Stage

    def instead(seen: ProviderRequest) -> ProviderResponse | None:
        time.sleep(stage.slow)
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
    _stage.instead, _stage.slow = None, 0.0
    yield _stage
    _stage.server.check()


# -------------------------------- Claude Code


def agent(asked: Asked) -> Reply | Say:
    """The main model: searches once, then says what it has heard."""
    assert "Perform a web search" not in told(asked), "no turn of the model is spent on the search itself"
    if results(asked):
        return Say("I have read it.")
    return Say(tools=[Tool("WebSearch", {"query": "rust latest release", "allowed_domains": ["rust-lang.org"]})])


@pytest.mark.parametrize("kind", [Claude, OldClaude], ids=["newest", "2.1.197"])
def test_claude_code_searches_and_its_model_reads_what_was_found(
    stage: Stage, tmp_path: Path, kind: type[Claude]
) -> None:
    stage.server.play(agent)
    turn = kind(tmp_path, stage.gateway.url).ask("what is new in rust?", ALLOWED)
    assert (turn.failed, turn.text) == (False, "I have read it.")
    assert stage.searched() == ["rust latest release (site:rust-lang.org)"]
    heard = results(stage.server.requests[-1])[0]["content"]
    assert "Rust 1.99 released" in heard and "https://blog.rust-lang.org/2026/11/rust-1.99/" in heard
    assert "The team & friends." in heard and "2 days ago" in heard, "snippets reach the model"
    assert "example.com" not in heard, "the domains that were allowed hold"


def test_a_search_that_fails_is_told_as_that(stage: Stage, tmp_path: Path) -> None:
    stage.instead = (422, brave_error("SUBSCRIPTION_TOKEN_INVALID", "no", 422))
    stage.server.play(agent)
    turn = Claude(tmp_path, stage.gateway.url).ask("what is new in rust?", ALLOWED)
    assert turn.text == "I have read it."
    assert "Web search error: unavailable" in results(stage.server.requests[-1])[0]["content"]


def test_a_search_without_results_says_so(stage: Stage, tmp_path: Path) -> None:
    stage.instead = (200, {"type": "search"})
    stage.server.play(agent)
    Claude(tmp_path, stage.gateway.url).ask("what is new in rust?", ALLOWED)
    assert "No results for" in results(stage.server.requests[-1])[0]["content"]


# -------------------------------- any client


SEARCH: Any = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
WEATHER: Any = {"name": "weather", "input_schema": {"type": "object", "properties": {}}}
ASK: dict[str, Any] = {"model": "sonnet", "max_tokens": 100, "messages": [{"role": "user", "content": "What is new?"}]}


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_searches_and_answers_from_what_it_found(stage: Stage, stream: bool) -> None:
    stage.server.play(
        [
            Say("I look.", tools=[Tool("web_search", {"query": "rust"})], tokens=(10, 5)),
            Say("Rust 1.99.", tokens=(50, 4)),
        ]
    )
    asked = {**ASK, "tools": [SEARCH]}
    if stream:
        with stage.sdk.messages.stream(**asked) as events:
            message = events.get_final_message()
    else:
        message = stage.sdk.messages.create(**asked)
    kinds = [block.type for block in message.content]
    assert kinds == ["text", "server_tool_use", "web_search_tool_result", "text"]
    assert message.stop_reason == "end_turn" and message.usage.input_tokens == 60
    assert message.usage.server_tool_use is not None and message.usage.server_tool_use.web_search_requests == 1
    first, second = stage.server.requests
    assert first.json["tools"][0]["function"]["name"] == "web_search"
    assert "The team & friends." in second.json["messages"][-1]["content"]
    check_message(json.loads(message.model_dump_json(exclude_unset=True)))
    # The blocks are taken back in a later turn, and the model is told of them in words.
    stage.server.play([Say("Yes.")])
    history = [*ASK["messages"], {"role": "assistant", "content": message.model_dump(exclude_unset=True)["content"]}]
    stage.sdk.messages.create(**{**ASK, "messages": [*history, {"role": "user", "content": "Sure?"}]})
    assert "Rust 1.99 released" in stage.server.last.body.decode()


def test_what_a_model_says_arrives_before_the_search_is_over(stage: Stage) -> None:
    stage.slow = 0.5
    stage.server.play([Say("I look.", tools=[Tool("web_search", {"query": "rust"})]), Say("Rust 1.99.")])
    asked_by_then: list[int] = []
    with stage.sdk.messages.stream(**ASK, tools=[SEARCH]) as events:
        asked_by_then += [len(stage.server.requests) for text in events.text_stream if "look" in text]
        message = events.get_final_message()
    assert asked_by_then == [1], "the second turn had not begun"
    assert [block.type for block in message.content][-1] == "text"


def test_a_model_that_does_not_stop_searching_is_stopped(stage: Stage) -> None:
    more = Say(tools=[Tool("web_search", {"query": "more"})])
    stage.server.play([more, more, Say("Enough.")])
    message = stage.sdk.messages.create(**ASK, tools=[SEARCH])
    assert stage.searched() == ["more", "more"] and message.content[-1].type == "text"
    assert "tools" not in stage.server.last.json, "when no search is left, none is offered"


def test_without_a_number_in_the_request_the_setting_holds(stage: Stage) -> None:
    def script(asked: Asked) -> Say:
        return Say(tools=[Tool("web_search", {"query": "more"})]) if "tools" in asked.json else Say("Enough.")

    stage.server.play(script)
    message = stage.sdk.messages.create(**{**ASK, "tools": [{"type": "web_search_20250305", "name": "web_search"}]})
    assert message.content[-1].type == "text" and len(stage.searched()) == 5


def test_a_client_s_own_tool_comes_first(stage: Stage) -> None:
    stage.server.play([Say(tools=[Tool("weather", {}), Tool("web_search", {"query": "rain"})])])
    message = stage.sdk.messages.create(**ASK, tools=[SEARCH, WEATHER])
    assert [block.type for block in message.content] == ["tool_use"] and message.stop_reason == "tool_use"
    assert stage.searched() == []


def test_a_failure_is_a_block_and_the_model_hears_of_it(stage: Stage) -> None:
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
def test_lists_of_domains_that_are_none_are_refused(stage: Stage, fields: dict[str, Any], words: str) -> None:
    stage.server.play([Say(tools=[Tool("web_search", {"query": "rust"})])])
    with pytest.raises(anthropic.BadRequestError, match=words):
        stage.sdk.messages.create(**{**ASK, "tools": [{**SEARCH, **fields}]})


@pytest.mark.parametrize("kind", ["web_search", "web_fetch"])
def test_switched_off_it_says_which_setting_switches_it_on(kind: str) -> None:
    with Scripted() as server, Gateway(config(server)) as gateway:
        answer = gateway.post({**ASK, "tools": [{"type": f"{kind}_20250910", "name": kind}]})
        assert answer.status == 400 and f"{kind}.enabled" in answer.json["error"]["message"]


# -------------------------------- pages


FETCH: Any = {"type": "web_fetch_20250910", "name": "web_fetch", "max_uses": 2}


@pytest.fixture(scope="module")
def _site() -> Iterator[Stage]:
    def page(seen: ProviderRequest) -> ProviderResponse | None:
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
    """The block that tells of the page, and what the model was told."""
    stage.server.play([Say(tools=[Tool("web_fetch", {"url": url})]), Say("Done.")])
    asked = {**ASK, "messages": [{"role": "user", "content": question}], "tools": [{**FETCH, **fields}]}
    message = stage.sdk.messages.create(**asked)
    check_message(json.loads(message.model_dump_json(exclude_unset=True)))
    (block,) = [block for block in message.content if block.type == "web_fetch_tool_result"]
    return block.content, stage.server.last.json["messages"][-1]["content"]


def test_a_page_that_the_user_names_is_fetched(site: Stage) -> None:
    url = f"{site.provider.url}/notes.json"
    content, told = fetched(site, f"What does {url} say?", url)
    assert content.type == "web_fetch_result" and content.url == url and content.retrieved_at
    assert "says hello" in content.content.source.data and "says hello" in told


def test_a_page_that_nobody_has_named_is_not_fetched(site: Stage) -> None:
    content, told = fetched(site, "What is new?", f"{site.provider.url}/?secret=what-we-talked-about")
    assert content.error_code == "url_not_in_prior_context" and "url_not_in_prior_context" in told
    assert site.provider.seen == []


def test_a_page_of_another_domain_is_not_fetched(site: Stage) -> None:
    url = f"{site.provider.url}/notes.json"
    content, _ = fetched(site, f"Read {url}", url, allowed_domains=["example.com"])
    assert content.error_code == "url_not_allowed" and site.provider.seen == []


def test_more_pages_than_allowed_are_not_fetched(site: Stage) -> None:
    url = f"{site.provider.url}/notes.json"
    content, _ = fetched(site, f"Read {url}", url, max_uses=0)
    assert content.error_code == "max_uses_exceeded" and site.provider.seen == []


# -------------------------------- Claude Code's own WebFetch


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Byway's test site")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .issuer_name(name)
        .subject_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


def test_claude_code_fetches_a_page_and_its_small_model_sums_it_up(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    page = b"<html><body><h1>Byways</h1><p>A byway is a small road.</p></body></html>"
    summed: list[Asked] = []

    def script(asked: Asked) -> Reply | Say:
        if "small road" in told(asked) and not results(asked):
            summed.append(asked)
            return Say("It is about small roads.")
        return (
            Say("Read.")
            if results(asked)
            else Say(tools=[Tool("WebFetch", {"url": web.secure, "prompt": "What is it?"})])
        )

    with (
        FakeProviders(lambda seen: (200, page), tls=context) as web,
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
    assert [asked.json["model"] for asked in summed] == ["small"], "the small model is asked, by its alias"
    assert "It is about small roads." in results(server.requests[-1])[0]["content"]
