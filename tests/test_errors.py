"""Errors of backends: the sentence is found in every form, and status, codes and wording get the right kind and advice."""

import asyncio
import json
from pathlib import Path

import pytest
from growth import assert_linear
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples

from byway.backends import errors
from byway.config import load
from byway.fronts import chat, responseerrors
from byway.gateway import Gateway
from byway.problems import Problem
from byway.routes.context import retry_headers
from byway.runtime import Runtime
from byway.server.app import App


def read(status, body, headers=None, window=None):
    return errors.from_response(
        status,
        headers or {},
        body if isinstance(body, bytes) else json.dumps(body).encode(),
        backend="b",
        window=window,
    )


@pytest.mark.parametrize(
    ("text", "value"),
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
def test_an_overflow_in_the_wording_of_each_server_becomes_that_of_anthropic(text, value):
    problem = read(400, {"error": {"message": text}})
    assert problem.kind == "prompt_too_long"
    assert problem.message == "prompt is too long: {} tokens > {} maximum".format(*value)
    assert (problem.facts["tokens"], problem.facts["window"]) == value


def test_an_answer_that_does_not_fit_gets_the_wording_that_makes_the_client_lower_max_tokens():
    text = (
        "'max_tokens' or 'max_completion_tokens' is too large: 32000. This model's maximum context length is 8192 tokens "
        "and your request has 500 input tokens (32000 > 8192 - 500)."
    )
    expected = "input length and `max_tokens` exceed context limit: 500 + 32000 > 8192"
    assert read(400, {"error": {"message": text}}).message == expected


def test_the_wording_of_anthropic_is_passed_through_unchanged():
    text = "prompt is too long: 210000 tokens > 200000 maximum"
    problem = read(400, {"type": "error", "error": {"type": "invalid_request_error", "message": text}})
    assert problem.message == text
    assert (problem.facts["tokens"], problem.facts["window"]) == (210000, 200000)


def test_the_numbers_of_llama_cpp_are_read_from_their_own_fields():
    error = {"type": "exceed_context_size_error", "message": "too long", "n_prompt_tokens": 9000, "n_ctx": 8192}
    problem = read(400, {"error": error})
    assert problem.message == "prompt is too long: 9000 tokens > 8192 maximum"
    assert (problem.facts["tokens"], problem.facts["window"]) == (9000, 8192)


def test_an_overflow_without_numbers_gets_the_wording_that_compacts():
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
        (405, "model_not_found", 404),
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
def test_each_status_without_a_known_wording_has_a_kind(status, kind, sent):
    problem = read(status, {"error": {"message": "words"}})
    assert (problem.kind, problem.row.status) == (kind, sent)


@pytest.mark.parametrize("body", [{"detail": "Method Not Allowed"}, b"<html><h1>405 Not Allowed</h1></html>", b""])
def test_a_server_that_refuses_the_method_is_named_with_its_url(body):
    problem = read(405, body)
    assert (
        problem.kind == "model_not_found" and problem.message.startswith("Backend 'b'") and "`url`" in problem.message
    )


def test_a_rejected_api_key_of_the_backend_is_not_retried():
    problem = read(401, {"error": {"message": "Invalid API Key"}})
    assert problem.retry is False and "api_key" in problem.message


def test_a_loading_model_asks_the_client_to_wait_less_than_a_minute():
    body = {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}
    problem = read(503, body, {"retry-after": "300"})
    assert (problem.kind, problem.retry_after) == ("loading", 59)


def test_an_empty_account_is_not_a_rate_limit():
    assert read(429, {"error": {"message": "x", "code": "insufficient_quota"}}).kind == "billing"


@pytest.mark.parametrize("body", [b"<html>nginx secret page</html>", b"x" * 5000, b"\xff\xfe", b"", b"[" * 100_000])
def test_web_pages_and_noise_are_not_shown(body):
    message = read(502, body).message
    assert "nginx" not in message and len(message) < 300


@pytest.mark.parametrize(
    "body", [{"detail": "no such thing"}, {"error": "no such thing"}, {"message": "no such thing"}, b"no such thing"]
)
def test_a_short_error_body_is_read(body):
    assert "no such thing" in read(400, body).message


def test_a_500_for_an_image_is_an_error_of_the_request():
    body = {"error": {"code": 500, "message": "image input is not supported - hint: mmproj", "type": "server_error"}}
    assert read(500, body).kind == "invalid_request"


def test_an_error_object_in_an_answer_with_status_200_gets_its_status_from_its_code_or_type():
    assert errors.from_error({"code": 429, "message": "x"}, backend="b").kind == "rate_limit"
    assert errors.from_error({"type": "overloaded_error", "message": "x"}, backend="b").kind == "overloaded"
    assert errors.from_error("x", backend="b").kind == "upstream"


@pytest.mark.parametrize(
    "text", ["prompt contains 1 tokens1", "maximum context length is 1 tokens ", "request (99999999"]
)
def test_a_long_hostile_text_is_searched_in_linear_time(text):
    assert_linear(
        lambda n: text * n, lambda text: [read(400, {"error": {"message": text}}) for _ in range(5)], size=4000
    )


SENTENCE = "The frobnicator is off."
#: The forms in which servers write an error, each with one sentence.
FORMS = {
    "an inner error": {"error": {"message": "Bad Request", "inner_error": {"message": SENTENCE}}},
    "Python's words for FastAPI's": {"message": f"[{{'loc': ('body', 'x'), 'msg': '{SENTENCE}'}}]"},
    "OpenAI": {"error": {"message": SENTENCE, "type": "invalid_request_error", "param": None, "code": None}},
    "Anthropic": {"type": "error", "error": {"type": "invalid_request_error", "message": SENTENCE}},
    "vLLM, flat": {"object": "error", "message": SENTENCE, "type": "BadRequestError", "param": None, "code": 400},
    "a text in `error`": {"error": SENTENCE},
    "xAI": {"code": "Client specified an invalid argument", "error": SENTENCE},
    "Google, a list": [{"error": {"code": 400, "message": SENTENCE, "status": "INVALID_ARGUMENT"}}],
    "OpenRouter, JSON in text": {
        "error": {
            "message": "Provider returned error",
            "code": 400,
            "metadata": {"raw": json.dumps({"error": {"message": SENTENCE, "code": None}}), "provider_name": "Nebula"},
        }
    },
    "OpenRouter, plain text": {"error": {"message": "Provider returned error", "metadata": {"raw": SENTENCE}}},
    "MiniMax": {"base_resp": {"status_code": 2013, "status_msg": SENTENCE}},
    "Cloudflare": {"success": False, "errors": [{"code": 7009, "message": SENTENCE}], "messages": [], "result": None},
    "AWS": {"Message": SENTENCE},
    "AWS, in lower case": {"message": SENTENCE, "__type": "ValidationException"},
    "AWS, XML": f"<?xml version='1.0'?><Error><Code>Bad</Code><Message>{SENTENCE}</Message></Error>".encode(),
    "Apigee": {"fault": {"faultstring": SENTENCE, "detail": {"errorcode": "policies.X"}}},
    "Baidu": {"error_code": 336003, "error_msg": SENTENCE},
    "Baidu, version 2": {"error": {"code": "invalid_argument", "message": SENTENCE, "type": "x"}, "id": "as-1"},
    "FastAPI": {"detail": SENTENCE},
    "FastAPI, a list": {"detail": [{"loc": ["body", "x"], "msg": SENTENCE, "type": "value_error"}]},
    "FastAPI, an object": {"detail": {"message": SENTENCE}},
    "DeepInfra": {"detail": {"error": SENTENCE}},
    "Mistral, an object as message": {"object": "error", "message": {"detail": [{"msg": SENTENCE, "loc": ["body"]}]}},
    "Azure behind a gateway": {"error": {"error": {"code": "Bad", "message": SENTENCE}}},
    "Azure": {"statusCode": 400, "message": SENTENCE},
    "MiMo": {"error": {"message": "Param Incorrect", "param": SENTENCE, "code": "400", "type": ""}},
    "OAuth": {"error": "invalid_request", "error_description": SENTENCE},
    "NestJS": {"statusCode": 400, "error": "Bad Request", "message": [SENTENCE]},
    "Responses": {"type": "response.failed", "response": {"error": {"code": "server_error", "message": SENTENCE}}},
    "RFC 9457": {"type": "https://example.org/problems/x", "title": SENTENCE, "status": 400},
    "GLM": {"error": {"code": "1210", "message": SENTENCE}},
    "SiliconFlow": {"code": 20012, "message": SENTENCE, "data": None},
    "a text in `msg`": {"code": 500, "msg": SENTENCE, "success": False},
    "LiteLLM": {
        "error": {
            "message": f"litellm.BadRequestError: OpenAIException - {json.dumps({'error': {'message': SENTENCE}})}",
            "type": None,
            "code": "400",
        }
    },
    "LiteLLM, plain text": {"error": {"message": f"litellm.BadRequestError: VertexAIException - {SENTENCE}"}},
    "new-api": {"error": {"message": f"{SENTENCE} (request id: 20261129-ab)", "type": "new_api_error"}},
    "the SDK of OpenAI": {"error": f"Error code: 400 - {{'error': {{'message': '{SENTENCE}', 'param': None}}}}"},
    "JSON in text, twice": {"error": {"message": json.dumps({"error": json.dumps({"message": SENTENCE})})}},
    "text before JSON": {"error": {"message": f"Upstream failed: {json.dumps({'detail': SENTENCE})}"}},
    "server-sent events": f"event: error\ndata: {json.dumps({'error': {'message': SENTENCE}})}\n\n".encode(),
    "a byte order mark": b"\xef\xbb\xbf" + json.dumps({"error": {"message": SENTENCE}}).encode(),
    "plain text": SENTENCE.encode(),
    "a JSON string": json.dumps(SENTENCE).encode(),
    "Google, details only": {"error": {"code": 400, "details": [{"reason": "X", "message": SENTENCE}]}},
}


@pytest.mark.parametrize("name", FORMS)
def test_the_sentence_is_found_in_every_form_of_an_error(name):
    message = read(400, FORMS[name]).message
    assert message.endswith(SENTENCE), message
    assert "{" not in message and "litellm" not in message and "request id" not in message


def test_an_unknown_form_is_shown_as_it_came_but_short():
    assert read(400, {"odd": {"why": "the moon"}}).message == '{"odd":{"why":"the moon"}}'
    assert len(read(400, {"odd": "x" * 5000}).message) < 300


def test_generic_words_are_shown_when_there_are_no_others():
    assert read(400, {"error": {"message": "Bad Request", "code": 400}}).message == "Bad Request"
    assert "Provider returned error" in read(502, {"error": {"message": "Provider returned error"}}).message


#: Text, sentence for the client, and the numbers that the error carries.
OVERFLOWS = [
    (
        "This endpoint's maximum context length is 131072 tokens. However, you requested about 135349 tokens (60662 of text "
        "input, 10687 of tool input, 64000 in the output). Please reduce the length of either one, or use the "
        "context-compression plugin to compress your prompt automatically.",
        "input length and `max_tokens` exceed context limit: 71349 + 64000 > 131072",
        {"tokens": 71349, "window": 131072},
    ),
    (
        "This model's maximum context length is 8192 tokens. However, you requested 4000 output tokens and your prompt "
        "contains "
        "at least 5000 input tokens, for a total of at least 9000 tokens.",
        "input length and `max_tokens` exceed context limit: 5000 + 4000 > 8192",
        {"tokens": 5000, "window": 8192},
    ),
    (
        "You passed 7000 input tokens and requested 2000 output tokens. However, the model's context length is only 8192 "
        "tokens, resulting in a maximum input length of 6192 tokens.",
        "input length and `max_tokens` exceed context limit: 7000 + 2000 > 8192",
        {"tokens": 7000, "window": 8192},
    ),
    (
        "Requested token count exceeds the model's maximum context length of 8192 tokens. You requested a total of "
        "9100 tokens: "
        "9000 tokens from the input messages and 100 tokens for the completion.",
        "prompt is too long: 9000 tokens > 8192 maximum",
        {"tokens": 9000, "window": 8192},
    ),
    (
        "Input length (9000) exceeds model's maximum context length (8192).",
        "prompt is too long: 9000 tokens > 8192 maximum",
        {"tokens": 9000, "window": 8192},
    ),
    (
        "This model's maximum prompt length is 500000 but the request contains 907154 tokens.",
        "prompt is too long: 907154 tokens > 500000 maximum",
        {"tokens": 907154, "window": 500000},
    ),
    (
        "Invalid request: Your request exceeded model token limit: 262144 (requested: 269030)",
        "prompt is too long: 269030 tokens > 262144 maximum",
        {"total": 269030, "window": 262144},
    ),
    (
        "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 129024]",
        "prompt is too long: <400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 129024]",
        {"window": 129024},
    ),
    (
        "invalid params, context window exceeds limit (2013)",
        "prompt is too long: invalid params, context window exceeds limit (2013)",
        {},
    ),
    (
        "The prompt is too long: 140000, model maximum context length: 131072",
        "prompt is too long: 140000 tokens > 131072 maximum",
        {"tokens": 140000, "window": 131072},
    ),
    (
        "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
        "prompt is too long: 40000 tokens > 32768 maximum",
        {"tokens": 40000, "window": 32768},
    ),
    (
        "Please reduce the length of the messages or completion. Current length is 140000 while limit is 131072",
        "prompt is too long: 140000 tokens > 131072 maximum",
        {"tokens": 140000, "window": 131072},
    ),
    (
        "Please reduce the length of the messages or completion.",
        "prompt is too long: Please reduce the length of the messages or completion.",
        {},
    ),
    (
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8192. Given: 8000 `inputs` tokens and 500 "
        "`max_new_tokens`",
        "input length and `max_tokens` exceed context limit: 8000 + 500 > 8192",
        {"tokens": 8000, "window": 8192},
    ),
    (
        "Input validation error: `inputs` must have less than 8192 tokens. Given: 9000",
        "prompt is too long: 9000 tokens > 8192 maximum",
        {"tokens": 9000, "window": 8192},
    ),
    (
        "prompt token count of 140000 exceeds the limit of 128000",
        "prompt is too long: 140000 tokens > 128000 maximum",
        {"tokens": 140000, "window": 128000},
    ),
    (
        "The prompt exceeds the maximum allowed input length of 65536 tokens.",
        "prompt is too long: The prompt exceeds the maximum allowed input length of 65536 tokens.",
        {"window": 65536},
    ),
    ("Input is too long for requested model.", "prompt is too long: Input is too long for requested model.", {}),
    ("Input token length too long", "prompt is too long: Input token length too long", {}),
    ("Prompt exceeds max length", "prompt is too long: Prompt exceeds max length", {}),
    ("Prompt 超长", "prompt is too long: Prompt 超长", {}),
    (
        "too many tokens: size limit exceeded by 1000 tokens. Try using shorter inputs. The limit for this model is "
        "128000 tokens.",
        "prompt is too long: 129000 tokens > 128000 maximum",
        {"tokens": 129000, "window": 128000},
    ),
    (
        "Input tokens (140,000) exceed the maximum allowed 128,000",
        "prompt is too long: 140000 tokens > 128000 maximum",
        {"tokens": 140000, "window": 128000},
    ),
    (
        "sequence length of 140000, but the maximum supported sequence length is just 131072",
        "prompt is too long: 140000 tokens > 131072 maximum",
        {"total": 140000, "window": 131072},
    ),
    (
        "prompt too long; exceeded max context length by 1200 tokens",
        "prompt is too long: prompt too long; exceeded max context length by 1200 tokens",
        {},
    ),
    (
        "The number of tokens to keep from the initial prompt is greater than the context length.",
        "prompt is too long: The number of tokens to keep from the initial prompt is greater than the context length.",
        {},
    ),
    ("Your input exceeds the context window of this model.", None, {}),
    # Other servers in similar words.
    (
        "The prompt has 9000 tokens, which exceeds the context window of 8192 tokens.",
        "prompt is too long: 9000 tokens > 8192 maximum",
        {"tokens": 9000, "window": 8192},
    ),
    (
        "Request too long: your messages contain 50,000 tokens, more than the model's limit of 32,768.",
        "prompt is too long: 50000 tokens > 32768 maximum",
        {"tokens": 50000, "window": 32768},
    ),
    (
        "Context window of 8192 exceeded: the prompt has 9001 tokens",
        "prompt is too long: 9001 tokens > 8192 maximum",
        {"tokens": 9001, "window": 8192},
    ),
    # SiliconFlow, StepFun, NIM, TabbyAPI, OpenVINO, mistral.rs
    *(
        (text, "prompt is too long: 9000 tokens > 8192 maximum", {"tokens": 9000, "window": 8192})
        for text in (
            "length of prompt_tokens (9000) must be less than max_seq_len (8192).",
            "The total length of messages (9000 tokens) exceeds the max context of 8192",
            "Input sequence length 9000 exceeds maximum sequence length 8192",
            "Prompt length 9000 is greater than max_seq_len 8192",
            "Number of prompt tokens: 9000 exceeds model max length: 8192",
            "The number of tokens in the prompt (9000) exceeds the maximum sequence length (8192)",
            # TensorRT-LLM
            "The sum of prompt length (9000), query length (0) should not exceed max_num_tokens (8192)",
            "default_max_tokens (-808) should be greater than 0, default_max_tokens (-808) = max_seq_len (8192) - "
            "splited_prompt_len (9000)",
            # Vertex
            "Unable to submit request because the input token count is 9000 but model only supports up to 8192.",
        )
    ),
    (
        "max_total_tokens (10192) must be less than or equal to max_seq_len (8192)",
        "prompt is too long: 10192 tokens > 8192 maximum",
        {"total": 10192, "window": 8192},
    ),
    (
        "The input token count exceeds the maximum number of tokens allowed 1048576.",
        "prompt is too long: The input token count exceeds the maximum number of tokens allowed 1048576.",
        {"window": 1048576},
    ),
    ("messages 中 token 总数超过模型最大上下文长度", None, {}),
]


@pytest.mark.parametrize("status", [400, 413, 422, 500])
@pytest.mark.parametrize(("text", "message", "numbers"), OVERFLOWS, ids=[text[:40] for text, _, _ in OVERFLOWS])
def test_a_prompt_that_does_not_fit_gets_the_sentence_that_makes_claude_code_compact(status, text, message, numbers):
    problem = read(status, {"error": {"message": text, "type": "invalid_request_error"}})
    assert problem.kind == "prompt_too_long"
    assert problem.message == (message or f"prompt is too long: {text}")
    assert {name: problem.facts[name] for name in ("tokens", "window", "total") if name in problem.facts} == numbers


@pytest.mark.parametrize("code", ["1261", "context_length_exceeded", "model_max_prompt_tokens_exceeded"])
def test_a_prompt_that_does_not_fit_is_known_by_its_code(code):
    assert read(400, {"error": {"message": "Sorry.", "code": code}}).kind == "prompt_too_long"


def test_a_413_is_an_overflow_when_it_says_so_and_else_a_body_that_is_too_large():
    assert read(413, {"error": {"message": "Prompt exceeds max length"}}).kind == "prompt_too_long"
    assert read(413, {"error": {"message": "Payload too large"}}).kind == "too_large"
    assert read(413, b"").kind == "too_large"


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (413, "Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested 9000", "quota"),
        (429, "Request too large for x (TPM): Limit 30000, Requested 40000. Reduce the input.", "quota"),
        (400, "Too many tokens, please wait before trying again.", "rate_limit"),
        (400, "total message size 4194305 exceeds limit 2097152", "too_large"),
        (400, "request size (33554433 bytes) exceeds 30 MB limit", "too_large"),
    ],
)
def test_limits_of_time_and_bytes_are_no_overflow_and_teach_no_window(status, text, kind):
    problem = read(status, {"error": {"message": text}})
    assert problem.kind == kind and "window" not in problem.facts


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        (
            "max_tokens is too large: 64000. This model supports at most 16384 completion tokens, whereas you provided 64000.",
            16384,
        ),
        ("max_tokens: 64000 > 8192, which is the maximum allowed number of output tokens for x", 8192),
        ("Invalid max_tokens value, the valid range of max_tokens is [1, 393216]", 393216),
        ("<400> InternalError.Algo.InvalidParameter: Range of max_tokens should be [1, 8192]", 8192),
        ("max_tokens 参数非法: 限制数值范围[1,131072]", 131072),
        (
            "`max_tokens` must be less than or equal to `8192`, the maximum value for `max_tokens` is less than the context",
            8192,
        ),
        ("max_tokens must be at most 4096; you requested 32000 output tokens", 4096),
        ("maxOutputTokens value of 65536 but the supported range is from 1 (inclusive) to 65536 (exclusive).", 65535),
        ("max_completion_tokens: 64000 must be between 1 and 32768", 32768),
        ("max_tokens cannot exceed 8192", 8192),
        ("max_tokens (64000) exceeds the maximum output limit of 16000", 16000),
        ("max_tokens (64000) cannot exceed 40960", 40960),
        ("body.max_tokens: Input should be less than or equal to 4096", 4096),
        (
            "[{'type': 'less_than_equal', 'loc': ('body', 'max_tokens'), 'msg': 'Input should be less than or equal to "
            "32768', 'input': 64000}]",
            32768,
        ),
        ("too many tokens: max tokens must be less than or equal to 4096, the maximum output length for it", 4096),
        ("The maximum tokens you requested exceeds the model limit of 8192.", 8192),
        ("max_tokens参数非法: 取值范围[1,8192]", 8192),
        ("max_tokens参数应在[1, 4095]之间", 4095),
    ],
)
def test_the_limit_of_an_answer_is_read_from_a_refused_max_tokens(text, limit):
    problem = read(400, {"error": {"message": text}})
    assert (problem.kind, problem.facts.get("max_output")) == ("invalid_request", limit)


