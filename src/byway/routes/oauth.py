"""Sign-in of Claude Code (`/login`): the OAuth endpoints of the device flow, under the root and under `/anthropic`.

RFC 8414, RFC 8628 and RFC 7009, in the form that the contract in Claude Code 2.1.329 has (seen 2026-11-29).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from byway.problems import Problem
from byway.routes.admin import refresh_keys
from byway.routes.context import BASE_PREFIXES, RequestContext, Route, client_address, secure_origin
from byway.routes.forms import read_fields
from byway.signin.device import POLL_SECONDS
from byway.signin.tokens import ACCESS_SECONDS, TokenPair

_DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
_REFRESH_GRANT: Final = "refresh_token"
#: Bytes and fields of a form.
_FORM_LIMIT: Final = 16 << 10
_MOST_FIELDS: Final = 100
_NO_FORM: Final = "The body is not a form: send application/x-www-form-urlencoded."
_NO_STORE: Final = ((b"cache-control", b"no-store"), (b"pragma", b"no-cache"))
_WELL_KNOWN: Final = "/.well-known/oauth-authorization-server"
_INVALID_GRANT: Final = (
    "The refresh token is not valid: it was used before, has expired or was revoked, or the account is disabled. Run /login "
    "to sign in again."
)


async def metadata(context: RequestContext) -> None:
    """Return where the other endpoints are, on the origin that the client has used."""
    origin = secure_origin(context)
    base = f"{origin}{'/anthropic' if '/anthropic' in context.path else ''}"
    await _answer(
        context,
        {
            "issuer": base,
            "device_authorization_endpoint": f"{base}/oauth/device_authorization",
            "token_endpoint": f"{base}/oauth/token",
            "revocation_endpoint": f"{base}/oauth/revoke",
            "grant_types_supported": [_DEVICE_GRANT, _REFRESH_GRANT],
            "token_endpoint_auth_methods_supported": ["none"],
            "gateway_protocol_version": 1,
        },
    )


async def authorize_device(context: RequestContext) -> None:
    """Start a sign-in: return a code for the client and one for the person."""
    origin = secure_origin(context)
    await _form(context)
    started = context.gateway.services.sign_ins.start(context.header(b"user-agent"), client_address(context))
    user_code = started.request.user_code
    await _answer(
        context,
        {
            "device_code": started.device_code,
            "user_code": user_code,
            "verification_uri": f"{origin}/device",
            "verification_uri_complete": f"{origin}/device?user_code={user_code}",
            "expires_in": int(started.request.expires - started.request.created),
            "interval": POLL_SECONDS,
        },
    )


async def token(context: RequestContext) -> None:
    """Return tokens for an approved device code or for a refresh token."""
    secure_origin(context)
    fields = await _form(context)
    grant = fields.get("grant_type", "")
    if grant == _DEVICE_GRANT:
        await _exchange(context, fields)
    elif grant == _REFRESH_GRANT:
        await _refresh(context, fields)
    else:
        raise Problem(
            "invalid_request",
            f"grant_type: {grant[:100]!r} is not supported. Use {_DEVICE_GRANT} or {_REFRESH_GRANT}.",
            facts={"oauth": "unsupported_grant_type"},
        )


async def _exchange(context: RequestContext, fields: dict[str, str]) -> None:
    result = await context.gateway.services.sign_ins.exchange(fields.get("device_code", ""))
    if isinstance(result, TokenPair):
        await refresh_keys(context)
        await _answer_tokens(context, result)
    else:
        # No Problem: a client polls every few seconds until a person has decided.
        await context.answer(msgspec.json.encode({"error": result}), 400, _NO_STORE)


async def _refresh(context: RequestContext, fields: dict[str, str]) -> None:
    refreshed = await context.gateway.services.sign_ins.refresh(fields.get("refresh_token", ""))
    if refreshed.changed:
        # Anyone can send invalid tokens: the keys are not read again for these.
        await refresh_keys(context)
    if refreshed.pair is None:
        raise Problem("authentication", _INVALID_GRANT, facts={"oauth": "invalid_grant"})
    await _answer_tokens(context, refreshed.pair)


async def _answer_tokens(context: RequestContext, pair: TokenPair) -> None:
    await _answer(
        context,
        {
            "access_token": pair.access,
            "token_type": "Bearer",
            "expires_in": ACCESS_SECONDS,
            "refresh_token": pair.refresh,
        },
    )


async def revoke(context: RequestContext) -> None:
    """End the sign-in of a token. An unknown token is no error (RFC 7009, section 2.2)."""
    secure_origin(context)
    fields = await _form(context)
    if await context.gateway.services.sign_ins.revoke_token(fields.get("token", "")):
        await refresh_keys(context)
    await _answer(context, {})


async def _form(context: RequestContext) -> dict[str, str]:
    """The fields of the body; unknown ones are not refused. Raises Problem."""
    return dict(await read_fields(context, _FORM_LIMIT, _MOST_FIELDS, _NO_FORM))


async def _answer(context: RequestContext, body: dict[str, Any]) -> None:
    await context.answer(msgspec.json.encode(body), headers=_NO_STORE)


ROUTES: Final = (
    Route("GET", f"{_WELL_KNOWN}/anthropic", metadata, "open", "oauth"),
    *(
        Route(method, prefix + path, endpoint, "open", "oauth")
        for prefix in BASE_PREFIXES
        for method, path, endpoint in (
            ("GET", _WELL_KNOWN, metadata),
            ("POST", "/oauth/device_authorization", authorize_device),
            ("POST", "/oauth/token", token),
            ("POST", "/oauth/revoke", revoke),
        )
    ),
)
