"""AgentHost with the real Claude Code, by the Claude Agent SDK and by its ACP adapter: turns, tools, endpoints, no orphan."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import npmagents
import pytest
from e2e.claude import binary
from hosting import HostWorld, started, text_of, turn, until, within
from scripted import Scripted, anthropic_error

from byway import programs
from byway.endpoints.clients import running_clients
from byway.host.acp import AcpBacking
from byway.host.backing import AgentBacking
from byway.host.ending import end_tree
from byway.host.events import (
    AgentError,
    AgentFailure,
    AgentRestart,
    AgentRetry,
    AgentToolCall,
    AgentToolResult,
    TurnEnd,
)
from byway.host.sdk import SdkBacking

pytestmark = pytest.mark.real


@pytest.fixture
def world(tmp_path: Path) -> Iterator[HostWorld]:
    with Scripted(models=["qwen-a"]) as first, Scripted(models=["qwen-b"]) as second:
        yield HostWorld(tmp_path, first, second)


def acp_backing() -> AcpBacking:
    adapter = npmagents.program("claude-agent-acp")
    if not adapter.exists():
        pytest.skip(npmagents.missing() or f"the ACP adapter is not fetched: {npmagents.__doc__}")
    paths = {"BYWAY_ACP_AGENT": str(adapter), "BYWAY_NODE": str(npmagents.NODE.folder / npmagents.NODE.program)}
    return AcpBacking({"PATH": npmagents.search_path(), "BYWAY_CLAUDE": str(binary()), **paths})


@pytest.fixture(params=["sdk", pytest.param("acp", marks=pytest.mark.long)])
def backing(request: pytest.FixtureRequest) -> AgentBacking:
    if request.param == "acp":
        return acp_backing()
    return SdkBacking(cli_path=binary(), tools=["Bash"], system_prompt="You are a test.")


def test_a_host_runs_a_turn_a_tool_with_permission_and_leaves_no_process(
    world: HostWorld, backing: AgentBacking
) -> None:
    async def run() -> None:
        async with started(world.host(backing)) as host:
            assert [client.program for client in running_clients(world.data).running] == ["host"]
            assert "Hello from A" in text_of(await turn(host, "say hello"))
            events = await turn(host, "run the tool")
            assert "Done from A" in text_of(events) and events[-1] == TurnEnd("end_turn")
            assert [question.tool for question in world.questions] == [
                "Bash" if isinstance(backing, SdkBacking) else "execute"
            ]
            assert (world.work / "out.txt").read_text() == "A\n"
            assert {type(event) for event in events} >= {AgentToolCall, AgentToolResult}
            world.allows = False
            (world.work / "out.txt").unlink()
            await turn(host, "run the tool")
            assert len(world.questions) == 2 and not (world.work / "out.txt").exists()
            children = world.children()
            assert children
        assert not any(map(programs.is_running, children))
        assert not list((world.data / "clients").iterdir()) and host.state == "stopped"

    within(run())


def test_a_host_changes_its_endpoint_and_keeps_the_conversation(world: HostWorld, backing: AgentBacking) -> None:
    async def run() -> None:
        async with started(world.host(backing)) as host:
            await turn(host, "say hello")
            session = host.session
            bad = await host.use("broken")
            assert bad.outcome == "kept" and bad.endpoint == "a" and "refused the connection" in bad.message
            assert "Hello from A" in text_of(await turn(host, "say hello"))
            generation = host.generation
            good = await host.use("b")
            assert good.outcome in ("restarted", "live") and good.endpoint == host.endpoint == "b"
            assert host.generation == generation + 1
            assert "Hello from B" in text_of(await turn(host, "say hello"))
            request = world.b.turns[-1]
            assert request["model"] == "qwen-b" and "Hello from A" in str(request["messages"])
            assert host.session == session
        assert not world.children()

    within(run())


def test_a_change_in_mid_turn_cancels_it_when_asked_and_the_last_of_several_counts(
    world: HostWorld, backing: AgentBacking
) -> None:
    async def run() -> None:
        async with started(world.host(backing)) as host:
            await turn(host, "say hello")
            running = asyncio.create_task(turn(host, "wait for it"))
            await until(world.a.waits.is_set)
            changes = [asyncio.create_task(host.use(name, cancel=True)) for name in ("a", "broken", "b")]
            results = await asyncio.gather(*changes)
            assert [result.outcome for result in results[:2]] == ["superseded"] * 2 and results[2].endpoint == "b"
            assert (await running)[-1] == TurnEnd("cancelled") and "pending" in world.states
            assert "Hello from B" in text_of(await turn(host, "say hello"))
        assert not world.children()

    within(run())


def test_a_host_resumes_a_conversation_with_its_history(world: HostWorld, backing: AgentBacking) -> None:
    async def run() -> None:
        async with started(world.host(backing)) as first:
            await turn(first, "say hello")
        async with started(world.host(backing), first.session) as host:
            await turn(host, "say hello")
            assert "Hello from A" in str(world.a.turns[-1]["messages"]) and host.session == first.session

    within(run())


def test_a_failure_is_explained_and_retries_are_shown_as_they_happen(world: HostWorld, backing: AgentBacking) -> None:
    async def run() -> None:
        async with started(world.host(backing)) as host:
            world.a.failing = anthropic_error(500, "api_error", "out of order")
            events = await turn(host, "say hello")
            (failure,) = [event for event in events if isinstance(event, AgentFailure)]
            assert failure.advice.layer == "server" and "The endpoint a" in failure.advice.summary
            if isinstance(backing, SdkBacking):
                assert [event.attempt for event in events if isinstance(event, AgentRetry)] == [1]
            world.a.failing = None
            assert "Hello from A" in text_of(await turn(host, "say hello"))

    within(run())


@pytest.mark.long
def test_a_silent_turn_is_ended_and_the_conversation_goes_on(world: HostWorld, backing: AgentBacking) -> None:
    async def run() -> None:
        async with started(world.host(backing, silence=5.0)) as host:
            await turn(host, "say hello")
            events = await turn(host, "wait for it")
            assert isinstance(events[-2], AgentFailure) and "does not answer in time" in events[-2].advice.summary
            assert events[-1] == TurnEnd("failed")
            assert "Hello from A" in text_of(await turn(host, "say hello"))
        assert not world.children()

    within(run())


def test_a_killed_agent_is_an_error_and_leaves_no_process(world: HostWorld, backing: AgentBacking) -> None:
    async def run() -> None:
        async with started(world.host(backing)) as host:
            await turn(host, "say hello")
            running = asyncio.create_task(turn(host, "wait for it"))
            await until(world.a.waits.is_set)
            children = world.children()
            roots = [pid for pid in children if programs.parent_of(pid) == os.getpid()]
            for pid in roots:
                programs.end_process(pid, force=True)
            with pytest.raises(AgentError):
                await running
        assert not any(map(programs.is_running, children))

    within(run())


def test_a_killed_agent_is_started_again_and_the_conversation_continues(
    world: HostWorld, backing: AgentBacking
) -> None:
    def kill() -> None:
        for pid in world.children():
            if programs.parent_of(pid) == os.getpid():
                programs.end_process(pid, force=True)

    async def run() -> None:
        async with started(world.host(backing)) as host:
            await turn(host, "say hello")
            session = host.session
            kill()
            await until(lambda: backing.ended is not None)
            events = await turn(host, "say hello")
            assert isinstance(events[0], AgentRestart) and events[0].resumed and events[0].attempt == 1
            assert "Hello from A" in text_of(events) and events[-1] == TurnEnd("end_turn")
            assert host.session == session and "Hello from A" in str(world.a.turns[-1]["messages"])
            running = asyncio.create_task(turn(host, "wait for it"))
            await until(world.a.waits.is_set)
            kill()
            with pytest.raises(AgentError):
                await running
            events = await turn(host, "say hello")
            assert isinstance(events[0], AgentRestart) and "Hello from A" in text_of(events)
        assert not world.children()

    within(run())


@pytest.mark.long
def test_an_acp_adapter_starts_claude_by_the_module_that_windows_uses(
    world: HostWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "forwarding_script", lambda *given: (".mjs", programs.forwarding_module(*given)))
    # The user's settings name another server: the overlay of the endpoint replaces it.
    (world.home / "config").mkdir()
    (world.home / "config/settings.json").write_text('{"env": {"ANTHROPIC_BASE_URL": "http://127.0.0.1:1"}}')

    async def run() -> None:
        async with started(world.host(acp_backing())) as host:
            assert "Hello from A" in text_of(await turn(host, "say hello"))
            assert host.session and list((world.data / "clients").glob("*.claude.mjs"))
        assert not world.children() and not list((world.data / "clients").iterdir())

    within(run())


#: Starts a child in a session of its own that ignores SIGTERM, prints its id, and waits.
FAMILY = """
import signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); "
                          "time.sleep(600)"], start_new_session=True, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
child.wait()
"""


def test_a_tree_is_ended_with_children_that_left_its_group_and_ignore_the_signal() -> None:
    with subprocess.Popen([sys.executable, "-c", FAMILY], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert programs.process_tree([parent.pid]) == [parent.pid, child]
        assert programs.processes_with_argument("subprocess.Popen([sys.executable") == [parent.pid]
        within(end_tree([parent.pid], grace=0.2))
        assert not programs.is_running(child) and not programs.is_running(parent.pid)
    assert programs.is_running(os.getpid())
