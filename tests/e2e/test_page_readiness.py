"""The tab Readiness of the page Models, and the verdict in Quick Setup and in the table of backends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import scripted
from browser import Browsing, login
from e2e.test_page_looks import look
from gateway import Gateway, config
from playwright.sync_api import Page, expect
from probed import kind, strong, weak
from scripted import Say, Scripted

from byway.admin.probes import PROBES

pytestmark = pytest.mark.real


def script(request: scripted.Asked) -> Say | scripted.Reply:
    """The model `strong` passes everything, `chatty` writes calls as text, `broken` rejects the key."""
    model = request.json["model"]
    if model == "broken":
        return scripted.openai_error(401, "bad key", "invalid_request_error")
    if model == "chatty":
        text = Say("<call>get_weather(Oslo)</call>")
        return weak(tool_call=text, parallel=text, tool_result=Say("Hm."), image=Say("No picture."))(request)
    if kind(request) == "tool_result" and not hold.is_set():
        return Say("It is 17 degrees.", edit=lambda steps: [hold, *steps])
    return strong(request)


hold = scripted.Gate()


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Scripted(script, models=("strong", "chatty", "broken")) as server:
        settings: dict[str, Any] = config(server)
        settings["backends"][0]["models"] = ["strong", "chatty", "broken"]
        settings["model_aliases"] = {"default": "one/strong"}
        with Gateway(settings) as running:
            yield running
        hold.set()


def row(page: Page, model: str) -> Any:
    return page.get_by_role("region", name=f"Readiness of one/{model}")


def test_a_test_shows_its_progress_and_its_verdict(gateway: Gateway, page: Page) -> None:
    login(page, gateway, "/models")
    page.get_by_role("link", name="Test one/strong").click()
    expect(page.get_by_role("combobox", name="Model")).to_have_value("one/strong")
    page.get_by_role("button", name="Test", exact=True).click()
    card = row(page, "strong")
    expect(card.get_by_role("status")).to_contain_text("Tool result")
    expect(card.get_by_text("Tool call")).to_be_visible()
    hold.set()
    expect(card.get_by_text("good for agent work")).to_be_visible()
    expect(card).to_contain_text(f"{len(PROBES)} of {len(PROBES)} passed")
    expect(card.locator(".probes .good")).to_have_count(len(PROBES))
    page.goto(f"{gateway.url}/models")
    expect(page.get_by_role("link", name="good for agent work")).to_be_visible()


def test_a_failed_probe_has_a_reason_and_opens_its_request(gateway: Gateway, page: Page) -> None:
    hold.set()
    login(page, gateway, "/models/readiness?model=one/chatty")
    page.get_by_role("button", name="Test", exact=True).click()
    card = row(page, "chatty")
    expect(card.get_by_text("chat only")).to_be_visible()
    expect(card).to_contain_text("Next: Choose another model for Claude Code")
    card.get_by_text("All probes").click()
    expect(card.get_by_role("row", name="Tool call")).to_contain_text("wrote the call as text")
    card.get_by_role("link", name="Request of Tool call").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Request")
    expect(page.locator("main")).to_contain_text("one/chatty")


def test_a_model_that_does_not_work_is_told_apart_and_can_be_removed(gateway: Gateway, page: Page) -> None:
    hold.set()
    login(page, gateway, "/models/readiness?model=one/broken")
    page.get_by_role("button", name="Test", exact=True).click()
    card = row(page, "broken")
    expect(card.get_by_text("does not work")).to_be_visible()
    expect(card).to_contain_text("under Secrets")
    card.get_by_role("button", name="Remove").click()
    expect(card).to_have_count(0)
    expect(page.get_by_text("The result of one/broken is removed.")).to_be_visible()


def test_quick_setup_shows_the_verdict_of_the_selected_model(gateway: Gateway, page: Page) -> None:
    hold.set()
    login(page, gateway, "/models/readiness?model=one/chatty")
    page.get_by_role("button", name="Test", exact=True).click()
    expect(row(page, "chatty").get_by_text("chat only")).to_be_visible()
    page.goto(f"{gateway.url}/claude")
    quick = page.locator("#quick")
    quick.get_by_role("combobox").select_option("one/chatty")
    expect(quick.get_by_role("link", name="chat only")).to_be_visible()
    quick.get_by_role("combobox").select_option("one/broken")
    expect(quick).to_contain_text("Not tested yet")
    quick.get_by_role("link", name="Test one/broken").click()
    expect(page.get_by_role("combobox", name="Model")).to_have_value("one/broken")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_tab_is_accessible_and_fits(gateway: Gateway, browsing: Browsing, scheme: Any, width: int) -> None:
    hold.set()
    page = browsing.page(color_scheme=scheme, viewport={"width": width, "height": 900})
    login(page, gateway, "/models/readiness?model=one/chatty")
    page.get_by_role("button", name="Test", exact=True).click()
    expect(row(page, "chatty").get_by_text("chat only")).to_be_visible()
    row(page, "chatty").get_by_text("All probes").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert look(page) == []
