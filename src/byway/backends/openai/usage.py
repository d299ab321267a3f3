"""The tokens that servers report, under all their names, in the official API's terms."""

from __future__ import annotations

from typing import Any, Final

from byway.messages.blocks import Wire
from byway.messages.events import Usage


class UsageIn(Wire):
    """`usage`, by OpenAI's names and those of others."""

    prompt_tokens: Any = None
    completion_tokens: Any = None
    total_tokens: Any = None
    prompt_tokens_details: Any = None
    completion_tokens_details: Any = None
    # DeepSeek. https://api-docs.deepseek.com/api/create-chat-completion (seen 2026-11-21)
    prompt_cache_hit_tokens: Any = None
    # Moonshot
    cached_tokens: Any = None
    # Proxies before Anthropic's models
    input_tokens: Any = None
    output_tokens: Any = None
    cache_read_input_tokens: Any = None
    cache_creation_input_tokens: Any = None


class Timings(Wire):
    """llama.cpp's own measurements, there even when nobody asked for `usage`."""

    cache_n: Any = None
    prompt_n: Any = None
    predicted_n: Any = None


class Progress(Wire):
    """llama.cpp's word on a long prompt that is still being read."""

    total: Any = None
    cache: Any = None


_NUMBERS: Final = (int, float)
_MOST: Final = 1 << 53


def number(value: Any) -> int:
    """A count of tokens; 0 for what is none."""
    if value is None:
        return 0
    return int(value) if isinstance(value, _NUMBERS) and 0 < value < _MOST else 0


class Counts:
    """What a server has said of the tokens so far: running totals, of which the latest that says something counts."""

    __slots__ = ("_estimate", "cached", "created", "output", "prompt")

    def __init__(self, estimate: int) -> None:
        self._estimate = estimate
        self.prompt = 0
        """With what the cache gave."""
        self.cached = self.created = self.output = 0

    def usage(self, said: UsageIn) -> None:
        """From `usage`. A report of zeros takes nothing back."""
        prompt, output = said.prompt_tokens or said.input_tokens, said.completion_tokens or said.output_tokens
        if type(prompt) is not int or not 0 <= prompt < _MOST:
            prompt = number(prompt)
        if type(output) is not int or not 0 <= output < _MOST:
            output = number(output)
        if prompt:
            self.prompt = prompt
            cached = said.prompt_cache_hit_tokens or said.cached_tokens or said.cache_read_input_tokens
            created = said.cache_creation_input_tokens
            details = said.prompt_tokens_details
            if isinstance(details, dict):
                cached = details.get("cached_tokens") or cached
                created = details.get("cache_write_tokens") or details.get("cache_creation_tokens") or created
            self.cached = number(cached) if cached else 0
            self.created = number(created) if created else 0
        if isinstance(said.completion_tokens_details, dict):
            reasoning = number(said.completion_tokens_details.get("reasoning_tokens"))
            # Gemini and xAI count what was thought beside the answer; everybody else within it.
            if reasoning and number(said.total_tokens) == prompt + output + reasoning:
                output += reasoning
            output = max(output, reasoning)
        self.output = output or self.output

    def timings(self, said: Timings) -> None:
        """From llama.cpp's `timings`, for what `usage` has not said."""
        if said.cache_n is not None and not self.prompt:
            self.cached = number(said.cache_n)
            self.prompt = self.cached + number(said.prompt_n)
        self.output = self.output or number(said.predicted_n)

    def progress(self, said: Progress) -> None:
        """From llama.cpp's `prompt_progress`."""
        if not self.prompt:
            self.prompt, self.cached = number(said.total), number(said.cache)

    @property
    def estimated(self) -> bool:
        """Is one of the two totals a guess?"""
        return not self.prompt or not self.output

    def total(self, written: int) -> Usage:
        """The tokens as the official API counts them, guessed where nobody counted. `written`: characters of the answer."""
        prompt, cached, created = self.prompt or self._estimate, self.cached, self.created
        if cached or created:
            cached = min(cached, prompt)
            created = min(created, prompt - cached)
        return Usage(prompt - cached - created, created, cached, self.output or (written + 3) // 4)
