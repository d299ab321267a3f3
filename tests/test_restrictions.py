"""Changes through the page or the API cannot read this machine's secrets, nor send the config's to another server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from growth import assert_linear

from byway.config import Config, ConfigError, load
from byway.config.editing import Append, Edit, Remove, Set
from byway.config.editing import edit as apply
from byway.config.file import ConfigFile
from byway.config.notes import Note, notes
from byway.config.restrictions import is_allowed_variable, restricted_problems, unbound_secrets
from byway.store import Store

SECRET = "s3cret-of-the-cloud-0123"
TEXT = f"""\
backends:
  - name: cloud
    type: generic
    url: https://models.example.com/v1
    api_key: {SECRET}
  - name: team
    type: generic
    url: ${{TEAM_URL}}
    api_key: ${{TEAM_SECRET}}
web_search:
  enabled: true
  provider: brave
  api_key: ${{BYWAY_BRAVE_API_KEY}}
api_keys:
  api_keys:
    - {{id: ada, key: '${{ADA_KEY}}'}}
"""
ENVIRON = {
    "TEAM_URL": "https://team.example.com",
    "TEAM_SECRET": "team-secret-0123456789",
    "BYWAY_BRAVE_API_KEY": "brave-secret-0123456789",
    "ADA_KEY": "adas-key-0123456789",
    "OPENAI_API_KEY": "openai-secret-0123456789",
    "DATABASE_PASSWORD": "not-for-byway-0123456789",
}


def read(text: str) -> Config:
    return load(text, ENVIRON)


def make(folder: Path, restricted: bool = True) -> ConfigFile:
    config = folder / "config"
    data = folder / "data"
    for path in (config, data):
        path.mkdir()
    (config / "byway.yaml").write_text(TEXT)
    return ConfigFile(config / "byway.yaml", read, Store(data), data, restricted=restricted)


@pytest.fixture
def file(tmp_path: Path) -> ConfigFile:
    return make(tmp_path)


def backend(**settings: Any) -> Append:
    return Append(("backends",), {"name": "new", "type": "generic", "url": "https://new.example.net", **settings})


NEW_URL = Set(("backends", 0, "url"), "https://evil.example.net")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (backend(api_key="${DATABASE_PASSWORD}"), "the variable DATABASE_PASSWORD cannot be named through the page"),
        (backend(headers={"X-A": "a ${HOME} b"}), "the variable HOME"),
        (backend(api_key="${DATABASE_PASSWORD:-x}"), "the variable DATABASE_PASSWORD"),
        (Set(("model_aliases", "haiku"), "${DATABASE_PASSWORD}"), "the variable DATABASE_PASSWORD"),
        (backend(url="https://evil.example.net/${OPENAI_API_KEY}"), "a URL can name a variable"),
        (backend(url="https://evil.example.net/${TEAM_SECRET}"), "a URL can name a variable"),
        (backend(proxy="http://${OPENAI_API_KEY}@evil.example.net:1"), "a URL can name a variable"),
        (Set(("web_search", "base_url"), "http://evil.example.net/${BYWAY_BRAVE_API_KEY}"), "a URL can name"),
        (Set(("api_keys", "api_keys_file"), "/etc/shadow"), "has to be below the folder of the config"),
        (Set(("api_keys", "api_keys_file"), "../../outside.yaml"), "has to be below"),
        (Set(("api_keys", "api_keys_file"), "~root/keys.yaml"), "has to be below"),
        (Set(("api_keys", "api_keys_file"), "link/keys.yaml"), "has to be below"),
        (Set(("api_keys", "api_keys_file"), "\0"), "has to be below"),
        (backend(tls={"ca": "/etc/passwd"}), "has to be below"),
        (backend(tls={"cert": "/etc/ssl/private/key.pem"}), "has to be below"),
        (Set(("model_metadata_file",), "/etc/passwd"), "has to be below"),
        (Set(("global_prompts",), {"default_file": "/etc/passwd"}), "has to be below"),
    ],
)
def test_a_change_that_reads_this_machines_secrets_is_rejected(file: ConfigFile, edit: Edit, words: str) -> None:
    (file.path.parent / "link").symlink_to("/")
    for attempt in (
        lambda: file.change([edit], "key ada", "x"),
        lambda: file.check(changed(edit)),
        lambda: file.write(changed(edit), "key ada", "x"),
    ):
        with pytest.raises(ConfigError, match=words):
            attempt()
    assert file.path.read_text() == TEXT


def changed(edit: Edit) -> str:
    return apply(TEXT, [edit])


@pytest.mark.parametrize(
    "edit",
    [
        backend(api_key="${OPENAI_API_KEY}"),
        backend(api_key="${BYWAY_OPENAI_API_KEY:-}"),
        backend(api_key="${BACKEND_AI_SERPER_API_KEY:-}"),
        backend(api_key="typed-secret-0123456789"),
        backend(url="${TEAM_URL}/other"),
        Set(("model_aliases", "haiku"), "cloud/small"),
        Set(("api_keys", "api_keys_file"), "keys.yaml"),
        Set(("backends", 1, "weight"), 5),
        Remove(("backends", 0)),
    ],
)
def test_ordinary_changes_are_made(file: ConfigFile, edit: Edit) -> None:
    (file.path.parent / "keys.yaml").write_text("- {key: more-0123456789}\n")
    assert file.change([edit], "key ada", "x").config.warnings == ()


def test_a_file_may_be_below_the_data_folder(file: ConfigFile, tmp_path: Path) -> None:
    file.change([Set(("api_keys", "api_keys_file"), str(tmp_path / "data" / "keys.yaml"))], "key ada", "x")


def test_a_file_that_the_config_names_already_stays(tmp_path: Path) -> None:
    owner = make(tmp_path, restricted=False)
    owner.change([Set(("backends", 1, "tls"), {"ca": "/etc/ssl/team.pem"})], "ann", "x")
    remote = ConfigFile(owner.path, read, owner._store, tmp_path / "data")
    remote.change([Remove(("backends", 0))], "key ada", "x")
    assert remote.check(remote.read().text).backends[0].tls is not None


@pytest.mark.parametrize(
    "edits",
    [
        [NEW_URL],
        [Set(("backends", 0, "url"), "https://models.example.com.evil.net")],
        [Set(("backends", 0, "url"), "http://models.example.com/v1")],
        [Set(("backends", 0, "url"), "https://models.example.com:8443/v1")],
        [NEW_URL, Set(("backends", 0, "name"), "renamed")],
        [NEW_URL, Set(("backends", 0, "api_key"), "${TEAM_SECRET}")],
        [Set(("backends", 0, "proxy"), "http://evil.example.net:3128")],
        [Set(("backends", 0, "tls"), {"verify": False})],
        [Set(("backends", 0, "api_key"), "${TEAM_SECRET}")],
        [Set(("backends", 0, "api_key"), "${ADA_KEY}")],
        [Set(("backends", 0, "api_key"), "${BYWAY_BRAVE_API_KEY}")],
        [NEW_URL, Set(("backends", 0, "headers"), {"X-Api-Key": SECRET}), Remove(("backends", 0, "api_key"))],
    ],
)
def test_a_secret_is_removed_when_its_backend_gets_another_server(file: ConfigFile, edits: list[Edit]) -> None:
    saved = file.change(edits, "key ada", "x")
    first = saved.config.backends[0]
    assert first.api_key is None and not first.headers
    (warning,) = [str(problem) for problem in saved.config.warnings if "entered for another server" in problem.message]
    assert "Enter the secret for the new server again" in warning
    assert SECRET not in file.path.read_text()


def test_a_secret_that_is_entered_with_the_new_server_stays(file: ConfigFile) -> None:
    saved = file.change([NEW_URL, Set(("backends", 0, "api_key"), "another-secret-0123")], "the page", "x")
    assert saved.config.backends[0].api_key == "another-secret-0123" and not saved.config.warnings


@pytest.mark.parametrize("url", ["https://models.example.com", "https://MODELS.example.com:443/v2"])
def test_a_secret_stays_when_the_server_is_the_same(file: ConfigFile, url: str) -> None:
    saved = file.change([Set(("backends", 0, "url"), url)], "the page", "x")
    assert saved.config.backends[0].api_key == SECRET


def test_the_secret_of_a_search_provider_is_removed_with_another_address(file: ConfigFile) -> None:
    # Without its key the provider is not complete, so the change is rejected.
    with pytest.raises(ConfigError, match=r"web_search\.api_key"):
        file.change([Set(("web_search", "base_url"), "https://evil.example.net")], "key ada", "x")


def test_the_secret_of_an_identity_provider_is_removed_with_another_issuer(file: ConfigFile) -> None:
    section = {"issuer": "https://login.example.org", "client_id": "byway", "client_secret": "client-secret-0123",
               "roles": [{"domains": ["example.org"]}]}  # fmt: skip
    assert file.change([Set(("oidc",), section)], "the page", "x").config.oidc.client_secret == "client-secret-0123"
    saved = file.change([Set(("oidc", "client_id"), "other")], "key ada", "x")
    assert saved.config.oidc.client_secret == "client-secret-0123"
    saved = file.change([Set(("oidc", "issuer"), "https://evil.example.net")], "key ada", "x")
    assert saved.config.oidc.client_secret is None and "client-secret-0123" not in file.path.read_text()


def test_a_text_that_sends_a_secret_elsewhere_loses_it(file: ConfigFile) -> None:
    saved = file.write(TEXT.replace("models.example.com", "evil.example.net"), "key ada", "x")
    assert saved.config.backends[0].api_key is None and SECRET not in file.path.read_text()


def test_the_owner_of_the_machine_may_do_all_of_that(tmp_path: Path) -> None:
    file = make(tmp_path, restricted=False)
    (tmp_path / "keys.yaml").write_text("- {key: more-0123456789}\n")
    saved = file.change(
        [
            NEW_URL,
            backend(api_key="${DATABASE_PASSWORD}", url="https://new.example.net/${OPENAI_API_KEY}"),
            Set(("api_keys", "api_keys_file"), str(tmp_path / "keys.yaml")),
        ],
        "ann",
        "x",
    )
    assert [value.api_key for value in saved.config.backends] == [
        SECRET,
        "team-secret-0123456789",
        "not-for-byway-0123456789",
    ]


@pytest.mark.parametrize("name", ["BYWAY_X", "BACKEND_AI_Y", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "SERPER_API_KEY"])
def test_variables_for_models_and_search_are_allowed(name: str) -> None:
    assert is_allowed_variable(name)


@pytest.mark.parametrize(
    "name", ["HOME", "AWS_SECRET_ACCESS_KEY", "DATABASE_URL", "XBYWAY_A", "byway_a", "_API_KEY", ""]
)
def test_other_variables_are_not_allowed(name: str) -> None:
    assert not is_allowed_variable(name)


@pytest.mark.parametrize("edit", [Remove(("api_keys",)), Set(("api_keys", "api_keys"), [])])
@pytest.mark.parametrize("restricted", [True, False])
def test_a_change_that_removes_the_last_key_is_rejected(tmp_path: Path, edit: Edit, restricted: bool) -> None:
    file = make(tmp_path, restricted)
    with pytest.raises(ConfigError, match="would let clients in without a key"):
        file.change([edit], "ann", "x")
    with pytest.raises(ConfigError, match="would let clients in without a key"):
        file.write("backends: []\n", "ann", "x")
    assert file.path.read_text() == TEXT
    file.change([Set(("api_keys",), {"mode": "permissive"})], "ann", "in words")


def test_time_to_check_a_change_grows_linearly_with_the_config() -> None:
    def tree(size: int, domain: str) -> dict[str, Any]:
        fields = {"type": "generic"}
        backends = [
            {**fields, "name": f"b{at}", "url": f"https://b{at}.{domain}", "api_key": f"${{K{at}}}"}
            for at in range(size)
        ]
        return {"backends": backends}

    def trees(size: int) -> tuple[Any, Any]:
        return tree(size, "example"), tree(size, "other")

    assert_linear(trees, lambda pair: restricted_problems(*pair, lambda path: True), size=100)
    assert_linear(trees, lambda pair: unbound_secrets(*pair), size=100)


def test_settings_that_name_files_or_take_variables_are_marked() -> None:
    """A new setting with a file, a secret or a URL is restricted when its Note says what it is."""

    def marked(struct: type[msgspec.Struct], path: str = "") -> Iterator[tuple[str, Note]]:
        for field in msgspec.structs.fields(struct):
            note = notes(struct).get(field.name)
            if note is None or note.internal:
                continue
            yield f"{path}{field.encode_name}", note
            for inner in structs(field.type):
                yield from marked(inner, f"{path}{field.encode_name}.")

    def structs(kind: Any) -> Iterator[type[msgspec.Struct]]:
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            yield kind
        for part in get_args(kind):
            yield from structs(part)

    for path, note in marked(Config):
        named = path.rpartition(".")[2]
        is_file = named.endswith("_file") or named in ("ca", "cert", "prompts_dir") or path.endswith("tls.key")
        assert note.file == is_file, path
        assert note.variables == (note.format in ("secret", "url", "proxy") or named in ("headers", "access_key_id")), (
            path
        )
