"""Settings files of client programs: connect, the user's own edits, and disconnect, which restores what was not the user's."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_jsonc import files as documents

from byway import platform
from byway.clientfiles import changes, files, jsonc, plans, shell
from byway.clientfiles.changes import Setting
from byway.clientfiles.files import ClientFileError
from byway.clientfiles.folders import UserFolders
from byway.clientfiles.jsonc import JsoncError
from byway.clientfiles.ledger import FILE, Ledger
from byway.clientfiles.masking import Masker
from byway.clientfiles.plans import FilePlan
from byway.clientfiles.targets import TARGETS, ClientValues

URL = "http://127.0.0.1:38080/anthropic"
REAL_KEY = "sk-ant-api03-THE-USERS-REAL-KEY-0123456789"
VALUES = ClientValues(
    "byway",
    {
        "ANTHROPIC_BASE_URL": URL,
        "ANTHROPIC_AUTH_TOKEN": "byway-local",
        "ANTHROPIC_API_KEY": "",
        "CLAUDE_CODE_ATTRIBUTION_HEADER": "0",
    },
)
SETTINGS = [Setting(("env", name), value, name in ("ANTHROPIC_API_KEY",)) for name, value in VALUES.variables.items()]
URL_PATH = ("env", "ANTHROPIC_BASE_URL")


class Machine:
    """A user's home, a project, and Byway's data folder."""

    def __init__(self, root: Path, system: str = "linux", environ: Mapping[str, str] | None = None) -> None:
        self.home = root / "home"
        self.project = root / "project"
        for folder in (self.home, self.project):
            folder.mkdir()
        self.folders = UserFolders(self.home, self.project, environ or {}, system)  # type: ignore[arg-type]
        self.ledger = Ledger(root / "data")

    def plan(self, target: str = "claude", values: ClientValues = VALUES) -> list[FilePlan]:
        content = self.ledger.read()
        return [plans.plan_change(content, change) for change in TARGETS[target].plan(self.folders, values)]

    def connect(self, target: str = "claude", values: ClientValues = VALUES) -> list[FilePlan]:
        made = self.plan(target, values)
        plans.carry_out(self.ledger, made)
        return made

    def disconnect(self) -> list[FilePlan]:
        made = plans.plan_undo_all(self.ledger.read().files)
        plans.carry_out(self.ledger, made)
        return made


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    for module in ("files", "plans"):
        monkeypatch.setattr(f"byway.clientfiles.{module}._PAUSE", 0.002)
    return Machine(tmp_path)


def write(path: Path, text: str, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    path.chmod(mode)
    return path


# ------------------------------------------------------------------------------------------------- byte for byte


@given(documents())
def test_disconnect_restores_every_byte_of_any_file(text: str) -> None:
    try:
        done = changes.apply(text, SETTINGS, "jsonc", "salt", URL_PATH)
    except JsoncError:
        return
    undone = changes.undo(done.text, done.receipts, "jsonc", "salt", URL_PATH)
    assert (undone.text, undone.kept, undone.withheld) == (text, (), ())


USER_KEYS = st.sampled_from(["MINE", "ANTHROPIC_MODEL", *VALUES.variables])


@given(documents(), st.lists(st.tuples(USER_KEYS, st.one_of(st.none(), st.text(max_size=5))), max_size=4))
def test_disconnect_keeps_what_the_user_changed_since(text: str, edits: list[tuple[str, str | None]]) -> None:
    """The same edits made without Byway lead to the same values; what the user set stays."""
    try:
        done = changes.apply(text, SETTINGS, "jsonc", "salt", URL_PATH)
    except JsoncError:
        return
    after = done.text
    users: dict[str, str | None] = {}
    for name, new in edits:
        path = ("env", name)
        after = jsonc.remove(after, path) if new is None else jsonc.assign(after, path, new).text
        users[name] = new
    undone = changes.undo(after, done.receipts, "jsonc", "salt", URL_PATH)
    env = jsonc.value(undone.text, ("env",))
    env = {} if env is jsonc.MISSING else env
    before = jsonc.value(text, ("env",))
    expected = dict(before) if isinstance(before, dict) else {}
    for name, new in users.items():
        if new is None:
            expected.pop(name, None)
        elif new != VALUES.variables.get(name):
            expected[name] = new
    withheld = {changes.key_name(key.path).removeprefix("env.") for key in undone.withheld}
    # A withheld credential stays empty: the key before belonged to another address.
    assert {name: entry for name, entry in env.items() if name not in withheld} == {
        name: entry for name, entry in expected.items() if name not in withheld
    }
    whole, rest = jsonc.content(text), jsonc.content(undone.text)
    if isinstance(whole, dict):
        assert {**rest, "env": None} == {**whole, "env": None}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"model":"opus"}',
        '{\n  "env": {\n    "A": "b"\n  },\n  "hooks": {}\n}\n',
        '{\r\n\t"env": {}, // mine\r\n}\r\n',
        '\ufeff{\n    "theme": "dark", /* block */\n    // last\n}',
        "// only a comment\n",
        '{"env": {"ANTHROPIC_BASE_URL": "https://old.example/", "ANTHROPIC_API_KEY": "' + REAL_KEY + '"}}',
    ],
)
def test_connect_and_disconnect_restore_a_settings_file(machine: Machine, text: str) -> None:
    path = write(machine.home / ".claude" / "settings.json", text)
    machine.connect()
    assert json.loads(json.dumps(jsonc.value(path.read_text(), ("env",))))["ANTHROPIC_BASE_URL"] == URL
    machine.connect(values=VALUES._replace(variables={**VALUES.variables, "ANTHROPIC_BASE_URL": "http://[::1]:1"}))
    machine.disconnect()
    assert path.read_bytes() == text.encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert machine.ledger.read().files == ()


def test_a_file_and_folders_that_connect_created_are_removed_again(machine: Machine) -> None:
    machine.connect()
    path = machine.home / ".claude" / "settings.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    machine.disconnect()
    assert os.listdir(machine.home) == []


def test_connect_again_changes_nothing(machine: Machine) -> None:
    machine.connect()
    before = (machine.home / ".claude" / "settings.json").read_bytes()
    (again,) = machine.plan()
    assert not again.changes and again.receipt == again.previous
    machine.connect()
    assert (machine.home / ".claude" / "settings.json").read_bytes() == before
    assert len(machine.ledger.read().history) == 1


def test_a_helper_for_keys_is_emptied_and_restored(machine: Machine) -> None:
    path = write(machine.home / ".claude" / "settings.json", '{"apiKeyHelper": "/bin/real-key.sh"}')
    machine.connect()
    assert json.loads(path.read_text())["apiKeyHelper"] == ""
    machine.connect(values=VALUES._replace(endpoint="other"))
    assert json.loads(path.read_text())["apiKeyHelper"] == "", "a second connect keeps it empty"
    machine.disconnect()
    assert path.read_text() == '{"apiKeyHelper": "/bin/real-key.sh"}'


def test_a_credential_is_not_restored_beside_another_address(machine: Machine) -> None:
    """The user's key belonged to Anthropic. It must not be sent to the address that the user has set since."""
    path = write(machine.home / ".claude" / "settings.json", json.dumps({"env": {"ANTHROPIC_API_KEY": REAL_KEY}}))
    machine.connect()
    tree = json.loads(path.read_text())
    tree["env"]["ANTHROPIC_BASE_URL"] = "https://elsewhere.example"
    path.write_text(json.dumps(tree))
    (undone,) = machine.disconnect()
    assert undone.withheld == ("env.ANTHROPIC_API_KEY",) and undone.kept == ("env.ANTHROPIC_BASE_URL",)
    assert REAL_KEY not in path.read_text()
    # Once the address is gone, the key comes back.
    tree = json.loads(path.read_text())
    del tree["env"]["ANTHROPIC_BASE_URL"]
    path.write_text(json.dumps(tree))
    machine.disconnect()
    assert json.loads(path.read_text())["env"] == {"ANTHROPIC_API_KEY": REAL_KEY}
    assert machine.ledger.read().files == ()


