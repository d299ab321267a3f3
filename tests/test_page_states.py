"""The settings page: a state is green only when the target works, forms explain themselves, and requests are readable."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import Pages, Sent

from byway.admin.requests import RequestLine
from byway.admin.verify import Verdict
from byway.config import load
from byway.ui import claude
from byway.ui.page import with_scheme

CONFIG = """\
backends:
  - {name: box, type: generic, url: 'http://127.0.0.1:1'}
model_aliases:
  haiku: box/my-modle
  opus: nosuch
  sonnet: [box/my-model, box/gone]
  default: box/my-model
"""


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    opened = Pages(tmp_path, CONFIG)
    ready(opened)
    yield opened
    opened.close()


def ready(pages: Pages, *models: str) -> None:
    """Let the backend be ready with these models, as after a refresh."""
    backend = pages.gateway.runtime.backends["box"]
    backend.state, backend.models = "ready", models or ("my-model",)
    pages.gateway.runtime._forget_routes()


def request(pages: Pages, error: str = "", **fields: Any) -> None:
    """Record a request of a client."""
    given: dict[str, Any] = {
        "requested": "claude-haiku-5",
        "backend": "box",
        "model": "my-model",
        "output_tokens": 5,
    } | fields
    line = RequestLine("req_1", "POST", "/v1/messages", 500 if error else 200, 7.84, **given)
    pages.gateway.requests.add(line, error)


def row(pages: Pages, alias: str) -> str:
    """The text of the state of an alias."""
    rest = pages.get("/claude").html.partition(f'aria-label="Targets of {alias}"')[2]
    cells = rest.partition('<td class="do">')[0]
    return Sent(0, {}, f"<{cells}").text


# --- aliases ------------------------------------------------------------------------------------------------------------


def test_an_alias_is_ready_only_when_its_target_is_listed(pages: Pages) -> None:
    assert row(pages, "haiku") == "not served"
    assert row(pages, "opus") == "not served, so default answers"
    assert row(pages, "sonnet") == "box/gone not served"
    assert row(pages, "default") == "ready"


def test_a_target_that_has_answered_works_although_no_list_contains_it(pages: Pages) -> None:
    request(pages, model="my-modle", alias="haiku")
    assert row(pages, "haiku").startswith("ready last used ")
    # An error, or a test by Byway itself, proves and uses nothing.
    request(pages, "no", model="gone", alias="sonnet", probe=True)
    assert row(pages, "sonnet") == "box/gone not served"


def test_resolving_a_name_shows_an_unserved_target_in_red(pages: Pages) -> None:
    answer = pages.call("GET", "/claude/resolve?name=haiku", "", {"hx-request": "true"})
    assert 'class="outcome bad"' in answer.html and "box/my-modle" in answer.text and "not served" in answer.text


def test_an_endpoint_without_a_served_main_model_is_not_green(pages: Pages) -> None:
    header = pages.get("/claude").html.partition('id="endpoint-title"')[2].partition("</header>")[0]
    assert "state good" in header and "my-model" in header
    ready(pages, "other")
    header = pages.get("/claude").html.partition('id="endpoint-title"')[2].partition("</header>")[0]
    assert "state good" not in header


def test_a_failed_verification_turns_the_endpoint_red_and_offers_the_repair(
    pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any, **__: Any) -> Verdict:
        return Verdict(False, "Model not found", "model", "model: x is not known", "Set the alias `default`.")

    monkeypatch.setattr(claude, "verify", fail)
    answer = pages.post("/claude/verify", pages.get("/claude").form("/claude/verify"))
    header = answer.html.partition('id="endpoint-title"')[2].partition("</header>")[0]
    assert "state bad" in header and "Model not found" in header
    assert "Use box/my-model for every name" in answer.text
    applied = pages.post("/claude/quick", answer.form("/claude/quick"))
    assert applied.status == 200 and "fable: box/my-model" in pages.file.read_text()


def test_troubleshooting_does_not_call_an_unserved_model_good(pages: Pages) -> None:
    text = pages.get("/trouble?run=1").text
    small = (
        text.partition("Model for small calls")[0].rpartition("Model")[0][-40:] + text.partition("Model for small")[2]
    )
    assert "uses box/my-modle" in small and "not served" in text


# --- requests -----------------------------------------------------------------------------------------------------------


def test_an_error_is_folded_to_one_line_with_code_in_it(pages: Pages) -> None:
    request(pages, "Set `model_aliases.haiku`. " + "Backend 'dead' at 10.0.0.1 cannot be reached. " * 60)
    page = pages.get("/requests").html
    assert "<code>model_aliases.haiku</code>" in page and "`" not in page.partition("<main")[2]
    summary = page.partition("<summary>")[2].partition("</summary>")[0]
    assert 0 < len(summary) < 220


def test_a_request_has_named_fields_with_units(pages: Pages) -> None:
    request(pages, tries=2, first_ms=1234.5, alias="haiku")
    text = pages.get("/requests/1").text
    for part in (
        "Attempts 2",
        "Duration 8 ms",
        "First token after 1,234 ms",
        "Requested model claude-haiku-5",
        "Alias haiku",
    ):
        assert part in text, text
    assert "first ms" not in text and "output tokens 5" not in text


# --- forms --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("localhost:11434", "http://localhost:11434"),
        ("10.0.0.5:8000/v1", "http://10.0.0.5:8000/v1"),
        ("https://api.example.com", "https://api.example.com"),
        ("unix:/run/x.sock", "unix:/run/x.sock"),
        ("", ""),
    ],
)
def test_the_scheme_of_an_address_may_be_left_out(typed: str, meant: str) -> None:
    assert with_scheme(typed) == meant


def test_an_address_without_a_scheme_is_saved_with_one(pages: Pages) -> None:
    fields = {"kind": "vllm", "url": "127.0.0.1:2", "name": "new", "models": "", "do": "save"}
    # Adding tests the address first, and nothing listens there.
    refused = pages.post("/models/add", fields)
    assert refused.status == 422 and "Add anyway" in refused.text and "127.0.0.1:2" not in pages.file.read_text()
    assert pages.post("/models/add", fields | {"do": "force"}).status == 200
    assert "http://127.0.0.1:2" in pages.file.read_text()


def test_an_error_of_a_form_names_the_field_and_not_a_line_of_the_file(pages: Pages) -> None:
    fields = {"kind": "vllm", "url": "http://", "name": "new", "models": "", "do": "save"}
    text = pages.post("/models/add", fields).text
    assert "Address: " in text and "byway.yaml:" not in text and "backends." not in text


# --- backends -----------------------------------------------------------------------------------------------------------


def test_a_removed_backend_is_restored_by_undo_with_its_aliases(pages: Pages) -> None:
    before = pages.file.read_text()
    pages.file.write_text(before)
    pages.get("/api")
    answer = pages.post("/models/remove", {"name": "box"})
    assert "Backend box removed" in answer.text and "box" not in pages.file.read_text()
    # The answer stands above the table, where a long list does not hide it.
    assert answer.html.index('class="near"') < answer.html.index("<table")
    restored = pages.post("/undo", answer.form("/undo"))
    assert restored.status == 200 and pages.file.read_text() == before


KNOWN = """\
backends:
  # The cloud.
  - {name: box, type: generic, url: 'https://openrouter.ai/api/v1', api_key: '${BYWAY_KEY_THAT_IS_NOT_SET}', models: [m]}
  - {name: messages, type: anthropic, url: 'https://api.deepseek.com/anthropic', api_key: '${BYWAY_KEY_THAT_IS_NOT_SET}'}
  - {name: other, type: generic, url: 'http://127.0.0.1:1'}
