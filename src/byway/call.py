"""`Call`: one HTTP request to a backend or a search provider, as a value."""

from __future__ import annotations

import msgspec


class Call(msgspec.Struct, frozen=True, gc=False):
    """One HTTP request without its address: `upstream.client` joins the base URL and the credential."""

    method: str
    path: str
    """Below the base URL, with a leading slash: `/v1/chat/completions`."""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def __repr__(self) -> str:
        # Headers contain the API key, and the body the client's prompt.
        return f"Call({self.method} {self.path}, {len(self.body)} bytes)"
