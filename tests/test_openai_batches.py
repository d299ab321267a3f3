"""OpenAI's batches: the official SDK against a Byway in this process, with real SQLite and files on a real disk."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import openai
import pytest
from batching import BatchPlace, batching
from growth import assert_linear
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples
from waiting import until

from byway.batches import store as stores
from byway.batches import worker as workers
from byway.batches.lines import BatchLines
from byway.batches.outputs import store_outputs


@pytest.fixture(autouse=True)
def _short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch whose requests are interrupted rests for no second."""
    monkeypatch.setattr(workers, "_FIRST_PAUSE", 0.01)


def line(text: str, id: str = "", **more: Any) -> dict[str, Any]:
    """A line of an input file."""
    body = {"model": "gpt", "max_tokens": 9, "messages": [{"role": "user", "content": text}], **more}
    return {"custom_id": id or text, "method": "POST", "url": "/v1/chat/completions", "body": body}


def jsonl(lines: Iterable[Any]) -> bytes:
    return b"".join((entry if isinstance(entry, bytes) else json.dumps(entry).encode()) + b"\n" for entry in lines)


async def create(
    place: BatchPlace, content: bytes, key: str = "key-of-ann", endpoint: Any = "/v1/chat/completions", **more: Any
) -> Any:
    """Upload the input and create a batch."""
    client = place.openai(key)
    file = await client.files.create(file=("input.jsonl", content), purpose="batch")
    return await client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h", **more)


async def read(client: openai.AsyncOpenAI, id: str | None) -> dict[str, Any]:
    """The lines of an output file by custom_id."""
    assert id is not None
    text = (await client.files.content(id)).text
    rows = [json.loads(row) for row in text.splitlines()]
    assert len({row["custom_id"] for row in rows}) == len(rows)
    return {row["custom_id"]: row for row in rows}


def test_a_batch_of_a_file_writes_its_results_to_files(tmp_path: Path) -> None:
    async def answers(text: str) -> str | tuple[int, Any]:
        error = {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}
        return (400, error) if text == "bad" else f"You wrote: {text}"

    async def main() -> None:
        async with batching(tmp_path, answers) as place:
            client = place.openai()
            content = jsonl([line("a"), line("bad"), line("b"), line("streamed", stream=True)])
            batch = await create(place, content, metadata={"job": "night"})
            assert batch.object == "batch" and batch.status == "in_progress" and batch.metadata == {"job": "night"}
            assert batch.expires_at - batch.created_at == 86_400 and batch.request_counts.total == 4
            await place.ended(batch.id)
            batch = await client.batches.retrieve(batch.id)
            assert batch.status == "completed" and batch.completed_at
            assert batch.request_counts is not None
            assert (batch.request_counts.completed, batch.request_counts.failed) == (2, 2)
            output = await read(client, batch.output_file_id)
            assert set(output) == {"a", "b"}
            response = output["a"]["response"]
            assert response["status_code"] == 200 and response["request_id"].startswith("req_")
            assert response["body"]["choices"][0]["message"]["content"] == "You wrote: a"
            errors = await read(client, batch.error_file_id)
            assert {id: row["response"]["status_code"] for id, row in errors.items()} == {"bad": 400, "streamed": 400}
            assert [entry.id async for entry in client.batches.list()] == [batch.id]
            assert not (await place.anthropic().messages.batches.list()).data
            store = place.worker.store
            await until(lambda: not store._database.count("SELECT count(*) FROM requests"))

    asyncio.run(main())


def test_a_batch_may_have_responses(tmp_path: Path) -> None:
    async def main() -> None:
        async with batching(tmp_path) as place:
            body = {"model": "gpt", "input": "a"}
            row = {"custom_id": "a", "method": "POST", "url": "/v1/responses", "body": body}
            batch = await create(place, jsonl([row]), endpoint="/v1/responses")
            await place.ended(batch.id)
            client = place.openai()
            batch = await client.batches.retrieve(batch.id)
            answer = (await read(client, batch.output_file_id))["a"]["response"]["body"]
            assert answer["object"] == "response" and answer["store"] is False
            assert answer["output"][0]["content"][0]["text"]

    asyncio.run(main())


