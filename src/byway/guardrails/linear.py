"""Accepts those regular expressions of an operator that take linear time on any text. Pure.

Python's engine tries every way to match. So a repetition has an upper limit and repeats a single character, and all of them
together can be tried in a limited number of ways.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, Final

from byway.guardrails.patterns import LONGEST_MATCH

#: Ways in which the repetitions and alternatives of an expression can be tried at one place of a text.
MOST_WAYS: Final = 256
#: Steps that all of these ways take at one place, at most: about 15 microseconds.
MOST_STEPS: Final = 2_048
#: Characters of a repetition that take as long as one step.
_CHARACTERS_OF_A_STEP: Final = 8
#: Characters of an expression.
LONGEST_EXPRESSION: Final = 1_000
_SINGLE: Final = frozenset((codes.LITERAL, codes.NOT_LITERAL, codes.ANY, codes.IN))
_PLAIN: Final = frozenset((*_SINGLE, codes.AT))
_REPETITIONS: Final = frozenset((codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT))


class UnsafeExpression(ValueError):
    """The expression cannot be used: why, and what to write instead."""


def compile_linear(expression: str) -> re.Pattern[str]:
    """Compile an expression that takes linear time. Raises UnsafeExpression."""
    if len(expression) > LONGEST_EXPRESSION:
        raise UnsafeExpression(f"it has more than {LONGEST_EXPRESSION} characters")
    tree = _parse(expression)
    ways, steps = _work(tree)
    if ways > MOST_WAYS:
        raise UnsafeExpression(
            f"its repetitions and alternatives can be tried in more than {MOST_WAYS} ways. Narrow them: \\d{{8,12}} "
            "instead of \\d{1,99}"
        )
    if steps > MOST_STEPS:
        raise UnsafeExpression(
            f"its search can take more than {MOST_STEPS} steps at one character. Narrow its repetitions and alternatives, or "
            "move them to its end"
        )
    shortest, longest = tree.getwidth()
    if not shortest:
        raise UnsafeExpression("it matches the empty text")
    if longest > LONGEST_MATCH:
        raise UnsafeExpression(f"it matches more than {LONGEST_MATCH} characters")
    compiled: re.Pattern[str] = _quietly(re.compile, expression)
    return compiled


def count_steps(expression: str) -> int:
    """The steps that the search for an accepted expression takes at one character of a text, at most."""
    return _work(_parse(expression))[1]


def _parse(expression: str) -> Any:
    """The parts of an expression. Raises UnsafeExpression."""
    try:
        return _quietly(parser.parse, expression)
    except (re.error, OverflowError, RecursionError) as error:
        raise UnsafeExpression(f"it is no regular expression: {error}") from None


def _quietly(read: Callable[[str], Any], expression: str) -> Any:
    """Without the warning that a later Python may read `[[` in another way: it would be printed at each start."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read(expression)


def _work(items: Any) -> tuple[int, int]:
    """The ways in which the parts of an expression can be tried, and the steps of all of them. Raises UnsafeExpression."""
    ways = 1
    steps = 0
    for code, argument in items:
        ways_of_part, steps_of_part = _work_of_part(code, argument)
        # Each way of what is before tries this part again.
        steps += ways * steps_of_part
        ways *= ways_of_part
    return ways, steps


def _work_of_part(code: Any, argument: Any) -> tuple[int, int]:
    """The same of one part."""
    if code in _PLAIN:
        return 1, 1
    if code is codes.SUBPATTERN:
        return _work(argument[-1])
    if code is codes.ATOMIC_GROUP:
        return _work(argument)
    if code is codes.BRANCH:
        branches = [_work(branch) for branch in argument[1]]
        return len(branches) * math.prod(ways for ways, _ in branches), 1 + sum(steps for _, steps in branches)
    if code not in _REPETITIONS:
        raise UnsafeExpression("lookarounds, references and conditions are not supported")
    least, most, repeated = argument
    if most is codes.MAXREPEAT or most > LONGEST_MATCH:
        raise UnsafeExpression(
            f"*, + and {{n,}} have no upper limit. Write {{1,20}} with a limit of at most {LONGEST_MATCH}"
        )
    ways = 1 if code is codes.POSSESSIVE_REPEAT else int(most) - int(least) + 1
    if len(repeated) == 1 and repeated[0][0] in _SINGLE:
        return ways, 1 + int(most) // _CHARACTERS_OF_A_STEP
    if most > 1:
        raise UnsafeExpression("a repetition has to repeat one character or one class, such as [a-z]{1,20}")
    inner_ways, inner_steps = _work(repeated)
    return ways * inner_ways, 1 + inner_steps
