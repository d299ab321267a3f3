"""The command line as a process: output, exit codes, ports and environment."""

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
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from gateway import Gateway, config
from ports import free_port
from scripted import Say, Scripted

from byway import __version__
from byway.cli.main import COMMANDS
from byway.cli.main import byway as group

SOURCE = Path(__file__).parents[2] / "src"


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


def test_version_imports_no_module_of_the_server() -> None:
    """So it prints in the time of a bare Python start."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "byway", "version"],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith(f"byway {__version__} (Python 3.")
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
def test_misuse_exits_with_2_and_an_error_on_stderr(arguments: list[str]) -> None:
    done = byway(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Error:" in done.stderr
    assert "Traceback" not in done.stderr


def every(group: click.Group, *names: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, with its words."""
    context = click.Context(group)
    for name in group.list_commands(context):
        result = group.get_command(context, name)
        assert result is not None
        if isinstance(result, click.Group):
            yield from every(result, *names, name)
        if not isinstance(result, click.Group) or result.invoke_without_command:
            yield (*names, name), result


def test_every_command_has_json_output() -> None:
    result = dict(every(group))
    assert len(result) > 30
    silent = [
        " ".join(words) for words, value in result.items() if "--json" not in {o for p in value.params for o in p.opts}
    ]
    endpoints = [f"endpoint {verb}" for verb in ("add", "fallback", "off", "remove", "use")]
    assert silent == [
        "up",
        "claude",
        "run",
        "acp",
        "service install",
        "service remove",
        *endpoints,
        "tls export",
        "completion",
    ]
    assert set(json.loads(byway("version", "--json").stdout)) == {"version", "python", "system", "machine"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_works(shell: str) -> None:
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
    request = words.get(shell, {"COMP_WORDS": "byway co", "COMP_CWORD": "co"})
    answer = byway(_BYWAY_COMPLETE=f"{shell}_complete", **request)
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
def test_completion_offers_settings_and_names(tmp_path: Path, typed: str, offered: list[str]) -> None:
    file = tmp_path / "byway.yaml"
    text = "backends: [{name: work, type: vllm, url: 'http://x', models: [big]}]\n"
    file.write_text(text + "model_aliases: {haiku: work/big, gpt-4.1: work/big}\n")
    words = {"COMP_WORDS": f"byway {typed}", "COMP_CWORD": str(len(typed.split()))}
    places = {"BYWAY_CONFIG": str(file), "BYWAY_HOME": str(tmp_path)}
    done = byway(_BYWAY_COMPLETE="bash_complete", **words, **places)
    assert [line.partition(",")[2] for line in done.stdout.split()] == offered
    file.write_text("nonsense: [")
    assert byway(_BYWAY_COMPLETE="bash_complete", **words, **places).stderr == ""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "byway.yaml"
        path.write_text(text)
        return path

    return write


def test_check_prints_a_summary_of_a_valid_config(write: Callable[[str], Path]) -> None:
    file = write(
        "backends: [{name: local, type: ollama, models: [qwen3]}, {type: openai, api_key: '${NOT_THERE}'}]\n"
        "model_aliases: {default: [local/qwen3, openai/gpt]}\napi_keys: {api_keys: [{key: a-key-0123456789}]}\n"
    )
    done = byway("config", "check", str(file))
    assert done.returncode == 0
    assert done.stdout.startswith(f"{file}: valid\n")
    for part in (
        "127.0.0.1:38080",
        "local (ollama",
        "qwen3",
        "default -> local/qwen3, openai/gpt",
        "1 key in the config; required",
    ):
        assert part in done.stdout, part
    assert f"{file}:1: backends.1" in done.stderr
    assert "NOT_THERE" in done.stderr
    assert "a-key-0123456789" not in done.stdout + done.stderr


def test_check_prints_every_error_with_path_and_line(write: Callable[[str], Path]) -> None:
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


def test_a_missing_or_binary_config_file_is_an_error(tmp_path: Path) -> None:
    for command in (["config", "check"], ["up", "--config"], ["models", "--config"]):
        done = byway(*command, str(tmp_path / "absent.yaml"))
        assert (done.returncode, done.stdout) == (2, "")
        assert "There is no config file at" in done.stderr
    assert byway("up", BYWAY_CONFIG=str(tmp_path / "absent.yaml")).returncode == 2
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"a: 1\nb: \xff\xfe\n")
    done = byway("config", "check", str(binary))
    assert done.returncode == 2
    assert f"{binary}:2: the file is not UTF-8 text" in done.stderr
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


