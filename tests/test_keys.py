"""Which keys are accepted: modes, headers, expiry, accounts, and refusals that reveal nothing."""

import asyncio
import contextlib
import datetime
import gc
import hashlib
import sys

import pytest

from byway.access.keys import ANONYMOUS, REMOVES_LAST_KEY, Caller, Keyring, key_required, weakened_access
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
        {b"x-api-key": GOOD.encode() + b" \t"},
        {b"x-api-key": b"other", b"authorization": b"Bearer " + GOOD.encode()},
        {b"x-api-key": GOOD.encode(), b"authorization": b"Bearer other"},
    ],
)
def test_a_valid_key_in_either_header_is_accepted(headers):
    assert ring(True).check(headers, 0).key == "ann"


@pytest.mark.parametrize(
    "headers",
    [{}, {b"x-api-key": b""}, {b"x-api-key": b"wrong"}, {b"authorization": b"Basic x"}, {b"x-api-key": b"\xff\xfe"}],
)
def test_every_refusal_has_the_same_message(headers):
    with pytest.raises(Problem) as caught:
        ring(True).check(headers, 0)
    assert caught.value.kind == "authentication"
    assert caught.value.retry is False
    with pytest.raises(Problem) as other:
        ring(True).check({b"x-api-key": b"something else"}, 0)
    assert caught.value.message == other.value.message


def test_permissive_mode_accepts_any_client_and_identifies_valid_keys():
    assert ring(False).check({}, 0) == ANONYMOUS
    assert ring(False).check({b"x-api-key": b"wrong"}, 0) == ANONYMOUS
    assert ring(False).check({b"x-api-key": GOOD.encode()}, 0).key == "ann"


def test_blocking_mode_without_keys_rejects_every_client():
    with pytest.raises(Problem):
        Keyring([], True).check({b"x-api-key": b"x"}, 0)


def test_expired_and_disabled_keys_are_rejected():
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


def account_key(key=OTHER, **fields):
    """A key of the member ada."""
    return stored(key)._replace(account="ada", organization="acme", group="lab", role="member")._replace(**fields)


def refusal(keyring, key, now=0.0):
    with pytest.raises(Problem) as caught:
        keyring.check({b"x-api-key": key.encode()}, now)
    problem = caught.value
    return problem.kind, problem.message, problem.retry, problem.retry_after, problem.facts


def test_keys_of_the_config_and_of_the_store_are_accepted():
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


def test_a_caller_has_the_account_and_the_models_of_its_key():
    ring = Keyring([], True, [account_key(models=("haiku", "local/*"))])
    assert ring.check({b"x-api-key": OTHER.encode()}, 0) == Caller(
        "key_ann", ("read", "write", "files"), "ada", "acme", "lab", "member", ("haiku", "local/*")
    )
    plain = Keyring([], True, [stored()]).check({b"x-api-key": OTHER.encode()}, 0)
    assert plain == Caller("key_ann", ("read", "write", "files"), "", "default", "", "", ())


def test_user_and_organization_of_a_configured_key_are_the_account_and_organization_of_the_caller():
    caller = ring(True, user_id="ada", organization_id="acme").check({b"x-api-key": GOOD.encode()}, 0)
    assert (caller.account, caller.organization, caller.role) == ("ada", "acme", "")
    caller = ring(True).check({b"x-api-key": GOOD.encode()}, 0)
    assert (caller.account, caller.organization) == ("", "default")


@pytest.mark.parametrize(
    ("role", "allowed"), [("owner", ("read", "admin")), ("member", ("read",)), ("viewer", ("read",))]
)
def test_the_role_of_the_account_limits_the_scopes_of_its_keys(role, allowed):
    ring = Keyring([], True, [account_key(scopes=("read", "admin"), role=role)])
    assert ring.check({b"x-api-key": OTHER.encode()}, 0).scopes == allowed


