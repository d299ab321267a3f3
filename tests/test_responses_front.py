"""Responses requests of clients: translation to Messages requests, and answers back as events of the Responses API."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import codexrecordings
import msgspec
import pytest
from growth import assert_linear
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from properties import examples
from pydantic import TypeAdapter

from byway.backends import anthropic
from byway.backends.openai import completions
from byway.backends.protocol import Target
from byway.backends.responses import responses as responses_backend
from byway.backends.vendors import VENDORS
from byway.fronts import responseerrors, responses
from byway.fronts.freeinput import FreeInput
from byway.fronts.responseevents import NewResponse, ResponseWriter
from byway.fronts.responsetools import Names
from byway.messages import carriers
from byway.messages.events import (
    BlockDelta,
    BlockStart,
    BlockStop,
    InputDelta,
    MessageDelta,
    MessageStart,
    MessageStop,
    MessageUsage,
    Part,
    Ping,
    SignatureDelta,
    Started,
    Stop,
    TextDelta,
    TextStart,
    ThinkingDelta,
    ThinkingStart,
    ToolStart,
    Usage,
)
from byway.messages.sse import Decoder
from byway.messages.stream import Writer, unfold
from byway.problems import Problem
from byway.responseitems import ResponseObject

EVENT: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)
ADD = {"type": "function", "name": "add", "description": "Adds.", "parameters": {"type": "object", "properties": {}}}
CALC = {"type": "namespace", "name": "mcp__calc", "description": "A calculator.", "tools": [ADD]}
PATCH = {"type": "custom", "name": "apply_patch", "description": "Patches.", "format": {"type": "text"}}


def read(**body: Any) -> responses.Read:
    full = {"model": "m", "input": "hi", **body}
    return responses.read(json.dumps(full).encode(), {}, "msg_x")


def translated(**body: Any) -> dict[str, Any]:
    """The Messages request of a Responses request, without the marks for caches."""
    request = read(**body).request
    parsed: dict[str, Any] = json.loads(request.patched("m"))
    return without_marks(parsed)


def without_marks(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_marks(part) for name, part in value.items() if name != "cache_control"}
    return [without_marks(part) for part in value] if isinstance(value, list) else value


def turns(*items: dict[str, Any], **body: Any) -> Any:
    return translated(input=list(items), **body)["messages"]


def message(role: str, text: str) -> dict[str, Any]:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


def call(id: str, name: str = "add", arguments: str = "{}", **fields: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": id, "name": name, "arguments": arguments, **fields}


def output(id: str, output: Any = "3") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": id, "output": output}


def text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def result(id: str, content: Any = "3") -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id, "content": content}


# --------------------------------------------------------------------------------------------------------------------- request


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ({"max_output_tokens": 9}, {"max_tokens": 9}),
        ({"temperature": 1.9, "top_p": 0.5}, {"temperature": 1.0, "top_p": 0.5}),
        ({"instructions": "Be brief."}, {"system": [text("Be brief.")]}),
        (
            {"reasoning": {"effort": "minimal", "summary": "auto"}},
            {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "low"}},
        ),
        ({"reasoning": {"effort": "max"}}, {"thinking": {"type": "adaptive", "display": "omitted"}}),
        ({"reasoning": {"effort": "none"}, "temperature": 1}, {"thinking": {"type": "disabled"}, "temperature": 1.0}),
        (
            {"text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": "array"}}, "verbosity": "low"}},
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "array"}}}},
        ),
        (
            {"tools": [ADD], "tool_choice": "required", "parallel_tool_calls": False},
            {"tool_choice": {"type": "any", "disable_parallel_tool_use": True}},
        ),
        (
            {"tools": [CALC], "tool_choice": {"type": "function", "name": "add"}},
            {"tool_choice": {"type": "tool", "name": "mcp__calc__add"}},
        ),
        (
            {"tools": [PATCH], "tool_choice": {"type": "custom", "name": "apply_patch"}},
            {"tool_choice": {"type": "tool", "name": "apply_patch"}},
        ),
        (
            {
                "tools": [ADD, PATCH],
                "tool_choice": {
                    "type": "allowed_tools",
                    "mode": "required",
                    "tools": [{"type": "function", "name": "add"}],
                },
            },
            {
                "tool_choice": {"type": "any"},
                "tools": [{"name": "add", "description": "Adds.", "input_schema": ADD["parameters"]}],
            },
        ),
        (
            {
                "tools": [
                    {
                        "type": "web_search_preview",
                        "user_location": {"type": "approximate", "city": "Graz"},
                        "filters": {"allowed_domains": ["a.org"]},
                    }
                ]
            },
            {
                "tools": [
                    {
                        "type": "web_search_20250305",
                        "name": "web_search",
                        "allowed_domains": ["a.org"],
                        "user_location": {"type": "approximate", "city": "Graz"},
                    }
                ]
            },
        ),
    ],
)
def test_parameters_are_translated(given: dict[str, Any], fields: dict[str, Any]) -> None:
    made = translated(**given)
    assert {name: made[name] for name in fields} == fields


def test_no_limit_of_the_answer_is_invented_and_sampling_is_left_out_while_reasoning() -> None:
    made = translated(reasoning={"effort": "high"}, temperature=0.3)
    assert not {"max_tokens", "temperature"} & set(made)


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([{"role": "user", "content": "hi"}], [("user", [text("hi")])]),
        (
            [message("developer", "Rules"), message("user", "env"), message("user", "hi")],
            [("user", [text("env"), text("hi")])],
        ),
        (
            [
                message("user", "a"),
                call("c1"),
                call("c2"),
                output("c1"),
                output("c2", [{"type": "input_text", "text": "x"}]),
            ],
            [
                ("user", [text("a")]),
                ("assistant", ["c1", "c2"]),
                ("user", [result("c1"), result("c2", [text("x")])]),
            ],
        ),
        # The result stands before what the user has said in the meantime.
        (
            [message("user", "a"), call("c1"), message("user", "b"), output("c1")],
            [("user", [text("a")]), ("assistant", ["c1"]), ("user", [result("c1"), text("b")])],
        ),
        # A call without an output, and an output without a call.
        (
            [message("user", "a"), call("c1")],
            [
                ("user", [text("a")]),
                ("assistant", ["c1"]),
                ("user", [result("c1", "(The call was interrupted: there is no result.)")]),
            ],
        ),
        ([message("user", "a"), output("c9")], [("user", [text("a"), text("Result of the tool call c9:"), text("3")])]),
        # The client repeats a request after a cut stream: its history ends with what had arrived.
        (
            [message("user", "a"), message("assistant", "b")],
            [("user", [text("a")]), ("assistant", [text("b")]), ("user", [text("Continue.")])],
        ),
        # Items that bring nothing.
        (
            [
                message("user", "a"),
                {"type": "web_search_call", "id": "ws_1"},
                {"type": "zzz"},
                {"type": "item_reference", "id": "x"},
            ],
            [("user", [text("a")])],
        ),
        # The same id twice.
        (
            [message("user", "a"), call("c1"), output("c1", "1"), call("c1"), output("c1", "2")],
            [
                ("user", [text("a")]),
                ("assistant", ["c1"]),
                ("user", [result("c1", "1")]),
                ("assistant", ["c1_2"]),
                ("user", [result("c1_2", "2")]),
            ],
        ),
        (
            [message("user", "a"), message("developer", "now"), message("user", "b")],
            [("user", [text("a"), text("<system-reminder>\nnow\n</system-reminder>"), text("b")])],
        ),
    ],
)
def test_items_become_turns(items: list[dict[str, Any]], expected: list[tuple[str, list[Any]]]) -> None:
    made = [
        (turn["role"], [part["id"] if part["type"] == "tool_use" else part for part in turn["content"]])
        for turn in turns(*items)
    ]
    assert made == expected


def test_an_id_that_servers_refuse_gets_another_one_at_call_and_result() -> None:
    made = turns(message("user", "a"), call("functions.add:0 é"), output("functions.add:0 é"))
    id = made[1]["content"][0]["id"]
    assert id.startswith("call_") and made[2]["content"][0]["tool_use_id"] == id


def test_arguments_keep_the_words_of_the_model_and_broken_ones_do_not_break_the_turn() -> None:
    request = read(
        input=[message("user", "a"), call("c1", arguments='{"b": 1.0,  "a": 2}'), call("c2", arguments="{x")]
    ).request
    assert b'"input":{"b": 1.0,  "a": 2}' in request.body
    assert json.loads(request.body)["messages"][1]["content"][1]["input"] == {
        "__unparsedToolInput": {"raw": "{x", "len": 2}
    }


def test_images_and_files_are_translated() -> None:
    made = turns(
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "look"},
                {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "original"},
                {"type": "input_image", "image_url": "https://a.org/x.png"},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="},
                {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,aGk="},
                {"type": "input_file", "file_url": "https://a.org/x.pdf"},
            ],
        },
        call("c1"),
        output("c1", [{"type": "input_image", "image_url": "data:image/png;base64,aGk="}]),
    )
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    assert made[0]["content"] == [
        text("look"),
        image,
        {"type": "image", "source": {"type": "url", "url": "https://a.org/x.png"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="},
            "title": "a.pdf",
        },
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hi"}, "title": "a.txt"},
        {"type": "document", "source": {"type": "url", "url": "https://a.org/x.pdf"}},
    ]
    assert made[2]["content"] == [result("c1", [image])]


@pytest.mark.parametrize("field", ["background", "conversation", "prompt"])
def test_features_that_need_a_memory_of_the_server_are_refused_by_name(field: str) -> None:
    value = {"background": True, "conversation": "conv_1", "prompt": {"id": "pmpt_1"}}[field]
    with pytest.raises(Problem, match=f"{field}: Byway"):
        read(**{field: value})


def test_server_tools_are_left_out_unless_nothing_else_remains() -> None:
    given = read(tools=[ADD, {"type": "file_search", "vector_store_ids": ["v"]}, {"type": "new_kind"}])
    assert given.left_out == ("file_search", "new_kind")
    assert [tool["name"] for tool in json.loads(given.request.body)["tools"]] == ["add"]
    assert given.request.untranslatable is None
    alone = read(tools=[{"type": "file_search", "vector_store_ids": ["v"]}]).request.untranslatable
    assert alone is not None and "file_search" in alone.message
    forced = read(
        tools=[ADD, {"type": "code_interpreter"}], tool_choice={"type": "code_interpreter"}
    ).request.untranslatable
    assert forced is not None and forced.message.startswith("tool_choice")


def test_a_search_without_access_to_the_web_is_left_out() -> None:
    assert (
        "tools"
        not in translated(tools=[ADD | {"name": "x"}, {"type": "web_search", "external_web_access": False}])[
            "messages"
        ][0]
    )
    assert read(tools=[ADD, {"type": "web_search", "external_web_access": False}]).left_out == (
        "web_search without external_web_access",
    )


# ------------------------------------------------------------------------------------------------------------------- recordings


@pytest.mark.parametrize("name", codexrecordings.names())
@pytest.mark.parametrize("vendor", ["generic", "anthropic", "openai", "vllm"])
def test_requests_of_the_real_codex_are_translated_for_each_kind_of_backend(name: str, vendor: str) -> None:
    given = responses.read(json.dumps(codexrecordings.body(name)).encode(), {}, "msg_x")
    assert given.request.untranslatable is None
    target = Target("box", "local", VENDORS[vendor])
    module: Any = anthropic if vendor == "anthropic" else completions
    body = json.loads(module.request(given.request, target).body)
    assert body["model"] == "local"
    by_responses = Target("box", "local", VENDORS[vendor].by("responses"))
    passed = json.loads(responses_backend.request(given.request, by_responses).body)
    if vendor == "openai":
        assert passed == codexrecordings.body(name) | {"model": "local"}
    else:
        assert all(tool["type"] == "function" for tool in passed.get("tools", ()))


def test_tools_of_an_mcp_server_come_back_with_name_and_namespace() -> None:
    given = responses.read(json.dumps(codexrecordings.body("mcp_unknown_model 1")).encode(), {}, "msg_x")
    made = json.loads(given.request.body)
    assert "mcp__calc__add" in [tool["name"] for tool in made["tools"] if "name" in tool]
    assert made["messages"][1]["content"][0]["name"] == "mcp__calc__add"
    item = items_of(given.names, ("c7", "mcp__calc__add", '{"a": 1}'))[0]
    assert (item["type"], item["name"], item["namespace"]) == ("function_call", "add", "mcp__calc")
    assert item["arguments"] == '{"a": 1}'


def test_a_tool_that_a_search_has_found_is_offered_and_comes_back_with_its_namespace() -> None:
    given = responses.read(json.dumps(codexrecordings.body("mcp_gpt55 2")).encode(), {}, "msg_x")
    made = json.loads(given.request.body)
    assert made["messages"][2]["content"][0]["content"] == "These tools can be called now: mcp__calc__add"
    assert made["tools"][-1]["name"] == "mcp__calc__add"
    item = items_of(given.names, ("c1", "tool_search", '{"query": "x"}'))[0]
    assert item == {
        "id": item["id"],
        "type": "tool_search_call",
        "call_id": "c1",
        "execution": "client",
        "arguments": {"query": "x"},
        "status": "completed",
    }


def test_tools_in_items_of_the_input_are_tools() -> None:
    given = responses.read(json.dumps(codexrecordings.body("astra_exec 1")).encode(), {}, "msg_x")
    made = json.loads(given.request.body)
    assert made["tools"][0]["name"] == "functions__exec" == made["messages"][1]["content"][0]["name"]
    item = items_of(given.names, ("c1", "functions__exec", '{"input": "text(1)"}'))[0]
    assert (item["type"], item["namespace"], item["name"], item["input"]) == (
        "custom_tool_call",
        "functions",
        "exec",
        "text(1)",
    )


def test_names_are_valid_for_every_server_and_unique() -> None:
    names = Names()
    flat = [
        names.flat("function", "mcp__a", "b"),
        names.flat("function", "", "mcp__a__b"),
        names.flat("function", "mcp__long" * 9, "tool"),
        names.flat("function", "mcp__long" * 9, "tool2"),
        names.flat("function", "ü", "a.b/c"),
    ]
    assert len(set(flat)) == len(flat) and flat[0] == "mcp__a__b"
    assert all(len(name) <= 64 and name.replace("_", "").replace("-", "").isalnum() and name.isascii() for name in flat)
    assert [names.origin(name)[1:] for name in flat[:2]] == [("mcp__a", "b"), ("", "mcp__a__b")]
    again = Names()
    assert again.flat("function", "mcp__long" * 9, "tool2") == flat[3]


# ---------------------------------------------------------------------------------------------------------------------- answer


def new(names: Names | None = None, *, compacts: bool = False, sources: bool = False) -> NewResponse:
    return NewResponse(ResponseObject("resp_ab12", "m", 1), names or Names(), compacts=compacts, sources=sources)


def writer(names: Names | None = None) -> ResponseWriter:
    return ResponseWriter(new(names))


def events(data: bytes) -> list[dict[str, Any]]:
    """The events of a stream, each valid for the official SDK and numbered."""
    made = []
    for name, raw in Decoder().feed(data):
        event = json.loads(raw)
        assert name == event["type"]
        if name not in ("keepalive", "response.failed"):
            # Clients know more codes of failures than the SDK has.
            EVENT.validate_python(event)
        made.append(event)
    assert [event["sequence_number"] for event in made] == list(range(len(made)))
    return made


def calls(*made: tuple[str, str, str]) -> list[Part]:
    answer = Writer("msg_ab12", "m", MessageUsage(5))
    for id, name, arguments in made:
        answer.tool(id, name)
        for at in range(0, len(arguments), 3):
            answer.input(arguments[at : at + 3])
    answer.finish(Stop("tool_use"), Usage(5, 0, 3, 7))
    return list(answer.take())


def items_of(names: Names, *made: tuple[str, str, str]) -> list[dict[str, Any]]:
    """The items that a client gets for calls of the model, checked in every form."""
    answer = writer(names)
    stream = events(answer.encode(calls(*made)))
    done = [event["item"] for event in stream if event["type"] == "response.output_item.done"]
    assert done == stream[-1]["response"]["output"] == json.loads(new(names).whole(calls(*made)))["output"]
    return done


def answered(*parts: Part, **options: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The events of an answer, and its response, which is the same without a stream."""
    answer = ResponseWriter(new(**options))
    made = events(answer.encode(parts))
    assert answer.ended
    if answer.response.status != "failed":
        response = json.loads(msgspec.json.encode(answer.response))
        Response.model_validate(response)
        assert json.loads(new(**options).whole(parts)) == response
    return made, made[-1]["response"]


