"""Token counts as servers report them, under all their names, in the official API's terms."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from byway.messages.blocks import Wire
from byway.messages.events import Usage


class ReportedUsage(Wire):
    """The field `usage`, with OpenAI's names and those of other servers."""

    prompt_tokens: Any = None
    completion_tokens: Any = None
    total_tokens: Any = None
    prompt_tokens_details: Any = None
    completion_tokens_details: Any = None
    # DeepSeek. https://api-docs.deepseek.com/api/create-chat-completion (seen 2026-11-21)
    prompt_cache_hit_tokens: Any = None
    # Moonshot
    cached_tokens: Any = None
    # Mistral
    num_cached_tokens: Any = None
    prompt_token_details: Any = None
    # Proxies in front of Anthropic's models
    input_tokens: Any = None
    output_tokens: Any = None
    cache_read_input_tokens: Any = None
    cache_creation_input_tokens: Any = None


#: Servers written in PHP send an empty object as a list, and others a text: what is no object reports nothing.
NotAnObject = list[Any] | str | float | bool | None


class ServerTimings(Wire):
    """llama.cpp's measurements, which it sends even where `usage` was not requested."""

    cache_n: Any = None
    prompt_n: Any = None
    predicted_n: Any = None


class PromptProgress(Wire):
    """llama.cpp's progress while it reads a long prompt."""

    total: Any = None
    cache: Any = None


_NUMBERS: Final = (int, float)
_LARGEST: Final = 1 << 53


def token_count(value: Any) -> int:
    """A number of tokens; 0 for a value that is not one."""
    if value is None:
        return 0
    return int(value) if isinstance(value, _NUMBERS) and 0 < value < _LARGEST else 0


class TokenCounts(Struct, gc=False):
    """The counts of one answer. Servers report running totals: the latest report that is not zero counts."""

    estimate: int
    """Tokens of the prompt, used until the server reports them."""
    prompt: int = 0
    """Includes what came from the cache."""
    cached: int = 0
    created: int = 0
    output: int = 0
    reasoning: int = 0
    reasons_in_total: bool = False
    """The server may count reasoning in `total_tokens` only: `Vendor.reasons_in_total`."""

    def add_usage(self, usage: ReportedUsage | NotAnObject) -> None:
        """Take over a report. Zeros change nothing."""
        if type(usage) is not ReportedUsage:
            return
        prompt, output = usage.prompt_tokens or usage.input_tokens, usage.completion_tokens or usage.output_tokens
        if type(prompt) is not int or not 0 <= prompt < _LARGEST:
            prompt = token_count(prompt)
        if type(output) is not int or not 0 <= output < _LARGEST:
            output = token_count(output)
        if prompt:
            self.prompt = prompt
            cached = usage.prompt_cache_hit_tokens or usage.cached_tokens or usage.cache_read_input_tokens
            cached = cached or usage.num_cached_tokens
            created = usage.cache_creation_input_tokens
            details = usage.prompt_tokens_details or usage.prompt_token_details
            if isinstance(details, dict):
                cached = details.get("cached_tokens") or cached
                created = details.get("cache_write_tokens") or details.get("cache_creation_tokens") or created
            self.cached = token_count(cached) if cached else 0
            self.created = token_count(created) if created else 0
        if isinstance(usage.completion_tokens_details, dict):
            reasoning = token_count(usage.completion_tokens_details.get("reasoning_tokens"))
            # Gemini and xAI count reasoning beside the answer, all other servers within it.
            if reasoning and token_count(usage.total_tokens) == prompt + output + reasoning:
                output += reasoning
            output = max(output, reasoning)
            self.reasoning = reasoning or self.reasoning
        if self.reasons_in_total and prompt and (rest := token_count(usage.total_tokens) - prompt - output) > 0:
            output += rest
            self.reasoning = max(self.reasoning, rest)
        self.output = output or self.output

    def add_timings(self, timings: ServerTimings | NotAnObject) -> None:
        """Take from llama.cpp's `timings` what no `usage` has reported."""
        if type(timings) is not ServerTimings:
            return
        if timings.cache_n is not None and not self.prompt:
            self.cached = token_count(timings.cache_n)
            self.prompt = self.cached + token_count(timings.prompt_n)
        self.output = self.output or token_count(timings.predicted_n)

    def add_progress(self, progress: PromptProgress | NotAnObject) -> None:
        """Take the size of the prompt from llama.cpp's `prompt_progress`."""
        if type(progress) is PromptProgress and not self.prompt:
            self.prompt, self.cached = token_count(progress.total), token_count(progress.cache)

    @property
    def estimated(self) -> bool:
        """True while one of the two totals is an estimate."""
        return not self.prompt or not self.output

    def total(self, written: int) -> Usage:
        """The counts in the official API's terms, estimated where the server reported none.

        `written`: characters of the answer so far.
        """
        prompt, cached, created = self.prompt or self.estimate, self.cached, self.created
        if cached or created:
            cached = min(cached, prompt)
            created = min(created, prompt - cached)
        return Usage(prompt - cached - created, created, cached, self.output or (written + 3) // 4)
