"""Message batches: the official SDK against a Byway in this process, with real SQLite on a real disk."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anthropic
import msgspec
import pytest
from batching import KEYS, BatchBackend, ask, batching, body_of, echo, gateway_of, results_of
from click.testing import CliRunner
from growth import assert_linear
from hypothesis import given, settings
from hypothesis import strategies as st
from loops import run_skipping
from properties import examples
from waiting import until

from byway.admin import batches as admin
from byway.batches import batch as batches
from byway.batches import lines
from byway.batches import store as stores
from byway.batches import worker as workers
from byway.batches.batch import BATCHES_FILE
from byway.batches.splitter import BatchBodySplitter, InvalidBatch
from byway.batches.store import BatchStore
from byway.cli.main import byway
from byway.clients.checks import _batches
from byway.endpoints.running import OwnerAnswer
from byway.launch.idle import stop_when_idle
from byway.problems import Problem
from byway.routes import messagebatches
from byway.server.batches import open_batches
from byway.store import Store, StoreError
from byway.usage.recorder import UsageRecorder


@pytest.fixture(autouse=True)
def _short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch whose requests are interrupted rests for no second."""
    monkeypatch.setattr(workers, "_FIRST_PAUSE", 0.01)


def run(work: Callable[[], Awaitable[object]]) -> None:
    async def main() -> None:
        await work()

    asyncio.run(main())


@pytest.mark.parametrize("coding", ["zstd", "gzip"])
def test_a_compressed_batch_is_refused_with_what_is_accepted(tmp_path: Path, coding: str) -> None:
    async def main() -> None:
        async with batching(tmp_path) as place:
            refused = await place.post("/v1/messages/batches", b"x", coding=coding)
            assert refused.status_code == 415 and refused.headers["accept-encoding"] == "identity"
            assert "Send the body uncompressed" in refused.json()["error"]["message"]
            assert refused.headers["x-should-retry"] == "false"

    run(main)


@pytest.mark.parametrize("base", ["http://127.0.0.1", "http://127.0.0.1/anthropic"])
def test_a_batch_is_created_answered_read_and_deleted(tmp_path: Path, base: str) -> None:
    async def main() -> None:
        async with batching(tmp_path) as place:
            client = place.anthropic(base=base)
            batch = await client.messages.batches.create(requests=[ask("a"), ask("b"), ask("c")])  # type: ignore[list-item]
            assert batch.id.startswith("msgbatch_") and batch.processing_status == "in_progress"
            assert batch.request_counts.processing == 3 and batch.results_url is None
            assert (batch.expires_at - batch.created_at).total_seconds() == 86_400
            await place.ended(batch.id)
            batch = await client.messages.batches.retrieve(batch.id)
            counts = batch.request_counts
            assert (counts.processing, counts.succeeded, counts.errored) == (0, 3, 0)
            assert batch.ended_at is not None and batch.results_url is not None
            assert await results_of(client, batch.id) == {text: f"You wrote: {text}" for text in "abc"}
            page = await client.messages.batches.list()
            assert [entry.id for entry in page.data] == [batch.id]
            deleted = await client.messages.batches.delete(batch.id)
            assert (deleted.id, deleted.type) == (batch.id, "message_batch_deleted")
            with pytest.raises(anthropic.NotFoundError):
                await client.messages.batches.retrieve(batch.id)

    run(main)


def test_only_the_account_or_key_of_a_batch_can_see_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with batching(tmp_path) as place:
            batch = await place.anthropic("key-of-ann").messages.batches.create(requests=[ask("a")])  # type: ignore[list-item]
            await place.ended(batch.id)
            same, other = place.anthropic("key-of-eve"), place.anthropic("key-of-bob")
            assert (await same.messages.batches.retrieve(batch.id)).id == batch.id
            assert (await other.messages.batches.list()).data == []
            for call in (
                other.messages.batches.retrieve,
                other.messages.batches.cancel,
                other.messages.batches.delete,
            ):
                with pytest.raises(anthropic.NotFoundError):
                    await call(batch.id)
            with pytest.raises(anthropic.NotFoundError):
                await other.messages.batches.list(after_id=batch.id)
            with pytest.raises(anthropic.AuthenticationError):
                await place.anthropic("key-of-nobody").messages.batches.retrieve(batch.id)

    run(main)