"""


def test_one_button_gives_a_backend_the_type_of_its_known_address(tmp_path: Path) -> None:
    pages = Pages(tmp_path, KNOWN)
    try:
        shown = pages.get("/models")
        assert "The address is that of OpenRouter." in shown.text and shown.html.count('action="/models/type"') == 2
        answer = pages.post("/models/type", {"name": "box"})
        assert answer.status == 200 and "Type of backend box saved" in answer.text
        assert answer.html.count('action="/models/type"') == 1
        pages.post("/models/type", {"name": "messages"})
        config = load(pages.file.read_text(), {})
        assert [(backend.type, backend.protocol) for backend in config.backends] == [
            ("openrouter", "auto"),
            ("deepseek", "anthropic"),
            ("generic", "auto"),
        ]
        assert "# The cloud." in pages.file.read_text()
        refused = pages.post("/models/type", {"name": "other"})
        assert refused.status == 422 and "fits its address already" in refused.text
    finally:
        pages.close()


def test_undo_does_not_overwrite_a_later_change(pages: Pages) -> None:
    pages.get("/api")
    answer = pages.post("/models/remove", {"name": "box"})
    pages.file.write_text(pages.file.read_text() + "local_only: true\n")
    refused = pages.post("/undo", answer.form("/undo"))
    assert refused.status >= 400 and "local_only: true" in pages.file.read_text()
