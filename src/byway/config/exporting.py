"""A config's text for another machine: each secret in it becomes a `${VARIABLE}`. Everything else is kept. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from byway.config.editing import EditError, Path, meaning, replace_scalars
from byway.config.hiding import change_comments
from byway.config.masking import URL_LOGIN
from byway.config.secretuses import SecretUse, secret_uses, values
from byway.secrets.names import ENTRIES, variables_in

#: The first line of the comment above an exported text, and what follows each variable in it.
HEADER: Final = "# Exported by Byway without secrets."
_HEADER_LINES: Final = re.compile(rf"\A{re.escape(HEADER)}[^\n]*\n(?:#[^\n]*\n)*\n?")
_OTHER: Final = re.compile("[^A-Z0-9]+")
#: What stands for a secret in a comment.
_IN_COMMENT: Final = "***"


class ExportedVariable(NamedTuple):
    """A variable that an exported text refers to."""

    name: str
    settings: tuple[str, ...]
    """The settings that use it."""
    is_new: bool
    """It replaces a secret that the file contains."""


class ExportedText(NamedTuple):
    """A text without secrets, and the variables that must be set where it is used."""

    text: str
    variables: tuple[ExportedVariable, ...]


def without_secrets(text: str) -> ExportedText:
    """Replace the secrets of a config by variables. Raises EditError when it is not YAML, or cannot be exported."""
    text = _HEADER_LINES.sub("", text)
    tree = meaning(text)
    literals = [use for use in secret_uses(tree) if use.literal]
    taken = {name for value in values(tree) for name in variables_in(value.text)}
    names: dict[str, str] = {}
    replaced: dict[Path, str] = {}
    for use in literals:
        login = URL_LOGIN.search(use.text)
        secret = login[0] if login else use.text
        if secret not in names:
            names[secret] = _free_name(_variable(tree, use), taken)
        reference = f"${{{names[secret]}}}"
        replaced[use.path] = use.text.replace(login[0], reference, 1) if login else reference
    result = replace_scalars(text, replaced) if replaced else text
    words = {word for use in literals for word in use.text.split()}
    result = change_comments(result, words, lambda secret: _IN_COMMENT)
    exported = meaning(result)
    if any(use.literal for use in secret_uses(exported)):
        raise EditError("a secret is written in a way that Byway cannot take out")
    uses: dict[str, list[str]] = {}
    for value in values(exported):
        for name in sorted(variables_in(value.text)):
            uses.setdefault(name, []).append(".".join(map(str, value.path)))
    new = set(names.values())
    variables = tuple(ExportedVariable(name, tuple(paths), name in new) for name, paths in uses.items())
    return ExportedText(_header(variables) + result, variables)


def without_header(text: str) -> str:
    """The text without the comment that an export has put above it."""
    return _HEADER_LINES.sub("", text)


def _header(variables: tuple[ExportedVariable, ...]) -> str:
    if not variables:
        return f"{HEADER} It needs no variables.\n\n"
    lines = [f"{HEADER} Set these variables; keys of vendors can be stored with `byway secret set`:"]
    lines += [f"#   {variable.name}: {', '.join(variable.settings)}" for variable in variables]
    return "\n".join(lines) + "\n\n"


def _variable(tree: Any, use: SecretUse) -> str:
    """A name for the variable of a secret. Where Byway can store the secret, its own variable."""
    owner, path = tree, list(use.path)
    for key in path[:-1]:
        owner = owner[key]
    kind = owner.get("type") or owner.get("provider") if isinstance(owner, Mapping) else None
    entry = ENTRIES.get(str(kind)) if path[-1] == "api_key" else None
    if path[:2] == ["oidc", "client_secret"]:
        entry = ENTRIES["oidc"]
    return entry.variable if entry else f"BYWAY_{_slug(_named(tree, use.path))}"


def _named(tree: Any, path: Path) -> str:
    """A path as words, with members of lists by their names."""
    words: list[str] = []
    for key in path:
        tree = tree[key]
        name = str(key)
        if isinstance(key, int):
            fields = tree if isinstance(tree, Mapping) else {}
            name = next((str(fields[field]) for field in ("name", "id", "provider", "type") if fields.get(field)), "")
            name = name or str(key + 1)
        words.append(name)
    return "_".join(dict.fromkeys(words))


def _slug(words: str) -> str:
    return _OTHER.sub("_", words.upper()).strip("_")[:60] or "SECRET"


def _free_name(name: str, taken: set[str]) -> str:
    """`name`, or with a number when another secret has it. The name is taken from now on."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    taken.add(free)
    return free