def test_a_withheld_credential_survives_another_connect(machine: Machine) -> None:
    text = json.dumps({"env": {"ANTHROPIC_API_KEY": REAL_KEY}})
    path = write(machine.home / ".claude" / "settings.json", text)
    machine.connect()
    path.write_text(path.read_text().replace(URL, "https://elsewhere.example"))
    machine.connect()
    path.write_text(path.read_text().replace("https://elsewhere.example", URL))
    tree = json.loads(path.read_text())
    assert tree["env"]["ANTHROPIC_BASE_URL"] == URL and tree["env"]["ANTHROPIC_API_KEY"] == ""
    assert REAL_KEY in machine.ledger.path.read_text()


# ---------------------------------------------------------------------------------- files that are not plain files


def test_a_symbolic_link_stays_a_link(machine: Machine) -> None:
    real = write(machine.home / "dotfiles" / "claude.json", "{}\n")
    (machine.home / ".claude").mkdir()
    link = machine.home / ".claude" / "settings.json"
    link.symlink_to(real)
    machine.connect()
    assert link.is_symlink() and URL in real.read_text()
    machine.disconnect()
    assert link.is_symlink() and real.read_text() == "{}\n"


def test_a_link_to_nowhere_and_a_loop_are_refused(machine: Machine) -> None:
    (machine.home / ".claude").mkdir()
    link = machine.home / ".claude" / "settings.json"
    link.symlink_to(machine.home / "nowhere.json")
    with pytest.raises(ClientFileError, match="does not exist"):
        machine.plan()
    link.unlink()
    link.symlink_to(link)
    with pytest.raises(ClientFileError, match=r"Cannot read|does not exist"):
        machine.plan()


