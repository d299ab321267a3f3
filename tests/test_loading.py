"""Local models in the config: settings, edits, commands without a running Byway, and requests that wait for a model."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from waiting import until

from byway import platform
from byway.backend import UnloadedModel
from byway.call import Call
from byway.cli.configfile import ConfigSource
from byway.config import Config, ConfigError, TimeoutSettings, load
from byway.config.editing import edit
from byway.local import edits
from byway.local.supervisor import (
    ModelProcess,
    NotInstalled,
    ProcessOptions,
    default_threads,
    process_options,
    require_engine,
)
from byway.problems import Problem
from byway.runtime import Runtime
from byway.secrets.vault import Vault


def test_a_local_model_is_a_backend_with_a_path() -> None:
    text = (
        "backends:\n- {name: big, type: builtin, path: /m/big.gguf, window: 8192, gpu_layers: 0, threads: 2, "
        "idle_unload: 10m}\n- {name: named, type: builtin, path: /m/x.gguf, models: [qwen3, qwen]}\n- {type: builtin}"
    )
    big, named, own = load(text, {}).backends
    assert process_options(big) == ProcessOptions("/m/big.gguf", 8192, 0, 2)
    assert big.idle_unload == 600
    assert (big.names, named.names, own.names) == (("big",), ("qwen3", "qwen"), ("smollm2-135m-instruct",))
    # What only says a name, or when it is unloaded, is no reason for another process.
    same = msgspec.structs.replace(big, models=("other",), idle_unload=5.0)
    assert process_options(same) == process_options(big)


@pytest.mark.parametrize("field", ["path: x.gguf", "window: 4096", "gpu_layers: 1", "threads: 1", "idle_unload: 1m"])
def test_settings_of_local_models_are_rejected_for_other_backends(field: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"backends.0.{field.partition(':')[0]}: applies only to models that Byway runs itself"
    ):
        load(f"backends: [{{type: ollama, {field}}}]", {})


@pytest.mark.parametrize("field", ["window: 0", "window: much", "threads: 0", "gpu_layers: -1", "idle_unload: soon"])
def test_numbers_out_of_range_are_rejected(field: str) -> None:
    with pytest.raises(ConfigError):
        load(f"backends: [{{type: builtin, {field}}}]", {})


def test_a_relative_path_is_relative_to_the_config_file(tmp_path: Path) -> None:
    file = tmp_path / "byway.yaml"
    file.write_text(
        "backends: [{name: a, type: builtin, path: m/a.gguf}, {name: b, type: builtin, path: ~/b.gguf}]\nlocal_models: {paths: m}"
    )
    loaded = ConfigSource(file, Vault(tmp_path / "data", {}), needed=True).read()
    assert loaded.local_models.paths == (str(tmp_path / "m"),)
    paths = [backend.path for backend in loaded.backends]
    assert paths == [str(tmp_path / "m/a.gguf"), str(Path("~/b.gguf").expanduser())]


def config(text: str) -> Config:
    return load(text, {})


def test_load_adds_a_backend_to_an_empty_config_and_unload_removes_it() -> None:
    served, changes = edits.load_edits(
        Config(), "/m/${x}.gguf", {"window": 512}, name="tiny", alias="default", fresh=True
    )
    text = edit("", changes)
    loaded = config(text)
    assert served == "tiny"
    assert [(backend.name, backend.type, backend.path, backend.window) for backend in loaded.backends] == [
        ("tiny", "builtin", "/m/${x}.gguf", 512)
    ]
    assert loaded.model_aliases == {"default": ("tiny/tiny",)}
    assert config(edit(text, edits.unload_edits(loaded, 0))) == Config()


def test_load_changes_the_options_of_a_model_that_is_loaded() -> None:
    text = "# mine\nbackends:\n  - name: tiny  # small\n    type: builtin\n    path: /m/a.gguf\n    models: [t]\n"
    served, changes = edits.load_edits(
        config(text), "/m/a.gguf", {"threads": 3, "window": None}, name="tiny", alias="haiku"
    )
    after = edit(text, changes)
    assert served == "t"
    assert after.startswith("# mine\nbackends:\n  - name: tiny  # small\n")
    assert config(after).backends[0].threads == 3 and config(after).model_aliases == {"haiku": ("tiny/t",)}
    with pytest.raises(edits.NameTaken, match="type is ollama"):
        edits.load_edits(config("backends: [{name: tiny, type: ollama}]"), "/m/a.gguf", {}, name="tiny")


def test_unload_removes_only_alias_targets_of_that_model() -> None:
    text = (
        "backends: [{name: a, type: builtin, path: /a.gguf}, {name: b, type: builtin, path: /b.gguf}]\n"
        "model_aliases: {haiku: a/a, sonnet: [a, b/b], opus: b, default: [b, 'a/a']}"
    )
    after = config(edit(text, edits.unload_edits(config(text), 0)))
    assert [backend.name for backend in after.backends] == ["b"]
    assert after.model_aliases == {"sonnet": ("b/b",), "opus": ("b",), "default": ("b",)}


def test_the_name_of_a_file_becomes_a_valid_backend_name() -> None:
    assert edits.backend_name("hf.co/me/Own Model:Q4") == "hf.co-me-Own-Model:Q4"
    assert edits.backend_name("///") == "model"
    name = edits.backend_name("ü/x" * 99)
    assert load(f"backends: [{{name: '{name}', type: builtin}}]", {}).backends[0].name == name


def test_memory_is_reported_where_the_system_supports_it() -> None:
    own = platform.resident_memory(os.getpid())
    assert own is None or 10 << 20 < own < 10 << 30
    assert platform.resident_memory(2**22 + 5) is None
    spare = platform.available_memory()
    assert spare is None or spare > 1 << 20
    if sys.platform == "linux":
        assert own is not None and spare is not None


def test_only_one_process_locks_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (tmp_path / "file").open("r+b") as backend:
        assert platform.try_lock(backend.fileno())
        with (tmp_path / "file").open("r+b") as two:
            assert not platform.try_lock(two.fileno())
    with (tmp_path / "file").open("r+b") as three:
        assert platform.try_lock(three.fileno())


def unloaded(first_byte: float = 5.0) -> tuple[Runtime, list[str], asyncio.Event]:
    settings = load("backends: [{name: tiny, type: builtin}]", {})
    runtime = Runtime(msgspec.structs.replace(settings, timeouts=TimeoutSettings(first_byte=first_byte)))
    loads: list[str] = []
    settled = asyncio.Event()
    model = UnloadedModel(lambda: loads.append("load"), settled)
    runtime.set_process_state("tiny", "asleep", "The model is unloaded.", window=512, unloaded=model)
    return runtime, loads, settled


@pytest.mark.parametrize(("value", "threads"), [("3", 3), (" 2 ,4", 2), ("", 8), ("0", 8), ("many", 8), ("99999", 8)])
def test_omp_num_threads_is_the_default_of_a_model(value: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "cpu_count", lambda: 16)
    assert default_threads({"OMP_NUM_THREADS": value}) == threads


CALL = Call("POST", "/v1/chat/completions", (), b"{}")


def test_a_request_loads_an_unloaded_model_and_waits_for_it() -> None:
    async def run() -> None:
        runtime, loads, settled = unloaded()
        backend = runtime.backends["tiny"]
        assert backend.registry.target("smollm2-135m-instruct").window == 512
        with pytest.raises(Problem, match="is disabled: The model is unloaded"):
            await backend.fetch(CALL)
        assert loads == [], "only a request loads it"
        waiting = asyncio.create_task(backend.send(CALL))
        await until(lambda: loads)
        assert loads == ["load"] and not waiting.done()
        runtime.set_process_state("tiny", "failed", "No memory.")
        settled.set()
        with pytest.raises(Problem, match=r"Backend 'tiny' has no running model: No memory\."):
            await waiting

    asyncio.run(run())


def test_a_request_that_waits_too_long_for_a_model_gets_a_retry_after() -> None:
    async def run() -> None:
        runtime, _, _ = unloaded(0.01)
        with pytest.raises(Problem, match=r"longer than 0\.01 s \(`timeouts\.first_byte`\)") as caught:
            await runtime.backends["tiny"].send(CALL)
        assert (caught.value.kind, caught.value.retry_after) == ("loading", 10)

    asyncio.run(run())


def test_a_refresh_does_not_query_a_local_model() -> None:
    """That would keep it from falling asleep."""

    async def run() -> None:
        runtime, loads, _ = unloaded()
        await runtime.refresh()
        assert runtime.statuses() == [("tiny", "asleep", "The model is unloaded.")]
        assert runtime.backends["tiny"].models == ("smollm2-135m-instruct",)
        assert loads == []

    asyncio.run(run())


def test_a_missing_file_is_reported_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byway.local.supervisor._FIRST_PAUSE", 0.01)
    reports: list[tuple[str, str]] = []

    async def run() -> None:
        tried = asyncio.Event()

        def on_change(process: ModelProcess) -> None:
            reports.append((process.state, process.message))
            if len(reports) == 4:
                tried.set()

        process = ModelProcess("tiny", tmp_path, on_change, ProcessOptions(str(tmp_path / "m.gguf")))
        process.unload()
        assert process.state == "loading", "what has not loaded is not unloaded"
        task = asyncio.create_task(process.run())
        async with asyncio.timeout(60):
            await tried.wait()
        task.cancel()
        await asyncio.wait([task])

    try:
        require_engine()
    except NotInstalled as missing:
        pytest.skip(str(missing))
    asyncio.run(run())
    assert [state for state, _ in reports] == ["loading", "failed", "loading", "failed"]
    assert "m.gguf cannot be read: No such file or directory. Correct `path`" in reports[1][1]


def test_a_process_that_cannot_be_started_is_restarted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reports: list[str] = []

    async def refuse(*_: object, **__: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    async def run() -> None:
        failed = asyncio.Event()

        def on_change(process: ModelProcess) -> None:
            reports.append(process.message)
            if process.state == "failed":
                failed.set()

        process = ModelProcess("tiny", tmp_path, on_change)
        monkeypatch.setattr(process, "_prepare", dict)
        monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)
        task = asyncio.create_task(process.run())
        async with asyncio.timeout(60):
            await failed.wait()
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(run())
    assert "restarted: its process cannot be started ([Errno 11]" in reports[-1]


def test_the_reason_of_an_exit_is_reported(tmp_path: Path) -> None:
    process = ModelProcess("tiny", tmp_path, lambda _: None)

    def reason(code: int, *lines: str, loaded: bool = False) -> str:
        process._stderr_lines.clear()
        process._stderr_lines.extend(lines)
        return process._reason(code, loaded=loaded)

    loaded: Any = reason(1, "0.1 E failed to allocate buffer for kv cache", "0.2 E failed to load model")
    assert loaded.startswith("out of memory (failed to allocate buffer for kv cache). Set a smaller `window`")
    assert "unknown model architecture: 'new'" in reason(1, "0.1 E unknown model architecture: 'new'")
    assert "as it does when memory runs out" in reason(-9)
    assert "its process was killed" in reason(-9, loaded=True)
    assert reason(3, "odd") == "exit code 3: odd"
