"""What a signed-in Claude Code gets beside answers of models: settings, spending, and answers to telemetry and quota probes."""

from __future__ import annotations

import datetime
import hashlib
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from scripted import Say, Scripted
from test_signin import Wire

from byway.admin.managedsettings import MOST_MODELS, managed_settings
from byway.admin.spending import spent_cents
from byway.config import load
from byway.limits.limiter import RequestNames
from byway.messages.claudecode import is_quota_probe
from byway.messages.request import parse
from byway.runtime import Runtime
from byway.signin.contract import SAFE_VARIABLES
from byway.signin.settings import checksum, matches
from byway.usage.record import UsageRecord


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    opened = Wire(tmp_path)
    yield opened
    opened.close()


def runtime(*models: tuple[str, int | None], type: str = "generic", **sections: Any) -> Runtime:
    """A runtime with one backend that serves these models with these windows."""
    entries = [name if window is None else {"id": name, "window": window} for name, window in models]
    backend = {"name": "box", "type": type, "url": "http://127.0.0.1:9", "models": entries}
    return Runtime(load(json.dumps({"backends": [backend], **sections}), {}))


# -------------------------------------------------------------------------------------------------------------- settings


def test_the_checksum_is_that_of_the_client() -> None:
    text = '{"a":{"b":"ä","c":[1,0.5]},"z":true}'
    assert (
        checksum({"z": True, "a": {"c": [1, 0.5], "b": "ä"}}) == f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    )


def test_a_client_that_has_the_settings_gets_304_and_only_then(wire: Wire) -> None:
    token = wire.sign_in()["access_token"]
    status, body, answer = wire.client("GET", "/managed/settings", token)
    assert status == 200 and set(body) == {"uuid", "checksum", "settings"}
    etag = answer.headers["etag"]
    assert etag == f'"{body["checksum"]}"' == f'"{checksum(body["settings"])}"'
    status, empty, answer = wire.client("GET", "/anthropic/managed/settings", token, if_none_match=etag)
    assert (status, empty, answer.headers["etag"]) == (304, None, etag)
    assert wire.client("GET", "/managed/settings", token, if_none_match='"sha256:other"')[0] == 200
    assert matches('W/"a", "b"', "b") and matches("*", "b") and not matches("", "b")


def test_the_settings_are_for_signed_in_clients_only(wire: Wire) -> None:
    for token in ("", "sk-byway-at-unknown"):
        assert wire.client("GET", "/managed/settings", token)[0] == 401


@pytest.mark.parametrize("prefix", ["", "/anthropic"])
def test_web_search_is_sent_over_https_only(tmp_path: Path, prefix: str) -> None:
    search = {"enabled": True, "provider": "searxng", "base_url": "http://127.0.0.1:9"}
    wire = Wire(tmp_path, json.dumps({"web_search": search, "server": {"trusted_proxies": ["127.0.0.1"]}}))
    try:
        tokens = wire.sign_in()
        path, forwarded = f"{prefix}/managed/settings", {"x_forwarded_proto": "https"}
        assert "managedMcpServers" not in wire.client("GET", path, tokens["access_token"])[1]["settings"]
        body = wire.client("GET", path, tokens["access_token"], **forwarded)[1]
        server = body["settings"]["managedMcpServers"]["byway"]
        assert server["type"] == "http" and server["url"] == f"https://127.0.0.1:38080{prefix}/mcp"
        assert body["settings"]["permissions"] == {"allow": ["mcp__byway__web_search"]}
        token = server["headers"]["Authorization"].removeprefix("Bearer ")
        assert token not in tokens.values()
        assert (
            wire.client(
                "POST",
                f"{prefix}/mcp",
                token,
                '{"jsonrpc": "2.0", "id": 1, "method": "ping"}',
                content_type="application/json",
            )[0]
            == 200
        )
        again = wire.client("GET", path, wire.renew(tokens["refresh_token"])[1]["access_token"], **forwarded)[1]
        assert again["checksum"] == body["checksum"], "new tokens change nothing"
    finally:
        wire.close()


def test_the_settings_need_neither_a_store_nor_a_backend(wire: Wire) -> None:
    token = wire.sign_in()["access_token"]
    wire.store.close()
    wire.gateway.runtime.backends["box"].set_state("failed", "gone")
    assert wire.client("GET", "/managed/settings", token)[0] == 200
    assert "modelPicker" not in managed_settings(runtime()), "the backend has listed no model yet"


