"""A folder with a config and data, for tests of commands that change the config."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from byway.cli.main import byway

SECRET = "sk-of-the-backend-0123456789abcdef"
TEXT = """\
# mine
backends:
  # the first one
  - name: work
    type: openai
    api_key: ${WORK_KEY}   # from the environment
    models: [gpt-4.1, {id: big, window: 4096}]
    headers: {x-team: red}
  - {name: far.away, type: ollama, url: "http://127.0.0.1:1"}   # asleep
model_aliases:
  gpt-4.1: work/big   # dots are fine
timeouts: {connect: 7s}
"""


class ConfigFolder:
    """A config and a data folder, and `byway` commands that use them, run in this process."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "byway.yaml"
        self.data = folder / "data"
        self.file.write_text(TEXT)
        self.file.chmod(0o600)

    def __call__(self, *arguments: str, stdin: str = "") -> Result:
        environ = {"BYWAY_CONFIG": str(self.file), "BYWAY_HOME": str(self.data), "WORK_KEY": SECRET}
        done = CliRunner().invoke(byway, list(arguments), env=environ, input=stdin)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.output
        assert SECRET not in done.output
        return done

    def json(self, *arguments: str) -> Any:
        done = self(*arguments, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    @property
    def text(self) -> str:
        return self.file.read_text()


@pytest.fixture
def config_folder(tmp_path: Path) -> ConfigFolder:
    return ConfigFolder(tmp_path)
