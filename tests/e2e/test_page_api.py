"""The API page in a real browser: port and switch, keys, versions, a restart."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from browser import PATIENCE, Browsing, alias_field, login, press, set_targets
from e2e.conftest import ASK
from gateway import Gateway, config
from playwright.sync_api import Locator, Page, Route, expect
from ports import free_port
from scripted import Say, Scripted


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted(lambda request: Say("Hello there.")) as server:
        yield server


@pytest.fixture
def gateway(server: Scripted) -> Iterator[Gateway]:
    with Gateway(config(server)) as gateway:
        yield gateway


def card(page: Page, name: str) -> Locator:
    return page.locator(f"#{name}")


def create(page: Page, name: str, **scopes: bool) -> str:
    """Make a key; its value."""
    card(page, "keys").get_by_label("Name").fill(name)
    for scope, on in scopes.items():
        card(page, "keys").get_by_role("checkbox", name=re.compile(f"^{scope}")).set_checked(on)
    press(card(page, "keys"), "Create")
    return page.locator("#plain").inner_text()


def release(page: Page, held: list[Route]) -> None:
    """Let the first held request through as soon as it has been sent."""
    for _ in range(PATIENCE // 10):
        if held:
            held.pop(0).continue_()
            return
        page.wait_for_timeout(10)
    raise AssertionError("the request was not sent")


def asks(gateway: Gateway, key: str) -> int:
    return gateway.post(ASK, headers={"x-api-key": key}).status


# ------------------------------------------------------------------------------------------------------------------ keys


def test_a_key_is_shown_once_then_rotated_and_revoked(page: Page, gateway: Gateway) -> None:
    login(page, gateway, "/api")
    assert gateway.post(ASK).status == 200
    first = create(page, "Ada's laptop <b>")
    assert re.fullmatch(r"sk-byway-\S{22,}", first)
    assert gateway.post(ASK).status == 401 and asks(gateway, first) == 200
    expect(page.get_by_role("row", name="Ada's laptop <b>")).to_contain_text(first[-4:])
    page.reload()
    assert first not in page.content() and page.locator("#plain").count() == 0
    # Its last use is seen soon.
    press(card(page, "keys"), "Rotate Ada's laptop <b>")
    second = page.locator("#plain").inner_text()
    assert second != first and (asks(gateway, first), asks(gateway, second)) == (401, 200)
    press(card(page, "keys"), "Revoke Ada's laptop <b>")
    expect(card(page, "keys").locator("> .outcome")).to_contain_text("is revoked")
    assert asks(gateway, second) == 401
    # The door stays shut, also when the last key is gone.
    assert gateway.post(ASK).status == 401
    page.reload()
    card(page, "keys").get_by_text("1 revoked or expired").click()
    card(page, "audit").locator("summary").click()
    for what in ("key created", "key rotated", "key revoked"):
        expect(card(page, "audit").get_by_role("cell", name=what)).to_be_visible()
    text = (gateway.home / "data" / "byway.db").read_bytes() + gateway.text.encode() + page.content().encode()
    assert first.encode() not in text and second.encode() not in text


def test_a_key_is_revoked_while_a_stream_of_it_runs(page: Page, gateway: Gateway, server: Scripted) -> None:
    login(page, gateway, "/api")
    key = create(page, "Streamer")
    words = [f"word{at} " for at in range(40)]
    server.play(lambda request: Say(words, gap=0.05))
    headers = {"content-type": "application/json", "x-api-key": key}
    with gateway.open("POST", "/v1/messages", json.dumps({**ASK, "stream": True}).encode(), headers) as stream:
        start = stream.read(200)
        press(card(page, "keys"), "Revoke Streamer")
        assert asks(gateway, key) == 401
        whole = start + stream.read()
    assert b"message_stop" in whole and whole.count(b"text_delta") == len(words)


def test_scopes_and_ends_of_keys(page: Page, gateway: Gateway) -> None:
    login(page, gateway, "/api")
    reader = create(page, "Reader", write=False, files=False)
    assert asks(gateway, reader) == 403
    assert gateway.get("/v1/models", {"x-api-key": reader}).status == 200
    assert gateway.get("/byway/config", {"x-api-key": reader}).status == 403
    boss = create(page, "Boss", admin=True)
    assert gateway.get("/byway/config", {"x-api-key": boss}).status == 200
    card(page, "keys").get_by_label("Name").fill("Gone already")
    card(page, "keys").get_by_label("Expires").fill("2020-01-01")
    press(card(page, "keys"), "Create")
    expect(card(page, "keys").locator("> .outcome")).to_contain_text(re.compile("past|expire|ago", re.I))
    card(page, "keys").get_by_label("Name").fill("Reader")
    press(card(page, "keys"), "Create")
    for scope in ("read", "write", "files"):
        card(page, "keys").get_by_role("checkbox", name=re.compile(f"^{scope}")).uncheck()
    card(page, "keys").get_by_label("Name").fill("Nothing")
    press(card(page, "keys"), "Create")
    expect(card(page, "keys").locator(".outcome").last).to_be_visible()


# ---------------------------------------------------------------------------------------------------------------- server


def test_external_access_needs_a_key(page: Page, gateway: Gateway) -> None:
    login(page, gateway, "/api")
    before = gateway.file.read_text()
    card(page, "server").get_by_label("Allow external access").check()
    press(card(page, "server"), "Save")
    expect(card(page, "server").locator("> .outcome")).to_contain_text("External access needs a key")
    assert gateway.file.read_text() == before
    create(page, "Someone")
    card(page, "server").get_by_label("Port").fill(str(free_port()))
    card(page, "server").get_by_label("Allow external access").check()
    press(card(page, "server"), "Save")
    expect(card(page, "server").locator("> .outcome.warn")).to_contain_text("Takes effect after a restart")
    assert "0.0.0.0" in gateway.file.read_text()
    # It can be taken back, and then nothing waits for a restart.
    page.goto(gateway.url + "/config")
    press(card(page, "history"), "Restore version 1")
    expect(card(page, "history").locator("> .outcome")).to_contain_text("Restored version 1.")
    page.goto(gateway.url + "/api")
    assert gateway.file.read_text() == before
    page.reload()
    expect(page.get_by_role("button", name="Restart Byway")).to_have_count(0)


def test_a_refresh_does_not_undo_what_the_user_does(page: Page, gateway: Gateway) -> None:
    """The refreshes of the server card are held back, and arrive while the user is busy in it."""
    login(page, gateway, "/api")
    refreshes: list[Route] = []
    saves: list[Route] = []
    page.route("**/api/cards/server", lambda route: refreshes.append(route))

    def let_through(routes: list[Route]) -> None:
        page.evaluate(
            "() => { window.arrived = new Promise(done => "
            "document.addEventListener('htmx:afterRequest', done, { once: true })); }"
        )
        release(page, routes)
        page.evaluate("() => window.arrived.then(() => null)")

    def create_and_hold(name: str) -> None:
        with page.expect_request("**/api/cards/server"):
            create(page, name)

    server = card(page, "server")
    external = server.get_by_label("Allow external access")
    # A refresh between press and release does not swallow the click. It follows when the edit is taken back.
    create_and_hold("First")
    expect(server).to_contain_text("create one below first")
    external.hover()
    page.mouse.down()
    let_through(refreshes)
    page.mouse.up()
    expect(external).to_be_checked()
    external.uncheck()
    with page.expect_request("**/api/cards/server"):
        external.blur()
    let_through(refreshes)
    expect(server).to_contain_text("Other machines may connect with a key")
    # A refresh does not clear a field that has been edited.
    create_and_hold("Second")
    external.check()
    external.blur()
    let_through(refreshes)
    expect(external).to_be_checked()
    server.get_by_label("Port").fill(str(free_port()))
    # A refresh does not remove the form whose response is pending.
    page.route("**/api/server", lambda route: saves.append(route))
    with page.expect_request("**/api/server"):
        server.get_by_role("button", name="Save").click()
    create_and_hold("Third")
    let_through(refreshes)
    let_through(saves)
    expect(server.locator("> .outcome.warn")).to_contain_text("Takes effect after a restart")


def test_the_outcome_of_an_action_is_shown_when_another_one_has_replaced_the_card(page: Page, gateway: Gateway) -> None:
    login(page, gateway, "/api")
    create(page, "First")
    create(page, "Second")
    held: list[Route] = []
    refreshes: list[Route] = []
    page.route("**/api/keys/revoke", lambda route: held.append(route))
    page.route("**/api/cards/audit", lambda route: refreshes.append(route))
    keys = card(page, "keys")
    keys.get_by_role("button", name="Revoke First").click()
    create(page, "Third")
    release(page, held)
    expect(keys.locator("> .outcome")).to_contain_text("First is revoked")
    # The first answer for the history does not contain the second action. It is requested again.
    release(page, refreshes)
    release(page, refreshes)
    expect(card(page, "audit")).to_contain_text("4 actions")


@pytest.mark.parametrize("port", ["0", "70000", "-1", "", "1e3"])
def test_an_invalid_port_is_rejected(page: Page, gateway: Gateway, port: str) -> None:
    login(page, gateway, "/api")
    field = card(page, "server").get_by_label("Port")
    field.evaluate("(field, port) => { field.type = 'text'; field.removeAttribute('min'); field.value = port; }", port)
    press(card(page, "server"), "Save")
    expect(card(page, "server").locator("> .outcome")).to_contain_text("from 1 to 65535")


def test_the_restart_button_brings_it_back_with_everything(page: Page, browsing: Browsing, server: Scripted) -> None:
    port, browsing.allowed = free_port(), ["ERR_CONNECTION", "ERR_EMPTY", "sendError", "afterRequest"]
    settings = config(server, server={"bind_address": f"127.0.0.1:{port}", "root_path": "/gate"})
    with Gateway(settings, arguments=["--port", str(port)]) as gateway:
        login(page, gateway, "/api")
        key = create(page, "Kept")
        page.goto(gateway.url + "/gate/claude")
        set_targets(page, "haiku", "one/local")
        press(card(page, "aliases"), "Save")
        page.goto(gateway.url + "/gate/api")
        card(page, "server").get_by_label("Allow external access").check()
        press(card(page, "server"), "Save")
        page.locator("#server").get_by_role("button", name="Restart Byway").click()
        expect(page.get_by_role("heading", name="Restarting")).to_be_visible()
        expect(page.get_by_role("heading", name="Keys", level=1)).to_be_visible()
        # The same port, process and login; nothing waits any more, and everything is still there.
        gateway.wait(lambda: gateway.get("/livez").status == 200, what="it is back")
        expect(page.get_by_role("button", name="Restart Byway")).to_have_count(0)
        expect(page.get_by_role("row", name="Kept")).to_be_visible()
        assert asks(gateway, key) == 200 and gateway.post(ASK).status == 401
        page.goto(gateway.url + "/gate/claude")
        expect(alias_field(page, "haiku")).to_have_value("one/local")


def test_another_port_is_where_the_page_goes(page: Page, browsing: Browsing, server: Scripted) -> None:
    browsing.allowed = ["ERR_CONNECTION", "ERR_EMPTY", "sendError", "afterRequest"]
    before, after = free_port(), free_port()
    gateway = Gateway(config(server, server={"bind_address": f"127.0.0.1:{before}"}))
    # No --port, so that the config's counts.
    gateway._arguments = ["--no-model", "--config", str(gateway.file)]
    with gateway:
        login(page, gateway, "/api")
        card(page, "server").get_by_label("Port").fill(str(after))
        press(card(page, "server"), "Save")
        page.locator("#server").get_by_role("button", name="Restart Byway").click()
        expect(page.get_by_text(f"It will listen at port {after}")).to_be_visible()
        page.wait_for_url(f"http://127.0.0.1:{after}/api")
        expect(page.get_by_role("heading", name="Keys", level=1)).to_be_visible()


def test_a_process_that_is_killed_comes_back_with_everything(page: Page, browsing: Browsing, server: Scripted) -> None:
    first = Gateway(config(server)).start()
    try:
        login(page, first, "/api")
        key = create(page, "Kept")
        page.goto(f"{first.url}/claude")
        set_targets(page, "opus", "one/local")
        press(card(page, "aliases"), "Save")
        # A card may be loading when the process dies.
        browsing.allowed = ["ERR_CONNECTION", "ERR_EMPTY", "sendError", "afterRequest"]
        first.kill()
        again = Gateway(first.file.read_text(), environ={"BYWAY_HOME": str(first.home / "data")})
        with again:
            page.goto(again.url + "/api")
            expect(page.get_by_role("row", name="Kept")).to_be_visible()
            assert asks(again, key) == 200
            page.goto(f"{again.url}/claude")
            expect(alias_field(page, "opus")).to_have_value("one/local")
    finally:
        first.discard()