def start(*blocks: Part, stop: str = "end_turn", usage: Usage | None = None) -> list[Part]:
    counts = usage or Usage(5, 2, 3, 7)
    return [
        MessageStart(Started("msg_ab12", "m", MessageUsage())),
        *blocks,
        MessageDelta(Stop(stop), counts),
        MessageStop(),
    ]


def block(index: int, *deltas: Any, first: Any = None) -> list[Part]:
    return [BlockStart(index, first or TextStart()), *(BlockDelta(index, delta) for delta in deltas), BlockStop(index)]


def test_a_text_has_every_event_of_the_format() -> None:
    made, response = answered(*start(*block(0, TextDelta("Hel"), TextDelta("lo"))))
    assert [event["type"].removeprefix("response.") for event in made] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert response["output"][0]["content"][0]["text"] == "Hello" and response["output"][0]["id"] == "msg_ab12_0"
    assert response["id"] == made[0]["response"]["id"] == "resp_ab12"
    assert response["usage"] == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 17,
    }


def test_blocks_of_one_text_are_one_message_and_citations_become_annotations() -> None:
    cited = {"type": "text", "text": "", "citations": []}
    citation = {"type": "web_search_result_location", "url": "https://a.org", "title": "A", "cited_text": "x"}
    parts = unfold(
        json.dumps(
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": "m",
                "stop_reason": "end_turn",
                "usage": {},
                "content": [
                    {"type": "text", "text": "So: "},
                    {**cited, "text": "it is.", "citations": [citation]},
                    {"type": "text", "text": " Yes."},
                ],
            }
        ).encode()
    )
    _, response = answered(*parts)
    part = response["output"][0]["content"][0]
    assert part["text"] == "So: it is. Yes." and len(response["output"]) == 1
    assert part["annotations"] == [
        {"type": "url_citation", "start_index": 4, "end_index": 10, "url": "https://a.org", "title": "A"}
    ]


