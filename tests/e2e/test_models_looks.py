"""The page Models and the page that adds a backend: accessibility, keyboard, size, in each state."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser import Browsing, login
from e2e.test_page_looks import look
from gateway import Gateway, config
from playwright.sync_api import Page, expect
from scripted import Say, Scripted

PATHS = (
    "/models",
    "/models/local",
    "/models/download",
    "/models/add",
    "/models/add?type=openai",
    "/models/add?type=vllm",
)
#: Bytes that a page may take, with all that belongs to it.
LARGEST = 250_000


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    """One with a backend of each state, and with long names."""
    with Scripted(lambda request: Say("Hello there."), models=["qwen3:8b", "phi4"]) as server:
        settings = config(server)
        settings["backends"] += [
            *({"name": f"dead-{number:02}", "type": "vllm", "url": "http://127.0.0.1:1"} for number in range(12)),
            {"name": "a-long-name-" * 6 + "end", "type": "generic", "url": server.url},
            {"name": "openai", "type": "openai", "api_key": "${BYWAY_TEST_NOT_SET}"},
        ]
        with Gateway(settings) as gateway:
            yield gateway


def opened(browsing: Browsing, gateway: Gateway, path: str, **options: object) -> Page:
    return login(browsing.page(**options), gateway, path)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browsing: Browsing, gateway: Gateway, scheme: str) -> None:
    page = opened(browsing, gateway, "/models", color_scheme=scheme)
    for path in PATHS:
        page.goto(gateway.url + path)
        expect(page.locator("[hx-trigger=load]")).to_have_count(0)
        assert look(page) == [], path
    page.goto(gateway.url + "/models")
    page.get_by_label("Actions of dead-00").click()
    page.locator(".fault summary").first.click()
    assert look(page) == []


def test_tabs_are_links_that_the_keyboard_reaches(browsing: Browsing, gateway: Gateway) -> None:
    page = opened(browsing, gateway, "/models")
    tabs = page.get_by_role("navigation", name="Parts of Models")
    for name, path in {"Local": "/models/local", "Download": "/models/download", "Backends": "/models"}.items():
        tabs.get_by_role("link", name=name).focus()
        page.keyboard.press("Enter")
        expect(page).to_have_url(gateway.url + path)
        expect(tabs.locator("[aria-current=page]")).to_have_text(name)


@pytest.mark.parametrize("width", [390, 820])
def test_a_phone_needs_no_scrolling_sideways(browsing: Browsing, gateway: Gateway, width: int) -> None:
    page = opened(browsing, gateway, "/models", viewport={"width": width, "height": 844})
    for path in (*PATHS, "/models?all=1"):
        page.goto(gateway.url + path)
        expect(page.locator("[hx-trigger=load]")).to_have_count(0)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path


@pytest.mark.parametrize("path", PATHS[:4])
def test_a_page_has_one_primary_button_at_most_and_is_small(browsing: Browsing, gateway: Gateway, path: str) -> None:
    page = opened(browsing, gateway, "/login")
    sizes: list[float] = []
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    network.send("Network.setCacheDisabled", {"cacheDisabled": True})
    network.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page.goto(gateway.url + path)
    expect(page.locator("[hx-trigger=load]")).to_have_count(0)
    assert len(sizes) >= 4 and sum(sizes) < LARGEST, sizes
    assert page.locator("main .main").count() <= 1
