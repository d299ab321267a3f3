"""`GET /metrics` for Prometheus: what is counted, its text, its bounds, and who may read it."""

from __future__ import annotations

import json
from pathlib import Path

from loops import run_skipping
from metered import MESSAGES, MeteredApp, chat_answer, chat_stream, failure
from pages import Pages
from prometheus_client.parser import text_string_to_metric_families

from byway.config import load
from byway.metrics.counts import OTHER, ModelKey, RequestMetrics
from byway.metrics.exposition import lines, request_families

#: Metrics are disabled by default.
ON = {"enabled": True}
BACKEND = {"name": "box", "type": "generic", "url": "http://127.0.0.1:9"}
Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def values(text: str) -> Values:
    """The samples of an answer by name and labels, as Prometheus' own parser reads them."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def exposed(metrics: RequestMetrics, vendors: dict[str, str] | None = None) -> Values:
    return values("".join(lines(request_families(metrics, vendors or {}))))


def sample(samples: Values, name: str, **labels: str) -> float:
    """The value of the one sample with this name and these labels among others."""
    wanted = set(labels.items())
    (value,) = [value for (each, pairs), value in samples.items() if each == name and wanted <= set(pairs)]
    return value


USAGE = {"prompt_tokens": 1200, "completion_tokens": 30, "prompt_tokens_details": {"cached_tokens": 1000}}


def test_requests_are_counted_with_their_tokens_and_times(tmp_path: Path) -> None:
    async def run() -> RequestMetrics:
        async with MeteredApp(tmp_path, metrics=ON) as app:
            app.answers(chat_answer(USAGE), chat_answer(USAGE), failure(503))
            await app.request()
            await app.request()
            await app.request()
            await app.request(path="/v1/nothing")
            await app.request(b"{", path=MESSAGES)
            assert app.gateway.metrics is not None
            return app.gateway.metrics

    samples = exposed(run_skipping(run()), {"box": "generic"})
    http = {dict(labels)["status"]: value for (name, labels), value in samples.items() if name == "http_requests_total"}
    assert sample(samples, "http_requests_total", endpoint="/v1/messages", method="POST", status="200") == 2
    assert sample(samples, "http_requests_total", endpoint="other", status="404") == 1
    assert set(http) == {"200", "404", "400", "529"}
    model = {"backend": "box", "gen_ai_request_model": "local", "gen_ai_provider_name": "generic"}
    tokens = "gen_ai_client_token_usage_tokens"
    assert sample(samples, f"{tokens}_sum", gen_ai_token_type="input", **model) == 400
    assert sample(samples, f"{tokens}_sum", gen_ai_token_type="output", **model) == 60
    assert sample(samples, f"{tokens}_bucket", gen_ai_token_type="input", le="256", **model) == 2
    assert sample(samples, f"{tokens}_bucket", gen_ai_token_type="input", le="64", **model) == 0
    assert sample(samples, "byway_cached_tokens_total", **model) == 2000
    durations = {
        dict(labels).get("error_type"): value
        for (name, labels), value in samples.items()
        if name == "gen_ai_server_request_duration_seconds_count"
    }
    assert durations == {None: 2, "529": 1}
    assert sample(samples, "gen_ai_server_request_duration_seconds_bucket", le="+Inf", error_type="529") == 1
    assert sample(samples, "byway_problems_total", kind="invalid_request") == 1


def test_the_time_to_the_first_content_of_a_stream_is_counted(tmp_path: Path) -> None:
    async def run() -> RequestMetrics:
        async with MeteredApp(tmp_path, metrics=ON) as app:
            app.answers(chat_stream(USAGE))
            body = {"model": "m", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
            assert (await app.request(body))[0] == 200
            assert app.gateway.metrics is not None
            return app.gateway.metrics

    metrics = run_skipping(run())
    ((key, model),) = metrics.models.items()
    assert key == ModelKey("box", "local", 200)
    assert sum(model.first_token.counts) == 1 and 0 < model.first_token.sum <= model.duration.sum


def test_names_are_bounded_and_escaped() -> None:
    metrics = RequestMetrics(3)
    for number in range(10):
        metrics.model("box", f"model {number}", 200).input_tokens.observe(1)
        metrics.count("GET", f"/path/{number}", 200, "")
        metrics.count(f"METHOD-{number}", "/livez", 405, "method")
    assert set(metrics.models) == {ModelKey("box", f"model {number}", 200) for number in range(3)} | {
        (OTHER, OTHER, 200)
    }
    assert sum(sum(model.input_tokens.counts) for model in metrics.models.values()) == 10
    assert len(metrics.http) <= 3 + 2 and sum(metrics.http.values()) == 20
    assert {key.method for key in metrics.http} == {"GET", OTHER}
    metrics = RequestMetrics(3)
    metrics.model('a"b\\c', "line\nbreak", 200).duration.observe(0.5)
    assert sample(exposed(metrics), "gen_ai_server_request_duration_seconds_sum", backend='a"b\\c') == 0.5
    assert (
        sample(exposed(metrics), "gen_ai_server_request_duration_seconds_count", gen_ai_request_model="line\nbreak")
        == 1
    )


def test_an_owner_reads_the_metrics_and_others_do_not(tmp_path: Path) -> None:
    pages = Pages(
        tmp_path,
        json.dumps({"backends": [BACKEND], "metrics": ON}),
    )
    try:
        answer = pages.get("/metrics")
        assert answer.status == 200 and answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        samples = values(answer.html)
        assert sample(samples, "byway_backend_up", backend="box") in (0, 1)
        assert sample(samples, "byway_requests_running") == 0 and sample(samples, "byway_config_valid") == 1
        assert sample(samples, "process_resident_memory_bytes") > 1_000_000
        pages.cookie = ""
        assert pages.get("/metrics").status == 401
    finally:
        pages.close()


def test_metrics_can_be_switched_off_and_on(tmp_path: Path) -> None:
    async def run() -> None:
        async with MeteredApp(tmp_path, metrics={"enabled": False}) as app:
            app.answers(chat_answer(USAGE))
            assert app.gateway.metrics is None
            assert (await app.request())[0] == 200
            app.gateway.set_metrics(load("metrics: {enabled: true}", {}).metrics)
            assert app.gateway.metrics is not None
            before = app.gateway.metrics
            await app.request()
            app.gateway.set_metrics(
                load("metrics: {enabled: true, cardinality_limit: {max_unique_label_values: 5}}", {}).metrics
            )
            assert app.gateway.metrics is before and before.most == 5 and len(before.models) == 1

    run_skipping(run())