def test_thinking_comes_back_byte_for_byte_to_the_backend_that_made_it() -> None:
    signature = "EqQBCkgIB/+=="
    thought = block(0, ThinkingDelta("Let me "), ThinkingDelta("see"), SignatureDelta(signature), first=ThinkingStart())
    made, response = answered(*start(*thought, *block(1, TextDelta("ok"))))
    item = response["output"][0]
    assert item["summary"] == [{"type": "summary_text", "text": "Let me see"}]
    assert "response.reasoning_summary_text.delta" in [event["type"] for event in made]
    back = turns(message("user", "a"), item, response["output"][1], message("user", "b"))
    assert back[1]["content"][0] == {"type": "thinking", "thinking": "Let me see", "signature": signature}
    # A text that the client has changed, and thinking of another server.
    item["summary"][0]["text"] = "Let me look"
    foreign = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"}
    assert turns(message("user", "a"), item, foreign, message("assistant", "x"), message("user", "b"))[1][
        "content"
    ] == [text("x")]


def test_thinking_without_text_and_redacted_thinking_come_back() -> None:
    silent = block(0, SignatureDelta("sig"), first=ThinkingStart())
    redacted = block(1, first={"type": "redacted_thinking", "data": "opaque"})
    _, response = answered(*start(*silent, *redacted, *block(2, TextDelta("ok"))))
    assert [item["summary"] for item in response["output"][:2]] == [[], []]
    back = turns(message("user", "a"), *response["output"], message("user", "b"))[1]["content"]
    assert back[:2] == [
        {"type": "thinking", "thinking": "", "signature": "sig"},
        {"type": "redacted_thinking", "data": "opaque"},
    ]


