"""The vault: where secrets are stored, which source wins, what is refused. No test reaches a keychain of this machine."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from byway.admin.services import AdminServices
from byway.backends.vendors import VENDORS
from byway.cli.configfile import ConfigSource, find
from byway.cli.main import byway
from byway.config import ConfigError, load
from byway.config.file import ConfigFile
from byway.scrub import Scrubber
from byway.secrets.names import ENTRIES, ENTRY_OF_VARIABLE, variables_in
from byway.secrets.vault import (
    KEYCHAIN_TIMEOUT,
    InvalidSecret,
    KeychainUnavailable,
    SecretsFileError,
    Vault,
    VaultError,
)
from byway.store import Store

chain = pytest.importorskip("chain")
VALUE = "serper-0123456789abcdef"
OTHER = "serper-fedcba9876543210"
USES = "x: ${BYWAY_SERPER_API_KEY}"
Use = Callable[[type], Any]


@pytest.fixture
def use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Use:
    """`use(Chain)` makes that the keychain."""

    def set(kind: type) -> Any:
        made = kind(tmp_path / "chain.json")
        monkeypatch.setattr("keyring.core._keyring_backend", made)
        return made

    return set


@pytest.fixture
def kept(use: Use) -> Any:
    """A keychain that works."""
    return use(chain.Chain)


@pytest.fixture
def none(use: Use) -> Any:
    """A system without a keychain."""
    from keyring.backends import fail

    return use(lambda path: fail.Keyring())  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


def files(folder: Path) -> dict[str, str]:
    """The files that may contain secrets: all of the data folder but the store."""
    if not folder.exists():
        return {}
    return {path.name: path.read_text() for path in folder.iterdir() if not path.name.startswith("byway.db")}


def test_every_provider_and_cloud_has_an_entry() -> None:
    clouds = {row.name for row in VENDORS.values() if not row.self_hosted}
    assert {"serper", "brave", "exa", "tavily"} | clouds == ENTRIES.keys()
    assert all(entry.variable == f"BYWAY_{name.upper()}_API_KEY" for name, entry in ENTRIES.items())
    assert (
        ENTRY_OF_VARIABLE["BACKEND_AI_SERPER_API_KEY"].name == "serper"
        and ENTRY_OF_VARIABLE["BACKEND_AI_BRAVE_API_KEY"].name == "brave"
    )


def test_names_are_found_as_they_are_expanded() -> None:
    assert variables_in("a: ${ONE}, ${ TWO }, ${THREE:-x}, $${FOUR}, $FIVE") == {"ONE", "TWO", "THREE"}


def test_what_is_kept_is_the_value_of_each_of_its_variables(folder: Path, kept: Any) -> None:
    assert Vault(folder, {}).set("serper", VALUE) == "keychain"
    vault = Vault(folder, {"HOME": "/home"})
    vault.fetch("${BACKEND_AI_SERPER_API_KEY}")
    assert vault["BYWAY_SERPER_API_KEY"] == vault["BACKEND_AI_SERPER_API_KEY"] == VALUE
    assert dict(vault) == {"HOME": "/home", "BYWAY_SERPER_API_KEY": VALUE, "BACKEND_AI_SERPER_API_KEY": VALUE}
    assert vault.get("BYWAY_EXA_API_KEY", "") == "" and vault.get("NOBODY") is None


@pytest.mark.parametrize("variable", ["BYWAY_SERPER_API_KEY", "BACKEND_AI_SERPER_API_KEY"])
def test_the_environment_wins_by_any_of_the_names(folder: Path, kept: Any, variable: str) -> None:
    Vault(folder, {}).set("serper", VALUE)
    vault = Vault(folder, {variable: OTHER})
    before = kept.calls
    vault.fetch(USES + " ${BACKEND_AI_SERPER_API_KEY}")
    assert kept.calls == before, "what the environment has is not looked for"
    assert vault["BYWAY_SERPER_API_KEY"] == vault["BACKEND_AI_SERPER_API_KEY"] == OTHER
    (status,) = [statu for statu in vault.status() if statu.entry == "serper"]
    assert (status.where, status.variable) == ("environment", variable)


def test_an_empty_variable_counts_as_not_set(folder: Path, kept: Any) -> None:
    Vault(folder, {}).set("serper", VALUE)
    vault = Vault(folder, {"BYWAY_SERPER_API_KEY": ""})
    vault.fetch(USES)
    assert vault["BYWAY_SERPER_API_KEY"] == VALUE


def test_each_is_read_once_until_something_changes(folder: Path, kept: Any) -> None:
    Vault(folder, {}).set("serper", VALUE)
    vault = Vault(folder, {})
    vault.fetch(USES)
    before = kept.calls
    vault.fetch(USES)
    assert kept.calls == before
    Vault(folder, {}).set("serper", OTHER)
    assert vault["BYWAY_SERPER_API_KEY"] == VALUE, "a mapping does not wait"
    vault.fetch(USES)
    assert vault["BYWAY_SERPER_API_KEY"] == OTHER
    assert Vault(folder, {}).clear("serper")
    vault.fetch(USES)
    assert "BYWAY_SERPER_API_KEY" not in vault and vault.problems == ()


def test_the_keychain_has_it_under_our_name_and_no_file_does(folder: Path, kept: Any) -> None:
    Vault(folder, {}).set("brave", VALUE, file_accepted=True)
    assert json.loads(kept.path.read_text()) == {"byway/brave": VALUE}
    assert files(folder).keys() == {"secrets.stamp"} and VALUE not in str(files(folder))


def test_the_mark_changes_with_every_change(folder: Path, kept: Any) -> None:
    vault = Vault(folder, {})
    marks = []
    for change in (lambda: vault.set("exa", VALUE), lambda: vault.set("exa", VALUE), lambda: vault.clear("exa")):
        change()
        marks.append(vault.mark.read_text())
    assert len(set(marks)) == 3
    assert not vault.clear("exa") and vault.mark.read_text() == marks[-1]


@pytest.mark.parametrize("kind", ["Forgetful", "Plain", "Makeshifts"])
def test_a_keychain_that_is_none_is_not_used(folder: Path, use: Use, kind: str) -> None:
    made = use(getattr(chain, kind))
    with pytest.raises(KeychainUnavailable):
        Vault(folder, {}).set("serper", VALUE)
    assert not made.path.exists() and not files(folder)


def test_a_keychain_that_came_later_is_found(folder: Path, none: Any, tmp_path: Path, monkeypatch: Any) -> None:
    with pytest.raises(KeychainUnavailable):
        Vault(folder, {}).set("serper", VALUE)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "chain.Chain")
    monkeypatch.setenv("CHAIN", str(tmp_path / "chain.json"))
    assert Vault(folder, {}).set("serper", VALUE) == "keychain"


def test_without_a_keychain_nothing_is_kept_in_silence(folder: Path, none: Any) -> None:
    vault = Vault(folder, {})
    with pytest.raises(KeychainUnavailable, match="no keychain"):
        vault.set("serper", VALUE)
    assert not files(folder)
    assert vault.set("serper", VALUE, file_accepted=True) == "file"
    path = folder / "secrets.json"
    assert json.loads(path.read_text()) == {"serper": VALUE}
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(folder.stat().st_mode) == 0o700
    vault.fetch(USES)
    assert vault["BYWAY_SERPER_API_KEY"] == VALUE and vault.problems == ()
    assert [(statu.entry, statu.where) for statu in vault.status() if statu.where] == [("serper", "file")]
    assert vault.clear("serper") and not path.exists() and not vault.clear("serper")
    vault.fetch(USES)
    assert "BYWAY_SERPER_API_KEY" not in vault, "what was cleared is gone, also where no keychain can be asked"


def test_two_that_keep_a_secret_at_once_both_have_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def beside(self: Any, name: str, value: str) -> None:
        if name == "serper":
            Vault(folder, {}).set("brave", OTHER, file_accepted=True)
        raise KeychainUnavailable("There is none.")

    monkeypatch.setattr("byway.secrets.vault._Keychain.set", beside)
    Vault(folder, {}).set("serper", VALUE, file_accepted=True)
    assert json.loads((folder / "secrets.json").read_text()) == {"brave": OTHER, "serper": VALUE}


def test_once_there_is_a_keychain_the_file_is_left(folder: Path, use: Use, none: Any) -> None:
    for name in ("serper", "brave"):
        Vault(folder, {}).set(name, VALUE, file_accepted=True)
    use(chain.Chain)
    vault = Vault(folder, {})
    assert vault.set("serper", OTHER) == "keychain"
    assert json.loads(files(folder)["secrets.json"]) == {"brave": VALUE}
    vault.fetch(USES + "${BYWAY_BRAVE_API_KEY}")
    assert vault["BYWAY_SERPER_API_KEY"] == OTHER and vault["BYWAY_BRAVE_API_KEY"] == VALUE


def test_what_went_into_the_file_is_newer_than_what_the_keychain_has(folder: Path, use: Use, kept: Any) -> None:
    Vault(folder, {}).set("serper", VALUE)
    kept.locked.touch()
    vault = Vault(folder, {}, patience=0.1)
    assert vault.set("serper", OTHER, file_accepted=True) == "file"
    vault.fetch(USES)
    assert vault["BYWAY_SERPER_API_KEY"] == OTHER
    kept.locked.unlink()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "empty"),
        ("0123456789\n0123456789", "more than one line"),
        (" 0123456789", "blank before or behind"),
        ("0123456789 0123", "a blank, a control"),
        ("0123456789é", "ASCII"),
        ("0123456789\x00", "control"),
        ("1234567", "7 characters"),
        ("x" * 1025, "1,025 characters"),
        ("${SERPER_KEY}", "name of a variable"),
    ],
)
def test_what_no_provider_gives_is_refused(folder: Path, kept: Any, value: str, words: str) -> None:
    with pytest.raises(InvalidSecret, match=words) as refused:
        Vault(folder, {}).set("serper", value)
    assert not value or value not in str(refused.value)
    assert not kept.path.exists() and not files(folder)


def test_what_somebody_else_put_there_is_checked_too(folder: Path, kept: Any) -> None:
    kept.set_password("byway", "serper", "two\nlines of header")
    vault = Vault(folder, {})
    vault.fetch(USES)
    assert "BYWAY_SERPER_API_KEY" not in vault and "byway secret set serper" in vault.problems[0]
    assert "header" not in vault.problems[0]


def test_an_entry_that_does_not_exist(folder: Path, kept: Any) -> None:
    for refused in (lambda: Vault(folder, {}).set("sk-secret-0123456789", VALUE), lambda: Vault(folder, {}).clear("x")):
        with pytest.raises(VaultError, match="There are: serper, brave") as error:
            refused()
        assert "sk-secret" not in str(error.value)


def test_words_of_a_keychain_are_not_repeated(folder: Path, use: Use) -> None:
    use(chain.Telltale)
    with pytest.raises(KeychainUnavailable) as error:
        Vault(folder, {}).set("serper", VALUE)
    assert VALUE not in str(error.value) and error.value.__cause__ is None and error.value.__suppress_context__


def test_without_the_library_it_says_how_to_get_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    vault = Vault(folder, {})
    vault.fetch(USES)
    assert "requirements/keychain.txt" in vault.problems[0]
    assert vault.set("serper", VALUE, file_accepted=True) == "file"
    vault.fetch(USES)
    assert vault["BYWAY_SERPER_API_KEY"] == VALUE and vault.problems == ()


def _widened(path: Path) -> None:
    path.chmod(0o640)


def _linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def _damaged(path: Path) -> None:
    path.write_text(f'{{"serper": "{VALUE}", ')


def _other(path: Path) -> None:
    path.write_text(f'["{VALUE}"]')


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


@pytest.mark.skipif(sys.platform == "win32", reason="only on systems with permissions")
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_widened, "chmod 600"),
        (_linked, "symbolic link"),
        (_damaged, "is damaged. Move it away"),
        (_other, "is damaged. Move it away"),
        (_folder, "not a regular file"),
        (_pipe, "not a regular file"),
    ],
)
def test_a_file_that_is_not_as_it_was_written(
    folder: Path, none: Any, spoil: Callable[[Path], None], words: str
) -> None:
    Vault(folder, {}).set("serper", VALUE, file_accepted=True)
    spoil(folder / "secrets.json")
    vault = Vault(folder, {})
    vault.fetch(USES)
    assert "BYWAY_SERPER_API_KEY" not in vault
    assert words in vault.problems[0] and VALUE not in str(vault.problems)
    vault.status()
    assert words in vault.problems[0]
    for change in (lambda: vault.set("serper", OTHER, file_accepted=True), lambda: vault.clear("serper")):
        with pytest.raises(SecretsFileError, match=words):
            change()


def test_a_folder_that_cannot_be_written(tmp_path: Path, none: Any) -> None:
    (tmp_path / "data").write_text("in the way")
    with pytest.raises(VaultError, match=r"secrets\.json cannot be (read|written)"):
        Vault(tmp_path / "data", {}).set("serper", VALUE, file_accepted=True)


def keychain_waits(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """The seconds of every wait for a thread of the keychain from now on."""
    waits: list[float | None] = []
    join = threading.Thread.join

    def recorded(self: threading.Thread, timeout: float | None = None) -> None:
        if self.name == "keychain":
            waits.append(timeout)
        join(self, timeout)

    monkeypatch.setattr(threading.Thread, "join", recorded)
    return waits


def test_a_locked_keychain_is_not_waited_for_and_its_late_answer_is_noticed(
    folder: Path, kept: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    Vault(folder, {}).set("serper", VALUE)
    kept.locked.touch()
    vault = Vault(folder, {}, patience=0.1)
    waits = keychain_waits(monkeypatch)
    vault.fetch(USES + "${BYWAY_BRAVE_API_KEY}")
    assert waits == [0.1]
    assert "Perhaps it waits for its password" in str(vault.problems) and len(vault.problems) == 1
    threads = threading.active_count()
    vault.fetch(USES)
    assert threading.active_count() == threads, "one question at a time"
    assert "BYWAY_SERPER_API_KEY" not in vault and vault.late == 0
    kept.locked.unlink()
    ends = time.monotonic() + 5
    while not vault.late and time.monotonic() < ends:
        time.sleep(0.01)
    assert vault.late == 1
    vault.fetch(USES)
    assert vault["BYWAY_SERPER_API_KEY"] == VALUE and not vault.problems


def test_pages_do_not_wait_for_a_locked_keychain_one_behind_the_other(
    folder: Path, kept: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would hold a thread, of which there are as few as on the smallest machine: nothing else would be answered."""
    kept.locked.touch()
    folder.mkdir()
    with Store(folder) as store:
        filing = ConfigFile(folder / "byway.yaml", lambda text: load(text, {}), store, folder)
        services = AdminServices(folder, filing, store, reload=asyncio.Event().wait, restart=lambda: None)  # type: ignore[arg-type]
        waits = keychain_waits(monkeypatch)
        for _ in range(5):
            assert not any(statu.where for statu in services.vault.status()) and services.vault.problems
    assert waits == [KEYCHAIN_TIMEOUT]
    kept.locked.unlink()


