"""The troubleshooting tables row by row: each symptom has a live check that explains it, on the page and in `byway doctor`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from test_admin_api import Api

from byway.admin.requests import RequestLine
from byway.admin.verify import Verdict
from byway.clients import checks
from byway.clients.checks import LiveCheck
from byway.clients.fixes import FIXES, make_fix
from byway.clients.issuereport import IssueFacts, issue_report
from byway.clients.problemlist import ProblemList, ProblemRow, problem_list
from byway.clients.report import Finding
from byway.problems import Problem
from byway.scrub import Scrubber

#: What a user sees, and the check that explains it.
ROWS = {
    "Connection refused": "address",
    "Claude Code fails to connect": "address",
    "Request timed out": "test",
    "Authentication failed": "keys",
    "Model not found": "test",
    "could not parse the request": "test",
    "no models loaded": "test",
    "Model claude-haiku-4-5-20251001 not found": "small-model",
    "Slow responses with local models": "speed",
    "WebSearch returns zero results": "search",
    "HTTP 422: missing field input_schema": "tools",
    "the gateway receives zero requests": "clients",
}


@pytest.fixture
def api(tmp_path: Path) -> Api:
    return Api(tmp_path)


def run(api: Api) -> dict[str, LiveCheck]:
    return {check.id: check for check in asyncio.run(checks.checks(api.gateway))}


def answer_with(monkeypatch: pytest.MonkeyPatch, verdict: Verdict) -> None:
    async def verify(base: str, key: str, **options: object) -> Verdict:
        return verdict

    monkeypatch.setattr(checks, "verify", verify)


@pytest.mark.parametrize("symptom", ROWS)
def test_every_row_has_a_check(api: Api, symptom: str) -> None:
    results = run(api)
    assert symptom in results[ROWS[symptom]].symptoms


def test_row_connection_refused(api: Api) -> None:
    """Nothing listens at the address that clients are given."""
    check = run(api)["address"]
    assert (check.state, check.word) == ("bad", "refused")
    assert "http://127.0.0.1:9" in check.finding and "under Keys" in check.fix


def test_row_connection_refused_with_the_tcp_server_off(api: Api) -> None:
    api.gateway.services.base = None
    check = run(api)["address"]
    assert check.state == "warn" and "API over TCP" in check.fix


def test_row_reachable_address(api: Api) -> None:
    async def listen() -> LiveCheck:
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        async with server:
            api.gateway.services.base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            return next(check for check in await checks.checks(api.gateway) if check.id == "address")

    check = asyncio.run(listen())
    assert check.state == "good" and "ANTHROPIC_BASE_URL=http://127.0.0.1:" in check.finding
    assert check.finding.endswith("/anthropic.")


@pytest.mark.parametrize(
    ("summary", "layer", "hint", "where"),
    [
        ("Request timed out after 5 s", "server", "load it under Models", "/claude#endpoint"),
        ("Model not found", "model", "Set the alias `default`", "/claude#quick"),
        ("Byway could not parse the request", "server", "Update both", "/claude#endpoint"),
        ("No model loaded", "model", "Load a model", "/claude#quick"),
    ],
)
def test_row_of_the_test_request(
    api: Api, monkeypatch: pytest.MonkeyPatch, summary: str, layer: str, hint: str, where: str
) -> None:
    answer_with(monkeypatch, Verdict(False, summary, layer, "the error", hint))  # type: ignore[arg-type]
    check = run(api)["test"]
    assert (check.state, check.word, check.finding, check.fix, check.where) == (
        "bad",
        summary,
        "the error",
        hint,
        where,
    )


def test_row_authentication_failed(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, Verdict(False, "Authentication failed", "credential"))
    results = run(api)
    assert results["test"].word == "key required"
    assert results["keys"].word == "required" and "create a key" in results["keys"].fix


def test_row_model_claude_haiku_not_found(api: Api) -> None:
    api.file.write_text("backends: [{name: one, type: vllm, url: 'http://127.0.0.1:9', models: [a, b]}]\n")
    asyncio.run(api.reload())
    check = run(api)["small-model"]
    assert (check.state, check.word, check.where) == ("bad", "404", "/claude#aliases")
    assert "haiku alias or the default alias" in check.fix


def test_row_slow_responses_with_local_models(api: Api) -> None:
    assert run(api)["speed"].state == "none"
    for first_ms in (40_000.0, 30_000.0, 20_000.0):
        line = RequestLine("r", "POST", "/v1/messages", 200, 50_000, backend="one", model="big", first_ms=first_ms)
        api.gateway.requests.add(line, "")
    check = run(api)["speed"]
    assert check.state == "warn" and "30.0 s" in check.finding and "GPU" in check.fix


def test_row_websearch_returns_zero_results(api: Api) -> None:
    assert "until web search is enabled" in run(api)["search"].finding
    searxng = "web_search: {enabled: true, provider: searxng, base_url: 'http://127.0.0.1:9'}\n"
    api.file.write_text(searxng)
    asyncio.run(api.reload())
    check = run(api)["search"]
    assert check.state == "good" and "HTTP 429" in check.fix and "web_search loop round complete" in check.fix
    api.file.write_text("web_search: {enabled: true, provider: serper, api_key: '${NOT_SET_ANYWHERE}'}\n")
    asyncio.run(api.reload())
    assert run(api)["search"].state == "bad"


def test_row_http_422_missing_field_input_schema(api: Api) -> None:
    assert run(api)["tools"].state == "good"


def test_row_zero_requests_counts_only_clients(api: Api) -> None:
    """Byway's own test requests are no clients."""
    api.gateway.requests.add(RequestLine("r", "POST", "/v1/messages", 200, 5, probe=True), "")
    assert run(api)["clients"].word == "no requests"
    api.gateway.requests.add(RequestLine("r", "POST", "/v1/messages", 200, 5), "")
    assert run(api)["clients"].word == "ok"
    api.gateway.requests.add(RequestLine("r", "POST", "/v1/messages", 404, 5), "no such model")
    assert "no such model" in run(api)["clients"].finding
    for path in ("/metrics", "/byway/status", "/readyz"):
        line = RequestLine(id="req_9", method="GET", path=path, status=401, ms=1.0, problem="authentication")
        api.gateway.requests.add(line, "A key is required.")
    api.gateway.requests.add(RequestLine("r", "GET", "/anthropic/mcp", 405, 5, problem="method"), "Use POST.")
    assert "no such model" in run(api)["clients"].finding, "a scrape without a key is no request of a client"


