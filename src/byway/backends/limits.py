"""Recognises the wordings in which servers refuse a prompt that is too long or an answer limit that is too
high, and their numbers.

I: tokens of the prompt. O: tokens asked for the answer. T: both. L: the window, or the limit of the prompt. D: tokens too many.
M: the most tokens of one answer. Sources: the servers named beside each wording, seen 2026-11-29.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from byway.wordings import Wording

#: Characters of a text that are searched. The patterns would take minutes for the longest text that a server can send.
SEARCHED: Final = 1000
#: A smaller number in a refusal is hardly a window, and must not be remembered as one.
SMALLEST_WINDOW: Final = 1024
_LARGEST: Final = 1 << 53


def _patterns(*texts: str) -> tuple[Wording, ...]:
    """Patterns in which `{I}` and its like stand for a number."""
    return tuple(
        Wording(re.sub(r"\{([ILOTDM])\}", r"(?P<\1>\\d[\\d,_]{0,20})", text), re.IGNORECASE | re.DOTALL)
        for text in texts
    )


_EXACT: Final = _patterns(
    # llama.cpp b11549
    r"request \({I} tokens\) exceeds the available context size \({L} tokens",
    # its embeddings
    r"input \({I} tokens\) is too large to process\..*current batch size: {L}",
    r"input \({I} tokens\) is larger than the max context size \({L} tokens\)",
    # vLLM 0.10 and later
    r"is too large: {O}.*maximum context length is {L} tokens and your request has {I} input",
    r"passed {I} input tokens and requested {O} output tokens.*context length is only {L}",
    r"maximum context length is {L} tokens.*requested {O} output tokens and your prompt contains"
    r" (?:at least )?{I} (?:input )?token",
    r"maximum context length is {L} tokens.*?request has {I} input tokens",
    r"prompt \(length {I}\) is longer than the maximum model length of {L}",
    r"input length \({I}(?: tokens)?\) exceeds (?:the )?(?:model'?s? )?maximum (?:context|allowed) length \({L}(?: tokens)?\)",
    # OpenAI, DeepSeek, older vLLM, OpenRouter: the parts of the prompt, and of the answer, in brackets
    r"maximum context length is {L} tokens.*requested (?:about )?{T} tokens \((?P<parts>[^)]*)\)",
    # OpenAI
    r"maximum context length is {L} tokens.*(?:messages|prompt|input) resulted in {I} tokens",
    r"exceed the configured limit of {L} tokens.*resulted in {I} tokens",
    # SGLang, Together
    r"input \({I} tokens\) is longer than the model'?s? context length \({L} tokens\)",
    r"maximum context length of {L} tokens.*total of {T} tokens: {I} tokens from the input messages"
    r" and {O} tokens for the completion",
    # LM Studio
    r"n_keep: {I}\s*>=\s*n_ctx: {L}",
    r"keep the first {I} tokens.*context length of only {L} tokens",
    # Text Generation Inference, Together
    r"must be <= {L}\. Given: {I} .?inputs.? tokens and {O} .?max_new_tokens",
    r"must have less than {L} tokens\. Given: {I}",
    # Google
    r"input token count (?:\(?{I}\)? )?exceeds the maximum number of (?:input )?tokens allowed \(?{L}",
    r"input token count is {I} but (?:the )?model only supports up to {L}",
    # xAI
    r"maximum prompt length is {L} but (?:the|your) request contains {I}",
    # Moonshot: T contains the answer
    r"exceeded model token limit: ?{L} \(requested: ?{T}\)",
    # DashScope
    r"range of input length should be \[\d+, ?{L}\]",
    # Fireworks
    r"prompt is too long: {I}(?: tokens)?, model maximum context length: {L}",
    # Mistral
    r"prompt contains {I} tokens.*?with {L} maximum context length",
    r"prompt contains {I} tokens.*?{L} maximum context length",
    # Cerebras
    r"current length is {I} while limit is {L}",
    # GitHub Copilot
    r"prompt token count of {I} exceeds the limit of {L}",
    # Poolside
    r"exceeds the maximum allowed input length of {L} tokens",
    # Cohere
    r"size limit exceeded by {D} tokens.*limit for this model is {L}",
    # Databricks
    r"input tokens \({I}\) exceed the maximum allowed \(?{L}",
    # NVIDIA NIM, SambaNova
    r"sequence length of {T},? but the maximum supported sequence length is (?:just )?{L}",
    # Volcengine Ark
    r"input length {I} exceeds the maximum length {L}",
    # MLX
    r"prompt too long: {I} tokens exceeds max context window of {L}",
    # Ollama
    r"exceeded max context length by {D} tokens",
    # TensorRT-LLM
    r"prompt length \({I}\), query length \(\d+\) should not exceed max_num_tokens \({L}\)",
    r"max_seq_len \({L}\) - \w*prompt_len \({I}\)",
    # SiliconFlow: T contains the answer
    r"max_total_tokens \({T}\) must be less than or equal to max_seq_len \({L}\)",
)
#: Other servers in similar words.
_SIMILAR: Final = _patterns(
    r"(?:prompt|input|request|messages|conversation|context)\b[^.]{0,80}?\b{I} tokens?\b[^.]{0,60}?"
    r"(?:exceed|over|above|larger|greater|longer|more than)[^.]{0,80}?(?:limit|maximum|window|length|size)[^.\d]{0,40}{L}",
    r"(?:context|maximum|max)\s(?:context |input |prompt )?(?:window|length|size|limit)[^.\d]{0,30}{L}\b[^\d]{0,80}?"
    r"(?:prompt|input|request|got|messages?)[^.\d]{0,40}{I} tokens",
    # SiliconFlow, TabbyAPI, OpenVINO, mistral.rs, StepFun: a length, and the limit that it is compared with
    r"(?:prompt|input|context|sequence|length of messages)(?:[ _-](?:sequence|tokens?|length|len|count))*(?: is|[:=])?"
    r" ?\(?{I}(?: tokens?)?\)? (?:is |must be |should be |should not )?(?:exceeds?|(?:greater|longer|larger|less) than)"
    r"(?: or equal to)? (?:the )?(?:model'?s? )?(?:max|limit|context|window)[^.\d]{0,40}{L}",
)
_WITHOUT_NUMBERS: Final = Wording(
    # OpenAI and many, llama.cpp, Copilot, Qianfan
    r"context_length_exceeded|exceed_context_size|prompt_tokens_exceeded|tokens_too_long|characters_too_long"
    # OpenAI Responses, MiniMax, Moonshot, GLM, Groq, Bedrock, Ollama, LM Studio, NIM
    r"|exceeds? the (?:available )?context (?:window|length|size)|context window exceeds? (?:the )?limit"
    r"|input token length too long"
    r"|prompt exceeds max length|reduce the length of (?:the|your) (?:messages|prompt|input)|input is too long"
    r"|prompt (?:is )?too long|prompt tokens too long|(?:maximum|max) context length|greater than the context length"
    r"|longer than the (?:model'?s )?(?:maximum )?(?:context|model) length|longer than the context"
    r"|maximum supported sequence length"
    r"|max input characters|context (?:length|window) (?:is |was )?exceeded|exceeds?"
    r" (?:the )?(?:model'?s )?context (?:limit|window|length)"
    r"|model supports only up to|only supports? up to [\d,]+ (?:input )?tokens"
    # GLM, Qwen, Qianfan
    r"|prompt ?超长|(?:上下文|输入)[^。]{0,12}(?:超过|超出|过长)|(?:超过|超出)[^。]{0,12}(?:上下文|最大输入)",
    re.IGNORECASE,
)
#: GLM's code for a prompt that is too long.
_OVERFLOW_CODES: Final = frozenset(
    ("1261", "tokens_too_long", "characters_too_long", "model_max_prompt_tokens_exceeded")
)
#: Limits of tokens in a time, and of bytes, in words like those above.
_NOT_OVERFLOW: Final = Wording(
    r"tokens? per (?:second|minute|hour|day|min)\b|\btp[md]\b|too many tokens, please wait|rate limit|total message size",
    re.IGNORECASE,
)
#: Anthropic's own words. They go to the client unchanged, because its retries depend on them.
_ANTHROPIC: Final = Wording(
    r"(?:prompt is too long|input length and `max_tokens` exceed context limit)"
    r"(?:: (?P<I>\d{1,15}) (?:tokens|\+ (?P<O>\d{1,15})) > (?P<L>\d{1,15}))?"
)
#: No letter follows: Chinese text may.
_NAME: Final = r"max(?:imum)?[_ ]?(?:completion[_ ]?|new[_ ]?|output[_ ]?)?tokens(?![a-z_])"
#: What may stand between the name and the words about it: quotes, and the value that was sent.
_SENT: Final = r"[`'\"]*(?: ?[(:=]? ?\d{1,15}\)?)? ?(?:value )?"
_CAPS: Final = _patterns(
    # OpenAI
    _NAME + r" is too large: \d+\. This model supports at most {M} completion tokens",
    # Anthropic
    r"max_tokens: \d+ > {M}, which is the maximum allowed",
    # DeepSeek, DashScope
    r"range of " + _NAME + r" (?:is|should be) \[\d+, ?{M}\]",
    # GLM
    _NAME + r"[^\d]{0,60}(?:范围|应在|介于|区间)[^\d]{0,10}\d+ ?[^\d]{1,2} ?{M}",
    # Groq, Fireworks, Bedrock
    _NAME + _SENT + r"(?:must|should|has to) be (?:less than or equal to|at most|<=|no more than|not more than) `?{M}",
    # FastAPI and Pydantic, as JSON and as Python prints it
    _NAME + r"[^\d]{0,40}input should be less than or equal to {M}",
    # Mistral, Together
    _NAME + _SENT + r"(?:cannot|can not|must not|should not|may not) (?:exceed|be (?:greater|more|larger) than) `?{M}",
    _NAME + r"`?'?\"?.{0,40}?must be between \d+ and {M}",
    # Others
    _NAME + r".{0,60}?(?:exceeds?|is above|is over|larger than|greater than).{0,60}?(?:maximum|limit|max)\D{0,40}{M}",
    r"(?:maximum|at most|up to) {M} (?:output|completion) tokens",
)
#: Google: the upper end of the range is not part of it.
_EXCLUSIVE_CAP: Final = _patterns(_NAME + r".{0,120}?(?:\(inclusive\))? to {M} \(exclusive\)")[0]
_PART: Final = re.compile(r"(\d[\d,_]{0,20}) (?:(?:of|in|for|from) )?(?:the |your )?(\w+)")


class Overflow(NamedTuple):
    """A prompt that does not fit: the sentence that makes Claude Code compact, and the numbers that the server named."""

    message: str
    tokens: int | None = None
    """Tokens of the prompt."""
    window: int | None = None
    """Tokens of the window, or of the longest prompt."""
    total: int | None = None
    """Tokens of prompt and answer, where the server did not name those of the prompt alone."""


def overflow(
    text: str, codes: frozenset[str] | set[str], numbers: dict[str, int], window: int | None
) -> Overflow | None:
    """Return the overflow that an error reports; None for another error. `window`: the known one, for an error without it.

    Claude Code compacts for Anthropic's wording (2.1.329 and 2.1.197): `prompt is too long: I tokens > L maximum`. It lowers
    `max_tokens` for `input length and `max_tokens` exceed context limit: I + O > L`, which is right only when I fits.
    """
    text = text[:SEARCHED]
    match = _ANTHROPIC.search(text)
    if match is not None and match["L"]:
        return Overflow(text, _number(match["I"]), _positive(_number(match["L"])))
    if _NOT_OVERFLOW.search(text):
        return None
    result = _from_patterns(_EXACT, text)
    if result is None and output_limit(text) is None:
        result = _from_patterns(_SIMILAR, text)
    if result is not None:
        return result
    if _WITHOUT_NUMBERS.search(text) or _OVERFLOW_CODES & codes or any(map(_WITHOUT_NUMBERS.search, codes)):
        tokens, limit = numbers.get("n_prompt_tokens"), numbers.get("n_ctx")
        if tokens is not None and (limit or window):
            return Overflow(_sentence(tokens, 0, limit or window or 0), tokens, _positive(limit))
        return Overflow(_in_words(text), None, _positive(limit))
    return None


def output_limit(text: str) -> int | None:
    """Return the most tokens of one answer that a refused `max_tokens` names; None for another error."""
    text = text[:SEARCHED]
    for pattern in _CAPS:
        if match := pattern.search(text):
            return _positive(_number(match["M"]))
    if match := _EXCLUSIVE_CAP.search(text):
        return _positive((_number(match["M"]) or 1) - 1)
    return None


def _from_patterns(patterns: tuple[Wording, ...], text: str) -> Overflow | None:
    for pattern in patterns:
        match = pattern.search(text)
        if match is None:
            continue
        groups = match.groupdict()
        numbers = {name: _number(digits) for name, digits in groups.items() if name != "parts"}
        if any(value is not None and value >= _LARGEST for value in numbers.values()):
            continue
        prompt, answer, total, limit = (numbers.get(name) for name in "IOTL")
        if groups.get("parts"):
            prompt, answer = _parts(groups["parts"], total)
        if prompt is None and total is not None and answer is not None:
            prompt = total - answer
        if prompt is None and numbers.get("D") is not None and limit is not None:
            prompt = limit + (numbers["D"] or 0)
        if answer is None and prompt is not None and total is not None:
            answer = total - prompt
        known = prompt if prompt is not None else total
        if known is None or limit is None:
            return Overflow(_in_words(text), prompt, _positive(limit))
        sentence = _sentence(known, answer or 0, limit)
        return Overflow(sentence, prompt, _positive(limit), total if prompt is None else None)
    return None


def _parts(text: str, total: int | None) -> tuple[int | None, int | None]:
    """(tokens of the prompt, tokens of the answer) from `60662 of text input, 10687 of tool input, 64000 in the output`."""
    prompt, answer = 0, None
    for digits, name in _PART.findall(text):
        number = _number(digits) or 0
        if name.lower() in ("output", "completion", "response", "answer"):
            answer = number
        else:
            prompt += number
    if answer is None and total is not None:
        answer = total - prompt
    return prompt or None, answer


def _sentence(prompt: int, answer: int, limit: int) -> str:
    if prompt <= limit and answer > 0:
        return f"input length and `max_tokens` exceed context limit: {prompt} + {answer} > {limit}"
    return f"prompt is too long: {prompt} tokens > {limit} maximum"


def _in_words(text: str) -> str:
    """The text with Anthropic's words in it, for an error without numbers."""
    if not text:
        return "prompt is too long"
    return text if _ANTHROPIC.search(text) else f"prompt is too long: {text}"


def _number(digits: str | None) -> int | None:
    return int(re.sub("[,_]", "", digits)) if digits else None


def _positive(limit: int | None) -> int | None:
    return limit if limit is not None and 0 < limit < _LARGEST else None