def test_a_secret_that_a_locked_keychain_takes_late_is_used(folder: Path, kept: Any) -> None:
    Vault(folder, {}).set("serper", VALUE)
    vault = Vault(folder, {}, patience=0.1)
    vault.fetch(USES)
    kept.locked.touch()
    with pytest.raises(KeychainUnavailable, match="not answered in time"):
        vault.set("serper", OTHER)
    kept.locked.unlink()
    ends = time.monotonic() + 5
    while not vault.late and time.monotonic() < ends:
        time.sleep(0.01)
    vault.fetch(USES)
    assert vault["BYWAY_SERPER_API_KEY"] == OTHER


def test_what_was_read_before_stays_while_the_keychain_is_silent(folder: Path, kept: Any) -> None:
    Vault(folder, {}).set("serper", VALUE)
    vault = Vault(folder, {}, patience=0.1)
    vault.fetch(USES)
    vault.mark.write_text("changed")
    kept.locked.touch()
    vault.fetch(USES)
    assert vault["BYWAY_SERPER_API_KEY"] == VALUE and vault.problems
    kept.locked.unlink()


def test_a_silent_keychain_may_still_hold_what_is_to_be_forgotten(folder: Path, kept: Any) -> None:
    kept.locked.touch()
    with pytest.raises(KeychainUnavailable, match="may still hold serper"):
        Vault(folder, {}, patience=0.1).clear("serper")
    kept.locked.unlink()


