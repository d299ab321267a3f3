"""The page Models in a real browser: backends added, edited and removed; models downloaded, loaded and unloaded."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from browser import Browsing, act, login
from gateway import Gateway, config
from models import gguf, hub
from playwright.sync_api import Locator, Page, expect
from scripted import Say, Scripted
from strict import check_message

from byway.local.supervisor import NotInstalled, builtin_weights

KEY = "sk-live-typed-key-0123456789abcdef"
#: Milliseconds until a real model has loaded on a busy machine.
LOADS = 60_000


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted(lambda request: Say("Hello there."), models=["qwen3:8b", "phi4"]) as server:
        yield server


@contextlib.contextmanager
def listening(pages: dict[str, Any], key: str = "", port: int = 0) -> Iterator[str]:
    """A server that has these pages for whoever shows `key`; gives its URL. Raises OSError when the port is taken."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = not key or self.headers.get("authorization") == f"Bearer {key}"
            result = pages.get(self.path) if known else {"error": {"message": "Incorrect API key.", "code": "bad_key"}}
            body = json.dumps(result).encode()
            self.send_response(401 if not known else 200 if result is not None else 404)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as at:
        threading.Thread(target=at.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{at.server_port}"
        finally:
            at.shutdown()


@contextlib.contextmanager
def opened(page: Page, settings: Any, path: str = "/models", **more: Any) -> Iterator[Gateway]:
    """Byway with these settings, and its page Models."""
    with Gateway(settings, **more) as gateway:
        login(page, gateway, path)
        yield gateway
        # It looks for news now and then: not when nobody answers any more.
        page.goto("about:blank")


def row(page: Page, name: str, table: str = "backends-table") -> Locator:
    """The row of a table that begins with `name`."""
    return page.locator(f"#{table} tbody tr").filter(
        has=page.locator("td:first-child", has_text=re.compile(rf"^\s*{name}"))
    )


def field(page: Page, form: str, name: str) -> Locator:
    return page.locator(f"#{form} [name={name}]")


def settings(gateway: Gateway) -> str:
    return gateway.file.read_text()


# ------------------------------------------------------------------------------------------------------------- adding


def test_a_cloud_is_tried_out_until_it_works_and_its_key_stays_secret(page: Page, browsing: Browsing) -> None:
    listed = {"data": [{"id": "gpt-big"}, {"id": "gpt-small"}], "object": "list"}
    with (
        Scripted(lambda request: Say("Hello.")) as other,
        listening({"/v1/models": listed}, KEY) as url,
        opened(page, config(other)) as gateway,
    ):
        page.get_by_role("link", name="Add backend").click()
        page.get_by_role("link", name="OpenAI", exact=True).click()
        form = page.locator("#adder form")
        expect(field(page, "adder", "key")).to_be_focused()
        # Nobody there: the address is named.
        field(page, "adder", "url").fill("http://127.0.0.1:9")
        field(page, "adder", "key").fill("sk-wrong-key-0123456789abcdef")
        form.get_by_role("button", name="Test").click()
        expect(form.get_by_role("alert")).to_contain_text("127.0.0.1:9 cannot be reached: Connection refused")
        # The wrong key: so says the server, and what to do stands beside it.
        field(page, "adder", "url").fill(url)
        form.get_by_role("button", name="Test").click()
        expect(form.get_by_role("alert")).to_contain_text("rejected the API key")
        expect(form.get_by_role("alert")).to_contain_text("Set it under Secrets")
        field(page, "adder", "key").fill(KEY)
        form.get_by_role("button", name="Test").click()
        expect(form.get_by_role("status").filter(has_text="serves 2 models")).to_be_visible()
        form.get_by_label("gpt-big").check()
        assert "openai" not in settings(gateway), "a test saves nothing"
        # There is no keychain here, and no file is written in silence.
        form.get_by_role("button", name="Add backend").click()
        expect(form.get_by_role("alert")).to_contain_text("Tick the box")
        expect(form.get_by_label("gpt-big")).to_be_checked()
        assert "openai" not in settings(gateway) and not (gateway.home / "data" / "secrets.json").exists()
        form.get_by_label("Without a keychain").check()
        form.get_by_role("button", name="Add backend").click()
        expect(page.locator("#adder")).to_contain_text("The API key is stored in the file.")
        shown = page.content() + page.locator("#adder").inner_html()
        page.get_by_role("link", name="See the backends").click()
        expect(row(page, "openai")).to_contain_text("ready")
        expect(row(page, "openai")).to_contain_text("gpt-big")
        expect(row(page, "openai")).not_to_contain_text("gpt-small")
        expect(row(page, "openai").locator(".type")).to_have_text("OpenAI")
        expect(row(page, "openai")).to_contain_text(" ms")
        assert "${BYWAY_OPENAI_API_KEY}" in settings(gateway)
        secrets = (gateway.home / "data" / "secrets.json").read_text()
        assert KEY in secrets
        for path in ("/models", "/models/add?type=openai", "/secrets", "/api", "/models?edit=openai"):
            page.goto(gateway.url + path)
            shown += page.content()
        values = page.evaluate("[...document.querySelectorAll('input')].map((one) => one.value).join(' ')")
        for place in (shown, values, settings(gateway), gateway.text):
            assert KEY not in place and "sk-wrong-key" not in place


def test_the_first_backend_asks_whether_the_builtin_model_stays(page: Page, server: Scripted) -> None:
    with opened(page, "# mine\n") as gateway:
        expect(row(page, "builtin")).to_be_visible()
        assert page.get_by_label("Remove builtin").count() == 0
        page.get_by_role("link", name="Add backend").click()
        page.get_by_role("link", name="OpenAI-compatible server").click()
        form = page.locator("#adder form")
        page.get_by_text("Type the names of models").click()
        form.get_by_role("button", name="Add backend").click()
        expect(form.get_by_role("alert")).to_contain_text("The URL is missing")
        field(page, "adder", "url").fill(server.url)
        field(page, "adder", "name").fill("lab")
        field(page, "adder", "models").fill("qwen3:8b 65,536\nnowhere")
        form.get_by_role("button", name="Test").click()
        expect(form).to_contain_text("does not list nowhere")
        field(page, "adder", "models").fill("qwen3:8b 64k")
        form.get_by_label("Keep the built-in model").check()
        form.get_by_role("button", name="Add backend").click()
        page.get_by_role("link", name="See the backends").click()
        expect(row(page, "lab")).to_contain_text("qwen3:8b 64k")
        expect(row(page, "builtin")).to_be_visible()
        assert settings(gateway).startswith("# mine\n") and "window: 65536" in settings(gateway)
        assert re.search(r"type: builtin", settings(gateway))
        act(page, "builtin", "Remove")
        expect(row(page, "builtin")).to_have_count(0)
        assert "builtin" not in settings(gateway)


def test_a_found_server_is_used_with_one_click(page: Page, server: Scripted) -> None:
    pages = {
        "/api/v0/models": {"data": [{"id": "found-model", "state": "loaded", "max_context_length": 4096}]},
        "/v1/models": {"data": [{"id": "found-model"}]},
    }
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(listening(pages, port=1234))
        except OSError:
            pytest.skip("only on a machine where nothing listens at LM Studio's port 1234")
        gateway = stack.enter_context(opened(page, config(server), "/models/add"))
        offer = page.locator("#found .offer").filter(has_text="LM Studio")
        expect(offer).to_contain_text("found-model")
        offer.get_by_role("button", name="Use LM Studio").click()
        expect(page.locator("#found")).to_contain_text("lmstudio added")
        expect(offer).to_have_count(0)
        page.get_by_role("link", name="see the backends").click()
        expect(row(page, "lmstudio")).to_contain_text("found-model")
        assert "lmstudio" in settings(gateway)


def test_without_javascript_the_forms_work_too(browsing: Browsing, server: Scripted) -> None:
    page = browsing.page(java_script_enabled=False)
    with opened(page, config(server)):
        page.get_by_role("link", name="Local", exact=True).click()
        page.get_by_role("link", name="Search for model files").first.click()
        expect(page.locator("#files")).to_contain_text("smollm2-135m-instruct")
        page.get_by_role("link", name="Add backend").click()
        page.get_by_label("Search types").fill("127.0.0.1:11434")
        page.get_by_role("button", name="Search").click()
        expect(page.locator(".tiles .name")).to_have_text(["Ollama"])
        page.get_by_role("link", name="Ollama", exact=True).click()
        field(page, "adder", "url").fill("http://127.0.0.1:9")
        page.get_by_role("button", name="Test").click()
        expect(page.get_by_role("alert")).to_contain_text("Connection refused")
        field(page, "adder", "url").fill(server.url)
        page.locator("#adder").get_by_role("button", name="Add backend").click()
        expect(page.locator("#adder")).to_contain_text("ollama added")
        page.get_by_role("link", name="See the backends").click()
        expect(row(page, "ollama")).to_be_visible()
        # The menu of actions is HTML.
        act(page, "ollama", "Check")
        expect(page.locator("#backends-table")).to_contain_text("ollama is ready")
        act(page, "ollama", "Remove")
        page.get_by_role("button", name="Undo").click()
        expect(page.get_by_text("Undone.")).to_be_visible()
        page.get_by_role("link", name="Models", exact=True).click()
        expect(row(page, "ollama")).to_be_visible()


# ------------------------------------------------------------------------------------------------- editing and removing


def test_a_backend_is_edited_checked_and_removed_with_its_aliases(page: Page, server: Scripted) -> None:
    text = f"""\
backends:
  # the big one
  - name: lab
    type: generic
    url: http://127.0.0.1:9
    models: [{{id: qwen3:8b, window: 4096}}]
  - name: plain
    type: generic
    url: {server.url}
    api_key: sk-in-the-file-0123456789
model_aliases:
  haiku: [lab/qwen3:8b, plain/phi4]
  opus: lab/qwen3:8b
"""
    with opened(page, text) as gateway:
        expect(row(page, "lab")).to_contain_text("Connection refused")
        act(page, "lab", "Edit")
        expect(field(page, "edit", "url")).to_be_focused()
        assert field(page, "edit", "models").input_value() == "qwen3:8b 4096"
        field(page, "edit", "url").fill(server.url)
        field(page, "edit", "key").fill("sk-a-key-that-was-pasted-here")
        page.locator("#edit").get_by_role("button", name="Save").click()
        expect(page.locator("#edit").get_by_role("alert")).to_contain_text("Invalid variable name")
        assert "pasted" not in page.content()
        field(page, "edit", "key").fill("BYWAY_LAB_KEY")
        field(page, "edit", "models").fill("qwen3:8b 8192")
        page.locator("#edit").get_by_role("button", name="Save").click()
        expect(row(page, "lab")).to_contain_text("BYWAY_LAB_KEY is not set")
        assert "# the big one" in settings(gateway) and "api_key: ${BYWAY_LAB_KEY}" in settings(gateway).replace(
            '"', ""
        )
        act(page, "lab", "Edit")
        assert field(page, "edit", "key").input_value() == "${BYWAY_LAB_KEY}"
        field(page, "edit", "key").fill("")
        page.locator("#edit").get_by_role("button", name="Save").click()
        expect(page.locator("#edit")).to_contain_text("lab saved")
        expect(row(page, "lab")).to_contain_text("ready")
        expect(row(page, "lab")).to_contain_text("qwen3:8b 8k")

        # A key in plain text is not shown, and not lost.
        act(page, "plain", "Edit")
        expect(page.locator("#edit")).to_contain_text("in plain text")
        assert "sk-in-the-file" not in page.content()
        field(page, "edit", "models").fill("phi4")
        page.locator("#edit").get_by_role("button", name="Save").click()
        expect(page.locator("#edit")).to_contain_text("plain saved")
        assert "sk-in-the-file-0123456789" in settings(gateway)

        act(page, "lab", "Check")
        expect(page.locator("#backends-table").get_by_role("status")).to_contain_text("lab is ready: it answered in")
        act(page, "lab", "Remove")
        expect(page.locator("#backends-table")).to_contain_text("lab removed")
        expect(page.locator("#backends-table")).to_contain_text("haiku, opus")
        assert "lab" not in settings(gateway) and "plain/phi4" in settings(gateway) and "opus" not in settings(gateway)


def test_a_concurrent_change_is_not_lost(page: Page, browsing: Browsing, server: Scripted) -> None:
    with opened(page, config(server), "/models?edit=one") as gateway:
        other = browsing.page()
        login(other, gateway, "/models?edit=one")
        field(other, "edit", "models").fill("local\nphi4")
        other.locator("#edit").get_by_role("button", name="Save").click()
        expect(other.locator("#edit")).to_contain_text("one saved")
        field(page, "edit", "models").fill("local\nqwen3:8b")
        page.locator("#edit").get_by_role("button", name="Save").click()
        expect(page.locator("#edit").get_by_role("alert")).to_contain_text("changed since it was loaded")
        assert "phi4" in settings(gateway)
        # What was typed is still there, and saved over it by whoever has seen that.
        page.locator("#edit").get_by_role("button", name="Save").click()
        expect(page.locator("#edit")).to_contain_text("one saved")
        assert "qwen3:8b" in settings(gateway) and "phi4" not in settings(gateway)
        other.goto("about:blank")


# ------------------------------------------------------------------------------------------------------------ downloads


def test_a_download_is_watched_cancelled_resumed_and_deleted(page: Page, server: Scripted) -> None:
    data = gguf(tail=b"\x01" * 4_000_000)
    go = threading.Event()

    def slowly(handler: BaseHTTPRequestHandler, path: str, body: bytes) -> bool:
        begin = int((handler.headers.get("range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        handler.send_response(206 if begin else 200)
        handler.send_header("etag", '"one"')
        handler.send_header("content-length", str(len(body) - begin))
        if begin:
            handler.send_header("content-range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        handler.end_headers()
        for at in range(begin, len(body), 50_000):
            handler.wfile.write(body[at : at + 50_000])
            go.wait(0.2)
        return True

    with (
        hub({"Tiny-Q4_K_M.gguf": data}) as at,
        opened(page, config(server, local_models={"hub": at.url}), "/models/download") as gateway,
    ):
        at.answer = slowly
        jobs = page.locator("#downloads")
        page.locator("#what").fill("no such thing")
        page.locator("#get").get_by_role("button", name="Download").click()
        expect(jobs.get_by_role("alert")).to_contain_text("neither a URL nor the name of a repository")
        page.locator("#what").fill("owner/repo:Q4_K_M")
        page.locator("#get").get_by_role("button", name="Download").click()
        expect(page.locator("#what")).to_have_value("")
        expect(jobs).to_contain_text(re.compile(r"MB of 4 MB \(\d+ %\), .*/s, \d+ s left"))
        # It goes on while somebody types, and while nobody looks.
        page.locator("#what").fill("half typ")
        page.wait_for_timeout(1500)
        assert page.locator("#what").input_value() == "half typ"
        page.reload()
        jobs.get_by_role("button", name="Cancel owner/repo:Q4_K_M").click()
        expect(jobs).to_contain_text("downloaded and kept")
        folder = gateway.home / "data" / "models" / "owner" / "repo"
        (part,) = folder.glob("*.part")
        kept = part.stat().st_size
        assert 0 < kept < len(data)
        go.set()
        jobs.get_by_role("button", name="Resume owner/repo:Q4_K_M").click()
        expect(jobs).to_contain_text("checksum verified")
        assert at.received[-1].headers["range"] == f"bytes={kept}-"
        assert (folder / "Tiny-Q4_K_M.gguf").read_bytes() == data
        page.get_by_role("link", name="Local", exact=True).click()
        file = row(page, "Tiny-Q4_K_M", "files")
        expect(file).to_contain_text("1M Q4_K_M")
        file.get_by_role("button", name="Delete").click()
        expect(page.locator("#files")).to_contain_text("Tiny-Q4_K_M deleted")
        assert not folder.exists()
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280


def test_a_failed_download_shows_the_next_action(page: Page, server: Scripted) -> None:
    with (
        hub({"README.md": b"x"}) as at,
        opened(page, config(server, local_models={"hub": at.url}), "/models/download"),
    ):
        page.locator("#what").fill("owner/repo")
        page.locator("#get").get_by_role("button", name="Download").click()
        expect(page.locator("#downloads")).to_contain_text("has no GGUF files")
        page.locator("#downloads").get_by_role("button", name="Remove").click()
        expect(page.locator("#jobs .job")).to_have_count(0)


# -------------------------------------------------------------------------------------------------------- local models


@pytest.mark.real
def test_a_model_is_loaded_called_by_its_alias_and_unloaded(page: Page, server: Scripted) -> None:
    try:
        file = builtin_weights()
    except NotInstalled as missing:
        pytest.skip(str(missing))
    with opened(page, config(server, local_models={"paths": [str(file)]}), "/models/local", model=True) as gateway:
        row(page, "SmolLM2", "files").get_by_role("link", name="Load").click()
        expect(field(page, "load", "name")).to_be_focused()
        expect(page.locator("#load")).to_contain_text("of memory are free")
        field(page, "load", "name").fill("little")
        field(page, "load", "window").fill("12")
        page.locator("#load").get_by_role("button", name="Load").click()
        expect(page.locator("#load").get_by_role("alert")).to_contain_text("at least 128")
        field(page, "load", "window").fill("1024")
        field(page, "load", "threads").fill("1")
        field(page, "load", "alias").fill("haiku")
        page.get_by_text("A file or folder elsewhere").click()
        field(page, "local", "path").fill("half typed")
        page.locator("#load").get_by_role("button", name="Load").click()
        expect(page.locator("#load")).to_contain_text("little is loaded with a window of 1,024 tokens", timeout=LOADS)
        expect(page.locator("#load table")).to_contain_text(re.compile(r"This model\s*\W\s*\d+ MB"))
        expect(row(page, "SmolLM2", "files")).to_contain_text("as little")
        assert field(page, "local", "path").input_value() == "half typed"
        body = {"model": "claude-haiku-4-5", "max_tokens": 3, "messages": [{"role": "user", "content": "Say hello"}]}
        answer = gateway.post(body)
        check_message(answer.json)
        assert answer.headers["x-byway-backend"] == "little"

        page.get_by_role("link", name="Backends", exact=True).click()
        expect(row(page, "little")).to_contain_text(re.compile(r"ready \d+ MB memory"))
        act(page, "little", "Check")
        expect(row(page, "little")).to_contain_text(" ms")
        # Other options are another process.
        act(page, "little", "Edit")
        assert field(page, "load", "window").input_value() == "1024"
        field(page, "load", "window").fill("512")
        page.locator("#load").get_by_role("button", name="Save").click()
        expect(page.locator("#load")).to_contain_text("a window of 512 tokens", timeout=LOADS)

        row(page, "SmolLM2", "files").get_by_role("button", name="Unload").click()
        expect(page.locator("#files")).to_contain_text("little unloaded")
        expect(page.locator("#files")).to_contain_text("It was removed from the aliases haiku")
        page.goto(gateway.url + "/models")
        expect(row(page, "one")).to_be_visible()
        expect(row(page, "little")).to_have_count(0)
        assert "little" not in settings(gateway) and file.exists()


def test_a_model_that_cannot_load_shows_the_reason(page: Page, server: Scripted, tmp_path: Path) -> None:
    (tmp_path / "Fake-Q4_0.gguf").write_bytes(gguf(tail=b"\x01" * 5000))
    with opened(page, config(server), "/models/local", model=True) as gateway:
        page.get_by_text("A file or folder elsewhere").click()
        field(page, "local", "path").fill(str(tmp_path))
        page.locator(".elsewhere").get_by_role("button", name="Add").click()
        file = row(page, "Fake-Q4_0", "files")
        file.get_by_role("link", name="Load").click()
        field(page, "load", "name").fill("one")
        page.locator("#load").get_by_role("button", name="Load").click()
        expect(page.locator("#load").get_by_role("alert")).to_contain_text("Choose another name")
        field(page, "load", "name").fill("fake")
        page.locator("#load").get_by_role("button", name="Load").click()
        expect(page.locator("#load").get_by_role("alert")).to_contain_text("fake is not running", timeout=LOADS)
        expect(file).to_contain_text("failed")
        page.goto(gateway.url + "/models")
        expect(row(page, "fake")).to_contain_text("failed")
        page.go_back()
        file.get_by_role("button", name="Unload").click()
        expect(page.locator("#files")).to_contain_text("fake unloaded")
        expect(file).to_contain_text("not loaded")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_on_a_phone(browsing: Browsing, server: Scripted, scheme: Any) -> None:
    page = browsing.page(viewport={"width": 390, "height": 800}, color_scheme=scheme)
    with opened(page, config(server), "/models?edit=one") as gateway:
        for path, form in {
            "/models?edit=one": "#edit form",
            "/models/add": ".gallery",
            "/models/add?type=openai": "#adder form",
            "/models/local?file=builtin&whole=1": "#load form",
            "/models/download": "#get",
        }.items():
            page.goto(gateway.url + path)
            expect(page.locator(form)).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
            assert not re.search(r"<[^>]+\sstyle=", page.content()), "no inline style"


# ----------------------------------------------------------------------------------------------------------- catalogue


def test_a_model_of_the_catalogue_is_downloaded_and_loaded_with_clicks(page: Page, server: Scripted) -> None:
    go = threading.Event()

    def wait(handler: BaseHTTPRequestHandler, path: str, body: bytes) -> bool:
        go.wait(60)
        return False

    repository, name = "Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF", "Qwen2.5-Coder 1.5B"
    with (
        hub({"qwen2.5-coder-1.5b-instruct-q4_k_m.gguf": gguf(tail=b"\x01" * 5000)}, repo=repository) as at,
        opened(page, config(server, local_models={"hub": at.url}), "/models/download"),
    ):
        at.answer = wait
        offer = page.locator("#catalogue tbody tr").filter(has=page.get_by_text(name, exact=True))
        expect(offer).to_contain_text(re.compile(r"1\.1 GB.*(fits|tight|too large|unknown)", re.DOTALL))
        expect(page.locator("#catalogue")).to_contain_text("This machine has")
        offer.get_by_role("button", name=f"Download {name}").click()
        expect(page.locator("#jobs")).to_contain_text(repository)
        expect(page.locator("#jobs")).to_be_in_viewport()
        expect(offer).to_contain_text("downloading")
        expect(offer.get_by_role("link", name="downloading")).to_be_focused()
        go.set()
        expect(page.locator("#jobs")).to_contain_text("checksum verified")
        offer.get_by_role("link", name=f"Load {name}").click()
        expect(page.locator("#load h3")).to_have_text("Load qwen2.5-coder-1.5b-instruct-q4_k_m")
        expect(page.locator("#files")).to_contain_text("Byway's folder")


def test_a_file_in_use_is_refused_with_the_reason_and_deleted_after_unload(
    page: Page, server: Scripted, tmp_path: Path
) -> None:
    with Gateway(config(server), model=True) as gateway:
        folder = gateway.home / "data/models/owner/repo"
        folder.mkdir(parents=True)
        (folder / "Tiny-Q4_K_M.gguf").write_bytes(gguf(tail=b"\x01" * 5000))
        login(page, gateway, "/models/local")
        file = row(page, "Tiny-Q4_K_M", "files")
        expect(file).to_contain_text(re.compile("fits|tight|too large|unknown"))
        file.get_by_role("link", name="Load").click()
        page.locator("#load").get_by_role("button", name="Load").click()
        expect(page.locator("#load .outcome")).to_be_visible(timeout=LOADS)
        file.get_by_role("button", name="Delete").click()
        expect(page.locator("#files").get_by_role("alert")).to_contain_text("runs this file; unload it first")
        assert (folder / "Tiny-Q4_K_M.gguf").exists()
        file.get_by_role("button", name="Unload").click()
        expect(file).to_contain_text("not loaded")
        file.get_by_role("button", name="Delete").click()
        expect(page.locator("#files")).to_contain_text("Tiny-Q4_K_M deleted")
        assert not folder.exists()
        page.goto("about:blank")


def test_many_files_are_filtered(page: Page, server: Scripted, tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"Model-{number:02}-Q4_0.gguf").write_bytes(gguf())
    with opened(page, config(server, local_models={"paths": [str(tmp_path)]}), "/models/local"):
        page.get_by_label("Filter files").fill("model-1")
        expect(page.locator("#files tbody tr:visible")).to_have_count(10)
        page.get_by_label("Filter files").fill("nothing of this name")
        expect(page.get_by_text("No file matches.")).to_be_visible()
