"""What every store does: keys, config versions, audit log and logins. Another implementation runs the same tests."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stores import IMPLEMENTATIONS, OpenStore

from byway.store import (
    MAX_AUDIT_ENTRIES,
    MAX_LOGINS,
    MAX_VERSIONS,
    LoginRecord,
    SignInTokens,
    StoredReadiness,
    StoreError,
    StoreProtocol,
    bounds,
    etag,
)
from byway.store.bounds import MAX_LOGIN_CODES

SCOPES = ("read", "write")


@pytest.fixture(params=IMPLEMENTATIONS)
def open_store(request: pytest.FixtureRequest) -> OpenStore:
    return IMPLEMENTATIONS[request.param]


@pytest.fixture
def store(open_store: OpenStore, tmp_path: Path) -> Iterator[StoreProtocol]:
    with contextlib.closing(open_store(tmp_path)) as opened:
        yield opened


def digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def test_versions_are_listed_newest_first_without_their_texts(store: StoreProtocol) -> None:
    assert store.add_version("one: 1\n", "ann", "by hand") == 1
    assert store.add_version("two: 2\n", "bob", "quick setup") == 2
    newest, oldest = store.versions()
    assert (newest.number, newest.who, newest.why, newest.text) == (2, "bob", "quick setup", "")
    assert newest.etag == etag("two: 2\n") == hashlib.sha256(b"two: 2\n").hexdigest()[:16]
    assert oldest.at <= newest.at <= datetime.datetime.now(datetime.UTC)
    assert store.version(1).text == "one: 1\n"
    with pytest.raises(LookupError, match="no version 3"):
        store.version(3)


def test_a_text_that_is_already_the_newest_is_kept_once(store: StoreProtocol) -> None:
    assert [store.add_version(text, "ann", "") for text in ("a", "a", "b", "a")] == [1, 1, 2, 3]
    assert [version.number for version in store.versions()] == [3, 2, 1]


def test_the_number_of_versions_and_audit_entries_is_bounded(
    store: StoreProtocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (MAX_VERSIONS, MAX_AUDIT_ENTRIES) == (100, 10_000)
    for at in range(MAX_VERSIONS + 5):
        store.add_version(f"n: {at}\n", "ann", "")
    kept = [version.number for version in store.versions()]
    assert kept == list(range(MAX_VERSIONS + 5, 5, -1))
    with pytest.raises(LookupError):
        store.version(5)
    monkeypatch.setattr(bounds, "MAX_AUDIT_ENTRIES", 10)
    for at in range(15):
        store.add_audit_entry("ann", "counted", str(at))
    assert [entry.detail for entry in store.audit_entries()] == [str(at) for at in range(14, 4, -1)]
    assert [value.detail for value in store.audit_entries(2)] == ["14", "13"]


def test_texts_of_the_audit_log_are_bounded(store: StoreProtocol) -> None:
    store.add_audit_entry("w" * 1000, "x" * 1000, "d" * 100_000)
    entry = store.audit_entries()[0]
    assert (len(entry.who), len(entry.what), len(entry.detail)) == (200, 200, 2000)


def test_rotating_keeps_everything_but_the_key(store: StoreProtocol) -> None:
    ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
    made, old = store.add_key("laptop", SCOPES, ends, "ann")
    rotated, new = store.rotate_key(made.id, "bob")
    assert new != old
    assert [record.digest for record in store.key_records()] == [digest(new)]
    assert (rotated.id, rotated.name, rotated.scopes, rotated.expires_at) == (
        made.id,
        "laptop",
        SCOPES,
        made.expires_at,
    )
    assert rotated.hint == new[-4:]


def test_a_revoked_key_stays_listed_and_is_not_revoked_twice(store: StoreProtocol) -> None:
    made, _ = store.add_key("laptop", SCOPES, None, "ann")
    first = store.revoke_key(made.id, "ann")
    assert (first.live, first.revoked_at is None) == (False, False)
    assert store.revoke_key(made.id, "ann") == first
    assert [record.revoked for record in store.key_records()] == [True]
    with pytest.raises(ValueError, match="is revoked"):
        store.rotate_key(made.id, "ann")
    assert [entry.what for entry in store.audit_entries()] == ["key revoked", "key created"]


def test_an_expired_key_is_not_rotated(store: StoreProtocol, monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = store.add_key("laptop", SCOPES, datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1), "ann")
    later = time.time() + 7200
    monkeypatch.setattr(time, "time", lambda: later)
    assert not store.keys()[0].live
    with pytest.raises(ValueError, match="has expired"):
        store.rotate_key(made.id, "ann")


def test_every_change_of_a_key_is_in_the_audit_log_with_its_author(store: StoreProtocol) -> None:
    made, _ = store.add_key("laptop", ("read",), None, "ann")
    store.rotate_key(made.id, "bob")
    store.revoke_key(made.id, "cy")
    assert [(entry.who, entry.what) for entry in store.audit_entries()] == [
        ("cy", "key revoked"),
        ("bob", "key rotated"),
        ("ann", "key created"),
    ]
    assert all(made.id in value.detail and "laptop" in value.detail for value in store.audit_entries())


@pytest.mark.parametrize(
    ("name", "scopes", "ends", "words"),
    [
        ("", SCOPES, None, "needs a name"),
        ("a\nb", SCOPES, None, "needs a name"),
        ("\x1b[31mred", SCOPES, None, "needs a name"),
        ("x" * 101, SCOPES, None, "needs a name"),
        ("a", (), None, r"needs a scope\. The scopes are read, write, files, admin"),
        ("a", ("read", "root"), None, "'root' is not a scope"),
        ("a", SCOPES, datetime.datetime(2026, 1, 1), "must expire in the future"),
    ],
)
def test_invalid_names_scopes_and_expiry_times_are_rejected(
    store: StoreProtocol, name: str, scopes: tuple[str, ...], ends: datetime.datetime | None, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        store.add_key(name, scopes, ends, "ann")
    assert (store.keys(), store.audit_entries()) == ([], [])


@pytest.mark.parametrize("change", ["rotate_key", "revoke_key"])
def test_an_unknown_key_cannot_be_changed(store: StoreProtocol, change: str) -> None:
    with pytest.raises(LookupError, match=r"no key 'key_none'.*byway key list"):
        getattr(store, change)("key_none", "ann")


def test_versions_of_all_files_together_are_bounded_in_number_and_size(
    store: StoreProtocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "MAX_ALL_VERSIONS", 6)
    for at in range(10):
        store.add_version(f"n: {at}\n", "ann", "", f"file {at % 5}")
    assert [len(store.versions(f"file {at}")) for at in range(5)] == [1, 1, 1, 1, 2]
    monkeypatch.setattr(bounds, "MAX_VERSION_CHARACTERS", 3000)
    for at in range(5):
        store.add_version(f"{at}" * 1000, "ann", "", "large")
    assert [version.number for version in store.versions("large")] == [15, 14, 13]
    number = store.add_version("x" * 5000, "ann", "", "large")
    assert [version.number for version in store.versions("large")] == [number], "the newest stays, whatever its size"


def test_the_number_of_keys_is_bounded(store: StoreProtocol, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MAX_KEYS", 2)
    monkeypatch.setattr(bounds, "MAX_REVOKED_KEYS", 3)
    for at in range(5):
        store.revoke_key(store.add_key(f"old{at}", SCOPES, None, "ann")[0].id, "ann")
    assert [key.name for key in store.keys()] == ["old4", "old3", "old2"], "the newest of those revoked"
    for _ in range(2):
        store.add_key("new", SCOPES, None, "ann")
    with pytest.raises(ValueError, match="Revoke keys that"):
        store.add_key("new", SCOPES, None, "ann")


def test_times_of_last_use_are_written_in_batches_and_never_go_back(store: StoreProtocol) -> None:
    value, two = (store.add_key(name, SCOPES, None, "ann")[0].id for name in "ab")
    store.record_key_use({value: 2000.0, "key_nobody": 1.0})
    store.record_key_use({value: 1000.0, two: 3000.0})
    assert {key.id: key.used_at and key.used_at.timestamp() for key in store.keys()} == {value: 2000.0, two: 3000.0}


def test_the_stamp_changes_with_keys_that_change_here_or_elsewhere(
    store: StoreProtocol, open_store: OpenStore, tmp_path: Path
) -> None:
    before = store.keys_stamp()
    assert store.keys_stamp() == before
    store.record_key_use({"x": 1.0})
    assert store.keys_stamp() == before, "what this process tells of use is no change of keys"
    made, _ = store.add_key("a", SCOPES, None, "ann")
    after = store.keys_stamp()
    assert after != before
    with contextlib.closing(open_store(tmp_path)) as other:
        assert store.keys_stamp() == after
        other.revoke_key(made.id, "ann")
    assert store.keys_stamp() != after


def test_a_closed_store_raises_an_error(open_store: OpenStore, tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.add_audit_entry("ann", "x")
    with pytest.raises(StoreError, match="closed"):
        store.keys()


def test_threads_share_a_store(store: StoreProtocol) -> None:
    def work(name: str) -> None:
        for at in range(20):
            store.add_audit_entry(name, "x", str(at))
            store.key_records()

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    result = store.audit_entries()
    assert len(result) == 60
    for name in "abc":
        assert [item.detail for item in reversed(result) if item.who == name] == [str(at) for at in range(20)]


# --- accounts ---------------------------------------------------------------------------------------------------------


def test_an_account_is_added_changed_disabled_enabled_and_removed(store: StoreProtocol) -> None:
    ada = store.add_account("ada", "ann")
    assert (ada.id, ada.name, ada.role, ada.group, ada.organization) == ("ada", "ada", "member", "", "default")
    bob = store.add_account("bob@acme.example", "ann", name="Bob", role="owner", group="ops", organization="acme")
    assert store.accounts() == [ada, bob] and store.account("ada") == ada
    changed = store.change_account("ada", "ann", name="Ada L", role="viewer", group="lab", organization="acme")
    assert (changed.name, changed.role, changed.group, changed.organization) == ("Ada L", "viewer", "lab", "acme")
    assert store.change_account("ada", "ann") == changed
    cleared = store.change_account("ada", "ann", group="", organization="")
    assert (cleared.name, cleared.role, cleared.group, cleared.organization) == ("Ada L", "viewer", "", "default")
    assert store.disable_account("ada", "ann").disabled_at is not None
    assert store.enable_account("ada", "ann").disabled_at is None
    assert store.remove_account("ada", "cy") == cleared
    assert store.accounts() == [bob]
    assert [(entry.who, entry.what) for entry in reversed(store.audit_entries())] == [
        ("ann", "account added"),
        ("ann", "account added"),
        ("ann", "account changed"),
        ("ann", "account changed"),
        ("ann", "account disabled"),
        ("ann", "account enabled"),
        ("cy", "account removed"),
    ]


@pytest.mark.parametrize(
    ("id", "fields", "words"),
    [
        ("", {}, "not a valid id of an account"),
        ("Ada", {}, "not a valid id of an account"),
        ("-ada", {}, "not a valid id of an account"),
        ("a" * 101, {}, "not a valid id of an account"),
        ("ada\n", {}, "not a valid id of an account"),
        ("ada", {"name": "\x1b[31mred"}, "An account needs a name"),
        ("ada", {"role": "king"}, "'king' is not a role. The roles are owner, member, viewer"),
        ("ada", {"group": "A B"}, "not a valid id of a group"),
        ("ada", {"organization": "../x"}, "not a valid id of an organization"),
    ],
)
def test_an_invalid_account_is_rejected(store: StoreProtocol, id: str, fields: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        store.add_account(id, "ann", **fields)
    assert (store.accounts(), store.audit_entries()) == ([], [])


def test_an_account_id_is_used_once_and_the_number_of_accounts_is_bounded(
    store: StoreProtocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "MAX_ACCOUNTS", 2)
    store.add_account("ada", "ann")
    with pytest.raises(ValueError, match="an account ada already"):
        store.add_account("ada", "ann", role="owner")
    store.add_account("bob", "ann")
    with pytest.raises(ValueError, match="2 accounts already"):
        store.add_account("cy", "ann")
    assert store.account("ada").role == "member"


@pytest.mark.parametrize("change", ["change_account", "disable_account", "enable_account", "remove_account"])
def test_an_unknown_account_cannot_be_changed(store: StoreProtocol, change: str) -> None:
    with pytest.raises(LookupError, match=r"no account 'ada'.*byway account list"):
        getattr(store, change)("ada", "ann")


def test_a_key_belongs_to_an_account_and_is_limited_to_models(store: StoreProtocol) -> None:
    store.add_account("ada", "ann", role="owner", group="lab", organization="acme")
    made, _ = store.add_key("laptop", SCOPES, None, "ann", account="ada", models=("haiku", " local/* ", "haiku"))
    assert (made.account, made.models) == ("ada", ("haiku", "local/*"))
    [record] = store.key_records()
    assert (record.account, record.organization, record.group, record.role) == ("ada", "acme", "lab", "owner")
    assert (record.models, record.disabled, record.usable) == (("haiku", "local/*"), False, True)
    store.change_account("ada", "ann", role="member", group="", organization="other")
    [record] = store.key_records()
    assert (record.organization, record.group, record.role) == ("other", "", "member")
    plain, _ = store.add_key("old", SCOPES, None, "ann")
    record = store.key_records()[1]
    assert (plain.account, plain.models, record.account, record.role) == ("", (), "", "")
    assert record.organization == "default"
    assert "account ada; models haiku, local/*" in store.audit_entries()[2].detail


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"account": "eve"}, "no account 'eve'"),
        ({"account": "ada", "scopes": ("read", "admin")}, "has the role member.*and not admin"),
        ({"account": "off"}, "Account off is disabled.*byway account enable off"),
        ({"models": ("",)}, "not a model name"),
        ({"models": ("x" * 201,)}, "not a model name"),
        ({"models": tuple(f"m{at}" for at in range(101))}, "at most 100 models"),
    ],
)
def test_a_key_with_an_invalid_account_or_model_is_rejected(
    store: StoreProtocol, fields: dict[str, Any], words: str
) -> None:
    store.add_account("ada", "ann")
    store.add_account("off", "ann")
    store.disable_account("off", "ann")
    with pytest.raises((ValueError, LookupError), match=words):
        store.add_key("laptop", fields.pop("scopes", SCOPES), None, "ann", **fields)
    assert store.keys() == []


def test_a_disabled_account_has_no_usable_key_and_no_login(store: StoreProtocol) -> None:
    store.add_account("ada", "ann")
    made, _ = store.add_key("laptop", SCOPES, None, "ann", account="ada")
    other, _ = store.add_key("mine", SCOPES, None, "ann")
    now = time.time()
    store.add_login(LoginRecord("login1", b"1", now, now + 60, "Firefox", "ada"))
    store.add_login(LoginRecord("login2", b"2", now, now + 60, "Firefox"))
    store.disable_account("ada", "ann")
    assert {record.id: record.usable for record in store.key_records()} == {made.id: False, other.id: True}
    assert {key.id: key.live for key in store.keys()} == {made.id: False, other.id: True}
    assert [login.id for login in store.logins()] == ["login2"]
    with pytest.raises(ValueError, match="belongs to account ada, which is disabled"):
        store.rotate_key(made.id, "ann")
    store.enable_account("ada", "ann")
    assert all(record.usable for record in store.key_records())
    assert store.rotate_key(made.id, "ann")[0].live


def test_removing_an_account_revokes_its_keys_and_ends_its_logins(store: StoreProtocol) -> None:
    store.add_account("ada", "ann")
    made, _ = store.add_key("laptop", SCOPES, None, "ann", account="ada")
    other, _ = store.add_key("mine", SCOPES, None, "ann")
    now = time.time()
    store.add_login(LoginRecord("login1", b"1", now, now + 60, "Firefox", "ada"))
    store.remove_account("ada", "ann")
    assert {record.id: record.revoked for record in store.key_records()} == {made.id: True, other.id: False}
    assert store.logins() == []
    # An account with the same id does not get the keys of the old one back.
    store.add_account("ada", "ann", role="owner")
    assert {record.id: record.usable for record in store.key_records()} == {made.id: False, other.id: True}


def test_a_login_code_is_taken_once_and_before_it_expires(
    store: StoreProtocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add_account("ada", "ann", name="Ada Lovelace")
    now = time.time()
    assert store.add_login_code("ada", b"1" * 32, now + 60, "ann").name == "Ada Lovelace"
    store.add_login_code("ada", b"2" * 32, now + 60, "ann")
    assert store.take_login_code(b"9" * 32) is None
    taken = store.take_login_code(b"1" * 32)
    assert taken is not None and taken.id == "ada" and store.take_login_code(b"1" * 32) is None
    monkeypatch.setattr(time, "time", lambda: now + 60)
    assert store.take_login_code(b"2" * 32) is None
    whats = [(entry.who, entry.what) for entry in store.audit_entries()]
    assert whats.count(("ann", "login code created")) == 2 and whats.count(("account ada", "logged in")) == 1


def test_login_codes_are_bounded_and_end_with_their_account(store: StoreProtocol) -> None:
    for account in ("ada", "grace", "linus"):
        store.add_account(account, "ann")
    until = time.time() + 60
    for at in range(MAX_LOGIN_CODES + 2):
        store.add_login_code("ada", bytes([at]) * 32, until, "ann")
    store.add_login_code("grace", b"g" * 32, until, "ann")
    store.add_login_code("linus", b"l" * 32, until, "ann")
    taken = [store.take_login_code(bytes([at]) * 32) is not None for at in range(MAX_LOGIN_CODES + 2)]
    assert taken == [False, False] + [True] * MAX_LOGIN_CODES
    store.disable_account("grace", "ann")
    store.enable_account("grace", "ann")
    store.remove_account("linus", "ann")
    store.add_account("linus", "ann")
    assert store.take_login_code(b"g" * 32) is None and store.take_login_code(b"l" * 32) is None
    store.disable_account("ada", "ann")
    with pytest.raises(ValueError, match="Account ada is disabled"):
        store.add_login_code("ada", b"x" * 32, until, "ann")
    with pytest.raises(LookupError):
        store.add_login_code("nosuch", b"x" * 32, until, "ann")


def test_logins_are_bounded_for_each_account(store: StoreProtocol) -> None:
    now = time.time()
    store.add_login(LoginRecord("other", b"o", now - 5, now + 600, "", "grace"))
    for at in range(MAX_LOGINS + 2):
        store.add_login(LoginRecord(f"login{at}", b"%d" % at, now + at / 1000, now + 600, "", "ada"))
    kept = {login.id for login in store.logins()}
    assert len(kept) == MAX_LOGINS + 1 and "other" in kept and not {"login0", "login1"} & kept


def identity(
    store: StoreProtocol, subject: str = "1", *, issuer: str = "https://a.example", role: str = "member"
) -> Any:
    return store.identity_account(issuer, subject, suggested="ada", name="Ada", role=role, detail="with OpenID Connect")


def test_an_identity_keeps_its_account_and_gets_the_role_of_now(store: StoreProtocol) -> None:
    first = identity(store)
    assert (first.id, first.name, first.role) == ("ada", "Ada", "member")
    assert identity(store, role="viewer").role == "viewer"
    store.change_account("ada", "ann", name="Countess")
    assert identity(store).name == "Countess" and len(store.accounts()) == 1


def test_identities_of_other_subjects_and_issuers_get_other_accounts(store: StoreProtocol) -> None:
    store.add_account("ada", "ann", role="owner")
    assert [identity(store).id, identity(store, "2").id, identity(store, issuer="https://b.example").id] == [
        "ada-2",
        "ada-3",
        "ada-4",
    ]
    assert store.account("ada").role == "owner"


def test_the_identity_of_a_disabled_account_is_refused_and_that_of_a_removed_one_is_new(store: StoreProtocol) -> None:
    identity(store)
    store.disable_account("ada", "ann")
    with pytest.raises(ValueError, match="Account ada is disabled"):
        identity(store)
    store.remove_account("ada", "ann")
    store.add_account("ada", "ann", role="owner")
    assert identity(store).id == "ada-2"


def test_a_refused_identity_leaves_nothing_behind(store: StoreProtocol) -> None:
    with pytest.raises(ValueError, match="is not a role"):
        identity(store, role="king")
    assert store.accounts() == [] and store.audit_entries() == []
    assert identity(store).id == "ada"


def test_the_stamp_changes_with_accounts(store: StoreProtocol) -> None:
    stamps = [store.keys_stamp()]
    store.add_account("ada", "ann")
    stamps.append(store.keys_stamp())
    store.disable_account("ada", "ann")
    stamps.append(store.keys_stamp())
    store.remove_account("ada", "ann")
    stamps.append(store.keys_stamp())
    assert len(set(stamps)) == 4


# --- rotation with grace ----------------------------------------------------------------------------------------------


def test_the_old_value_of_a_rotated_key_is_kept_for_its_grace(store: StoreProtocol) -> None:
    made, old = store.add_key("laptop", SCOPES, None, "ann")
    rotated, new = store.rotate_key(made.id, "ann", 3600)
    [record] = store.key_records()
    assert (record.digest, record.old_digest) == (digest(new), digest(old))
    assert rotated.old_expires_at is not None
    assert abs(record.old_expires - time.time() - 3600) < 600
    assert abs(rotated.old_expires_at.timestamp() - record.old_expires) < 1e-3
    assert "the old value expires" in store.audit_entries()[0].detail
    # Only the last old value is kept, and without a grace none is.
    _, newer = store.rotate_key(made.id, "ann", 60)
    assert store.key_records()[0].old_digest == digest(new)
    store.rotate_key(made.id, "ann")
    [record] = store.key_records()
    assert (record.old_digest, record.old_expires, store.keys()[0].old_expires_at) == (None, 0.0, None)
    assert record.digest not in (digest(old), digest(new), digest(newer))


@pytest.mark.parametrize("grace", [-1, float("nan"), float("inf"), 30 * 86_400 + 1])
def test_a_grace_that_is_too_long_is_rejected(store: StoreProtocol, grace: float) -> None:
    made, key = store.add_key("laptop", SCOPES, None, "ann")
    with pytest.raises(ValueError, match="at most 30 days"):
        store.rotate_key(made.id, "ann", grace)
    assert store.key_records()[0].digest == digest(key)


# --- sign-ins ---------------------------------------------------------------------------------------------------------


def tokens(name: str, seconds: float = 3600.0) -> SignInTokens:
    """The hashes of a pair of tokens. The refresh token is valid ten times as long."""
    now = time.time()
    return SignInTokens(digest(f"{name} access"), now + seconds, digest(f"{name} refresh"), now + 10 * seconds)


def test_a_sign_in_is_checked_like_a_key_and_is_none(store: StoreProtocol) -> None:
    store.add_account("ada", "ann", group="research")
    made = store.add_sign_in("ada", "claude-code/2", "127.0.0.1", tokens("a"))
    [record] = store.key_records()
    assert (record.id, record.digest, record.sign_in, record.usable) == (made.id, digest("a access"), True, True)
    assert (record.account, record.group, record.role) == ("ada", "research", "member")
    assert store.keys() == [] and store.sign_ins("ada") == store.sign_ins() == [made] and store.sign_ins("bob") == []
    store.record_key_use({made.id: 1_000_000.0})
    used_at = store.sign_ins()[0].used_at
    assert used_at is not None and used_at.timestamp() == 1_000_000.0


def test_a_sign_in_needs_an_enabled_account_or_none(store: StoreProtocol) -> None:
    store.add_account("ada", "ann")
    store.disable_account("ada", "ann")
    with pytest.raises(ValueError, match="is disabled"):
        store.add_sign_in("ada", "", "", tokens("a"))
    with pytest.raises(LookupError, match="no account"):
        store.add_sign_in("bob", "", "", tokens("a"))
    assert store.add_sign_in("", "", "", tokens("a")).account == ""


def test_a_refresh_token_works_once_and_ends_its_sign_in_when_it_is_used_again_later(store: StoreProtocol) -> None:
    made = store.add_sign_in("", "", "", tokens("a"))
    refreshed = store.refresh_sign_in(digest("a refresh"), tokens("b"), 60.0)
    assert refreshed is not None and refreshed.id == made.id
    [record] = store.key_records()
    assert (record.digest, record.old_digest) == (digest("b access"), digest("a access"))
    assert store.refresh_sign_in(digest("a refresh"), tokens("c"), 60.0) is None
    assert store.sign_ins() == [refreshed], "within the grace it is refused only"
    assert store.refresh_sign_in(digest("unknown"), tokens("c"), -1.0) is None
    assert store.sign_ins() == [refreshed]
    assert store.refresh_sign_in(digest("a refresh"), tokens("c"), -1.0) is None
    assert store.sign_ins() == [] and store.key_records()[0].revoked
    assert store.refresh_sign_in(digest("b refresh"), tokens("c"), 60.0) is None


def test_a_sign_in_is_revoked_by_its_id_or_by_a_token(store: StoreProtocol) -> None:
    store.add_account("ada", "ann")
    first = store.add_sign_in("ada", "", "", tokens("a"))
    second = store.add_sign_in("", "", "", tokens("b"))
    with pytest.raises(LookupError, match="no sign-in"):
        store.revoke_sign_in(second.id, "ada", "ada")
    stamp = store.keys_stamp()
    assert store.revoke_sign_in(first.id, "ada", "ada").id == first.id and store.keys_stamp() != stamp
    with pytest.raises(LookupError, match="no sign-in"):
        store.revoke_sign_in(first.id, "ann")
    assert store.revoke_token(digest("unknown"), "ann") is None
    revoked = store.revoke_token(digest("b refresh"), "the client")
    assert revoked is not None and revoked.id == second.id and store.sign_ins() == []


def test_sign_ins_of_a_disabled_or_removed_account_end_for_good(store: StoreProtocol) -> None:
    for account, end in (("ada", store.disable_account), ("bob", store.remove_account)):
        store.add_account(account, "ann")
        store.add_sign_in(account, "", "", tokens(account))
        end(account, "ann")
    store.enable_account("ada", "ann")
    store.add_account("bob", "ann")
    assert store.sign_ins() == [] and not any(record.usable for record in store.key_records())


def test_the_number_of_sign_ins_and_used_refresh_tokens_is_bounded(
    store: StoreProtocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, bound in (("ACCOUNT_SIGN_INS", 3), ("SIGN_INS", 5), ("REVOKED_SIGN_INS", 2), ("SPENT_TOKENS", 2)):
        monkeypatch.setattr(bounds, f"MAX_{name}", bound)
    for account in ("ada", "bob"):
        store.add_account(account, "ann")
        for number in range(5):
            store.add_sign_in(account, "", "", tokens(f"{account}{number}"))
    assert [len(store.sign_ins(account)) for account in ("ada", "bob", None)] == [2, 3, 5]
    for sign_in in store.sign_ins():
        store.revoke_sign_in(sign_in.id, "ann")
    assert len(store.key_records()) == 2
    store.add_sign_in("", "", "", tokens("r0"))
    for number in range(4):
        assert store.refresh_sign_in(digest(f"r{number} refresh"), tokens(f"r{number + 1}"), 60.0)
    assert store.refresh_sign_in(digest("r0 refresh"), tokens("x"), -1.0) is None
    assert len(store.sign_ins()) == 1, "it was used too long ago to be remembered"
    assert store.refresh_sign_in(digest("r3 refresh"), tokens("x"), -1.0) is None and store.sign_ins() == []


def test_an_expired_sign_in_is_forgotten_with_the_next_one(
    store: StoreProtocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add_sign_in("", "", "", tokens("old"))
    later = time.time() + 36_001
    monkeypatch.setattr(time, "time", lambda: later)
    assert store.sign_ins() == [] and store.refresh_sign_in(digest("old refresh"), tokens("new"), 60.0) is None
    store.add_sign_in("", "", "", tokens("new"))
    assert [record.digest for record in store.key_records()] == [digest("new access")]


def test_the_last_result_of_each_tested_model_is_kept(store: StoreProtocol) -> None:
    old = StoredReadiness("one", "a", 1.0, "{}", b"old")
    new = StoredReadiness("one", "a", 3.0, '{"window": 1}', b"new")
    other = StoredReadiness("two", "a", 2.0, "{}", b"other")
    for record in (old, other, new):
        store.save_readiness(record)
    assert store.readiness() == [new, other]
    assert store.remove_readiness("one", "a") and not store.remove_readiness("one", "a")
    assert store.readiness() == [other]


def test_the_oldest_results_of_tests_go_first(store: StoreProtocol, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byway.store.readiness.MAX_READINESS", 3)
    for at in (2, 5, 1, 4, 3):
        store.save_readiness(StoredReadiness("one", f"m{at}", float(at), "{}", b""))
    # The row of `m1` was the oldest one when the fourth came.
    assert [record.model for record in store.readiness()] == ["m5", "m4", "m3"]
