"""The edits of the config that load and unload a local model. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from byway.config import BackendSettings, Config
from byway.config.editing import Append, Edit, Remove, Set
from byway.config.settings import BUILTIN_ONLY
from byway.secrets.names import literal

#: Characters of a backend's name.
_NAME_LIMIT: Final = 100


class NameTaken(ValueError):
    """A backend of another type has the name already."""


def load_edits(
    config: Config, path: str, options: Mapping[str, Any], *, name: str, alias: str = "", fresh: bool = False
) -> tuple[str, list[Edit]]:
    """The model name for clients, and the edits that make Byway run the file at `path` as the backend `name`.

    `options` are those of `settings.BUILTIN_ONLY`; an absent one stays as it is. `fresh`: the file names no backends, and
    those of `config` are implied. Raises NameTaken.
    """
    given = {key: options[key] for key in BUILTIN_ONLY if options.get(key) is not None} | {"path": literal(path)}
    index = None if fresh else next((at for at, backend in enumerate(config.backends) if backend.name == name), None)
    served = name
    edits: list[Edit] = []
    if index is None:
        edits.append(Append(("backends",), {"name": name, "type": "builtin", **given}))
    elif config.backends[index].managed:
        served = config.backends[index].models[0] if config.backends[index].models else name
        edits += [Set(("backends", index, key), value) for key, value in given.items()]
    else:
        raise NameTaken(
            f"A backend named {name} already exists. Its type is {config.backends[index].type}. Choose another name."
        )
    if alias:
        edits.append(Set(("model_aliases", alias), literal(f"{name}/{served}")))
    return served, edits


def unload_edits(config: Config, index: int) -> list[Edit]:
    """The edits that remove the backend at `index` and the targets that use it. An alias without targets is removed."""
    settings = config.backends[index]
    edits: list[Edit] = [Remove(("backends", index))]
    for alias, targets in config.model_aliases.items():
        kept = [target for target in targets if not _is_served_only_by(target, settings, config)]
        if len(kept) != len(targets):
            edits.append(
                Set(("model_aliases", alias), [*map(literal, kept)]) if kept else Remove(("model_aliases", alias))
            )
    return edits


def backend_name(name: str) -> str:
    """A name for the backend of a model: `owner-model:8b` for `owner/model:8b`."""
    return re.sub(r"[^A-Za-z0-9._:+-]+", "-", name).strip("-")[:_NAME_LIMIT] or "model"


def _is_served_only_by(target: str, settings: BackendSettings, config: Config) -> bool:
    """True when this backend, and no other, serves an alias' target."""
    others = {name for backend in config.backends if backend.name != settings.name for name in backend.names}
    return target.partition("/")[0] == settings.name or (target in settings.names and target not in others)
