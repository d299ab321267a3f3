"""Hosts Claude Code by its ACP adapter."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

from byway.endpoints.advice import explain
from byway.host.adapter import AcpProcess, chosen_option, resuming_method, start_adapter
from byway.host.events import (
    AgentError,
    AgentEvent,
    AgentFailure,
    AgentText,
    AgentToolCall,
    AgentToolResult,
    ConversationLost,
    PermissionQuestion,
    Permit,
    TurnEnd,
)
from byway.host.jsonrpc import METHOD_NOT_FOUND, RpcFailure, RpcPeer
from byway.host.route import HostRoute

#: Seconds for an answer to anything but a prompt.
_PATIENCE: Final = 60.0


class AcpBacking:
    """One adapter with one conversation. It changes the endpoint while the process runs."""

    def __init__(self, environ: Mapping[str, str], *, meta: Mapping[str, Any] | None = None) -> None:
        """`environ` is for finding the programs; `meta` goes into `_meta` of a new conversation."""
        self.session = ""
        self._environ = environ
        self._meta = meta
        self._process: AcpProcess | None = None
        self._peer: RpcPeer | None = None
        self._reading: asyncio.Task[None] | None = None
        self._route: HostRoute | None = None
        self._events: asyncio.Queue[AgentEvent] = asyncio.Queue(10_000)
        self._permit: Permit | None = None
        self._text = ""

    @property
    def ended(self) -> str | None:
        """What the adapter printed before it ended; None while it runs."""
        process, reading = self._process, self._reading
        if process is None or reading is None:
            return ""
        return process.errors.strip() if reading.done() or process.process.returncode is not None else None

    async def start(self, route: HostRoute, session: str, permit: Permit) -> None:
        """Start the adapter, and create or resume the conversation. Raises AgentError."""
        self._process = await start_adapter(route, self._environ)
        self._peer = self._process.peer(self._on_request, self._on_notification)
        self._reading = asyncio.create_task(self._peer.run())
        self._route, self._permit = route, permit
        place: dict[str, Any] = {"cwd": route.record.folder, "mcpServers": []}
        if self._meta is not None:
            place["_meta"] = self._meta
        try:
            about = await self._call("initialize", {"protocolVersion": 1, "clientCapabilities": {}})
            if session:
                await self._resume(about, session, place)
            else:
                self.session = str((await self._call("session/new", place))["sessionId"])
            if mode := route.permission_mode:
                # The adapter starts in auto mode, whose check only Anthropic's models have (measured, 0.101.0).
                await self._call("session/set_mode", {"sessionId": self.session, "modeId": mode})
        except AgentError:
            await self.close()
            raise
        except (RpcFailure, TimeoutError, KeyError, TypeError) as error:
            await self.close()
            raise AgentError(f"The ACP agent did not start: {str(error) or 'no answer in time'}") from None

    async def _resume(self, about: Any, session: str, place: Mapping[str, Any]) -> None:
        """Continue a conversation in the way that the agent offers. Raises ConversationLost."""
        method = resuming_method(about)
        if not method:
            raise ConversationLost("The ACP agent cannot resume a conversation.")
        try:
            await self._call(method, {"sessionId": session, **place})
        except RpcFailure as failure:
            raise ConversationLost(f"The ACP agent cannot resume the conversation: {failure.message}") from None
        self.session = session

    async def _call(self, method: str, params: Any) -> Any:
        if self._peer is None:
            raise AgentError("The ACP agent does not run.")
        async with asyncio.timeout(_PATIENCE):
            return await self._peer.send(method, params)

    async def prompt(self, text: str) -> AsyncGenerator[AgentEvent]:
        """Run one turn. Raises AgentError when the adapter has ended."""
        if self._peer is None or self._route is None or self._process is None:
            raise AgentError("The ACP agent does not run.")
        self._events = asyncio.Queue(10_000)
        self._text = ""
        answer = self._peer.send(
            "session/prompt", {"sessionId": self.session, "prompt": [{"type": "text", "text": text}]}
        )
        answer.add_done_callback(lambda _: self._put(TurnEnd("")))
        while not isinstance(event := await self._events.get(), TurnEnd):
            yield event
        try:
            result = answer.result()
        except RpcFailure as failure:
            if self._reading is None or self._reading.done() or self._process.process.returncode is not None:
                raise AgentError(f"The ACP agent has ended. {self._process.errors}".strip()) from None
            target = self._route.plan.target
            advice = explain(target.name, target.base_url, f"{self._text}\n{failure.message}".strip())
            yield AgentFailure(advice, self._text)
            yield TurnEnd("failed")
            return
        reason = result.get("stopReason") if isinstance(result, dict) else None
        yield TurnEnd(str(reason or "end_turn"))

    def _put(self, event: AgentEvent) -> None:
        # A full queue belongs to a turn that nothing reads any more.
        with contextlib.suppress(asyncio.QueueFull):
            self._events.put_nowait(event)

    def _on_notification(self, method: str, params: Any) -> None:
        update = params.get("update") if method == "session/update" and isinstance(params, dict) else None
        if not isinstance(update, dict):
            return
        match update.get("sessionUpdate"):
            case "agent_message_chunk":
                content = update.get("content")
                self._text = str(content.get("text") or "") if isinstance(content, dict) else ""
                self._put(AgentText(self._text))
            case "tool_call":
                given = update.get("rawInput")
                name = str(update.get("title") or "")
                self._put(AgentToolCall(str(update.get("toolCallId")), name, given if isinstance(given, dict) else {}))
            case "tool_call_update" if update.get("status") in ("completed", "failed"):
                self._put(AgentToolResult(str(update.get("toolCallId")), update.get("status") == "failed"))
            case _:
                pass

    def _on_request(self, method: str, params: Any) -> Any:
        if method != "session/request_permission" or self._permit is None:
            raise RpcFailure(METHOD_NOT_FOUND, f"Method not found: {method}")
        return self._permission(self._permit, params)

    async def _permission(self, permit: Permit, params: Any) -> Any:
        call = params.get("toolCall") or {}
        meta = call.get("_meta") or {}
        tool = (meta.get("claudeCode") or {}).get("toolName") or call.get("kind") or ""
        given = call.get("rawInput")
        question = PermissionQuestion(str(tool), given if isinstance(given, dict) else {}, str(call.get("title") or ""))
        wanted = "allow_once" if await permit(question) else "reject_once"
        return chosen_option(params, wanted) or {"outcome": {"outcome": "cancelled"}}

    async def cancel(self) -> None:
        """End the turn."""
        if self._peer is not None:
            self._peer.notify("session/cancel", {"sessionId": self.session})

    async def switch(self, route: HostRoute) -> bool:
        """The process keeps its relay, which the route takes over."""
        self._route = route
        return self._process is not None

    async def close(self) -> None:
        """End the adapter and its children."""
        process, reading, self._process, self._peer, self._reading = self._process, self._reading, None, None, None
        if process is not None:
            await process.close()
        if reading is not None:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