def test_broken_requests_become_errored_results(tmp_path: Path) -> None:
    async def answers(text: str) -> str | tuple[int, Any]:
        return (
            (400, {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}})
            if text == "bad"
            else text
        )

    requests = [
        ask("fine"),
        ask("bad"),
        {"custom_id": "no-messages", "params": {"model": "haiku", "max_tokens": 9}},
        ask("streamed", stream=True),
        ask("warm", max_tokens=0),
    ]

    async def main() -> None:
        async with batching(tmp_path, answers) as place:
            client = place.anthropic()
            batch = await client.messages.batches.create(requests=requests)  # type: ignore[arg-type]
            await place.ended(batch.id)
            counts = (await client.messages.batches.retrieve(batch.id)).request_counts
            assert (counts.succeeded, counts.errored) == (1, 4)
            results = await results_of(client, batch.id)
            assert results.pop("fine") == "fine"
            for custom_id, result in results.items():
                assert result.type == "errored", custom_id
                assert result.error.error.type == "invalid_request_error", custom_id
                assert result.error.request_id.startswith("req_")
            assert place.backend.texts == ["fine", "bad"]

    run(main)


BAD_BODIES = {
    "no JSON": (b"hello", "not a JSON object"),
    "truncated": (body_of([ask("a")])[:-1], "ends too early"),
    "trailing bytes": (body_of([ask("a")]) + b"{}", "more after its end"),
    "no requests": (b"{}", "requests: field required"),
    "an empty list": (b'{"requests": []}', "requests: the list is empty"),
    "no list": (b'{"requests": {}}', "requests: expected a list"),
    "another field": (b'{"requests": [], "x": 1}', "x: unknown field"),
    "requests twice": (b'{"requests": [], "requests": []}', "twice"),
    "no custom_id": (b'{"requests": [{"params": {}}]}', "requests.0: "),
    "a custom_id with a space": (body_of([ask("a"), ask("b", "b b")]), "requests.1.custom_id: "),
    "a long custom_id": (body_of([ask("a", "x" * 65)]), "requests.0.custom_id: "),
    "a custom_id twice": (body_of([ask("a"), ask("b"), ask("c", "a")]), "requests.2.custom_id: 'a' is used twice"),
    "params that are a text": (b'{"requests": [{"custom_id": "a", "params": "x"}]}', "requests.0.params: "),
    "brackets that do not match": (b'{"requests": [{"custom_id": "a", "params": {]}}', "requests.0: "),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_malformed_batch_is_refused_as_a_whole(tmp_path: Path, name: str) -> None:
    body, message = BAD_BODIES[name]

    async def main() -> None:
        async with batching(tmp_path) as place:
            response = await place.post("/v1/messages/batches", body)
            assert response.status_code == 400, response.text
            assert message in response.json()["error"]["message"]
            assert place.worker.store.in_progress() == []
            store = place.worker.store
            await until(lambda: store._database.count("SELECT count(*) FROM requests") == 0)

    run(main)


def test_canceling_a_batch_interrupts_it_and_keeps_its_results(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def answers(text: str) -> str:
        if text != "0":
            await gate.wait()
        return text

    async def main() -> None:
        async with batching(tmp_path, answers, batches={"concurrency": 2}) as place:
            client = place.anthropic()
            batch = await client.messages.batches.create(requests=[ask(str(number)) for number in range(9)])  # type: ignore[misc]
            await until(lambda: place.worker.store.get(batch.id, None).succeeded == 1 and place.backend.running == 2)
            canceling = await client.messages.batches.cancel(batch.id)
            assert canceling.processing_status == "canceling" and canceling.cancel_initiated_at is not None
            await place.ended(batch.id)
            counts = (await client.messages.batches.retrieve(batch.id)).request_counts
            assert (counts.succeeded, counts.canceled, counts.expired) == (1, 8, 0)
            results = await results_of(client, batch.id)
            assert results.pop("0") == "0" and {result.type for result in results.values()} == {"canceled"}
            assert place.backend.running == 0 and len(place.backend.texts) == 3
            with pytest.raises(anthropic.BadRequestError, match="has ended"):
                await client.messages.batches.cancel(batch.id)

    run(main)


def test_a_batch_in_progress_can_be_canceled_twice_but_not_deleted(tmp_path: Path) -> None:
    async def main() -> None:
        async with batching(tmp_path, batches={"enabled": True}) as place:
            place.worker.drain()
            client = place.anthropic()
            batch = await client.messages.batches.create(requests=[ask("a")])  # type: ignore[list-item]
            with pytest.raises(anthropic.BadRequestError, match="in progress"):
                await client.messages.batches.delete(batch.id)
            first = await client.messages.batches.cancel(batch.id)
            assert (await client.messages.batches.cancel(batch.id)).cancel_initiated_at == first.cancel_initiated_at
            with pytest.raises(anthropic.NotFoundError, match="no results yet"):
                await client.get(f"/v1/messages/batches/{batch.id}/results", cast_to=object)
        async with batching(tmp_path) as place:
            await place.ended(batch.id)
            counts = (await place.anthropic().messages.batches.retrieve(batch.id)).request_counts
            assert counts.canceled == 1 and place.backend.texts == []

    run(main)


def test_a_batch_expires_and_its_running_requests_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "WINDOW", 0.3)

    async def answers(text: str) -> str:
        if text != "0":
            await asyncio.Event().wait()
        return text

    async def main() -> None:
        async with batching(tmp_path, answers) as place:
            client = place.anthropic()
            batch = await client.messages.batches.create(requests=[ask(str(number)) for number in range(9)])  # type: ignore[misc]
            await place.ended(batch.id)
            counts = (await client.messages.batches.retrieve(batch.id)).request_counts
            assert counts.expired >= 8 and counts.canceled == 0
            kinds = {getattr(result, "type", "succeeded") for result in (await results_of(client, batch.id)).values()}
            assert "expired" in kinds and place.backend.running == 0

    run(main)


def test_lists_are_paged_in_both_directions(tmp_path: Path) -> None:
    async def main() -> None:
        async with batching(tmp_path) as place:
            client = place.anthropic()
            ids = [(await client.messages.batches.create(requests=[ask("a")])).id for _ in range(5)]  # type: ignore[list-item]
            ids.reverse()
            assert [entry.id async for entry in client.messages.batches.list(limit=2)] == ids
            page = await client.messages.batches.list(before_id=ids[3], limit=2)
            assert [entry.id for entry in page.data] == ids[1:3] and page.has_more
            assert [entry.id for entry in (await client.messages.batches.list(before_id=ids[1])).data] == ids[:1]
            for limit in ("0", "1001", "x"):
                with pytest.raises(anthropic.BadRequestError):
                    await client.messages.batches.list(limit=limit)  # type: ignore[arg-type]

    run(main)


def test_at_most_as_many_requests_run_as_the_config_sets(tmp_path: Path) -> None:
    async def answers(text: str) -> str:
        await asyncio.sleep(0)
        return text

    async def main() -> None:
        async with batching(tmp_path, answers, batches={"concurrency": 3}) as place:
            client = place.anthropic()
            batch = await client.messages.batches.create(requests=[ask(str(number)) for number in range(40)])  # type: ignore[misc]
            await place.ended(batch.id)
            assert place.backend.most <= 3 and len(place.backend.texts) == 40

    run(main)


def test_owners_take_turns(tmp_path: Path) -> None:
    async def main() -> None:
        async with batching(tmp_path, batches={"concurrency": 1}) as place:
            place.worker._limits = lambda: workers.BatchLimits(0, 29)
            many = await place.anthropic("key-of-ann").messages.batches.create(
                requests=[ask(f"a{number}") for number in range(20)]  # type: ignore[misc]
            )
            few = await place.anthropic("key-of-bob").messages.batches.create(requests=[ask("b")])  # type: ignore[list-item]
            place.worker._limits = lambda: workers.BatchLimits(1, 29)
            place.worker.notify()
            await place.ended(many.id, few.id)
            assert "b" in place.backend.texts[:2]

    run(main)


def test_temporary_failures_are_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr("byway.pipeline.targets._PAUSE", 0)
    failures = 5

    async def answers(text: str) -> str | tuple[int, Any]:
        nonlocal failures
        failures -= 1
        return (
            (529, {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}})
            if failures >= 0
            else text
        )

    async def main() -> None:
        async with batching(tmp_path, answers) as place:
            client = place.anthropic()
            batch = await client.messages.batches.create(requests=[ask("a")])  # type: ignore[list-item]
            await place.ended(batch.id)
            assert await results_of(client, batch.id) == {"a": "a"}
            assert len(place.backend.texts) == 6

    run(main)


