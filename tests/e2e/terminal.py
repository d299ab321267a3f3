"""A program in a terminal of its own: what its screen shows, and the keys a person presses."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from waiting import PATIENCE

ROWS: Final = 60
COLUMNS: Final = 160
UP: Final = "\x1b[A"
ENTER: Final = "\r"
ESCAPE: Final = "\x1b"
#: Control sequences that set and move, texts for the terminal (its title), other sequences, and single characters.
_TOKEN: Final = re.compile(
    r"\x1b\[(?P<numbers>[0-9;:?<>=]*)[ !$]?(?P<command>[@-~])"
    r"|\x1b[\]P_^].*?(?:\x07|\x1b\\)|\x1b[()#].|\x1b(?P<single>[^\[\]P_^()#])|(?P<character>[^\x1b])",
    re.DOTALL,
)


class Screen:
    """The characters on the screen of a terminal, without colours."""

    def __init__(self) -> None:
        self._rows = [[" "] * COLUMNS for _ in range(ROWS)]
        self._row = self._column = 0
        self._saved = (0, 0)
        self._rest = ""

    @property
    def text(self) -> str:
        """The whole screen, each run of white space as one space: a sentence can be on several lines."""
        return " ".join("\n".join("".join(row) for row in self._rows).split())

    def feed(self, text: str) -> None:
        """Show the output of the program."""
        text = self._rest + text
        place = 0
        while token := _TOKEN.match(text, place):
            place = token.end()
            if token["character"]:
                self._put(token["character"])
            elif token["command"]:
                self._control(token["command"], token["numbers"])
            elif token["single"] == "7":
                self._saved = (self._row, self._column)
            elif token["single"] == "8":
                self._row, self._column = self._saved
        self._rest = text[place:]

    def _put(self, character: str) -> None:
        if character == "\r":
            self._column = 0
        elif character == "\n":
            self._line_feed()
        elif character == "\b":
            self._column = max(0, self._column - 1)
        elif character >= " ":
            if self._column == COLUMNS:
                self._column = 0
                self._line_feed()
            self._rows[self._row][self._column] = character
            self._column += 1

    def _line_feed(self) -> None:
        if self._row == ROWS - 1:
            self._rows = [*self._rows[1:], [" "] * COLUMNS]
        else:
            self._row += 1

    def _control(self, command: str, numbers: str) -> None:
        if not re.fullmatch(r"[0-9;]*", numbers):
            return
        values = [int(number or 0) for number in numbers.split(";")]
        count = values[0] or 1
        match command:
            case "A":
                self._row -= count
            case "B":
                self._row += count
            case "C":
                self._column += count
            case "D":
                self._column -= count
            case "G":
                self._column = count - 1
            case "d":
                self._row = count - 1
            case "H" | "f":
                self._row, self._column = count - 1, (values[1] or 1) - 1 if len(values) > 1 else 0
            case "J" | "K":
                self._erase(values[0], lines=command == "J")
        self._row = min(max(self._row, 0), ROWS - 1)
        self._column = min(max(self._column, 0), COLUMNS - 1)

    def _erase(self, part: int, *, lines: bool) -> None:
        """Part 0: from the cursor on, 1: up to the cursor, 2: all. `lines`: of the screen, else of the line."""
        start, end = (0 if part else self._column), (self._column + 1 if part == 1 else COLUMNS)
        self._rows[self._row][start:end] = [" "] * (end - start)
        if lines:
            for number in range(0 if part else self._row + 1, self._row if part == 1 else ROWS):
                self._rows[number] = [" "] * COLUMNS


class Terminal:
    """A program with a terminal. It is killed at the end of the `with`."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], folder: Path) -> None:
        self.screen = Screen()
        self._shown: list[str] = []
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._process, self._terminal = pty.fork()
        if self._process == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
            os.chdir(folder)
            os.execve(command[0], list(command), {**environ, "TERM": "xterm-256color"})  # noqa: S606 - the child of the terminal

    def press(self, *keys: str) -> None:
        """Press keys, or type text. The program reads each of them on its own."""
        for key in keys:
            self._shown.clear()
            os.write(self._terminal, key.encode())
            self._read(0.3)

    def wait(self, met: str | Callable[[str], object]) -> str:
        """Wait until the screen shows a text, or `met` is true for its text. Returns that text."""
        ends = time.monotonic() + PATIENCE
        while not (met in self.screen.text if isinstance(met, str) else met(self.screen.text)):
            self._read(0.2)
            assert time.monotonic() < ends, f"the screen never showed {met!r}: {self.screen.text}"
        return self.screen.text

    def wait_for_notice(self, text: str) -> None:
        """Wait until the screen has shown a text since the last key: a notice disappears by itself."""
        ends = time.monotonic() + PATIENCE
        while not any(text in shown for shown in self._shown):
            self._read(0.2)
            assert time.monotonic() < ends, f"the screen never showed {text!r}: {self.screen.text}"

    def end(self) -> str:
        """Wait until the program has ended. Returns what the screen shows then."""
        ends = time.monotonic() + PATIENCE
        while self._read(0.2):
            assert time.monotonic() < ends, f"the program does not end: {self.screen.text}"
        return self.screen.text

    def _read(self, seconds: float) -> bool:
        """Show what the program writes within this time; False when it has ended."""
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            if select.select([self._terminal], [], [], left)[0]:
                try:
                    output = os.read(self._terminal, 1 << 16)
                except OSError:
                    return False
                if not output:
                    return False
                self.screen.feed(self._decoder.decode(output))
                self._shown.append(self.screen.text)
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        os.close(self._terminal)
