"""The settings page in this process, without a browser: a logged-in client that reads forms and submits them."""

from __future__ import annotations

import asyncio
import html
import re
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from loops import Loop
from stores import new_store

from byway.admin.services import AdminServices
from byway.config import Config, load
from byway.config.file import ConfigFile
from byway.gateway import Gateway
from byway.runtime import Runtime
from byway.secrets.vault import Vault
from byway.server.app import App
from byway.server.probing import open_readiness

HOST = "127.0.0.1:38080"


class Sent(NamedTuple):
    """An answer of the page."""

    status: int
    headers: dict[str, str]
    html: str

    @property
    def text(self) -> str:
        """The visible text, with single spaces."""
        return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", self.html)).split())

    def outcome(self, card: str) -> str:
        """The text of the outcome that a card shows."""
        match = re.search(rf'id="{card}".*?<div class="outcome (\w+)"[^>]*>(.*?)</div>', self.html, re.DOTALL)
        return "" if match is None else f"{match[1]}: {Sent(0, {}, match[2]).text}"

    def form(self, action: str) -> dict[str, str]:
        """The fields that a browser would submit from the first form with this action, without any change."""
        match = re.search(rf'<form[^>]*action="{re.escape(action)}".*?</form>', self.html, re.DOTALL)
        assert match is not None, action
        fields: dict[str, str] = {}
        for tag in re.findall(r"<input[^>]*>", match[0]):
            attributes = {name: html.unescape(value) for name, value in re.findall(r'([\w-]+)="([^"]*)"', tag)}
            kind = attributes.get("type", "text")
            if "name" in attributes and (kind not in ("radio", "checkbox") or re.search(r"\schecked\b", tag)):
                fields[attributes["name"]] = attributes.get("value", "")
        for name, options in re.findall(r'<select[^>]*name="(\w+)".*?>(.*?)</select>', match[0], re.DOTALL):
            values = re.findall(r'<option value="([^"]*)"( selected)?', options)
            fields[name] = html.unescape(next((value for value, chosen in values if chosen), values[0][0]))
        return fields


class Pages:
    """One Byway in this process, with one logged-in browser."""

    def __init__(self, folder: Path, text: str = "", **environ: str) -> None:
        self.file = folder / "byway.yaml"
        if text:
            self.file.write_text(text)
        self.environ = environ
        self.store = new_store(folder)
        self.vault = Vault(folder, environ)
        self.gateway = Gateway(Runtime(self.check(text)), self.store)
        self.restarts = 0
        file = ConfigFile(self.file, self.check, self.store, folder)
        self.services = AdminServices(folder, lambda: file, self.store, reload=self.reload, restart=self._restart)
        self.gateway.admin = self.services
        self.services.base = f"http://{HOST}"
        self.services.addresses = (HOST,)
        self.services.vault = self.vault
        open_readiness(self.gateway)
        self.app = App(self.gateway)
        self._loop = Loop()
        cookie = self._loop.run(self.services.logins.enter(self.services.logins.link()))
        self.cookie = f"{self.services.logins.cookie_name}={cookie}"

    def check(self, text: str) -> Config:
        self.vault.fetch(text)
        return load(text, self.vault)

    async def reload(self) -> None:
        await self.gateway.reload(self.check(self.file.read_text()))

    def _restart(self) -> None:
        self.restarts += 1

    def close(self) -> None:
        self.store.close()

    def get(self, target: str, headers: dict[str, str] | None = None, *, cookie: bool = True) -> Sent:
        return self.call("GET", target, "", headers, cookie=cookie)

    def post(self, target: str, fields: dict[str, str], *, htmx: bool = True) -> Sent:
        return self.call("POST", target, urlencode(fields), {"hx-request": "true"} if htmx else {})

    def call(
        self, method: str, target: str, body: str = "", headers: dict[str, str] | None = None, *, cookie: bool = True
    ) -> Sent:
        """Send a request as a browser does."""
        return self._loop.run(self._call(method, target, body, cookie, headers or {}))

    async def _call(self, method: str, target: str, body: str, cookie: bool, more: dict[str, str]) -> Sent:
        messages: list[Any] = []

        bodies = [body.encode()]

        async def receive() -> dict[str, Any]:
            if not bodies:
                # The browser stays connected.
                await asyncio.Event().wait()
            return {"type": "http.request", "body": bodies.pop(), "more_body": False}

        async def send(message: Any) -> None:
            messages.append(message)

        path, _, query = target.partition("?")
        headers = {"host": HOST, "origin": f"http://{HOST}", "accept": "text/html", **more}
        if cookie:
            headers["cookie"] = self.cookie
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "server": ("127.0.0.1", 38080),
            "client": ("127.0.0.1", 5555),
        }
        await self.app(scope, receive, send)
        names = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
        text = b"".join(message.get("body", b"") for message in messages[1:]).decode()
        return Sent(messages[0]["status"], names, text)
