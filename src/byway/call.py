"""`Call`: one HTTP request to a backend or a search provider, as a value."""

from __future__ import annotations

from functools import lru_cache

import msgspec


class Call(msgspec.Struct, frozen=True, gc=False):
    """One HTTP request without its address: `upstream.client` joins the base URL and the credential."""

    method: str
    path: str
    """Below the base URL, with a leading slash: `/v1/chat/completions`. `/v1` stands for the path of the vendor's API."""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    pieces: tuple[memoryview, ...] = ()
    """The body in pieces, instead of `body`: a large upload is sent from where it is, without a copy."""

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return sum(map(len, self.pieces)) if self.pieces else len(self.body)

    def __repr__(self) -> str:
        # Headers contain the API key, and the body the client's prompt.
        return f"Call({self.method} {self.path}, {self.size} bytes)"


@lru_cache(64)
def json_headers(user_agent: str | None) -> tuple[tuple[str, str], ...]:
    """The headers of a call with a JSON body. `user_agent` is the client's: some providers serve only certain clients."""
    kind = ("content-type", "application/json")
    return (kind,) if user_agent is None else (kind, ("user-agent", user_agent))
