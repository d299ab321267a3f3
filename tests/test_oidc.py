"""Logins by OpenID Connect, with a provider on loopback: the whole protocol, and everything that can be wrong in an answer."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from oidcprovider import CLIENT_ID, CLIENT_SECRET, Claims, OidcProvider, SigningKey, authorize

from byway.access.login import Logins
from byway.access.oidc import (
    Identity,
    OidcError,
    SigningKeys,
    provider_url,
    role_of,
    suggested_account,
    verify_id_token,
)
from byway.admin.oidc import OidcLogin, StartedLogin
from byway.config import ConfigError, OidcSettings, load
from byway.config.settings import OidcRoleSettings
from byway.roles import Role

REDIRECT = "http://127.0.0.1:38080/login/oidc/callback"


@pytest.fixture
def provider() -> Iterator[OidcProvider]:
    with OidcProvider() as provider:
        yield provider


class Browser:
    """A Byway and a browser that logs in at it."""

    def __init__(self, provider: OidcProvider, **settings: Any) -> None:
        self.provider = provider
        self.settings = load(json.dumps({"oidc": provider.settings(**settings)}), {}).oidc
        self.service = OidcLogin(Logins(b"s" * 32))

    def start(self) -> StartedLogin:
        return asyncio.run(self.service.start(self.settings, REDIRECT))

    def finish(self, started: StartedLogin, query: str) -> tuple[Identity, Role]:
        return asyncio.run(self.service.finish(self.settings, REDIRECT, started.ticket, query))

    def login(self) -> tuple[Identity, Role]:
        started = self.start()
        return self.finish(started, authorize(started.url))

    def refusal(self) -> str:
        """Why a login fails."""
        with pytest.raises(OidcError) as caught:
            self.login()
        message = str(caught.value)
        assert CLIENT_SECRET not in message and self.provider.code not in message
        return message


def test_a_person_logs_in_with_the_role_of_the_first_rule_that_matches(provider: OidcProvider) -> None:
    identity, role = Browser(provider).login()
    assert role == "member"
    assert identity == Identity(provider.issuer, "248289761001", "ada@example.org", "Ada")


def test_metadata_and_keys_are_read_once(provider: OidcProvider) -> None:
    browser = Browser(provider)
    browser.login()
    browser.login()
    assert sum(path.endswith("openid-configuration") for path in provider.paths) == 1
    assert sum(path.endswith("jwks") for path in provider.paths) == 1


# ------------------------------------------------------------------------------------------------- the way of the browser


def test_an_answer_of_another_browser_is_refused(provider: OidcProvider) -> None:
    browser = Browser(provider)
    mine, other = browser.start(), browser.start()
    with pytest.raises(OidcError, match="does not belong to a login that was started in this browser"):
        browser.finish(mine, authorize(other.url))


def test_an_answer_is_accepted_once(provider: OidcProvider) -> None:
    browser = Browser(provider)
    started = browser.start()
    query = authorize(started.url)
    browser.finish(started, query)
    with pytest.raises(OidcError, match="finished already"):
        browser.finish(started, query)
    # A code that is sent with another login is refused by the provider: it was bound to the first by PKCE and used.
    other = browser.start()
    replayed = authorize(other.url).replace(provider.code, query.partition("code=")[2].partition("&")[0])
    with pytest.raises(OidcError, match="rejected the code: The code is not valid"):
        browser.finish(other, replayed)


def test_a_code_of_another_login_is_refused_by_its_challenge(provider: OidcProvider) -> None:
    browser = Browser(provider)
    first, second = browser.start(), browser.start()
    authorize(first.url)
    stolen = provider.code
    query = authorize(second.url).replace(provider.code, stolen)
    with pytest.raises(OidcError, match="rejected the code"):
        browser.finish(second, query)


def test_an_attempt_ends_after_ten_minutes(provider: OidcProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = Browser(provider)
    started = browser.start()
    query = authorize(started.url)
    later = time.time() + 601
    monkeypatch.setattr("byway.admin.oidc.time.time", lambda: later)
    with pytest.raises(OidcError, match="took longer than ten minutes"):
        browser.finish(started, query)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("", "does not belong to a login"),
        ("code=x", "does not belong to a login"),
        ("code=x&state={state}&state={state}", "does not belong to a login"),
        ("state={state}", "has no code"),
        ("code=x&state={state}&iss=https%3A%2F%2Fevil.example", "another identity provider"),
        ("&".join(f"a{at}=1" for at in range(30)), "cannot be read"),
        ("error=access_denied&state={state}", "refused the login: access_denied"),
        ("error=a%0Ab%1B&state={state}", "refused the login: a b"),
    ],
)
def test_an_answer_that_is_malformed_is_refused(provider: OidcProvider, query: str, reason: str) -> None:
    browser = Browser(provider)
    started = browser.start()
    state = started.url.partition("&state=")[2].partition("&")[0]
    with pytest.raises(OidcError, match=reason):
        browser.finish(started, query.replace("{state}", state))
    assert not any(path.endswith("/token") for path in provider.paths)


def test_a_refusal_of_the_provider_is_shown(provider: OidcProvider) -> None:
    provider.refusal = "access_denied"
    assert Browser(provider).refusal() == "The identity provider refused the login: The person has <b>declined</b>"


# --------------------------------------------------------------------------------------------------------- the ID token


def without(claim: str) -> Callable[[Claims], Claims]:
    return lambda claims: {name: value for name, value in claims.items() if name != claim}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda claims: claims | {"nonce": "other"}, "its nonce differs"),
        (without("nonce"), "its nonce differs"),
        (lambda claims: claims | {"exp": int(time.time()) - 3600}, "has expired"),
        (lambda claims: claims | {"iat": int(time.time()) + 3600}, "not valid yet"),
        (lambda claims: claims | {"nbf": int(time.time()) + 3600}, "not valid yet"),
        (lambda claims: claims | {"aud": "another"}, "another application"),
        (lambda claims: claims | {"aud": [CLIENT_ID, "another"]}, "another application"),
        (lambda claims: claims | {"azp": "another"}, "another application"),
        (lambda claims: claims | {"iss": "https://evil.example"}, "another issuer"),
        (without("exp"), "its signature or its form is wrong"),
        (without("aud"), "its signature or its form is wrong"),
        (without("sub"), "its signature or its form is wrong"),
        (lambda claims: claims | {"sub": ""}, "no usable subject"),
        (lambda claims: claims | {"sub": "x" * 400}, "no usable subject"),
    ],
)
def test_a_token_with_a_wrong_claim_is_refused(
    provider: OidcProvider, change: Callable[[Claims], Claims], reason: str
) -> None:
    provider.change = change
    assert reason in Browser(provider).refusal()


def unsigned(claims: Claims) -> str:
    return jwt.encode(claims, "", "none", {"kid": "first"})


def signed_with_the_client_secret(claims: Claims) -> str:
    return jwt.encode(claims, CLIENT_SECRET.encode() * 2, "HS256", {"kid": "first"})


def signed_by_another_key_with_the_same_id(claims: Claims) -> str:
    return SigningKey("first").sign(claims)


def signed_with_the_public_key(claims: Claims) -> str:
    """The confusion of algorithms: the public key as the secret of HMAC. PyJWT itself refuses to make such a token."""
    text = base64.urlsafe_b64encode
    head, body = (text(json.dumps(part).encode()).rstrip(b"=") for part in ({"alg": "HS256", "kid": "first"}, claims))
    return b".".join((head, body, text(b"x" * 32).rstrip(b"="))).decode()


@pytest.mark.parametrize(
    ("sign", "reason"),
    [
        (unsigned, "signature algorithm none, which Byway does not accept"),
        (signed_with_the_client_secret, "signature algorithm HS256, which Byway does not accept"),
        (signed_with_the_public_key, "signature algorithm HS256, which Byway does not accept"),
        (signed_by_another_key_with_the_same_id, "its signature or its form is wrong"),
        (lambda claims: SigningKey("other").sign(claims), "a key that the identity provider does not publish"),
        (lambda claims: "x.y.z", "its signature or its form is wrong"),
        (lambda claims: "", "sent no ID token"),
        (lambda claims: "x" * 70_000, "sent no ID token"),
    ],
)
def test_a_token_with_a_wrong_signature_is_refused(
    provider: OidcProvider, sign: Callable[[Claims], str], reason: str
) -> None:
    provider.sign = sign
    assert reason in Browser(provider).refusal()


def test_a_token_of_a_rotated_key_is_accepted_after_the_keys_were_read_again(
    provider: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = Browser(provider)
    browser.login()
    provider.keys = [SigningKey("second")]
    assert "does not publish" in browser.refusal(), "the keys were read a moment ago"
    monkeypatch.setattr("byway.admin.oidc._KEYS_INTERVAL", 0.0)
    browser.login()
    assert sum(path.endswith("jwks") for path in provider.paths) == 2


def test_a_removed_key_is_not_accepted_any_more(provider: OidcProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = Browser(provider)
    browser.login()
    monkeypatch.setattr("byway.admin.oidc._KEYS_INTERVAL", 0.0)
    old = provider.keys
    provider.keys = [SigningKey("second")]
    browser.login()
    provider.sign = old[0].sign
    assert "does not publish" in browser.refusal()


def test_keys_of_two_issuers_with_one_id_are_kept_apart() -> None:
    """CVE-2026-35030 of another gateway was a collision of its cache's keys: here no entry is shared by two issuers."""
    mine, other = SigningKey("same"), SigningKey("same")
    now = int(time.time())
    claims = {"iss": "https://a.example", "aud": "byway", "sub": "1", "iat": now, "exp": now + 60, "nonce": "n"}
    keys = {}
    for issuer, key in (("https://a.example", mine), ("https://b.example", other)):
        keys[issuer] = SigningKeys(issuer)
        keys[issuer].take(json.dumps({"keys": [key.public]}).encode())
    assert verify_id_token(mine.sign(claims), keys["https://a.example"], "byway", "n").subject == "1"
    with pytest.raises(OidcError, match="signature"):
        verify_id_token(other.sign(claims), keys["https://a.example"], "byway", "n")
    with pytest.raises(OidcError):
        verify_id_token(mine.sign(claims), keys["https://b.example"], "byway", "n")


