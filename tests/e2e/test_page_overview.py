"""The overview in a real browser: the first run, periods, charts, and numbers that follow the requests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser import Browsing, login
from e2e.conftest import ASK
from gateway import Gateway, config
from playwright.sync_api import Page, expect
from scripted import Say, Scripted, openai_error


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with (
        Scripted(lambda request: Say("Hello there.", tokens=(1200, 34))) as server,
        Gateway(config(server)) as gateway,
    ):
        yield gateway


def figure(page: Page, name: str) -> str:
    return page.locator("#numbers .figures div", has_text=name).locator("dd").first.inner_text()


def test_the_first_run_is_ticked_step_by_step(page: Page, gateway: Gateway) -> None:
    login(page, gateway)
    setup = page.locator("#setup")
    expect(setup).to_contain_text("2 of 4 done")
    expect(setup.locator("li.done")).to_have_count(2)
    expect(page.locator("#numbers")).to_contain_text("No requests in this period")
    setup.get_by_role("link", name="Open: Connect Claude Code").click()
    page.wait_for_url("**/claude#endpoint")
    page.locator("#endpoint").get_by_role("button", name="Verify").click()
    expect(page.get_by_text("Connected")).to_be_visible()
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Overview").click()
    expect(setup.locator("li.done")).to_have_count(3)
    assert gateway.post(ASK).status == 200
    page.reload()
    expect(setup.locator("summary")).to_contain_text("4 of 4 steps done")
    expect(setup.locator("li").first).to_be_hidden()
    setup.locator("summary").click()
    expect(setup.locator("li.done")).to_have_count(4)
    expect(setup.locator("li").first).to_be_visible()


def test_numbers_follow_the_requests_while_the_page_is_visible(page: Page, gateway: Gateway) -> None:
    gateway.post(ASK)
    login(page, gateway, "/?period=1h")
    assert figure(page, "Requests") == "1"
    page.locator("#values summary").focus()
    page.keyboard.press("Enter")
    gateway.post(ASK)
    expect(page.locator("#numbers .figures dd").first).to_have_text("2")
    # A refresh neither closes what is open nor takes the focus away.
    expect(page.locator("#values")).to_have_attribute("open", "")
    expect(page.locator("#values summary")).to_be_focused()
    expect(page.locator("#values tbody tr").first).to_contain_text("2,400")


def test_a_hidden_page_requests_nothing(page: Page, gateway: Gateway) -> None:
    gateway.post(ASK)
    page.clock.install()
    login(page, gateway, "/?period=1h")
    expect(page.locator("#numbers .figures")).to_be_visible()
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    page.clock.run_for(60_000)
    assert sent == []
    page.evaluate("Object.defineProperty(document, 'hidden', {value: false})")
    with page.expect_request("**/overview/numbers?period=1h"):
        page.clock.run_for(11_000)


def test_a_period_is_chosen_and_errors_are_counted(page: Page, browsing: Browsing) -> None:
    with (
        Scripted(lambda request: openai_error(400, "this is not good", "invalid_request_error")) as server,
        Gateway(config(server)) as gateway,
    ):
        assert gateway.post(ASK).status == 400
        login(page, gateway)
        assert figure(page, "Errors") == "1"
        expect(page.locator("#numbers")).to_contain_text("100.0 % of requests")
        page.get_by_role("navigation", name="Period").get_by_role("link", name="7 days").click()
        page.wait_for_url("**/?period=7d")
        expect(page.get_by_role("link", name="7 days")).to_have_attribute("aria-current", "true")
        graph = page.get_by_role("img", name="Requests, ")
        expect(graph.locator("g")).to_have_count(42)
        expect(graph.locator("rect.series-bad")).to_have_count(1)
        expect(page.get_by_label("Time to the first token")).to_contain_text("No streamed answer")
        page.locator("#numbers").get_by_role("link", name="one/local").click()
        expect(page.get_by_role("heading", name="Usage", level=1)).to_be_visible()