def test_a_lasting_failure_becomes_an_error_after_some_attempts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_FIRST_PAUSE", 0.001)
    monkeypatch.setattr(workers, "_LONGEST_PAUSE", 0.001)
    monkeypatch.setattr("byway.pipeline.targets._PAUSE", 0)

    async def answers(text: str) -> tuple[int, Any]:
        return 529, {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}

    async def main() -> None:
        async with batching(tmp_path, answers) as place:
            client = place.anthropic()
            batch = await client.messages.batches.create(requests=[ask("a")])  # type: ignore[list-item]
            await place.ended(batch.id)
            [result] = (await results_of(client, batch.id)).values()
            assert result.error.error.type == "overloaded_error"

    run(main)


def test_requests_use_the_key_of_their_batch(tmp_path: Path) -> None:
    """Its limits apply, and a key that has ended ends its batch's requests."""
    limits = [{"for": "key", "requests_per_minute": 2}]

    async def main() -> None:
        async with batching(tmp_path, limits=limits, batches={"concurrency": 1}) as place:
            client = place.anthropic()
            batch = await client.messages.batches.create(requests=[ask(str(number)) for number in range(3)])  # type: ignore[misc]
            await until(lambda: place.worker._active and next(iter(place.worker._active.values())).retries)
            assert place.backend.texts == ["0", "1"]
            stored = place.worker.store.get(batch.id, None)
            assert (stored.key, stored.owner, stored.succeeded) == ("ann", "account:ada", 2)
            lines = place.gateway.requests
            assert lines.newest_number(None) >= 3
        limited = [{"name": "here", "type": "anthropic", "url": "http://127.0.0.1:1", "models": ["m"]}]
        keys: dict[str, Any] = {
            "api_keys": {
                "api_keys": [{"key": "key-of-bob", "id": "bob"}, {"key": "other", "id": "eve", "user_id": "ada"}]
            }
        }
        async with batching(tmp_path, backends=limited, **keys) as place:
            await place.ended(batch.id)
            results = await results_of(place.anthropic("other"), batch.id)
            assert results["2"].error.error.type == "authentication_error" and place.backend.texts == []

    run(main)


