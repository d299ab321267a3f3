"""The page Config in a real browser: live check, save, conflict, export, import and versions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import login, press
from gateway import Gateway, config
from playwright.sync_api import Locator, Page, expect
from scripted import Say, Scripted

SECRET = "sk-plain-in-the-config-0123456789"
TEXT = """\
# The box under the desk.
backends:
  - name: lab   # mine
    type: generic
    url: {url}
    api_key: "{secret}"
    models: [local]
model_aliases: {{default: [lab/local]}}
timeouts:
  connect: 7s
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Scripted]:
    with Scripted(lambda request: Say("Hello there.")) as server:
        yield server


@pytest.fixture
def gateway(server: Scripted) -> Iterator[Gateway]:
    with Gateway(TEXT.format(url=server.url, secret=SECRET)) as gateway:
        yield gateway


@pytest.fixture
def area(page: Page, gateway: Gateway) -> Locator:
    """The editor's text area."""
    login(page, gateway, "/config")
    return page.locator("#config-text")


def problems(page: Page) -> Locator:
    return page.locator("#config-problems")


def outcome(page: Page, card: str) -> Locator:
    return page.locator(f"#{card} .outcome")


def test_problems_appear_while_typing_and_a_click_jumps_to_their_line(
    page: Page, gateway: Gateway, area: Locator
) -> None:
    before = gateway.file.read_text()
    expect(problems(page)).to_contain_text("valid")
    area.fill(area.input_value().replace("7s", "soon") + "nonsense: 1\n")
    expect(problems(page)).to_contain_text("2 errors")
    expect(page.locator(".gutter .error")).to_have_text(["10", "11"])
    problems(page).get_by_role("button", name="line 10").click()
    selected = "() => { const a = document.activeElement; return a.value.slice(a.selectionStart, a.selectionEnd); }"
    assert page.evaluate(selected) == "  connect: soon"
    # Nothing was written, and Save refuses it with the typed text kept.
    press(page.locator("#editor"), "Save")
    expect(outcome(page, "editor")).to_contain_text("Not saved: 2 errors")
    assert "connect: soon" in area.input_value() and gateway.file.read_text() == before


def test_saving_keeps_comments_and_hidden_secrets_and_can_be_undone(
    page: Page, gateway: Gateway, area: Locator
) -> None:
    before = gateway.file.read_text()
    assert SECRET not in page.content() and "SECRET-NOT-SHOWN-" in area.input_value()
    area.fill(area.input_value().replace("# mine", "# ours"))
    expect(page.locator(".unsaved")).to_be_visible()
    area.press("Control+s")
    expect(outcome(page, "editor")).to_contain_text("Saved.")
    assert gateway.file.read_text() == before.replace("# mine", "# ours")
    expect(page.locator("#history").get_by_role("row", name="edited on the page")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("Undone.")).to_be_visible()
    assert gateway.file.read_text() == before
    expect(area).to_have_value(re.compile("# mine"))
    # The editor works as before.
    area.fill(area.input_value() + "nonsense: 1\n")
    expect(page.locator(".gutter .error")).to_have_text(["11"])
    page.get_by_role("link", name="Reload").click()


def test_tab_and_enter_indent_and_escape_leaves_the_editor(page: Page, area: Locator) -> None:
    area.click()
    area.fill("usage:")
    area.press("End")
    area.press("Enter")
    area.type("x: 1")
    assert area.input_value() == "usage:\n  x: 1"
    area.press("Control+a")
    area.press("Tab")
    assert area.input_value() == "  usage:\n    x: 1"
    area.press("Shift+Tab")
    assert area.input_value() == "usage:\n  x: 1"
    area.press("Escape")
    area.press("Tab")
    expect(area).not_to_be_focused()
    page.get_by_role("link", name="Reload").click()
    expect(page.get_by_role("heading", name="Config", level=1)).to_be_visible()


def test_an_edit_of_others_meanwhile_loses_neither_text(page: Page, gateway: Gateway, area: Locator) -> None:
    area.fill(area.input_value().replace("# mine", "# ours"))
    gateway.write(gateway.file.read_text().replace("7s", "9s"))
    press(page.locator("#editor"), "Save")
    expect(outcome(page, "editor")).to_contain_text("the file was changed since you opened it")
    expect(page.locator("#config-theirs")).to_have_value(re.compile("connect: 9s"))
    assert "# ours" in area.input_value() and "7s" in area.input_value()
    assert "9s" in gateway.file.read_text() and "# mine" in gateway.file.read_text()
    page.get_by_text("Differences").click()
    expect(page.locator("#editor .removed", has_text="9s")).to_be_visible()
    area.fill(area.input_value().replace("7s", "9s"))
    press(page.locator("#editor"), "Save my text")
    expect(outcome(page, "editor")).to_contain_text("Saved.")
    text = gateway.file.read_text()
    assert "9s" in text and "# ours" in text and SECRET in text


