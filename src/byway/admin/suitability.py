"""Is a model suitable for Claude Code? The rules by which the results of the probes become a verdict. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from byway.admin.exports import SMALLEST_SESSION
from byway.admin.probes import LONG_PROMPT, ProbeResult

Suitability = Literal["good for agent work", "usable with limits", "chat only", "does not work"]

#: A model with a smaller window cannot hold even the beginning of a session.
_TOO_SMALL: Final = 16_000
#: Seconds to the first token of a long prompt, and tokens of an answer per second, beyond which agent work is a trial.
_SLOW_PROMPT: Final = 90.0
_SLOW_ANSWER: Final = 4.0
#: Probes whose failure limits agent work, and what it means.
_LIMITS: Final[Mapping[str, str]] = {
    "forced_tool": "Forced tools fail: WebSearch and the safety check of auto mode may fail.",
    "json_schema": "Structured output fails: titles, hooks and `--json-schema` may fail.",
    "long_prompt": "A long prompt fails: a session ends soon.",
    "token_count": "Token counts are wrong: Claude Code compacts too early or too late.",
    "prefix_reuse": "Prompts are not reused: each turn processes the whole conversation again.",
}
#: What the lack of an ability means, where agent work does not need it.
_NOTES: Final[Mapping[str, str]] = {
    "parallel": "Calls one tool at a time, so that turns take longer.",
    "thinking": "Does not think before it answers.",
    "image": "Does not see images.",
}
_ACTIONS: Final[Mapping[str, str]] = {
    "unreachable": "Start the server of the backend, or correct its address under Models.",
    "timeout": "Use a smaller model or a faster machine, or raise `timeouts` in the config.",
    "rate limit": "Wait until the limit allows requests again, then test again.",
    "busy": "The backend has no free capacity. Test again in a moment.",
    "loading": "Wait until the model is loaded, then test again.",
    "API key rejected": "Correct the backend's API key under Secrets.",
    "access denied": "The account may not use this model. Choose another model, or change the plan.",
    "no credit": "Add credit to the account of the backend.",
    "model not found": "Check the name of the model under Models, and load it in its server.",
    "server error": "Read the log of the backend's server, and restart it.",
    "invalid answer": "The backend's answers are not valid. Check its type under Models, and update the server.",
    "blocked": "A guardrail of this Byway blocked the request. See `guardrails` in the config.",
}
_OTHER_MODEL: Final = "Choose another model for Claude Code: one that is trained for tool calls."


class Conclusion(NamedTuple):
    """The verdict on a model, with its reasons and what to do."""

    verdict: Suitability
    reasons: tuple[str, ...]
    action: str


class Measured(NamedTuple):
    """What the probes have measured, and facts of the model. None: unknown."""

    window: int | None = None
    self_hosted: bool = True
    prompt_seconds: float | None = None
    """To the first token of the long prompt."""
    tokens_per_second: float | None = None
    """Of answers."""


def conclude(results: Mapping[str, ProbeResult], measured: Measured) -> Conclusion:
    """The verdict for Claude Code, by explicit rules, the first that applies:

    - *does not work*: no plain answer.
    - *chat only*: it does not call a tool, does not use a tool's result, does not follow an instruction, or its window is
      below 16,000 tokens.
    - *usable with limits*: a forced tool, a JSON schema, a long prompt, a token count or the reuse of prompts fails, its window
      is below 30,000 tokens, or it is slow.
    - *good for agent work*: all others. Parallel tools, thinking and images are not required.
    """
    plain = results["plain"]
    notes = [text for name, text in _NOTES.items() if name in results and results[name].state == "not supported"]
    if plain.state != "passed" and plain.cause != "wrong answer":
        action = _ACTIONS.get(
            plain.cause, "Read the error of the request under Requests, and check the backend under Models."
        )
        return Conclusion("does not work", (_sentence("No plain answer", plain),), action)
    window = measured.window
    lacks = []
    if plain.state != "passed":
        lacks.append(_sentence(plain.title, plain))
    lacks += [
        _sentence(results[name].title, results[name])
        for name in ("tool_call", "tool_result")
        if name in results and results[name].state != "passed"
    ]
    is_small = window is not None and window < _TOO_SMALL
    if is_small:
        lacks.append(f"The window of {window:,} tokens is too small: Claude Code's own prompt has 12,000 to 25,000.")
    if lacks:
        only_window = is_small and len(lacks) == 1
        action = "Give the model a larger window: 32,768 tokens or more." if only_window else _OTHER_MODEL
        return Conclusion("chat only", (*lacks, *notes), action)
    limits = [
        text
        for name, text in _LIMITS.items()
        if name in results
        and results[name].state != "passed"
        # Without a cache a cloud is dearer, and as fast.
        and (name != "prefix_reuse" or measured.self_hosted)
        and results[name].state != "not run"
    ]
    if window is not None and window < SMALLEST_SESSION:
        limits.append(f"The window of {window:,} tokens is small: sessions compact often.")
    if measured.prompt_seconds is not None and measured.prompt_seconds > _SLOW_PROMPT:
        limits.append(f"A prompt of {LONG_PROMPT:,} tokens takes {measured.prompt_seconds:,.0f} s.")
    if measured.tokens_per_second is not None and measured.tokens_per_second < _SLOW_ANSWER:
        limits.append(f"Answers are slow: {measured.tokens_per_second:.1f} tokens per second.")
    if limits:
        return Conclusion("usable with limits", (*limits, *notes), _advice(results, window))
    return Conclusion("good for agent work", tuple(notes), "Use it for Claude Code: Quick Setup maps every name to it.")


def _sentence(subject: str, result: ProbeResult) -> str:
    """A result as a sentence."""
    reason = result.reason
    return f"{subject}: {reason}" if reason.endswith((".", "…")) else f"{subject}: {reason}."


def _advice(results: Mapping[str, ProbeResult], window: int | None) -> str:
    """What to do about the limits of a usable model."""
    if window is not None and window < SMALLEST_SESSION:
        return "Give the model a larger window: 32,768 tokens or more."
    long = results.get("long_prompt")
    if long is not None and long.cause in _ACTIONS:
        return _ACTIONS[long.cause]
    return "Use it for short tasks, and for small calls as the alias `haiku`; keep a stronger model as the main one."