@pytest.mark.parametrize(("choice", "thinks"), [("required", False), ("auto", True)])
def test_a_forced_call_does_not_think_at_a_server_of_anthropic(choice: str, thinks: bool) -> None:
    given = read(tools=[ADD], tool_choice=choice, reasoning={"effort": "high"}).request
    assert ("thinking" in json.loads(given.patched("m"))) is thinks
    assert given.params.thinking is not None, "other servers decide by their own rules"


def test_a_turn_never_ends_with_thinking() -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": carriers.pack_thinking("", "s")}
    assert turns(message("user", "a"), item) == [{"role": "user", "content": [text("a")]}]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('{"input": "*** Begin\\n\\u00e9\\ud83d\\ude00\\"x\\" \\\\ end"}', '*** Begin\né\U0001f600"x" \\ end'),
        ('{"input":""}', ""),
        ('{"patch": "abc"}', "abc"),
        ("*** Begin Patch", "*** Begin Patch"),
        ('{"other": 1, "input": "x"}', "x"),
        ('{"input": "cut', '{"input": "cut'),
    ],
)
def test_the_input_of_a_free_form_tool_is_text(arguments: str, expected: str) -> None:
    given = read(tools=[PATCH])
    item = items_of(given.names, ("c1", "apply_patch", arguments))[0]
    assert (item["type"], item["name"]) == ("custom_tool_call", "apply_patch")
    if "cut" not in arguments:
        assert item["input"] == expected


