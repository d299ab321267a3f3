"""`byway key` without a running Byway: output, options and errors."""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from byway.cli.main import byway
from byway.store import FILE_NAME

KEY = re.compile(r"sk-byway-[A-Za-z0-9]{32}")


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(byway, ["key", *arguments, "--data-dir", str(folder)])


def test_the_key_alone_goes_to_stdout(tmp_path: Path) -> None:
    done = run(tmp_path / "new", "create", "laptop")
    assert done.exit_code == 0, done.output
    assert KEY.fullmatch(done.stdout.removesuffix("\n"))
    assert "laptop" in done.stderr and "read, write, files" in done.stderr and "never expires" in done.stderr
    assert "This is the first key" in done.stderr
    assert done.stdout.strip() not in done.stderr
    again = run(tmp_path / "new", "create", "phone")
    assert "This is the first key" not in again.stderr


def test_json_output_is_that_of_the_api(tmp_path: Path) -> None:
    made = json.loads(run(tmp_path, "create", "ci", "--scope", "write", "--scope", "read", "--json").stdout)
    key = made["key"]
    assert KEY.fullmatch(made["value"]) and made["is_first"]
    assert (key["name"], key["scopes"], key["expires_at"], key["state"]) == ("ci", ["read", "write"], None, "active")
    assert json.loads(run(tmp_path, "list", "--json").stdout) == {"keys": [key]}
    rotated = json.loads(run(tmp_path, "rotate", key["id"], "--json").stdout)
    assert (rotated["key"]["id"], rotated["value"] == made["value"]) == (key["id"], False)
    assert json.loads(run(tmp_path, "revoke", key["id"], "--json").stdout)["state"] == "revoked"
    history = json.loads(run(tmp_path, "history", "--json", "--limit", "2").stdout)["audit"]
    assert [entry["what"] for entry in history] == ["key revoked", "key rotated"]


@pytest.mark.parametrize(
    ("expires", "seconds"), [("30d", 30 * 86400), ("12h", 12 * 3600), ("1d 12h", 36 * 3600), ("90 d", 90 * 86400)]
)
def test_a_key_expires_after_a_duration(tmp_path: Path, expires: str, seconds: float) -> None:
    made = json.loads(run(tmp_path, "create", "a", "--expires", expires, "--json").stdout)
    ends = datetime.datetime.fromisoformat(made["key"]["expires_at"])
    wanted = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
    assert abs((ends - wanted).total_seconds()) < 30


@pytest.mark.parametrize(
    ("expires", "ends"), [("2099-01-01", "2099-01-01T00:00:00Z"), ("2099-01-01T12:00+02:00", "2099-01-01T10:00:00Z")]
)
def test_a_key_expires_at_a_time(tmp_path: Path, expires: str, ends: str) -> None:
    assert json.loads(run(tmp_path, "create", "a", "--expires", expires, "--json").stdout)["key"]["expires_at"] == ends


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["create", ""], "needs a name"),
        (["create", "a", "--scope", "root"], "'read', 'write', 'files', 'admin'"),
        (["create", "a", "--expires", "soon"], "is not 30d, 12h"),
        (["create", "a", "--expires", "30"], "is not 30d, 12h"),
        (["create", "a", "--expires", "999999999d"], "is not 30d, 12h"),
        (["create", "a", "--expires", "2020-01-01"], "this time is over"),
        (["create", "a", "--expires", "9999-12-31T23:59-12:00"], "out of range"),
        (["rotate", "key_none"], "byway key list"),
        (["revoke", "key_none"], "byway key list"),
    ],
)
def test_invalid_input_exits_with_2_and_changes_nothing(tmp_path: Path, arguments: list[str], words: str) -> None:
    done = run(tmp_path, *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert words in done.stderr
    assert json.loads(run(tmp_path, "list", "--json").stdout) == {"keys": []}


def test_an_unusable_store_exits_with_1_and_advice(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"something else " * 100)
    done = run(tmp_path, "list")
    assert done.exit_code == 1 and "damaged" in done.stderr and "move it away" in done.stderr
    (tmp_path / "file").touch()
    done = run(tmp_path / "file", "list")
    assert done.exit_code == 1 and "--data-dir" in done.stderr
