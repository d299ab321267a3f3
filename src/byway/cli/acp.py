"""`byway acp`: Claude Code as an agent of editors, over stdin and stdout."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from byway.cli.launching import launch_failures, up_options
from byway.cli.options import DATA_DIR, data_folder
from byway.cli.output import Failure, note

if TYPE_CHECKING:
    from byway.host.editor import EditorBridge


@click.command()
@click.option("--endpoint", metavar="NAME", help="Use this endpoint. [default: the active one]")
@click.option(
    "--model", metavar="NAME", default="", help="The model. [default: acp.default_model, else the endpoint's]"
)
@click.option("--config", "file", metavar="FILE", help="The config file. [default: $BYWAY_CONFIG, else the user's]")
@DATA_DIR
def command(endpoint: str | None, model: str, file: str | None, folder: str | None) -> None:
    """Run Claude Code as an agent of an editor, such as Zed or a JetBrains IDE, by the Agent Client Protocol.

    The editor starts this command and uses its stdin and stdout. Claude Code uses the active endpoint, and follows a
    change while it runs. Needs Node.js 22 and: npm install -g @agentclientprotocol/claude-agent-acp
    """
    from byway.cli import configfile
    from byway.host.editor import EditorBridge
    from byway.host.events import AgentError
    from byway.launch.session import LaunchOptions

    source = configfile.find(file, os.environ, folder)
    settings = configfile.read(source).acp
    if not settings.transport.stdio.enabled:
        raise Failure("acp.transport.stdio.enabled is false in the config, so editors cannot use this command.")
    model = model or settings.default_model or ""
    options = LaunchOptions(data_folder(folder), Path.cwd(), endpoint, model, up=up_options(file))
    bridge = EditorBridge(options, settings, os.environ, lambda text: note(f"byway: {text}"))
    try:
        with launch_failures():
            asyncio.run(_serve(bridge))
    except AgentError as error:
        raise Failure(str(error)) from None


async def _serve(bridge: EditorBridge) -> None:
    """Serve over stdin and stdout. Threads read and write them: not every system has asynchronous pipes."""
    from byway.host.jsonrpc import LINE_LIMIT

    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(LINE_LIMIT)
    output = sys.stdout.buffer
    lines: list[bytes] = []

    def read() -> None:
        while chunk := os.read(0, 65_536):
            loop.call_soon_threadsafe(reader.feed_data, chunk)
        loop.call_soon_threadsafe(reader.feed_eof)

    def put(data: bytes) -> None:
        output.write(data)
        output.flush()

    writing = asyncio.Lock()

    async def drain() -> None:
        async with writing:
            data = b"".join(lines)
            lines.clear()
            if data:
                await asyncio.to_thread(put, data)

    waiting: set[asyncio.Task[None]] = set()

    def write(line: bytes) -> None:
        lines.append(line)
        task = loop.create_task(drain())
        waiting.add(task)
        task.add_done_callback(waiting.discard)

    threading.Thread(target=read, name="stdin", daemon=True).start()
    await bridge.run(reader, write, drain)
    await drain()
