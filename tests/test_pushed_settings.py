"""Settings of the config for signed-in clients: who gets them, how they are joined, and which only the owner may set."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_restrictions import make
from test_signin import Wire

from byway.config import Config, ConfigError, load
from byway.config.editing import Edit, Remove, Set
from byway.config.file import ConfigFile
from byway.config.restrictions import restricted_problems
from byway.signin.settings import checksum, merged, read_settings, unsafe_names

BACKEND = {"name": "box", "type": "generic", "url": "http://127.0.0.1:9", "models": [{"id": "local", "window": 65_536}]}
ENTRIES = [
    {"env": {"CLAUDE_CODE_MAX_RETRIES": 3, "MCP_TIMEOUT": 5}, "json": '{"permissions": {"deny": ["WebFetch"]}}'},
    {
        "for": "group",
        "name": "research",
        "env": {"MCP_TIMEOUT": 9},
        "json": '{"permissions": {"deny": ["Bash", "WebFetch"]}}',
    },
    {"for": "account", "name": "ada", "env": {"ANTHROPIC_DEFAULT_MODEL": "other"}},
]


def text(*entries: Any) -> str:
    return json.dumps({"backends": [BACKEND], "sign_in": {"settings": entries}})


def read(*entries: Any) -> Config:
    return load(text(*entries), {})


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    opened = Wire(tmp_path, text(*ENTRIES))
    yield opened
    opened.close()


def settings(wire: Wire, account: str = "", group: str = "") -> dict[str, Any]:
    """The settings that a new sign-in of the account gets."""
    if account:
        wire.as_account(account)
        wire.store.change_account(account, "test", group=group)
        wire.refresh()
    body: dict[str, Any] = wire.client("GET", "/managed/settings", wire.sign_in()["access_token"])[1]
    assert body["checksum"] == checksum(body["settings"])
    made: dict[str, Any] = body["settings"]
    return made


def test_settings_for_everyone_are_joined_with_those_of_byway(wire: Wire) -> None:
    made = settings(wire)
    assert made["env"]["CLAUDE_CODE_MAX_RETRIES"] == "3" and made["env"]["MCP_TIMEOUT"] == "5"
    assert made["env"]["ANTHROPIC_DEFAULT_MODEL"] == "local" and made["permissions"] == {"deny": ["WebFetch"]}


def test_a_group_and_an_account_get_their_own(wire: Wire) -> None:
    made = settings(wire, "ada", "research")
    assert made["env"]["MCP_TIMEOUT"] == "9" and made["env"]["ANTHROPIC_DEFAULT_MODEL"] == "other"
    assert made["permissions"] == {"deny": ["WebFetch", "Bash"]}
    other = settings(wire, "bob", "sales")
    assert other["env"]["MCP_TIMEOUT"] == "5" and other["env"]["ANTHROPIC_DEFAULT_MODEL"] == "local"


def test_each_account_has_a_checksum_of_its_own(wire: Wire) -> None:
    owner = wire.sign_in()["access_token"]
    etag = wire.client("GET", "/managed/settings", owner)[2].headers["etag"]
    wire.as_account("ada")
    ada = wire.sign_in()["access_token"]
    assert wire.client("GET", "/managed/settings", owner, if_none_match=etag)[0] == 304
    assert wire.client("GET", "/managed/settings", ada, if_none_match=etag)[0] == 200


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"for": "group", "env": {"MCP_TIMEOUT": 1}}, "required: the name of the group"),
        ({"name": "ada", "env": {"MCP_TIMEOUT": 1}}, "settings for everyone have no name"),
        ({"env": {"A B": 1}}, "cannot be the name of a variable"),
        ({"json": "{"}, "it is not JSON"),
        ({"json": "[]"}, "expected a JSON object"),
        ({"json": '{"env": {"A": "b"}}'}, "write variables under env"),
        ({"json": '{"a": 1e400}'}, "too large or too small"),
        ({"json": '{"a": NaN}'}, "NaN is not JSON"),
        ({"json": '{"a": 9007199254740993}'}, "too large"),
        ({"json": '{"a": ' + "9" * 5_000 + "}"}, "too large"),
        ({"json": '{"a": "\\ud800"}'}, "half a character"),
        ({"json": '{"a": ' * 30_000}, "characters"),
        ({"json": '{"a":' * 10_000}, "nested too deeply|not JSON"),
    ],
)
def test_settings_that_no_client_could_read_are_errors_of_the_config(entry: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read(entry)


def test_numbers_are_sent_as_the_client_writes_them() -> None:
    assert read_settings('{"a": 1.0, "b": 0.5, "c": 2e3}') == {"a": 1, "b": 0.5, "c": 2000}
    assert json.dumps(read_settings('{"a": 1.0, "c": 2e3}')) == '{"a": 1, "c": 2000}'


def test_settings_outside_the_safe_list_are_named() -> None:
    document = {
        "env": {"MCP_TIMEOUT": "1", "PATH": "/evil", "ANTHROPIC_BASE_URL": "https://evil.example"},
        "permissions": {"deny": ["Bash"], "allow": ["Bash"], "defaultMode": "bypassPermissions"},
        "hooks": {}, "apiKeyHelper": "x", "model": "local", "claudeMd": "x", "managedMcpServers": {},
    }  # fmt: skip
    assert sorted(unsafe_names(document)) == [
        "apiKeyHelper", "claudeMd", "env.ANTHROPIC_BASE_URL", "env.PATH", "hooks", "managedMcpServers",
        "permissions.allow", "permissions.defaultMode",
    ]  # fmt: skip
    assert list(unsafe_names({"permissions": ["Bash"]})) == ["permissions"]


def test_the_owner_is_warned_of_settings_that_can_run_code() -> None:
    (warning,) = read({"json": '{"hooks": {}}', "env": {"PATH": "/x"}}).warnings
    assert "hooks" in warning.message and "env.PATH" in warning.message and "run code" in warning.message
    assert read(*ENTRIES).warnings == ()


@pytest.mark.parametrize(
    "edit",
    [
        Set(("sign_in", "settings"), [{"json": '{"hooks": {}}'}]),
        Set(("sign_in", "settings"), [{"env": {"PATH": "/evil"}}]),
        Set(("sign_in",), {"settings": [{"json": '{"permissions": {"allow": ["Bash"]}}'}]}),
    ],
)
def test_the_page_and_the_api_cannot_send_settings_that_run_code(tmp_path: Path, edit: Edit) -> None:
    (tmp_path / "page").mkdir()
    (tmp_path / "owner").mkdir()
    file = make(tmp_path / "page")
    before = file.path.read_text()
    with pytest.raises(ConfigError, match="outside the safe list"):
        file.change([edit], "key ada", "x")
    assert file.path.read_text() == before
    owners: ConfigFile = make(tmp_path / "owner", restricted=False)
    assert "run code" in str(owners.change([edit], "owner", "x").config.warnings)
    assert [entry.who for entry in owners._store.audit_entries()] == ["owner"]


def test_an_unsafe_entry_stays_and_can_be_removed_but_not_moved_to_others_through_the_page() -> None:
    entry = {"for": "group", "name": "a", "json": '{"hooks": {}}'}

    def problems(*after: Any) -> list[str]:
        before, changed = ({"sign_in": {"settings": entries}} for entries in ([entry], list(after)))
        return [problem.path for problem in restricted_problems(before, changed, lambda path: True)]

    assert problems(entry, {"env": {"MCP_TIMEOUT": "1"}}) == problems() == []
    assert problems(entry, {**entry, "name": "b"}) == ["sign_in.settings.1"]
    assert problems({**entry, "for": "everyone", "name": None}) == ["sign_in.settings.0"]


def test_safe_settings_can_be_set_through_the_page(tmp_path: Path) -> None:
    file = make(tmp_path)
    assert file.change([Set(("sign_in", "settings"), ENTRIES[:2])], "key ada", "x").config.warnings == ()
    file.change([Remove(("sign_in",))], "key ada", "x")


def test_joining_changes_none_of_the_documents() -> None:
    first: dict[str, Any] = {"env": {"a": "1"}, "permissions": {"deny": ["x"]}, "model": "m"}
    second = {"env": {"b": "2"}, "permissions": {"deny": ["y"]}, "model": "n"}
    copy = json.loads(json.dumps(first))
    assert merged([first, second, second]) == {
        "env": {"a": "1", "b": "2"}, "permissions": {"deny": ["x", "y"]}, "model": "n",
    }  # fmt: skip
    assert first == copy


def test_page_and_doctor_name_the_models_that_are_too_small_for_a_session(tmp_path: Path) -> None:
    models = [{"id": "local", "window": 65_536}, {"id": "tiny", "window": 8_192}]
    wire = Wire(
        tmp_path, json.dumps({"backends": [BACKEND | {"models": models}], "model_aliases": {"default": "local"}})
    )
    try:
        picker = settings(wire)["modelPicker"]["options"]
        assert [option["model"] for option in picker] == ["local"]
        page = wire.get("/device").text
        assert "box/tiny" in page and "8,192" in page and "local (65,536)" not in page
        facts = json.loads(wire.get("/byway/doctor").text)
        assert facts["small_models"] == {"box/tiny": 8192} and facts["main_model"] == "box/local"
    finally:
        wire.close()
