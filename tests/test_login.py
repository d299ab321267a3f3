"""Links of the settings page work once, and their cookies are valid until they expire or are revoked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byway.access.login import LINK_SECONDS, LOGIN_SECONDS, Logins
from byway.store import MAX_LOGINS

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