def test_a_list_with_too_many_fields_in_its_query_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with batching(tmp_path) as place:
            status, body = await place.call("GET", "/v1/files?" + "a=1&" * 300, "key-of-ann")
            assert status == 400 and "too many fields" in body["error"]["message"]

    asyncio.run(main())


def test_canceled_and_expired_requests_are_in_the_error_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def answers(text: str) -> str:
        if text != "0":
            await asyncio.Event().wait()
        return text

    async def main() -> None:
        async with batching(tmp_path, answers, batches={"concurrency": 1}) as place:
            client = place.openai()
            batch = await create(place, jsonl(line(str(number)) for number in range(3)))
            await until(lambda: place.worker.store.get(batch.id, None).succeeded == 1)
            assert (await client.batches.cancel(batch.id)).status == "cancelling"
            await place.ended(batch.id)
            batch = await client.batches.retrieve(batch.id)
            assert batch.status == "cancelled" and batch.cancelled_at
            assert set(await read(client, batch.output_file_id)) == {"0"}
            errors = await read(client, batch.error_file_id)
            assert {row["error"]["code"] for row in errors.values()} == {"batch_cancelled"}
            monkeypatch.setattr(stores, "WINDOW", 0.2)
            batch = await create(place, jsonl(line(str(number)) for number in range(1, 3)))
            await place.ended(batch.id)
            batch = await client.batches.retrieve(batch.id)
            assert batch.status == "expired" and batch.output_file_id is None
            errors = await read(client, batch.error_file_id)
            assert {row["error"]["code"] for row in errors.values()} == {"batch_expired"}

    asyncio.run(main())


