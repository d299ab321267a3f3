"""The real Byway in a process of its own, on a free port in a scratch home: `with Gateway(config) as gateway: ...`."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from scripted import Scripted
from waiting import PATIENCE

SOURCE: Final = Path(__file__).parent.parent / "src"
_LISTENS: Final = re.compile(r"(https?)://(?:127\.0\.0\.1|localhost):(\d+)")


def config(*servers: Scripted, type: str = "generic", **sections: Any) -> dict[str, Any]:
    """A config with `servers` as backends `one`, `two`, ... of vendor `type`; every alias maps to the model `local`."""
    names = ("one", "two", "three", "four")
    backends = [
        {"name": name, "type": type, "url": server.url, "models": ["local"]}
        for name, server in zip(names, servers, strict=False)
    ]
    targets = [f"{backend['name']}/local" for backend in backends]
    return {"backends": backends, "model_aliases": {"default": targets}, **sections}


@dataclass(frozen=True)
class Answer:
    """A whole HTTP answer."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of a stream; fails when an `event:` line and its data do not agree."""
        events = []
        for frame in self.body.decode().split("\n\n"):
            lines = dict(line.split(": ", 1) for line in frame.split("\n") if line and not line.startswith(":"))
            if lines:
                event = json.loads(lines["data"])
                assert event["type"] == lines["event"], frame
                events.append(event)
        return events


class Gateway:
    """`byway up`, started and stopped as a person does it."""

    def __init__(
        self,
        config: Mapping[str, Any] | str | None = None,
        *,
        model: bool = False,
        arguments: Iterable[str] = (),
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """`config` None: without a file, as on the first start. `model`: with the built-in model."""
        self.home = Path(tempfile.mkdtemp(prefix="byway-gateway-"))
        self.file = self.home / "byway.yaml"
        self.port = 0
        self.scheme = "http"
        self.lines: list[str] = []
        """The lines that it has written so far, to stdout and stderr."""
        self.reading = threading.Event()
        """While it is cleared, Byway's output is not read."""
        self.reading.set()
        self.visits: list[Callable[[], object]] = []
        """End the visits of browsers. They run before Byway stops: a page that polls would report a lost connection."""
        self._arguments = ["--port", "0", *([] if model else ["--no-model"]), *arguments]
        if config is not None:
            self.write(config)
            self._arguments += ["--config", str(self.file)]
        self._environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "BYWAY_HOME": str(self.home / "data"),
            "PYTHONPATH": str(SOURCE),
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": "1",
            **(environ or {}),
        }

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def trust(self) -> Path:
        """The certificate authority of a Byway with `server.tls: local`."""
        return self.home / "data" / "tls" / "ca.pem"

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def logs(self) -> list[dict[str, Any]]:
        """The lines that are JSON objects."""
        entries = []
        for line in list(self.lines):
            with contextlib.suppress(ValueError):
                value = json.loads(line)
                if isinstance(value, dict):
                    entries.append(value)
        return entries

    def requests(self, path: str = "/v1/messages") -> list[dict[str, Any]]:
        """The log lines of requests whose path ends in `path`."""
        entries = [line for line in self.logs if line.get("message") == "Request"]
        return [line for line in entries if line.get("path", "").endswith(path)]

    def write(self, config: Mapping[str, Any] | str) -> None:
        """Save the config as editors do: a new file, moved into place."""
        text = config if isinstance(config, str) else json.dumps(config, indent=1)
        new = self.file.with_suffix(".new")
        new.write_text(text if text.endswith("\n") else f"{text}\n")
        new.chmod(0o600)
        new.replace(self.file)

    def start(self) -> Self:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "byway", "up", *self._arguments],
            env=self._environ,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, name="gateway", daemon=True)
        self._reader.start()
        try:
            self.wait(lambda: _LISTENS.search(self.text), PATIENCE, "it prints its address")
            address = _LISTENS.search(self.text)
            assert address is not None
            self.scheme, self.port = address[1], int(address[2])
            self.wait(self._lives, PATIENCE, "/livez answers")
        except BaseException:
            self.discard()
            raise
        return self

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            self.reading.wait()

    def _lives(self) -> bool:
        try:
            return self.get("/livez").status == 200
        except OSError:
            return False

    def wait(self, met: Callable[[], object], seconds: float = PATIENCE, what: str = "it") -> None:
        """Wait until `met` is true; fails with the output of Byway after `seconds`, or when Byway ends."""
        ends = time.monotonic() + seconds
        while not met():
            gone = self.process.poll()
            assert gone is None or met(), f"byway ended with {gone} before {what}:\n{self.text}"
            assert time.monotonic() < ends, f"not within {seconds} s: {what}:\n{self.text[-4000:]}"
            time.sleep(0.01)

    def stop(self, seconds: float = PATIENCE) -> int:
        """Send SIGTERM and return the exit code; fails when Byway does not end in `seconds`."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"byway does not stop within {seconds} s:\n{self.text[-4000:]}") from None
        finally:
            self.discard()
        return code

    def kill(self) -> None:
        """Kill Byway and read the rest of its output. Its folders stay: `start` starts it again."""
        self.reading.set()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join(60)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def discard(self) -> None:
        """Kill Byway and remove its folders."""
        self.kill()
        shutil.rmtree(self.home, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for leave in self.visits:
            leave()
        if error is None:
            assert "Traceback (most recent call last)" not in self.text, self.text
            code = self.stop()
            assert code == 0, f"byway ended with {code}:\n{self.text[-4000:]}"
        else:
            self.discard()

    # ---- requests

    @contextlib.contextmanager
    def open(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """Send a request; the response can be read as it arrives, and the connection closes at the end of the `with`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        if self.scheme == "https":
            context = ssl.create_default_context(cafile=self.trust)
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=context)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            yield response
            response.close()
        finally:
            connection.close()

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        with self.open(method, path, body, headers) as response:
            names = {name.lower(): text for name, text in response.getheaders()}
            return Answer(response.status, names, response.read())

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return self.ask("GET", path, None, headers)

    def post(
        self, body: Mapping[str, Any] | bytes, path: str = "/v1/messages", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """A POST of JSON, by default to the Messages API."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask("POST", path, data, {"content-type": "application/json", **(headers or {})})
