"""A keychain for tests, by `keyring`: a file outside of Byway's data folder, that may also hang or lie.

For a program: `PYTHON_KEYRING_BACKEND=chain.Chain`, this folder on PYTHONPATH, and the file in `CHAIN`.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from keyring.backend import KeyringBackend


class Chain(KeyringBackend):
    """While a file `<CHAIN>.locked` exists nobody gets an answer, as with a keychain that asks for its password."""

    priority: float = 5

    def __init__(self, path: Path | None = None) -> None:
        super().__init__()
        self.path = path or Path(os.environ["CHAIN"])
        self.locked = self.path.with_suffix(".locked")
        self.calls = 0

    def _kept(self) -> dict[str, str]:
        self.calls += 1
        while self.locked.exists():
            time.sleep(0.01)
        return json.loads(self.path.read_text()) if self.path.exists() else {}

    def get_password(self, service: str, username: str) -> str | None:
        return self._kept().get(f"{service}/{username}")

    def set_password(self, service: str, username: str, password: str) -> None:
        self.path.write_text(json.dumps({**self._kept(), f"{service}/{username}": password}))

    def delete_password(self, service: str, username: str) -> None:
        kept = self._kept()
        del kept[f"{service}/{username}"]
        self.path.write_text(json.dumps(kept))


class Forgetful(Chain):
    """Takes everything and keeps nothing."""

    def set_password(self, service: str, username: str, password: str) -> None:
        """Nothing."""


class Plain(Chain):
    """A makeshift: it would keep secrets in a plain file without asking."""

    priority = 0.5


class Makeshifts(Chain):
    """Several makeshifts in a chain, which say of themselves that they are more."""

    priority = 10

    @property
    def backends(self) -> list[KeyringBackend]:
        return [Plain(self.path)]


class Telltale(Chain):
    """Says the secret in its error."""

    def set_password(self, service: str, username: str, password: str) -> None:
        raise RuntimeError(f"cannot keep {password}")
