"""The settings page in a real browser with a keyboard, in a long list and on a phone."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from browser import Browsing, act, login
from e2e.conftest import ASK
from gateway import Gateway, config
from playwright.sync_api import Page, Route, expect
from scripted import Say, Scripted, openai_error

from byway.admin.backends import KINDS


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
    ],
)
def test_the_focus_stays_on_the_pressed_button(
    browsing: Browsing, gateway: Gateway, state: dict[str, object], path: str, card: str, name: str
) -> None:
    page = opened(browsing, gateway, state, path)
    press_with_keyboard(page, card, name)
    expect(page.locator(card).get_by_role("button", name=name, exact=True)).to_be_focused()


def test_the_focus_returns_to_the_menu_whose_action_was_used(
    browsing: Browsing, gateway: Gateway, state: dict[str, object]
) -> None:
    page = opened(browsing, gateway, state, "/models?q=one")
    menu = page.locator("details.actions").first
    menu.locator("summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    expect(page.get_by_label("Check one")).to_be_focused()
    page.keyboard.press("Escape")
    expect(menu.locator("summary")).to_be_focused()
    assert menu.get_attribute("open") is None
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#backends-table .outcome")).to_contain_text("one is ready")
    expect(page.get_by_label("Actions of one")).to_be_focused()


def test_a_click_elsewhere_closes_a_menu(browsing: Browsing, gateway: Gateway, state: dict[str, object]) -> None:
    page = opened(browsing, gateway, state, "/models")
    page.get_by_label("Actions of dead-00").click()
    page.get_by_label("Actions of dead-05").click()
    expect(page.locator("details.actions[open]")).to_have_count(1)
    page.get_by_role("heading", name="Models", level=1).click()
    expect(page.locator("details.actions[open]")).to_have_count(0)


def test_failed_backends_are_first_and_a_long_list_is_folded_and_filtered(
    browsing: Browsing, gateway: Gateway, state: dict[str, object]
) -> None:
    page = opened(browsing, gateway, state, "/models")
    rows = page.locator("#backends-table tbody tr")
    expect(rows).to_have_count(10)
    expect(rows.first).to_contain_text("dead-00")
    expect(rows.first.locator(".why")).to_have_text("Cannot be reached: Connection refused.")
    rows.first.get_by_text("details").click()
    expect(rows.first).to_contain_text("Backend 'dead-00'")
    expect(page.locator("#backends-rows")).to_contain_text("10 of 28 backends, 27 failed.")
    page.get_by_role("link", name="Show all 28").click()
    expect(rows).to_have_count(28)
    expect(rows.last).to_contain_text("one")
    # An action keeps what is shown.
    act(page, "dead-26", "Check")
    expect(page.locator("#backends-table .outcome")).to_contain_text("dead-26")
    expect(rows).to_have_count(28)
    page.get_by_label("Filter backends").fill("ready ONE")
    expect(rows).to_have_count(1)
    act(page, "one", "Check")
    expect(page.locator("#backends-table .outcome")).to_contain_text("one is ready")
    expect(rows).to_have_count(1)
    page.get_by_label("Filter backends").fill("no such")
    expect(page.locator("#backends-rows")).to_contain_text("No backend matches")


def test_the_answer_for_a_row_of_a_long_list_is_in_view_and_can_be_undone(
    browsing: Browsing, gateway: Gateway, state: dict[str, object]
) -> None:
    page = opened(browsing, gateway, state, "/models?all=1", viewport={"width": 1280, "height": 900})
    act(page, "dead-26", "Remove")
    outcome = page.locator("#backends-table .outcome")
    expect(outcome).to_contain_text("Backend dead-26 removed")
    expect(outcome).to_be_in_viewport()
    page.locator("#backends-table").get_by_role("button", name="Undo").click()
    expect(page.locator("#messages")).to_contain_text("Undone.")
    expect(page.get_by_label("Remove dead-26")).to_have_count(1)


def test_escape_closes_a_panel(browsing: Browsing, gateway: Gateway, state: dict[str, object]) -> None:
    page = opened(browsing, gateway, state, "/models?q=one")
    act(page, "one", "Edit")
    expect(page.locator("#edit .panel")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#edit .panel")).to_have_count(0)
    page.goto(gateway.url + "/models/add?type=vllm")
    page.keyboard.press("Escape")
    expect(page.locator(".gallery")).to_be_visible()


#: Sends Escape in the task that adds the panel of the editor.
_ESCAPE_AT_ONCE = """() => { new MutationObserver((_, observer) => {
    if (!document.querySelector('#edit .panel')) return;
    observer.disconnect();
    for (const type of ['keydown', 'keyup']) {
        document.activeElement.dispatchEvent(new KeyboardEvent(type, { key: 'Escape', bubbles: true, cancelable: true }));
    }
    document.body.dataset.pressed = 'yes';
}).observe(document.body, { childList: true, subtree: true }); }"""


def test_escape_closes_a_panel_that_has_just_appeared(
    browsing: Browsing, gateway: Gateway, state: dict[str, object]
) -> None:
    page = opened(browsing, gateway, state, "/models?q=one")
    page.evaluate(_ESCAPE_AT_ONCE)
    act(page, "one", "Edit")
    expect(page.locator("body")).to_have_attribute("data-pressed", "yes")
    expect(page.locator("#edit .panel")).to_have_count(0)


def test_escape_closes_a_panel_while_another_request_is_pending(
    browsing: Browsing, gateway: Gateway, state: dict[str, object]
) -> None:
    page = opened(browsing, gateway, state, "/models?q=one")
    held: list[Route] = []
    page.route("**/models/check", lambda route: held.append(route))
    act(page, "one", "Edit")
    expect(page.locator("#edit .panel")).to_be_visible()
    with page.expect_request("**/models/check"):
        page.get_by_role("button", name="Check all").click()
    page.keyboard.press("Escape")
    expect(page.locator("#edit .panel")).to_have_count(0)
    for route in held:
        route.continue_()
    expect(page.locator("#backends-table .outcome")).to_be_visible()
    expect(page.locator("#edit .panel")).to_have_count(0)


def test_escape_closes_the_panel_of_a_local_model(
    browsing: Browsing, gateway: Gateway, state: dict[str, object]
) -> None:
    page = opened(browsing, gateway, state, "/models/local")
    page.locator("#files").get_by_role("link", name=re.compile("^(Load|Edit)")).first.click()
    expect(page.locator("#load .panel")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#load .panel")).to_have_count(0)


def test_the_gallery_lists_every_type_and_is_searched(
    browsing: Browsing, gateway: Gateway, state: dict[str, object]
) -> None:
    page = opened(browsing, gateway, state, "/models/add")
    names = page.locator(".tiles .name")
    expect(names).to_have_count(len(KINDS))
    for name, kind in KINDS.items():
        tile = page.locator(".tiles li").filter(has=page.locator(f"#kind-{name}"))
        expect(tile).to_contain_text(kind.secret or kind.url or "any address")
        if kind.signup:
            expect(tile.locator("a.external")).to_have_attribute("href", kind.signup)
    page.get_by_label("Search types").fill("glm")
    expect(page.locator(".tiles li:visible .name")).to_have_text(["Z.ai (GLM)", "GLM Coding Plan"])
    expect(page.get_by_role("heading", name="Clouds")).to_be_visible()
    expect(page.get_by_role("heading", name="Model servers")).to_be_hidden()
    page.get_by_label("Search types").fill("no such vendor")
    expect(page.get_by_text("No type matches.")).to_be_visible()
    page.get_by_label("Search types").fill("BYWAY_GROQ")
    page.locator("#kind-groq").click()
    expect(page.get_by_role("heading", name="Groq")).to_be_visible()
    expect(page.get_by_label("Key", exact=True)).to_be_focused()


#: Buttons, and titles of one word, that take more than one line.
_BROKEN = """[...document.querySelectorAll('h1, h2, button:not(.long), .button')].filter(element => {
    const isTitle = element.tagName.startsWith("H");
    if (!element.offsetParent || (isTitle && element.textContent.trim().includes(" "))) return false;
    const style = getComputedStyle(element);
    const inner = element.clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom);
    return inner > 1.7 * parseFloat(style.lineHeight);
}).map(element => element.textContent.trim())"""


@pytest.mark.parametrize(
    "path", ["/", "/claude", "/models", "/models/local", "/models/download", "/models/add", "/api", "/requests"]
)
def test_on_a_phone_no_word_is_broken_and_the_menu_shows_the_page(
    browsing: Browsing, gateway: Gateway, state: dict[str, object], path: str
) -> None:
    page = opened(browsing, gateway, state, path, viewport={"width": 390, "height": 844})
    assert page.evaluate(_BROKEN) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("button", name="Menu").click()
    expect(page.locator("#menu [aria-current]")).to_be_in_viewport()
    page.get_by_role("button", name="Menu").click()
    if path == "/claude":
        first, copy = page.locator("#text-bash"), page.locator(".of-bash .copy")
        text, button = first.bounding_box(), copy.bounding_box()
        assert text and button and button["y"] >= text["y"] + text["height"], "it does not cover the first line"
    if path == "/requests":
        row = page.locator("#table tbody tr").first
        expect(row.locator("[data-name=Target]")).to_be_visible()
        expect(row.locator("[data-name=Total]")).to_be_visible()
        box = row.locator("[data-name=Requested]").bounding_box()
        assert box and box["width"] > 250, "not one letter per line"
