"""Web search of the real Claude Code while it is signed in: by Byway's MCP server, sent over https, or added over http."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.claude import LIMIT, Claude
from e2e.test_claude import last_prompt, results
from e2e.test_sign_in import SignedInClaude
from gateway import SOURCE, Gateway
from providers import KEY, FakeProviders
from scripted import Asked, Reply, Say, Scripted, Tool
from tlsproxy import TlsProxy

from byway.endpoints import running

pytestmark = pytest.mark.real
WINDOW = 65_536


class Stage:
    """A Byway with a search provider, behind a proxy with https."""

    def __init__(self, server: Scripted, provider: FakeProviders, gateway: Gateway, proxy: TlsProxy) -> None:
        self.server, self.provider, self.gateway, self.proxy = server, provider, gateway, proxy

    def admin(self, path: str) -> dict[str, Any]:
        """An answer of the admin API."""
        answer = running.get(self.gateway.home / "data", path)
        assert answer is not None, path
        return answer


def settings(model: Scripted, provider: FakeProviders, **more: Any) -> dict[str, Any]:
    """A config with one model and a search provider."""
    models = [{"id": "local", "window": WINDOW}]
    return {
        "backends": [{"name": "one", "type": "generic", "url": model.url, "models": models}],
        "model_aliases": {"default": ["one/local"]},
        "web_fetch": {"enabled": True},
        "web_search": {"enabled": True, "provider": "brave", "api_key": KEY, "base_url": provider.url},
        **more,
    }


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Scripted(searching) as server, FakeProviders() as provider:
        behind = settings(server, provider, server={"trusted_proxies": ["127.0.0.1"]})
        with Gateway(behind) as gateway, TlsProxy(tmp_path_factory.mktemp("tls"), gateway.url) as proxy:
            yield Stage(server, provider, gateway, proxy)


class Home(Claude):
    """A Claude Code without settings, and the commands of a Byway on its machine."""

    def __init__(self, folder: Path, gateway: Gateway) -> None:
        super().__init__(folder, gateway.url)
        for name in ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"):
            del self.environ[name]
        self.config = folder / "config"
        more = {"BYWAY_HOME": str(gateway.home / "data"), "BYWAY_CLAUDE": str(self.path), "PYTHONPATH": str(SOURCE)}
        self.byway_environ = {**self.environ, **more}

    def byway(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of Byway."""
        command = [sys.executable, "-m", "byway", *arguments]
        return subprocess.run(
            command, env=self.byway_environ, cwd=self.work, capture_output=True, text=True, timeout=LIMIT, check=False
        )

    def sign_ins(self) -> list[str]:
        """The ids of the sign-ins of Byway."""
        return [sign_in["id"] for sign_in in json.loads(self.byway("signin", "list", "--json").stdout)["sign_ins"]]

    def read(self, name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.config / name).read_text())
        return content


def searching(request: Asked) -> Reply | Say:
    """A model that searches once, or fetches a page when it is asked to."""
    if results(request):
        return Say("I have read it.")
    if "Fetch" in last_prompt(request):
        return Say(tools=[Tool("mcp__byway__web_fetch", {"url": "https://example.com/"})])
    return Say(tools=[Tool("mcp__byway__web_search", {"query": "rust latest release"})])


def test_search_over_https_is_sent_by_byway(stage: Stage, tmp_path: Path) -> None:
    claude = SignedInClaude(tmp_path, f"{stage.proxy.url}/anthropic")
    path = claude.config / "settings.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "env": {"NODE_EXTRA_CA_CERTS": str(stage.proxy.certificate)}}))

    def approve(code: str, url: str) -> None:
        assert url.startswith(f"{stage.proxy.url}/device?user_code=")
        answer = running.request(stage.gateway.home / "data", "POST", "/byway/sign-ins", {"user_code": code})
        assert answer is not None and answer.status == 201

    assert claude.sign_in(approve) == "done"
    turn = claude.ask("What is new in rust?")
    assert (turn.failed, turn.text) == (False, "I have read it."), turn.events
    assert "Rust 1.99 released" in str(results(stage.server.requests[-1])[0]["content"])
    assert any(path.endswith("/mcp") for path in stage.proxy.paths)
    # Only the search is allowed without a question, and nobody answers one here.
    claude.ask("Fetch a page.")
    assert "permission" in str(results(stage.server.requests[-1])[0]["content"])
    assert stage.admin("/byway/status")["mcp"]["web_fetch"]["calls"] == 0


