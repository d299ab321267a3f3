"""AgentHost: one Claude Code that runs inside another program, and whose endpoint may change at any time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Final, Literal

import msgspec
from msgspec import Struct

from byway.endpoints.advice import explain
from byway.endpoints.clients import ClientRecord, registered, restart_requested
from byway.endpoints.registry import Endpoints
from byway.host.backing import AgentBacking
from byway.host.events import (
    AgentError,
    AgentEvent,
    AgentFailure,
    AgentRestart,
    AgentToolCall,
    AgentToolResult,
    ConversationLost,
    PermissionQuestion,
    Permit,
    TurnEnd,
)
from byway.host.route import HostRoute, open_route
from byway.launch.localbyway import LaunchError
from byway.launch.session import EndpointFailure, LaunchOptions

#: Seconds without an event after which a turn is ended. Claude Code itself waits for minutes and shows nothing (measured).
SILENCE: Final = 120.0
#: Restarts of an agent that ends again and again, without a finished turn between them.
MOST_RESTARTS: Final = 3
#: Seconds between two looks at the active endpoint.
_POLL: Final = 0.5

HostState = Literal["stopped", "starting", "ready", "working", "pending", "switching", "failed"]


class SwitchResult(Struct, frozen=True):
    """What became of a change of the endpoint."""

    outcome: Literal["live", "restarted", "kept", "superseded"]
    """`kept`: the new endpoint does not work, and the old one stays. `superseded`: another change came after it."""
    endpoint: str
    """The endpoint in use now."""
    message: str = ""
    """Why the old one was kept."""


class AgentHost:
    """Owns one agent: its process, its endpoint and its conversation.

    A changed endpoint is checked first. When it fails, the old one stays. Otherwise the running turn is finished or cancelled,
    and the conversation continues with the new endpoint, live or in a new process.
    """

    def __init__(
        self,
        options: LaunchOptions,
        backing: AgentBacking,
        permit: Permit,
        environ: Mapping[str, str],
        *,
        silence: float = SILENCE,
        changed: Callable[[HostState], None] = lambda state: None,
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        """`permit` answers for tool calls, `changed` learns of each new state, `report` of each step of a start."""
        self.state: HostState = "stopped"
        self.generation = 0
        """Counts the endpoints that this host has used: events of an older one are dropped."""
        self._options = options
        self._backing = backing
        self._permit = permit
        self._environ = environ
        self._silence = silence
        self._changed = changed
        self._report = report
        self._route: HostRoute | None = None
        self._turn = asyncio.Lock()
        self._switching = asyncio.Lock()
        self._wanted = 0
        self._restarts = 0
        """Since the last finished turn."""
        self._questions = 0
        self._tools: set[str] = set()
        self._record: Callable[[ClientRecord], None] = lambda record: None
        self._registration = contextlib.ExitStack()
        self._watch: asyncio.Task[None] | None = None

    @property
    def session(self) -> str:
        """The id of the conversation."""
        return self._backing.session

    @property
    def endpoint(self) -> str:
        """The name of the endpoint in use; empty before the start."""
        return self._route.name if self._route else ""

    # ------------------------------------------------------------------------------------------------------------ life

    async def start(self, session: str = "") -> None:
        """Check the endpoint and start the agent; resume the conversation `session` if there is one. Raises LaunchError,
        AgentError."""
        self._set("starting")
        self._restarts = 0
        # Before the endpoint is read: no later change is missed.
        stamp = Endpoints(self._options.data, self._environ).stamp()
        try:
            self._route = await self._open(self._options)
            self._record = self._registration.enter_context(registered(self._options.data, self._route.record))
            self._route.registered(self._record)
            await self._backing.start(self._route, session, self._ask_permission)
        except BaseException:
            self._set("failed")
            await self._release()
            raise
        self.generation += 1
        if self._route.record.switchable:
            self._watch = asyncio.create_task(self._follow(stamp))
        self._set("ready")

    async def close(self) -> None:
        """End the agent with all its processes, and give back what it used."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        self.generation += 1
        await self._backing.close()
        await self._release()
        self._set("stopped")

    async def _release(self) -> None:
        route, self._route = self._route, None
        self._registration.close()
        if route is not None:
            await asyncio.to_thread(route.close)

    def _set(self, state: HostState) -> None:
        if state != self.state:
            self.state = state
            self._changed(state)

    # ------------------------------------------------------------------------------------------------------------ turns

    async def prompt(self, text: str) -> AsyncGenerator[AgentEvent]:
        """Run one turn, and yield what happens in it, retries included. The last event is a TurnEnd.

        An agent that has ended is started again before the turn, and the conversation continues: an AgentRestart is the first
        event. One turn runs at a time. A turn without any event for the seconds of the stall guard is ended; open questions and
        running tools do not count as silence. Raises AgentError when the agent ends in the turn, or cannot be started again.
        """
        async with self._turn:
            route = self._route
            if route is None:
                raise AgentError("The agent does not run. Start it first.")
            if (reason := self._backing.ended) is not None:
                yield await self._restart_ended(route, reason)
            self._set("working")
            self._tools.clear()
            generation = self.generation
            route.relay.take_advice()
            events = self._backing.prompt(text)
            ended = False
            try:
                while not ended:
                    event = await self._following(events, route)
                    ended = event is None or isinstance(event, TurnEnd)
                    if event is None or generation != self.generation:
                        return
                    if isinstance(event, AgentFailure):
                        # The relay has seen the endpoint's own answer, which the agent rewords.
                        event = AgentFailure(route.relay.take_advice() or event.advice, event.replaces)
                    if isinstance(event, TurnEnd) and event.reason != "failed":
                        self._restarts = 0
                    yield event
            except AgentError:
                # The next turn starts the agent again.
                ended = True
                raise
            except TimeoutError:
                silence = f"no answer within {self._silence:g} seconds"
                failure = explain(route.name, route.plan.target.base_url, silence)
                await self._end_turn(events, route)
                ended = True
                yield AgentFailure(route.relay.take_advice() or failure)
                yield TurnEnd("failed")
            finally:
                if not ended:
                    await self._end_turn(events, route)
                await events.aclose()
                if self.state == "working":
                    self._set("ready")

    async def _restart_ended(self, route: HostRoute, reason: str) -> AgentRestart:
        """Start an agent that has ended, and resume its conversation. Raises AgentError."""
        if self._restarts >= MOST_RESTARTS:
            self._set("failed")
            raise AgentError(
                f"The agent has ended {MOST_RESTARTS + 1} times without a finished turn. {reason}".rstrip()
                + " Check it with `byway doctor`, then start the host again."
            )
        self._restarts += 1
        session = self._backing.session
        self._set("starting")
        await self._backing.close()
        try:
            resumed = await self._resume(route, session)
        except AgentError:
            self._backing.session = session
            self._set("failed")
            raise
        return AgentRestart(self._restarts, MOST_RESTARTS, resumed, reason)

    async def _resume(self, route: HostRoute, session: str) -> bool:
        """Start the agent; with a new conversation when it cannot resume the old one. Returns whether nothing is lost."""
        try:
            await self._backing.start(route, session, self._ask_permission)
        except ConversationLost:
            await self._backing.start(route, "", self._ask_permission)
            return False
        return True

    async def _following(self, events: AsyncGenerator[AgentEvent], route: HostRoute) -> AgentEvent | None:
        """The next event; None at the end. Raises TimeoutError when nothing happens for too long."""
        following = asyncio.create_task(_next(events))
        try:
            while True:
                await asyncio.wait({following}, timeout=self._silence)
                if following.done():
                    event = following.result()
                    self._note(event)
                    return event
                if not (self._questions or self._tools):
                    raise TimeoutError
        finally:
            if not following.done():
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)

    async def _end_turn(self, events: AsyncGenerator[AgentEvent], route: HostRoute) -> None:
        """Cancel a turn that nothing reads any more; restart an agent that does not end it."""
        await events.aclose()
        if self._route is not route:
            return
        session = self._backing.session
        await self._backing.close()
        with contextlib.suppress(AgentError):
            await self._backing.start(route, session, self._ask_permission)

    def _note(self, event: AgentEvent | None) -> None:
        if isinstance(event, AgentToolCall):
            self._tools.add(event.id)
        elif isinstance(event, AgentToolResult):
            self._tools.discard(event.id)

    async def _ask_permission(self, question: PermissionQuestion) -> bool:
        self._questions += 1
        try:
            return await self._permit(question)
        finally:
            self._questions -= 1

    async def cancel(self) -> None:
        """End the running turn. The conversation stays."""
        if self._turn.locked():
            await self._backing.cancel()

    # --------------------------------------------------------------------------------------------------------- endpoint

    async def use(self, endpoint: str | None, *, cancel: bool = False) -> SwitchResult:
        """Continue with another endpoint; None: the active one. `cancel` ends the running turn, otherwise it is finished.

        Of several changes at the same time the last one counts.
        """
        self._wanted += 1
        wanted = self._wanted
        async with self._switching:
            if wanted != self._wanted:
                return SwitchResult("superseded", self.endpoint)
            try:
                options = self._options._replace(endpoint=endpoint)
                route = await self._open(options)
            except LaunchError as error:
                self._stay(error)
                return SwitchResult("kept", self.endpoint, str(error))
            if wanted != self._wanted:
                await asyncio.to_thread(route.close)
                return SwitchResult("superseded", self.endpoint)
            try:
                return await self._use(route, cancel=cancel)
            except BaseException:
                if self._route is not route:
                    await asyncio.to_thread(route.close)
                raise

    async def _open(self, options: LaunchOptions) -> HostRoute:
        """Open a route. A cancellation waits until it is open and closes it: nothing of it stays. Raises LaunchError."""
        opening = asyncio.create_task(asyncio.to_thread(open_route, options, self._environ, self._report))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            with contextlib.suppress(LaunchError):
                route = await opening
                await asyncio.to_thread(route.close)
            raise

    def _stay(self, error: LaunchError) -> None:
        if self._route is not None and isinstance(error, EndpointFailure):
            self._record(msgspec.structs.replace(self._route.record, switchable=False))

    async def _use(self, route: HostRoute, *, cancel: bool) -> SwitchResult:
        before = self._route
        if before is None:
            raise AgentError("The agent does not run. Start it first.")
        if self._turn.locked():
            self._set("pending")
            if cancel:
                await self._backing.cancel()
        async with self._turn:
            self._set("switching")
            try:
                live = await self._backing.switch(route)
                if live:
                    await asyncio.to_thread(route.adopt, before)
                else:
                    await self._restart(route, before)
            except AgentError as error:
                self._set("ready")
                await asyncio.to_thread(route.close)
                return SwitchResult("kept", before.name, str(error))
            except BaseException:
                self._set("failed")
                raise
            self.generation += 1
            self._route = route
            route.registered(self._record)
            self._set("ready")
        closing = asyncio.create_task(asyncio.to_thread(before.close))
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            # The host closes: its files are gone when it has closed.
            await closing
            raise
        return SwitchResult("live" if live else "restarted", route.name)

    async def _restart(self, route: HostRoute, before: HostRoute) -> None:
        """Resume the conversation in a new process; with the old endpoint when that fails. Raises AgentError then."""
        session = self._backing.session
        await self._backing.close()
        try:
            await self._backing.start(route, session, self._ask_permission)
        except AgentError:
            await self._backing.start(before, session, self._ask_permission)
            raise

    async def _follow(self, stamp: tuple[int, int]) -> None:
        """Use the active endpoint when it changes, and when `byway doctor` or the page requests a restart."""
        endpoints = Endpoints(self._options.data, self._environ)
        while True:
            await asyncio.sleep(_POLL)
            # A failure keeps the endpoint that works.
            with contextlib.suppress(Exception):
                current = await asyncio.to_thread(endpoints.stamp)
                requested = await asyncio.to_thread(restart_requested, self._options.data, self._route_record())
                if current == stamp and not requested:
                    continue
                stamp = current
                if requested or endpoints.book().active != self.endpoint:
                    await self.use(None)
                elif self._route is not None:
                    self._record(self._route.record)

    def _route_record(self) -> ClientRecord | None:
        return self._route.record if self._route else None


async def _next(events: AsyncGenerator[AgentEvent]) -> AgentEvent | None:
    return await anext(events, None)
