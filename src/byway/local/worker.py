"""The process of a local model: options in on stdin, its address out on stdout, and the end with stdin.

Run by `builtin.Child` as `python -m byway.local.child`; nothing of it is imported by the rest of Byway.
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
    """Serve one GGUF file with llama.cpp on a free port of loopback, closed to everybody without the key."""
    platform.end_with_parent()
    platform.kill_first_when_out_of_memory()
    options = json.loads(sys.stdin.readline())
    # llama.cpp may print: stdout is kept for the one line that the parent reads.
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
    params.verbosity = 1
    # An empty list of origins: no page may read an answer.
    params.cors_origins = ""
    params.cors_credentials = False
    params.ui = params.endpoint_slots = params.endpoint_metrics = params.endpoint_props = False
    try:
        server = xllamacpp.Server(params)
    except (RuntimeError, ValueError) as error:
        sys.exit(str(error))
    about = {"url": server.listening_address, "window": _window(server.listening_address, options)}
    os.write(answer, json.dumps(about).encode() + b"\n")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    threading.Event().wait()


def devices() -> None:
    """Print the names of the GPUs that llama.cpp sees, as JSON."""
    answer = os.dup(1)
    os.dup2(2, 1)

    import xllamacpp

    found = [one for one in xllamacpp.get_device_info() if "GPU" in getattr(one.get("type"), "name", "")]
    os.write(answer, json.dumps([str(one.get("description") or one.get("name")) for one in found]).encode())


def _window(url: str, options: dict[str, Any]) -> int:
    """The window that llama.cpp has really made, in tokens: it takes no more than the model was trained on."""
    at = urlsplit(url)
    connection = http.client.HTTPConnection(at.hostname or "127.0.0.1", at.port, timeout=10)
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
    devices() if sys.argv[1:] == ["devices"] else main()
