"""AgentHost with an agent in memory: states, silence, permissions, changes of the endpoint, what is left.

And the idle sessions of editors.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import shutil
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from endpointserver import EndpointServer, serving
from hosting import started, turn, until, within
from tlsproxy import TlsProxy

import byway
from byway import programs
from byway.config.acp import AcpSettings, SessionSettings
from byway.endpoints.advice import explain
from byway.endpoints.clients import request_restart, running_clients
from byway.endpoints.registry import Endpoint, EndpointError, Endpoints
from byway.host.acp import AcpBacking
from byway.host.adapter import bundled_claude, find_adapter
from byway.host.editor import EditorBridge
from byway.host.events import (
    AgentError,
    AgentEvent,
    AgentFailure,
    AgentRestart,
    AgentText,
    AgentToolCall,
    AgentToolResult,
    ConversationLost,
    PermissionQuestion,
    Permit,
    TurnEnd,
)
from byway.host.host import AgentHost
from byway.host.jsonrpc import INTERNAL_ERROR, OnNotification, OnRequest, RpcFailure, RpcPeer
from byway.host.route import HostRoute, open_route
from byway.launch.localbyway import LaunchError
from byway.launch.session import EndpointFailure, LaunchOptions
from byway.tls.trust import trust_file


class Memory:
    """An agent in memory: a turn yields `events`, waits where one is a gate, and ends the agent where one is an error."""

    def __init__(self) -> None:
        self.session = ""
        self.events: list[AgentEvent | AgentError | asyncio.Event] = []
        self.routes: list[str] = []
        self.variables: dict[str, str] = {}
        """What the last process was started with: its environment, with its settings file over it."""
        self.live = False
        self.failing: set[str] = set()
        self.permit: Permit | None = None
        self.cancelled = asyncio.Event()
        self.ended: str | None = None
        self.forgets = False
        """It cannot resume a conversation."""

    async def start(self, route: HostRoute, session: str, permit: Permit) -> None:
        if route.name in self.failing:
            raise AgentError("does not start")
        if self.forgets and session:
            raise ConversationLost("forgotten")
        self.ended = None
        self.routes.append(route.name)
        self.variables = {**route.environment.environ, **route.environment.overlay["env"]}
        self.permit, self.session = permit, session or f"s-{len(self.routes)}"

    async def prompt(self, text: str) -> AsyncGenerator[AgentEvent]:
        self.cancelled.clear()
        for event in self.events:
            if isinstance(event, AgentError):
                self.ended = "killed"
                raise event
            if not isinstance(event, asyncio.Event):
                yield event
                continue
            waits = [asyncio.create_task(gate.wait()) for gate in (event, self.cancelled)]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
            if self.cancelled.is_set():
                yield TurnEnd("cancelled")
                return

    async def cancel(self) -> None:
        self.cancelled.set()

    async def switch(self, route: HostRoute) -> bool:
        return self.live

    async def close(self) -> None:
        self.routes.append("closed")


class Place:
    """A data folder with the endpoints `a` (active), `b` and `broken`."""

    def __init__(self, home: Path, first: EndpointServer, second: EndpointServer) -> None:
        self.home = home
        self.first, self.second = first, second
        self.endpoints = Endpoints(home, {})
        self.endpoints.add(Endpoint("a", first.url))
        self.endpoints.add(Endpoint("b", second.url))
        self.endpoints.add(Endpoint("broken", "http://127.0.0.1:1"))
        self.endpoints.use("a")
        self.states: list[str] = []
        self.environ = {"CLAUDE_CONFIG_DIR": str(home)}

    def host(
        self, memory: Memory, silence: float = 60.0, permit: Permit | None = None, endpoint: str | None = None
    ) -> AgentHost:
        async def allow(question: PermissionQuestion) -> bool:
            return True

        options = LaunchOptions(self.home, self.home, endpoint)
        return AgentHost(options, memory, permit or allow, self.environ, silence=silence, changed=self.states.append)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    for module in ("host", "editor"):
        monkeypatch.setattr(f"byway.host.{module}._POLL", 0.02)
    with serving() as first, serving(name="B") as second:
        yield Place(tmp_path, first, second)


def test_a_host_that_cannot_start_leaves_nothing(place: Place) -> None:
    async def run() -> None:
        memory = Memory()
        memory.failing = {"a"}
        host = place.host(memory)
        with pytest.raises(AgentError):
            await host.start()
        place.endpoints.use("broken")
        with pytest.raises(LaunchError):
            await place.host(memory).start()
        place.endpoints.off()
        with pytest.raises(LaunchError, match="Endpoints are off"):
            await place.host(memory).start()
        assert host.state == "failed" and not list((place.home / "clients").iterdir())

    within(run())


def test_a_silent_turn_is_ended_and_tools_and_questions_are_no_silence(place: Place) -> None:
    async def run() -> None:
        memory, gate, opened = Memory(), asyncio.Event(), asyncio.Event()

        async def permit(question: PermissionQuestion) -> bool:
            opened.set()
            await gate.wait()
            return False

        async with started(place.host(memory, 0.05, permit)) as host:
            memory.events = [AgentText("half"), asyncio.Event()]
            events = await turn(host, "hello")
            assert isinstance(events[1], AgentFailure) and events[1].advice.layer == "server"
            assert events[2] == TurnEnd("failed") and memory.routes == ["a", "closed", "a"]
            memory.events = [AgentToolCall("t", "Bash"), gate, AgentToolResult("t"), TurnEnd("end_turn")]
            running = asyncio.create_task(turn(host, "hello"))
            assert memory.permit is not None
            permit_call = memory.permit

            async def question_user() -> bool:
                return await permit_call(PermissionQuestion("Bash"))

            question = asyncio.create_task(question_user())
            await opened.wait()
            for _ in range(5):
                done, _ = await asyncio.wait({running}, timeout=0.05)
                assert not done
            gate.set()
            assert (await running)[-1] == TurnEnd("end_turn") and await question is False

    within(run())


def test_an_agent_that_has_ended_is_started_again_before_the_next_turn(place: Place) -> None:
    async def run() -> None:
        memory = Memory()
        memory.events = [AgentText("x"), TurnEnd("end_turn")]
        async with started(place.host(memory), "s-9") as host:
            memory.ended = "out of memory"
            events = await turn(host, "hello")
            assert events == [AgentRestart(1, 3, True, "out of memory"), *memory.events]
            assert host.session == "s-9" and memory.routes == ["a", "closed", "a"] and host.state == "ready"
            assert await turn(host, "hello") == memory.events, "it runs"
            memory.ended, memory.forgets = "", True
            assert (await turn(host, "hello"))[0] == AgentRestart(1, 3, False, "")
            assert host.session == "s-5", "a new conversation"

    within(run())


def test_an_agent_that_ends_in_every_turn_is_started_three_times(place: Place) -> None:
    async def run() -> None:
        memory = Memory()
        async with started(place.host(memory), "s-9") as host:
            memory.ended, memory.events = "killed", [AgentText("half"), AgentError("has ended")]
            for attempt in range(1, 4):
                seen: list[AgentEvent] = []
                with pytest.raises(AgentError, match="has ended"):
                    async for event in host.prompt("hello"):
                        seen.append(event)
                assert seen == [AgentRestart(attempt, 3, True, "killed"), AgentText("half")]
            with pytest.raises(AgentError, match=r"ended 4 times without a finished turn\. killed Check it with"):
                await turn(host, "hello")
            assert memory.routes.count("a") == 4 and host.state == "failed"
            await host.close()
            await host.start("s-9")
            memory.events = [TurnEnd("end_turn")]
            assert await turn(host, "hello") == memory.events, "a new start counts from the beginning"

    within(run())


def test_an_agent_that_cannot_be_started_again_keeps_its_conversation_for_the_next_try(place: Place) -> None:
    async def run() -> None:
        memory = Memory()
        memory.events = [TurnEnd("end_turn")]
        async with started(place.host(memory), "s-9") as host:
            memory.ended, memory.failing = "", {"a"}
            with pytest.raises(AgentError, match="does not start"):
                await turn(host, "hello")
            memory.failing.clear()
            assert (await turn(host, "hello"))[0] == AgentRestart(2, 3, True, "") and host.session == "s-9"

    within(run())


@pytest.mark.parametrize(
    ("offered", "method"),
    [
        ({"loadSession": True, "sessionCapabilities": {"resume": {}}}, "session/resume"),
        ({"loadSession": True, "sessionCapabilities": {}}, "session/load"),
        ({}, ""),
    ],
)
def test_an_acp_agent_resumes_a_conversation_in_the_way_that_it_offers(
    place: Place, monkeypatch: pytest.MonkeyPatch, offered: dict[str, Any], method: str
) -> None:
    async def run() -> None:
        to_agent, agent = pipes()
        to_agent.process = SimpleNamespace(returncode=None)
        calls: list[str] = []

        async def answer(method: str, params: Any) -> Any:
            calls.append(method)
            return {"agentCapabilities": offered} if method == "initialize" else {}

        async def start(route: HostRoute, environ: Mapping[str, str]) -> Pipe:
            return to_agent

        async def allow(question: PermissionQuestion) -> bool:
            return True

        monkeypatch.setattr("byway.host.acp.start_adapter", start)
        route = await asyncio.to_thread(
            open_route, LaunchOptions(place.home, place.home), place.environ, lambda text: None
        )
        working = asyncio.create_task(agent.peer(answer).run())
        backing = AcpBacking(place.environ)
        try:
            assert backing.ended == ""
            if method:
                await backing.start(route, "s-9", allow)
                assert calls[:2] == ["initialize", method] and backing.session == "s-9" and backing.ended is None
                to_agent.process.returncode, to_agent.errors = -9, "killed\n"
                assert backing.ended == "killed"
            else:
                with pytest.raises(ConversationLost, match="cannot resume a conversation"):
                    await backing.start(route, "s-9", allow)
        finally:
            await backing.close()
            await working
            await asyncio.to_thread(route.close)

    within(run())


@pytest.mark.parametrize("live", [False, True])
def test_a_change_waits_for_the_turn_and_keeps_the_conversation(place: Place, live: bool) -> None:
    async def run() -> None:
        memory, gate = Memory(), asyncio.Event()
        memory.live = live
        memory.events = [AgentText("x"), gate, TurnEnd("end_turn")]
        async with started(place.host(memory), "s-9") as host:
            running = asyncio.create_task(turn(host, "hello"))
            await until(lambda: host.state == "working")
            change = asyncio.create_task(host.use("b"))
            await until(lambda: host.state == "pending")
            gate.set()
            assert (await running)[-1] == TurnEnd("end_turn")
            assert (await change).outcome == ("live" if live else "restarted")
            assert host.session == "s-9" and host.endpoint == "b" and host.generation == 2
            assert [client.endpoint for client in running_clients(place.home).running] == ["b"]
        assert place.states[-1] == "stopped"

    within(run())


def test_an_agent_that_does_not_start_again_keeps_the_old_endpoint(place: Place) -> None:
    async def run() -> None:
        memory = Memory()
        memory.failing = {"b"}
        async with started(place.host(memory)) as host:
            result = await host.use("b")
            assert result.outcome == "kept" and host.endpoint == "a" and memory.routes == ["a", "closed", "a"]

    within(run())


@pytest.mark.parametrize("until_open", [False, True])
def test_a_switch_that_is_canceled_leaves_no_file(
    place: Place, monkeypatch: pytest.MonkeyPatch, until_open: bool
) -> None:
    """While its route is opened, and while the route before is closed."""
    entered, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        entered.set()
        assert go_on.wait(60)

    def slow_open(*arguments: Any) -> HostRoute:
        route = open_route(*arguments)
        if route.name == "b" and not until_open:
            wait()
        return route

    async def run() -> None:
        async with started(place.host(Memory())) as host:
            monkeypatch.setattr("byway.host.host.open_route", slow_open)
            assert host._route is not None
            close = host._route.close

            def slow_close() -> None:
                wait()
                close()

            if until_open:
                monkeypatch.setattr(host._route, "close", slow_close)
            change = asyncio.create_task(host.use("b"))
            await asyncio.to_thread(entered.wait, 60)
            change.cancel()
            asyncio.get_running_loop().call_later(0.05, go_on.set)
            with pytest.raises(asyncio.CancelledError):
                await change
            assert len(list((place.home / "clients").glob("*.settings.json"))) == 1
        assert not list((place.home / "clients").iterdir())

    within(run())


def test_a_host_follows_the_active_endpoint_and_restarts_on_request(place: Place) -> None:
    async def run() -> None:
        def record_is(check: Callable[[str, bool], bool]) -> bool:
            (record,) = running_clients(place.home).running
            return check(record.endpoint, record.switchable)

        async with started(place.host(Memory())) as host:
            place.endpoints.use("broken")
            await until(lambda: record_is(lambda endpoint, switchable: endpoint == "a" and not switchable))
            place.endpoints.add(Endpoint("broken", place.endpoints.get("b").base_url), replace=True)
            await until(lambda: host.endpoint == "broken")
            (record,) = running_clients(place.home).running
            assert record.is_hosted and record.switchable
            generation = host.generation
            request_restart(place.home, record)
            await until(lambda: host.generation == generation + 1)
        assert not list((place.home / "clients").iterdir())

    within(run())


# --- what a program that hosts Claude Code does around the variable -------------------------------------------------------


def send(variables: Mapping[str, str]) -> int:
    """Send a message as an agent with these variables does; returns the status."""
    connection = http.client.HTTPConnection(urlsplit(variables["ANTHROPIC_BASE_URL"]).netloc, timeout=60)
    headers = {"content-type": "application/json", "authorization": f"Bearer {variables['ANTHROPIC_AUTH_TOKEN']}"}
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    try:
        connection.request("POST", "/v1/messages", json.dumps(body), headers)
        return connection.getresponse().status
    finally:
        connection.close()


def test_host_setting_a_custom_endpoint_is_used_and_turned_off(place: Place) -> None:
    async def run() -> None:
        memory = Memory()
        async with started(place.host(memory, endpoint="b")) as host:
            assert host.endpoint == "b"
            assert await asyncio.to_thread(send, memory.variables) == 200
        assert place.second.messages and not place.first.messages
        place.endpoints.off()
        with pytest.raises(LaunchError, match="Endpoints are off"):
            await place.host(Memory()).start()

    within(run())


def test_host_injection_the_variable_is_in_the_environment_of_the_agent_alone(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANTHROPIC_BASE_URL", raising=False)

    async def run() -> None:
        memory = Memory()
        async with started(place.host(memory)):
            assert memory.variables["ANTHROPIC_BASE_URL"].startswith("http://127.0.0.1:")
            assert "ANTHROPIC_BASE_URL" not in os.environ and "ANTHROPIC_BASE_URL" not in place.environ

    within(run())


@pytest.mark.parametrize("url", ["ftp://127.0.0.1:8766", "http://", "https:///v1", "127.0.0.1:8766"])
def test_host_url_one_without_http_or_a_host_is_refused_and_never_means_anthropic(place: Place, url: str) -> None:
    async def run() -> None:
        with pytest.raises(EndpointError):
            place.endpoints.add(Endpoint("c", url))
        memory = Memory()
        async with started(place.host(memory)) as host:
            assert (await host.use("c")).outcome == "kept" and memory.routes == ["a"]

    within(run())


def test_host_credential_the_endpoint_gets_its_own_instead_of_anthropics_key(place: Place) -> None:
    place.environ["ANTHROPIC_API_KEY"] = "sk-ant-real"

    async def run() -> None:
        memory = Memory()
        async with started(place.host(memory)):
            # With a credential of its own Claude Code opens no login.
            assert memory.variables["ANTHROPIC_AUTH_TOKEN"].startswith("byway-")
            assert "sk-ant-real" not in memory.variables.values()
            await asyncio.to_thread(send, memory.variables)
        assert all("sk-ant-real" not in str(request.headers) for request in place.first.seen)

    within(run())


def test_host_model_one_of_another_vendor_does_not_bypass_the_endpoint(place: Place) -> None:
    place.environ["ANTHROPIC_MODEL"] = "gemini-pro"
    place.first.models = [{"id": "qwen-a"}]

    async def run() -> None:
        memory = Memory()
        async with started(place.host(memory)):
            assert memory.variables["ANTHROPIC_MODEL"] == "qwen-a"

    within(run())


def test_host_snapshot_variables_are_read_at_the_start_and_change_with_a_new_process(place: Place) -> None:
    async def run() -> None:
        memory = Memory()
        async with started(place.host(memory)) as host:
            before = memory.variables
            place.environ["ANTHROPIC_BASE_URL"] = "http://127.0.0.1:1"
            place.environ["MARK"] = "new"
            (place.home / "settings.json").write_text(json.dumps({"env": {"ANTHROPIC_BASE_URL": "http://127.0.0.1:1"}}))
            assert memory.variables is before and "MARK" not in before
            assert (await host.use("b")).outcome == "restarted"
            assert memory.variables["MARK"] == "new"
            assert memory.variables["ANTHROPIC_BASE_URL"] not in (before["ANTHROPIC_BASE_URL"], "http://127.0.0.1:1")
            await asyncio.to_thread(send, memory.variables)
        assert place.second.messages

    within(run())


@pytest.mark.parametrize(
    ("status", "text", "layer"),
    [
        (401, "invalid key", "credential"),
        (403, "forbidden", "credential"),
        (400, "No models loaded. Please load a model: lms load", "model"),
        (400, "messages: unknown field", "server"),
    ],
)
def test_host_diagnosis_a_failed_turn_names_its_layer(place: Place, status: int, text: str, layer: str) -> None:
    async def run() -> None:
        memory, gate = Memory(), asyncio.Event()
        memory.events = [gate, AgentFailure(explain("a", "", "reworded")), TurnEnd("failed")]
        async with started(place.host(memory)) as host:
            place.first.answer = (status, "application/json", json.dumps({"error": {"message": text}}))
            running = asyncio.create_task(turn(host, "hello"))
            await until(lambda: host.state == "working")
            assert await asyncio.to_thread(send, memory.variables) >= 400
            gate.set()
            failure = (await running)[0]
            assert isinstance(failure, AgentFailure) and failure.advice.layer == layer
            assert "The endpoint a" in failure.advice.summary and failure.advice.action

    within(run())


def test_host_diagnosis_an_address_that_refuses_is_named_before_the_start(place: Place) -> None:
    with pytest.raises(EndpointFailure) as failure:
        within(place.host(Memory(), endpoint="broken").start())
    assert failure.value.advice.layer == "address" and "refused the connection" in failure.value.advice.summary


# --- `byway acp` ----------------------------------------------------------------------------------------------------------


class Pipe:
    """One side of a connection in memory."""

    def __init__(self) -> None:
        self.reader = asyncio.StreamReader()
        self.other = self
        self.errors = ""
        self.process: Any = None

    def peer(self, on_request: OnRequest, on_notification: OnNotification = lambda method, params: None) -> RpcPeer:
        return RpcPeer(self.reader, self.other.reader.feed_data, self._drain, on_request, on_notification)

    async def _drain(self) -> None:
        return

    async def close(self) -> None:
        self.reader.feed_eof()
        self.other.reader.feed_eof()


def pipes() -> tuple[Pipe, Pipe]:
    first, second = Pipe(), Pipe()
    first.other, second.other = second, first
    return first, second


@contextlib.asynccontextmanager
async def edited(
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    answer: OnRequest,
    settings: AcpSettings = AcpSettings(),  # noqa: B008
    noted: OnNotification = lambda method, params: None,
) -> AsyncIterator[tuple[RpcPeer, EditorBridge]]:
    """An editor, and the bridge between it and adapters that answer with `answer`. `noted` gets what the editor is told."""
    to_bridge, bridge_side = pipes()
    work: list[asyncio.Task[Any]] = []

    async def start(route: HostRoute, environ: Mapping[str, str]) -> Pipe:
        to_agent, agent = pipes()
        work.append(asyncio.create_task(agent.peer(answer).run()))
        return to_agent

    monkeypatch.setattr("byway.host.editor.start_adapter", start)
    bridge = EditorBridge(LaunchOptions(place.home, place.home), settings, place.environ, lambda text: None)
    editor = to_bridge.peer(answer, noted)
    serving = bridge.run(bridge_side.reader, to_bridge.reader.feed_data, to_bridge._drain)
    work += [asyncio.create_task(part) for part in (editor.run(), serving)]
    try:
        yield editor, bridge
    finally:
        await to_bridge.close()
        await asyncio.gather(*work)


def test_an_idle_session_of_an_editor_is_closed_and_one_with_a_prompt_stays(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        gate, closed = asyncio.Event(), list[str]()
        names = iter(("s-1", "s-2"))

        async def answer(method: str, params: Any) -> Any:
            if method == "session/new":
                return {"sessionId": next(names)}
            if method == "session/prompt":
                await gate.wait()
            if method == "session/close":
                closed.append(params["sessionId"])
            return {}

        settings = AcpSettings(sessions=SessionSettings(idle_timeout=0.1))
        async with edited(place, monkeypatch, answer, settings) as (editor, _):
            assert await editor.send("session/new", {"cwd": "/"}) == {"sessionId": "s-1"}
            prompt = editor.send("session/prompt", {"sessionId": "s-1", "prompt": []})
            assert await editor.send("session/new", {"cwd": "/"}) == {"sessionId": "s-2"}
            await until(lambda: closed == ["s-2"])
            gate.set()
            await prompt
            await until(lambda: closed == ["s-2", "s-1"])

    within(run())


def test_a_request_that_fails_as_soon_as_the_agent_has_the_prompt_is_explained(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async def answer(method: str, params: Any) -> Any:
            if method == "session/new":
                return {"sessionId": "s-1"}
            raise RpcFailure(INTERNAL_ERROR, "API Error: 400")

        async with edited(place, monkeypatch, answer) as (editor, bridge):
            await editor.send("session/new", {"cwd": "/"})
            assert bridge._agent is not None and bridge._route is not None
            relay, send = bridge._route.relay, bridge._agent.send

            def send_and_fail(method: str, params: Any) -> asyncio.Future[Any]:
                sent = send(method, params)
                if method == "session/prompt":
                    relay._explain(relay._target, "invalid key", 401)
                return sent

            monkeypatch.setattr(bridge._agent, "send", send_and_fail)
            with pytest.raises(RpcFailure, match="rejected the key") as failure:
                await editor.send("session/prompt", {"sessionId": "s-1", "prompt": []})
            assert failure.value.data["layer"] == "credential"

    within(run())


class Adapters:
    """What the adapters of an editor answer: one after the other, each with the sessions that it knows."""

    def __init__(self, offered: Mapping[str, Any]) -> None:
        self.offered = offered
        self.calls: list[tuple[str, Any]] = []
        self.notices: list[str] = []
        self.forgotten: set[str] = set()
        self.opened = 0
        self.working = asyncio.Event()
        """A prompt is in progress."""

    async def __call__(self, method: str, params: Any) -> Any:
        self.calls.append((method, params))
        match method:
            case "initialize":
                return {"agentCapabilities": self.offered}
            case "session/new":
                self.opened += 1
                return {"sessionId": f"s-{self.opened}"}
            case "session/resume" | "session/load" if params["sessionId"] in self.forgotten:
                raise RpcFailure(INTERNAL_ERROR, "Resource not found.")
            case "session/prompt" if params["prompt"] == ["hang"] and not self.working.is_set():
                self.working.set()
                await asyncio.Event().wait()
        return {"stopReason": "end_turn"}

    def noted(self, method: str, params: Any) -> None:
        self.notices.append(f"{params['sessionId']}: {params['update']['content']['text']}")


async def killed(bridge: EditorBridge) -> None:
    """End the adapter."""
    process, agent = bridge._process, bridge._agent
    assert process is not None and agent is not None
    await process.close()
    await until(lambda: agent.closed)


@pytest.mark.parametrize(
    ("offered", "method"),
    [({"sessionCapabilities": {"resume": {}}}, "session/resume"), ({"loadSession": True}, "session/load")],
)
def test_an_adapter_of_an_editor_that_has_ended_is_started_again_with_its_sessions(
    place: Place, monkeypatch: pytest.MonkeyPatch, offered: Mapping[str, Any], method: str
) -> None:
    async def run() -> None:
        adapters = Adapters(offered)
        async with edited(place, monkeypatch, adapters, noted=adapters.noted) as (editor, bridge):
            await editor.send("initialize", {"protocolVersion": 1})
            for folder in ("/one", "/two"):
                await editor.send("session/new", {"cwd": folder, "mcpServers": []})
            await editor.send("session/set_mode", {"sessionId": "s-1", "modeId": "plan"})
            running = editor.send("session/prompt", {"sessionId": "s-1", "prompt": ["hang"]})
            await adapters.working.wait()
            half = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "half"}}
            bridge._noted_by_agent("session/update", {"sessionId": "s-1", "update": half})
            await killed(bridge)
            with pytest.raises(RpcFailure, match=r"has ended\. The next prompt starts it again"):
                await running
            adapters.forgotten.add("s-2")
            assert adapters.notices.pop() == "s-1: half"
            adapters.calls.clear()
            prompt = {"sessionId": "s-1", "prompt": []}
            answers = await asyncio.gather(*(editor.send("session/prompt", prompt) for _ in range(2)))
            assert answers == [{"stopReason": "end_turn"}] * 2
            assert adapters.calls == [
                ("initialize", {"protocolVersion": 1}),
                (method, {"sessionId": "s-1", "cwd": "/one", "mcpServers": []}),
                ("session/set_mode", {"sessionId": "s-1", "modeId": "plan"}),
                (method, {"sessionId": "s-2", "cwd": "/two", "mcpServers": []}),
                *[("session/prompt", prompt)] * 2,
            ]
            assert adapters.notices == [
                "s-1: The ACP adapter had ended. It was started again, and this session continues.",
                "s-2: The ACP adapter had ended, and this session cannot be continued: Resource not found. Start a new one.",
            ]
            assert [*bridge._sessions] == ["s-1"]

    within(run())


def test_a_prompt_of_which_nothing_was_shown_is_sent_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        adapters = Adapters({"sessionCapabilities": {"resume": {}}})
        async with edited(place, monkeypatch, adapters) as (editor, bridge):
            await editor.send("initialize", {})
            await editor.send("session/new", {"cwd": "/"})
            running = editor.send("session/prompt", {"sessionId": "s-1", "prompt": ["hang"]})
            await adapters.working.wait()
            await killed(bridge)
            assert await running == {"stopReason": "end_turn"}
            assert [call[0] for call in adapters.calls[3:]] == ["initialize", "session/resume", "session/prompt"]

    within(run())


def test_an_adapter_of_an_editor_that_ends_again_and_again_ends_the_connection(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        adapters = Adapters({"sessionCapabilities": {"resume": {}}})
        async with edited(place, monkeypatch, adapters) as (editor, bridge):
            await editor.send("initialize", {})
            await editor.send("session/new", {"cwd": "/"})
            await killed(bridge)
            for _ in range(3):
                assert await editor.send("session/list", {}) == {"stopReason": "end_turn"}, "it was started again"
                await killed(bridge)
            await until(lambda: editor.closed or bridge._ended.is_set())
            assert sum(call[0] == "initialize" for call in adapters.calls) == 4

    within(run())


def test_an_editor_sets_an_https_endpoint_behind_the_local_authority(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async def answer(method: str, params: Any) -> Any:
        return {}

    async def run() -> None:
        with TlsProxy(tmp_path_factory.mktemp("tls"), place.second.url) as proxy:
            provider = {"providerId": "main", "apiType": "anthropic", "baseUrl": proxy.url}
            async with edited(place, monkeypatch, answer) as (editor, bridge):
                with pytest.raises(RpcFailure, match="certificate"):
                    await editor.send("providers/set", provider)
                trust_file(place.home).parent.mkdir()
                shutil.copyfile(proxy.certificate, trust_file(place.home))
                await editor.send("providers/set", provider)
                assert bridge._route is not None
                overlay = bridge._route.environment.overlay["env"]
                assert await asyncio.to_thread(send, {**bridge._route.environment.environ, **overlay}) == 200
        assert place.second.messages and proxy.paths

    within(run())


def test_a_silent_turn_of_an_acp_agent_is_ended_and_the_conversation_goes_on(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        calls: list[str] = []
        working: list[asyncio.Task[None]] = []

        async def answer(method: str, params: Any) -> Any:
            calls.append(method)
            match method:
                case "initialize":
                    return {"agentCapabilities": {"sessionCapabilities": {"resume": {}}}}
                case "session/new":
                    return {"sessionId": "s-1"}
                case "session/prompt" if calls.count("session/prompt") == 1:
                    await asyncio.Event().wait()
            return {"stopReason": "end_turn"}

        async def start(route: HostRoute, environ: Mapping[str, str]) -> Pipe:
            to_agent, agent = pipes()
            to_agent.process = SimpleNamespace(returncode=None)
            working.append(asyncio.create_task(agent.peer(answer).run()))
            return to_agent

        async def allow(question: PermissionQuestion) -> bool:
            return True

        monkeypatch.setattr("byway.host.acp.start_adapter", start)
        options = LaunchOptions(place.home, place.home)
        host = AgentHost(options, AcpBacking(place.environ), allow, place.environ, silence=0.3)
        async with started(host):
            failure, end = await turn(host, "hello")
            assert isinstance(failure, AgentFailure) and "does not answer in time" in failure.advice.summary
            assert end == TurnEnd("failed") and calls.count("session/resume") == 1 and host.session == "s-1"
            assert await turn(host, "hello") == [TurnEnd("end_turn")], "it runs, so it is not started once more"
        await asyncio.gather(*working)

    within(run())


def test_the_adapter_is_found_behind_the_batch_file_of_npm(tmp_path: Path) -> None:
    command = tmp_path / "claude-agent-acp.cmd"
    node = tmp_path / "node"
    for program in (command, node):
        program.write_text("")
        program.chmod(0o755)
    environ = {"BYWAY_ACP_AGENT": str(command), "BYWAY_NODE": str(node), "PATH": str(tmp_path)}
    assert find_adapter(environ) == [str(command)]
    module = tmp_path / "node_modules/@agentclientprotocol/claude-agent-acp/dist/index.js"
    module.parent.mkdir(parents=True)
    module.write_text("")
    assert find_adapter(environ) == [str(node), str(module)]


def test_the_claude_that_npm_has_installed_with_the_adapter_is_found(tmp_path: Path) -> None:
    script = tmp_path / "node_modules/@agentclientprotocol/claude-agent-acp/dist/index.js"
    assert bundled_claude(script) is None
    name = programs.program_file("claude")
    for package in ("claude-agent-sdk", "claude-agent-sdk-linux-x64-musl", "claude-agent-sdk-linux-x64"):
        program = tmp_path / "node_modules/@anthropic-ai" / package / name
        program.parent.mkdir(parents=True)
        program.write_text("")
    assert bundled_claude(script) == program
    assert bundled_claude(tmp_path / "bin/claude-agent-acp") is None


def test_the_module_for_windows_quotes_the_program_and_its_arguments() -> None:
    text = programs.forwarding_module(Path('/a "b"/c'), ["--settings", r"C:\Users\x & y\s.json"])
    assert r'spawn("/a \"b\"/c", given' in text
    assert r'["--settings", "C:\\Users\\x & y\\s.json"]' in text


def test_the_entry_of_the_registry_is_that_of_this_version() -> None:
    folder = Path(__file__).parent.parent / "examples/acp-registry"
    entry = json.loads((folder / "agent.json").read_text("utf-8"))
    assert entry["version"] == byway.__version__ and (folder / entry["icon"]).exists()
    assert entry["distribution"]["uvx"] == {"package": f"byway=={byway.__version__}", "args": ["acp"]}
    assert entry["license"] == "Apache-2.0" and entry["id"] == entry["id"].lower()