CONFIG = 'web_search: {enabled: true, provider: serper, api_key: "${BYWAY_SERPER_API_KEY}"}\n'


def source(tmp_path: Path, text: str = CONFIG) -> ConfigSource:
    file = tmp_path / "byway.yaml"
    file.write_text(text)
    return find(str(file), {"BYWAY_HOME": str(tmp_path / "data")})


def test_a_kept_secret_is_known_to_the_config_and_to_the_scrubber(tmp_path: Path, folder: Path, kept: Any) -> None:
    Vault(folder, {}).set("serper", VALUE)
    config = source(tmp_path).read()
    assert config.web_search.enabled and config.web_search.api_key == VALUE and not config.warnings
    assert Scrubber(config.secrets).scrub(f"refused: {VALUE}") == "refused: [secret]"
    assert VALUE not in repr(config)


def test_what_is_missing_is_said_with_the_command_that_keeps_it(tmp_path: Path, kept: Any) -> None:
    config = source(tmp_path).read()
    assert not config.web_search.enabled
    (warning,) = config.warnings
    assert "BYWAY_SERPER_API_KEY is not set" in warning.message and "byway secret set serper" in warning.message
    with pytest.raises(ConfigError, match=r"byway secret set exa` and set api_key: \$\{BYWAY_EXA_API_KEY\}"):
        load("web_search: {enabled: true, provider: exa}", {})


