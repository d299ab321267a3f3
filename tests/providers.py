"""Fake search providers with the documented protocols, errors included: `with FakeProviders() as server`."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import httpservers

KEY = "key-of-the-provider-0123456789"
#: Status, body (bytes, or a value that is sent as JSON), and optional headers.
ProviderResponse = tuple[int, Any] | tuple[int, Any, dict[str, str]]
RESULTS = [
    (
        "Rust 1.99 <b>released</b>",
        "https://blog.rust-lang.org/2026/11/rust-1.99/",
        "The team &amp; friends.",
        "2 days ago",
    ),
    ("Elsewhere", "https://example.com/rust", "About rust.", ""),
    ("Wrong scheme", "javascript:alert(1)", "no", ""),
]


class ProviderRequest:
    """A request that a fake provider received."""

    def __init__(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        self.method, self.path, self.headers = method, urlsplit(path).path, headers
        self.query = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
        self.json: Any = json.loads(body) if body else None

    @property
    def text(self) -> str:
        """The query."""
        if self.json is not None:
            return str(self.json.get("q") or self.json.get("query"))
        return self.query.get("q", "")


class FakeProviders:
    """All providers on one port, distinguished by path and headers. `instead` may return another response."""

    def __init__(
        self,
        instead: Callable[[ProviderRequest], ProviderResponse | None] = lambda seen: None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.seen: list[ProviderRequest] = []
        self.instead = instead
        provided = self

        class Handler(BaseHTTPRequestHandler):
            def _serve(self) -> None:
                size = int(self.headers.get("content-length") or 0)
                body = self.rfile.read(size)
                names = {name.lower(): value for name, value in self.headers.items()}
                seen = ProviderRequest(self.command, self.path, names, body)
                provided.seen.append(seen)
                status, given, *more = provided.instead(seen) or answer(seen)
                headers: dict[str, str] = more[0] if more else {}
                data = given if isinstance(given, bytes) else json.dumps(given).encode()
                self.send_response(status)
                kind = "text/html" if isinstance(given, bytes) and given.startswith(b"<") else "application/json"
                self.send_header("content-type", kind)
                self.send_header("content-length", headers.pop("content-length", str(len(data))))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = _serve

            def log_message(self, *args: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.secure = f"https://127.0.0.1:{self._server.server_address[1]}/"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        httpservers.stop(self._server)


def answer(seen: ProviderRequest) -> ProviderResponse:
    """The normal response of the provider that the request is for."""
    rows: list[dict[str, Any]]
    if seen.path == "/res/v1/web/search":
        if seen.headers.get("x-subscription-token") != KEY:
            return 422, brave_error("SUBSCRIPTION_TOKEN_INVALID", "The provided subscription token is invalid.", 422)
        rows = [{"title": t, "url": u, "description": s, "age": a} for t, u, s, a in RESULTS]
        return 200, {"type": "search", "web": {"type": "search", "results": rows}}
    if seen.method == "POST" and "q" in (seen.json or {}):
        if seen.headers.get("x-api-key") != KEY:
            return 403, {"message": "Unauthorized.", "statusCode": 403}
        rows = [{"title": t, "link": u, "snippet": s, "date": a, "position": 1} for t, u, s, a in RESULTS]
        return 200, {"searchParameters": {"q": seen.json["q"]}, "organic": rows, "credits": 1}
    if seen.method == "POST" and "max_results" in (seen.json or {}):
        if seen.headers.get("authorization") != f"Bearer {KEY}":
            return 401, {"detail": {"error": "Unauthorized: missing or invalid API key."}}
        rows = [{"title": t, "url": u, "content": s, "score": 0.9, "raw_content": None} for t, u, s, _ in RESULTS]
        return 200, {"query": seen.json["query"], "answer": None, "images": [], "results": rows, "response_time": 1.1}
    if seen.method == "POST":
        if seen.headers.get("x-api-key") != KEY:
            return 401, {"requestId": "1", "error": "Invalid API key", "tag": "INVALID_API_KEY"}
        rows = [
            {"title": t, "url": u, "id": u, "text": s, "publishedDate": "2026-11-19T00:00:00.000Z"}
            for t, u, s, _ in RESULTS
        ]
        return 200, {"requestId": "1", "results": rows, "searchType": "auto", "costDollars": {"total": 0.005}}
    if seen.query.get("format") != "json":
        return 403, b"<!doctype html><title>403 Forbidden</title>"
    rows = [
        {"title": t, "url": u, "content": s, "publishedDate": "2026-11-19T00:00:00", "engine": "duckduckgo"}
        for t, u, s, _ in RESULTS
    ]
    return 200, {"query": seen.text, "number_of_results": 0, "results": rows, "unresponsive_engines": []}


def brave_error(code: str, detail: str, status: int) -> dict[str, Any]:
    error = {"id": "1", "code": code, "detail": detail, "status": status, "meta": {}}
    return {"type": "ErrorResponse", "error": error, "time": 1}
