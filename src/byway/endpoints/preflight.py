"""Checks in less than 3 seconds whether an endpoint is usable: URL, TCP, models, one streamed token, count_tokens."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Struct

from byway.backends.catalog import read_models
from byway.backends.protocol import ModelFacts
from byway.call import Call
from byway.config import TimeoutSettings
from byway.endpoints.address import check_address
from byway.endpoints.advice import Advice, explain, invalid_url, is_loading
from byway.problems import Problem
from byway.upstream.address import UpstreamAddress, proxy_for
from byway.upstream.client import Answer, Upstream

#: Seconds of all checks together.
LIMIT: Final = 2.8
#: Seconds to connect. A machine that drops packets answers never.
_CONNECT: Final = 1.0
_BODY_LIMIT: Final = 4 << 20
#: Bytes of a stream in which the first token must appear.
_STREAM_LIMIT: Final = 64 << 10
#: Byway logs the request as its own check.
_PROBE: Final = ("x-byway-probe", "preflight")
#: The model that Claude Code requests by default (measured, 2.1.329).
DEFAULT_MODEL: Final = "claude-opus-5-5"
_TOKEN: Final = (b'"content_block_delta"', b'"message_delta"', b'"message_stop"')

CheckName = Literal["url", "tcp", "models", "message", "count_tokens"]
CheckState = Literal["ok", "warning", "failed", "skipped"]
CHECKS: Final[tuple[CheckName, ...]] = ("url", "tcp", "models", "message", "count_tokens")


class PreflightCheck(Struct, frozen=True):
    """The verdict of one check."""

    name: CheckName
    state: CheckState
    """`warning`: clients work, with a limitation."""
    text: str
    ms: float = 0


class PreflightReport(Struct, frozen=True):
    """The verdicts, in order, and what the endpoint serves."""

    checks: tuple[PreflightCheck, ...]
    model: str = ""
    """The model of the test request."""
    models: dict[str, ModelFacts] = {}
    """The models that the endpoint lists; empty when it lists none."""
    advice: Advice | None = None
    """The first failure, explained; None when nothing failed."""
    ms: float = 0

    @property
    def good(self) -> bool:
        """A client can work with this endpoint."""
        return self.advice is None


class _Verdict(NamedTuple):
    state: CheckState
    text: str
    advice: Advice | None = None


_NEEDS_LOGIN: Final = _Verdict("skipped", "needs the login of Claude Code")


async def preflight(
    name: str,
    base_url: str,
    headers: Mapping[str, str],
    model: str = "",
    *,
    limit: float = LIMIT,
    environ: Mapping[str, str] = os.environ,
    needs_login: bool = False,
    extra_cas: Sequence[str] = (),
) -> PreflightReport:
    """Check the endpoint `name`. `headers` contain its credential. Raises nothing, and takes at most `limit` seconds.

    `model` is requested; without one, Claude Code's default or the first model that the endpoint lists. `needs_login`: some
    models need the client's own login, which this check does not have, so their 401 is not a failure. `extra_cas` are files of
    certificates that are trusted too.
    """
    started = time.monotonic()
    run = _Preflight(name, base_url, headers, model, started + limit, needs_login=needs_login, extra_cas=extra_cas)
    await run.all(environ)
    done = {check.name for check in run.checks}
    skipped = (PreflightCheck(check, "skipped", "not checked") for check in CHECKS if check not in done)
    order = {check: position for position, check in enumerate(CHECKS)}
    checks = sorted((*run.checks, *skipped), key=lambda check: order[check.name])
    ms = round((time.monotonic() - started) * 1000, 1)
    return PreflightReport(tuple(checks), run.model, run.models, run.advice, ms)


class _Preflight:
    """The state of one run."""

    def __init__(
        self,
        name: str,
        base_url: str,
        headers: Mapping[str, str],
        model: str,
        deadline: float,
        *,
        needs_login: bool = False,
        extra_cas: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.base_url = base_url
        self.model = model
        self.models: dict[str, ModelFacts] = {}
        self.checks: list[PreflightCheck] = []
        self.advice: Advice | None = None
        self._headers = (
            ("content-type", "application/json"),
            ("anthropic-version", "2023-06-01"),
            _PROBE,
            *headers.items(),
        )
        self._deadline = deadline
        self._needs_login = needs_login
        self._extra_cas = extra_cas

    async def all(self, environ: Mapping[str, str]) -> None:
        address = check_address(self.base_url)
        if address.state != "ok":
            advice = invalid_url(self.name, address, self.base_url)
            self._record("url", _Verdict("failed", address.objection, advice), 0)
            return
        self._record("url", _Verdict("warning" if address.warning else "ok", address.warning or self.base_url), 0)
        try:
            wait = max(0.1, self._deadline - time.monotonic())
            timeouts = TimeoutSettings(connect=wait, first_byte=wait + 1, between_chunks=wait + 1)
            upstream = Upstream(self.base_url, timeouts=timeouts, environ=environ, extra_cas=self._extra_cas)
        except Problem as problem:
            self._record("url", self._failed(problem.message), 0)
            return
        try:
            if await self._run("tcp", self._tcp(environ)):
                await self._run("models", self._list(upstream))
                if self.advice is None:
                    self.model = self.model or self._default_model()
                    await asyncio.gather(
                        self._run("message", self._message(upstream)), self._run("count_tokens", self._count(upstream))
                    )
        finally:
            await upstream.close()

    async def _run(self, name: CheckName, check: Coroutine[Any, Any, _Verdict]) -> bool:
        """Run a check within the time that is left, and record its verdict. Returns False when it failed."""
        started = time.monotonic()
        left = self._deadline - started
        if name == "tcp":
            left = min(left, _CONNECT)
        try:
            async with asyncio.timeout(max(left, 0.05)):
                result = await check
        except TimeoutError:
            result = self._timed_out(name)
        except Problem as problem:
            result = self._failed(problem.message)
        self._record(name, result, time.monotonic() - started)
        return result.state != "failed"

    def _record(self, name: CheckName, check: _Verdict, seconds: float) -> None:
        self.checks.append(PreflightCheck(name, check.state, check.text, round(seconds * 1000, 1)))
        if check.state == "failed" and (self.advice is None or name == "message"):
            self.advice = check.advice

    def _failed(self, text: str, status: int | None = None) -> _Verdict:
        advice = explain(self.name, self.base_url, text, status)
        return _Verdict("failed", advice.summary, advice)

    def _timed_out(self, name: CheckName) -> _Verdict:
        if name == "tcp":
            return self._failed("timed out")
        # A local model that is loading, or is busy with a long prompt, answers later.
        return _Verdict(
            "warning", "no answer yet; the server may be loading a model" if name == "message" else "no answer yet"
        )

    # ---------------------------------------------------------------------------------------------------------- checks

    async def _tcp(self, environ: Mapping[str, str]) -> _Verdict:
        address = UpstreamAddress(self.base_url)
        try:
            proxy = proxy_for(address, None, environ)
        except ValueError as error:
            return self._failed(str(error))
        host, port = (proxy.host, proxy.port) if proxy else (address.host, address.port)
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError as error:
            # A loop lists the failures of several addresses in one text of its own.
            refused = isinstance(error, ConnectionRefusedError) or "Connect call failed" in str(error)
            return self._failed("connection refused" if refused else error.strerror or str(error))
        writer.close()
        return _Verdict("ok", f"connected{f' through the proxy {proxy.shown}' if proxy else ''}")

    async def _list(self, upstream: Upstream) -> _Verdict:
        answer = await upstream.open(Call("GET", "/v1/models?limit=1000", self._headers, b""))
        status, body = await _content(answer)
        if status in (401, 403):
            return self._failed(body, status)
        try:
            self.models = read_models(body.encode()) if status == 200 else {}
        except Problem:
            # A page of a portal answers every path.
            if body.lstrip()[:1] == "<":
                return self._failed(body, status)
        if not self.models:
            reason = "lists no models" if status == 200 else f"no list of models (status {status})"
            return _Verdict("warning", f"{reason}; clients show their built-in list")
        return _Verdict("ok", f"{len(self.models)} listed")

    async def _message(self, upstream: Upstream) -> _Verdict:
        body = {**self._prompt(), "max_tokens": 1, "stream": True}
        call = Call("POST", "/v1/messages", self._headers, msgspec.json.encode(body))
        answer = await upstream.open(call)
        if answer.status != 200:
            status, text = await _content(answer)
            if status == 401 and self._needs_login:
                # The list of models has shown that Byway accepts our key.
                return _NEEDS_LOGIN
            if 300 <= status < 400:
                return self._failed("<html>a redirect", status)
            if status in (503, 529) and is_loading(text):
                return _Verdict("warning", "the server is loading its model; the first answer takes longer")
            return self._failed(text, status)
        received = b""
        try:
            while len(received) < _STREAM_LIMIT:
                chunk = await answer.read()
                if not chunk:
                    break
                received += chunk
                if b'"type":"error"' in received.replace(b" ", b""):
                    return self._failed(_error_event(received), 500)
                if any(mark in received for mark in _TOKEN):
                    return _Verdict("ok", f"{self.model} answers")
        finally:
            answer.close()
        return self._failed(received.decode(errors="replace") or "empty or malformed response", 200)

    async def _count(self, upstream: Upstream) -> _Verdict:
        call = Call("POST", "/v1/messages/count_tokens", self._headers, msgspec.json.encode(self._prompt()))
        answer = await upstream.open(call)
        status, text = await _content(answer)
        if status == 200 and '"input_tokens"' in text:
            return _Verdict("ok", "available")
        if status == 401 and self._needs_login:
            return _NEEDS_LOGIN
        return _Verdict("warning", f"not available (status {status}); clients estimate")

    def _prompt(self) -> dict[str, Any]:
        return {"model": self.model, "messages": [{"role": "user", "content": "Hi"}]}

    def _default_model(self) -> str:
        """The model that a client requests when none is chosen: Claude Code's own, where the endpoint may serve it."""
        if not self.models or DEFAULT_MODEL in self.models:
            return DEFAULT_MODEL
        claude = [model for model in self.models if "claude" in model.lower()]
        return next(iter(claude or self.models))


async def _content(answer: Answer) -> tuple[int, str]:
    """The status and text of a whole answer. Raises Problem."""
    try:
        return answer.status, (await answer.body(_BODY_LIMIT)).decode(errors="replace")
    finally:
        answer.close()


def _error_event(received: bytes) -> str:
    """The data of the event that contains an error."""
    for line in received.decode(errors="replace").splitlines():
        if line.startswith("data:") and '"error"' in line:
            return line.removeprefix("data:").strip()
    return received.decode(errors="replace")