def test_requests_of_a_batch_have_usage_records_of_their_key(tmp_path: Path) -> None:
    prices = {"here/m": {"input": 1, "output": 2}}

    async def main() -> None:
        async with batching(tmp_path, prices=prices) as place:
            store, gateway = Store(tmp_path), place.gateway
            gateway.recorder = gateway.usage = UsageRecorder(tmp_path, store.usage, StoreError)
            batch = await place.anthropic().messages.batches.create(requests=[ask("a"), ask("b")])  # type: ignore[list-item]
            await place.ended(batch.id)
            gateway.recorder.flush()
            records = store.usage.records()
            assert [(record.key, record.account, record.alias, record.cost) for record in records] == [
                ("ann", "ada", "default", 10 * 1000 + 5 * 2000)
            ] * 2
            gateway.recorder.stop()
            store.close()

    run(main)


def test_a_batch_in_progress_keeps_byway_from_stopping_when_idle(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def answers(text: str) -> str:
        await gate.wait()
        return text

    async def main() -> None:
        async with batching(tmp_path, answers) as place:
            batch = await place.anthropic().messages.batches.create(requests=[ask("a")])  # type: ignore[list-item]
            await until(lambda: place.worker.busy)
            stopped = asyncio.Event()
            idle = asyncio.create_task(stop_when_idle(place.gateway, tmp_path, 0.1, stopped.set))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(stopped.wait(), 0.5)
            gate.set()
            await place.ended(batch.id)
            await asyncio.wait_for(stopped.wait(), 60)
            await idle

    run_skipping(main())


@pytest.mark.parametrize(("enabled", "state"), [(True, "good"), (False, "none")])
def test_the_doctor_shows_whether_batches_run(tmp_path: Path, enabled: bool, state: str) -> None:
    async def main() -> None:
        async with batching(tmp_path, batches={"enabled": enabled}) as place:
            assert _batches(place.gateway).state == state
            place.worker.problem = "The disk may be full"
            check = _batches(place.gateway)
            assert check.state == "bad" and check.finding == "The disk may be full"

    run(main)


def test_requests_are_recorded_with_the_headers_of_the_batch(tmp_path: Path) -> None:
    async def main() -> None:
        async with batching(tmp_path) as place:
            client = place.anthropic()
            batch = await client.messages.batches.create(
                requests=[ask("a")],  # type: ignore[list-item]
                extra_headers={"anthropic-beta": "some-beta", "x-api-key": "key-of-ann"},
            )
            await place.ended(batch.id)
            stored = place.worker.store.get(batch.id, None)
            headers = json.loads(stored.headers)
            assert headers["anthropic-beta"] == "some-beta" and "key-of-ann" not in stored.headers
            assert "x-api-key" not in headers

    run(main)


def test_a_stopped_worker_continues_after_a_restart(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def answers(text: str) -> str:
        if text != "0":
            await gate.wait()
        return text

    async def main() -> None:
        async with batching(tmp_path, answers, batches={"concurrency": 2}) as place:
            client = place.anthropic()
            batch = await client.messages.batches.create(requests=[ask(str(number)) for number in range(7)])  # type: ignore[misc]
            await until(lambda: place.backend.running == 2 and place.worker.store.get(batch.id, None).succeeded == 1)
        async with batching(tmp_path) as place:
            await place.ended(batch.id)
            assert sorted(place.backend.texts) == [str(number) for number in range(1, 7)]
            assert len(await results_of(place.anthropic(), batch.id)) == 7

    run(main)


def test_a_batch_whose_body_stops_half_way_is_forgotten(tmp_path: Path) -> None:
    async def main() -> None:
        async with batching(tmp_path) as place:
            messages = [{"type": "http.request", "body": body_of([ask("a")] * 1)[:-3], "more_body": True}]

            async def receive() -> dict[str, Any]:
                return messages.pop() if messages else {"type": "http.disconnect"}

            async def send(message: Any) -> None:
                raise AssertionError("nothing is answered")

            scope = {
                "type": "http", "method": "POST", "path": "/v1/messages/batches", "query_string": b"",
                "headers": [(b"host", b"127.0.0.1"), (b"x-api-key", b"key-of-ann")],
                "server": ("127.0.0.1", 38080), "client": ("127.0.0.1", 5),
            }  # fmt: skip
            await place.app(scope, receive, send)
            store = place.worker.store
            await until(lambda: store._database.count("SELECT count(*) FROM batches") == 0)
            assert (await place.anthropic().messages.batches.list()).data == []

    run(main)


def test_batches_that_an_ended_process_was_receiving_are_removed(tmp_path: Path) -> None:
    store = BatchStore(tmp_path)
    unfinished = begin(store)
    store.add(unfinished, 0, [batches.NewRequest("a", b"{}")], 1 << 30)
    store.close()
    after = BatchStore(tmp_path)
    after.discard_incomplete()
    while after.clean_up(time.time(), 29):
        pass
    assert after._database.count("SELECT count(*) FROM requests") == 0 and after.in_progress() == []
    after.close()


def begin(store: BatchStore, owner: str = "key:a", quota: int = 1 << 30, id: str = "") -> batches.StoredBatch:
    return store.begin(
        id or batches.new_id("msgbatch_", time.monotonic_ns().to_bytes(16, "big")), "messages", owner, key="a",
        by_socket=False, endpoint="/v1/messages", headers="{}", detail="{}", now=time.time(), quota=quota,
    )  # fmt: skip


def test_a_result_is_stored_once(tmp_path: Path) -> None:
    store = BatchStore(tmp_path)
    batch = begin(store)
    store.add(batch, 0, [batches.NewRequest("a", b"{}")], 1 << 30)
    batch = store.acknowledge(batch, time.time())
    request = store.next_request(batch)
    assert request is not None
    for body in (b'"first"', b'"second"'):
        store.finish([(request, batches.BatchOutcome(200, body, "req_x"))])
    [[result]] = store.results(batch)
    stored = store.get(batch.id, None)
    assert result.body == b'"first"' and (stored.succeeded, stored.left) == (1, 0)
    store.close()


def test_a_page_of_results_has_a_limited_size_whatever_the_sizes_of_its_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "_RESULT_BYTES", 1_000)
    monkeypatch.setattr(stores, "_RESULTS", 20)
    store = BatchStore(tmp_path)
    sizes = [10] * 50 + [600, 300, 600, 5_000, 400] + [10] * 45
    batch = begin(store)
    store.add(batch, 0, [batches.NewRequest(f"r{place}", b"{}") for place in range(len(sizes))], 1 << 30)
    batch = store.acknowledge(batch, time.time())
    after = 0
    # The last request has no result.
    for size in sizes[:-1]:
        request = store.next_request(batch, after)
        assert request is not None
        store.finish([(request, batches.BatchOutcome(200, b"x" * size, "req_x"))])
        after = request.id
    pages = list(store.results(store.get(batch.id, None)))
    assert [len(result.body) for page in pages for result in page] == [*sizes[:-1], 0]
    for page in pages:
        assert len(page) <= 20 and (sum(len(result.body) for result in page) <= 1_000 or len(page) == 1)
    assert len(pages) < 12
    store.close()


def test_results_are_formatted_outside_of_the_event_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    def watched(result: batches.BatchResult, rest: batches.Rest) -> bytes:
        threads.append(threading.current_thread() is threading.main_thread())
        return lines.result_line(result, rest)

    monkeypatch.setattr(messagebatches, "result_line", watched)

    async def main() -> None:
        async with batching(tmp_path) as place:
            client = place.anthropic()
            batch = await client.messages.batches.create(requests=[ask("one"), ask("two")])  # type: ignore[list-item]
            await place.ended(batch.id)
            assert set(await results_of(client, batch.id)) == {"one", "two"}

    run(main)
    assert threads == [False, False]


def test_the_quota_of_an_owner_counts_what_is_on_the_disk(tmp_path: Path) -> None:
    store = BatchStore(tmp_path)
    batch = begin(store)
    store.add(batch, 0, [batches.NewRequest("a", b"x" * 600)], 1000)
    with pytest.raises(Problem, match=r"batches\.quota"):
        store.add(batch, 1, [batches.NewRequest("b", b"x" * 600)], 1000)
    with pytest.raises(Problem):
        begin(store, quota=500)
    begin(store, "key:b", quota=500)
    store.discard(batch)
    begin(store, quota=500)
    store.close()


def test_deleted_and_old_batches_leave_the_disk(tmp_path: Path) -> None:
    store = BatchStore(tmp_path)
    secret = b"the-content-of-a-prompt"
    ids = []
    for number in range(2):
        batch = begin(store)
        requests = [batches.NewRequest(f"r{place}", secret * 50) for place in range(1200)]
        store.add(batch, 0, requests, 1 << 30)
        store.end(store.acknowledge(batch, time.time() - number * 30 * 86_400), "canceled", time.time())
        ids.append(batch.id)
    store._database.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    before = (tmp_path / BATCHES_FILE).stat().st_size
    store.delete(ids[0], None)
    with pytest.raises(LookupError):
        store.get(ids[0], None)
    steps = 1
    while store.clean_up(time.time(), 29):
        steps += 1
    assert steps > 4, "it works in steps"
    old = store.get(ids[1], None)
    assert old.archived and not old.size
    assert secret not in (tmp_path / f"{BATCHES_FILE}-wal").read_bytes()
    store.close()
    content = (tmp_path / BATCHES_FILE).read_bytes()
    assert secret not in content and len(content) < before / 10


def test_a_full_disk_loses_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_FIRST_STORE_PAUSE", 0.01)
    logged: list[str] = []
    monkeypatch.setattr(
        "byway.routes.messagebatches.log", lambda text, level=0, **fields: logged.append(f"{text} {fields}")
    )

    async def main() -> None:
        async with batching(tmp_path) as place:
            client, store = place.anthropic(), place.worker.store
            gate = asyncio.Event()

            async def answers(text: str) -> str:
                await gate.wait()
                return text * 20_000

            place.backend.answers = answers
            batch = await client.messages.batches.create(requests=[ask(text) for text in "abcd"])  # type: ignore[misc]
            pages = store._database.count("PRAGMA page_count")
            store._database.rows(f"PRAGMA max_page_count = {pages}")
            gate.set()
            await until(lambda: "The disk may be full" in place.worker.problem)
            response = await place.post("/v1/messages/batches", body_of([ask("x" * 50_000, "x")]))
            assert response.status_code == 500 and "The disk may be full" in response.json()["error"]["message"]
            # Its reason, which names the data folder, is for the operator.
            assert str(tmp_path) not in response.text and "batches.db cannot be written" in "".join(logged)
            store._database.rows("PRAGMA max_page_count = 1000000")
            await place.ended(batch.id)
            assert {len(text) for text in (await results_of(client, batch.id)).values()} == {20_000}
            assert len(place.backend.texts) == 4 and place.worker.problem == ""

    run(main)


def test_byway_starts_without_batches_when_their_database_is_damaged(tmp_path: Path) -> None:
    (tmp_path / BATCHES_FILE).write_bytes(b"no database" * 1000)
    (tmp_path / BATCHES_FILE).chmod(0o600)
    gateway = gateway_of(BatchBackend(echo))
    open_batches(gateway, tmp_path)
    assert gateway.batches is None and "is damaged" in gateway.batches_problem
    with pytest.raises(Problem):
        _ = gateway.batch_worker


def test_no_more_batches_are_in_progress_than_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "MOST_IN_PROGRESS", 2)

    async def main() -> None:
        async with batching(tmp_path) as place:
            place.worker.drain()
            for expected in (200, 200, 429):
                assert (await place.post("/v1/messages/batches", body_of([ask("a")]))).status_code == expected

    run(main)