#: Errors as providers write them, with the kind that each means.
CLASSES = {
    error["title"]: error
    for error in json.loads((Path(__file__).parent / "error_bodies.json").read_text(encoding="utf-8"))
}


@pytest.mark.parametrize("name", CLASSES)
def test_each_class_of_errors_gets_its_kind_and_advice(name):
    kind = CLASSES[name]["kind"]
    problem = read(CLASSES[name]["status"], CLASSES[name]["body"])
    assert problem.kind == kind, problem.message
    if kind in ("billing", "quota", "forbidden", "refused"):
        assert problem.retry is False and problem.row.failover
    assert ("api_key" in problem.message) == (kind == "refused"), problem.message
    if kind in ("billing", "forbidden", "quota"):
        assert "'b'" in problem.message
    if "filter" in name:
        assert "content filter" in problem.message and problem.facts["cause"] == "content filter"


@pytest.mark.parametrize(
    "text",
    [
        "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
        "Failed to deserialize the JSON body into the target type: messages[3]: unknown variant `image_url`, expected "
        "`text` at "
        "line 1 column 9000",
        "x is not a multimodal model",
        "At most 0 image(s) may be provided in one prompt.",
        "No endpoints found that support image input",
        "This model does not support image inputs",
        "Images are not supported by this model.",
    ],
)
@pytest.mark.parametrize("status", [400, 404, 500])
def test_a_refused_image_carries_the_token_that_makes_claude_code_drop_it(status, text):
    problem = read(status, {"error": {"message": text}})
    assert problem.kind == "invalid_request" and problem.facts["cause"] == "modality:image"
    assert problem.message == f"{text} (capability_rejected: image_block)"


