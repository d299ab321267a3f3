"""The config file as something that is edited: whole or not at all, merged where that is safe, kept in versions."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from stores import new_store

from byway import platform
from byway.config import Config, ConfigError, load
from byway.config.editing import Append, ConfigChanged, EditConflict, EditError, Remove, Set
from byway.config.file import ConfigFile
from byway.store import Store

TEXT = "# mine\nmodel_aliases:\n  haiku: a/one   # small\n  opus: a/two\nbackends:\n  - {name: a, type: vllm, url: 'http://127.0.0.1:1'}\n"


def check(text: str) -> Config:
    return load(text, {})


@pytest.fixture
def filing(tmp_path: Path) -> ConfigFile:
    (tmp_path / "byway.yaml").write_text(TEXT)
    return ConfigFile(tmp_path / "byway.yaml", check, new_store(tmp_path), tmp_path)


def test_a_change_keeps_the_rest_and_makes_a_version(filing: ConfigFile) -> None:
    before = filing.read()
    outcome = filing.change([Set(("model_aliases", "haiku"), "a/three")], "Ada", "smaller", before.etag)
    assert filing.path.read_text() == TEXT.replace("haiku: a/one", "haiku: a/three")
    assert not outcome.merged and outcome.config.model_aliases["haiku"] == ("a/three",)
    assert outcome.etag == filing.read().etag != before.etag
    assert [(version.who, version.why) for version in filing.versions()] == [
        ("Ada", "smaller"),
        ("outside Byway", "changed in the file"),
    ]
    assert filing.path.stat().st_mode & 0o777 == 0o600


def test_changes_in_other_places_are_merged(filing: ConfigFile) -> None:
    base = filing.read().etag
    filing.change([Set(("model_aliases", "opus"), "a/nine")], "Ada", "x", base)
    outcome = filing.change([Set(("model_aliases", "haiku"), "a/five")], "Bob", "y", base)
    assert outcome.merged
    assert dict(outcome.config.model_aliases) == {"haiku": ("a/five",), "opus": ("a/nine",)}


@pytest.mark.parametrize(
    ("value", "mine"),
    [(Set(("model_aliases", "haiku"), "a/mine"), "a/mine"), (Remove(("model_aliases", "haiku")), "removed")],
)
def test_changes_of_one_setting_conflict_and_change_nothing(filing: ConfigFile, value: Set | Remove, mine: str) -> None:
    base = filing.read().etag
    theirs = filing.change([Set(("model_aliases", "haiku"), "a/theirs")], "Ada", "x", base)
    with pytest.raises(ConfigChanged) as caught:
        filing.change([value], "Bob", "y", base)
    assert caught.value.conflicts == (EditConflict("model_aliases.haiku", "a/theirs", mine),)
    assert caught.value.etag == theirs.etag == filing.read().etag


def test_a_byte_order_mark_hides_no_conflict(filing: ConfigFile) -> None:
    filing.path.write_text("\ufeff" + TEXT)
    base = filing.read().etag
    filing.change([Set(("model_aliases", "haiku"), "a/theirs")], "Ada", "x", base)
    with pytest.raises(ConfigChanged):
        filing.change([Set(("model_aliases", "haiku"), "a/mine")], "Bob", "y", base)
    assert filing.path.read_text().startswith("\ufeff# mine\n")


def test_the_same_change_twice_is_no_conflict(filing: ConfigFile) -> None:
    base = filing.read().etag
    same = [Set(("model_aliases", "haiku"), "a/theirs")]
    filing.change(same, "Ada", "x", base)
    assert filing.change(same, "Bob", "y", base).merged


def test_a_change_by_index_conflicts_when_the_list_has_changed(filing: ConfigFile) -> None:
    base = filing.read().etag
    filing.change([Append(("backends",), {"name": "b", "type": "ollama"})], "Ada", "x", base)
    filing.change([Append(("backends",), {"name": "c", "type": "lmstudio"})], "Bob", "y", base)
    with pytest.raises(ConfigChanged):
        filing.change([Set(("backends", 0, "weight"), 5)], "Cy", "z", base)
    assert [backend.name for backend in filing.check(filing.read().text).backends] == ["a", "b", "c"]


def test_an_expired_etag_conflicts(filing: ConfigFile) -> None:
    with pytest.raises(ConfigChanged, match="whole file"):
        filing.change([Set(("local_only",), True)], "Ada", "x", "0123456789abcdef")


def test_an_invalid_change_is_not_written(filing: ConfigFile) -> None:
    with pytest.raises(ConfigError, match="nonsense"):
        filing.change([Set(("nonsense",), 1)], "Ada", "x")
    with pytest.raises(ConfigError):
        filing.write("backends: 5\n", "Ada", "x")
    with pytest.raises(EditError):
        filing.change([Set(("model_aliases", "haiku", "deeper"), 1)], "Ada", "x")
    assert filing.path.read_text() == TEXT


def test_an_undo_can_be_undone(filing: ConfigFile) -> None:
    first = filing.read()
    filing.change([Set(("local_only",), True)], "Ada", "stay here")
    number = filing.versions()[-1].number
    filing.rollback(number, "Bob")
    assert filing.path.read_text() == TEXT and filing.read().etag == first.etag
    assert filing.versions()[0].why == f"back to version {number}"
    with pytest.raises(LookupError, match="no version 99"):
        filing.rollback(99, "Bob")


def test_the_first_change_creates_the_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "byway.yaml"
    with Store(tmp_path) as store:
        filing = ConfigFile(path, check, store, tmp_path)
        assert filing.read().text == "" and filing.versions() == []
        filing.change([Set(("local_only",), True)], "Ada", "x", filing.read().etag)
    assert path.read_text() == "local_only: true\n"


def test_a_symbolic_link_is_not_followed(filing: ConfigFile, tmp_path: Path) -> None:
    real = tmp_path / "real.yaml"
    filing.path.rename(real)
    os.symlink(real, filing.path)
    with pytest.raises(OSError, match="symbolic link"):
        filing.change([Set(("local_only",), True)], "Ada", "x")
    assert real.read_text() == TEXT


def test_reading_during_a_change_makes_no_version_of_another_author(filing: ConfigFile, tmp_path: Path) -> None:
    filing.read()
    written = threading.Event()

    def change() -> None:
        with Store(tmp_path) as store, platform.exclusive(tmp_path / "config.lock"):
            filing.path.write_text(TEXT + "local_only: false\n")
            written.set()
            time.sleep(0.2)
            store.add_version(TEXT + "local_only: false\n", "Ada", "x", str(filing.path))

    changing = threading.Thread(target=change)
    changing.start()
    assert written.wait(60)
    assert filing.read().text.endswith("local_only: false\n")
    changing.join()
    assert [version.who for version in filing.versions()] == ["Ada", "outside Byway"]


def test_two_configs_in_one_data_folder_have_separate_histories(filing: ConfigFile, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("local_only: true\n")
    with Store(tmp_path) as store:
        other = ConfigFile(tmp_path / "other.yaml", check, store, tmp_path)
        other.read()
        filing.change([Set(("local_only",), True)], "Ada", "x")
        assert [version.who for version in other.versions()] == ["outside Byway"]
        with pytest.raises(LookupError):
            other.rollback(filing.versions()[0].number, "Bob")
    assert (tmp_path / "other.yaml").read_text() == "local_only: true\n"


def test_a_conflict_shows_no_secret(filing: ConfigFile) -> None:
    base = filing.read().etag
    secret, mine = "sk-of-the-others-0123456789", "sk-of-mine-9876543210-abc"
    filing.change([Set(("web_search", "api_key"), secret)], "Ada", "x", base)
    for given in (mine, "${BYWAY_BRAVE_API_KEY}"):
        with pytest.raises(ConfigChanged) as caught:
            filing.change([Set(("web_search", "api_key"), given)], "Bob", "y", base)
        (conflict,) = caught.value.conflicts
        assert conflict.theirs == "sk-…6789" and mine not in conflict.mine
    with pytest.raises(ConfigChanged) as caught:
        filing.change([Set(("web_search",), {"api_key": mine})], "Bob", "y", base)
    assert secret not in str(caught.value.conflicts) and mine not in str(caught.value.conflicts)


def test_a_deleted_file_is_not_created_again_with_less_content(filing: ConfigFile) -> None:
    base = filing.read().etag
    filing.path.unlink()
    with pytest.raises(OSError, match="it was deleted"):
        filing.change([Set(("model_aliases", "haiku"), "a/one")], "Ada", "x", base)
    assert not filing.path.exists()


def test_the_first_change_can_be_undone_and_merged(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        filing = ConfigFile(tmp_path / "byway.yaml", check, store, tmp_path)
        base = filing.read().etag
        filing.change([Set(("local_only",), True)], "Ada", "x", base)
        assert filing.change([Set(("model_aliases", "haiku"), "a/one")], "Bob", "y", base).merged
        assert filing.seen(base) == check("")
        filing.rollback(1, "Ada")
        assert filing.path.read_text() == ""


PUSHED = "sign_in:\n  settings:\n  - env: {MCP_TIMEOUT: '9', MY_API_KEY: first-secret-value}\n"


def audited(filing: ConfigFile) -> list[tuple[str, str, str]]:
    """The entries of edits by hand, newest first."""
    entries = [(entry.who, entry.what, entry.detail) for entry in filing._store.audit_entries()]
    return [entry for entry in entries if entry[0] == "config file"]


EDITED = ("config file", "config file changed", "sign_in.settings")


@pytest.mark.parametrize(
    "edit",
    [
        ("MCP_TIMEOUT: '9'", "MCP_TIMEOUT: '8'"),
        ("first-secret-value", "other-secret-value"),
        (PUSHED, ""),
        (PUSHED, f"{PUSHED}  - json: '{{}}'\n"),
    ],
    ids=["a value", "a secret", "removed", "an entry"],
)
def test_an_edit_of_pushed_settings_by_hand_is_in_the_audit_log(filing: ConfigFile, edit: tuple[str, str]) -> None:
    filing.path.write_text(TEXT + PUSHED)
    filing.record_edits()
    assert audited(filing) == [EDITED]
    filing.path.write_text("# a comment\n" + (TEXT + PUSHED).replace("a/one", "a/three"))
    filing.record_edits()
    filing.record_edits()
    assert audited(filing) == [EDITED], "other settings were edited"
    filing.path.write_text((TEXT + PUSHED).replace(*edit))
    filing.record_edits()
    assert audited(filing) == [EDITED, EDITED]
    assert "secret-value" not in repr(filing._store.audit_entries()), "no value is in the log"


def test_an_edit_by_hand_before_a_change_through_byway_is_in_the_audit_log(filing: ConfigFile) -> None:
    filing.read()
    filing.path.write_text(TEXT + PUSHED)
    filing.change([Set(("model_aliases", "haiku"), "a/two")], "Ada", "x")
    assert audited(filing) == [EDITED]
    owner = ConfigFile(filing.path, check, filing._store, filing.path.parent, restricted=False)
    owner.change([Set(("sign_in", "settings"), [{"env": {"MCP_TIMEOUT": "7"}}])], "Ada", "y")
    filing.record_edits()
    assert audited(filing) == [EDITED], "that change has an entry of its own"


def test_another_process_finds_an_edit_made_while_byway_was_stopped(filing: ConfigFile) -> None:
    filing.path.write_text(TEXT + PUSHED)
    filing.record_edits()
    later = ConfigFile(filing.path, check, filing._store, filing.path.parent)
    filing.path.write_text((TEXT + PUSHED).replace("a/one", "a/three"))
    later.record_edits()
    assert audited(later) == [EDITED], "the version of the other process has no secret to compare with"
    filing.path.write_text((TEXT + PUSHED).replace("'9'", "'8'"))
    ConfigFile(filing.path, check, filing._store, filing.path.parent).record_edits()
    assert audited(later) == [EDITED, EDITED]


def test_an_edit_is_not_recorded_from_what_is_no_file(filing: ConfigFile) -> None:
    filing.path.unlink()
    filing.record_edits()
    os.mkfifo(filing.path)
    filing.record_edits()
    assert filing._store.versions(str(filing.path)) == []