def test_an_owner_with_many_batches_leaves_some_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "MOST_OF_OWNER", 2)
    store = BatchStore(tmp_path)
    for _ in range(2):
        store.acknowledge(begin(store, "key:a"), time.time())
    with pytest.raises(Problem, match="2 of your batches") as caught:
        begin(store, "key:a")
    assert caught.value.kind == "limit"
    begin(store, "key:b")
    store.close()


def test_few_bodies_are_received_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "MOST_RECEIVED", 3)
    monkeypatch.setattr(stores, "MOST_RECEIVED_OF_OWNER", 2)
    store = BatchStore(tmp_path)
    first, second, third = begin(store, "key:a"), begin(store, "key:a"), begin(store, "key:b")
    for owner in ("key:a", "key:c"):
        with pytest.raises(Problem, match="being received") as caught:
            begin(store, owner)
        assert caught.value.kind == "busy"
    store.acknowledge(first, time.time())
    store.discard(second)
    store.fail(third, "{}", time.time())
    begin(store, "key:a")
    store.close()


def test_many_batches_of_an_owner_remove_only_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "MOST_BATCHES", 3)
    store = BatchStore(tmp_path)
    kept = begin(store, "key:a")
    store.end(store.acknowledge(kept, time.time()), "", time.time())
    others = [store.fail(begin(store, "key:b"), "{}", time.time()) for _ in range(5)]
    while store.clean_up(time.time(), 29):
        pass
    assert store.get(kept.id, "key:a").state == "ended"
    assert [batch.id for batch in store.page("key:b", None, 9)[0]] == [batch.id for batch in others[:1:-1]]
    store.close()


