"""Checks of `sign_in`: settings that Claude Code can read, and a warning about those that can run code on clients. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from byway.config.document import Node
from byway.config.settings import ProblemSink
from byway.display import listing

_UNSAFE = (
    "{} can run code on the clients that get these settings, or make the model do so, and Claude Code asks each person before it "
    "applies most of them. `claude -p` applies them without a question"
)


def check_pushed_settings(reader: ProblemSink, values: dict[str, Any], node: Node, path: str) -> None:
    """Report an entry for no one and settings that are no JSON, and warn about settings outside the safe list."""
    # Few configs have the section.
    from byway.signin.contract import is_variable
    from byway.signin.settings import read_settings, unsafe_names

    fields = cast("dict[str, Node]", node.value)
    subject, name = values.get("subject", "everyone"), values.get("name", "")
    if subject != "everyone" and not name:
        reader.error(f"{path}.name", node.line, f"required: the name of the {subject}")
    if subject == "everyone" and name:
        reader.error(
            f"{path}.name", fields["name"].line, "settings for everyone have no name; set for: account or group"
        )
    for variable in values.get("env", {}):
        if not is_variable(variable):
            reader.error(f"{path}.env", fields["env"].line, f"{variable[:100]!r} cannot be the name of a variable")
    settings: Mapping[str, Any] = {}
    if text := values.get("json"):
        try:
            settings = read_settings(text)
        except ValueError as error:
            reader.error(f"{path}.json", fields["json"].line, str(error))
            return
        if "env" in settings:
            reader.error(f"{path}.json", fields["json"].line, "write variables under env, beside json")
    if names := [*unsafe_names(settings), *unsafe_names({"env": values.get("env", {})})]:
        reader.warn(path, node.line, _UNSAFE.format(listing(names)))


def unsafe_pushes(tree: Any) -> Iterator[tuple[int, str]]:
    """Yield the entries with settings outside the safe list, of what a config means: the place, and the whole of it as text."""
    section = tree.get("sign_in") if isinstance(tree, Mapping) else None
    entries = section.get("settings") if isinstance(section, Mapping) else None
    for at, entry in enumerate(entries if isinstance(entries, list) else ()):
        if isinstance(entry, Mapping) and _is_unsafe(entry):
            yield at, repr([entry.get(name) for name in ("for", "name", "env", "json")])


def _is_unsafe(entry: Mapping[str, Any]) -> bool:
    from byway.signin.settings import read_settings, unsafe_names

    text = entry.get("json")
    try:
        settings = read_settings(text) if isinstance(text, str) and text else {}
    except ValueError:
        # It is rejected when the config is read.
        settings = {}
    return any(unsafe_names(settings)) or any(unsafe_names({"env": entry.get("env")}))
