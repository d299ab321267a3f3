"""Finds the model servers on this machine. Each is recognised by its own API, so that another program at its port is not
mistaken for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from byway.backends.vendors import VENDORS
from byway.call import Call
from byway.config import TimeoutSettings
from byway.decoding import DECODE_ERRORS
from byway.problems import Problem
from byway.upstream.client import Upstream

#: Seconds for all queries to one server. It is on this machine: a slower one is busy and is found the next time.
TIMEOUT: Final = 0.3
_BODY_LIMIT: Final = 4 << 20


class DiscoveredServer(NamedTuple):
    """A model server on this machine."""

    vendor: str
    """The value for `backends[].type`."""
    url: str
    models: tuple[str, ...]
    version: str = ""


class _ServerReply(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: Any
    """The decoded JSON; None for anything else."""

    def fields(self) -> dict[str, Any]:
        return self.body if self.status == 200 and isinstance(self.body, dict) else {}

    def names(self, listed: str, name: str) -> tuple[str, ...]:
        return tuple(str(entry[name]) for entry in self.entries(listed) if entry.get(name))

    def entries(self, listed: str) -> list[dict[str, Any]]:
        entries = self.fields().get(listed)
        return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


_Get = Callable[[str], Awaitable[_ServerReply]]


async def _ollama(get: _Get) -> tuple[tuple[str, ...], str] | None:
    """https://docs.ollama.com/api (seen 2026-11-20)."""
    version = (await get("/api/version")).fields().get("version")
    tags = await get("/api/tags")
    if not isinstance(version, str) or not isinstance(tags.fields().get("models"), list):
        return None
    return tags.names("models", "name"), version


async def _lmstudio(get: _Get) -> tuple[tuple[str, ...], str] | None:
    """https://lmstudio.ai/docs/developer/rest/endpoints (seen 2026-11-20): its list marks the loaded models."""
    listed = await get("/api/v0/models")
    if not isinstance(listed.fields().get("data"), list):
        return None
    models = listed.entries("data")
    if not all("state" in model and "max_context_length" in model for model in models):
        return None
    chat = [model for model in models if model.get("type") in (None, "llm", "vlm") and model.get("id")]
    # Loaded models first: they answer without a delay.
    return tuple(str(model["id"]) for model in sorted(chat, key=lambda model: model["state"] != "loaded")), ""


async def _llamacpp(get: _Get) -> tuple[tuple[str, ...], str] | None:
    """llama.cpp b11549 (recorded 2026-11-20): its `Server` header names it, also while it loads or requires a key."""
    if (await get("/health")).headers.get("server") != "llama.cpp":
        return None
    models, about = await get("/v1/models"), await get("/props")
    return models.names("data", "id"), str(about.fields().get("build_info") or "")


async def _vllm(get: _Get) -> tuple[tuple[str, ...], str] | None:
    """https://docs.vllm.ai/en/latest/serving/openai_compatible_server (seen 2026-11-20)."""
    version = (await get("/version")).fields().get("version")
    models = await get("/v1/models")
    if not isinstance(version, str) or "vllm" not in (model.get("owned_by") for model in models.entries("data")):
        return None
    return models.names("data", "id"), version


_PROBES: Final = {"ollama": _ollama, "lmstudio": _lmstudio, "llamacpp": _llamacpp, "vllm": _vllm}


def usual_urls(own: Iterable[str], used: Iterable[str] = ()) -> dict[str, str]:
    """The usual addresses of model servers, by vendor, without those of this Byway and those that the config uses.

    `own` are the addresses where Byway listens, such as `127.0.0.1:8000`.
    """
    ports = {address.rpartition(":")[2] for address in own if not address.startswith("unix:")}
    known = set(map(plain_url, used))
    urls = {name: VENDORS[name].url or "" for name in _PROBES}
    return {
        name: url for name, url in urls.items() if url.rpartition(":")[2] not in ports and plain_url(url) not in known
    }


def plain_url(url: str) -> str:
    """A URL in the form in which URLs of one server are equal."""
    return url.lower().replace("//localhost", "//127.0.0.1").rstrip("/").removesuffix("/v1")


async def discover(urls: Mapping[str, str], limit: float = TIMEOUT) -> list[DiscoveredServer]:
    """The servers that answer; all are queried at the same time. `urls` is by vendor."""
    servers = await asyncio.gather(*(_discover(vendor, url, limit) for vendor, url in urls.items()))
    return [server for server in servers if server is not None]


async def _discover(vendor: str, url: str, limit: float) -> DiscoveredServer | None:
    upstream = Upstream(
        url, timeouts=TimeoutSettings(connect=limit, first_byte=limit, between_chunks=limit), proxy="none"
    )

    async def get(path: str) -> _ServerReply:
        answer = await upstream.open(Call("GET", path, (("accept", "application/json"),)))
        try:
            body = await answer.body(_BODY_LIMIT)
        finally:
            answer.close()
        try:
            return _ServerReply(answer.status, answer.headers, msgspec.json.decode(body))
        except DECODE_ERRORS:
            return _ServerReply(answer.status, answer.headers, None)

    try:
        async with asyncio.timeout(limit):
            recognised = await _PROBES[vendor](get)
    except (Problem, TimeoutError):
        return None
    finally:
        await upstream.close()
    return None if recognised is None else DiscoveredServer(vendor, url, *recognised)
