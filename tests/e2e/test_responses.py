"""The official `openai` SDK, with `client.responses`, by way of Byway: each kind of backend, stored responses, failures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import codexrecordings
import openai
import pydantic
import pytest
import responsesfake
from gateway import Gateway, config
from openai.types.responses import Response, ResponseFunctionToolCall
from providers import KEY, FakeProviders
from scripted import JSON, SSE, Asked, Gate, Reply, Say, Scripted, Tool, cut, openai_error, put

pytestmark = pytest.mark.real

LOOK: Any = {
    "type": "function",
    "name": "look",
    "description": "Looks.",
    "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    "strict": False,
}
#: A backend of each protocol.
KINDS = {"chat": "generic", "messages": "anthropic"}
IMPATIENT = {"commit_after": "0.2s", "ping_after": "0.3s"}
CODEX = {"originator": "codex_exec", "user-agent": "codex_exec/0.171.0"}


@contextmanager
def stage(script: Any, type: str = "generic", **sections: Any) -> Iterator[tuple[Any, Scripted, Gateway]]:
    with Scripted(script) as server:
        settings = config(server, type=type, **sections)
        # The fake server listens on loopback, but stands for a cloud where its vendor is one.
        settings["backends"][0]["local"] = type not in ("openai", "anthropic")
        with Gateway(settings) as gateway:
            with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="dummy", max_retries=0) as client:
                yield client, server, gateway
            server.check()


@pytest.mark.parametrize("kind", KINDS)
def test_text_reasoning_and_parallel_calls_arrive_whole_and_streamed(kind: str) -> None:
    tools = [Tool("look", {"path": "a"}, id="call_a"), Tool("look", {"path": "b"}, id="call_b")]
    script = lambda request: Say("Let me see.", tools=tools, thinking="Hm, two files.")  # noqa: E731
    with stage(script, KINDS[kind]) as (client, server, _):
        given: Any = {
            "model": "x",
            "input": "Compare a and b.",
            "instructions": "Be brief.",
            "tools": [LOOK],
            "reasoning": {"effort": "medium", "summary": "auto"},
        }
        whole = client.responses.create(**given)
        with client.responses.stream(**given) as stream:
            kinds = [event.type for event in stream]
            streamed = stream.get_final_response()
    for answer in (whole, streamed):
        assert [item.type for item in answer.output] == ["reasoning", "message", "function_call", "function_call"]
        assert answer.output_text == "Let me see." and answer.status == "completed"
        assert [json.loads(item.arguments) for item in answer.output if isinstance(item, ResponseFunctionToolCall)] == [
            {"path": "a"},
            {"path": "b"},
        ]
        assert answer.usage is not None and answer.usage.total_tokens == 120
        assert answer.model == "x" and answer.id.startswith("resp_")
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
    sent = server.last.json
    assert "max_output_tokens" not in sent and sent.get("max_tokens") == (32000 if kind == "messages" else None)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tool_loop_returns_everything_to_the_model(kind: str) -> None:
    def script(request: Asked) -> Say:
        if len(request.json["messages"]) > 2:
            return Say("They differ.")
        return Say(tools=[Tool("look", {"path": "a"}, id="call_a")], thinking="Hm.")

    with stage(script, KINDS[kind]) as (client, server, _):
        conversation: list[Any] = [{"role": "user", "content": "Look at a."}]
        first = client.responses.create(model="x", input=conversation, tools=[LOOK], store=False)
        call = next(item for item in first.output if isinstance(item, ResponseFunctionToolCall))
        conversation += [
            *first.output,
            {"type": "function_call_output", "call_id": call.call_id, "output": "text of a"},
        ]
        second = client.responses.create(model="x", input=conversation, tools=[LOOK], store=False)
    assert second.output_text == "They differ."
    messages = server.last.json["messages"]
    if kind == "messages":
        assert messages[1]["content"][-1]["id"] == messages[2]["content"][0]["tool_use_id"] == "call_a"
        assert messages[2]["content"][0]["content"] == "text of a"
    else:
        assert messages[1]["tool_calls"][0]["id"] == messages[2]["tool_call_id"] == "call_a"
        assert messages[2]["content"] == "text of a"


class Point(pydantic.BaseModel):
    """A structured answer."""

    x: int
    y: int


@pytest.mark.parametrize("kind", KINDS)
def test_structured_output(kind: str) -> None:
    with stage(lambda request: Say('{"x": 1, "y": 2}'), KINDS[kind]) as (client, server, _):
        answer = client.responses.parse(model="x", input="Where?", text_format=Point)
    assert answer.output_parsed == Point(x=1, y=2)
    sent = server.last.json
    form = (
        sent["output_config"]["format"]["schema"]
        if kind == "messages"
        else sent["response_format"]["json_schema"]["schema"]
    )
    assert set(form["properties"]) == {"x", "y"}


# -------------------------------- a backend of the same API


def openai_script(*output: dict[str, Any]) -> Any:
    """A server of OpenAI: a stream where the request wants one."""

    def script(request: Asked) -> Reply:
        assert request.path == "/v1/responses", request.path
        if request.stream:
            return Reply(200, (responsesfake.encode(responsesfake.stream(*output)),), SSE)
        return Reply(200, (responsesfake.whole(*output),), JSON)

    return script


OUTPUT = (
    responsesfake.reasoning("Hm."),
    responsesfake.message("Hello."),
    responsesfake.call("c1", "look", '{"path":"a"}'),
)


def test_bytes_pass_through_to_openai_with_only_the_name_of_the_model_changed() -> None:
    with stage(openai_script(*OUTPUT), "openai") as (_, server, gateway):
        for name in ("apply_patch 1", "mcp_unknown_model 1", "astra_exec 1"):
            body = codexrecordings.body(name) | {"model": "default"}
            answer = gateway.post(body, "/v1/responses", CODEX)
            assert server.last.json == body | {"model": "local"}
            expected = (
                responsesfake.encode(responsesfake.stream(*OUTPUT)).decode().replace('"gpt-5.6-terra"', '"default"')
            )
            assert answer.body.decode() == expected
        body = {"model": "default", "input": "hi", "previous_response_id": None}
        whole = gateway.post(body, "/v1/responses")
        assert server.last.json == body | {"model": "local"}
        assert whole.json == json.loads(responsesfake.whole(*OUTPUT)) | {"model": "default"}
        gateway.wait(lambda: len(gateway.requests("/v1/responses")) == 4, what="it logs the requests")
        line = gateway.requests("/v1/responses")[-1]
        assert (line["input_tokens"], line["cached_tokens"], line["output_tokens"]) == (100, 1000, 30)


def test_reasoning_of_another_backend_is_not_sent_to_openai() -> None:
    with Scripted(lambda request: Say("Hi.", thinking="Hm.")) as local, Scripted(openai_script(*OUTPUT)) as cloud:
        settings = config(local)
        settings["backends"].append(
            {"name": "cloud", "type": "openai", "url": cloud.url, "models": ["gpt-5.6"], "local": False}
        )
        with (
            Gateway(settings) as gateway,
            openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="x", max_retries=0) as client,
        ):
            first = client.responses.create(model="one/local", input="hi", store=False)
            assert first.output[0].type == "reasoning"
            items: list[Any] = [{"role": "user", "content": "hi"}, *first.output, {"role": "user", "content": "again"}]
            client.responses.create(model="cloud/gpt-5.6", input=items, store=False)
            sent = cloud.last.json["input"]
            assert [item.get("type", "message") for item in sent] == ["message", "message", "message"]
            second = client.responses.create(model="cloud/gpt-5.6", input="hi", store=False)
            items[1:-1] = second.output[:2]
            client.responses.create(model="one/local", input=items, store=False)
            assert "gAAAA" not in local.last.body.decode()


def test_a_slow_backend_of_the_same_api_gets_an_answer_with_one_id() -> None:
    gate = Gate()
    body = responsesfake.encode(responsesfake.stream(*OUTPUT))

    def script(request: Asked) -> Reply:
        return Reply(200, (b"", gate, body), SSE)

    events = []
    with (
        stage(script, "openai", timeouts=IMPATIENT) as (client, _, _),
        client.responses.create(model="x", input="hi", stream=True) as stream,
    ):
        for event in stream:
            events.append(event)
            if str(event.type) == "keepalive":
                gate.set()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    responses = [event.response for event in events if hasattr(event, "response")]
    assert len({response.id for response in responses}) == 1
    assert responses[-1].output_text == "Hello."


def test_a_server_that_knows_functions_only_gets_flat_names() -> None:
    call = responsesfake.call("c1", "mcp__calc__add", '{"a": 1}')
    with Scripted(openai_script(call)) as server:
        settings = config(server)
        settings["backends"][0]["protocol"] = "responses"
        with Gateway(settings) as gateway:
            answer = gateway.post(codexrecordings.body("mcp_unknown_model 1"), "/v1/responses", CODEX)
            plain = gateway.post({"model": "x", "input": "hi", "tools": [LOOK], "zzz": 1}, "/v1/responses")
    assert {tool["type"] for tool in server.requests[0].json["tools"]} == {"function"}
    item = answer.events[-1]["response"]["output"][0]
    assert (item["namespace"], item["name"]) == ("mcp__calc", "add")
    assert plain.status == 200 and server.requests[1].json["zzz"] == 1, "a request that it knows passes through"


# -------------------------------- stored responses


def test_a_conversation_continues_by_the_id_of_its_last_response() -> None:
    def script(request: Asked) -> Say:
        return Say(f"answer {sum(message['role'] == 'user' for message in request.json['messages'])}", thinking="Hm.")

    with stage(script) as (client, server, _):
        first = client.responses.create(model="x", input="one", instructions="Be brief.")
        with client.responses.stream(model="x", input="two", previous_response_id=first.id) as stream:
            second = stream.get_final_response()
        third = client.responses.create(
            model="x", input=[{"role": "user", "content": "three"}], previous_response_id=second.id, store=False
        )
        assert third.output_text == "answer 3" and third.previous_response_id == second.id
        texts = [message["content"] for message in server.last.json["messages"]]
        assert texts == ["one", "answer 1", "two", "answer 2", "three"], "instructions are not carried over"
        kept = client.responses.retrieve(second.id)
        assert kept.output_text == "answer 2" and kept.usage == second.usage
        items = client.responses.input_items.list(second.id, order="asc").data
        assert [item.type for item in items] == ["message", "reasoning", "message", "message"]
        assert [item.id for item in client.responses.input_items.list(second.id, limit=2)] == [
            item.id for item in reversed(items)
        ]
        with pytest.raises(openai.BadRequestError, match="background"):
            client.responses.cancel(second.id)
        client.responses.delete(second.id)
        for id in (second.id, third.id):
            with pytest.raises(openai.NotFoundError):
                client.responses.retrieve(id)
        with pytest.raises(openai.BadRequestError, match="Send the whole conversation") as refused:
            client.responses.create(model="x", input="four", previous_response_id=second.id)
        assert refused.value.code == "previous_response_not_found"


def test_a_reference_to_an_item_is_replaced_by_the_item() -> None:
    with stage(lambda request: Say("Hello.", thinking="Hm.")) as (client, server, _):
        first = client.responses.create(model="x", input="one")
        references = [{"type": "item_reference", "id": item.id} for item in first.output]
        other = {"type": "item_reference", "id": "msg_of_another_server"}
        items = [{"role": "user", "content": "one"}, *references, other, {"role": "user", "content": "two"}]
        client.responses.create(model="x", input=items)
        assert [message["role"] for message in server.last.json["messages"]] == ["user", "assistant", "user"]
        assert server.last.json["messages"][1]["content"] == "Hello."


def test_stored_responses_survive_a_kill_and_belong_to_their_key() -> None:
    keys = {"mode": "blocking", "api_keys": [{"name": name, "key": f"bw-{name}-{'0' * 20}"} for name in ("ann", "bob")]}
    with Scripted(lambda request: Say("Hello.")) as server, Gateway(config(server, api_keys=keys)) as gateway:

        def client(name: str) -> Any:
            return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=f"bw-{name}-{'0' * 20}", max_retries=0)

        first = client("ann").responses.create(model="x", input="one")
        gateway.kill()
        gateway.lines.clear()
        gateway.start()
        assert client("ann").responses.retrieve(first.id).output_text == "Hello."
        assert (
            client("ann").responses.create(model="x", input="two", previous_response_id=first.id).output_text
            == "Hello."
        )
        for attempt in (
            lambda: client("bob").responses.retrieve(first.id),
            lambda: client("bob").responses.delete(first.id),
            lambda: client("bob").responses.input_items.list(first.id),
        ):
            with pytest.raises(openai.NotFoundError):
                attempt()
        with pytest.raises(openai.BadRequestError):
            client("bob").responses.create(model="x", input="two", previous_response_id=first.id)


def test_nothing_is_stored_where_the_config_disables_it() -> None:
    with stage(lambda request: Say("Hello."), responses={"store": False}) as (client, _, gateway):
        first = client.responses.create(model="x", input="one")
        assert first.model_extra is not None and first.model_extra.get("store") is False
        with pytest.raises(openai.BadRequestError, match=r"responses\.store"):
            client.responses.create(model="x", input="two", previous_response_id=first.id)
        assert not list(gateway.home.rglob("responses.db"))


def test_a_response_of_openai_is_stored_under_its_own_id() -> None:
    with stage(openai_script(*OUTPUT), "openai") as (client, server, _):
        for stream in (False, True):
            made = client.responses.create(model="x", input="one", stream=stream)
            if not isinstance(made, Response):
                made = list(made)[-1].response
            assert made.id == "resp_1"
        output = {"type": "function_call_output", "call_id": "c1", "output": "x"}
        client.responses.create(model="x", input=[output], previous_response_id="resp_1")
        sent = server.last.json
    assert "previous_response_id" not in sent
    assert [item["type"] for item in sent["input"]] == [
        "message",
        "reasoning",
        "message",
        "function_call",
        "function_call_output",
    ]


# -------------------------------- compaction, counts


def test_a_compacted_conversation_goes_on() -> None:
    with stage(lambda request: Say("The user has said hello.")) as (client, server, _):
        made = client.responses.compact(model="x", input=[{"role": "user", "content": "hello"}])
        assert made.object == "response.compaction" and [item.type for item in made.output] == ["compaction"]
        client.responses.create(model="x", input=[*made.output, {"role": "user", "content": "and?"}])
        assert "The user has said hello." in json.dumps(server.last.json["messages"])


def test_input_tokens_are_counted() -> None:
    with (
        Scripted(count=42) as server,
        Gateway(config(server, type="anthropic")) as gateway,
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="dummy") as client,
    ):
        assert client.responses.input_tokens.count(model="x", input="hi").input_tokens == 42
        given: Any = {"stream": True, "temperature": 0.5, "max_output_tokens": 9}
        assert client.responses.input_tokens.count(model="x", input="hi", extra_body=given).input_tokens == 42
        assert set(server.others[-1].json) == {"model", "messages"}


# -------------------------------- searches that Byway runs


def searching(request: Asked) -> Say:
    """A model that searches once, and then cites what it has read."""
    last = request.json["messages"][-1]
    if last["role"] == "tool":
        return Say(f"It is out, see {json.loads(last['content'])[0]['url']} for more.")
    return Say(tools=[Tool("web_search", {"query": "rust release"}, id="call_s")])


@pytest.mark.parametrize("stream", [False, True])
def test_web_search_runs_on_the_providers_of_byway(stream: bool) -> None:
    with FakeProviders() as provider:
        web = {"enabled": True, "provider": "brave", "api_key": KEY, "base_url": provider.url, "cache_ttl": 0}
        with stage(searching, web_search=web) as (client, _, _):
            made = client.responses.create(
                model="x",
                input="News?",
                tools=[{"type": "web_search"}],
                stream=stream,
                include=["web_search_call.action.sources"],
            )
            if not isinstance(made, Response):
                events = list(made)
                assert "response.web_search_call.searching" in [event.type for event in events]
                made = events[-1].response
    assert [seen.text for seen in provider.seen] == ["rust release"]
    search, message = made.output
    assert search.type == "web_search_call" and search.action.type == "search" and search.action.sources
    assert message.type == "message" and message.content[0].type == "output_text"
    (citation,) = message.content[0].annotations
    assert (
        citation.type == "url_citation" and made.output_text[citation.start_index : citation.end_index] == citation.url
    )


def test_search_of_a_client_that_always_sends_it_is_left_out_where_it_is_disabled() -> None:
    with stage(lambda request: Say("Hello.")) as (client, server, _):
        client.responses.create(model="x", input="hi", tools=[LOOK, {"type": "web_search"}])
        assert [tool["function"]["name"] for tool in server.last.json["tools"]] == ["look"]
        with pytest.raises(openai.BadRequestError, match=r"web_search\.enabled"):
            client.responses.create(model="x", input="hi", tools=[{"type": "web_search"}])


# -------------------------------- failures


def test_a_failure_before_the_stream_has_a_status_and_the_envelope_of_openai() -> None:
    with stage(lambda request: openai_error(429, "Slow down", "rate_limit_error")) as (client, _, _):
        with pytest.raises(openai.RateLimitError) as limited:
            client.responses.create(model="x", input="hi", stream=True)
        assert limited.value.code == "rate_limit_exceeded" and int(limited.value.response.headers["retry-after"]) > 0
    with stage(lambda request: openai_error(401, "Bad key", "authentication_error")) as (client, _, gateway):
        with pytest.raises(openai.InternalServerError):
            client.responses.create(model="x", input="hi")
        codex = gateway.post({"model": "x", "input": "hi", "stream": True}, "/v1/responses", CODEX)
        # Codex shows the body of a 400 as it is.
        assert codex.status == 400 and codex.headers["content-type"].startswith("text/plain")
        assert codex.body.startswith(b"Backend 'one' rejected the API key")


def test_a_cut_stream_ends_with_a_failure_that_clients_repeat() -> None:
    with stage(lambda request: Say("one two three four", edit=cut(3))) as (_, _, gateway):
        answer = gateway.post({"model": "x", "input": "hi", "stream": True}, "/v1/responses")
    last = answer.events[-1]
    assert last["type"] == "response.failed" and last["response"]["error"]["code"] == "server_error"
    assert [event["sequence_number"] for event in answer.events] == list(range(len(answer.events)))
    assert b"[DONE]" not in answer.body


def test_silence_is_filled_with_events() -> None:
    gate = Gate()
    with (
        stage(
            lambda request: Say("one two three", edit=put(3, gate)),
            timeouts={"commit_after": "0.2s", "ping_after": "0.3s"},
        ) as (client, _, _),
        client.responses.create(model="x", input="hi", stream=True) as stream,
    ):
        for event in stream:
            if str(event.type) == "keepalive":
                gate.set()
    assert event.type == "response.completed"


def test_the_websocket_of_codex_is_refused_with_the_status_that_makes_it_fall_back() -> None:
    with stage([]) as (_, _, gateway):
        socket = {
            "connection": "Upgrade",
            "upgrade": "websocket",
            "sec-websocket-key": "x",
            "sec-websocket-version": "13",
        }
        assert gateway.ask("GET", "/v1/responses", None, socket).status == 426
        assert gateway.get("/v1/responses").status == 405
