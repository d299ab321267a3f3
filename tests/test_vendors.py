"""Vendors and protocols are complete in their one place: nothing else names them, and lists are derived."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import get_args

import pytest

from byway import config
from byway.admin.backends import KINDS
from byway.backend import PROTOCOLS
from byway.backends.openai import completions
from byway.backends.protocol import Target
from byway.backends.vendors import SPELLINGS, VENDORS, ProtocolName
from byway.config.settings import BackendSettings
from byway.messages.request import parse
from byway.secrets.names import ENTRIES

SOURCE = Path(__file__).parent.parent / "src" / "byway"
DOCS = Path(__file__).parent.parent / "docs"


def test_no_code_compares_the_name_of_a_vendor_or_protocol() -> None:
    names = {*VENDORS, *PROTOCOLS}
    wrong = []
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                sides = [ast.unparse(side) for side in (node.left, *node.comparators)]
                constants = {
                    constant.value
                    for side in (node.left, *node.comparators)
                    for constant in ast.walk(side)
                    if isinstance(constant, ast.Constant) and isinstance(constant.value, str)
                }
                if constants & names and any(
                    re.search(r"\b(type|vendor|protocol|vendor\.name)$", side) for side in sides
                ):
                    wrong.append(f"{path.relative_to(SOURCE)}:{node.lineno} {ast.unparse(node)}")
    assert not wrong, "compare a fact of the row, such as `vendor.managed`:\n" + "\n".join(wrong)


def test_each_protocol_has_a_module_and_each_vendor_a_protocol() -> None:
    assert set(PROTOCOLS) == set(get_args(ProtocolName)) == {vendor.protocol for vendor in VENDORS.values()}


@pytest.mark.parametrize("vendor", VENDORS.values(), ids=lambda vendor: vendor.name)
def test_a_row_is_all_that_a_vendor_needs(vendor: object) -> None:
    row = VENDORS[getattr(vendor, "name")]  # noqa: B009
    assert re.fullmatch("[a-z0-9]+", row.name) and row.title
    assert (row.name in ENTRIES) == (not row.self_hosted), "a cloud has a secret of its own"
    assert (row.name in KINDS) == (not row.managed), "a server that Byway does not run can be added on the page"
    assert BackendSettings(name="x", type=row.name).managed == row.managed
    for pattern in (row.effort_models, row.no_parallel_flag):
        re.compile(pattern)
    assert f"| `{row.name}` |" in (DOCS / "config.md").read_text(encoding="utf-8"), "run `make docs`"
    if row.protocol == "openai":
        body = (
            b'{"model":"m","max_tokens":9,"thinking":{"type":"adaptive"},"messages":[{"role":"user","content":"Hi"}]}'
        )
        assert completions.request(parse(body, {}, "msg_1"), Target("box", "m", row)).path == "/v1/chat/completions"


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_another_spelling_of_a_type_means_its_vendor(spelling: str) -> None:
    assert spelling not in VENDORS
    backends = config.load(f"backends: [{{type: {spelling}, url: 'http://127.0.0.1:9'}}]", {}).backends
    assert backends[0].type == SPELLINGS[spelling]


def test_openrouter_needs_no_url() -> None:
    backend = config.load("backends: [{type: openrouter, api_key: sk-or-0123456789abcdef}]", {}).backends[0]
    assert (backend.name, backend.url) == ("openrouter", "https://openrouter.ai/api")
