"""Hosts Claude Code by the Claude Agent SDK for Python, which contains it: the extra `agent`.

Forms of claude-agent-sdk 0.2.186 (https://github.com/anthropics/claude-agent-sdk-python, measured 2026-11-30).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any, Final

from byway import programs
from byway.endpoints.advice import explain
from byway.host.ending import end_tree
from byway.host.events import (
    AgentError,
    AgentEvent,
    AgentFailure,
    AgentRetry,
    AgentText,
    AgentToolCall,
    AgentToolResult,
    ConversationLost,
    PermissionQuestion,
    Permit,
    TurnEnd,
)
from byway.host.route import HostRoute

INSTALL: Final = (
    "The Claude Agent SDK is not installed. Install it: "
    "pip install --no-deps --require-hashes -r requirements/agent.txt"
)
#: What Claude Code prints for a conversation that it does not have.
_UNKNOWN: Final = "No conversation found"
#: Seconds for the process to start.
_START: Final = 60.0
#: Seconds for it to end by itself.
_END: Final = 3.0


class SdkBacking:
    """One Claude Code, owned by a task: the SDK's client has to be closed by the task that opened it."""

    def __init__(self, **options: Any) -> None:
        """`options` are further ones of `ClaudeAgentOptions`, such as `cli_path`, `system_prompt` or `mcp_servers`."""
        self.session = ""
        self._options = options
        self._client: Any = None
        self._owner: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._route: HostRoute | None = None

    @property
    def ended(self) -> str | None:
        """Empty when the process has ended; None while it runs."""
        if self._client is None:
            return ""
        process = getattr(getattr(self._client, "_transport", None), "_process", None)
        return None if getattr(process, "returncode", None) is None else ""

    async def start(self, route: HostRoute, session: str, permit: Permit) -> None:
        """Start Claude Code. Raises AgentError."""
        try:
            import claude_agent_sdk as sdk
        except ImportError:
            raise AgentError(INSTALL) from None

        async def can_use_tool(tool: str, input: dict[str, Any], context: Any) -> Any:
            title = str(getattr(context, "title", None) or "")
            if await permit(PermissionQuestion(tool, input, title)):
                return sdk.PermissionResultAllow()
            return sdk.PermissionResultDeny(message="The user does not allow this.")

        made = route.environment
        options = sdk.ClaudeAgentOptions(
            **{
                "cwd": route.record.folder,
                "setting_sources": ["user", "project", "local"],
                "include_partial_messages": True,
                "stderr": lambda line: None,
                **self._options,
                # The SDK adds the variables of this process to these.
                "env": {**dict.fromkeys(made.removed, ""), **made.environ, **self._options.get("env", {})},
                "settings": str(route.file),
                "resume": session or None,
                "can_use_tool": can_use_tool,
            }
        )
        self._client = sdk.ClaudeSDKClient(options)
        self._route = route
        self.session = session
        self._stopping = asyncio.Event()
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._owner = asyncio.create_task(self._own(self._client, ready, self._stopping))
        try:
            async with asyncio.timeout(_START):
                await ready
        except (sdk.ClaudeSDKError, OSError, TimeoutError) as error:
            await self.close()
            if session and _UNKNOWN in str(error):
                raise ConversationLost(f"Claude Code cannot resume the conversation {session}.") from None
            raise AgentError(f"Claude Code did not start: {str(error) or 'no answer in time'}") from None

    async def _own(self, client: Any, ready: asyncio.Future[None], stopping: asyncio.Event) -> None:
        try:
            await client.connect()
        except BaseException as error:
            if not ready.done():
                ready.set_exception(error)
            return
        ready.set_result(None)
        await stopping.wait()
        query: Any = getattr(client, "_query", None)
        try:
            with contextlib.suppress(Exception):
                await client.disconnect()
        finally:
            # The SDK leaves the stream of a turn open that was not read to its end.
            with contextlib.suppress(AttributeError):
                query.close_receive_stream()

    async def prompt(self, text: str) -> AsyncGenerator[AgentEvent]:
        """Run one turn. Raises AgentError when Claude Code has ended."""
        import claude_agent_sdk as sdk

        client, route = self._client, self._route
        if client is None or route is None:
            raise AgentError("Claude Code does not run.")
        turn = _SdkTurn(route)
        try:
            await client.query(text)
            async with contextlib.aclosing(client.receive_response()) as messages:
                async for message in messages:
                    for event in turn.read(message):
                        yield event
                    self.session = turn.session or self.session
        except sdk.ResultError:
            # Its result has been read.
            return
        except (sdk.ClaudeSDKError, OSError) as error:
            raise AgentError(f"Claude Code has ended: {error}") from None

    async def cancel(self) -> None:
        """Interrupt the turn."""
        if self._client is not None:
            with contextlib.suppress(Exception):
                await self._client.interrupt()

    async def switch(self, route: HostRoute) -> bool:
        """A process keeps its variables: it has to be restarted."""
        return False

    async def close(self) -> None:
        """End the process and its children."""
        owner, route, self._owner, self._client = self._owner, self._route, None, None
        if owner is None or route is None:
            return
        pids = await asyncio.to_thread(programs.processes_with_argument, str(route.file))
        tree = await asyncio.to_thread(programs.process_tree, pids)
        self._stopping.set()
        await asyncio.wait({owner}, timeout=_END)
        await end_tree(tree)
        owner.cancel()
        await asyncio.gather(owner, return_exceptions=True)


