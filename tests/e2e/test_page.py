"""The settings page in a real browser: the way in, and all that must not be one."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import resource
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import urlencode

import pytest
from browser import Browsing, alias_field, another, login, press, set_targets
from e2e.conftest import ASK
from gateway import Answer, Gateway, config
from playwright.sync_api import Page, expect
from scripted import Say, Scripted

from byway.access.login import COOKIE, LINK_SECONDS, LOGIN_SECONDS, Logins
from byway.server.routes import ROUTES
from byway.ui import menu as ui_menu
from byway.ui import page as ui

FORM = "application/x-www-form-urlencoded"
ADMIN = [route for route in ROUTES if route.scope == "admin"]
CLOSED = {route[:2] for route in ROUTES if route.scope in ("admin", "account")}
PAGES = [path for path, _ in ui_menu.PAGES if path == "/" or ("GET", path) in CLOSED]
ADMIN_KEY, USE_KEY = "sk-byway-admin-0123456789abcdef", "sk-byway-plain-0123456789abcdef"
KEYS = {
    "api_keys": [
        {"id": "boss", "key": ADMIN_KEY, "scopes": ["read", "admin"]},
        {"id": "user", "key": USE_KEY, "scopes": ["read", "write", "files"]},
    ]
}


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Scripted(lambda request: Say("Hello there.")) as server, Gateway(config(server)) as gateway:
        yield gateway


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted(lambda request: Say("Hello there.")) as server:
        yield server


@pytest.fixture(scope="module")
def locked() -> Iterator[Gateway]:
    """Keys are asked for: one may everything, one only use it."""
    with Scripted(lambda request: Say("Hello there.")) as server, Gateway(config(server, api_keys=KEYS)) as gateway:
        yield gateway


def cookie(gateway: Gateway) -> str:
    """A login, as the link gives it."""
    answer = gateway.get(another(gateway).removeprefix(gateway.url))
    assert answer.status == 303, answer.body
    return answer.headers["set-cookie"].partition(";")[0]


def send(gateway: Gateway, path: str, fields: dict[str, str] | bytes, login: str, **headers: str) -> Answer:
    """A form, as a browser sends it that has the cookie `login`."""
    body = fields if isinstance(fields, bytes) else urlencode(fields).encode()
    names = {"content-type": FORM, "cookie": login, "origin": gateway.url, "hx-request": "true", **headers}
    return gateway.ask("POST", path, body, {name: value for name, value in names.items() if value})


@contextlib.contextmanager
def elsewhere(html: str) -> Iterator[str]:
    """A page at another port of this machine."""

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *args: object) -> None:
            """Quiet."""

    other = HTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=other.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{other.server_address[1]}/"
    finally:
        other.shutdown()
        other.server_close()


def etag(gateway: Gateway, login: str) -> str:
    return str(gateway.get("/byway/config", {"cookie": login}).json["etag"])


# ------------------------------------------------------------------------------------------------------------ the login


def test_the_link_logs_in_once(page: Page, browsing: Browsing, gateway: Gateway) -> None:
    assert (entered := page.goto(another(gateway))) is not None and entered.status == 200
    expect(page.get_by_role("heading", name="Overview", level=1)).to_be_visible()
    assert "token" not in page.url
    (kept,) = page.context.cookies()
    assert kept["httpOnly"] and kept["sameSite"] == "Strict" and kept["name"].startswith(COOKIE)
    token = another(gateway)
    browsing.page().goto(token)
    second = browsing.page()
    assert (answer := second.goto(token)) is not None and answer.status == 401
    expect(second.get_by_text("This link was used already")).to_be_visible()
    expect(second.get_by_text("byway page", exact=True)).to_be_visible()


def test_without_a_login_every_page_is_closed(page: Page, gateway: Gateway) -> None:
    for path in PAGES:
        answer = page.goto(gateway.url + path)
        assert answer is not None and answer.status == 401, path
        expect(page.get_by_text("This page needs a login")).to_be_visible()
        assert page.get_by_role("navigation").count() == 0 and "local" not in (page.text_content("main") or "")
    for path in ("/byway/config", "/byway/audit", "/byway/requests", "/byway/config/versions"):
        answer_ = gateway.get(path)
        assert (answer_.status, answer_.json["error"]["type"]) == (401, "authentication_error"), path
    # A program that asks for the root gets the hello, not the page.
    assert gateway.get("/").json


def test_logging_out_ends_it_in_this_browser(page: Page, gateway: Gateway) -> None:
    login(page, gateway)
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_text("This page needs a login")).to_be_visible()
    assert page.context.cookies() == []
    assert (answer := page.goto(gateway.url + "/api")) is not None and answer.status == 401


def test_only_cookies_and_links_of_this_data_folder_open_it(gateway: Gateway) -> None:
    now, nonce = time.time(), os.urandom(16)
    ours, theirs = Logins((gateway.home / "data" / "login.key").read_bytes()), Logins(os.urandom(32))

    def given(made: Logins, at: float) -> str:
        entered = made.enter(made.link(at, nonce), at, nonce)
        assert entered is not None
        return entered

    opened = gateway.get(f"/login?token={ours.link(now, nonce)}")
    good = opened.headers["set-cookie"].partition("=")[2].partition(";")[0]
    assert gateway.get("/api", {"cookie": f"a=b; {ours.cookie}={good}"}).status == 200
    ends, rest = good.split(".", 1)
    bad = [
        given(ours, now),
        given(theirs, now),
        given(ours, now - LOGIN_SECONDS - 1),
        f"{int(ends) + 1}.{rest}",
        good[:-1] + ("A" if good[-1] != "A" else "B"),
        good + "=",
        ours.link(now, nonce),
        "",
        ".",
        "..",
        "9999999999..",
        "\xff\xfe.\xff.\xff",
        "9" * 5000 + ".a.b",
    ]
    for item in bad:
        assert gateway.get("/api", {"cookie": f"{ours.cookie}={item}"}).status == 401, item
    for token in [
        theirs.link(now, nonce),
        ours.link(now - LINK_SECONDS - 1, nonce),
        good,
        "x",
        "%00",
        "%ff",
        "a" * 3000,
    ]:
        assert gateway.get(f"/login?token={token}", {"accept": "text/html"}).status == 401, token


def test_a_copied_cookie_opens_nothing_after_logging_out(gateway: Gateway) -> None:
    login = Logins((gateway.home / "data" / "login.key").read_bytes())
    opened = gateway.get(f"/login?token={login.link(time.time(), os.urandom(16))}")
    cookie = {"cookie": opened.headers["set-cookie"].partition(";")[0]}
    assert gateway.get("/byway/config", cookie).status == 200
    assert gateway.post(b"", "/logout", {**cookie, "origin": gateway.url}).status in (200, 303)
    assert gateway.get("/byway/config", cookie).status == 401


def test_two_byways_on_one_machine_keep_their_logins(page: Page, gateway: Gateway, server: Scripted) -> None:
    with Gateway(config(server)) as second:
        for value in (gateway, second, gateway):
            login(page, value) if value is second or page.url == "about:blank" else page.goto(value.url + "/api")
            expect(page.get_by_role("button", name="Log out")).to_be_visible()


def test_a_link_in_a_page_of_elsewhere_logs_in(page: Page, gateway: Gateway) -> None:
    """A chat or a web terminal has the link: the cookie is strict, and yet the page opens."""
    with elsewhere(
        f'<!doctype html><meta charset="utf-8"><title>Chat</title><a href="{another(gateway)}">open</a>'
    ) as url:
        page.goto(url)
        page.get_by_role("link", name="open").click()
        expect(page.get_by_role("heading", name="Overview", level=1)).to_be_visible()


# ------------------------------------------------------------------------------------------------------- who else may


@pytest.mark.parametrize("path", [(method, path) for method, path, *_ in ADMIN], ids=lambda item: " ".join(item))
def test_a_key_without_admin_gets_403_on_every_admin_route(path: tuple[str, str], locked: Gateway) -> None:
    method, where = path[0], re.sub(r"\*|\{\w+\}", "1", path[1])
    for name, value in (("x-api-key", USE_KEY), ("authorization", f"Bearer {USE_KEY}")):
        answer = locked.ask(method, where, b"", {name: value, "content-type": FORM})
        assert (answer.status, answer.json["error"]["type"]) == (403, "permission_error"), (method, where)
        assert "admin" in answer.json["error"]["message"]
    assert locked.ask(method, where, b"", {"x-api-key": "sk-byway-no"}).status == 401
    assert locked.ask(method, where, b"").status == 401
    if where in ("/api/restart", "/byway/restart"):
        return  # It would restart.
    answer = locked.ask(method, where, b"", {"x-api-key": ADMIN_KEY, "content-type": FORM})
    assert answer.status not in (401, 403) and answer.status < 500, (method, where, answer.body[:300])


def test_a_key_of_the_page_is_none_of_the_api_and_the_other_way_round(locked: Gateway) -> None:
    entered = cookie(locked)
    assert locked.post(ASK, headers={"cookie": entered, "origin": locked.url}).status == 401
    assert locked.get("/v1/models", {"cookie": entered}).status == 401
    # A key that may use it, beside a login: the login counts for the page.
    assert locked.get("/byway/config", {"cookie": entered, "x-api-key": USE_KEY}).status == 200


# ------------------------------------------------------------------------------------------------- pages of other sites


def test_a_change_comes_from_the_page_itself(gateway: Gateway) -> None:
    entered = cookie(gateway)
    before = gateway.file.read_bytes()
    fields = {"name": "evil", "targets": "one/local", "etag": etag(gateway, entered)}
    port = gateway.port
    others = ["null", "http://evil.example", f"https://evil.example:{port}", f"http://127.0.0.1:{port}.evil.example"]
    for origin in ("", *others, "http://127.0.0.1:1", f"http://localhost:{port}", "http://[::1", "file://"):
        answer = send(gateway, "/claude/aliases", fields, entered, origin=origin)
        assert answer.status == 403, (origin, answer.status, answer.body[:200])
        patch = {"edits": [{"op": "set", "path": ["model_aliases", "evil"], "value": "x"}]}
        given = {"cookie": entered, "content-type": "application/json", **({"origin": origin} if origin else {})}
        assert gateway.ask("PATCH", "/byway/config", json.dumps(patch).encode(), given).status == 403, origin
    assert gateway.file.read_bytes() == before
    assert send(gateway, "/claude/aliases", {**fields, "etag": ""}, entered).status == 200
    assert "evil" in gateway.file.read_text()


def test_a_form_in_another_page_of_this_machine_changes_nothing(
    page: Page, browsing: Browsing, gateway: Gateway
) -> None:
    """Another port is the same *site*: SameSite=Strict does not hold it off, so Origin has to."""
    html = f"""<!doctype html><meta charset="utf-8"><title>Evil</title>
      <form method="post" action="{gateway.url}/claude/aliases" id="f"><input name="name" value="stolen">
      <input name="targets" value="one/local"><button>Win a prize</button></form>
      <iframe src="{gateway.url}/api" id="framed"></iframe>"""

    browsing.allowed += ["frame", "CORS", "Framing", "net::ERR"]
    with elsewhere(html) as url:
        login(page, gateway)
        page.goto(url)
        frame = page.frame(url=re.compile("/api|chrome-error"))
        assert frame is None or "Listens at" not in frame.content()
        text = page.evaluate(
            """async url => {
                const found = [];
                for (const mode of ["cors", "no-cors"]) {
                    try {
                        const answer = await fetch(url + "/claude/aliases", {method: "POST", mode,
                            credentials: "include",
                            headers: {"content-type": "application/x-www-form-urlencoded"},
                            body: "name=stolen&targets=one/local"});
                        found.push(await answer.text());
                    } catch (error) { found.push("refused"); }
                    try { found.push(await (await fetch(url + "/byway/config", {mode, credentials: "include"})).text()); }
                    catch (error) { found.push("refused"); }
                }
                return found;
            }""",
            gateway.url,
        )
        assert set(text) <= {"refused", ""}, text
        with page.expect_navigation() as moved:
            page.get_by_role("button", name="Win a prize").click()
        assert moved.value.status == 403
    assert "stolen" not in gateway.file.read_text()


def test_names_that_are_not_ours_open_nothing(gateway: Gateway) -> None:
    entered = cookie(gateway)
    for host in (
        "evil.example",
        f"evil.example:{gateway.port}",
        "127.0.0.1.evil.example",
        "169.254.169.254",
        "0.0.0.0",
        "",
    ):
        for path in ("/api", "/byway/config", "/static/page.js", "/login?token=x"):
            assert gateway.get(path, {"host": host, "cookie": entered}).status in (400, 421), (host, path)


# --------------------------------------------------------------------------------------------------------- what is sent


def test_every_page_and_file_is_guarded(page: Page, browsing: Browsing, gateway: Gateway) -> None:
    browsing.allowed.append("Executing inline script")
    login(page, gateway)
    entered = cookie(gateway)
    files = [f"/static/{value.name}" for value in (ui.HERE / "static").iterdir() if value.suffix != ".LICENSE"]
    for path in (*PAGES, *files, "/login", "/claude/resolve?name=haiku"):
        headers = gateway.get(path, {"cookie": entered, "accept": "text/html"}).headers
        policy = headers["content-security-policy"]
        assert "unsafe" not in policy and "default-src 'none'" in policy and "frame-ancestors 'none'" in policy, path
        assert headers["x-content-type-options"] == "nosniff", path
        if path not in files:
            assert headers["cache-control"] == "no-store", path
    # What a page would have to do wrong: an inline script is stopped.
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.got = 1'}))"
    )
    assert page.evaluate("window.got") is None


def test_a_person_reads_what_went_wrong_and_a_program_parses_it(
    page: Page, browsing: Browsing, gateway: Gateway
) -> None:
    login(page, gateway)
    for path in ("/nothing", "/config/versions/99999", "/requests/99999", "/claude/cards/none", "/api/cards/none"):
        answer = page.goto(gateway.url + path)
        assert answer is not None and answer.status in (400, 404), path
        assert "content-security-policy" in answer.headers
        expect(page.get_by_role("heading", name="Error")).to_be_visible()
        page.get_by_role("link", name="Open the overview").click()
        expect(page.get_by_role("heading", name="Overview", level=1)).to_be_visible()
        assert gateway.get(path, {"cookie": cookie(gateway)}).json["error"]["message"], path
    # What is refused while a page is open stands on it, and its card stays.
    page.goto(f"{gateway.url}/claude")
    alias_field(page, "haiku").evaluate("field => { field.value = 'x'.repeat(70000); }")
    page.locator("#aliases").get_by_role("button", name="Save").click()
    expect(page.locator("#messages")).to_contain_text("64 KiB")
    expect(page.get_by_label("Targets of opus")).to_be_visible()
    alias_field(page, "haiku").evaluate("field => { field.value = ''; }")
    press(page.locator("#aliases"), "Save")
    expect(page.locator("#messages")).to_be_empty()


def test_templates_hold_nothing_inline() -> None:
    for file in (ui.HERE / "templates").iterdir():
        text = file.read_text()
        assert not re.search(
            r"\sstyle\s*=|\son[a-z]+\s*=|javascript:|<style|\|\s*safe\b|hx-on|hx-vals\s*=.js:", text
        ), file
        for tag in re.findall(r"<script[^>]*>(.*?)</script>", text, re.S):
            assert not tag, file
        assert not re.search(r"""(?:src|action)=["'](?:https?:)?//""", text), file


