"""The config file as text: hidden secrets in the editor, export without secrets, import."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from byway.admin import configtext
from byway.config import ConfigError, load
from byway.config.editing import ConfigChanged, meaning
from byway.config.exporting import without_secrets
from byway.config.file import ConfigFile
from byway.config.hiding import PREFIX, hide_secrets, reveal_secrets
from byway.store import Store

KEY = b"k" * 32
TEXT = """\
# My config. The old key was sk-old-1234567890abcdef.
backends:
  - name: work           # the big one
    type: openai
    url: https://api.example.org/v1
    api_key: "sk-real-0123456789abcdef"
    models: [m]
  - {name: lab, type: generic, url: "http://lab.example.org:8000", models: [n], proxy: "http://ada:pa55w0rd@proxy.example.org:3128"}
  # api_key: hunter2-hunter2
web_search:
  provider: brave
  api_key: BSA-literal-key-1
api_keys:
  api_keys:
    - {id: ada, key: plain-client-key-99}
prompts:
  rules:
    - {text: "# key: this is a prompt"}
"""
SECRETS = (
    "sk-real-0123456789abcdef",
    "pa55w0rd",
    "BSA-literal-key-1",
    "plain-client-key-99",
    "sk-old-1234567890abcdef",
    "hunter2-hunter2",
)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[ConfigFile]:
    path = tmp_path / "byway.yaml"
    text = TEXT.partition("prompts:")[0]
    path.write_text(text)
    with Store(tmp_path) as store:
        yield ConfigFile(path, lambda text: load(text, {}), store, tmp_path)


def test_no_secret_is_in_the_text_of_the_editor() -> None:
    hidden = hide_secrets(TEXT, KEY)
    assert not [secret for secret in SECRETS if secret in hidden.text]
    assert "lab.example.org:8000" in hidden.text and "# the big one" in hidden.text
    assert "# key: this is a prompt" in hidden.text


def test_what_was_hidden_comes_back_unchanged() -> None:
    hidden = hide_secrets(TEXT, KEY)
    assert reveal_secrets(hidden.text, hidden) == (TEXT, ())


def test_a_mark_moves_with_its_backend() -> None:
    hidden = hide_secrets(TEXT, KEY)
    moved = hidden.text.replace("name: work", "name: renamed").replace("# My config.", "# A comment.\n#")
    revealed = reveal_secrets(moved, hidden)
    assert not revealed.problems
    assert meaning(revealed.text)["backends"][0]["api_key"] == "sk-real-0123456789abcdef"


def test_a_hidden_secret_is_not_sent_to_another_server() -> None:
    hidden = hide_secrets(TEXT, KEY)
    for before, after in (
        ("https://api.example.org/v1", "https://evil.example.org/v1"),
        ("proxy.example.org:3128", "evil.example.org:3128"),
    ):
        (problem,) = reveal_secrets(hidden.text.replace(before, after), hidden).problems
        assert "another server" in problem.message and problem.line


def test_a_mark_outside_a_secret_is_refused() -> None:
    hidden = hide_secrets(TEXT, KEY)
    mark = next(iter(hidden.secrets))
    for text in (hidden.text.replace("models: [m]", f"models: [{mark}]"), hidden.text + f"{mark}: x\n"):
        assert reveal_secrets(text, hidden).problems


def test_an_unknown_mark_is_named_with_its_line() -> None:
    hidden = hide_secrets(TEXT, KEY)
    typed = hidden.text.replace("provider: brave\n", "provider: brave\n  language: en\n", 1)
    mark = next(mark for mark, secret in hidden.secrets.items() if secret.value.startswith("BSA"))
    typed = typed.replace(mark, f"{PREFIX}00000000")
    (problem,) = reveal_secrets(typed, hidden).problems
    assert problem.path == "web_search.api_key" and problem.line == 13


def test_a_file_that_is_not_yaml_is_hidden_line_by_line() -> None:
    broken = TEXT.replace("models: [m]", "models: [m")
    hidden = hide_secrets(broken, KEY)
    assert not [secret for secret in SECRETS if secret in hidden.text]
    assert reveal_secrets(hidden.text.replace("models: [m", "models: [m]"), hidden).text == TEXT


def test_an_export_names_a_variable_for_each_secret() -> None:
    exported = without_secrets(TEXT)
    assert not [secret for secret in SECRETS if secret in exported.text]
    names = {variable.name: variable.settings for variable in exported.variables}
    assert names == {
        "BYWAY_OPENAI_API_KEY": ("backends.0.api_key",),
        "BYWAY_BACKENDS_LAB_PROXY": ("backends.1.proxy",),
        "BYWAY_BRAVE_API_KEY": ("web_search.api_key",),
        "BYWAY_API_KEYS_ADA_KEY": ("api_keys.api_keys.0.key",),
    }
    assert all(f"#   {name}: " in exported.text for name in names)
    assert "# the big one" in exported.text


def test_an_exported_text_with_its_variables_means_the_same() -> None:
    text = TEXT.partition("prompts:")[0]
    exported = without_secrets(text)
    environ = {
        "BYWAY_OPENAI_API_KEY": "sk-real-0123456789abcdef",
        "BYWAY_BACKENDS_LAB_PROXY": "ada:pa55w0rd",
        "BYWAY_BRAVE_API_KEY": "BSA-literal-key-1",
        "BYWAY_API_KEYS_ADA_KEY": "plain-client-key-99",
    }
    before, after = load(text, {}), load(exported.text, environ)
    assert [(backend.proxy, backend.api_key) for backend in before.backends] == [
        (backend.proxy, backend.api_key) for backend in after.backends
    ]
    assert before.api_keys == after.api_keys


def test_two_keys_of_one_vendor_get_two_variables() -> None:
    text = (
        "backends:\n"
        "  - {name: a, type: openai, api_key: sk-aaaaaaaaaaaaaaaa1}\n"
        "  - {name: b, type: openai, api_key: sk-bbbbbbbbbbbbbbbb2}\n"
        "  - {name: c, type: openai, api_key: sk-aaaaaaaaaaaaaaaa1}\n"
    )
    names = [(variable.name, len(variable.settings)) for variable in without_secrets(text).variables]
    assert names == [("BYWAY_OPENAI_API_KEY", 2), ("BYWAY_OPENAI_API_KEY_2", 1)]


def test_exporting_an_export_adds_no_second_header() -> None:
    once = without_secrets(TEXT).text
    assert without_secrets(once).text == once


def test_an_export_imported_on_the_same_machine_changes_nothing(file: ConfigFile) -> None:
    exported = configtext.export_config(file)
    preview, before = configtext.preview_import(file, exported.text, KEY, {}), meaning(file.path.read_text())
    assert preview.good, preview.complaints
    saved = configtext.import_config(file, exported.text, "ada", {}, preview.etag)
    assert saved.result.config.backends[0].api_key == "sk-real-0123456789abcdef"
    assert meaning(file.path.read_text()) == before


def test_an_import_names_variables_that_are_not_set(file: ConfigFile) -> None:
    text = "backends:\n  - {type: mistral, api_key: '${BYWAY_MISTRAL_API_KEY}'}\n"
    preview = configtext.preview_import(file, text, KEY, {})
    assert preview.good and preview.missing == ("BYWAY_MISTRAL_API_KEY",)
    assert not [secret for secret in SECRETS if secret in "".join(preview.changes)]
    assert configtext.preview_import(file, text, KEY, {"BYWAY_MISTRAL_API_KEY": "x"}).missing == ()


def test_an_import_that_is_invalid_has_lines_and_writes_nothing(file: ConfigFile) -> None:
    before = file.path.read_text()
    preview = configtext.preview_import(file, "backends:\n  - {type: nosuch}\n", KEY, {})
    assert not preview.good and preview.complaints[0].line == 2
    with pytest.raises(ConfigError):
        configtext.import_config(file, "backends:\n  - {type: nosuch}\n", "ada", {}, None)
    assert file.path.read_text() == before


def test_the_editor_saves_with_the_etag_that_it_has_seen(file: ConfigFile) -> None:
    editor = configtext.editor_text(file, KEY)
    assert editor.hidden == 6
    typed = editor.text.replace("# the big one", "# the biggest").replace("\n", "\r\n")
    saved = configtext.save_text(file, typed, KEY, "ada", editor.etag)
    assert saved.is_changed and "# the biggest" in file.path.read_text()
    assert "sk-real-0123456789abcdef" in file.path.read_text() and "\r" not in file.path.read_bytes().decode()
    with pytest.raises(ConfigChanged):
        configtext.save_text(file, typed, KEY, "ada", editor.etag)


def test_the_check_of_the_editor_writes_nothing_and_has_lines(file: ConfigFile) -> None:
    editor, before = configtext.editor_text(file, KEY), file.path.read_text()
    assert configtext.check_text(file, editor.text, KEY).good
    report = configtext.check_text(file, editor.text.replace("provider: brave", "provider: brav"), KEY)
    assert not report.good and report.complaints[0].line == 11
    assert not configtext.check_text(file, editor.text + "\t- x", KEY).good
    assert file.path.read_text() == before
