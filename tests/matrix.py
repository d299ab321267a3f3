"""Every front with every protocol of a backend: what is tested, and the table of docs/fronts.md that is generated from it."""

from __future__ import annotations

from typing import Final

#: The APIs that Byway serves, and the protocols of backends, each with its title.
PROTOCOLS: Final = {
    "messages": "Messages",
    "chat": "Chat completions",
    "responses": "Responses",
}
#: What a pair may carry. `tests/e2e/test_matrix.py` has a test of each name, for each pair.
FEATURES: Final = {
    "text": "Text, streamed or whole, with its usage",
    "tool loop": "A tool loop: read a file, write a file",
    "parallel calls": "Parallel tool calls and their results",
    "forced tool": "A tool that the request demands",
    "thinking": "Thinking in the answer",
    "thinking again": "Thinking back to its model in the next request",
    "image": "Images",
    "structured output": "Structured output by a JSON schema",
    "stop sequence": "Stop sequences",
    "several answers": "Several answers to one request (`n`)",
    "limit": "An answer that ends at its token limit",
    "error": "Errors before the answer, with their class",
    "cut stream": "A cut stream as an error",
}
#: What a pair does not carry, and why. Front, backend, feature.
LIMITS: Final = {
    **{
        ("responses", backend, "stop sequence"): "the Responses API has no stop sequences"
        for backend in ("messages", "chat", "responses")
    },
    **{
        (front, backend, "several answers"): "only chat completions have several answers"
        for front in ("messages", "responses")
        for backend in ("messages", "chat", "responses")
    },
    ("chat", "messages", "several answers"): "the backend's protocol has one answer: Byway returns 400",
    ("chat", "responses", "several answers"): "the backend's protocol has one answer: Byway returns 400",
    ("chat", "messages", "thinking again"): "chat completions have no place for signatures",
    ("chat", "responses", "thinking again"): "chat completions have no place for encrypted reasoning",
}


def table() -> str:
    """The table of the fronts and backends in Markdown."""
    pairs = [(front, backend) for front in PROTOCOLS for backend in PROTOCOLS]
    lines = [
        "| API of the client | " + " | ".join(PROTOCOLS[front] for front, _ in pairs) + " |",
        "|---" * (len(pairs) + 1) + "|",
        "| **Protocol of the backend** | " + " | ".join(f"**{PROTOCOLS[backend]}**" for _, backend in pairs) + " |",
    ]
    notes: list[str] = []
    for feature, title in FEATURES.items():
        cells = []
        for front, backend in pairs:
            why = LIMITS.get((front, backend, feature))
            if why is None:
                cells.append("yes")
                continue
            if why not in notes:
                notes.append(why)
            cells.append(f"no ({notes.index(why) + 1})")
        lines.append(f"| {title} | {' | '.join(cells)} |")
    lines += ["", *(f"{number}. {note[0].upper()}{note[1:]}." for number, note in enumerate(notes, 1))]
    return "\n".join(lines) + "\n"
