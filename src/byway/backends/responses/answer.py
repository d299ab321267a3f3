"""Reads the fields of a response object that both readers need: its usage, its failure, and why it is incomplete."""

from __future__ import annotations

from typing import Final

import msgspec

from byway.backends import errors
from byway.backends.openai.usage import ReportedUsage, TokenCounts
from byway.backends.protocol import Target
from byway.problems import Problem
from byway.responseitems import AnyResponse

#: Raises MsgspecError, UnicodeDecodeError or RecursionError.
decode_response: Final = msgspec.json.Decoder(AnyResponse).decode


def add_usage(counts: TokenCounts, response: AnyResponse) -> None:
    """Add the usage that a response reports, if it does, to `counts`."""
    usage = response.usage
    if isinstance(usage, dict):
        counts.add_usage(
            ReportedUsage(
                prompt_tokens=usage.get("input_tokens"),
                completion_tokens=usage.get("output_tokens"),
                total_tokens=usage.get("total_tokens"),
                prompt_tokens_details=usage.get("input_tokens_details"),
                completion_tokens_details=usage.get("output_tokens_details"),
            )
        )


def failure(response: AnyResponse, status: str, target: Target) -> Problem:
    """The failure of a response that ended as `status`."""
    error = response.error or f"It ended its answer as {status} without a reason."
    return errors.from_error(error, backend=target.backend, window=target.window)


def incomplete_reason(response: AnyResponse) -> str:
    """Why a response is incomplete, in the server's words; empty where it sends no reason."""
    details = response.incomplete_details
    return str(details.get("reason") or "") if isinstance(details, dict) else ""