@settings(max_examples=examples(200), deadline=None)
@given(st.text(), st.lists(st.integers(1, 9)))
def test_pieces_of_a_free_form_input_are_the_whole_input(content: str, cuts: list[int]) -> None:
    content = content.encode("utf-8", "replace").decode()
    for ascii in (True, False):
        arguments = json.dumps({"input": content}, ensure_ascii=ascii)
        free, shown, at = FreeInput(), "", 0
        for length in [*cuts, len(arguments)]:
            shown += free.feed(arguments[at : at + length])
            at += length
        whole, rest = free.finish()
        assert shown + rest == whole == content


@pytest.mark.parametrize(
    ("kind", "given", "fields"),
    [
        (
            "shell",
            '{"commands": ["ls"], "timeout_ms": 5}',
            {"type": "shell_call", "action": {"commands": ["ls"], "timeout_ms": 5, "max_output_length": None}},
        ),
        (
            "local_shell",
            '{"command": ["ls"]}',
            {"type": "local_shell_call", "action": {"type": "exec", "command": ["ls"], "env": {}}},
        ),
        (
            "apply_patch",
            '{"type": "delete_file", "path": "a"}',
            {"type": "apply_patch_call", "operation": {"type": "delete_file", "path": "a"}},
        ),
    ],
)
def test_tools_whose_form_the_client_knows_come_back_in_that_form(
    kind: str, given: str, fields: dict[str, Any]
) -> None:
    names = read(tools=[{"type": kind}]).names
    item = items_of(names, ("c1", kind, given))[0]
    assert {name: item[name] for name in fields} == fields
    made = turns(
        message("user", "a"),
        item,
        {"type": f"{kind}_call_output", "call_id": "c1", "output": "x"},
        tools=[{"type": kind}],
    )
    assert made[1]["content"][0]["name"] == kind and made[2]["content"][0]["content"] == "x"