def test_a_changed_config_forgets_the_keys_of_the_earlier_provider(provider: OidcProvider) -> None:
    browser = Browser(provider)
    browser.login()
    with OidcProvider() as other:
        other.keys = [SigningKey("first")]
        browser.provider, browser.settings = other, load(json.dumps({"oidc": other.settings()}), {}).oidc
        assert browser.login()[0].issuer == other.issuer


def test_a_set_of_keys_is_bounded_and_a_malformed_one_changes_nothing() -> None:
    keys = SigningKeys("https://a.example")
    key = SigningKey("only")
    keys.take(json.dumps({"keys": [key.public, {"kty": "oct", "k": "eA"}, 7, {"kty": "RSA", "use": "enc"}]}).encode())
    assert len(keys) == 1
    for body in (b"", b"[]", b"{", b'{"keys": 3}'):
        with pytest.raises(OidcError, match="cannot be read"):
            keys.take(body)
    assert keys.find("only", "ES256").key_id == "only"
    keys.take(json.dumps({"keys": [key.public | {"kid": str(at)} for at in range(500)]}).encode())
    assert len(keys) == 32


def test_a_token_without_a_key_id_needs_one_fitting_key() -> None:
    keys, first, second = SigningKeys("https://a.example"), SigningKey("first"), SigningKey("second")
    keys.take(json.dumps({"keys": [first.public]}).encode())
    assert keys.find(None, "ES256").key_id == "first"
    keys.take(json.dumps({"keys": [first.public, second.public]}).encode())
    with pytest.raises(OidcError):
        keys.find(None, "ES256")


