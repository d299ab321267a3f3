"""`byway config`: list, get, set, unset, history and restore, without a running Byway."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from configfolder import SECRET, TEXT, ConfigFolder
from configfolder import config_folder as config_folder
from hypothesis import given
from hypothesis import strategies as st

from byway.cli.main import byway
from byway.config import load, validators
from byway.store import Store, StoreError


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("backends.0.type", "openai"),
        ("backends.work.url", "https://api.openai.com"),
        ("backends.far.away.url", "http://127.0.0.1:1"),
        ("backends.0.models.0", "gpt-4.1"),
        ("model_aliases.gpt-4.1", "- work/big"),
        ("timeouts.connect", "7"),
        ("timeouts.drain", "30"),
        ("local_only", "false"),
        ("backends.0.proxy", "null"),
        ("server", 'bind_address:  # default\n  - "127.0.0.1:38080"'),
        ("timeouts", "connect: 7"),
    ],
)
def test_get_prints_one_setting(config_folder: ConfigFolder, path: str, says: str) -> None:
    done = config_folder("config", "get", path)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith(says + "\n")
    assert json.loads(config_folder("config", "get", path, "--json").stdout) is not SECRET


@pytest.mark.parametrize(
    ("written", "shown"),
    [("6MiB", "6MiB"), ("10485760", "10MiB"), ("2GB", "2GB"), ("1536KiB", "1536KiB"), ("1234567", "1234567")],
)
def test_get_prints_sizes_as_they_are_written(config_folder: ConfigFolder, written: str, shown: str) -> None:
    assert config_folder("config", "set", "files.max_file_size", written).exit_code == 0
    assert config_folder("config", "get", "files.max_file_size").stdout == f"{shown}\n"
    assert f"max_file_size: {shown}\n" in config_folder("config", "get").stdout.replace('"', "")
    assert 'quota: "10GiB"  # default' in config_folder("config", "get", "files", "--all").stdout
    number = config_folder.json("config", "get", "files.max_file_size")
    assert isinstance(number, int), "for programs it is the number of bytes"


@given(st.integers(0, 10**17))
def test_the_text_of_a_size_is_read_as_the_same_size(count: int) -> None:
    assert validators.size(str(validators.size_text(count))) == count


def test_get_prints_the_settings_as_yaml(config_folder: ConfigFolder) -> None:
    text = config_folder("config", "get").stdout
    assert 'api_key: "sk-…cdef"  # ${WORK_KEY}' in text and "default" not in text and "drain" not in text
    again = load(re.sub(r"  # .*", "", text).replace('"sk-…cdef"', "x"), {})
    assert again.backends[0].windows == {"big": 4096} and again.timeouts.connect == 7
    everything = config_folder("config", "get", "--all").stdout
    assert "  drain: 30  # default\n" in everything and "  connect: 7\n" in everything
    assert "model_metadata_file" not in everything, "what is not built is no setting yet"
    assert config_folder.json("config", "get")["backends"][0]["headers"] == {"x-team": "***"}
    config_folder.file.unlink()
    assert "no config file" in config_folder("config", "get").stderr


def test_get_without_a_file_shows_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BYWAY_CONFIG", raising=False)
    for name in ("HOME", "XDG_CONFIG_HOME", "BYWAY_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    done = CliRunner().invoke(byway, ["config", "get"])
    assert (done.exit_code, done.stdout) == (0, "") and "--all" in done.stderr
    assert CliRunner().invoke(byway, ["config", "get", "backends.0.type"]).stdout == "builtin\n"


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("servr", "Did you mean server?"),
        ("server.bind_adress", "Did you mean server.bind_address?"),
        ("backends.wrk", "Its members are: work, far.away"),
        ("timeouts.connect.x", "single value"),
        ("model_aliases.opus", "model_aliases.opus is not set"),
        ("backends.0.missing", "no setting"),
    ],
)
def test_an_unknown_path_is_answered_with_what_exists(config_folder: ConfigFolder, path: str, says: str) -> None:
    done = config_folder("config", "get", path)
    assert (done.exit_code, done.stdout) == (2, "") and says in done.stderr


def test_every_error_of_an_invalid_config_is_printed(config_folder: ConfigFolder) -> None:
    config_folder.file.write_text("nonsense: 1\ntimeouts: {connect: soon}\n")
    done = config_folder("config", "get", "timeouts")
    assert done.exit_code == 2 and "nonsense" in done.stderr and "duration" in done.stderr
    result = config_folder("config", "check", "--json")
    report = json.loads(result.stdout)
    assert result.exit_code == 2 and not report["good"]
    assert [complaint["line"] for complaint in report["complaints"]] == [1, 2]
    assert config_folder("config", "set", "timeouts.connect", "5s").exit_code == 2, "the other fault is still there"
    config_folder.file.write_text("timeouts: {connect: soon}\n")
    assert config_folder("config", "set", "timeouts.connect", "5s").exit_code == 0, "so a bad one can be mended"
    assert config_folder.json("config", "check")["good"]


@pytest.mark.parametrize(
    ("path", "value", "before", "after"),
    [
        ("timeouts.connect", "9s", "connect: 7s", 'connect: "9s"'),
        ("backends.far.away.weight", "5", ':1"}', ':1", weight: 5}'),
        ("backends.0.type", "anthropic", "type: openai", "type: anthropic"),
        ("model_aliases.gpt-4.1", "[work/big, far.away/x]", "gpt-4.1: work/big   #", None),
        ("backends.0.api_key", "${OTHER_KEY}", "${WORK_KEY} ", '"${OTHER_KEY}" '),
        ("backends.0.models.1.window", "8192", "window: 4096", "window: 8192"),
        ("backends.0.headers.x-team", "'7'", "x-team: red", 'x-team: "7"'),
        ("local_only", "false", "timeouts: {connect: 7s}\n", "timeouts: {connect: 7s}\nlocal_only: false\n"),
        ("web_search.fallback", "[{provider: searxng, base_url: 'http://127.0.0.1:2'}]", "mine", "mine"),
    ],
)
def test_set_changes_one_setting_and_keeps_the_rest_of_the_file(
    config_folder: ConfigFolder, path: str, value: str, before: str, after: str | None
) -> None:
    done = config_folder("config", "set", path, value)
    assert done.exit_code == 0, done.output
    if after is not None:
        assert config_folder.text.startswith(TEXT.replace(before, after))
    comments = re.compile("#.*")
    assert comments.findall(config_folder.text) == comments.findall(TEXT)
    load(config_folder.text, {})


def test_set_prints_the_old_value_and_the_consequences(config_folder: ConfigFolder) -> None:
    assert config_folder("config", "set", "timeouts.connect", "9s").stdout == "timeouts.connect: 9 (was 7)\n"
    assert config_folder("config", "set", "timeouts.connect", "9s").stdout == "timeouts.connect: 9 (no change)\n"
    changed = config_folder.json("config", "set", "server.bind_address", "127.0.0.1:4000")
    assert (changed["before"], changed["value"]) == (["127.0.0.1:38080"], ["127.0.0.1:4000"])
    assert changed["restart"] == ["server.bind_address"] and changed["changed"] and changed["running"] is False
    warned = config_folder("config", "set", "backends.work.api_key", "${NO_SUCH_KEY_1}")
    assert "backend 'work' is disabled" in warned.stderr and "${NO_SUCH_KEY_1}" in warned.stdout
    again = config_folder("config", "set", "timeouts.drain", "1")
    assert "NO_SUCH_KEY_1" not in again.stderr, "what was so before is no news"
    added = config_folder("config", "set", "--append", "backends", "{type: lmstudio}")
    assert added.stdout == "backends: extended\n"
    assert config_folder.json("config", "set", "--append", "model_aliases.gpt-4.1", "lmstudio/x")["value"] == [
        "work/big",
        "lmstudio/x",
    ]


def test_unset_restores_the_default(config_folder: ConfigFolder) -> None:
    assert config_folder("config", "unset", "timeouts.connect").stdout == "timeouts.connect: 5 (was 7)\n"
    assert config_folder("config", "unset", "timeouts.connect").stdout == "timeouts.connect: 5 (no change)\n"
    assert config_folder.json("config", "unset", "backends.far.away")["changed"]
    assert config_folder.json("config", "get", "backends") == [config_folder.json("config", "get", "backends.0")]
    assert "# the first one" in config_folder.text


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["timeouts.connect", "soon"], 2, "timeouts.connect: expected a duration"),
        (["server.workers", "-5"], 2, "from 0 to 256"),
        (["local_only", "yes"], 2, "true or false"),
        (["nonsense", "1"], 2, "There is no setting nonsense"),
        (["backends.7.url", "http://x"], 2, "there is no 7"),
        (["model_aliases.a", "[b"], 2, "closed"),
        (["model_aliases.a", "{b: 1, b: 2}"], 2, "twice"),
        (["backends", "{type: vlm}", "--append"], 2, "Did you mean vllm?"),
        (["timeouts", "{connect: 0s, drian: 1s}"], 2, "did you mean drain?"),
    ],
)
def test_an_invalid_value_is_not_written(
    config_folder: ConfigFolder, arguments: list[str], code: int, says: str
) -> None:
    done = config_folder("config", "set", *arguments)
    assert (done.exit_code, done.stdout) == (code, "") and says in done.stderr
    assert config_folder.text == TEXT


@pytest.mark.parametrize(
    ("arguments", "way"),
    [
        (["backends.0.api_key", SECRET], "byway config set backends.0.api_key '${BYWAY_OPENAI_API_KEY}'"),
        (["backends.0.api_key", "${X:-" + SECRET + "}"], "byway secret set openai"),
        (["backends", "{type: anthropic, api_key: " + SECRET + "}", "--append"], "byway secret set anthropic"),
        (["backends.1", "{type: ollama, headers: {Authorization: Bearer " + SECRET + "}}"], "headers.Authorization"),
        (["backends.0.headers.x-api-key", SECRET], "backends.0.headers.x-api-key is a secret"),
        (["backends.0.proxy", f"http://me:{SECRET}@127.0.0.1:1"], "backends.0.proxy is a secret"),
        (["web_search", "{provider: exa, api_key: " + SECRET + "}"], "web_search.api_key is a secret"),
        (["web_search.fallback", "[{provider: exa, api_key: " + SECRET + "}]"], "fallback.0.api_key"),
        (["api_keys.api_keys", "{key: " + SECRET + "}", "--append"], "byway key create"),
        (["api_keys", "{api_keys: [{key: " + SECRET + "}]}"], "byway key create"),
        (["backends.0.api_key", ""], "single quotes"),
    ],
)
def test_a_secret_on_the_command_line_is_rejected(config_folder: ConfigFolder, arguments: list[str], way: str) -> None:
    done = config_folder("config", "set", *arguments)
    assert done.exit_code == 2 and way in done.stderr
    assert config_folder.text == TEXT and SECRET[3:] not in done.output


def test_the_first_set_creates_the_file(tmp_path: Path) -> None:
    config_folder = ConfigFolder(tmp_path)
    config_folder.file.unlink()
    assert config_folder("config", "set", "model_aliases.default", "builtin/smollm2-135m-instruct").exit_code == 0
    assert config_folder.text == "model_aliases:\n  default: builtin/smollm2-135m-instruct\n"
    assert config_folder.file.stat().st_mode & 0o777 == 0o600


def test_history_show_and_rollback(config_folder: ConfigFolder) -> None:
    assert "no versions yet" not in config_folder("config", "history").output
    config_folder("config", "set", "timeouts.connect", "9s")
    config_folder("config", "set", "local_only", "false")
    head, *rows = config_folder("config", "history").stdout.splitlines()
    assert head.split() == ["VERSION", "WHEN", "WHO", "WHY"]
    assert [row.split()[0] for row in rows] == ["3", "2", "1"] and rows[0].startswith("3 *")
    assert "byway config" in rows[0] and "local_only set" in rows[0] and "outside Byway" in rows[2]
    newest, *_ = config_folder.json("config", "history", "--limit", "1")["versions"]
    assert (newest["number"], newest["current"]) == (3, True) and "text" not in newest
    shown = config_folder("config", "show", "2").stdout
    assert "-timeouts: {connect: 7s}\n" in shown and '+timeouts: {connect: "9s"}\n' in shown
    assert config_folder.json("config", "show", "3")["changes"][-1] == "+local_only: false"
    back = config_folder("config", "rollback", "1")
    assert back.exit_code == 0 and "byway config rollback 3" in back.stderr and config_folder.text == TEXT
    assert "(no change)" in config_folder("config", "rollback", "1").stdout
    assert config_folder.json("config", "rollback", "3")["changed"] and config_folder.text.endswith(
        "local_only: false\n"
    )
    for word in ("show", "rollback"):
        done = config_folder("config", word, "77")
        assert done.exit_code == 2 and "no version 77" in done.stderr


def test_a_rollback_to_an_invalid_config_changes_nothing(config_folder: ConfigFolder) -> None:
    config_folder.file.write_text("nonsense: 1\n")
    config_folder("config", "history")
    config_folder.file.write_text(TEXT)
    config_folder("config", "history")
    done = config_folder("config", "rollback", "1")
    assert done.exit_code == 2 and "nonsense" in done.stderr and config_folder.text == TEXT


def test_show_hides_secrets_in_every_notation(config_folder: ConfigFolder) -> None:
    secrets = [f"some-long-secret-{number}" for number in range(7)]
    a, b, c, d, e, f, g = secrets
    config_folder.file.write_text(
        f"backends:\n  - {{type: ollama, name: x, api_key: {a}}}\n  - type: ollama\n    name: y\n    api_key: >-\n      {b}\n"
        f"    headers: {{Authorization: 'Bearer {c}', 'cookie': {d}}}\n    proxy: http://me:{e}@127.0.0.1:1\n"
        f"rate_limiting:\n  bypass_keys:\n    - {f}\n#  api_key: {g}\n"
    )
    config_folder("config", "history")
    config_folder("config", "set", "local_only", "false")
    shown = config_folder("config", "show", "1").stdout
    assert "+    name: y" in shown and "type: ollama" in shown
    assert [secret for secret in secrets if secret in shown] == []
    assert not [value for value in secrets if value in config_folder("config", "show", "1", "--json").stdout]


def test_a_symbolic_link_is_not_written_through(config_folder: ConfigFolder, tmp_path: Path) -> None:
    real = tmp_path / "real.yaml"
    config_folder.file.rename(real)
    config_folder.file.symlink_to(real)
    done = config_folder("config", "set", "local_only", "false")
    assert done.exit_code == 1 and f"--config {real}" in done.stderr and "symbolic link" in done.stderr
    assert config_folder.file.is_symlink() and real.read_text() == TEXT
    assert config_folder("config", "get", "timeouts.connect").stdout == "7\n", "to read it is fine"
    assert config_folder("config", "set", "local_only", "false", "--config", str(real)).exit_code == 0


def test_a_write_protected_file_is_left_alone(config_folder: ConfigFolder) -> None:
    config_folder.file.chmod(0o444)
    done = config_folder("config", "set", "local_only", "false")
    assert done.exit_code == 1 and f"chmod u+w {config_folder.file}" in done.stderr and config_folder.text == TEXT


@pytest.mark.parametrize(("mode", "after"), [(0o640, 0o640), (0o660, 0o660), (0o644, 0o600), (0o600, 0o600)])
def test_the_group_permissions_of_the_file_are_kept(config_folder: ConfigFolder, mode: int, after: int) -> None:
    config_folder.file.chmod(mode)
    assert config_folder("config", "set", "local_only", "false").exit_code == 0
    assert config_folder.file.stat().st_mode & 0o777 == after


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="elsewhere: only root can give files away")
def test_the_owner_of_the_file_is_kept(config_folder: ConfigFolder) -> None:
    os.chown(config_folder.file, 12345, 12345)
    assert config_folder("config", "set", "local_only", "false").exit_code == 0
    facts = config_folder.file.stat()
    assert (facts.st_uid, facts.st_gid) == (12345, 12345)


def test_a_change_that_cannot_be_recorded_is_made_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config_folder = ConfigFolder(tmp_path)
    config_folder("config", "history")
    keep = Store.add_version

    def full(self: Store, text: str, who: str, why: str, file: str = "", **facts: Any) -> int:
        if "local_only" in text:
            raise StoreError("the disk is full")
        return keep(self, text, who, why, file, **facts)

    monkeypatch.setattr(Store, "add_version", full)
    done = config_folder("config", "set", "local_only", "false")
    assert done.exit_code == 0 and "the change was made, but not recorded in the history" in done.stderr
    assert config_folder.text.endswith("local_only: false\n")


def test_an_export_has_no_secret_and_its_import_changes_nothing(config_folder: ConfigFolder, tmp_path: Path) -> None:
    literal = "sk-literal-in-the-file-0123456789"
    config_folder.file.write_text(TEXT.replace("${WORK_KEY}", literal))
    before = load(config_folder.text, {})
    done = config_folder("config", "export")
    assert literal not in done.output and "${BYWAY_OPENAI_API_KEY}" in done.stdout and "# asleep" in done.stdout
    exported = config_folder.json("config", "export")
    assert exported["variables"][0] == {"name": "BYWAY_OPENAI_API_KEY", "settings": ["backends.0.api_key"], "new": True}
    target = tmp_path / "moved.yaml"
    assert "It contains no secrets" in config_folder("config", "export", str(target)).stdout
    assert config_folder("config", "export", str(target)).exit_code == 2, "an existing file is kept"
    assert config_folder("config", "export", str(target), "--force").exit_code == 0
    assert config_folder("config", "import", str(target), "--yes").exit_code == 0
    assert load(config_folder.text, {}) == before


def test_an_import_shows_its_changes_and_asks(config_folder: ConfigFolder, tmp_path: Path) -> None:
    before, new = config_folder.text, tmp_path / "new.yaml"
    new.write_text(before.replace("connect: 7s", "connect: 3s").replace("${WORK_KEY}", "${BYWAY_NO_SUCH_KEY}"))
    done = config_folder("config", "import", str(new))
    assert "+timeouts: {connect: 3s}" in done.stdout and "Not set here: BYWAY_NO_SUCH_KEY" in done.stderr
    assert config_folder.text == before and "add --yes" in done.stderr
    assert config_folder.json("config", "import", str(new), "--dry-run")["missing"] == ["BYWAY_NO_SUCH_KEY"]
    done = config_folder("config", "import", "-", "--yes", stdin=new.read_text())
    assert done.exit_code == 0 and config_folder.text == new.read_text() and "byway config rollback" in done.stderr
    assert "Nothing to change" in config_folder("config", "import", str(new)).stdout
    new.write_text("backends: 5\n")
    done = config_folder("config", "import", str(new), "--yes")
    assert done.exit_code == 2 and "new.yaml:1: error: backends" in done.stderr
