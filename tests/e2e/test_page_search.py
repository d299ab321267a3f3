"""Web Search and the secrets in a real browser: keys are typed, kept, used, replaced, and never seen again."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Browsing, login, press
from gateway import SOURCE, Gateway, config
from playwright.sync_api import Locator, Page, expect
from providers import KEY, FakeProviders, brave_error
from scripted import Gate, Say, Scripted, put

OTHER = "another-key-of-the-provider-9876543210"


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted(lambda request: Say("Hello there.")) as server:
        yield server


@pytest.fixture
def provider() -> Iterator[FakeProviders]:
    with FakeProviders() as provided:
        yield provided


def chain(tmp_path: Path) -> dict[str, str]:
    """A keychain for a Byway: a file outside of its data folder."""
    pytest.importorskip("keyring", reason="keyring is not installed")
    paths = os.pathsep.join((str(SOURCE), str(Path(__file__).parent.parent)))
    return {"PYTHON_KEYRING_BACKEND": "chain.Chain", "CHAIN": str(tmp_path / "chain.json"), "PYTHONPATH": paths}


#: No keychain at all.
NONE = {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}


def at(provider: FakeProviders, name: str = "brave") -> dict[str, Any]:
    return {"enabled": False, "provider": name, "base_url": provider.url, "cache_ttl": 0}


def search(page: Page) -> Locator:
    return page.locator("#search")


def save(page: Page) -> Locator:
    press(search(page), "Save")
    return search(page).locator("> .outcome")


def try_it(page: Page, query: str = "rust") -> Locator:
    search(page).get_by_label("Search for").fill(query)
    press(search(page), "Test")
    return search(page).locator("> .outcome")


def traces(gateway: Gateway, *secrets: str) -> list[str]:
    """Where one of the secrets can be read: the data folder, the config, what was logged, arguments and environments of Byway
    and its children."""
    results = [f"log: {line}" for line in gateway.lines if any(value in line for value in secrets)]
    for file in gateway.home.rglob("*"):
        if file.is_file() and any(item.encode() in file.read_bytes() for item in secrets):
            results.append(str(file.relative_to(gateway.home)))
    pids = {str(gateway.process.pid)}
    for _ in range(4):
        listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        pids |= {pid for pid, parent in map(str.split, listed.splitlines()) if parent in pids}
    for pid in pids:
        for what in ("cmdline", "environ"):
            try:
                data = Path(f"/proc/{pid}/{what}").read_bytes()
            except OSError:
                continue
            results += [f"{what} of {pid}" for secret in secrets if secret.encode() in data]
    return results


def sources(page: Page, gateway: Gateway) -> str:
    """The source of every page, as it is sent."""
    paths = (
        "/",
        "/models",
        "/api",
        "/secrets",
        "/requests",
        "/trouble",
        "/byway/config",
        "/byway/audit",
        "/byway/requests",
    )
    return "".join(page.request.get(gateway.url + path, headers={"accept": "text/html"}).text() for path in paths)


def test_search_is_switched_on_with_a_typed_key(
    page: Page, server: Scripted, provider: FakeProviders, tmp_path: Path
) -> None:
    with Gateway(config(server, web_search=at(provider)), environ=chain(tmp_path)) as gateway:
        login(page, gateway, "/claude")
        search(page).get_by_label("Enable web search").check()
        search(page).get_by_label("Brave Search").check()
        search(page).get_by_label("Type it here").check()
        search(page).get_by_label("Key", exact=True).fill(KEY)
        expect(save(page)).to_contain_text("The key is in the keychain")
        expect(search(page).locator("header .state")).to_have_text("on")
        expect(search(page).get_by_role("row", name="Brave")).to_contain_text("in the keychain")
        expect(try_it(page)).to_contain_text("2 results, by brave")
        expect(search(page).locator(".results li")).to_have_count(2)
        # What a provider says is shown as text, and no address but http is a link.
        expect(search(page).locator(".results li").first).to_contain_text("Rust 1.99")
        assert search(page).locator(".results a[href^=javascript]").count() == 0
        assert "${BYWAY_BRAVE_API_KEY}" in gateway.file.read_text()
        assert traces(gateway, KEY) == [] and KEY not in sources(page, gateway)
        # A wrong key: the provider's own words. The saved one is replaced under Secrets, at once.
        page.get_by_role("navigation").get_by_role("link", name="Secrets").click()
        page.get_by_label("Brave Search: new value").fill(OTHER)
        page.get_by_role("row", name="Brave").get_by_role("button", name="Replace").click()
        expect(page.get_by_text("Brave Search: stored in the keychain.")).to_be_visible()
        page.goto(f"{gateway.url}/claude")
        expect(try_it(page)).to_contain_text("Brave rejected the API key")
        assert traces(gateway, KEY, OTHER) == [] and OTHER not in sources(page, gateway)


def test_without_a_keychain_a_file_is_accepted_and_never_in_silence(
    page: Page, server: Scripted, provider: FakeProviders
) -> None:
    with Gateway(config(server, web_search=at(provider)), environ=NONE) as gateway:
        login(page, gateway, "/claude")
        before = gateway.file.read_text()
        search(page).get_by_label("Enable web search").check()
        search(page).get_by_label("Type it here").check()
        search(page).get_by_label("Key", exact=True).fill(KEY)
        expect(save(page)).to_contain_text("Tick the box")
        assert gateway.file.read_text() == before and not list(gateway.home.rglob("secrets.json"))
        # Everything that was typed is still there, the key too.
        expect(search(page).get_by_label("Enable web search")).to_be_checked()
        expect(search(page).get_by_label("Key", exact=True)).to_have_value(KEY)
        search(page).get_by_label("Without a keychain").check()
        expect(save(page)).to_contain_text("The key is in the file")
        expect(try_it(page)).to_contain_text("2 results")
        (file,) = gateway.home.rglob("secrets.json")
        assert file.stat().st_mode & 0o777 == 0o600
        assert traces(gateway, KEY) == [str(file.relative_to(gateway.home))] and KEY not in sources(page, gateway)
        page.get_by_role("navigation").get_by_role("link", name="Secrets").click()
        page.get_by_role("row", name="Brave").get_by_role("button", name="Delete").click()
        expect(page.get_by_text("Brave Search: deleted.")).to_be_visible()
        assert traces(gateway, KEY) == []
        page.goto(f"{gateway.url}/claude")
        expect(search(page).locator("header .state")).to_have_text("on, but no key: searches fail")


def test_a_searxng_of_your_own(page: Page, server: Scripted, provider: FakeProviders) -> None:
    with Gateway(config(server), environ=NONE) as gateway:
        login(page, gateway, "/claude")
        search(page).get_by_label("SearXNG", exact=True).check()
        expect(search(page).get_by_text("API key")).to_be_hidden()
        search(page).get_by_label("Enable web search").check()
        search(page).get_by_label("URL of your SearXNG").fill(provider.url)
        expect(save(page)).to_contain_text("Saved")
        expect(try_it(page)).to_contain_text("2 results, by searxng")
        # Another provider's key would go to that address.
        search(page).get_by_label("Serper").check()
        expect(search(page).get_by_label("URL of your SearXNG")).to_be_hidden()
        expect(save(page)).to_be_visible()
        assert provider.url not in gateway.file.read_text()


def test_the_error_of_a_provider_is_shown(page: Page, server: Scripted) -> None:
    lines: list[Any] = [
        429,
        brave_error("RATE_LIMITED", "Request rate limit <b>exceeded</b><img src=x onerror=alert(1)>", 429),
    ]
    settings = {"enabled": True, "provider": "brave", "api_key": KEY}
    with contextlib.ExitStack() as stack:
        provided = stack.enter_context(FakeProviders(lambda seen: (lines[0], lines[1])))
        gateway = stack.enter_context(Gateway(config(server, web_search={**settings, "base_url": provided.url})))
        login(page, gateway, "/claude")
        expect(search(page).get_by_text("The config contains a key in plain text")).to_be_visible()
        expect(try_it(page)).to_contain_text("brave failed")
        expect(search(page).locator("> .outcome")).to_contain_text("<b>exceeded</b>")
        lines[:] = [200, b"<html>not JSON"]
        expect(try_it(page)).to_contain_text("brave failed")
        lines[:] = [200, {"type": "search"}]
        expect(try_it(page)).to_contain_text("No results, by brave")
        assert page.evaluate("document.images.length") == 0


def test_a_variable_of_another_name(page: Page, server: Scripted, provider: FakeProviders) -> None:
    with Gateway(
        config(server, web_search=at(provider)), environ={**NONE, "MY_SEARCH_KEY": KEY, "BYWAY_MY_SEARCH_KEY": KEY}
    ) as gateway:
        login(page, gateway, "/claude")
        search(page).get_by_label("Enable web search").check()
        search(page).get_by_label("Environment variable").check()
        search(page).get_by_role("textbox", name="Variable", exact=True).fill("${MY SEARCH}")
        expect(save(page)).to_contain_text("Invalid variable name")
        search(page).get_by_role("textbox", name="Variable", exact=True).fill("MY_SEARCH_KEY")
        expect(save(page)).to_contain_text("MY_SEARCH_KEY cannot be named through the page")
        search(page).get_by_role("textbox", name="Variable", exact=True).fill("BYWAY_MY_SEARCH_KEY")
        expect(save(page)).to_contain_text("Saved")
        expect(try_it(page)).to_contain_text("2 results")
        assert "${BYWAY_MY_SEARCH_KEY}" in gateway.file.read_text() and KEY not in sources(page, gateway)


def test_a_secret_is_replaced_while_a_stream_runs(page: Page, server: Scripted, tmp_path: Path) -> None:
    """The stream goes on with the old key; the next request has the new one."""
    settings = config(server)
    settings["backends"][0]["api_key"] = "${BYWAY_OPENAI_API_KEY}"
    (tmp_path / "chain.json").write_text(json.dumps({"byway/openai": KEY}))
    words = [f"word{at} " for at in range(40)]
    gate = Gate()
    server.play(lambda request: Say(words, edit=put(20, gate)) if request.stream else Say(words))
    ask = {"model": "m", "max_tokens": 99, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    with Gateway(settings, environ=chain(tmp_path)) as gateway:
        login(page, gateway, "/secrets")
        headers = {"content-type": "application/json"}
        with gateway.open("POST", "/v1/messages", json.dumps(ask).encode(), headers) as stream:
            start = stream.read(200)
            page.get_by_label("OpenAI: new value", exact=True).fill(OTHER)
            page.get_by_role("row", name=re.compile("^OpenAI ")).get_by_role("button", name="Replace").click()
            expect(page.get_by_text("OpenAI: stored in the keychain.")).to_be_visible()
            gate.set()
            whole = start + stream.read()
        assert b"message_stop" in whole and whole.count(b"text_delta") == len(words)
        assert server.last.headers["authorization"] == f"Bearer {KEY}"
        assert gateway.post({**ask, "stream": False}).status == 200
        assert server.last.headers["authorization"] == f"Bearer {OTHER}"
        assert traces(gateway, KEY, OTHER) == [] and KEY not in sources(page, gateway)


def test_values_that_are_no_secrets(page: Page, browsing: Browsing, server: Scripted, tmp_path: Path) -> None:
    with Gateway(config(server), environ=chain(tmp_path)) as gateway:
        login(page, gateway, "/secrets")
        for value in ("short", "with a blank in it", "x" * 5000, "naïve-key-ünïcode"):
            page.get_by_label("Serper: new value").fill(value)
            page.get_by_role("row", name="Serper").get_by_role("button", name="Save").click()
            expect(page.locator("tr", has_text="Serper").locator(".outcome.bad")).to_be_visible()
            assert value not in page.content().replace('value="', "") or value == "short"
        page.get_by_role("row", name="Serper").get_by_role("button", name="Save").click()
        expect(page.locator("tr", has_text="Serper").locator(".outcome.bad")).to_be_visible()
        assert not (tmp_path / "chain.json").exists()
        # A locked keychain: the page waits, and says so in the end; other pages go on.
        assert page.request.get(gateway.url + "/requests").ok


def test_an_environment_variable_overrides_a_stored_key_and_is_shown(page: Page, server: Scripted) -> None:
    with Gateway(config(server), environ={**NONE, "BYWAY_SERPER_API_KEY": KEY}) as gateway:
        login(page, gateway, "/secrets")
        row = page.get_by_role("row", name="Serper")
        expect(row).to_contain_text("in the environment")
        expect(row).to_contain_text("BYWAY_SERPER_API_KEY")
        expect(row.get_by_role("button", name="Delete")).to_have_count(0)
        assert KEY not in sources(page, gateway)
        (gateway.home / "x").write_text("")
        assert [trace for trace in traces(gateway, KEY) if not trace.startswith("environ")] == []
