"""`byway login` without a running Byway."""

from __future__ import annotations

import json
import time
from pathlib import Path

from click.testing import CliRunner, Result

from byway.cli.main import byway
from byway.store import LoginRecord, Store


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(byway, ["login", *arguments, "--data-dir", str(folder)])


def log_in(folder: Path, *browsers: str) -> None:
    now = time.time()
    with Store(folder) as store:
        for number, browser in enumerate(browsers):
            digest = bytes([number]) * 32
            store.add_login(LoginRecord(digest.hex()[:12], digest, now - number, now + 600, browser))


def test_logins_are_listed_newest_first(tmp_path: Path) -> None:
    assert "No browser is logged in" in run(tmp_path, "list").stderr
    log_in(tmp_path, "Firefox", "Chrome")
    head, first, second = run(tmp_path, "list").stdout.splitlines()
    assert head.split() == ["ID", "ACCOUNT", "SINCE", "LAST", "SEEN", "EXPIRES", "BROWSER"]
    assert first.endswith("Firefox") and second.endswith("Chrome")
    logins = json.loads(run(tmp_path, "list", "--json").stdout)["logins"]
    assert [login["browser"] for login in logins] == ["Firefox", "Chrome"]


def test_one_login_is_revoked_and_then_all(tmp_path: Path) -> None:
    log_in(tmp_path, "Firefox", "Chrome", "Safari")
    id = json.loads(run(tmp_path, "list", "--json").stdout)["logins"][1]["id"]
    assert run(tmp_path, "revoke", id).stdout == "1 login revoked.\n"
    missing = run(tmp_path, "revoke", id)
    assert missing.exit_code == 2 and f"There is no login {id}" in missing.stderr
    assert json.loads(run(tmp_path, "revoke", "--all", "--json").stdout) == {"revoked": 2}
    assert json.loads(run(tmp_path, "list", "--json").stdout) == {"logins": []}


def test_revoke_requires_an_id_or_all(tmp_path: Path) -> None:
    for arguments in ([], ["000000000000", "--all"]):
        done = run(tmp_path, "revoke", *arguments)
        assert done.exit_code == 2 and "--all" in done.stderr
