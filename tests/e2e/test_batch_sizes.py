"""The largest batch of a real Byway: every request has a result, and the memory of the process stays bounded."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator

import anthropic
import pytest
from gateway import Gateway, config
from scripted import Asked, Say, Scripted
from waiting import wait_until

from byway import platform

#: Bytes of text in each request. All together have almost as many as a body may have.
TEXT = "x" * 2_300
#: One in so many requests is broken.
BROKEN = 100


def parts(number: int) -> Iterator[bytes]:
    """The body of a batch, as it is sent."""
    yield b'{"requests": ['
    for index in range(number):
        content = f"{index} {TEXT}"
        params = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": content}]}
        if not index % BROKEN:
            params["messages"] = "broken"
        item = json.dumps({"custom_id": f"r{index}", "params": params}).encode()
        yield item if not index else b", " + item
    yield b"]}"


def answer_all(number: int, memory: int) -> None:
    def script(request: Asked) -> Say:
        content = request.json["messages"][-1]["content"]
        model.requests.clear()
        return Say(f"Answer to {content.partition(' ')[0]}")

    with (
        Scripted(script) as model,
        Gateway(config(model, batches={"concurrency": 16}, logging={"level": "error"})) as gateway,
    ):
        before = platform.resident_memory(gateway.process.pid) or 0
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=600)
        body = parts(number)
        connection.request("POST", "/v1/messages/batches", body, {"x-api-key": "dummy"}, encode_chunked=True)
        response = connection.getresponse()
        batch = json.loads(response.read())
        connection.close()
        assert response.status == 200, batch
        used = [(platform.resident_memory(gateway.process.pid) or 0) - before]
        with anthropic.Anthropic(base_url=gateway.url, api_key="dummy", max_retries=0) as client:

            def has_ended() -> bool:
                used.append((platform.resident_memory(gateway.process.pid) or 0) - before)
                return client.messages.batches.retrieve(batch["id"]).processing_status == "ended"

            for _ in range(60):
                try:
                    wait_until(has_ended)
                    break
                except AssertionError:
                    continue
            counts = client.messages.batches.retrieve(batch["id"]).request_counts
            broken = -(-number // BROKEN)
            assert (counts.errored, counts.succeeded) == (broken, number - broken)
            seen = bytearray(number)
            for line in client.messages.batches.results(batch["id"]):
                index = int(line.custom_id.removeprefix("r"))
                assert not seen[index], "a request has two results"
                seen[index] = 1
                if index % BROKEN:
                    assert line.result.message.content[0].text == f"Answer to {index}"  # type: ignore[union-attr]
                else:
                    assert line.result.type == "errored"
            assert all(seen)
            assert client.messages.batches.delete(batch["id"]).id == batch["id"]
            database = gateway.home / "data" / "batches.db"
            wait_until(lambda: database.stat().st_size < 1 << 20)
        assert max(used) < memory, f"{max(used) >> 20} MiB"


def test_a_batch_of_400_requests_has_400_results() -> None:
    answer_all(400, 64 << 20)


@pytest.mark.long
def test_a_batch_of_100000_requests_has_100000_results_in_bounded_memory() -> None:
    answer_all(100_000, 128 << 20)