def test_what_is_wrong_with_the_vault_is_a_warning_of_the_config(tmp_path: Path, none: Any) -> None:
    first, second = source(tmp_path).read().warnings
    assert "no keychain" in first.message and "is not set" in second.message


def test_a_changed_secret_changes_the_stamp(tmp_path: Path, folder: Path, kept: Any) -> None:
    result = source(tmp_path)
    result.read()
    stamps = [result.stamp()]
    Vault(folder, {}).set("serper", VALUE)
    stamps.append(result.stamp())
    Vault(folder, {}).set("serper", OTHER)
    stamps.append(result.stamp())
    assert len(set(stamps)) == 3


def run(*arguments: str, input: str | bytes | None = None, **environ: str) -> Result:
    return CliRunner().invoke(byway, ["secret", *arguments], input=input, env=environ)


@pytest.fixture
def home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BYWAY_HOME", str(folder))
    return folder


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_secret_comes_from_stdin(home: Path, kept: Any, end: str) -> None:
    done = run("set", "serper", input=VALUE + end)
    assert done.exit_code == 0 and VALUE not in done.output
    assert kept.get_password("byway", "serper") == VALUE
    assert done.stdout.splitlines()[0] == "Serper: stored in the system's keychain."
    assert done.stdout.splitlines()[-1] == CONFIG.strip()


