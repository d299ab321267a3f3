"""What clients and backends can name without end has a bound: 100,000 names leave maps and tasks small."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from byway import config
from byway.backend import Backend
from byway.backends.protocol import Attempt, ModelFacts
from byway.bounded import BoundedDict, RecentValues
from byway.messages import request as messages
from byway.problems import Problem
from byway.runtime import Runtime

NAMES = 20_000


def sizes(value: object, depth: int = 3) -> dict[str, int]:
    """The length of every collection that an object holds, by attribute."""
    table: dict[str, int] = {}
    attributes = getattr(value, "__dict__", None) or {
        name: getattr(value, name) for name in getattr(value, "__slots__", ()) if hasattr(value, name)
    }
    for name, held in attributes.items():
        if isinstance(held, dict | set | list | tuple):
            table[name] = len(held)
        elif depth and type(held).__module__.startswith("byway."):
            table |= {f"{name}.{inner}": size for inner, size in sizes(held, depth - 1).items()}
    return table


def test_a_bounded_dict_keeps_the_entries_that_were_set_last() -> None:
    entries: BoundedDict[str, int] = BoundedDict(2)
    entries["a"], entries["b"] = 1, 2
    entries["a"] = 3
    assert dict(entries) == {"a": 3, "b": 2}
    entries["c"] = 4
    assert dict(entries) == {"b": 2, "c": 4}


def test_recent_values_are_those_of_the_keys_that_were_added_last() -> None:
    values: RecentValues[list[str], int] = RecentValues(2)
    values.add(["a"], 1)
    values.add(["b"], 2)
    assert (values.get(["a"]), values.get(["b"]), values.get(["c"])) == (1, 2, None)
    values.add(["c"], 3)
    assert (values.get(["a"]), values.get(["b"]), values.get(["c"])) == (None, 2, 3)


def test_names_of_models_that_clients_invent_do_not_grow_the_runtime() -> None:
    async def main() -> None:
        backend = {"name": "box", "url": "http://127.0.0.1:1", "models": ["m"]}
        text = {"backends": [backend], "model_aliases": {"default": "box/m"}}
        runtime = Runtime(config.load(json.dumps(text), {}))
        box = runtime.backends["box"]
        most = 0
        for number in range(NAMES // 4):
            await runtime.route(f"box/invented-{number}")
            most = max(most, len(runtime._tasks))
        for number in range(NAMES // 4):
            await runtime.route(f"default-{number}")
        assert most <= 16, "queries that describe models at once"
        assert await runtime.route("m") is await runtime.route("m"), (
            "a name that is used now is remembered all the same"
        )
        for name, size in (sizes(runtime) | sizes(box)).items():
            assert size <= 1001, f"{name} has {size} entries"
        await asyncio.gather(*runtime._tasks)
        await runtime.close()

    asyncio.run(main())


def test_facts_of_invented_models_do_not_grow_the_registry() -> None:
    settings = config.load(json.dumps({"backends": [{"name": "box", "url": "http://127.0.0.1:1"}]}), {})
    box = Backend(settings.backends[0], settings.timeouts, 1)
    refusal = Problem("prompt_too_long", "", facts={"max_output": 10, "window": 4096, "tokens": 5000})
    for number in range(NAMES // 10):
        name = f"invented-{number}"
        box.registry.report(name, ModelFacts(number + 100_000, source="backend"))
        box.learn_from(refusal, name, Attempt())
        box.registry.mark_described(name)
        box.note_use(name)
    for name, size in sizes(box).items():
        assert size <= 1001, f"{name} has {size} entries"
    assert box.registry.get(f"invented-{NAMES // 10 - 1}").window == 4096
    assert box.registry.get("invented-1") == ModelFacts(), "the oldest are forgotten"


def test_windows_of_the_config_are_never_forgotten() -> None:
    models = [{"id": f"configured-{number}", "window": 4096} for number in range(20)]
    text = {"backends": [{"name": "box", "url": "http://127.0.0.1:1", "models": models}]}
    settings = config.load(json.dumps(text), {})
    box = Backend(settings.backends[0], settings.timeouts, 1)
    for number in range(5000):
        box.registry.report(f"invented-{number}", ModelFacts(100, source="backend"))
    assert all(box.registry.target(str(model["id"])).window == 4096 for model in models)


def test_token_counts_of_invented_models_do_not_grow_the_backend() -> None:
    settings = config.load(json.dumps({"backends": [{"name": "box", "type": "vllm", "url": "http://127.0.0.1:1"}]}), {})
    box = Backend(settings.backends[0], settings.timeouts, 1)
    body: dict[str, Any] = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}
    parsed = messages.parse(json.dumps(body).encode(), {}, "msg_1")

    async def main() -> None:
        for number in range(1200):
            await box.count_tokens(parsed, box.registry.target(f"invented-{number}"))

    asyncio.run(main())
    for name, size in sizes(box).items():
        assert size <= 1001, f"{name} has {size} entries"
