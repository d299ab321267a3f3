"""Takes the secrets out of a config's text before it is kept as a version, and puts them back when one is restored. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from byway.config.editing import Edit, EditError, Path, Remove, edit, meaning, replace_scalars
from byway.config.secretuses import SecretUse, secret_uses
from byway.secrets.names import variables_in

#: What stands in a version in place of a secret.
MASK: Final = "SECRET-NOT-KEPT"
#: User name and password of a URL.
URL_LOGIN: Final = re.compile(r"(?<=://)[^/]*(?=@)")


class Masked(NamedTuple):
    """A text without its secrets, and their number."""

    text: str
    secrets: int


class Restored(NamedTuple):
    """A text with its secrets again, and the paths whose secret is not known any more: they are left out."""

    text: str
    missing: tuple[Path, ...]


def mask_secrets(text: str) -> Masked:
    """Replace each secret that stands in `text` itself by MASK; `${NAME}` stays. Raises EditError for what is no YAML."""
    literals = [use for use in secret_uses(meaning(text)) if use.literal and MASK not in use.text]
    if not literals:
        return Masked(text, 0)
    masked = replace_scalars(text, {use.path: _masked(use.text) for use in literals})
    if any(use.literal and MASK not in use.text for use in secret_uses(meaning(masked))):
        raise EditError("a secret is written in a way that Byway cannot take out")
    return Masked(masked, len(literals))


def restore_secrets(version: str, current: str) -> Restored:
    """Replace each MASK in `version` by the secret that `current` has at the same place, for the same server.

    Members of lists are the same when they have the same name. A setting whose secret is not known is left out, and so is
    a client's key without its value.
    """
    tree, now = meaning(version), meaning(current) if current.strip() else {}
    known: dict[tuple[Any, ...], SecretUse] = {}
    for use in secret_uses(now):
        known.setdefault(_identity(now, use.path), use)
    secrets: dict[Path, str] = {}
    missing: list[Path] = []
    for use in secret_uses(tree):
        if MASK not in use.text:
            continue
        same = known.get(_identity(tree, use.path))
        if same is not None and same.receiver == use.receiver and MASK not in same.text:
            secrets[use.path] = same.text
        else:
            missing.append(use.path)
    text = replace_scalars(version, secrets) if secrets else version
    # From the last to the first, so that places in lists stay what they were.
    removals: Sequence[Edit] = [Remove(_removable(path)) for path in reversed(missing)]
    return Restored(edit(text, removals) if removals else text, tuple(missing))


def keep_secrets(text: str, current: str, is_set: Callable[[str], bool]) -> str:
    """Replace each secret of `text` whose variables are not set by the literal that `current` has there for the same server.

    So a text that was exported from this file can be imported again without setting its variables.
    """
    tree, now = meaning(text), meaning(current) if current.strip() else {}
    known = {_identity(now, use.path): use for use in secret_uses(now) if use.literal}
    kept: dict[Path, str] = {}
    for use in secret_uses(tree):
        names = variables_in(use.text)
        same = known.get(_identity(tree, use.path)) if names and not any(map(is_set, names)) else None
        if same is not None and same.receiver == use.receiver:
            kept[use.path] = same.text
    return replace_scalars(text, kept) if kept else text


def _masked(secret: str) -> str:
    """MASK for a secret; a URL keeps its host."""
    return URL_LOGIN.sub(MASK, secret) if URL_LOGIN.search(secret) else MASK


def _identity(tree: Any, path: Path) -> tuple[Any, ...]:
    """A path with members of lists by their names, where they have some."""
    identity: list[Any] = []
    for key in path:
        tree = tree[key]
        name = None
        if isinstance(key, int) and isinstance(tree, Mapping):
            name = next((tree[field] for field in ("name", "id", "provider", "type") if tree.get(field)), None)
        identity.append(key if name is None else ("named", name))
    return tuple(identity)


def _removable(path: Path) -> Path:
    """What goes with a secret: a client's key is nothing without its value."""
    return path[:-1] if path[-1] == "key" and len(path) > 1 and isinstance(path[-2], int) else path
