"""The printed exports, executed by the shells they are written for."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from byway.admin import exports

ODD = [
    *("plain", "qwen3:30b", "with space", "quo'te", 'dou"ble', "$(touch /tmp/never)", "`id`", "a;b|c&d"),
    *("back\\slash", "\u202edrow", "new\nline"),
]


@pytest.mark.parametrize("value", ODD)
def test_bash_reads_the_exact_value(value: str) -> None:
    text = exports.bash([("BYWAY_TEST", value)])
    got = subprocess.run(["bash", "-c", f'{text}\nprintf %s "$BYWAY_TEST"'], capture_output=True, check=True)
    assert got.stdout.decode() == value


@pytest.mark.parametrize("value", ODD)
def test_dotenv_and_settings_contain_the_exact_value(value: str, tmp_path: Path) -> None:
    written = exports.dotenv([("BYWAY_TEST", value)])
    # A shell that reads the file gets it too, and runs nothing.
    (tmp_path / "file.env").write_text(written)
    got = subprocess.run(
        ["bash", "-c", '. ./file.env; printf %s "$BYWAY_TEST"; ls'], cwd=tmp_path, capture_output=True, check=True
    )
    assert got.stdout.decode() == value.replace("\n", "\\n") + "file.env\n" and not got.stderr
    assert json.loads(exports.settings([("BYWAY_TEST", value)]))["env"] == {"BYWAY_TEST": value}


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
@pytest.mark.parametrize("value", ODD)
def test_fish_reads_the_exact_value(value: str) -> None:
    text = exports.fish([("BYWAY_TEST", value)])
    got = subprocess.run(
        ["fish", "--no-config", "-c", f'{text}\nprintf %s "$BYWAY_TEST"'], capture_output=True, check=True
    )
    assert got.stdout.decode() == value
