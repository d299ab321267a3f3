"""What the settings page is made of: vendored files as they came, templates without anything inline, small pages."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from pathlib import Path
from typing import Any

import jinja2
import pytest
from pages import Pages

from byway.ui import page as ui

UI = Path(ui.__file__).parent
#: dist/htmx.min.js of htmx.org 2.0.11 on npm.
HTMX = "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"


def test_htmx_is_the_file_that_npm_has() -> None:
    """A newer one comes with its licence, its version in docs/internals.md, and this sum."""
    assert hashlib.sha256((UI / "static/htmx.js").read_bytes()).hexdigest() == HTMX
    assert "Zero-Clause BSD" in (UI / "static/htmx.LICENSE").read_text("utf-8")
    assert "htmx 2.0.11" in (UI.parents[2] / "docs/internals.md").read_text("utf-8")


@pytest.mark.parametrize("path", sorted((UI / "templates").glob("*.html")), ids=lambda path: path.name)
def test_templates_hold_nothing_that_the_policy_forbids(path: Path) -> None:
    text = path.read_text("utf-8")
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:|<script(?![^>]*\ssrc=)|hx-on|\|\s*safe\b", text)


def test_words_in_backticks_are_code_and_all_else_is_escaped() -> None:
    assert ui.code_spans("see `a<b>` & <i>") == "see <code>a&lt;b&gt;</code> &amp; &lt;i&gt;"


def test_the_first_page_compiles_its_template_outside_of_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: dict[str, bool] = {}
    compile_template = jinja2.Environment.compile

    def watched(self: Any, source: Any, name: str, *arguments: Any, **options: Any) -> Any:
        compiled[name] = False
        with contextlib.suppress(RuntimeError):
            compiled[name] = asyncio.get_running_loop().is_running()
        return compile_template(self, source, name, *arguments, **options)

    monkeypatch.setattr(jinja2.Environment, "compile", watched)
    ui._templates.cache_clear()
    with contextlib.closing(Pages(tmp_path)) as pages:
        assert pages.get("/secrets").status == 200
    assert {"base.html", "parts.html", "secrets.html"} <= set(compiled)
    assert not any(compiled.values())
