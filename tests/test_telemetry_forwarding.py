"""Telemetry of clients on its way to a collector: what is removed, what is dropped, and that no client waits."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from growth import assert_linear
from test_signin import CONFIG, Wire

from byway.admin import telemetry
from byway.admin.telemetry import TelemetryCollector, TelemetryExport
from byway.config import ConfigError, TelemetrySettings, load
from byway.config.editing import meaning
from byway.config.masking import mask_secrets
from byway.config.restrictions import unbound_secrets
from byway.gateway import Gateway
from byway.runtime import Runtime
from byway.signin.otlp import without_prompts
from byway.signin.telemetry import ForwardingCounts

PROMPT: Final = "the secret prompt"


def field(number: int, value: bytes) -> bytes:
    """A field of protobuf with bytes."""
    size, output = len(value), bytearray([number << 3 | 2])
    while size > 0x7F:
        output.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes(output) + bytes([size]) + value


def record(name: str, *attributes: tuple[str, str]) -> bytes:
    """A log record of protobuf, as Claude Code sends it."""
    pairs = (("event.name", name), *attributes)
    body = field(5, field(1, f"claude_code.{name}".encode())) if name else b""
    return body + b"".join(
        field(6, field(1, key.encode()) + field(2, field(1, value.encode()))) for key, value in pairs
    )


def logs(*records: bytes, before: bytes = b"") -> bytes:
    """Logs of protobuf."""
    return field(1, before + field(2, b"".join(field(2, each) for each in records)))


def json_record(name: str, **attributes: str) -> dict[str, Any]:
    pairs = {"event.name": name, **attributes}
    return {
        "body": {"stringValue": f"claude_code.{name}"},
        "attributes": [{"key": key, "value": {"stringValue": value}} for key, value in pairs.items()],
    }


def json_logs(*records: dict[str, Any]) -> bytes:
    return json.dumps({"resourceLogs": [{"resource": {}, "scopeLogs": [{"logRecords": records}]}]}).encode()


class Collector:
    """A collector on loopback."""

    def __init__(self) -> None:
        self.url = ""
        self.received: list[tuple[str, dict[str, str], bytes]] = []
        self.status = 200
        self.answers = asyncio.Event()
        self.answers.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
                body = await reader.readexactly(int(headers["content-length"]))
                self.received.append((lines[0], headers, body))
                await self.answers.wait()
                writer.write(b"HTTP/1.1 %d X\r\ncontent-length: 2\r\n\r\n{}" % self.status)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def listening() -> AsyncIterator[Collector]:
    collector = Collector()
    server = await asyncio.start_server(collector.serve, "127.0.0.1", 0)
    collector.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield collector
    finally:
        collector.answers.set()
        server.close()


def forwarded(*exports: TelemetryExport, status: int = 200, **settings: Any) -> tuple[Collector, ForwardingCounts]:
    """What a collector gets of these requests."""

    async def run() -> tuple[Collector, ForwardingCounts]:
        counts = ForwardingCounts()
        async with listening() as collector:
            collector.status = status
            sender = TelemetryCollector(TelemetrySettings(forward=collector.url, **settings), counts)
            for export in exports:
                sender.add(export)
            await sender.close(60)
        return collector, counts

    return asyncio.run(run())


# ------------------------------------------------------------------------------------------------------------- filtering


def test_prompt_events_are_removed_from_protobuf_logs() -> None:
    kept = record("api_request", ("model", "big"))
    body = logs(
        kept, record("user_prompt", ("prompt", PROMPT)), record("", ("tool_input", PROMPT)), before=field(1, b"")
    )
    result = without_prompts(body, is_json=False)
    assert result == (logs(kept, before=field(1, b"")), 2)


def test_prompt_events_are_removed_from_json_logs() -> None:
    kept = json_record("api_request", model="big")
    body = json_logs(kept, json_record("user_prompt", prompt=PROMPT), json_record("other", response=PROMPT))
    result = without_prompts(body, is_json=True)
    assert (json.loads(result.body), result.removed) == (json.loads(json_logs(kept)), 2)


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"resource_logs": [PROMPT], "resourceLogs": [{"scope_logs": [PROMPT]}]}).encode(),
        field(3, PROMPT.encode()) + field(1, field(4, PROMPT.encode())),
    ],
)
def test_unknown_fields_of_logs_are_removed(body: bytes) -> None:
    assert PROMPT.encode() not in without_prompts(body, is_json=body.startswith(b"{")).body


@pytest.mark.parametrize("body", [b"\x0a\x7f\x00", b"\x0b", b"\x00\x00", b"\xff" * 20, logs(b"\x32\x09"), b"\x09\x00"])
def test_malformed_protobuf_is_an_error(body: bytes) -> None:
    with pytest.raises(ValueError, match="no logs of OTLP"):
        without_prompts(body, is_json=False)


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"resourceLogs": [1]}', b"[" * 100_000, b'{"resourceLogs": 1}', b"\xff"]
)
def test_malformed_json_is_an_error(body: bytes) -> None:
    with pytest.raises(ValueError):
        without_prompts(body, is_json=True)


def test_filtering_takes_linear_time() -> None:
    assert_linear(lambda size: logs(*[record("api_request")] * size), lambda body: without_prompts(body, is_json=False))


# ------------------------------------------------------------------------------------------------------------ forwarding


def test_metrics_and_logs_are_forwarded_without_prompt_events() -> None:
    collector, counts = forwarded(
        TelemetryExport("metrics", True, b'{"resourceMetrics":[]}'),
        TelemetryExport("logs", False, logs(record("user_prompt", ("prompt", PROMPT)), record("api_request"))),
        headers={"authorization": "Bearer t", "content-type": "text/plain"},
    )
    assert [(line, body) for line, _, body in collector.received] == [
        ("POST /v1/metrics HTTP/1.1", b'{"resourceMetrics":[]}'),
        ("POST /v1/logs HTTP/1.1", logs(record("api_request"))),
    ]
    kinds = [(headers["content-type"], headers["authorization"]) for _, headers, _ in collector.received]
    assert kinds == [("application/json", "bearer t"), ("application/x-protobuf", "bearer t")]
    assert counts == ForwardingCounts(forwarded=2, prompt_events=1)


def test_logs_that_cannot_be_read_are_refused() -> None:
    collector, counts = forwarded(
        TelemetryExport("logs", False, b"\x0a\x7f"),
        TelemetryExport("logs", True, b"{"),
        TelemetryExport("logs", False, bytes(telemetry._LARGEST_LOGS + 1)),
    )
    assert not collector.received and counts == ForwardingCounts(refused=3)


def test_requests_that_the_collector_refuses_are_dropped() -> None:
    _, counts = forwarded(TelemetryExport("metrics", True, b"{}"), status=503)
    assert counts == ForwardingCounts(dropped=1)


def test_a_dead_collector_drops_requests() -> None:
    async def run() -> ForwardingCounts:
        counts = ForwardingCounts()
        async with listening() as collector:
            pass
        sender = TelemetryCollector(TelemetrySettings(forward=collector.url), counts)
        sender.add(TelemetryExport("metrics", True, b"{}"))
        await sender.close(60)
        return counts

    assert asyncio.run(run()) == ForwardingCounts(dropped=1)


@pytest.mark.parametrize(("limit", "size"), [("MOST_WAITING", 3), ("MOST_BYTES", 6)])
def test_a_full_queue_drops_requests_and_a_stop_is_bounded(
    monkeypatch: pytest.MonkeyPatch, limit: str, size: int
) -> None:
    monkeypatch.setattr(telemetry, limit, size)

    async def run() -> tuple[int, int]:
        counts = ForwardingCounts()
        async with listening() as collector:
            collector.answers.clear()
            sender = TelemetryCollector(TelemetrySettings(forward=collector.url), counts)
            for _ in range(5):
                sender.add(TelemetryExport("metrics", True, b"{}"))
            full = counts.dropped
            await sender.close(0.01)
        return full, counts.dropped

    assert asyncio.run(run()) == (2, 5)


def test_a_reload_sends_what_waits_and_uses_the_new_collector() -> None:
    async def run() -> tuple[int, int, bool]:
        async with listening() as first, listening() as second:
            configs = [load(f"{CONFIG}telemetry: {{forward: '{each.url}'}}\n", {}) for each in (first, second)]
            gateway = Gateway(Runtime(configs[0]))
            for config in (*configs, configs[1]):
                assert gateway.collector is not None
                gateway.collector.add(TelemetryExport("metrics", True, b"{}"))
                await gateway.set_telemetry(config.telemetry)
            await gateway.set_telemetry(TelemetrySettings())
            return len(first.received), len(second.received), gateway.collector is None

    assert asyncio.run(run()) == (2, 1, True)


# -------------------------------------------------------------------------------------------------------------- requests


class Packed(str):
    """A body that is sent compressed."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return gzip.compress(super().encode(encoding, errors), mtime=0)


