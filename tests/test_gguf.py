"""Headers of GGUF files, good, broken and hostile; and the folders where models lie."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from models import PAIRS, gguf, text

from byway.local import supervisor
from byway.local.gguf import InvalidFile, ModelHeader, TruncatedFile, parse_header
from byway.local.library import ModelFile, find_models, model_folders, part_files, read_model_header

HUGE = 1 << 60


def test_a_header_is_parsed() -> None:
    assert parse_header(gguf()) == ModelHeader(
        version=3,
        architecture="llama",
        name="Tiny Test",
        kind="model",
        size="1M",
        quantisation="Q4_K_M",
        window=4096,
        layers=2,
        template=True,
    )
    assert parse_header(gguf(version=2, tail=b"tensors")).version == 2
    assert parse_header(gguf({})) == ModelHeader(3, "")


@pytest.mark.real
def test_the_header_of_the_built_in_weights() -> None:
    try:
        path = supervisor.builtin_weights()
    except supervisor.NotInstalled as missing:
        pytest.skip(str(missing))
    model = read_model_header(path)
    assert (model.architecture, model.window, model.layers, model.quantisation) == ("llama", 8192, 30, "Q4_1")
    assert model.loadable and model.parts == 1


def test_control_characters_are_removed_from_names() -> None:
    assert parse_header(gguf({**PAIRS, "general.name": "\x1b[31mred\u202e"})).name == "[31mred"


def test_values_of_a_wrong_type_are_ignored() -> None:
    odd = {"general.architecture": 5, "general.name": True, "llama.context_length": "x", "general.file_type": "x"}
    assert parse_header(gguf(odd)) == ModelHeader(3, "")


def header(pairs: int, body: bytes) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, 0, pairs) + body


HOSTILE = {
    "no pairs that it promises": header(HUGE, b""),
    "a key of 2^60 bytes": header(1, struct.pack("<Q", HUGE)),
    "a text of 2^60 bytes": header(1, text("k") + struct.pack("<IQ", 8, HUGE)),
    "a text of 2^64-1 bytes": header(1, text("k") + struct.pack("<IQ", 8, (1 << 64) - 1)),
    "an array of 2^60 bytes": header(1, text("k") + struct.pack("<IIQ", 9, 0, HUGE)),
    "an array of 2^60 doubles": header(1, text("k") + struct.pack("<IIQ", 9, 12, HUGE)),
    "an array of 2^60 texts": header(1, text("k") + struct.pack("<IIQ", 9, 8, HUGE)),
    "an array of texts of 2^60 bytes": header(1, text("k") + struct.pack("<IIQQQ", 9, 8, 3, HUGE, HUGE)),
    "an array of texts of 2^64-1 bytes": header(1, text("k") + struct.pack("<IIQ", 9, 8, 3) + b"\xff" * 24),
    "an array of 2^60 arrays": header(1, text("k") + struct.pack("<IIQ", 9, 9, HUGE)),
    "arrays a thousand deep": header(1, text("k") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 1000),
    "a type that is none": header(1, text("k") + struct.pack("<I", 99)),
    "an array of a type that is none": header(1, text("k") + struct.pack("<IIQ", 9, 99, 1)),
    "another file": b"PK\x03\x04" + bytes(100),
    "nothing": b"",
    "half a magic": b"GG",
    "version 1": b"GGUF" + struct.pack("<IQQ", 1, 0, 0),
    "big-endian": b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_header_is_rejected_without_reading_or_allocating_much(data: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(InvalidFile) as caught:
        parse_header(data)
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()
    assert str(caught.value) and not str(caught.value).endswith(".")


def test_the_number_of_list_elements_is_bounded() -> None:
    lists = struct.pack("<IQ", 9, 5_000_000)
    with pytest.raises(InvalidFile, match="an array of 5,000,000"):
        parse_header(header(1, text("k") + struct.pack("<I", 9) + lists + bytes(1000)))


@given(st.integers(0, len(gguf()) - 1))
def test_a_cut_off_header_is_truncated(cut: int) -> None:
    with pytest.raises(TruncatedFile):
        parse_header(gguf()[:cut])


@given(st.binary(max_size=200))
def test_any_bytes_give_a_header_or_invalid_file(data: bytes) -> None:
    for whole in (data, b"GGUF" + data, b"GGUF\x03\0\0\0" + bytes(8) + b"\x02" + bytes(7) + data):
        with contextlib.suppress(InvalidFile):
            parse_header(whole)


@given(
    st.dictionaries(
        st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=20),
        st.one_of(
            st.text(max_size=50), st.booleans(), st.integers(0, (1 << 32) - 1), st.floats(width=32),
            st.lists(st.text(max_size=5)), st.lists(st.integers(0, 9)),
        ),
        max_size=8,
    ),
    st.binary(max_size=8),
)  # fmt: skip
def test_other_values_do_not_hide_the_known_ones(between: dict[str, Any], flips: bytes) -> None:
    pairs = {**between, "general.architecture": "llama", "llama.context_length": 77}
    assert parse_header(gguf(pairs)).window == 77
    data = bytearray(gguf(pairs))
    for at, flip in enumerate(flips):
        data[(flip * 31 + at * 7) % len(data)] ^= flip
    with contextlib.suppress(InvalidFile):
        parse_header(bytes(data))


def test_a_header_larger_than_the_first_read_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "large.gguf"
    words = ["word" * 5] * 100_000
    path.write_bytes(gguf({"tokenizer.ggml.merges": words, **PAIRS}))
    assert read_model_header(path).name == "Tiny Test"
    path.write_bytes(path.read_bytes()[:2_000_000])
    with pytest.raises(TruncatedFile):
        read_model_header(path)


# --- where they lie ---------------------------------------------------------------------------------------------------


def put(path: Path, data: bytes = b"GGUF") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def names(models: list[ModelFile]) -> dict[str, str]:
    return {model.name: model.origin for model in models}


def test_models_are_found_in_the_usual_folders(tmp_path: Path) -> None:
    data, home = tmp_path / "data", tmp_path / "home"
    put(data / "models/owner/repo/mine-Q8_0.gguf")
    put(home / ".lmstudio/models/infra-ai/ocelot-v1/ocelot-v1-instruct-q4_0.gguf", b"12345")
    put(home / ".cache/lm-studio/models/a/b/old.gguf", b"1")
    put(home / ".lmstudio/models/infra-ai/ocelot-v1/mmproj-ocelot.gguf")
    put(home / ".lmstudio/models/infra-ai/ocelot-v1/README.md")
    blob = put(home / ".cache/huggingface/hub/models--o--r/blobs/abc", b"123")
    snapshot = home / ".cache/huggingface/hub/models--o--r/snapshots/9f/hub-Q4_K_M.gguf"
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(blob)
    other = home / ".cache/huggingface/hub/models--o--r/snapshots/a0/hub-Q4_K_M.gguf"
    other.parent.mkdir(parents=True)
    other.symlink_to(blob)
    models = find_models(data, {}, home=home)
    assert names(models) == {
        "hub-Q4_K_M": "huggingface",
        "mine-Q8_0": "byway",
        "ocelot-v1-instruct-q4_0": "lmstudio",
        "old": "lmstudio",
    }
    sizes = {model.name: model.size for model in models}
    assert (sizes["hub-Q4_K_M"], sizes["ocelot-v1-instruct-q4_0"]) == (3, 5)


def manifest(folder: Path, name: str, digest: str, kind: str = "application/vnd.ollama.image.model") -> None:
    layers = [{"mediaType": "application/vnd.ollama.image.license", "digest": "sha256:0"}]
    layers.append({"mediaType": kind, "digest": digest})
    put(folder / "manifests" / name, json.dumps({"schemaVersion": 2, "layers": layers}).encode())


def test_models_of_ollama_have_the_names_of_ollama(tmp_path: Path) -> None:
    folder = tmp_path / ".ollama/models"
    for at, name in enumerate(
        ("registry.ollama.ai/library/qwen3/8b", "registry.ollama.ai/me/own/latest", "hf.co/o/r/Q4_0")
    ):
        manifest(folder, name, f"sha256:{at:064x}")
        put(folder / "blobs" / f"sha256-{at:064x}", b"x" * (at + 1))
    manifest(folder, "registry.ollama.ai/library/gone/1b", f"sha256:{9:064x}")
    manifest(folder, "registry.ollama.ai/library/escape/1b", "sha256:../../../etc/passwd")
    manifest(folder, "registry.ollama.ai/library/tensors/1b", f"sha256:{0:064x}", "application/vnd.ollama.image.tensor")
    put(folder / "manifests/registry.ollama.ai/library/broken/1b", b"[" * 100_000)
    put(folder / "manifests/registry.ollama.ai/library/odd/1b", b'{"layers": [5, {}, null]}')
    models = find_models(tmp_path / "data", {}, home=tmp_path)
    assert names(models) == dict.fromkeys(("qwen3:8b", "me/own:latest", "hf.co/o/r:Q4_0"), "ollama")
    assert all(model.path.is_file() for model in models)


def test_environment_variables_move_the_folders(tmp_path: Path) -> None:
    environ = {"OLLAMA_MODELS": str(tmp_path / "o"), "HF_HUB_CACHE": str(tmp_path / "h"), "HF_HOME": "/elsewhere"}
    at = model_folders(tmp_path, environ, tmp_path)
    assert ("ollama", tmp_path / "o") in at and ("huggingface", tmp_path / "h") in at
    assert sum(origin == "ollama" for origin, _ in at) == 1
    at = model_folders(tmp_path, {"HF_HOME": str(tmp_path / "hf")}, tmp_path)
    assert ("huggingface", tmp_path / "hf/hub") in at


def test_parts_are_one_model(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        put(tmp_path / f"data/models/big-Q4_0-0000{number}-of-00003.gguf", b"x" * number)
    put(tmp_path / "data/models/torn-00001-of-00002.gguf")
    models = find_models(tmp_path / "data", {}, home=tmp_path)
    assert [(model.name, model.size, model.parts, model.path.name) for model in models] == [
        ("big-Q4_0", 6, 3, "big-Q4_0-00001-of-00003.gguf")
    ]
    assert len(part_files(models[0].path)) == 3
    assert part_files(Path("joke-00001-of-99999.gguf")) == [Path("joke-00001-of-99999.gguf")]


def test_a_search_is_bounded_in_depth_and_entries(tmp_path: Path) -> None:
    folder = tmp_path / "data/models"
    put(folder / "m.gguf")
    (folder / "loop").symlink_to(folder)
    put(folder / "/".join("abcdefghi") / "deep.gguf")
    (folder / "dangling.gguf").symlink_to(folder / "nothing")
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.gguf")
    (folder / "folder.gguf").mkdir()
    assert names(find_models(tmp_path / "data", {}, home=tmp_path)) == {"m": "byway"}


def test_an_added_file_is_found_once(tmp_path: Path) -> None:
    model = put(tmp_path / "disk/one.gguf")
    put(tmp_path / "more/two.gguf")
    given = [str(model), str(tmp_path / "more"), str(tmp_path / "disk"), str(tmp_path / "nothing")]
    assert names(find_models(tmp_path / "data", {}, home=tmp_path, paths=given)) == {"one": "added", "two": "added"}


def test_an_unusable_file_has_a_reason(tmp_path: Path) -> None:
    for path, words in {
        tmp_path / "nothing.gguf": "cannot be read: No such file",
        put(tmp_path / "text.gguf", b"no model at all"): "is not a GGUF file",
        put(tmp_path / "half.gguf", gguf()[:50]): "is cut off",
        put(
            tmp_path / "lora.gguf", gguf({**PAIRS, "general.type": "adapter"})
        ): "belongs to a model and is not a model itself",
        put(tmp_path / "big-00001-of-00002.gguf", gguf()): "big-00002-of-00002.gguf is missing from its folder",
        tmp_path: "Is a directory",
    }.items():
        with pytest.raises(supervisor.UnusableFile, match=words):
            supervisor.check_model_file(path)


@pytest.mark.parametrize(
    ("pairs", "use"),
    [
        ({"general.architecture": "qwen3", "qwen3.pooling_type": 3}, "embeddings"),
        ({"general.architecture": "nomic-bert"}, "embeddings"),
        ({"general.architecture": "bert", "bert.pooling_type": 4}, "reranking"),
        ({"general.architecture": "qwen3", "qwen3.pooling_type": 0}, "answers"),
        ({"general.architecture": "llama", "qwen3.pooling_type": 1}, "answers"),
    ],
)
def test_the_header_tells_what_a_model_is_for(pairs: dict[str, object], use: str) -> None:
    assert parse_header(gguf(pairs)).use == use
