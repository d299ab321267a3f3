"""The settings of guardrails. Pure."""

from __future__ import annotations

from typing import Annotated

import msgspec

from byway.config.notes import Note
from byway.guardrails.patterns import PatternName
from byway.guardrails.rules import Action, Stage


class GuardrailRuleSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A rule: what it looks for, and what happens then."""

    name: Annotated[str, Note("The name in messages and logs. Required.", format="name")] = ""
    action: Annotated[
        Action, Note("`flag`: log it and set the header `x-byway-guardrail`. `block`: refuse it with `policy_blocked`.")
    ] = "flag"
    stages: Annotated[
        tuple[Stage, ...], Note("What is checked: the conversation that a client sends, and the answer.")
    ] = ("input", "output")
    patterns: Annotated[tuple[PatternName, ...], Note("Built-in patterns. See *Guardrails*.")] = ()
    words: Annotated[tuple[str, ...], Note("Texts of 3 to 256 characters, in any case, also inside of words.")] = ()
    regexes: Annotated[
        tuple[str, ...], Note("Regular expressions that take linear time: repetitions have an upper limit.")
    ] = ()


class GuardrailSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Rules on what clients send and what models answer."""

    enabled: Annotated[bool, Note("Applies the rules.")] = False
    rules: Annotated[
        tuple[GuardrailRuleSettings, ...], Note("The rules. The most severe one that matches decides.")
    ] = ()