def test_there_is_no_way_out_of_the_static_files(gateway: Gateway) -> None:
    for tail in (
        "../page.js",
        "..%2f..%2fapi.py",
        "%2e%2e/__init__.py",
        "/etc/passwd",
        "....//__init__.py",
        "",
        ".",
        "htmx.LICENSE",
        "page.js/",
        "page.js%00.css",
        "\\..\\api.py",
        "%ff",
        "style.css/../../__init__.py",
        "a" * 4000,
    ):
        answer = gateway.get(f"/static/{tail}")
        assert answer.status in (404, 401, 400, 200) and b"import" not in answer.body, tail
        if answer.status == 200:
            assert "javascript" in answer.headers["content-type"], tail
    for tail in ("1", "-1", "0", "²", "%C2%B2", "9" * 50, "1.0", "1/2", "x", "%00", "1%20"):
        for path in ("/config/versions/", "/requests/", "/byway/config/versions/"):
            answer = gateway.get(path + tail.replace("²", "%C2%B2"), {"cookie": cookie(gateway)})
            assert answer.status in (200, 400, 404), (path, tail, answer.status, answer.body[:200])


# -------------------------------------------------------------------------------------------------- behind another server


def test_everything_works_behind_a_prefix(page: Page, browsing: Browsing) -> None:
    """`server.root_path`: a proxy passes on what stands under /gate, as it came."""
    with (
        Scripted(lambda value: Say("Hello there.")) as server,
        Gateway(config(server, server={"root_path": "/gate"})) as gateway,
    ):
        login(page, gateway)
        assert page.url == f"{gateway.url}/gate/"
        outside: list[str] = []
        page.on("request", lambda request: outside.append(request.url) if "/gate/" not in request.url else None)
        for name in [word for path, word in ui_menu.PAGES if path in PAGES]:
            page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()
            expect(page.get_by_role("heading", name=name, level=1)).to_be_visible()
        page.get_by_role("navigation").get_by_role("link", name="Claude Code", exact=True).click()
        page.locator("#endpoint").get_by_role("button", name="Verify").click()
        expect(page.get_by_text("Connected")).to_be_visible()
        page.locator("#quick").get_by_role("button", name="Apply").click()
        expect(page.locator("#quick").get_by_text("Verified")).to_be_visible()
        page.goto(f"{gateway.url}/gate/requests")
        page.locator("#table [data-row]").first.click()
        expect(page.get_by_text("ended at")).to_be_visible()
        page.goto(f"{gateway.url}/gate/config")
        page.get_by_role("link", name="Show the changes of version 1").click()
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_text("This page needs a login")).to_be_visible()
        assert not outside, outside


