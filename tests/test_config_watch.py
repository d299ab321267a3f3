"""When a changed config file is loaded: not in the middle of a save, and once for each change."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from byway.cli import configfile as module
from byway.cli.configfile import ConfigSource, find
from byway.config.watch import SETTLE_SECONDS, ChangeTracker, FileStamp, looks_complete

LOADED = FileStamp(modified=1, size=100, inode=7)


@pytest.mark.parametrize(
    ("stamp", "last_byte", "complete"),
    [
        (FileStamp(2, 100, 7), b"\n", True),
        (FileStamp(2, 120, 7), b"\n", True),
        (FileStamp(2, 120, 7), b"e", False),
        (FileStamp(2, 0, 7), b"", False),
        (FileStamp(2, 0, 8), b"", False),
        (FileStamp(2, 40, 7), b"\n", False),
        (FileStamp(2, 40, 8), b"\n", True),
    ],
    ids=["same size", "longer", "no newline", "emptied", "empty new file", "shortened in place", "shorter new file"],
)
def test_a_file_that_may_be_in_the_middle_of_a_save_is_incomplete(
    stamp: FileStamp, last_byte: bytes, complete: bool
) -> None:
    assert looks_complete(stamp, last_byte, LOADED) is complete


def test_a_shorter_file_is_complete_when_none_was_loaded_before() -> None:
    assert looks_complete(FileStamp(2, 40, 7), b"\n", None)


def test_a_complete_change_is_due_once_it_stays_the_same_from_one_observation_to_the_next() -> None:
    changes = ChangeTracker("first")
    observed = ["first", "second", "second", "second", "third", "fourth", "fourth", "first", "first"]
    due = [changes.is_due(stamp, lambda: True, now) for now, stamp in enumerate(observed)]
    assert due == [False, False, True, False, False, False, True, False, True]


def test_an_incomplete_change_is_due_only_after_it_has_settled() -> None:
    changes = ChangeTracker("first")
    assert not changes.is_due("half", lambda: False, 10.0)
    assert not changes.is_due("half", lambda: False, 10.0 + SETTLE_SECONDS - 0.1)
    assert changes.is_due("half", lambda: False, 10.0 + SETTLE_SECONDS)


def test_an_incomplete_change_that_goes_on_starts_to_settle_again() -> None:
    changes = ChangeTracker("first")
    for now in range(20):
        assert not changes.is_due(f"part {now}", lambda: False, float(now))
    assert changes.is_due("part 19", lambda: True, 19.25)


def source(tmp_path: Path, text: str) -> ConfigSource:
    file = tmp_path / "byway.yaml"
    file.write_text(text)
    return find(str(file), {"BYWAY_HOME": str(tmp_path / "data")})


def test_a_source_is_incomplete_while_its_file_is_shorter_than_what_was_loaded(tmp_path: Path) -> None:
    config = source(tmp_path, "local_only: true\nlogging: {level: debug}\n")
    assert config.looks_complete()
    config.read()
    config.path.write_text("local_only: true\n")
    assert not config.looks_complete()
    config.read()
    assert config.looks_complete(), "it was loaded, so it counts from now on"
    config.path.write_text("local_only: true")
    assert not config.looks_complete()
    config.path.unlink()
    assert config.looks_complete(), "a missing file is reported by reading it"


def test_a_source_is_incomplete_while_its_key_file_is(tmp_path: Path) -> None:
    keys = tmp_path / "keys.yaml"
    keys.write_text("- {key: first-0123456789}\n- {key: second-0123456789}\n")
    config = source(tmp_path, "api_keys: {api_keys_file: keys.yaml}\n")
    config.read()
    keys.write_text("- {key: first-0123456789}\n")
    assert not config.looks_complete()


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = source(tmp_path, "logging: {level: info}\n")
    read, texts = Path.read_bytes, ["logging: {level: debug, format: json}\n", "logging: {level: error}\n"]

    def changing(path: Path) -> bytes:
        data = read(path)
        if texts and path == config.path:
            path.write_text(texts.pop(0))
        return data

    monkeypatch.setattr(Path, "read_bytes", changing)
    assert config.read().logging.level == "error"


def test_a_file_that_keeps_changing_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = source(tmp_path, "logging: {level: info}\n")
    read = Path.read_bytes

    def changing(path: Path) -> bytes:
        data = read(path)
        if path == config.path:
            path.write_bytes(data + b"#\n")
        return data

    monkeypatch.setattr(Path, "read_bytes", changing)
    monkeypatch.setattr(module, "_PAUSE", 0.0)
    with pytest.raises(OSError, match="keeps changing"):
        config.read()


def test_the_start_waits_for_a_save_in_progress_and_not_for_an_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = source(tmp_path, "api_keys:\n  api")
    waiting = threading.Thread(target=config.wait_until_complete)
    waiting.start()
    config.path.write_text("api_keys:\n  api_keys: [{key: first-0123456789}]\n")
    waiting.join()
    assert config.read().api_keys.closed
    config.path.write_text("api_keys: {api_keys: [{key: first-0123456789}]}")
    os.utime(config.path, (1, 1))
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    config.wait_until_complete()
    assert pauses == []


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of files")
@pytest.mark.parametrize(
    ("mode", "text", "warned"),
    [
        (0o644, "backends: [{type: openai, api_key: sk-literal-0123456789}]\n", "backends.0.api_key"),
        (
            0o604,
            "api_keys: {api_keys: [{key: a-0123456789}, {key: b-0123456789}]}\n",
            "api_keys.api_keys.0.key and 1 more",
        ),
        (0o600, "backends: [{type: openai, api_key: sk-literal-0123456789}]\n", ""),
        (0o640, "backends: [{type: openai, api_key: sk-literal-0123456789}]\n", ""),
        (0o644, "backends: [{type: openai, api_key: '${OPENAI_API_KEY}'}]\n", ""),
        (0o644, "backends: [{type: ollama}]\n", ""),
    ],
)
def test_secrets_in_a_file_that_every_user_can_read_cause_a_warning(
    tmp_path: Path, mode: int, text: str, warned: str
) -> None:
    config = source(tmp_path, text)
    config.path.chmod(mode)
    warnings = [str(warning) for warning in config.read().warnings if "every user" in warning.message]
    assert len(warnings) == bool(warned)
    if warned:
        assert f"({warned})" in warnings[0] and warnings[0].endswith(f"chmod 600 {config.path}")


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of files")
@pytest.mark.parametrize("text", ["- {key: a-0123456789}\n", "api_keys:\n- {key: a-0123456789}\n"])
def test_keys_in_a_key_file_that_every_user_can_read_cause_a_warning(tmp_path: Path, text: str) -> None:
    keys = tmp_path / "keys.yaml"
    keys.write_text(text)
    config = source(tmp_path, "api_keys: {api_keys_file: keys.yaml}\n")
    keys.chmod(0o644)
    assert any(f"chmod 600 {keys}" in str(warning) for warning in config.read().warnings)
    keys.chmod(0o600)
    assert not config.read().warnings