@pytest.mark.parametrize("age", [0.0, 2 * batches.WINDOW])
def test_the_worker_rests_while_a_batch_cannot_end(tmp_path: Path, age: float) -> None:
    async def answer(batch: batches.StoredBatch, request: batches.BatchRequest) -> batches.BatchOutcome:
        return batches.BatchOutcome(200, b"{}", "")

    async def complete(batch: batches.StoredBatch, rest: batches.Rest) -> str | None:
        raise Problem("internal", "the storage is away")

    async def main() -> None:
        store = BatchStore(tmp_path)
        batch = begin(store)
        store.add(batch, 0, [batches.NewRequest("a", b"{}")], 1000)
        store.acknowledge(batch, time.time() - age)
        worker = workers.BatchWorker(store, answer, complete, lambda: workers.BatchLimits(1, 29))
        worker.start()
        try:
            await until(lambda: any(active.problem for active in worker._active.values()))
            assert worker._next_time() > 1
        finally:
            await worker.stop()

    run(main)


def test_a_body_over_the_limit_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byway.routes.messagebatches.BODY_LIMIT", 1000)

    async def main() -> None:
        async with batching(tmp_path) as place:
            response = await place.post("/v1/messages/batches", body_of([ask("a" * 2000, "a")]))
            assert response.status_code == 413 and response.json()["error"]["type"] == "request_too_large"

    run(main)


