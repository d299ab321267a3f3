"""The real Claude Code signs in to Byway (`claude auth login --gateway-json`), and a person approves it in Chromium."""

from __future__ import annotations

import hashlib
import json
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic.types import MessageParam
from browser import login
from e2e.claude import LIMIT, Claude
from gateway import Gateway
from playwright.sync_api import Page, expect
from scripted import Say, Scripted

from byway.endpoints import running

WINDOW = 65_536


@pytest.fixture(scope="module")
def server() -> Iterator[Scripted]:
    with Scripted(lambda request: Say("Hello from the model.")) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(server: Scripted) -> Iterator[Gateway]:
    models = [{"id": "local", "window": WINDOW}]
    backend = {"name": "one", "type": "generic", "url": server.url, "models": models}
    with Gateway({"backends": [backend], "model_aliases": {"default": ["one/local"]}}) as gateway:
        yield gateway


class SignedInClaude(Claude):
    """A Claude Code whose settings name the gateway, and whose environment does not."""

    def __init__(self, home: Path, url: str) -> None:
        super().__init__(home, url)
        self.config = home / "config"
        for name in ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"):
            del self.environ[name]
        settings = {"forceLoginMethod": "gateway", "forceLoginGatewayUrl": url}
        (self.config / "settings.json").write_text(json.dumps(settings))

    def sign_in(self, approve: Callable[[str, str], None]) -> str:
        """Answer yes to every question; `approve` gets the code and the URL of the page. Returns the last state."""
        command = [str(self.path), "auth", "login", "--gateway-json"]
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, env=self.environ, cwd=self.work, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stdin is not None and process.stdout is not None
            state = ""
            for text in process.stdout:
                line: dict[str, Any] = json.loads(text)
                state = line["state"]
                if state == "polling":
                    approve(line["userCode"], line["browserUrl"])
                elif "shown" in line:
                    answer = {"state": state, "shown": line["shown"], "accept": True}
                    process.stdin.write(f"{json.dumps(answer)}\n")
                    process.stdin.flush()
            process.wait(LIMIT)
        return state

    @property
    def credentials(self) -> Path:
        return self.config / ".credentials.json"

    def expire(self) -> str:
        """Let the access token be expired as the client sees it. Returns the token."""
        stored = json.loads(self.credentials.read_text())
        stored["enterpriseGateway"]["expiresAt"] = int(time.time() * 1_000) - 1_000
        self.credentials.write_text(json.dumps(stored))
        token: str = stored["enterpriseGateway"]["jwt"]
        return token

    def sign_out(self) -> None:
        command = [str(self.path), "auth", "logout"]
        subprocess.run(command, env=self.environ, cwd=self.work, capture_output=True, timeout=LIMIT, check=True)


def test_claude_code_signs_in_works_refreshes_its_token_and_ends_clearly_when_it_is_revoked(
    tmp_path: Path, page: Page, gateway: Gateway, server: Scripted
) -> None:
    claude = SignedInClaude(tmp_path, f"{gateway.url}/anthropic")
    login(page, gateway)

    def approve(code: str, url: str) -> None:
        page.goto(url)
        card = page.locator("#approve")
        for shown in (code, "owner of this Byway", "claude-code/", "127.0.0.1"):
            expect(card).to_contain_text(shown)
        card.get_by_role("button", name="Approve").click()
        expect(page.get_by_role("status")).to_contain_text("Approved")

    assert claude.sign_in(approve) == "done"
    turn = claude.ask("Say hello")
    assert turn.text == "Hello from the model." and turn.code == 0
    used = turn.result["modelUsage"]["local"]
    # The client compacts so that the whole window is used: see exports.client_window.
    assert used["provider"] == "gateway" and used["contextWindow"] == WINDOW + WINDOW // 8 + 12_288
    sent = json.loads(server.requests[-1].body)
    assert WINDOW // 8 in (sent.get("max_tokens"), sent.get("max_completion_tokens")), sent.keys()

    first = claude.expire()
    # It also has the settings of its first start, and sends their checksum.
    assert not claude.ask("Say hello again").failed
    kept = claude.credentials.read_text()
    assert first not in kept, "the client has new tokens"

    claude.sign_out()
    page.reload()
    page.goto(f"{gateway.url}/device")
    expect(page.locator("#sign-ins")).to_contain_text("No client is signed in.")
    # A copy of its credentials that another machine has.
    claude.credentials.write_text(kept)
    count = len(server.requests)
    command = [str(claude.path), "-p", "Say hello"]
    ended = subprocess.run(
        command, env=claude.environ, cwd=claude.work, capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert ended.returncode == 1 and "/login" in ended.stdout + ended.stderr
    assert len(server.requests) == count


def test_claude_code_signs_in_and_works_over_https_with_the_local_authority(tmp_path: Path, server: Scripted) -> None:
    backend = {"name": "one", "type": "generic", "url": server.url, "models": [{"id": "local", "window": WINDOW}]}
    config = {"server": {"tls": "local"}, "backends": [backend], "model_aliases": {"default": ["one/local"]}}
    with Gateway(config) as gateway:
        assert gateway.url.startswith("https://")
        claude = SignedInClaude(tmp_path, f"{gateway.url}/anthropic")
        settings = claude.config / "settings.json"
        trusting = {**json.loads(settings.read_text()), "env": {"NODE_EXTRA_CA_CERTS": str(gateway.trust)}}
        settings.write_text(json.dumps(trusting))

        def approve(code: str, url: str) -> None:
            assert url.startswith(f"{gateway.url}/device?user_code=")
            answer = running.request(gateway.home / "data", "POST", "/byway/sign-ins", {"user_code": code})
            assert answer is not None and answer.status < 300

        assert claude.sign_in(approve) == "done"
        turn = claude.ask("Say hello")
        assert turn.text == "Hello from the model." and turn.code == 0
        certificate = ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", gateway.port)))
        pinned = json.loads(claude.credentials.read_text())["gatewayTrust"]["127.0.0.1"]
        assert pinned.replace(":", "").lower() == hashlib.sha256(certificate).hexdigest()

        # The official SDK, and `byway verify`, which trusts Byway's own authority by itself.
        client = anthropic.Anthropic(
            base_url=f"{gateway.url}/anthropic",
            api_key="any",
            max_retries=0,
            http_client=anthropic.DefaultHttpxClient(verify=ssl.create_default_context(cafile=gateway.trust)),
        )
        messages: list[MessageParam] = [{"role": "user", "content": "Hi"}]
        with client, client.messages.stream(model="default", max_tokens=9, messages=messages) as stream:
            assert stream.get_final_text() == "Hello from the model."
        command = [sys.executable, "-m", "byway", "verify", "--data-dir", str(gateway.home / "data")]
        done = subprocess.run(command, capture_output=True, text=True, env=gateway._environ, timeout=LIMIT, check=False)
        assert done.returncode == 0 and "Connected" in done.stdout, done.stderr
