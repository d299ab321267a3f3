"""OpenID Connect for logins of the settings page: what is sent to an identity provider, and what its answers prove.

No network: `admin.oidc` sends the requests. Sources: https://openid.net/specs/openid-connect-core-1_0.html and
https://openid.net/specs/openid-connect-discovery-1_0.html (seen 2026-11-30). Signatures are checked by PyJWT.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol
from urllib.parse import parse_qsl, quote, urlencode

import msgspec
from msgspec import Struct

from byway import urls
from byway.call import Call
from byway.codes import base64url
from byway.decoding import DECODE_ERRORS
from byway.roles import Role
from byway.urls import Url

if TYPE_CHECKING:
    from jwt import PyJWK

#: Seconds that a person has to log in at the provider.
ATTEMPT_SECONDS: Final = 600
#: Signatures that are accepted. No `none`, and no HMAC, whose key is the client secret.
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
#: The types of key (`kty`) by the first two letters of the algorithm.
_KEY_TYPES: Final = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
#: Seconds by which the clocks of Byway and the provider may differ.
_LEEWAY: Final = 60
#: Keys of a provider that are kept, and characters of a token and of a claim.
_MAX_KEYS: Final = 32
_MAX_TOKEN: Final = 64 << 10
_MAX_CLAIM: Final = 320
_MAX_GROUPS: Final = 1_000
#: Where providers publish their metadata, below the issuer.
DISCOVERY_PATH: Final = "/.well-known/openid-configuration"
_EXTRA_MISSING: Final = (
    "Logins by OpenID Connect need the Python packages PyJWT and cryptography, which are not installed. "
    "Install them with: pip install --no-deps --require-hashes -r requirements/oidc.txt"
)


class OidcError(Exception):
    """A login that failed. The message is shown to the person, and contains no token and no secret."""


class UnknownKey(OidcError):
    """The signature names a key that is not among the provider's keys as they are known here."""


class ProviderMetadata(Struct, frozen=True):
    """What a provider publishes about itself."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class LoginAttempt(NamedTuple):
    """The values that connect the steps of one login. All are derived from the cookie of the attempt."""

    state: str
    """Returned by the provider with the code: the answer belongs to this browser."""
    nonce: str
    """Returned in the ID token: the token was made for this login."""
    verifier: str
    """Sent with the code, its hash before: the code belongs to this login (PKCE, RFC 7636)."""

    @property
    def challenge(self) -> str:
        return base64url(hashlib.sha256(self.verifier.encode()).digest())


class Identity(NamedTuple):
    """The person that an ID token describes. `issuer` and `subject` together identify the person for good."""

    issuer: str
    subject: str
    email: str = ""
    """Only an address that the provider has verified."""
    name: str = ""
    username: str = ""
    groups: frozenset[str] = frozenset()


class RoleRule(Protocol):
    """Which persons get a role: an entry of `oidc.roles` in the config."""

    @property
    def role(self) -> Role: ...
    @property
    def emails(self) -> tuple[str, ...]: ...
    @property
    def domains(self) -> tuple[str, ...]: ...
    @property
    def groups(self) -> tuple[str, ...]: ...


def load_library() -> None:
    """Import what checks signatures. Raises OidcError that names the extra when it is missing."""
    try:
        import cryptography  # noqa: F401
        import jwt  # noqa: F401
    except ImportError:
        raise OidcError(_EXTRA_MISSING) from None


# ------------------------------------------------------------------------------------------------------------------ URLs


def provider_url(text: str, *, local: bool = False) -> Url:
    """Parse a URL of a provider: https, and with `local` also http on this machine. Raises ValueError."""
    url = urls.parse(text)
    if url.scheme != "https" and not (local and urls.is_loopback(url)):
        raise ValueError("must start with https://, because it decides who may log in")
    return url


def read_metadata(body: bytes, issuer: str) -> ProviderMetadata:
    """Parse a provider's metadata. Raises OidcError when it is malformed or that of another issuer."""
    try:
        metadata = msgspec.json.decode(body, type=ProviderMetadata)
    except DECODE_ERRORS:
        raise OidcError(
            f"The identity provider's metadata at {issuer.rstrip('/')}{DISCOVERY_PATH} cannot be read. Check `oidc.issuer`."
        ) from None
    if metadata.issuer != issuer:
        raise OidcError(
            f"The identity provider calls itself {metadata.issuer[:200]!r}, but `oidc.issuer` is {issuer!r}. Both must be "
            "the same, with or without a slash at the end."
        )
    local = urls.is_loopback(urls.parse(issuer))
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
        try:
            provider_url(getattr(metadata, name), local=local)
        except ValueError as error:
            raise OidcError(f"`{name}` in the identity provider's metadata {error}.") from None
    return metadata