# --- the body ----------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
IDS = st.text("abcXYZ019_-", min_size=1, max_size=8)


@given(
    st.lists(st.tuples(IDS, st.dictionaries(st.text(max_size=6), JSON, max_size=4)), min_size=1, max_size=5),
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.booleans(),
)
@settings(max_examples=examples(80), deadline=None)
def test_a_body_is_split_alike_wherever_it_is_cut(
    requests: list[tuple[str, dict[str, Any]]], sizes: list[int], pretty: bool
) -> None:
    content = {"requests": [{"custom_id": id, "params": params} for id, params in requests]}
    body = json.dumps(content, indent=1 if pretty else None, ensure_ascii=pretty).encode()
    splitter = BatchBodySplitter()
    parts, at, turn = [], 0, 0
    while at < len(body):
        size = sizes[turn % len(sizes)]
        parts += splitter.feed(body[at : at + size])
        at, turn = at + size, turn + 1
    splitter.close()
    assert [(part.custom_id, msgspec.json.decode(part.body)) for part in parts] == requests


@given(st.binary(max_size=60), st.integers(1, 7))
@settings(max_examples=examples(200), deadline=None)
def test_any_other_body_is_refused_with_a_reason(noise: bytes, size: int) -> None:
    body = b'{"requests": [' + noise
    splitter = BatchBodySplitter()
    with pytest.raises(InvalidBatch):
        for at in range(0, len(body), size):
            splitter.feed(body[at : at + size])
        splitter.close()
        assert msgspec.json.decode(body)
        raise InvalidBatch


@pytest.mark.parametrize("piece", [b'{"a":', b'"\\\\', b'\\"', b"[", b"x"], ids=repr)
def test_splitting_takes_time_in_proportion_to_the_body(piece: bytes) -> None:
    def split(body: bytes) -> None:
        with contextlib.suppress(InvalidBatch):
            BatchBodySplitter().feed(body)

    assert_linear(lambda size: b'{"requests": [' + piece * size, split, bound=1 << 21)


def test_a_request_over_the_limit_is_refused_while_it_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byway.batches.splitter.REQUEST_LIMIT", 100_000)
    splitter = BatchBodySplitter()
    splitter.feed(b'{"requests": [{"custom_id": "a", "params": {"x": "')
    with pytest.raises(InvalidBatch, match="over"):
        for _ in range(3):
            splitter.feed(b"x" * 60_000)


