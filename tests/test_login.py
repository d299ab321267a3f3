"""Links of the settings page work once, and their cookies are valid until they expire or are revoked."""

from __future__ import annotations

import asyncio
import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byway.access.login import LINK_SECONDS, LOGIN_CODE, LOGIN_SECONDS, PERSON, FailureLimit, Logins, code_digest
from byway.admin.logins import PageLogins, create_login_code
from byway.config import load
from byway.problems import Problem
from byway.roles import Role
from byway.store import MAX_LOGINS, LoginRecord, Store, StoredAccount
from byway.ui import login as login_page

NOW = 1_700_000_000.0
SECRET = b"s" * 32


def test_a_link_works_once() -> None:
    login = Logins(SECRET)
    token = login.link(NOW, b"n" * 16)
    cookie = login.enter(token, NOW + 5, b"c" * 16)
    assert cookie and login.check(cookie, NOW + 6)
    assert login.enter(token, NOW + 7, b"d" * 16) is None


def test_links_and_logins_expire() -> None:
    login = Logins(SECRET)
    assert login.enter(login.link(NOW, b"n" * 16), NOW + LINK_SECONDS + 1, b"c" * 16) is None
    cookie = login.enter(login.link(NOW, b"m" * 16), NOW, b"c" * 16) or ""
    assert login.check(cookie, NOW + LOGIN_SECONDS - 1) and not login.check(cookie, NOW + LOGIN_SECONDS)


def test_a_login_is_valid_after_a_restart_and_not_with_another_secret() -> None:
    login = Logins(SECRET)
    cookie = login.enter(login.link(NOW, b"n" * 16), NOW, b"c" * 16) or ""
    records = login.current(NOW)
    assert Logins(SECRET, NOW, records).check(cookie, NOW)
    assert not Logins(SECRET, NOW).check(cookie, NOW), "it is not in the list"
    assert not Logins(b"t" * 32, NOW, records).check(cookie, NOW)


def test_a_used_link_opens_nothing_after_other_links_were_used() -> None:
    login = Logins(SECRET)
    first, second = login.link(NOW, b"a" * 16), login.link(NOW, b"b" * 16)
    assert login.enter(first, NOW, b"c" * 16) and login.enter(second, NOW + 1, b"d" * 16)
    assert login.enter(first, NOW + 2, b"e" * 16) is None and login.enter(second, NOW + 2, b"f" * 16) is None
    assert login.enter(login.link(NOW, b"g" * 16), NOW + 3, b"h" * 16)
    assert login.enter(first, NOW + LINK_SECONDS - 1, b"i" * 16) is None


def test_the_oldest_login_ends_when_there_are_too_many() -> None:
    login = Logins(SECRET)
    cookies = [
        login.enter(login.link(NOW, b"%16d" % at), NOW + at / 1000, b"%16d" % at) or "" for at in range(MAX_LOGINS + 2)
    ]
    assert [bool(login.check(cookie, NOW + 1)) for cookie in cookies] == [False] * 2 + [True] * MAX_LOGINS
    assert len(login.current(NOW + 1)) == MAX_LOGINS and login.current(NOW + LOGIN_SECONDS + 1) == []


def test_no_link_is_accepted_when_too_many_used_ones_have_to_be_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byway.access.login.MAX_USED_LINKS", 3)
    login = Logins(SECRET)
    links = [login.link(NOW, b"%16d" % at) for at in range(5)]
    assert [bool(login.enter(link, NOW, b"%16d" % at)) for at, link in enumerate(links)] == [True] * 3 + [False] * 2
    later = NOW + LINK_SECONDS
    assert login.enter(login.link(later, b"z" * 16), later, b"y" * 16)


def test_links_made_before_a_restart_open_nothing() -> None:
    token = Logins(SECRET).link(NOW, b"n" * 16)
    assert Logins(SECRET, NOW + 1).enter(token, NOW + 2, b"c" * 16) is None
    assert Logins(SECRET, NOW + 1).enter(Logins(SECRET).link(NOW + 1.5, b"n" * 16), NOW + 2, b"c" * 16)