@pytest.mark.parametrize(
    ("error", "parameter"),
    [
        ({"message": "Unsupported parameter: 'max_tokens' is not supported with this model."}, "max_tokens"),
        ({"message": "Not this one.", "param": "reasoning_effort", "code": "unsupported_value"}, "reasoning_effort"),
        ({"message": 'Invalid JSON payload received. Unknown name "top_k": Cannot find field.'}, "top_k"),
        ({"message": "Unrecognized request argument supplied: reasoning_effort"}, "reasoning_effort"),
        ({"message": "body.parallel_tool_calls: Extra inputs are not permitted"}, "parallel_tool_calls"),
        ({"message": "`stop` is not supported with this model"}, "stop"),
        ({"message": "invalid temperature: only 1 is allowed for this model"}, "temperature"),
        ({"message": "property 'stream_options' is unsupported"}, "stream_options"),
        ({"message": "Model x does not support parameter top_p"}, "top_p"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("status", [400, 422])
def test_the_refused_parameter_is_named(status, error, parameter):
    problem = read(status, {"error": error})
    assert (problem.kind, problem.facts.get("parameter")) == ("invalid_request", parameter)


DATE = {"date": "Wed, 21 Oct 2026 07:28:00 GMT"}


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"retry-after": "20"}, {}, 20),
        ({"retry-after": "0.5"}, {}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "2"}, {}, 1.5),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", **DATE}, {}, 30),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT"}, {}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:00:00 GMT", **DATE}, {}, 0),
        ({"x-ratelimit-reset-requests": "1m2.5s"}, {}, 62.5),
        ({"x-ratelimit-reset-tokens": "20ms"}, {}, 0.02),
        (
            {
                **{"x-ratelimit-reset-requests": "2m59.5s", "x-ratelimit-remaining-requests": "14"},
                **{"x-ratelimit-reset-tokens": "7s", "x-ratelimit-remaining-tokens": "0"},
            },
            {},
            7,
        ),
        ({"x-ratelimit-reset": "1792567690000", **DATE}, {}, 10),
        ({"x-ratelimit-reset": "1792567690", **DATE}, {}, 10),
        ({"x-ratelimit-reset": "1792567690000"}, {}, None),
        ({}, {"details": [{"retryDelay": "34.07s"}]}, 34.07),
        ({}, {"message": "Rate limit reached for x. Please try again in 7.66s."}, 7.66),
        ({}, {"message": "Please try again in 20ms."}, 0.02),
        ({}, {"message": "Please retry after 30 seconds."}, 30),
        ({}, {"message": "Try again in 2 minutes."}, 120),
        ({}, {"message": "Please try again in 6m0s."}, 360),
        ({"retry-after": "soon"}, {}, None),
        ({"retry-after": "-5"}, {}, None),
        ({"retry-after": "9" * 400}, {}, None),
        ({"retry-after": "nan"}, {}, None),
        ({"retry-after": "999999"}, {}, 86400),
    ],
)
def test_the_wait_is_read_in_every_form(headers, body, seconds):
    wait = read(429, {"error": {"message": "slow", **body}}, headers).retry_after
    assert wait == (None if seconds is None else pytest.approx(seconds))


