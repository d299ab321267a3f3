"""The ACP adapter of Claude Code: `@agentclientprotocol/claude-agent-acp` from npm, which needs Node.js 22.

Measured with 0.101.0, 2026-11-30. Claude Code is started by a script of ours that adds `--settings`: so the settings of the
endpoint override the user's, no secret is among the arguments, and each process of the agent can be identified.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from byway import platform, programs
from byway.host.ending import end_tree
from byway.host.events import AgentError
from byway.host.jsonrpc import LINE_LIMIT, OnNotification, OnRequest, RpcPeer
from byway.host.route import HostRoute
from byway.launch.finding import find_agent, find_claude

INSTALL: Final = (
    "The ACP adapter of Claude Code is not installed, or is not on PATH. It needs Node.js 22. Install it:\n"
    "  npm install -g @agentclientprotocol/claude-agent-acp\n"
    "Or name the program: BYWAY_ACP_AGENT=/path/to/claude-agent-acp"
)
#: The adapter beside npm's command on Windows.
_MODULE: Final = "node_modules/@agentclientprotocol/claude-agent-acp/dist/index.js"
_NODE: Final = 22
#: Seconds for the adapter to end after its input has ended.
_END: Final = 2.0


class AcpProcess:
    """A running adapter."""

    def __init__(self, process: asyncio.subprocess.Process, script: Path, settings: Path) -> None:
        self.process = process
        self._script = script
        self._settings = settings
        assert process.stdout is not None and process.stdin is not None  # noqa: S101 - pipes
        self._reader = process.stdout
        self._writer = process.stdin
        self._errors = asyncio.create_task(_read_errors(process.stderr))

    def peer(self, on_request: OnRequest, on_notification: OnNotification) -> RpcPeer:
        """This side of the connection to the adapter."""
        return RpcPeer(self._reader, self._write, self._drain, on_request, on_notification)

    def _write(self, line: bytes) -> None:
        if not self._writer.is_closing():
            self._writer.write(line)

    async def _drain(self) -> None:
        """Wait until the adapter reads."""
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()

    @property
    def errors(self) -> str:
        """The end of what it has printed to stderr, once it has ended."""
        return self._errors.result() if self._errors.done() and not self._errors.cancelled() else ""

    async def close(self) -> None:
        """End the adapter and every process that it has started."""
        # Those of a killed adapter have another parent by now.
        named = await asyncio.to_thread(programs.processes_with_argument, str(self._settings))
        pids = [self.process.pid, *named]
        tree = await asyncio.to_thread(programs.process_tree, pids)
        self._writer.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END):
                await self.process.wait()
        await end_tree(tree)
        await self.process.wait()
        self._errors.cancel()
        await asyncio.gather(self._errors, return_exceptions=True)
        with contextlib.suppress(OSError):
            self._script.unlink(missing_ok=True)


def chosen_option(params: Mapping[str, Any], kind: str) -> dict[str, Any] | None:
    """The answer to `session/request_permission` with the option of a kind, such as `allow_once`; None: it has none."""
    for option in params.get("options") or ():
        if option.get("kind") == kind:
            return {"outcome": {"outcome": "selected", "optionId": option["optionId"]}}
    return None


def resuming_method(about: Any) -> str:
    """The method by which an agent continues a conversation, by its answer to `initialize`; empty when it offers none."""
    offered = (about.get("agentCapabilities") if isinstance(about, dict) else None) or {}
    if "resume" in (offered.get("sessionCapabilities") or {}):
        return "session/resume"
    # It repeats the history as notifications.
    return "session/load" if offered.get("loadSession") else ""


def find_adapter(environ: Mapping[str, str]) -> list[str]:
    """The command of the adapter. Raises AgentError with what to install."""
    path = find_agent("acp_agent", "claude-agent-acp", environ)
    if path is None:
        raise AgentError(INSTALL)
    node = find_agent("node", "node", environ)
    # npm's command is a script for Node.js; other agents may be programs.
    script = path.resolve()
    if script.suffix.lower() == ".cmd" and (path.parent / _MODULE).is_file():
        # On Windows npm's command is a batch file, which would leave Node.js running when it is ended.
        script = path.parent / _MODULE
    return [str(node), str(script)] if node and script.suffix in (".js", ".mjs") else [str(path)]


def bundled_claude(script: Path) -> Path | None:
    """The Claude Code that npm has installed with the adapter, whose script is `script`; None when there is none."""
    pattern = f"@anthropic-ai/claude-agent-sdk-*/{programs.program_file('claude')}"
    for folder in script.parents:
        if folder.name == "node_modules" and (files := list(folder.glob(pattern))):
            # Where both are installed, musl is the alternative.
            return min(files, key=lambda file: file.parent.name.endswith("-musl"))
    return None


async def start_adapter(route: HostRoute, environ: Mapping[str, str]) -> AcpProcess:
    """Start the adapter for a route. Raises AgentError."""
    command = find_adapter(environ)
    variables = dict(route.environment.environ)
    claude = find_claude(environ) or bundled_claude(Path(command[-1]))
    ending, content = programs.forwarding_script(claude, ["--settings", str(route.file)]) if claude else ("", "")
    script = route.file.with_suffix(f".claude{ending}")
    if content:
        platform.write_private(script, content.encode())
        script.chmod(0o700)
        variables["CLAUDE_CODE_EXECUTABLE"] = str(script)
    if len(command) > 1:
        await _check_node(command[0], variables)
        variables["PATH"] = f"{Path(command[0]).parent}{os.pathsep}{variables.get('PATH', os.defpath)}"
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=variables,
            cwd=route.record.folder,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LINE_LIMIT,
            **platform.detached(),
        )
    except OSError as error:
        raise AgentError(f"Cannot start {command[0]}: {error.strerror or error}.") from None
    return AcpProcess(process, script, route.file)


async def _check_node(node: str, environ: Mapping[str, str]) -> None:
    """Raise AgentError for a Node.js that is too old: the adapter would fail with an error of the parser."""
    try:
        process = await asyncio.create_subprocess_exec(
            node, "--version", env=dict(environ), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
    except OSError as error:
        raise AgentError(f"Cannot start {node}: {error.strerror or error}.") from None
    version = output.decode(errors="replace").strip().removeprefix("v")
    major = version.partition(".")[0]
    if major.isdecimal() and int(major) < _NODE:
        raise AgentError(
            f"{node} is Node.js {version}, and the ACP adapter needs {_NODE}. Name another: BYWAY_NODE=/path"
        )


async def _read_errors(stream: asyncio.StreamReader | None) -> str:
    """Read stderr to its end, so that the adapter never waits. Returns the last 2,000 characters."""
    tail = b""
    while stream is not None and (chunk := await stream.read(65_536)):
        tail = (tail + chunk)[-2_000:]
    return tail.decode(errors="replace")
