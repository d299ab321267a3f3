"""Secrets in versions of the config: taken out before they are kept, and put back when a version is restored."""

from __future__ import annotations

from pathlib import Path

import pytest
from growth import assert_linear

from byway.config import Config, load
from byway.config.editing import EditError, Remove, Set, meaning
from byway.config.file import ConfigFile
from byway.config.masking import MASK, mask_secrets, restore_secrets
from byway.config.secretuses import secret_uses
from byway.store import FILE_NAME, Store

SECRETS = [f"s3cret-value-{number}" for number in range(9)]
TEXT = f"""\
# The team's gateway.
backends:
  - name: cloud
    type: openai   # main
    api_key: {SECRETS[0]}
    headers:
      X-Team: blue
      Authorization: "Bearer {SECRETS[1]}"
    proxy: http://user:{SECRETS[2]}@proxy.example.org:3128
  - {{name: local, type: vllm, url: 'http://10.0.0.1:8000', api_key: '{SECRETS[3]}'}}
  - name: kept
    type: anthropic
    api_key: ${{ANTHROPIC_API_KEY}}
api_keys:
  api_keys:
    - id: ada
      key: |
        {SECRETS[4]}
    - {{id: bob, key: &bob {SECRETS[5]}}}
web_search:
  enabled: true
  provider: brave
  api_key: >-
    {SECRETS[6]}
  fallback:
    - {{provider: tavily, api_key: {SECRETS[7]}}}
rate_limiting: {{enabled: false, bypass_keys: [{SECRETS[8]}]}}
"""


def check(text: str) -> Config:
    return load(text, {"ANTHROPIC_API_KEY": "from-the-environment"})


def test_every_secret_is_found_with_the_server_that_receives_it() -> None:
    uses = {".".join(map(str, use.path)): use for use in secret_uses(meaning(TEXT))}
    assert sorted(uses) == [
        "api_keys.api_keys.0.key",
        "api_keys.api_keys.1.key",
        "backends.0.api_key",
        "backends.0.headers.Authorization",
        "backends.0.proxy",
        "backends.1.api_key",
        "backends.2.api_key",
        "rate_limiting.bypass_keys.0",
        "web_search.api_key",
        "web_search.fallback.0.api_key",
    ]
    assert [path for path, use in uses.items() if not use.literal] == ["backends.2.api_key"]
    hosts = {path: use.receiver.host for path, use in uses.items() if use.receiver is not None}
    assert hosts["backends.0.api_key"] == hosts["backends.0.headers.Authorization"] == "api.openai.com"
    assert hosts["backends.1.api_key"] == "10.0.0.1:8000" and hosts["web_search.api_key"] == "brave"
    assert "api_keys.api_keys.0.key" not in hosts


def test_a_masked_text_has_no_secret_and_is_otherwise_the_same() -> None:
    masked = mask_secrets(TEXT)
    assert masked.secrets == len(SECRETS) and not any(secret in masked.text for secret in SECRETS)
    assert masked.text.count(MASK) == len(SECRETS)
    assert "# The team's gateway." in masked.text and "type: openai   # main" in masked.text
    assert "${ANTHROPIC_API_KEY}" in masked.text and "X-Team: blue" in masked.text
    assert mask_secrets(masked.text) == (masked.text, 0)
    check(TEXT)


def test_a_restored_text_means_what_it_meant() -> None:
    restored = restore_secrets(mask_secrets(TEXT).text, TEXT)
    assert restored.missing == () and check(restored.text) == check(TEXT)


@pytest.mark.parametrize(
    "text",
    [
        "backends: [{name: a, type: openai, apikey: s3cret-value-0}]\n",
        "backends:\n- name: a\n  type: openai\n  tokens: [s3cret-value-0, 's3cret-value-1']\n",
        "admin: {auth: {method: basic, password: 's3cret-value-0'}}\n",
        "backends: [{name: a, type: generic, url: 'https://user:s3cret-value-0@x.example'}]\n",
        "x: &d {api_key: s3cret-value-0}\nbackends: [{name: a, type: openai, <<: *d}]\n",
        "backends: [{name: a, type: openai, api_key: 1234567890123456}]\n",
        "\ufeffbackends:\r\n- type: openai\r\n  api_key: s3cret-value-0\r\n",
    ],
)
def test_secrets_in_unusual_places_are_taken_out_too(text: str) -> None:
    masked = mask_secrets(text)
    assert masked.secrets and "s3cret" not in masked.text and "1234567890" not in masked.text
    meaning(masked.text)