def test_a_call_without_arguments_has_an_empty_object() -> None:
    assert items_of(Names(), ("c1", "f", ""))[0]["arguments"] == "{}"


def test_a_search_is_an_item_and_addresses_in_the_text_are_citations() -> None:
    use = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    results = {
        "type": "web_search_tool_result",
        "tool_use_id": "s",
        "content": [{"type": "web_search_result", "title": "A", "url": "https://a.org/x"}],
    }
    parts = start(
        *block(0, InputDelta('{"query": "cats"}'), first=use),
        *block(1, first=results),
        *block(2, TextDelta("See https://a.org/x now.")),
    )
    made, response = answered(*parts, sources=True)
    assert [event["type"].removeprefix("response.") for event in made[2:7]] == [
        "output_item.added",
        "web_search_call.in_progress",
        "web_search_call.searching",
        "web_search_call.completed",
        "output_item.done",
    ]
    search, shown = response["output"]
    assert search["action"] == {
        "type": "search",
        "query": "cats",
        "queries": ["cats"],
        "sources": [{"type": "url", "url": "https://a.org/x"}],
    }
    assert shown["content"][0]["annotations"] == [
        {"type": "url_citation", "start_index": 4, "end_index": 19, "url": "https://a.org/x", "title": "A"}
    ]


@pytest.mark.parametrize(
    ("stop", "kind", "field"),
    [
        ("end_turn", "completed", None),
        ("stop_sequence", "completed", None),
        ("max_tokens", "incomplete", ("incomplete_details", {"reason": "max_output_tokens"})),
        ("refusal", "completed", None),
        ("model_context_window_exceeded", "failed", ("error", None)),
    ],
)
def test_stop_reasons(stop: str, kind: str, field: Any) -> None:
    made, response = answered(*start(*block(0, TextDelta("x")), stop=stop))
    assert made[-1]["type"] == f"response.{kind}" and response["status"] == kind
    if kind == "failed":
        assert response["error"]["code"] == "context_length_exceeded"
    elif field:
        assert response[field[0]] == field[1]
        assert response["output"][0]["status"] == "incomplete"


CUT = [
    ("function", '{"a":"b', {"type": "function_call", "arguments": '{"a":"b'}),
    ("function", "", {"type": "function_call", "arguments": ""}),
    ("custom", '{"input":"*** Beg', {"type": "custom_tool_call"}),
]


