"""The vault: where secrets are stored, which source wins, what is refused. No test reaches a keychain of this machine."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from keychain import UseKeychain
from keychain import kept as kept
from keychain import use as use
from waiting import wait_until

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


@pytest.fixture
def none(use: UseKeychain) -> Any:
    """A system without a keychain."""
    from keyring.backends import fail

    return use(lambda path: fail.Keyring())


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
    assert {"serper", "brave", "exa", "tavily", "oidc"} | clouds == ENTRIES.keys()
    assert ENTRIES["oidc"].variable == "BYWAY_OIDC_CLIENT_SECRET"
    assert all(entry.variable == f"BYWAY_{name.upper()}_API_KEY" for name, entry in ENTRIES.items() if name != "oidc")
    assert (
        ENTRY_OF_VARIABLE["BACKEND_AI_SERPER_API_KEY"].name == "serper"
        and ENTRY_OF_VARIABLE["BACKEND_AI_BRAVE_API_KEY"].name == "brave"
    )


def test_variables_are_recognised_in_the_form_that_is_replaced() -> None:
    assert variables_in("a: ${ONE}, ${ TWO }, ${THREE:-x}, $${FOUR}, $FIVE") == {"ONE", "TWO", "THREE"}


def test_a_stored_secret_is_the_value_of_each_of_its_variables(folder: Path, kept: Any) -> None:
    assert Vault(folder, {}).set("serper", VALUE) == "keychain"
    vault = Vault(folder, {"HOME": "/home"})
    vault.fetch("${BACKEND_AI_SERPER_API_KEY}")
    assert vault["BYWAY_SERPER_API_KEY"] == vault["BACKEND_AI_SERPER_API_KEY"] == VALUE
    assert dict(vault) == {"HOME": "/home", "BYWAY_SERPER_API_KEY": VALUE, "BACKEND_AI_SERPER_API_KEY": VALUE}
    assert vault.get("BYWAY_EXA_API_KEY", "") == "" and vault.get("NOBODY") is None


@pytest.mark.parametrize("variable", ["BYWAY_SERPER_API_KEY", "BACKEND_AI_SERPER_API_KEY"])
def test_the_environment_wins_under_any_variable_name(folder: Path, kept: Any, variable: str) -> None:
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


def test_a_secret_is_read_once_until_something_changes(folder: Path, kept: Any) -> None:
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


def test_a_secret_is_stored_in_the_keychain_and_in_no_file(folder: Path, kept: Any) -> None:
    Vault(folder, {}).set("brave", VALUE, file_accepted=True)
    assert json.loads(kept.path.read_text()) == {"byway/brave": VALUE}
    assert files(folder).keys() == {"secrets.stamp"} and VALUE not in str(files(folder))


def test_the_stamp_file_changes_with_every_change(folder: Path, kept: Any) -> None:
    vault = Vault(folder, {})
    marks = []
    for change in (lambda: vault.set("exa", VALUE), lambda: vault.set("exa", VALUE), lambda: vault.clear("exa")):
        change()
        marks.append(vault.mark.read_text())
    assert len(set(marks)) == 3
    assert not vault.clear("exa") and vault.mark.read_text() == marks[-1]


@pytest.mark.parametrize("kind", ["Forgetful", "Plain", "Makeshifts"])
def test_a_backend_of_low_priority_is_not_used_as_keychain(folder: Path, use: UseKeychain, kind: str) -> None:
    made = use(getattr(chain, kind))
    with pytest.raises(KeychainUnavailable):
        Vault(folder, {}).set("serper", VALUE)
    assert not made.path.exists() and not files(folder)


def test_a_keychain_that_starts_later_is_used(folder: Path, none: Any, tmp_path: Path, monkeypatch: Any) -> None:
    with pytest.raises(KeychainUnavailable):
        Vault(folder, {}).set("serper", VALUE)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "chain.Chain")
    monkeypatch.setenv("CHAIN", str(tmp_path / "chain.json"))
    assert Vault(folder, {}).set("serper", VALUE) == "keychain"


def test_without_a_keychain_nothing_is_stored_without_consent(folder: Path, none: Any) -> None:
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


def test_two_concurrent_writes_keep_both_secrets(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def beside(self: Any, name: str, value: str) -> None:
        if name == "serper":
            Vault(folder, {}).set("brave", OTHER, file_accepted=True)
        raise KeychainUnavailable("There is none.")

    monkeypatch.setattr("byway.secrets.vault._Keychain.set", beside)
    Vault(folder, {}).set("serper", VALUE, file_accepted=True)
    assert json.loads((folder / "secrets.json").read_text()) == {"brave": OTHER, "serper": VALUE}


def test_a_new_keychain_replaces_the_file(folder: Path, use: UseKeychain, none: Any) -> None:
    for name in ("serper", "brave"):
        Vault(folder, {}).set(name, VALUE, file_accepted=True)
    use(chain.Chain)
    vault = Vault(folder, {})
    assert vault.set("serper", OTHER) == "keychain"
    assert json.loads(files(folder)["secrets.json"]) == {"brave": VALUE}
    vault.fetch(USES + "${BYWAY_BRAVE_API_KEY}")
    assert vault["BYWAY_SERPER_API_KEY"] == OTHER and vault["BYWAY_BRAVE_API_KEY"] == VALUE


def test_a_secret_in_the_file_wins_over_the_keychain(folder: Path, use: UseKeychain, kept: Any) -> None:
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
        (" 0123456789", "starts or ends with white space"),
        ("0123456789 0123", "contains white space"),
        ("0123456789é", "ASCII"),
        ("0123456789\x00", "control"),
        ("1234567", "7 characters"),
        ("x" * 1025, "1,025 characters"),
        ("${SERPER_KEY}", "name of a variable"),
    ],
)
def test_a_text_that_cannot_be_a_key_is_refused(folder: Path, kept: Any, value: str, words: str) -> None:
    with pytest.raises(InvalidSecret, match=words) as refused:
        Vault(folder, {}).set("serper", value)
    assert not value or value not in str(refused.value)
    assert not kept.path.exists() and not files(folder)


def test_a_secret_stored_by_another_program_is_checked_too(folder: Path, kept: Any) -> None:
    kept.set_password("byway", "serper", "two\nlines of header")
    vault = Vault(folder, {})
    vault.fetch(USES)
    assert "BYWAY_SERPER_API_KEY" not in vault and "byway secret set serper" in vault.problems[0]
    assert "header" not in vault.problems[0]


def test_an_unknown_entry_is_refused(folder: Path, kept: Any) -> None:
    for refused in (lambda: Vault(folder, {}).set("sk-secret-0123456789", VALUE), lambda: Vault(folder, {}).clear("x")):
        with pytest.raises(VaultError, match="Use one of: serper, brave") as error:
            refused()
        assert "sk-secret" not in str(error.value)


def test_the_message_of_a_keychain_is_not_repeated(folder: Path, use: UseKeychain) -> None:
    use(chain.Telltale)
    with pytest.raises(KeychainUnavailable) as error:
        Vault(folder, {}).set("serper", VALUE)
    assert VALUE not in str(error.value) and error.value.__cause__ is None and error.value.__suppress_context__


def test_without_the_library_the_error_names_the_install_command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_an_unusable_file_of_secrets_is_reported(
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


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path, none: Any) -> None:
    (tmp_path / "data").write_text("in the way")
    with pytest.raises(VaultError, match=r"secrets\.json cannot be (read|written)"):
        Vault(tmp_path / "data", {}).set("serper", VALUE, file_accepted=True)


def keychain_waits(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """The seconds of every wait for a thread of the keychain from now on, which is cut short."""
    waits: list[float | None] = []
    join = threading.Thread.join

    def recorded(self: threading.Thread, timeout: float | None = None) -> None:
        if self.name == "keychain":
            waits.append(timeout)
            timeout = 0.1
        join(self, timeout)

    monkeypatch.setattr(threading.Thread, "join", recorded)
    return waits


def test_a_locked_keychain_times_out_and_its_late_answer_is_used(
    folder: Path, kept: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    Vault(folder, {}).set("serper", VALUE)
    kept.locked.touch()
    vault = Vault(folder, {}, patience=0.1)
    waits = keychain_waits(monkeypatch)
    vault.fetch(USES + "${BYWAY_BRAVE_API_KEY}")
    assert waits == [0.1]
    assert "It may wait for its password" in str(vault.problems) and len(vault.problems) == 1
    threads = threading.active_count()
    vault.fetch(USES)
    assert threading.active_count() == threads, "one question at a time"
    assert "BYWAY_SERPER_API_KEY" not in vault and vault.late == 0
    kept.locked.unlink()
    wait_until(lambda: vault.late)
    assert vault.late == 1
    vault.fetch(USES)
    assert vault["BYWAY_SERPER_API_KEY"] == VALUE and not vault.problems


def test_concurrent_pages_wait_for_a_locked_keychain_once(
    folder: Path, kept: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would hold a thread, of which there are as few as on the smallest machine: nothing else would be answered."""
    kept.locked.touch()
    folder.mkdir()
    with Store(folder) as store:
        filing = ConfigFile(folder / "byway.yaml", lambda text: load(text, {}), store, folder)
        services = AdminServices(folder, lambda: filing, store, reload=asyncio.Event().wait, restart=lambda: None)  # type: ignore[arg-type]
        waits = keychain_waits(monkeypatch)
        for _ in range(5):
            assert not any(statu.where for statu in services.vault.status()) and services.vault.problems
    assert waits == [KEYCHAIN_TIMEOUT]
    kept.locked.unlink()


