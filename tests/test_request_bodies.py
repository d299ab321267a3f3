"""Compressed request bodies: decoded for every front, bounded, and refused when they cannot be decoded."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import zlib
from typing import Any, cast

import pytest
from growth import assert_linear
from test_targets import Network, chat_answer, runtime

from byway.gateway import Gateway
from byway.routes.context import BODY_LIMIT, RequestContext
from byway.server.app import App

MESSAGES = {"model": "sonnet", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
CHAT = {"model": "sonnet", "messages": [{"role": "user", "content": "Hi"}]}


def app() -> App:
    at = runtime("one")
    at.backends["one"].upstream = cast(Any, Network((200, chat_answer({"prompt_tokens": 5, "completion_tokens": 1}))))
    return App(Gateway(at))


def post(to: App, path: str, body: bytes, coding: str, step: int = 1 << 20) -> tuple[int, dict[bytes, bytes], Any]:
    """The status, headers and JSON of the answer to a request whose body comes in pieces."""
    pieces = [body[at : at + step] for at in range(0, len(body), step)] or [b""]
    messages: list[Any] = []

    async def receive() -> dict[str, Any]:
        if not pieces:
            return {"type": "http.disconnect"}
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    async def send(message: Any) -> None:
        messages.append(message)

    headers = {b"host": b"127.0.0.1", b"content-encoding": coding.encode(), b"content-length": b"%d" % len(body)}
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers, "client": None}
    asyncio.run(to({**scope, "server": ("127.0.0.1", 80)}, receive, send))
    whole = b"".join(message["body"] for message in messages[1:])
    return messages[0]["status"], dict(messages[0]["headers"]), json.loads(whole)


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(("path", "body"), [("/v1/messages", MESSAGES), ("/v1/chat/completions", CHAT)])
@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("GZIP, identity", gzip.compress),
        ("gzip", lambda data: gzip.compress(data[:10]) + gzip.compress(data[10:])),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("identity", bytes),
    ],
)
def test_a_compressed_body_is_read_like_a_plain_one(path: str, body: Any, coding: str, pack: Any) -> None:
    status, _, answer = post(app(), path, pack(json.dumps(body).encode()), coding, step=7)
    assert status == 200, answer


def test_a_compressed_count_is_answered() -> None:
    status, _, answer = post(app(), "/v1/messages/count_tokens", gzip.compress(json.dumps(MESSAGES).encode()), "gzip")
    assert status == 200 and answer["input_tokens"] > 0


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions", "/v1/responses", "/v1/embeddings"])
@pytest.mark.parametrize(
    ("body", "coding", "status", "words"),
    [
        (gzip.compress(bytes(BODY_LIMIT + 1), 1), "gzip", 413, "over 32 MiB"),
        (gzip.compress(b"{}" * 999)[:-12], "gzip", 400, "not valid gzip: it ends too early"),
        (b"{}", "gzip", 400, "not valid gzip"),
        (zlib.compress(b"{}") + b"more", "deflate", 400, "not valid deflate: bytes after the end"),
        (b"{}", "br", 415, "'br' is not supported"),
        (b"{}", "zstd", 415, "'zstd' is not supported. Send the request body uncompressed, or compressed with gzip"),
        (b"{}", "gzip, gzip", 415, "'gzip, gzip' is not supported"),
    ],
)
def test_a_body_that_cannot_be_decoded_is_refused(path: str, body: bytes, coding: str, status: int, words: str) -> None:
    result, headers, answer = post(app(), path, body, coding)
    assert (result, words in answer["error"]["message"]) == (status, True), answer
    assert (headers.get(b"accept-encoding") == b"gzip, deflate") is (status == 415)


def test_the_budget_for_large_bodies_counts_decompressed_bytes_and_is_free_again() -> None:
    to = app()
    held: list[int] = []
    reserve = to.gateway.large_bodies.reserve

    async def note(size: int) -> None:
        held.append(size)
        await reserve(size)

    to.gateway.large_bodies.reserve = note  # type: ignore[method-assign]
    body = gzip.compress(json.dumps({**MESSAGES, "system": " " * (2 << 20)}).encode())
    assert len(body) < 10_000 and post(to, "/v1/messages", body, "gzip")[0] == 200
    assert held == [BODY_LIMIT] and to.gateway.large_bodies._free == to.gateway.large_bodies._budget


def test_many_empty_members_are_read_in_linear_time() -> None:
    to, empty = app(), gzip.compress(b"")
    assert_linear(lambda size: empty * size, lambda body: post(to, "/v1/messages", body, "gzip"), size=2000)


def reading(to: App, body: bytes, received: list[int]) -> RequestContext:
    """The context of a request with a gzip body, which notes each piece that is read."""

    async def receive() -> dict[str, Any]:
        received.append(1)
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        raise AssertionError(message)

    headers = {b"content-encoding": b"gzip", b"content-length": b"%d" % len(body)}
    return RequestContext(to.gateway, {"path": "/v1/messages"}, headers, receive, send, "1" * 24)


def test_other_requests_run_after_each_megabyte_of_a_body_that_was_a_few_kilobytes() -> None:
    async def turns() -> int:
        task = asyncio.create_task(reading(app(), gzip.compress(bytes(16 << 20)), []).body())
        count = 0
        while not task.done():
            await asyncio.sleep(0)
            count += 1
        assert len(await task) == 16 << 20
        return count

    assert asyncio.run(turns()) >= 16


def test_a_compressed_body_waits_for_its_share_of_memory_before_it_is_read() -> None:
    async def read_pieces() -> int:
        to = app()
        received: list[int] = []
        await to.gateway.large_bodies.reserve(to.gateway.large_bodies._free - (4 << 20))
        task = asyncio.create_task(reading(to, gzip.compress(random.Random(1).randbytes(2 << 20)), received).body())
        for _ in range(200):
            await asyncio.sleep(0)
        count = len(received)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return count

    assert asyncio.run(read_pieces()) == 0
