"""The page Playground: stream, stop, thinking, tools, images, errors, facts of an answer, accounts, phone."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import scripted
from browser import Browsing, login
from e2e.test_page_looks import look
from gateway import Gateway, config
from playwright.sync_api import Page, expect
from scripted import Gate, Reply, Say, Scripted, Tool

from byway.admin.probes import picture

pytestmark = pytest.mark.real
#: What a browser reports of an answer with an error.
FAILED = "Failed to load resource: the server responded with a status of 502"


@pytest.fixture(scope="module")
def wire() -> Iterator[tuple[Scripted, Gateway]]:
    with Scripted([], models=("local", "second")) as server:
        settings: dict[str, Any] = config(server)
        settings["backends"][0]["models"] = ["local", "second"]
        settings["backends"].append(
            {"name": "far", "type": "openai", "url": server.url, "api_key": "sk-x", "local": False, "models": ["gpt-x"]}
        )
        settings["model_aliases"] = {"sonnet": "one/local", "claude-*": "one/second"}
        with Gateway(settings) as gateway:
            yield server, gateway


@pytest.fixture
def server(wire: tuple[Scripted, Gateway]) -> Scripted:
    wire[0].requests.clear()
    return wire[0]


@pytest.fixture
def playground(wire: tuple[Scripted, Gateway], page: Page) -> Page:
    return login(page, wire[1], "/playground")


def send(page: Page, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    page.get_by_role("button", name="Send").click()


def last_answer(page: Page) -> Any:
    return page.locator(".message.model").last


def done(page: Page) -> Any:
    """The last answer when it is complete."""
    expect(page.get_by_role("button", name="Send")).to_be_enabled()
    return last_answer(page)


def test_an_answer_streams_and_shows_what_it_took(server: Scripted, playground: Page) -> None:
    gate = Gate()
    server.play([Say("Hello there, friend", tokens=(1200, 34), edit=lambda steps: [*steps[:3], gate, *steps[3:]])])
    send(playground, "Hi")
    answer = last_answer(playground)
    expect(answer).to_contain_text("Hello")
    expect(answer).not_to_contain_text("friend")
    gate.set()
    expect(answer).to_contain_text("Hello there, friend")
    facts = answer.locator(".facts")
    for text in ("to first token", "1,200 in", "34 out", "one/local", "in total"):
        expect(facts).to_contain_text(text)
    facts.get_by_role("link", name=re.compile(r"Request \d+")).click()
    expect(playground.locator("main")).to_contain_text("playground")


def test_the_conversation_is_sent_with_each_message(server: Scripted, playground: Page) -> None:
    server.play([Say("I am a model."), Say("As I said.")])
    send(playground, "Who are you?")
    done(playground)
    playground.get_by_text("System prompt").first.click()
    playground.get_by_role("textbox", name="System prompt").fill("Be brief.")
    playground.get_by_label("Message", exact=True).fill("Again?")
    playground.keyboard.press("Enter")
    expect(playground.locator(".message.model")).to_have_count(2)
    done(playground)
    roles = [(message["role"], message["content"]) for message in server.requests[-1].json["messages"]]
    assert roles == [
        ("system", "Be brief."),
        ("user", "Who are you?"),
        ("assistant", "I am a model."),
        ("user", "Again?"),
    ]
    playground.get_by_role("button", name="New conversation").click()
    expect(playground.get_by_text("Nothing sent yet.")).to_be_visible()


def test_stop_ends_the_request_at_the_backend(server: Scripted, playground: Page) -> None:
    gate = Gate()
    server.play([Say("One two three", edit=lambda steps: [*steps[:3], gate, *steps[3:]]), Say("Yes.")])
    send(playground, "Count")
    expect(last_answer(playground)).to_contain_text("One")
    playground.get_by_role("button", name="Stop").click()
    expect(last_answer(playground)).to_contain_text("stopped")
    server.requests[0].left()
    gate.set()
    expect(playground.get_by_role("button", name="Stop")).to_be_hidden()
    send(playground, "Are you there?")
    expect(playground.locator(".message.model")).to_have_count(2)
    expect(done(playground)).to_contain_text("Yes.")


def test_thinking_is_shown_folded(server: Scripted, playground: Page) -> None:
    server.play([Say("391", thinking="17 times 20 is 340, and 51 more.")])
    playground.get_by_text("More", exact=True).click()
    playground.get_by_label("Thinking").select_option("1024")
    send(playground, "17 times 23?")
    answer = done(playground)
    expect(answer.get_by_text("340")).to_be_hidden()
    answer.get_by_text("Thinking", exact=True).click()
    expect(answer.get_by_text("340")).to_be_visible()


def test_the_demo_tools_run_and_the_loop_is_shown(server: Scripted, playground: Page) -> None:
    calls = [Tool("add", {"numbers": [1234, 5678]}), Tool("get_time", {"zone": "UTC"})]
    server.play([Say(tools=calls), Say("It is 6912.")])
    playground.get_by_role("button", name="Test the tools").click()
    expect(playground.locator(".message.model")).to_have_count(2)
    expect(done(playground)).to_contain_text("It is 6912.")
    first = playground.locator(".message.model").first
    expect(first).to_contain_text("Calls add")
    expect(first.locator(".result").first).to_have_text("6912")
    expect(first.locator(".result").last).to_contain_text("UTC")
    results = [message for message in server.requests[-1].json["messages"] if message["role"] == "tool"]
    assert len(results) == 2 and "6912" in results[0]["content"]
    assert [tool["function"]["name"] for tool in server.requests[0].json["tools"]] == ["get_time", "add"]


def test_a_long_answer_is_followed_until_the_person_scrolls_up(server: Scripted, playground: Page) -> None:
    gate = Gate()
    text = "\n".join(f"line {line}" for line in range(200))
    server.play([Say([text, "the end"], edit=lambda steps: [*steps[:2], gate, *steps[2:]])])
    send(playground, "Count")
    expect(playground.get_by_text("line 199")).to_be_in_viewport()
    playground.locator("#talk").evaluate("talk => talk.scrollTop = 0")
    playground.wait_for_function("document.getElementById('talk').scrollTop === 0")
    gate.set()
    expect(done(playground)).to_contain_text("the end")
    assert playground.locator("#talk").evaluate("talk => talk.scrollTop") == 0


def test_a_loop_of_tool_calls_ends(server: Scripted, playground: Page) -> None:
    server.play(lambda request: Say(tools=[Tool("add", {"numbers": [1]})]))
    playground.get_by_label("Demo tools").check()
    send(playground, "Add forever")
    expect(playground.get_by_role("alert")).to_contain_text("The loop ends here")
    assert len(server.requests) == 5
    server.play([Say("Fine.")])
    send(playground, "And now?")
    expect(done(playground)).to_contain_text("Fine.")
    assert len(server.requests[-1].json["messages"]) == 1 or server.requests[-1].json["messages"][-1]["role"] == "user"


def test_an_image_is_sent(server: Scripted, playground: Page) -> None:
    server.play([Say("Red and blue.")])
    image: Any = {"name": "flag.png", "mimeType": "image/png", "buffer": base64.b64decode(picture())}
    playground.locator("#file").set_input_files([image])
    expect(playground.get_by_role("button", name="Remove flag.png")).to_be_visible()
    send(playground, "What is this?")
    expect(done(playground)).to_contain_text("Red and blue.")
    expect(playground.get_by_role("img", name="flag.png")).to_be_visible()
    assert picture()[:60] in json.dumps(server.requests[-1].json)


def test_an_error_shows_the_message_of_byway_and_keeps_what_was_typed(
    server: Scripted, playground: Page, browsing: Browsing
) -> None:
    browsing.allowed.append(FAILED)
    server.play([scripted.openai_error(401, "bad key", "invalid_request_error")])
    send(playground, "Hello?")
    expect(playground.get_by_role("alert")).to_contain_text("rejected the API key")
    expect(playground.get_by_label("Message", exact=True)).to_have_value("Hello?")
    server.play([Say("Better.")])
    playground.get_by_role("button", name="Send").click()
    expect(done(playground)).to_contain_text("Better.")


def test_an_error_in_the_middle_of_a_stream_is_shown(server: Scripted, playground: Page) -> None:
    server.play([Say("One two three", edit=scripted.cut(3))])
    send(playground, "Count")
    expect(playground.get_by_role("alert")).to_be_visible()
    expect(last_answer(playground)).to_contain_text("One")


def test_the_model_is_found_by_typing_and_has_a_tag(server: Scripted, playground: Page) -> None:
    pick = playground.get_by_role("combobox", name="Model")
    expect(pick).to_have_value("sonnet")
    expect(playground.locator("#pick-where")).to_have_text("local")
    pick.click()
    expect(playground.get_by_role("option", name="claude-*")).to_have_count(0)
    pick.fill("gpt")
    expect(playground.get_by_role("listbox", name="Models").get_by_role("option")).to_have_count(1)
    playground.keyboard.press("Enter")
    expect(pick).to_have_value("far/gpt-x")
    expect(playground.locator("#pick-where")).to_have_text("cloud")
    pick.fill("second")
    playground.get_by_role("option", name="one/second").click()
    server.play([Say("Hi.")])
    send(playground, "Hi")
    done(playground)
    assert server.requests[-1].json["model"] == "second"
    pick.fill("nothing like this")
    expect(playground.get_by_text("No model matches.")).to_be_visible()
    playground.keyboard.press("Escape")
    expect(pick).to_have_value("one/second")


def test_a_request_can_be_copied_as_curl(server: Scripted, wire: tuple[Scripted, Gateway], browsing: Browsing) -> None:
    page = browsing.page(permissions=["clipboard-read", "clipboard-write"])
    login(page, wire[1], "/playground")
    server.play([Say("It's fine.")])
    page.get_by_text("More", exact=True).click()
    page.get_by_label("Max tokens").fill("77")
    page.get_by_label("Temperature").fill("0.5")
    send(page, "It's me")
    done(page).get_by_role("button", name="Copy as curl").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    text = page.evaluate("navigator.clipboard.readText()")
    assert text.startswith(f"curl {wire[1].url}/anthropic/v1/messages") and "x-api-key: YOUR-KEY" in text
    body = json.loads(text.partition("-d '")[2][:-1].replace("'\\''", "'"))
    assert body["max_tokens"] == 77 and body["temperature"] == 0.5
    assert body["messages"] == [{"role": "user", "content": "It's me"}]


def test_the_usage_names_the_playground(server: Scripted, wire: tuple[Scripted, Gateway], playground: Page) -> None:
    server.play([Say("Hi.", tokens=(10, 2))])
    send(playground, "Hi")
    done(playground)
    playground.goto(f"{wire[1].url}/usage?by=agent")
    expect(playground.locator("main")).to_contain_text("playground")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_is_accessible_and_fits(
    server: Scripted, wire: tuple[Scripted, Gateway], browsing: Browsing, scheme: Any, width: int
) -> None:
    browsing.allowed.append(FAILED)
    page = browsing.page(color_scheme=scheme, viewport={"width": width, "height": 844})
    login(page, wire[1], "/playground")
    assert look(page) == []
    answers: list[Say | Reply] = [
        Say(thinking="Hm. " * 40, tools=[Tool("add", {"numbers": [1, 2]})]),
        Say("averylongwordwithoutanybreak" * 20),
        scripted.openai_error(500, "CUDA error", "server_error"),
        scripted.openai_error(500, "CUDA error", "server_error"),
    ]
    server.play(answers)
    page.get_by_role("button", name="Test the tools").click()
    expect(page.locator(".message.model")).to_have_count(2)
    done(page)
    send(page, "And now fail")
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_text("More", exact=True).click()
    page.get_by_role("combobox", name="Model").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert look(page) == []
