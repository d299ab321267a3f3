"""`byway models add`, `load` and `download` as processes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from gateway import SOURCE, Gateway
from models import PAIRS, gguf, hub

from byway.cli import client
from byway.config import load
from byway.display import size
from byway.local import supervisor
from byway.local.supervisor import NotInstalled


def byway(home: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    own = {
        "PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(SOURCE), "BYWAY_HOME": str(home / "data"),
        "BYWAY_CONFIG": str(home / "byway.yaml"), **environ,
    }  # fmt: skip
    command = [sys.executable, "-m", "byway", "models", *arguments]
    return subprocess.run(command, env=own, capture_output=True, text=True, timeout=60, cwd=home)


@pytest.mark.usefixtures("installed")
def test_an_added_file_stays_in_place_and_is_listed(tmp_path: Path) -> None:
    file = tmp_path / "disk/My Model-Q4_K_M.gguf"
    file.parent.mkdir()
    file.write_bytes(gguf())
    done = byway(tmp_path, "add", str(file))
    assert done.returncode == 0, done.stderr
    assert "added to" in done.stdout
    assert load((tmp_path / "byway.yaml").read_text(), {}).local_models.paths == (str(file),)
    assert "was added before" in byway(tmp_path, "add", str(file.parent)).stdout
    listed = json.loads(byway(tmp_path, "list", "--json").stdout)["files"]
    assert [(entry["name"], entry["quantisation"], entry["window"], entry["origin"]) for entry in listed] == [
        ("My Model-Q4_K_M", "Q4_K_M", 4096, "added")
    ]
    done = byway(tmp_path, "load", "my model", "--window", "256", "--alias", "default")
    assert "It is loaded when Byway starts" in done.stdout, done.stderr
    written = load((tmp_path / "byway.yaml").read_text(), {})
    assert [(entry.name, entry.path, entry.window) for entry in written.backends] == [
        ("My-Model-Q4_K_M", str(file), 256)
    ]
    done = byway(tmp_path, "unload", "My-Model-Q4_K_M", "--json")
    assert json.loads(done.stdout)["backend"] == "My-Model-Q4_K_M"
    assert load((tmp_path / "byway.yaml").read_text(), {}).model_aliases == {}
    done = byway(tmp_path, "unload", "builtin")
    assert "because the config names no backend" in done.stderr


@pytest.mark.usefixtures("installed")
def test_a_failed_add_or_load_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "lora.gguf").write_bytes(gguf({**PAIRS, "general.type": "adapter"}))
    (tmp_path / "good.gguf").write_bytes(gguf())
    (tmp_path / "empty").mkdir()
    for arguments, code, words in (
        (["add", "nothing.gguf"], 2, "does not exist"),
        (["add", "lora.gguf"], 2, "belongs to a model"),
        (["add", "empty"], 2, "there is no model in"),
        (["load", "nothing"], 2, "no model file is called 'nothing'. Model files on this machine: none."),
        (["load", "good.gguf", "--idle-unload", "soon"], 2, "idle_unload: expected a duration"),
        (["load", "good.gguf", "--name", "a/b"], 2, "without a slash"),
        (["unload", "nothing"], 2, "Byway runs no model called nothing. Models that it runs: builtin."),
    ):
        done = byway(tmp_path, *arguments)
        assert (done.returncode, words in done.stderr) == (code, True), (arguments, done.stderr)
        assert not (tmp_path / "byway.yaml").exists()


def test_a_download_prints_the_file_and_the_command_to_load_it(tmp_path: Path) -> None:
    with hub({"Tiny-Q8_0.gguf": gguf()}) as at:
        (tmp_path / "byway.yaml").write_text(f"local_models: {{hub: '{at.url}'}}\nlocal_only: true\n")
        done = byway(tmp_path, "download", "owner/repo:Q8_0")
        assert done.returncode == 0, done.stderr
        assert done.stderr == "", "without a terminal nothing is written again and again"
        path = tmp_path / "data/models/owner/repo/Tiny-Q8_0.gguf"
        assert f"{path}: {size(path.stat().st_size)}, checksum verified" in done.stdout
        assert "byway models load Tiny-Q8_0" in done.stdout
        again = json.loads(byway(tmp_path, "download", "owner/repo", "--json").stdout)
        assert again == {"path": str(path), "size": path.stat().st_size, "verified": False, "downloaded": False}
        done = byway(tmp_path, "download", "owner/repo:Q2_K")
        assert (done.returncode, "has no 'Q2_K'" in done.stderr) == (1, True)
    (tmp_path / "byway.yaml").write_text("local_only: true\n")
    assert "`local_only` is on" in byway(tmp_path, "download", "owner/repo").stderr


def test_a_command_finds_the_running_byway_of_its_data_folder(tmp_path: Path) -> None:
    assert client.address(tmp_path / "nothing") is None
    (tmp_path / client.ADDRESS).write_text("http://127.0.0.1:9\n")
    assert client.address(tmp_path) is None, "nobody holds the folder"
    with Gateway("backends: [{name: own, type: builtin}]") as gateway:
        folder = gateway.home / "data"
        url = client.address(folder)
        assert url == gateway.url
        reports = client.report(url, folder)
        assert reports is not None
        assert reports["config"] == "good"
        listed = client.backend(reports, "own")
        assert listed == {"name": "own", "state": "off", "message": "Byway was started with --no-model."}
        gateway.write(
            "backends: [{name: own, type: builtin}]\napi_keys: {api_keys: [{key: byway-test-key-0123456789}]}"
        )
        gateway.wait(lambda: "message" not in (client.backend(client.report(url, folder) or reports, "own") or {}))
    assert client.report(url, folder) is None


def test_gpus_are_listed_by_a_child_process(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = asyncio.run(supervisor.list_gpus())
    assert all(listed)
    monkeypatch.setattr(supervisor, "require_engine", lambda: (_ for _ in ()).throw(NotInstalled("no engine")))
    assert asyncio.run(supervisor.list_gpus()) == ()
