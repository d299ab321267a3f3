"""The config API of a running Byway: access, masking, changes, versions, and the last requests."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from gateway import Gateway, config
from scripted import Say, Scripted

ADMIN = "admin-key-0123456789abcdef"
USE = "use-key-0123456789abcdef"
SECRET = "sk-of-the-backend-0123456789abcdef"


class Api:
    """The API of one Byway, for whoever has the key with the scope `admin`."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    def __call__(
        self, method: str, path: str, body: Any = None, key: str | None = ADMIN, **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=60)
        with contextlib.closing(connection):
            data = body.encode() if isinstance(body, str) else None if body is None else json.dumps(body).encode()
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            if body is not None:
                names.setdefault("content-type", "text/yaml" if isinstance(body, str) else "application/json")
            if key is not None:
                names["x-api-key"] = key
            connection.request(method, path, data, names)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null"), dict(answer.getheaders())

    @property
    def etag(self) -> str:
        return str(self("GET", "/byway/config")[1]["etag"])


@pytest.fixture
def api() -> Iterator[Api]:
    with Scripted(lambda request: Say("Hi")) as server:
        settings = config(server, api_keys={"api_keys": [{"key": ADMIN, "scopes": ["admin"]}, {"key": USE}]})
        settings["backends"][0]["api_key"] = SECRET
        with Gateway(settings) as gateway:
            yield Api(gateway)
            assert SECRET not in gateway.text and ADMIN not in gateway.text


def change(api: Api, path: list[Any], value: Any, etag: str | None = None) -> tuple[int, Any, dict[str, str]]:
    headers = {"if_match": etag} if etag else {}
    return api(
        "PATCH", "/byway/config", {"edits": [{"op": "set", "path": path, "value": value}], "why": "a test"}, **headers
    )


def test_settings_are_masked_and_have_an_etag(api: Api) -> None:
    status, body, headers = api("GET", "/byway/config")
    assert status == 200 and headers["etag"] == f'"{body["etag"]}"'
    assert body["settings"]["backends"][0]["name"] == "one"
    shown = json.dumps(body)
    assert SECRET not in shown and USE not in shown and body["settings"]["backends"][0]["api_key"] == "sk-…cdef"


def test_a_change_applies_before_its_answer_is_sent(api: Api) -> None:
    status, body, _ = change(api, ["model_aliases", "haiku"], "one/local", api.etag)
    assert status == 200 and not body["merged"] and body["restart"] == []
    assert api("GET", "/byway/config")[1]["settings"]["model_aliases"]["haiku"] == ["one/local"]
    status, body, _ = change(api, ["server", "bind_address"], "127.0.0.1:1")
    assert body["restart"] == ["server.bind_address"]


def test_concurrent_changes_are_merged_or_refused(api: Api) -> None:
    base = api.etag
    assert change(api, ["model_aliases", "haiku"], "one/local", base)[0] == 200
    status, body, _ = change(api, ["model_aliases", "opus"], "one/local", base)
    assert status == 200 and body["merged"]
    status, body, _ = change(api, ["model_aliases", "haiku"], "one/other", base)
    assert status == 412 and "model_aliases.haiku" in body["error"]["message"]
    assert api("GET", "/byway/config")[1]["settings"]["model_aliases"]["haiku"] == ["one/local"]


def test_a_check_writes_nothing(api: Api) -> None:
    before = api.etag
    status, body, _ = api("POST", "/byway/config/check", "backends: 5\nnonsense: 1\n")
    assert (
        status == 200
        and not body["good"]
        and {complaint["path"] for complaint in body["complaints"]} == {"backends", "nonsense"}
    )
    edits = {"edits": [{"op": "append", "path": ["backends"], "value": {"name": "two", "type": "ollama"}}]}
    assert api("POST", "/byway/config/check", edits)[1]["good"]
    assert api.etag == before


def test_replacing_the_file_requires_its_etag(api: Api) -> None:
    text = api.gateway.file.read_text()
    assert api("PUT", "/byway/config", text)[0] == 400
    assert api("PUT", "/byway/config", text, if_match='"0123456789abcdef"')[0] == 412
    assert api("PUT", "/byway/config", f"# new\n{text}", if_match=f'"{api.etag}"')[0] == 200
    assert api.gateway.file.read_text().startswith("# new\n")
    assert api("PUT", "/byway/config", "backends: [", if_match="*")[0] == 400


def test_versions_are_listed_shown_and_restored(api: Api) -> None:
    first = api.gateway.file.read_text()
    api("GET", "/byway/config")
    change(api, ["local_only"], True)
    result = api("GET", "/byway/config/versions")[1]["versions"]
    assert [item["why"] for item in result] == ["a test", "changed in the file"]
    shown = api("GET", f"/byway/config/versions/{result[-1]['number']}")[1]
    assert SECRET not in json.dumps(shown) and any("api_key" in line for line in shown["changes"])
    assert api("POST", "/byway/config/rollback", {"version": result[-1]["number"]})[0] == 200
    assert api.gateway.file.read_text() == first
    assert api("POST", "/byway/config/rollback", {"version": 99})[0] == 400
    assert [value["detail"] for value in api("GET", "/byway/audit")[1]["audit"]][:2] == [
        f"back to version {result[-1]['number']}",
        "a test",
    ]


