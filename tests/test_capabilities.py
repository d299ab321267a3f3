"""Refusals get the token by which Claude Code leaves out what was refused."""

from __future__ import annotations

import json

import pytest
from growth import assert_linear

from byway.backends.capabilities import with_token
from byway.backends.errors import from_response

REFUSALS = {
    "messages[1].role: unknown variant `system`, expected `user` or `assistant`": "mid_conv_system",
    "Invalid role: system": "mid_conv_system",
    "Only user and assistant roles are supported": "mid_conv_system",
    "System message must be at the beginning.": "mid_conv_system",
    "thinking.type: unknown variant `adaptive`, expected `enabled` or `disabled`": "thinking_type:adaptive",
    "invalid thinking.type: adaptive": "thinking_type:adaptive",
    "thinking.type must be 'enabled' or 'disabled'": "thinking_type:adaptive",
    "unknown variant `enabled`, expected `adaptive` or `disabled`": "thinking_type:enabled",
    "output_format is not supported for this model": "structured_outputs_unsupported",
    "Unknown field: output_config.format": "structured_outputs_unsupported",
    'json: unknown field "output_config"': "effort_unsupported",
    "reasoning_effort 'xhigh' is not supported with this model": "effort_unsupported",
    "messages.3.output_config: unknown field": "beta_header:per-turn-control-2026-07-01",
    "image input is not supported - hint: you may need to provide the mmproj": "image_block",
    "This model does not support PDF input": "document_block",
}


@pytest.mark.parametrize("text", REFUSALS)
def test_the_sentence_comes_first_and_the_token_follows(text: str) -> None:
    problem = from_response(400, {}, json.dumps({"error": {"message": text}}).encode(), backend="box")
    assert (problem.kind, problem.status) == ("invalid_request", 400)
    # The client finds the token when no letter, digit or one of `_ : . -` follows.
    assert problem.message == f"{text} (capability_rejected: {REFUSALS[text]})"


@pytest.mark.parametrize(
    "text",
    [
        "Something is wrong.",
        "The model says: enabled is a word",
        "temperature is not supported",
        "messages: roles must alternate",
        # Claude Code knows Anthropic's own wordings.
        "output_config: Extra inputs are not permitted",
        "messages.1.role: Input should be 'user' or 'assistant'",
        "adaptive thinking is not supported on this model",
        "Unexpected value(s) `x-2026-01-01` for the `anthropic-beta` header",
    ],
)
def test_other_messages_stay_as_they_are(text: str) -> None:
    assert from_response(400, {}, json.dumps({"error": {"message": text}}).encode(), backend="box").message == text


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 529])
def test_other_statuses_get_no_token(status: int) -> None:
    body = b'{"error":{"message":"Invalid role: system"}}'
    assert "capability" not in from_response(status, {}, body, backend="box").message


def test_a_long_message_is_searched_in_linear_time() -> None:
    assert_linear(lambda size: "unknown thinking output " * size, lambda text: with_token(text, len(text)))
