"""Links that work once, and the cookies that they become."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from byway.access.login import LINK_SECONDS, LOGIN_SECONDS, Logins

NOW = 1_700_000_000.0
SECRET = b"s" * 32


def test_a_link_works_once() -> None:
    login = Logins(SECRET)
    token = login.link(NOW, b"n" * 16)
    cookie = login.enter(token, NOW + 5, b"c" * 16)
    assert cookie and login.check(cookie, NOW + 6)
    assert login.enter(token, NOW + 7, b"d" * 16) is None


def test_links_and_logins_end() -> None:
    login = Logins(SECRET)
    assert login.enter(login.link(NOW, b"n" * 16), NOW + LINK_SECONDS + 1, b"c" * 16) is None
    cookie = login.enter(login.link(NOW, b"m" * 16), NOW, b"c" * 16) or ""
    assert login.check(cookie, NOW + LOGIN_SECONDS - 1) and not login.check(cookie, NOW + LOGIN_SECONDS)


def test_a_restart_logs_nobody_out_and_another_secret_does() -> None:
    cookie = Logins(SECRET).enter(Logins(SECRET).link(NOW, b"n" * 16), NOW, b"c" * 16) or ""
    assert Logins(SECRET).check(cookie, NOW) and not Logins(b"t" * 32).check(cookie, NOW)


def test_links_from_before_a_restart_open_nothing() -> None:
    token = Logins(SECRET).link(NOW, b"n" * 16)
    assert Logins(SECRET, NOW + 1).enter(token, NOW + 2, b"c" * 16) is None
    assert Logins(SECRET, NOW + 1).enter(Logins(SECRET).link(NOW + 1.5, b"n" * 16), NOW + 2, b"c" * 16)


def test_one_is_not_taken_for_the_other() -> None:
    login = Logins(SECRET)
    token = login.link(NOW, b"n" * 16)
    assert not login.check(token, NOW)
    cookie = login.enter(token, NOW, b"c" * 16) or ""
    assert login.enter(cookie, NOW, b"d" * 16) is None


@given(st.text(max_size=60), st.integers(0, 80))
def test_what_we_did_not_sign_opens_nothing(text: str, at: int) -> None:
    login = Logins(SECRET)
    cookie = login.enter(login.link(NOW, b"n" * 16), NOW, b"c" * 16) or ""
    assert not login.check(text, NOW) and login.enter(text, NOW, b"c" * 16) is None
    changed = cookie[:at] + ("A" if cookie[at : at + 1] != "A" else "B") + cookie[at + 1 :]
    assert not login.check(changed, NOW) or at >= len(cookie)