def test_a_read_only_file_is_refused_and_stays(machine: Machine) -> None:
    path = write(machine.home / ".claude" / "settings.json", "{}", 0o444)
    with pytest.raises(ClientFileError, match=r"read-only.*chmod u\+w"):
        machine.plan()
    assert path.read_text() == "{}"


@pytest.mark.parametrize("text", ['{"env": {"A": "b"', "{", '{"env": [1}'])
def test_a_half_written_file_is_refused_and_stays(machine: Machine, text: str) -> None:
    path = write(machine.home / ".claude" / "settings.json", text)
    with pytest.raises(ClientFileError, match="line 1, column"):
        machine.plan()
    assert path.read_text() == text and not (machine.ledger.path).exists()


def test_a_file_that_is_not_text_is_refused(machine: Machine) -> None:
    path = machine.home / ".claude" / "settings.json"
    path.parent.mkdir()
    path.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(ClientFileError, match="not UTF-8"):
        machine.plan()


def test_a_change_between_diff_and_write_is_refused(machine: Machine) -> None:
    path = write(machine.home / ".claude" / "settings.json", "{}")
    made = machine.plan()
    path.write_text('{"model": "opus"}')
    with pytest.raises(ClientFileError, match="changed by another program"):
        plans.carry_out(machine.ledger, made)
    assert path.read_text() == '{"model": "opus"}'
    machine.connect()
    machine.disconnect()
    assert path.read_text() == '{"model": "opus"}'


