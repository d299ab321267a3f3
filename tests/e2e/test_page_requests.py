"""Requests and Troubleshooting in a real browser: what clients asked is there at once, what is broken is red until mended."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from beside import command
from browser import Browsing, login, press
from e2e.conftest import ASK
from gateway import Gateway, config
from playwright.sync_api import Locator, Page, expect
from ports import free_port
from scripted import Say, Scripted, openai_error

from byway import platform
from byway.store import UsageStore
from byway.usage.record import UsageRecord

HTML = "<b>bold</b><img src=x onerror=alert(1)><script>alert(2)</script>"


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted(lambda request: Say("Hello there.", tokens=(1200, 34))) as server:
        yield server


# -------------------------------------------------------------------------------------------------------------- requests


def test_a_request_appears_by_itself(page: Page, server: Scripted) -> None:
    with Gateway(config(server)) as gateway:
        login(page, gateway, "/requests")
        expect(page.get_by_text("No requests yet.")).to_be_visible()
        session = "8f1d0c7a-3c54-4f0e-9a53-2f2f1c0e7b11"
        gateway.post(ASK, headers={"x-claude-code-session-id": session})
        row = page.locator("#table tbody tr").first
        expect(row).to_contain_text("claude-opus-5-5")
        expect(row).to_contain_text("one/local")
        expect(row).to_contain_text("1,200")
        expect(row).to_contain_text("34")
        expect(row).to_contain_text("200")
        expect(row).to_contain_text(session[:8])
        # An error is there in words; what a server said is text and nothing else.
        server.play(lambda request: openai_error(400, f"bad thing {HTML}", "invalid_request_error"))
        gateway.post({**ASK, "model": HTML[:60]})
        expect(page.locator("#table .why").first).to_contain_text("bad thing <b>bold</b><img src=x")
        expect(page.locator("#table tbody tr").first).to_contain_text(HTML[:30])
        page.locator("#table [data-row]").first.click()
        expect(page.locator(".drawer").get_by_text("ended at")).to_be_visible()
        expect(page.locator(".drawer .outcome")).to_contain_text("HTTP 400")
        assert page.evaluate("document.images.length") == 0
        page.get_by_role("link", name="Open as a page").click()
        expect(page.locator(".outcome")).to_contain_text("HTTP 400")
        page.go_back()
        expect(page.locator("#table [data-row]")).to_have_count(2)


def test_the_list_is_long_and_old_ones_are_forgotten(page: Page, server: Scripted) -> None:
    with Gateway(config(server)) as gateway:
        login(page, gateway, "/requests")
        for _ in range(130):
            gateway.post({**ASK, "max_tokens": 0})
        expect(page.locator("#table [data-row]")).to_have_count(100)
        answer = page.goto(f"{gateway.url}/requests/99999")
        assert answer is not None and answer.status == 404
        expect(page.get_by_text("no longer in the list")).to_be_visible()


def test_the_page_shows_a_lost_connection_and_an_expired_login(
    page: Page, browsing: Browsing, server: Scripted
) -> None:
    browsing.allowed = ["ERR_CONNECTION", "ERR_EMPTY", "sendError", "afterRequest"]
    gateway = Gateway(config(server)).start()
    try:
        login(page, gateway, "/requests")
        other = login(browsing.page(), gateway, "/requests")
        other.context.clear_cookies()
        # Out of the page of somebody who is not logged in any more, to where it says how to log in.
        expect(other.get_by_text("This page needs a login")).to_be_visible()
        gateway.kill()
        expect(page.get_by_text("Byway does not respond.")).to_be_visible()
        expect(page.get_by_text("No requests yet.")).to_be_visible()
    finally:
        gateway.discard()


# ------------------------------------------------------------------------------------------------------------- usage


def test_usage_is_charted_listed_by_account_and_narrowed_to_one(page: Page, server: Scripted) -> None:
    gateway = Gateway(config(server))
    data = platform.private_folder(gateway.home / "data")
    store = UsageStore(data)
    now = time.time()
    for number, (account, model, cost) in enumerate(
        (("ada", "large", 2 * 10**9), ("ada", "small", 10**9), ("grace", "large", None))
    ):
        record = UsageRecord(f"req_{number}", now, account=account, model=model, input_tokens=10_000, cost=cost)
        store.add("journal", number, number + 1, [record])
    store.close()
    with gateway:
        login(page, gateway, "/usage")
        expect(page.locator(".figures")).to_contain_text("$3.00+")
        expect(page.locator(".plot g")).to_have_count(1)
        bars = page.locator(".plot rect:not(.hit)")
        expect(bars).to_have_count(2)
        # The parts stand on each other, the largest one below.
        large, small = (bars.nth(number).bounding_box() for number in (0, 1))
        assert large is not None and small is not None
        assert abs(large["y"] - small["y"] - small["height"]) < 1 and large["height"] > small["height"] * 1.9
        page.locator("select[name=by]").select_option("account")
        page.locator("select[name=measure]").select_option("requests")
        page.get_by_role("button", name="Show").click()
        rows = page.locator("table.usage tbody tr")
        expect(rows).to_have_count(2)
        expect(rows.nth(1)).to_contain_text("unknown")
        page.get_by_role("link", name="grace").click()
        expect(page.locator(".tag")).to_have_text("account: grace")
        expect(page.locator(".figures")).to_contain_text("unknown")
        with page.expect_download() as download:
            page.get_by_role("link", name="CSV").click()
        assert download.value.path().read_text().count("req_") == 1
        page.get_by_role("link", name="Remove the filter account").click()
        expect(rows).to_have_count(2)


# ------------------------------------------------------------------------------------------------------- troubleshooting


def row(page: Page, title: str) -> Locator:
    return page.locator(".checks > li").filter(
        has=page.locator("strong", has_text=re.compile(f"^{re.escape(title)}: "))
    )


def state(page: Page, title: str) -> str:
    """The colour of a row."""
    result = row(page, title).locator(".state").get_attribute("class") or ""
    return result.removeprefix("state ").strip()


def test_a_failing_check_is_red_and_turns_green_after_the_fix(page: Page, server: Scripted) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    bad = {
        "backends": [{"name": "one", "type": "generic", "url": url, "models": ["local"]}],
        "model_aliases": {"haiku": "no/where"},
    }
    good = config(server)
    search = {"enabled": True, "provider": "brave", "api_key": "${BYWAY_BRAVE_API_KEY}"}
    with Gateway(
        {**bad, "web_search": search}, environ={"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}
    ) as gateway:
        login(page, gateway, "/trouble")
        names = ("Model for small calls (titles, page summaries, searches)", "Model for main turns")
        for title in ("Test request", *names, "Backend one (OpenAI-compatible server)", "Web search"):
            expect(row(page, title).locator(".state")).to_have_text("problem")
            assert row(page, title).locator("p").count() >= 2, "it says what to do"
        expect(page.locator("#all-title")).to_contain_text("5 problems")
        expect(row(page, "Clients").locator("strong")).to_have_text("Clients: no requests")
        gateway.write(good)
        gateway.wait(lambda: gateway.get("/readyz").status == 200, what="the backend is there")
        press(page.locator("#all"), "Check again")
        expect(page.locator("#all-title")).not_to_contain_text("problem")
        for title in ("Test request", *names, "Backend one (OpenAI-compatible server)", "Config file"):
            assert state(page, title) == "good", title
        gateway.post(ASK)
        press(page.locator("#all"), "Check again")
        assert state(page, "Clients") == "good"
        # An invalid config file: the last valid config stays in force, and every page shows a notice.
        gateway.file.write_text("backends: [")
        gateway.wait(lambda: "config was rejected" in gateway.text, what="it has read the file")
        press(page.locator("#all"), "Check again")
        assert state(page, "Config file") == "bad"
        for path in ("/", "/api", "/secrets", "/requests"):
            page.goto(gateway.url + path)
            expect(page.locator(".notice.bad")).to_contain_text("the last valid one stays in force")
        gateway.write(good)
        gateway.wait(
            lambda: page.reload() is not None and "the last valid one" not in page.content(), 5, "the notice is gone"
        )


def test_links_of_checks_open_the_right_page(page: Page) -> None:
    with Gateway({"backends": []}) as gateway:
        login(page, gateway, "/trouble")
        expect(page.locator("#all .checks").first).to_be_visible()
        for part in page.locator("#all summary").all():
            part.click()
        links = [link.get_attribute("href") or "" for link in page.locator("#all .fixes a").all()]
        assert len(links) >= 3
        for link in links:
            path, _, place = link.partition("#")
            answer = page.request.get(gateway.url + path, headers={"accept": "text/html"})
            assert answer.ok or path == "/models", link
            assert not place or f'id="{place}"' in answer.text(), link


def test_problems_have_buttons_that_fix_them(page: Page, server: Scripted) -> None:
    settings = {**config(server), "model_aliases": {"opus": "one/local"}}
    with Gateway(settings) as gateway:
        login(page, gateway, "/trouble")
        small = row(page, "Model for small calls (titles, page summaries, searches)")
        press(page.locator("#all"), "Use one/local for all names", first=True)
        expect(page.locator("#all > .outcome")).to_contain_text("one/local is used for every name without an alias.")
        expect(small.locator(".state")).to_have_text("good")
        assert gateway.post(ASK | {"model": "claude-haiku-4-5-20251001"}).status == 200
        # A fix of a client's settings is shown as a diff first.
        page.get_by_role("button", name="Show the change for: Claude Code uses Anthropic").click()
        expect(page.get_by_role("heading", name="Confirm the change")).to_be_visible()
        expect(page.locator("pre.diff")).to_contain_text("ANTHROPIC_BASE_URL")


def test_equal_problems_are_one_row_and_what_is_fine_is_folded(page: Page, server: Scripted) -> None:
    dead = [{"name": f"dead-{at}", "type": "vllm", "url": "http://127.0.0.1:9", "models": ["m"]} for at in range(24)]
    settings = config(server)
    settings["backends"] += dead
    with Gateway(settings) as gateway:
        login(page, gateway, "/trouble")
        expect(page.get_by_text("24 backends do not answer", exact=True)).to_be_visible()
        expect(page.get_by_text("Backend dead-7 (vLLM)", exact=True)).to_be_hidden()
        page.get_by_text("Show all 24").click()
        expect(page.get_by_text("Backend dead-7 (vLLM)", exact=True)).to_be_visible()
        expect(page.get_by_text("Test request: connected", exact=True)).to_be_hidden()
        page.get_by_text(re.compile(r"\d+ checks passed")).click()
        expect(page.get_by_text("Test request: connected", exact=True)).to_be_visible()


def test_the_report_is_copied_without_secrets(browsing: Browsing, server: Scripted) -> None:
    secret = "sk-in-the-config-0123456789abcdef"
    settings = config(server)
    settings["backends"][0]["api_key"] = secret
    settings["backends"].append({"name": "far", "type": "vllm", "url": "http://gpu.corp.example:1", "models": ["m"]})
    with Gateway(settings) as gateway:
        page = login(browsing.page(permissions=["clipboard-read", "clipboard-write"]), gateway, "/trouble")
        page.get_by_text("Report for an issue").click()
        page.get_by_role("button", name="Copy report").click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        text = page.evaluate("navigator.clipboard.readText()")
        assert "- Byway " in text and "### Problems" in text and "gpu.corp" not in text and secret not in text
        done = command(gateway, "doctor", "--report")
        assert done.returncode == 0 and "### Problems" in done.stdout and secret not in done.stdout


# ---------------------------------------------------------------------------------------------------------- broken things


@pytest.mark.parametrize("harm", ["gone", "a folder", "bytes", "bad YAML"])
def test_a_config_that_breaks_while_the_page_is_open(page: Page, server: Scripted, harm: str) -> None:
    with Gateway(config(server)) as gateway:
        login(page, gateway, "/claude")
        page.get_by_label("Targets of haiku").fill("one/local")
        before = gateway.file.read_bytes()
        gateway.file.unlink()
        if harm == "a folder":
            gateway.file.mkdir()
        elif harm != "gone":
            gateway.file.write_bytes(b"\xff\xfe\x00" if harm == "bytes" else b"backends: [")
        page.locator("#aliases").get_by_role("button", name="Save").click()
        expect(page.locator("#aliases .outcome.bad, #messages .outcome.bad").first).to_be_visible()
        for path in ("/", "/claude", "/api", "/secrets", "/requests", "/trouble"):
            answer = page.goto(gateway.url + path)
            assert answer is not None and answer.status < 500, path
        if harm == "a folder":
            gateway.file.rmdir()
        gateway.file.write_bytes(before)
        page.goto(f"{gateway.url}/claude")
        page.get_by_label("Targets of haiku").fill("one/local")
        press(page.locator("#aliases"), "Save")
        expect(page.locator("#aliases > .outcome")).to_contain_text("Saved")


@pytest.mark.parametrize("harm", ["damaged", "gone"])
def test_a_store_that_breaks_while_it_runs(page: Page, browsing: Browsing, server: Scripted, harm: str) -> None:
    """Requests go on; the page says what is wrong instead of failing."""
    browsing.allowed.append("status of 500")
    with Gateway(config(server)) as gateway:
        login(page, gateway, "/claude")
        for file in (gateway.home / "data").glob("byway.db*"):
            if harm == "gone":
                file.unlink()
            else:
                file.write_bytes(b"this is no database " * 500)
        assert gateway.post(ASK).status == 200
        for path in ("/", "/claude", "/api", "/secrets", "/requests", "/trouble"):
            answer = page.goto(gateway.url + path)
            assert answer is not None
            text = page.content()
            assert "This is a bug" not in text, (path, answer.status)
            assert answer.status == 200 or re.search(r"byway\.db|database|store", text), (
                path,
                answer.status,
                text[-500:],
            )
        assert page.goto(gateway.url + "/requests").status == 200  # type: ignore[union-attr]
