"""`python -m bench search`: what Byway adds to a search turn, compared with direct calls of the same provider, in one run.

The provider is the tests' own (it speaks Brave's API on loopback), so the network is as short as it gets: what is left of a
turn is Byway's own time.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from gateway import Gateway, config
from providers import KEY, FakeProviders
from scripted import Asked, Say, Scripted, Tool

#: Milliseconds that a turn may add.
LIMIT = 5.0
TOOL = {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}


def _model(request: Asked) -> Say:
    """Searches once, then answers."""
    if request.json["messages"][-1]["role"] == "tool" or not request.json.get("tools"):
        return Say("Found.")
    return Say(tools=[Tool("web_search", {"query": "rust"}, id="call_1")])


def _times(ask: Callable[[], Any], rounds: int) -> list[float]:
    """Milliseconds of each call."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        ask()
        times.append((time.perf_counter() - began) * 1000)
    return times


def _get(url: str, path: str, headers: dict[str, str], body: bytes | None = None) -> None:
    place = urlsplit(url)
    connection = http.client.HTTPConnection(str(place.hostname), place.port or 80, timeout=10)
    try:
        connection.request("POST" if body else "GET", path, body, headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
    finally:
        connection.close()


def measure(rounds: int) -> dict[str, float]:
    """Medians in milliseconds: the provider alone, two turns of the model alone, and both kinds of search turn by Byway."""
    with Scripted(_model) as model, FakeProviders() as provider:
        search = {"enabled": True, "provider": "brave", "api_key": KEY, "base_url": provider.url, "cache_ttl": 0}
        with Gateway(config(model, web_search=search)) as gateway:

            def turn(text: str) -> Callable[[], None]:
                messages = [{"role": "user", "content": text}]
                request = {"model": "m", "max_tokens": 100, "stream": True, "tools": [TOOL], "messages": messages}
                body = json.dumps(request).encode()
                return lambda: _get(gateway.url, "/v1/messages", {"content-type": "application/json"}, body)

            plain = json.dumps(
                {"model": "local", "stream": True, "messages": [{"role": "user", "content": "x"}]}
            ).encode()
            key = {"x-subscription-token": KEY, "accept": "application/json"}
            alone = _times(lambda: _get(provider.url, "/res/v1/web/search?q=rust&count=8", key), rounds)
            once = _times(
                lambda: _get(model.url, "/v1/chat/completions", {"content-type": "application/json"}, plain), rounds
            )
            client = _times(turn("Perform a web search for the query: rust"), rounds)
            loop = _times(turn("What is new in Rust?"), rounds)
    series = {"provider": alone, "model": once, "claude code": client, "loop": loop}
    return {name: statistics.median(times) for name, times in series.items()}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench search", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    figures = measure(options.rounds)
    figures["added: claude code"] = figures["claude code"] - figures["provider"]
    figures["added: loop"] = figures["loop"] - figures["provider"] - 2 * figures["model"]
    if options.json:
        print(json.dumps({name: round(value, 3) for name, value in figures.items()}))
        return 0
    says = {
        "provider": "the provider, called directly",
        "model": "one turn of the model, called directly",
        "claude code": "Claude Code's search turn, by Byway (no turn of the model)",
        "loop": "a model that searches once and answers, by Byway (two turns)",
        "added: claude code": "Byway's own part of Claude Code's",
        "added: loop": "Byway's own part of the other",
    }
    for name, value in figures.items():
        judged = f"   <= {LIMIT:g}  {'ok' if value <= LIMIT else 'over'}" if name.startswith("added") else ""
        print(f"{says[name]:<64}{value:7.2f} ms{judged}")
    return 0
