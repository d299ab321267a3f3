"""The preflight of an endpoint: a verdict for each check, and the layer of the first failure."""

from __future__ import annotations

import socket

import pytest
from endpointserver import serving

from byway.endpoints.preflight import CHECKS, PreflightReport, preflight

QWEN = [{"id": "qwen3:8b", "max_input_tokens": 32768}]
JSON = "application/json"
pytestmark = pytest.mark.anyio


async def check(url: str, model: str = "", limit: float = 2.8) -> PreflightReport:
    return await preflight("lab", url, {"authorization": "Bearer sk-test"}, model, limit=limit, environ={})


def states(report: PreflightReport) -> str:
    assert [entry.name for entry in report.checks] == list(CHECKS)
    return " ".join(entry.state for entry in report.checks)


async def test_a_working_endpoint_passes_all_checks() -> None:
    with serving(models=QWEN) as server:
        report = await check(server.url)
    assert report.good and states(report) == "ok ok ok ok ok"
    assert report.model == "qwen3:8b" and report.models["qwen3:8b"].window == 32768
    # One token of one model, with the credential of the endpoint and no other.
    message = next(request for request in server.seen if request.path == "/v1/messages")
    assert (message.body["max_tokens"], message.body["stream"]) == (1, True)
    assert all(request.credentials == {"authorization": "Bearer sk-test"} for request in server.seen)


async def test_a_server_without_a_list_of_models_is_usable() -> None:
    with serving() as server:
        report = await check(server.url)
    assert report.good and states(report) == "ok ok warning ok ok" and report.model == "claude-opus-5-5"


async def test_an_empty_list_of_models_is_named() -> None:
    with serving(list_status=200) as server:
        report = await check(server.url)
    assert report.good and "lists no models" in report.checks[2].text and "200" not in report.checks[2].text


async def test_a_listed_claude_model_is_preferred_to_others() -> None:
    with serving(models=[*QWEN, {"id": "my-claude-small"}]) as server:
        assert (await check(server.url)).model == "my-claude-small"
        assert (await check(server.url, "qwen3:8b")).model == "qwen3:8b"


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("localhost:8766", "http://localhost:8766"),
        ("http://127.0.0.1:1/v1", "http://127.0.0.1:1"),
        ("ftp://x", "http://"),
    ],
)
async def test_an_invalid_url_is_reported_without_a_connection(url: str, text: str) -> None:
    report = await check(url)
    assert states(report) == "failed skipped skipped skipped skipped"
    assert report.advice is not None and report.advice.layer == "address" and text in report.checks[0].text


async def test_a_refused_connection_is_an_address_problem() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        report = await check(f"http://127.0.0.1:{unused.getsockname()[1]}")
    assert states(report) == "ok failed skipped skipped skipped"
    assert report.advice is not None and "refused the connection" in report.advice.summary


@pytest.mark.parametrize(
    ("answer", "layer", "text"),
    [
        ((401, JSON, '{"error":{"message":"invalid x-api-key"}}'), "credential", "rejected the key"),
        ((403, JSON, '{"error":{"message":"no"}}'), "credential", "forbids"),
        ((404, JSON, '{"error":{"message":"model: qwen3:8b not found"}}'), "model", "does not serve"),
        ((404, JSON, '{"detail":"Not Found"}'), "address", "no Messages API"),
        ((400, JSON, '{"error":"No models loaded. Please load a model with `lms load`."}'), "model", "no model loaded"),
        ((429, JSON, '{"error":{"message":"slow down"}}'), "server", "limits the rate"),
        ((500, JSON, '{"error":{"message":"boom"}}'), "server", "status 500"),
        ((200, "text/html", "<!doctype html><title>Sign in</title>"), "address", "web page"),
        ((302, "text/html", "moved"), "address", "web page"),
        (
            (200, "text/event-stream", 'event: error\ndata: {"type":"error","error":{"message":"boom"}}\n\n'),
            "server",
            "500",
        ),
        ((200, JSON, "{}"), "server", "unexpected"),
    ],
)
async def test_each_failure_of_a_message_is_explained(answer: tuple[int, str, str], layer: str, text: str) -> None:
    with serving(models=QWEN, answer=answer) as server:
        report = await check(server.url)
    assert report.advice is not None
    assert (report.advice.layer, states(report)) == (layer, "ok ok ok failed ok")
    assert text in report.advice.summary and "lab" in report.advice.summary


async def test_a_model_that_is_loading_is_a_warning() -> None:
    answer = (503, JSON, '{"error":{"message":"Loading model","code":503}}')
    with serving(models=QWEN, answer=answer) as server:
        report = await check(server.url)
    assert report.good and states(report) == "ok ok ok warning ok"


async def test_a_silent_server_costs_no_more_than_the_limit() -> None:
    with serving(models=QWEN, silent=True) as server:
        report = await check(server.url, limit=0.25)
    assert report.good and "no answer yet" in report.checks[3].text


async def test_a_list_that_rejects_the_key_ends_the_checks() -> None:
    with serving(list_status=401) as server:
        report = await check(server.url)
    assert states(report) == "ok ok failed skipped skipped"
    assert report.advice is not None and report.advice.layer == "credential"
    assert not [request for request in server.seen if request.method == "POST"]


async def test_a_model_that_needs_the_login_of_the_client_is_skipped() -> None:
    with serving(models=QWEN, answer=(401, JSON, '{"error":{"message":"no credential"}}')) as server:
        report = await preflight("byway", server.url, {"x-byway-key": "sk"}, environ={}, needs_login=True)
        assert report.good and states(report) == "ok ok ok skipped ok"
        server.list_status = 401
        report = await preflight("byway", server.url, {"x-byway-key": "sk"}, environ={}, needs_login=True)
    assert not report.good and states(report) == "ok ok failed skipped skipped"
