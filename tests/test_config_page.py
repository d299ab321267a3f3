"""The page Config without JavaScript and for each kind of caller, and the cost of hiding and exporting secrets."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from growth import assert_linear
from pages import Pages

from byway.config import document
from byway.config.editing import EditError
from byway.config.exporting import without_secrets
from byway.config.hiding import hide_secrets, reveal_secrets

SECRET = "sk-plain-in-the-config-0123456789"
TEXT = f"""\
# mine
backends:
  - {{name: lab, type: generic, url: "http://127.0.0.1:9", api_key: {SECRET}, models: [m]}}
timeouts: {{connect: 7s}}
"""


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    result = Pages(tmp_path, TEXT)
    yield result
    result.close()


def typed(pages: Pages) -> tuple[str, str]:
    """The text of the editor, and the etag of its form."""
    sent = pages.get("/config")
    area = sent.html.partition('<textarea id="config-text"')[2].partition(">\n")[2].partition("</textarea>")[0]
    return area.replace("&#34;", '"').replace("&amp;", "&"), sent.form("/config/save")["etag"]


def test_the_form_works_without_scripts(pages: Pages) -> None:
    text, etag = typed(pages)
    assert SECRET not in text and "SECRET-NOT-SHOWN-" in text
    wrong = {"text": text.replace("7s", "soon").replace("\n", "\r\n"), "etag": etag}
    for action in ("/config/check", "/config/save"):
        sent = pages.post(action, wrong, htmx=False)
        assert "timeouts.connect" in sent.text and "line 4" in sent.text and "connect: soon" in sent.html
        assert pages.file.read_text() == TEXT
    assert sent.status == 422
    saved = pages.post("/config/save", {"text": text.replace("7s", "9s"), "etag": etag}, htmx=False)
    assert saved.status == 200 and pages.file.read_text() == TEXT.replace("7s", "9s")
    stale = pages.post("/config/save", {"text": text.replace("7s", "3s"), "etag": etag}, htmx=False)
    assert stale.status == 422 and "connect: 9s" in stale.html and "connect: 3s" in stale.html
    assert pages.file.read_text() == TEXT.replace("7s", "9s")
    again = pages.post("/config/save", {"text": text.replace("7s", "3s"), "etag": stale.form("/config/save")["etag"]})
    assert again.status == 200 and pages.file.read_text() == TEXT.replace("7s", "3s")


def test_an_import_without_scripts_shows_its_changes_first(pages: Pages) -> None:
    sent = pages.post("/config/import", {"text": TEXT.replace("7s", "1s")}, htmx=False)
    assert "+timeouts: {connect: 1s}" in sent.text and pages.file.read_text() == TEXT
    fields = {**sent.form("/config/import"), "text": TEXT.replace("7s", "1s")}
    assert fields["confirm"] == "on"
    assert pages.post("/config/import", fields, htmx=False).status == 200
    assert pages.file.read_text() == TEXT.replace("7s", "1s")
    assert pages.post("/config/import", {**fields, "text": TEXT}).status == 422, "the file has another etag now"
    assert pages.post("/config/import", {"text": " "}).status == 422


def test_the_api_exports_and_imports(pages: Pages) -> None:
    export = json.loads(pages.get("/byway/config/export").html)
    assert SECRET not in export["text"] and export["variables"][0]["name"] == "BYWAY_BACKENDS_LAB_API_KEY"
    text = export["text"].replace("7s", "2s")
    preview = json.loads(pages.call("POST", "/byway/config/import/preview", text).html)
    assert preview["good"] and preview["etag"] == export["etag"] and preview["missing"] == []
    assert pages.call("POST", "/byway/config/import", text).status == 400, "If-Match is required"
    done = pages.call("POST", "/byway/config/import", text, {"if-match": f'"{preview["etag"]}"'})
    assert done.status == 200 and json.loads(done.html)["changed"]
    assert SECRET in pages.file.read_text() and "2s" in pages.file.read_text()
    assert pages.call("POST", "/byway/config/import", text, {"if-match": '"0000"'}).status == 412


def test_the_editor_cannot_read_files_or_variables_of_the_machine(pages: Pages) -> None:
    text, etag = typed(pages)
    hostile = text.replace("models: [m]", "models: [m], headers: {x: '${HOME}'}")
    sent = pages.post("/config/save", {"text": hostile, "etag": etag})
    assert sent.status == 422 and "cannot be named through the page" in sent.text
    assert pages.file.read_text() == TEXT


def test_a_text_that_is_too_large_is_refused(pages: Pages) -> None:
    assert pages.post("/config/check", {"text": "x" * (3 << 20)}).status == 413
    sent = pages.post("/config/check", {"text": "# x\n" * (200 << 10)})
    assert "longer than 512 KiB" in sent.text


@pytest.mark.parametrize(
    "line", ["# key: abc1234567890\n", "#\n", "\n", "- key: 'x\n", "://a:", "key" * 5, "# a b c ://x:y@\n"]
)
def test_hiding_and_exporting_cost_linear_time(line: str) -> None:
    def make(size: int) -> str:
        return "a: 1\n" + line * size

    def work(text: str) -> None:
        document.read.cache_clear()
        hidden = hide_secrets(text, b"k" * 32)
        with contextlib.suppress(EditError):
            reveal_secrets(hidden.text, hidden)
            without_secrets(text)

    assert_linear(make, work, 400, bound=(500 << 10) // len(line))
