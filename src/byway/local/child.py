"""The process of the built-in model: options in on stdin, its address out on stdout, and the end with stdin.

Run by `builtin.Child` as `python -m byway.local.child`; nothing of it is imported by the rest of Byway.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading

from byway import platform


def main() -> None:
    """Serve one GGUF file with llama.cpp on a free port of loopback, closed to everybody without the key."""
    platform.belong_to_parent()
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
    os.write(answer, json.dumps({"url": server.listening_address}).encode() + b"\n")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    threading.Event().wait()


def _end_with_parent() -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    platform.end(0)


if __name__ == "__main__":
    main()
