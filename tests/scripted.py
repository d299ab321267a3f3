"""A model server that says what a test tells it to: OpenAI chat completions, Responses and Anthropic Messages, on loopback.

Made by hand on raw sockets, so that every fault is exact to the byte and the moment a peer leaves is known.
"""

from __future__ import annotations

import asyncio
import enum
import gzip
import json
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

SSE: Final = "text/event-stream"
JSON: Final = "application/json"


class Wait(float):
    """So many seconds of silence."""


class Gate(threading.Event):
    """Silence until the test calls `set()`."""


class End(enum.Enum):
    """How a connection ends otherwise than the protocol wants."""

    CLOSE = "the socket is closed, the body is not finished"
    RESET = "the peer is sent an RST"
    HANG = "nothing more comes until the peer leaves"


Step = bytes | Wait | Gate | End
#: The ends of the paths that a script answers.
_MODEL_PATHS: Final = (
    *(
        "/chat/completions",
        "/messages",
        "/responses",
        "/embeddings",
        "/completions",
        "/rerank",
        "/moderations",
        "/speech",
    ),
    *("/images/generations", "/images/edits", "/images/variations", "/audio/transcriptions", "/audio/translations"),
)


@dataclass(frozen=True)
class Asked:
    """One request, as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    at: float
    """`time.monotonic()` at its last byte."""
    connection: Connection

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def stream(self) -> bool:
        return bool(self.json.get("stream"))

    @property
    def anthropic(self) -> bool:
        return self.path.partition("?")[0].endswith("/messages")

    @property
    def responses(self) -> bool:
        return self.path.partition("?")[0].endswith("/responses")

    def left(self, seconds: float = 60.0) -> float:
        """When the peer closed the connection (`time.monotonic()`); fails when it has not after `seconds`."""
        if not self.connection.left.wait(seconds):
            raise AssertionError(f"the peer still holds the connection of {self.method} {self.path} after {seconds} s")
        return self.connection.left_at

    @property
    def held(self) -> bool:
        """The peer has not closed the connection."""
        return not self.connection.left.is_set()


@dataclass(frozen=True)
class Reply:
    """An answer, byte by byte: `steps` are the pieces of the body, each written on its own."""

    status: int = 200
    """0: there is no head, only the steps."""
    steps: tuple[Step, ...] = ()
    kind: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    wait: float = 0.0
    """Seconds before the head."""
    gzip: bool = False
    chunked: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(step for step in self.steps if isinstance(step, bytes))


@dataclass(frozen=True)
class Tool:
    """A tool call. `pieces` is how many pieces its arguments come in."""

    name: str
    input: Mapping[str, Any]
    id: str | None = None
    pieces: int = 3


Edit = Callable[[list[Step]], list[Step]]


@dataclass(frozen=True)
class Say:
    """An answer of a model, in whichever protocol it is asked for; `edit` breaks it."""

    text: str | Sequence[str] = ""
    """A string comes word by word, a list piece by piece."""
    tools: Sequence[Tool] = ()
    thinking: str = ""
    tokens: tuple[int, int] | None = (100, 20)
    """Prompt and answer; None: the server does not say."""
    stop: str | None = None
    """The finish reason in the server's own words; None: the natural one."""
    gap: float = 0.0
    """Seconds between two events."""
    wait: float = 0.0
    """Seconds before the head."""
    done: bool = True
    """`data: [DONE]` at the end."""
    gzip: bool = False
    woven: bool = False
    """The pieces of parallel calls come in turn, as some servers send them."""
    headers: Mapping[str, str] = field(default_factory=dict)
    edit: Edit | None = None
    """Changes the steps of a streamed answer."""

    @property
    def parts(self) -> list[str]:
        if not isinstance(self.text, str):
            return list(self.text)
        words = self.text.split(" ")
        return [word + " " for word in words[:-1]] + words[-1:] if self.text else []


Script = Sequence[Reply | Say] | Callable[[Asked], Reply | Say]


# -------------------------------- breaking it


def cut(after: int, end: Step | None = End.CLOSE) -> Edit:
    """Only the first `after` events, then `end`; None: the body ends there, politely framed."""
    return lambda steps: [*steps[:after], *([] if end is None else [end])]


def put(at: int, *steps: Step) -> Edit:
    """`steps` before event number `at`."""
    return lambda before: [*before[:at], *steps, *before[at:]]


def without(needle: bytes) -> Edit:
    """Every event that contains `needle` is left out."""
    return lambda steps: [step for step in steps if not (isinstance(step, bytes) and needle in step)]


