"""Memory of models, the catalogue of models to download, and which files may be deleted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from models import PAIRS, gguf

from byway.admin import localmodels
from byway.admin.catalogue import list_catalogue
from byway.cli.main import byway
from byway.config import load
from byway.local import hub
from byway.local.catalogue import CATALOGUE, source_of
from byway.local.downloads import BackgroundDownload
from byway.local.gguf import parse_header
from byway.local.memory import OVERHEAD, MachineMemory, MemoryFit, machine_memory, memory_fit
from byway.problems import Problem

GB = 1_000_000_000


@pytest.mark.parametrize(
    ("total", "free", "word"),
    [
        (32 * GB, 20 * GB, "fits"),
        (16 * GB, 8 * GB, "tight"),
        (11_200_000_000, 10_500_000_000, "tight"),
        (10 * GB, 10 * GB, "too large"),
        (16 * GB, None, "fits"),
        (13 * GB, None, "tight"),
        (None, None, "unknown"),
        (None, 99 * GB, "unknown"),
    ],
)
def test_a_model_fits_beside_what_runs_or_is_tight_or_too_large(total: int | None, free: int | None, word: str) -> None:
    # 5 GB of weights, 4.6 GB of cache.
    fit = memory_fit(5 * GB, 140_000, 32_768, MachineMemory(total, free))
    assert fit == MemoryFit(word, 5 * GB + 140_000 * 32_768 + OVERHEAD, 32_768)  # type: ignore[arg-type]


def test_without_the_facts_of_the_header_the_cache_is_estimated() -> None:
    memory = MachineMemory(64 * GB, 60 * GB)
    assert memory_fit(5 * GB, None, 1000, memory).is_estimate
    assert memory_fit(None, None, 1000, memory) == MemoryFit("unknown", None, 1000)


def test_the_memory_of_a_container_is_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byway.platform.available_memory", lambda: 20 * GB)
    info = tmp_path / "meminfo"
    info.write_text(f"MemTotal: {32 * GB // 1024} kB\n")
    assert machine_memory(tmp_path, info) == MachineMemory(32 * GB, 20 * GB)
    (tmp_path / "memory.max").write_text("max\n")
    assert machine_memory(tmp_path, info) == MachineMemory(32 * GB, 20 * GB)
    (tmp_path / "memory.max").write_text(f"{8 * GB}\n")
    (tmp_path / "memory.current").write_text(f"{3 * GB}\n")
    assert machine_memory(tmp_path, info) == MachineMemory(8 * GB, 5 * GB)
    # Another system: only the total may be known.
    assert machine_memory(tmp_path / "none", tmp_path / "none").free == 20 * GB


DENSE = {"block_count": 36, "attention.head_count": 32, "attention.head_count_kv": 8, "embedding_length": 4096}


@pytest.mark.parametrize(
    ("facts", "cache"),
    [
        (DENSE, 147_456),
        ({**DENSE, "attention.key_length": 256, "attention.value_length": 256}, 294_912),
        ({**DENSE, "block_count": 40, "full_attention_interval": 4}, 40_960),
        ({"block_count": 47, "attention.kv_lora_rank": 512, "rope.dimension_count": 64}, 54_144),
        ({"block_count": 36}, None),
        ({**DENSE, "attention.head_count": 0}, None),
        # One number for each layer: unknown here.
        ({**DENSE, "attention.head_count_kv": [8, 8]}, None),
    ],
)
def test_the_header_gives_the_memory_of_a_token(facts: dict[str, Any], cache: int | None) -> None:
    pairs = PAIRS | {f"llama.{key}": value for key, value in facts.items()}
    assert parse_header(gguf(pairs)).cache == cache


def test_every_entry_of_the_catalogue_is_complete() -> None:
    names = [entry.name for entry in CATALOGUE]
    assert len(set(names)) == len(names) >= 10
    for entry in CATALOGUE:
        repository = hub.parse_source(entry.source)
        assert isinstance(repository, hub.Repository) and repository.wanted, entry.name
        assert entry.name == entry.name.lower() and entry.advice.endswith("."), entry.name
        assert 0.5 * GB < entry.size < 100 * GB and entry.window >= 32_768 and entry.cache > 0
        assert source_of(f" {entry.name.upper()} ") == entry.source
    assert source_of("owner/repo") == "owner/repo"
    # The best one for agents is first, and nothing weak is before something good.
    order = {"good": 0, "fair": 1, "weak": 2}
    assert [order[entry.tools] for entry in CATALOGUE] == sorted(order[entry.tools] for entry in CATALOGUE)


def test_the_catalogue_shows_what_fits_and_what_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byway.admin.catalogue.machine_memory", lambda: MachineMemory(16 * GB, 12 * GB))
    file = tmp_path / "models/Qwen/Qwen3-8B-GGUF/Qwen3-8B-Q4_K_M.gguf"
    file.parent.mkdir(parents=True)
    file.write_bytes(gguf())
    (file.parent / "Qwen3-8B-Q8_0.gguf").write_bytes(gguf())
    # A part of a model is no model.
    part = tmp_path / "models/Qwen/Qwen3-14B-GGUF/Qwen3-14B-Q4_K_M-00001-of-00002.gguf"
    part.parent.mkdir(parents=True)
    part.write_bytes(gguf())
    job = BackgroundDownload(1, source_of("qwen3-4b"), "running")
    models = {model.name: model for model in list_catalogue(tmp_path, [job]).models}
    assert (models["qwen3-8b"].state, models["qwen3-8b"].path) == ("downloaded", str(file))
    assert models["qwen3-4b"].state == "downloading"
    assert (models["qwen3-14b"].state, models["qwen3-14b"].fit.fit) == ("available", "too large")
    words = [model.fit.fit for model in models.values()]
    assert words == sorted(words, key=("fits", "tight", "unknown", "too large").index)
    assert "fits" in words and "too large" in words


# ------------------------------------------------------------------------------------------------------------- deleting


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "models/owner/repo").mkdir(parents=True)
    (folder / "models/owner/repo/Tiny-Q4_K_M.gguf").write_bytes(gguf())
    return folder


def refusal(data: Path, text: str, model: str) -> str:
    with pytest.raises(Problem) as caught:
        localmodels.find_deletable(data, load(text, {}), (), model)
    return caught.value.message


def test_a_file_in_use_or_elsewhere_is_not_deleted(data: Path, tmp_path: Path) -> None:
    own = data / "models/owner/repo/Tiny-Q4_K_M.gguf"
    elsewhere = tmp_path / "Other-Q4_K_M.gguf"
    elsewhere.write_bytes(gguf())
    used = f"backends: [{{name: tiny, type: builtin, path: {own}}}]"
    assert "tiny runs this file; unload it first" in refusal(data, used, str(own))
    text = f"local_models: {{paths: [{elsewhere}]}}"
    assert "not in Byway's own folder (named in the config)" in refusal(data, text, "Other-Q4_K_M")
    assert "no such model file" in refusal(data, "", "/etc/passwd")
    assert "no such model file" in refusal(data, "", "")
    copy = data / "models/other/repo/Tiny-Q4_K_M.gguf"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(gguf())
    assert "several model files are called Tiny-Q4_K_M" in refusal(data, "", "Tiny-Q4_K_M")


def test_a_link_to_a_folder_elsewhere_is_not_followed(data: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "Far-Q4_0.gguf").write_bytes(gguf())
    (data / "models/link").symlink_to(outside)
    assert "no such model file" in refusal(data, "", str(data / "models/link/Far-Q4_0.gguf"))


def run(*arguments: str, data: Path) -> Any:
    return CliRunner().invoke(byway, ["models", *arguments, "--data-dir", str(data)])


def test_the_command_deletes_a_file_after_yes_only(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYWAY_CONFIG", str(tmp_path / "byway.yaml"))
    file = data / "models/owner/repo/Tiny-Q4_K_M.gguf"
    unsure = run("delete", "Tiny-Q4_K_M", data=data)
    assert unsure.exit_code == 0 and "--yes" in unsure.output and file.exists()
    done = run("delete", "Tiny-Q4_K_M", "--yes", data=data)
    assert done.exit_code == 0 and "Tiny-Q4_K_M deleted" in done.output, done.output
    assert not (data / "models/owner").exists()
    gone = run("delete", "Tiny-Q4_K_M", "--yes", data=data)
    assert gone.exit_code == 2 and "no such model file" in gone.output


def test_the_command_lists_the_catalogue(data: Path) -> None:
    text = run("catalogue", data=data)
    assert text.exit_code == 0 and all(entry.name in text.output for entry in CATALOGUE), text.output
    assert "byway models download NAME" in text.output
    listed = json.loads(run("catalogue", "--json", data=data).output)
    assert {model["name"] for model in listed["models"]} == {entry.name for entry in CATALOGUE}
    assert set(listed["memory"]) == {"total", "free"}
