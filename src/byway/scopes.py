"""The scopes of keys: what a client may do with one. `admin` opens the settings API and the settings page."""

from __future__ import annotations

from typing import Final, Literal, get_args

Scope = Literal["read", "write", "files", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
#: What a key may do when its scopes are not given, and what a client without a key may do where no key is required.
DEFAULT_SCOPES: Final[tuple[Scope, ...]] = ("read", "write", "files")