def test_members_of_lists_are_told_by_their_names_and_servers() -> None:
    version = mask_secrets(TEXT).text
    moved = TEXT.replace(
        "backends:\n", "backends:\n  - {name: new, type: openai, api_key: other-secret-0123}\n"
    ).replace("http://10.0.0.1:8000", "http://10.0.0.2:8000")
    restored = restore_secrets(version, moved)
    assert restored.missing == (("backends", 1, "api_key"),), "that server has another address now"
    config = check(restored.text)
    assert [backend.api_key for backend in config.backends] == [SECRETS[0], None, "from-the-environment"]


def test_a_clients_key_without_its_value_is_left_out() -> None:
    restored = restore_secrets(mask_secrets(TEXT).text, TEXT.replace("id: bob", "id: cy"))
    assert restored.missing == (("api_keys", "api_keys", 1, "key"),)
    assert [key.id for key in check(restored.text).api_keys.api_keys] == ["ada"]


def test_text_that_is_no_yaml_is_not_masked() -> None:
    with pytest.raises(EditError):
        mask_secrets("backends: [{api_key: s3cret-value-0")


def test_time_to_mask_and_restore_grows_linearly_with_backends_and_headers() -> None:
    def backends(size: int) -> str:
        return "backends:\n" + "".join(
            f"- {{name: b{number}, type: openai, api_key: secret-{number}}}\n" for number in range(size)
        )

    def headers(size: int) -> str:
        return "backends:\n- type: openai\n  headers:\n" + "".join(
            f"    X-Key-{number}: secret-{number}\n" for number in range(size)
        )

    for make in (backends, headers):
        assert_linear(make, mask_secrets, size=25)
        assert_linear(make, lambda text: restore_secrets(mask_secrets(text).text, text), size=25)


# --- the file and its history -----------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> ConfigFile:
    (tmp_path / "byway.yaml").write_text(TEXT)
    return ConfigFile(tmp_path / "byway.yaml", check, Store(tmp_path), tmp_path, restricted=False)


def database(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir() if path.name.startswith(FILE_NAME))


def test_no_secret_of_the_config_is_in_the_database(file: ConfigFile, tmp_path: Path) -> None:
    file.read()
    file.change([Set(("backends", 0, "api_key"), "new-secret-0123456789")], "ann", "rotated")
    file.change([Remove(("backends", 1))], "ann", "removed")
    data = database(tmp_path)
    assert b"rotated" in data and not any(secret.encode() in data for secret in (*SECRETS, "new-secret-0123456789"))
    assert [version.secrets for version in file.versions()] == [8, 9, 9]


def test_a_version_is_restored_with_the_present_secrets_and_says_which_are_missing(file: ConfigFile) -> None:
    first = file.check(file.read().text)
    file.change([Set(("local_only",), False)], "ann", "x")
    number = file.versions()[-1].number
    assert file.rollback(number, "ann").config == first
    assert f"api_key: '{SECRETS[3]}'" in file.path.read_text(), "quotes stay"
    file.change([Remove(("backends", 1))], "ann", "y")
    saved = file.rollback(number, "ann")
    assert [backend.api_key for backend in saved.config.backends] == [SECRETS[0], None, "from-the-environment"]
    (warning,) = [str(problem) for problem in saved.config.warnings if "left out" in problem.message]
    assert f"backends.1.api_key was left out: version {number}" in warning and "Enter it again" in warning


def test_the_difference_between_versions_shows_no_secret(file: ConfigFile) -> None:
    file.read()
    file.change([Set(("backends", 0, "api_key"), "new-secret-0123456789")], "ann", "rotated")
    file.change([Remove(("backends", 1))], "ann", "removed")
    lines = "\n".join(line for version in file.versions() for line in file.changes(version.number))
    assert "local" in lines and not any(secret in lines for secret in (*SECRETS, "new-secret-0123456789"))


def test_versions_of_an_earlier_byway_lose_their_secrets(file: ConfigFile, tmp_path: Path) -> None:
    name = str(file.path.absolute())
    with Store(tmp_path) as store:
        number = store.add_version(TEXT, "ann", "before", name)
        broken = store.add_version(f"api_key: [{SECRETS[0]}", "ann", "broken", name)
        with store.database.change():
            store.database.run("UPDATE versions SET secrets = NULL", ())
    assert SECRETS[0].encode() in database(tmp_path)
    file.read()
    assert file.version(number).text == mask_secrets(TEXT).text and file.version(number).secrets == 9
    assert file.version(broken).text == ""
    file._store.close()
    assert not any(secret.encode() in database(tmp_path) for secret in SECRETS)


def test_a_text_that_is_no_yaml_becomes_no_version(file: ConfigFile) -> None:
    file.read()
    file.path.write_text(f"backends: [{{api_key: {SECRETS[0]}")
    assert file.read().text.startswith("backends: [{") and len(file.versions()) == 1
