"""The printed exports for shells that the tests do not run."""

from __future__ import annotations

from byway.admin import exports


def test_fish_and_powershell_values_are_quoted() -> None:
    assert exports.fish([("A", "it's \\ here")]) == "set -gx A 'it\\'s \\\\ here'"
    assert exports.powershell([("A", "it's $here")]) == "$env:A = 'it''s $here'"
