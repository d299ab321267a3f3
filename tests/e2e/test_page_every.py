"""What holds for every page of the menu: accessible, small, usable on a phone, without inline code, with one primary button."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import axe
import pytest
from browser import Browsing, login
from e2e.conftest import ASK
from gateway import Gateway, config
from playwright.sync_api import Page, expect
from scripted import Say, Scripted, openai_error

from byway.ui.menu import MENU, PAGES

#: Pages that the menu does not list.
MORE = ("/models/local", "/models/download", "/models/add", "/models/readiness", "/device", "/news", "/palette")
PATHS = (*(path for path, _ in PAGES), *MORE)
#: Bytes of a page with all that belongs to it.
LARGEST = 250_000
WIDTHS = (1280, 390)
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
#: A name that is as long as names get.
LONG = "openai/gpt-oss-120b-instruct-2507-with-a-very-long-name-indeed"


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    """It has everything to show: good and bad requests, aliases, long names, a backend that is down, a key."""
    with Scripted(lambda request: Say("Hello there.", tokens=(1200, 34)), models=("local", LONG)) as server:
        settings = config(server)
        settings["backends"].append({"name": "down", "type": "generic", "url": "http://127.0.0.1:9", "models": [LONG]})
        settings["model_aliases"] |= {"haiku": f"one/{LONG}", "gpt-*": "one/local", "lost": "no/where"}
        with Gateway(settings) as gateway:
            for _ in range(3):
                gateway.post({**ASK, "stream": True})
            server.play(lambda value: openai_error(400, "this is not good " * 40, "invalid_request_error"))
            gateway.post(ASK)
            server.play(lambda item: Say("Hello there.", tokens=(1200, 34)))
            yield gateway


@pytest.fixture(scope="module")
def state(chromium: Any, gateway: Gateway) -> Iterator[Any]:
    """One login for all tests of this file."""
    browsing = Browsing(chromium)
    page = login(browsing.page(), gateway)
    yield page.context.storage_state()
    browsing.close()


def opened(browsing: Browsing, gateway: Gateway, state: Any, path: str, **options: Any) -> Page:
    page = browsing.page(storage_state=state, **options)
    page.goto(gateway.url + path)
    expect(page.locator("[hx-trigger=load]")).to_have_count(0)
    return page


def violations(page: Page) -> list[str]:
    """All that axe finds, of any impact."""
    if not axe.SCRIPT.exists():
        pytest.skip(axe.missing() or "axe-core is not fetched: python tests/axe.py")
    page.evaluate(axe.SCRIPT.read_text())
    result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{violation['id']} ({violation['impact']}): {violation['help']}: {[node['target'] for node in violation['nodes']][:5]}"
        for violation in result["violations"]
    ]


@pytest.mark.parametrize("path", PATHS)
def test_axe_finds_nothing(browsing: Browsing, gateway: Gateway, state: Any, path: str) -> None:
    for scheme in ("light", "dark"):
        page = opened(browsing, gateway, state, path, color_scheme=scheme)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 844})
            assert violations(page) == [], (scheme, width)


@pytest.mark.parametrize("path", PATHS)
def test_a_phone_needs_no_scrolling_sideways(browsing: Browsing, gateway: Gateway, state: Any, path: str) -> None:
    page = opened(browsing, gateway, state, path, viewport={"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    wide = page.evaluate(
        """() => [...document.querySelectorAll("main *")].filter(item => !item.closest("pre, textarea, .shells > input, svg")
            && item.checkVisibility() && item.getBoundingClientRect().right > innerWidth + 1)
            .map(item => item.outerHTML.slice(0, 120))"""
    )
    assert wide == []


@pytest.mark.parametrize("path", PATHS)
def test_on_a_phone_a_table_is_a_list_of_cards_with_labels(
    browsing: Browsing, gateway: Gateway, state: Any, path: str
) -> None:
    page = opened(browsing, gateway, state, path, viewport={"width": 390, "height": 844})
    for item in page.locator("main summary").all():
        if item.is_visible():
            item.click()
    wrong = page.evaluate(
        """() => [...document.querySelectorAll("main table:has(thead)")].flatMap(table => {
            if (!table.checkVisibility()) return [];
            const head = table.querySelector("thead");
            if (getComputedStyle(head).display !== "none") return ["its head is shown: " + table.outerHTML.slice(0, 120)];
            // The first cell is the title of the card. Every other number needs its name.
            return [...table.querySelectorAll("td.number")].filter(cell => cell.checkVisibility() && cell.textContent.trim()
                && !cell.dataset.name).map(cell => "without a label: " + cell.outerHTML);
        })"""
    )
    assert wrong == []


@pytest.mark.parametrize("path", PATHS)
def test_a_page_has_at_most_one_primary_button(browsing: Browsing, gateway: Gateway, state: Any, path: str) -> None:
    page = opened(browsing, gateway, state, path)
    primary = [item.inner_text() for item in page.locator("button.main, a.button.main").all() if item.is_visible()]
    assert len(primary) <= 1, primary


@pytest.mark.parametrize("path", PATHS)
def test_controls_beside_each_other_have_one_height(
    browsing: Browsing, gateway: Gateway, state: Any, path: str
) -> None:
    page = opened(browsing, gateway, state, path)
    uneven = page.evaluate(
        """() => [...document.querySelectorAll("main .row")].filter(row => row.checkVisibility()).map(row =>
            [...row.querySelectorAll("input:not([type=hidden], [type=checkbox], [type=radio]), select, button, .button")]
            .filter(item => item.checkVisibility() && !item.matches(".quiet, .long, .close, .combo *"))
            .map(item => item.getBoundingClientRect().height))
            .filter(heights => Math.max(...heights) - Math.min(...heights) > 1)"""
    )
    assert uneven == []


@pytest.mark.parametrize("width", [1440, 1920])
def test_the_content_uses_a_wide_window(browsing: Browsing, gateway: Gateway, state: Any, width: int) -> None:
    page = opened(browsing, gateway, state, "/models", viewport={"width": width, "height": 900})
    box = page.locator("main .card").first.bounding_box()
    assert box is not None and box["width"] > 0.75 * width
    page.goto(f"{gateway.url}/api")
    port = page.get_by_label("Port").bounding_box()
    assert port is not None and port["width"] < 160


@pytest.mark.parametrize("path", PATHS)
def test_a_page_is_small_and_has_no_inline_code(browsing: Browsing, gateway: Gateway, state: Any, path: str) -> None:
    page = browsing.page(storage_state=state)
    sizes: list[float] = []
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    network.send("Network.setCacheDisabled", {"cacheDisabled": True})
    network.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    answer = page.goto(gateway.url + path)
    assert answer is not None and answer.status == 200
    expect(page.locator("[hx-trigger=load]")).to_have_count(0)
    assert len(sizes) >= 4 and sum(sizes) < LARGEST, sizes
    assert answer.headers["content-security-policy"] == POLICY
    html = answer.text()
    assert re.findall(r"<script(?![^>]* src=)[^>]*>|<style|\sstyle=|\son\w+=[\"']", html) == []
    assert re.findall(r"(?:src|href)=\"(?:https?:)?//(?![^\"]*\" rel=\"noreferrer)[^\"]*\"", html) == []


@pytest.mark.parametrize(("path", "title"), PAGES)
def test_the_menu_shows_where_the_page_is(
    browsing: Browsing, gateway: Gateway, state: Any, path: str, title: str
) -> None:
    page = opened(browsing, gateway, state, path)
    expect(page.get_by_role("heading", name=title, level=1)).to_be_visible()
    expect(page.locator("#menu [aria-current=page]")).to_have_text(title)
    assert sum(len(group.pages) for group in MENU) == page.locator("#menu nav a").count()
