"""Logins by an identity provider: the requests to it, and what is kept between the steps of a login."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from typing import Final, NamedTuple

from byway import urls
from byway.access.login import Logins
from byway.access.oidc import (
    ATTEMPT_SECONDS,
    DISCOVERY_PATH,
    Identity,
    OidcError,
    ProviderMetadata,
    SigningKeys,
    UnknownKey,
    authorization_url,
    load_library,
    login_attempt,
    read_callback,
    read_id_token,
    read_metadata,
    role_of,
    token_call,
    verify_id_token,
)
from byway.call import Call
from byway.config import OidcSettings, TimeoutSettings
from byway.logs import log
from byway.problems import Problem
from byway.roles import Role
from byway.upstream.client import Upstream
from byway.urls import Url
from byway.web.guard import never

_TIMEOUTS: Final = TimeoutSettings(connect=5, first_byte=10, between_chunks=10)
#: Seconds for a whole request, for the age of metadata and keys, and between two requests for keys because of an unknown id.
_REQUEST_SECONDS: Final = 15
_MAX_AGE: Final = 3600.0
_KEYS_INTERVAL: Final = 30.0
#: Seconds for which a provider that failed is not called again.
_FAILURE_SECONDS: Final = 3.0
#: Bytes of an answer.
_MAX_ANSWER: Final = 1 << 20
_JSON: Final = (("accept", "application/json"),)


class StartedLogin(NamedTuple):
    """A login that an identity provider has to confirm."""

    url: str
    """Where the browser goes next."""
    ticket: str
    """The cookie that connects its answer with this browser."""


class OidcLogin:
    """Logins by the identity provider of the config. A provider's metadata and keys are kept for an hour."""

    def __init__(self, logins: Logins) -> None:
        self._logins = logins
        self._key = logins.derived_key("oidc")
        self._provider: IdentityProvider | None = None

    async def start(self, settings: OidcSettings, redirect: str) -> StartedLogin:
        """Start a login. `redirect` is the URL of Byway to which the provider sends the browser back. Raises OidcError."""
        load_library()
        metadata = await self._provider_of(settings).metadata()
        ticket = self._logins.ticket(time.time(), ATTEMPT_SECONDS, secrets.token_bytes(16))
        attempt = login_attempt(self._key, ticket)
        return StartedLogin(authorization_url(metadata, settings.client_id, redirect, settings.scopes, attempt), ticket)

    async def finish(self, settings: OidcSettings, redirect: str, ticket: str, query: str) -> tuple[Identity, Role]:
        """Check the provider's answer, exchange its code and check the ID token. Raises OidcError.

        `query` is that with which the provider sent the browser back; `ticket` and `redirect` are those of `start`.
        """
        load_library()
        attempt = login_attempt(self._key, ticket)
        code = read_callback(query, attempt, settings.issuer)
        if not self._logins.take_ticket(ticket, time.time()):
            raise OidcError("This login was finished already, or took longer than ten minutes. Log in again.")
        provider = self._provider_of(settings)
        metadata = await provider.metadata()
        call = token_call(metadata, settings.client_id, settings.client_secret, redirect, code, attempt.verifier)
        status, body = await provider.send(metadata.token_endpoint, call)
        identity = await provider.verify(read_id_token(status, body), attempt.nonce)
        role = role_of(settings.roles, identity)
        if role is None:
            person = identity.email or identity.username or identity.name or "This person"
            hint = "" if identity.email else " The identity provider sent no verified email address."
            log("Login by OpenID Connect refused: no entry of oidc.roles matches", logging.WARNING, person=person)
            raise OidcError(f"{person} may not log in to this Byway.{hint} An owner can add an entry to `oidc.roles`.")
        return identity, role

    def _provider_of(self, settings: OidcSettings) -> IdentityProvider:
        """The provider of the settings. Another one, with no metadata and no keys, as soon as they change."""
        provider = self._provider
        if provider is None or provider.settings != settings:
            provider = self._provider = IdentityProvider(settings)
        return provider


class IdentityProvider:
    """One identity provider as the config describes it, with its metadata and keys."""

    def __init__(self, settings: OidcSettings) -> None:
        self.settings = settings
        self._metadata: ProviderMetadata | None = None
        self._read_at = 0.0
        self._keys = SigningKeys(settings.issuer)
        self._keys_at = float("-inf")
        self._failure: tuple[float, str] | None = None
        self._lock = asyncio.Lock()

    async def metadata(self) -> ProviderMetadata:
        """What the provider publishes about itself. Raises OidcError."""
        if self._metadata is None or time.monotonic() - self._read_at > _MAX_AGE:
            async with self._lock:
                if self._metadata is None or time.monotonic() - self._read_at > _MAX_AGE:
                    issuer = self.settings.issuer
                    body = await self._get(f"{issuer.rstrip('/')}{DISCOVERY_PATH}")
                    self._metadata = read_metadata(body, issuer)
                    self._read_at = time.monotonic()
        return self._metadata

    async def verify(self, token: str, nonce: str) -> Identity:
        """The person of an ID token. The keys are read again when its key is unknown, at most twice a minute."""
        if not len(self._keys) or time.monotonic() - self._keys_at > _MAX_AGE:
            await self._read_keys()
        try:
            return self._verified(token, nonce)
        except UnknownKey:
            if time.monotonic() - self._keys_at < _KEYS_INTERVAL:
                raise
        await self._read_keys()
        return self._verified(token, nonce)

    def _verified(self, token: str, nonce: str) -> Identity:
        settings = self.settings
        return verify_id_token(token, self._keys, settings.client_id, nonce, settings.groups_claim)

    async def _read_keys(self) -> None:
        before, metadata = self._keys_at, await self.metadata()
        async with self._lock:
            if self._keys_at == before:
                self._keys.take(await self._get(metadata.jwks_uri))
                self._keys_at = time.monotonic()

    async def _get(self, url: str) -> bytes:
        """The body of a document of the provider. A failure is repeated for a few seconds without a request."""
        if self._failure is not None and time.monotonic() < self._failure[0]:
            raise OidcError(self._failure[1])
        try:
            status, body = await self.send(url, Call("GET", urls.parse(url).target, _JSON))
            if status != 200:
                raise OidcError(f"The identity provider responded with HTTP {status} to {url}. Check `oidc.issuer`.")
        except OidcError as error:
            self._failure = (time.monotonic() + _FAILURE_SECONDS, str(error))
            raise
        self._failure = None
        return body

    async def send(self, url: str, call: Call) -> tuple[int, bytes]:
        """Send a call to the server of `url`. Returns status and body. Redirects are not followed. Raises OidcError."""
        server = urls.parse(url)
        _check_address(server)
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                upstream = Upstream(server.origin, timeouts=_TIMEOUTS, pool=0)
                upstream.shown = f"The identity provider at {server.host}"
                try:
                    answer = await upstream.open(call)
                    try:
                        return answer.status, await answer.body(_MAX_ANSWER)
                    finally:
                        answer.close()
                finally:
                    await upstream.close()
        except Problem as problem:
            raise OidcError(problem.message) from None
        except TimeoutError:
            raise OidcError(
                f"The identity provider at {server.host} did not answer within {_REQUEST_SECONDS} s."
            ) from None


def _check_address(url: Url) -> None:
    """Reject addresses at which cloud machines get their credentials, whatever the provider's metadata contains."""
    if url.number is not None and never(url.number):
        raise OidcError(f"The identity provider's address {url.host} is in a network that is never permitted.")