def test_a_secret_that_a_locked_keychain_stores_late_is_used(folder: Path, kept: Any) -> None:
    Vault(folder, {}).set("serper", VALUE)
    vault = Vault(folder, {}, patience=0.1)
    vault.fetch(USES)
    kept.locked.touch()
    with pytest.raises(KeychainUnavailable, match="not answered in time"):
        vault.set("serper", OTHER)
    kept.locked.unlink()
    wait_until(lambda: vault.late)
    vault.fetch(USES)
    assert vault["BYWAY_SERPER_API_KEY"] == OTHER


def test_a_secret_that_was_read_stays_valid_while_the_keychain_does_not_answer(folder: Path, kept: Any) -> None:
    Vault(folder, {}).set("serper", VALUE)
    vault = Vault(folder, {}, patience=0.1)
    vault.fetch(USES)
    vault.mark.write_text("changed")
    kept.locked.touch()
    vault.fetch(USES)
    assert vault["BYWAY_SERPER_API_KEY"] == VALUE and vault.problems
    kept.locked.unlink()


def test_removing_a_secret_fails_while_the_keychain_does_not_answer(folder: Path, kept: Any) -> None:
    kept.locked.touch()
    with pytest.raises(KeychainUnavailable, match="may still contain serper"):
        Vault(folder, {}, patience=0.1).clear("serper")
    kept.locked.unlink()