# -------------------------------------------------------------------------------------------------------------- the steps


def login_attempt(key: bytes, ticket: str) -> LoginAttempt:
    """The values of the attempt whose cookie is `ticket`. `key` is secret: only this Byway can derive the values."""

    def derived(purpose: str) -> str:
        return base64url(hmac.digest(key, f"{purpose}:{ticket}".encode(), hashlib.sha256))

    return LoginAttempt(derived("state"), derived("nonce"), derived("verifier"))


def authorization_url(
    metadata: ProviderMetadata, client_id: str, redirect: str, scopes: Sequence[str], attempt: LoginAttempt
) -> str:
    """The URL at the provider where the person logs in."""
    parameters = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": redirect,
        "scope": " ".join(dict.fromkeys(("openid", *scopes))),
        "state": attempt.state,
        "nonce": attempt.nonce,
        "code_challenge": attempt.challenge,
        "code_challenge_method": "S256",
    }
    separator = "&" if "?" in metadata.authorization_endpoint else "?"
    return f"{metadata.authorization_endpoint}{separator}{urlencode(parameters)}"


def read_callback(query: str, attempt: LoginAttempt, issuer: str) -> str:
    """The code in the query with which the provider sends the browser back. Raises OidcError."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=20)
    except ValueError:
        raise OidcError("The identity provider's answer cannot be read. Log in again.") from None
    fields = dict(pairs)
    if len(fields) != len(pairs) or not hmac.compare_digest(fields.get("state", "").encode(), attempt.state.encode()):
        raise OidcError("This answer does not belong to a login that was started in this browser. Log in again.")
    # RFC 9207: the answer names its provider.
    if fields.get("iss", issuer) != issuer:
        raise OidcError("This answer comes from another identity provider. Log in again.")
    if "error" in fields:
        reason = _shown(fields.get("error_description") or fields["error"])
        raise OidcError(f"The identity provider refused the login: {reason}")
    if not fields.get("code"):
        raise OidcError("The identity provider's answer has no code. Log in again.")
    return fields["code"]


def token_call(
    metadata: ProviderMetadata, client_id: str, client_secret: str | None, redirect: str, code: str, verifier: str
) -> Call:
    """The call that exchanges a code for an ID token. Its path is below the origin of the token endpoint."""
    fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect, "code_verifier": verifier}
    headers = [("content-type", "application/x-www-form-urlencoded"), ("accept", "application/json")]
    methods = metadata.token_endpoint_auth_methods_supported
    if client_secret and ("client_secret_basic" in methods or "client_secret_post" not in methods):
        # RFC 6749 section 2.3.1: both are form-encoded first.
        pair = f"{quote(client_id, safe='')}:{quote(client_secret, safe='')}"
        headers.append(("authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"))
    else:
        fields["client_id"] = client_id
        if client_secret:
            fields["client_secret"] = client_secret
    return Call("POST", urls.parse(metadata.token_endpoint).target, tuple(headers), urlencode(fields).encode())


class _TokenAnswer(Struct, frozen=True):
    """The answer of a token endpoint."""

    id_token: str = ""
    error: str = ""
    error_description: str = ""


def read_id_token(status: int, body: bytes) -> str:
    """The ID token in the answer of a token endpoint. Raises OidcError."""
    try:
        answer = msgspec.json.decode(body, type=_TokenAnswer)
    except DECODE_ERRORS:
        raise OidcError(f"The identity provider's answer (HTTP {status}) cannot be read. Log in again.") from None
    if answer.error == "invalid_client":
        raise OidcError(
            "The identity provider rejected Byway itself. Check `oidc.client_id` and `oidc.client_secret` in byway.yaml."
        )
    if answer.error or status != 200:
        reason = _shown(answer.error_description or answer.error or f"HTTP {status}")
        raise OidcError(f"The identity provider rejected the code: {reason}. Log in again.")
    if not answer.id_token or len(answer.id_token) > _MAX_TOKEN:
        raise OidcError("The identity provider sent no ID token. The scope `openid` must be allowed for this client.")
    return answer.id_token


# ----------------------------------------------------------------------------------------------------------- the ID token


class SigningKeys:
    """The public keys of one issuer. Keys of different issuers are never in one collection, so no id can collide."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self._keys: tuple[dict[str, Any], ...] = ()

    def __len__(self) -> int:
        return len(self._keys)

    def take(self, body: bytes) -> None:
        """Replace the keys by those in a JWKS document. Raises OidcError; the keys stay as they are then."""
        try:
            document = msgspec.json.decode(body)
        except DECODE_ERRORS:
            document = None
        entries = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(entries, list):
            raise OidcError("The identity provider's keys (`jwks_uri`) cannot be read. Try again later.")
        self._keys = tuple(
            entry
            for entry in entries[:_MAX_KEYS]
            if isinstance(entry, dict) and entry.get("kty") in _KEY_TYPES.values() and entry.get("use", "sig") == "sig"
        )

    def find(self, kid: str | None, algorithm: str) -> PyJWK:
        """The key with the id `kid` for an algorithm. Without an id there must be one fitting key. Raises UnknownKey."""
        import jwt

        kind = _KEY_TYPES[algorithm[:2]]
        fitting = [
            key
            for key in self._keys
            if key["kty"] == kind and key.get("alg", algorithm) == algorithm and (kid is None or key.get("kid") == kid)
        ]
        if len(fitting) != 1:
            raise UnknownKey(
                "The ID token is signed with a key that the identity provider does not publish. Log in again."
            )
        try:
            return jwt.PyJWK(fitting[0], algorithm=algorithm)
        except jwt.PyJWTError:
            raise OidcError("The identity provider published a key that cannot be used.") from None


