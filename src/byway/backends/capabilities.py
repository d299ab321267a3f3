"""Tokens by which Claude Code knows what a backend refused: it leaves that out and sends the request again. Pure."""

# The client finds `capability_rejected: CLASS` anywhere in the message of an error with status 400, unless a letter, a digit or
# one of `_ : . -` follows. It knows Anthropic's own wordings without a token, and of other vendors only those of a prompt that is
# too long. What it does for each class was measured with Claude Code 2.1.329 and 2.1.332 (2026-11-29). Three tokens are never
# used, because the client ends with an error: `media_budget` for images, `effort_unsupported` for the effort of one message, and
# `max_tokens_context_overflow` without numbers.

from __future__ import annotations

import re
from typing import Final

from byway.wordings import Wording

IMAGE: Final = "image_block"
DOCUMENT: Final = "document_block"
#: Words of a refusal, before or after the name of what is refused.
_REFUSED: Final = (
    r"(?:not (?:yet )?(?:support|permit|allow|accept|available)|unsupported|unknown|unrecogni[sz]ed|unexpected|invalid|illegal"
    r"|extra (?:fields?|inputs?)|additional propert)"
)
#: Within one sentence: a period inside a path ends none.
_BETWEEN: Final = r"(?:[^.]|\.(?! )){0,70}?"
_VALUE: Final = r"(?:unknown variant|(?:invalid|unsupported|unexpected|unknown) (?:value|type))[^a-z]{0,4}"


def _named(name: str) -> str:
    """A pattern for a refusal of `name`."""
    return rf"(?:{_REFUSED}{_BETWEEN}(?:{name})|(?:{name}){_BETWEEN}{_REFUSED})"


#: Anthropic's own wordings, which the client knows.
_OWN: Final = Wording(
    r"extra inputs are not permitted|input should be 'user' or 'assistant'|is not supported on this model|prompt is too long"
    r"|exceed context limit|signature in thinking|anthropic-beta",
    re.IGNORECASE,
)
#: In the client's order: the first class that matches counts.
_CLASSES: Final = tuple(
    (name, Wording(pattern, re.IGNORECASE))
    for name, pattern in (
        (
            "mid_conv_system",
            rf"{_named(r'role[^.]{0,20}system|system[^.]{0,10}role|system messages?')}"
            r"|(?:expected|must be|only) (?:one of )?[`'\"]?user[`'\"]?,? (?:or|and) [`'\"]?assistant"
            r"|system messages?[^.]{0,40}(?:must be|only)[^.]{0,30}(?:first|beginning|start)",
        ),
        # The effort of one message: dropping the top-level field would not help.
        ("beta_header:per-turn-control-2026-07-01", _named(r"messages?[.\[]\d+\]?[^ ]{0,20}output_config")),
        ("thinking_type:enabled", rf"{_VALUE}enabled|thinking{_BETWEEN}must be[^a-z]{{0,4}}adaptive"),
        (
            "thinking_type:adaptive",
            rf"{_named('adaptive')}|thinking[^a-z]{{1,4}}type{_BETWEEN}(?:must|should) be[^.]{{0,20}}enabled",
        ),
        ("structured_outputs_unsupported", _named(r"output_format|output_config\.format|structured outputs?")),
        ("effort_unsupported", _named(r"output_config(?!\.format)|(?<![a-z])(?:reasoning[_ ])?effort")),
    )
)


def token(name: str) -> str:
    """The token of a class, as it stands in a message."""
    return f"capability_rejected: {name}"


def with_token(text: str, searched: int) -> str:
    """The sentence of a refused request, followed by the token of what it refuses; `text` when no class fits.

    `searched`: characters of `text` that are searched.
    """
    start = text[:searched]
    if "capability_rejected:" in start or _OWN.search(start):
        return text
    name = next((name for name, pattern in _CLASSES if pattern.search(start)), "")
    return f"{text} ({token(name)})" if name else text
