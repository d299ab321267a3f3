"""Environment variables of Claude Code: those of an endpoint, its credential and its models."""

from __future__ import annotations

from typing import Final

BASE_URL: Final = "ANTHROPIC_BASE_URL"
API_KEY: Final = "ANTHROPIC_API_KEY"
AUTH_TOKEN: Final = "ANTHROPIC_AUTH_TOKEN"  # noqa: S105 - the name of a variable
CREDENTIALS: Final = (AUTH_TOKEN, API_KEY)
#: Headers that Claude Code adds to each request, one a line.
HEADERS: Final = "ANTHROPIC_CUSTOM_HEADERS"
#: Variables with which Claude Code does not use the base URL at all (its binary, 2.1.329).
PROVIDER_FLAGS: Final = tuple(
    f"CLAUDE_CODE_USE_{name}" for name in ("BEDROCK", "VERTEX", "FOUNDRY", "MANTLE", "GATEWAY")
)
#: Variables of the names in a model map.
FAMILIES: Final = {
    "default": "ANTHROPIC_MODEL",
    **{family: f"ANTHROPIC_DEFAULT_{family.upper()}_MODEL" for family in ("opus", "sonnet", "haiku", "fable")},
}
#: Variables with the name of a model.
MODEL_VARIABLES: Final = (*FAMILIES.values(), "ANTHROPIC_SMALL_FAST_MODEL", "CLAUDE_CODE_SUBAGENT_MODEL")
#: A file of certificates that Claude Code trusts. Its own settings file may set it (measured, 2.1.329).
EXTRA_CAS: Final = "NODE_EXTRA_CA_CERTS"
#: Retries of a server on this machine or network. The default of 10 takes three minutes without a word (measured, 2.1.329).
LOCAL_RETRIES: Final = {"CLAUDE_CODE_MAX_RETRIES": "2"}
