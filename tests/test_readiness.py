"""Readiness tests of models: a strong one, each failure of a broken one, the verdicts, and what is kept."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import scripted
from growth import assert_linear
from probed import Script, strong, weak
from scripted import Say, Scripted, Tool

from byway.admin.probes import PROBES, Facts, Probe, ProbeAnswer, ProbeResult, judge, long_text, long_tokens
from byway.admin.readiness import Readiness, ReadinessTests
from byway.admin.suitability import Measured, conclude
from byway.config import load
from byway.gateway import Gateway
from byway.problems import Problem
from byway.runtime import Runtime
from byway.server.probing import open_readiness
from byway.store import Store

NAMES = [probe.name for probe in PROBES]


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byway.admin.readiness._PAUSE", 0.01)
    monkeypatch.setattr("byway.admin.readiness._LONGEST_PAUSE", 0.01)
    monkeypatch.setattr("byway.pipeline.targets._PAUSE", 0.01)


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Store]:
    with Store(folder) as store:
        yield store


def config(server: Scripted, **fields: Any) -> str:
    backend = {"name": "one", "type": "generic", "url": server.url, "models": ["local"], **fields}
    return json.dumps({"backends": [backend], "model_aliases": {"default": "one/local"}})


@contextlib.asynccontextmanager
async def running(text: str, store: Store) -> AsyncIterator[Gateway]:
    gateway = Gateway(Runtime(load(text, {})), store)
    open_readiness(gateway)
    try:
        yield gateway
    finally:
        await gateway.readiness_tests.close()
        await gateway.runtime.close()


async def finished(tests: ReadinessTests, name: str = "one/local") -> Readiness:
    """Test a model, and wait for the result."""
    result = await tests.start(name)
    async with asyncio.timeout(120):
        while result.state == "running":
            await asyncio.sleep(0.01)
            now = tests.find(result.backend, result.model)
            assert now is not None
            result = now
    return result


def run(script: Script, folder: Path, name: str = "one/local", **fields: Any) -> Readiness:
    with Scripted(script) as server, opened(folder) as store:

        async def main() -> Readiness:
            async with running(config(server, **fields), store) as gateway:
                return await finished(gateway.readiness_tests, name)

        return asyncio.run(main())


def states(result: Readiness) -> dict[str, str]:
    return {probe.name: probe.state for probe in result.results}


@pytest.mark.parametrize("type", ["generic", "anthropic"])
def test_a_strong_model_passes_every_probe_and_is_good_for_agent_work(type: str, tmp_path: Path) -> None:
    result = run(strong, tmp_path, type=type)
    assert states(result) == dict.fromkeys(NAMES, "passed"), result
    assert (result.passed, result.total) == (len(PROBES), len(PROBES))
    assert (result.verdict, result.reasons) == ("good for agent work", ())
    assert "Quick Setup" in result.action
    assert result.input_tokens > 40_000 and result.at is not None and not result.old
    assert all(probe.request_id.startswith("req_") and probe.ms for probe in result.results)


def refusal(status: int, message: str) -> scripted.Reply:
    return scripted.openai_error(status, message, "invalid_request_error")


@pytest.mark.parametrize(
    ("probe", "answer", "state", "cause", "verdict"),
    [
        ("plain", Say(""), "failed", "empty", "does not work"),
        ("plain", Say("I am a teapot"), "failed", "wrong answer", "chat only"),
        ("plain", refusal(401, "bad key"), "failed", "API key rejected", "does not work"),
        ("plain", refusal(500, "CUDA error"), "failed", "server error", "does not work"),
        ("plain", refusal(429, "slow down"), "failed", "rate limit", "does not work"),
        ("plain", refusal(404, "The model `local` does not exist"), "failed", "model not found", "does not work"),
        ("tool_call", Say("It rains."), "failed", "no tool call", "chat only"),
        ("tool_call", Say("I call get_weather(city: Oslo)"), "failed", "tool call as text", "chat only"),
        ("tool_call", Say(tools=[Tool("get_time", {"zone": "x"})]), "failed", "wrong tool", "chat only"),
        ("tool_call", Say(tools=[Tool("get_weather", {"city": "Rome"})]), "failed", "wrong arguments", "chat only"),
        ("tool_result", Say(tools=[Tool("get_weather", {"city": "Oslo"})]), "failed", "called again", "chat only"),
        ("tool_result", Say("It is sunny."), "failed", "wrong answer", "chat only"),
        (
            "parallel",
            Say(tools=[Tool("get_weather", {"city": "Oslo"})]),
            "not supported",
            "one at a time",
            "good for agent work",
        ),
        ("forced_tool", Say("Noted."), "failed", None, "usable with limits"),
        (
            "forced_tool",
            Say(tools=[Tool("save_note", {"title": "Milk", "priority": "high"})]),
            "failed",
            "wrong arguments",
            "usable with limits",
        ),
        ("json_schema", Say("Berlin is in Germany"), "failed", "invalid JSON", "usable with limits"),
        ("json_schema", Say('{"town": "Berlin"}'), "failed", "wrong fields", "usable with limits"),
        ("thinking", Say("391"), "not supported", "no thinking", "good for agent work"),
        ("image", Say("I see nothing"), "not supported", "no images", "good for agent work"),
        ("image", refusal(400, "image input is not supported"), "not supported", "refused", "good for agent work"),
        ("long_prompt", Say("I do not know"), "failed", "needle not found", "usable with limits"),
        (
            "long_prompt",
            scripted.llamacpp_overflow(20_000, 16_384),
            "failed",
            "prompt too long",
            "usable with limits",
        ),
    ],
)
def test_each_failure_of_a_model_has_its_cause(
    probe: str, answer: Any, state: str, cause: str | None, verdict: str, tmp_path: Path
) -> None:
    result = run(weak(**{probe: answer}), tmp_path)
    shown = next(entry for entry in result.results if entry.name == probe)
    assert (shown.state, result.verdict) == (state, verdict), result
    assert cause is None or shown.cause == cause, shown
    assert shown.reason and "\n" not in shown.reason and len(shown.reason) < 300
    assert result.action


def test_without_a_plain_answer_nothing_else_is_requested(tmp_path: Path) -> None:
    with Scripted(weak(plain=refusal(401, "bad key"))) as server, opened(tmp_path) as store:

        async def main() -> Readiness:
            async with running(config(server), store) as gateway:
                return await finished(gateway.readiness_tests)

        result = asyncio.run(main())
        assert {json.loads(request.body)["model"] for request in server.requests} == {"local"}
        assert len(server.requests) <= 2
    assert set(states(result).values()) == {"failed", "not run"}
    assert "Secrets" in result.action


def test_a_model_without_a_cache_processes_every_prompt_again(tmp_path: Path) -> None:
    def again(request: scripted.Asked) -> Say:
        return Say("Two", tokens=(len(request.body) // 3, 20), wait=0.5)

    result = run(weak(prefix_reuse=again, long_prompt=lambda request: Say("4419-cobalt", wait=0.2)), tmp_path)
    assert states(result)["prefix_reuse"] == "failed" and result.verdict == "usable with limits"


def test_a_wrong_token_count_is_named(tmp_path: Path) -> None:
    with Scripted(strong, count=9_999) as server, opened(tmp_path) as store:

        async def main() -> Readiness:
            async with running(config(server, type="anthropic"), store) as gateway:
                return await finished(gateway.readiness_tests)

        result = asyncio.run(main())
    shown = next(probe for probe in result.results if probe.name == "token_count")
    assert (shown.state, shown.cause) == ("failed", "wrong count") and "9,999" in shown.reason


def test_what_byway_learned_from_refusals_is_listed(tmp_path: Path) -> None:
    def refusing(request: scripted.Asked) -> Say | scripted.Reply:
        if "max_tokens" in request.json:
            return refusal(
                400,
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
                "'max_completion_tokens' instead.",
            )
        return strong(request)

    result = run(refusing, tmp_path)
    assert result.verdict == "good for agent work"
    assert any("max_completion_tokens" in words for words in result.learned), result.learned


def test_probes_are_listed_as_byways_own_and_count_for_no_client(tmp_path: Path) -> None:
    with Scripted(strong) as server, opened(tmp_path) as store:

        async def main() -> Gateway:
            async with running(config(server), store) as gateway:
                await finished(gateway.readiness_tests)
                return gateway

        gateway = asyncio.run(main())
    recent = gateway.requests
    assert len(recent.newest()) >= len(PROBES) and recent.by_clients() == [] and recent.alias_uses() == {}
    assert all(request.line.probe for request in recent.newest())


def test_the_result_is_kept_and_is_old_when_the_window_changes(tmp_path: Path) -> None:
    with Scripted(strong) as server:

        async def first() -> Readiness:
            async with running(config(server), store) as gateway:
                return await finished(gateway.readiness_tests, "claude-opus-5-5")

        async def later(**fields: Any) -> list[Readiness]:
            async with running(config(server, **fields), store) as gateway:
                assert gateway.readiness_tests.find("one", "nosuch") is None
                return gateway.readiness_tests.results()

        with opened(tmp_path) as store:
            result = asyncio.run(first())
            assert (result.backend, result.model) == ("one", "local")
        with opened(tmp_path) as store:
            assert asyncio.run(later()) == [result]
            [old] = asyncio.run(later(type="vllm"))
            assert "type" in old.old and old.verdict == result.verdict
            assert asyncio.run(later(name="two")) == []


def test_only_two_models_are_tested_at_once_and_one_only_once(tmp_path: Path) -> None:
    gate = scripted.Gate()

    def waiting(request: scripted.Asked) -> Say:
        return Say("ready", edit=lambda steps: [gate, *steps])

    with Scripted(waiting, models=("a", "b", "c")) as server, opened(tmp_path) as store:
        text = config(server, models=["a", "b", "c"])

        async def main() -> None:
            async with running(text, store) as gateway:
                tests = gateway.readiness_tests
                first = await tests.start("one/a")
                assert first.state == "running" and first.current == "Plain answer"
                await tests.start("one/b")
                assert (await tests.start("one/a")).state == "running"
                with pytest.raises(Problem, match="being tested"):
                    await tests.start("one/c")
                assert len(tests.results()) == 2
                await tests.close()
                assert tests.results() == []

        try:
            asyncio.run(main())
        finally:
            gate.set()


@pytest.mark.parametrize(
    ("window", "tokens"), [(None, 20_000), (200_000, 20_000), (16_384, 9_830), (8_192, 4_915), (1_024, 1_500)]
)
def test_the_long_prompt_fits_the_window(window: int | None, tokens: int) -> None:
    facts = Facts(window=window)
    assert long_tokens(facts) == tokens
    assert tokens * 2 < len(long_text(tokens)) < tokens * 4


def results(**changed: ProbeResult) -> dict[str, ProbeResult]:
    passed = {probe.name: ProbeResult(probe.name, probe.title, "passed") for probe in PROBES}
    return {**passed, **changed}


@pytest.mark.parametrize(
    ("measured", "verdict", "words"),
    [
        (Measured(window=8_192), "chat only", "window"),
        (Measured(window=24_000), "usable with limits", "window"),
        (Measured(window=32_768), "good for agent work", ""),
        (Measured(window=None), "good for agent work", ""),
        (Measured(prompt_seconds=300.0), "usable with limits", "300 s"),
        (Measured(tokens_per_second=1.5), "usable with limits", "slow"),
    ],
)
def test_the_window_and_the_speed_limit_the_verdict(measured: Measured, verdict: str, words: str) -> None:
    conclusion = conclude(results(), measured)
    assert conclusion.verdict == verdict and words in " ".join(conclusion.reasons)


def test_a_cloud_without_a_cache_is_as_good() -> None:
    failed = ProbeResult("prefix_reuse", "Prefix reuse", "failed", "not reused", "x")
    assert conclude(results(prefix_reuse=failed), Measured(self_hosted=False)).verdict == "good for agent work"
    assert conclude(results(prefix_reuse=failed), Measured()).verdict == "usable with limits"


def test_an_answer_without_an_end_is_cut(tmp_path: Path) -> None:
    endless = Say(["word " * 20_000] * 100)
    result = run(weak(tool_call=endless), tmp_path)
    shown = next(probe for probe in result.results if probe.name == "tool_call")
    assert (shown.state, shown.cause) == ("failed", "invalid answer") and "4 MiB" in shown.reason
    assert result.verdict == "chat only"


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_the_work_on_an_answer_grows_linearly(probe: Probe) -> None:
    def make(size: int) -> ProbeAnswer:
        content = (
            {"type": "thinking", "thinking": "hm " * size},
            {"type": "text", "text": "get_weather { ready " * size},
            {"type": "tool_use", "id": "a", "name": "get_time", "input": {"zone": "x" * size}},
        )
        return ProbeAnswer(200, content=content, stop="end_turn")

    def run(answer: ProbeAnswer) -> None:
        judge(probe, answer, Facts(answers={"long_prompt": answer, "tool_call": answer, "plain": answer}))

    # An answer has at most 4 MiB, of which `make` takes 24 bytes for each unit.
    assert_linear(make, run, bound=(4 << 20) // 24)