# ------------------------------------------------------------------------------------------------------- hostile forms


def test_forms_that_are_none(gateway: Gateway) -> None:
    entered = cookie(gateway)
    before = gateway.file.read_bytes()
    posts = [
        path
        for method, path, *_ in ADMIN
        if method == "POST" and path not in ("/logout", "/api/restart") and "byway" not in path
    ]
    bodies: list[tuple[bytes, dict[str, str]]] = [
        (b"", {}),
        (b"\xff\xfe\x00=%ff&%zz", {}),
        (b"a" * (70 << 10), {}),
        (b"&".join(b"f%d=1" % at for at in range(499)), {}),
        (b"&".join(b"f%d=1" % at for at in range(5000)), {}),
        (b"etag=%00&version=%E2%91%A0&port=%D9%A1&id=%00&name=%00&model=%00&provider=%00&entry=%00&url=%00", {}),
        (b"version=" + b"9" * 5000 + b"&port=" + b"9" * 5000, {}),
        (b'{"a": 1}', {"content-type": "application/json"}),
        (b"--x\r\n\r\n--x--", {"content-type": "multipart/form-data; boundary=x"}),
        (b"etag=%0d%0aSet-Cookie:%20a=b&name=%0d%0aX: y&id=%0d%0a&entry=%0d%0a", {}),
    ]
    for path in posts:
        for body, headers in bodies:
            answer = send(gateway, path, body, entered, **headers)
            assert answer.status < 500, (path, body[:60], answer.status, answer.body[:300])
            assert "set-cookie" not in answer.headers and "x" not in answer.headers
    assert gateway.file.read_bytes() == before


