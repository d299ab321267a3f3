"""What is added to a call so that the backend lets it in, and that it is not shown."""

from __future__ import annotations

import pytest

from byway.backends.vendors import VENDORS
from byway.call import Call
from byway.upstream.credentials import StaticCredential, authorize, static_credential

SECRET = "canary-secret"


@pytest.mark.parametrize(
    ("vendor", "secret", "headers", "expected"),
    [
        ("vllm", SECRET, {}, (("authorization", f"Bearer {SECRET}"),)),
        ("anthropic", SECRET, {}, (("x-api-key", SECRET),)),
        ("vllm", None, {}, ()),
        ("vllm", "", {}, ()),
        ("vllm", None, {"X-Team": "a"}, (("X-Team", "a"),)),
        ("vllm", SECRET, {"X-Team": "a"}, (("authorization", f"Bearer {SECRET}"), ("X-Team", "a"))),
        ("vllm", SECRET, {"AUTHORIZATION": "Basic x"}, (("AUTHORIZATION", "Basic x"),)),
        ("anthropic", SECRET, {"X-Api-Key": "own"}, (("X-Api-Key", "own"),)),
    ],
)
def test_the_secret_is_sent_in_the_vendors_header(
    vendor: str, secret: str | None, headers: dict[str, str], expected: tuple[tuple[str, str], ...]
) -> None:
    assert static_credential(VENDORS[vendor], secret, headers).headers == expected


def test_headers_of_the_credential_replace_those_of_the_call() -> None:
    call = Call("POST", "/x", (("Authorization", "Bearer client"), ("accept", "a"), ("x-team", "client")), b"body")
    credential = StaticCredential((("authorization", "Bearer ours"), ("X-Team", "ours")))
    made = authorize(call, credential)
    assert made.headers == (("accept", "a"), ("authorization", "Bearer ours"), ("X-Team", "ours"))
    assert (made.method, made.path, made.body) == ("POST", "/x", b"body")
    assert call.headers[0] == ("Authorization", "Bearer client")


def test_a_call_without_a_credential_is_unchanged() -> None:
    call = Call("GET", "/x", (("accept", "a"),))
    assert authorize(call, StaticCredential(())) is call


def test_the_repr_of_a_credential_has_no_values() -> None:
    credential = static_credential(VENDORS["openai"], SECRET, {"X-Team": "canary-team"})
    assert repr(credential) == "StaticCredential(authorization, X-Team)"
    assert "canary" not in f"{credential} {credential!r}"