BAD_LINES: Mapping[str, tuple[list[Any], str, int | None]] = {
    "no JSON": ([line("a"), b"{hello"], "invalid_json_line", 2),
    "a missing field": ([{"custom_id": "a"}], "missing_required_parameter", 1),
    "another method": ([line("a") | {"method": "GET"}], "invalid_method", 1),
    "another URL": ([line("a") | {"url": "/v1/embeddings"}], "mismatched_url", 1),
    "a body that is a text": ([line("a") | {"body": "x"}], "invalid_request_body", 1),
    "an empty custom_id": ([line("a") | {"custom_id": ""}], "invalid_custom_id", 1),
    "a custom_id twice": ([line("a"), line("b"), line("c", "a")], "duplicate_custom_id", None),
    "no lines": ([b"  "], "empty_file", None),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_file_with_an_invalid_line_makes_a_failed_batch(tmp_path: Path, name: str) -> None:
    lines, code, number = BAD_LINES[name]

    async def main() -> None:
        async with batching(tmp_path) as place:
            batch = await create(place, jsonl(lines))
            assert batch.status == "failed" and batch.failed_at and batch.errors is not None
            [error] = batch.errors.data
            assert (error.code, error.line) == (code, number) and error.message
            assert (await place.openai().batches.retrieve(batch.id)).status == "failed"
            store = place.worker.store
            await until(lambda: not store._database.count("SELECT count(*) FROM requests"))
            assert not place.backend.texts

    asyncio.run(main())


def test_a_batch_needs_an_own_file_for_batches(tmp_path: Path) -> None:
    async def main() -> None:
        async with batching(tmp_path) as place:
            ann, bob = place.openai(), place.openai("key-of-bob")
            other = await bob.files.create(file=("a.jsonl", jsonl([line("a")])), purpose="batch")
            mine = await ann.files.create(file=("a.jsonl", jsonl([line("a")])), purpose="user_data")
            for file, endpoint, error in (
                (other.id, "/v1/chat/completions", openai.NotFoundError),
                ("file-none", "/v1/chat/completions", openai.NotFoundError),
                (mine.id, "/v1/chat/completions", openai.BadRequestError),
                (mine.id, "/v1/embeddings", openai.BadRequestError),
            ):
                with pytest.raises(error):
                    await ann.batches.create(
                        input_file_id=file,
                        endpoint=endpoint,  # type: ignore[arg-type]
                        completion_window="24h",
                    )
            batch = await create(place, jsonl([line("a")]), "key-of-bob")
            await place.ended(batch.id)
            for call in (ann.batches.retrieve, ann.batches.cancel):
                with pytest.raises(openai.NotFoundError) as missing:
                    await call(batch.id)
                assert missing.value.code is None
            with pytest.raises(openai.NotFoundError):
                await ann.files.content((await bob.batches.retrieve(batch.id)).output_file_id or "")
            with pytest.raises(openai.BadRequestError):
                await bob.batches.cancel(batch.id)

    asyncio.run(main())


def test_results_wait_until_their_files_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quota of files is used up: the batch ends when there is room, and other batches go on."""
    monkeypatch.setattr(workers, "_LONGEST_STORE_PAUSE", 0.02)

    async def main() -> None:
        async with batching(tmp_path) as place:
            batch = await create(place, jsonl([line("a")]))
            files = place.gateway.file_service
            assert files is not None
            normal = files.settings
            files.settings = type(normal)(quota=1)
            await until(lambda: any(active.problem for active in place.worker._active.values()))
            assert (await place.openai().batches.retrieve(batch.id)).status == "finalizing"
            other = await place.anthropic().messages.batches.create(
                requests=[{"custom_id": "x", "params": line("x")["body"]}]
            )
            await place.ended(other.id)
            files.settings = normal
            await place.ended(batch.id)

    asyncio.run(main())


def test_a_kill_between_output_file_and_end_writes_no_second_file(tmp_path: Path) -> None:
    async def main() -> None:
        async with batching(tmp_path) as place:
            ended = asyncio.Event()
            real = place.worker._complete

            async def complete(batch: Any, rest: Any) -> str | None:
                files = place.gateway.file_service
                assert files is not None
                await store_outputs(files, place.worker.store, batch, rest)
                ended.set()
                return await real(batch, rest)

            place.worker._complete = complete
            batch = await create(place, jsonl([line("a")]))
            await place.ended(batch.id)
            outputs = [file async for file in place.openai().files.list(purpose="batch_output")]
            assert len(outputs) == 1 and outputs[0].filename == f"{batch.id}_output.jsonl"

    asyncio.run(main())


@given(st.lists(st.text(max_size=8), max_size=6), st.integers(1, 9), st.booleans())
@settings(max_examples=examples(60), deadline=None)
def test_a_file_is_split_alike_wherever_it_is_cut(texts: list[str], size: int, ends: bool) -> None:
    content = jsonl(line(text, f"r{number}") for number, text in enumerate(texts))
    if not ends:
        content = content.rstrip(b"\n")
    lines = BatchLines("/v1/chat/completions")
    requests = [request for at in range(0, len(content), size) for request in lines.feed(content[at : at + size])]
    requests += lines.close()
    assert [json.loads(request.body)["messages"][0]["content"] for request in requests] == texts
    assert bool(lines.errors) == (not texts)


def test_a_file_may_begin_with_a_byte_order_mark() -> None:
    lines = BatchLines("/v1/chat/completions")
    parts = [b"\xef\xbb", b"\xbf" + jsonl([line("a", "r1")]), jsonl([line("b", "r2")])]
    assert [request.custom_id for part in parts for request in lines.feed(part)] == ["r1", "r2"] and not lines.errors
    lines.feed(b"\xef\xbb\xbf{}\n")
    assert [(error.code, error.line) for error in lines.errors] == [("invalid_json_line", 3)]


@pytest.mark.parametrize(
    "piece", [b"x", b"{}\n", b"\n", jsonl([line("a")])], ids=["no line end", "errors", "empty", "good"]
)
def test_reading_a_file_takes_time_in_proportion_to_its_size(piece: bytes) -> None:
    def read_all(content: bytes) -> None:
        lines = BatchLines("/v1/chat/completions")
        for at in range(0, len(content), 1024):
            lines.feed(content[at : at + 1024])
        lines.close()

    assert_linear(lambda size: piece * size, read_all, bound=1 << 20)
