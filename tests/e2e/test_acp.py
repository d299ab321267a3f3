"""`byway acp`, driven by the official ACP library for Python: tool calls, permissions, providers, switches, errors, no orphan."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import acp
import npmagents
import pytest
from acp import schema
from e2e.claude import binary
from gateway import SOURCE
from hosting import HostWorld, until, within
from scripted import Scripted, anthropic_error

from byway import programs
from byway.endpoints.clients import running_clients

pytestmark = pytest.mark.real


class Editor:
    """An editor without files and terminals of its own."""

    def __init__(self) -> None:
        self.updates: list[Any] = []
        self.questions: list[Any] = []

    async def session_update(self, session_id: str, update: Any, **more: Any) -> None:
        self.updates.append(update)

    async def request_permission(self, options: Any, session_id: str, tool_call: Any, **more: Any) -> Any:
        self.questions.append(tool_call)
        chosen = next(option for option in options if option.kind == "allow_once")
        return schema.RequestPermissionResponse(
            outcome=schema.AllowedOutcome(outcome="selected", option_id=chosen.option_id)
        )

    async def ext_notification(self, method: str, params: dict[str, Any]) -> None:
        return

    def on_connect(self, connection: Any) -> None:
        return

    @property
    def text(self) -> str:
        return "".join(update.content.text for update in self.updates if update.session_update == "agent_message_chunk")


class Acp:
    """A connection of the editor to `byway acp`."""

    def __init__(self, editor: Editor, connection: Any, process: Any, world: HostWorld) -> None:
        self.editor = editor
        self.connection = connection
        self.process = process
        self.world = world
        self.session = ""

    async def open(self) -> Any:
        await self.connection.initialize(protocol_version=1)
        made = await self.connection.new_session(cwd=str(self.world.work), mcp_servers=[])
        self.session = made.session_id
        return made

    async def prompt(self, text: str) -> Any:
        self.editor.updates.clear()
        return await self.connection.prompt(session_id=self.session, prompt=[acp.text_block(text)])

    async def request(self, method: str, **params: Any) -> Any:
        """A request that the library has no method for."""
        return await self.connection._conn.send_request(method, params)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[HostWorld]:
    with Scripted(models=["qwen-a"]) as first, Scripted(models=["qwen-b"]) as second:
        yield HostWorld(tmp_path, first, second)


@contextlib.asynccontextmanager
async def editing(world: HostWorld, config: str = "{}") -> AsyncIterator[Acp]:
    adapter = npmagents.program("claude-agent-acp")
    if not adapter.exists():
        pytest.skip(npmagents.missing() or f"the ACP adapter is not fetched: {npmagents.__doc__}")
    file = world.home / "byway.yaml"
    file.write_text(config)
    file.chmod(0o600)
    environ = {
        **world.environ,
        "BYWAY_HOME": str(world.data),
        "BYWAY_ACP_AGENT": str(adapter),
        "BYWAY_NODE": str(npmagents.NODE.folder / npmagents.NODE.program),
        "BYWAY_CLAUDE": str(binary()),
        "PYTHONPATH": str(SOURCE),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
    }
    editor = Editor()
    command = ("-m", "byway", "acp", "--config", str(file))
    before = world.children()
    client: Any = editor
    async with acp.spawn_agent_process(
        client, sys.executable, *command, env=environ, cwd=world.work, transport_kwargs={"shutdown_timeout": 30.0}
    ) as (connection, process):
        yield Acp(editor, connection, process, world)
        children = world.children() - before
    assert not any(map(programs.is_running, children))
    assert not list((world.data / "clients").iterdir())


def test_an_editor_runs_tools_with_permission_and_changes_the_provider(world: HostWorld) -> None:
    async def run() -> None:
        async with editing(world) as session:
            hello = await session.connection.initialize(protocol_version=1)
            assert not hello.auth_methods and hello.agent_capabilities.load_session
            await session.open()
            assert (await session.prompt("say hello")).stop_reason == "end_turn"
            assert "Hello from A" in session.editor.text
            await session.prompt("run the tool")
            assert [question.kind for question in session.editor.questions] == ["execute"]
            assert (world.work / "out.txt").read_text() == "A\n" and "Done from A" in session.editor.text
            kinds = {update.session_update for update in session.editor.updates}
            assert kinds >= {"tool_call", "tool_call_update", "agent_message_chunk"}
            (provider,) = (await session.request("providers/list"))["providers"]
            assert provider["current"] == {"apiType": "anthropic", "baseUrl": world.endpoints.get("a").base_url}
            # One that does not work is refused, and the old one stays.
            bad = {"providerId": "main", "apiType": "anthropic", "headers": {}}
            with pytest.raises(acp.RequestError, match="refused the connection"):
                await session.request("providers/set", **bad, baseUrl="http://127.0.0.1:1")
            with pytest.raises(acp.RequestError, match="cannot be used"):
                await session.request("providers/set", **bad, baseUrl="ftp://x")
            await session.prompt("say hello")
            assert "Hello from A" in session.editor.text
            other = {**bad, "headers": {"x-api-key": "sk-of-the-editor"}}
            await session.request("providers/set", **other, baseUrl=world.endpoints.get("b").base_url)
            await session.prompt("say hello")
            assert "Hello from B" in session.editor.text
            assert world.b.turns[-1]["model"] == "qwen-b" and "Hello from A" in str(world.b.turns[-1]["messages"])
            await session.request("providers/disable", providerId="main")
            await session.prompt("say hello")
            assert "Hello from A" in session.editor.text

    within(run())


def test_an_editor_follows_the_active_endpoint_and_gets_explained_errors(world: HostWorld) -> None:
    async def run() -> None:
        async with editing(world) as session:
            await session.open()
            await session.prompt("say hello")
            world.endpoints.use("b")
            await until(lambda: [client.endpoint for client in running_clients(world.data).running] == ["b"])
            await session.prompt("say hello")
            assert "Hello from B" in session.editor.text
            world.b.failing = anthropic_error(401, "authentication_error", "invalid key")
            with pytest.raises(acp.RequestError, match=r"The endpoint b .* rejected the key") as failure:
                await session.prompt("say hello")
            # -32000 would open a Claude login in the editor.
            error: Any = failure.value
            assert error.code == -32603 and error.data["layer"] == "credential"
            world.b.failing = None
            await session.prompt("say hello")
            assert "Hello from B" in session.editor.text

    within(run())


def test_an_adapter_that_was_killed_is_started_again_with_the_session_of_the_editor(world: HostWorld) -> None:
    async def run() -> None:
        async with editing(world) as session:
            await session.open()
            await session.prompt("say hello")
            pid = session.process.pid
            for child in programs.process_tree([pid]):
                if programs.parent_of(child) == pid:
                    programs.end_process(child, force=True)
            assert (await session.prompt("say hello")).stop_reason == "end_turn"
            assert "Hello from A" in session.editor.text and "Hello from A" in str(world.a.turns[-1]["messages"])
            notes = [update for update in session.editor.updates if update.session_update == "agent_thought_chunk"]
            assert any("started again, and this session continues" in note.content.text for note in notes)

    within(run())


def test_the_settings_of_the_reference_router_apply(world: HostWorld) -> None:
    config = (
        "acp: {enabled: true, capabilities: {load_session: false, mcp: false}, default_model: qwen-a,"
        " permissions: {default_policy: ask_always, auto_allow: [execute]}, sessions: {max_concurrent: 1}}"
    )

    async def run() -> None:
        async with editing(world, config) as session:
            hello = await session.connection.initialize(protocol_version=1)
            assert not hello.agent_capabilities.load_session and not hello.agent_capabilities.mcp_capabilities.http
            await session.open()
            await session.prompt("run the tool")
            assert not session.editor.questions and (world.work / "out.txt").exists()
            assert world.a.turns[-1]["model"] == "qwen-a"
            with pytest.raises(acp.RequestError, match="max_concurrent"):
                await session.connection.new_session(cwd=str(world.work), mcp_servers=[])

    within(run())
