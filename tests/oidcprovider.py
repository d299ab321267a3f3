"""An OpenID Connect provider on loopback that follows the protocol, and can be told to break it: `OidcProvider()`."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import secrets
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import httpservers
import jwt
from cryptography.hazmat.primitives.asymmetric import ec

CLIENT_ID: Final = "byway"
CLIENT_SECRET: Final = "oidc-secret-with-%-and-:"
Claims = dict[str, Any]


class SigningKey:
    """A key pair of the provider."""

    def __init__(self, kid: str) -> None:
        self.kid = kid
        self.private = ec.generate_private_key(ec.SECP256R1())

    @property
    def public(self) -> dict[str, Any]:
        key: dict[str, Any] = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.private.public_key()))
        return key | {"kid": self.kid, "use": "sig", "alg": "ES256"}

    def sign(self, claims: Claims) -> str:
        return jwt.encode(claims, self.private, "ES256", {"kid": self.kid})


class OidcProvider:
    """A provider with one person, who is always logged in. What its tokens contain can be changed between logins."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        """`host`: the name in its URLs. To a browser `localhost` is another site than 127.0.0.1."""
        self.keys = [SigningKey("first")]
        """What `jwks_uri` publishes; the last one signs."""
        self.person: Claims = {"sub": "248289761001", "email": "ada@example.org", "email_verified": True, "name": "Ada"}
        self.change: Callable[[Claims], Claims] = lambda claims: claims
        """Changes the claims before they are signed."""
        self.sign: Callable[[Claims], str] = lambda claims: self.keys[-1].sign(claims)
        self.refusal = ""
        """The `error` that the next authorizations get."""
        self.metadata_change: dict[str, Any] = {}
        self.paths: list[str] = []
        """The paths of all requests."""
        self.code = "none yet"
        """The last code."""
        self._codes: dict[str, dict[str, str]] = {}
        provider = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider._get(self)

            def do_POST(self) -> None:
                provider._post(self)

            def log_message(self, format: str, *args: object) -> None: ...

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://{host}:{self._server.server_port}/realms/team"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        httpservers.stop(self._server)
        self._thread.join()

    def settings(self, **more: Any) -> dict[str, Any]:
        """The section `oidc` of a config for this provider."""
        return {
            "issuer": self.issuer,
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "roles": [{"role": "member", "domains": ["example.org"]}],
            **more,
        }

    # ---- the provider's side of the protocol

    def _get(self, request: http.server.BaseHTTPRequestHandler) -> None:
        url = urlsplit(request.path)
        self.paths.append(url.path)
        path = url.path.removeprefix("/realms/team")
        if path == "/.well-known/openid-configuration":
            _json(request, 200, self._metadata())
        elif path == "/jwks":
            _json(request, 200, {"keys": [key.public for key in self.keys]})
        elif path == "/authorize":
            self._authorize(request, {name: values[0] for name, values in parse_qs(url.query).items()})
        else:
            _json(request, 404, {})

    def _metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
            **self.metadata_change,
        }

    def _authorize(self, request: http.server.BaseHTTPRequestHandler, fields: dict[str, str]) -> None:
        assert fields["client_id"] == CLIENT_ID and fields["response_type"] == "code", fields
        assert "openid" in fields["scope"].split() and fields["code_challenge_method"] == "S256", fields
        answer = {"state": fields["state"], "iss": self.issuer}
        if self.refusal:
            answer |= {"error": self.refusal, "error_description": "The person has <b>declined</b>."}
        else:
            self.code = answer["code"] = secrets.token_urlsafe(16)
            self._codes[self.code] = fields
        request.send_response(302)
        request.send_header("location", f"{fields['redirect_uri']}?{urlencode(answer)}")
        request.send_header("content-length", "0")
        request.end_headers()

    def _post(self, request: http.server.BaseHTTPRequestHandler) -> None:
        self.paths.append(request.path)
        body = request.rfile.read(int(request.headers["content-length"])).decode()
        fields = {name: values[0] for name, values in parse_qs(body).items()}
        kind, _, pair = request.headers.get("authorization", "").partition(" ")
        client, _, secret = base64.b64decode(pair).decode().partition(":") if kind == "Basic" else ("", "", "")
        if (unquote(client), unquote(secret)) != (CLIENT_ID, CLIENT_SECRET):
            _json(request, 401, {"error": "invalid_client"})
            return
        login = self._codes.pop(fields.get("code", ""), None)
        challenge = (
            base64.urlsafe_b64encode(hashlib.sha256(fields["code_verifier"].encode()).digest()).decode().rstrip("=")
        )
        if (
            login is None
            or fields["grant_type"] != "authorization_code"
            or fields["redirect_uri"] != login["redirect_uri"]
            or challenge != login["code_challenge"]
        ):
            _json(request, 400, {"error": "invalid_grant", "error_description": "The code is not valid."})
            return
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": login["nonce"],
            **self.person,
        }
        token = self.sign(self.change(claims))
        _json(request, 200, {"access_token": "unused", "token_type": "Bearer", "expires_in": 300, "id_token": token})


def _json(request: http.server.BaseHTTPRequestHandler, status: int, value: Any) -> None:
    body = json.dumps(value).encode()
    request.send_response(status)
    request.send_header("content-type", "application/json")
    request.send_header("content-length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


def authorize(url: str) -> str:
    """What a browser does at the provider: open `url`, and return the query with which it is sent back."""
    import http.client

    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}")
        answer = connection.getresponse()
        assert answer.status == 302, answer.status
        return urlsplit(answer.headers["location"]).query
    finally:
        connection.close()
