"""A running Byway and changes of its config file: unsafe ones are rejected, and SIGHUP reloads."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import time
from collections.abc import Iterator

import pytest
from gateway import Gateway, config
from scripted import Say, Scripted

from byway.config.watch import SETTLE_SECONDS

ADMIN = "admin-key-0123456789"
KEY = "client-key-0123456789"
HEAD = "# The gateway of the team.\nlogging: {format: json}\nbackends: []\n"
CONFIG = f"{HEAD}api_keys:\n  api_keys:\n  - key: {KEY}\n"
REJECTED = "config was rejected"


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with Gateway(CONFIG) as started:
        yield started


def is_closed(gateway: Gateway) -> bool:
    return gateway.get("/v1/models").status == 401


def accepts_key(gateway: Gateway) -> bool:
    return gateway.get("/v1/models", {"x-api-key": KEY}).status == 200


@pytest.mark.parametrize(
    "text",
    ["", "# only a comment\n", HEAD, f"{HEAD}api_keys:\n", f"{HEAD}api_keys:\n  api_keys: []\n"],
    ids=["empty", "comment", "cut before the keys", "cut after the section's name", "empty list"],
)
def test_a_file_that_lost_its_keys_is_rejected_and_readyz_says_why(gateway: Gateway, text: str) -> None:
    gateway.file.write_text(text)
    gateway.wait(lambda: REJECTED in gateway.text, what="the file was rejected")
    assert is_closed(gateway) and accepts_key(gateway)
    reason = gateway.get("/readyz").json["config"]
    assert "api_keys: this change would let clients in without a key" in reason and "permissive" in reason
    gateway.file.write_text(f"{CONFIG}timeouts: {{drain: 5}}\n")
    gateway.wait(lambda: gateway.get("/readyz").json["config"] == "good", what="the repaired file is in force")
    assert is_closed(gateway) and accepts_key(gateway)


@pytest.mark.parametrize("cut", [HEAD, CONFIG[: len(HEAD) + 7], ""], ids=["at a line", "in a word", "at the start"])
def test_a_save_in_two_halves_never_opens_the_gateway(gateway: Gateway, cut: str) -> None:
    began = time.monotonic()
    with gateway.file.open("w") as file:
        file.write(cut)
        file.flush()
        while time.monotonic() < began + 0.7:
            assert is_closed(gateway)
        file.write(f"{CONFIG}timeouts: {{drain: 7}}\n"[len(cut) :])
    halves = time.monotonic() - began
    gateway.wait(lambda: "Config loaded" in gateway.text, what="the whole file was loaded")
    assert is_closed(gateway) and accepts_key(gateway)
    assert REJECTED not in gateway.text or halves > SETTLE_SECONDS, "the first half was not even loaded"


def test_a_file_that_says_permissive_opens_the_gateway(gateway: Gateway) -> None:
    gateway.write(f"{HEAD}api_keys: {{mode: permissive}}\n")
    gateway.wait(lambda: not is_closed(gateway), what="no key is required any more")


def test_sighup_reloads_the_config_and_does_not_end_the_process(gateway: Gateway) -> None:
    gateway.process.send_signal(signal.SIGHUP)
    gateway.wait(lambda: "after SIGHUP" in gateway.text, what="the signal was handled")
    gateway.file.write_text("backends: [")
    gateway.process.send_signal(signal.SIGHUP)
    gateway.wait(lambda: REJECTED in gateway.text, what="the file was rejected")
    assert accepts_key(gateway) and gateway.process.poll() is None


def test_the_history_of_metrics_starts_with_the_reload_that_enables_metrics() -> None:
    with Scripted(lambda request: Say("ok")) as server, Gateway(config(server)) as gateway:
        database = gateway.home / "data/metrics.db"
        assert not database.exists()
        gateway.write(config(server, metrics={"enabled": True}))
        gateway.wait(database.exists, what="the history is open")
        body = {"model": "one/local", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
        assert gateway.post(body).status == 200
        gateway.process.terminate()
        assert gateway.process.wait(60) == 0
        with contextlib.closing(sqlite3.connect(database)) as opened:
            assert opened.execute("SELECT COUNT(*) FROM points").fetchone() == (1,), "the last point is stored"


def test_a_reload_records_an_edit_of_pushed_settings_in_the_audit_log(gateway: Gateway) -> None:
    def entries() -> list[tuple[str, str, str]]:
        log = gateway.get("/byway/audit", {"x-api-key": ADMIN}).json["audit"]
        return [(entry["who"], entry["what"], entry["detail"]) for entry in log]

    head = CONFIG + f"  - {{key: {ADMIN}, scopes: [admin]}}\n"
    gateway.write(head)
    gateway.wait(lambda: gateway.get("/byway/audit", {"x-api-key": ADMIN}).status == 200, what="the key is in force")
    edited = ("config file", "config file changed", "sign_in.settings")
    assert edited not in entries()
    gateway.write(f"{head}sign_in:\n  settings:\n  - env: {{MCP_TIMEOUT: '9'}}\n")
    gateway.wait(lambda: edited in entries(), what="the edit is in the audit log")
    gateway.write(f"{head}timeouts: {{drain: 5}}\nsign_in:\n  settings:\n  - env: {{MCP_TIMEOUT: '9'}}\n")
    gateway.wait(lambda: gateway.text.count("Config loaded") >= 3, what="another edit is in force")
    assert entries().count(edited) == 1