def test_the_download_has_no_secret_and_names_its_variables(page: Page, gateway: Gateway, area: Locator) -> None:
    page.get_by_text("1 variable to set on the other machine").click()
    expect(page.locator("#transfer")).to_contain_text("BYWAY_BACKENDS_LAB_API_KEY")
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Download").click()
    text = Path(downloading.value.path()).read_text()
    assert downloading.value.suggested_filename == "byway.yaml"
    assert SECRET not in text and "${BYWAY_BACKENDS_LAB_API_KEY}" in text and "# mine" in text


def test_an_import_shows_its_changes_before_it_is_made(
    page: Page, gateway: Gateway, area: Locator, tmp_path: Path
) -> None:
    card = page.locator("#transfer")
    new = tmp_path / "new.yaml"
    new.write_text("backends: 5\n")
    card.get_by_label("File").set_input_files(new)
    expect(card.get_by_label("Text")).to_have_value("backends: 5\n")
    press(card, "Show the changes")
    expect(outcome(page, "transfer")).to_contain_text("Not imported: 1 error")
    text = gateway.file.read_text().replace(SECRET, "${BYWAY_LAB_KEY}").replace("7s", "3s")
    card.get_by_label("Text").fill(text)
    press(card, "Show the changes")
    expect(card.locator(".added")).to_contain_text(["connect: 3s"])
    assert "7s" in gateway.file.read_text() and SECRET not in page.content()
    press(card, "Import")
    expect(outcome(page, "transfer")).to_contain_text("Imported.")
    # The secret of this machine stays: the variable is not set here.
    assert "3s" in gateway.file.read_text() and SECRET in gateway.file.read_text()
    expect(area).to_have_value(re.compile("connect: 3s"))


def test_a_broken_file_is_corrected_in_the_editor(page: Page, gateway: Gateway, area: Locator) -> None:
    before = gateway.file.read_text()
    gateway.write(before.replace("models: [local]", "models: [local"))
    page.reload()
    expect(problems(page)).to_contain_text("1 error")
    assert SECRET not in page.content()
    area.fill(area.input_value().replace("models: [local", "models: [local]"))
    expect(problems(page)).to_contain_text("valid")
    press(page.locator("#editor"), "Save")
    expect(outcome(page, "editor")).to_contain_text("Saved.")
    assert gateway.file.read_text() == before


# --------------------------------------------------------------------------------------------------------------- history


def test_versions_are_shown_and_restored(page: Page, server: Scripted) -> None:
    with Gateway(config(server)) as gateway:
        login(page, gateway)
        before = gateway.file.read_text()
        page.goto(gateway.url + "/config")
        area = page.locator("#config-text")
        area.fill(area.input_value().replace('"default"', '"haiku": "one/first",\n  "default"'))
        press(page.locator("#editor"), "Save")
        expect(outcome(page, "editor")).to_contain_text("Saved.")
        page.get_by_role("link", name="Show the changes of version 2").click()
        expect(page.get_by_role("heading", name="Version 2")).to_be_visible()
        expect(page.locator("pre.diff .added")).to_contain_text("haiku")
        page.get_by_role("link", name="History").click()
        press(page.locator("#history"), "Restore version 1")
        expect(outcome(page, "history")).to_contain_text("Restored version 1.")
        assert gateway.file.read_text() == before
        # By the version's own page, too; and one whose file has moved on says so.
        page.get_by_role("link", name="Show the changes of version 2").click()
        gateway.write(json.loads(before) | {"logging": {"level": "warning"}})
        page.get_by_role("button", name="Restore this version").click()
        expect(page.get_by_text("The config was changed since it was loaded")).to_be_visible()
        assert "warning" in gateway.file.read_text()


def test_secrets_are_not_in_the_history(page: Page, gateway: Gateway, area: Locator) -> None:
    gateway.write(gateway.file.read_text().replace(SECRET, SECRET + "9"))
    page.reload()
    page.get_by_role("link", name="Show the changes of version 2").click()
    expect(page.get_by_role("heading", name="Version 2")).to_be_visible()
    assert SECRET not in page.content()
    answer = page.request.get(f"{gateway.url}/byway/config/versions/2")
    assert answer.ok and SECRET not in answer.text()
