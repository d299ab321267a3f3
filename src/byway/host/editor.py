"""`byway acp`: an ACP agent for editors. It owns the adapter of Claude Code, and gives it the endpoint.

Messages pass through between editor and adapter. What Byway does itself: providers, the permission mode, errors of the
endpoint, and the settings `acp` of the config. https://agentclientprotocol.com/protocol/schema (seen 2026-11-30).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec

from byway.config.acp import AcpSettings
from byway.endpoints.address import check_address
from byway.endpoints.advice import explain
from byway.endpoints.clients import ClientRecord, registered, restart_requested
from byway.endpoints.preflight import preflight
from byway.endpoints.registry import Credential, Endpoints
from byway.host.adapter import AcpProcess, chosen_option, resuming_method, start_adapter
from byway.host.events import AgentError
from byway.host.host import MOST_RESTARTS
from byway.host.jsonrpc import INTERNAL_ERROR, INVALID_PARAMS, RpcFailure, RpcPeer
from byway.host.route import HostRoute, open_route
from byway.launch.localbyway import LaunchError
from byway.launch.relay import RelayTarget
from byway.launch.session import LaunchOptions
from byway.launch.target import LaunchTarget
from byway.tls.trust import extra_cas

#: The id of the only provider.
PROVIDER: Final = "main"
#: Seconds for an adapter to start again with its sessions.
_PATIENCE: Final = 60.0
#: Seconds between two looks at the active endpoint and at idle sessions.
_POLL: Final = 0.5
_CREDENTIALS: Final = ("authorization", "x-api-key")
_OPENING: Final = ("session/new", "session/load", "session/resume", "session/fork")


class _OpenSession:
    """A session of the editor: what opens it again in another adapter."""

    def __init__(self, place: dict[str, Any]) -> None:
        self.place = place
        """Its folder and MCP servers."""
        self.mode = ""
        """The permission mode; empty for the adapter's own."""
        self.used = time.monotonic()


