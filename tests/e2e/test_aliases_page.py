"""The editor of model aliases in a real browser: order, search, rows; by pointer, by keyboard, without JavaScript."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser import Browsing, alias_field, login, press, set_targets
from e2e.test_page_looks import look
from gateway import Gateway, config
from playwright.sync_api import Locator, Page, expect
from scripted import Say, Scripted

from byway.config import load

#: A backend with as many models as a large aggregator.
MANY = [f"maker-{number % 40:02}/model-{number:04}" for number in range(2000)]


@pytest.fixture(scope="module")
def server() -> Iterator[Scripted]:
    with Scripted(lambda request: Say("Hello there."), models=["qwen3:8b", "phi4"]) as server:
        yield server


@pytest.fixture
def gateway(server: Scripted) -> Iterator[Gateway]:
    settings = config(server)
    settings["backends"].append({"name": "many", "type": "generic", "url": server.url, "models": MANY})
    settings["model_aliases"] = {
        "default": "one/local",
        "haiku": ["one/local", "many/maker-00/model-0000", "nosuch/thing"],
    }
    with Gateway(settings) as gateway:
        yield gateway


@pytest.fixture
def opened(page: Page, gateway: Gateway) -> Iterator[Page]:
    yield login(page, gateway, "/claude")
    page.goto("about:blank")


def editor(page: Page, alias: str) -> Locator:
    return page.get_by_label(f"Targets of {alias}", exact=True).locator("xpath=ancestor::*[@data-targets]")


def chips(page: Page, alias: str) -> Locator:
    return editor(page, alias).locator(".chip")


def saved(gateway: Gateway) -> dict[str, object]:
    aliases = load(gateway.file.read_text(), {}).model_aliases
    return {name: targets[0] if len(targets) == 1 else list(targets) for name, targets in aliases.items()}


def save(page: Page) -> None:
    press(page.locator("#aliases"), "Save")


def test_targets_are_ordered_by_buttons_keys_and_dragging(opened: Page, gateway: Gateway) -> None:
    haiku = editor(opened, "haiku")
    expect(chips(opened, "haiku")).to_have_count(3)
    expect(chips(opened, "haiku").nth(2)).to_contain_text("not served")
    haiku.get_by_role("button", name="Move many/maker-00/model-0000 up").click()
    assert alias_field(opened, "haiku").input_value() == "many/maker-00/model-0000, one/local, nosuch/thing"
    # The first one cannot move further up; the focus stays on its row.
    expect(haiku.get_by_role("button", name="Move many/maker-00/model-0000 up")).to_be_disabled()
    expect(haiku.get_by_role("button", name="Move many/maker-00/model-0000 down")).to_be_focused()
    opened.keyboard.press("Alt+ArrowDown")
    opened.keyboard.press("Alt+ArrowDown")
    expect(haiku.get_by_role("status")).to_have_text("many/maker-00/model-0000 is number 3 of 3.")
    assert alias_field(opened, "haiku").input_value() == "one/local, nosuch/thing, many/maker-00/model-0000"
    chips(opened, "haiku").nth(2).locator(".grip").drag_to(
        chips(opened, "haiku").nth(0), target_position={"x": 9, "y": 3}
    )
    assert alias_field(opened, "haiku").input_value() == "many/maker-00/model-0000, one/local, nosuch/thing"
    haiku.get_by_role("button", name="Remove nosuch/thing").click()
    expect(haiku.get_by_role("button", name="Remove one/local")).to_be_focused()
    save(opened)
    assert saved(gateway)["haiku"] == ["many/maker-00/model-0000", "one/local"]
    expect(chips(opened, "haiku")).to_have_count(2)


def test_a_search_among_two_thousand_models_is_bounded_and_grouped(opened: Page, gateway: Gateway) -> None:
    box = opened.get_by_label("Targets of opus", exact=True)
    box.click()
    popup = editor(opened, "opus").get_by_role("listbox")
    expect(popup.get_by_role("option")).to_have_count(50)
    expect(popup.get_by_role("group", name="one")).to_contain_text("local")
    expect(popup.get_by_role("group", name="many")).to_be_visible()
    expect(popup).to_contain_text("1,951 more")
    box.press_sequentially("many maker-07 0047")
    expect(popup.get_by_role("option")).to_have_text(["maker-07/model-0047"])
    box.press("ArrowDown")
    expect(popup.get_by_role("option")).to_have_attribute("aria-selected", "true")
    box.press("Enter")
    expect(popup).to_be_hidden()
    expect(chips(opened, "opus")).to_have_count(1)
    # A pointer chooses too, and Escape closes without a choice.
    box.fill("model-1999")
    popup.get_by_role("option", name="maker-39/model-1999").click()
    box.fill("model-1")
    expect(popup.get_by_role("option").first).to_be_visible()
    box.press("Escape")
    expect(popup).to_be_hidden()
    box.fill("no such model")
    expect(popup).to_contain_text("No model matches.")
    box.fill("")
    # Backspace in the empty field takes back the last one.
    box.press("Backspace")
    save(opened)
    assert saved(gateway)["opus"] == "many/maker-07/model-0047"


def test_typed_text_counts_without_a_choice(opened: Page, gateway: Gateway) -> None:
    opened.get_by_label("Targets of opus", exact=True).fill("one/local, somewhere/else")
    save(opened)
    assert saved(gateway)["opus"] == ["one/local", "somewhere/else"]


def test_rows_are_added_and_one_is_deleted(opened: Page, gateway: Gateway) -> None:
    set_targets(opened, "fable", "one/local")
    opened.get_by_role("button", name="Add a row").click()
    names = opened.get_by_label("Name or pattern of a new alias")
    expect(names).to_have_count(2)
    expect(names.nth(1)).to_be_focused()
    for number, name in enumerate(("gpt-*", "exact-name")):
        names.nth(number).fill(name)
        opened.get_by_label("Targets of the new alias", exact=True).nth(number).fill("one/local")
    save(opened)
    assert {"gpt-*", "exact-name", "fable"} <= set(saved(gateway))
    # Enter in a field saves: it does not press the first button of the table.
    names.fill("other")
    opened.get_by_label("Targets of the new alias", exact=True).fill("one/local")
    opened.get_by_label("Targets of the new alias", exact=True).press("Enter")
    names.press("Enter")
    expect(opened.get_by_label("Targets of other", exact=True)).to_be_visible()
    assert {"haiku", "other"} <= set(saved(gateway))
    # Deleting keeps what else was changed.
    set_targets(opened, "sonnet", "one/local")
    press(opened.locator("#aliases"), "Delete alias gpt-*")
    expect(opened.locator("#aliases")).to_contain_text("Alias gpt-* removed")
    expect(opened.locator("#aliases")).to_contain_text("Requests for it use default now.")
    expect(opened.get_by_label("Targets of gpt-*", exact=True)).to_have_count(0)
    assert "gpt-*" not in saved(gateway)
    assert saved(gateway)["sonnet"] == "one/local"
    press(opened.locator("#aliases"), "Delete alias haiku")
    assert "haiku" not in saved(gateway)
    expect(chips(opened, "haiku")).to_have_count(0)


def test_without_javascript_the_targets_are_text(browsing: Browsing, gateway: Gateway) -> None:
    page = login(browsing.page(java_script_enabled=False), gateway, "/claude")
    field = page.get_by_label("Targets of haiku")
    expect(field).to_have_value("one/local, many/maker-00/model-0000, nosuch/thing")
    field.fill("many/maker-00/model-0000, one/local")
    page.get_by_label("Name or pattern of a new alias").fill("gpt-*")
    page.get_by_label("Targets of the new alias").fill("one/local")
    page.locator("#aliases").get_by_role("button", name="Save").click()
    assert saved(gateway)["haiku"] == ["many/maker-00/model-0000", "one/local"]
    page.get_by_role("button", name="Delete alias gpt-*").click()
    assert "gpt-*" not in saved(gateway) and "haiku" in saved(gateway)


def test_quick_setup_searches_too_when_there_are_many_models(opened: Page, gateway: Gateway) -> None:
    assert len(opened.content()) < 150_000
    opened.locator("#quick-model").fill("model-0123")
    opened.locator("#quick").get_by_role("option", name="maker-03/model-0123").click()
    press(opened.locator("#quick"), "Apply")
    expect(opened.locator("#quick .outcome")).to_contain_text("model-0123 is used for every Claude name")
    assert saved(gateway)["default"] == "many/maker-03/model-0123"


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing_serious_and_nothing_is_cut(
    browsing: Browsing, gateway: Gateway, scheme: str, width: int
) -> None:
    page = login(browsing.page(color_scheme=scheme, viewport={"width": width, "height": 844}), gateway, "/claude")
    page.get_by_label("Targets of opus", exact=True).click()
    expect(editor(page, "opus").get_by_role("option").first).to_be_visible()
    assert look(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.goto("about:blank")
