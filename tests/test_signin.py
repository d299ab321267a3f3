"""Sign-in of Claude Code on the wire: codes, approval, tokens, their replacement and their end."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from pages import Pages, Sent

from byway.access.sync import KeySync
from byway.admin.logins import create_login_code
from byway.server.routes import ROUTES
from byway.signin.device import CODE_SECONDS, MAX_WAITING, DeviceCodes, DeviceRequest
from byway.signin.tokens import ACCESS_SECONDS, REFRESH_SECONDS, USER_CODE, new_tokens
from byway.store import Store, StoreError

CONFIG = "backends: [{name: box, type: generic, url: 'http://127.0.0.1:9', models: [local]}]\n"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


class Wire(Pages):
    """A Byway, the browser of its owner, and Claude Code."""

    def __init__(self, folder: Path, text: str = CONFIG) -> None:
        super().__init__(folder, text)
        self.sync = KeySync(self.gateway)
        self.refresh()

    def refresh(self) -> None:
        asyncio.run(self.sync.read())

    def client(self, method: str, path: str, token: str = "", body: str = "", **headers: str) -> tuple[int, Any, Sent]:
        """A request of Claude Code: the status, the decoded body, and the answer."""
        more = {"accept": "application/json, text/plain, */*", "user-agent": "claude-code/2.1.329"}
        more |= {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            more["authorization"] = f"Bearer {token}"
        # The client is no browser and sends no Origin.
        answer = self._without_origin(method, path, body, more)
        return answer.status, json.loads(answer.html) if answer.html else None, answer

    def _without_origin(self, method: str, path: str, body: str, more: dict[str, str]) -> Sent:
        app = self.app

        async def without(scope: Any, receive: Any, send: Any) -> None:
            scope["headers"] = [pair for pair in scope["headers"] if pair[0] != b"origin"]
            await app(scope, receive, send)

        self.app = without  # type: ignore[assignment]
        try:
            return self.call(method, path, body, more, cookie=False)
        finally:
            self.app = app

    def form(
        self, path: str, prefix: str = "", headers: dict[str, str] | None = None, **fields: str
    ) -> tuple[int, Any]:
        status, body, _ = self.client("POST", f"{prefix}{path}", body=urlencode(fields), **(headers or {}))
        return status, body

    def start(self, prefix: str = "") -> dict[str, Any]:
        status, body = self.form("/oauth/device_authorization", prefix, surface="claude_code")
        assert status == 200, body
        started: dict[str, Any] = body
        return started

    def poll(self, device_code: str) -> tuple[int, Any]:
        return self.form("/oauth/token", grant_type=DEVICE, device_code=device_code)

    def renew(self, refresh_token: str) -> tuple[int, Any]:
        return self.form("/oauth/token", grant_type="refresh_token", refresh_token=refresh_token)

    def decide(self, user_code: str, action: str = "approve") -> Sent:
        return self.post("/device", {"user_code": user_code, "action": action}, htmx=False)

    def sign_in(self) -> dict[str, str]:
        """The tokens of a new sign-in that this browser has approved."""
        started = self.start()
        assert "Approved" in self.decide(started["user_code"]).text
        status, tokens = self.poll(started["device_code"])
        assert status == 200, tokens
        signed_in: dict[str, str] = tokens
        return signed_in

    def models(self, token: str) -> int:
        return self.client("GET", "/v1/models", token)[0]

    def as_account(self, account: str, role: str = "member") -> None:
        """Use the browser of a new account."""
        self.store.add_account(account, "test", role=role)
        self.refresh()
        logins = self.services.logins
        cookie = asyncio.run(logins.enter_code(create_login_code(self.store, account, "test").code, "127.0.0.1"))
        self.cookie = f"{logins.cookie_name}={cookie}"


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    opened = Wire(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set the clock: seconds from now."""
    start = time.time()

    def jump(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: start + seconds)

    jump(0)
    return jump


# -------------------------------------------------------------------------------------------------------------- the flow


