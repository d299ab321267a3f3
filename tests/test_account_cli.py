"""`byway account`, and the options of `byway key` for accounts, without a running Byway."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from byway.access.login import code_digest
from byway.cli.main import byway
from byway.store import FILE_NAME, Store, database


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(byway, [*arguments, "--data-dir", str(folder)])


def as_json(folder: Path, *arguments: str) -> Any:
    done = run(folder, *arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_an_account_is_added_listed_shown_changed_disabled_enabled_and_removed(tmp_path: Path) -> None:
    assert "byway account add" in run(tmp_path, "account", "list").stderr
    done = run(tmp_path, "account", "add", "ada", "--name", "Ada Lovelace", "--group", "lab")
    assert done.stdout == "Added ada (Ada Lovelace): member, group lab, organization default.\n"
    assert "byway key create NAME --account ada" in done.stderr
    assert "It has no key" in run(tmp_path, "account", "show", "ada").stderr
    done = run(tmp_path, "key", "create", "laptop", "--account", "ada", "--model", "haiku", "--model", "local/*")
    assert "of account ada: read, write, files for haiku, local/*; never expires" in done.stderr
    head, row = run(tmp_path, "account", "list").stdout.splitlines()
    assert head.split() == ["ID", "NAME", "ROLE", "GROUP", "ORGANIZATION", "STATE", "KEYS"]
    assert row.split() == ["ada", "Ada", "Lovelace", "member", "lab", "default", "active", "1"]
    first, head, row = run(tmp_path, "account", "show", "ada").stdout.splitlines()
    assert first.startswith("ada (Ada Lovelace): member, group lab, organization default, active, since 20")
    assert head.split()[:2] == ["KEY", "ID"] and "laptop" in row and "haiku, local/*" in row
    done = run(tmp_path, "account", "set", "ada", "--role", "viewer", "--group", "")
    assert done.stdout == "Changed ada (Ada Lovelace): viewer, organization default.\n"
    assert run(tmp_path, "account", "disable", "ada").stdout == "ada disabled: 1 key rejected.\n"
    assert "account disabled" in run(tmp_path, "key", "list").stdout
    assert run(tmp_path, "account", "enable", "ada").stdout == "ada enabled: 1 key accepted.\n"
    assert run(tmp_path, "account", "remove", "ada").stdout == "ada removed, 1 key revoked.\n"
    history = run(tmp_path, "key", "history").stdout
    assert all(f"account {done}" in history for done in ("added", "changed", "disabled", "enabled", "removed"))
    assert "byway account" in history


def test_a_login_code_is_printed_once_and_its_hash_is_kept(tmp_path: Path) -> None:
    run(tmp_path, "account", "add", "ada")
    done = run(tmp_path, "account", "link", "ada")
    code = done.stdout.strip()
    assert done.exit_code == 0 and len(code) == 14 and "within 15 minutes" in done.stderr
    assert "No Byway is running" in done.stderr, "without one there is no link"
    made = as_json(tmp_path, "account", "link", "ada")
    assert made["account"] == "ada" and made["url"] == "" and made["code"] != code
    assert code not in run(tmp_path, "key", "history").stdout
    with Store(tmp_path) as store:
        account = store.take_login_code(code_digest(code))
        assert account is not None and account.id == "ada"
    run(tmp_path, "account", "disable", "ada")
    refused = run(tmp_path, "account", "link", "ada")
    assert refused.exit_code != 0 and "byway account enable ada" in refused.output
    assert "There is no account 'nosuch'" in run(tmp_path, "account", "link", "nosuch").output


def test_json_output_is_that_of_the_api(tmp_path: Path) -> None:
    added = as_json(tmp_path, "account", "add", "ada", "--role", "owner")
    assert (added["id"], added["name"], added["role"], added["state"]) == ("ada", "ada", "owner", "active")
    assert as_json(tmp_path, "account", "list") == {"accounts": [added]}
    assert as_json(tmp_path, "account", "show", "ada") == {"account": added, "keys": []}
    assert as_json(tmp_path, "account", "set", "ada", "--name", "Ada")["name"] == "Ada"
    assert as_json(tmp_path, "account", "disable", "ada")["state"] == "disabled"
    assert as_json(tmp_path, "account", "enable", "ada")["state"] == "active"
    assert as_json(tmp_path, "account", "remove", "ada")["revoked"] == 0


def test_the_default_scopes_of_a_key_are_those_that_the_role_allows(tmp_path: Path) -> None:
    for id, scopes in (("owner", ["read", "write", "files"]), ("viewer", ["read"])):
        run(tmp_path, "account", "add", id, "--role", id)
        assert as_json(tmp_path, "key", "create", "laptop", "--account", id)["key"]["scopes"] == scopes


def test_a_key_is_rotated_with_a_grace(tmp_path: Path) -> None:
    id = as_json(tmp_path, "key", "create", "laptop")["key"]["id"]
    done = run(tmp_path, "key", "rotate", id, "--grace", "1h")
    assert "The old value is accepted until 20" in done.stderr
    assert "The old value" not in run(tmp_path, "key", "rotate", id).stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["account", "add", "Ada"], "not a valid id of an account"),
        (["account", "add", "ada", "--role", "king"], "'owner', 'member', 'viewer'"),
        (["account", "add", "taken"], "an account taken already"),
        (["account", "show", "none"], "byway account list"),
        (["account", "set", "none", "--name", "x"], "byway account list"),
        (["account", "disable", "none"], "byway account list"),
        (["account", "remove", "none"], "byway account list"),
        (["key", "create", "laptop", "--account", "none"], "byway account list"),
        (["key", "create", "laptop", "--account", "taken", "--scope", "admin"], "has the role member"),
        (["key", "rotate", "key_none", "--grace", "soon"], "is not a duration"),
        (["key", "rotate", "key_none", "--grace", "1h"], "byway key list"),
        (["key", "rotate", "key_none", "--grace", "31d"], "at most 30 days"),
    ],
)
def test_invalid_input_exits_with_2_and_changes_nothing(tmp_path: Path, arguments: list[str], words: str) -> None:
    run(tmp_path, "account", "add", "taken")
    done = run(tmp_path, *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert words in done.stderr
    assert [account["id"] for account in as_json(tmp_path, "account", "list")["accounts"]] == ["taken"]
    assert as_json(tmp_path, "key", "list") == {"keys": []}


def test_a_locked_database_is_an_error_and_the_account_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_BUSY_TIMEOUT", 0.05)
    run(tmp_path, "account", "add", "ada")
    with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME)) as other:
        other.execute("BEGIN IMMEDIATE")
        done = run(tmp_path, "account", "disable", "ada")
        assert (done.exit_code, done.stdout) == (1, "") and "is in use" in done.stderr and "Try again" in done.stderr
        other.execute("ROLLBACK")
    assert as_json(tmp_path, "account", "show", "ada")["account"]["state"] == "active"


@pytest.mark.parametrize("command", [["account", "list"], ["account", "add", "ada"], ["key", "list"]])
@pytest.mark.parametrize("fault", ["damaged", "does not have the tables"])
def test_an_unusable_database_exits_with_1_and_advice(tmp_path: Path, command: list[str], fault: str) -> None:
    with Store(tmp_path) as store, store.database.change():
        store.database.run("DROP TABLE accounts")
    if fault == "damaged":
        (tmp_path / FILE_NAME).write_bytes(b"something else " * 100)
    done = run(tmp_path, *command)
    assert (done.exit_code, done.stdout) == (1, "")
    assert fault in done.stderr and "restore a copy" in done.stderr
