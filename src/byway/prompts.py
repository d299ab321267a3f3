"""GlobalPrompts: system prompts of the operator, added to requests by the target that answers them. Pure."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from byway.config.promptsettings import GlobalPromptSettings, MergeStrategy, PromptSettings
from byway.fronts import chat
from byway.messages import request as messages
from byway.messages.request import Request

_encode: Final = msgspec.json.Encoder().encode
_fields: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_decode: Final = msgspec.json.Decoder().decode
_SYSTEM_ROLES: Final = ("system", "developer")


class _Prompt(NamedTuple):
    text: str
    strategy: MergeStrategy


class GlobalPrompts:
    """The prompts of a config whose files were read."""

    def __init__(self, settings: GlobalPromptSettings) -> None:
        self._settings = settings
        self._separator = settings.separator
        self._default = _Prompt(settings.default, settings.merge_strategy) if settings.default else None

    def apply(self, request: Request, backend: str, model: str) -> Request:
        """The request with the prompt for a target. Raises Problem for a body that is no request."""
        prompt = self._choose(backend, model)
        if prompt is None:
            return request
        if request.chat:
            fields = _fields(request.chat)
            fields["messages"] = Raw(_encode(self._merge_messages(_decode(fields["messages"]), prompt)))
            return chat.read(_encode(fields), request.headers, request.id)[0]
        if request.content.responses:
            # Its route has loaded it.
            from byway.fronts import responses

            fields = _fields(request.content.responses)
            self._merge_instructions(fields, prompt)
            return responses.read(_encode(fields), request.headers, request.id).request
        fields = _fields(request.body)
        fields["system"] = Raw(_encode(self._merge(_decode(fields["system"]) if "system" in fields else None, prompt)))
        return messages.parse(_encode(fields), request.headers, request.id)

    def _choose(self, backend: str, model: str) -> _Prompt | None:
        """The most specific prompt: of the model, of the backend, of all."""
        settings = self._settings
        for prompts, name in (
            (settings.models, f"{backend}/{model}"),
            (settings.models, model),
            (settings.backends, backend),
        ):
            entry: PromptSettings | None = prompts.get(name)
            if entry is not None and entry.prompt:
                return _Prompt(entry.prompt, entry.merge_strategy or settings.merge_strategy)
        return self._default

    def _merge(self, system: Any, prompt: _Prompt) -> Any:
        """The client's system prompt, a text or a list of blocks, with that of the operator."""
        if not system or prompt.strategy == "replace":
            return prompt.text
        before = prompt.strategy == "prepend"
        if isinstance(system, str):
            return self._separator.join((prompt.text, system) if before else (system, prompt.text))
        if not isinstance(system, list):
            # It is rejected when it is parsed.
            return system
        text = prompt.text + self._separator if before else self._separator + prompt.text
        block = {"type": "text", "text": text}
        return [block, *system] if before else [*system, block]

    def _merge_instructions(self, fields: dict[str, Raw], prompt: _Prompt) -> None:
        """Merge the prompt into the `instructions` of a Responses request. Clients may have theirs in the input instead."""
        instructions = _decode(fields["instructions"]) if "instructions" in fields else None
        fields["instructions"] = Raw(_encode(self._merge(instructions, prompt)))
        items = _decode(fields["input"]) if prompt.strategy == "replace" and "input" in fields else None
        if isinstance(items, list):
            fields["input"] = Raw(_encode([item for item in items if not _is_system(item)]))

    def _merge_messages(self, conversation: Any, prompt: _Prompt) -> Any:
        """The messages of a chat completion, whose first system message is merged: many templates accept only one."""
        if not isinstance(conversation, list):
            return conversation
        places = [place for place, message in enumerate(conversation) if _is_system(message)]
        if prompt.strategy == "replace":
            rest = [message for message in conversation if not _is_system(message)]
            return [{"role": "system", "content": prompt.text}, *rest]
        if not places:
            return [{"role": "system", "content": prompt.text}, *conversation]
        first = conversation[places[0]]
        merged = {**first, "content": self._merge(first.get("content"), prompt)}
        return [*conversation[: places[0]], merged, *conversation[places[0] + 1 :]]


def _is_system(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") in _SYSTEM_ROLES


def make_prompts(settings: GlobalPromptSettings) -> GlobalPrompts | None:
    """The prompts of a config; None when it has none."""
    entries = (*settings.backends.values(), *settings.models.values())
    return GlobalPrompts(settings) if settings.default or any(entry.prompt for entry in entries) else None