def test_a_short_rsa_key_is_refused() -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(private.public_key())) | {"kid": "weak"}
    keys = SigningKeys("https://a.example")
    keys.take(json.dumps({"keys": [public]}).encode())
    now = int(time.time())
    claims = {"iss": "https://a.example", "aud": "byway", "sub": "1", "iat": now, "exp": now + 60, "nonce": "n"}
    with pytest.warns(match="below the minimum"):
        token = jwt.encode(claims, private, "RS256", {"kid": "weak"})
    with pytest.raises(OidcError):
        verify_id_token(token, keys, "byway", "n")


# ------------------------------------------------------------------------------------------------- metadata and addresses


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"issuer": "https://evil.example"}, "calls itself 'https://evil.example'"),
        (
            {"token_endpoint": "http://evil.example/token"},
            "`token_endpoint` in the identity provider's metadata must start",
        ),
        ({"jwks_uri": "http://169.254.169.254/latest"}, "`jwks_uri` in the identity provider's metadata must start"),
        ({"jwks_uri": "file:///etc/passwd"}, "must start with http"),
        ({"authorization_endpoint": "https://user@evil.example/"}, "contains a user name"),
        ({"token_endpoint": 7}, "metadata at"),
    ],
)
def test_metadata_that_points_elsewhere_is_refused(provider: OidcProvider, change: dict[str, Any], reason: str) -> None:
    provider.metadata_change = change
    with pytest.raises(OidcError) as caught:
        Browser(provider).start()
    assert reason in str(caught.value)


