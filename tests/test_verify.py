"""Verify without a server, and its verdicts in the docs."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import scripted
from scripted import Scripted

from byway.admin.verify import verify


def test_an_unused_port_and_another_program() -> None:
    refused = asyncio.run(verify("http://127.0.0.1:9/anthropic", ""))
    assert (refused.summary, refused.layer) == ("Connection refused", "address") and "byway up" in refused.hint
    with Scripted(lambda request: scripted.page(200, "Router")) as server:
        result = asyncio.run(verify(f"{server.url}/anthropic", ""))
    assert (result.summary, result.layer) == ("Not Byway", "address")
    odd = asyncio.run(verify("ftp://nowhere", ""))
    assert (odd.summary, odd.layer) == ("Invalid address", "address")


def test_the_docs_have_a_row_for_each_result() -> None:
    """docs/troubleshooting.md and the page say the same words."""
    root = Path(__file__).parents[1]
    source = (root / "src/byway/admin/verify.py").read_text("utf-8") + (root / "src/byway/ui/claude.py").read_text(
        "utf-8"
    )
    names = {
        match.replace("{limit:g}", "5") for match in re.findall(r'Verdict\(\s*(?:True|False),\s*f?"([^"]+)"', source)
    }
    names |= {"Connection refused", "Unreachable"}
    docs = (root / "docs/troubleshooting.md").read_text("utf-8")
    rows = set(re.findall(r"`([^`]+)`", docs.partition("## Results of Verify")[2].partition("\n## ")[0]))
    assert len(names) >= 12 and names <= rows, names - rows
