"""A Byway in this process with batches on a real disk, a backend that is a function, and the official SDKs as clients."""

from __future__ import annotations

import json
import platform
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import anthropic
import httpx2 as httpx
import openai
from test_targets import Answered
from waiting import until

from byway import config
from byway.batches.worker import BatchWorker
from byway.call import Call
from byway.files.service import FileService
from byway.files.storage import file_storage
from byway.gateway import Gateway
from byway.runtime import Runtime
from byway.server.app import App
from byway.server.batches import open_batches
from byway.store.files import FileStore

#: What a backend answers to the last user message of a request: a text, or (status, body).
Answers = Callable[[str], Awaitable[str | tuple[int, Any]]]
#: The SDKs describe the system in a header. Python remembers it; the first time it starts `uname`, which no test may do.
platform.platform()
KEYS = [
    {"key": "key-of-ann", "id": "ann", "user_id": "ada"},
    {"key": "key-of-bob", "id": "bob"},
    {"key": "key-of-eve", "id": "eve", "user_id": "ada"},
]


async def echo(text: str) -> str:
    """Answer with the question."""
    return f"You wrote: {text}"


class BatchBackend:
    """A Messages backend whose answers come from a function."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.texts: list[str] = []
        """The questions that it has received."""
        self.running = self.most = 0

    async def open(self, call: Call) -> Answered:
        request = json.loads(call.body)
        content = request["messages"][-1]["content"]
        text = content if isinstance(content, str) else content[-1]["text"]
        self.texts.append(text)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            answer = await self.answers(text)
        finally:
            self.running -= 1
        if isinstance(answer, tuple):
            return Answered(answer[0], json.dumps(answer[1]).encode())
        message = {
            "id": "msg_x", "type": "message", "role": "assistant", "model": request["model"], "stop_reason": "end_turn",
            "stop_sequence": None, "content": [{"type": "text", "text": answer}],
            "usage": {"input_tokens": 10, "output_tokens": 5},
        }  # fmt: skip
        return Answered(200, json.dumps(message, indent=1).encode())

    async def close(self) -> None:
        """Nothing is open."""


@dataclass
class BatchPlace:
    """One running Byway."""

    gateway: Gateway
    app: App
    backend: BatchBackend
    worker: BatchWorker

    def anthropic(self, key: str = "key-of-ann", base: str = "http://127.0.0.1") -> anthropic.AsyncAnthropic:
        http = httpx.AsyncClient(transport=httpx.ASGITransport(cast(Any, self.app)))
        return anthropic.AsyncAnthropic(base_url=base, api_key=key, http_client=http, max_retries=0)

    def openai(self, key: str = "key-of-ann") -> openai.AsyncOpenAI:
        http = httpx.AsyncClient(transport=httpx.ASGITransport(cast(Any, self.app)))
        return openai.AsyncOpenAI(base_url="http://127.0.0.1/v1", api_key=key, http_client=http, max_retries=0)

    async def post(self, path: str, body: bytes, key: str = "key-of-ann", coding: str = "") -> httpx.Response:
        headers = {"x-api-key": key, **({"content-encoding": coding} if coding else {})}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(cast(Any, self.app))) as client:
            return await client.post(f"http://127.0.0.1{path}", content=body, headers=headers)

    async def call(self, method: str, path: str, key: str) -> tuple[int, Any]:
        """Send a request without a body. Returns the status and the JSON of the answer."""
        async with httpx.AsyncClient(transport=httpx.ASGITransport(cast(Any, self.app))) as client:
            response = await client.request(method, f"http://127.0.0.1{path}", headers={"x-api-key": key})
            return response.status_code, response.json()

    async def ended(self, *ids: str) -> None:
        """Wait until the batches have ended."""
        await until(lambda: all(self.worker.store.get(id, None).state == "ended" for id in ids))


def gateway_of(backend: BatchBackend, **sections: Any) -> Gateway:
    """A gateway with one backend and the keys of KEYS."""
    settings = {
        "backends": [{"name": "here", "type": "anthropic", "url": "http://127.0.0.1:1", "models": ["m", "n"]}],
        "model_aliases": {"default": "here/m"},
        "api_keys": {"api_keys": KEYS},
        **sections,
    }
    runtime = Runtime(config.load(json.dumps(settings), {}))
    if runtime.limiter is not None:
        runtime.limiter.trust_counts()
    runtime.backends["here"].upstream = cast(Any, backend)
    return Gateway(runtime)


@asynccontextmanager
async def batching(folder: Path, answers: Answers = echo, **sections: Any) -> AsyncIterator[BatchPlace]:
    """Run a Byway with batches in the data folder."""
    backend = BatchBackend(answers)
    gateway = gateway_of(backend, **sections)
    gateway.admin = cast(Any, SimpleNamespace(socket="", logins=SimpleNamespace(cookie_name="login")))
    files = gateway.runtime.config.files
    gateway.file_service = FileService(FileStore(folder), partial(file_storage, files, folder), files)
    gateway.set_files(files)
    open_batches(gateway, folder)
    assert gateway.batches is not None
    gateway.batches.start()
    try:
        yield BatchPlace(gateway, App(gateway), backend, gateway.batches)
    finally:
        await gateway.batches.stop()
        await gateway.file_service.close()


def ask(text: str, id: str = "", **more: Any) -> dict[str, Any]:
    """A request of a batch."""
    messages = [{"role": "user", "content": text}]
    return {"custom_id": id or text, "params": {"model": "haiku", "max_tokens": 9, "messages": messages, **more}}


def body_of(requests: Iterable[Mapping[str, Any]]) -> bytes:
    """The body that creates a batch."""
    return json.dumps({"requests": list(requests)}).encode()


async def results_of(client: anthropic.AsyncAnthropic, id: str) -> dict[str, Any]:
    """The results of a batch by custom_id: the text, or the result. Fails when one occurs twice."""
    results: dict[str, Any] = {}
    async for line in await client.messages.batches.results(id):
        assert line.custom_id not in results, "a result occurs twice"
        result = line.result
        results[line.custom_id] = result.message.content[0].text if result.type == "succeeded" else result  # type: ignore[union-attr]
    return results
