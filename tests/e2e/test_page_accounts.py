"""Accounts in a real browser: a member logs in with a code and sees its own, a viewer changes nothing, an owner sees all."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from beside import command
from browser import Browsing, login, press
from e2e.conftest import ASK
from gateway import Gateway, config
from oidcprovider import OidcProvider
from playwright.sync_api import Page, expect
from scripted import Say, Scripted

from byway.store import Store


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    """A Byway with the members ada and grace and the viewer vera, and an identity provider; grace has sent a request."""
    with (
        Scripted(lambda request: Say("Hello there.")) as server,
        OidcProvider("localhost") as provider,
        Gateway(config(server, oidc=provider.settings())) as gateway,
    ):
        provider.person |= {"email": "linus@example.org", "name": "Linus"}
        with Store(gateway.home / "data") as store:
            for account, role in (("ada", "member"), ("grace", "member"), ("vera", "viewer")):
                store.add_account(account, "test", role=role)
            _, key = store.add_key("graces-key", ["write"], None, "test", account="grace")
        gateway.wait(lambda: gateway.post(ASK).status == 401, what="keys are required")
        assert gateway.post({**ASK, "model": "graces-model"}, headers={"x-api-key": key}).status == 200
        yield gateway


def links(gateway: Gateway, account: str) -> tuple[str, str]:
    """A code and a link of an account."""
    code, url = command(gateway, "account", "link", account).stdout.split()
    return code, url


def menu(page: Page) -> list[str]:
    return page.get_by_role("navigation", name="Pages").get_by_role("link").all_inner_texts()


def test_a_member_logs_in_by_a_link_and_uses_a_key_of_its_own(browsing: Browsing, gateway: Gateway) -> None:
    _, url = links(gateway, "ada")
    page = browsing.page()
    page.goto(url)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Overview", level=1)).to_be_visible()
    assert menu(page) == ["Overview", "Playground", "Requests", "Usage", "My keys"]
    expect(page.get_by_text("ada, member")).to_be_visible()
    page.get_by_role("link", name="My keys").click()
    page.get_by_label("Name").fill("laptop")
    press(page.locator("#keys"), "Create")
    key = page.locator("#plain").inner_text()
    assert gateway.post({**ASK, "model": "adas-model"}, headers={"x-api-key": key}).status == 200
    page.goto(f"{gateway.url}/requests")
    expect(page.locator("#table [data-row]")).to_have_count(1)
    expect(page.locator("#table")).to_contain_text("adas-model")
    expect(page.locator("#table")).not_to_contain_text("graces-model")
    page.goto(f"{gateway.url}/account")
    press(page.locator("#keys"), "Rotate laptop")
    assert page.locator("#plain").inner_text() != key
    press(page.locator("#keys"), "Revoke laptop")
    expect(page.locator("#keys .outcome")).to_contain_text("laptop is revoked.")
    for path in ("/models", "/api", "/secrets"):
        answer = page.goto(gateway.url + path)
        assert answer is not None and answer.status == 403
    expect(page.get_by_text("Only an owner may do this")).to_be_visible()
    # The login ends with the account, within a second.
    command(gateway, "account", "disable", "ada")
    gateway.wait(
        lambda: page.goto(f"{gateway.url}/account").status == 401,  # type: ignore[union-attr]
        what="the login ends",
    )


def test_a_viewer_types_a_code_sees_everything_and_changes_nothing(browsing: Browsing, gateway: Gateway) -> None:
    code, _ = links(gateway, "vera")
    page = browsing.page()
    page.goto(f"{gateway.url}/login")
    page.get_by_role("textbox", name="Code").fill(code.lower().replace("-", " "))
    page.get_by_role("textbox", name="Code").press("Enter")
    expect(page.get_by_text("you see everything and change nothing")).to_be_visible()
    page.goto(f"{gateway.url}/api")
    expect(page.locator("#keys")).to_contain_text("graces-key")
    for button in page.locator("main").get_by_role("button").all():
        expect(button).to_be_disabled()
    page.goto(f"{gateway.url}/requests")
    expect(page.locator("#table")).to_contain_text("graces-model")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", name="Log in", level=1)).to_be_visible()


def test_a_person_logs_in_at_the_identity_provider(browsing: Browsing, gateway: Gateway) -> None:
    page = browsing.page()
    page.goto(f"{gateway.url}/account")
    page.get_by_role("link", name="Log in").click()
    # The provider is another site: the cookie of the attempt is sent to Byway all the same, and the login cookie afterwards.
    expect(page.get_by_role("heading", name="Overview", level=1)).to_be_visible()
    expect(page.get_by_text("linus, member")).to_be_visible()
    cookies = {cookie["name"].partition("_oidc")[2] or "login": cookie for cookie in page.context.cookies()}
    assert [cookie["sameSite"] for cookie in cookies.values()] == ["Strict"], "the cookie of the attempt is deleted"


def test_an_owner_sees_all(browsing: Browsing, gateway: Gateway) -> None:
    page = login(browsing.page(), gateway, "/requests")
    expect(page.locator("#table")).to_contain_text("graces-model")
    page.goto(f"{gateway.url}/api")
    expect(page.locator("#keys")).to_contain_text("graces-key")
    expect(page.locator("#keys")).to_contain_text(re.compile("grace"))
    assert {"Models", "Secrets", "Requests"} <= set(menu(page))