# -------------------------------- errors, in their words


def json_reply(status: int, body: Any, **headers: str) -> Reply:
    """A JSON answer. Header names are given with underscores: `retry_after="2"`."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, (json.dumps(body).encode(),), headers=names)


def openai_error(status: int, message: str, type: str, code: str | None = None, **headers: str) -> Reply:
    """OpenAI, and those that copy it."""
    return json_reply(status, {"error": {"message": message, "type": type, "param": None, "code": code}}, **headers)


def llamacpp_error(status: int, message: str, type: str, **numbers: int) -> Reply:
    return json_reply(status, {"error": {"code": status, "message": message, "type": type, **numbers}})


def llamacpp_overflow(prompt: int, window: int) -> Reply:
    """llama.cpp b11549, recorded: 400 before any event, streaming or not."""
    return llamacpp_error(
        400,
        f"request ({prompt} tokens) exceeds the available context size ({window} tokens), try increasing it",
        "exceed_context_size_error",
        n_prompt_tokens=prompt,
        n_ctx=window,
    )


def vllm_error(status: int, message: str, type: str = "BadRequestError") -> Reply:
    """vLLM before 0.10: no `error` around it."""
    return json_reply(status, {"object": "error", "message": message, "type": type, "param": None, "code": status})


def vllm_overflow(prompt: int, answer: int, window: int) -> Reply:
    return vllm_error(
        400,
        f"This model's maximum context length is {window} tokens. However, you requested {prompt + answer} tokens "
        f"({prompt} in the messages, {answer} in the completion). "
        "Please reduce the length of the messages or completion.",
    )


def ollama_error(status: int, message: str) -> Reply:
    return json_reply(status, {"error": {"message": message, "type": "api_error", "param": None, "code": None}})


def detail(status: int, text: Any) -> Reply:
    """FastAPI's default, as `transformers serve` and many small servers have it."""
    return json_reply(status, {"detail": text})


def anthropic_error(status: int, type: str, message: str, **headers: str) -> Reply:
    body = {"type": "error", "error": {"type": type, "message": message}, "request_id": "req_upstream"}
    return json_reply(status, body, **headers)


def page(status: int, title: str = "502 Bad Gateway") -> Reply:
    """A reverse proxy's page."""
    html = f"<html>\r\n<head><title>{title}</title></head>\r\n<body><h1>{title}</h1><hr>nginx/1.22.1</body>\r\n</html>"
    return Reply(status, (html.encode(),), kind="text/html")


def sse(*events: Any, done: bool = False) -> Reply:
    """A stream of these chunks: objects, or text to stand behind `data: ` as it is."""
    steps = [_data(event if isinstance(event, str) else json.dumps(event)) for event in events]
    return Reply(200, (*steps, *([_data("[DONE]")] if done else [])), kind=SSE, chunked=True)


# -------------------------------- saying it: OpenAI


def _data(text: str) -> bytes:
    return f"data: {text}\n\n".encode()


