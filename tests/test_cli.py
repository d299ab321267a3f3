"""The command line: what is printed where, and the exit codes."""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import ruamel.yaml
from gateway import Gateway, config
from scripted import Say, Scripted

from byway import __version__
from byway.admin.exports import launch
from byway.admin.exports import variables as exports
from byway.cli.main import COMMANDS
from byway.cli.main import byway as group
from byway.cli.source import find, left_out
from byway.cli.welcome import Answerer, Facts, offer, welcome, wrap
from byway.config import ConfigError, load
from byway.local.discovery import Found

SOURCE = Path(__file__).parent.parent / "src"


def byway(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The command, run to its end."""
    return subprocess.run(
        [sys.executable, "-m", "byway", *arguments],
        env={**os.environ, "PYTHONPATH": str(SOURCE), **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


# --- small commands ---------------------------------------------------------------------------------------------------


def test_the_version_is_said_fast() -> None:
    took = []
    for _ in range(5):
        began = time.monotonic()
        done = byway("version")
        took.append(time.monotonic() - began)
        assert done.stdout.startswith(f"byway {__version__} (Python 3.")
    assert min(took) < 0.15 or sys.gettrace() is not None, took


def test_the_version_imports_nothing_that_serves() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "byway", "version"],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
    )
    loaded = set(re.findall(r"\| +([\w.]+)$", done.stderr, re.MULTILINE))
    assert not loaded & {"uvicorn", "msgspec", "asyncio", "ruamel.yaml", "byway.config", "byway.server.app"}


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], *([name, "--help"] for name in COMMANDS)])
def test_every_command_has_help_that_fits_a_terminal(arguments: list[str]) -> None:
    done = byway(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(len(line) <= 110 for line in done.stdout.splitlines())
    if len(arguments) == 1:
        assert all(name in done.stdout and says in done.stdout for name, says in COMMANDS.items())


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["up", "--nonsense"], ["up", "--port", "many"], ["up", "--host", "a b"], ["completion", "x"]],
)
def test_misuse_ends_with_2_and_is_said_on_stderr(arguments: list[str]) -> None:
    done = byway(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Error:" in done.stderr
    assert "Traceback" not in done.stderr


def every(group: click.Group, *names: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, with its words."""
    context = click.Context(group)
    for name in group.list_commands(context):
        one = group.get_command(context, name)
        assert one is not None
        if isinstance(one, click.Group):
            yield from every(one, *names, name)
        if not isinstance(one, click.Group) or one.invoke_without_command:
            yield (*names, name), one


def test_every_command_speaks_to_programs_too() -> None:
    found = dict(every(group))
    assert len(found) > 30
    silent = [
        " ".join(words) for words, one in found.items() if "--json" not in {o for p in one.params for o in p.opts}
    ]
    assert silent == ["up", "completion"]
    assert set(json.loads(byway("version", "--json").stdout)) == {"version", "python", "system", "machine"}


def test_the_installed_command_is_the_same() -> None:
    scripts = Path(__file__).parent.parent / "pyproject.toml"
    assert 'byway = "byway.cli.main:main"' in scripts.read_text()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_completes(shell: str) -> None:
    done = byway("completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert "_BYWAY_COMPLETE" in done.stdout
    program = shutil.which(shell)
    if program:
        assert subprocess.run([program, "-n"], input=done.stdout, text=True).returncode == 0
    words = {
        "bash": {"COMP_WORDS": "byway co", "COMP_CWORD": "1"},
        "zsh": {"COMP_WORDS": "byway co", "COMP_CWORD": "1"},
    }
    asked = words.get(shell, {"COMP_WORDS": "byway co", "COMP_CWORD": "co"})
    answer = byway(_BYWAY_COMPLETE=f"{shell}_complete", **asked)
    assert "config" in answer.stdout
    assert "completion" in answer.stdout
    assert "version" not in answer.stdout


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("config se", ["set"]),
        ("config get time", ["timeouts"]),
        ("config set timeouts.con", ["timeouts.connect"]),
        ("config get backends.0.w", ["backends.0.weight", "backends.0.window"]),
        ("config unset model_aliases.", ["model_aliases.haiku", "model_aliases.gpt-4.1"]),
        ("config get nonsense.x", []),
        ("alias try ha", ["haiku"]),
        ("alias set gp", ["gpt-4.1"]),
        ("alias set opus wo", ["work/big"]),
    ],
)
def test_settings_and_names_are_completed(tmp_path: Path, typed: str, offered: list[str]) -> None:
    file = tmp_path / "byway.yaml"
    text = "backends: [{name: work, type: vllm, url: 'http://x', models: [big]}]\n"
    file.write_text(text + "model_aliases: {haiku: work/big, gpt-4.1: work/big}\n")
    words = {"COMP_WORDS": f"byway {typed}", "COMP_CWORD": str(len(typed.split()))}
    places = {"BYWAY_CONFIG": str(file), "BYWAY_HOME": str(tmp_path)}
    done = byway(_BYWAY_COMPLETE="bash_complete", **words, **places)
    assert [line.partition(",")[2] for line in done.stdout.split()] == offered
    file.write_text("nonsense: [")
    assert byway(_BYWAY_COMPLETE="bash_complete", **words, **places).stderr == ""


