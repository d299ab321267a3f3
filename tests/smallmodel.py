"""Byway with a real small model behind llama.cpp. Weights are no part of the project: a variable names the file."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from gateway import SOURCE, Gateway

#: The GGUF file of Qwen2.5-Coder-1.5B-Instruct (Q4_K_M).
WEIGHTS = os.environ.get("BYWAY_TEST_CODER_GGUF", "")
needs_weights = pytest.mark.skipif(not WEIGHTS, reason="BYWAY_TEST_CODER_GGUF does not name the model's file")


@contextlib.contextmanager
def small_model(environ: Mapping[str, str] | None = None, **sections: Any) -> Iterator[Gateway]:
    """A Byway whose model `coder` is the small one, with a window of 32,768 tokens."""
    options = {
        "path": WEIGHTS,
        "model": "coder",
        "use": "answers",
        "secret": "sesame",
        "window": 32768,
        "threads": os.cpu_count() or 1,
    }
    command = [sys.executable, "-m", "byway.local.worker"]
    variables = {**os.environ, "PYTHONPATH": str(SOURCE)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=variables) as server:
        assert server.stdin is not None and server.stdout is not None
        server.stdin.write(json.dumps(options).encode() + b"\n")
        server.stdin.flush()
        url = json.loads(server.stdout.readline())["url"]
        backend = {"name": "coder", "type": "llamacpp", "url": url, "api_key": "sesame", "models": ["coder"]}
        settings = {"backends": [backend], "model_aliases": {"default": ["coder/coder"]}, **sections}
        with Gateway(settings, environ=environ) as running:
            yield running
        server.kill()
