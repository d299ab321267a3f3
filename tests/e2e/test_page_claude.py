"""The first page in a real browser: copying, Verify, Quick Setup, aliases."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browsing, alias_field, login, press, set_targets
from e2e.conftest import ASK
from gateway import Gateway, config
from playwright.sync_api import Locator, Page, expect
from ports import free_port
from scripted import Say, Scripted, openai_error

from byway.admin import exports

KEY = "sk-byway-use-0123456789abcdef"
KEYS = {"api_keys": [{"id": "user", "key": KEY}]}


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted(lambda request: Say("Hello there.")) as server:
        yield server


def card(page: Page, name: str) -> Locator:
    return page.locator(f"#{name}")


def message(page: Page, name: str) -> Locator:
    """What the card says came of it."""
    return page.locator(f"#{name} > .outcome")


# ---------------------------------------------------------------------------------------------------------------- copying


def copied(page: Page, form: str) -> str:
    """What the Copy button of a form of the variables puts on the clipboard."""
    page.locator(f"label[for=shell-{form}]").click()
    page.evaluate("navigator.clipboard.writeText('nothing')")
    page.locator(f".of-{form}").get_by_role("button", name="Copy").click()
    expect(page.locator(f".of-{form}").get_by_role("button", name="Copied")).to_be_visible()
    text: str = page.evaluate("navigator.clipboard.readText()")
    assert text != "nothing"
    return text


def run(text: str, folder: Path) -> dict[str, str]:
    """The environment that `claude` is started with when `text` is pasted into bash."""
    program = folder / "bin" / "claude"
    program.parent.mkdir(exist_ok=True)
    program.write_text("#!/bin/sh\nexec env -0\n")
    program.chmod(0o755)
    got = subprocess.run(
        ["bash", "-c", text],
        env={"PATH": f"{program.parent}:/usr/bin:/bin"},
        cwd=folder,
        capture_output=True,
        check=True,
    )
    assert not got.stderr, got.stderr
    return dict(line.split("=", 1) for line in got.stdout.decode().split("\0") if line)


def docker_arguments(text: str, folder: Path) -> list[str]:
    """What `docker` is called with when `text` is pasted into bash."""
    program = folder / "bin" / "docker"
    program.parent.mkdir(exist_ok=True)
    program.write_text("#!/bin/sh\nprintf '%s\\0' \"$@\"\n")
    program.chmod(0o755)
    environ = {"PATH": f"{program.parent}:/usr/bin:/bin"}
    got = subprocess.run(["bash", "-c", text], env=environ, cwd=folder, capture_output=True, check=True)
    return got.stdout.decode().split("\0")


@pytest.mark.parametrize("key", [KEY, "it's$(id>pwned)`id>pwned`$&\\key"], ids=["usual", "odd"])
def test_what_is_copied_works(browsing: Browsing, server: Scripted, tmp_path: Path, key: str) -> None:
    keys = {"api_keys": [{"id": "user", "key": key}]}
    with Gateway(config(server, api_keys=keys)) as gateway:
        page = browsing.page(permissions=["clipboard-read", "clipboard-write"])
        login(page, gateway, "/claude")
        # Without a key typed it says what has to be put there.
        assert "ANTHROPIC_API_KEY=YOUR-KEY" in copied(page, "bash")
        page.locator("#verify-key").fill(key)
        got = run(copied(page, "bash"), tmp_path)
        assert got["ANTHROPIC_BASE_URL"] == f"{gateway.url}/anthropic" and got["ANTHROPIC_API_KEY"] == key
        env = copied(page, "env")
        (tmp_path / ".env").write_text(env)
        read = run("set -a; . ./.env; claude", tmp_path)
        assert {name: read[name] for name in got if name.startswith(("ANTHROPIC", "CLAUDE"))} == {
            name: value for name, value in got.items() if name.startswith(("ANTHROPIC", "CLAUDE"))
        }
        settings = json.loads(copied(page, "settings"))
        assert settings["env"]["ANTHROPIC_API_KEY"] == key and settings["env"]["ANTHROPIC_BASE_URL"]
        for form, start in (("fish", "set -gx ANTHROPIC_BASE_URL '"), ("powershell", "$env:ANTHROPIC_BASE_URL = '")):
            text = copied(page, form)
            assert text.startswith(f"{start}{gateway.url}/anthropic'")
        quoted = {"fish": key.replace("\\", "\\\\").replace("'", "\\'"), "powershell": key.replace("'", "''")}
        for form, value in quoted.items():
            assert f"'{value}'" in copied(page, form)
        # Editors and other places: the texts are what their programs read.
        for form in ("vscode", "jetbrains", "zed", "desktop"):
            assert key in json.loads(copied(page, form)).__repr__() or json.dumps(key)[1:-1] in copied(page, form)
        arguments = docker_arguments(copied(page, "docker"), tmp_path)
        assert f"ANTHROPIC_API_KEY={key}" in arguments
        assert any(argument.startswith("ANTHROPIC_BASE_URL=http://host.docker.internal:") for argument in arguments)
        assert "secrets.BYWAY_KEY" in copied(page, "actions") and key not in copied(page, "actions")
        assert copied(page, "cmd").startswith(f'set "ANTHROPIC_BASE_URL={gateway.url}/anthropic"')
        # The key in a header, as for a Byway that forwards logins.
        header = [("ANTHROPIC_CUSTOM_HEADERS", exports.key_header(exports.YOUR_KEY))]
        for form, text in (("bash", f"{exports.bash(header)}\nclaude"), ("env", exports.dotenv(header))):
            page.locator(f"#text-{form}").evaluate("(shown, text) => { shown.textContent = text }", text)
            script = copied(page, form)
            (tmp_path / ".env").write_text(script)
            got = run(script if form == "bash" else "set -a; . ./.env; claude", tmp_path)
            assert got["ANTHROPIC_CUSTOM_HEADERS"] == f"x-byway-key: {key}"
        page.locator("#endpoint dl").get_by_role("button", name="Copy").click()
        page.wait_for_function("navigator.clipboard.readText().then(text => text.endsWith('/anthropic'))")
        assert not (tmp_path / "pwned").exists()


def test_the_settings_of_claude_code_are_written_after_a_look_at_the_change(page: Page, server: Scripted) -> None:
    with Gateway(config(server)) as gateway:
        login(page, gateway, "/claude")
        page.get_by_role("button", name="Write it into ~/.claude/settings.json").click()
        expect(page.get_by_role("heading", name="Confirm the change")).to_be_visible()
        expect(page.locator("pre.diff")).to_contain_text("ANTHROPIC_BASE_URL")
        file = gateway.home / ".claude" / "settings.json"
        assert not file.exists()
        page.get_by_role("button", name="Make this change").click()
        expect(page.locator("#all .outcome")).to_contain_text("connected")
        assert json.loads(file.read_text())["env"]["ANTHROPIC_BASE_URL"] == f"{gateway.url}/anthropic"


HOSTILE = (
    "'; touch pwned; '",
    "$(touch pwned)",
    "`touch pwned`",
    "</script><img src=x onerror=alert(1)>",
    '" onfocus="alert(1)" autofocus x="',
    "\u202egnp.exe\u202c",
    "{{ 7*7 }}",
    "${PATH}",
    "n" * 5000,
)


def test_hostile_names_of_models_are_only_names(browsing: Browsing, tmp_path: Path) -> None:
    """Models can have any name: the page, the config and the shells get it as it is, and nothing in it is executed."""
    # The config lists the models, because a name with whitespace in a backend's list is taken for a pattern and left out.
    # The window is so small that the copied texts contain the names, too.
    models = [{"id": name.replace("${", "$${"), "window": 32768} for name in HOSTILE]
    with Scripted(lambda request: Say("Hello there."), models=HOSTILE, window=32768) as server:
        with Gateway(
            {"backends": [{"name": "one", "type": "llamacpp", "url": server.url, "models": models}]}
        ) as gateway:
            page = browsing.page(permissions=["clipboard-read", "clipboard-write"])
            login(page, gateway, "/claude")
            for name in HOSTILE:
                card(page, "quick").get_by_label("Model").select_option(f"one/{name}")
                press(card(page, "quick"), "Apply")
                expect(message(page, "quick")).to_contain_text("Verified")
                page.goto(f"{gateway.url}/claude")
                expect(alias_field(page, "haiku")).to_have_value(f"one/{name}")
                got = run(copied(page, "bash"), tmp_path)
                assert got["ANTHROPIC_BASE_URL"] == f"{gateway.url}/anthropic"
                assert json.loads(copied(page, "settings"))["env"]
                (tmp_path / ".env").write_text(copied(page, "env"))
                assert run("set -a; . ./.env; claude", tmp_path)["ANTHROPIC_BASE_URL"] == got["ANTHROPIC_BASE_URL"]
                page.get_by_label("Model name that a client sends").fill(name)
                expect(page.locator("#resolved .outcome")).to_be_visible()
                assert page.evaluate("document.images.length") == 0
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            for path in ("/requests", "/trouble", "/api"):
                page.goto(gateway.url + path)
                assert page.evaluate("document.images.length") == 0
        assert not (tmp_path / "pwned").exists()


# ----------------------------------------------------------------------------------------------------------------- Verify


def verify(page: Page, key: str = "", model: str = "") -> Locator:
    if key:
        page.locator("#verify-key").fill(key)
    if model:
        card(page, "endpoint").get_by_label("Model").fill(model)
    press(card(page, "endpoint"), "Verify")
    return message(page, "endpoint")


def test_verify_shows_each_row_with_its_hint(page: Page, server: Scripted) -> None:
    settings = config(server, api_keys=KEYS, timeouts={"connect": 1})
    with Gateway(settings) as gateway:
        login(page, gateway, "/claude")
        expect(verify(page, KEY)).to_contain_text("Connected")
        expect(message(page, "endpoint")).to_contain_text("local at one answered for sonnet in")
        # The typed key is still there for the next try.
        expect(page.locator("#verify-key")).to_have_value(KEY)
        expect(verify(page, "sk-byway-wrong")).to_contain_text("Authentication failed")
        expect(message(page, "endpoint")).to_contain_text("credential")
        expect(message(page, "endpoint")).to_contain_text("To create one: API")
        server.play(lambda request: openai_error(404, "The model `local` does not exist.", "invalid_request_error"))
        expect(verify(page, KEY)).to_contain_text("Model not found")
        expect(message(page, "endpoint").locator(".tag")).to_have_text("model")
        expect(message(page, "endpoint")).to_contain_text("alias default")
        server.play(lambda value: openai_error(401, "Incorrect API key provided", "invalid_request_error"))
        expect(verify(page, KEY)).to_contain_text("Backend rejected the API key")
        expect(message(page, "endpoint")).to_contain_text("under Secrets")
        server.play(lambda item: openai_error(400, "this field is not known", "invalid_request_error"))
        expect(verify(page, KEY)).to_contain_text("could not parse")
        server.play(lambda entry: Say("Late.", wait=7.0))
        expect(verify(page, KEY)).to_contain_text("Request timed out after 5 s")
        expect(message(page, "endpoint")).to_contain_text("evicted")


def test_verify_of_a_dead_backend_and_without_tcp(page: Page, server: Scripted) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    settings = config(server)
    settings["backends"].insert(0, {"name": "dead", "type": "generic", "url": url, "models": ["away"]})
    settings["model_aliases"]["default"] = "dead/away"
    with Gateway(settings) as gateway:
        login(page, gateway, "/claude")
        expect(verify(page)).to_contain_text("Backend not responding")
        expect(message(page, "endpoint")).to_contain_text("Start that server")
        page.get_by_role("link", name="Keys", exact=True).click()
        page.get_by_label("API over TCP").uncheck()
        press(card(page, "server"), "Save")
        expect(message(page, "server")).to_contain_text("Saved", ignore_case=True)
        assert gateway.post(ASK).status == 403
        page.goto(f"{gateway.url}/claude")
        expect(verify(page)).to_contain_text("The API is off over TCP")
        expect(message(page, "endpoint")).to_contain_text("Turn it on under Keys")
        page.get_by_role("link", name="Keys", exact=True).click()
        page.get_by_label("API over TCP").check()
        press(card(page, "server"), "Save")
        expect(card(page, "server").locator("header")).to_contain_text("on")
        expect(message(page, "server")).to_be_visible()
        page.goto(f"{gateway.url}/claude")
        expect(verify(page)).to_contain_text("Backend not responding")


# ------------------------------------------------------------------------------------------------------------ Quick Setup


@pytest.mark.real
def test_quick_setup_from_nothing_to_verified(page: Page) -> None:
    """No config file, the built-in model: three clicks, and its real answer."""
    pytest.importorskip("xllamacpp", reason="xllamacpp is not installed")
    with Gateway(None, model=True) as gateway:
        login(page, gateway, "/claude")
        gateway.wait(lambda: gateway.get("/readyz").json["backends"][0]["state"] == "ready", what="the model is loaded")
        page.reload()
        press(card(page, "quick"), "Apply")
        # Verify waits five seconds for an answer, which a real model on a busy machine may need several times.
        expect(message(page, "quick")).to_contain_text(re.compile("Verified|timed out"))
        page.reload()
        for slot in ("haiku", "sonnet", "opus", "fable", "default"):
            expect(alias_field(page, slot)).not_to_have_value("")
        for _ in range(10):
            expect(verify(page)).to_contain_text(re.compile("Connected|timed out"))
            if "Connected" in message(page, "endpoint").inner_text():
                break
        expect(message(page, "endpoint")).to_contain_text("Connected")
        answer = gateway.post(
            {"model": "claude-opus-5-5", "max_tokens": 8, "messages": [{"role": "user", "content": "Say hello"}]}
        )
        assert answer.status == 200 and answer.json["content"][0]["text"]
        files = list(gateway.home.rglob("byway.yaml"))
        assert len(files) == 1 and "haiku" in files[0].read_text()


def test_quick_setup_and_back(page: Page, server: Scripted) -> None:
    settings = config(server)
    settings["backends"][0]["models"] = ["local", "other"]
    text = f"# mine\n{json.dumps(settings)}\n"
    text = (
        "# mine\n"
        f"backends:\n  - name: one  # here\n    type: generic\n    url: {server.url}\n    models: [local, other]\n"
        "model_aliases:\n  default: one/local  # keep\n  'gpt-*': one/other\n"
    )
    with Gateway(text) as gateway:
        login(page, gateway, "/claude")
        card(page, "quick").get_by_label("Model").select_option("one/other")
        press(card(page, "quick"), "Apply")
        expect(message(page, "quick")).to_contain_text("Verified: other answered")
        # The other cards show it too, without a reload.
        expect(alias_field(page, "haiku")).to_have_value("one/other")
        expect(card(page, "endpoint").locator("header")).to_contain_text("other")
        after = gateway.file.read_text()
        assert "# mine" in after and "# here" in after and "gpt-*" in after and "one/other" in after
        press(card(page, "quick"), "Undo")
        expect(message(page, "quick")).to_contain_text("Restored the previous aliases")
        assert gateway.file.read_text() == text
        expect(card(page, "quick").get_by_role("button", name="Undo")).to_have_count(0)
        assert server.last.json["model"] == "local"


def test_quick_setup_without_any_model(page: Page) -> None:
    with Gateway({"backends": []}) as gateway:
        login(page, gateway, "/claude")
        expect(card(page, "quick")).to_contain_text("No backend serves a model yet")
        expect(card(page, "endpoint").locator("header")).to_contain_text("off")
        expect(verify(page)).to_contain_text("Known models: none")


def test_an_alias_without_a_served_target_is_marked(page: Page, server: Scripted) -> None:
    settings = config(server) | {"model_aliases": {"sonnet": "gone/away"}}
    with Gateway(settings) as gateway:
        login(page, gateway, "/claude")
        expect(verify(page)).to_contain_text("Model not found")
        expect(message(page, "endpoint")).to_contain_text("Quick Setup")
        expect(card(page, "endpoint").locator("header")).not_to_contain_text("nobody")


# ---------------------------------------------------------------------------------------------------------------- aliases


def save(page: Page) -> Locator:
    press(card(page, "aliases"), "Save")
    return message(page, "aliases")


def test_aliases_are_saved_tried_and_taken_out(page: Page, server: Scripted) -> None:
    with Gateway(config(server)) as gateway:
        login(page, gateway, "/claude")
        set_targets(page, "haiku", "one/local")
        page.get_by_label("Name or pattern of a new alias").fill("gpt-*")
        set_targets(page, "the new alias", "one/away, one/local")
        expect(save(page)).to_contain_text("Saved")
        expect(alias_field(page, "gpt-*")).to_have_value("one/away, one/local")
        # What a name would do, while it is typed.
        page.get_by_label("Model name that a client sends").press_sequentially("gpt-9", delay=10)
        expect(page.locator("#resolved")).to_contain_text("one/local")
        expect(page.locator("#resolved")).to_contain_text("by alias gpt-*")
        page.get_by_label("Model name that a client sends").fill("local")
        page.get_by_role("button", name="Resolve").click()
        expect(page.locator("#resolved")).to_contain_text("by its model name")
        assert gateway.post({**ASK, "model": "gpt-9"}).status == 200
        set_targets(page, "gpt-*")
        set_targets(page, "default")
        expect(save(page)).to_contain_text("Saved")
        expect(page.get_by_label("Targets of gpt-*")).to_have_count(0)
        page.get_by_label("Model name that a client sends").fill("gpt-9")
        expect(page.locator("#resolved")).to_contain_text("404")
        page.get_by_label("Name or pattern of a new alias").fill("a[")
        set_targets(page, "the new alias", "two/three/four")
        save(page)
        page.reload()
        assert gateway.get("/livez").status == 200


def test_two_browsers_edit_at_once(page: Page, browsing: Browsing, server: Scripted) -> None:
    with Gateway(config(server)) as gateway:
        login(page, gateway, "/claude")
        other = login(browsing.page(), gateway, "/claude")
        set_targets(page, "haiku", "one/local")
        expect(save(page)).to_contain_text("Saved")
        # Elsewhere: both are kept.
        set_targets(other, "opus", "one/local")
        expect(save(other)).to_contain_text("both changes were saved")
        kept = gateway.file.read_text()
        assert "haiku" in kept and "opus" in kept
        # In the same place: 412, and both values are shown.
        page.reload()
        other.reload()
        set_targets(page, "sonnet", "one/first")
        expect(save(page)).to_contain_text("Saved")
        set_targets(other, "sonnet", "one/second")
        with other.expect_response("**/claude/aliases") as answered:
            card(other, "aliases").get_by_role("button", name="Save").click()
        assert answered.value.status == 412
        row = message(other, "aliases").locator("tbody tr")
        expect(row).to_have_count(1)
        expect(row).to_contain_text("model_aliases.sonnet")
        expect(row).to_contain_text("one/first")
        expect(row).to_contain_text("one/second")
        kept = gateway.file.read_text()
        assert "one/first" in kept and "one/second" not in kept
        # The typed text can be sent again, now knowingly.
        set_targets(other, "sonnet", "one/second")
        expect(save(other)).to_contain_text("Saved")
        assert "one/second" in gateway.file.read_text()
