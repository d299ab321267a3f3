"""Measures how much of a model's window the real Claude Code uses with the variables that Byway prints.

    python tests/windows.py [WINDOW ...]

A scripted server has the window and requests 60 reads of files whose text is three times as long. Printed for each window: the
two variables, the largest prompt, compactions, refused prompts, and whether the session came to its end.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from pathlib import Path

from e2e.claude import Claude
from gateway import Gateway, config
from scripted import Asked, Reply, Say, Scripted, Tool, llamacpp_overflow

from byway.admin.exports import client_window

WINDOWS = (32_768, 65_536, 131_072, 200_000)
READS = 60
#: Characters of the scripted server's token.
_PER_TOKEN = 4


class Reads:
    """The model: one read after the other, and a summary when the client compacts."""

    def __init__(self, window: int, folder: Path) -> None:
        self.window = window
        self.folder = folder
        self.done = self.largest = self.refused = self.summaries = 0

    def __call__(self, request: Asked) -> Reply | Say:
        tokens = len(request.body) // _PER_TOKEN
        if tokens > self.window:
            self.refused += 1
            return llamacpp_overflow(tokens, self.window)
        self.largest = max(self.largest, tokens)
        last = json.dumps(request.json["messages"][-1])
        if "<summary> block" in last:
            self.summaries += 1
            return Say("<summary>Read more files. " + "Facts of the files. " * 100 + "</summary>", tokens=(tokens, 600))
        if not request.json.get("tools"):
            return Say("ok", tokens=(tokens, 1))
        if self.done >= READS:
            return Say("All files are read.", tokens=(tokens, 5))
        self.done += 1
        call = Tool("Read", {"file_path": str(self.folder / f"{self.done}.txt")})
        return Say(tools=[call], tokens=(tokens, 40))


def measure(window: int) -> str:
    """One session; a line of the result."""
    context, output = client_window(window)
    with (
        tempfile.TemporaryDirectory() as home,
        Scripted(window=window, models=("local",)) as server,
        Gateway(config(server, type="llamacpp")) as gateway,
    ):
        variables = {
            "ANTHROPIC_MODEL": "local",
            "CLAUDE_CODE_MAX_CONTEXT_TOKENS": str(context),
            "CLAUDE_CODE_MAX_OUTPUT_TOKENS": str(output),
        }
        claude = Claude(Path(home), gateway.url, **variables)
        reads = Reads(window, claude.work)
        for number in range(1, READS + 1):
            words = f"Line of file {number} with a few words.\n"
            text = words * (3 * window * _PER_TOKEN // READS // len(words))
            (claude.work / f"{number}.txt").write_text(text)
        server.play(reads)
        turn = claude.ask("Read all files.", "--permission-mode", "acceptEdits", limit=900)
        boundaries = sum(event.get("subtype") == "compact_boundary" for event in turn.events)
        end = "ended" if not turn.failed and reads.done == READS else f"FAILED after {reads.done} reads"
        why = "" if end == "ended" else re.sub(r"\s+", " ", turn.text)[:120]
    return (
        f"{window:>9,} context={context} output={output}: largest prompt {reads.largest:,} ({100 * reads.largest // window} %), "
        f"{boundaries} compactions, {reads.refused} refused, {end} {why}"
    )


if __name__ == "__main__":
    for size in [int(argument) for argument in sys.argv[1:]] or WINDOWS:
        print(measure(size), flush=True)
