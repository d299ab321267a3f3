"""Stop sequences that a backend refuses: the answer ends at the first of them, whatever its pieces."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import pytest
from growth import assert_linear
from hypothesis import given
from hypothesis import strategies as st
from test_repairs import Strict, request, runtime, send
from test_targets import Answered

from byway.backends.openai.stops import StopMatcher
from byway.backends.repairs import describe, find, known, refusal
from byway.call import Call
from byway.messages.stream import fold
from byway.pipeline import exchange
from byway.pipeline.reply import HeldReply, Record
from byway.problems import Problem

#: How servers refuse stop sequences, and how many of five they get then.
REFUSALS: list[tuple[Any, int]] = [
    ({"error": {"message": "Unsupported parameter: 'stop' is not supported with this model.", "param": "stop"}}, 0),
    ({"error": {"message": "Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array with "
                "length 5 instead.", "param": "stop", "code": "array_above_max_length"}}, 4),
    ({"code": "Client specified an invalid argument", "error": "Argument not supported on this model: stop"}, 0),
    ([{"error": {"code": 400, "message": 'Invalid JSON payload received. Unknown name "stop": Cannot find field.'}}], 0),
    ({"message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "stop"], "msg": "Extra inputs are not permitted"}]}}, 0),
    ({"detail": [{"loc": ["body", "stop"], "msg": "List should have at most 1 items after validation, not 5"}]}, 1),
    ({"error": {"message": "Invalid request: stop: at most 5 sequences of at most 32 bytes"}}, 0),
    ({"error": {"message": "Provider returned error", "metadata": {"raw": '{"error":{"message":"stop is not supported"}}'}}}, 0),
]  # fmt: skip
SEQUENCES = ["</block>", "</blob>", "stop here", "\n\nHuman:", "END"]


@pytest.mark.parametrize(("body", "limit"), REFUSALS)
def test_a_refusal_of_stop_sequences_makes_byway_end_the_answer(body: Any, limit: int) -> None:
    sent = json.dumps({"stop": SEQUENCES, "messages": []}).encode()
    result = find(refusal(json.dumps(body).encode()), sent)
    assert result is not None and result.repair == f"emulate stop {limit}"
    assert known(result.repair) and "stop sequences" in describe(result.repair)


class Streaming(Strict):
    """Accepts at most `limit` stop sequences, and answers in pieces and then `ending`."""

    def __init__(self, pieces: list[str], limit: int, *ending: bytes) -> None:
        super().__init__(lambda body: REFUSALS[0 if not limit else 1][0] if len(body.get("stop", ())) > limit else None)
        self._pieces = pieces
        self._ending = ending
        self.unread = 0

    async def open(self, call: Call) -> Answered:
        answer = await super().open(call)
        if answer.status == 200:
            texts = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in self._pieces]
            body = [f"data: {json.dumps(text)}\n\n".encode() for text in texts]
            body += self._ending
            answer._body = body[::-1]
            self.unread = len(body)
            read = answer.read

            async def counted() -> bytes:
                self.unread -= 1
                return await read()

            answer.read = counted  # type: ignore[method-assign]
        return answer


def test_a_streamed_answer_ends_at_a_sequence_that_straddles_its_pieces() -> None:
    at, server = runtime("generic"), Streaming(["yes <", "/blo", "ck", "> mo", "re", "..."], 0)
    answer, record = send(at, server, request(stream=True, stop_sequences=SEQUENCES))
    assert answer["content"] == [{"type": "text", "text": "yes ", "citations": None}]
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("stop_sequence", "</block>")
    assert record.stop_reason == "stop_sequence" and server.unread == 2, "nothing is read after the sequence"
    assert "stop" in server.bodies[0] and "stop" not in server.bodies[1]
    send(at, server, request(stream=True, stop_sequences=SEQUENCES))
    assert len(server.bodies) == 3, "the repair is remembered"


def test_a_backend_gets_as_many_sequences_as_it_accepts() -> None:
    at, server = runtime("generic"), Streaming(["a b EN", "D c"], 4)
    answer, _ = send(at, server, request(stream=True, stop_sequences=SEQUENCES))
    assert server.bodies[1]["stop"] == SEQUENCES[:4]
    assert (answer["content"][0]["text"], answer["stop_sequence"]) == ("a b ", "END")


def test_a_whole_answer_is_cut_and_keeps_its_usage() -> None:
    class Whole(Strict):
        async def open(self, call: Call) -> Answered:
            answer = await super().open(call)
            body = {
                "choices": [{"message": {"content": "Hello END world"}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 7, "completion_tokens": 3},
            }
            return Answered(200, json.dumps(body).encode()) if answer.status == 200 else answer

    server = Whole(lambda body: REFUSALS[0][0] if "stop" in body else None)
    answer, _ = send(runtime("generic"), server, request(stop_sequences=["END"]))
    assert answer["content"] == [{"type": "text", "text": "Hello ", "citations": None}]
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("stop_sequence", "END")
    assert (answer["usage"]["input_tokens"], answer["usage"]["output_tokens"]) == (7, 3)


def test_text_that_only_begins_a_sequence_is_passed_on_at_the_end() -> None:
    server = Streaming(["yes </blo"], 0, b"data: [DONE]\n\n")
    answer, _ = send(runtime("generic"), server, request(stream=True, stop_sequences=SEQUENCES))
    assert (answer["content"][0]["text"], answer["stop_reason"]) == ("yes </blo", "end_turn")


def test_sequences_that_are_too_long_to_look_for_are_refused() -> None:
    server = Strict(lambda body: REFUSALS[0][0] if "stop" in body else None)
    with pytest.raises(Problem, match="stop_sequences: backend 'box' accepts 0 of the 1"):
        send(runtime("generic"), server, request(stop_sequences=["x" * 9000]))


def test_a_chat_completion_that_passes_through_keeps_the_refusal() -> None:
    from byway.fronts import chat

    server = Strict(lambda body: REFUSALS[0][0] if "stop" in body else None)
    at = runtime("generic", "local")
    at.backends["box"].upstream = cast(Any, server)
    body = {"model": "sonnet", "stop": ["END"], "messages": [{"role": "user", "content": "Hi"}]}
    value, _ = chat.read(json.dumps(body).encode(), {}, "msg_1")
    with pytest.raises(Problem, match="'stop' is not supported"):
        asyncio.run(exchange.answer(at, value, HeldReply(), Record()))


# --- the search -------------------------------------------------------------------------------------------------------


def expected(text: str, sequences: list[str]) -> tuple[str, str | None]:
    """The text before the sequence that is complete first, and that sequence: the longest of several."""
    for end in range(1, len(text) + 1):
        matches = [sequence for sequence in sequences if text[:end].endswith(sequence)]
        if matches:
            longest = max(matches, key=len)
            return text[: end - len(longest)], longest
    return text, None


ALPHABET = st.text("ab<", max_size=12)


@given(st.lists(ALPHABET, max_size=8), st.lists(st.text("ab<", min_size=1, max_size=5), min_size=1, max_size=4))
def test_any_pieces_give_what_a_search_in_the_whole_text_gives(pieces: list[str], sequences: list[str]) -> None:
    matcher, passed, text = StopMatcher(sequences), "", ""
    for piece in pieces:
        passed += matcher.feed(piece)
        text += piece
        if matcher.match:
            break
        held = text[len(passed) :]
        assert any(sequence.startswith(held) for sequence in sequences), "only the beginning of a sequence is held"
    assert (passed + matcher.end(), matcher.match) == expected("".join(pieces), sequences)


def test_the_search_is_linear_in_text_and_sequences() -> None:
    def in_pieces(size: int) -> list[str]:
        return ["aaaa"] * size

    def run(pieces: list[str]) -> None:
        matcher = StopMatcher(["a" * 500 + "b", "a" * 400 + "c"])
        for piece in pieces:
            matcher.feed(piece)

    assert_linear(in_pieces, run)
    assert_linear(lambda size: ["a" * size + "b", "b" * size + "a"], StopMatcher)


def test_text_and_tool_calls_do_not_share_a_sequence() -> None:
    """A tool call ends the text before it, so the beginning of a sequence there is text."""
    from byway.backends.openai.stops import StoppingWriter
    from byway.messages.events import MessageUsage, Stop, Usage

    writer = StoppingWriter("msg_1", "m", MessageUsage(1), b"", ["END"])
    writer.text("go EN")
    writer.tool("toolu_1", "Read")
    writer.input("{}")
    writer.end()
    writer.text("D")
    writer.finish(Stop("tool_use"), Usage(1, output_tokens=1))
    content = json.loads(fold(writer.take()))["content"]
    assert [block.get("text") or block.get("name") for block in content] == ["go EN", "Read", "D"]