def test_a_config_file_that_does_not_exist_is_not_called_good(api: Api) -> None:
    assert run(api)["config"].headline == "Config file: valid"
    api.file.unlink()
    check = run(api)["config"]
    assert check.word == "not present" and "does not exist" in check.finding


# ------------------------------------------------------------------------------------------------- the list, and its fixes


def dead_backends(number: int) -> str:
    lines = [f"  - {{name: dead-{at}, type: vllm, url: 'http://127.0.0.1:9', models: [m]}}" for at in range(number)]
    return "\n".join(["backends:", *lines]) + "\n"


def test_equal_causes_are_one_row_with_all_its_members(api: Api) -> None:
    api.file.write_text(dead_backends(24))
    asyncio.run(api.reload())
    for backend in api.gateway.runtime.backends.values():
        backend.state, backend.message = "failed", "Connection refused"
    rows = problem_list(run(api).values()).problems
    (row,) = [row for row in rows if row.repair == "check-backends"]
    assert (row.state, row.headline, row.text) == ("bad", "24 backends do not answer", "Connection refused")
    assert len(row.items) == 24 and row.items[3].title == "Backend dead-3 (vLLM)"


def test_problems_come_first_and_headlines_are_true_in_every_state(api: Api) -> None:
    api.file.write_text("backends: [{type: vllm, url: 'http://127.0.0.1:9', models: [m], api_key: '${NOT_SET_1}'}]\n")
    asyncio.run(api.reload())
    finding = Finding("model:x", "warning", "A finding", "Its text.", "Set it")
    rows = problem_list(run(api).values(), [finding])
    assert [row.state for row in rows.problems] == sorted(row.state for row in rows.problems)
    headlines = {row.headline for row in rows.problems}
    assert {"Config file: restart needed", "A finding"} <= headlines, headlines
    assert all(row.state == "good" for row in rows.healthy) and rows.healthy
    assert rows.counts[1] >= 2


@pytest.mark.parametrize(
    ("text", "check", "after"),
    [
        ("api_keys: {mode: permissive, api_keys: [{key: sk-1234567890, id: a}]}\n", "keys", "mode: permissive"),
        ("server: {tcp: false}\n", "address", "tcp: false"),
        ("backends: [{name: one, type: vllm, url: 'http://127.0.0.1:9', models: [a, b]}]\n", "small-model", ""),
    ],
)
def test_a_check_offers_the_fix_that_byway_makes(api: Api, text: str, check: str, after: str) -> None:
    api.file.write_text(text)
    asyncio.run(api.reload())
    if check == "address":
        api.gateway.services.base = None
    for backend in api.gateway.runtime.backends.values():
        backend.state = "ready"
    repair = run(api)[check].repair
    assert repair in FIXES
    done = asyncio.run(make_fix(api.gateway, repair, "the test"))
    assert done.endswith(".")
    assert not after or after not in api.file.read_text()
    assert run(api)[check].repair == "" or check == "address"


def test_a_fix_keeps_aliases_that_are_set(api: Api) -> None:
    backend = "backends: [{name: one, type: vllm, url: 'http://127.0.0.1:9', models: [a, b]}]\n"
    api.file.write_text(backend + "model_aliases: {opus: one/b}\n")
    asyncio.run(api.reload())
    for live in api.gateway.runtime.backends.values():
        live.state = "ready"
    asyncio.run(make_fix(api.gateway, "set-aliases", "the test"))
    aliases = api.gateway.runtime.config.model_aliases
    assert {name: list(targets) for name, targets in aliases.items()} == {"opus": ["one/b"], "default": ["one/a"]}


def test_an_unknown_fix_and_an_unneeded_restart_change_nothing(api: Api) -> None:
    with pytest.raises(Problem):
        asyncio.run(make_fix(api.gateway, "format-disk", "the test"))


def test_a_report_has_no_secrets_hosts_or_home(api: Api) -> None:
    secret = "sk-real-0123456789abcdef"
    rows = ProblemList(
        (
            ProblemRow(
                "bad",
                "Backend lab: failed",
                f"http://lab.corp.example:8000/v1 and http://ada:pw@10.1.2.3 refused {secret}",
            ),
            ProblemRow(
                "warn", "Config file: 1 warning", "/home/ada/byway.yaml and http://127.0.0.1:1, mail ada@corp.example"
            ),
        ),
        (),
        (),
    )
    facts = IssueFacts(
        "1", "3.12", "Linux", "http", "valid", [("vLLM", "failed")], rows, ["error at lab.corp.example 10.1.2.3"]
    )
    text = issue_report(facts, Scrubber([secret]).scrub, "/home/ada")
    for part in (secret, "corp.example:8000", "ada:pw", "10.1.2.3", "/home/ada", "ada@corp"):
        assert part not in text, part
    assert "http://127.0.0.1:1" in text and "~/byway.yaml" in text and "- Backends: vLLM failed" in text
