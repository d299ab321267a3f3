"""The frame of every page in a real browser: the menu, and links to places that have moved."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser import Browsing, alias_field, login, press
from gateway import Gateway, config
from playwright.sync_api import Page, expect
from scripted import Say, Scripted

from byway.ui.palette import ACTIONS, CARDS

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


# --------------------------------------------------------------------------------------------------------------- messages


def test_a_saved_change_is_seen_wherever_the_page_is_and_can_be_undone(page: Page, gateway: Gateway) -> None:
    login(page, gateway, "/claude")
    page.get_by_label("Targets of haiku").fill("one/first")
    press(page.locator("#aliases"), "Save")
    toast = page.locator(".toast")
    expect(toast).to_contain_text("Saved.")
    expect(toast).to_be_in_viewport()
    page.evaluate("scrollTo(0, 0)")
    expect(toast).to_be_in_viewport()
    assert "one/first" in gateway.file.read_text()
    toast.get_by_role("button", name="Undo").click()
    expect(page.locator("#messages")).to_contain_text("Undone.")
    expect(alias_field(page, "haiku")).to_have_value("")
    assert "one/first" not in gateway.file.read_text()
    page.get_by_role("button", name="Close message").click()
    expect(page.locator(".toast")).to_have_count(0)


def test_undo_does_not_overwrite_a_later_change(page: Page, gateway: Gateway) -> None:
    login(page, gateway, "/claude")
    page.get_by_label("Targets of opus").fill("one/first")
    press(page.locator("#aliases"), "Save")
    gateway.file.write_text(gateway.file.read_text().replace("one/first", "one/second"))
    page.locator(".toast").get_by_role("button", name="Undo").click()
    expect(page.locator("#messages .outcome.bad")).to_be_visible()
    assert "one/second" in gateway.file.read_text()


def test_a_message_goes_away_by_escape_and_after_a_while(page: Page, gateway: Gateway) -> None:
    page.clock.install()
    login(page, gateway, "/claude")
    save = page.locator("#aliases").get_by_role("button", name="Save")
    save.click()
    expect(page.locator(".toast")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".toast")).to_have_count(0)
    save.click()
    expect(page.locator(".toast")).to_be_visible()
    page.locator(".toast").hover()
    page.clock.run_for(30_000)
    expect(page.locator(".toast")).to_be_visible()
    page.mouse.move(5, 500)
    page.clock.run_for(30_000)
    expect(page.locator(".toast")).to_have_count(0)


def test_an_error_stays_in_its_card(page: Page, browsing: Browsing, gateway: Gateway) -> None:
    login(page, gateway, "/claude")
    other = login(browsing.page(), gateway, "/claude")
    for browser, target in ((page, "one/first"), (other, "one/second")):
        browser.get_by_label("Targets of sonnet").fill(target)
        press(browser.locator("#aliases"), "Save")
    expect(page.locator(".toast")).to_be_visible()
    expect(other.locator("#aliases > .outcome.bad")).to_be_in_viewport()
    expect(other.locator(".toast")).to_have_count(0)


# ---------------------------------------------------------------------------------------------------------------- palette


def test_ctrl_k_goes_anywhere_by_keyboard_alone(page: Page, gateway: Gateway) -> None:
    login(page, gateway)
    page.keyboard.press("Control+k")
    dialog = page.get_by_role("dialog", name="Search")
    expect(dialog.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("alias")
    expect(dialog.get_by_role("link", name="Model Aliases")).to_be_visible()
    expect(dialog.get_by_role("link", name="Web Search")).to_be_hidden()
    page.keyboard.press("Enter")
    page.wait_for_url("**/claude#aliases")
    page.keyboard.press("Control+k")
    expect(dialog.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("one/lo")
    page.keyboard.press("ArrowDown")
    expect(dialog.get_by_role("region", name="Models").get_by_role("link", name="one/local")).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(dialog.get_by_role("region", name="Aliases").get_by_role("link", name="default")).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(dialog.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type(" nothing like this")
    expect(dialog.get_by_text("Nothing matches.")).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_the_search_button_opens_it_and_actions_are_confirmed(page: Page, gateway: Gateway) -> None:
    login(page, gateway)
    page.get_by_role("link", name="Search").click()
    dialog = page.get_by_role("dialog", name="Search")
    expect(dialog.get_by_role("region", name="Aliases").get_by_role("link", name="default")).to_be_visible()
    expect(dialog.get_by_role("region", name="Models").get_by_role("link", name="one/local")).to_be_visible()
    page.keyboard.type("log out")
    page.keyboard.press("Enter")
    expect(page.get_by_text("This page needs a login")).to_be_visible()


def test_a_question_mark_lists_the_keys(page: Page, gateway: Gateway) -> None:
    login(page, gateway, "/claude")
    page.get_by_label("Targets of haiku").focus()
    page.keyboard.type("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()
    page.get_by_label("Targets of haiku").fill("")
    page.locator("#main").focus()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_contain_text("Search pages")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()


def test_without_javascript_the_search_is_a_page(browsing: Browsing, gateway: Gateway) -> None:
    page = login(browsing.page(java_script_enabled=False), gateway)
    page.get_by_role("link", name="Search").click()
    page.locator("main").get_by_role("link", name="Web Search").click()
    expect(page.get_by_role("heading", name="Claude Code", level=1)).to_be_visible()


def test_every_place_of_the_palette_exists(page: Page, gateway: Gateway) -> None:
    login(page, gateway)
    for item in (*CARDS, *ACTIONS):
        if item.question or item.path.startswith("/byway/"):
            continue
        answer = page.goto(gateway.url + item.path)
        assert answer is None or answer.status == 200, item
        place = item.path.partition("#")[2]
        assert not place or page.locator(f"#{place}").count() == 1, item
