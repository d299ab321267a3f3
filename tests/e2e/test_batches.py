"""Batches of a real Byway: the official SDK, kill -9 and a restart, and the command."""

from __future__ import annotations

import subprocess
import sys

import anthropic
from gateway import Gateway, config
from scripted import Asked, Gate, Reply, Say, Scripted
from waiting import wait_until


def test_a_batch_survives_kill_9_of_byway() -> None:
    gate = Gate()

    def script(request: Asked) -> Say | Reply:
        text = request.json["messages"][-1]["content"]
        text = text if isinstance(text, str) else text[-1]["text"]
        # The first request is answered at once, and the others never before the restart.
        return Say(f"Answer to {text}") if text == "0" or gate.is_set() else Say("x", wait=60)

    with Scripted(script) as model:
        gateway = Gateway(config(model))
        try:
            gateway.start()
            with anthropic.Anthropic(base_url=f"{gateway.url}/anthropic", api_key="dummy", max_retries=0) as client:
                requests = [
                    {
                        "custom_id": f"r{number}",
                        "params": {
                            "model": "m",
                            "max_tokens": 9,
                            "messages": [{"role": "user", "content": str(number)}],
                        },
                    }
                    for number in range(6)
                ]
                batch = client.messages.batches.create(requests=requests)  # type: ignore[arg-type]
                # Its place is taken by a fifth request when the first one has its result on the disk.
                model.wait_for(5)
            gateway.kill()
            gate.set()
            gateway.lines.clear()
            gateway.start()
            with anthropic.Anthropic(base_url=f"{gateway.url}/anthropic", api_key="dummy", max_retries=0) as client:
                wait_until(lambda: client.messages.batches.retrieve(batch.id).processing_status == "ended")
                results = list(client.messages.batches.results(batch.id))
                texts = {
                    line.custom_id: line.result.message.content[0].text  # type: ignore[union-attr]
                    for line in results
                    if line.result.type == "succeeded"
                }
                assert len(results) == 6 and texts == {f"r{number}": f"Answer to {number}" for number in range(6)}
            listed = subprocess.run(
                [sys.executable, "-m", "byway", "batch", "list"],
                env=gateway._environ,
                capture_output=True,
                text=True,
                check=True,
            )
            assert batch.id in listed.stdout and "ended" in listed.stdout
            questions = [request.json["messages"][-1]["content"] for request in model.requests]
            assert len([text for text in questions if text == "0" or text[-1:] == "0"]) == 1, (
                "a stored result is not made again"
            )
        finally:
            gateway.stop()
