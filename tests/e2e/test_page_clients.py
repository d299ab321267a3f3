"""The page Clients in a real browser: endpoint switch, connect and disconnect after a diff, sessions, and one-click fixes."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import login, press
from gateway import Gateway, config
from playwright.sync_api import Locator, Page, expect
from scripted import Say, Scripted

from byway.endpoints.registry import BYWAY, Endpoint, Endpoints

REAL_KEY = "sk-ant-api03-real-looking-0123456789"
OTHER = "http://127.0.0.1:9/other"


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    """A Byway with a second endpoint, in a scratch home."""
    with Scripted(lambda request: Say("Hello there.")) as server, Gateway(config(server)) as gateway:
        Endpoints(gateway.home / "data", {}).add(Endpoint("work", OTHER))
        yield gateway


@pytest.fixture
def clients(page: Page, gateway: Gateway) -> Iterator[Locator]:
    """The cards of the page, with Byway as the active endpoint and nothing connected."""
    Endpoints(gateway.home / "data", {}).use(BYWAY)
    settings(gateway).parent.mkdir(exist_ok=True)
    login(page, gateway, "/clients")
    yield page.locator("#all")
    settings(gateway).unlink(missing_ok=True)


def settings(gateway: Gateway) -> Path:
    """Claude Code's user settings in the home of the gateway."""
    return gateway.home / ".claude" / "settings.json"


def env(gateway: Gateway) -> dict[str, Any]:
    """The variables that the settings set."""
    return dict(json.loads(settings(gateway).read_text())["env"])


def card(clients: Locator, id: str) -> Locator:
    return clients.locator(f"#{id}")


def use(clients: Locator, endpoint: str) -> Locator:
    """Switch to an endpoint by a click. Returns its row."""
    row = card(clients, "switch").get_by_role("row", name=endpoint)
    row.get_by_role("button", name="Use").click()
    expect(row.locator(".state")).to_have_text("active")
    return row


def confirm(clients: Locator) -> None:
    """Make the change that is shown."""
    press(clients, "Make this change")
    expect(card(clients, "plan")).to_have_count(0)


def test_endpoint_is_switched_by_a_click(clients: Locator, gateway: Gateway) -> None:
    byway = card(clients, "switch").get_by_role("row", name="byway")
    expect(byway.locator(".state")).to_have_text("active")
    use(clients, "work")
    expect(clients).to_contain_text("work is the active endpoint.")
    expect(byway.locator(".state")).to_have_text("not active")
    assert Endpoints(gateway.home / "data", {}).book().active == "work"
    press(clients, "Switch off")
    expect(card(clients, "switch")).to_contain_text("New clients use Anthropic")
    use(clients, "byway")
    expect(card(clients, "switch").get_by_role("button", name="Switch off")).to_be_visible()


def test_claude_code_is_connected_after_the_diff_and_disconnected_byte_for_byte(
    clients: Locator, gateway: Gateway
) -> None:
    before = f'{{\r\n   "model":"opus",\r\n  "env": {{"ANTHROPIC_API_KEY": "{REAL_KEY}"}} }}\r\n'.encode()
    settings(gateway).write_bytes(before)
    row = card(clients, "programs").get_by_role("row", name="Claude Code (user settings)")
    row.get_by_role("button", name="Connect").click()
    diff = card(clients, "plan").locator("pre")
    expect(diff).to_contain_text(f"{gateway.url}/anthropic")
    expect(diff).not_to_contain_text(REAL_KEY)
    expect(clients.get_by_role("button", name="Make this change")).to_be_focused()
    assert settings(gateway).read_bytes() == before
    confirm(clients)
    expect(row.locator(".state")).to_have_text("connected")
    written = env(gateway)
    assert written["ANTHROPIC_BASE_URL"] == f"{gateway.url}/anthropic" and written["ANTHROPIC_API_KEY"] == ""
    row.get_by_role("button", name="Disconnect").click()
    expect(diff).to_contain_text("ANTHROPIC_BASE_URL")
    confirm(clients)
    expect(row.locator(".state")).to_have_text("not connected")
    assert settings(gateway).read_bytes() == before


def test_running_session_is_listed_and_is_stale_after_a_switch(clients: Locator, gateway: Gateway) -> None:
    process = subprocess.Popen(["sleep", "60"], env={"ANTHROPIC_BASE_URL": f"{gateway.url}/anthropic", "PATH": "/bin"})
    file = settings(gateway).parent / "sessions" / "1.json"
    file.parent.mkdir(exist_ok=True)
    record = {"pid": process.pid, "sessionId": "11111111-aaaa", "cwd": "/src/shop", "version": "2.1.329"}
    # After the disconnect of another test, which makes earlier sessions stale.
    file.write_text(json.dumps({**record, "kind": "cli", "startedAt": time.time() * 1000}))
    try:
        press(clients, "Refresh")
        row = card(clients, "sessions").get_by_role("row", name="11111111")
        expect(row).to_contain_text("/src/shop")
        expect(row.locator(".state")).to_have_text("no request yet")
        use(clients, "work")
        expect(row.locator(".state")).to_have_text("elsewhere, stale")
        expect(row).to_contain_text(f"It was started with {gateway.url}/anthropic.")
    finally:
        process.kill()
        process.wait()
        file.unlink()
    press(clients, "Refresh")
    expect(card(clients, "sessions")).to_contain_text("No session of Claude Code runs on this machine")


def test_conflict_is_fixed_by_its_button(clients: Locator, gateway: Gateway) -> None:
    settings(gateway).write_text(
        json.dumps({"env": {"ANTHROPIC_BASE_URL": OTHER, "ANTHROPIC_AUTH_TOKEN": "byway-local"}})
    )
    press(clients, "Refresh")
    conflict = card(clients, "conflicts").get_by_role("listitem").filter(has_text="Claude Code uses another base URL")
    conflict.get_by_role("button", name="Show the fix").click()
    expect(card(clients, "plan").locator("pre")).to_contain_text(f"{gateway.url}/anthropic")
    assert env(gateway)["ANTHROPIC_BASE_URL"] == OTHER
    confirm(clients)
    expect(clients).to_contain_text("Fixed.")
    expect(conflict).to_have_count(0)
    assert env(gateway)["ANTHROPIC_BASE_URL"] == f"{gateway.url}/anthropic"
