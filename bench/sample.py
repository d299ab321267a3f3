"""Runs Byway with a sampling profiler inside: `python -m bench.sample REPORT ARGUMENTS-OF-BYWAY...`.

SIGUSR2 starts it, so that Byway's own start is left out; the next SIGUSR2 writes the report. A timer of the process's
processor time asks again and again where the program is (each millisecond, or as often as the kernel can). That costs
little, and unlike cProfile it does not make small functions look expensive.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

SHOWN = 25
Place = tuple[str, str, int]


def _place(frame: FrameType, line: int) -> Place:
    file = frame.f_code.co_filename
    parts = Path(file).parts
    short = "/".join(parts[-2:]) if len(parts) > 1 else file
    return short, frame.f_code.co_qualname, line


def _report(lines: Counter[Place], own: Counter[Place], within: Counter[Place]) -> str:
    total = sum(lines.values()) or 1
    files: Counter[Place] = Counter()
    for (file, _, _), count in own.items():
        files[file, "", 0] += count
    parts = [f"{total} samples"]
    for title, counter in (
        ("files, their own time (with the C code that they call)", files),
        ("lines, their own time", lines),
        ("functions, their own time", own),
        ("functions, with what they call", within),
    ):
        parts += ["", title]
        for (file, name, line), count in counter.most_common(SHOWN):
            parts.append(f"{count / total:7.1%}  {file}:{line}  {name}" if name else f"{count / total:7.1%}  {file}")
    return "\n".join(parts)


def main() -> None:
    report, *arguments = sys.argv[1:]
    lines: Counter[Place] = Counter()
    own: Counter[Place] = Counter()
    within: Counter[Place] = Counter()

    def look(_number: int, frame: FrameType | None) -> None:
        if frame is None:
            return
        lines[_place(frame, frame.f_lineno)] += 1
        own[_place(frame, frame.f_code.co_firstlineno)] += 1
        seen = set()
        while frame is not None:
            if frame.f_code not in seen:
                seen.add(frame.f_code)
                within[_place(frame, frame.f_code.co_firstlineno)] += 1
            frame = frame.f_back

    def turn(_number: int, _frame: FrameType | None) -> None:
        if signal.getitimer(signal.ITIMER_PROF)[1] == 0:
            signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)
            return
        signal.setitimer(signal.ITIMER_PROF, 0)
        Path(report + ".part").write_text(_report(lines, own, within))
        os.replace(report + ".part", report)

    signal.signal(signal.SIGPROF, look)
    signal.signal(signal.SIGUSR2, turn)
    sys.argv = ["byway", *arguments]
    runpy.run_module("byway", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