# --- the config file --------------------------------------------------------------------------------------------------


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "byway.yaml"
        path.write_text(text)
        return path

    return write


def test_check_says_ok_and_what_the_config_comes_to(write: Callable[[str], Path]) -> None:
    file = write(
        "backends: [{name: local, type: ollama, models: [qwen3]}, {type: openai, api_key: '${NOT_THERE}'}]\n"
        "model_aliases: {default: [local/qwen3, openai/gpt]}\napi_keys: {api_keys: [{key: a-key-0123456789}]}\n"
    )
    done = byway("config", "check", str(file))
    assert done.returncode == 0
    assert done.stdout.startswith(f"{file}: ok\n")
    for part in (
        "127.0.0.1:38080",
        "local (ollama",
        "qwen3",
        "default -> local/qwen3, then openai/gpt",
        "1, asked for",
    ):
        assert part in done.stdout, part
    assert f"{file}:1: backends.1" in done.stderr
    assert "NOT_THERE" in done.stderr
    assert "a-key-0123456789" not in done.stdout + done.stderr


def test_check_says_everything_that_is_wrong_with_path_and_line(write: Callable[[str], Path]) -> None:
    file = write("backends:\n  - type: nonsense\n    colour: red\ntimeouts:\n  connect: soon\n")
    done = byway("config", "check", str(file))
    assert (done.returncode, done.stdout) == (2, "")
    for part in (
        f"{file}:2: backends.0.type",
        f"{file}:3: backends.0",
        f"{file}:5: timeouts.connect",
        "3 errors",
    ):
        assert part in done.stderr, part
    up = byway("up", "--config", str(file))
    assert up.returncode == 2
    assert f"{file}:5: timeouts.connect" in up.stderr


def test_a_file_that_is_not_there_or_not_text_is_said_so(tmp_path: Path) -> None:
    for command in (["config", "check"], ["up", "--config"], ["models", "--config"]):
        done = byway(*command, str(tmp_path / "absent.yaml"))
        assert (done.returncode, done.stdout) == (2, "")
        assert "There is no config file at" in done.stderr
    assert byway("up", BYWAY_CONFIG=str(tmp_path / "absent.yaml")).returncode == 2
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"a: 1\nb: \xff\xfe\n")
    done = byway("config", "check", str(binary))
    assert done.returncode == 2
    assert f"{binary}:2: this is not UTF-8 text" in done.stderr
    keys = tmp_path / "keys.yaml"
    keys.write_text("api_keys: {api_keys_file: gone.yaml}\n")
    done = byway("config", "check", str(keys))
    assert done.returncode == 2
    assert "api_keys.api_keys_file" in done.stderr
    assert str(tmp_path / "gone.yaml") in done.stderr
    keys.write_text(
        "api_keys: {api_keys_file: ~nobody-of-this-name/keys.yaml}\nlocal_models: {paths: [~nobody-of-this-name]}\n"
    )
    done = byway("config", "check", str(keys))
    assert done.returncode == 2
    assert "~nobody-of-this-name/keys.yaml cannot be read" in done.stderr


def test_the_file_is_found_in_this_order_and_never_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find("given.yaml", {"BYWAY_CONFIG": "named.yaml"}).path == Path("given.yaml")
    assert find(None, {"BYWAY_CONFIG": "named.yaml"}).path == Path("named.yaml")
    monkeypatch.setattr("byway.platform.config_folder", lambda: tmp_path / "user")
    own = find(None, {})
    assert own.path == tmp_path / "user" / "byway.yaml"
    assert not own.there
    assert own.read().backends[0].type == "builtin"
    assert left_out(own) is None
    Path("byway.yaml").write_text("backends: [{type: ollama}]\n")
    assert own.read().backends[0].type == "builtin"
    note = left_out(own)
    assert note is not None
    assert "./byway.yaml was not loaded" in note
    assert left_out(find("byway.yaml", {})) is None