class _SdkTurn:
    """Reads the messages of one turn."""

    def __init__(self, route: HostRoute) -> None:
        self.session = ""
        self._route = route
        self._streamed = False
        self._last = ""
        """The text of the last message: an error is reported as text first."""

    def read(self, message: Any) -> list[AgentEvent]:
        kind = type(message).__name__
        session = getattr(message, "session_id", None)
        if isinstance(session, str):
            self.session = session
        if kind == "StreamEvent":
            return self._stream(message.event) if message.parent_tool_use_id is None else []
        if kind == "AssistantMessage":
            return self._assistant(message)
        if kind == "UserMessage" and isinstance(message.content, list):
            return [
                AgentToolResult(block.tool_use_id, bool(block.is_error))
                for block in message.content
                if type(block).__name__ == "ToolResultBlock"
            ]
        if kind == "ResultMessage":
            return self._result(message)
        if getattr(message, "subtype", "") == "api_retry":
            data = message.data
            status = data.get("error_status")
            return [
                AgentRetry(
                    int(data.get("attempt") or 0),
                    int(data.get("max_retries") or 0),
                    float(data.get("retry_delay_ms") or 0) / 1000,
                    status if isinstance(status, int) else None,
                )
            ]
        return []

    def _stream(self, event: dict[str, Any]) -> list[AgentEvent]:
        delta = event.get("delta") or {}
        if event.get("type") == "content_block_delta" and delta.get("type") == "text_delta":
            self._streamed = True
            return [AgentText(delta["text"])]
        return []

    def _assistant(self, message: Any) -> list[AgentEvent]:
        events: list[AgentEvent] = []
        for block in message.content:
            name = type(block).__name__
            if name == "TextBlock":
                self._last = block.text
                if not self._streamed:
                    events.append(AgentText(block.text))
            elif name == "ToolUseBlock":
                events.append(AgentToolCall(block.id, block.name, block.input))
        self._streamed = False
        return events

    def _result(self, message: Any) -> list[AgentEvent]:
        if str(message.terminal_reason or "").startswith("aborted"):
            return [TurnEnd("cancelled")]
        if message.is_error:
            text = message.result or "; ".join(message.errors or ()) or self._last or message.subtype
            target = self._route.plan.target
            advice = explain(target.name, target.base_url, text, message.api_error_status)
            return [AgentFailure(advice, self._last), TurnEnd("failed")]
        return [TurnEnd(message.stop_reason or "end_turn")]