def test_a_key_of_a_disabled_account_is_refused_like_an_unknown_one():
    ring = Keyring([], True, [account_key(disabled=True)])
    assert refusal(ring, OTHER) == refusal(ring, "unknown")
    assert key_required(ApiKeysSettings(), [account_key(disabled=True)])


def test_the_last_usable_keys_are_not_those_of_a_disabled_account():
    before, after = ApiKeysSettings(api_keys=(KeySettings(key=GOOD),)), ApiKeysSettings()
    assert weakened_access(before, after, [account_key()]) == ""
    assert weakened_access(before, after, [account_key(disabled=True)]) == REMOVES_LAST_KEY


def test_both_values_of_a_rotated_key_are_accepted_until_the_grace_ends():
    old = hashlib.sha256(b"old value").digest()
    ring = Keyring([], True, [stored(ends=500.0)._replace(old_digest=old, old_expires=100.0)])
    assert ring.check({b"x-api-key": b"old value"}, 99.0) == ring.check({b"x-api-key": OTHER.encode()}, 99.0)
    assert refusal(ring, "old value", 100.0) == refusal(ring, "unknown", 100.0)
    assert ring.check({b"x-api-key": OTHER.encode()}, 499.0).key == "key_ann"
    # A grace beyond the key's own expiry does not prolong it.
    ring = Keyring([], True, [stored(ends=50.0)._replace(old_digest=old, old_expires=100.0)])
    refusal(ring, "old value", 50.0)
    ring = Keyring([], True, [stored(revoked=True)._replace(old_digest=old, old_expires=100.0)])
    refusal(ring, "old value", 1.0)


def operations(run):
    """The number of Python bytecode operations that `run()` executes."""
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    # A collection would count the callbacks of what other tests have left behind.
    gc.collect()
    gc.disable()
    sys.settrace(trace)
    try:
        with contextlib.suppress(Problem):
            run()
    finally:
        sys.settrace(None)
        gc.enable()
    return count


def test_unknown_revoked_disabled_and_expired_keys_take_the_same_number_of_operations():
    grace = stored("rotated0", "d")._replace(old_digest=hashlib.sha256(b"grace000").digest(), old_expires=1.0)
    ring = Keyring(
        [],
        True,
        [
            stored(),
            stored("revoked0", "b", revoked=True),
            stored("ended000", "c", ends=1.0),
            grace,
            account_key("disabled", disabled=True),
        ],
    )
    counts = {
        key: operations(lambda key=key: ring.check({b"x-api-key": key}, 2.0))
        for key in (b"unknown0", b"revoked0", b"ended000", b"grace000", b"disabled")
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
def test_a_key_is_required_as_soon_as_one_exists(mode, configured, kept, closed):
    assert key_required(ApiKeysSettings(mode=mode, api_keys=tuple(configured)), kept) is closed


def test_the_longest_validity_applies_to_a_key_that_exists_twice():
    twice = [stored(id="key_a", ends=5.0), stored(id="key_b", ends=9.0), stored(id="key_c", ends=7.0)]
    assert Keyring([], True, twice).check({b"x-api-key": OTHER.encode()}, 8.0).key == "key_b"


def test_permissive_mode_takes_no_scope_from_a_client_with_a_key():
    ring = Keyring([], False, [stored(scopes=("read", "admin"))])
    assert set(ring.check({b"x-api-key": OTHER.encode()}, 0).scopes) == {"read", "write", "files", "admin"}
    assert Keyring([], True, [stored(scopes=("read",))]).check({b"x-api-key": OTHER.encode()}, 0).scopes == ("read",)


def test_the_time_of_last_use_of_a_key_is_recorded():
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
    async def swap(before, config, prepare=None):
        after = Runtime(config, before)
        before.take_keys([stored(revoked=True)])
        return after

    monkeypatch.setattr("byway.runtime.swap", swap)
    gateway = Gateway(Runtime(load("{}", {}), stored=[stored()]))
    asyncio.run(gateway.reload(load("logging: {level: debug}", {})))
    assert gateway.runtime.config.logging.level == "debug"
    refusal(gateway.runtime.keyring, OTHER)