@pytest.mark.parametrize("prefix", ["", "/anthropic"])
def test_a_client_signs_in_with_an_approved_code(wire: Wire, prefix: str) -> None:
    status, metadata, _ = wire.client("GET", f"{prefix}/.well-known/oauth-authorization-server")
    assert status == 200 and "authorization_endpoint" not in metadata
    base = f"http://127.0.0.1:38080{prefix}"
    assert metadata["device_authorization_endpoint"] == f"{base}/oauth/device_authorization"
    assert (
        metadata["token_endpoint"] == f"{base}/oauth/token"
        and metadata["revocation_endpoint"] == f"{base}/oauth/revoke"
    )
    assert set(metadata["grant_types_supported"]) == {DEVICE, "refresh_token"}
    started = wire.start(prefix)
    assert re.fullmatch(r"[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}", started["user_code"])
    assert started["verification_uri_complete"] == f"http://127.0.0.1:38080/device?user_code={started['user_code']}"
    assert len(started["device_code"]) >= 43 and started["expires_in"] == CODE_SECONDS and started["interval"] > 0
    page = wire.get(f"/device?user_code={started['user_code']}")
    for shown in (started["user_code"], "owner of this Byway", "claude-code/2.1.329", "127.0.0.1"):
        assert shown in page.text
    assert "Approved" in wire.decide(started["user_code"]).text
    status, tokens, answer = wire.client(
        "POST", f"{prefix}/oauth/token", body=urlencode({"grant_type": DEVICE, "device_code": started["device_code"]})
    )
    assert status == 200 and answer.headers["cache-control"] == "no-store"
    assert set(tokens) == {"access_token", "token_type", "expires_in", "refresh_token"}, "an email would be confirmed"
    assert tokens["token_type"] == "Bearer" and tokens["expires_in"] == ACCESS_SECONDS
    assert wire.models(tokens["access_token"]) == 200
    assert wire.client("GET", f"{prefix}/managed/settings", tokens["access_token"])[0] == 200


def test_opening_the_page_approves_nothing(wire: Wire, at: Callable[[float], None]) -> None:
    started = wire.start()
    wire.get(f"/device?user_code={started['user_code']}")
    at(3)
    assert wire.poll(started["device_code"]) == (400, {"error": "authorization_pending"})


def test_a_denied_code_gives_access_denied_once_and_then_nothing(wire: Wire) -> None:
    started = wire.start()
    assert "Denied" in wire.decide(started["user_code"], "deny").text
    assert wire.poll(started["device_code"]) == (400, {"error": "access_denied"})
    assert wire.poll(started["device_code"]) == (400, {"error": "expired_token"})


def test_a_code_is_approved_once_and_exchanged_once(wire: Wire) -> None:
    started = wire.start()
    wire.decide(started["user_code"])
    for action in ("approve", "deny"):
        assert "approved or denied already" in wire.decide(started["user_code"], action).text
    assert wire.poll(started["device_code"])[0] == 200
    assert wire.poll(started["device_code"]) == (400, {"error": "expired_token"})
    assert len(wire.store.sign_ins()) == 1


def test_a_code_expires_after_ten_minutes(wire: Wire, at: Callable[[float], None]) -> None:
    waiting, approved = wire.start(), wire.start()
    at(CODE_SECONDS - 1)
    wire.decide(approved["user_code"])
    at(CODE_SECONDS)
    assert "has expired" in wire.decide(waiting["user_code"]).text
    for started in (waiting, approved):
        assert wire.poll(started["device_code"]) == (400, {"error": "expired_token"})


def test_a_client_that_polls_too_often_is_slowed_down(wire: Wire, at: Callable[[float], None]) -> None:
    started = wire.start()
    assert wire.poll(started["device_code"]) == (400, {"error": "slow_down"})
    at(started["interval"] + 1)
    assert wire.poll(started["device_code"]) == (400, {"error": "slow_down"}), "the interval is five seconds longer"
    at(30)
    assert wire.poll(started["device_code"]) == (400, {"error": "authorization_pending"})


def test_approval_requires_a_login_and_the_pages_own_origin(wire: Wire, tmp_path: Path) -> None:
    started = wire.start()
    page = wire.get(f"/device?user_code={started['user_code']}", cookie=False)
    assert page.status == 401 and "Log in" in page.text and "claude-code" not in page.text
    fields = urlencode({"user_code": started["user_code"], "action": "approve"})
    assert wire.call("POST", "/device", fields, cookie=False).status == 401
    for origin in ("http://evil.example", "http://127.0.0.1:9", "null"):
        assert wire.call("POST", "/device", fields, {"origin": origin}).status == 403
    assert wire._without_origin("POST", "/device", fields, {"cookie": wire.cookie}).status == 403
    _, key = wire.store.add_key("boss", ["admin"], None, "test")
    wire.refresh()
    assert wire.call("POST", "/device", fields, {"x-api-key": key}, cookie=False).status == 403
    assert wire.services.sign_ins.find(started["user_code"], "127.0.0.1") is not None, "it still waits"