def test_a_web_page_instead_of_an_error_gets_words_about_proxies_and_not_about_the_key():
    page = b"<!DOCTYPE html><html><title>Sign in to ACME</title></html>"
    for status in (400, 401, 403, 404, 502, 503):
        problem = read(status, page)
        assert "'b'" in problem.message and str(status) in problem.message
        assert "ACME" not in problem.message and "api_key" not in problem.message
        assert "`url`" in problem.message


def test_a_403_without_a_sign_of_the_key_does_not_blame_the_key_alone():
    problem = read(403, {"error": {"message": "Project has no access to this model"}})
    assert problem.kind == "refused" and "Check `api_key`" not in problem.message


REPORTED = {
    "billing": {"choices": None, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}},
    "rate_limit": {"choices": None, "base_resp": {"status_code": 1002, "status_msg": "rate limit"}},
    "refused": {"base_resp": {"status_code": 2049, "status_msg": "invalid api key"}},
    "overloaded": {"error": {"code": "1305", "message": "busy"}},
    "upstream": {"code": 500, "msg": "404 NOT_FOUND of a service", "success": False},
}


@pytest.mark.parametrize("kind", REPORTED)
def test_a_failure_in_an_answer_with_status_200_is_a_problem(kind):
    answer = REPORTED[kind]
    for body in (answer, [answer]):
        problem = errors.from_success(json.dumps(body).encode(), backend="b")
        assert problem is not None and problem.kind == kind