def test_a_body_without_a_length_is_limited_too(gateway: Gateway) -> None:
    entered = cookie(gateway)
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
    connection.request(
        "POST",
        "/claude/aliases",
        iter([b"a=" + b"b" * (1 << 20)] * 3),
        {"cookie": entered, "origin": gateway.url, "content-type": FORM},
        encode_chunked=True,
    )
    assert connection.getresponse().status == 413
    connection.close()


def test_names_that_mean_something_elsewhere_are_only_names(page: Page, gateway: Gateway) -> None:
    """An alias may be called anything; neither YAML, HTML, a selector nor a header takes it for its own."""
    login(page, gateway, "/claude")
    names = [
        "</script><img src=x onerror=alert(1)>",
        "a: b # c",
        '"quoted"',
        "'; DROP TABLE",
        "{{ 7*7 }}",
        "- x",
        "ä​‮b",
        "x" * 200,
        "a.b[0]",
        "#resolved",
    ]
    for name in names:
        page.get_by_label("Name or pattern of a new alias").fill(name)
        set_targets(page, "the new alias", "one/local")
        page.locator("#aliases").get_by_role("button", name="Save").click()
        expect(alias_field(page, name)).to_have_value("one/local")
    page.reload()
    assert page.evaluate("document.images.length") == 0
    for name in names:
        set_targets(page, name)
    page.locator("#aliases").get_by_role("button", name="Save").click()
    expect(page.locator("#aliases").get_by_text("Saved.")).to_be_visible()
    for name in names:
        assert page.get_by_label(f"Targets of {name}", exact=True).count() == 0, name


