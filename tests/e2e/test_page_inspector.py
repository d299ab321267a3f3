"""The page Requests and the inspector in a real browser: every function is clicked."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from browser import Browsing, login
from e2e.conftest import ASK
from e2e.test_page_looks import look
from gateway import Gateway, config
from playwright.sync_api import Locator, Page, expect
from scripted import Asked, Reply, Say, Scripted, openai_error

SESSION = "8f1d0c7a-3c54-4f0e-9a53-2f2f1c0e7b11"
OTHER = "77aa00bb-3c54-4f0e-9a53-2f2f1c0e7b11"
AGENT = {"user-agent": "claude-cli/2.1.329 (external, cli)"}


def play(request: Asked) -> Reply | Say:
    if b"fail" in request.body:
        return openai_error(400, "this `field` cannot be\n" + "because of a long reason " * 30, "invalid_request_error")
    return Say("Hello there.", tokens=(1200, 34), gap=0.01)


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted(play) as server:
        yield server


@pytest.fixture
def gateway(server: Scripted) -> Iterator[Gateway]:
    with Gateway(config(server)) as gateway:
        yield gateway


def ask(gateway: Gateway, model: str = "claude-opus-5-5", session: str = SESSION, text: str = "hi") -> None:
    body = {**ASK, "model": model, "stream": True, "messages": [{"role": "user", "content": text}]}
    gateway.post(body, headers={"x-claude-code-session-id": session, **AGENT})


def rows(page: Page) -> Locator:
    return page.locator("#table [data-row]")


# ------------------------------------------------------------------------------------------------------------- the list


def test_filters_search_and_groups_choose_what_is_listed(page: Page, gateway: Gateway) -> None:
    for _ in range(12):
        ask(gateway)
    ask(gateway, "claude-haiku-4-5", OTHER)
    ask(gateway, "claude-haiku-4-5", OTHER, "fail")
    login(page, gateway, "/requests")
    expect(rows(page)).to_have_count(14)
    expect(page.locator(".sums")).to_contain_text("14 requests · 1 failed · 15,600 tokens in · 442 tokens out")
    page.get_by_label("Failed only").check()
    expect(rows(page)).to_have_count(1)
    expect(page).to_have_url(re.compile(r"/requests\?failed=on$"))
    page.get_by_label("Failed only").uncheck()
    page.get_by_role("combobox", name="Model").select_option("claude-haiku-4-5")
    expect(rows(page)).to_have_count(2)
    page.get_by_role("combobox", name="Model").select_option("")
    page.get_by_role("combobox", name="Session").select_option(SESSION)
    expect(rows(page)).to_have_count(12)
    # What the list shows can be opened by its address, and without the script too.
    page.reload()
    expect(rows(page)).to_have_count(12)
    expect(page.get_by_role("combobox", name="Session")).to_have_value(SESSION)
    page.get_by_role("combobox", name="Session").select_option("")
    page.get_by_role("combobox", name="Client").select_option("claude-cli")
    expect(rows(page)).to_have_count(14)
    page.get_by_label("Search").press_sequentially("CANNOT be")
    expect(rows(page)).to_have_count(1)
    page.get_by_label("Search").fill("no such thing")
    expect(page.get_by_text("No request matches the filter.")).to_be_visible()
    page.get_by_role("link", name="Show all requests").click()
    page.get_by_label("Group by session").check()
    expect(page.locator(".group")).to_have_count(2)
    expect(page.locator(".group").first).to_contain_text("Session 77aa00bb claude-cli · 2 requests · 1 failed")
    expect(rows(page)).to_have_count(12)
    page.get_by_role("link", name="All 12 requests of this session").click()
    expect(rows(page)).to_have_count(12)


def test_a_paused_list_stays_and_shows_how_many_are_new(page: Page, gateway: Gateway) -> None:
    ask(gateway)
    login(page, gateway, "/requests")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".sums")).to_contain_text("Paused")
    ask(gateway, "claude-haiku-4-5")
    page.get_by_label("Failed only").check()
    expect(rows(page)).to_have_count(0)
    page.get_by_label("Failed only").uncheck()
    expect(page.locator(".sums")).to_contain_text("Paused, 1 new")
    expect(rows(page)).to_have_count(1)
    page.get_by_role("button", name="Resume").click()
    expect(rows(page)).to_have_count(2)
    ask(gateway)
    expect(rows(page)).to_have_count(3)


def test_a_long_error_is_one_line_that_opens_and_stays_open(page: Page, gateway: Gateway) -> None:
    ask(gateway, text="fail")
    login(page, gateway, "/requests")
    error = page.locator(".why details")
    box = error.bounding_box()
    assert box is not None and box["height"] < 40
    error.locator("summary").click()
    expect(error).to_have_attribute("open", "")
    ask(gateway)
    expect(rows(page)).to_have_count(2)
    expect(page.locator(".why details")).to_have_attribute("open", "")
    assert page.locator(".drawer").count() == 0, "a click on the error opens the error only"


# ------------------------------------------------------------------------------------------------------------ the drawer


def test_a_row_opens_a_drawer_that_the_keyboard_closes(page: Page, gateway: Gateway) -> None:
    ask(gateway)
    login(page, gateway, "/requests")
    page.locator("#table tbody td").nth(3).click()
    drawer = page.locator(".drawer")
    expect(drawer.get_by_role("heading", name="claude-opus-5-5")).to_be_focused()
    for name in ("First token", "Stream"):
        expect(drawer.locator(".phases")).to_contain_text(name)
    expect(drawer.locator(".attempts li")).to_have_count(1)
    expect(drawer.locator(".attempts")).to_contain_text("one/local")
    # It stays while the list is updated.
    ask(gateway)
    expect(rows(page)).to_have_count(2)
    expect(drawer).to_be_visible()
    page.keyboard.press("Escape")
    expect(drawer).to_have_count(0)
    rows(page).first.focus()
    page.keyboard.press("Enter")
    expect(drawer).to_be_visible()
    drawer.get_by_role("button", name="Close").click()
    expect(drawer).to_have_count(0)
    expect(rows(page).first).to_be_focused()


def test_failed_attempts_are_listed_with_their_reasons(page: Page, server: Scripted) -> None:
    with (
        Scripted(lambda request: openai_error(503, "The model is busy", "overloaded")) as down,
        Gateway(config(down, server)) as gateway,
    ):
        ask(gateway)
        login(page, gateway, "/requests")
        expect(page.locator("#table")).to_contain_text("2 attempts")
        rows(page).first.click()
        attempts = page.locator(".attempts li")
        expect(attempts).to_have_count(2)
        expect(attempts.first).to_contain_text("503")
        expect(attempts.first).to_contain_text("one/local")
        expect(attempts.nth(1)).to_contain_text("two/local")
        expect(page.locator(".phases")).to_contain_text("Failed attempts")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_list_and_the_drawer_are_accessible_and_fit(
    browsing: Browsing, gateway: Gateway, scheme: str, width: int
) -> None:
    ask(gateway)
    ask(gateway, text="fail")
    page = login(browsing.page(color_scheme=scheme, viewport={"width": width, "height": 844}), gateway, "/requests")
    assert look(page) == []
    page.goto(f"{gateway.url}/requests?group=session")
    assert look(page) == []
    rows(page).first.click()
    expect(page.locator(".drawer")).to_be_visible()
    assert look(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
