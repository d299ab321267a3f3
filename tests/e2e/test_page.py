"""The settings page in a real browser: the way in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser import Browsing, link, login
from gateway import Gateway, config
from playwright.sync_api import Page, expect
from scripted import Say, Scripted


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Scripted(lambda asked: Say("Hello there.")) as server, Gateway(config(server)) as gateway:
        yield gateway


def test_the_link_logs_in_once(page: Page, browsing: Browsing, gateway: Gateway) -> None:
    login(page, gateway)
    expect(page.get_by_role("heading", name="Claude Code", level=1)).to_be_visible()
    second = browsing.page()
    assert (answer := second.goto(link(gateway))) is not None and answer.status == 401
    expect(second.get_by_text("This link was used before")).to_be_visible()
