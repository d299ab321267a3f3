"""Warns about models of `model_aliases` and `global_prompts` that no backend serves. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

from byway.config.document import Node
from byway.config.promptsettings import GlobalPromptSettings
from byway.config.settings import BackendSettings, ProblemSink
from byway.display import listing

#: Names in a message.
_MAX_LISTED: Final = 20


class ListedModels:
    """What the backends of a config serve, as far as it is known: a backend without `models` may serve any name."""

    def __init__(self, backends: Sequence[BackendSettings]) -> None:
        self._backends = {backend.name: backend for backend in backends}
        self._served = {backend.name: frozenset(backend.models) for backend in backends}
        self._models = frozenset().union(*self._served.values())
        self._is_open = any(not backend.models for backend in backends)

    def problem(self, reader: ProblemSink, target: str) -> str:
        """Why no backend answers for a target, `model` or `backend/model`; empty when one may."""
        name, slash, model = target.partition("/")
        pinned = self._backends.get(name) if slash else None
        if target in self._models:
            return ""
        if pinned is not None:
            if not pinned.models or model in self._served[name]:
                return ""
            return f"backend {name!r} does not list the model {model!r}"
        names = tuple(self._backends)
        near = reader.similar(name, names, 0.8) if slash else ""
        if self._is_open and not near:
            return ""
        if not slash:
            return f"no backend lists the model {target!r}"
        hint = f"did you mean {near}/{model}?" if near else f"the backends are {listing(names, _MAX_LISTED)}"
        return f"no backend has the name {name!r} or lists the model {target!r}; {hint}"


def check_targets(reader: ProblemSink, values: dict[str, Any], fields: dict[str, Node]) -> None:
    """Warn about targets of aliases, and about models with a prompt, that no backend serves."""
    if "backends" not in values:
        return
    served = ListedModels(values["backends"])
    for alias, targets in values.get("model_aliases", {}).items():
        for target in targets:
            if not reader.is_full and (message := served.problem(reader, target)):
                where = cast("dict[str, Node]", fields["model_aliases"].value)[alias]
                reader.warn(f"model_aliases.{alias}", where.line, message)
    prompts = values.get("global_prompts")
    if not isinstance(prompts, GlobalPromptSettings):
        return
    for name in prompts.models:
        if not reader.is_full and (message := served.problem(reader, name)):
            models = cast("dict[str, Node]", fields["global_prompts"].value)["models"]
            line = cast("dict[str, Node]", models.value)[name].line
            reader.warn(f"global_prompts.models.{name}", line, f"this prompt has no effect: {message}")