def _cut_up(text: str, pieces: int) -> list[str]:
    size = max(1, -(-len(text) // pieces))
    return [text[at : at + size] for at in range(0, len(text), size)]


def _calls(say: Say) -> list[dict[str, Any]]:
    """The deltas of the tool calls, in the order of sending."""
    calls: list[list[dict[str, Any]]] = []
    for at, tool in enumerate(say.tools):
        head = {
            "index": at,
            "id": tool.id or f"call_{at}_{tool.name}",
            "type": "function",
            "function": {"name": tool.name, "arguments": ""},
        }
        rest = _cut_up(json.dumps(tool.input), tool.pieces)
        calls.append([head, *({"index": at, "function": {"arguments": piece}} for piece in rest)])
    if not say.woven:
        return [piece for call in calls for piece in call]
    longest = max((len(call) for call in calls), default=0)
    return [call[at] for at in range(longest) for call in calls if at < len(call)]


def _usage(say: Say) -> dict[str, int] | None:
    if say.tokens is None:
        return None
    prompt, answer = say.tokens
    return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}


def _openai(say: Say, request: Asked) -> Reply:
    reason = say.stop or ("tool_calls" if say.tools else "stop")
    about = {
        "id": "chatcmpl-scripted",
        "created": 1,
        "model": request.json.get("model"),
        "system_fingerprint": "scripted",
    }
    if not request.stream:
        message: dict[str, Any] = {"role": "assistant", "content": "".join(say.parts) or None}
        if say.thinking:
            message["reasoning_content"] = say.thinking
        if say.tools:
            message["tool_calls"] = [
                {
                    "id": tool.id or f"call_{at}_{tool.name}",
                    "type": "function",
                    "function": {"name": tool.name, "arguments": json.dumps(tool.input)},
                }
                for at, tool in enumerate(say.tools)
            ]
        choice = {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}
        body = {**about, "object": "chat.completion", "choices": [choice], "usage": _usage(say)}
        return Reply(200, (json.dumps(body).encode(),), headers=say.headers, wait=say.wait, gzip=say.gzip)
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": None}]
    deltas += [{"reasoning_content": piece} for piece in _cut_up(say.thinking, 2)]
    deltas += [{"content": part} for part in say.parts]
    deltas += [{"tool_calls": [piece]} for piece in _calls(say)]
    choices: list[list[dict[str, Any]]] = [[{"index": 0, "delta": delta, "finish_reason": None}] for delta in deltas]
    choices.append([{"index": 0, "delta": {}, "finish_reason": reason}])
    chunks: list[dict[str, Any]] = [{**about, "object": "chat.completion.chunk", "choices": value} for value in choices]
    if say.tokens is not None and (request.json.get("stream_options") or {}).get("include_usage"):
        chunks.append({**about, "object": "chat.completion.chunk", "choices": [], "usage": _usage(say)})
    steps: list[Step] = [_data(json.dumps(chunk)) for chunk in chunks]
    if say.done:
        steps.append(_data("[DONE]"))
    return _streamed(say, steps)


def _streamed(say: Say, steps: list[Step]) -> Reply:
    if say.gap:
        steps = [step for value in steps for step in (value, Wait(say.gap))]
    if say.edit is not None:
        steps = say.edit(steps)
    return Reply(200, tuple(steps), kind=SSE, headers=say.headers, wait=say.wait, gzip=say.gzip, chunked=True)


# -------------------------------- saying it: Anthropic

_REASONS: Final = {"stop": "end_turn", "tool_calls": "tool_use", "length": "max_tokens"}


def _blocks(say: Say) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if say.thinking:
        blocks.append({"type": "thinking", "thinking": say.thinking, "signature": "c2lnbmVk"})
    if say.parts:
        blocks.append({"type": "text", "text": "".join(say.parts)})
    for at, tool in enumerate(say.tools):
        id = tool.id or f"toolu_{at}_{tool.name}"
        blocks.append({"type": "tool_use", "id": id, "name": tool.name, "input": dict(tool.input)})
    return blocks


def _anthropic(say: Say, request: Asked) -> Reply:
    reason = _REASONS.get(say.stop or "", say.stop) or ("tool_use" if say.tools else "end_turn")
    prompt, answer = say.tokens or (0, 0)
    message: dict[str, Any] = {
        "id": "msg_scripted",
        "type": "message",
        "role": "assistant",
        "model": request.json.get("model"),
        "content": _blocks(say),
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {"input_tokens": prompt, "output_tokens": answer},
    }
    if not request.stream:
        return Reply(200, (json.dumps(message).encode(),), headers=say.headers, wait=say.wait, gzip=say.gzip)
    usage = {"input_tokens": prompt, "output_tokens": 1}
    begun = {**message, "content": [], "stop_reason": None, "usage": usage}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": begun}]
    for index, block in enumerate(message["content"]):
        empty, deltas = _deltas(block, say)
        events.append({"type": "content_block_start", "index": index, "content_block": empty})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    end = {"stop_reason": reason, "stop_sequence": None}
    events.append({"type": "message_delta", "delta": end, "usage": {"output_tokens": answer}})
    events.append({"type": "message_stop"})
    return _streamed(say, [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events])


def _deltas(block: dict[str, Any], say: Say) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A block as it starts, and what fills it."""
    match block["type"]:
        case "text":
            return {**block, "text": ""}, [{"type": "text_delta", "text": part} for part in say.parts]
        case "thinking":
            messages = [{"type": "thinking_delta", "thinking": piece} for piece in _cut_up(block["thinking"], 2)]
            signed = {"type": "signature_delta", "signature": block["signature"]}
            return {**block, "thinking": "", "signature": ""}, [*messages, signed]
        case _:
            pieces = _cut_up(json.dumps(block["input"]), 3)
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]


def _responses(say: Say, request: Asked) -> Reply:
    """An answer of the Responses API. `gap`, `edit` and `stop` work as for the others, except for the words of `stop`."""
    # Its types are pydantic models, which take long to import.
    import responsesfake

    output = [responsesfake.reasoning(say.thinking)] if say.thinking else []
    if say.parts:
        output.append(responsesfake.message("".join(say.parts)))
    for at, tool in enumerate(say.tools):
        output.append(responsesfake.call(tool.id or f"call_{at}_{tool.name}", tool.name, json.dumps(dict(tool.input))))
    prompt, answer = say.tokens or (0, 0)
    usage = {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": answer,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + answer,
    }
    ending: dict[str, Any] = {"usage": usage}
    if say.stop == "length":
        ending |= {"incomplete_details": {"reason": "max_output_tokens"}}
    status = "incomplete" if say.stop == "length" else "completed"
    if not request.stream:
        return Reply(200, (responsesfake.whole(*output, status=status, **ending),), headers=say.headers, wait=say.wait)
    events = responsesfake.stream(*output, end=status, **ending)
    return _streamed(say, [responsesfake.joined([event]) for event in events])


# -------------------------------- the server


class Scripted:
    """The server, in a thread of its own: `with Scripted([Say("hello")]) as server: ... server.url`.

    `script` answers the requests to a model, in order or by a function (called on the server's loop: it must not wait);
    everything else is answered as a small llama.cpp would. A script that runs out answers 500 and fails the test at the
    end of the `with`.
    """

    def __init__(
        self,
        script: Script = (),
        *,
        models: Iterable[str] = ("local",),
        window: int | None = None,
        count: int | None = None,
    ) -> None:
        """`window`: `/props` says so. `count`: what `count_tokens` answers; None: 404."""
        self.script = script
        self.models = tuple(models)
        self.window = window
        self.count = count
        self.requests: list[Asked] = []
        """Those to a model, in the order of coming."""
        self.others: list[Asked] = []
        """Model lists, properties, and whatever else."""
        self.connections: list[Connection] = []
        self._next = 0
        self._failure: BaseException | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="scripted", daemon=True)
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def last(self) -> Asked:
        return self.requests[-1]

    def wait_for(self, count: int, seconds: float = 60.0) -> Asked:
        """The request number `count` (from 1), as soon as it has come."""
        ends = time.monotonic() + seconds
        while len(self.requests) < count:
            assert time.monotonic() < ends, f"{len(self.requests)} of {count} requests came in {seconds} s"
            time.sleep(0.002)
        return self.requests[count - 1]

    def play(self, script: Script) -> Self:
        """Begin a new script, and forget what was asked before."""
        self.script = script
        self._next = 0
        self.requests.clear()
        self.others.clear()
        return self

    def check(self) -> None:
        """Fail when the script did: it ran out, or raised."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def start(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(60)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if error is None:
            self.check()

    async def _listen(self) -> asyncio.Server:
        return await self._loop.create_server(lambda: Connection(self), "127.0.0.1", 0, backlog=512)

    async def _close(self) -> None:
        self._server.close()
        tasks = [connection.task for connection in self.connections if connection.task is not None]
        for value in self.connections:
            value.transport.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # A moment for the transports to say that they are closed.
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def answer(self, request: Asked) -> Reply:
        """The reply to one request; keeps it."""
        path = request.path.partition("?")[0]
        if request.method == "POST" and path.endswith(_MODEL_PATHS):
            self.requests.append(request)
            try:
                text = self._reply_of(request)
                if isinstance(text, Reply):
                    return text
                if request.responses:
                    return _responses(text, request)
                return _anthropic(text, request) if request.anthropic else _openai(text, request)
            except Exception as error:
                self._failure = self._failure or error
                return llamacpp_error(500, f"the script failed: {error!r}", "server_error")
        self.others.append(request)
        if request.method == "GET" and path.endswith("/v1/models"):
            listed = [{"id": id, "object": "model", "created": 1, "owned_by": "scripted"} for id in self.models]
            return json_reply(200, {"object": "list", "data": listed})
        if path.endswith("/props") and self.window is not None:
            return json_reply(200, {"default_generation_settings": {"n_ctx": self.window}, "total_slots": 1})
        if path.endswith("/count_tokens") and self.count is not None:
            return json_reply(200, {"input_tokens": self.count})
        return llamacpp_error(404, "File Not Found", "not_found_error")

    def _reply_of(self, request: Asked) -> Reply | Say:
        if callable(self.script):
            return self.script(request)
        if self._next >= len(self.script):
            raise AssertionError(f"the script has only {len(self.script)} replies, and one more request came")
        self._next += 1
        return self.script[self._next - 1]


class ScriptedPages(Scripted):
    """A scripted server that also answers at other paths: `pages` maps a path to JSON, or to the status of an error."""

    def __init__(self, pages: dict[str, Any], **options: Any) -> None:
        super().__init__(**options)
        self.pages = pages

    def answer(self, request: Asked) -> Reply:
        page = self.pages.get(request.path.partition("?")[0])
        if page is None:
            return super().answer(request)
        self.others.append(request)
        return json_reply(page, {"error": {"message": "no"}}) if isinstance(page, int) else json_reply(200, page)

    def received(self, path: str) -> list[Asked]:
        """The requests to `path`, their queries left out."""
        return [request for request in self.others if request.path.partition("?")[0] == path]


class Connection(asyncio.Protocol):
    """One connection: requests in, replies out, and the moment when the peer left."""

    transport: asyncio.Transport

    def __init__(self, server: Scripted) -> None:
        self._server = server
        self._data = bytearray()
        self._more = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.left = threading.Event()
        self.left_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server.connections.append(self)
        self.task = asyncio.get_running_loop().create_task(self._serve())

    def data_received(self, data: bytes) -> None:
        self._data += data
        self._more.set()

    def eof_received(self) -> bool:
        self._leave()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._leave()

    def _leave(self) -> None:
        if not self.left.is_set():
            self.left_at = time.monotonic()
            self.left.set()
        if self.task is not None:
            self.task.cancel()

    async def _serve(self) -> None:
        while True:
            request = await self._request()
            if not await self._send(self._server.answer(request), body=request.method != "HEAD"):
                return

    async def _until(self, items: Callable[[], int]) -> int:
        while (at := items()) < 0:
            self._more.clear()
            await self._more.wait()
        return at

    async def _take(self, size: int) -> bytes:
        await self._until(lambda: 0 if len(self._data) >= size else -1)
        taken = bytes(self._data[:size])
        del self._data[:size]
        return taken

    async def _line(self) -> str:
        at = await self._until(lambda: self._data.find(b"\r\n"))
        return (await self._take(at + 2))[:-2].decode("latin-1")

    async def _request(self) -> Asked:
        method, path, _ = (await self._line()).split(" ")
        headers: dict[str, str] = {}
        while line := await self._line():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        if "transfer-encoding" in headers:
            body = b""
            while size := int(await self._line(), 16):
                body += await self._take(size)
                await self._line()
            await self._line()
        else:
            body = await self._take(int(headers.get("content-length", 0)))
        return Asked(method, path, headers, body, time.monotonic(), self)

    async def _send(self, reply: Reply, body: bool = True) -> bool:
        """Write a reply, to a HEAD without its body; False: the connection is over."""
        if reply.wait:
            await asyncio.sleep(reply.wait)
        steps = list(reply.steps)
        headers = {"content-type": reply.kind, **reply.headers}
        squeeze = zlib.compressobj(wbits=31) if reply.gzip and reply.chunked else None
        if reply.gzip:
            headers["content-encoding"] = "gzip"
            if not reply.chunked:
                steps = [gzip.compress(reply.body)]
        if reply.chunked:
            headers["transfer-encoding"] = "chunked"
        elif "content-length" not in headers:
            headers["content-length"] = str(sum(len(step) for step in steps if isinstance(step, bytes)))
        head = f"HTTP/1.1 {reply.status} Scripted\r\n" + "".join(
            f"{name}: {text}\r\n" for name, text in headers.items()
        )
        if reply.status:
            self.transport.write(head.encode() + b"\r\n")
        if not body:
            return True
        for step in steps:
            match step:
                case bytes():
                    if squeeze is not None:
                        step = squeeze.compress(step) + squeeze.flush(zlib.Z_SYNC_FLUSH)
                    self.transport.write(b"%x\r\n%b\r\n" % (len(step), step) if reply.chunked else step)
                    # Each step is a write of its own, and the peer gets a chance to read it as such.
                    await asyncio.sleep(0)
                case Gate():
                    while not step.is_set():  # noqa: ASYNC110 - another thread opens it
                        await asyncio.sleep(0.002)
                case Wait():
                    await asyncio.sleep(step)
                case End.HANG:
                    await asyncio.Event().wait()
                case End.CLOSE:
                    self.transport.close()
                    return False
                case End.RESET:
                    # Without the linger of 0 a close would be an orderly FIN.
                    linger = struct.pack("ii", 1, 0)
                    self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    self.transport.abort()
                    return False
        if reply.chunked:
            last = squeeze.flush() if squeeze is not None else b""
            self.transport.write((b"%x\r\n%b\r\n" % (len(last), last) if last else b"") + b"0\r\n\r\n")
        if headers.get("connection", "").lower() == "close":
            self.transport.close()
            return False
        return True
