"""What accounts see and do on the page and through the API: their own things, and nothing of others."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from oidcprovider import OidcProvider, authorize
from pages import HOST, Pages, Sent

from byway.access.login import code_digest
from byway.access.sync import KeySync
from byway.admin.logins import create_login_code
from byway.admin.requests import RequestLine
from byway.cli.client import page_url
from byway.limits.limiter import RequestNames
from byway.routes.context import Route
from byway.server.routes import ROUTES
from byway.usage.record import UsageRecord

CONFIG = (
    "api_keys: {api_keys: [{key: sk-byway-0123456789abcdef, id: configured-of-grace, user_id: grace}]}\n"
    "backends: [{name: one, type: generic, url: 'http://127.0.0.1:9', models: [local]}]\n"
)
#: What belongs to grace, in every form in which it could be shown.
GRACE = ("grace", "Grace Hopper", "graces-key", "graces-model", "req_graces", "configured-of-grace", "Graces-Browser",
         "graces-session", "graces-tag")  # fmt: skip


class Team(Pages):
    """A Byway with the accounts ada and grace (members) and vera (a viewer), who are logged in."""

    def __init__(self, folder: Path, text: str = CONFIG) -> None:
        super().__init__(folder, text)
        self.sync = KeySync(self.gateway)
        self.cookies = {"owner": self.cookie}
        self.ids: dict[str, str] = {}
        self.values: dict[str, str] = {}
        for account, name, role in (("ada", "Ada Lovelace", "member"), ("grace", "Grace Hopper", "member"),
                                    ("vera", "Vera", "viewer")):  # fmt: skip
            self.store.add_account(account, "test", name=name, role=role)
            if role == "member":
                key, value = self.store.add_key(f"{account}s-key", ["read", "write"], None, "test", account=account)
                self.ids[account], self.values[account] = key.id, value
            self.cookies[account] = self.login(account)
        self.refresh()
        for account in ("ada", "grace"):
            line = RequestLine(f"req_{account}s", "POST", "/v1/messages", 200, 12.0, self.ids[account], "session",
                               f"{account}s-model", "default", "one", "local", account=account)  # fmt: skip
            self.gateway.requests.add(line, "")
        now = time.time()
        records = [
            UsageRecord(
                f"req_{number:024x}",
                now,
                account=account,
                key=self.ids[account],
                session=f"{account}s-session",
                tag=f"{account}s-tag",
                backend="one",
                model=f"{account}s-model",
                cost=1,
            )
            for number, account in enumerate(("ada", "grace"))
        ]
        self.store.usage.add("journal", 0, 1, records)

    def refresh(self) -> None:
        asyncio.run(self.sync.read())

    def login(self, account: str) -> str:
        logins = self.services.logins
        code = create_login_code(self.store, account, "test").code
        cookie = asyncio.run(logins.enter_code(code, "127.0.0.1", f"{account.capitalize()}s-Browser"))
        return f"{logins.cookie_name}={cookie}"

    def as_account(self, account: str) -> Team:
        self.cookie = self.cookies[account]
        return self

    def api(self, method: str, target: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        text = "" if body is None else json.dumps(body)
        answer = self.call(method, target, text, {"accept": "application/json", **headers})
        return answer.status, json.loads(answer.html)


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    opened = Team(tmp_path)
    yield opened
    opened.close()


# ------------------------------------------------------------------------------------------------------------- isolation


def readable(route: Route) -> list[str]:
    """The targets of a GET route for which an account could hope to get something of another one."""
    if route.scope != "account":
        # The walk of test_routes.py shows that the others refuse a member.
        return [re.sub(r"\*|\{\w+\}", "1", route.path)]
    if "*" not in route.path and "{" not in route.path:
        queries = ("", "?account=grace", "?by=account", "?by=key&since=4w", "?by=session", "?format=jsonl", "?after=0")
        return [f"{route.path}{query}" for query in queries]
    things = ("1", "2", "grace", "rows", "keys", "logins", "req_graces", "req_000000000000000000000001")
    return [re.sub(r"\*|\{\w+\}", thing, route.path) for thing in things]


def test_no_route_shows_a_member_anything_of_another_account(team: Team) -> None:
    ids = [team.ids["grace"], team.values["grace"], team.cookies["grace"].partition("=")[2]]
    logins = team.services.logins.current("grace")
    # The paths of these requests are in the list of the member's own ones.
    team.gateway.requests.add = lambda *fields: None  # type: ignore[method-assign]
    wrong = []
    reached = 0
    for credential in ("login", "key"):
        team.as_account("ada")
        headers = {} if credential == "login" else {"x-api-key": team.values["ada"]}
        for route in ROUTES:
            if route.method != "GET" or route.path.startswith("/static"):
                continue
            for target in [*readable(route), *(target.replace("1", team.ids["grace"]) for target in readable(route))]:
                if target == "/login/oidc" or "//" in target:
                    continue
                answer = team.call("GET", target, "", headers, cookie=credential == "login")
                reached += answer.status == 200
                leaked = [word for word in (*GRACE, *ids, logins[0].id) if word in answer.html and word not in target]
                if leaked:
                    wrong.append(f"{credential}: GET {target}: {answer.status} contains {leaked}")
    assert reached > 20 and not wrong, "\n".join(wrong)
    # The walk would find it: the same requests as the owner do.
    shown = team.as_account("owner").get("/requests").html + json.dumps(team.api("GET", "/byway/keys"))
    assert "graces-model" in shown and team.ids["grace"] in shown
    assert "graces-tag" in team.get("/byway/usage/export").html
    team.as_account("ada")
    assert "adas-tag" in team.get("/byway/usage/export").html and "adas-model" in team.get("/usage").html


@pytest.mark.parametrize("id", ["grace", "unknown"])
def test_what_belongs_to_another_account_is_as_unknown_as_what_does_not_exist(team: Team, id: str) -> None:
    team.as_account("ada")
    key = team.ids.get(id, "key_aaaaaaaa")
    login = team.services.logins.current("grace")[0].id if id == "grace" else "aaaaaaaaaaaa"
    for method, target, body in (
        ("DELETE", f"/byway/keys/{key}", None),
        ("POST", f"/byway/keys/{key}/rotate", {}),
        ("DELETE", f"/byway/logins/{login}", None),
    ):
        status, answer = team.api(method, target, body)
        message = answer["error"]["message"].replace(key, "ID").replace(login, "ID")
        assert status == 404 and message in (
            "There is no key 'ID'. `byway key list` lists all keys.",
            "There is no login ID.",
        ), (method, target)
    for action in ("rotate", "revoke"):
        answer = team.post(f"/account/keys/{action}", {"id": key})
        assert "There is no key" in answer.outcome("keys")
    assert "There is no login" in team.post("/account/logins/revoke", {"id": login}).outcome("logins")
    number = 2 if id == "grace" else 99
    assert team.get(f"/requests/{number}").status == 404
    assert team.store.keys()[0].revoked_at is None and team.services.logins.current("grace")


def test_a_member_creates_rotates_and_revokes_keys_of_its_own(team: Team) -> None:
    team.as_account("ada")
    page = team.get("/account")
    assert page.status == 200 and "adas-key" in page.text and f"http://{HOST}/anthropic" in page.html
    assert "scope:admin" not in page.html
    made = team.post("/account/keys/create", page.form("/account/keys/create") | {"name": "tablet"})
    value = re.search(r'id="plain">([^<]+)<', made.html)
    assert value is not None and value[1].startswith("sk-byway-")
    stored = next(key for key in team.store.keys() if key.name == "tablet")
    assert (stored.account, stored.scopes) == ("ada", ("read", "write", "files"))
    assert value[1] not in team.get("/account").html
    rotated = team.post("/account/keys/rotate", {"id": stored.id})
    assert "tablet : copy it now" in rotated.text and value[1] not in rotated.html
    assert team.post("/account/keys/revoke", {"id": stored.id}).outcome("keys").startswith("good: tablet is revoked.")
    assert [entry.who for entry in team.store.audit_entries(3)] == ["account ada"] * 3
    # The same through the API, and not for another account or with a scope that the role has not.
    status, created = team.api("POST", "/byway/keys", {"name": "ci"})
    assert status == 201 and created["key"]["account"] == "ada"
    assert team.api("POST", "/byway/keys", {"name": "ci", "account": "grace"})[0] == 403
    assert team.api("POST", "/byway/keys", {"name": "ci", "scopes": ["admin"]})[0] == 400
    status, listed = team.api("GET", "/byway/keys")
    assert {key["account"] for key in listed["keys"]} == {"ada"} and listed["configured"] == []


def test_a_key_of_a_member_reads_its_own_and_creates_no_other(team: Team) -> None:
    headers = {"x-api-key": team.values["ada"]}
    answer = team.call("GET", "/byway/requests", "", {"accept": "application/json", **headers}, cookie=False)
    page = json.loads(answer.html)
    assert [entry["asked"] for entry in page["requests"]] == ["adas-model"] and page["count"] == 1
    created = team.call("POST", "/byway/keys", '{"name": "x"}', {"accept": "application/json", **headers}, cookie=False)
    assert created.status == 403 and "A key cannot create" in created.html


def test_an_account_has_a_bounded_number_of_keys(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byway.admin.keys.MAX_OWN_KEYS", 2)
    team.as_account("ada")
    assert team.api("POST", "/byway/keys", {"name": "second"})[0] == 201
    status, answer = team.api("POST", "/byway/keys", {"name": "third"})
    assert status == 400 and "has 2 keys already" in answer["error"]["message"]


def test_the_menu_and_the_first_page_follow_the_role(team: Team) -> None:
    def menu(account: str, path: str) -> list[str]:
        nav = re.search(r"<nav.*?</nav>", team.as_account(account).get(path).html, re.DOTALL)
        assert nav is not None
        return [Sent(0, {}, link).text for link in re.findall(r"<a[^>]*>.*?</a>", nav[0])]

    assert menu("ada", "/") == ["Overview", "Playground", "Requests", "Usage", "My keys"]
    assert {"Claude Code", "Models", "Secrets"} <= set(menu("owner", "/"))
    assert menu("vera", "/") == menu("owner", "/")
    assert "ada, member" in team.as_account("ada").get("/account").text


def test_my_keys_lists_the_limits_that_apply_to_the_account(tmp_path: Path) -> None:
    limits = (
        "limits:\n"
        "- {for: key, requests_per_minute: 60}\n"
        "- {for: account, budget: 20, period: month}\n"
        "- {for: account, name: grace, concurrency: 7}\n"
        "- {for: backend, name: one, concurrency: 9}\n"
        "- {for: global, tokens_per_minute: 5000}\n"
    )
    team = Team(tmp_path, CONFIG + limits)
    try:
        limiter = team.gateway.runtime.limiter
        assert limiter is not None
        limiter.trust_counts()
        names = RequestNames(team.ids["ada"], "ada", "", "default")
        (budget,) = limiter.budgets(names, time.monotonic(), time.time())
        assert budget.spending is not None
        budget.spending.spent = 5_000_000_000
        card = team.as_account("ada").get("/account").html.partition('id="limits"')[2].partition("</section>")[0]
        text = " ".join(Sent(0, {}, card).text.split())
        assert f"key {team.ids['ada']} limits.0 0 of 60 requests per minute" in text
        assert "account ada limits.1 $5.00 of $20.00 per month" in text
        assert "all requests limits.4 0 of 5,000 tokens per minute" in text
        assert "limits.2" not in text and "limits.3" not in text and team.ids["grace"] not in text
        grace = team.as_account("grace").get("/account").text
        assert "account grace" in grace and "0 of 7 at once" in grace and "configured-of-grace" in grace
    finally:
        team.close()


def test_a_viewer_sees_every_page_and_changes_nothing(team: Team) -> None:
    team.as_account("vera")
    for path in ("/", "/requests", "/usage"):
        page = team.get(path)
        assert page.status == 200 and "<fieldset" not in page.html, "its forms choose what is shown"
    for path in ("/trouble?run=1", "/log", "/news"):
        page = team.get(path)
        main = page.html.partition("<main")[2].partition("</main>")[0]
        assert page.status == 200 and "<fieldset" not in main and 'method="post"' not in main, path
    for path in ("/claude", "/models", "/api", "/secrets", "/config", "/remote"):
        page = team.get(path)
        assert page.status == 200 and "you see everything and change nothing" in page.text, path
        main = page.html.partition("<main")[2]
        assert main.find("<form") == -1 or main.find('<fieldset class="readonly" disabled') < main.find("<form"), path
    refused = team.post("/api/keys/create", {"name": "x", "scope:read": "on"})
    assert refused.status == 403 and "This account is a viewer" in refused.text
    status, answer = team.api("PATCH", "/byway/config", {"edits": []}, **{"if-match": "*"})
    assert status == 403 and "This account is a viewer" in answer["error"]["message"]
    assert team.api("POST", "/byway/keys", {"name": "x"})[0] == 403
    assert [entry["asked"] for entry in team.api("GET", "/byway/requests")[1]["requests"]] == [
        "graces-model",
        "adas-model",
    ]
    shown = json.dumps([team.api("GET", path)[1] for path in ("/byway/config", "/byway/secrets", "/byway/keys")])
    assert "sk-byway-0123456789abcdef" not in shown


def test_no_answer_contains_a_secret(tmp_path: Path) -> None:
    config = CONFIG.replace("models: [local]", "api_key: vendor-secret-0123456789, models: [local]") + (
        "oidc: {issuer: 'https://login.example.org', client_id: byway, client_secret: client-secret-0123456789,"
        " roles: [{domains: [example.org]}]}\n"
    )
    team = Team(tmp_path, config)
    codes = [create_login_code(team.store, "ada", "test").code]
    secrets = ["sk-byway-0123456789abcdef", "vendor-secret-0123456789", "client-secret-0123456789", *codes]
    secrets += [*team.values.values(), *(cookie.partition("=")[2] for cookie in team.cookies.values())]
    wrong = []
    for account in ("owner", "vera", "ada"):
        team.as_account(account)
        for route in ROUTES:
            # The others call the provider, and the process that lists GPUs.
            if route.method == "GET" and not route.path.startswith(("/login/oidc", "/models/files")):
                target = re.sub(r"\*|\{\w+\}", "1", route.path)
                answer = team.get(target)
                text = answer.html + json.dumps(answer.headers)
                wrong += [f"{account}: GET {target}" for secret in secrets if secret in text]
    team.close()
    assert not wrong, wrong


def test_the_variables_for_a_member_have_the_address_of_its_browser(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy-of-this-machine:3128")
    team.services.base = "http://127.0.0.1:1"
    exports = team.as_account("ada").api("GET", "/byway/exports")[1]["variables"]
    assert exports["ANTHROPIC_BASE_URL"] == f"http://{HOST}/anthropic" and "NO_PROXY" not in exports
    exports = team.as_account("owner").api("GET", "/byway/exports")[1]["variables"]
    assert exports["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:1/anthropic" and "NO_PROXY" in exports


def test_a_member_is_refused_what_is_for_owners(team: Team) -> None:
    team.as_account("ada")
    answer = team.get("/models")
    assert answer.status == 403 and "Only an owner may do this: account ada has the role member." in answer.text
    assert team.api("GET", "/byway/accounts")[0] == 403


# -------------------------------------------------------------------------------------------------------------- log in


def code(team: Team, account: str = "ada") -> str:
    status, answer = team.as_account("owner").api("POST", f"/byway/accounts/{account}/login-codes", None)
    assert status == 201
    text: str = answer["code"]
    return text


def enter(team: Team, typed: str) -> Sent:
    return team.call("POST", "/login", urlencode({"code": typed}), cookie=False)


def test_a_code_logs_in_once_however_it_is_typed(team: Team) -> None:
    text = code(team)
    assert re.fullmatch(r"[A-Z2-9]{4}-[A-Z2-9]{4}-[A-Z2-9]{4}", text)
    shown = team.call("GET", f"/login?code={text}", cookie=False)
    assert shown.status == 200 and shown.form("/login") == {"code": text}, "a preview of the link does not use it up"
    answer = enter(team, f" {text.lower().replace('-', ' ')} ")
    assert (answer.status, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    team.cookie = cookie.partition(";")[0]
    assert "adas-key" in team.get("/account").text
    again = enter(team, text)
    assert again.status == 401 and "This code is not valid" in again.text
    assert "logged in" in [entry.what for entry in team.store.audit_entries(5)]
    assert text.encode() not in team.store.path.read_bytes() + Path(f"{team.store.path}-wal").read_bytes()


def test_an_owner_creates_a_code_on_the_page(team: Team) -> None:
    shown = team.as_account("owner").post("/api/accounts/link", {"id": "ada"})
    match = re.search(r"/login\?code=([A-Z2-9-]{14})", shown.html)
    assert match is not None and f"Login code of ada: {match[1]}" in shown.text
    assert match[1] not in team.get("/api").html
    assert enter(team, match[1]).status == 303
    assert "There is no account" in team.post("/api/accounts/link", {"id": "nosuch"}).outcome("accounts")
    team.as_account("ada")
    assert team.post("/api/accounts/link", {"id": "ada"}).status == 403


@pytest.mark.parametrize("path", ["keys/create", "keys/rotate", "keys/revoke", "logins/revoke"])
def test_forms_that_are_none_are_refused(team: Team, path: str) -> None:
    team.as_account("ada")
    bodies = ("", "%ff&%zz", "id=%00&name=%00&ends=%00", "a" * (70 << 10), "id=%0d%0aX: y&name=%0d%0a&scope:read=on",
              "name=x&ends=soon&scope:read=on", "name=x&scope:admin=on")  # fmt: skip
    for body in bodies:
        answer = team.call("POST", f"/account/{path}", body, {"hx-request": "true"})
        assert answer.status in (413, 422) or "You have" in answer.text, (body[:40], answer.status)
    assert len(team.store.keys()) == 2 and team.services.logins.current("ada")


def test_a_code_expires_and_ends_with_its_account(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    text, other = code(team), code(team, "grace")
    team.store.disable_account("grace", "test")
    assert enter(team, other).status == 401
    team.store.enable_account("grace", "test")
    assert enter(team, other).status == 401, "it ended when the account was disabled"
    later = time.time() + 901
    monkeypatch.setattr("byway.store.logins.time.time", lambda: later)
    assert enter(team, text).status == 401


def test_only_the_newest_codes_of_an_account_are_valid(team: Team) -> None:
    codes = [code(team) for _ in range(7)]
    assert [enter(team, text).status for text in codes] == [401, 401, 303, 303, 303, 303, 303]


def test_many_wrong_codes_are_refused_for_a_while(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byway.access.login._MAX_FAILURES", 3)
    text = code(team)
    assert [enter(team, "AAAA-AAAA-AAAA").status for _ in range(4)] == [401, 401, 401, 429]
    refused = enter(team, text)
    assert refused.status == 429 and "Too many failed logins. Try again in 15 minutes." in refused.text
    assert team.store.take_login_code(code_digest(text)) is not None, "it was not used"


def test_a_form_of_another_site_makes_no_login(team: Team) -> None:
    answer = team.call(
        "POST", "/login", urlencode({"code": code(team)}), {"origin": "https://evil.example"}, cookie=False
    )
    assert answer.status == 403 and "set-cookie" not in answer.headers


def test_logins_are_listed_and_ended_by_their_account(team: Team) -> None:
    team.cookies["ada again"] = team.login("ada")
    team.as_account("ada")
    listed = team.api("GET", "/byway/logins")[1]["logins"]
    assert [login["account"] for login in listed] == ["ada", "ada"]
    mine = team.services.logins.registry.check(team.cookies["ada again"].partition("=")[2], time.time())
    assert mine is not None
    assert team.post("/account/logins/revoke", {"id": mine.id}).outcome("logins") == "good: The login has ended."
    assert team.as_account("ada again").get("/account").status == 401
    assert len(team.as_account("owner").api("GET", "/byway/logins")[1]["logins"]) == 4


@pytest.mark.parametrize("account", ["ada", "vera", "owner"])
def test_log_out_ends_the_login_of_every_role(team: Team, account: str) -> None:
    team.as_account(account)
    assert team.call("POST", "/logout", "", {"origin": "https://evil.example"}).status == 403
    answer = team.call("POST", "/logout")
    assert answer.status == 303 and "Max-Age=0" in answer.headers["set-cookie"]
    assert team.get("/requests").status == 401


# -------------------------------------------------------------------------------------------------- identity provider


class Provided:
    """A Byway with an identity provider, and a browser that logs in by it."""

    def __init__(self, folder: Path, provider: OidcProvider, **settings: Any) -> None:
        self.provider = provider
        config = {"oidc": provider.settings(**settings), "api_keys": {"mode": "blocking"}}
        self.pages = Pages(folder, json.dumps(config))

    def login(self) -> Sent:
        """Log in, and return what the browser gets at last."""
        started = self.pages.get("/login/oidc", cookie=False)
        assert started.status == 303, started.text
        ticket = started.headers["set-cookie"]
        assert "HttpOnly" in ticket and "SameSite=Lax" in ticket and "Path=/login/oidc" in ticket
        query = authorize(started.headers["location"])
        headers = {"cookie": ticket.partition(";")[0], "sec-fetch-site": "cross-site"}
        return self.pages.call("GET", f"/login/oidc/callback?{query}", "", headers, cookie=False)

    def cookie(self, answer: Sent) -> str:
        return answer.headers["set-cookie"].partition(";")[0]


@pytest.fixture
def provided(tmp_path: Path) -> Iterator[Provided]:
    with OidcProvider() as provider:
        opened = Provided(tmp_path, provider)
        yield opened
        opened.pages.close()


def test_the_first_login_makes_an_account_and_later_ones_use_it(provided: Provided) -> None:
    pages = provided.pages
    assert "With your identity provider" in pages.get("/login", cookie=False).text
    first = provided.login()
    # A page that refreshes itself: a redirect would be cross-site and carry no strict cookie.
    assert first.status == 200 and 'content="0; url=/"' in first.html
    (account,) = pages.store.accounts()
    assert (account.id, account.name, account.role) == ("ada", "Ada", "member")
    provided.provider.person["email"] = "countess@example.org"
    provided.provider.change = lambda claims: claims
    provided.login()
    assert [account.id for account in pages.store.accounts()] == ["ada"], "the subject identifies the person"
    assert [entry.detail for entry in pages.store.audit_entries(20) if entry.what == "logged in"] == [
        "with OpenID Connect: countess@example.org",
        "with OpenID Connect: ada@example.org",
    ]


def test_the_cookies_of_an_identity_login_open_the_page_of_its_account(provided: Provided) -> None:
    answer = provided.login()
    messages = answer.headers["set-cookie"]
    # `Sent` keeps the last header of a name: the ticket is deleted, and the login is in the list.
    assert "Max-Age=0" in messages
    (login,) = provided.pages.services.logins.current("ada")
    assert login.account == "ada"


def test_another_person_with_the_same_name_gets_another_account(provided: Provided) -> None:
    provided.pages.store.add_account("ada", "test", role="owner")
    provided.login()
    provided.provider.person |= {"sub": "2", "email": "ada@sub.example.org"}
    provided.pages.file.write_text(provided.pages.file.read_text().replace("example.org", "sub.example.org"))
    asyncio.run(provided.pages.reload())
    provided.login()
    roles = {account.id: account.role for account in provided.pages.store.accounts()}
    assert roles == {"ada": "owner", "ada-2": "member", "ada-3": "member"}, "no one takes over an account by its name"


def test_the_role_follows_the_config_at_each_login(provided: Provided) -> None:
    provided.login()
    provided.pages.file.write_text(provided.pages.file.read_text().replace('"member"', '"viewer"'))
    asyncio.run(provided.pages.reload())
    provided.login()
    assert provided.pages.store.account("ada").role == "viewer"


def test_a_disabled_or_removed_account_cannot_log_in_again_as_it_was(provided: Provided) -> None:
    store = provided.pages.store
    provided.login()
    store.disable_account("ada", "test")
    refused = provided.login()
    assert refused.status == 403 and "Account ada is disabled." in refused.text
    store.remove_account("ada", "test")
    store.add_account("ada", "test", role="owner")
    provided.login()
    assert {account.id for account in store.accounts()} == {"ada", "ada-2"}, "the identity went with the account"


def test_a_refused_person_sees_why_and_gets_no_login(provided: Provided) -> None:
    provided.provider.person["email"] = "eve@evil.example"
    answer = provided.login()
    assert answer.status == 403 and "eve@evil.example may not log in to this Byway." in answer.text
    assert "set-cookie" not in answer.headers and provided.pages.store.accounts() == []
    provided.provider.refusal = "access_denied"
    assert "&lt;b&gt;declined&lt;/b&gt;" in provided.login().html, "text of the provider is no markup"


def test_many_failed_logins_at_the_provider_are_refused_for_a_while(
    provided: Provided, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("byway.access.login._MAX_FAILURES", 2)
    target = "/login/oidc/callback?code=x&state=y"
    assert [provided.pages.get(target, cookie=False).status for _ in range(3)] == [403, 403, 429]
    assert not any(path.endswith("/token") for path in provided.provider.paths)


def test_an_answer_without_the_cookie_of_its_login_is_refused(provided: Provided) -> None:
    started = provided.pages.get("/login/oidc", cookie=False)
    query = authorize(started.headers["location"])
    answer = provided.pages.get(f"/login/oidc/callback?{query}", cookie=False)
    assert answer.status == 403 and "does not belong to a login that was started in this browser" in answer.text


def test_the_address_for_the_provider_is_local_or_configured(tmp_path: Path) -> None:
    with OidcProvider() as provider:
        opened = Provided(tmp_path, provider)
        config = {"oidc": provider.settings(), "server": {"allowed_hosts": ["byway.example.org"]}}
        opened.pages.file.write_text(json.dumps(config))
        asyncio.run(opened.pages.reload())
        host = {"host": "byway.example.org", "origin": "http://byway.example.org"}
        assert "needs oidc.url : the https URL" in opened.pages.get("/login/oidc", host, cookie=False).text
        config["oidc"]["url"] = "https://byway.example.org"
        opened.pages.file.write_text(json.dumps(config))
        asyncio.run(opened.pages.reload())
        started = opened.pages.get("/login/oidc", host, cookie=False)
        assert "redirect_uri=https%3A%2F%2Fbyway.example.org%2Flogin%2Foidc%2Fcallback" in started.headers["location"]
        assert started.headers["set-cookie"].endswith("; Secure")
        assert urlsplit(started.headers["location"]).path.endswith("/authorize")
        opened.pages.close()


def test_below_a_path_of_a_proxy_the_provider_sends_the_browser_back_there(tmp_path: Path) -> None:
    with OidcProvider() as provider:
        config = {"oidc": provider.settings(), "server": {"root_path": "/gate"}}
        pages = Pages(tmp_path, json.dumps(config))
        shown = pages.get("/gate/login", cookie=False)
        assert f'href="http://{HOST}/gate/login/oidc"' in shown.html
        started = pages.get("/gate/login/oidc", cookie=False)
        assert "%2Fgate%2Flogin%2Foidc%2Fcallback" in started.headers["location"]
        assert "Path=/gate/login/oidc;" in started.headers["set-cookie"]
        headers = {"cookie": started.headers["set-cookie"].partition(";")[0], "sec-fetch-site": "cross-site"}
        query = authorize(started.headers["location"])
        done = pages.call("GET", f"/gate/login/oidc/callback?{query}", "", headers, cookie=False)
        assert done.status == 200 and 'content="0; url=/gate/"' in done.html
        pages.close()


@pytest.mark.parametrize(
    ("view", "address", "url"),
    [
        ({"settings": {"oidc": {"url": "https://b.example/"}, "server": {"root_path": "/gate"}}}, "http://127.0.0.1:1",
         "https://b.example/gate"),
        ({"settings": {"oidc": {"url": ""}, "server": {"root_path": "/gate"}}}, "http://127.0.0.1:1", "http://127.0.0.1:1"),
        ({"settings": {"server": {"public_url": "https://p.example"}}}, None, "https://p.example"),
        (None, None, ""),
    ],
)  # fmt: skip
def test_the_link_of_a_code_has_the_address_of_browsers(view: Any, address: str | None, url: str) -> None:
    assert page_url(view, address) == url


def test_without_a_provider_there_is_no_such_login(team: Team) -> None:
    assert "identity provider" not in team.get("/login", cookie=False).text
    refused = team.get("/login/oidc", cookie=False)
    assert refused.status == 403 and "is not configured" in refused.text
