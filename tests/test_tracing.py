"""Traces: what the collector receives, and that it cannot disturb requests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpservers
import pytest
from loops import run_skipping
from metered import MESSAGES, MeteredApp, chat_answer, failure
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from byway.config import ConfigError, load, tracingchecks

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Collector:
    """An OTLP collector on loopback."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.headers: list[str | None] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.headers.append(self.headers["x-token"])
                message = ExportTraceServiceRequest.FromString(body)
                for resource in message.resource_spans:
                    for scope in resource.scope_spans:
                        collector.spans += scope.spans
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1/traces"
        self.thread = threading.Thread(target=self.server.serve_forever)


@pytest.fixture
def collector() -> Iterator[Collector]:
    started = Collector()
    started.thread.start()
    try:
        yield started
    finally:
        httpservers.stop(started.server)
        started.thread.join()


def attributes(span: Any) -> dict[str, Any]:
    return {
        pair.key: pair.value.int_value if pair.value.HasField("int_value") else pair.value.string_value
        for pair in span.attributes
    }


async def trace(
    folder: Path, url: str, *replies: Any, headers: dict[str, str] | None = None, path: str = MESSAGES
) -> list[int]:
    """Send a request for each reply with tracing on, then stop the tracer; return the statuses."""
    tracing = {"enabled": True, "endpoint": url, "headers": {"x-token": "hidden-secret"}}
    async with MeteredApp(folder, tracing=tracing) as app:
        await app.gateway.set_tracing(app.gateway.runtime.config.tracing)
        assert app.gateway.tracer is not None
        app.answers(*replies)
        try:
            return [(await app.request(headers=headers, path=path))[0] for _ in replies]
        finally:
            await asyncio.to_thread(app.gateway.tracer.stop)


def test_a_request_has_a_span_with_its_model_and_tokens(tmp_path: Path, collector: Collector) -> None:
    assert run_skipping(trace(tmp_path, collector.url, chat_answer())) == [200]
    (span,) = collector.spans
    assert span.name == "chat claude-opus-4" and not span.parent_span_id
    values = attributes(span)
    assert values["gen_ai.provider.name"] == "generic" and values["gen_ai.response.model"] == "local"
    assert (values["gen_ai.usage.input_tokens"], values["gen_ai.usage.output_tokens"]) == (100, 20)
    assert values["http.response.status_code"] == 200 and values["byway.backend"] == "box"
    assert "error.type" not in values and span.end_time_unix_nano >= span.start_time_unix_nano
    assert collector.headers == ["hidden-secret"]
    assert "hidden-secret" not in str(span) and "Hello." not in str(span)


@pytest.mark.parametrize(
    ("path", "operation"),
    [("/v1/embeddings", "embeddings"), ("/v1/completions", "text_completion"), ("/v1/chat/completions", "chat")],
)
def test_the_span_of_another_endpoint_names_its_operation(
    path: str, operation: str, tmp_path: Path, collector: Collector
) -> None:
    assert run_skipping(trace(tmp_path, collector.url, chat_answer(), path=path)) == [200]
    (span,) = collector.spans
    assert span.name == f"{operation} claude-opus-4"
    assert attributes(span)["gen_ai.operation.name"] == operation


def test_a_failed_request_has_a_span_with_its_error(tmp_path: Path, collector: Collector) -> None:
    (status,) = run_skipping(trace(tmp_path, collector.url, failure(503)))
    (span,) = collector.spans
    values = attributes(span)
    assert status >= 500 and values["http.response.status_code"] == status
    assert values["error.type"] and span.status.code == 2
    assert "It failed." not in str(span)


def test_a_request_that_a_second_target_answers_has_one_span_with_both_attempts(
    tmp_path: Path, collector: Collector
) -> None:
    async def run() -> int:
        names = ("first", "second")
        async with MeteredApp(
            tmp_path,
            backends=[
                {"name": name, "type": "generic", "url": "http://127.0.0.1:9", "models": ["local"]} for name in names
            ],
            model_aliases={"default": [f"{name}/local" for name in names]},
            tracing={"enabled": True, "endpoint": collector.url},
        ) as app:
            await app.gateway.set_tracing(app.gateway.runtime.config.tracing)
            assert app.gateway.tracer is not None
            app.answers(failure(503), backend="first")
            app.answers(chat_answer(), backend="second")
            try:
                return (await app.request())[0]
            finally:
                await asyncio.to_thread(app.gateway.tracer.stop)

    assert run_skipping(run()) == 200
    (span,) = collector.spans
    values = attributes(span)
    assert values["byway.backend"] == "second" and values["byway.tries"] == 2 and "error.type" not in values


def test_the_header_traceparent_is_the_parent_of_the_span(tmp_path: Path, collector: Collector) -> None:
    run_skipping(trace(tmp_path, collector.url, chat_answer(), headers={"traceparent": PARENT}))
    (span,) = collector.spans
    assert span.trace_id.hex() == PARENT.split("-")[1] and span.parent_span_id.hex() == PARENT.split("-")[2]


@pytest.mark.parametrize("header", ["", "00-zz-zz-01", "x" * 55, "0" * 9000])
def test_a_bad_traceparent_starts_a_trace(tmp_path: Path, collector: Collector, header: str) -> None:
    assert run_skipping(trace(tmp_path, collector.url, chat_answer(), headers={"traceparent": header})) == [200]
    (span,) = collector.spans
    assert not span.parent_span_id


def test_a_collector_that_is_gone_fails_no_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byway.tracing.tracer._STOP", 200)
    replies = [chat_answer()] * 20
    assert run_skipping(trace(tmp_path, "http://127.0.0.1:9/v1/traces", *replies)) == [200] * 20


def test_tracing_is_disabled_by_default(tmp_path: Path) -> None:
    async def run() -> None:
        async with MeteredApp(tmp_path) as app:
            await app.gateway.set_tracing(app.gateway.runtime.config.tracing)
            assert app.gateway.tracer is None

    run_skipping(run())


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        ("tracing: {headers: {authorization: '${NOPE}'}}", []),
        (
            "tracing: {enabled: true, headers: {authorization: '${NOPE}'}}",
            ["tracing.headers.authorization: warning: NOPE is not set, so tracing is disabled. Set the variable"],
        ),
        (
            "tracing: {enabled: true, endpoint: '${NOPE}'}",
            ["tracing.endpoint: warning: NOPE is not set, so tracing is disabled. Set the variable"],
        ),
    ],
)
def test_a_variable_that_is_not_set_disables_tracing_and_nothing_else(
    tmp_path: Path, text: str, warnings: list[str]
) -> None:
    config = load(text, {})
    assert [str(warning) for warning in config.warnings] == warnings

    async def run() -> None:
        async with MeteredApp(tmp_path) as app:
            await app.gateway.set_tracing(config.tracing)
            assert app.gateway.tracer is None

    run_skipping(run())


def test_missing_packages_are_reported_with_the_command_that_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracingchecks, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"requirements/otel\.txt"):
        load("tracing: {enabled: true}", {})


def test_a_public_collector_is_refused_with_local_only() -> None:
    with pytest.raises(ConfigError, match="local_only"):
        load("local_only: true\ntracing: {enabled: true, endpoint: https://collector.example.org/v1/traces}", {})