@pytest.mark.parametrize(("kind", "written", "fields"), CUT)
def test_a_call_that_is_cut_is_incomplete(kind: Any, written: str, fields: dict[str, Any]) -> None:
    """The calls before it are complete."""
    names = Names()
    name = names.flat(kind, "", "g")
    pieces = [InputDelta(written)] if written else []
    first = block(0, InputDelta("{}"), first=ToolStart("c1", "f"))
    last = block(1, *pieces, first=ToolStart("c2", name))
    for stop, status in (("max_tokens", "incomplete"), ("tool_use", "completed")):
        made, response = answered(*start(*first, *last, stop=stop), names=names)
        assert [item["status"] for item in response["output"]] == ["completed", status]
        if stop == "max_tokens":
            assert response["output"][1].items() >= fields.items()
        done = [event["item"] for event in made if event["type"] == "response.output_item.done"]
        assert done == response["output"]


def test_the_input_of_an_unknown_block_does_not_belong_to_the_call_before_it() -> None:
    called = block(0, InputDelta('{"a":1}'), first=ToolStart("c1", "f"))
    other = block(
        1, InputDelta('{"b":2}'), first={"type": "server_tool_use", "id": "s", "name": "web_fetch", "input": {}}
    )
    _, response = answered(*start(*called, *other, stop="tool_use"))
    (item,) = response["output"]
    assert (item["arguments"], item["status"]) == ('{"a":1}', "completed")


def phases(*blocks: Part, stop: str) -> list[str | None]:
    """The phases of the messages of an answer, checked in every form. None is known when a message begins."""
    made, response = answered(*start(*blocks, stop=stop))
    done = [event["item"] for event in made if event["type"] == "response.output_item.done"]
    assert done == response["output"]
    assert not [event for event in made if event["type"] == "response.output_item.added" and "phase" in event["item"]]
    return [item.get("phase") for item in done if item["type"] == "message"]


def test_the_phase_of_a_message_is_commentary_until_the_text_that_ends_the_turn() -> None:
    text, call = block(0, TextDelta("x")), block(1, InputDelta("{}"), first=ToolStart("c1", "f"))
    thought = block(1, ThinkingDelta("x"), SignatureDelta("s"), first=ThinkingStart())
    later = block(2, TextDelta("y"))
    assert phases(*text, stop="end_turn") == phases(*text, stop="refusal") == ["final_answer"]
    assert phases(*text, *call, stop="tool_use") == ["commentary"]
    assert phases(*text, *call, *later, stop="tool_use") == ["commentary", "commentary"]
    assert phases(*text, *thought, *later, stop="end_turn") == ["commentary", "final_answer"]
    assert phases(stop="refusal") == ["final_answer"]
    # The answer was cut: a call could have followed.
    assert phases(*text, stop="max_tokens") == [None]


def test_the_phase_of_a_message_of_the_client_is_accepted() -> None:
    for phase in ("commentary", "final_answer", None):
        made = turns(message("user", "a"), {**message("assistant", "b"), "phase": phase}, message("user", "c"))
        assert made[1] == {"role": "assistant", "content": [text("b")]}


def test_a_refusal_without_words_is_shown_as_text() -> None:
    _, response = answered(*start(stop="refusal"))
    assert response["output"][0]["content"][0]["text"] == "The model has refused to answer this request."


def test_a_failure_ends_the_stream_with_an_event_that_clients_read() -> None:
    answer = writer()
    begun = answer.encode([*start(*block(0, TextDelta("x")))[:3], Ping()])
    made = events(begun + answer.fail("Busy. Please try again in 2s.", "rate_limit_exceeded"))
    assert made[-2]["type"] == "keepalive"
    assert made[-1]["type"] == "response.failed"
    assert made[-1]["response"]["error"] == {"code": "rate_limit_exceeded", "message": "Busy. Please try again in 2s."}


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (Problem("rate_limit", "Busy.", retry_after=1.2), ("Busy. Please try again in 1.2s.", "rate_limit_exceeded")),
        (
            Problem("prompt_too_long", "prompt is too long: 5 tokens > 4 maximum"),
            ("prompt is too long: 5 tokens > 4 maximum", "context_length_exceeded"),
        ),
        (Problem("budget", "Spent."), ("Spent.", "insufficient_quota")),
        (Problem("overloaded", "Busy."), ("Busy.", "server_error")),
        (Problem("refused", "Wrong key."), ("Wrong key.", "invalid_prompt")),
        (Problem("policy_blocked", "No."), ("No.", "invalid_prompt")),
    ],
)
def test_a_failure_in_a_stream_has_the_code_by_which_codex_retries_or_ends(
    problem: Problem, expected: tuple[str, str]
) -> None:
    assert responseerrors.failure(problem, problem.message) == expected


