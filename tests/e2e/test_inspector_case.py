"""A real session of Claude Code: seen live in Requests, opened in the inspector, saved as a case, and that case passes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import login
from e2e.claude import Claude
from gateway import Gateway, config
from playwright.sync_api import Page, expect
from scripted import Asked, Say, Scripted, Tool

ROOT = Path(__file__).parents[2]
SECRET = "sk-secret-of-the-backend-0123456789"
PROMPT = "Read the file notes.txt and tell me what it contains."


def model(request: Asked) -> Say:
    """Reads the file, then says what it contains."""
    text = request.body.decode()
    if "remember the milk" in text:
        return Say("It contains a reminder of the milk.", thinking="The file is short.", tokens=(2500, 12), gap=0.01)
    if '"Read"' in text and PROMPT in text:
        path = re.search(r'[^"\s]*/work\b', text)
        folder = path[0] if path else "."
        return Say(tools=(Tool("Read", {"file_path": f"{folder}/notes.txt"}),), tokens=(2000, 30), gap=0.01)
    return Say("A title", tokens=(100, 3))


@pytest.fixture
def gateway(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    with Scripted(model) as server:
        settings = config(server, type=request.param)
        settings["backends"][0]["api_key"] = SECRET
        with Gateway(settings) as gateway:
            yield gateway


def run_case(file: Path) -> None:
    """Run the tests of cases on a file of its own."""
    folder = file.parent.parent
    chosen = f"{file.stem} or test_the_name_of_a_file"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-n",
            "0",
            "tests/test_cases.py",
            "-k",
            chosen,
        ],
        cwd=ROOT,
        env={**os.environ, "BYWAY_TEST_CASES": str(folder), "BYWAY_TEST_EXAMPLES": "0.125"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed and int(passed[1]) >= 5, done.stdout


@pytest.mark.parametrize(
    ("gateway", "folder"), [("generic", "openai"), ("anthropic", "anthropic")], indirect=["gateway"]
)
def test_a_session_of_claude_code_becomes_a_case_that_passes(
    page: Page, gateway: Gateway, folder: str, tmp_path: Path
) -> None:
    claude = Claude(tmp_path / "home", gateway.url, ANTHROPIC_API_KEY="sk-byway-key-of-the-client-0123456789")
    (claude.work / "notes.txt").write_text("remember the milk\nand the key sk-ant-api03-abcdefghijklmnopqrstuvwxyz\n")
    login(page, gateway, "/requests")
    page.locator("#record summary").click()
    page.get_by_role("button", name="Record", exact=True).click()
    expect(page.locator(".notice")).to_contain_text("Byway records")
    turn = claude.ask(PROMPT, "--allowedTools", "Read")
    assert "reminder of the milk" in turn.text
    # Live, without a reload: each request of the session, under its id.
    session = str(turn.result["session_id"])[:8]
    mine = page.locator("#table tbody tr").filter(has_text=session)
    expect(mine.first).to_be_visible()
    page.get_by_role("checkbox", name="Group by session").check()
    expect(page.locator(".group").filter(has_text=session)).to_contain_text("claude-cli")
    page.get_by_role("searchbox", name="Search").fill("end_turn")
    # The row must be that of the filtered table: the one before it is replaced, and a click on it is lost.
    row = page.locator("#table [data-row]")
    expect(row).to_have_count(1)
    row.click()
    drawer = page.locator(".drawer")
    for phase in ("First token", "Stream"):
        expect(drawer.locator(".phases")).to_contain_text(phase)
    expect(drawer.locator(".attempts li")).to_have_count(1)
    drawer.get_by_role("link", name="Request", exact=True).click()
    expect(drawer.locator(".compared")).to_contain_text('"messages"')
    drawer.get_by_role("link", name="Answer", exact=True).click()
    expect(drawer.locator(".events")).to_contain_text("It contains a reminder of the milk.")
    drawer.get_by_role("link", name="Actions", exact=True).click()
    drawer.get_by_label("Title").fill("Claude Code reads a file of notes")
    with page.expect_download() as download:
        drawer.get_by_role("button", name="Save case file").click()
    file = tmp_path / "cases" / folder / download.value.suggested_filename
    file.parent.mkdir(parents=True)
    download.value.save_as(file)
    content = file.read_text()
    assert "remember the milk" in content and "It contains a reminder of the milk." in content
    for secret in (SECRET, "sk-byway-key-of-the-client", "sk-ant-api03", "account_uuid"):
        assert secret not in content, secret
    run_case(file)


@pytest.mark.parametrize("gateway", ["generic"], indirect=True)
def test_a_saved_case_that_is_changed_does_not_pass(page: Page, gateway: Gateway, tmp_path: Path) -> None:
    """The runner does check the saved case."""
    login(page, gateway, "/requests")
    page.locator("#record summary").click()
    page.get_by_role("button", name="Record", exact=True).click()
    body = {"model": "sonnet", "max_tokens": 50, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    gateway.post(body)
    page.locator("#table [data-row]").first.click()
    page.locator(".drawer").get_by_role("link", name="Actions", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save case file").click()
    file = tmp_path / "openai" / download.value.suggested_filename
    file.parent.mkdir()
    download.value.save_as(file)
    run_case(file)
    file.write_text(file.read_text().replace('text "A title"', 'text "Another title"'))
    with pytest.raises(AssertionError, match="1 failed"):
        run_case(file)