def verify_id_token(
    token: str, keys: SigningKeys, client_id: str, nonce: str, groups_claim: str = "groups"
) -> Identity:
    """Check an ID token and return the person it describes. Raises OidcError; UnknownKey when the keys may be out of date.

    Checked: algorithm, signature, issuer, audience, authorized party, time of expiry and of issue, nonce.
    """
    import jwt

    try:
        header = jwt.get_unverified_header(token)
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in ALGORITHMS:
            raise OidcError(
                f"The ID token has the signature algorithm {_shown(str(algorithm))}, which Byway does not accept."
            )
        claims: dict[str, Any] = jwt.decode(
            token,
            keys.find(kid if isinstance(kid, str) else None, algorithm),
            algorithms=[algorithm],
            audience=client_id,
            issuer=keys.issuer,
            leeway=_LEEWAY,
            options={"require": ["iss", "sub", "aud", "exp", "iat"], "enforce_minimum_key_length": True},
        )
    except jwt.ExpiredSignatureError:
        raise OidcError("The ID token has expired. Log in again, and check the clocks of both machines.") from None
    except jwt.ImmatureSignatureError:
        raise OidcError("The ID token is not valid yet. Check the clocks of both machines.") from None
    except jwt.InvalidAudienceError:
        raise OidcError("The ID token was made for another application. Check `oidc.client_id`.") from None
    except jwt.InvalidIssuerError:
        raise OidcError("The ID token comes from another issuer. Check `oidc.issuer`.") from None
    except jwt.PyJWTError:
        raise OidcError("The ID token is not valid: its signature or its form is wrong. Log in again.") from None
    audience = claims["aud"]
    if claims.get("azp", client_id) != client_id or (
        isinstance(audience, list) and len(audience) > 1 and "azp" not in claims
    ):
        raise OidcError("The ID token was made for another application. Check `oidc.client_id`.")
    if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
        raise OidcError("The ID token does not belong to this login (its nonce differs). Log in again.")
    subject = claims["sub"]
    if not isinstance(subject, str) or not subject or len(subject) > _MAX_CLAIM:
        raise OidcError("The ID token has no usable subject (`sub`).")
    groups = claims.get(groups_claim)
    listed = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else []
    return Identity(
        keys.issuer,
        subject,
        _claim(claims, "email").lower()
        if claims.get("email_verified") is True or claims.get("email_verified") == "true"
        else "",
        _claim(claims, "name"),
        _claim(claims, "preferred_username"),
        frozenset(group for group in listed[:_MAX_GROUPS] if isinstance(group, str)),
    )


def role_of(rules: Iterable[RoleRule], identity: Identity) -> Role | None:
    """The role of the first rule that matches, or None. Emails and domains match verified addresses only."""
    address = identity.email
    name, _, domain = address.rpartition("@")
    for rule in rules:
        if name and (
            address in (email.lower() for email in rule.emails) or domain in (entry.lower() for entry in rule.domains)
        ):
            return rule.role
        if not identity.groups.isdisjoint(rule.groups):
            return rule.role
    return None


_NOT_IN_ID: Final = re.compile(r"[^a-z0-9._]+")


def suggested_account(identity: Identity) -> str:
    """A short id for a new account: the name before the @ of its address, or its user name."""
    name = identity.email.partition("@")[0] or identity.username.partition("@")[0] or identity.name
    return _NOT_IN_ID.sub("-", name.lower())[:32].strip("-._") or "account"


def _claim(claims: dict[str, Any], name: str) -> str:
    """A claim as text on one line; empty when it has another type or is too long."""
    value = claims.get(name)
    return value if isinstance(value, str) and len(value) <= _MAX_CLAIM and value.isprintable() else ""


def _shown(text: str) -> str:
    """A text of the provider, shortened and on one line."""
    return "".join(character if character.isprintable() else " " for character in text[:200]).strip().rstrip(".")
