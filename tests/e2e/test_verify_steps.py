"""The three checks of a new setup, in one session of the real Claude Code: a main turn, WebFetch, WebSearch.

Home and environment are hostile: they contain other credentials, base URLs, providers and a proxy that does not exist.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from e2e.test_claude import ALLOWED, last_prompt, results
from e2e.test_launch_claude import hostile_home, launch
from e2e.test_websearch import certificate
from gateway import Gateway, config
from providers import KEY, FakeProviders
from scripted import Asked, Reply, Say, Scripted, Tool

pytestmark = pytest.mark.real
PAGE = b"<html><body><h1>Byways</h1><p>A byway is a small road.</p></body></html>"


@dataclass
class Session:
    """What one session has left."""

    output: str
    log: str
    requests: list[Asked]
    """Those that the backend received."""
    searches: list[str]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    home = tmp_path_factory.mktemp("home")
    hostile_home(home, "http://127.0.0.1:9")
    cert, key = certificate(home)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    def script(request: Asked) -> Reply | Say:
        if "small road" in last_prompt(request) and not results(request):
            return Say("It is about small roads.")
        if results(request):
            return Say("Done.")
        fetch = Tool("WebFetch", {"url": web.secure, "prompt": "What is it?"})
        return Say(tools=[fetch, Tool("WebSearch", {"query": "rust latest release"})])

    with (
        FakeProviders(lambda request: (200, PAGE), tls=context) as web,
        FakeProviders() as provider,
        Scripted(script) as server,
    ):
        search = {"enabled": True, "provider": "brave", "api_key": KEY, "base_url": provider.url, "cache_ttl": 0}
        with Gateway(config(server, web_search=search)) as gateway:
            data = str(gateway.home / "data")
            done = launch(
                home, "-p", "check it", ALLOWED, BYWAY_HOME=data, NODE_EXTRA_CA_CERTS=str(cert), IS_SANDBOX="1"
            )
            assert done.returncode == 0, done
            searches = [request.text for request in provider.seen]
            yield Session(done.stdout, gateway.text, server.requests, searches)


def test_main_conversation_turn_is_forwarded_to_the_backend(session: Session) -> None:
    assert "Done." in session.output
    assert '"path":"/anthropic/v1/messages","status":200' in session.log
    assert "leak" not in str([request.headers for request in session.requests])
    assert len(session.requests) >= 3 and {request.json["model"] for request in session.requests} == {"local"}


def test_webfetch_uses_the_alias_of_the_small_model(session: Session) -> None:
    assert "Rewrote request.model via model_aliases" in session.log and "claude-haiku" in session.log
    assert "It is about small roads." in str(results(session.requests[-1]))


def test_websearch_calls_the_provider_once_and_returns_its_results(session: Session) -> None:
    assert session.searches == ["rust latest release"]
    assert "Anthropic web_search server-tool emulation: extracting query" in session.log
    assert "Rust 1.99 released" in str(results(session.requests[-1]))
