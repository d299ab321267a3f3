"""Several API keys of one backend: a refused key rests, the next one is used, and no key is shown."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any, cast

import pytest
from test_targets import Answered, chat_answer

from byway import config
from byway.admin.backends import describe_backend
from byway.call import Call
from byway.config import ConfigError
from byway.config.notes import masked
from byway.messages.request import Request, parse
from byway.pipeline import exchange
from byway.pipeline.reply import HeldReply, Record
from byway.problems import Problem
from byway.runtime import Runtime
from byway.upstream.credentials import StaticCredential
from byway.upstream.keypool import KeyPool

KEYS = ("sk-first-0123456789", "sk-second-0123456789", "sk-third-0123456789")
Refusal = tuple[int, dict[str, str], bytes]
RATE: Refusal = (429, {"retry-after": "30"}, b'{"error":{"message":"Rate limit reached","code":"rate_limit_exceeded"}}')
MONEY: Refusal = (429, {}, b'{"error":{"message":"You exceeded your current quota","code":"insufficient_quota"}}')
WRONG: Refusal = (
    401,
    {},
    b'{"error":{"message":"Incorrect API key provided: sk-first-0123456789","code":"invalid_api_key"}}',
)


class Server:
    """A backend that refuses some keys."""

    def __init__(self, refusals: dict[str, Refusal]) -> None:
        self.refusals = refusals
        self.keys: list[str] = []

    async def open(self, call: Call) -> Answered:
        key = dict(call.headers)["authorization"].removeprefix("Bearer ")
        self.keys.append(key)
        if key in self.refusals:
            status, headers, body = self.refusals[key]
            answer = Answered(status, body)
            answer.headers = headers
            return answer
        if call.method == "GET":
            return Answered(200, b'{"data":[{"id":"m"}]}')
        return Answered(200, json.dumps(chat_answer({"prompt_tokens": 5, "completion_tokens": 1})).encode())

    async def close(self) -> None:
        """Nothing is open."""


def runtime(server: Server, keys: Any = KEYS, **fields: Any) -> Runtime:
    backend = {"name": "box", "type": "generic", "url": "http://127.0.0.1:9", "models": ["m"], "api_key": keys}
    made = Runtime(config.load(json.dumps({"backends": [{**backend, **fields}]}), {}))
    made.backends["box"].upstream = cast(Any, server)
    return made


def request() -> Request:
    body = {"model": "box/m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    return parse(json.dumps(body).encode(), {}, "msg_1")


def send(at: Runtime) -> Record:
    record = Record()
    asyncio.run(exchange.answer(at, request(), HeldReply(), record))
    return record


@pytest.mark.parametrize("refusal", [RATE, MONEY, WRONG], ids=["rate limit", "no credit", "wrong key"])
def test_the_next_key_is_used_when_one_is_refused(refusal: Refusal) -> None:
    server = Server({KEYS[0]: refusal})
    at = runtime(server)
    for _ in range(3):
        send(at)
    assert server.keys == [KEYS[0], KEYS[1], KEYS[1], KEYS[1]]


def test_other_refusals_rotate_nothing() -> None:
    server = Server(dict.fromkeys(KEYS, (400, {}, b'{"error":{"message":"The input is wrong."}}')))
    with pytest.raises(Problem):
        send(runtime(server))
    assert server.keys == [KEYS[0]]


def test_when_all_keys_rest_the_client_gets_the_refusal_that_passes_soonest() -> None:
    server = Server({KEYS[0]: RATE, KEYS[1]: MONEY, KEYS[2]: WRONG})
    with pytest.raises(Problem) as raised:
        send(runtime(server))
    assert raised.value.kind == "rate_limit" and 28 < (raised.value.retry_after or 0) <= 30
    assert server.keys == list(KEYS)


def test_the_only_refusal_of_a_wrong_key_stays_one() -> None:
    server = Server(dict.fromkeys(KEYS[:2], WRONG))
    with pytest.raises(Problem) as raised:
        send(runtime(server, KEYS[:2]))
    assert raised.value.kind == "refused" and server.keys == list(KEYS[:2])


def test_another_target_is_used_after_all_keys() -> None:
    server = Server(dict.fromkeys(KEYS, MONEY))
    spare = Server({})
    other = {
        "name": "spare",
        "type": "generic",
        "url": "http://127.0.0.1:8",
        "models": ["m"],
        "api_key": "sk-0123456789ab",
    }
    backend = {"name": "box", "type": "generic", "url": "http://127.0.0.1:9", "models": ["m"], "api_key": KEYS}
    aliases = {"box/m": ["box/m", "spare/m"], "both": ["box/m", "spare/m"]}
    text = json.dumps({"backends": [backend, other], "model_aliases": {"both": aliases["both"]}})
    at = Runtime(config.load(text, {}))
    at.backends["box"].upstream, at.backends["spare"].upstream = cast(Any, server), cast(Any, spare)
    value = parse(request().body.replace(b"box/m", b"both"), {}, "msg_1")
    asyncio.run(exchange.answer(at, value, HeldReply(), Record()))
    assert (server.keys, spare.keys) == (list(KEYS), ["sk-0123456789ab"])


def test_a_list_of_models_is_requested_with_the_next_key() -> None:
    server = Server({KEYS[0]: WRONG})
    at = runtime(server)
    asyncio.run(at.refresh())
    assert at.backends["box"].state == "ready" and server.keys == list(KEYS[:2])


def test_keys_that_rest_are_shown_by_their_places_alone() -> None:
    at = runtime(Server({KEYS[0]: WRONG}))
    send(at)
    info = asyncio.run(describe_backend(at, "box"))
    (state,) = info.keys
    assert state.startswith("key 1 of 3: rejected until ") and not any(key in repr(info) for key in KEYS)


def test_a_reload_keeps_the_keys_that_rest_and_new_keys_begin_afresh() -> None:
    server = Server({KEYS[0]: RATE})
    at = runtime(server)
    send(at)
    after = Runtime(at.config, at)
    send(after)
    assert server.keys == [KEYS[0], KEYS[1], KEYS[1]]
    assert runtime(server, KEYS[1:]).backends["box"].key_states(time.time()) == ()


def test_one_key_makes_no_pool() -> None:
    for keys in (KEYS[0], [KEYS[0]], [KEYS[0], KEYS[0]]):
        backend = runtime(Server({}), keys).backends["box"]
        assert backend.keys is None and backend.settings.api_key == KEYS[0]


# ------------------------------------------------------------------------------------------------------------ the pool


def pool() -> KeyPool:
    return KeyPool([StaticCredential((("authorization", key),)) for key in KEYS])


def test_a_key_is_used_until_it_is_refused_and_again_after_its_rest() -> None:
    keys = pool()
    assert keys.pick(0) == 0
    assert keys.rest(0, Problem("rate_limit", "", retry_after=5), 0) and keys.pick(1) == 1
    assert keys.rest(1, Problem("billing", ""), 1) and keys.pick(2) == 2
    assert keys.rest(2, Problem("refused", ""), 6) and keys.pick(7) == 0


def test_when_all_keys_rest_the_one_that_returns_first_is_tried() -> None:
    keys = pool()
    waits = (20.0, 5.0, 30.0)
    assert [keys.rest(index, Problem("rate_limit", "", retry_after=wait), 0) for index, wait in enumerate(waits)] == [
        True,
        True,
        False,
    ]
    assert keys.pick(1) == 1


@pytest.mark.parametrize(("wait", "seconds"), [(0.0, 1), (None, 10), (1e9, 86_400)])
def test_the_rest_of_a_key_is_bounded(wait: float | None, seconds: int) -> None:
    keys = pool()
    keys.rest(0, Problem("rate_limit", "", retry_after=wait), 0)
    assert keys.resting(0)[0].seconds == seconds


# ---------------------------------------------------------------------------------------------------------- the config


def test_keys_are_masked_and_secret() -> None:
    loaded = runtime(Server({})).config
    assert set(KEYS) <= set(loaded.secrets)
    assert not any(key in repr(loaded) + repr(masked(loaded)) for key in KEYS)
    assert len(masked(loaded)["backends"][0]["api_key"]) == 3


def test_a_variable_that_is_not_set_leaves_out_its_key() -> None:
    text = "backends: [{type: generic, url: 'http://127.0.0.1:9', api_key: ['${ONE}', '${TWO}', '${THREE}']}]"
    loaded = config.load(text, {"ONE": KEYS[0], "THREE": KEYS[2]})
    (backend,) = loaded.backends
    assert backend.api_keys == (KEYS[0], KEYS[2]) and not backend.off
    assert any("TWO is not set, so this key is left out" in str(warning) for warning in loaded.warnings)
    assert config.load(text, {}).backends[0].off


@pytest.mark.parametrize("keys", ["['']", "[{a: b}]"])
def test_an_entry_that_is_no_key_is_an_error(keys: str) -> None:
    with pytest.raises(ConfigError):
        config.load(f"backends: [{{type: generic, url: 'http://127.0.0.1:9', api_key: {keys}}}]", {})
