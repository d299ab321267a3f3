"""Can everybody use the settings page? axe, keyboard, a phone's width, no jumps, few bytes; in light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import axe
import pytest
from browser import Browsing, login, press
from e2e.conftest import ASK
from gateway import Gateway, config
from playwright.sync_api import Page, expect
from scripted import Say, Scripted, openai_error

from byway.server.routes import ROUTES
from byway.ui.menu import PAGES

CLOSED = {route[:2] for route in ROUTES if route.scope in ("admin", "account")}
PATHS = [path for path, _ in PAGES if path == "/" or ("GET", path) in CLOSED]
#: Bytes that a page may take, with all that belongs to it.
LARGEST = 200_000
#: Adds up what moves without being asked (https://web.dev/articles/cls, seen 2026-11-21).
_SHIFTS = """window.shifts = 0; new PerformanceObserver(list => {
    for (const entry of list.getEntries()) window.shifts += entry.value;
}).observe({type: 'layout-shift', buffered: true});"""


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    """One that has everything to show: keys, versions, aliases, requests good and bad."""
    with Scripted(lambda request: Say("Hello there.", tokens=(1200, 34))) as server:
        settings = config(server, web_search={"enabled": True, "provider": "searxng", "base_url": server.url})
        settings["model_aliases"] |= {"haiku": "one/local", "gpt-*": "one/local", "lost": "no/where"}
        with Gateway(settings) as gateway:
            gateway.post(ASK)
            server.play(lambda value: openai_error(400, "this is not good", "invalid_request_error"))
            gateway.post(ASK)
            server.play(lambda item: Say("Hello there."))
            yield gateway


def opened(browsing: Browsing, gateway: Gateway, path: str, **options: Any) -> Page:
    return login(browsing.page(**options), gateway, path)


def look(page: Page) -> list[str]:
    """What axe finds serious or critical."""
    if not axe.SCRIPT.exists():
        pytest.skip(axe.missing() or f"axe-core is not fetched: {axe.__doc__}")
    page.evaluate(axe.SCRIPT.read_text())
    result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{violation['id']} ({violation['impact']}): {violation['help']}: {[node['target'] for node in violation['nodes']][:5]}"
        for violation in result["violations"]
        if violation["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browsing: Browsing, gateway: Gateway, scheme: str) -> None:
    page = opened(browsing, gateway, "/", color_scheme=scheme)
    for path in (
        *PATHS,
        "/device",
        "/requests/1",
        "/requests/2",
        "/config/versions/1",
        "/news",
        "/login",
        "/requests/0",
    ):
        page.goto(gateway.url + path)
        assert look(page) == [], path
    # What comes of actions, good and bad.
    page.goto(f"{gateway.url}/claude")
    press(page.locator("#endpoint"), "Verify")
    press(page.locator("#quick"), "Apply")
    press(page.locator("#search"), "Test")
    page.get_by_label("Model name that a client sends").fill("gpt-9")
    expect(page.locator("#resolved .outcome")).to_be_visible()
    page.get_by_label("Serper").check()
    page.get_by_label("Type it here").check()
    assert look(page) == []
    page.goto(gateway.url + "/api")
    page.locator("#server").get_by_label("Allow external access").check()
    press(page.locator("#server"), "Save")
    for item in page.locator("summary").all():
        item.click()
    assert look(page) == []


@pytest.mark.parametrize("path", PATHS)
def test_every_control_is_reached_by_tab_and_seen(browsing: Browsing, gateway: Gateway, path: str) -> None:
    page = opened(browsing, gateway, path)
    # Parts that are loaded after the page would replace controls that are counted here.
    expect(page.locator("[hx-trigger=load]")).to_have_count(0)
    wanted = page.evaluate(
        """() => {
            const all = [...document.querySelectorAll("a[href], button, input, select, summary, textarea, [tabindex='0']")];
            const seen = all.filter(one => one.type !== "hidden" && !one.disabled
                && one.checkVisibility({visibilityProperty: true}));
            seen.forEach((one, at) => { one.dataset.at = at; });
            // Of radio buttons with one name Tab reaches the checked one, and arrows the others.
            return seen.filter(one => one.type !== "radio" || one.checked).map(one => one.dataset.at);
        }"""
    )
    reached = []
    for _ in range(len(wanted) + 3):
        page.keyboard.press("Tab")
        result = page.evaluate(
            """() => {
                const one = document.activeElement;
                if (one === document.body) return null;
                const lit = element => {
                    const style = element && getComputedStyle(element);
                    return style && style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
                };
                const tabs = one.name === "shell" && one.parentElement.querySelector(".tabs");
                return [one.dataset.at ?? "?", Boolean(lit(one) || lit(tabs)), one.outerHTML.slice(0, 120)];
            }"""
        )
        if result is None:
            break
        reached.append(result[0])
        assert result[1], f"no focus is seen at {result[2]}"
    missed = [at for at in wanted if at not in reached]
    assert not missed, page.locator(f"[data-at='{missed[0]}']").evaluate("one => one.outerHTML")
    assert reached == sorted(reached, key=int), "the order is that of the page"


def test_forms_work_by_keyboard_alone(browsing: Browsing, gateway: Gateway) -> None:
    page = opened(browsing, gateway, "/claude")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.locator("#shell-bash").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".of-fish pre")).to_be_visible()
    page.get_by_label("Model", exact=True).first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#endpoint > .outcome")).to_be_visible()


@pytest.mark.parametrize("width", [390, 820])
def test_a_phone_needs_no_scrolling_sideways(browsing: Browsing, gateway: Gateway, width: int) -> None:
    page = opened(browsing, gateway, "/", viewport={"width": width, "height": 844})
    for path in (*PATHS, "/requests/2", "/config/versions/1", "/login"):
        page.goto(gateway.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        wide = page.evaluate(
            """() => [...document.querySelectorAll("main *")].filter(one => !one.closest(".scroll, pre, .shells > input, svg")
                && one.checkVisibility() && one.getBoundingClientRect().right > innerWidth + 1)
                .map(one => one.outerHTML.slice(0, 100))"""
        )
        assert wide == [], (path, wide[:3])


@pytest.mark.parametrize("path", PATHS)
def test_nothing_jumps(browsing: Browsing, gateway: Gateway, path: str) -> None:
    page = opened(browsing, gateway, "/")
    page.add_init_script(_SHIFTS)
    page.goto(gateway.url + path, wait_until="networkidle") if path != "/requests" else page.goto(gateway.url + path)
    page.wait_for_timeout(300)
    assert page.evaluate("window.shifts") < 0.02
    if path == "/claude":
        press(page.locator("#endpoint"), "Verify")
        page.wait_for_timeout(200)
    elif path == "/requests":
        gateway.post(ASK)
        page.wait_for_timeout(2500)
    elif path == "/trouble":
        press(page.locator("#all"), "Check again")
        page.wait_for_timeout(200)
    assert page.evaluate("window.shifts") < 0.02


@pytest.mark.parametrize("path", PATHS)
def test_a_whole_page_is_small(browsing: Browsing, gateway: Gateway, path: str) -> None:
    page = opened(browsing, gateway, "/login")
    sizes: list[float] = []
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    network.send("Network.setCacheDisabled", {"cacheDisabled": True})
    network.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page.goto(gateway.url + path)
    page.wait_for_timeout(200)
    assert len(sizes) >= 4 and sum(sizes) < LARGEST, sizes


def test_it_can_be_read_and_used_without_javascript(browsing: Browsing, gateway: Gateway) -> None:
    page = opened(browsing, gateway, "/", java_script_enabled=False)
    for path, name in PAGES:
        if path in PATHS:
            page.goto(gateway.url + path)
            expect(page.get_by_role("heading", name=name, level=1)).to_be_visible()
    page.goto(f"{gateway.url}/claude")
    page.locator("#endpoint").get_by_role("button", name="Verify").click()
    expect(page.get_by_text("Connected")).to_be_visible()
    page.get_by_label("Targets of opus").fill("one/plain")
    page.locator("#aliases").get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    assert "one/plain" in gateway.file.read_text()
