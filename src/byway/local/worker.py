"""The process of a local model: reads options from stdin, writes its address to stdout, and ends when stdin closes.

`supervisor.ModelProcess` runs it as `python -m byway.local.worker`. The rest of Byway imports nothing of it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import sys
import threading
from typing import Any
from urllib.parse import urlsplit

from byway import platform


def main() -> None:
    """Serve one GGUF file with llama.cpp on a free loopback port. Requests need the secret of the options."""
    platform.end_with_parent()
    platform.kill_first_when_out_of_memory()
    options = json.loads(sys.stdin.readline())
    # llama.cpp may print to stdout, which is reserved for the line that the parent reads.
    answer = os.dup(1)
    os.dup2(2, 1)

    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = options["path"]
    params.model_alias = {options["model"]}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [options["secret"]]
    params.n_ctx = options["window"]
    params.n_parallel = 1
    params.cpuparams.n_threads = options["threads"]
    params.cpuparams_batch.n_threads = options["threads"]
    if options.get("gpu_layers") is not None:
        params.n_gpu_layers = options["gpu_layers"]
    params.cache_ram_mib = 256
    use = options.get("use", "answers")
    if use != "answers":
        params.embedding = True
        # A text is computed at once, so that this limits its length too.
        params.n_batch = params.n_ubatch = options["window"]
    if use == "reranking":
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_RANK
    params.verbosity = 1
    # No allowed origin: no web page may read an answer.
    params.cors_origins = ""
    params.cors_credentials = False
    params.ui = params.endpoint_slots = params.endpoint_metrics = params.endpoint_props = False
    try:
        server = xllamacpp.Server(params)
    except (RuntimeError, ValueError) as error:
        sys.exit(str(error))
    report = {"url": server.listening_address, "window": _window(server.listening_address, options)}
    os.write(answer, json.dumps(report).encode() + b"\n")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    threading.Event().wait()


def list_gpus() -> None:
    """Print the names of the GPUs that llama.cpp can use, as JSON."""
    answer = os.dup(1)
    os.dup2(2, 1)

    import xllamacpp

    gpus = [device for device in xllamacpp.get_device_info() if "GPU" in getattr(device.get("type"), "name", "")]
    names = [str(device.get("description") or device.get("name")) for device in gpus]
    os.write(answer, json.dumps(names).encode())


def _window(url: str, options: dict[str, Any]) -> int:
    """The actual window in tokens: llama.cpp makes none that is larger than the one of the training."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "127.0.0.1", address.port, timeout=10)
    with contextlib.closing(connection), contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        connection.request("GET", "/v1/models", headers={"authorization": f"Bearer {options['secret']}"})
        return int(json.load(connection.getresponse())["data"][0]["meta"]["n_ctx"])
    return int(options["window"])


def _end_with_parent() -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    platform.exit_now(0)


if __name__ == "__main__":
    list_gpus() if sys.argv[1:] == ["devices"] else main()
