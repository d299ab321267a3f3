"""The tokens of a sign-in, and the codes with which one starts. The caller passes the randomness and the time.

RFC 6749, RFC 8628 (https://www.rfc-editor.org/rfc/rfc8628, seen 2026-11-30).
"""

from __future__ import annotations

import hmac
from typing import Final, NamedTuple

from byway.codes import ACCESS_PREFIX, MCP_PREFIX, REFRESH_PREFIX, CodeForm, base64url

#: Seconds for which an access token is valid, and for which a sign-in lasts that is not used.
ACCESS_SECONDS: Final = 3_600
REFRESH_SECONDS: Final = 30 * 86_400
#: Random bytes of a token, a device code and a user code.
TOKEN_BYTES: Final = 32
USER_CODE_BYTES: Final = 8
#: No vowels, so that a code is no word: RFC 8628, section 6.1. Eight letters are 34 bits.
USER_CODE: Final = CodeForm("BCDFGHJKLMNPQRSTVWXZ", 8)


class TokenPair(NamedTuple):
    """The tokens that a client gets. Byway keeps only their hashes."""

    access: str
    refresh: str


def new_tokens(access: bytes, refresh: bytes) -> TokenPair:
    """The tokens made of TOKEN_BYTES random bytes each."""
    return TokenPair(ACCESS_PREFIX + base64url(access), REFRESH_PREFIX + base64url(refresh))


#: Characters of the signature of an MCP token: 32 bytes.
_SIGNATURE: Final = 43


def mcp_token(secret: bytes, sign_in: str) -> str:
    """The token with which a signed-in client uses Byway's MCP server, and nothing else. It is valid as long as the sign-in."""
    return f"{MCP_PREFIX}{sign_in}{_signature(secret, sign_in)}"


def mcp_sign_in(secret: bytes, token: str) -> str:
    """The id of the sign-in that an MCP token belongs to; "" when the token was not made with this secret."""
    sign_in, signature = token[len(MCP_PREFIX) : -_SIGNATURE], token[-_SIGNATURE:]
    expected = _signature(secret, sign_in).encode()
    return sign_in if hmac.compare_digest(signature.encode(), expected) else ""


def _signature(secret: bytes, sign_in: str) -> str:
    return base64url(hmac.digest(secret, f"mcp {sign_in}".encode(), "sha256"))
