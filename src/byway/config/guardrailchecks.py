"""Checks of `guardrails`: what a rule needs, and expressions that take linear time. Pure."""

from __future__ import annotations

from typing import Any, Final, cast

from byway.config.document import Node
from byway.config.settings import ProblemSink
from byway.guardrails.linear import UnsafeExpression, compile_linear

_MOST_WORDS: Final = 1_000
_MOST_EXPRESSIONS: Final = 50
_WORD_LENGTHS: Final = range(3, 257)


def check_rule(reader: ProblemSink, values: dict[str, Any], node: Node, path: str) -> None:
    """Report a rule without a name or without anything to look for, and what cannot be looked for."""
    fields = cast("dict[str, Node]", node.value)
    if not values.get("name"):
        reader.error(f"{path}.name", node.line, "required: a name for messages and logs")
    if not any(values.get(name) for name in ("patterns", "words", "regexes")):
        reader.error(path, node.line, "the rule looks for nothing; set patterns, words or regexes")
    for name, most in (("words", _MOST_WORDS), ("regexes", _MOST_EXPRESSIONS)):
        if len(values.get(name, ())) > most:
            reader.error(f"{path}.{name}", fields[name].line, f"at most {most}")
    for index, word in enumerate(values.get("words", ())):
        if len(word) not in _WORD_LENGTHS:
            reader.error(f"{path}.words.{index}", fields["words"].line, "expected 3 to 256 characters")
    for index, expression in enumerate(values.get("regexes", ())):
        try:
            compile_linear(expression)
        except UnsafeExpression as error:
            reader.error(f"{path}.regexes.{index}", fields["regexes"].line, str(error))


def check_guardrails(reader: ProblemSink, values: dict[str, Any], node: Node, path: str) -> None:
    """Report names that occur twice, and warn when nothing is checked."""
    names = [rule.name for rule in values.get("rules", ())]
    for name in sorted({name for name in names if name and names.count(name) > 1}):
        reader.error(f"{path}.rules", node.line, f"two rules have the name {name!r}")
    if values.get("enabled") and not names:
        reader.warn(path, node.line, "there are no rules, so nothing is checked")
