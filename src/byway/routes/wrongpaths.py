"""What a request for a path that Byway does not have gets: an error in the form of its own API, which names the right path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from byway.problems import Problem
from byway.routes.context import BASE_PREFIXES, Envelope, RequestContext, Route, is_anthropic

#: Endpoints below `/v1` of Anthropic's API that Byway does not have (https://docs.anthropic.com/en/api, seen 2026-11-30).
_ANTHROPIC_ONLY: Final = frozenset(
    ("agents", "code", "complete", "environments", "memory_stores", "organizations", "sessions", "skills", "vaults")
)
#: Those of the OpenAI API (the `openai` SDK 3.52.0, seen 2026-11-30).
_OPENAI_ONLY: Final = frozenset(
    "assistants chatkit containers conversations evals fine_tuning graders organization realtime threads uploads vector_stores "
    "videos".split()
)
#: The first segments below `/v1` of what only OpenAI's API has.
_OPENAI_NAMES: Final = _OPENAI_ONLY | frozenset(
    ("audio", "batches", "chat", "completions", "embeddings", "engines", "images", "moderations", "rerank", "responses")
)
_OPENAI_PATHS: Final = (
    "Set the base URL of an OpenAI client to http://HOST:PORT/v1: chat completions are at POST /v1/chat/completions, the "
    "Responses API is at POST /v1/responses, embeddings are at POST /v1/embeddings, models at GET /v1/models."
)
_MESSAGES_PATHS: Final = (
    "The Messages API is at /v1/messages and at /anthropic/v1/messages, chat completions are at /v1/chat/completions."
)
_OLLAMA_PATHS: Final = (
    "Of Ollama's API Byway has POST /api/chat, /api/generate, /api/embed and /api/show, and GET /api/tags, /api/ps and "
    "/api/version. Models are added on the page Models, or by `byway models`."
)
_LMSTUDIO_PATHS: Final = "Byway does not have LM Studio's own API: use the OpenAI API at /v1, with GET /v1/models."
_GEMINI_PATHS: Final = (
    "Byway does not have the Gemini API: use the OpenAI API at POST /v1/chat/completions, or the Messages API at POST "
    "/v1/messages. They answer with any model, those of Gemini too."
)
#: Segments of a path that are looked at.
_MOST_SEGMENTS: Final = 8


def dialect(path: str, context: RequestContext) -> Envelope:
    """The form of an error for a path that Byway does not have: by the path, then by the headers."""
    if path.startswith("/api/") and not is_anthropic(context):
        return "ollama"
    if path.startswith(("/v1beta", "/v1alpha")) or b"x-goog-api-key" in context.headers:
        return "gemini"
    if is_anthropic(context):
        return "messages"
    start, _, rest = path.partition("/v1/")
    if start in BASE_PREFIXES and rest.partition("/")[0] in _ANTHROPIC_ONLY - _OPENAI_NAMES:
        return "messages"
    if rest.partition("/")[0] in _OPENAI_NAMES or path[1:].partition("/")[0] in _OPENAI_NAMES:
        return "chat"
    # Clients of Anthropic's API have sent one of its headers.
    return "chat" if context.headers.get(b"authorization", b"")[:7].lower() == b"bearer " else "messages"


def wrong_path(
    path: str, method: str, by_method: Mapping[str, Route], form: Envelope, has: Callable[[str], bool]
) -> Problem:
    """The Problem of a request without a route. `has` tells whether Byway has a path."""
    if by_method:
        return Problem("method", f"{path[:200]} does not support {method}. Use {', '.join(sorted(by_method))}.")
    name = path.partition("/v1/")[2].partition("/")[0]
    start = path.partition("/v1/")[0]
    if start in BASE_PREFIXES and form == "messages" and name in _ANTHROPIC_ONLY:
        return Problem("not_supported", f"Byway does not have the endpoint /v1/{name} of Anthropic's API.")
    if start in BASE_PREFIXES and form == "chat" and name in _OPENAI_ONLY:
        return Problem("not_supported", f"Byway does not have the endpoint /v1/{name} of OpenAI's API.")
    match form:
        case "ollama":
            paths = _LMSTUDIO_PATHS if path.startswith(("/api/v0", "/api/v1")) else _OLLAMA_PATHS
        case "gemini":
            paths = _GEMINI_PATHS
        case "chat":
            paths = _OPENAI_PATHS
        case _:
            paths = _MESSAGES_PATHS
    nearest = _nearest(path, has)
    return Problem("not_found", f"Unknown path {path[:200]}. {f'Use {nearest}. ' if nearest else ''}{paths}")


def _nearest(path: str, has: Callable[[str], bool]) -> str:
    """The path that Byway has and that `path` ends in, such as that of `/openai/v1/chat/completions`; empty: none."""
    segments = path[:200].split("/")[1 : _MOST_SEGMENTS + 1]
    for at in range(len(segments)):
        rest = "/".join(segments[at:])
        for candidate in (f"/{rest}", f"/v1/{rest}"):
            if candidate.startswith("/v1/") and candidate != path and has(candidate):
                return candidate
    return ""