class Recording(TelemetryCollector):
    """A collector that keeps what waits."""

    def __init__(self, counts: ForwardingCounts) -> None:
        super().__init__(TelemetrySettings(forward="http://127.0.0.1:9"), counts)
        self.exports: list[TelemetryExport] = []

    def add(self, export: TelemetryExport) -> None:
        self.exports.append(export)


def test_requests_of_clients_wait_decompressed_and_traces_do_not(tmp_path: Path) -> None:
    wire = Wire(tmp_path)
    try:
        wire.gateway.collector = recording = Recording(wire.gateway.forwarding)
        for signal, body, more in (
            ("logs", "{}", {"content_type": "application/json; charset=utf-8"}),
            ("metrics", "\x0a\x00", {"content_type": "application/x-protobuf"}),
            ("traces", "{}", {"content_type": "application/json", "content_encoding": "gzip"}),
            ("logs", "{}", {"content_type": "text/plain"}),
        ):
            assert wire.client("POST", f"/v1/{signal}", body=body, **more)[0] == 200
        assert recording.exports == [
            TelemetryExport("logs", True, b"{}"),
            TelemetryExport("metrics", False, b"\x0a\x00"),
        ]
        more = {"content_type": "application/json", "content_encoding": "gzip"}
        assert wire.client("POST", "/v1/logs", body=Packed("{}"), **more)[0] == 200
        assert recording.exports[2:] == [TelemetryExport("logs", True, b"{}")]
        assert wire.client("POST", "/v1/logs", body="not gzip", **more)[0] == 400
        shown = json.loads(wire.call("GET", "/byway/status", "", {"accept": "application/json"}).html)
        assert shown["telemetry_forwarding"] == {"forwarded": 0, "dropped": 0, "refused": 2, "prompt_events": 0}
    finally:
        wire.close()