def test_an_address_of_a_metadata_service_is_never_called(provider: OidcProvider) -> None:
    provider.metadata_change = {"jwks_uri": "https://169.254.169.254/keys"}
    assert "never permitted" in Browser(provider).refusal()


def test_a_provider_that_is_down_is_named_and_not_called_again_for_a_moment(provider: OidcProvider) -> None:
    browser = Browser(provider)
    provider.__exit__(None, None, None)
    for _ in range(2):
        with pytest.raises(OidcError, match=r"The identity provider at 127\.0\.0\.1"):
            browser.start()
    provider._thread.join()


def test_http_is_for_this_machine_only() -> None:
    for text in ("http://127.0.0.1:8080/realm", "http://localhost/", "https://login.example.org/"):
        assert str(provider_url(text, local=True)) == text
    for text in ("http://login.example.org", "http://10.0.0.1", "ftp://login.example.org", "https://a@b.example"):
        with pytest.raises(ValueError):
            provider_url(text, local=True)
    with pytest.raises(ValueError, match="https"):
        provider_url("http://127.0.0.1")


def test_a_wrong_client_secret_is_named(provider: OidcProvider) -> None:
    assert "Check `oidc.client_id` and `oidc.client_secret`" in Browser(provider, client_secret="wrong").refusal()


