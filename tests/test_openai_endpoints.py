"""Parts of the endpoints that pass through: the model of a body, the places in a form, the usage in an answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from growth import assert_linear

from byway.backends.openai import endpoints
from byway.backends.openai.endpoints import EMBEDDINGS, UsageScan, read_json
from byway.backends.protocol import Target
from byway.backends.vendors import VENDORS
from byway.files.multipart import FormPart, form_field, form_parts
from byway.problems import Problem

KIND = 'multipart/form-data; boundary="b 1"'
TARGET = Target("lab", "bge", VENDORS["generic"])


def sent(body: bytes) -> bytes:
    return read_json(body, EMBEDDINGS).call("/v1/embeddings", "new", "").body


@pytest.mark.parametrize(
    ("body", "call"),
    [
        (b'{"model":"m","input":"a"}', b'{"model":"new","input":"a"}'),
        (b' {"input": {"model": "m"}, "model" : "m"}', b' {"input": {"model": "m"}, "model" : "new"}'),
        (b'{"input":"a"}', b'{"model":"new","input":"a"}'),
        (b"{ }", b'{"model":"new" }'),
        (b'{"model":null}', b'{"model":"new"}'),
        (b'{"text":"\\"model\\": 1"}', b'{"model":"new","text":"\\"model\\": 1"}'),
    ],
)
def test_only_the_model_of_a_json_body_changes(body: bytes, call: bytes) -> None:
    assert sent(body) == call


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"model": 1}', b'{"model": "\xff"}'])
def test_a_body_that_is_no_object_with_a_model_is_rejected(body: bytes) -> None:
    with pytest.raises(Problem) as raised:
        read_json(body, EMBEDDINGS)
    assert raised.value.kind == "invalid_request"


def form(*parts: bytes, end: bytes = b"--b 1--\r\n") -> bytes:
    return b"".join(b"--b 1\r\n" + part + b"\r\n" for part in parts) + end


FIELD = b'Content-Disposition: form-data; name="model"\r\n\r\nwhisper'
FILE = b'Content-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n\r\n--b 2\r\n'


def test_the_parts_of_a_form_are_found() -> None:
    body = form(FIELD, FILE)
    field, file = form_parts(body, KIND)
    assert (field.name, field.filename, body[field.start : field.end]) == ("model", None, b"whisper")
    assert (file.name, file.filename, body[file.start : file.end]) == ("file", "a.wav", b"\r\n--b 2\r\n")
    assert form_parts(b"preamble\r\n" + body, KIND)[0] == FormPart("model", None, field.start + 10, field.end + 10)
    extended = form_field("n", "1", KIND) + body
    assert [part.name for part in form_parts(extended, KIND)] == ["n", "model", "file"]


@pytest.mark.parametrize(
    "body",
    [b"", b"no form", form(FIELD)[:-12], form(b"no end of headers"), form(*[FIELD] * 33), b"--b 1 x\r\n" + form(FIELD)],
)
def test_a_body_that_is_no_form_is_rejected(body: bytes) -> None:
    with pytest.raises(Problem) as raised:
        form_parts(body, KIND)
    assert raised.value.kind == "invalid_request"


@pytest.mark.parametrize("piece", [b"x", b"\r\n--b ", b"\r\n\r\n", b"\r\n--b 2\r\r\n"])
def test_the_work_for_a_form_grows_with_its_size(piece: bytes) -> None:
    def find(body: bytes) -> None:
        form_parts(body, KIND)

    assert_linear(lambda size: form(FIELD, FILE + piece * size), find)


def usage(*pieces: bytes) -> tuple[int, int]:
    scan = UsageScan(read_json(b'{"model":"m","input":"four"}', EMBEDDINGS))
    for piece in pieces:
        scan.feed(piece)
    scan.finish()
    tokens = scan.usage(EMBEDDINGS)
    return tokens.input_tokens, tokens.output_tokens


@pytest.mark.parametrize(
    ("answer", "tokens"),
    [
        ({"usage": {"prompt_tokens": 5, "total_tokens": 5}}, (5, 0)),
        ({"usage": {"input_tokens": 5, "output_tokens": 2, "input_tokens_details": {"text_tokens": 5}}}, (5, 2)),
        ({"usage": {"total_tokens": 9}}, (9, 0)),
        ({"meta": {"tokens": {"input_tokens": 3}}}, (3, 0)),
        ({"text": '"usage": {"prompt_tokens": 900}'}, (7, 0)),
        ({"usage": None}, (7, 0)),
    ],
)
def test_the_usage_is_found_at_both_ends_of_an_answer(answer: dict[str, Any], tokens: tuple[int, int]) -> None:
    vectors = {"data": [0.5] * 20_000}
    for body in ({**answer, **vectors}, {**vectors, **answer}, answer):
        data = json.dumps(body).encode()
        assert usage(data) == tokens
        assert usage(*(data[at : at + 1000] for at in range(0, len(data), 1000))) == tokens


@pytest.mark.parametrize("piece", [b'"usage":{', b'"usage":{"a":{},', b"{" * 9, b" " * 9])
def test_the_work_for_the_usage_grows_with_the_answer(piece: bytes) -> None:
    assert_linear(lambda size: piece * size, usage)


def test_vendors_may_have_another_path_or_none() -> None:
    assert endpoints.path_at(EMBEDDINGS, VENDORS["vllm"]) == "/v1/embeddings"
    assert endpoints.path_at(EMBEDDINGS, VENDORS["anthropic"]) == ""
    rerank = next(endpoint for endpoint in endpoints.ENDPOINTS if endpoint.path == "/v1/rerank")
    assert endpoints.path_at(rerank, VENDORS["cohere"]) == "/v2/rerank"


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, b'{"error": {"message": "Invalid URL (POST /v1/rerank)"}}', "no_endpoint"),
        (404, b'{"error": {"message": "The model `x` does not exist"}}', "model_not_found"),
        (400, b'{"error": {"message": "this model does not support embeddings"}}', "no_endpoint"),
        (500, b'{"error": {"message": "bge is not an image model"}}', "no_endpoint"),
        (400, b'{"error": {"message": "input is too short"}}', "invalid_request"),
        (401, b'{"error": {"message": "no"}}', "refused"),
        (429, b"{}", "rate_limit"),
        (500, b"{}", "upstream"),
    ],
)
def test_a_refusal_is_told_from_a_missing_endpoint(status: int, body: bytes, kind: str) -> None:
    assert endpoints.problem(status, {}, body, TARGET, EMBEDDINGS).kind == kind
