"""Pages as people see them: Chromium, driven by Playwright. What a page complains about on its console fails the test."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from gateway import Gateway
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Error,
    Locator,
    Page,
    expect,
    sync_playwright,
)

from byway.access.login import Logins

_LINK: Final = re.compile(r"http://\S+/login\?token=\S+")
#: A browser says on its console when an answer is a 4xx, and so does htmx: that is no fault of the page.
_ANSWERED: Final = re.compile(
    r"Failed to load resource: the server responded with a status of 4\d\d|Response Status Error Code 4\d\d"
)
#: Milliseconds that anything on a page may take to happen.
PATIENCE: Final = 60_000
expect.set_options(timeout=PATIENCE)


@dataclass
class Browsing:
    """Opens pages, each in a context of its own, and remembers what they complain about."""

    chromium: Browser
    allowed: list[str] = field(default_factory=list)
    """What this test expects on the console: parts of lines."""
    complaints: list[str] = field(default_factory=list)
    contexts: list[BrowserContext] = field(default_factory=list)

    def page(self, **options: Any) -> Page:
        """A page in a fresh context; `options` are Playwright's for a context (`color_scheme`, `viewport`)."""
        context = self.chromium.new_context(**options)
        self.contexts.append(context)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        page.on("dialog", self._dialog)
        return page

    def _dialog(self, dialog: Dialog) -> None:
        """A question before something is done is answered with yes; nothing else may open a dialog."""
        if dialog.type != "confirm":
            self.complaints.append(f"{dialog.type}: {dialog.message}")
        dialog.accept()

    def _console(self, message: ConsoleMessage) -> None:
        if "htmx:sendAbort" in message.text:
            # The page was left while it loaded a card. htmx reports that twice.
            if self.complaints and "htmx:afterRequest" in self.complaints[-1]:
                self.complaints.pop()
        elif message.type in ("error", "warning") and not _ANSWERED.search(message.text):
            self.complaints.append(f"{message.type}: {message.text}")

    def close(self) -> None:
        """Close all; fails when a page has complained. What closing itself aborts is no complaint of a page in use."""
        left = [complaint for complaint in self.complaints if not any(part in complaint for part in self.allowed)]
        for context in self.contexts:
            context.close()
        assert not left, "\n".join(left)


@pytest.fixture(scope="module")
def chromium(program: Callable[[str], str]) -> Iterator[Browser]:
    """One Chromium for a file of tests. No longer: while Playwright runs, no other test can have an event loop."""
    # Without the windows of the whole browser, each of which takes a second of a core.
    path = program("chromium-headless-shell")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield browser
        browser.close()


@pytest.fixture
def browsing(chromium: Browser) -> Iterator[Browsing]:
    """For tests with several pages."""
    result = Browsing(chromium)
    yield result
    result.close()


@pytest.fixture
def page(browsing: Browsing) -> Page:
    """An empty page in a fresh context."""
    return browsing.page()


def link(gateway: Gateway) -> str:
    """The link that `byway up` printed last."""
    gateway.wait(lambda: _LINK.search(gateway.text), what="it prints the link of the settings page")
    return _LINK.findall(gateway.text)[-1]


def another(gateway: Gateway) -> str:
    """Another link, as `byway page` makes it on the machine where Byway runs."""
    made = Logins((gateway.home / "data" / "login.key").read_bytes())
    return f"{link(gateway).partition('?')[0]}?token={made.link(time.time(), os.urandom(16))}"


def login(page: Page, gateway: Gateway, path: str = "/") -> Page:
    """Open the link that `byway up` printed (another one, where that was used before), then `path`."""
    gateway.visits.append(lambda: _leave(page))
    answer = page.goto(link(gateway))
    if answer is not None and answer.status == 401:
        page.goto(another(gateway))
    if path != "/":
        page.goto(link(gateway).partition("/login?")[0] + path)
    return page


def _leave(page: Page) -> None:
    with contextlib.suppress(Error):
        page.goto("about:blank")


def act(page: Page, backend: str, action: str) -> None:
    """Choose an action of the menu of a backend: Check, Edit or Remove."""
    menu = page.locator(f'details.actions:has([aria-label="Actions of {backend}"])')
    menu.locator("summary").click()
    menu.get_by_label(f"{action} {backend}").click()


def alias_field(page: Page, alias: str) -> Locator:
    """The form field of an alias, which the list of its targets keeps in step."""
    return page.get_by_label(f"Targets of {alias}", exact=True).locator("xpath=ancestor::*[@data-targets]/input[1]")


def set_targets(page: Page, alias: str, *targets: str) -> None:
    """Give an alias these targets, by the buttons and the search field of its row."""
    box = page.get_by_label(f"Targets of {alias}", exact=True)
    place = box.locator("xpath=ancestor::*[@data-targets]")
    while place.locator(".chip").count():
        place.locator("[data-remove]").last.click()
    for target in targets:
        box.fill(target)
        box.press("Enter")


def press(card: Locator, name: str, *, first: bool = False) -> None:
    """Press the button `name` of a card, and wait until what came of it has taken the card's place. `first`: of several."""
    card.evaluate("card => card.dataset.old = 'yes'")
    button = card.get_by_role("button", name=name)
    (button.first if first else button).click()
    expect(card).not_to_have_attribute("data-old", "yes")
