"""What upstream errors mean: each server's wording, and that nothing of a page is shown."""

import json
import time

import pytest

from byway.backends import errors


def read(status, body, headers=None, window=None):
    return errors.from_response(
        status,
        headers or {},
        body if isinstance(body, bytes) else json.dumps(body).encode(),
        backend="b",
        window=window,
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("request (23016 tokens) exceeds the available context size (8192 tokens), try increasing it", (23016, 8192)),
        (
            "This model's maximum context length is 8192 tokens. However, you requested 9100 tokens (9000 in the messages, "
            "100 in the completion). Please reduce the length of the messages or completion.",
            (9000, 8192),
        ),
        (
            "This model's maximum context length is 128000 tokens. However, your messages resulted in 130001 tokens.",
            (130001, 128000),
        ),
        (
            "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens.",
            (300000, 272000),
        ),
        ("The decoder prompt (length 9000) is longer than the maximum model length of 8192.", (9000, 8192)),
        ("The input (9000 tokens) is longer than the model's context length (8192 tokens).", (9000, 8192)),
        (
            "Trying to keep the first 9000 tokens when context the overflows. However, the model is loaded with context "
            "length of only 4096 tokens, which is not enough.",
            (9000, 4096),
        ),
        ("The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).", (1200000, 1048576)),
    ],
)
def test_overflow_in_every_wording_becomes_the_one_that_compacts(text, said):
    problem = read(400, {"error": {"message": text}})
    assert problem.kind == "prompt_too_long"
    assert problem.message == "prompt is too long: {} tokens > {} maximum".format(*said)
    assert (problem.facts["tokens"], problem.facts["window"]) == said


def test_room_for_the_answer_that_does_not_fit_is_said_so_that_the_client_asks_for_less():
    text = (
        "'max_tokens' or 'max_completion_tokens' is too large: 32000. This model's maximum context length is 8192 tokens "
        "and your request has 500 input tokens (32000 > 8192 - 500)."
    )
    expected = "input length and `max_tokens` exceed context limit: 500 + 32000 > 8192"
    assert read(400, {"error": {"message": text}}).message == expected


def test_anthropics_own_words_go_on_unchanged():
    text = "prompt is too long: 210000 tokens > 200000 maximum"
    problem = read(400, {"type": "error", "error": {"type": "invalid_request_error", "message": text}})
    assert problem.message == text
    assert (problem.facts["tokens"], problem.facts["window"]) == (210000, 200000)


def test_llama_cpps_numbers_stand_beside_its_words():
    error = {"type": "exceed_context_size_error", "message": "too long", "n_prompt_tokens": 9000, "n_ctx": 8192}
    problem = read(400, {"error": error})
    assert problem.message == "prompt is too long: 9000 tokens > 8192 maximum"
    assert (problem.facts["tokens"], problem.facts["window"]) == (9000, 8192)


def test_overflow_without_numbers_still_compacts():
    problem = read(
        400, {"error": {"message": "Please adjust your input", "code": "context_length_exceeded"}}, window=4096
    )
    assert problem.kind == "prompt_too_long" and problem.message.startswith("prompt is too long")


@pytest.mark.parametrize(
    ("status", "kind", "sent"),
    [
        (400, "invalid_request", 400),
        (422, "invalid_request", 400),
        (401, "refused", 502),
        (403, "refused", 502),
        (402, "billing", 402),
        (404, "model_not_found", 404),
        (408, "timeout", 504),
        (413, "too_large", 413),
        (429, "rate_limit", 429),
        (500, "upstream", 502),
        (502, "upstream", 502),
        (503, "overloaded", 529),
        (504, "timeout", 504),
        (529, "overloaded", 529),
        (302, "broken", 502),
    ],
)
def test_each_status(status, kind, sent):
    problem = read(status, {"error": {"message": "words"}})
    assert (problem.kind, problem.row.status) == (kind, sent)


def test_our_own_secret_refused_is_not_the_clients_fault_and_not_to_be_retried():
    problem = read(401, {"error": {"message": "Invalid API Key"}})
    assert problem.retry is False and "api_key" in problem.message


def test_loading_waits_less_than_a_minute():
    body = {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}
    problem = read(503, body, {"retry-after": "300"})
    assert (problem.kind, problem.retry_after) == ("loading", 59)


def test_retry_after_is_passed_on():
    assert read(429, {"error": {"message": "slow"}}, {"retry-after": "20"}).retry_after == 20
    assert (
        read(429, {"error": {"message": "slow"}}, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}).retry_after is None
    )


def test_used_up_credit_is_told_apart_from_a_rate_limit():
    assert read(429, {"error": {"message": "x", "code": "insufficient_quota"}}).kind == "billing"


@pytest.mark.parametrize("body", [b"<html>nginx secret page</html>", b"x" * 5000, b"\xff\xfe", b"", b"[" * 100_000])
def test_pages_and_noise_are_not_shown(body):
    message = read(502, body).message
    assert "nginx" not in message and len(message) < 300


@pytest.mark.parametrize(
    "body", [{"detail": "no such thing"}, {"error": "no such thing"}, {"message": "no such thing"}, b"no such thing"]
)
def test_every_form_of_error_body_is_read(body):
    assert "no such thing" in read(400, body).message


def test_a_servers_500_for_the_clients_image_is_no_reason_to_retry():
    body = {"error": {"code": 500, "message": "image input is not supported - hint: mmproj", "type": "server_error"}}
    assert read(500, body).kind == "invalid_request"


def test_an_error_object_in_a_200_takes_its_own_code_or_type():
    assert errors.from_error({"code": 429, "message": "x"}, backend="b").kind == "rate_limit"
    assert errors.from_error({"type": "overloaded_error", "message": "x"}, backend="b").kind == "overloaded"
    assert errors.from_error("x", backend="b").kind == "upstream"


@pytest.mark.parametrize(
    "text",
    ["prompt contains 1 tokens" + "1" * 60000, "maximum context length is 1 tokens " * 8000, "request (" + "9" * 60000],
)
def test_a_hostile_text_is_not_searched_for_long(text):
    began = time.process_time()
    read(400, {"error": {"message": text}})
    assert time.process_time() - began < 1