def test_plain_text_with_a_status_in_place_of_an_event_is_a_problem():
    problem = errors.from_success(b" 429 Too many requests, slow down", backend="b")
    assert problem is not None and problem.kind == "rate_limit" and "slow down" in problem.message


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b"null",
        b"",
        b"4290 words",
        b'{"choices":[]}',
        b'{"base_resp":{"status_code":0,"status_msg":""}}',
        b'{"code":200,"msg":"ok"}',
        b'{"code":0,"message":"success"}',
    ],
)
def test_an_answer_with_status_200_that_reports_no_failure_is_no_problem(body):
    assert errors.from_success(body, backend="b") is None


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.text(max_size=20)
        | st.sampled_from(['{"error":', "[{", "{'a': 1}", "<html>"]),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "error",
                        "message",
                        "code",
                        "detail",
                        "loc",
                        "msg",
                        "metadata",
                        "raw",
                        "errors",
                        "base_resp",
                        "param",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=20,
    )
    | st.binary(max_size=60),
    st.sampled_from([200, 301, 400, 401, 403, 404, 413, 422, 429, 500, 503, 599]),
)
@settings(max_examples=examples(300), deadline=None)
def test_any_body_becomes_a_problem_with_words(body, status):
    problem = read(status, body)
    assert problem.message and any(letter.isalnum() for letter in problem.message)