ODD = ["{", {"edits": 5}, {"edits": [{"op": "explode", "path": []}]}, {"edits": [{"op": "set", "path": []}]}]


@pytest.mark.parametrize("body", ODD)
def test_malformed_changes_get_a_400(api: Api, body: Any) -> None:
    assert api("PATCH", "/byway/config", body)[0] == 400


def test_deep_changes_and_impossible_versions_get_a_400(api: Api) -> None:
    for depth in (20, 400, 900, 2000):
        deep = "[" * depth + "]" * depth
        body = '{"edits": [{"op": "set", "path": ["timeouts"], "value": DEEP}]}'.replace("DEEP", deep)
        for method, path in (("PATCH", "/byway/config"), ("POST", "/byway/config/check")):
            assert api(method, path, body, content_type="application/json")[0] in (200, 400), depth
    for version in (2**63, -1, 2**40, "x", 1.5):
        assert api("POST", "/byway/config/rollback", {"version": version})[0] == 400


def test_the_api_requires_a_key_with_the_scope_admin(api: Api) -> None:
    for path in ("/byway/config", "/byway/audit", "/byway/requests", "/byway/config/versions"):
        assert api("GET", path, key=None)[0] == 401
        assert api("GET", path, key="sk-byway-nobody")[0] == 401
        assert api("GET", path, key=USE)[0] == 403
        assert api("GET", path)[0] == 200


def test_the_owner_uses_the_socket_without_a_key(api: Api) -> None:
    path = api.gateway.home / "data" / "byway.sock"
    assert path.stat().st_mode & 0o777 == 0o600
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"GET /byway/config HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200") and b'"etag"' in answer


def test_requests_are_listed_without_prompts(api: Api) -> None:
    body = {"model": "sonnet", "max_tokens": 5, "messages": [{"role": "user", "content": "a-secret-word"}]}
    assert api("POST", "/v1/messages", body, key=USE, x_claude_code_session_id="s-1")[0] == 200
    assert api("POST", "/v1/messages", {**body, "max_tokens": -1}, key=USE)[0] == 400
    bad, good = api("GET", "/byway/requests")[1]["requests"][:2]
    assert (good["asked"], good["model"], good["status"], good["session"], good["error"]) == (
        "sonnet",
        "local",
        200,
        "s-1",
        "",
    )
    assert bad["status"] == 400 and "max_tokens" in bad["error"]
    assert "a-secret-word" not in json.dumps([good, bad])


def test_the_api_over_tcp_can_be_disabled_and_enabled(api: Api) -> None:
    body = {"model": "sonnet", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
    assert change(api, ["server", "tcp"], False)[0] == 200
    status, value, _ = api("POST", "/v1/messages", body, key=USE)
    assert status == 403 and "server.tcp" in value["error"]["message"]
    assert api("GET", "/byway/config")[0] == 200
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(api.gateway.home / "data" / "byway.sock"))
        data = json.dumps(body).encode()
        client.sendall(
            b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (len(data), data)
        )
        assert client.recv(15) == b"HTTP/1.1 200 OK"
    assert change(api, ["server", "tcp"], True)[0] == 200
    assert api("POST", "/v1/messages", body, key=USE)[0] == 200


def test_a_link_works_once_and_its_login_opens_the_api() -> None:
    with Scripted([]) as server, Gateway(config(server)) as gateway:
        api = Api(gateway)
        link = re.compile(r"/login\?token=\S+")
        gateway.wait(lambda: link.search(gateway.text), what="the link is printed")
        match = link.search(gateway.text)
        assert match
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
        connection.request("GET", match[0])
        answer = connection.getresponse()
        answer.read()
        connection.close()
        cookie = answer.getheader("set-cookie") or ""
        assert answer.status == 303 and "HttpOnly" in cookie and "SameSite=Strict" in cookie
        name = cookie.partition(";")[0]
        assert api("GET", "/byway/config", key=None, cookie=name)[0] == 200
        edits = {"edits": [{"op": "set", "path": ["local_only"], "value": True}]}
        assert api("PATCH", "/byway/config", edits, key=None, cookie=name)[0] == 403
        assert api("PATCH", "/byway/config", edits, key=None, cookie=name, origin="http://evil.example")[0] == 403
        assert api("PATCH", "/byway/config", edits, key=None, cookie=name, origin=gateway.url)[0] == 200
        assert api("GET", "/byway/config", key=None, cookie=f"{name}x")[0] == 401