def test_models_queries_the_backends(write: Callable[[str], Path]) -> None:
    with Scripted(models=("qwen3", "small"), window=32768) as server:
        gone = free_port()
        file = write(
            f"backends:\n- {{name: box, type: llamacpp, url: '{server.url}'}}\n"
            f"- {{name: gone, type: generic, url: 'http://127.0.0.1:{gone}'}}\n"
            "model_aliases: {default: qwen3, haiku: [box/small, qwen3]}\n"
        )
        done = byway("models", "--config", str(file))
        assert done.returncode == 0, done.stderr
        assert re.search(r"^qwen3 +box +32,768 \(backend\) +ready$", done.stdout, re.MULTILINE)
        assert re.search(r"^- +gone +- +failed$", done.stdout, re.MULTILINE)
        assert re.search(r"^haiku +box/small, qwen3 +box/small +ready$", done.stdout, re.MULTILINE)
        assert "gone: " in done.stderr
        body = json.loads(byway("models", "--json", "--config", str(file)).stdout)
        box, other = body["backends"]
        assert (box["name"], box["state"], other["state"]) == ("box", "ready", "failed")
        qwen = next(model for model in box["models"] if model["name"] == "qwen3")
        assert (qwen["window"], qwen["window_source"]) == (32768, "backend")
        default = next(alias for alias in body["aliases"] if alias["name"] == "default")
        assert [target["model"] for target in default["resolved"]] == ["qwen3"]


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
    body = json.loads(byway("fetch", f"{page}/old", "--config", file, "--json").stdout)
    assert (
        body["url"] == f"{page}/" and body["trail"] == [f"{page}/old", f"{page}/"] and body["text"].startswith("# Gr")
    )


def test_fetch_prints_the_error_code_and_the_next_action(write: Callable[[str], Path], page: str) -> None:
    done = byway("fetch", page)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("byway: url_not_allowed: This URL is not fetched: 127.0.0.1 is not a public address")
    assert "web_fetch.allow_private" in done.stderr
    assert byway("fetch", "example.com").stderr.startswith("byway: invalid_tool_input: The URL must start with http://")
    local = str(write("local_only: true"))
    assert "`local_only` is on" in byway("fetch", "https://example.com/", "--config", local).stderr


def test_models_without_a_config_lists_the_built_in_model() -> None:
    body = json.loads(byway("models", "--json").stdout)
    [backend] = body["backends"]
    assert (backend["name"], backend["implied"], backend["message"]) == ("builtin", True, "Starts with `byway up`.")
    assert [(model["name"], model["window"]) for model in backend["models"]] == [("smollm2-135m-instruct", 8192)]
    default = next(alias for alias in body["aliases"] if alias["name"] == "default")
    assert default["targets"] == ["builtin/smollm2-135m-instruct"]


def test_up_prints_its_address_and_is_ready() -> None:
    with Scripted([]) as server, Gateway(config(server)) as gateway:
        assert f"Byway {__version__} listens at {gateway.url}" in gateway.text
        assert gateway.get("/readyz").status == 200


def test_a_port_in_use_exits_with_1_and_names_its_owner(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = byway("up", "--no-model", "--port", str(port), BYWAY_HOME=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"127.0.0.1:{port} is in use" in done.stderr
    assert f"--port {port + 1}" in done.stderr
    if sys.platform == "linux":
        assert f"(process {os.getpid()})" in done.stderr


def test_a_second_byway_with_the_same_data_folder_is_refused() -> None:
    with Gateway() as gateway:
        done = byway("up", "--no-model", "--port", "0", "--data-dir", str(gateway.home / "data"))
        assert (done.returncode, done.stdout) == (1, "")
        assert f"process {gateway.process.pid}" in done.stderr
        assert "--data-dir" in done.stderr


def test_an_unusable_data_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = byway("up", "--no-model", "--port", "0", "--data-dir", str(tmp_path / "file"))
    assert done.returncode == 1
    assert "cannot be used" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_printed_commands_work_when_pasted() -> None:
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
            "export CLAUDE_CODE_MAX_CONTEXT_TOKENS=49152",
            "claude --permission-mode acceptEdits",
        ):
            assert f"  {line}\n" in gateway.text, line
        assert "\x1b" not in gateway.text


def test_host_and_port_replace_the_addresses_of_the_config() -> None:
    with Scripted() as server:
        with Gateway(config(server, server={"bind_address": "127.0.0.1:1"})) as gateway:
            assert gateway.port != 1
        with Gateway(config(server), arguments=["--host", "localhost"]) as gateway:
            assert gateway.get("/livez").status == 200


@pytest.mark.skipif(sys.platform == "win32", reason="only on systems with pseudo-terminals")
@pytest.mark.parametrize("plain", [False, True])
def test_terminal_output_has_colour_unless_it_is_disabled(tmp_path: Path, plain: bool) -> None:
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
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert (b"\x1b[" not in text) == plain


def test_a_restart_at_a_port_in_use_listens_at_the_previous_address() -> None:
    """`restart_process` names it; the page that requested the restart finds Byway there."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy, previous = taken.getsockname()[1], free_port()
        gateway = Gateway(
            {"server": {"bind_address": f"127.0.0.1:{busy}"}},
            environ={"BYWAY_PREVIOUS_ADDRESSES": f"127.0.0.1:{previous}"},
        )
        gateway._arguments.remove("--port")
        gateway._arguments.remove("0")
        with gateway:
            assert gateway.port == previous
            assert f"warning: 127.0.0.1:{busy} is in use by" in gateway.text