@pytest.mark.parametrize("unit", ['{"error":', "a {", "1" * 50 + " tokens "])
def test_the_work_on_a_long_body_is_linear_at_most(unit):
    assert_linear(lambda n: (unit * n).encode(), lambda body: [read(400, body) for _ in range(20)], size=4000)


# --- what the client sees ---------------------------------------------------------------------------------------------

INTERACTIVE = "claude-cli/2.1.329 (external, cli)"
PRINTING = "claude-cli/2.1.329 (external, sdk-cli)"
CONFIG = """
backends: [{name: box, type: generic, url: "http://127.0.0.1:9", models: [m]}]
model_aliases: {known: box/m}
"""


class FailingUpstream:
    """Answers each call with one error."""

    def __init__(self, status, body):
        self.status, self.headers, self._body = status, {}, body
        self.sent_at = self.connecting = 0.0

    async def open(self, call):
        return self

    async def body(self, limit=0):
        return self._body

    def finish(self):
        self.close()

    def close(self):
        pass


def post(model, user_agent, status=404, body=b"{}", path="/v1/messages", stream=True, **more):
    """Status, headers and error of a request to a backend that fails."""
    runtime = Runtime(load(CONFIG, {}))
    runtime.backends["box"].upstream = FailingUpstream(status, body)  # type: ignore[assignment]
    sent = []
    fields = {
        "model": model,
        "max_tokens": 9,
        "stream": stream,
        "messages": [{"role": "user", "content": "Hi"}],
        **more,
    }

    async def receive():
        return {"type": "http.request", "body": json.dumps(fields).encode(), "more_body": False}

    async def send(message):
        sent.append(message)

    headers = [(b"host", b"127.0.0.1"), (b"user-agent", user_agent.encode()), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
    scope["server"], scope["client"] = ("127.0.0.1", 38080), ("127.0.0.1", 5555)
    asyncio.run(App(Gateway(runtime))(scope, receive, send))
    received = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], received, json.loads(sent[1]["body"])["error"]


