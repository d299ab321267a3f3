"""What loading and unloading a model changes in the config: values in, edits out. The page and the commands share it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from byway.config import BackendSettings, Config
from byway.config.editing import Append, Edit, Remove, Set
from byway.config.settings import BUILTIN_ONLY
from byway.secrets.names import literal

_LONGEST: Final = 100


class NameTaken(ValueError):
    """A backend of another type has the name already."""


def load_edits(
    config: Config, path: str, options: Mapping[str, Any], *, name: str, alias: str = "", fresh: bool = False
) -> tuple[str, list[Edit]]:
    """The name that a model will answer to, and the edits that have Byway run the file at `path` as the backend `name`.

    `options` are those of `settings.RUN` that are chosen; what is left out stays as it is. `fresh`: the file names no
    backends, those of `config` are only understood. Raises Taken.
    """
    given = {key: options[key] for key in BUILTIN_ONLY if options.get(key) is not None} | {"path": literal(path)}
    at = None if fresh else next((place for place, one in enumerate(config.backends) if one.name == name), None)
    served = name
    edits: list[Edit] = []
    if at is None:
        edits.append(Append(("backends",), {"name": name, "type": "builtin", **given}))
    elif config.backends[at].managed:
        served = config.backends[at].models[0] if config.backends[at].models else name
        edits += [Set(("backends", at, key), value) for key, value in given.items()]
    else:
        raise NameTaken(f"There is a backend called {name} already, of type {config.backends[at].type}.")
    if alias:
        edits.append(Set(("model_aliases", alias), literal(f"{name}/{served}")))
    return served, edits


def unload_edits(config: Config, at: int) -> list[Edit]:
    """The edits that take out the backend at the index `at`, and every alias' way to it; an alias without another way goes."""
    settings = config.backends[at]
    edits: list[Edit] = [Remove(("backends", at))]
    for alias, leads in config.model_aliases.items():
        kept = [lead for lead in leads if not _leads_to(lead, settings, config)]
        if len(kept) != len(leads):
            edits.append(
                Set(("model_aliases", alias), [*map(literal, kept)]) if kept else Remove(("model_aliases", alias))
            )
    return edits


def backend_name(name: str) -> str:
    """A backend's name made of a model's: `owner/model:8b` as `owner-model:8b`."""
    return re.sub(r"[^A-Za-z0-9._:+-]+", "-", name).strip("-")[:_LONGEST] or "model"


def _leads_to(lead: str, settings: BackendSettings, config: Config) -> bool:
    """Does an alias' target lead to this backend and no other?"""
    others = {name for one in config.backends if one.name != settings.name for name in one.names}
    return lead.partition("/")[0] == settings.name or (lead in settings.names and lead not in others)