class EditorBridge:
    """One connection of an editor. An adapter that has ended is started again by the next request."""

    def __init__(
        self, options: LaunchOptions, settings: AcpSettings, environ: Mapping[str, str], report: Callable[[str], None]
    ) -> None:
        """`report` prints a line to stderr, which editors keep as a log."""
        self._options = options
        self._settings = settings
        self._environ = environ
        self._report = report
        self._sessions: dict[str, _OpenSession] = {}
        """The open sessions; limited by `acp.sessions.max_concurrent`."""
        self._prompting: set[str] = set()
        self._silent: set[str] = set()
        """The sessions with a prompt of which the adapter has sent nothing yet."""
        self._route: HostRoute | None = None
        self._own: RelayTarget | None = None
        """What the editor has set by `providers/set`."""
        self._record: Callable[[ClientRecord], None] = lambda record: None
        self._editor: RpcPeer | None = None
        self._process: AcpProcess | None = None
        self._agent: RpcPeer | None = None
        self._serving: asyncio.Task[None] | None = None
        self._introduction: Any = None
        """What the editor has sent by `initialize`; None before the adapter has answered it."""
        self._restarts = 0
        """Since the last answered prompt."""
        self._muted = ""
        """The session whose history is repeated, which the editor has."""
        self._ended = asyncio.Event()
        """The adapter has ended, and is not started again."""
        self._starting = asyncio.Lock()
        self._switching = asyncio.Lock()

    async def run(
        self, reader: asyncio.StreamReader, write: Callable[[bytes], None], drain: Callable[[], Awaitable[None]]
    ) -> None:
        """Serve the editor until it closes its side. Raises LaunchError, AgentError when nothing can be started."""
        stamp = Endpoints(self._options.data, self._environ).stamp()
        self._route = await asyncio.to_thread(open_route, self._options, self._environ, self._report)
        tasks: list[asyncio.Task[Any]] = []
        with contextlib.ExitStack() as stack:
            try:
                self._record = stack.enter_context(registered(self._options.data, self._route.record))
                self._route.registered(self._record)
                await self._start_agent(self._route)
                self._editor = RpcPeer(reader, write, drain, self._from_editor, self._noted_by_editor)
                work = (self._editor.run(), self._ended.wait(), self._watch(stamp))
                tasks = [asyncio.create_task(part) for part in work]
                await asyncio.wait(tasks[:2], return_when=asyncio.FIRST_COMPLETED)
            finally:
                await self._end_agent()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await asyncio.to_thread(self._route.close)

    # ------------------------------------------------------------------------------------------------------ the adapter

    async def _start_agent(self, route: HostRoute) -> None:
        """Start the adapter. Raises AgentError."""
        self._process = await start_adapter(route, self._environ)
        self._agent = self._process.peer(self._from_agent, self._noted_by_agent)
        self._serving = asyncio.create_task(self._serve(self._process, self._agent))

    async def _serve(self, process: AcpProcess, agent: RpcPeer) -> None:
        """Read what the adapter sends, until it ends."""
        await agent.run()
        self._report(f"The ACP adapter has ended. {process.errors}".strip())
        # Without an introduction it has not started at all.
        if self._introduction is None or self._restarts >= MOST_RESTARTS:
            self._ended.set()

    async def _end_agent(self) -> None:
        process, serving, self._process, self._serving = self._process, self._serving, None, None
        if serving is not None:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
        if process is not None:
            await process.close()

    async def _restarted(self, method: str, params: Any) -> Any:
        """Start an adapter that has ended again, with its sessions, and send the request. Raises RpcFailure."""
        async with self._starting:
            if not self._runs:
                await self._restart()
        return await self._from_editor(method, params)

    async def _restart(self) -> None:
        if self._route is None or self._ended.is_set():
            raise RpcFailure(INTERNAL_ERROR, "The ACP adapter has ended. Start the agent again.")
        self._restarts += 1
        await self._end_agent()
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._start_agent(self._route)
                assert self._agent is not None  # noqa: S101 - it was started
                about = await self._agent.send("initialize", self._introduction)
                for session in [*self._sessions]:
                    await self._resume(self._agent, resuming_method(about), session)
        except (AgentError, RpcFailure, TimeoutError) as error:
            reason = str(error) or "no answer in time"
            raise RpcFailure(
                INTERNAL_ERROR, f"The ACP adapter has ended and cannot be started again: {reason}"
            ) from None
        self._report("The ACP adapter was started again.")

    async def _resume(self, agent: RpcPeer, method: str, session: str) -> None:
        """Continue a session in a new adapter, and tell the editor. One that cannot be continued is forgotten."""
        opened = self._sessions[session]
        text = "The ACP adapter had ended. It was started again, and this session continues."
        try:
            if not method:
                raise RpcFailure(INTERNAL_ERROR, "The agent cannot resume a session.")
            self._muted = session if method == "session/load" else ""
            await agent.send(method, {"sessionId": session, **opened.place})
            if opened.mode:
                await agent.send("session/set_mode", {"sessionId": session, "modeId": opened.mode})
        except RpcFailure as failure:
            if agent.closed:
                raise
            del self._sessions[session]
            text = (
                f"The ACP adapter had ended, and this session cannot be continued: {failure.message} Start a new one."
            )
        finally:
            self._muted = ""
        if self._editor is not None:
            update = {"sessionUpdate": "agent_thought_chunk", "content": {"type": "text", "text": text}}
            self._editor.notify("session/update", {"sessionId": session, "update": update})

    @property
    def _runs(self) -> bool:
        return self._agent is not None and not self._agent.closed

    # ------------------------------------------------------------------------------------------------ from the editor

    def _noted_by_editor(self, method: str, params: Any) -> None:
        if self._agent is not None:
            self._agent.notify(method, params)

    def _from_editor(self, method: str, params: Any) -> Awaitable[Any]:
        params = params if isinstance(params, dict) else {}
        match method:
            case "providers/list":
                return self._list_providers()
            case "providers/set":
                return self._set_provider(params)
            case "providers/disable":
                return self._disable_provider()
        if method in _OPENING:
            if len(self._sessions) >= self._settings.sessions.max_concurrent and method != "session/load":
                raise RpcFailure(
                    INTERNAL_ERROR,
                    f"{len(self._sessions)} sessions are open, and acp.sessions.max_concurrent allows no more. Close one.",
                )
            if not self._settings.capabilities.mcp:
                params = {**params, "mcpServers": []}
        session = params.get("sessionId")
        if isinstance(session, str) and session in self._sessions:
            self._sessions[session].used = time.monotonic()
        if self._agent is None or self._agent.closed:
            return self._restarted(method, params)
        if method == "session/prompt" and self._route is not None:
            # Before the agent has the prompt: its request may fail before anything else runs here.
            self._route.relay.take_advice()
        answer = self._agent.send(method, params)
        if method == "initialize":
            return self._initialized(answer, params)
        if method in _OPENING:
            return self._opened(method, answer, params)
        if method == "session/set_mode" and session in self._sessions:
            self._sessions[session].mode = str(params.get("modeId") or "")
        if method == "session/prompt":
            return self._prompted(answer, params)
        if method in ("session/close", "session/delete") and isinstance(session, str):
            self._sessions.pop(session, None)
        return answer

    async def _initialized(self, answer: asyncio.Future[Any], params: Mapping[str, Any]) -> Any:
        result = dict(await answer)
        self._introduction = params
        capabilities = dict(result.get("agentCapabilities") or {})
        if not self._settings.capabilities.load_session:
            capabilities["loadSession"] = False
        if not self._settings.capabilities.mcp:
            capabilities["mcpCapabilities"] = {"http": False, "sse": False}
        capabilities["providers"] = {}
        # A Claude login is of no use with an endpoint, and must not be sent to it.
        return {**result, "agentCapabilities": capabilities, "authMethods": []}

    async def _opened(self, method: str, answer: asyncio.Future[Any], params: Mapping[str, Any]) -> Any:
        try:
            result = await answer
        except RpcFailure as failure:
            raise self._explained(failure) from None
        result = dict(result or {})
        session = str(result.get("sessionId") or params.get("sessionId"))
        opened = _OpenSession({name: value for name, value in params.items() if name != "sessionId"})
        self._sessions[session] = opened
        mode = self._route.permission_mode if self._route else ""
        modes = result.get("modes")
        if mode and method == "session/new" and self._agent is not None:
            # The adapter starts in auto mode, whose check only Anthropic's models have (measured, 0.101.0).
            with contextlib.suppress(RpcFailure):
                await self._agent.send("session/set_mode", {"sessionId": session, "modeId": mode})
                opened.mode = mode
                if isinstance(modes, dict):
                    result["modes"] = {**modes, "currentModeId": mode}
        return result

    async def _prompted(self, answer: asyncio.Future[Any], params: Mapping[str, Any]) -> Any:
        session = str(params.get("sessionId"))
        self._prompting.add(session)
        self._silent.add(session)
        try:
            result = await answer
        except RpcFailure as failure:
            if session in self._silent and not self._runs and not self._ended.is_set():
                # It had ended before it did anything for this prompt.
                return await self._restarted("session/prompt", params)
            raise self._explained(failure) from None
        finally:
            self._prompting.discard(session)
            self._silent.discard(session)
            if session in self._sessions:
                self._sessions[session].used = time.monotonic()
        self._restarts = 0
        return result

    def _explained(self, failure: RpcFailure) -> RpcFailure:
        """The failure in Byway's words. Never an authentication error: the editor would open a Claude login."""
        if self._route is None or failure.code == INVALID_PARAMS:
            return failure
        if not self._runs:
            return RpcFailure(INTERNAL_ERROR, "The ACP adapter has ended. The next prompt starts it again.")
        target = self._own.target if self._own else self._route.plan.target
        advice = self._route.relay.take_advice()
        if advice is None and failure.code != -32000:
            return failure
        advice = advice or explain(target.name, target.base_url, failure.message)
        data = {
            "details": f"{failure.message} {advice.details}".strip(),
            "layer": advice.layer,
            "endpoint": target.name,
        }
        return RpcFailure(INTERNAL_ERROR, f"{advice.summary} {advice.action}", data)

    # ------------------------------------------------------------------------------------------------- from the agent

    def _noted_by_agent(self, method: str, params: Any) -> None:
        if isinstance(params, dict):
            self._silent.discard(str(params.get("sessionId")))
        is_repeated = bool(self._muted) and isinstance(params, dict) and params.get("sessionId") == self._muted
        if self._editor is not None and not is_repeated:
            self._editor.notify(method, params)

    def _from_agent(self, method: str, params: Any) -> Awaitable[Any]:
        if self._editor is None:
            raise RpcFailure(INTERNAL_ERROR, "The editor has closed the connection.")
        if method == "session/request_permission" and (outcome := self._decided(params)) is not None:
            return _value(outcome)
        return self._editor.send(method, params)

    def _decided(self, params: Any) -> dict[str, Any] | None:
        """The answer that `acp.permissions` gives for a tool call; None: the user decides."""
        permissions = self._settings.permissions
        kind = str(((params or {}).get("toolCall") or {}).get("kind") or "other")
        if kind in permissions.always_ask:
            return None
        if kind in permissions.auto_allow or permissions.default_policy == "allow_always":
            wanted = "allow_once"
        elif permissions.default_policy == "reject_always":
            wanted = "reject_once"
        else:
            return None
        return chosen_option(params, wanted)

    # ------------------------------------------------------------------------------------------------------ providers

    async def _list_providers(self) -> Any:
        target = self._own.target if self._own else self._route.plan.target if self._route else LaunchTarget("")
        current = {"apiType": "anthropic", "baseUrl": target.base_url}
        return {
            "providers": [{"providerId": PROVIDER, "supported": ["anthropic"], "required": False, "current": current}]
        }

    async def _set_provider(self, params: Mapping[str, Any]) -> Any:
        if params.get("providerId") != PROVIDER or params.get("apiType") != "anthropic":
            raise RpcFailure(INVALID_PARAMS, f"The only provider is {PROVIDER!r}, with the apiType 'anthropic'.")
        address = check_address(str(params.get("baseUrl") or ""))
        if address.state != "ok":
            raise RpcFailure(INVALID_PARAMS, f"The base URL cannot be used: {address.objection}")
        given = params.get("headers")
        headers = {str(name).lower(): str(value) for name, value in given.items()} if isinstance(given, dict) else {}
        key, token = headers.get("x-api-key", ""), headers.get("authorization", "").removeprefix("Bearer ")
        others = {name: value for name, value in headers.items() if name not in _CREDENTIALS}
        cas = extra_cas(self._options.data, self._environ)
        kind: Credential = "api_key" if key else "auth_token" if token else "none"
        target = LaunchTarget("of the editor", address.url, kind, key or token, others, extra_cas=cas)
        async with self._switching:
            report = await preflight(
                target.name, target.base_url, target.request_headers(), environ=self._environ, extra_cas=cas
            )
            if report.advice is not None:
                advice = report.advice
                raise RpcFailure(
                    INTERNAL_ERROR,
                    f"{advice.summary} {advice.action}",
                    {"details": advice.details, "layer": advice.layer},
                )
            self._own = RelayTarget(target, tuple(report.models), {}, report.model)
            if self._route is not None:
                await asyncio.to_thread(self._route.relay.retarget, self._own, None)
                self._record(_moved(self._route.record, target))
        return {}

    async def _disable_provider(self) -> Any:
        self._own = None
        await self._switch()
        return {}

    async def _switch(self) -> None:
        """Use the endpoint that applies now. When it fails, the old one stays."""
        async with self._switching:
            before = self._route
            if before is None or self._own is not None:
                return
            try:
                route = await asyncio.to_thread(open_route, self._options, self._environ, self._report)
            except LaunchError as error:
                self._record(msgspec.structs.replace(before.record, switchable=False))
                self._report(f"The endpoint {before.name} stays: {error}")
                return
            await asyncio.to_thread(route.adopt, before)
            self._route = route
            route.registered(self._record)
            await asyncio.to_thread(before.close)
            self._report(f"Endpoint {route.name}")

    async def _watch(self, stamp: tuple[int, int]) -> None:
        """Follow the active endpoint, and close idle sessions."""
        endpoints = Endpoints(self._options.data, self._environ)
        while True:
            await asyncio.sleep(_POLL)
            # A failure keeps the endpoint that works.
            with contextlib.suppress(Exception):
                record = self._route.record if self._route else None
                requested = await asyncio.to_thread(restart_requested, self._options.data, record)
                current = await asyncio.to_thread(endpoints.stamp)
                if requested or (current != stamp and record is not None and not record.bound):
                    stamp = current
                    if requested or (self._route and endpoints.book().active != self._route.name):
                        await self._switch()
                self._close_idle()

    def _close_idle(self) -> None:
        latest = time.monotonic() - self._settings.sessions.idle_timeout
        for session, opened in [*self._sessions.items()]:
            is_idle = opened.used < latest and session not in self._prompting
            if is_idle and self._agent is not None and not self._agent.closed:
                del self._sessions[session]
                self._agent.send("session/close", {"sessionId": session}).add_done_callback(asyncio.Future.exception)


async def _value(value: Any) -> Any:
    return value


def _moved(record: ClientRecord, target: LaunchTarget) -> ClientRecord:
    return msgspec.structs.replace(record, endpoint=target.name, base_url=target.base_url, bound=True)
