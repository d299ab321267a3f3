"""Stop sequences that a backend does not accept: Byway ends the answer at the first of them, streamed or whole.

The text is searched once, whatever its pieces. Only text that may be the beginning of a sequence is held.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from byway.backends.openai.reader import ChatReader
from byway.backends.openai.thinking import refuses_stop
from byway.backends.protocol import Attempt, Target
from byway.backends.repairs import is_stop_limit
from byway.messages.events import MessageUsage, Stop, TextStart, ThinkingStart, ToolStart, Usage
from byway.messages.request import Request
from byway.messages.stream import Writer
from byway.problems import Problem

#: Characters of all sequences that Byway looks for in one answer: the search needs memory for each of them.
_LONGEST: Final = 8192


def split_stops(request: Request, target: Target, attempt: Attempt) -> tuple[list[str], list[str]]:
    """Return the stop sequences that the backend gets, and those at which Byway ends the answer itself."""
    sequences = [text for text in request.params.stop_sequences or () if text]
    vendor = target.vendor
    limit = len(sequences) if vendor.stop_limit is None else vendor.stop_limit
    if refuses_stop(request, target):
        limit = 0
    for repair in attempt.repairs:
        if is_stop_limit(repair):
            limit = min(limit, int(repair.rpartition(" ")[2]))
    emulated = sequences[limit:]
    if sum(map(len, emulated)) > _LONGEST:
        raise Problem(
            "invalid_request",
            f"stop_sequences: backend {target.backend!r} accepts {limit} of the {len(sequences)} sequences, and the others are "
            f"longer than the {_LONGEST:,} characters that Byway can look for itself. Send fewer or shorter sequences.",
        )
    return sequences[:limit], emulated


class StopMatcher:
    """Finds the first of several sequences in a text that arrives in pieces (Aho-Corasick)."""

    __slots__ = ("_depths", "_fallbacks", "_first", "_lengths", "_next", "_node", "_sequences", "match")

    def __init__(self, sequences: Sequence[str]) -> None:
        self.match: str | None = None
        """The sequence that ended the text."""
        self._next: list[dict[str, int]] = [{}]
        """For each node, the node after each character. A node stands for the beginning of a sequence."""
        self._depths = [0]
        self._sequences = [""]
        """A sequence that begins with the node's text."""
        self._lengths = [0]
        """The length of the longest sequence at the end of the node's text."""
        for sequence in sequences:
            node = 0
            for depth, character in enumerate(sequence, 1):
                following = self._next[node].get(character)
                if following is None:
                    following = self._next[node][character] = len(self._next)
                    self._next.append({})
                    self._depths.append(depth)
                    self._sequences.append(sequence)
                    self._lengths.append(0)
                node = following
            self._lengths[node] = len(sequence)
        self._fallbacks = [0] * len(self._next)
        """For each node, that of the longest end of its text which begins a sequence too."""
        queue = list(self._next[0].values())
        for node in queue:
            for character, child in self._next[node].items():
                queue.append(child)
                fallback = self._fallbacks[child] = self._step(self._fallbacks[node], character)
                self._lengths[child] = self._lengths[child] or self._lengths[fallback]
        self._first = re.compile(f"[{''.join(map(re.escape, self._next[0]))}]")
        self._node = 0

    def _step(self, node: int, character: str) -> int:
        """The node after `node` and `character`."""
        while node and character not in self._next[node]:
            node = self._fallbacks[node]
        return self._next[node].get(character, 0)

    def feed(self, text: str) -> str:
        """Return the text that is not held any more, up to the sequence if there is one: then `match` is set."""
        held, node, at = self._node, self._node, 0
        while at < len(text):
            if not node:
                start = self._first.search(text, at)
                if start is None:
                    break
                at = start.start()
            node = self._step(node, text[at])
            at += 1
            if length := self._lengths[node]:
                # The text before `at` ends with the sequence.
                self.match = self._sequences[node][: self._depths[node]][-length:]
                self._node = 0
                return self._passed(held, text, self._depths[held] + at - length)
        self._node = node
        return self._passed(held, text, self._depths[held] + len(text) - self._depths[node])

    def _passed(self, held: int, text: str, count: int) -> str:
        """The first `count` characters of what was held before and `text`."""
        depth = self._depths[held]
        if count <= depth:
            return self._sequences[held][:count]
        return self._sequences[held][:depth] + text[: count - depth]

    def end(self) -> str:
        """Return what is held: no more text follows."""
        node, self._node = self._node, 0
        return self._sequences[node][: self._depths[node]]


class StoppingWriter(Writer):
    """Writes nothing from the first stop sequence in its text on. A sequence does not continue in another block."""

    __slots__ = ("_matcher",)

    def __init__(self, id: str, model: str, usage: MessageUsage, key: bytes, sequences: Sequence[str]) -> None:
        super().__init__(id, model, usage, key)
        self._matcher = StopMatcher(sequences)

    @property
    def stop(self) -> str | None:
        """The sequence that ended the answer."""
        return self._matcher.match

    def text(self, text: str) -> None:
        if self.stop is None:
            super().text(self._matcher.feed(text))

    def thinking(self, text: str) -> None:
        if self.stop is None:
            super().thinking(text)

    def input(self, piece: str) -> None:
        if self.stop is None:
            super().input(piece)

    def tool(self, id: str, name: str) -> None:
        if self.stop is None:
            super().tool(id, name)

    def _begin(self, kind: str, block: TextStart | ToolStart | ThinkingStart) -> None:
        if kind != "text":
            self._flush()
        super()._begin(kind, block)

    def end(self) -> None:
        if self.stop is None:
            self._flush()
            super().end()

    def finish(self, stop: Stop, usage: Usage) -> None:
        self.end()
        self._matcher.match = None
        super().finish(stop, usage)

    def _flush(self) -> None:
        super().text(self._matcher.end())


class StoppingReader(ChatReader):
    """Reads an answer that ends at one of several stop sequences, whether the backend continues or not."""

    _writer: StoppingWriter

    def __init__(self, request: Request, target: Target, attempt: Attempt, sequences: Sequence[str]) -> None:
        super().__init__(request, target, attempt)
        usage = MessageUsage(attempt.estimate or request.estimate)
        self._writer = StoppingWriter(request.id, request.model, usage, target.key, sequences)

    def _read(self, data: bytes, name: str) -> bool:
        finished = super()._read(data, name)
        if self._writer.stop is None or self.finished:
            return finished
        self._reason = "stop_sequence"
        self._finish()
        return True

    def _finish_blocks(self, *, cut: bool) -> None:
        if self._writer.stop is None:
            super()._finish_blocks(cut=cut)
        else:
            self._parser = self._thinking_parser = None

    def _stop_of(self, reason: str) -> Stop:
        stop = self._writer.stop
        return super()._stop_of(reason) if stop is None else Stop("stop_sequence", stop)