def test_a_login_with_a_code_continues_with_the_sign_in(wire: Wire) -> None:
    wire.store.add_account("ada", "test")
    started = wire.start()
    wire.cookie = ""
    page = wire.get(f"/device?user_code={started['user_code'].lower()}")
    assert page.status == 401 and page.form("/login")["user_code"] == started["user_code"]
    wrong = wire.post("/login", page.form("/login") | {"code": "wrong"}, htmx=False)
    code = create_login_code(wire.store, "ada", "test").code
    answer = wire.post("/login", wrong.form("/login") | {"code": code}, htmx=False)
    assert (answer.status, answer.headers["location"]) == (303, f"/device?user_code={started['user_code']}")
    code = create_login_code(wire.store, "ada", "test").code
    answer = wire.post("/login", {"code": code, "user_code": "//evil.example"}, htmx=False)
    assert answer.headers["location"] == "/"


def test_guessed_codes_are_refused_after_a_while(wire: Wire, at: Callable[[float], None]) -> None:
    started = wire.start()
    for _ in range(30):
        assert "No client waits" in wire.get("/device?user_code=BBBB-BBBB").text
    assert wire.get(f"/device?user_code={started['user_code']}").status == 429
    assert wire.decide(started["user_code"]).status == 429
    at(901)
    fresh = wire.start()
    assert "Approved" in wire.decide(fresh["user_code"]).text


def test_one_address_cannot_start_sign_ins_without_end(wire: Wire, at: Callable[[float], None]) -> None:
    for _ in range(30):
        wire.start()
    status, body = wire.form("/oauth/device_authorization")
    assert status == 429 and body["error"] == "slow_down" and "minutes" in body["error_description"]
    at(901)
    wire.start()


def test_codes_are_bounded_and_expired_ones_are_forgotten() -> None:
    codes = DeviceCodes()
    for number in range(MAX_WAITING):
        assert codes.has_room(0.0) and codes.add(f"d{number}", f"u{number}", "", "", 0.0)
    assert not codes.has_room(0.0) and codes.add("x", "u1", "", "", 0.0) is None
    assert codes.has_room(CODE_SECONDS) and codes.waiting("u1", CODE_SECONDS) is None