def test_a_link_is_no_cookie_and_a_cookie_is_no_link() -> None:
    login = Logins(SECRET)
    token = login.link(NOW, b"n" * 16)
    assert not login.check(token, NOW)
    cookie = login.enter(token, NOW, b"c" * 16) or ""
    assert login.enter(cookie, NOW, b"d" * 16) is None


@given(st.text(max_size=60), st.integers(0, 80))
def test_a_token_that_was_not_signed_here_opens_nothing(text: str, at: int) -> None:
    login = Logins(SECRET)
    cookie = login.enter(login.link(NOW, b"n" * 16), NOW, b"c" * 16) or ""
    assert not login.check(text, NOW) and login.enter(text, NOW, b"c" * 16) is None
    changed = cookie[:at] + ("A" if cookie[at : at + 1] != "A" else "B") + cookie[at + 1 :]
    assert not login.check(changed, NOW) or at >= len(cookie)


# ------------------------------------------------------------------------------------------------------------- accounts


def account(id: str = "ada", role: Role = "member", *, disabled: bool = False) -> StoredAccount:
    made = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
    return StoredAccount(id, id, role, "lab", "acme", made, made if disabled else None)


def test_a_login_of_an_account_has_what_its_role_allows() -> None:
    login = Logins(SECRET)
    cookie = login.open(account(), NOW, b"c" * 16)
    caller = login.caller(cookie, NOW)
    assert caller is not None and caller.login
    assert (caller.account, caller.organization, caller.group, caller.role) == ("ada", "acme", "lab", "member")
    assert caller.scopes == ("read", "write", "files")
    assert login.caller(login.enter(login.link(NOW, b"n" * 16), NOW, b"d" * 16) or "", NOW) is PERSON


@pytest.mark.parametrize("accounts", [[], [account(disabled=True)], [account("grace")]])
def test_a_login_without_an_enabled_account_is_not_valid(accounts: list[StoredAccount]) -> None:
    login = Logins(SECRET)
    cookie = login.open(account(), NOW, b"c" * 16)
    login.take_accounts(accounts)
    assert login.caller(cookie, NOW) is None and login.check(cookie, NOW) is None
    records = login.current(NOW)
    assert Logins(SECRET, NOW, records, accounts).caller(cookie, NOW) is None, "after a restart"
    assert Logins(SECRET, NOW, records, [account()]).caller(cookie, NOW) is not None


def test_many_logins_of_an_account_end_no_login_of_another() -> None:
    login = Logins(SECRET)
    other = login.open(account("grace"), NOW, b"g" * 16)
    cookies = [login.open(account(), NOW + at / 1000, b"%16d" % at) for at in range(MAX_LOGINS + 1)]
    valid = [login.caller(cookie, NOW + 1) is not None for cookie in cookies]
    assert valid == [False] + [True] * MAX_LOGINS and login.caller(other, NOW + 1) is not None


def test_all_logins_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byway.access.login.MAX_ALL_LOGINS", 3)
    login = Logins(SECRET)
    for at in range(6):
        login.open(account(f"account-{at}"), NOW + at, b"%16d" % at)
    assert [record.account for record in login.current(NOW + 6)] == ["account-5", "account-4", "account-3"]


def test_a_ticket_is_taken_once_and_is_neither_a_link_nor_a_cookie() -> None:
    login = Logins(SECRET)
    ticket = login.ticket(NOW, 600, b"t" * 16)
    assert login.enter(ticket, NOW, b"c" * 16) is None and login.check(ticket, NOW) is None
    assert not login.take_ticket(ticket, NOW + 600) and not login.take_ticket(login.link(NOW, b"n" * 16), NOW)
    assert not Logins(b"t" * 32).take_ticket(ticket, NOW)
    assert login.take_ticket(ticket, NOW + 599) and not login.take_ticket(ticket, NOW + 599)


