"""The forms of the Models page: parsing of what a person types."""

from __future__ import annotations

from typing import Any

import pytest

from byway.admin.backends import KINDS, ModelSpec
from byway.backends.vendors import VENDORS
from byway.ui import backends
from byway.ui.page import variable_reference


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("", []),
        ("\n , \n", []),
        ("qwen3:8b", ["qwen3:8b"]),
        ("a, b\nc", ["a", "b", "c"]),
        ("qwen3:8b 65536", [ModelSpec("qwen3:8b", 65536)]),
        ("a 65,536, b=32k", [ModelSpec("a", 65536), ModelSpec("b", 32768)]),
        ("owner/Model-7B-2.5", ["owner/Model-7B-2.5"]),
        ("Llama 3", ["Llama 3"]),
    ],
)
def test_models_are_typed_with_their_windows(typed: str, meant: list[Any]) -> None:
    assert backends.parse_models(typed) == meant


def test_no_window_is_that_large() -> None:
    with pytest.raises(ValueError, match="the window is too large"):
        backends.parse_models("a 99999999999999")


def test_a_variable_is_named_and_a_key_is_not_said_again() -> None:
    assert variable_reference("MY_KEY") == variable_reference("${MY_KEY}") == "${MY_KEY}"
    for typed in ("", "sk-live-0123456789", "a b", "${}", "${A}${B}", "é"):
        with pytest.raises(ValueError, match="Invalid variable name") as caught:
            variable_reference(typed)
        assert "sk-live" not in str(caught.value)


def test_there_is_a_form_for_each_type_but_the_builtin_one() -> None:
    assert {kind.type for kind in KINDS.values()} == set(VENDORS) - {"builtin"}
    assert all(kind.url or kind.needs_url for kind in KINDS.values())