def test_the_lock_of_another_program_is_respected(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(machine.home / ".claude" / "settings.json", "{}")
    lock = path.with_name("settings.json.lock")
    lock.mkdir()
    monkeypatch.setattr(files, "_LOCK_WAIT", 0.01)
    with pytest.raises(ClientFileError, match="Another program has locked"):
        machine.connect()
    assert path.read_text() == "{}" and lock.is_dir()
    os.utime(lock, (0, 0))
    machine.connect()
    assert URL in path.read_text() and not lock.exists(), "a lock that a killed process left is removed"


@pytest.mark.parametrize("moment", ["before the file", "after the file"])
def test_a_process_that_is_killed_in_between_can_be_undone(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    path = write(machine.home / ".claude" / "settings.json", '{"model": "opus"}')
    machine.connect()
    real = files.write

    def killed(*arguments: Any) -> None:
        if moment == "after the file":
            real(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        machine.connect(values=VALUES._replace(endpoint="b", variables={**VALUES.variables, "X": "1"}))
    monkeypatch.undo()
    machine.disconnect()
    assert path.read_text() == '{"model": "opus"}'


# --------------------------------------------------------------------------------------------- secrets and permissions


def test_a_file_with_a_secret_is_private_and_gets_its_permissions_back(machine: Machine) -> None:
    path = write(machine.home / ".bashrc", "# mine\n", 0o644)
    secret = "byway-key-0123456789abcdef"
    values = ClientValues("work", {**VALUES.variables, "ANTHROPIC_AUTH_TOKEN": secret}, secret=True)
    machine.connect("bash", values)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and secret in path.read_text()
    assert secret not in machine.ledger.path.read_text()
    machine.disconnect()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644 and path.read_text() == "# mine\n"


def test_a_key_is_never_written_to_a_project(machine: Machine) -> None:
    values = ClientValues("work", {**VALUES.variables, "ANTHROPIC_AUTH_TOKEN": "secret-0123456789"}, secret=True)
    with pytest.raises(ClientFileError, match="Byway writes no key there"):
        machine.plan("project", values)
    machine.connect("project")
    assert (machine.project / ".claude" / "settings.json").exists()


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_a_diff_shows_no_secret(tmp_path: Path, target: str) -> None:
    machine = Machine(tmp_path, "macos")
    secret = "byway-key-0123456789abcdef-and-more"
    values = ClientValues("work", {**VALUES.variables, "ANTHROPIC_AUTH_TOKEN": secret}, secret=target != "project")
    if target == "project":
        values = VALUES
    path = TARGETS[target].path(machine.folders)
    assert path is not None
    if path.suffix == ".json":
        write(
            path,
            json.dumps(
                {
                    "env": {"ANTHROPIC_API_KEY": REAL_KEY, "OTHER": "https://user:pass-w0rd@host/"},
                    "mcpServers": {"x": {"headers": {"Authorization": "Bearer abcdefgh12345678"}}},
                    "note": "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
                },
                indent=1,
            ),
        )
    elif path.suffix:
        write(path, f"export ANTHROPIC_API_KEY={REAL_KEY}\nexport A=1 GH_TOKEN=abc-def-ghi\n# AWS_SECRET=zzz-yyy-xxx\n")
    masker = Masker([secret])
    for plan in machine.plan(target, values):
        text = plans.diff(plan, masker)
        if plan.file.path.name != "_meta.json":
            assert "127.0.0.1:38080" in text and (text.startswith("--- ")), text
        for hidden in (secret, REAL_KEY, "pass-w0rd", "abcdefgh12345678", "ghp_abc", "abc-def-ghi", "zzz-yyy-xxx"):
            assert hidden not in text, text


def test_the_ledger_is_private_and_a_damaged_one_is_an_error(machine: Machine) -> None:
    machine.connect()
    assert stat.S_IMODE(machine.ledger.path.stat().st_mode) == 0o600
    machine.ledger.path.write_bytes(b"{")
    with pytest.raises(ClientFileError, match=f"{FILE} is damaged"):
        machine.ledger.read()


def test_the_history_names_keys_and_no_values(machine: Machine) -> None:
    machine.connect()
    machine.disconnect()
    history = machine.ledger.read().history
    assert [entry.action for entry in history] == ["disconnect", "connect"]
    assert "env.ANTHROPIC_BASE_URL" in history[0].keys and URL not in str(history)


# ------------------------------------------------------------------------------------------------------- every target


@pytest.mark.parametrize("target", sorted(TARGETS))
@pytest.mark.parametrize("system", ["linux", "macos", "windows"])
def test_every_target_is_connected_and_restored(tmp_path: Path, target: str, system: str) -> None:
    machine = Machine(tmp_path, system)
    if target == "desktop" and system == "linux":
        with pytest.raises(ClientFileError, match="documents no settings file for this system"):
            machine.plan(target)
        return
    path = TARGETS[target].path(machine.folders)
    assert path is not None and path.is_relative_to(tmp_path)
    machine.connect(target)
    machine.connect(target)
    assert len(machine.ledger.read().files) <= 2
    machine.disconnect()
    assert [file for file in tmp_path.rglob("*") if file.is_file() and "data" not in file.parts] == []


@given(st.text(alphabet=st.characters(blacklist_categories=["Cs"], blacklist_characters="\r"), max_size=60))
def test_a_shell_profile_gets_every_byte_back(text: str) -> None:
    if shell.BEGIN in text:
        return
    settings = [Setting((name,), value) for name, value in VALUES.variables.items()]
    for form in ("bash", "fish", "powershell"):
        done = changes.apply(text, settings, form, "salt")
        assert changes.undo(done.text, done.receipts, form, "salt").text == text


def test_lines_that_the_user_changed_in_the_block_stay(machine: Machine) -> None:
    path = write(machine.home / ".bashrc", "alias ll='ls -l'")
    machine.connect("bash")
    text = path.read_text().replace("HEADER=0", "HEADER=1").replace(shell.END, f"export MINE=1\n{shell.END}")
    path.write_text(text)
    (undone,) = machine.disconnect()
    assert undone.kept == ("CLAUDE_CODE_ATTRIBUTION_HEADER",)
    assert path.read_text() == "alias ll='ls -l'\nexport CLAUDE_CODE_ATTRIBUTION_HEADER=1\nexport MINE=1\n"


def test_nothing_is_changed_when_what_undoes_it_does_not_fit(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(machine.home / ".claude" / "settings.json", f"{{\n  // {'x' * 4_000}\n}}\n")
    before = path.read_bytes()
    monkeypatch.setattr(platform, "PRIVATE_LIMIT", 4_000)
    with pytest.raises(ClientFileError, match="Undo some changes"):
        machine.connect()
    assert path.read_bytes() == before and machine.ledger.read().files == ()
