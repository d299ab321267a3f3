"""Limits in the running application: who is admitted, what refusals and answers contain, and what is counted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
import pytest
from loops import run_skipping
from test_targets import Answered

from byway import config
from byway.call import Call
from byway.config.limits import LimitSettings
from byway.gateway import Gateway
from byway.runtime import Runtime
from byway.server.app import App
from byway.store import Store, StoreError
from byway.usage.recorder import UsageRecorder

ANSWER: dict[str, Any] = {
    "id": "msg_x", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
    "content": [{"type": "text", "text": "Hi."}], "stop_sequence": None,
    "usage": {"input_tokens": 100, "cache_read_input_tokens": 5000, "output_tokens": 50},
}  # fmt: skip
UNIFIED = "anthropic-ratelimit-unified-"


class Result(NamedTuple):
    status: int
    headers: dict[str, str]
    body: Any

    @property
    def limits(self) -> dict[str, str]:
        """The headers about limits, without the times."""
        return {
            name.removeprefix("anthropic-ratelimit-"): value
            for name, value in self.headers.items()
            if name.startswith("anthropic-ratelimit-") and "reset" not in name
        }


class LimitedBackend:
    """Answers each call with ANSWER, or with what it is given. With a gate it waits for it."""

    def __init__(self, *answers: tuple[int, Any]) -> None:
        self._answers = list(answers)
        self.calls: list[Call] = []
        self.gate: asyncio.Event | None = None
        self._awaited: tuple[int, asyncio.Event] | None = None

    async def called(self, number: int) -> None:
        """Wait until it has received as many calls."""
        self._awaited = number, asyncio.Event()
        if len(self.calls) < number:
            await asyncio.wait_for(self._awaited[1].wait(), 60)

    async def open(self, call: Call) -> Answered:
        self.calls.append(call)
        if self._awaited is not None and len(self.calls) >= self._awaited[0]:
            self._awaited[1].set()
        if self.gate is not None:
            await self.gate.wait()
        status, body = self._answers.pop(0) if self._answers else (200, ANSWER)
        return Answered(status, json.dumps(body).encode())

    async def close(self) -> None:
        """Nothing is open."""


class Place(NamedTuple):
    app: App
    backends: dict[str, LimitedBackend]

    def send(self, **given: Any) -> Result:
        return run_skipping(self.request(**given))

    async def request(
        self,
        key: str = "",
        model: str = "one/m",
        path: str = "/v1/messages",
        client: str = "192.0.2.1",
        headers: dict[str, str] | None = None,
        unix: bool = False,
        stream: bool = False,
    ) -> Result:
        body = {"model": model, "max_tokens": 9, "stream": stream, "messages": [{"role": "user", "content": "Hi"}]}
        sent: list[dict[str, Any]] = []

        bodies = [json.dumps(body).encode()]

        async def receive() -> dict[str, Any]:
            if not bodies:
                await asyncio.Event().wait()
            return {"type": "http.request", "body": bodies.pop(), "more_body": False}

        async def collect(message: Any) -> None:
            sent.append(message)

        given = {"host": "127.0.0.1", **({"x-api-key": key} if key else {}), **(headers or {})}
        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
            "server": ("/tmp/socket", None) if unix else ("127.0.0.1", 38080),
            "client": None if unix else (client, 5555),
        }
        await self.app(scope, receive, collect)
        got = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        answer = b"".join(message.get("body", b"") for message in sent[1:])
        return Result(sent[0]["status"], got, None if stream else json.loads(answer))


KEYS = {
    "api_keys": [
        {"key": "key-of-ann", "id": "ann", "user_id": "ada", "organization_id": "lab"},
        {"key": "key-of-bob", "id": "bob"},
    ]
}
START = Callable[..., Place]


def place(*limits: dict[str, Any], **sections: Any) -> Place:
    backends = [
        {"name": name, "type": "anthropic", "url": f"http://127.0.0.1:{port}", "models": ["m", "n"]}
        for name, port in (("one", 1), ("two", 2))
    ]
    aliases = {"default": "one/m", "both": ["one/m", "two/m"], "opus": "one/n"}
    text = {"backends": backends, "model_aliases": aliases, "limits": list(limits), "api_keys": KEYS, **sections}
    runtime = Runtime(config.load(json.dumps(text), {}))
    if runtime.limiter is not None:
        runtime.limiter.trust_counts()
    servers = {name: LimitedBackend() for name in runtime.backends}
    for name, server in servers.items():
        runtime.backends[name].upstream = cast(Any, server)
    return Place(App(Gateway(runtime)), servers)


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
def test_of_200_parallel_requests_exactly_100_reach_the_backend(path: str) -> None:
    here = place({"for": "key", "requests_per_minute": 100})

    async def main() -> list[Result]:
        gate = here.backends["one"].gate = asyncio.Event()
        tasks = [asyncio.create_task(here.request("key-of-ann", path=path)) for _ in range(200)]
        await here.backends["one"].called(100)
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        gate.set()
        return await asyncio.gather(*tasks)

    statuses = [result.status for result in run_skipping(main())]
    assert (statuses.count(200), statuses.count(429), len(here.backends["one"].calls)) == (100, 100, 100)
    assert here.send(key="key-of-bob", path=path).status == 200


def test_concurrency_counts_until_the_end_of_a_stream_and_is_free_after_every_outcome() -> None:
    here = place({"for": "key", "concurrency": 3})
    backend = here.backends["one"]

    async def main() -> None:
        gate = backend.gate = asyncio.Event()
        tasks = [asyncio.create_task(here.request("key-of-ann", stream=number % 2 == 0)) for number in range(3)]
        await backend.called(3)
        refused = await here.request("key-of-ann")
        assert refused.body["error"] == {
            "type": "rate_limit_error",
            "message": 'Limit reached for key "ann": 3 requests at once. Retry in 2 s, or have the limit raised in Byway.',
        }
        assert (refused.headers["retry-after"], refused.headers["x-should-retry"]) == ("2", "true")
        tasks[0].cancel()
        gate.set()
        results = await asyncio.gather(*tasks[1:])
        assert [result.status for result in results] == [200, 200]

    run_skipping(main())
    backend.gate = None
    for answer in ((500, {}), (400, {"error": {"message": "no"}}), (200, {"broken": 1})):
        backend._answers = [answer, answer]
        here.send(key="key-of-ann")
    limiter = here.app.gateway.runtime.limiter
    assert limiter is not None
    assert [use.used for use in limiter.uses(0, 0)] == [0]


def test_the_answer_says_what_is_left() -> None:
    here = place(
        {"for": "key", "requests_per_minute": 10, "tokens_per_minute": 1000},
        {"for": "global", "requests_per_minute": 3, "input_tokens_per_minute": 500, "output_tokens_per_minute": 700},
    )
    first, second = here.send(key="key-of-ann"), here.send(key="key-of-ann")
    assert first.limits["requests-limit"] == "3" and first.limits["requests-remaining"] == "2"
    assert first.headers["anthropic-ratelimit-requests-reset"].endswith("Z")
    estimate = 1000 - int(first.limits["tokens-remaining"])
    assert 0 < estimate < 100
    assert second.limits == {
        "requests-limit": "3",
        "requests-remaining": "1",
        "tokens-limit": "1000",
        "tokens-remaining": str(1000 - 150 - estimate),
        "input-tokens-limit": "500",
        "input-tokens-remaining": str(500 - 100 - estimate),
        "output-tokens-limit": "700",
        "output-tokens-remaining": "650",
    }
    third, fourth = here.send(key="key-of-ann"), here.send(key="key-of-bob")
    assert (third.status, fourth.status) == (200, 429)
    assert "Limit reached for all requests together: " in fourth.body["error"]["message"]
    assert fourth.limits["requests-remaining"] == "0"


def test_without_limits_an_answer_has_no_such_header() -> None:
    here = place()
    assert here.app.gateway.runtime.limiter is None
    result = here.send(key="key-of-bob")
    assert not result.limits and "anthropic-organization-id" not in result.headers
    assert here.send(key="key-of-ann").headers["anthropic-organization-id"] == "lab"


def test_a_refusal_of_a_chat_completion_is_in_the_envelope_of_openai() -> None:
    here = place({"for": "account", "name": "ada", "requests_per_minute": 1})
    assert here.send(key="key-of-ann", path="/v1/chat/completions").status == 200
    refused = here.send(key="key-of-ann", path="/v1/chat/completions")
    assert (refused.status, refused.body["error"]["type"], refused.body["error"]["code"]) == (
        429,
        "rate_limit_error",
        "rate_limit_exceeded",
    )
    assert here.send(key="key-of-bob", path="/v1/chat/completions").status == 200


def test_the_next_target_answers_when_the_backend_of_the_first_has_reached_its_limit() -> None:
    here = place(
        {"for": "backend", "name": "one", "requests_per_minute": 1},
        {"for": "model", "name": "two/m", "requests_per_minute": 1},
    )
    results = [here.send(key="key-of-ann", model="both") for _ in range(3)]
    assert [result.headers.get("x-byway-backend") for result in results] == ["one", "two", "two"]
    assert [result.status for result in results] == [200, 200, 429]
    assert 'Limit reached for model "two/m": 1 request per minute' in results[2].body["error"]["message"]
    assert [len(backend.calls) for backend in here.backends.values()] == [1, 1]
    assert here.app.gateway.runtime.cooldown.remaining("one", 0.0) == 0.0


def test_a_failed_target_frees_its_place_for_others() -> None:
    here = place({"for": "backend", "concurrency": 1})
    here.backends["one"]._answers = [(500, {})]
    assert here.send(key="key-of-ann", model="both").headers["x-byway-backend"] == "two"
    limiter = here.app.gateway.runtime.limiter
    assert limiter is not None and [(use.name, use.used) for use in limiter.uses(0, 0)] == [("two", 0), ("one", 0)]


def test_a_limit_for_an_alias_counts_requests_of_that_alias() -> None:
    here = place({"for": "model", "name": "opus", "requests_per_minute": 1})
    models = ["claude-opus-5", "one/m", "opus", "one/n"]
    assert [here.send(key="key-of-ann", model=model).status for model in models] == [200, 200, 429, 200]


@pytest.mark.parametrize(
    ("limited", "names"),
    [
        ("claude-*", [f"claude-{number}" for number in range(9)]),
        ("claude-*", [f"claude-opus-{number}[1m]" for number in range(9)]),
        ("*-4", ["claude-opus-4", "x-4", "y-4", "opus-4[1m]"]),
        ("m*", ["m", "one/m", "m[1m]", "m[2m]", "claude-byway-m", "one/m[1m]"]),
        ("one/*", ["one/m", "one/m[2m]", "claude-byway-one/m", "any"]),
        ("opus", ["opus", "opus[1m]", "claude-opus-4", "claude-opus-5[1m]", "OPUS"]),
        ("claude-x", ["claude-x", "claude-x[1m]", "claude-x[2m]"]),
        ("one/m", ["one/m", "any", "other", "one/m[1m]"]),
    ],
)
def test_other_names_of_a_model_do_not_pass_its_limit(limited: str, names: list[str]) -> None:
    here = place({"for": "model", "name": limited, "requests_per_minute": 2})
    statuses = [here.send(key="key-of-bob", model=name).status for name in names]
    assert statuses == [200, 200] + [429] * (len(names) - 2)


def test_an_invented_model_name_leaves_no_count() -> None:
    here = place({"for": "model", "name": "x*", "requests_per_minute": 2})
    for number in range(3):
        here.send(key="key-of-bob", model=f"x{number}" * 1000)
    assert here.app.gateway.runtime.limiter is not None
    assert [use.name for use in here.app.gateway.runtime.limiter.uses(0, 0)] == ["x*"]


def test_a_token_count_is_not_limited() -> None:
    here = place({"for": "global", "requests_per_minute": 1})
    here.backends["one"]._answers = [(200, {"input_tokens": 5})] * 3
    assert [here.send(key="key-of-ann", path="/v1/messages/count_tokens").status for _ in range(3)] == [200] * 3


BUCKET = {"requests_per_second": 0.001, "burst_capacity": 2}


def test_the_reference_section_limits_clients_by_key_and_by_the_address_that_a_trusted_proxy_names() -> None:
    here = place(
        api_keys={**KEYS, "mode": "permissive"},
        server={"trusted_proxies": ["10.0.0.1"]},
        rate_limiting={
            "enabled": True,
            "limits": {"per_client": BUCKET},
            "whitelist": ["198.51.100.0/24"],
            "bypass_keys": ["secret-of-the-owner"],
        },
    )

    def statuses(**given: Any) -> list[int]:
        return [here.send(**given).status for _ in range(3)]

    limited, free = [200, 200, 429], [200, 200, 200]
    assert statuses(key="key-of-ann") == limited
    assert statuses(key="key-of-ann", client="192.0.2.7") == [429, 429, 429]
    assert statuses(client="192.0.2.1", headers={"x-forwarded-for": "203.0.113.5"}) == limited
    assert statuses(client="192.0.2.1", headers={"x-forwarded-for": "203.0.113.6"}) == [429, 429, 429]
    assert statuses(client="10.0.0.1", headers={"x-forwarded-for": "203.0.113.5, 203.0.113.6"}) == limited
    assert statuses(client="10.0.0.1", headers={"x-real-ip": "203.0.113.9"}) == limited
    assert statuses(key="an-unknown-key", client="192.0.2.1") == [429, 429, 429], "an invented key is no other client"
    assert statuses(client="198.51.100.7") == free
    assert statuses(client="192.0.2.1", headers={"authorization": "Bearer secret-of-the-owner"}) == free
    assert statuses(unix=True) == free


def test_a_key_of_the_config_has_a_rate_of_its_own() -> None:
    keys = {
        "api_keys": [
            {"key": "key-of-ann", "rate_limit": 2},
            {"key": "key-of-bob", "rate_limit": BUCKET},
            {"key": "third-key-here"},
        ]
    }
    here = place(api_keys=keys)
    for key, statuses in (
        ("key-of-ann", [200, 200, 429]),
        ("key-of-bob", [200, 200, 429]),
        ("third-key-here", [200] * 3),
    ):
        assert [here.send(key=key).status for _ in range(3)] == statuses


def test_a_refused_request_is_listed_as_429_with_its_model() -> None:
    here = place({"for": "key", "requests_per_minute": 1})
    here.send(key="key-of-ann"), here.send(key="key-of-ann", model="opus")
    newest = here.app.gateway.requests.newest(1)[0].line
    assert (newest.status, newest.problem, newest.requested, newest.key) == (429, "limit", "opus", "ann")


def test_a_reload_keeps_what_was_counted() -> None:
    here = place({"for": "key", "requests_per_minute": 1})
    assert here.send(key="key-of-ann").status == 200
    gateway = here.app.gateway

    async def reload() -> None:
        await gateway.reload(gateway.runtime.config)

    run_skipping(reload())
    for name, backend in here.backends.items():
        gateway.runtime.backends[name].upstream = cast(Any, backend)
    assert here.send(key="key-of-ann").status == 429


# --------------------------------------------------------------------------------------------------------------- budgets

#: ANSWER costs 100 * 100 + 5000 * 10 + 50 * 200 = 70,000 millionths of a dollar.
PRICES = {"prices": {"one/m": {"input": 100, "cached": 10, "output": 200}}}


@pytest.mark.parametrize("stream", [False, True])
def test_a_budget_stops_a_key_with_one_sentence_and_the_headers_of_a_gateway(stream: bool) -> None:
    here = place({"for": "key", "budget": 0.1, "period": "month"}, **PRICES)
    first, second = (here.send(key="key-of-ann", stream=stream) for _ in range(2))
    assert (first.status, second.status) == (200, 200)
    assert {name: first.headers.get(UNIFIED + name) for name in ("status", "overage-utilization")} == {
        "status": "allowed",
        "overage-utilization": "0.00",
    }
    assert second.headers[UNIFIED + "overage-utilization"] == "0.70"
    assert UNIFIED + "overage-surpassed-threshold" not in second.headers
    third = here.send(key="key-of-ann", path="/v1/messages")
    error = third.body["error"]
    assert (third.status, error["type"]) == (429, "billing_error")
    assert error["message"].startswith('The budget of key "ann" ($0.10 per month) is used up; wait until 20')
    assert error["message"].endswith(", or have the budget raised in Byway.") and error["message"].count(". ") == 0
    headers = third.headers
    assert headers["x-should-retry"] == "false" and int(headers["retry-after"]) > 0
    assert headers[UNIFIED + "status"] == "rejected" and headers[UNIFIED + "overage-period"] == "monthly"
    assert headers[UNIFIED + "reset"] == headers[UNIFIED + "overage-reset"]
    assert UNIFIED + "representative-claim" not in headers and UNIFIED + "overage-status" not in headers
    assert len(here.backends["one"].calls) == 2
    chat = here.send(key="key-of-ann", path="/v1/chat/completions")
    assert (chat.status, chat.body["error"]["code"]) == (429, "insufficient_quota")
    assert here.send(key="key-of-bob").status == 200


def test_the_client_is_warned_from_75_and_95_percent_of_a_budget_on() -> None:
    here = place({"for": "key", "budget": 0.09}, {"for": "global", "budget": 0.2}, **PRICES)
    here.send(key="key-of-ann")
    warned = here.send(key="key-of-ann").headers
    assert warned[UNIFIED + "status"] == warned[UNIFIED + "overage-status"] == "allowed_warning"
    assert (warned[UNIFIED + "overage-surpassed-threshold"], warned[UNIFIED + "overage-utilization"]) == (
        "0.75",
        "0.78",
    )
    assert warned[UNIFIED + "representative-claim"] == "overage"


def test_the_next_target_answers_when_the_budget_of_a_model_is_used_up() -> None:
    here = place({"for": "model", "name": "one/m", "budget": 0.05}, **PRICES)
    answering = [here.send(key="key-of-ann", model="both").headers["x-byway-backend"] for _ in range(3)]
    assert answering == ["one", "two", "two"]
    refused = here.send(key="key-of-ann", model="one/m")
    assert (refused.status, refused.body["error"]["type"]) == (429, "billing_error")
    assert refused.headers[UNIFIED + "overage-scope"] == "group_pool"


def test_a_model_without_a_price_costs_nothing_in_a_budget() -> None:
    here = place({"for": "key", "budget": 0.001})
    assert [here.send(key="key-of-ann").status for _ in range(3)] == [200] * 3


def test_a_budget_is_closed_while_spending_is_unknown_and_other_requests_are_not() -> None:
    here = place({"for": "key", "budget": 5}, api_keys={**KEYS, "mode": "permissive"})
    limiter = here.app.gateway.runtime.limiter
    assert limiter is not None
    for table in limiter.tables:
        table.loaded = False
    assert limiter.needs_loading(0, 0)
    refused = here.send(key="key-of-ann")
    assert (refused.status, refused.body["error"]["type"], refused.headers["x-should-retry"]) == (
        429,
        "billing_error",
        "false",
    )
    assert refused.limits == {"unified-overage-disabled-reason": "fetch_error"} and "retry-after" not in refused.headers
    assert here.send().status == 200


def test_budgets_continue_after_a_restart_and_close_when_the_records_cannot_be_read(tmp_path: Path) -> None:
    def start() -> Place:
        here = place({"for": "account", "budget": 0.1}, **PRICES)
        gateway = here.app.gateway
        gateway.store = Store(tmp_path)
        gateway.recorder = gateway.usage = UsageRecorder(tmp_path, gateway.store.usage, StoreError)
        limiter = gateway.runtime.limiter
        assert limiter is not None
        for table in limiter.tables:
            table.loaded = False
        run_skipping(gateway.load_spending(limiter))
        return here

    first = start()
    assert [first.send(key="key-of-ann").status for _ in range(3)] == [200, 200, 429]
    second = start()
    assert second.send(key="key-of-ann").status == 429, "the records were in the journal only"
    assert second.send(key="key-of-bob").status == 200, "a key without an account"
    for file in tmp_path.glob("usage.db*"):
        file.unlink()
    (tmp_path / "usage.db").write_bytes(b"no database" * 1000)
    third = start()
    refused = third.send(key="key-of-ann")
    assert refused.limits == {"unified-overage-disabled-reason": "fetch_error"}
    for file in tmp_path.glob("usage.db*"):
        file.unlink()
    run_skipping(third.app.gateway.load_spending(third.app.gateway.runtime.limiter))
    assert third.send(key="key-of-ann").status == 200, "the records are gone, and can be read"


def test_a_budget_that_is_added_while_byway_runs_contains_what_was_spent(tmp_path: Path) -> None:
    here = place(**PRICES)
    gateway = here.app.gateway
    gateway.store = Store(tmp_path)
    gateway.recorder = UsageRecorder(tmp_path, gateway.store.usage, StoreError)
    gateway.set_usage(gateway.runtime.config.usage)
    assert [here.send(key="key-of-ann").status for _ in range(2)] == [200, 200]
    limit = LimitSettings(subject="key", budget=0.1)
    run_skipping(gateway.reload(msgspec.structs.replace(gateway.runtime.config, limits=(limit,))))
    for name, backend in here.backends.items():
        gateway.runtime.backends[name].upstream = cast(Any, backend)
    assert here.send(key="key-of-ann").body["error"]["type"] == "billing_error"
    assert here.send(key="key-of-bob").status == 200
