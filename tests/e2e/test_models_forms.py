"""The forms of the Models page over HTTP, without a browser: any input gets an answer."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
from gateway import Gateway

from byway.access.login import Logins
from byway.ui import models


def test_a_variable_of_the_search_has_the_same_form(gateway: Gateway) -> None:
    before = gateway.file.read_text()
    headers = {"cookie": entered(gateway), "origin": gateway.url, "hx-request": "true"}
    headers["content-type"] = "application/x-www-form-urlencoded"
    fields = {"provider": "serper", "source": "variable", "variable": "1ABC"}
    answer = gateway.ask("POST", "/claude/search", urlencode(fields).encode(), headers)
    assert answer.status == 422 and b"Invalid variable name" in answer.body
    assert gateway.file.read_text() == before


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway("backends: [{name: one, type: ollama, url: 'http://127.0.0.1:9'}]") as gateway:
        yield gateway


def entered(gateway: Gateway) -> str:
    made = Logins((gateway.home / "data" / "login.key").read_bytes())
    token = made.link(time.time(), os.urandom(16))
    return gateway.get(f"/login?token={token}").headers["set-cookie"].partition(";")[0]


ODD = {
    "nothing": {},
    "odd": {
        **{"name": "nobody", "old": "nobody", "url": "::", "do": "save", "kind": "openai", "source": "stored"},
        **{
            "type": "\x00",
            "vendor": "openai",
            "key": "x",
            "models": "a 1\n" * 50,
            "what": "../../etc",
            "job": "9" * 30,
        },
        **{"path": "/etc/passwd", "file": "/etc/passwd", "window": "-1", "etag": "x", "spare": "1e9", "running": "x"},
    },
    "nobody": {"path": "~nobody-of-this-name/models", "file": "~nobody-of-this-name/a.gguf"},
    "known": {"name": "one", "old": "one", "url": "ftp://x", "kind": "generic", "do": "test", "vendor": "ollama"},
}


@pytest.mark.parametrize("fields", ODD.values(), ids=ODD)
@pytest.mark.parametrize("route", [(method, path) for method, path, *_ in models.ROUTES], ids=" ".join)
def test_nothing_that_is_sent_breaks_it(gateway: Gateway, route: tuple[str, str], fields: dict[str, str]) -> None:
    method, path = route
    before = gateway.file.read_text()
    for htmx in ("true", ""):
        headers = {"cookie": entered(gateway), "origin": gateway.url, "hx-request": htmx, "accept": "text/html"}
        sent = urlencode(fields)
        if method == "GET":
            answer = gateway.ask("GET", f"{path}?{sent}", None, headers)
        else:
            headers["content-type"] = "application/x-www-form-urlencoded"
            answer = gateway.ask(method, path, sent.encode(), headers)
        # 404: the row of a model without a result.
        assert answer.status in (200, 404, 412, 422), answer.body
        assert any(tag in answer.body for tag in (b"<div", b"<section", b"<p ", b"<tr")), answer.body
    if path not in ("/models/remove", "/models/use"):
        assert gateway.file.read_text() == before
    gateway.write(before)


def test_a_broken_config_is_reported_and_not_overwritten(gateway: Gateway) -> None:
    before = gateway.file.read_text()
    gateway.write("backends: [{name: one")
    headers = {"cookie": entered(gateway), "origin": gateway.url, "hx-request": "true"}
    headers["content-type"] = "application/x-www-form-urlencoded"
    for path, fields in {
        "/models/remove": {"name": "one"},
        "/models/edit": {"name": "one", "url": "http://127.0.0.1:1"},
        "/models/add": {"kind": "ollama", "do": "save"},
        "/models/use": {"vendor": "ollama", "url": "http://127.0.0.1:1"},
        "/models/load": {"file": "builtin"},
        "/models/unload": {"name": "one"},
    }.items():
        answer = gateway.ask("POST", path, urlencode(fields).encode(), headers)
        assert answer.status == 422 and b'role="alert"' in answer.body, (path, answer.body)
    assert gateway.get("/models?whole=1&edit=one&file=builtin", headers).status == 200
    assert gateway.file.read_text().rstrip() == "backends: [{name: one"
    gateway.write(before)