MODEL = b'{"error":{"message":"The model `m` does not exist.","code":"model_not_found"}}'
KEY = b'{"error":{"message":"Invalid API key"}}'
REGION = b'{"error":{"message":"User location is not supported"}}'


@pytest.mark.parametrize(
    ("model", "status", "body", "plain", "type"),
    [
        ("unknown", 404, b"", 404, "not_found_error"),
        ("known", 404, MODEL, 404, "not_found_error"),
        ("known", 401, KEY, 502, "api_error"),
        ("known", 403, REGION, 403, "permission_error"),
    ],
)
def test_interactive_claude_code_gets_a_status_whose_message_it_shows(model, status, body, plain, type):
    for agent, expected in ((INTERACTIVE, 424), (PRINTING, plain), ("python", plain), ("", plain)):
        answered, headers, error = post(model, agent, status, body)
        assert (answered, error["type"]) == (expected, type), agent
        assert expected != 424 or headers["x-should-retry"] == "false"


def test_a_request_that_does_not_stream_keeps_its_404_so_that_the_clients_classifier_tries_the_main_model():
    assert post("unknown", INTERACTIVE, stream=False)[0] == 404
    assert post("unknown", INTERACTIVE, path="/v1/messages/count_tokens", stream=False)[0] == 404


def test_other_problems_keep_their_status_for_interactive_claude_code():
    assert post("known", INTERACTIVE, 402, b'{"error":{"message":"Insufficient Balance"}}')[0] == 402
    assert post("known", INTERACTIVE, 400, b'{"error":{"message":"Prompt exceeds max length"}}')[0] == 400


