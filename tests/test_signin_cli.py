"""`byway signin`: without a running Byway, and approval by one whose answers are scripted."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from byway.cli.main import byway
from byway.endpoints import running
from byway.endpoints.running import OwnerAnswer
from byway.store import SignInTokens, Store


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(byway, ["signin", *arguments, "--data-dir", str(folder)])


def test_sign_ins_are_listed_and_ended(tmp_path: Path) -> None:
    assert "No client is signed in" in run(tmp_path, "list").stderr
    with Store(tmp_path) as store:
        store.add_account("ada", "test")
        for number, account in enumerate(("", "ada")):
            access, refresh = bytes([number]) * 32, bytes([number + 2]) * 32
            tokens = SignInTokens(access, time.time() + 60, refresh, time.time() + 600)
            store.add_sign_in(account, "claude-code/2", "127.0.0.1", tokens)
    head, *rows = run(tmp_path, "list").stdout.splitlines()
    assert head.split() == ["ID", "ACCOUNT", "SINCE", "LAST", "USED", "ADDRESS", "CLIENT"] and len(rows) == 2
    [sign_in] = json.loads(run(tmp_path, "list", "--account", "ada", "--json").stdout)["sign_ins"]
    assert (sign_in["account"], sign_in["client"], sign_in["used_at"]) == ("ada", "claude-code/2", None)
    assert f"Sign-in {sign_in['id']} has ended" in run(tmp_path, "revoke", sign_in["id"]).stdout
    again = run(tmp_path, "revoke", sign_in["id"])
    assert again.exit_code == 2 and "byway signin list" in again.stderr
    left = json.loads(run(tmp_path, "list", "--json").stdout)["sign_ins"]
    assert json.loads(run(tmp_path, "revoke", left[0]["id"], "--json").stdout)["id"] == left[0]["id"]


def test_a_code_is_approved_or_denied_by_the_running_byway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "byway up" in run(tmp_path, "approve", "WDJB-MJHT").stderr
    sent = []
    answers = [
        OwnerAnswer(201, {"approved": True, "id": "signin_a", "client": "claude-code/2", "address": "127.0.0.1"}),
        OwnerAnswer(201, {"approved": False, "id": "", "client": "claude-code/2", "address": "127.0.0.1"}),
        OwnerAnswer(404, {"error": {"message": "No client waits with this code."}}),
    ]

    def request(folder: Path, method: str, path: str, body: object = None) -> OwnerAnswer:
        sent.append((method, path, body))
        return answers.pop(0)

    monkeypatch.setattr(running, "request", request)
    approved = run(tmp_path, "approve", "WDJB-MJHT")
    assert "claude-code/2 at 127.0.0.1" in approved.stdout and "byway signin revoke signin_a" in approved.stderr
    assert "Denied" in run(tmp_path, "approve", "WDJB-MJHT", "--deny").stdout
    unknown = run(tmp_path, "approve", "AAAA-AAAA")
    assert unknown.exit_code == 1 and "No client waits" in unknown.stderr
    assert [body["approve"] for _, _, body in sent] == [True, False, True]  # type: ignore[index]