def test_a_batch_has_at_most_as_many_requests_as_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    assert batches.MOST_REQUESTS == 100_000 and batches.BODY_LIMIT == 256 << 20
    monkeypatch.setattr("byway.batches.splitter.MOST_REQUESTS", 2)
    with pytest.raises(InvalidBatch, match="at most"):
        BatchBodySplitter().feed(body_of([ask("a"), ask("b"), ask("c")]))


# --- other processes ---------------------------------------------------------------------------------------------------


def test_another_process_can_read_the_database(tmp_path: Path) -> None:
    store = BatchStore(tmp_path)
    begin(store)
    with sqlite3.connect(tmp_path / BATCHES_FILE) as other:
        assert other.execute("SELECT count(*) FROM batches").fetchone() == (1,)
    other.close()
    store.close()
    assert (tmp_path / BATCHES_FILE).stat().st_mode & 0o077 == 0


# --- the owner of Byway ------------------------------------------------------------------------------------------------


def test_an_owner_lists_cancels_and_deletes_the_batches_of_all_clients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [*KEYS, {"key": "key-of-owner", "id": "owner", "scopes": ["read", "write", "admin"]}]

    async def main() -> None:
        async with batching(tmp_path, api_keys={"api_keys": keys}) as place:
            place.worker._limits = lambda: workers.BatchLimits(0, 29)
            ids = [
                (await place.anthropic(key).messages.batches.create(requests=[ask("a")])).id  # type: ignore[list-item]
                for key in ("key-of-ann", "key-of-bob")
            ]
            status, answer = await place.call("GET", "/byway/batches", "key-of-owner")
            assert status == 200
            rows = [(entry["id"], entry["owner"], entry["status"], entry["left"]) for entry in answer["batches"]]
            assert rows == [(ids[1], "key:bob", "in_progress", 1), (ids[0], "account:ada", "in_progress", 1)]
            status, answer = await place.call("GET", "/byway/batches", "key-of-ann")
            assert [entry["id"] for entry in answer["batches"]] == ids[:1]
            assert (await place.call("POST", f"/byway/batches/{ids[0]}/cancel", "key-of-owner"))[0] == 200
            await place.ended(ids[0])
            assert (await place.call("DELETE", f"/byway/batches/{ids[0]}", "key-of-owner"))[0] == 200
            assert (await place.call("DELETE", f"/byway/batches/{ids[1]}", "key-of-owner"))[0] == 400
            assert (await place.call("DELETE", "/byway/batches/msgbatch_none", "key-of-owner"))[0] == 404
            status, answer = await place.call("GET", "/readyz", "")
            assert answer["batches"] == "good"

    run(main)


@pytest.mark.parametrize("arguments", [["list"], ["cancel", "msgbatch_a"], ["delete", "msgbatch_a"]])
def test_the_command_needs_a_running_byway(tmp_path: Path, arguments: list[str]) -> None:
    result = CliRunner().invoke(byway, ["batch", *arguments, "--data-dir", str(tmp_path)])
    assert result.exit_code == 1 and "byway up" in result.stderr


def test_the_command_prints_the_progress_of_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, str]] = []

    async def main() -> dict[str, Any]:
        async with batching(tmp_path) as place:
            batch = await place.anthropic("key-of-bob").messages.batches.create(requests=[ask("a"), ask("b")])  # type: ignore[list-item]
            await place.ended(batch.id)
            infos = admin.list_batches(place.worker.store, None)
            return {"batches": msgspec.to_builtins(infos), "problem": ""}

    answer = asyncio.run(main())

    def request(folder: Path, method: str, path: str, seconds: float = 0) -> OwnerAnswer:
        sent.append((method, path))
        return OwnerAnswer(200, answer if method == "GET" else answer["batches"][0])

    monkeypatch.setattr("byway.cli.client.request", request)
    id = answer["batches"][0]["id"]
    listed = CliRunner().invoke(byway, ["batch", "list"])
    assert listed.exit_code == 0, listed.output
    assert id in listed.output and "key:bob" in listed.output and "ended" in listed.output
    for action in ("cancel", "delete"):
        assert id in CliRunner().invoke(byway, ["batch", action, id]).output
    assert CliRunner().invoke(byway, ["batch", "cancel", "../keys"]).exit_code == 2
    assert sent == [
        ("GET", "/byway/batches"),
        ("POST", f"/byway/batches/{id}/cancel"),
        ("DELETE", f"/byway/batches/{id}"),
    ]
