"""Adapts a Messages request to the Messages API of another vendor than Anthropic, as the vendor's row describes it. Pure."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from byway.backends.openai.thinking import effort_word, rule_of, thinks
from byway.backends.protocol import Target
from byway.backends.vendors import ThinkingRule
from byway.decoding import DECODE_ERRORS
from byway.messages import claudecode, signature
from byway.messages.blocks import Text, Thinking, ToolUse
from byway.messages.request import Request, Turn

_encode: Final = msgspec.json.Encoder().encode
_fields: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_objects: Final = msgspec.json.Decoder(list[dict[str, Any]]).decode
_object: Final = msgspec.json.Decoder(dict[str, Any]).decode
_DISABLED: Final = Raw(b'{"type":"disabled"}')


def adapt_request(body: bytes, request: Request, target: Target) -> bytes:
    """Return the body without what the vendor refuses. A body that is no JSON object is returned as it is."""
    try:
        fields = _fields(body)
        vendor, limit = target.vendor, target.max_output
        for name in vendor.leaves_out:
            fields.pop(name, None)
        if limit is not None and isinstance(request.params.max_tokens, int) and request.params.max_tokens > limit:
            fields["max_tokens"] = Raw(b"%d" % limit)
        if (rule := rule_of(target)) is not None:
            _set_thinking(fields, request, rule)
        if not vendor.strict_tools and any(tool.strict is not None for tool in request.params.tools or ()):
            tools = _objects(fields["tools"])
            fields["tools"] = Raw(
                _encode([{name: value for name, value in tool.items() if name != "strict"} for tool in tools])
            )
        if not vendor.system_turns and any(turn.role == "system" for turn in request.turns):
            fields["messages"] = Raw(_encode(_without_system(_objects(fields["messages"]), request.turns)))
        return _encode(fields)
    except DECODE_ERRORS:
        return body


def _set_thinking(fields: dict[str, Raw], request: Request, rule: ThinkingRule) -> None:
    setting = request.params.thinking
    wanted = setting is not None and setting.type != "disabled"
    on = thinks(request, rule, tools=False, missing=rule.missing == "off" and _lacks_thinking(request.turns))
    for path, value in (rule.on if on else rule.off).items():
        _set_field(fields, path, value)
    if wanted and not on and "thinking" not in rule.off:
        fields["thinking"] = _DISABLED
    config = request.params.output_config
    stated = config is not None and config.effort is not None and rule.field not in rule.off
    if rule.words and (on or stated):
        # Without one the vendor's default applies, which may be the most.
        _set_field(fields, rule.field, effort_word(request, rule))


def _lacks_thinking(turns: list[Turn]) -> bool:
    """Return whether a conversation with tools has an answer without thinking, or with thinking that Byway signed.

    Thinking that Byway signed belongs to another model and is not sent.
    """
    answers = [turn.blocks for turn in turns if turn.role == "assistant"]
    if not any(type(block) is ToolUse for blocks in answers for block in blocks):
        return False
    return not all(
        any(type(block) is Thinking and not signature.ours(block.signature) for block in blocks) for blocks in answers
    )


def _set_field(fields: dict[str, Raw], path: str, value: Any) -> None:
    """Set a field such as `thinking` or `output_config.effort`; None removes it."""
    name, _, inner = path.partition(".")
    if inner:
        value = {**(_object(fields[name]) if name in fields else {}), inner: value}
    if value is None:
        fields.pop(name, None)
    else:
        fields[name] = Raw(_encode(value))


def _without_system(written: list[dict[str, Any]], turns: list[Turn]) -> list[dict[str, Any]]:
    """The messages with those of the role `system` as reminders at the end of the nearest message of the user.

    The results of tools stay at the beginning of their message.
    """
    made: list[dict[str, Any]] = []
    waiting: list[Any] = []
    for message, turn in zip(written, turns, strict=True):
        if turn.role == "system":
            texts = [block.text for block in turn.blocks if type(block) is Text and block.text]
            waiting += [{"type": "text", "text": claudecode.reminder(text)} for text in texts]
        elif waiting and made and made[-1].get("role") == "user":
            made[-1]["content"] = [*_blocks(made[-1]), *waiting]
            made.append(message)
            waiting = []
        elif waiting and turn.role == "user":
            made.append({**message, "content": [*_blocks(message), *waiting]})
            waiting = []
        else:
            made.append(message)
    if waiting and made and made[-1].get("role") == "user":
        made[-1]["content"] = [*_blocks(made[-1]), *waiting]
    elif waiting:
        made.append({"role": "user", "content": waiting})
    return made


def _blocks(message: dict[str, Any]) -> list[Any]:
    content = message.get("content")
    return content if isinstance(content, list) else [{"type": "text", "text": content}] if content else []
