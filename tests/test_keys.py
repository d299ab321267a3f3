"""Who is let in: modes, headers, expiry, and refusals that tell nothing."""

import datetime

import pytest

from byway.config import Key
from byway.keys import ANYBODY, Keyring
from byway.problems import Problem

GOOD = "sk-byway-0123456789abcdef"


def ring(blocking, **fields):
    return Keyring([Key(key=GOOD, id="ann", **fields)], blocking)


@pytest.mark.parametrize(
    "headers",
    [
        {b"x-api-key": GOOD.encode()},
        {b"authorization": b"Bearer " + GOOD.encode()},
        {b"authorization": b"bearer " + GOOD.encode()},
        {b"x-api-key": b"other", b"authorization": b"Bearer " + GOOD.encode()},
        {b"x-api-key": GOOD.encode(), b"authorization": b"Bearer other"},
    ],
)
def test_a_valid_key_in_either_header_opens(headers):
    assert ring(True).check(headers, 0).key == "ann"


@pytest.mark.parametrize(
    "headers",
    [{}, {b"x-api-key": b""}, {b"x-api-key": b"wrong"}, {b"authorization": b"Basic x"}, {b"x-api-key": b"\xff\xfe"}],
)
def test_refusals_are_all_alike(headers):
    with pytest.raises(Problem) as caught:
        ring(True).check(headers, 0)
    assert caught.value.kind == "authentication"
    assert caught.value.retry is False
    with pytest.raises(Problem) as other:
        ring(True).check({b"x-api-key": b"something else"}, 0)
    assert caught.value.message == other.value.message


def test_permissive_lets_anybody_in_and_names_those_with_a_key():
    assert ring(False).check({}, 0) == ANYBODY
    assert ring(False).check({b"x-api-key": b"wrong"}, 0) == ANYBODY
    assert ring(False).check({b"x-api-key": GOOD.encode()}, 0).key == "ann"


def test_blocking_without_keys_lets_nobody_in():
    with pytest.raises(Problem):
        Keyring([], True).check({b"x-api-key": b"x"}, 0)


def test_expired_and_disabled_keys_do_not_open():
    ends = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    key = {b"x-api-key": GOOD.encode()}
    assert ring(True, expires_at=ends).check(key, ends.timestamp() - 1).key == "ann"
    with pytest.raises(Problem):
        ring(True, expires_at=ends).check(key, ends.timestamp() + 1)
    with pytest.raises(Problem):
        ring(True, enabled=False).check(key, 0)


def test_an_expiry_without_a_zone_is_utc():
    ends = datetime.datetime(2026, 1, 1)
    key = {b"x-api-key": GOOD.encode()}
    stamp = ends.replace(tzinfo=datetime.UTC).timestamp()
    assert ring(True, expires_at=ends).check(key, stamp - 1).key == "ann"


def test_the_keyring_does_not_hold_the_key_itself():
    assert GOOD not in repr(vars(ring(True)))