def test_the_settings_name_the_default_model_the_small_one_and_every_usable_model() -> None:
    made = runtime(("big", 262_144), ("mid", 65_536), model_aliases={"default": "box/big"})
    settings = managed_settings(made)
    assert settings["env"]["ANTHROPIC_DEFAULT_MODEL"] == "big"
    for name in (settings["env"]["ANTHROPIC_SMALL_FAST_MODEL"], "big", "mid"):
        assert made.resolve(name).targets, name
    assert settings["modelPicker"]["replaceBuiltInOptions"] is True
    assert [(option["model"], option["label"]) for option in settings["modelPicker"]["options"]] == [
        ("big", "big"),
        ("mid", "mid"),
    ]
    assert "64k window" in settings["modelPicker"]["options"][1]["description"]
    assert settings["skipWebFetchPreflight"] is True


def test_the_window_is_that_of_the_smallest_model_that_holds_a_session() -> None:
    made = runtime(
        ("big", 262_144), ("mid", 65_536), ("tiny", 8_192), ("unknown", None), model_aliases={"default": "big"}
    )
    settings = managed_settings(made)
    assert [option["model"] for option in settings["modelPicker"]["options"]] == ["big", "mid", "unknown"]
    assert settings["env"]["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == str(65_536 + 8_192 + 12_288)
    assert settings["env"]["CLAUDE_CODE_MAX_OUTPUT_TOKENS"] == "8192"


def test_only_settings_that_need_no_approval_are_sent() -> None:
    settings = managed_settings(runtime(("big", 65_536), prices={"big": {"input": 3, "output": 15}}))
    assert set(settings) <= {"env", "modelPicker", "modelPricing", "skipWebFetchPreflight"}
    assert set(settings["env"]) <= SAFE_VARIABLES
    assert not any("behavesAs" in option for option in settings["modelPicker"]["options"])


def test_known_prices_are_sent_in_dollars_and_unknown_ones_are_not() -> None:
    made = runtime(("dear", None), ("odd", None), prices={"dear": {"input": 3, "output": 15, "cached": 0.3}})
    prices = managed_settings(made)["modelPricing"]["overrides"]
    assert prices["dear"]["input"] == 3 and prices["dear"]["output"] == 15 and prices["dear"]["cacheRead"] == 0.3
    assert isinstance(prices["dear"]["input"], int), "the client hashes 3, not 3.0"


def test_the_models_of_the_picker_are_those_the_caller_may_use_and_at_most_a_hundred() -> None:
    made = runtime(*((f"m{number}", None) for number in range(MOST_MODELS + 5)))
    assert len(managed_settings(made)["modelPicker"]["options"]) == MOST_MODELS
    assert [option["model"] for option in managed_settings(made, ["m7"])["modelPicker"]["options"]] == ["m7"]


def test_claudes_own_models_keep_the_clients_own_settings() -> None:
    made = runtime(("claude-opus-5-5", None), type="anthropic")
    assert managed_settings(made) == {}


# -------------------------------------------------------------------------------------------------------------- spending


def test_usage_shows_what_the_account_has_spent_today_this_week_and_this_month(wire: Wire) -> None:
    wire.as_account("ada")
    token = wire.sign_in()["access_token"]
    assert wire.client("GET", "/api/oauth/usage", token)[0] == 404, "no usage is recorded"
    wire.gateway.usage = object()  # type: ignore[assignment]
    record = UsageRecord("req_1", time.time(), account="ada", cost=1_235_000_000)
    other = UsageRecord("req_2", time.time(), account="bob", cost=9_000_000_000)
    wire.store.usage.add("journal", 0, 1, [record, other])
    status, body, answer = wire.client("GET", "/anthropic/api/oauth/usage", token)
    assert status == 200 and answer.headers["cache-control"] == "no-store"
    spent = {"limit": None, "used_credits": 124, "utilization": None}
    assert body["limits"] == [] and body["extra_usage"] == {
        "is_enabled": True,
        "monthly_limit": None,
        "used_credits": 124,
        "utilization": None,
        "currency": "USD",
        "daily": spent,
        "weekly": spent,
    }


def test_usage_shows_the_budgets_of_the_account_and_the_dollars_of_the_one_that_is_used_most(tmp_path: Path) -> None:
    limits = [
        {"for": "account", "budget": 20, "period": "month"},
        {"for": "global", "budget": 4, "period": "day"},
        {"for": "model", "name": "other", "budget": 1, "period": "day"},
        {"for": "account", "name": "bob", "budget": 1, "period": "day"},
    ]
    wire = Wire(tmp_path, json.dumps({"limits": limits}))
    wire.as_account("ada")
    token = wire.sign_in()["access_token"]
    limiter = wire.gateway.runtime.limiter
    assert limiter is not None
    limiter.trust_counts()
    names = RequestNames("", "ada", "", "default")
    for counts in limiter.budgets(names, time.monotonic(), time.time()):
        assert counts.spending is not None
        counts.spending.spent = 3_100_000_000
    status, body, _ = wire.client("GET", "/api/oauth/usage", token)
    assert status == 200
    assert [(row["group"], row["percent"], row["severity"], row["is_active"]) for row in body["limits"]] == [
        ("monthly", 15, "normal", False),
        ("daily", 77, "warning", True),
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT00:00:00\.000Z", row["resets_at"]) for row in body["limits"])
    assert body["extra_usage"] == {
        "is_enabled": True,
        "monthly_limit": 400,
        "used_credits": 310,
        "utilization": 77,
        "currency": "USD",
    }
    wire.close()


def test_spending_counts_days_weeks_from_monday_and_months_in_utc(wire: Wire) -> None:
    caller = msgspec.structs.replace(wire.gateway.runtime.keyring.check({}, 0.0), account="ada")
    days = {"sunday": (2026, 11, 29), "monday": (2026, 11, 30), "october": (2026, 10, 31)}
    times = {name: datetime.datetime(*day, 12, tzinfo=datetime.UTC).timestamp() for name, day in days.items()}
    records = [
        UsageRecord(f"req_{name}", at, account="ada", cost=cost)
        for (name, at), cost in zip(times.items(), (10_000_000, 20_000_000, 40_000_000), strict=True)
    ]
    wire.store.usage.add("journal", 0, 1, records)
    assert spent_cents(wire.store.usage, caller, times["monday"]) == (2, 2, 3)
    assert spent_cents(wire.store.usage, caller, times["sunday"]) == (3, 3, 3)


# ------------------------------------------------------------------------------------------------------------- telemetry


@pytest.mark.parametrize("signal", ["metrics", "logs", "traces"])
def test_telemetry_is_counted_and_never_kept(wire: Wire, signal: str) -> None:
    token = wire.sign_in()["access_token"]
    body = json.dumps({"resourceLogs": [{"prompt": "a secret prompt"}]})
    status, empty, _ = wire.client("POST", f"/v1/{signal}", token, body, content_type="application/json")
    assert (status, empty) == (200, {})
    status, nothing, answer = wire.client(
        "POST", f"/anthropic/v1/{signal}", token, "\x0a\x00", content_type="application/x-protobuf"
    )
    assert (status, nothing, answer.headers["content-type"]) == (200, None, "application/x-protobuf")
    shown = json.loads(wire.call("GET", "/byway/status", "", {"accept": "application/json"}).html)["telemetry"]
    assert shown[signal] == {"requests": 2, "bytes": len(body) + 2}
    assert sum(count["requests"] for count in shown.values()) == 2
    stored = b"".join(path.read_bytes() for path in wire.file.parent.iterdir() if path.is_file())
    assert b"secret prompt" not in stored


def test_telemetry_of_a_signed_out_client_is_refused(wire: Wire) -> None:
    tokens = wire.sign_in()
    wire.form("/oauth/revoke", token=tokens["access_token"])
    assert wire.client("POST", "/v1/metrics", tokens["access_token"], "{}")[0] == 401


# ----------------------------------------------------------------------------------------------------------- quota probe

PROBE = {"model": "claude-haiku-4-5-20251001", "max_tokens": 1, "messages": [{"role": "user", "content": "quota"}]}


def test_the_quota_probe_of_a_signed_in_client_reaches_no_model(tmp_path: Path) -> None:
    with Scripted(lambda request: Say("Hello.")) as server:
        backend = {"name": "box", "type": "generic", "url": server.url, "models": ["local"]}
        wire = Wire(tmp_path, json.dumps({"backends": [backend], "model_aliases": {"default": "box/local"}}))
        token = wire.sign_in()["access_token"]
        status, body, _ = wire.client("POST", "/v1/messages", token, json.dumps(PROBE))
        assert status == 200 and body["type"] == "message" and body["model"] == PROBE["model"]
        assert body["stop_reason"] == "max_tokens" and not server.requests
        wire.close()


@pytest.mark.parametrize(
    "change",
    [
        {"max_tokens": 2},
        {"stream": True},
        {"messages": [{"role": "user", "content": "quotas"}]},
        {"messages": [*PROBE["messages"], {"role": "assistant", "content": "x"}]},  # type: ignore[misc]
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "quota"}] * 2}]},
        {"system": "x" * 3_000},
    ],
)
def test_other_requests_are_no_quota_probe(change: dict[str, Any]) -> None:
    assert is_quota_probe(parse(json.dumps(PROBE).encode(), {}, "msg_1"))
    assert not is_quota_probe(parse(json.dumps({**PROBE, **change}).encode(), {}, "msg_1"))
