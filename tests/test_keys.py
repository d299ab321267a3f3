"""Who is let in: modes, headers, expiry, and refusals that tell nothing."""

import asyncio
import contextlib
import datetime
import hashlib
import sys

import pytest

from byway.access.keys import ANONYMOUS, Keyring, key_required
from byway.config import ApiKeysSettings, KeySettings, load
from byway.gateway import Gateway
from byway.problems import Problem
from byway.runtime import Runtime
from byway.store import KeyRecord

GOOD = "sk-byway-0123456789abcdef"


def ring(blocking, **fields):
    return Keyring([KeySettings(key=GOOD, id="ann", **fields)], blocking)


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
    assert ring(False).check({}, 0) == ANONYMOUS
    assert ring(False).check({b"x-api-key": b"wrong"}, 0) == ANONYMOUS
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


# --- keys of the store ------------------------------------------------------------------------------------------------

OTHER = "sk-byway-another0another0another0another0"


def stored(key=OTHER, id="key_ann", scopes=("read", "write", "files"), ends=None, revoked=False):
    return KeyRecord(id, "ann", hashlib.sha256(key.encode()).digest(), scopes, ends, revoked)


def refusal(keyring, key, now=0.0):
    with pytest.raises(Problem) as caught:
        keyring.check({b"x-api-key": key.encode()}, now)
    problem = caught.value
    return problem.kind, problem.message, problem.retry, problem.retry_after, problem.facts


def test_keys_of_the_config_and_of_the_store_open_the_same_door():
    both = Keyring([KeySettings(key=GOOD, id="bob")], True, [stored()])
    assert both.check({b"x-api-key": OTHER.encode()}, 0).key == "key_ann"
    assert both.check({b"authorization": f"Bearer {OTHER}".encode()}, 0).key == "key_ann"
    assert both.check({b"x-api-key": GOOD.encode()}, 0).key == "bob"


def test_unknown_revoked_ended_and_malformed_keys_are_refused_alike():
    ring = Keyring(
        [KeySettings(key="config-key-that-is-off", enabled=False)],
        True,
        [stored(), stored("revoked", "key_b", revoked=True), stored("ended", "key_c", ends=100.0)],
    )
    assert ring.check({b"x-api-key": b"ended"}, 99.0).key == "key_c"
    keys = (
        "unknown",
        "revoked",
        "ended",
        "config-key-that-is-off",
        "sk-byway-",
        OTHER[:-1],
        OTHER + "x",
        "\x00",
        "x" * 9000,
    )
    assert len({repr(refusal(ring, key, 100.0)) for key in keys}) == 1
    assert "byway key create" in refusal(ring, "unknown")[1]


def operations(run):
    """The number of Python bytecode operations that `run()` executes."""
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    sys.settrace(trace)
    try:
        with contextlib.suppress(Problem):
            run()
    finally:
        sys.settrace(None)
    return count


def test_unknown_revoked_and_expired_keys_take_the_same_number_of_operations():
    ring = Keyring([], True, [stored(), stored("revoked0", "b", revoked=True), stored("ended000", "c", ends=1.0)])
    counts = {
        key: operations(lambda key=key: ring.check({b"x-api-key": key}, 2.0))
        for key in (b"unknown0", b"revoked0", b"ended000")
    }
    assert len(set(counts.values())) == 1 and min(counts.values()) > 10, counts


def test_the_number_of_operations_of_a_check_does_not_grow_with_the_keys():
    def count(keys):
        ring = Keyring([], True, [stored(f"key number {at}", str(at)) for at in range(keys)])
        return operations(lambda: ring.check({b"x-api-key": b"key number 0"}, 0.0))

    assert count(1) == count(5000) > 10


@pytest.mark.parametrize(
    ("mode", "configured", "kept", "closed"),
    [
        (None, [], [], False),
        (None, [KeySettings(key=GOOD)], [], True),
        (None, [], [stored()], True),
        (None, [], [stored(revoked=True)], True),
        (None, [], [stored(ends=1.0)], True),
        (None, [KeySettings(key=GOOD, enabled=False)], [], True),
        ("blocking", [], [], True),
        ("permissive", [KeySettings(key=GOOD)], [stored()], False),
    ],
)
def test_a_key_is_asked_for_as_soon_as_there_is_one_anywhere(mode, configured, kept, closed):
    assert key_required(ApiKeysSettings(mode=mode, api_keys=tuple(configured)), kept) is closed


def test_of_a_key_that_stands_there_twice_the_one_that_lasts_counts():
    twice = [stored(id="key_a", ends=5.0), stored(id="key_b", ends=9.0), stored(id="key_c", ends=7.0)]
    assert Keyring([], True, twice).check({b"x-api-key": OTHER.encode()}, 8.0).key == "key_b"


def test_permissive_takes_no_scope_from_who_shows_a_key():
    ring = Keyring([], False, [stored(scopes=("read", "admin"))])
    assert set(ring.check({b"x-api-key": OTHER.encode()}, 0).scopes) == {"read", "write", "files", "admin"}
    assert Keyring([], True, [stored(scopes=("read",))]).check({b"x-api-key": OTHER.encode()}, 0).scopes == ("read",)


def test_who_was_let_in_is_remembered_with_the_time():
    used: dict[str, float] = {}
    ring = Keyring([KeySettings(key=GOOD, id="bob")], True, [stored()], used)
    ring.check({b"x-api-key": OTHER.encode()}, 5.0)
    ring.check({b"x-api-key": OTHER.encode()}, 6.0)
    with pytest.raises(Problem):
        ring.check({b"x-api-key": b"wrong"}, 7.0)
    assert used == {"key_ann": 6.0}
    ring.check({b"authorization": f"Bearer {GOOD}".encode()}, 8.0)
    assert used == {"key_ann": 6.0, "bob": 8.0}


def test_a_runtime_takes_changed_keys_and_gives_them_to_the_next_one():
    first = Runtime(load("{}", {}))
    assert first.keyring.check({}, 0) == ANONYMOUS
    first.take_keys([stored()])
    assert first.keyring.check({b"x-api-key": OTHER.encode()}, 1.0).key == "key_ann"
    refusal(first.keyring, "wrong")
    second = Runtime(load("logging: {level: debug}", {}), first)
    assert second.keyring.check({b"x-api-key": OTHER.encode()}, 2.0).key == "key_ann"
    assert second.used is first.used
    assert second.used == {"key_ann": 2.0}
    second.take_keys([stored(revoked=True)])
    refusal(second.keyring, OTHER)


def test_keys_that_change_while_a_new_config_is_taken_are_not_forgotten(monkeypatch):
    async def swap(before, config):
        after = Runtime(config, before)
        before.take_keys([stored(revoked=True)])
        return after

    monkeypatch.setattr("byway.runtime.swap", swap)
    gateway = Gateway(Runtime(load("{}", {}), stored=[stored()]))
    asyncio.run(gateway.reload(load("logging: {level: debug}", {})))
    assert gateway.runtime.config.logging.level == "debug"
    refusal(gateway.runtime.keyring, OTHER)