def test_a_file_that_vanishes_is_not_an_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byway.platform.config_folder", lambda: tmp_path)
    source = find(None, {})
    before = source.stamp()
    file = tmp_path / "byway.yaml"
    file.write_text("backends: [{type: ollama}]\n")
    assert source.stamp() != before
    assert source.read().backends[0].type == "ollama"
    file.unlink()
    with pytest.raises(FileNotFoundError):
        source.read()


def test_keys_from_a_file_join_those_of_the_config(tmp_path: Path) -> None:
    (tmp_path / "byway.yaml").write_text("api_keys: {api_keys: [{key: one-0123456789}], api_keys_file: keys.yaml}\n")
    keys = tmp_path / "keys.yaml"
    keys.write_text("- {key: '${SECOND}'}\n")
    source = find(str(tmp_path / "byway.yaml"), {"SECOND": "two-0123456789"})
    assert [key.key for key in source.read().api_keys.api_keys] == ["one-0123456789", "two-0123456789"]
    before = source.stamp()
    keys.write_text("- {nonsense: 1}\n")
    assert source.stamp() != before
    with pytest.raises(ConfigError, match=rf"{re.escape(str(keys))}:1"):
        source.read()


# --- models -----------------------------------------------------------------------------------------------------------


def test_models_asks_the_backends_themselves(write: Callable[[str], Path]) -> None:
    with Scripted(models=("qwen3", "small"), window=32768) as server, socket.create_server(("127.0.0.1", 0)) as silent:
        gone = silent.getsockname()[1]
        silent.close()
        file = write(
            f"backends:\n- {{name: box, type: llamacpp, url: '{server.url}'}}\n"
            f"- {{name: gone, type: generic, url: 'http://127.0.0.1:{gone}'}}\n"
            "model_aliases: {default: qwen3, haiku: [box/small, qwen3]}\n"
        )
        done = byway("models", "--config", str(file))
        assert done.returncode == 0, done.stderr
        assert re.search(r"^qwen3 +box +32,768 \(backend\) +ready$", done.stdout, re.MULTILINE)
        assert re.search(r"^- +gone +- +failed$", done.stdout, re.MULTILINE)
        assert re.search(r"^haiku +box/small, then box/qwen3$", done.stdout, re.MULTILINE)
        assert "gone: " in done.stderr
        found = json.loads(byway("models", "--json", "--config", str(file)).stdout)
        qwen = next(one for one in found["targets"] if one["model"] == "qwen3")
        assert (qwen["backend"], qwen["state"]) == ("box", "ready")
        assert (qwen["window"], qwen["window_source"]) == (32768, "backend")
        assert {"alias": "default", "targets": ["box/qwen3"]} in found["aliases"]
        assert [one["state"] for one in found["backends"]] == ["ready", "failed"]


