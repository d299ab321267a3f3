"""The page Log in a real browser, and `byway log` of a running Byway."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
from browser import login
from e2e.conftest import ASK
from gateway import Gateway, config
from playwright.sync_api import Page, expect
from scripted import Say, Scripted, openai_error


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Scripted(lambda request: Say("Hello there.")) as server, Gateway(config(server)) as gateway:
        gateway.post(ASK)
        server.play(lambda value: openai_error(500, "out of order", "server_error"))
        gateway.post(ASK)
        server.play(lambda value: Say("Hello there."))
        yield gateway


def byway(gateway: Gateway, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "byway", "log", *arguments]
    return subprocess.run(command, env=gateway._environ, capture_output=True, text=True, timeout=120)


def test_new_lines_arrive_and_link_to_their_request(page: Page, gateway: Gateway) -> None:
    login(page, gateway, "/log")
    lines = page.locator("#log-lines li", has_text="/v1/messages")
    before = lines.count()
    gateway.post(ASK)
    expect(lines).to_have_count(before + 1)
    lines.last.get_by_role("link", name="request").click()
    page.wait_for_url("**/requests/*")


def test_a_pause_holds_new_lines_back(page: Page, gateway: Gateway) -> None:
    login(page, gateway, "/log")
    lines = page.locator("#log-lines li", has_text="/v1/messages")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("Paused.")).to_be_visible()
    before = lines.count()
    gateway.post(ASK)
    gateway.wait(lambda: json.loads(byway(gateway, "--json", "--search", "/v1/messages").stdout)["lines"][before:])
    expect(lines).to_have_count(before)
    page.get_by_role("button", name="Resume").click()
    expect(lines).to_have_count(before + 1)


def test_the_filter_keeps_what_matches(page: Page, gateway: Gateway) -> None:
    login(page, gateway, "/log")
    lines = page.locator("#log-lines li")
    expect(lines).not_to_have_count(0)
    page.get_by_role("textbox", name="Search").fill("status=502")
    expect(lines).to_have_count(1)
    page.get_by_role("textbox", name="Search").fill("")
    expect(lines).not_to_have_count(1)
    page.get_by_label("Level").select_option("error")
    expect(page.get_by_text("No line matches.")).to_be_visible()
    expect(page.get_by_label("Level")).to_have_value("error")


def test_the_view_follows_its_end_and_stays_where_it_was_scrolled_to(page: Page, gateway: Gateway) -> None:
    for _ in range(30):
        gateway.post(ASK)
    login(page, gateway, "/log")
    view = page.get_by_role("log")
    ends = "view => view.scrollHeight - view.scrollTop - view.clientHeight < 24"
    assert view.evaluate(ends)
    view.evaluate("view => { view.scrollTop = 0; }")
    follow = page.get_by_role("button", name="Follow")
    expect(follow).to_have_attribute("aria-pressed", "false")
    lines = page.locator("#log-lines li")
    before = lines.count()
    gateway.post(ASK)
    expect(lines).not_to_have_count(before)
    assert view.evaluate("view => view.scrollTop") == 0
    follow.click()
    assert view.evaluate(ends)
    expect(follow).to_have_attribute("aria-pressed", "true")


def test_the_command_prints_the_log_of_the_running_byway(gateway: Gateway) -> None:
    done = byway(gateway, "--search", "status=502")
    assert done.returncode == 0 and "path=/v1/messages" in done.stdout and "\x1b" not in done.stdout
    shown = json.loads(byway(gateway, "--json", "--lines", "1").stdout)
    assert len(shown["lines"]) == 1 and shown["newest"] >= shown["lines"][0]["number"]
    assert byway(gateway, "--data-dir", str(gateway.home / "other")).returncode == 1


def test_follow_prints_lines_as_they_come(gateway: Gateway) -> None:
    command = [sys.executable, "-m", "byway", "log", "--follow", "--json", "--lines", "1"]
    with subprocess.Popen(command, env=gateway._environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        gateway.post(ASK)
        second = json.loads(process.stdout.readline())
        process.terminate()
    assert second["number"] > first["number"]
