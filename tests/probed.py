"""Models for readiness tests: one that can do everything, and changes that take one ability away."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from scripted import Asked, Reply, Say, Step, Tool

Script = Callable[[Asked], Reply | Say]


def kind(request: Asked) -> str:
    """The probe that a request belongs to."""
    body = request.json
    text = json.dumps(body)
    last = body["messages"][-1]
    if "single word" in text:
        return "plain"
    if "vault? " in text:
        return "long_prompt"
    if "that has visitors?" in text:
        return "prefix_reuse"
    if "17 times 23" in text:
        return "thinking"
    if "picture" in text:
        return "image"
    if "Berlin" in text:
        return "json_schema"
    if "buy milk" in text:
        return "forced_tool"
    if last["role"] == "tool" or "tool_result" in json.dumps(last):
        return "tool_result"
    return "parallel" if "Lima" in json.dumps(last) else "tool_call"


def prompt_tokens(request: Asked) -> int:
    """About as many as a tokenizer makes of it."""
    return len(request.body) // 3


def cached(request: Asked) -> Callable[[list[Step]], list[Step]]:
    """Most of the prompt comes from the cache."""
    prompt = prompt_tokens(request)
    if request.anthropic:
        old, new = f'"input_tokens": {prompt}', f'"input_tokens": 100, "cache_read_input_tokens": {prompt - 100}'
    else:
        old = f'"prompt_tokens": {prompt}'
        new = f'{old}, "prompt_tokens_details": {{"cached_tokens": {prompt - 100}}}'
    return lambda steps: [
        step.replace(old.encode(), new.encode()) if isinstance(step, bytes) else step for step in steps
    ]


def strong(request: Asked) -> Say:
    """The answer of a model that passes every probe."""
    answers: dict[str, dict[str, Any]] = {
        "plain": {"text": "ready"},
        "tool_call": {"tools": [Tool("get_weather", {"city": "Oslo"})]},
        "tool_result": {"text": "It is 17 degrees and foggy in Oslo."},
        "parallel": {"tools": [Tool("get_weather", {"city": "Oslo"}), Tool("get_weather", {"city": "Lima"})]},
        "forced_tool": {"tools": [Tool("save_note", {"title": "Buy milk", "priority": 1})]},
        "json_schema": {"text": '{"city": "Berlin", "country": "Germany", "capital": true}'},
        "thinking": {"text": "391", "thinking": "17 times 20 is 340, and 17 times 3 is 51."},
        "image": {"text": "The left half is red and the right half is blue."},
        "long_prompt": {"text": "4419-cobalt"},
        "prefix_reuse": {"text": "Two", "edit": cached(request)},
    }
    return Say(**answers[kind(request)], tokens=(prompt_tokens(request), 20))


def weak(**changes: Say | Reply | Script) -> Script:
    """The strong model, with other answers to some probes."""

    def script(request: Asked) -> Reply | Say:
        change = changes.get(kind(request))
        if change is None:
            return strong(request)
        return change(request) if callable(change) else change

    return script
