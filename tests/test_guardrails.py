"""Guardrails: patterns, own rules, and requests and answers in the running application."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import msgspec
import pytest
from growth import assert_linear
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples
from test_targets import Answered

from byway import config
from byway.call import Call
from byway.config.guardrailsettings import GuardrailRuleSettings
from byway.config.reading import ConfigError
from byway.gateway import Gateway
from byway.guardrails import rules
from byway.guardrails.escapes import JsonEscapes
from byway.guardrails.linear import UnsafeExpression, compile_linear, count_steps
from byway.guardrails.output import OutputScanner
from byway.guardrails.patterns import LONGEST_MATCH, PATTERN_NAMES, PATTERNS, PatternName
from byway.guardrails.rules import Guardrails
from byway.messages import carriers
from byway.messages.events import BlockDelta, BlockStop, InputDelta, Part, Passthrough, TextDelta
from byway.pipeline import guarding
from byway.pipeline.guarding import BlockedAnswers, GuardedReply, texts
from byway.pipeline.reply import HeldReply, Record
from byway.problems import Problem
from byway.runtime import Runtime
from byway.server.app import App

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
FORMS: dict[PatternName, list[str]] = {
    "api_key": [
        "sk-" + "ant-api03-" + LETTERS,
        "sk-" + "proj-" + LETTERS[:40],
        "AKIA" + "IOSFODNN7EXAMPLE",
        "ghp_" + LETTERS[:36],
        "github_pat_" + LETTERS[:40],
        "AIza" + LETTERS[:35],
        "xoxb-" + "1234567890-abcdef",
        "sk_" + "live_" + LETTERS[:24],
        "hf_" + LETTERS[:34],
        "glpat-" + LETTERS[:20],
    ],
    "credit_card": [
        "4111 1111 1111 1111",
        "5500-0000-0000-0004",
        "378282246310005",
        "3782 822463 10005",
        "4111111111111111",
    ],
    "email": ["ada@example.org", "a.b+c@mail.example.co.uk"],
    "iban": ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "NO9386011117947"],
    "jwt": ["eyJ" + "hbGciOiJIUzI1NiJ9.eyJ" + "zdWIiOiIxMjM0NTY3ODkwIn0.abc"],
    "phone": ["+49 30 901820", "+1 (415) 555-2671", "+442071838750"],
    "private_key": ["-----BEGIN RSA " + "PRIVATE KEY-----", "-----BEGIN " + "PRIVATE KEY-----"],
    "us_ssn": ["078-05-1120"],
}
OTHER_FORMS: dict[PatternName, list[str]] = {
    "api_key": [
        "sk-learn",
        "task-force-one-two-three-four-five-six",
        "AKIAshort",
        "the ghp_ prefix",
        "risk-" + LETTERS,
    ],
    "credit_card": [
        "4111 1111 1111 1112",
        "1234567890123456",
        "0000000000000000",
        "12345",
        "1.4111111111111111",
        "2026-11-30",
    ],
    "email": ["@dataclass", "user@localhost", "git@", "a@b", "name@1.2.3"],
    "iban": ["DE89 3704 0044 0532 0130 01", "AB12", "HELLO WORLD 1234"],
    "jwt": ["eyJhbGciOiJIUzI1NiJ9", "eyJ.eyJ."],
    "phone": ["+1", "1 + 12345", "+12 34", "a+49 30 901820", "C++ 2011 3000 2000"],
    "private_key": ["-----BEGIN CERTIFICATE-----", "-----BEGIN PUBLIC KEY-----"],
    "us_ssn": ["000-12-3456", "666-12-3456", "123-45-67890", "12-34-5678"],
}


def rule(**fields: Any) -> GuardrailRuleSettings:
    return GuardrailRuleSettings(**{"name": "rule", "action": "block", **fields})


def matches(text: str, *rules: GuardrailRuleSettings, complete: bool = True) -> list[str]:
    return [finding.rule for finding in Guardrails(rules).find(text, "input", complete=complete)]


@pytest.mark.parametrize("name", PATTERN_NAMES)
def test_a_pattern_finds_its_forms_and_nothing_like_them(name: PatternName) -> None:
    guardrails = Guardrails([rule(patterns=(name,))])
    for text in FORMS[name]:
        for around in (text, f"It is {text}, ok?", f'{{"x":"{text}"}}', f"\n{text}\n"):
            assert guardrails.find(around, "input"), around
    for text in OTHER_FORMS[name]:
        assert not guardrails.find(f"It is {text} ", "input"), text


#: For each pattern the texts on which it takes the most time.
SLOWEST: dict[PatternName, list[str]] = {
    "api_key": ["sk-", "a"],
    "credit_card": ["1", "4111 "],
    "email": ["@a.", "a@a"],
    "iban": ["AB12 ", "A1"],
    "jwt": ["eyJa.", "eyJ"],
    "phone": ["+1", "+1 1 "],
    "private_key": ["-----BEGIN ", "-----BEGIN A A A "],
    "us_ssn": ["078-05-", "1"],
}


@pytest.mark.parametrize("name", PATTERN_NAMES)
def test_a_pattern_takes_time_in_proportion_to_the_text(name: PatternName) -> None:
    guardrails = Guardrails([rule(patterns=(name,))])
    for piece in SLOWEST[name]:
        assert_linear(
            lambda size, piece=piece: piece * size,  # type: ignore[misc]
            lambda text: guardrails.find(text, "input"),
            bound=1 << 18,
        )


@given(st.sampled_from(PATTERN_NAMES), st.text(st.sampled_from("+-@.:() 1234aAkeyJsKDE\n"), max_size=300))
@settings(max_examples=examples(150), deadline=None)
def test_no_match_is_longer_than_the_text_that_is_held_back(name: PatternName, text: str) -> None:
    for match in PATTERNS[name].expression.finditer(text * 3):
        assert 0 < len(match[0]) <= LONGEST_MATCH


def test_words_match_in_any_case_and_inside_of_words() -> None:
    words = rule(words=("Project Falcon", "größe"))
    assert matches("about PROJECT FALCON.", words) and matches("DIE GRÖSSE? die Größe", words)
    assert not matches("project  falcon", words)


def test_a_rule_that_blocks_comes_before_one_that_flags() -> None:
    rules = rule(name="f", action="flag", words=("abc",)), rule(name="b", words=("abc",))
    assert matches("abc", *rules) == ["b", "f"]


def test_a_rule_applies_to_its_stages_only() -> None:
    guardrails = Guardrails([rule(words=("abc",), stages=("output",))])
    assert not guardrails.find("abc", "input") and guardrails.find("abc", "output")
    assert not guardrails.checks("input") and guardrails.checks("output")


# --- own expressions ---------------------------------------------------------------------------------------------------

ACCEPTED = [
    r"ACME-\d{6}",
    r"(?i)secret-[a-z]{1,20}",
    r"(red|blue|green) team",
    r"a?b?c",
    r"\bX-\w{3,9}\b",
    "x{1,256}",
    r"é{2}",
    r"[[]a{1,3}]",
]
REFUSED = [
    (r"\d+", "upper limit"),
    (r"a*b", "upper limit"),
    (r"(a{1,9}){1,9}", "one character"),
    (r"(a|b){2,9}", "one character"),
    (r"\d{1,50}\d{1,50}", "ways"),
    ("a{1,16}a{1,16}" + "a" * 100, "2048 steps"),
    ("a{1,16}a{1,16}a{128}b", "2048 steps"),
    (r"(?=a)b", "not supported"),
    (r"(a)\1", "not supported"),
    (r"a{0,5}", "empty text"),
    (r"a{257}", "256"),
    (r"[", "no regular expression"),
    ("x" * 1001, "1000 characters"),
]


@pytest.mark.parametrize("expression", ACCEPTED)
def test_an_expression_with_bounded_repetitions_is_accepted_and_linear(expression: str) -> None:
    search = compile_linear(expression)
    for piece in ("a", "secret-"):
        assert_linear(lambda size, piece=piece: piece * size, lambda text: list(search.finditer(text)), bound=1 << 16)  # type: ignore[misc]


@pytest.mark.parametrize(("expression", "reason"), REFUSED)
def test_an_expression_that_could_take_longer_is_refused_with_the_reason(expression: str, reason: str) -> None:
    with pytest.raises(UnsafeExpression, match=reason):
        compile_linear(expression)


@given(st.text(st.sampled_from("ab01()[]{}|?*+.\\^$-,dw:=!<>"), max_size=30))
@settings(max_examples=examples(300), deadline=None)
def test_any_expression_is_accepted_or_refused_in_words(expression: str) -> None:
    try:
        search = compile_linear(expression)
    except UnsafeExpression as error:
        assert str(error)
    else:
        for match in search.finditer("ab01" * 30):
            assert 0 < len(match[0]) <= LONGEST_MATCH


def test_the_config_names_the_rule_that_is_wrong() -> None:
    rules = [{"patterns": ["email"]}, {"name": "a"}, {"name": "b", "regexes": [r"\d+"], "words": ["x"]}]
    with pytest.raises(ConfigError) as error:
        config.load(json.dumps({"guardrails": {"enabled": True, "rules": rules}}), {})
    paths = {problem.path for problem in error.value.problems}
    assert paths == {
        "guardrails.rules.0.name",
        "guardrails.rules.1",
        "guardrails.rules.2.regexes.0",
        "guardrails.rules.2.words.0",
    }
    same = [{"name": "a", "words": ["abc"]}] * 2
    with pytest.raises(ConfigError, match="two rules"):
        config.load(json.dumps({"guardrails": {"enabled": True, "rules": same}}), {})
    assert config.load("guardrails: {enabled: true}", {}).warnings
    with pytest.raises(ConfigError, match="email"):
        config.load(json.dumps({"guardrails": {"rules": [{"name": "a", "patterns": ["emails"]}]}}), {})


# --- answers -----------------------------------------------------------------------------------------------------------


def scanned(pieces: Iterable[str], *rules: GuardrailRuleSettings) -> list[str]:
    scanner = OutputScanner(Guardrails(rules))
    results = [finding.rule for piece in pieces for finding in scanner.feed(piece)]
    return results + [finding.rule for finding in scanner.feed("", complete=True)]


@given(
    st.sampled_from([text for values in FORMS.values() for text in values]),
    st.text(max_size=400),
    st.text(max_size=300),
    st.lists(st.integers(1, 60), min_size=1, max_size=8),
)
@settings(max_examples=examples(60), deadline=None)
def test_nothing_of_a_match_is_sent_however_the_answer_is_cut(
    secret: str, before: str, after: str, sizes: list[int]
) -> None:
    text = f"{before} {secret} {after}"
    pieces: list[str] = []
    at = 0
    while at < len(text):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(text[at : at + size])
        at += size
    reply = HeldReply()
    messages: list[str] = []
    guarded = GuardedReply(Guardrails([rule(patterns=PATTERN_NAMES)]), reply, Record(), messages.append)

    async def main() -> None:
        for piece in pieces:
            await guarded.send([BlockDelta(0, TextDelta(piece))])
        await guarded.send([BlockStop(0)])

    with pytest.raises(Problem) as problem:
        asyncio.run(main())
    assert problem.value.kind == "policy_blocked" and messages == [problem.value.message]
    assert secret not in problem.value.message
    sent = text_of(reply.parts)
    assert text.startswith(sent)
    assert len(sent) <= len(before) + 1


def text_of(parts: Sequence[Part]) -> str:
    return "".join(
        part.delta.text for part in parts if isinstance(part, BlockDelta) and isinstance(part.delta, TextDelta)
    )


@given(st.lists(st.text(max_size=40), max_size=30))
@settings(max_examples=examples(80), deadline=None)
def test_an_answer_without_a_match_arrives_complete(pieces: list[str]) -> None:
    reply = HeldReply()
    guarded = GuardedReply(Guardrails([rule(words=("\x00never\x00",))]), reply, Record(), print)
    parts: list[Part] = [*(BlockDelta(0, TextDelta(piece)) for piece in pieces), BlockStop(0)]

    async def main() -> None:
        for part in parts:
            await guarded.send([part])

    asyncio.run(main())
    assert reply.parts == parts


@pytest.mark.parametrize("large", [False, True])
def test_long_texts_are_searched_outside_of_the_event_loop(large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = set()
    find = Guardrails.find

    def watched(self: Guardrails, text: str, *args: Any, **more: Any) -> Any:
        if len(text) > 1_000:
            threads.add(threading.current_thread() is threading.main_thread())
        return find(self, text, *args, **more)

    monkeypatch.setattr(Guardrails, "find", watched)
    text = "word " * (20_000 if large else 1_000)
    assert GuardedPlace(text).send(text)[0] == 200
    assert threads == {not large}


def test_a_flagged_rule_counts_once_for_an_answer() -> None:
    assert scanned(["abc ", "abc ", "x" * 1000, "abc"], rule(action="flag", words=("abc",))) == ["rule"]


def test_a_number_that_goes_on_is_no_match_before_its_end() -> None:
    card = rule(patterns=("credit_card",))
    assert scanned(["4111 1111 1111 1", "111"], card) == ["rule"]
    assert scanned(["411111111111111", "1", "7"], card) == []


def test_scanning_an_answer_takes_time_in_proportion_to_it() -> None:
    rules = rule(patterns=PATTERN_NAMES)
    assert_linear(lambda size: ["word "] * size, lambda pieces: scanned(pieces, rules), bound=1 << 15)


def test_contents_of_files_are_no_text() -> None:
    value = [
        {"type": "image", "source": {"type": "base64", "data": "AAAA"}},
        {"type": "input_audio", "input_audio": {"format": "wav", "data": "AAAA"}},
        {"type": "image_url", "image_url": {"url": "data:x,y"}},
        {"type": "file", "file": {"file_data": "data:x,y"}},
        {"type": "text", "text": "a"},
        "b",
    ]
    assert sorted(texts(value)) == ["a", "b", "wav"]


@pytest.mark.parametrize(
    "value",
    [
        "data: secret",
        {"type": "text", "text": "data: secret"},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "secret"}},
        {"type": "tool_use", "id": "t", "name": "n", "input": {"data": "secret"}},
        {"type": "tool_use", "id": "t", "name": "n", "input": {"rows": [{"id": "secret", "type": "x"}]}},
        {"type": "tool_use", "id": "t", "name": "n", "input": {"url": "data:,secret"}},
        {"type": "tool_use", "id": "t", "name": "n", "input": {"secret": 1}},
        {"function": {"name": "n", "arguments": r'{"path": "\u0073ecret"}'}},
        {"function": {"name": "n", "arguments": r'{"\u0073ecret": [1]}'}},
        {"function": {"name": "n", "arguments": r'{"secret", which is not JSON'}},
    ],
)
def test_text_is_checked_whatever_its_field_is_called(value: Any) -> None:
    assert any("secret" in text for text in texts([{"role": "user", "content": [value]}]))


@given(st.text(), st.lists(st.integers(1, 8)), st.booleans())
@settings(max_examples=examples(200), deadline=None)
def test_escapes_of_json_are_replaced_wherever_the_json_is_cut(text: str, sizes: list[int], ascii: bool) -> None:
    encoded = json.dumps(text, ensure_ascii=ascii)[1:-1]
    pieces = []
    for size in sizes:
        pieces.append(encoded[:size])
        encoded = encoded[size:]
    escapes = JsonEscapes()
    unescaped = "".join(map(escapes.feed, [*pieces, encoded]))
    # Characters outside of the first plane are two escapes.
    assert unescaped.encode("utf-16-le", "surrogatepass") == text.encode("utf-16-le", "surrogatepass")


def _chat_event(arguments: str) -> bytes:
    call = {"index": 0, "function": {"arguments": arguments}}
    return b"data: %b\n\n" % json.dumps({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}).encode()


def _message_event(arguments: str) -> bytes:
    delta = {"type": "input_json_delta", "partial_json": arguments}
    return (
        b"event: content_block_delta\ndata: %b\n\n"
        % json.dumps({"type": "content_block_delta", "index": 0, "delta": delta}).encode()
    )


@pytest.mark.parametrize(
    "part",
    [
        lambda text: BlockDelta(0, InputDelta(text)),
        lambda text: Passthrough(_message_event(text), "content"),
        lambda text: Passthrough(_chat_event(text), "content"),
    ],
)
def test_escapes_in_the_input_of_a_tool_hide_no_text_of_a_stream(part: Callable[[str], Part]) -> None:
    """A key at the beginning of a line stands behind the `n` of its escape."""
    text = r'{"content": "line\n' + "\\u0041" + SECRET[1:] + '"}'
    guarded = GuardedReply(Guardrails([rule(patterns=("api_key",))]), HeldReply(), Record(), lambda message: None)

    async def main() -> None:
        for start in range(0, len(text), 3):
            await guarded.send([part(text[start : start + 3])])
        await guarded.send([BlockStop(0)])

    with pytest.raises(Problem, match="an API key"):
        asyncio.run(main())


@pytest.mark.parametrize("name", PATTERN_NAMES)
def test_a_long_text_is_searched_in_pieces_with_the_same_matches(name: PatternName) -> None:
    expression, secret = PATTERNS[name].expression, FORMS[name][0]
    for before in range(rules._PIECE - len(secret) - 3, rules._PIECE + 3):
        text = "." * (before - 1) + " " + secret + " " + "." * rules._PIECE + " " + secret
        assert [match.span() for match in rules._matches(expression, text, 0)] == [
            match.span() for match in expression.finditer(text)
        ]


def test_no_search_of_a_pattern_takes_more_than_a_piece() -> None:
    class Counting:
        longest = 0

        def finditer(self, text: str, start: int, end: int) -> list[re.Match[str]]:
            self.longest = max(self.longest, min(end, len(text)) - start)
            return []

    counting = Counting()
    assert not list(rules._matches(cast(Any, counting), "x" * (1 << 20), 0))
    assert 0 < counting.longest <= rules._PIECE + 512


def test_an_expression_with_many_ways_is_searched_in_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps of a search at once, and those on the event loop, are about the same for every expression."""
    pieces: list[int] = []
    search = rules._matches

    def watched(expression: re.Pattern[str], text: str, start: int, piece: int) -> Iterable[re.Match[str]]:
        pieces.append(piece)
        return search(expression, text, start, piece)

    monkeypatch.setattr(rules, "_matches", watched)
    costs = []
    for expression in ("a{1,16}a{1,16}b", "(a|aa|aaa|a)(a|aa|aaa|a)(a|aa|aaa|a)(a|aa|aaa|a)b"):
        guardrails = Guardrails([rule(regexes=(expression,)), rule(name="other", regexes=("x",), stages=("output",))])
        assert guardrails.find("x" * 20_000 + "aaaab", "input")
        assert pieces[-1] * count_steps(expression) <= 1 << 20
        costs.append(guardrails.cost("input"))
        assert guardrails.cost("output") == costs[-1] + 1
    assert len(pieces) == 2 and min(costs) > 256
    assert Guardrails([rule(patterns=PATTERN_NAMES)]).cost("input") == 16


