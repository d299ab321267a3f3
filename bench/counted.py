"""Counts the bytecode instructions that Python runs, function by function.

As a program it runs Byway: `python -m bench.counted REPORT ARGUMENTS-OF-BYWAY...`. SIGUSR2 starts the count in the main
thread, so that Byway's own start is left out; the next SIGUSR2 writes the report.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any


class InstructionCounter:
    """Counts the instructions of this thread in functions that are called between `start` and `stop`."""

    def __init__(self) -> None:
        self._counts: Counter[CodeType] = Counter()

    def start(self) -> None:
        """Begin at zero."""
        self._counts.clear()
        sys.settrace(self._trace)

    def stop(self) -> dict[str, int]:
        """End, and return the instructions of each function."""
        sys.settrace(None)
        functions: Counter[str] = Counter()
        for code, count in self._counts.items():
            functions[_name(code)] += count
        return dict(functions)

    def _trace(self, frame: FrameType, event: str, _argument: object) -> Any:
        if event == "opcode":
            self._counts[frame.f_code] += 1
        elif event == "call":
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._trace


def _name(code: CodeType) -> str:
    """The function's name with its module's path: `byway/...`, or what follows the folder of Python's library."""
    for root, start in ("/byway/", "byway/"), (f"/python{sys.version_info[0]}.{sys.version_info[1]}/", ""):
        _, parent, path = code.co_filename.rpartition(root)
        if parent:
            return f"{start}{path}:{code.co_qualname}"
    return f"{Path(code.co_filename).name}:{code.co_qualname}"


def main() -> None:
    report, *arguments = sys.argv[1:]
    counter = InstructionCounter()

    def turn(_number: int, _frame: FrameType | None) -> None:
        if sys.gettrace() is None:
            counter.start()
            return
        Path(report + ".part").write_text(json.dumps(counter.stop()))
        os.replace(report + ".part", report)

    signal.signal(signal.SIGUSR2, turn)
    sys.argv = ["byway", *arguments]
    runpy.run_module("byway", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