def test_many_started_logins_stop_no_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byway.access.login.MAX_USED_LINKS", 3)
    login = Logins(SECRET)
    tickets = [login.ticket(NOW, 600, b"%16d" % at) for at in range(5)]
    assert all(login.take_ticket(ticket, NOW) for ticket in tickets)
    assert not login.take_ticket(tickets[-1], NOW) and login.enter(login.link(NOW, b"n" * 16), NOW, b"c" * 16)


@given(st.binary(min_size=16, max_size=16))
def test_a_code_is_the_same_however_it_is_typed(randomness: bytes) -> None:
    code = LOGIN_CODE.new(randomness)
    assert len(code) == 14 and not set("ILO01") & set(code)
    for typed in (code.lower(), code.replace("-", ""), f"  {code.replace('-', ' ')}\n"):
        assert code_digest(typed) == code_digest(code)


def test_codes_of_different_randomness_differ() -> None:
    assert len({LOGIN_CODE.new(at.to_bytes(16)) for at in range(2_000)}) == 2_000


def test_failures_are_counted_by_address_and_forgotten_after_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byway.access.login._MAX_FAILURES", 2)
    monkeypatch.setattr("byway.access.login._MAX_ALL_FAILURES", 5)
    limit = FailureLimit()
    for _ in range(2):
        assert limit.wait("a", NOW) == 0
        limit.failed("a", NOW)
    assert limit.wait("a", NOW + 100) == 800 and limit.wait("b", NOW + 100) == 0
    for address in "bcd":
        limit.failed(address, NOW + 100)
    assert limit.wait("e", NOW + 100) == 800, "all addresses together have failed too often"
    assert limit.wait("a", NOW + 900) == 0 and limit.wait("e", NOW + 900) == 0


def test_addresses_are_not_refused_for_long_when_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byway.access.login._MAX_FAILURES", 1)
    limit = FailureLimit()
    limit.failed("a", NOW)
    assert limit.wait("a", NOW - 0.5) > 0, "a clock that is adjusted changes nothing"
    assert limit.wait("a", NOW - 86_400) == 0


def test_parallel_wrong_codes_are_counted_before_the_store_answers(tmp_path: Path) -> None:
    async def enter(logins: PageLogins) -> list[object]:
        return await asyncio.gather(
            *(logins.enter_code(f"CODE{at}", "192.0.2.1") for at in range(50)), return_exceptions=True
        )

    with Store(tmp_path) as store:
        store.add_account("ada", "test")
        logins = PageLogins(tmp_path, store)
        for _ in range(40):
            code = create_login_code(store, "ada", "test").code
            assert asyncio.run(logins.enter_code(code, "192.0.2.1")), "a valid code is no failure"
        results = asyncio.run(enter(logins))
        assert results.count(None) == 30
        assert all(isinstance(result, Problem) for result in results if result is not None)
        code = create_login_code(store, "ada", "test").code
        assert asyncio.run(logins.enter_code(code, "192.0.2.2"))


def test_browsers_behind_a_trusted_proxy_have_addresses_of_their_own() -> None:
    runtime = SimpleNamespace(config=load("server: {trusted_proxies: [10.0.0.0/8]}", {}))
    for forwarded, address in ((b"192.0.2.1", "192.0.2.1"), (b"192.0.2.2", "192.0.2.2"), (b"", "10.0.0.1")):
        headers = {b"x-forwarded-for": forwarded}
        context = SimpleNamespace(
            runtime=runtime,
            scope={"client": ("10.0.0.1", 5)},
            header=lambda name, headers=headers: headers[name].decode(),
        )
        assert login_page._address(cast(Any, context)) == address


def test_only_logins_that_the_store_has_end_with_it() -> None:
    login = Logins(SECRET, NOW, [LoginRecord("old", b"o", NOW - 10, NOW + 100, "")])
    cookie = login.open(account(), NOW, b"c" * 16)
    record = login.check(cookie, NOW)
    assert record is not None and login.stored() == {"old"}
    login.mark_stored(record.id)
    assert login.stored() == {"old", record.id}
    login.revoke(record.id)
    assert login.stored() == {"old"}
