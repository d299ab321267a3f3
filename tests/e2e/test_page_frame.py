"""The frame of every page in a real browser: the menu, and links to places that have moved."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser import Browsing, login
from gateway import Gateway, config
from playwright.sync_api import Page, expect
from scripted import Say, Scripted

PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Scripted(lambda request: Say("Hello there.")) as server, Gateway(config(server)) as gateway:
        yield gateway


@pytest.mark.parametrize("place", ["endpoint", "quick", "aliases", "search"])
def test_an_old_link_to_a_card_leads_to_its_new_page(page: Page, gateway: Gateway, place: str) -> None:
    login(page, gateway)
    page.goto(f"{gateway.url}/#{place}")
    page.wait_for_url(f"{gateway.url}/claude#{place}")
    expect(page.locator(f"#{place}")).to_be_in_viewport()


def test_the_menu_names_its_groups(page: Page, gateway: Gateway) -> None:
    login(page, gateway)
    menu = page.get_by_role("navigation", name="Pages")
    assert menu.get_by_role("heading").all_inner_texts() == ["USE", "SET UP", "HELP"]
    expect(menu.get_by_role("list", name="Use").get_by_role("link", name="Overview")).to_have_attribute(
        "aria-current", "page"
    )
    expect(page.get_by_role("button", name="Menu")).to_have_count(0)


def test_on_a_phone_a_button_opens_the_menu(browsing: Browsing, gateway: Gateway) -> None:
    page = login(browsing.page(viewport=PHONE), gateway)
    menu, button = page.get_by_role("navigation", name="Pages"), page.get_by_role("button", name="Menu")
    expect(menu).to_have_count(0)
    button.click()
    expect(button).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("Escape")
    expect(menu).to_have_count(0)
    expect(button).to_be_focused()
    page.keyboard.press("Space")
    menu.get_by_role("link", name="Usage").click()
    expect(page.get_by_role("heading", name="Usage", level=1)).to_be_visible()


def test_on_a_phone_the_menu_opens_without_javascript(browsing: Browsing, gateway: Gateway) -> None:
    page = login(browsing.page(viewport=PHONE, java_script_enabled=False), gateway)
    page.get_by_role("link", name="Menu").click()
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Claude Code").click()
    expect(page.get_by_role("heading", name="Claude Code", level=1)).to_be_visible()