@pytest.mark.parametrize("entry", ENTRIES)
def test_what_is_told_to_put_into_the_config_is_good(home: Path, kept: Any, entry: str) -> None:
    done = run("set", entry, input=VALUE)
    config = load(done.stdout.partition("\n\n")[2], {ENTRIES[entry].variable: VALUE})
    assert not config.warnings and VALUE in config.secrets


@pytest.mark.parametrize(
    "arguments", [("set", "serper", VALUE), ("set", VALUE), ("clear", VALUE), ("clear", "exa", VALUE)]
)
def test_a_secret_on_the_command_line_is_refused_and_not_repeated(
    home: Path, kept: Any, arguments: tuple[str, ...]
) -> None:
    done = run(*arguments, input=OTHER)
    assert done.exit_code == 2 and VALUE not in done.output and not kept.path.exists()
    assert "Use one of: serper" in done.stderr or "Do not give a secret on the command line" in done.stderr


def test_where_there_is_no_keychain_the_command_asks_for_consent(home: Path, none: Any) -> None:
    done = run("set", "serper", input=VALUE)
    assert done.exit_code == 1 and "byway secret set serper --file" in done.stderr and not files(home)
    done = run("set", "serper", "--file", input=VALUE)
    assert done.exit_code == 0 and done.stdout.startswith("Serper: stored in secrets.json")
    assert VALUE not in done.output
    assert run("clear", "serper").stdout == "Serper: deleted.\n"
    assert run("clear", "serper").stdout == "Serper: nothing was stored.\n"
    stored = json.loads(run("set", "serper", "--file", "--json", input=VALUE).stdout)
    facts = {"name": "serper", "variable": "BYWAY_SERPER_API_KEY", "changed": True}
    assert stored == {**facts, "stored": "file"}
    assert json.loads(run("clear", "serper", "--json").stdout) == {**facts, "stored": ""}