def test_a_missing_extra_is_named(provider: OidcProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jwt", None)
    with pytest.raises(OidcError, match=r"pip install .*requirements/oidc\.txt"):
        Browser(provider).start()


# ---------------------------------------------------------------------------------------------------------------- roles


RULES = (
    OidcRoleSettings(role="owner", groups=("platform",)),
    OidcRoleSettings(role="viewer", emails=("Boss@Example.org",)),
    OidcRoleSettings(role="member", domains=("example.org",)),
)


@pytest.mark.parametrize(
    ("identity", "role"),
    [
        (Identity("i", "1", "ada@example.org"), "member"),
        (Identity("i", "1", "boss@example.org"), "viewer"),
        (Identity("i", "1", "ada@example.org", groups=frozenset({"platform"})), "owner"),
        (Identity("i", "1", "", groups=frozenset({"platform"})), "owner"),
        (Identity("i", "1", "ada@sub.example.org"), None),
        (Identity("i", "1", "ada@example.org.evil.example"), None),
        (Identity("i", "1", "@example.org"), None),
        (Identity("i", "1", ""), None),
    ],
)
def test_the_first_rule_that_matches_decides(identity: Identity, role: Role | None) -> None:
    assert role_of(RULES, identity) == role


def test_a_person_that_no_rule_matches_is_refused_with_the_next_step(provider: OidcProvider) -> None:
    provider.person["email"] = "eve@evil.example"
    assert Browser(provider).refusal() == (
        "eve@evil.example may not log in to this Byway. An owner can add an entry to `oidc.roles`."
    )


@pytest.mark.parametrize("verified", [False, None, "yes", 1])
def test_an_address_that_is_not_verified_gives_no_role(provider: OidcProvider, verified: object) -> None:
    provider.person["email_verified"] = verified
    assert "sent no verified email address" in Browser(provider).refusal()


def test_groups_come_from_the_claim_that_the_config_names(provider: OidcProvider) -> None:
    provider.person |= {"email_verified": False, "teams": ["platform", 7]}
    browser = Browser(provider, groups_claim="teams", roles=[{"role": "owner", "groups": ["platform"]}])
    assert browser.login()[1] == "owner"


@pytest.mark.parametrize(
    ("identity", "name"),
    [
        (Identity("i", "1", "ada.lovelace@example.org"), "ada.lovelace"),
        (Identity("i", "1", username="Ada_L@corp"), "ada_l"),
        (Identity("i", "1", name="Ada Lovelace"), "ada-lovelace"),
        (Identity("i", "1", name="李"), "account"),
    ],
)
def test_an_account_gets_a_short_name(identity: Identity, name: str) -> None:
    assert suggested_account(identity) == name


# --------------------------------------------------------------------------------------------------------------- config


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"issuer": ""}, "oidc.issuer: required"),
        ({"issuer": "http://login.example.org"}, "oidc.issuer: the URL must start with https://"),
        ({"issuer": "https://login.example.org/?x=1"}, "oidc.issuer: no provider has an issuer of this form"),
        ({"client_id": ""}, "oidc.client_id: required"),
        ({"url": "http://byway.example.org"}, "oidc.url: the URL must start with https://"),
        ({"url": "https://byway.example.org/base"}, "oidc.url: only the origin belongs here"),
        ({"roles": []}, "oidc.roles: required"),
        ({"roles": [{"role": "member"}]}, "oidc.roles.0: the entry matches no person"),
        (
            {"roles": [{"role": "king", "groups": ["a"]}]},
            "oidc.roles.0.role: 'king' is not one of owner, member, viewer",
        ),
        ({"roles": [{"emails": ["example.org"]}]}, "oidc.roles.0.emails: 'example.org' is not an email address"),
        ({"roles": [{"domains": ["@example.org"]}]}, "oidc.roles.0.domains.0: expected a domain such as example.org"),
    ],
)
def test_an_invalid_section_is_refused(change: dict[str, Any], problem: str) -> None:
    section = {"issuer": "https://login.example.org", "client_id": "byway", "roles": [{"domains": ["example.org"]}]}
    with pytest.raises(ConfigError, match=problem.replace(".", r"\.").replace("(", r"\(")):
        load(json.dumps({"oidc": section | change}), {})


def test_a_secret_that_is_not_set_disables_the_login_and_names_the_variable() -> None:
    section = {"issuer": "https://login.example.org", "client_id": "byway", "client_secret": "${BYWAY_OIDC_CLIENT_SECRET}",
               "roles": [{"domains": ["example.org"]}]}  # fmt: skip
    config = load(json.dumps({"oidc": section}), {})
    assert not config.oidc.enabled and "BYWAY_OIDC_CLIENT_SECRET is not set" in str(config.warnings[0])
    assert "byway secret set oidc" in str(config.warnings[0])
    config = load(json.dumps({"oidc": section}), {"BYWAY_OIDC_CLIENT_SECRET": "hidden-value"})
    assert config.oidc.enabled and config.secrets == ("hidden-value",) and "hidden-value" not in repr(config)
    assert not OidcSettings().enabled and not msgspec.structs.asdict(OidcSettings())["issuer"]


def test_local_only_permits_a_provider_in_a_private_network() -> None:
    section = {"client_id": "byway", "roles": [{"domains": ["example.org"]}]}
    assert load(json.dumps({"local_only": True, "oidc": section | {"issuer": "https://10.0.0.5"}}), {}).oidc.enabled
    with pytest.raises(ConfigError, match=r"oidc\.issuer: local_only is set"):
        load(json.dumps({"local_only": True, "oidc": section | {"issuer": "https://login.example.org"}}), {})
