"""A request as a curl command. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Final

import msgspec

from byway.decoding import DECODE_ERRORS
from byway.inspector.cleaning import HIDDEN

#: Headers of the client that the command repeats. curl sets the others.
_REPEATED: Final = ("anthropic-version", "anthropic-beta", "x-claude-code-session-id")
_END: Final = "END-OF-BODY"
#: What a person replaces by a key. The copy button of the page replaces it too.
PLACEHOLDER: Final = "YOUR-KEY"


def curl_command(url: str, headers: Iterable[tuple[str, str]], body: bytes) -> str:
    """The command that sends `body` to `url` with a placeholder for the key."""
    try:
        # One line, so that no line of it can end the body.
        text = msgspec.json.encode(msgspec.json.decode(body)).decode()
    except DECODE_ERRORS:
        text = " ".join(body.decode("utf-8", "replace").splitlines())
    kept = [("x-api-key", PLACEHOLDER), ("content-type", "application/json")]
    given = {name: value for name, value in headers if name in _REPEATED and value != HIDDEN}
    if "/messages" in url:
        given.setdefault("anthropic-version", "2023-06-01")
    lines = [f"-H {shlex.quote(f'{name}: {value}')}" for name, value in [*kept, *given.items()]]
    parts = " \\\n  ".join([f"curl -N {shlex.quote(url)}", *lines, f"--data-binary @- <<'{_END}'"])
    return f"{parts}\n{text}\n{_END}"