def test_a_word_between_two_pieces_is_found() -> None:
    for before in (rules._PIECE - 3, rules._PIECE - 1, rules._PIECE):
        assert matches("." * before + "Falcon" + "." * 99, rule(words=("falcon",)))


@pytest.mark.parametrize("text", ["4111111111111111.5", "x" + "AKIA" + "IOSFODNN7EXAMPLE" + "." * 400])
def test_what_is_no_match_in_one_piece_is_none_however_the_answer_is_cut(text: str) -> None:
    checked = rule(patterns=PATTERN_NAMES)
    assert not matches(text, checked)
    for size in (1, 2, 3, 17):
        assert not scanned([text[at : at + size] for at in range(0, len(text), size)], checked)


# --- the application ---------------------------------------------------------------------------------------------------

SECRET = "AKIA" + "IOSFODNN7EXAMPLE"
RULES = [
    {"name": "keys", "patterns": ["api_key"], "action": "block"},
    {"name": "falcon", "words": ["project falcon"], "action": "flag"},
]


PATHS = ("/v1/messages", "/v1/chat/completions", "/v1/responses")


class PiecedAnswer(Answered):
    """An answer that arrives in pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        super().__init__(200, b"")
        self._body = pieces[::-1]


class GuardedBackend:
    """A Messages backend that answers with a text, whole or streamed."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.calls = 0

    async def open(self, call: Call) -> Answered:
        self.calls += 1
        if not json.loads(call.body).get("stream"):
            return Answered(200, json.dumps(self.message([{"type": "text", "text": self.text}], "end_turn")).encode())
        events: list[dict[str, Any]] = [
            {"type": "message_start", "message": self.message([], None)},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        ]
        for at in range(0, len(self.text), 7):
            delta = {"type": "text_delta", "text": self.text[at : at + 7]}
            events.append({"type": "content_block_delta", "index": 0, "delta": delta})
        events += [
            {"type": "content_block_stop", "index": 0},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": {"output_tokens": 5},
            },
            {"type": "message_stop"},
        ]
        return PiecedAnswer([f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events])

    def message(self, content: list[Any], stop: str | None) -> dict[str, Any]:
        return {
            "id": "msg_x", "type": "message", "role": "assistant", "model": "m", "content": content, "stop_reason": stop,
            "stop_sequence": None, "usage": {"input_tokens": 10, "output_tokens": 1},
        }  # fmt: skip

    async def close(self) -> None:
        """Nothing is open."""