@pytest.mark.parametrize("thread", [{"type": "create"}, {"type": "continue", "previous_message_id": "msg_1"}])
@pytest.mark.parametrize("stream", [True, False])
def test_a_thread_is_refused_in_the_form_after_which_clients_continue_without_it(thread, stream):
    status, _, error = post("known", "python", stream=stream, thread=thread)
    assert (status, error["type"]) == (400, "invalid_request_error") and error["message"].startswith("thread: ")
    assert error["details"] == {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}


def test_a_thread_that_is_null_is_ignored():
    assert post("known", "python", 402, thread=None)[0] == 402


@pytest.mark.parametrize("body", [b"", b"{}", b'{"error":{"code":400}}', b'{"error":"bad_request"}', b"Bad Request"])
@pytest.mark.parametrize("status", [400, 413])
def test_a_refusal_without_an_explanation_near_the_window_is_an_overflow(status: int, body: bytes) -> None:
    """Cerebras and proxies refuse a prompt that is too long without a word."""
    problem = errors.from_response(status, {}, body, backend="box", window=1000)
    assert problem.kind in ("invalid_request", "too_large")
    overflow = errors.overflow_by_size(problem, 900, 1000)
    assert overflow.kind == "prompt_too_long" and overflow.message.startswith("prompt is too long: ")
    assert errors.overflow_by_size(problem, 500, 1000) is problem


@pytest.mark.parametrize(
    ("status", "body"), [(400, b'{"error":{"message":"The frobnicator is off."}}'), (401, b""), (413, b"<html></html>")]
)
def test_a_refusal_with_an_explanation_is_no_overflow(status: int, body: bytes) -> None:
    problem = errors.from_response(status, {}, body, backend="box", window=1000)
    assert errors.overflow_by_size(problem, 1000, 1000) is problem


@pytest.mark.parametrize(
    ("wait", "header"),
    [(6.5, b"7"), (6.0001, b"7"), (7.0, b"7"), (7.000000000001, b"7"), (0.2, b"1"), (0.0, b"0")],
)
def test_the_time_before_a_retry_is_never_rounded_down(wait, header):
    assert retry_headers(Problem("rate_limit", "x", retry_after=wait)) == [(b"retry-after", header)]


@pytest.mark.parametrize("kind", ["billing", "quota", "budget", "rate_limit", "limit", "authentication"])
def test_a_chat_client_and_a_responses_client_get_the_same_code(kind):
    problem = Problem(kind, "x")
    codes = {
        json.loads(envelope(problem, "x"))["error"]["code"] for envelope in (chat.envelope, responseerrors.envelope)
    }
    assert len(codes) == 1 and None not in codes
