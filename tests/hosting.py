"""Two scripted endpoints, a scratch home and a host that runs a real agent in it. No assertions."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

from scripted import Asked, Reply, Say, Scripted, Step, Tool

from byway import programs
from byway.endpoints.registry import Endpoint, Endpoints
from byway.host.backing import AgentBacking
from byway.host.events import AgentEvent, AgentText, PermissionQuestion
from byway.host.host import AgentHost
from byway.launch.session import LaunchOptions


class Talk:
    """The model of an endpoint: it does what the last message of the user names."""

    def __init__(self, name: str, work: Path) -> None:
        self.name = name
        self.work = work
        self.failing: Reply | None = None
        """Answers every message instead."""
        self.waits = threading.Event()
        """Set when a request of `wait` has arrived."""
        self.turns: list[dict[str, Any]] = []
        """The bodies of the requests of the main conversation."""

    def __call__(self, request: Asked) -> Say | Reply:
        body = request.json
        if "x-byway-probe" in request.headers or not body.get("tools"):
            return self.failing or Say("ok")
        self.turns.append(body)
        if self.failing:
            return self.failing
        last, has_result = _last(body["messages"])
        if last == "wait for it":
            self.waits.set()
            return Say("too late", wait=120)
        if last == "run the tool" and not has_result:
            command = f"sh -c 'echo {self.name} > {self.work}/out.txt'"
            tool = Tool("Bash", {"command": command, "description": "write"}, id=f"toolu_{len(self.turns)}")
            return Say("", [tool], edit=self._numbered)
        return Say(f"{'Done' if last == 'run the tool' else 'Hello'} from {self.name}", edit=self._numbered)

    def _numbered(self, steps: list[Step]) -> list[Step]:
        """With an id of its own: Claude Code joins messages of one id."""
        id = f"msg_{len(self.turns)}".encode()
        return [step.replace(b"msg_scripted", id) if isinstance(step, bytes) else step for step in steps]


def _last(messages: list[dict[str, Any]]) -> tuple[str, bool]:
    """The last order of the user, and whether a tool has run since."""
    has_result = False
    for message in reversed(messages):
        text = json.dumps(message["content"])
        has_result = has_result or '"tool_result"' in text
        for order in ("say hello", "run the tool", "wait for it"):
            if message["role"] == "user" and order in text:
                return order, has_result
    return "", has_result


class HostWorld:
    """Endpoints `a` (active) and `b`, and the host of one agent."""

    def __init__(self, home: Path, first: Scripted, second: Scripted) -> None:
        self.home = home
        self.data = home / "data"
        self.work = home / "work"
        self.work.mkdir(parents=True)
        self.a = Talk("A", self.work)
        self.b = Talk("B", self.work)
        first.play(self.a)
        second.play(self.b)
        self.endpoints = Endpoints(self.data, {})
        self.endpoints.add(Endpoint("a", first.url))
        self.endpoints.add(Endpoint("b", second.url))
        self.endpoints.add(Endpoint("broken", "http://127.0.0.1:1"))
        self.endpoints.use("a")
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "CLAUDE_CONFIG_DIR": str(home / "config"),
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_MAX_RETRIES": "1",
            "DISABLE_AUTOUPDATER": "1",
            "ANTHROPIC_API_KEY": "sk-ant-real",
        }
        self.questions: list[PermissionQuestion] = []
        self.allows = True
        self.states: list[str] = []
        self.before = set(programs.process_tree([os.getpid()]))

    async def permit(self, question: PermissionQuestion) -> bool:
        self.questions.append(question)
        return self.allows

    def host(self, backing: AgentBacking, **options: Any) -> AgentHost:
        launch = LaunchOptions(self.data, self.work)
        return AgentHost(launch, backing, self.permit, self.environ, changed=self.states.append, **options)

    def children(self) -> set[int]:
        """The processes that the host has started and that still run."""
        return {pid for pid in programs.process_tree([os.getpid()]) if pid not in self.before}


@contextlib.asynccontextmanager
async def started(host: AgentHost, session: str = "") -> AsyncIterator[AgentHost]:
    """A host that runs until the end of the block."""
    try:
        await host.start(session)
        yield host
    finally:
        await host.close()


async def turn(host: AgentHost, text: str) -> list[AgentEvent]:
    """The events of a whole turn."""
    return [event async for event in host.prompt(text)]


def text_of(events: list[AgentEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, AgentText))


async def until(met: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(seconds):
        while not met():  # noqa: ASYNC110 - the condition is in another thread or process
            await asyncio.sleep(0.005)


def within(work: Coroutine[Any, Any, None], seconds: float = 120.0) -> None:
    """Run the work of a test; it fails instead of hanging."""

    async def limited() -> None:
        async with asyncio.timeout(seconds):
            await work

    # What exists before need not be looked at afterwards.
    gc.freeze()
    asyncio.run(limited())
    # A stream that the SDK has not closed is reported in the test that left it.
    gc.collect()
