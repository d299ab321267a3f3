"""The page Remote access in a real browser: a link as a QR code, and logins that end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser import Browsing, another, login, press
from gateway import Gateway, config
from playwright.sync_api import Page, expect
from scripted import Say, Scripted

from byway.ui.qr import qr_path

KEY = "sk-byway-test-key-0123456789abcdef"


@pytest.fixture(scope="module")
def server() -> Iterator[Scripted]:
    with Scripted(lambda request: Say("Hello there.")) as server:
        yield server


@pytest.fixture
def gateway(server: Scripted) -> Iterator[Gateway]:
    settings = config(server, api_keys={"api_keys": [{"id": "ada", "key": KEY}]})
    with Gateway(settings, arguments=["--host", "0.0.0.0"]) as gateway:
        yield gateway


def test_a_link_is_shown_as_a_qr_code_and_logs_in_once(browsing: Browsing, gateway: Gateway) -> None:
    page = login(browsing.page(), gateway, "/remote")
    expect(page.locator("#connect .state").first).to_have_text("reachable")
    press(page.locator("#connect"), "Create a link")
    expect(page.get_by_role("img", name="QR code of the link")).to_be_visible()
    url = page.locator("#login-link").text_content() or ""
    place, _, token = url.partition("/login?token=")
    assert place.startswith("http://") and place.endswith(f":{gateway.port}") and "127.0.0.1" not in place and token
    assert page.locator("svg.qr path.dark").get_attribute("d") == qr_path(url)[1]
    # Another browser.
    other = browsing.page()
    other.goto(url.replace(place, gateway.url))
    expect(other.get_by_role("heading", level=1)).to_have_text("Overview")


def test_one_login_is_ended_and_then_all_others(browsing: Browsing, gateway: Gateway) -> None:
    page = login(browsing.page(), gateway, "/remote")
    others = [browsing.page() for _ in range(3)]
    for other in others:
        other.goto(another(gateway))
    page.reload()
    rows = page.locator("#logins tbody tr")
    expect(rows).to_have_count(4)
    expect(rows.first).to_contain_text("this browser")
    rows.nth(1).get_by_role("button", name="End the login").click()
    expect(rows).to_have_count(3)
    press(page.locator("#logins"), "Log out all others")
    expect(page.locator("#logins .outcome")).to_contain_text("2 other logins ended.")
    expect(rows).to_have_count(1)
    others[0].goto(gateway.url + "/models")
    expect(
        others[0].get_by_text("This page needs a link").or_(others[0].get_by_text("byway page")).first
    ).to_be_visible()


def test_log_out_everywhere_ends_this_login_too(page: Page, gateway: Gateway) -> None:
    login(page, gateway, "/remote")
    page.get_by_role("button", name="Log out everywhere").click()
    page.wait_for_url("**/login")
    page.goto(gateway.url + "/remote")
    expect(page.get_by_role("heading", name="Remote access")).to_have_count(0)


def test_a_byway_on_loopback_says_what_to_do(page: Page, server: Scripted) -> None:
    with Gateway(config(server)) as gateway:
        login(page, gateway, "/remote")
        expect(page.locator("#connect .state")).to_have_text("this machine only")
        expect(page.locator("#tunnel")).to_contain_text(f"ssh -L {gateway.port}:127.0.0.1:{gateway.port}")
        expect(page.get_by_role("button", name="Create a link")).to_have_count(0)