# ----------------------------------------------------------------------------------------------- many at once, a full disk


def test_many_save_at_once_and_nothing_is_lost(server: Scripted) -> None:
    """All forms were made for the same config: each change is in it in the end, and every state on the way is a good one."""
    with Gateway(config(server)) as gateway:
        entered = cookie(gateway)
        base = etag(gateway, entered)
        answers: list[int] = []

        def save(at: int) -> None:
            fields = {"etag": base, "name": f"name-{at}", "targets": "one/local"}
            answers.append(send(gateway, "/claude/aliases", fields, entered).status)

        threads = [threading.Thread(target=save, args=(at,)) for at in range(24)]
        for value in threads:
            value.start()
        while any(thread.is_alive() for thread in threads):
            json.loads(gateway.get("/byway/config", {"cookie": entered}).body)
        assert answers == [200] * 24
        text = gateway.file.read_text()
        assert all(f"name-{at}" in text for at in range(24))
        assert len(gateway.get("/byway/config/versions", {"cookie": entered}).json["versions"]) == 25


def test_a_full_disk_is_shown_and_nothing_is_half_written(page: Page, server: Scripted) -> None:
    with Gateway(config(server)) as gateway:
        login(page, gateway, "/claude")
        before = gateway.file.read_bytes()
        resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, (16, resource.RLIM_INFINITY))
        set_targets(page, "haiku", "one/local")
        press(page.locator("#aliases"), "Save")
        expect(page.locator("#aliases > .outcome.bad")).to_be_visible()
        # What was typed is still there.
        expect(alias_field(page, "haiku")).to_have_value("one/local")
        assert gateway.file.read_bytes() == before
        assert gateway.post(ASK).status == 200
        for path in ("/requests", "/trouble", "/", "/claude"):
            assert (answer := page.goto(gateway.url + path)) is not None and answer.status == 200, path
        resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        set_targets(page, "haiku", "one/local")
        press(page.locator("#aliases"), "Save")
        expect(page.locator("#aliases > .outcome")).to_contain_text("Saved")
        assert not [
            value.name for value in gateway.home.iterdir() if "byway.yaml" in value.name and value != gateway.file
        ]