@pytest.mark.parametrize(
    ("kind", "codex", "others"),
    [
        ("authentication", 400, 401),
        ("too_large", 400, 413),
        ("refused", 400, 502),
        ("model_not_found", 404, 404),
        ("overloaded", 529, 529),
        ("rate_limit", 429, 429),
    ],
)
def test_codex_gets_final_failures_with_a_status_that_it_does_not_repeat(kind: Any, codex: int, others: int) -> None:
    for is_codex, status in ((True, codex), (False, others)):
        problem = Problem(kind, "x")
        responseerrors.show(problem, codex=is_codex)
        assert problem.status == status
        assert problem.retry_after is not None or status != 429


# ------------------------------------------------------------------------------------------------------------------ compaction


def test_a_compaction_trigger_requests_a_summary_which_comes_back_as_text() -> None:
    given = responses.read(json.dumps(codexrecordings.body("compact_trigger_ok 2")).encode(), {}, "msg_x")
    assert given.body.compacts
    made = json.loads(given.request.body)
    assert made["messages"][-1]["content"][-1]["text"].startswith("Summarize the conversation so far.")
    assert made["tool_choice"] == {"type": "none"}
    stream, response = answered(*start(*block(0, TextDelta("The user "), TextDelta("said hello."))), compacts=True)
    assert [item["type"] for item in response["output"]] == ["compaction"]
    assert [event["type"] for event in stream if "item" in event["type"]] == [
        "response.output_item.added",
        "response.output_item.done",
    ]
    back = turns(message("user", "a"), response["output"][0], message("user", "b"))
    assert "The user said hello." in back[0]["content"][1]["text"]
    unreadable = turns(message("user", "a"), {"type": "compaction", "encrypted_content": "gAAAA"})
    assert "compacted by another server" in unreadable[0]["content"][1]["text"]


# ----------------------------------------------------------------------------------------------------------------------- growth


def test_reading_grows_with_the_length_of_the_request() -> None:
    def conversation(size: int) -> bytes:
        items: list[dict[str, Any]] = []
        for at in range(size):
            items += [
                message("user", "a"),
                call(f"c{at}", arguments='{"x": 1}'),
                message("user", "b"),
                output(f"c{at}"),
            ]
        return json.dumps(
            {"model": "m", "input": items, "tools": [{**CALC, "name": f"n{at}"} for at in range(size)]}
        ).encode()

    assert_linear(conversation, lambda data: responses.read(data, {}, "msg_x"), 50, bound=2000)


def test_writing_grows_with_the_length_of_the_answer() -> None:
    def answer(size: int) -> Iterable[Part]:
        answer = Writer("msg_ab12", "m", MessageUsage(5))
        for at in range(size):
            answer.thinking("think")
            answer.text("text ")
            answer.tool(f"c{at}", "apply_patch")
            for _ in range(9):
                answer.input('{"input": "ab\\u00e9')
        answer.finish(Stop("tool_use"), Usage())
        return answer.take()

    names = read(tools=[PATCH]).names
    assert_linear(answer, lambda parts: writer(names).encode(parts), 50)


def test_a_long_free_form_input_in_small_pieces_takes_linear_time() -> None:
    def feed(pieces: list[str]) -> None:
        free = FreeInput()
        for piece in pieces:
            free.feed(piece)
        free.finish()

    assert_linear(lambda size: ['{"input": "', *(["\\", "n", "x"] * size), '"}'], feed, 500)


@pytest.mark.parametrize("body", [b'{"m\xc0del":"x","input":"hi"}', b'{"model":"x","input":"hi","\xc0":1}'])
def test_a_name_that_is_no_text_is_rejected_or_ignored(body: bytes) -> None:
    try:
        given = responses.read(body, {}, "msg_x")
        for vendor in ("openai", "vllm"):
            responses_backend.request(given.request, Target("box", "local", VENDORS[vendor].by("responses")))
    except Problem as problem:
        assert problem.kind == "invalid_request"