CONFIG = 'web_search: {enabled: true, provider: serper, api_key: "${BYWAY_SERPER_API_KEY}"}\n'


def source(tmp_path: Path, text: str = CONFIG) -> ConfigSource:
    file = tmp_path / "byway.yaml"
    file.write_text(text)
    return find(str(file), {"BYWAY_HOME": str(tmp_path / "data")})


def test_a_stored_secret_is_used_by_the_config_and_removed_from_logs(tmp_path: Path, folder: Path, kept: Any) -> None:
    Vault(folder, {}).set("serper", VALUE)
    config = source(tmp_path).read()
    assert config.web_search.enabled and config.web_search.api_key == VALUE and not config.warnings
    assert Scrubber(config.secrets).scrub(f"refused: {VALUE}") == "refused: [secret]"
    assert VALUE not in repr(config)


def test_a_missing_secret_is_reported_with_the_command_that_sets_it(tmp_path: Path, kept: Any) -> None:
    config = source(tmp_path).read()
    assert not config.web_search.enabled
    (warning,) = config.warnings
    assert "BYWAY_SERPER_API_KEY is not set" in warning.message and "byway secret set serper" in warning.message
    with pytest.raises(ConfigError, match=r"byway secret set exa` and set api_key: \$\{BYWAY_EXA_API_KEY\}"):
        load("web_search: {enabled: true, provider: exa}", {})


def test_a_problem_of_the_vault_is_a_warning_of_the_config(tmp_path: Path, none: Any) -> None:
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
def test_the_line_to_add_to_the_config_is_valid(home: Path, kept: Any, entry: str) -> None:
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


def test_without_a_keychain_the_command_requires_the_option_file(home: Path, none: Any) -> None:
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


@pytest.mark.parametrize(("given", "words"), [("two\nlines\n", "more than one line"), (b"\xff" * 20, "non-ASCII")])
def test_an_invalid_value_is_a_usage_error(home: Path, kept: Any, given: str | bytes, words: str) -> None:
    done = run("set", "serper", input=given)
    assert done.exit_code == 2 and words in done.stderr


def test_commands_use_the_same_folder_as_the_service(tmp_path: Path, none: Any) -> None:
    other = tmp_path / "other"
    assert run("set", "serper", "--file", "--data-dir", str(other), input=VALUE).exit_code == 0
    file = tmp_path / "byway.yaml"
    file.write_text(CONFIG)
    done = CliRunner().invoke(byway, ["config", "check", str(file)])
    assert "BYWAY_SERPER_API_KEY is not set" in done.stderr
    done = CliRunner().invoke(byway, ["config", "check", str(file), "--data-dir", str(other)])
    assert done.exit_code == 0 and done.stderr == ""


def test_the_command_reports_that_a_set_variable_wins(home: Path, kept: Any) -> None:
    environ = {"BACKEND_AI_SERPER_API_KEY": OTHER}
    assert "BACKEND_AI_SERPER_API_KEY is set" in run("set", "serper", input=VALUE, **environ).stderr
    assert "BACKEND_AI_SERPER_API_KEY is still set" in run("clear", "serper", **environ).stderr


def test_the_status_shows_the_source_of_each_secret(home: Path, kept: Any) -> None:
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


def test_the_status_names_why_a_keychain_is_not_used(home: Path, none: Any) -> None:
    done = run("status")
    assert done.exit_code == 0 and "no keychain" in done.stderr


def test_every_entry_is_in_the_docs() -> None:
    page = (Path(__file__).parent.parent / "docs/secrets.md").read_text(encoding="utf-8")
    for name, entry in ENTRIES.items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        assert all(f"`${{{variable}}}`" in row for variable in entry.variables)
