"""What Byway has learned from refusals: shown and forgotten by the command, the API and the page of a running Byway."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from gateway import Gateway, config
from scripted import Asked, Reply, Say, Scripted, openai_error

MESSAGE = {"model": "sonnet", "max_tokens": 9, "temperature": 0.5, "messages": [{"role": "user", "content": "Hi"}]}


def refuse(request: Asked) -> Reply | Say:
    if "temperature" in request.json:
        return openai_error(400, "invalid temperature: only 1 is allowed for this model", "invalid_request_error")
    return Say("Hello.")


def forget(gateway: Gateway, name: str) -> str:
    arguments = [sys.executable, "-m", "byway", "models", "forget", name, "--data-dir", str(gateway.home / "data")]
    return subprocess.run(arguments, env=gateway._environ, capture_output=True, text=True, check=True).stdout


class OwnerConnection(http.client.HTTPConnection):
    def __init__(self, folder: Path) -> None:
        super().__init__("localhost")
        self.folder = folder

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self.folder / "byway.sock"))


def send(gateway: Gateway, method: str, path: str, body: str | None = None) -> str:
    """An exchange over the owner's socket, which needs no login."""
    connection = OwnerConnection(gateway.home / "data")
    connection.request(method, path, body, {"content-type": "application/x-www-form-urlencoded"} if body else {})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    assert answer.status == 200, text
    return text


def repairs(gateway: Gateway) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(send(gateway, "GET", "/byway/repairs"))["repairs"]
    return listed


def test_what_was_learned_is_shown_and_forgotten_by_command_and_page() -> None:
    with Scripted(refuse) as server, Gateway(config(server)) as gateway:
        assert gateway.post(MESSAGE).status == 200
        assert [repair["repair"] for repair in repairs(gateway)] == ["drop temperature"]
        assert forget(gateway, "one/other") == "Nothing was learned of one/other.\n"
        assert forget(gateway, "one/local") == "1 change to the calls of one/local forgotten.\n"
        assert repairs(gateway) == []
        assert gateway.post(MESSAGE).status == 200
        page = send(gateway, "GET", "/models")
        assert "1 learned from refusals" in page and "leaves out <code>temperature</code>" in page
        page = send(gateway, "POST", "/models/forget", "name=one")
        assert "1 change to the calls of one forgotten" in page and "learned from refusals" not in page
        assert repairs(gateway) == []