class GuardedPlace:
    """A Byway with guardrails in front of one backend."""

    def __init__(self, text: str = "Hello.", rules: Any = RULES, **guardrails: Any) -> None:
        settings = {
            "backends": [{"name": "here", "type": "anthropic", "url": "http://127.0.0.1:1", "models": ["m"]}],
            "model_aliases": {"default": "here/m"},
            "guardrails": {"enabled": True, "rules": rules, **guardrails},
        }
        runtime = Runtime(config.load(json.dumps(settings), {}))
        self.backend = GuardedBackend(text)
        runtime.backends["here"].upstream = cast(Any, self.backend)
        self.app = App(Gateway(runtime))

    def send(
        self, text: str, path: str = "/v1/messages", *, stream: bool = False, **more: Any
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        body = {
            "model": "m",
            "max_tokens": 9,
            "stream": stream,
            "input" if "responses" in path else "messages": [{"role": "user", "content": text}],
            **more,
        }
        bodies, sent = [json.dumps(body).encode()], list[dict[str, Any]]()

        async def receive() -> dict[str, Any]:
            if not bodies:
                await asyncio.Event().wait()
            return {"type": "http.request", "body": bodies.pop(), "more_body": False}

        async def collect(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": "POST", "path": path, "query_string": b"", "headers": [(b"host", b"127.0.0.1")],
            "server": ("127.0.0.1", 38080), "client": ("127.0.0.1", 5),
        }  # fmt: skip
        asyncio.run(self.app(scope, receive, collect))
        return sent[0]["status"], dict(sent[0]["headers"]), b"".join(message.get("body", b"") for message in sent[1:])


@pytest.mark.parametrize("path", [*PATHS, "/v1/messages/count_tokens", "/v1/responses/input_tokens"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_blocked_request_reaches_no_backend(path: str, stream: bool) -> None:
    place = GuardedPlace()
    status, headers, body = place.send(f"My key is {SECRET}.", path, stream=stream)
    error = json.loads(body)["error"]
    assert (status, error["type"]) == (400, "policy_blocked") and place.backend.calls == 0
    assert '"keys"' in error["message"] and "an API key" in error["message"] and SECRET not in error["message"]
    assert headers[b"x-should-retry"] == b"false"


@pytest.mark.parametrize("stream", [False, True])
def test_a_flagged_request_is_answered_and_named_in_a_header(stream: bool) -> None:
    place = GuardedPlace()
    status, headers, body = place.send("Tell me of Project FALCON.", stream=stream)
    assert (
        status == 200 and headers[b"x-byway-guardrail"] == b"input: falcon" and b"Hello." in body.replace(b'"}}\n', b"")
    )
    guardrails = place.app.gateway.runtime.guardrails
    assert guardrails is not None and guardrails.counts["falcon", "input", "flag"] == 1
    status, headers, _ = place.send("Hi.", stream=stream)
    assert status == 200 and b"x-byway-guardrail" not in headers


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_begins_with_a_secret_is_refused(path: str, stream: bool) -> None:
    place = GuardedPlace(f"It is {SECRET}.")
    status, _, body = place.send("Hi.", path, stream=stream)
    assert status == 400 and json.loads(body)["error"]["type"] == "policy_blocked" and SECRET.encode() not in body


@pytest.mark.parametrize("path", PATHS)
def test_a_stream_that_is_blocked_ends_with_an_error_and_its_repetition_is_refused(path: str) -> None:
    place = GuardedPlace("word " * 100 + SECRET + " more" * 100)
    status, _, body = place.send("Hi.", path, stream=True)
    assert status == 200 and b"word" in body and b"more" not in body and SECRET[:8].encode() not in body
    # Codex ends the turn at `invalid_prompt`, and repeats the request after a code that it does not know.
    code = b"invalid_prompt" if "responses" in path else b"policy_blocked"
    assert code in body.rstrip().rpartition(b"data: ")[2]
    # Claude Code sends the request again without streaming, with a smaller max_tokens.
    status, headers, body = place.send("Hi.", path, stream=False, max_tokens=8)
    assert status == 400 and json.loads(body)["error"]["type"] == "policy_blocked" and place.backend.calls == 1
    assert headers[b"x-should-retry"] == b"false"
    assert place.send("Something else.", path)[0] == 400 and place.backend.calls == 2


@pytest.mark.parametrize(("stages", "count"), [(["input"], 0), (["output"], 1)])
def test_conversations_are_recognized_only_where_answers_are_checked(
    stages: list[str], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests: list[bytes] = []
    digest = guarding._digest

    def watched(body: bytes, key: str, model: str) -> bytes:
        digests.append(body)
        return digest(body, key, model)

    monkeypatch.setattr(guarding, "_digest", watched)
    assert GuardedPlace(rules=[{**RULES[0], "stages": stages}]).send("Hi.")[0] == 200
    assert len(digests) == count


def test_a_blocked_answer_is_forgotten_after_some_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    blocked, guardrails = BlockedAnswers(), Guardrails([])
    blocked.add(b"x", "no", guardrails)
    assert blocked.message(b"x", guardrails) == "no" and not blocked.message(b"y", guardrails)
    now = time.monotonic() + guarding._REMEMBERED + 1
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert not blocked.message(b"x", guardrails)


def test_a_blocked_answer_counts_for_its_model_and_its_rules_only() -> None:
    place = GuardedPlace(SECRET)
    assert [place.send("Hi.", model=model)[0] for model in ("m", "m", "here/m")] == [
        400
    ] * 3 and place.backend.calls == 2
    gateway = place.app.gateway
    rules = msgspec.structs.replace(
        gateway.runtime.config.guardrails, rules=gateway.runtime.config.guardrails.rules[1:]
    )
    gateway.runtime = Runtime(msgspec.structs.replace(gateway.runtime.config, guardrails=rules), gateway.runtime)
    gateway.runtime.backends["here"].upstream = cast(Any, place.backend)
    assert place.send("Hi.")[0] == 200 and place.backend.calls == 3


def test_tool_results_are_checked_and_the_system_prompt_is_not() -> None:
    place = GuardedPlace()
    assert place.send("Hi.", system=f"The key is {SECRET}.")[0] == 200
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": SECRET}]}
    use = {"type": "tool_use", "id": "t", "name": "Bash", "input": {}}
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [result]},
    ]
    assert place.send("", messages=messages)[0] == 400
    messages[1]["content"] = [{**use, "input": {"command": f"curl -H {SECRET}"}}]
    messages[2]["content"] = [{**result, "content": "ok"}]
    assert place.send("", messages=messages)[0] == 400


def test_guardrails_that_are_off_check_nothing() -> None:
    place = GuardedPlace(SECRET, enabled=False)
    assert place.app.gateway.runtime.guardrails is None
    assert place.send(SECRET)[0] == 200


def test_a_reload_keeps_the_counts_of_unchanged_rules() -> None:
    place = GuardedPlace()
    runtime = place.app.gateway.runtime
    same = Runtime(runtime.config, runtime)
    assert same.guardrails is runtime.guardrails
    changed = msgspec.structs.replace(
        runtime.config, guardrails=msgspec.structs.replace(runtime.config.guardrails, enabled=False)
    )
    assert Runtime(changed, runtime).guardrails is None


def test_no_item_of_a_responses_request_hides_a_text() -> None:
    place = GuardedPlace()
    items: list[dict[str, Any]] = [
        {"type": "compaction", "encrypted_content": carriers.pack_summary(f"The key is {SECRET}.")},
        {"type": "mcp_call", "id": "m", "name": "x", "server_label": "s", "arguments": json.dumps({"a": SECRET})},
        {"type": "custom_tool_call", "call_id": "c", "name": "x", "input": SECRET},
    ]
    for item in items:
        status, _, _ = place.send("", "/v1/responses", input=[{"role": "user", "content": "Hi."}, item])
        assert (status, place.backend.calls) == (400, 0), item
    prompt = {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": SECRET}]}
    assert place.send("", "/v1/responses", input=[prompt, {"role": "user", "content": "Hi."}])[0] == 200


def test_items_of_a_responses_backend_are_checked_with_and_without_pieces() -> None:
    rules = Guardrails([rule(name="keys", patterns=("api_key",), action="block", stages=("output",))])
    item = {"type": "message", "content": [{"type": "output_text", "text": f"It is {SECRET}."}]}
    done = {"type": "response.output_item.done", "item": item}
    pieces = [{"type": "response.output_text.delta", "delta": text} for text in ("It is AKIA", SECRET[4:], " yes. ")]
    call = {
        "type": "response.function_call_arguments.delta",
        "delta": json.dumps({"key": SECRET}).replace("K", "\\u004b"),
    }
    for events in ([done], pieces, [call]):
        parts = [Passthrough(f"data: {json.dumps(event)}\n\n".encode(), "content", responses=True) for event in events]
        held = HeldReply()
        guarded = guarding.GuardedReply(rules, held, Record(), lambda message: None)
        with pytest.raises(Problem):
            asyncio.run(guarded.send([*parts, Passthrough(b"", "end", responses=True)]))
        assert not held.parts