# --- fetch ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def page() -> Iterator[str]:
    """The address of a page on loopback."""

    class Site(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/old":
                self.send_response(301)
                self.send_header("location", "/")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("content-type", "text/markdown")
            self.end_headers()
            self.wfile.write("# Grün\n\n\x1b[31mwords\n".encode() * 200)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_fetch_prints_a_page_and_its_facts(write: Callable[[str], Path], page: str) -> None:
    file = str(write("web_fetch: {allow_private: [127.0.0.1], max_content_tokens: 5000}"))
    done = byway("fetch", f"{page}/old", "--config", file)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "# Grün\n\n[31mwords\n" * 200
    assert re.search(rf"^url +{page}/$", done.stderr, re.MULTILINE)
    assert re.search(rf"^redirects +{page}/old$", done.stderr, re.MULTILINE)
    assert re.search(r"^type +text/markdown$", done.stderr, re.MULTILINE)
    assert re.search(r"^tokens +about [\d,]+$", done.stderr, re.MULTILINE)
    done = byway("fetch", page, "--config", file, "--tokens", "20")
    assert len(done.stdout) < 200
    assert "cut at about 20" in done.stderr
    told = json.loads(byway("fetch", f"{page}/old", "--config", file, "--json").stdout)
    assert (
        told["url"] == f"{page}/" and told["trail"] == [f"{page}/old", f"{page}/"] and told["text"].startswith("# Gr")
    )


def test_fetch_says_the_code_and_what_to_do(write: Callable[[str], Path], page: str) -> None:
    done = byway("fetch", page)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("byway: url_not_allowed: This is not fetched: 127.0.0.1 is not a public address")
    assert "web_fetch.allow_private" in done.stderr
    assert byway("fetch", "example.com").stderr.startswith("byway: invalid_tool_input: The URL must begin with http://")
    local = str(write("local_only: true"))
    assert "`local_only` is on" in byway("fetch", "https://example.com/", "--config", local).stderr


def test_models_without_a_config_names_the_built_in_one() -> None:
    found = json.loads(byway("models", "--json").stdout)
    assert [(one["backend"], one["model"], one["window"]) for one in found["targets"]] == [
        ("builtin", "smollm2-135m-instruct", 8192)
    ]
    assert found["aliases"] == [{"alias": "default", "targets": ["builtin/smollm2-135m-instruct"]}]


# --- up ---------------------------------------------------------------------------------------------------------------


def test_up_is_ready_within_a_second_without_the_model() -> None:
    took: list[float] = []
    # The machine may be busy with something else for a moment.
    while len(took) < 3 and min(took, default=2) > 1:
        began = time.monotonic()
        with Gateway() as gateway:
            took.append(time.monotonic() - began)
            assert f"Byway {__version__} listens at {gateway.url}" in gateway.text
    assert min(took) < 1, took


def test_a_port_in_use_ends_with_1_and_says_who_holds_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = byway("up", "--no-model", "--port", str(port), BYWAY_HOME=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"127.0.0.1:{port} is in use" in done.stderr
    assert f"--port {port + 1}" in done.stderr
    if sys.platform == "linux":
        assert f"(process {os.getpid()})" in done.stderr


def test_a_second_byway_on_the_same_data_is_told_who_has_it() -> None:
    with Gateway() as gateway:
        done = byway("up", "--no-model", "--port", "0", "--data-dir", str(gateway.home / "data"))
        assert (done.returncode, done.stdout) == (1, "")
        assert f"process {gateway.process.pid}" in done.stderr
        assert "--data-dir" in done.stderr


def test_data_that_cannot_be_kept_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = byway("up", "--no-model", "--port", "0", "--data-dir", str(tmp_path / "file"))
    assert done.returncode == 1
    assert "cannot be used" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_up_prints_works_when_it_is_pasted() -> None:
    with (
        Scripted(lambda _: Say("hello there"), window=32768) as server,
        Gateway(config(server, type="llamacpp")) as gateway,
    ):
        gateway.wait(lambda: "Ready." in gateway.text)
        command = re.search(r"  (curl .*\\\n.*)", gateway.text)
        assert command is not None
        if shutil.which("curl"):
            done = subprocess.run(["sh", "-c", command[1]], capture_output=True, text=True)
            assert "hello there" in done.stdout, done
        for line in (
            f"export ANTHROPIC_BASE_URL={gateway.url}/anthropic",
            "export ANTHROPIC_API_KEY=byway-local",
            "export CLAUDE_CODE_MAX_CONTEXT_TOKENS=32768",
            "claude --permission-mode acceptEdits",
        ):
            assert f"  {line}\n" in gateway.text, line
        assert "\x1b" not in gateway.text


def test_host_and_port_replace_what_the_config_says() -> None:
    with Scripted() as server:
        with Gateway(config(server, server={"bind_address": "127.0.0.1:1"})) as gateway:
            assert gateway.port != 1
        with Gateway(config(server), arguments=["--host", "localhost"]) as gateway:
            assert gateway.get("/livez").status == 200


@pytest.mark.skipif(sys.platform == "win32", reason="only on systems with pseudo-terminals")
@pytest.mark.parametrize("plain", [False, True])
def test_on_a_terminal_it_is_coloured_unless_somebody_minds(tmp_path: Path, plain: bool) -> None:
    import pty

    ours, theirs = pty.openpty()
    environ = {**os.environ, "PYTHONPATH": str(SOURCE), "BYWAY_HOME": str(tmp_path), "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-m", "byway", "up", "--no-model", "--port", "0"],
        env={**environ, "NO_COLOR": "1"} if plain else environ,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    text = b""
    try:
        while b"Ctrl-C" not in text:
            text += os.read(ours, 4096)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert (b"\x1b[" not in text) == plain


# --- what up says -----------------------------------------------------------------------------------------------------


def facts(**more: Any) -> Facts:
    base = Facts(
        url="http://127.0.0.1:38080",
        config="none",
        answerers=(Answerer("box", "llama.cpp", "ready", "", ("qwen3",)),),
        window=32768,
    )
    return base._replace(**more)


def said(**more: Any) -> str:
    return "\n".join(line.text for line in welcome(facts(**more)))


def test_a_small_window_is_told_to_claude_code() -> None:
    names = dict(exports(facts()))
    assert names["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == "32768"
    assert names["CLAUDE_CODE_MAX_OUTPUT_TOKENS"] == "8192"
    assert names["CLAUDE_CODE_ATTRIBUTION_HEADER"] == "0"
    assert names["ANTHROPIC_DEFAULT_HAIKU_MODEL"] == "claude-haiku-5-5"
    assert launch(facts()) == "claude --permission-mode acceptEdits"


def test_an_unknown_window_is_asked_for() -> None:
    assert "CLAUDE_CODE_MAX_CONTEXT_TOKENS" not in dict(exports(facts(window=None)))
    assert "CLAUDE_CODE_MAX_CONTEXT_TOKENS=WINDOW" in said(window=None)


def test_anthropics_own_models_need_only_the_address() -> None:
    official = facts(official=True, window=None)
    assert list(dict(exports(official))) == ["ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"]
    assert launch(official) == "claude"


def test_without_an_alias_for_claudes_names_the_model_is_named() -> None:
    names = dict(exports(facts(claude=False, ask="qwen3")))
    assert names["ANTHROPIC_MODEL"] == names["ANTHROPIC_DEFAULT_HAIKU_MODEL"] == "qwen3"


def test_the_key_is_never_empty_and_never_shown() -> None:
    assert dict(exports(facts()))["ANTHROPIC_API_KEY"] == "byway-local"
    text = said(keys=("team", "ci"))
    assert "export ANTHROPIC_API_KEY=YOUR-KEY" in text
    assert "team, ci" in text
    assert '-H "x-api-key: $ANTHROPIC_API_KEY"' in text


def test_it_is_honest_about_the_built_in_model() -> None:
    text = said(builtin=True, window=8192)
    assert "no agent work" in text
    assert 'claude --bare -p "Say hello"' in text
    assert "CLAUDE_CODE_MAX_CONTEXT_TOKENS=8192" in text


def test_a_backend_that_failed_says_why() -> None:
    text = said(answerers=(Answerer("box", "vLLM", "failed", "connection refused", ()),))
    assert "box (vLLM, failed)" in text
    assert "connection refused" in text


def test_without_a_tcp_address_only_curl_is_offered() -> None:
    text = said(url=None, socket="/run/byway.sock")
    assert "curl --unix-socket /run/byway.sock http://localhost/anthropic/v1/messages" in text
    assert "export" not in text


@pytest.mark.parametrize("model", ["qwen3-coder:30b", "Qwen/Qwen3-8B", "7b", "on", "a: b", "weird #name", "null", "x:"])
def test_what_is_offered_for_a_found_server_is_a_config_that_uses_it(model: str) -> None:
    for url in ("http://127.0.0.1:11434", "http://127.0.0.1:9999"):
        lines = offer(Found("ollama", url, (model,), "0.13"))
        assert len(lines) == 4
        loaded = load("\n".join(lines), {})
        assert loaded.backends[0].type == "ollama"
        assert loaded.backends[0].url in (None, url)
        assert loaded.model_aliases == {"default": (model,)}
        assert ruamel.yaml.YAML(typ="safe").load("\n".join(lines))["model_aliases"]["default"] == model
    text = said(found=(Found("ollama", "http://127.0.0.1:11434", (model,), "0.13"),), config_file="~/byway.yaml")
    assert "Found Ollama 0.13 at http://127.0.0.1:11434" in text
    assert "~/byway.yaml" in text


def test_a_found_server_without_models_is_not_offered() -> None:
    assert "serves no model yet" in said(found=(Found("vllm", "http://127.0.0.1:8000", ()),))


def test_long_words_stay_whole() -> None:
    assert wrap("a bb " + "c" * 30 + " d", 6) == ["a bb", "c" * 30, "d"]
    assert wrap("") == []
