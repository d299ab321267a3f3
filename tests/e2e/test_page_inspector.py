"""The page Requests and the inspector in a real browser: every function is clicked."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from beside import command
from browser import Browsing, login
from e2e.conftest import ASK
from e2e.test_page_looks import look
from gateway import Gateway, config
from playwright.sync_api import Locator, Page, expect
from scripted import Asked, Reply, Say, Scripted, openai_error

from byway.endpoints.running import request
from byway.inspector.curl import curl_command

SESSION = "8f1d0c7a-3c54-4f0e-9a53-2f2f1c0e7b11"
OTHER = "77aa00bb-3c54-4f0e-9a53-2f2f1c0e7b11"
AGENT = {"user-agent": "claude-cli/2.1.329 (external, cli)"}


def play(request: Asked) -> Reply | Say:
    if b"fail" in request.body:
        return openai_error(400, "this `field` cannot be\n" + "because of a long reason " * 30, "invalid_request_error")
    return Say("Hello there.", tokens=(1200, 34), gap=0.01)


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted(play) as server:
        yield server


@pytest.fixture
def gateway(server: Scripted) -> Iterator[Gateway]:
    with Gateway(config(server)) as gateway:
        yield gateway


def ask(gateway: Gateway, model: str = "claude-opus-5-5", session: str = SESSION, text: str = "hi") -> None:
    body = {**ASK, "model": model, "stream": True, "messages": [{"role": "user", "content": text}]}
    gateway.post(body, headers={"x-claude-code-session-id": session, **AGENT})


def rows(page: Page) -> Locator:
    return page.locator("#table [data-row]")


# ------------------------------------------------------------------------------------------------------------- the list


def test_filters_search_and_groups_choose_what_is_listed(page: Page, gateway: Gateway) -> None:
    for _ in range(12):
        ask(gateway)
    ask(gateway, "claude-haiku-4-5", OTHER)
    ask(gateway, "claude-haiku-4-5", OTHER, "fail")
    login(page, gateway, "/requests")
    expect(rows(page)).to_have_count(14)
    expect(page.locator(".sums")).to_contain_text("14 requests · 1 failed · 15,600 tokens in · 442 tokens out")
    page.get_by_label("Failed only").check()
    expect(rows(page)).to_have_count(1)
    expect(page).to_have_url(re.compile(r"/requests\?failed=on$"))
    page.get_by_label("Failed only").uncheck()
    page.get_by_role("combobox", name="Model").select_option("claude-haiku-4-5")
    expect(rows(page)).to_have_count(2)
    page.get_by_role("combobox", name="Model").select_option("")
    page.get_by_role("combobox", name="Session").select_option(SESSION)
    expect(rows(page)).to_have_count(12)
    # What the list shows can be opened by its address, and without the script too.
    page.reload()
    expect(rows(page)).to_have_count(12)
    expect(page.get_by_role("combobox", name="Session")).to_have_value(SESSION)
    page.get_by_role("combobox", name="Session").select_option("")
    page.get_by_role("combobox", name="Client").select_option("claude-cli")
    expect(rows(page)).to_have_count(14)
    page.get_by_role("searchbox", name="Search").press_sequentially("CANNOT be")
    expect(rows(page)).to_have_count(1)
    page.get_by_role("searchbox", name="Search").fill("no such thing")
    expect(page.get_by_text("No request matches the filter.")).to_be_visible()
    # A press as long as a person's: what leaving the search field starts must not swallow the click.
    page.get_by_role("link", name="Show all requests").click(delay=200)
    expect(page).to_have_url(re.compile(r"/requests$"))
    page.wait_for_load_state()
    page.get_by_label("Group by session").check()
    expect(page.locator(".group")).to_have_count(2)
    expect(page.locator(".group").first).to_contain_text("Session 77aa00bb claude-cli · 2 requests · 1 failed")
    expect(rows(page)).to_have_count(12)
    page.get_by_role("link", name="All 12 requests of this session").click()
    expect(page.locator(".group")).to_have_count(0)
    expect(rows(page)).to_have_count(12)


def test_a_paused_list_stays_and_shows_how_many_are_new(page: Page, gateway: Gateway) -> None:
    ask(gateway)
    login(page, gateway, "/requests")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".sums")).to_contain_text("Paused")
    ask(gateway, "claude-haiku-4-5")
    page.get_by_label("Failed only").check()
    expect(rows(page)).to_have_count(0)
    page.get_by_label("Failed only").uncheck()
    expect(page.locator(".sums")).to_contain_text("Paused, 1 new")
    expect(rows(page)).to_have_count(1)
    page.get_by_role("button", name="Resume").click()
    expect(rows(page)).to_have_count(2)
    ask(gateway)
    expect(rows(page)).to_have_count(3)


def test_a_long_error_is_one_line_that_opens_and_stays_open(page: Page, gateway: Gateway) -> None:
    ask(gateway, text="fail")
    login(page, gateway, "/requests")
    error = page.locator(".why details")
    box = error.bounding_box()
    assert box is not None and box["height"] < 40
    error.locator("summary").click()
    expect(error).to_have_attribute("open", "")
    ask(gateway)
    expect(rows(page)).to_have_count(2)
    expect(page.locator(".why details")).to_have_attribute("open", "")
    assert page.locator(".drawer").count() == 0, "a click on the error opens the error only"


# ------------------------------------------------------------------------------------------------------------ the drawer


def test_a_row_opens_a_drawer_that_the_keyboard_closes(page: Page, gateway: Gateway) -> None:
    ask(gateway)
    login(page, gateway, "/requests")
    page.locator("#table tbody td").nth(3).click()
    drawer = page.locator(".drawer")
    expect(drawer.get_by_role("heading", name="claude-opus-5-5")).to_be_focused()
    for name in ("First token", "Stream"):
        expect(drawer.locator(".phases")).to_contain_text(name)
    expect(drawer.locator(".attempts li")).to_have_count(1)
    expect(drawer.locator(".attempts")).to_contain_text("one/local")
    # It stays while the list is updated.
    ask(gateway)
    expect(rows(page)).to_have_count(2)
    expect(drawer).to_be_visible()
    page.keyboard.press("Escape")
    expect(drawer).to_have_count(0)
    rows(page).first.focus()
    page.keyboard.press("Enter")
    expect(drawer).to_be_visible()
    drawer.get_by_role("button", name="Close").click()
    expect(drawer).to_have_count(0)
    expect(rows(page).first).to_be_focused()


def test_failed_attempts_are_listed_with_their_reasons(page: Page, server: Scripted) -> None:
    with (
        Scripted(lambda request: openai_error(503, "The model is busy", "overloaded")) as down,
        Gateway(config(down, server)) as gateway,
    ):
        ask(gateway)
        login(page, gateway, "/requests")
        expect(page.locator("#table")).to_contain_text("2 attempts")
        rows(page).first.click()
        attempts = page.locator(".attempts li")
        expect(attempts).to_have_count(2)
        expect(attempts.first).to_contain_text("503")
        expect(attempts.first).to_contain_text("one/local")
        expect(attempts.nth(1)).to_contain_text("two/local")
        expect(page.locator(".phases")).to_contain_text("Failed attempts")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_list_and_the_drawer_are_accessible_and_fit(
    browsing: Browsing, gateway: Gateway, scheme: str, width: int
) -> None:
    ask(gateway)
    ask(gateway, text="fail")
    page = login(browsing.page(color_scheme=scheme, viewport={"width": width, "height": 844}), gateway, "/requests")
    assert look(page) == []
    page.goto(f"{gateway.url}/requests?group=session")
    assert look(page) == []
    rows(page).first.click()
    expect(page.locator(".drawer")).to_be_visible()
    assert look(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


# --------------------------------------------------------------------------------------------------------------- recording

KEY = "sk-ant-api03-abcdefghijklmnopqrstuvwxyz0123456789"
#: A request of Claude Code in small.
TOOLS: Any = {
    **ASK,
    "stream": True,
    "metadata": {"user_id": "user_4711"},
    "system": [{"type": "text", "text": "You are Claude Code.", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": f"Read a.txt with\n{KEY}"},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"path": "a.txt"}}],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "Its content."}]},
    ],
    "tools": [
        {
            "name": name,
            "description": "A tool",
            "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}},
        }
        for name in ("Read", "Write", "Edit", "Glob", "Grep")
    ],
}


def start_recording(page: Page, session: str = "") -> None:
    page.locator("#record summary").click()
    form = page.locator("#record form").first
    form.get_by_role("combobox", name="Minutes").select_option("5")
    if session:
        form.get_by_role("combobox", name="Of session").select_option(session)
    form.get_by_role("button", name="Record", exact=True).click()
    expect(page.locator(".notice")).to_contain_text("Byway records the prompts and answers")


def open_part(page: Page, name: str) -> Locator:
    """Open a part of the drawer."""
    page.locator(".drawer").get_by_role("link", name=name, exact=True).click()
    expect(page.locator(".drawer .page-tabs [aria-current]")).to_have_text(name)
    return page.locator(".drawer")


def send(gateway: Gateway, **fields: Any) -> None:
    headers = {"x-claude-code-session-id": SESSION, "x-api-key": KEY, "cookie": f"a={KEY}", **AGENT}
    gateway.post({**TOOLS, **fields}, headers=headers)


def test_recording_is_off_until_it_is_started_and_every_page_shows_it(page: Page, gateway: Gateway) -> None:
    send(gateway)
    login(page, gateway, "/requests")
    assert page.locator(".notice").count() == 0
    rows(page).first.click()
    for part in ("Request", "Answer"):
        expect(open_part(page, part)).to_contain_text("not recorded")
    # It starts from there too, for this session.
    page.get_by_role("button", name="Record this session for 15 minutes").click()
    expect(page.locator(".notice")).to_contain_text("the session 8f1d0c7a")
    for path in ("/", "/models", "/usage", "/trouble"):
        page.goto(gateway.url + path)
        expect(page.locator(".notice").filter(has_text="Byway records")).to_be_visible()
    ask(gateway, session=OTHER)
    send(gateway)
    page.goto(gateway.url + "/requests")
    expect(rows(page)).to_have_count(3)
    expect(page.locator("#table .tag").filter(has_text="recorded")).to_have_count(1)
    page.locator(".notice").get_by_role("button", name="Stop recording").click()
    expect(page.locator(".notice")).to_have_count(0)
    expect(page.locator("#record summary")).to_contain_text("1 recorded")
    send(gateway)
    expect(rows(page)).to_have_count(4)
    expect(page.locator("#table .tag").filter(has_text="recorded")).to_have_count(1)
    page.locator("#record summary").click()
    page.get_by_role("button", name="Delete what was recorded").click()
    expect(page.locator("#record summary")).to_have_text("Record prompts and answers")
    # Start, end and deletion are in the audit log, and nothing of it is in the log or on the disk.
    assert [entry for entry in audit(gateway) if entry.startswith("record")] == [
        "recorded requests deleted",
        "recording stopped",
        "recording started",
    ]
    assert "Its content." not in gateway.text
    for file in (gateway.home / "data").rglob("*"):
        assert not file.is_file() or b"Its content." not in file.read_bytes(), file


def audit(gateway: Gateway) -> list[str]:
    """What the audit log has, newest first."""
    answer = request(gateway.home / "data", "GET", "/byway/audit")
    assert answer is not None
    return [entry["what"] for entry in answer.body["audit"]]


def test_what_the_client_sent_is_beside_what_the_backend_got(page: Page, server: Scripted) -> None:
    def busy(request: Asked) -> Reply:
        return openai_error(503, "busy", "overloaded")

    with Scripted(busy) as down, Gateway(config(down, server)) as gateway:
        login(page, gateway, "/requests")
        start_recording(page)
        send(gateway)
        expect(rows(page)).to_have_count(1)
        rows(page).first.click()
        drawer = open_part(page, "Request")
        compared = drawer.locator(".compared")
        expect(compared.locator("tr.changed").first).to_contain_text('"claude-opus-5-5"')
        expect(compared.locator("tr.changed").first).to_contain_text('"local"')
        expect(compared.locator("tr.removed").filter(has_text='"metadata"')).to_be_visible()
        expect(compared.locator("tr.added").filter(has_text='"stream_options"')).to_be_visible()
        expect(drawer.locator(".marks")).to_contain_text("removed")
        headers = drawer.locator("#client-headers")
        headers.locator("summary").click()
        expect(headers).to_contain_text("[not recorded]")
        expect(drawer.locator(".calls a")).to_have_count(2)
        drawer.get_by_role("link", name="1. one 503").click()
        expect(page.locator(".drawer .calls [aria-current]")).to_contain_text("one 503")
        answer = open_part(page, "Answer")
        expect(answer.locator(".events")).to_contain_text("Hello there.")
        expect(answer.locator(".events tr").filter(has_text=re.compile(r"content_block_delta . 2"))).to_have_count(1)
        expect(answer).to_contain_text("What one answered: 503")
        answer.get_by_text("Bytes as they came").nth(1).click()
        expect(answer.locator("pre").nth(1)).to_contain_text("chat.completion.chunk")
        for part in ("Overview", "Request", "Answer", "Actions"):
            assert KEY not in open_part(page, part).inner_text(), part
            assert KEY not in page.content()
        # The same as a page of its own.
        page.get_by_role("link", name="Open as a page").click()
        page.get_by_role("link", name="Request", exact=True).click()
        expect(page.locator(".compared")).to_contain_text('"stream_options"')


def test_equal_lines_of_a_passthrough_are_folded(page: Page) -> None:
    with Scripted(lambda request: Say("Hi")) as server, Gateway(config(server, type="anthropic")) as gateway:
        login(page, gateway, "/requests")
        start_recording(page)
        send(gateway)
        rows(page).first.click()
        drawer = open_part(page, "Request")
        expect(drawer.locator(".marks")).to_contain_text("1 changed")
        fold = drawer.get_by_role("button", name=re.compile("equal lines"))
        expect(drawer.get_by_text('"Grep"').first).to_be_hidden()
        fold.click()
        expect(drawer.get_by_text('"Grep"').first).to_be_visible()
        fold.click()
        expect(drawer.get_by_text('"Grep"').first).to_be_hidden()


# ----------------------------------------------------------------------------------------------------------------- actions


@pytest.mark.parametrize("text", ['it\'s $HOME `id` \\ "quoted"', "line\nEND-OF-BODY\nmore", "漢字 \x00 \x1b[31m"])
def test_a_shell_reads_the_body_as_it_was(text: str, tmp_path: Path) -> None:
    body = {**ASK, "messages": [{"role": "user", "content": text}]}
    command = curl_command(
        "http://127.0.0.1:1/v1/messages", [("anthropic-beta", "a'b")], json.dumps(body, indent=2).encode()
    )
    fake = tmp_path / "curl"
    fake.write_text("#!/bin/sh\ncat > body\nprintf '%s\\n' \"$@\" > arguments\n")
    fake.chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", command],
        env={"PATH": f"{tmp_path}:/bin:/usr/bin"},
        cwd=tmp_path,
        check=False,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "body").read_text()) == body
    arguments = (tmp_path / "arguments").read_text().splitlines()
    assert "anthropic-beta: a'b" in arguments and "x-api-key: YOUR-KEY" in arguments


def test_the_curl_command_sends_the_request_again(page: Page, server: Scripted, gateway: Gateway) -> None:
    login(page, gateway, "/requests")
    ask(gateway)
    rows(page).first.click()
    expect(open_part(page, "Actions").locator("#curl-text")).to_contain_text("Say hello.")
    start_recording_from(page, gateway)
    send(gateway)
    expect(rows(page)).to_have_count(2)
    rows(page).first.click()
    text = open_part(page, "Actions").locator("#curl-text").inner_text()
    assert "YOUR-KEY" in text and KEY not in text and f"{gateway.url}/v1/messages" in text
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, timeout=60, check=False)
    assert "Hello" in done.stdout and "message_stop" in done.stdout, done.stderr
    again = server.requests[-1].json
    assert again["messages"][-1]["content"] == "Its content." and len(again["tools"]) == 5


def start_recording_from(page: Page, gateway: Gateway) -> None:
    page.goto(gateway.url + "/requests")
    start_recording(page)


def test_a_replay_asks_before_a_prompt_goes_to_a_cloud(page: Page, server: Scripted) -> None:
    with Scripted(lambda request: Say("I am a cloud.")) as cloud:
        settings = config(server, cloud)
        settings["backends"][1] |= {"name": "sky", "local": False, "models": ["big"]}
        settings["model_aliases"] = {"claude-opus-5-5": "one/local", "mixed": ["one/local", "sky/big"]}
        with Gateway(settings) as gateway:
            login(page, gateway, "/requests")
            start_recording(page)
            send(gateway)
            rows(page).first.click()
            drawer = open_part(page, "Actions")
            model = drawer.get_by_label("Model")
            # To another self-hosted model without a question.
            model.fill("one/local")
            drawer.get_by_role("button", name="Replay", exact=True).click()
            expect(drawer.locator("#replayed")).to_contain_text("Hello there.")
            assert len(server.requests) == 2 and not cloud.requests
            for name in ("sky/big", "mixed"):
                model.fill(name)
                drawer.get_by_role("button", name="Replay", exact=True).click()
                expect(drawer.locator("#replayed")).to_contain_text("send all of it to a cloud: sky (")
                assert not cloud.requests, "nothing is sent before the answer"
            model.fill("sky/big")
            drawer.get_by_role("button", name="Replay", exact=True).click()
            expect(drawer.locator("#replayed .outcome.warn")).to_be_visible()
            drawer.get_by_role("button", name=re.compile("^Send it to sky")).click()
            expect(drawer.locator("#replayed")).to_contain_text("I am a cloud.")
            assert len(cloud.requests) == 1 and cloud.requests[0].json["messages"][-1]["content"] == "Its content."
            assert KEY not in cloud.requests[0].body.decode()
            expect(rows(page)).to_have_count(3)
            # The list tells which answers came from a cloud.
            expect(page.locator("#table td[data-name=Target]").filter(has_text="cloud")).to_have_count(1)
            drawer.get_by_role("link", name="Open the new request").click()
            expect(page.locator(".attempts")).to_contain_text("sky/big")
            # A model that does not exist.
            page.goto(gateway.url + "/requests?model=one")
            rows(page).first.click()
            open_part(page, "Actions").get_by_label("Model").fill("nothing-here")
            page.get_by_role("button", name="Replay", exact=True).click()
            expect(page.locator("#replayed .outcome.bad")).to_contain_text("nothing-here")


def test_a_case_file_is_a_download_with_its_title_as_its_name(page: Page, gateway: Gateway) -> None:
    login(page, gateway, "/requests")
    start_recording(page)
    send(gateway)
    rows(page).first.click()
    drawer = open_part(page, "Actions")
    drawer.get_by_label("Title").fill("The model says hello, twice")
    with page.expect_download() as download:
        drawer.get_by_role("button", name="Save case file").click()
    assert download.value.suggested_filename == "the_model_says_hello_twice.case"
    content = download.value.path().read_text()
    assert content.startswith("The model says hello, twice\n") and "--- call\nPOST /v1/chat/completions" in content
    assert KEY not in content and "user_4711" not in content and "127.0.0.1" not in content
    assert list((gateway.home / "data").rglob("*.case")) == []


def test_the_commands_record_and_save_a_case_too(gateway: Gateway, tmp_path: Path) -> None:
    off = command(gateway, "record")
    assert off.returncode == 0 and "Recording is off" in off.stdout
    on = command(gateway, "record", "--minutes", "5")
    assert "Recording all requests of the local owner" in on.stdout
    send(gateway)
    case = command(gateway, "requests", "case", "1", "--title", "A saved case")
    assert case.returncode == 0 and case.stdout.startswith("A saved case\n") and "tests/cases/openai" in case.stderr
    assert KEY not in case.stdout
    assert "1 recorded" in command(gateway, "record", "--stop").stderr
    assert json.loads(command(gateway, "record", "--json").stdout)["requests"] == 1
    session = command(gateway, "record", "--session", SESSION)
    assert f"session {SESSION}" in session.stdout
    assert "0 recorded" in command(gateway, "record", "--discard").stderr
    missing = command(gateway, "requests", "case", "1")
    assert missing.returncode == 2 and "was not recorded" in missing.stderr
    assert command(gateway, "record", "--stop", "--minutes", "5").returncode == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_parts_of_a_recorded_request_are_accessible_and_fit(
    browsing: Browsing, gateway: Gateway, scheme: str, width: int
) -> None:
    page = login(browsing.page(color_scheme=scheme, viewport={"width": width, "height": 844}), gateway, "/requests")
    start_recording(page)
    send(gateway)
    rows(page).first.click()
    for part in ("Overview", "Request", "Answer", "Actions"):
        open_part(page, part)
        assert look(page) == [], part
        assert page.evaluate("document.documentElement.scrollWidth") <= width, part