# -------------------------------------------------------------------------------------------------------------- settings


def test_local_only_refuses_a_remote_collector() -> None:
    with pytest.raises(ConfigError, match=r"telemetry\.forward.*local_only"):
        load(f"{CONFIG}local_only: true\ntelemetry: {{forward: 'https://collector.example.org'}}\n", {})
    load(f"{CONFIG}local_only: true\ntelemetry: {{forward: 'http://127.0.0.1:4318'}}\n", {})


def test_a_variable_that_is_not_set_disables_forwarding() -> None:
    text = f"{CONFIG}telemetry: {{forward: 'http://127.0.0.1:4318/v1/', headers: {{authorization: '${{TOKEN}}'}}}}\n"
    assert Gateway(Runtime(load(text, {}))).collector is None
    config = load(text, {"TOKEN": "a-long-secret"})
    assert config.telemetry.forward == "http://127.0.0.1:4318" and "a-long-secret" in config.secrets
    assert "a-long-secret" not in repr(config.telemetry)
    assert Gateway(Runtime(config)).collector is not None


def test_the_token_of_a_collector_is_masked_and_bound_to_its_server() -> None:
    text = f"{CONFIG}telemetry: {{forward: 'http://127.0.0.1:4318', headers: {{authorization: a-long-secret}}}}\n"
    assert "a-long-secret" not in mask_secrets(text).text
    assert unbound_secrets(meaning(text), meaning(text.replace("127.0.0.1:4318", "127.0.0.2:4318")))