def test_an_approved_code_can_be_taken_again_when_its_tokens_were_not_stored(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = wire.start()
    wire.decide(started["user_code"])

    def broken(*_: Any) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(wire.store, "add_sign_in", broken)
        status, body = wire.poll(started["device_code"])
        assert status == 500 and body["error"] == "server_error"
    assert wire.poll(started["device_code"])[0] == 200


def test_user_codes_are_read_as_people_type_them() -> None:
    code = USER_CODE.new(bytes(range(8)))
    assert USER_CODE.typed(f" {code.lower().replace('-', ' ')} ") == code == USER_CODE.typed(code.replace("-", ""))
    assert USER_CODE.typed("") == USER_CODE.typed("AAAA-AAAA") == USER_CODE.typed(f"{code}B") == ""
    assert len({USER_CODE.new(bytes([value] * 8)) for value in range(256)}) == 256
    pair = new_tokens(b"a" * 32, b"b" * 32)
    assert pair.access != pair.refresh and len(pair.access) > 50


# ---------------------------------------------------------------------------------------------------------------- tokens


def test_a_refresh_token_gives_new_tokens_and_the_old_access_token_stays_valid_until_its_own_end(
    wire: Wire, at: Callable[[float], None]
) -> None:
    first = wire.sign_in()
    at(ACCESS_SECONDS - 100)
    status, second = wire.renew(first["refresh_token"])
    assert status == 200 and second["refresh_token"] != first["refresh_token"]
    assert wire.models(first["access_token"]) == wire.models(second["access_token"]) == 200
    at(ACCESS_SECONDS + 1)
    assert (wire.models(first["access_token"]), wire.models(second["access_token"])) == (401, 200)
    at(2 * ACCESS_SECONDS)
    assert wire.models(second["access_token"]) == 401


def test_a_refresh_token_that_comes_twice_within_a_minute_gives_the_same_tokens(
    wire: Wire, at: Callable[[float], None]
) -> None:
    first = wire.sign_in()
    _, second = wire.renew(first["refresh_token"])
    at(59)
    assert wire.renew(first["refresh_token"]) == (200, second), "two processes of a client share the token"
    assert wire.renew(second["refresh_token"])[0] == 200
    at(61)
    wire.renew("unknown")
    assert len(wire.services.sign_ins._replaced) == 1, "tokens stay in memory for a minute only"
    at(-3600)
    assert wire.renew(second["refresh_token"])[0] == 401, "the clock was set back"


def test_a_refresh_token_that_was_used_before_ends_the_sign_in(wire: Wire, at: Callable[[float], None]) -> None:
    first = wire.sign_in()
    _, second = wire.renew(first["refresh_token"])
    at(61)
    status, body = wire.renew(first["refresh_token"])
    assert status == 401 and body["error"] == "invalid_grant"
    assert wire.models(second["access_token"]) == 401 and wire.renew(second["refresh_token"])[0] == 401
    assert any("used twice" in entry.detail for entry in wire.store.audit_entries())


def test_a_sign_in_that_is_not_used_ends_after_thirty_days(wire: Wire, at: Callable[[float], None]) -> None:
    tokens = wire.sign_in()
    at(REFRESH_SECONDS)
    assert wire.renew(tokens["refresh_token"])[0] == 401 and wire.store.sign_ins() == []


@pytest.mark.parametrize("which", ["access_token", "refresh_token"])
def test_a_revoked_token_ends_the_sign_in_at_once_also_where_no_key_is_required(wire: Wire, which: str) -> None:
    tokens, other = wire.sign_in(), wire.sign_in()
    assert not wire.gateway.runtime.keyring.blocking
    assert wire.form("/oauth/revoke", token=tokens[which]) == (200, {})
    status, body, answer = wire.client("GET", "/v1/models", tokens["access_token"])
    assert status == 401 and answer.headers["x-should-retry"] == "false" and "/login" in body["error"]["message"]
    assert wire.client("GET", "/v1/models", x_api_key=tokens["access_token"])[0] == 401
    assert wire.client("GET", "/v1/models", other["access_token"], x_api_key=tokens["access_token"])[0] == 200
    assert wire.renew(tokens["refresh_token"])[0] == 401 and wire.models(other["access_token"]) == 200
    assert wire.client("GET", "/v1/models")[0] == 200, "clients without a token still need none"
    assert wire.form("/oauth/revoke", token="unknown") == (200, {})


def test_a_foreign_or_malformed_token_is_rejected(wire: Wire) -> None:
    tokens = wire.sign_in()
    for token in ("sk-byway-at-", f"sk-byway-at-{'x' * 43}", tokens["access_token"][:-1], f"{tokens['access_token']}x"):
        assert wire.models(token) == 401
    assert wire.client("GET", "/managed/settings", tokens["refresh_token"])[0] == 401
    assert wire.renew(tokens["access_token"])[0] == 401
    for grant in ("password", ""):
        status, body = wire.form("/oauth/token", grant_type=grant)
        assert status == 400 and body["error"] == "unsupported_grant_type"
    assert wire.form("/oauth/token", grant_type=DEVICE) == (400, {"error": "expired_token"})


def test_unknown_fields_and_headers_are_not_refused(wire: Wire) -> None:
    status, body = wire.form(
        "/oauth/device_authorization", "", {"anthropic_beta": "future-2027"}, client_id="x", scope="y", future="z"
    )
    assert status == 200 and body["user_code"]


def test_only_hashes_of_tokens_are_stored(wire: Wire) -> None:
    tokens = wire.sign_in()
    _, tokens_after = wire.renew(tokens["refresh_token"])
    content = b"".join(path.read_bytes() for path in wire.file.parent.glob("byway.db*"))
    for value in (tokens, tokens_after):
        assert value["access_token"].encode() not in content and value["refresh_token"].encode() not in content


def test_a_sign_in_is_valid_after_a_restart(wire: Wire, tmp_path: Path) -> None:
    tokens = wire.sign_in()
    again = Wire(tmp_path, CONFIG)
    try:
        assert again.models(tokens["access_token"]) == 200 and again.renew(tokens["refresh_token"])[0] == 200
    finally:
        again.close()


def test_a_sign_in_requires_no_key_of_others_and_keeps_no_last_key(wire: Wire) -> None:
    wire.sign_in()
    assert not wire.gateway.runtime.keyring.blocking
    _, key = wire.store.add_key("laptop", ["read"], None, "test")
    wire.refresh()
    assert wire.gateway.runtime.keyring.blocking and wire.models(key) == 200


# -------------------------------------------------------------------------------------------------------------- accounts


def test_the_account_that_approves_is_the_caller(wire: Wire) -> None:
    wire.as_account("ada")
    tokens = wire.sign_in()
    caller = wire.gateway.runtime.keyring.check(
        {b"authorization": f"Bearer {tokens['access_token']}".encode()}, time.time()
    )
    assert (caller.account, caller.role, caller.sign_in) == ("ada", "member", True)
    assert "admin" not in caller.scopes
    assert wire.client("GET", "/byway/config", tokens["access_token"])[0] == 403


def test_a_sign_in_of_an_owner_does_not_change_settings(wire: Wire) -> None:
    wire.as_account("boss", "owner")
    tokens = wire.sign_in()
    assert wire.client("GET", "/byway/config", tokens["access_token"])[0] == 403


@pytest.mark.parametrize("change", ["disable_account", "remove_account"])
def test_an_account_that_is_disabled_or_removed_is_signed_out(wire: Wire, change: str) -> None:
    wire.as_account("ada")
    tokens, waiting = wire.sign_in(), wire.start()
    wire.decide(waiting["user_code"])
    with Store(wire.file.parent) as other:
        getattr(other, change)("ada", "a command")
    wire.refresh()
    status, _, answer = wire.client("GET", "/v1/models", tokens["access_token"])
    assert status == 401 and answer.headers["x-should-retry"] == "false"
    status, body = wire.renew(tokens["refresh_token"])
    assert status == 401 and body["error"] == "invalid_grant"
    assert wire.poll(waiting["device_code"]) == (400, {"error": "access_denied"})
    if change == "disable_account":
        wire.store.enable_account("ada", "test")
        wire.refresh()
        assert wire.models(tokens["access_token"]) == 401, "the sign-in does not come back"


def test_a_viewer_cannot_approve(wire: Wire) -> None:
    started = wire.start()
    wire.as_account("vera", "viewer")
    assert wire.decide(started["user_code"]).status == 403
    assert wire.services.sign_ins.find(started["user_code"], "127.0.0.1") is not None


def test_a_member_sees_and_ends_only_its_own_sign_ins(wire: Wire) -> None:
    others = wire.sign_in()
    wire.as_account("ada")
    own = wire.sign_in()
    ids = {sign_in.account: sign_in.id for sign_in in wire.store.sign_ins()}
    page = wire.get("/device")
    assert ids["ada"] in page.html and ids[""] not in page.html
    assert "There is no sign-in" in wire.post("/device/end", {"id": ids[""]}, htmx=False).text
    assert wire.models(others["access_token"]) == 200
    assert "has ended" in wire.post("/device/end", {"id": ids["ada"]}, htmx=False).text
    assert wire.models(own["access_token"]) == 401


def test_the_api_lists_and_ends_sign_ins_as_the_page_does(wire: Wire) -> None:
    wire.sign_in()
    owner = wire.cookie
    wire.as_account("ada")
    own = wire.sign_in()

    def api(method: str, path: str) -> tuple[int, Any]:
        answer = wire.call(method, path, "", {"accept": "application/json"})
        return answer.status, json.loads(answer.html)

    [listed] = api("GET", "/byway/sign-ins")[1]["sign_ins"]
    assert listed["account"] == "ada" and listed["client"] == "claude-code/2.1.329"
    other = next(sign_in.id for sign_in in wire.store.sign_ins() if not sign_in.account)
    assert api("DELETE", f"/byway/sign-ins/{other}")[0] == 404
    assert api("DELETE", f"/byway/sign-ins/{listed['id']}")[0] == 200 and wire.models(own["access_token"]) == 401
    wire.cookie = owner
    assert [entry["id"] for entry in api("GET", "/byway/sign-ins")[1]["sign_ins"]] == [other]


# ------------------------------------------------------------------------------------------------------------- transport


def test_sign_in_over_http_works_on_this_machine_only(tmp_path: Path) -> None:
    wire = Wire(tmp_path, f"server: {{allowed_hosts: [byway.example]}}\n{CONFIG}")
    for route in (route for route in ROUTES if route.envelope == "oauth"):
        status, body, _ = wire.client(route.method, route.path, host="byway.example")
        assert status == 403 and body["error"] == "access_denied" and "https" in body["error_description"]
        assert wire.client(route.method, route.path, host="localhost:38080")[0] != 403
        status, body, _ = wire.client(route.method, route.path, host="evil.example")
        assert status == 421 and body["error"]
        # Every client can send the header; only that of a trusted proxy counts.
        assert wire.client(route.method, route.path, host="byway.example", x_forwarded_proto="https")[0] == 403
    wire.close()


def test_a_trusted_proxy_with_https_gives_https_urls(tmp_path: Path) -> None:
    wire = Wire(tmp_path, f"server: {{allowed_hosts: [byway.example], trusted_proxies: [127.0.0.0/8]}}\n{CONFIG}")
    try:
        path = "/anthropic/.well-known/oauth-authorization-server"
        status, metadata, _ = wire.client("GET", path, host="byway.example", x_forwarded_proto="https")
        assert status == 200 and metadata["token_endpoint"] == "https://byway.example/anthropic/oauth/token"
        assert wire.client("GET", path, host="byway.example", x_forwarded_proto="http")[0] == 403
    finally:
        wire.close()


def test_clients_behind_a_trusted_proxy_are_shown_and_counted_by_their_own_address(tmp_path: Path) -> None:
    wire = Wire(tmp_path, f"server: {{trusted_proxies: [127.0.0.0/8]}}\n{CONFIG}")
    try:
        for number in range(30):
            headers = {"x_forwarded_for": f"2001:db8::{number + 1:x}"}
            status, started = wire.form("/oauth/device_authorization", "", headers)
            assert status == 200
        page = wire.get(f"/device?user_code={started['user_code']}")
        assert "2001:db8::1e" in page.text, "the person compares the address of the client, not that of the proxy"
        status, _ = wire.form("/oauth/device_authorization", "", {"x_forwarded_for": "2001:db8::ffff"})
        assert status == 429, "all addresses of a network count as one"
        assert wire.form("/oauth/device_authorization", "", {"x_forwarded_for": "192.0.2.1"})[0] == 200
        for _ in range(31):
            refused = wire.call("GET", "/device?user_code=BBBB-BBBB", headers={"x-forwarded-for": "192.0.2.1"})
        assert refused.status == 429
        fields = urlencode({"user_code": started["user_code"], "action": "approve"})
        assert "Approved" in wire.call("POST", "/device", fields, {"x-forwarded-for": "192.0.2.2"}).text
    finally:
        wire.close()


def test_a_proxy_with_https_on_this_machine_gives_https_urls(tmp_path: Path) -> None:
    wire = Wire(tmp_path, f"server: {{trusted_proxies: [127.0.0.0/8]}}\n{CONFIG}")
    try:
        path = "/.well-known/oauth-authorization-server"
        _, metadata, _ = wire.client("GET", path, host="localhost:8443", x_forwarded_proto="https")
        assert metadata["token_endpoint"] == "https://localhost:8443/oauth/token"
        _, metadata, _ = wire.client("GET", path, host="localhost:8080", x_forwarded_proto="http")
        assert metadata["token_endpoint"] == "http://localhost:8080/oauth/token"
    finally:
        wire.close()


def test_a_proxy_that_replaces_the_host_is_named_as_the_reason(wire: Wire) -> None:
    for route in (route for route in ROUTES if route.envelope == "oauth"):
        status, body, _ = wire.client(route.method, route.path, x_forwarded_host="byway.example.org")
        assert status == 403 and "replaced the Host header" in body["error_description"]
        for same in ("127.0.0.1:38080", "127.0.0.1", "127.0.0.1:38080, 10.0.0.1"):
            assert wire.client(route.method, route.path, x_forwarded_host=same)[0] != 403


PUBLIC = "server: {public_url: 'https://byway.example.org'}\n"


def test_sign_in_uses_the_public_url(tmp_path: Path) -> None:
    wire = Wire(tmp_path, PUBLIC + CONFIG)
    try:
        path = "/anthropic/.well-known/oauth-authorization-server"
        for host in ("byway.example.org", "BYWAY.example.org:443"):
            _, metadata, _ = wire.client("GET", path, host=host)
            assert metadata["issuer"] == "https://byway.example.org/anthropic"
            status, started = wire.form("/oauth/device_authorization", headers={"host": host})
            assert status == 200 and started["verification_uri"] == "https://byway.example.org/device"
        # On this machine sign-in works by http too, and a client ignores endpoints on another origin than its own.
        _, metadata, _ = wire.client("GET", path, host="127.0.0.1:38080")
        assert metadata["issuer"] == "http://127.0.0.1:38080/anthropic"
    finally:
        wire.close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "other.example.org"}, 421),
        ({"host": "byway.example.org.evil.example"}, 421),
        ({"host": "127.0.0.1:38080", "x_forwarded_host": "other.example.org"}, 403),
        # A proxy that replaces Host, and is not trusted.
        ({"host": "127.0.0.1:38080", "x_forwarded_host": "byway.example.org", "x_forwarded_proto": "https"}, 403),
    ],
)
def test_a_proxy_with_another_host_name_than_the_public_url_gets_an_error(
    tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    wire = Wire(tmp_path, PUBLIC + CONFIG)
    try:
        for route in (route for route in ROUTES if route.envelope == "oauth"):
            answered, body, _ = wire.client(route.method, route.path, **headers)
            assert answered == status and "server.public_url" in body["error_description"]
    finally:
        wire.close()


def test_a_trusted_proxy_may_replace_the_host_when_the_public_url_is_known(tmp_path: Path) -> None:
    text = "server: {public_url: 'https://byway.example.org', trusted_proxies: [127.0.0.0/8], root_path: /by}\n"
    wire = Wire(tmp_path, text + CONFIG)
    try:
        headers = {"x_forwarded_host": "byway.example.org", "x_forwarded_proto": "https"}
        _, metadata, _ = wire.client("GET", "/.well-known/oauth-authorization-server", **headers)
        assert metadata["token_endpoint"] == "https://byway.example.org/by/oauth/token"
    finally:
        wire.close()


def test_a_public_url_without_https_allows_no_sign_in(tmp_path: Path) -> None:
    wire = Wire(tmp_path, f"server: {{public_url: 'http://byway.example.org:8080'}}\n{CONFIG}")
    try:
        status, body, _ = wire.client("GET", "/.well-known/oauth-authorization-server", host="byway.example.org:8080")
        assert status == 403 and "https" in body["error_description"]
    finally:
        wire.close()


@pytest.mark.parametrize(("host", "secure"), [("byway.example.org", True), ("127.0.0.1:38080", False)])
def test_the_login_cookie_is_secure_at_a_public_url_with_https(tmp_path: Path, host: str, secure: bool) -> None:
    wire = Wire(tmp_path, PUBLIC + CONFIG)
    try:
        token = wire.gateway.services.logins.link()
        _, _, opened = wire.client("GET", f"/login?token={token}", host=host, accept="text/html")
        assert ("; Secure" in opened.headers["set-cookie"]) is secure
    finally:
        wire.close()


def test_sign_in_is_refused_where_the_api_is_disabled_over_tcp(tmp_path: Path) -> None:
    wire = Wire(tmp_path, f"server: {{tcp: false}}\n{CONFIG}")
    try:
        for route in (route for route in ROUTES if route.envelope == "oauth"):
            status, body, _ = wire.client(route.method, route.path)
            assert status == 403 and "disabled over TCP" in body["error_description"]
        assert wire.get("/device").status == 200
    finally:
        wire.close()


def test_a_large_form_is_refused_before_it_is_read(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unread(_: Any) -> bytes:
        raise AssertionError("the body was read")

    monkeypatch.setattr("byway.routes.context.RequestContext.body", unread)
    for path in ("/oauth/device_authorization", "/oauth/token", "/oauth/revoke"):
        status, body, _ = wire.client("POST", path, body="x=1", content_length=str((16 << 10) + 1))
        assert status == 413 and body["error"] == "invalid_request"


@pytest.mark.parametrize("body", ["", "{}", "=&&=", "a" * 1000, "&".join(["a=b"] * 200), "grant_type[]=x", "\0\ud7ff"])
def test_malformed_forms_never_fail_inside_byway(wire: Wire, body: str) -> None:
    for path in ("/oauth/token", "/oauth/revoke"):
        for kind in ("application/x-www-form-urlencoded", "application/json", ""):
            status, answer, _ = wire.client("POST", path, body=body, content_type=kind)
            assert (status in (200, 400) and "error" in answer) or (path == "/oauth/revoke" and answer == {})


def test_invalid_refresh_tokens_do_not_read_all_keys_again(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = wire.sign_in()
    reads: list[int] = []
    read = wire.store.key_records

    def counted() -> Any:
        reads.append(1)
        return read()

    monkeypatch.setattr(wire.store, "key_records", counted)
    for token in ("unknown", tokens["access_token"], ""):
        assert wire.renew(token)[0] == 401
    assert reads == []
    assert wire.renew(tokens["refresh_token"])[0] == 200 and reads == [1]


def test_parallel_requests_with_one_refresh_token_get_the_same_tokens(wire: Wire) -> None:
    tokens = wire.sign_in()

    async def refresh() -> list[Any]:
        return await asyncio.gather(*(wire.services.sign_ins.refresh(tokens["refresh_token"]) for _ in range(5)))

    pairs = {refreshed.pair for refreshed in asyncio.run(refresh())}
    assert len(pairs) == 1 and None not in pairs


def test_parallel_polls_with_an_approved_code_give_tokens_once(wire: Wire) -> None:
    started = wire.start()
    wire.decide(started["user_code"])

    async def exchange() -> list[Any]:
        return await asyncio.gather(*(wire.services.sign_ins.exchange(started["device_code"]) for _ in range(5)))

    assert sorted(isinstance(result, str) for result in asyncio.run(exchange())) == [False, *[True] * 4]
    assert len(wire.store.sign_ins()) == 1


def test_a_new_account_with_an_old_name_has_none_of_its_sign_ins(wire: Wire) -> None:
    wire.as_account("ada")
    tokens = wire.sign_in()
    wire.store.remove_account("ada", "test")
    wire.store.add_account("ada", "test")
    wire.refresh()
    assert wire.models(tokens["access_token"]) == 401 and wire.renew(tokens["refresh_token"])[0] == 401


@pytest.mark.parametrize("coding", ["gzip", "zstd", "unknown"])
def test_telemetry_is_counted_without_being_decompressed(wire: Wire, coding: str) -> None:
    for signal in ("metrics", "logs", "traces"):
        body = "not compressed at all"
        assert wire.client("POST", f"/v1/{signal}", body=body, content_encoding=coding)[0] == 200
        assert wire.services.sign_ins.telemetry.snapshot()[signal].bytes == len(body)


def test_a_token_is_in_no_log_and_no_list(wire: Wire, capfd: pytest.CaptureFixture[str]) -> None:
    tokens = wire.sign_in()
    wire.renew(tokens["refresh_token"])
    wire.form("/oauth/token", grant_type=tokens["refresh_token"])
    wire.client("GET", "/v1/unknown", tokens["access_token"])
    shown = "".join(capfd.readouterr()) + repr(wire.store.audit_entries()) + wire.get("/device").html
    for secret in (tokens["access_token"], tokens["refresh_token"]):
        assert secret not in shown and secret not in repr(vars(wire.gateway.requests))


def test_the_page_cannot_be_framed(wire: Wire) -> None:
    assert "frame-ancestors 'none'" in wire.get("/device").headers["content-security-policy"]


def test_a_waiting_client_has_no_secret_in_its_description() -> None:
    assert "device" not in repr(DeviceRequest("BBBB-BBBB", "client", "127.0.0.1", 0.0, 1.0))


# --------------------------------------------------------------------------------------------------------- admin API


def send(wire: Wire, path: str, **body: Any) -> tuple[int, Any]:
    """A POST of the browser to the admin API."""
    sent = wire.call("POST", path, json.dumps(body), {"content-type": "application/json", "accept": "application/json"})
    return sent.status, json.loads(sent.html)


def test_a_code_is_approved_or_denied_by_the_admin_api(wire: Wire) -> None:
    started = wire.start()
    status, decided = send(wire, "/byway/sign-ins", user_code=started["user_code"])
    assert status == 201 and decided["approved"] and decided["client"] == "claude-code/2.1.329"
    assert wire.poll(started["device_code"])[0] == 200
    assert [sign_in.id for sign_in in wire.store.sign_ins()] == [decided["id"]]
    assert send(wire, "/byway/sign-ins", user_code=started["user_code"])[0] == 404, "a code works once"
    other = wire.start()
    status, decided = send(wire, "/byway/sign-ins", user_code=other["user_code"], approve=False)
    assert status == 201 and not decided["approved"] and decided["id"] == ""
    assert wire.poll(other["device_code"]) == (400, {"error": "access_denied"})


def test_the_mcp_token_of_a_sign_in_is_for_its_account(wire: Wire) -> None:
    wire.sign_in()
    (sign_in,) = wire.store.sign_ins()
    status, access = send(wire, f"/byway/sign-ins/{sign_in.id}/mcp-token")
    assert status == 200 and access["token"].startswith("sk-byway-mt-")
    assert send(wire, "/byway/sign-ins/signin_unknown/mcp-token")[0] == 404
    wire.as_account("ada")
    assert send(wire, f"/byway/sign-ins/{sign_in.id}/mcp-token")[0] == 404
