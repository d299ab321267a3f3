"""Checks of `global_prompts`. Pure."""

from __future__ import annotations

from typing import Any, cast

from byway.config.document import Node
from byway.config.promptsettings import GlobalPromptSettings
from byway.config.settings import ProblemSink
from byway.display import listing


def check_prompted_backends(reader: ProblemSink, values: dict[str, Any], node: Node | None) -> None:
    """Warn about prompts for a backend that does not exist: a name with a typing error gets no prompt."""
    prompts = values.get("global_prompts")
    if node is None or not isinstance(prompts, GlobalPromptSettings):
        return
    names = [backend.name for backend in values["backends"]]
    for name in prompts.backends:
        if name not in names:
            line = cast("dict[str, Node]", node.value)["backends"].line
            message = f"no backend has this name, so the prompt has no effect. The backends are {listing(names)}"
            reader.warn(f"global_prompts.backends.{name}", line, message)
