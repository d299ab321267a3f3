"""The fixes that Verify offers as buttons: load the model, use another one, verify again, open the page with the fix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import scripted
from browser import login
from gateway import Gateway
from playwright.sync_api import Page, expect
from scripted import Asked, Reply, Say, ScriptedPages

pytestmark = pytest.mark.real
LM_STUDIO = "No models loaded. Please load a model in the developer page or use the `lms load` command."
LOAD = "/api/v1/models/load"


@pytest.fixture(scope="module")
def wire() -> Iterator[tuple[ScriptedPages, ScriptedPages, Gateway]]:
    """An LM Studio without a loaded model, and another server."""
    loaded = {"model_instance_id": "qwen3", "load_time_seconds": 9.1}
    with (
        ScriptedPages({LOAD: loaded, "/api/v0/models": {"data": []}}, models=("qwen3",)) as studio,
        ScriptedPages({}, models=("glm",)) as other,
    ):
        backends = [
            {"name": "studio", "type": "lmstudio", "url": studio.url},
            {"name": "box", "type": "generic", "url": other.url},
        ]
        with Gateway({"backends": backends, "model_aliases": {"default": "studio/qwen3"}}) as gateway:
            yield studio, other, gateway


def play(server: ScriptedPages, answer: Reply | Say) -> None:
    server.play(lambda request: answer)


def verify(page: Page, gateway: Gateway) -> Any:
    login(page, gateway, "/claude")
    page.locator("#endpoint").get_by_role("button", name="Verify", exact=True).click()
    return page.locator("#endpoint").get_by_role("alert")


def test_a_model_that_is_not_loaded_is_loaded_by_a_button(
    wire: tuple[ScriptedPages, ScriptedPages, Gateway], page: Page
) -> None:
    studio, _, gateway = wire

    def script(request: Asked) -> Reply | Say:
        return Say("Hi") if studio.received(LOAD) else scripted.openai_error(400, LM_STUDIO, "invalid_request_error")

    studio.play(script)
    outcome = verify(page, gateway)
    expect(outcome).to_contain_text("No model is loaded")
    outcome.get_by_role("button", name="Load qwen3 in LM Studio").click()
    expect(page.locator("#endpoint")).to_contain_text("qwen3 at studio answered for sonnet")
    [loading] = studio.received(LOAD)
    assert loading.json == {"model": "qwen3"}


def test_a_load_that_fails_shows_why(wire: tuple[ScriptedPages, ScriptedPages, Gateway], page: Page) -> None:
    studio, _, gateway = wire
    play(studio, scripted.openai_error(400, LM_STUDIO, "invalid_request_error"))
    studio.pages[LOAD] = 500
    outcome = verify(page, gateway)
    outcome.get_by_role("button", name="Load qwen3 in LM Studio").click()
    expect(outcome).to_contain_text("studio")
    expect(outcome).to_contain_text("No model is loaded")


def test_another_backend_is_used_for_every_name_by_a_button(
    wire: tuple[ScriptedPages, ScriptedPages, Gateway], page: Page
) -> None:
    studio, other, gateway = wire
    play(studio, scripted.openai_error(500, "CUDA out of memory", "server_error"))
    play(other, Say("Hi"))
    outcome = verify(page, gateway)
    expect(outcome).to_contain_text("Backend failed")
    outcome.get_by_role("button", name="Use box/glm for every name").click()
    expect(page.locator("#quick")).to_contain_text("Verified: glm answered")
    page.locator("#quick").get_by_role("button", name="Undo").click()
    expect(page.get_by_text("Restored the previous aliases.")).to_be_visible()


@pytest.mark.parametrize(
    ("status", "text", "summary"),
    [(429, "Rate limit exceeded", "Rate limit reached"), (503, "Loading model", "The model is loading")],
)
def test_what_passes_by_itself_is_verified_again_by_a_button(
    wire: tuple[ScriptedPages, ScriptedPages, Gateway], page: Page, status: int, text: str, summary: str
) -> None:
    studio, _, gateway = wire
    play(studio, scripted.openai_error(status, text, "server_error"))
    outcome = verify(page, gateway)
    expect(outcome).to_contain_text(summary)
    play(studio, Say("Hi"))
    outcome.get_by_role("button", name="Verify again").click()
    expect(page.locator("#endpoint")).to_contain_text("answered for sonnet")


def test_a_rejected_api_key_leads_to_the_secrets(
    wire: tuple[ScriptedPages, ScriptedPages, Gateway], page: Page
) -> None:
    studio, _, gateway = wire
    play(studio, scripted.openai_error(401, "bad key", "invalid_request_error"))
    verify(page, gateway).get_by_role("link", name="Open Secrets").click()
    expect(page.get_by_role("heading", name="Secrets", level=1)).to_be_visible()
