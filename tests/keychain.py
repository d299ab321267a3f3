"""Fixtures that replace the keychain of the system, in this process. `chain.py` has the keychains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

#: Takes the class of a keychain, or a function of the path of its file.
UseKeychain = Callable[[Callable[[Path], Any]], Any]


@pytest.fixture
def use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UseKeychain:
    """`use(Chain)` makes an instance the keychain and returns it."""

    def set(kind: Callable[[Path], Any]) -> Any:
        made = kind(tmp_path / "chain.json")
        monkeypatch.setattr("keyring.core._keyring_backend", made)
        return made

    return set


@pytest.fixture
def kept(use: UseKeychain) -> Any:
    """A keychain that works."""
    return use(pytest.importorskip("chain").Chain)