@pytest.mark.parametrize(("given", "words"), [("two\nlines\n", "more than one line"), (b"\xff" * 20, "outside ASCII")])
def test_a_bad_value_is_a_misuse(home: Path, kept: Any, given: str | bytes, words: str) -> None:
    done = run("set", "serper", input=given)
    assert done.exit_code == 2 and words in done.stderr


def test_commands_take_the_same_folder_as_the_service(tmp_path: Path, none: Any) -> None:
    other = tmp_path / "other"
    assert run("set", "serper", "--file", "--data-dir", str(other), input=VALUE).exit_code == 0
    file = tmp_path / "byway.yaml"
    file.write_text(CONFIG)
    done = CliRunner().invoke(byway, ["config", "check", str(file)])
    assert "BYWAY_SERPER_API_KEY is not set" in done.stderr
    done = CliRunner().invoke(byway, ["config", "check", str(file), "--data-dir", str(other)])
    assert done.exit_code == 0 and done.stderr == ""


def test_a_variable_that_is_set_is_said_to_win(home: Path, kept: Any) -> None:
    environ = {"BACKEND_AI_SERPER_API_KEY": OTHER}
    assert "BACKEND_AI_SERPER_API_KEY is set" in run("set", "serper", input=VALUE, **environ).stderr
    assert "BACKEND_AI_SERPER_API_KEY is still set" in run("clear", "serper", **environ).stderr


def test_the_status_shows_where_each_comes_from(home: Path, kept: Any) -> None:
    run("set", "serper", input=VALUE)
    done = run("status", BYWAY_EXA_API_KEY="exa-0123456789abcdef")
    assert done.exit_code == 0 and VALUE not in done.output and "exa-0123456789abcdef" not in done.output
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert rows.keys() == {"ENTRY", *ENTRIES}
    assert rows["serper"] == ["keychain", "serper-…cdef", "BYWAY_SERPER_API_KEY"]
    assert rows["exa"] == ["environment", "exa-…cdef", "BYWAY_EXA_API_KEY"]
    assert rows["brave"] == ["-", "-", "BYWAY_BRAVE_API_KEY"]
    listed = json.loads(run("status", "--json").stdout)
    assert listed["secrets"][0] == {
        "name": "serper",
        "title": "Serper",
        "kind": "search",
        "stored": "keychain",
        "hint": "serper-…cdef",
        "variable": "BYWAY_SERPER_API_KEY",
    }


def test_the_status_says_why_a_keychain_is_not_used(home: Path, none: Any) -> None:
    done = run("status")
    assert done.exit_code == 0 and "no keychain" in done.stderr


def test_every_entry_stands_in_the_docs() -> None:
    page = (Path(__file__).parent.parent / "docs/secrets.md").read_text(encoding="utf-8")
    for name, entry in ENTRIES.items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        assert all(f"`${{{variable}}}`" in row for variable in entry.variables)