def test_connect_signs_in_adds_the_search_and_disconnect_undoes_both(stage: Stage, tmp_path: Path) -> None:
    home = Home(tmp_path, stage.gateway)
    login = {
        "claudeAiOauth": {
            "accessToken": "sk-ant-oat01-x",
            "refreshToken": "sk-ant-ort01-y",
            "expiresAt": 4_102_444_800_000,
        }
    }
    (home.config / ".credentials.json").write_text(json.dumps(login))
    before = {"theme": "dark"}
    (home.config / "settings.json").write_text(json.dumps(before))
    others = home.sign_ins()
    done = home.byway("connect", "--sign-in", "--yes")
    assert len(home.sign_ins()) == len(others) + 1
    assert done.returncode == 0, done.stdout + done.stderr
    base = f"{stage.gateway.url}/anthropic"
    assert home.read("settings.json") == {**before, "forceLoginMethod": "gateway", "forceLoginGatewayUrl": base}
    assert home.read(".credentials.json")["enterpriseGateway"]["url"] == base
    server = home.read(".claude.json")["mcpServers"]["byway"]
    assert server["url"] == f"{base}/mcp" and server["headers"]["Authorization"] not in done.stdout + done.stderr
    turn = home.ask("What is new in rust?")
    assert (turn.failed, turn.text) == (False, "I have read it."), turn.events
    assert "Rust 1.99 released" in str(results(stage.server.requests[-1])[0]["content"])
    assert "nothing to change" in home.byway("connect", "--sign-in", "--yes").stderr
    usage = json.loads(home.byway("usage", "--by", "model", "--json").stdout)
    assert ("web_search", 0) in [(row["name"], row["cost"]) for row in usage["rows"]], usage["rows"]
    report = json.loads(home.byway("doctor", "--json").stdout)
    assert [finding["id"] for finding in report["findings"]] == ["sign-in-service"], report["findings"]

    undone = home.byway("disconnect", "--yes")
    assert undone.returncode == 0 and "Signed out" in undone.stderr, undone.stdout + undone.stderr
    assert home.read("settings.json") == before and "byway" not in home.read(".claude.json").get("mcpServers", {})
    kept = home.read(".credentials.json")
    assert "enterpriseGateway" not in kept and kept["claudeAiOauth"] == login["claudeAiOauth"]
    assert home.sign_ins() == others


def test_connect_signs_in_over_https_with_the_authority_of_byway(tmp_path: Path) -> None:
    with (
        Scripted(searching) as server,
        FakeProviders() as provider,
        Gateway(settings(server, provider, server={"tls": "local"})) as gateway,
    ):
        home = Home(tmp_path, gateway)
        done = home.byway("connect", "--sign-in", "--yes")
        assert done.returncode == 0, done.stdout + done.stderr
        trusted = gateway.trust
        assert home.read("settings.json") == {
            "forceLoginMethod": "gateway",
            "forceLoginGatewayUrl": f"{gateway.url}/anthropic",
            "env": {"NODE_EXTRA_CA_CERTS": str(trusted)},
        }
        assert "mcpServers" not in home.read(".claude.json"), "Byway sends it"
        turn = home.ask("What is new in rust?")
        assert (turn.failed, turn.text) == (False, "I have read it."), turn.events
        assert "Rust 1.99 released" in str(results(server.requests[-1])[0]["content"])
        assert "nothing to change" in home.byway("connect", "--sign-in", "--yes").stderr
        assert home.byway("disconnect", "--yes").returncode == 0
        assert not (home.config / "settings.json").exists() and home.sign_ins() == []
