"""The settings page in a real browser with a keyboard, in a long list and on a phone."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from browser import Browsing, login
from e2e.conftest import ASK
from gateway import Gateway, config
from playwright.sync_api import Page, Route, expect
from scripted import Say, Scripted, openai_error


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    """One with many backends, and with a failed request."""
    with Scripted(lambda request: Say("Hello there.")) as server:
        settings = config(server)
        settings["backends"] += [
            {"name": f"dead-{number:02}", "type": "vllm", "url": "http://127.0.0.1:1", "models": ["m"]}
            for number in range(27)
        ]
        with Gateway(settings) as gateway:
            server.play(lambda request: openai_error(400, "this is not good", "invalid_request_error"))
            gateway.post({**ASK, "model": "claude-" + "very-" * 12 + "long"})
            server.play(lambda request: Say("Hello there."))
            yield gateway


@pytest.fixture(scope="module")
def state(chromium: object, gateway: Gateway) -> Iterator[dict[str, object]]:
    """One login for all tests of this file."""
    browsing = Browsing(chromium)  # type: ignore[arg-type]
    page = login(browsing.page(), gateway)
    yield page.context.storage_state()  # type: ignore[misc]
    browsing.close()


def opened(browsing: Browsing, gateway: Gateway, state: dict[str, object], path: str, **options: object) -> Page:
    page = browsing.page(storage_state=state, **options)
    page.goto(gateway.url + path)
    return page


def press_with_keyboard(page: Page, card: str, name: str) -> None:
    button = page.locator(card).get_by_role("button", name=name, exact=True)
    button.focus()
    page.locator(card).evaluate("card => card.dataset.old = 'yes'")
    page.keyboard.press("Enter")
    expect(page.locator(card)).not_to_have_attribute("data-old", "yes")


@pytest.mark.parametrize(
    ("path", "card", "name"),
    [
        ("/claude", "#endpoint", "Verify"),
        ("/claude", "#quick", "Apply"),
        ("/claude", "#aliases", "Save"),
        ("/claude", "#search", "Save"),
        ("/api", "#server", "Save"),
        ("/models", "#backends-table", "Check one"),
    ],
)
def test_the_focus_stays_on_the_pressed_button(
    browsing: Browsing, gateway: Gateway, state: dict[str, object], path: str, card: str, name: str
) -> None:
    page = opened(browsing, gateway, state, path)
    press_with_keyboard(page, card, name)
    expect(page.locator(card).get_by_role("button", name=name, exact=True)).to_be_focused()


def test_the_answer_for_a_row_of_a_long_list_is_in_view_and_can_be_undone(
    browsing: Browsing, gateway: Gateway, state: dict[str, object]
) -> None:
    page = opened(browsing, gateway, state, "/models", viewport={"width": 1280, "height": 900})
    page.get_by_role("button", name="Remove dead-26").click()
    outcome = page.locator("#backends-table .outcome")
    expect(outcome).to_contain_text("Backend dead-26 removed")
    expect(outcome).to_be_in_viewport()
    page.locator("#backends-table").get_by_role("button", name="Undo").click()
    expect(outcome).to_contain_text("in the config again")
    expect(page.get_by_role("button", name="Remove dead-26")).to_have_count(1)


def test_escape_closes_a_panel(browsing: Browsing, gateway: Gateway, state: dict[str, object]) -> None:
    page = opened(browsing, gateway, state, "/models")
    page.get_by_role("link", name="Edit one").click()
    expect(page.locator("#edit .panel")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#edit .panel")).to_have_count(0)
    page.locator("#kind-vllm").click()
    expect(page.locator("#adder .panel")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#adder .panel")).to_have_count(0)


#: Sends Escape in the task that adds the panel of the adder.
_ESCAPE_AT_ONCE = """() => { window.isPressed = false; new MutationObserver((_, observer) => {
    if (!document.querySelector('#adder .panel')) return;
    observer.disconnect();
    for (const type of ['keydown', 'keyup']) {
        document.activeElement.dispatchEvent(new KeyboardEvent(type, { key: 'Escape', bubbles: true, cancelable: true }));
    }
    window.isPressed = true;
}).observe(document.body, { childList: true, subtree: true }); }"""


def test_escape_closes_a_panel_that_has_just_appeared(
    browsing: Browsing, gateway: Gateway, state: dict[str, object]
) -> None:
    page = opened(browsing, gateway, state, "/models")
    page.evaluate(_ESCAPE_AT_ONCE)
    page.locator("#kind-vllm").click()
    page.wait_for_function("window.isPressed")
    expect(page.locator("#adder .panel")).to_have_count(0)


def test_escape_closes_a_panel_while_another_request_is_pending(
    browsing: Browsing, gateway: Gateway, state: dict[str, object]
) -> None:
    page = opened(browsing, gateway, state, "/models")
    held: list[Route] = []
    page.route("**/models/check", lambda route: held.append(route))
    page.locator("#kind-vllm").click()
    expect(page.locator("#adder .panel")).to_be_visible()
    with page.expect_request("**/models/check"):
        page.get_by_role("button", name="Check one").click()
    page.keyboard.press("Escape")
    expect(page.locator("#adder .panel")).to_have_count(0)
    for route in held:
        route.continue_()
    expect(page.locator("#backends-table .outcome")).to_be_visible()
    expect(page.locator("#adder .panel")).to_have_count(0)


def test_escape_closes_the_panel_of_a_local_model(
    browsing: Browsing, gateway: Gateway, state: dict[str, object]
) -> None:
    page = opened(browsing, gateway, state, "/models")
    page.locator("#files").get_by_role("link", name=re.compile("^(Load|Edit)")).first.click()
    expect(page.locator("#load .panel")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#load .panel")).to_have_count(0)


#: Buttons, and titles of one word, that take more than one line.
_BROKEN = """[...document.querySelectorAll('h1, h2, button:not(.long), .button')].filter(element => {
    const isTitle = element.tagName.startsWith("H");
    if (!element.offsetParent || (isTitle && element.textContent.trim().includes(" "))) return false;
    const style = getComputedStyle(element);
    const inner = element.clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom);
    return inner > 1.7 * parseFloat(style.lineHeight);
}).map(element => element.textContent.trim())"""


@pytest.mark.parametrize("path", ["/", "/models", "/api", "/requests"])
def test_on_a_phone_no_word_is_broken_and_the_menu_shows_the_page(
    browsing: Browsing, gateway: Gateway, state: dict[str, object], path: str
) -> None:
    page = opened(browsing, gateway, state, path, viewport={"width": 390, "height": 844})
    assert page.evaluate(_BROKEN) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    expect(page.locator("nav [aria-current]")).to_be_in_viewport()
    if path == "/":
        first, copy = page.locator("#text-bash"), page.locator(".of-bash .copy")
        text, button = first.bounding_box(), copy.bounding_box()
        assert text and button and button["y"] >= text["y"] + text["height"], "it does not cover the first line"
    if path == "/requests":
        row = page.locator("#table tbody tr").first
        expect(row.locator("[data-name=Target]")).to_be_visible()
        expect(row.locator("[data-name=Total]")).to_be_visible()
        box = row.locator("[data-name=Requested]").bounding_box()
        assert box and box["width"] > 250, "not one letter per line"
