"""`byway claude` with the real Claude Code: what leaves from a home full of other credentials, settings and logins."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from e2e.claude import binary
from endpointserver import EndpointServer, serving
from gateway import SOURCE

from byway.endpoints.registry import Endpoint, Endpoints

#: Credentials of the fake home. None may appear in a request.
LEAKS = {
    "ANTHROPIC_AUTH_TOKEN": "leak-token",
    "ANTHROPIC_API_KEY": "sk-ant-api03-leak",
    "ANTHROPIC_CUSTOM_HEADERS": "x-api-key: leak-header\nx-team: leak-team",
    "ANTHROPIC_MODEL": "leak-model",
    "CLAUDE_CODE_USE_BEDROCK": "1",
    "CLAUDE_CODE_USE_VERTEX": "1",
    "CLAUDE_CODE_OAUTH_TOKEN": "leak-oauth",
    "CLAUDE_CODE_MAX_CONTEXT_TOKENS": "1234",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
}


def hostile_home(home: Path, elsewhere: str) -> None:
    """A home with a stored Console key, a claude.ai login, a helper, and settings at three levels that name `elsewhere`."""
    login = {
        "accessToken": "leak-login",
        "refreshToken": "leak-refresh",
        "expiresAt": int(time.time() + 1_000_000) * 1000,
        "scopes": ["user:inference"],
        "subscriptionType": "max",
    }
    files: dict[str, Any] = {
        ".claude.json": {"primaryApiKey": "sk-ant-leak-primary", "hasCompletedOnboarding": True},
        ".claude/.credentials.json": {"claudeAiOauth": login},
    }
    for level, path in (
        ("user", ".claude/settings.json"),
        ("project", "work/.claude/settings.json"),
        ("local", "work/.claude/settings.local.json"),
    ):
        block = {**LEAKS, "ANTHROPIC_BASE_URL": elsewhere, "ANTHROPIC_AUTH_TOKEN": f"leak-{level}"}
        files[path] = {"apiKeyHelper": f"echo leak-helper-{level}", "env": block}
    for path, content in files.items():
        file = home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))


def launch(home: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "byway", "claude", *arguments],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "BYWAY_HOME": str(home / "data"),
            "BYWAY_CLAUDE": str(binary()),
            "PYTHONPATH": str(SOURCE),
            "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
            "DISABLE_AUTOUPDATER": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            **environ,
        },
        cwd=home / "work",
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def text_of(server: EndpointServer) -> str:
    """Everything that a server received but for the conversation, which contains the working folder."""
    return json.dumps([[request.path, request.headers] for request in server.seen])


@pytest.mark.parametrize("credential", ["none", pytest.param("api_key", marks=pytest.mark.long)])
def test_a_hostile_home_leaks_nothing(tmp_path: Path, credential: Any) -> None:
    with (
        serving(models=[{"id": "qwen3:8b", "max_input_tokens": 131072}]) as server,
        serving(name="elsewhere") as elsewhere,
    ):
        hostile_home(tmp_path, elsewhere.url)
        endpoints = Endpoints(tmp_path / "data", {"PYTHON_KEYRING_BACKEND": ""})
        secret = "" if credential == "none" else "sk-of-the-endpoint"
        endpoints.add(Endpoint("lab", server.url, credential), secret, accept_file=True)
        done = launch(tmp_path, "--endpoint", "lab", "-p", "hi", **LEAKS, CLAUDECODE="1")
    assert done.returncode == 0 and "Hello from A" in done.stdout, done
    assert not elsewhere.seen
    expected = {"x-api-key": secret} if secret else {"authorization": "Bearer byway-local"}
    assert server.messages and all(request.credentials == expected for request in server.seen)
    assert "leak" not in text_of(server)
    # The model is one that the endpoint serves.
    assert {request.body["model"] for request in server.messages} == {"qwen3:8b"}


def test_the_client_shows_why_its_endpoint_rejects_it_and_proposes_no_login(tmp_path: Path) -> None:
    refusal = (401, "application/json", '{"error":{"message":"invalid x-api-key"}}')
    with serving(models=[{"id": "qwen3:8b"}], answer=refusal) as server:
        (tmp_path / "work").mkdir()
        Endpoints(tmp_path / "data", {}).add(Endpoint("lab", server.url))
        done = launch(tmp_path, "--endpoint", "lab", "--no-check", "--model", "qwen3:8b", "-p", "hi")
    assert done.returncode == 1 and "The endpoint lab" in done.stdout and "rejected the key" in done.stdout, done
    assert "/login" not in done.stdout
    # It is not sent again for three minutes.
    assert len(server.messages) == 1
