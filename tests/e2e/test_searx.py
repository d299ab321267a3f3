"""A real searx (Debian's package, with the API of SearXNG) whose only engine calls this test."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.test_websearch import ASK, SEARCH
from gateway import Gateway, config
from ports import free_port
from providers import FakeProviders, ProviderRequest, ProviderResponse
from scripted import Say, Scripted

RESULTS = {"results": [{"title": "A <b>page</b>", "url": "https://example.com/a", "content": "Of words &amp; more."}]}
SHARED = Path("/usr/share/python3-searx")


def settings(port: int, engine: str, formats: list[str]) -> dict[str, Any]:
    """The settings.yml of searx, as JSON."""
    return {
        "general": {"debug": False, "instance_name": "test", "contact_url": False},
        "brand": dict.fromkeys(
            ("git_url", "git_branch", "issue_url", "new_issue_url", "docs_url", "public_instances", "wiki_url"), ""
        ),
        "search": {
            "safe_search": 0,
            "autocomplete": "",
            "default_lang": "",
            "ban_time_on_fail": 0,
            "max_ban_time_on_fail": 0,
            "formats": formats,
        },
        "server": {
            "port": port,
            "bind_address": "127.0.0.1",
            "secret_key": "no-secret-in-a-test",
            "base_url": False,
            "image_proxy": False,
            "http_protocol_version": "1.0",
            "method": "GET",
            "default_http_headers": {},
        },
        "ui": {
            "static_path": str(SHARED / "static"),
            "templates_path": str(SHARED / "templates"),
            "default_theme": "simple",
            "default_locale": "",
            "theme_args": {"oscar_style": "logicodev"},
            "query_in_title": False,
        },
        "outgoing": {
            "request_timeout": 3.0,
            "useragent_suffix": "",
            "pool_connections": 10,
            "pool_maxsize": 10,
            "enable_http2": False,
        },
        "locales": {"en": "English"},
        "doi_resolvers": {"oadoi.org": "https://oadoi.org/"},
        "default_doi_resolver": "oadoi.org",
        "engines": [
            {
                "name": "loop",
                "engine": "json_engine",
                "shortcut": "lo",
                "categories": "general",
                "search_url": f"{engine}/find?format=json&q={{query}}",
                "results_query": "results",
                "url_query": "url",
                "title_query": "title",
                "content_query": "content",
                "enable_http": True,
            }
        ],
    }


class Engine:
    """The engine behind searx."""

    response: ProviderResponse = (200, RESULTS)

    def __call__(self, request: ProviderRequest) -> ProviderResponse:
        return self.response


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Engine, FakeProviders]]:
    if shutil.which("searx-run") is None:
        pytest.skip("searx is not installed (Debian: searx)")
    engine = Engine()
    with FakeProviders(engine) as behind:
        port = free_port()
        file = tmp_path_factory.mktemp("searx") / "settings.yml"
        file.write_text(json.dumps(settings(port, behind.url, ["html", "json"])))
        environ = {"PATH": os.environ["PATH"], "SEARX_SETTINGS_PATH": str(file), "HOME": str(file.parent)}
        log = (file.parent / "log").open("wb")
        with subprocess.Popen(["searx-run"], env=environ, cwd=file.parent, stdout=log, stderr=log) as process:
            try:
                url = f"http://127.0.0.1:{port}"
                _wait(process, url, file.parent / "log")
                yield url, engine, behind
            finally:
                process.terminate()
                log.close()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(log.read_text())


def test_search_with_a_real_instance(instance: tuple[str, Engine, FakeProviders]) -> None:
    url, engine, behind = instance
    engine.response = (200, RESULTS)
    search = {"enabled": True, "provider": "searxng", "base_url": url, "cache_ttl": 0}
    body = {
        **ASK,
        "messages": [{"role": "user", "content": "Perform a web search for the query: words"}],
        "tools": [SEARCH],
    }
    with (
        Scripted(lambda request: Say("The model is not called.")) as server,
        Gateway(config(server, web_search=search)) as gateway,
    ):
        answer = gateway.post(body).json
        assert server.requests == []
        result = next(block for block in answer["content"] if block["type"] == "web_search_tool_result")
        assert [(item["title"], item["url"]) for item in result["content"]] == [("A page", "https://example.com/a")]
        assert "Of words & more." in json.dumps(answer["content"])
        assert behind.seen[-1].text == "words"
        engine.response = (500, b"down")
        failed = gateway.post(body).json["content"][1]
        assert failed["content"]["error_code"] == "unavailable", "a failed engine is an error, not an empty result"
